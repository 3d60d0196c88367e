// Package admission holds the suite in which nothing of the way from an admission request to a registry is a stand-in:
// the shipped library on Gatekeeper's own engine, the real provider as a process behind mutual TLS 1.3, a real registry
// and real signatures. Begin at newWorld.
package admission

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

const (
	libraryDir     = "../../library/"
	templateFile   = libraryDir + "default/template.yaml"
	constraintFile = libraryDir + "default/samples/constraint.yaml"
	digestFile     = libraryDir + "default/samples/constraint-digest.yaml"
	workloadsFile  = libraryDir + "default/samples/constraint-workloads.yaml"
	expansionFile  = libraryDir + "expansion/workloads.yaml"
	mutationFile   = libraryDir + "mutation/images.yaml"

	prefix = "[ratify-constraint] "
)

const (
	// deadline is the provider's; long enough for a verification on a busy machine.
	deadline = 3 * time.Second
	// providerTimeout is Gatekeeper's, in seconds.
	providerTimeout = 4
	// patience is how long anything that must happen may take before a test gives up.
	patience = 30 * time.Second
	// tagTTL is how long the provider takes a tag to mean the same digest, where a test does not say otherwise.
	tagTTL = time.Second
)

// binary is the command, built once for all tests.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ratify-admission-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = program.Build(context.Background(), dir, program.BuildOptions{Flags: programtest.BuildFlags()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// options are what differs from the default: a plain registry, no cache in Gatekeeper, the sample constraint.
type options struct {
	tls        bool
	cacheTTL   time.Duration
	constraint string
	deadline   time.Duration
	config     settings
	// clientCA is whom the provider trusts for client certificates, and shown the pair of files of the engine's.
	clientCA string
	shown    *[2]string
}

// A world is all parts of an admission. A process has one at a time, as it has one engine.
type world struct {
	*fixture.Fixture
	gate     *gate
	config   string
	args     []string
	provider *program.Provider
	engine   *engine.Engine
}

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{gate: newGate()}
	var err error
	w.Fixture, err = fixture.Start(t.Context(), fixture.Options{Dir: t.TempDir(), TLS: o.tls, Wrap: w.gate.wrap})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.gate.open()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.config = filepath.Join(t.TempDir(), "ratify.yaml")
	w.configure(t, o.config)
	if o.deadline == 0 {
		o.deadline = deadline
	}
	if o.clientCA == "" {
		o.clientCA = w.PKI.ClientCAFile
	}
	w.args = []string{"--config", w.config, "--cert-dir", w.PKI.CertDir, "--client-ca", o.clientCA,
		"--client-name", fixture.GatekeeperName, "--verify-timeout", o.deadline.String(), "--mutate-timeout", o.deadline.String()}
	w.provider = programtest.Serve(t, binary, w.args...)
	w.engine = w.newEngine(t, o)
	return w
}

// newEngine is Gatekeeper with the shipped template and one constraint.
func (w *world) newEngine(t *testing.T, o options) *engine.Engine {
	t.Helper()
	if o.shown == nil {
		o.shown = &[2]string{w.PKI.ClientCertFile, w.PKI.ClientKeyFile}
	}
	e, err := engine.New(engine.Options{CacheTTL: o.cacheTTL, ClientCert: o.shown[0], ClientKey: o.shown[1], Providers: []engine.Provider{
		{Name: "ratify-provider", URL: w.provider.URL(program.VerifyPath), CAPEM: w.PKI.ServerCAPEM, TimeoutSeconds: providerTimeout},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if o.constraint == "" {
		o.constraint = constraintFile
	}
	if err := e.Apply(read(t, templateFile), read(t, o.constraint)); err != nil {
		t.Fatal(err)
	}
	return e
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// settings are what differs in a configuration: everything of the registry, by the trusted signer.
type settings struct {
	scopes string // of the policy; empty is everything
	trust  []string
	tagTTL time.Duration // how long the provider takes a tag to mean the same digest
}

// configuration has for placeholders the registry's entry, the trust store's files, the policy's scopes and the tags' TTL.
const configuration = `
stores:
- name: registries
  type: oras
  scopes: ["*"]
  settings:
    registries:
    - {host: %q, %s, allowPrivate: true}
verifiers:
- name: notation
  type: notation
  settings:
    trustStores:
    - {type: ca, name: certs, files: [%s]}
    trustPolicy:
      version: "1.0"
      trustPolicies:
      - name: default
        registryScopes: ["*"]
        signatureVerification: {level: strict}
        trustStores: ["ca:certs"]
        trustedIdentities: ["*"]
policies:
- {name: default, scopes: [%q], verifiers: [notation], require: all}
cache: {tagTTL: %s}
`

// configure writes the configuration at once, as a kubelet does.
func (w *world) configure(t *testing.T, s settings) {
	t.Helper()
	way := "plainHTTP: true"
	if w.RegistryCAFile != "" {
		way = fmt.Sprintf("caFile: %q", w.RegistryCAFile)
	}
	if s.scopes == "" {
		s.scopes = "*"
	}
	if s.trust == nil {
		s.trust = []string{w.SignerFile}
	}
	if s.tagTTL == 0 {
		s.tagTTL = tagTTL
	}
	w.write(t, fmt.Sprintf(configuration, w.Host, way, strings.Join(s.trust, ", "), s.scopes, s.tagTTL))
}

func (w *world) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(w.config+".part", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(w.config+".part", w.config); err != nil {
		t.Fatal(err)
	}
}

// review returns the lines of the denial without the constraint's name.
func (w *world) review(t *testing.T, object map[string]any) []string {
	t.Helper()
	denials, err := w.engine.Deny(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range denials {
		if !strings.HasPrefix(line, prefix) {
			t.Fatalf("denial %q is not the constraint's", line)
		}
		denials[i] = strings.TrimPrefix(line, prefix)
	}
	return denials
}

// admits checks that nothing denies the object.
func (w *world) admits(t *testing.T, object map[string]any) {
	t.Helper()
	if denials := w.review(t, object); len(denials) != 0 {
		t.Errorf("denied: %q", denials)
	}
}

// denies checks that the object is denied in these words; a word ‹request› or ‹trace› stands for an id.
func (w *world) denies(t *testing.T, object map[string]any, want string) {
	t.Helper()
	denials := w.review(t, object)
	if len(denials) != 1 || !sameWords(denials[0], want) {
		t.Errorf("got  %q\nwant %q", denials, want)
	}
}

// An id is 32 hexadecimal digits, as W3C's trace context writes them.
const idLength = 32

func sameWords(got, want string) bool {
	for _, mark := range []string{"‹request›", "‹trace›"} {
		for {
			before, after, found := strings.Cut(want, mark)
			if !found {
				break
			}
			if len(got) < len(before)+idLength || strings.Trim(got[len(before):len(before)+idLength], "0123456789abcdef") != "" {
				return false
			}
			want = before + got[len(before):len(before)+idLength] + after
		}
	}
	return got == want
}

// record waits for the provider's record of a key, from a line of its log on.
func (w *world) record(t *testing.T, from int, operation, key string) program.Record {
	t.Helper()
	return w.await(t, from, func(r program.Record) bool { return r.Msg == operation && r.Key == key })
}

func (w *world) await(t *testing.T, from int, match func(program.Record) bool) program.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := w.provider.Wait(ctx, from, match)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// asked is how many requests of an operation the provider has answered so far, whatever became of them.
func (w *world) asked(t *testing.T, operation string) int {
	t.Helper()
	response, err := http.Get("http://" + w.provider.HealthAddress + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	total, lines := 0, bufio.NewScanner(response.Body)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), `ratify_requests_total{operation="`+operation+`"`) {
			continue
		}
		value := lines.Text()[strings.LastIndexByte(lines.Text(), ' ')+1:]
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return total
}

// asks checks how many requests for verification a step has cost.
func (w *world) asks(t *testing.T, want int, step func()) {
	t.Helper()
	before := w.asked(t, "verify")
	step()
	if got := w.asked(t, "verify") - before; got != want {
		t.Errorf("the provider was asked %d times, want %d", got, want)
	}
}

// until tries again and again until it holds, for what only time brings.
func until(t *testing.T, within time.Duration, holds func() bool) {
	t.Helper()
	const pause = 20 * time.Millisecond
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for end := time.Now().Add(within); !holds(); <-ticker.C {
		if time.Now().After(end) {
			t.Fatalf("it does not come about within %s", within)
		}
	}
}

// restart starts the provider again where it was.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.provider = programtest.Serve(t, binary, append(w.args, "--address", w.provider.Address)...)
}
