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
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
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
	root := writeRoot(t)
	good := fmt.Sprintf(wholeConfig, root)
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"an unknown field hides nothing of the policies": {
			strings.Replace(good, "policies:", `concurency: 1
fancy: 1
policies:
- {name: again, scopes: ["*"], verifiers: [notatoin]}
- {name: more, scopes: ["ghcr.io/*/app"], verifiers: [notation], require: 2}`, 1),
			[]string{
				`unknown field "concurency" (did you mean "concurrency"?)`,
				`unknown field "fancy" (known: cache, concurrency, exemptions, gatekeeperCacheTTL, mirrors, mutation, policies, stores, tenancy, verifiers)`,
				`policies[0] "again": verifiers: there is no verifier "notatoin" (known: notation)`,
				`policies[1] "more": require: 2 of 1 verifiers cannot be met`,
				`policies[1] "more": scope "ghcr.io/*/app": a * may only stand for the whole, as the first label of a host (*.example.com/*), or as the last component (host/path/*)`,
				`policies[2] "default": scope "*" is already the scope of policies[0] "again"; which of them wins must not be left to chance`,
			},
		},
		"nor of the settings that it is in": {
			strings.NewReplacer(`scopes: ["*"]}
verifiers`, `scopes: ["*"], settings: {registries: [{host: ghcr.io, pot: 1}, {host: "*", credentials: {username: u}}]}}
verifiers`, "settings:\n    trustStores", "settings:\n    requireRevocation: true\n    trustStores", `"ca:certs"`, `"ca:cert"`, "level: strict", "level: strickt").Replace(good),
			[]string{
				`stores[0] "registries": registries[0] "ghcr.io": unknown field "pot"`,
				`stores[0] "registries": registries[1].credentials: `,
				`verifiers[0] "notation": unknown field "requireRevocation" (did you mean "requireRevocationInfo"?)`,
				`verifiers[0] "notation": trustPolicy: trustPolicies[0] "default": signatureVerification: level: `,
				`verifiers[0] "notation": trustPolicy: trustPolicies[0] "default": trustStores[0]: "ca:cert" is not configured (did you mean "ca:certs"?)`,
				`verifiers[0] "notation": trustStores[0] "certs": no trust policy statement uses ca:certs`,
			},
		},
		"what is misspelt is checked as what was meant": {`
stores:
- {name: a, type: oras, scopes: ["*"], settings: {registries: [{hots: "a.example:443", plainHTP: true}]}}
- {name: b, type: ocilayout, scopes: ["b.example/*"], settings: {path: /not/there}}
verifiers:
- {name: notation, type: nothing}
polices:
- {name: p, scopes: ["*"], verifers: [notation]}
`,
			[]string{
				`unknown field "polices" (did you mean "policies"?)`,
				`policies[0] "p": unknown field "verifers" (did you mean "verifiers"?)`,
				`stores[0] "a": registries[0]: unknown field "hots" (did you mean "host"?)`,
				`stores[0] "a": registries[0]: unknown field "plainHTP" (did you mean "plainHTTP"?)`,
				`stores[1] "b": path: /not/there is no OCI image layout: `,
				`verifiers[0] "notation": type: unknown type "nothing" (known: attestation, cosign, notation, `,
			},
		},
		"what is told of a value is not told again of its absence": {`
stores: [7, {name: [x], type: oras, scopes: ["*"]}, {name: disk, type: ocilayout, scopes: ["*"], settings: [1]}]
verifiers: {name: notation, type: 3}
policies: [{name: p, scopes: "*", verifiers: {a: b}}]
mutation: {reference: 3}
`,
			[]string{
				`mutation: reference: expected a string, got a number`,
				`policies[0] "p": scopes: expected a list, got a string`,
				`policies[0] "p": verifiers: expected a list, got a mapping`,
				`stores[0]: expected a mapping, got a number`,
				`stores[1]: name: expected a string, got a list`,
				`stores[2] "disk": settings: expected a mapping, got a list`,
				`verifiers: expected a list, got a mapping`,
				`verifiers[0] "notation": type: expected a string, got a number`,
			},
		},
		"a hole in a policy hides nothing of the modules": {
			strings.NewReplacer("verifiers: [notation]", "verifiers: {a: b}", root, root+".missing").Replace(good),
			[]string{
				`policies[0] "default": verifiers: expected a list, got a mapping`,
				`verifiers[0] "notation": trustStores[0] "certs": open ` + root + `.missing: no such file or directory`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := (&process{}).buildFrom([]byte(c.text), &files.Set{})
			if err == nil || g.engine != nil {
				t.Fatalf("engine %v, error %v", g.engine, err)
			}
			lines := linesOf(err)
			if len(lines) != len(c.want) {
				t.Errorf("%d errors, want %d", len(lines), len(c.want))
			}
			for i, line := range lines {
				if i >= len(c.want) || !strings.HasPrefix(line, c.want[i]) {
					t.Errorf("error %d: %s", i, line)
				}
			}
		})
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
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	keys := fmt.Sprintf("keys: [{name: ci, file: %q}]", filepath.Join(t.TempDir(), "cosign.pub"))
	if err := os.WriteFile(strings.Split(keys, `"`)[1], key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	verifierSettings := map[string]string{
		"notation": "", // the configuration has one
		"cosign":   "{" + keys + "}", "sbom": "{" + keys + "}",
		"attestation":   "{" + keys + ", predicateType: https://slsa.dev/provenance/v1}",
		"vulnerability": "{" + keys + ", maxAge: 24h}",
	}
	if got, want := slices.Sorted(maps.Keys(verifierTypes())), slices.Sorted(maps.Keys(verifierSettings)); !slices.Equal(got, want) {
		t.Errorf("types %s, tested %s", got, want)
	}
	for kind, settings := range verifierSettings {
		if kind == "notation" {
			continue
		}
		text := fmt.Sprintf("stores: [{name: s, type: oras, scopes: ['*']}]\nverifiers: [{name: v, type: %s, settings: %s}]\npolicies: [{name: p, scopes: ['*'], verifiers: [v]}]", kind, settings)
		if g, err := (&process{}).buildFrom([]byte(text), &files.Set{}); err != nil || g.engine == nil || g.setup.Verifiers[0].Verifier == nil {
			t.Errorf("%s: %v", kind, err)
		}
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

// TestCredentialsForTenantsNeedTenancy: a credential that nothing could ever use is a mistake.
func TestCredentialsForTenantsNeedTenancy(t *testing.T) {
	const text = `stores: [{name: s, type: oras, scopes: ["*"], settings: {registries: [{host: ghcr.io, credentials: [{username: a, password: b}, {namespaces: [team-a], username: a, password: b}]}]}}]
`
	_, err := (&process{}).buildFrom([]byte(text), &files.Set{})
	const want = `stores[0] "s": registry "ghcr.io": credentials[1]: it is for tenants alone, and has no effect without tenancy`
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := (&process{}).buildFrom([]byte(text+"tenancy: {enabled: true}"), &files.Set{}); err != nil {
		t.Error(err)
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
