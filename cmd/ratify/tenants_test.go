package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/ratify-provider/ratify"
)

// tenancy is the configuration of a site whose teams have files of their own.
func (s *site) tenancy(delegate string) string {
	return s.config(fmt.Sprintf("tenancy: {enabled: true, directory: %q, delegate: [%s]}", s.path("tenants"), delegate))
}

const toTeams = `{namespaces: ["team-*"], scopes: ["registry.example/*"]}`

// tenantFile trusts what is in a file, for all that is delegated.
func tenantFile(trusted string) string {
	return fmt.Sprintf(`
verifiers:
- name: notation
  type: notation
  settings:
    trustStores: [{type: ca, name: certs, files: [%q]}]
    trustPolicy:
      version: "1.0"
      trustPolicies: [{name: default, registryScopes: ["*"], signatureVerification: {level: strict}, trustStores: ["ca:certs"], trustedIdentities: ["*"]}]
policies: [{name: own, scopes: ["registry.example/*"], verifiers: [notation]}]
`, trusted)
}

// newTenantSite has the signers' certificates in the tenants' directory, and the files given.
func newTenantSite(t *testing.T, tenants map[string]string) *site {
	t.Helper()
	s := newSite(t)
	s.write(t, "config.yaml", []byte(s.tenancy(toTeams)))
	s.setTenants(t, tenants)
	return s
}

// setTenants replaces the files of the tenants' directory.
func (s *site) setTenants(t *testing.T, tenants map[string]string) {
	t.Helper()
	if err := os.RemoveAll(s.path("tenants")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.path("tenants"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "tenants/signer.crt", s.signer.PEM())
	s.write(t, "tenants/other.crt", s.other.PEM())
	for name, content := range tenants {
		s.write(t, "tenants/"+name, []byte(strings.ReplaceAll(content, "TENANTS", s.path("tenants"))))
	}
}

// asks says what an engine says of the site's image for a namespace: code and policy.
func (s *site) asks(t *testing.T, e *ratify.Engine, namespace string) string {
	t.Helper()
	key := s.image
	if namespace != "" {
		key = "[" + namespace + "]" + key
	}
	subject, err := e.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Verify(t.Context(), subject)
	if err != nil {
		t.Error(err)
	}
	return string(r.Code) + " " + r.Policy
}

func TestTenants(t *testing.T) {
	const (
		clusters = "VERIFIED default"
		invalid  = "TENANT_INVALID "
		own      = "VERIFIED team-a/own"
		refuses  = "UNTRUSTED_SIGNER team-a/own"
	)
	signer, other := tenantFile("TENANTS/signer.crt"), tenantFile("TENANTS/other.crt")
	policies := func(list string) string { return "policies: [" + list + "]" }
	replaced := func(from, to string) string { return strings.Replace(signer, from, to, 1) }
	s := newTenantSite(t, nil)
	for _, tc := range []struct {
		name   string
		files  map[string]string
		answer string // for team-a
		errors []string
	}{
		{"none", nil, clusters, nil},
		{"its own trust", map[string]string{"team-a.yaml": signer}, own, nil},
		{"its own trust is not the cluster's", map[string]string{"team-a.yml": other}, refuses, nil},
		{"JSON", map[string]string{"team-a.json": `{"policies": [{"name": "own", "scopes": ["registry.example/app"], "verifiers": ["notation"]}]}`}, own, nil},
		{"the cluster's verifier", map[string]string{"team-a.yaml": policies(`{name: own, scopes: ["registry.example/app"], verifiers: [notation]}`)}, own, nil},
		{"a tree of its own and the cluster's", map[string]string{"team-a.yaml": strings.NewReplacer("- name: notation", "- name: mine", "verifiers: [notation]", "require: {all: [notation, {any: [mine]}]}").Replace(other)}, refuses, nil},
		{"another tenant's file", map[string]string{"team-b.yaml": other}, clusters, nil},
		{"what is no tenant's file", map[string]string{"README.md": "policies", "team-a.yaml.bak": "x", ".team-a.yaml": "x"}, clusters, nil},
		{"elsewhere than asked", map[string]string{"team-a.yaml": replaced(`scopes: ["registry.example/*"]`, `scopes: ["registry.example/other"]`)}, clusters, nil},

		{"malformed", map[string]string{"team-a.yaml": "policies: [{"}, invalid, []string{"team-a.yaml: the configuration is not valid YAML"}},
		{"empty", map[string]string{"team-a.yaml": ""}, invalid, []string{"team-a.yaml: the file is empty"}},
		{"an unknown field", map[string]string{"team-a.yaml": signer + "exemptions: []\n"}, invalid, []string{`team-a.yaml: unknown field "exemptions"`}},
		{"namespaces", map[string]string{"team-a.yaml": replaced("{name: own,", "{name: own, namespaces: [team-b],")}, invalid, []string{`team-a.yaml: policies[0] "own": namespaces: the file is for its own namespace alone`}},
		{"not delegated", map[string]string{"team-a.yaml": replaced(`"registry.example/*"`, `"registry.example/app", "*.example/*", "*"`)}, invalid, []string{
			`team-a.yaml: policies[0] "own": scopes: "*.example/*" is not delegated to the namespace "team-a"`, `team-a.yaml: policies[0] "own": scopes: "*" is not delegated`}},
		{"an unknown verifier", map[string]string{"team-a.yaml": policies(`{name: own, scopes: ["registry.example/app"], verifiers: [x]}`)}, invalid, []string{`team-a.yaml: policies[0] "team-a/own": verifiers: there is no verifier "x" (known: notation)`}},
		{"another tenant's verifier", map[string]string{"team-b.yaml": other, "team-a.yaml": policies(`{name: own, scopes: ["registry.example/app"], verifiers: [team-b/notation]}`),
			"team-0.yaml": signer}, invalid, []string{`team-a.yaml: policies[0] "team-a/own": verifiers: there is no verifier "team-b/notation" (known: notation)`}},
		{"a verifier without a name", map[string]string{"team-a.yaml": replaced("- name: notation", "-")}, invalid, []string{"team-a.yaml: verifiers[0]: name: it has none"}},
		{"a policy without a name", map[string]string{"team-a.yaml": replaced("{name: own, ", "{")}, invalid, []string{"team-a.yaml: policies[0]: name: it has none"}},
		{"a verifier that nothing uses", map[string]string{"team-a.yaml": replaced("- name: notation", "- name: mine")}, invalid, []string{`team-a.yaml: verifiers[0] "team-a/mine": no policy uses it`}},
		{"a rule that is none", map[string]string{"team-a.yaml": replaced("{name: own,", "{name: own, rule: 'evidence.',")}, invalid, []string{`team-a.yaml: policies[0] "team-a/own": rule: `}},
		{"no such type", map[string]string{"team-a.yaml": replaced("type: notation", "type: notary")}, invalid, []string{`team-a.yaml: verifiers[0] "notation": type: unknown type "notary"`}},
		{"a policy that admits what cannot be verified", map[string]string{"team-a.yaml": replaced("{name: own,", "{name: own, lastKnownGood: 1h,")}, invalid, []string{`team-a.yaml: policies[0] "own": lastKnownGood: it admits what cannot be verified now; that is for the cluster's configuration alone`}},
		{"a policy that only audits", map[string]string{"team-a.yaml": replaced("{name: own,", "{name: own, mode: audit,")}, invalid, []string{`team-a.yaml: policies[0] "own": mode: audit admits what is not verified; that is for the cluster's configuration alone`}},
		{"a statement that skips", map[string]string{"team-a.yaml": replaced(`{name: default, registryScopes: ["*"]`, `{name: default, registryScopes: [registry.example/app], signatureVerification: {level: skip}}, {name: strict, registryScopes: ["*"]`)}, invalid, []string{`team-a.yaml: verifiers[0] "notation": trustPolicy: statement "default": the level skip admits unsigned images`}},
		{"a statement that audits", map[string]string{"team-a.yaml": replaced("{level: strict}", "{level: audit}")}, invalid, []string{`team-a.yaml: verifiers[0] "notation": trustPolicy: statement "default": the level audit admits unsigned images`}},
		{"requests to private addresses", map[string]string{"team-a.yaml": replaced("  settings:\n", "  settings:\n    allowPrivateRevocation: true\n")}, invalid, []string{`team-a.yaml: verifiers[0] "notation": allowPrivateRevocation: the certificates that are trusted here would choose`}},
		{"a key that is not there", map[string]string{"team-a.yaml": tenantFile("TENANTS/absent.crt")}, invalid, []string{"absent.crt: no such file"}},
		{"a key outside", map[string]string{"team-a.yaml": tenantFile("TENANTS/../signer.crt")}, invalid, []string{"it is not below"}},
		{"a key anywhere", map[string]string{"team-a.yaml": tenantFile("/etc/hostname")}, invalid, []string{"it is not below"}},
		{"a key behind a link", map[string]string{"team-a.yaml": tenantFile("TENANTS/link.crt")}, invalid, []string{"it is not below"}},
		{"two files", map[string]string{"team-a.yaml": signer, "team-a.yml": signer}, invalid, []string{"team-a.yaml: there is another file for the same namespace"}},
		{"a namespace that has nothing delegated", map[string]string{"ops.yaml": signer, "team-a.yaml": signer}, own, []string{`ops.yaml: policies[0] "own": scopes: "registry.example/*" is not delegated to the namespace "ops"`}},
		{"a name that is none", map[string]string{"Team_A.yaml": signer, "team-a.yaml": signer}, own, []string{`Team_A.yaml: the name of the file: "Team_A" is not the name of a namespace`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s.setTenants(t, tc.files)
			if err := os.Symlink(s.path("signer.crt"), s.path("tenants/link.crt")); err != nil {
				t.Fatal(err)
			}
			g, err := (&process{}).build(s.path("config.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if got := s.asks(t, g.engine, "team-a"); got != tc.answer {
				t.Errorf("team-a: %s, want %s", got, tc.answer)
			}
			for _, namespace := range []string{"", "team-c", "default"} {
				if got := s.asks(t, g.engine, namespace); got != clusters {
					t.Errorf("%q: %s, want the cluster's", namespace, got)
				}
			}
			if len(g.tenantErrors) != len(tc.errors) {
				t.Fatalf("errors %q, want %q", g.tenantErrors, tc.errors)
			}
			for i, want := range tc.errors {
				if !strings.HasPrefix(g.tenantErrors[i], s.path("tenants")+"/") || !strings.Contains(g.tenantErrors[i], want) {
					t.Errorf("error %q, want %q", g.tenantErrors[i], want)
				}
			}
		})
	}
}

// TestTenantsHaveTheirOwnNames: two that call their verifiers and policies the same do not meet.
func TestTenantsHaveTheirOwnNames(t *testing.T) {
	s := newTenantSite(t, map[string]string{"team-a.yaml": tenantFile("TENANTS/signer.crt"), "team-b.yaml": tenantFile("TENANTS/other.crt")})
	g, err := (&process{}).build(s.path("config.yaml"))
	if err != nil || len(g.tenantErrors) > 0 {
		t.Fatal(err, g.tenantErrors)
	}
	for namespace, want := range map[string]string{"team-a": "VERIFIED team-a/own", "team-b": "UNTRUSTED_SIGNER team-b/own", "": "VERIFIED default"} {
		if got := s.asks(t, g.engine, namespace); got != want {
			t.Errorf("%q: %s, want %s", namespace, got, want)
		}
	}
	subject, err := g.engine.ParseKey("[team-a]" + s.image)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := g.engine.Verify(t.Context(), subject); err != nil || r.VerifierReports[0].Name != "team-a/notation" {
		t.Errorf("%+v (%v)", r.VerifierReports, err)
	}
}

// TestTenancyThatIsMalformed is the cluster's problem, and told before any tenant is.
func TestTenancyThatIsMalformed(t *testing.T) {
	s := newTenantSite(t, nil)
	for name, tc := range map[string]struct{ config, want string }{
		"a namespace": {s.tenancy(`{namespaces: ["Team"], scopes: ["*"]}`), `tenancy: delegate[0]: namespaces: expected a namespace, prefix* or *, got "Team"`},
		"a scope":     {s.tenancy(toTeams + `, {namespaces: ["*"], scopes: ["nginx"]}`), `tenancy: delegate[1]: scopes: scope "nginx": expected the canonical name, "docker.io/library/nginx"`},
		"a directory": {strings.Replace(s.tenancy(toTeams), s.path("tenants"), s.path("absent"), 1), "tenancy: directory: open " + s.path("absent")},
	} {
		s.write(t, "config.yaml", []byte(tc.config))
		if g, err := (&process{}).build(s.path("config.yaml")); err == nil || !strings.Contains(err.Error(), tc.want) || g.engine != nil {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestReloadNoticesTenants: a file that comes, changes and goes, and a key of it that comes later, are changes.
func TestReloadNoticesTenants(t *testing.T) {
	s := newTenantSite(t, nil)
	r := newReloader(t, s)
	step := func(name, want string) {
		t.Helper()
		if changed, torn := r.reload(); !changed || torn {
			t.Errorf("%s: changed %t, torn %t", name, changed, torn)
		}
		if got := s.asks(t, r.current.engine, "team-a"); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if changed, torn := r.reload(); changed || torn {
			t.Errorf("%s, and nothing more: changed %t, torn %t", name, changed, torn)
		}
	}
	file := func(trusted string) []byte { return []byte(tenantFile(s.path("tenants/" + trusted))) }
	if err := os.Mkdir(s.path("tenants/keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "tenants/team-a.yaml", file("other.crt"))
	step("it comes", "UNTRUSTED_SIGNER team-a/own")
	s.write(t, "tenants/team-a.yaml", file("keys/new.crt"))
	step("its key is not there", "TENANT_INVALID ")
	s.write(t, "tenants/keys/new.crt", s.signer.PEM())
	step("its key comes", "VERIFIED team-a/own")
	s.write(t, "tenants/keys/new.crt", s.other.PEM())
	step("its key changes", "UNTRUSTED_SIGNER team-a/own")
	if err := os.Remove(s.path("tenants/team-a.yaml")); err != nil {
		t.Fatal(err)
	}
	step("it goes", "VERIFIED default")
}

// TestTenantsAreWatched, and what is wrong with one is said when it is noticed.
func TestTenantsAreWatched(t *testing.T) {
	s := newTenantSite(t, nil)
	r := newReloader(t, s)
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	events, _ := r.watch(watcher)
	s.write(t, "tenants/team-a.yaml", []byte("policies: [{"))
	select {
	case event := <-events:
		if event.Name != s.path("tenants/team-a.yaml") {
			t.Errorf("told of %s", event.Name)
		}
	case <-time.After(patience):
		t.Fatal("told of nothing")
	}
	r.reload()
	if want := s.path("tenants/team-a.yaml") + ": the configuration is not valid YAML"; !strings.Contains(s.stderr.String(), want) {
		t.Errorf("the log does not say %q:\n%s", want, s.stderr)
	}
}

// TestCheckTellsOfTenants: a tenant's error is an error, and the rest is told all the same, for the cluster's configuration
// is good.
func TestCheckTellsOfTenants(t *testing.T) {
	s := newTenantSite(t, map[string]string{"team-a.yaml": "policies: [{"})
	a, stdout, stderr := testApp(t)
	err := a.check(formatText, s.path("config.yaml"))
	if got := stdout.String(); exitCodeOf(err) != exitUsage || !strings.Contains(got, "the rest is good") || !strings.Contains(got, "STORE") {
		t.Errorf("%s (%v)", got, err)
	}
	if want := "error: " + s.path("tenants") + "/team-a.yaml: the configuration is not valid YAML"; !strings.Contains(stderr.String(), want) || strings.Contains(stderr.String(), "warning") {
		t.Errorf("%s\nwant %q", stderr, want)
	}
}
