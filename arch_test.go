package ratify_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
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

// What comes from outside is read by content.Read and its kin, which bound it. The two that read bodies themselves bound
// them, too: they say how.
func TestOneReader(t *testing.T) {
	readers := map[string]bool{"io.ReadAll": true, "io.Copy": true, "io.CopyN": true, "io.CopyBuffer": true, "ioutil.ReadAll": true, "httputil.DumpResponse": true}
	allowed := map[string]bool{
		"content.Read": true, "content.ReadDescribed": true, "content.Discard": true,
		"limitBody":           true, // wraps it in a bound
		"pool.bound":          true, // likewise
		"http.MaxBytesReader": true, // the server's own, of a request
	}
	for _, file := range sources(t) {
		if strings.HasPrefix(file.path, "internal/content/") {
			continue
		}
		ast.Inspect(file.syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := calledName(call)
			if readers[name] {
				t.Errorf("%s: %s reads without a bound that content.Read would set", file.position(call), name)
			}
			for _, arg := range call.Args {
				if body, ok := arg.(*ast.SelectorExpr); ok && body.Sel.Name == "Body" && isMessage(body.X) && !allowed[name] {
					t.Errorf("%s: %s is given a body that nothing bounds", file.position(call), name)
				}
			}
			return true
		})
	}
}

// isMessage tells the names under which requests and responses go in this code.
func isMessage(x ast.Expr) bool {
	name, ok := x.(*ast.Ident)
	return ok && slices.Contains([]string{"r", "req", "resp", "response"}, name.Name)
}

// calledName is the last two names of what is called.
func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		switch x := f.X.(type) {
		case *ast.Ident:
			return x.Name + "." + f.Sel.Name
		case *ast.SelectorExpr:
			return x.Sel.Name + "." + f.Sel.Name
		}
		return f.Sel.Name
	}
	return ""
}

type source struct {
	path   string
	files  *token.FileSet
	syntax *ast.File
}

func (s source) position(n ast.Node) string { return s.files.Position(n.Pos()).String() }

// sources are the files that the module's packages are built from, but for packages that only tests import.
func sources(t *testing.T) []source {
	t.Helper()
	var found []source
	for _, dir := range []string{"config", "internal", "provider", "rule", "store", "verifier", "cmd"} {
		err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && strings.HasSuffix(name, "test"):
				return fs.SkipDir
			case entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
				return nil
			}
			files := token.NewFileSet()
			syntax, err := parser.ParseFile(files, name, nil, 0)
			found = append(found, source{filepath.ToSlash(name), files, syntax})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(found) < 50 {
		t.Fatalf("%d files, which are not all", len(found))
	}
	return found
}
