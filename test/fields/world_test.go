// Package fields holds that every field of the configuration does something: each is changed alone, and a verdict, a
// report, or something else that somebody can see has to change with it. The fields are found by reflection, so that a new
// one without an effect fails the test. The program is the real one, as a process, with a registry, signatures and
// documents that are real, too. Begin at TestEveryField.
package fields

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

// patience is how long anything that must happen may take before a test gives up.
const patience = 60 * time.Second

// deadline is the provider's; long enough for a verification on a busy machine.
const deadline = "20s"

// binary is the command, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(mainOf(m)) }

func mainOf(m *testing.M) int {
	if name := filepath.Base(os.Args[0]); name == helperName || name == pluginName {
		return giveCredential(name, os.Args[0], os.Stdin, os.Stdout)
	}
	dir, err := os.MkdirTemp("", "ratify-fields-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv(passwordVariable, password) // for programs that give credentials, through the provider
	if binary, err = program.Build(context.Background(), dir, program.BuildOptions{Flags: programtest.BuildFlags()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// A world is the registry with all images, what stands before it, and the files that configurations name.
type world struct {
	*fixture.Fixture
	gate   *gate
	client *http.Client
	values map[string]string
	files  string // the directory of what configurations name
}

// value is what a name stands for in a text of a row.
func (w *world) value(t *testing.T, own map[string]string) func(name string) string {
	return func(name string) string {
		if value, ok := own[name]; ok {
			return value
		}
		if value, ok := w.values[name]; ok {
			return value
		}
		t.Fatalf("there is no value ${%s}", name)
		return ""
	}
}

// A run is one provider with one configuration.
type run struct {
	*world
	row      row
	value    func(name string) string
	config   string
	provider *program.Provider
	last     []byte // the last record of a verdict
}

// start starts a provider with a document.
func (w *world) start(t *testing.T, r row, document any) *run {
	t.Helper()
	dir := t.TempDir()
	tenants := filepath.Join(dir, "tenants")
	for _, sub := range []string{tenants, filepath.Join(dir, "none")} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	own := map[string]string{"TENANTS": tenants, "NONE": filepath.Join(dir, "none"), "FILES": w.files}
	if r.inTenant || r.tenant != "" {
		// What a tenant's file names must lie beside it.
		own["FILES"] = filepath.Join(tenants, "files")
		if err := os.CopyFS(own["FILES"], os.DirFS(w.files)); err != nil {
			t.Fatal(err)
		}
	}
	file, tenant := document, any(nil)
	switch {
	case r.inTenant:
		file, tenant = decode(t, defaultStores+delegated), document
	case r.tenant != "":
		tenant = decode(t, r.tenant)
	}
	value := w.value(t, own)
	if tenant != nil {
		write(t, filepath.Join(tenants, "team-a.yaml"), encode(t, tenant, value))
	}
	started := &run{world: w, row: r, value: value, config: filepath.Join(dir, "ratify.yaml")}
	write(t, started.config, encode(t, file, value))
	args := append([]string{"--config", started.config, "--cert-dir", w.PKI.CertDir, "--client-ca", w.PKI.ClientCAFile,
		"--client-name", fixture.GatekeeperName, "--verify-timeout", deadline, "--mutate-timeout", deadline}, r.args...)
	started.provider = programtest.Serve(t, binary, args...)
	return started
}

// delegated leaves everything to the files of tenants.
const delegated = `
policies: []
tenancy: {enabled: true, directory: "${TENANTS}", delegate: [{namespaces: ["*"], scopes: ["*"]}]}
`

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// key is the row's question with its values filled in.
func (r *run) key() string {
	key := os.Expand(r.row.ask, r.value)
	if r.row.inTenant {
		return "[team-a]" + key
	}
	return key
}

// ask asks about a key and returns what the log says of it.
func (r *run) ask(t *testing.T, key string) program.Record {
	t.Helper()
	from := r.provider.Lines()
	r.post(t, program.VerifyPath, key)
	record := r.record(t, from, key)
	r.last = record.Line
	return record
}

func (r *run) record(t *testing.T, from int, key string) program.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	record, err := r.provider.Wait(ctx, from, func(r program.Record) bool { return r.Msg == "verify" && r.Key == key })
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// post asks as Gatekeeper does and returns the answer.
func (r *run) post(t *testing.T, path, key string) []byte {
	t.Helper()
	answer, err := r.send(t.Context(), path, key)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func (r *run) send(ctx context.Context, path, key string) ([]byte, error) {
	question, err := json.Marshal(map[string]any{
		"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderRequest", "request": map[string]any{"keys": []string{key}},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.provider.URL(path), bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := r.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %s", path, response.Status, answer)
	}
	return answer, err
}

// observe looks at what the row is about.
func (r *run) observe(t *testing.T) string {
	t.Helper()
	if r.row.see != nil {
		return r.row.see(t, r)
	}
	return r.ask(t, r.key()).Code
}

// The following are what rows look at beside the verdict.

// inReport sees a part of the report, by its path in JSON.
func inReport(path string) func(*testing.T, *run) string {
	return func(t *testing.T, r *run) string {
		t.Helper()
		var report any
		if err := json.Unmarshal(r.ask(t, r.key()).Line, &report); err != nil {
			t.Fatal(err)
		}
		found, err := get(report, steps(path))
		if err != nil {
			t.Fatalf("%s: %s: %v", path, err, report)
		}
		return fmt.Sprint(found)
	}
}

// inCheck sees a part of what ratify check says of the configuration.
func inCheck(path string) func(*testing.T, *run) string {
	return func(t *testing.T, r *run) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), binary, "check", "-o", "json", r.config)
		command.Env = append(command.Environ(), programtest.Environment()...)
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %s", err, out)
		}
		var result any
		if err := json.Unmarshal(out, &result); err != nil {
			t.Fatal(err)
		}
		found, err := get(result, steps(path))
		if err != nil {
			t.Fatalf("%s: %s: %s", path, err, out)
		}
		return fmt.Sprint(found)
	}
}

// askedTwice sees whether the second of two questions about the same is answered from memory.
func askedTwice(t *testing.T, r *run) string {
	t.Helper()
	r.ask(t, r.key())
	return remembered(r.ask(t, r.key()))
}

func remembered(r program.Record) string {
	if r.Cached {
		return "remembered"
	}
	return "verified again"
}

// askedBetween sees whether an answer is remembered after another question.
func askedBetween(t *testing.T, r *run) string {
	t.Helper()
	r.ask(t, r.key())
	r.ask(t, r.Images[fixture.SignedCOSE].Pinned())
	return remembered(r.ask(t, r.key()))
}

// whileAway sees what becomes of an image that was verified while its registry does not answer.
func whileAway(t *testing.T, r *run) string {
	t.Helper()
	if first := r.ask(t, r.key()).Code; first != verified {
		t.Fatalf("while the registry is there: %s", first)
	}
	r.gate.hold(awayImage)
	defer r.gate.letGo(awayImage)
	return r.ask(t, r.key()).Code
}

// afterMove sees which image a tag means after it was moved.
func afterMove(t *testing.T, r *run) string {
	t.Helper()
	push := func() fixture.Image {
		image, err := r.Push(t.Context(), "moving", fixture.Signature{By: r.Signer})
		if err != nil {
			t.Fatal(err)
		}
		return image
	}
	first := push()
	r.ask(t, first.Reference)
	second := push()
	switch r.ask(t, first.Reference).Digest {
	case first.Digest.String():
		return "the image before"
	case second.Digest.String():
		return "the image now"
	}
	return "another image"
}

// mutated sees the form of a pinned reference.
func mutated(t *testing.T, r *run) string {
	t.Helper()
	if strings.Contains(string(r.post(t, program.MutatePath, r.key())), ":v1@sha256:") {
		return "tag and digest"
	}
	return "digest"
}

// besideHeld sees what becomes of a question while the registry lets another one wait.
func besideHeld(t *testing.T, r *run) string {
	t.Helper()
	held := r.gate.hold(heldImage)
	answered := make(chan error)
	from := r.provider.Lines()
	go func() {
		_, err := r.send(t.Context(), program.VerifyPath, r.Images[heldImage].Reference)
		answered <- err
	}()
	select {
	case <-held.arrived:
	case err := <-answered:
		t.Fatalf("the registry was not asked: %v", err)
	}
	code := r.ask(t, r.key()).Code
	r.gate.letGo(heldImage)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	r.record(t, from, r.Images[heldImage].Reference)
	return code
}
