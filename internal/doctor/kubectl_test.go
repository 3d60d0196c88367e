package doctor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeKubectl is a program that answers as kubectl does: with what lies in its folder, in a file by the resource that is asked for.
const fakeKubectl = `#!/bin/sh
echo "$@" >> "%[1]s/calls"
while case "$1" in --*) true;; *) false;; esac; do shift; done
name="$2"
for arg in "$@"; do case "$arg" in --namespace=*) name="${arg#--namespace=}_$2";; esac; done
name=$(echo "$name" | tr / _)
if [ -f "%[1]s/$name.forbidden" ]; then
  echo "Error from server (Forbidden): $2 is forbidden: User \"me\" cannot list resource \"$2\" in API group \"x\" at the cluster scope" >&2; exit 1
fi
if [ -f "%[1]s/$name.broken" ]; then
  echo "The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?" >&2; exit 1
fi
if [ -f "%[1]s/$name.json" ]; then exec cat "%[1]s/$name.json"; fi
case "$2" in
*/*) echo "Error from server (NotFound): $2 not found" >&2; exit 1;;
*constraints*) echo "error: the server doesn't have a resource type \"$2\"" >&2; exit 1;;
esac
echo '{"apiVersion":"v1","kind":"List","items":[]}'
`

// A fakeCluster is a folder that a kubectl answers from.
type fakeCluster struct {
	dir     string
	kubectl Kubectl
}

// newFakeCluster holds the objects of an installation.
func newFakeCluster(t *testing.T, all map[string]o) *fakeCluster {
	t.Helper()
	c := &fakeCluster{dir: t.TempDir()}
	c.kubectl = Kubectl{Path: filepath.Join(c.dir, "kubectl"), Flags: []string{"--context=here"}}
	if err := os.WriteFile(c.kubectl.Path, fmt.Appendf(nil, fakeKubectl, c.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	lists := map[string][]any{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		object := all[key]
		w := wanted{kind: object["kind"].(string)}
		w.namespace, _ = at(object, "metadata")["namespace"].(string)
		if w.kind != kindConfigMap && w.kind != kindSecret {
			lists[c.file(w)] = append(lists[c.file(w)], object)
			continue
		}
		w.name = at(object, "metadata")["name"].(string)
		if w.kind == kindConfigMap {
			c.write(t, c.file(w), object)
			continue
		}
		// Of a Secret kubectl gives one key, in base64; those of the tests have no more.
		for _, text := range at(object, "stringData") {
			c.raw(t, c.file(w)+".json", base64.StdEncoding.EncodeToString([]byte(text.(string))))
		}
	}
	for name, items := range lists {
		c.write(t, name, o{"apiVersion": "v1", "kind": "List", "items": items})
	}
	return c
}

// file is the name of the file that answers a call.
func (c *fakeCluster) file(w wanted) string {
	name := strings.ReplaceAll(w.arguments()[1], "/", "_")
	if w.namespace != "" {
		name = w.namespace + "_" + name
	}
	return name
}

func (c *fakeCluster) write(t *testing.T, name string, value any) {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	c.raw(t, name+".json", string(data))
}

func (c *fakeCluster) raw(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// taken is an installation of which Gatekeeper has said what it makes of it.
func taken(t *testing.T) map[string]o {
	all := installation(t)
	for _, key := range []string{"template", "constraint", verifyProvider, mutateProvider} {
		all[key]["status"] = o{"byPod": []any{o{"id": "a", "enforced": true, "active": true}}}
	}
	return all
}

func (c *fakeCluster) examine(t *testing.T) *Report {
	t.Helper()
	s, err := FromCluster(t.Context(), c.kubectl, "")
	if err != nil {
		t.Fatal(err)
	}
	return Examine(s, options(t))
}

func TestFromCluster(t *testing.T) {
	c := newFakeCluster(t, taken(t))
	r := c.examine(t)
	if len(r.Findings) > 0 || len(r.NotLookedAt) > 0 || len(r.Passed) != len(Checks()) {
		t.Errorf("found %+v, not looked at %+v, %d passed of %d", r.Findings, r.NotLookedAt, len(r.Passed), len(Checks()))
	}
	calls, err := os.ReadFile(filepath.Join(c.dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(calls)) {
		if !strings.HasPrefix(line, "--context=here ") {
			t.Errorf("kubectl was called without its flags: %s", line)
		}
	}
}

// TestAbsent: what a cluster does not have is a finding, where a file that does not have it says nothing.
func TestAbsent(t *testing.T) {
	for key, want := range map[string]string{
		"constraint": "constraint-present", "template": "template-present", "validating": "webhook-coverage", "service": "provider-url",
		"budget": "disruption-budget",
	} {
		t.Run(key, func(t *testing.T) {
			all := taken(t)
			delete(all, key)
			if key == "template" {
				delete(all, "constraint") // its kind has gone with it
			}
			r := newFakeCluster(t, all).examine(t)
			var found []string
			for _, f := range r.Findings {
				found = append(found, f.Check)
			}
			slices.Sort(found)
			if found = slices.Compact(found); !slices.Equal(found, []string{want}) {
				t.Errorf("found %q, want %s", found, want)
			}
			if r.Blind() {
				t.Errorf("not looked at %+v", r.NotLookedAt)
			}
		})
	}
}

// TestForbidden: whichever right is missing is named, and nothing that needs it passes.
func TestForbidden(t *testing.T) {
	c := newFakeCluster(t, taken(t))
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), ".json")
		if !ok || strings.HasSuffix(name, "_namespace") || name == "namespace" {
			continue // every namespace of the tests is exempt without its labels
		}
		tried++
		t.Run(name, func(t *testing.T) {
			c.raw(t, name+".forbidden", "")
			defer os.Remove(filepath.Join(c.dir, name+".forbidden"))
			r := c.examine(t)
			if !r.Blind() || len(r.Findings) > 0 {
				t.Errorf("not looked at %+v, found %+v", r.NotLookedAt, r.Findings)
			}
			for _, u := range r.NotLookedAt {
				if u.Wanted && (!strings.HasPrefix(u.Reason, "you cannot list resource ") || !strings.HasPrefix(u.Remedy, "ask for the right: kubectl auth can-i ")) {
					t.Errorf("the missing right is not named: %+v", u)
				}
				for _, p := range r.Passed {
					if p.Check == u.Check {
						t.Errorf("%s passed, and was not looked at", u.Check)
					}
				}
			}
		})
	}
	if tried < 12 {
		t.Errorf("%d rights were tried", tried)
	}
}

func TestUnreachable(t *testing.T) {
	c := newFakeCluster(t, taken(t))
	c.raw(t, "provider.externaldata.gatekeeper.sh.broken", "")
	if _, err := FromCluster(t.Context(), c.kubectl, ""); err == nil || !strings.Contains(err.Error(), "was refused") {
		t.Errorf("error %v", err)
	}
	c.kubectl.Path = filepath.Join(c.dir, "absent")
	if _, err := FromCluster(t.Context(), c.kubectl, ""); err == nil {
		t.Error("a program that is not there was run")
	}
}

// TestOutputBound: kubectl that never ends its output is ended.
func TestOutputBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexec yes\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := (Kubectl{Path: path}).Run(t.Context(), "get"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}
