package ratify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
)

func TestParseTenantKey(t *testing.T) {
	long := strings.Repeat("n", 63)
	for key, want := range map[string]ratify.Subject{
		"nginx":                                {Repository: "docker.io/library/nginx", Tag: "latest"},
		"[team-a]nginx":                        {Namespace: "team-a", Repository: "docker.io/library/nginx", Tag: "latest"},
		"[a]registry.example:5000/app:v1":      {Namespace: "a", Repository: "registry.example:5000/app", Tag: "v1"},
		"[0-9]registry.example/app":            {Namespace: "0-9", Repository: "registry.example/app", Tag: "latest"},
		"[" + long + "]nginx":                  {Namespace: long, Repository: "docker.io/library/nginx", Tag: "latest"},
		"[2001:db8::1]:5000/app":               {Repository: "[2001:db8::1]:5000/app", Tag: "latest"},
		"[team-a][2001:DB8::1]:5000/app:v1":    {Namespace: "team-a", Repository: "[2001:db8::1]:5000/app", Tag: "v1"},
		"[team-a]app@" + emptyDigest:           {Namespace: "team-a", Repository: "docker.io/library/app", Digest: emptyDigest},
		"[kube-system]k8s.example/pause:3.10":  {Namespace: "kube-system", Repository: "k8s.example/pause", Tag: "3.10"},
		"[team-a]docker.io/library/nginx:1.29": {Namespace: "team-a", Repository: "docker.io/library/nginx", Tag: "1.29"},
	} {
		if got, err := ratify.ParseTenantKey(key); err != nil || got != want {
			t.Errorf("%s: %+v, want %+v (%v)", key, got, want, err)
		}
	}
	for _, key := range []string{
		"", "[]nginx", "[team-a]", "[team-a", "team-a]nginx", "]nginx", "[", "[]", "[[team-a]]nginx", "[team-a][team-b]nginx", "[team-a][]nginx",
		"[Team-A]nginx", "[team_a]nginx", "[team.a]nginx", "[-team]nginx", "[team-]nginx", "[*]nginx", "[team-*]nginx", "[team/a]nginx", "[team a]nginx",
		"[ team-a]nginx", " [team-a]nginx", "[team-a] nginx", "[team-a]\tnginx", "[team-a\n]nginx", "[team-a]nginx\x00", "[tеam-a]nginx", "[team-a]ngіnx",
		"[team\u200b-a]nginx", "［team-a］nginx", "[" + long + "n]nginx", "[team-a]" + strings.Repeat("x", 1025), "[team:a]nginx", "[::1", "[a:b]nginx",
		"[team-a]NGINX", "[team-a]..", "[team-a]/nginx", "[team-a]https://nginx", "x[team-a]nginx", "docker.io/[team-a]nginx", "%5Bteam-a%5Dnginx",
	} {
		if got, err := ratify.ParseTenantKey(key); err == nil || ratify.AsError(err).Code != ratify.BadReference || got != (ratify.Subject{}) {
			t.Errorf("%q is taken for %+v (%v)", key, got, err)
		}
	}
	if _, err := ratify.ParseKey("[team-a]nginx"); err == nil || !strings.Contains(err.Error(), "where tenancy is on") {
		t.Errorf("without tenancy: %v", err)
	}
}

const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// FuzzParseTenantKey holds the parser for tenants against the one that there is: a namespace changes nothing else, and
// without one they agree.
func FuzzParseTenantKey(f *testing.F) {
	for _, seed := range []string{"nginx", "[team-a]nginx", "[::1]:5000/x", "[a][::1]:5000/x", "[a][b]x", "[]x", "[a", "a]b", "[a:b]x", "[team-a]x@" + emptyDigest, "[A]x", "[a]", "]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		plain, plainErr := ratify.ParseKey(key)
		got, err := ratify.ParseTenantKey(key)
		switch {
		case plainErr == nil && (err != nil || got != plain):
			t.Fatalf("%q is %+v, for tenants %+v (%v)", key, plain, got, err)
		case err == nil && got.Namespace == "" && plainErr != nil:
			t.Fatalf("%q is %+v for tenants, and nothing without (%v)", key, got, plainErr)
		case err == nil && got.Namespace != "":
			rest, ok := strings.CutPrefix(key, "["+got.Namespace+"]")
			same, sameErr := ratify.ParseKey(rest)
			same.Namespace = got.Namespace
			if !ok || sameErr != nil || same != got || ratify.CheckNamespace(got.Namespace) != nil {
				t.Fatalf("%q is %+v, without the namespace %+v (%v)", key, got, same, sameErr)
			}
		}
		if tenant, err := ratify.ParseTenantKey("[team-a]" + key); plainErr == nil && (err != nil || tenant.Namespace != "team-a" || tenant.Repository != plain.Repository || tenant.Tag != plain.Tag || tenant.Digest != plain.Digest) ||
			plainErr != nil && err == nil {
			t.Fatalf("%q with a namespace is %+v (%v), without %+v (%v)", key, tenant, err, plain, plainErr)
		}
	})
}

// TestKeysOfAnEngine: a prefix stands for a tenant where there are tenants, and is nothing else elsewhere.
func TestKeysOfAnEngine(t *testing.T) {
	for _, tenancy := range []*ratify.Tenancy{nil, {}} {
		e, err := ratify.NewEngine(ratify.Setup{Tenancy: tenancy})
		if err != nil {
			t.Fatal(err)
		}
		if s, err := e.ParseKey("[team-a]nginx"); (err == nil) != (tenancy != nil) {
			t.Errorf("with tenancy %t: %+v, %v", tenancy != nil, s, err)
		}
	}
}

func TestNamespacePatterns(t *testing.T) {
	for pattern, ok := range map[string]bool{"a": true, "a-1": true, "team-*": true, "*": true, "a*": true,
		"": false, "**": false, "*-a": false, "a*b": false, "-*": false, "A*": false, "a.*": false, "a b": false, "[a]": false} {
		if err := ratify.CheckNamespacePattern(pattern); (err == nil) != ok {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	for _, tc := range []struct {
		pattern, namespace string
		want               bool
	}{
		{"a", "a", true}, {"a", "ab", false}, {"a*", "ab", true}, {"a*", "a", true}, {"a*", "ba", false}, {"*", "a", true},
		{"*", "", false}, {"a", "", false}, {"", "", false}, {"", "a", false},
	} {
		if got := ratify.MatchNamespace(tc.pattern, tc.namespace); got != tc.want {
			t.Errorf("%q of %q: %t", tc.pattern, tc.namespace, got)
		}
	}
}

// TestMostSpecificTenant: of namespace, then of scope; without any, the cluster's, or nothing.
func TestMostSpecificTenant(t *testing.T) {
	policy := func(name string, namespaces []string, scopes ...string) ratify.Policy {
		return ratify.Policy{Name: name, Namespaces: namespaces, Scopes: scopes, Verifiers: []string{"v"}}
	}
	policies := []ratify.Policy{
		policy("cluster", nil, "*"),
		policy("cluster-app", nil, "registry.example/app"),
		policy("all", []string{"*"}, "registry.example/*"),
		policy("team", []string{"team-*"}, "registry.example/*"),
		policy("team-wide", []string{"team-*"}, "*.example/*"),
		policy("team-x", []string{"team-x-*", "other"}, "registry.example/lib/*"),
		policy("team-a", []string{"team-a"}, "registry.example/app", "registry.example/a/*"),
	}
	for _, tc := range []struct{ namespace, repository, want, refusing string }{
		{"", "registry.example/app", "cluster-app", "cluster-app"},
		{"", "registry.example/x", "cluster", "cluster"},
		{"foo", "registry.example/app", "all", "all"},
		{"foo", "z.test/app", "cluster", ""},
		{"team-b", "registry.example/app", "team", "team"},
		{"team-b", "other.example/app", "team-wide", "team-wide"},
		{"team-b", "z.test/app", "cluster", ""},
		{"team-a", "registry.example/app", "team-a", "team-a"},
		{"team-a", "registry.example/a/b", "team-a", "team-a"},
		{"team-a", "registry.example/b", "team", "team"},
		{"team-x-1", "registry.example/lib/z", "team-x", "team-x"},
		{"team-x-1", "registry.example/z", "team", "team"},
		{"team-x", "registry.example/lib/z", "team", "team"},
		{"other", "registry.example/lib/z", "team-x", "team-x"},
		{"other", "registry.example/z", "all", "all"},
	} {
		for _, refuses := range []bool{false, true} {
			for _, order := range [][]ratify.Policy{policies, reversed(policies)} {
				e := newEngine(t, ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}},
					Policies: order, Tenancy: &ratify.Tenancy{RefuseWithoutPolicy: refuses}}, attached(lists{subjectDescriptor.Digest: pieces("sig", 1)}))
				want := tc.want
				if refuses {
					want = tc.refusing
				}
				r, err := e.Verify(t.Context(), ratify.Subject{Namespace: tc.namespace, Repository: tc.repository, Tag: "v1"})
				if r.Policy != want || r.IsSuccess != (want != "") || err != nil || r.Namespace != tc.namespace {
					t.Errorf("%q %s, refusing %t: %q %s, want %q", tc.namespace, tc.repository, refuses, r.Policy, r.Code, want)
				}
				if want == "" && (r.Code != ratify.NoPolicy || !strings.Contains(r.Message, fmt.Sprintf("in the namespace %q", tc.namespace))) {
					t.Errorf("%s %q", r.Code, r.Message)
				}
			}
		}
	}
}

func reversed[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

// TestTenantThatCouldNotBeLoaded is refused everything, even under a cluster that only audits; no other notices.
func TestTenantThatCouldNotBeLoaded(t *testing.T) {
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}},
		Policies: everywhere("v"), Tenancy: &ratify.Tenancy{Invalid: map[string]string{"team-a": "line 3: \x1b" + strings.Repeat("x", 1000)}}}
	setup.Policies[0].Mode = ratify.ModeAudit
	e := newEngine(t, setup, attached(lists{subjectDescriptor.Digest: pieces("sig", 1)}))
	r, err := ask(t, e, "[team-a]"+taggedKey)
	if r.Code != ratify.TenantInvalid || r.IsSuccess || r.Policy != "" || !strings.Contains(r.Message, `namespace "team-a" could not be loaded: line 3`) || len(r.Message) > 3*ratify.MaxTextBytes {
		t.Errorf("%s %q (%v)", r.Code, r.Message, err)
	}
	if r, decided := e.Preliminary(ratify.Subject{Namespace: "team-a", Repository: repositoryName, Tag: "v1"}); !decided || r.Code != ratify.TenantInvalid {
		t.Errorf("decided %t: %s", decided, r.Code)
	}
	for _, key := range []string{taggedKey, "[team-b]" + taggedKey} {
		if r, err := ask(t, e, key); r.Code != ratify.Verified {
			t.Errorf("%s: %s (%v)", key, r.Code, err)
		}
	}
}

func TestTenancyAtLoad(t *testing.T) {
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{}}}, Policies: everywhere("v")}
	setup.Policies[0].Namespaces = []string{"team-a", "Team"}
	want := `policies[0] "default": namespaces: expected a namespace, prefix* or *, got "Team"`
	if _, err := ratify.NewEngine(setup); err == nil || err.Error() != `policies[0] "default": namespaces: they have no effect without tenancy`+"\n"+want {
		t.Errorf("without tenancy: %v", err)
	}
	setup.Tenancy = &ratify.Tenancy{}
	if _, err := ratify.NewEngine(setup); err == nil || err.Error() != want {
		t.Errorf("with tenancy: %v", err)
	}
	setup.Policies = append(everywhere("v"), ratify.Policy{Name: "b", Scopes: []string{"*"}, Verifiers: []string{"v"}, Namespaces: []string{"a", "b"}},
		ratify.Policy{Name: "c", Scopes: []string{"*"}, Verifiers: []string{"v"}, Namespaces: []string{"b"}})
	if _, err := ratify.NewEngine(setup); err == nil || !strings.HasPrefix(err.Error(), `policies[2] "c": scope "*" is already the scope of policies[1] "b"`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a tie: %v", err)
	}
}

// TestScopeWithin compares with what scopes hold, of names that tell them apart.
func TestScopeWithin(t *testing.T) {
	scopes := []string{"*", "*.example/*", "*.a.example/*", "a.example/*", "a.a.example/*", "b.test/*", "a.example/x/*", "a.example/x/y/*", "a.example/any/*",
		"a.example/x", "a.example/any", "a.example/x/y", "b.a.example/x", "docker.io/*", "docker.io/library/*", "docker.io/library/nginx", "localhost:5000/*", "localhost:5000/x"}
	var names []string
	for _, host := range []string{"example", "a.example", "aa.example", "a.a.example", "b.a.example", "z.a.example", "b.test", "docker.io", "localhost:5000", "other.test"} {
		for _, path := range []string{"x", "any", "z", "x/y", "x/z", "x/y/z", "any/z", "library/nginx", "library/z", "acme/z"} {
			if s, err := ratify.ParseKey(host + "/" + path); err == nil {
				names = append(names, s.Repository)
			}
		}
	}
	holds := func(scope, name string) bool {
		e, err := ratify.NewEngine(ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{}}},
			Policies: []ratify.Policy{{Name: "p", Scopes: []string{scope}, Verifiers: []string{"v"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return e.NewReport(ratify.Subject{Repository: name, Tag: "v1"}).Policy == "p"
	}
	for _, inner := range scopes {
		for _, outer := range scopes {
			want := true
			for _, name := range names {
				want = want && (!holds(inner, name) || holds(outer, name))
			}
			if got := ratify.ScopeWithin(inner, outer); got != want {
				t.Errorf("%s within %s: %t, want %t", inner, outer, got, want)
			}
		}
	}
	for _, bad := range []string{"", "nginx", "a.example", "A.example/*", "a.example/x:1", "**", "a.example/*/x"} {
		if ratify.ScopeWithin(bad, "*") || ratify.ScopeWithin("*", bad) || ratify.ScopeWithin(bad, bad) || ratify.ScopeWithin("a.example/x", bad) {
			t.Errorf("%q holds something", bad)
		}
	}
}
