package cluster

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tool makes a tool module with one program that prints a word.
func tool(t *testing.T, word string) (toolModule, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  "module example.test/tool\n\ngo 1.26.0\n",
		"go.sum":  "",
		"main.go": "package main\n\nvar word = \"unset\"\n\nfunc main() { println(word) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return toolModule{dir: "tool", tools: map[string]string{"say": "example.test/tool"}, ldflags: "-X main.word=" + word}, dir
}

func TestBuildIsDoneOnceForAllWhoAsk(t *testing.T) {
	m, source := tool(t, "hello")
	cache := t.TempDir()
	var mu sync.Mutex
	var builds int
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := m.build(t.Context(), source, cache, func(format string, _ ...any) {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(format, "building") {
					builds++
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
	found, err := m.build(t.Context(), source, cache, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(found["say"]).CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("the program says %q (%v), want the word from its flags", out, err)
	}
}

func TestBuildLeavesNoHalfMadeProgram(t *testing.T) {
	m, source := tool(t, "hello")
	cache := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte("package main\n\nfunc main() { missing() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := m.build(t.Context(), source, cache, t.Logf)
	if err == nil || !strings.Contains(err.Error(), "undefined: missing") {
		t.Fatalf("error %v, want the compiler's", err)
	}
	key, err := m.hash(source)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(cache, key, "say")); !os.IsNotExist(err) {
		t.Errorf("the program is in the cache (%v)", err)
	}
}

func TestHashChangesWithEachPart(t *testing.T) {
	m, source := tool(t, "hello")
	seen := map[string]string{}
	check := func(what string) {
		t.Helper()
		key, err := m.hash(source)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[key]; ok {
			t.Errorf("%s gives the same hash as %s", what, before)
		}
		seen[key] = what
	}
	check("the first state")
	m.ldflags = "-X main.word=bye"
	check("other flags")
	for _, name := range []string{"go.mod", "go.sum"} {
		f, err := os.OpenFile(filepath.Join(source, name), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("// more\n"); err != nil {
			t.Fatal(err)
		}
		f.Close()
		check("another " + name)
	}
}

func TestWhatIsBuilt(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		names      []string
	}{
		{"a cluster", "etcd gatekeeper helm kube-apiserver kube-controller-manager kube-scheduler kubectl kwok", nil},
		{"one of it", "kubectl", []string{"kubectl"}},
		{"what is apart from it", "cosign", []string{"cosign"}},
		{"both", "cosign etcd", []string{"etcd", "cosign"}},
		{"what is not known", "", []string{"docker"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range chosen(tt.names) {
				got = append(got, slices.Collect(maps.Keys(m.tools))...)
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("%q would be built, want %q", got, tt.want)
			}
		})
	}
}

func TestEveryToolModuleIsThere(t *testing.T) {
	for _, m := range toolModules() {
		source := filepath.Join("bin", m.dir)
		if _, err := m.hash(source); err != nil {
			t.Error(err)
		}
		mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		for _, pkg := range m.tools {
			if !strings.Contains(string(mod), pkg+"\n") {
				t.Errorf("%s/go.mod does not name the tool %s", source, pkg)
			}
		}
		if m.dir == "k8s" && !strings.Contains(string(mod), "k8s.io/kubernetes "+kubernetesVersion+" ") {
			t.Errorf("the stamped version %s is not the one that %s/go.mod requires", kubernetesVersion, source)
		}
	}
}
