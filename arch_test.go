package ratify_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/ratify-provider/ratify"

type listedPackage struct {
	ImportPath  string
	Standard    bool
	Imports     []string
	TestImports []string
}

// goList returns what go list says about the packages of this module, and of what they link if deps.
func goList(t *testing.T, args ...string) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Standard,Imports"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.String())
	}
	var packages []listedPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// floor is the place of a package in the house: its first element below the module, and below verifier and store the
// module of that kind.
func floor(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, module)
	if !ok {
		return ""
	}
	parts := strings.Split(strings.TrimPrefix(rest, "/"), "/")
	switch {
	case parts[0] == "":
		return "root"
	case (parts[0] == "verifier" || parts[0] == "store" || parts[0] == "cmd" || parts[0] == "internal") && len(parts) > 1:
		return path.Join(parts[0], parts[1])
	default:
		return parts[0]
	}
}

// mayImport says which of our own packages a floor may import. Arrows point inward.
func mayImport(from, to string) bool {
	if from == to || from == "cmd/ratify" {
		return true
	}
	kind, _, _ := strings.Cut(from, "/")
	toKind, _, _ := strings.Cut(to, "/")
	switch {
	case from == "root":
		return false
	case kind == "cmd":
		return true
	case to == "root":
		return true
	case kind == "internal":
		return toKind == "internal"
	case from == "config", from == "rule":
		return false
	case kind == "verifier", kind == "store":
		return toKind == "internal" || to == "config"
	case from == "provider":
		return toKind == "internal" || to == "config"
	}
	return false
}

func TestMayImport(t *testing.T) {
	for _, tc := range []struct {
		from, to string
		want     bool
	}{
		{"root", "config", false},
		{"root", "internal/files", false},
		{"config", "root", true},
		{"config", "internal/files", false},
		{"internal/netguard", "root", true},
		{"internal/netguard", "store/oras", false},
		{"internal/netguard", "provider", false},
		{"verifier/notation", "root", true},
		{"verifier/notation", "internal/netguard", true},
		{"verifier/notation", "verifier/cosign", false},
		{"verifier/notation", "store/oras", false},
		{"verifier/notation", "provider", false},
		{"store/oras", "store/ocilayout", false},
		{"store/oras", "cmd/ratify", false},
		{"provider", "store/oras", false},
		{"provider", "verifier/notation", false},
		{"provider", "config", true},
		{"rule", "root", true},
		{"rule", "config", false},
		{"provider", "rule", false},
		{"cmd/ratify", "provider", true},
	} {
		if got := mayImport(tc.from, tc.to); got != tc.want {
			t.Errorf("%s may import %s: %t, want %t", tc.from, tc.to, got, tc.want)
		}
	}
}

func TestImportDirections(t *testing.T) {
	packages := goList(t, "./...")
	if !slices.ContainsFunc(packages, func(p listedPackage) bool { return p.ImportPath == module }) {
		t.Fatal("go list does not name the root package")
	}
	for _, p := range packages {
		for _, imported := range p.Imports {
			if to := floor(imported); to != "" && !mayImport(floor(p.ImportPath), to) {
				t.Errorf("%s imports %s, which is not on a floor below it", p.ImportPath, imported)
			}
		}
	}
}

func TestRootImportsLittle(t *testing.T) {
	allowed := []string{
		"github.com/distribution/reference",
		"github.com/opencontainers/go-digest",
		"github.com/opencontainers/image-spec/specs-go",
		"github.com/opencontainers/image-spec/specs-go/v1",
		module,
	}
	for _, p := range goList(t, "-deps", ".") {
		if !p.Standard && !slices.Contains(allowed, p.ImportPath) {
			t.Errorf("the root package links %s", p.ImportPath)
		}
		for _, heavy := range []string{"net/http", "os/exec", "plugin"} {
			if p.ImportPath == heavy {
				t.Errorf("the root package links %s: it reads nothing from a network or a disk by itself", heavy)
			}
		}
	}
}

func TestBinaryIsLight(t *testing.T) {
	commands := goList(t, "-find", "./cmd/...")
	if len(commands) == 0 {
		return // there is no command to look at
	}
	banned := []string{
		"k8s.io/client-go",
		"k8s.io/api/",
		"sigs.k8s.io/controller-runtime",
		"github.com/google/go-containerregistry/pkg/registry",
		"github.com/distribution/distribution",
		"github.com/open-policy-agent/gatekeeper",
		"github.com/open-policy-agent/opa",
		"github.com/open-policy-agent/frameworks",
		"helm.sh/helm",
		module + "/store/storetest",
		module + "/test",
	}
	for _, p := range goList(t, "-deps", "./cmd/ratify") {
		for _, ban := range banned {
			if p.ImportPath == strings.TrimSuffix(ban, "/") || strings.HasPrefix(p.ImportPath, strings.TrimSuffix(ban, "/")+"/") {
				t.Errorf("the binary links %s", p.ImportPath)
			}
		}
		// A library below may import what tests need (digitorus/pkcs7 has a helper of its own tests); none of ours does.
		for _, imported := range p.Imports {
			if (imported == "testing" || imported == "net/http/httptest") && strings.HasPrefix(p.ImportPath, module) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}
