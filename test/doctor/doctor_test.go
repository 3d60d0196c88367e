// Package doctor holds that what the chart renders, with the library and Gatekeeper's own manifest set as the manual says, is
// clean to ratify doctor, and that Gatekeeper as it is shipped is not.
package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/chart"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/program"
)

// An installation is files for ratify doctor.
type installation struct {
	binary, root, rendered, gatekeeper string
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	binary, err := program.Build(t.Context(), t.TempDir(), program.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	c, err := chart.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := chart.NewPair("ratify.example")
	if err != nil {
		t.Fatal(err)
	}
	i := installation{binary: binary, root: root, rendered: filepath.Join(t.TempDir(), "rendered.yaml"), gatekeeper: filepath.Join(t.TempDir(), "gatekeeper.json")}
	signer := filepath.Join(t.TempDir(), "cosign.pub")
	write(t, signer, []byte(pair.Signer))
	text, err := c.Template(t.Context(), "--namespace="+cluster.GatekeeperNamespace, "--set-file", "cosign.keys[0].key="+signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, i.rendered, []byte(text))
	return i
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs ratify doctor on files, and returns the checks that found something, those not looked at, and the exit code.
func (i installation) run(t *testing.T, files ...string) (found, unseen []string, code int) {
	t.Helper()
	args := []string{"doctor", "--output=json"}
	for _, file := range files {
		args = append(args, "--file="+file)
	}
	cmd := exec.CommandContext(t.Context(), i.binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report struct {
		Findings, NotLookedAt []struct{ Check, Message string }
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s%s", err, stdout.String(), stderr.String())
	}
	for _, f := range report.Findings {
		t.Logf("%s: %s", f.Check, f.Message)
		found = append(found, f.Check)
	}
	for _, u := range report.NotLookedAt {
		unseen = append(unseen, u.Check)
	}
	slices.Sort(found)
	return slices.Compact(found), unseen, cmd.ProcessState.ExitCode()
}

func TestChartAlone(t *testing.T) {
	i := newInstallation(t)
	found, unseen, code := i.run(t, i.rendered)
	if len(found) > 0 || code != 0 {
		t.Errorf("found %q, exit code %d", found, code)
	}
	for _, check := range []string{"webhook-failure-policy", "constraint-present", "template-version", "gatekeeper-cache"} {
		if !slices.Contains(unseen, check) {
			t.Errorf("%s was looked at, in files that say nothing of it", check)
		}
	}
}

func TestWithGatekeeper(t *testing.T) {
	i := newInstallation(t)
	library := []string{"library/default/template.yaml", "library/default/samples/constraint.yaml", "library/mutation/images.yaml"}
	files := []string{i.rendered, i.gatekeeper}
	for _, file := range library {
		files = append(files, filepath.Join(i.root, file))
	}
	objects, err := cluster.GatekeeperObjects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	save := func() {
		data, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
		if err != nil {
			t.Fatal(err)
		}
		write(t, i.gatekeeper, data)
	}
	t.Run("as it is shipped", func(t *testing.T) {
		save()
		found, _, code := i.run(t, files...)
		want := []string{"gatekeeper-cache", "gatekeeper-threads", "mutation-coverage", "mutation-failure-policy", "webhook-failure-policy", "webhook-timeout"}
		if !slices.Equal(found, want) || code != 1 {
			t.Errorf("found %q, exit code %d, want %q and 1", found, code, want)
		}
	})
	t.Run("as the manual says", func(t *testing.T) {
		if err := cluster.Recommend(objects); err != nil {
			t.Fatal(err)
		}
		save()
		if found, _, code := i.run(t, files...); len(found) > 0 || code != 0 {
			t.Errorf("found %q, exit code %d", found, code)
		}
	})
	t.Run("with the template and constraint for tenants", func(t *testing.T) {
		files := slices.Clone(files)
		for n, file := range files {
			files[n] = strings.Replace(file, "default/template.yaml", "tenants/template.yaml", 1)
		}
		if found, _, _ := i.run(t, files...); !slices.Equal(found, []string{"template-tenancy"}) {
			t.Errorf("found %q, want template-tenancy", found)
		}
	})
}
