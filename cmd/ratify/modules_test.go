package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A whole configuration; the placeholder is the trust store's file.
const wholeConfig = `
stores:
- {name: registries, type: oras, scopes: ["*"]}
verifiers:
- name: notation
  type: notation
  settings:
    trustStores:
    - {type: ca, name: certs, files: [%q]}
    trustPolicy:
      version: "1.0"
      trustPolicies:
      - {name: default, registryScopes: ["*"], signatureVerification: {level: strict}, trustStores: ["ca:certs"], trustedIdentities: ["*"]}
policies:
- {name: default, scopes: ["*"], verifiers: [notation]}
`

func TestBuildRemembersWhatItRead(t *testing.T) {
	root := writeRoot(t)
	path := writeFile(t, "ratify.yaml", fmt.Appendf(nil, wholeConfig, root))
	g, err := (&process{}).build(path)
	if err != nil || g.engine == nil {
		t.Fatalf("engine %v, error %v", g.engine, err)
	}
	for _, want := range []string{path, root} {
		if !slices.Contains(g.files.Paths(), want) {
			t.Errorf("it does not remember %s, only %s", want, g.files.Paths())
		}
	}
	if g.files.Changed() {
		t.Error("changed before anything has")
	}
	if found := certificatesOf(g.files); len(found) != 1 || found[0].File != root {
		t.Errorf("certificates: %+v", found)
	}
	if err := os.WriteFile(root, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	certificatesOf(g.files) // reads the file again, and must not make it the known one
	if !g.files.Changed() {
		t.Error("a changed trust store is no change")
	}
}

func TestBuildRemembersWhatItCouldNotRead(t *testing.T) {
	dir := t.TempDir()
	path, root := filepath.Join(dir, "ratify.yaml"), filepath.Join(dir, "root.crt")
	g, err := (&process{}).build(path)
	if err == nil || g.engine != nil || !slices.Contains(g.files.Paths(), path) {
		t.Fatalf("engine %v, error %v, files %s", g.engine, err, g.files.Paths())
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, wholeConfig, root), 0o600); err != nil {
		t.Fatal(err)
	}
	if !g.files.Changed() {
		t.Error("a configuration that has come is no change")
	}
	g, err = (&process{}).build(path)
	if err == nil || g.engine != nil || !slices.Contains(g.files.Paths(), root) {
		t.Fatalf("engine %v, error %v, files %s", g.engine, err, g.files.Paths())
	}
	if err := os.WriteFile(path, []byte("stores: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if g, err = (&process{}).build(path); err == nil || g.engine != nil || !slices.Contains(g.files.Paths(), path) {
		t.Fatalf("engine %v, error %v, files %s", g.engine, err, g.files.Paths())
	}
}

func TestBuildTellsEverythingAtOnce(t *testing.T) {
	// An unknown field keeps the file from being decoded; what is wrong elsewhere is told all the same, and once.
	const text = `
stores:
- {name: a, type: oras, scopes: ["*"], settings: {registries: [{hots: x}]}}
- {name: b, type: ocilayout, scopes: ["b.example/*"], settings: {path: /not/there}}
verifiers:
- {name: notation, type: notation, settings: {trustStores: [{type: ca, name: certs, file: x}], trustPolicy: {}}}
- {type: nothing}
polices: []
`
	g, err := (&process{}).buildFrom([]byte(text), &files.Set{})
	if err == nil || g.engine != nil {
		t.Fatalf("engine %v, error %v", g.engine, err)
	}
	lines := linesOf(err)
	for _, want := range []string{
		`unknown field "polices" (did you mean "policies"?)`,
		`stores[0] "a": `, `unknown field "hots"`,
		`stores[1] "b": path: /not/there is no OCI image layout`,
		`verifiers[0] "notation": `, `unknown field "file" (did you mean "files"?)`,
		`verifiers[1]: type: unknown type "nothing" (known: notation)`,
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("%d times %s in\n%s", n, want, strings.Join(lines, "\n"))
		}
	}
	// Where not even the modules can be found, the file's own error is all.
	if _, err := (&process{}).buildFrom([]byte("stores: 7"), &files.Set{}); len(linesOf(err)) != 1 {
		t.Errorf("%v", err)
	}
}

func TestEachTypeCanBeBuilt(t *testing.T) {
	layout := t.TempDir()
	for name, data := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[]}`} {
		if err := os.WriteFile(filepath.Join(layout, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	storeSettings := map[string]string{"oras": "{}", "ocilayout": fmt.Sprintf("{path: %q}", layout)}
	if got, want := slices.Sorted(maps.Keys(storeTypes())), slices.Sorted(maps.Keys(storeSettings)); !slices.Equal(got, want) {
		t.Errorf("types %s, tested %s", got, want)
	}
	if got := slices.Sorted(maps.Keys(verifierTypes())); !slices.Equal(got, []string{"notation"}) {
		t.Errorf("types %s, tested notation", got)
	}
	root := writeRoot(t)
	for kind, settings := range storeSettings {
		text := strings.Replace(fmt.Sprintf(wholeConfig, root), `type: oras, scopes: ["*"]`, fmt.Sprintf(`type: %s, scopes: ["*"], settings: %s`, kind, settings), 1)
		g, err := (&process{revocation: notation.NewRevocation(notation.RevocationOptions{})}).buildFrom([]byte(text), &files.Set{})
		if err != nil || g.engine == nil || g.setup.Stores[0].Store == nil || g.setup.Verifiers[0].Verifier == nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestPrefixEach(t *testing.T) {
	if got := prefixEach("", errUnexpected); !errors.Is(got, errUnexpected) {
		t.Errorf("%v", got)
	}
	if got := prefixEach("place", errors.Join(errors.New("one"), errors.New("two"))).Error(); got != "place: one\nplace: two" {
		t.Errorf("%q", got)
	}
}

func TestPanicIsLogged(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	(&process{log: zap.New(core)}).onPanic("trace", "boom", []byte("stack"))
	if got := logs.All(); len(got) != 1 || got[0].ContextMap()["traceID"] != "trace" || got[0].ContextMap()["value"] != "boom" {
		t.Errorf("%+v", got)
	}
	(&process{}).onPanic("trace", "boom", nil)

	a, _, stderr := testApp(t)
	a.process().onPanic("trace", "boom", []byte("stack"))
	if got := stderr.String(); !strings.Contains(got, "boom") || !strings.Contains(got, "stack") {
		t.Errorf("the command line says %q", got)
	}
}

// FuzzBuild makes engines of hostile configurations: no panic, and either a whole engine or an error that says something.
func FuzzBuild(f *testing.F) {
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{})
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	f.Chdir(dir)
	if err := os.WriteFile("root.crt", authority.PEM(), 0o600); err != nil {
		f.Fatal(err)
	}
	whole := fmt.Sprintf(wholeConfig, "root.crt")
	for _, seed := range []string{
		whole, "", "{}", "stores:", "stores: [{}]", "stores: [{settings: }]", "verifiers: [{type: notation, settings: {trustPolicy: }}]",
		strings.Replace(whole, "notation", "\x00", 1), strings.Replace(whole, "strict", "skip", 1), strings.Replace(whole, `["*"]`, `["*", "*"]`, 2),
		strings.Replace(whole, "type: oras", "type: ocilayout, settings: {path: .}", 1),
		strings.Replace(whole, "type: oras", `type: oras, settings: {registries: [{host: "*"}, {host: "*"}]}`, 1),
		"a: &a [*a]", "&a {stores: [&b {name: *b}]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := (&process{}).buildFrom(data, &files.Set{})
		switch {
		case g == nil || g.files == nil:
			t.Fatal("no generation")
		case (err == nil) != (g.engine != nil):
			t.Fatalf("engine %v, error %v", g.engine, err)
		case err != nil && (err.Error() == "" || len(linesOf(err)) == 0):
			t.Fatal("an error without a word")
		case err == nil:
			g.engine.NewReport(ratify.Subject{})
		}
	})
}
