package ratify

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestScopeHolds(t *testing.T) {
	for _, tc := range []struct {
		scope string
		holds []string
		not   []string
	}{
		{"*", []string{"docker.io/library/nginx", "localhost:5000/a", "[::1]/a"}, nil},
		{"ghcr.io/*", []string{"ghcr.io/a", "ghcr.io/a/b/c"}, []string{"ghcr.io:8443/a", "ghcr.io.evil.example/a", "xghcr.io/a", "a.ghcr.io/a"}},
		{"ghcr.io/acme/*", []string{"ghcr.io/acme/a", "ghcr.io/acme/a/b"}, []string{"ghcr.io/acme", "ghcr.io/acme-evil/a", "ghcr.io/acm/e", "ghcr.io/x/acme/a"}},
		{"ghcr.io/acme/app", []string{"ghcr.io/acme/app"}, []string{"ghcr.io/acme/app/x", "ghcr.io/acme/app2", "ghcr.io/acme/ap"}},
		{"*.example.com/*", []string{"a.example.com/x", "a.b.example.com/x/y"}, []string{"example.com/x", "aexample.com/x", "a.example.com.evil.example/x", "evil.example/a.example.com/x", "a.example.com:8443/x"}},
		{"*.example.com:8443/*", []string{"a.example.com:8443/x"}, []string{"a.example.com/x", "example.com:8443/x"}},
		{"*.internal/*", []string{"a.internal/x", "a.b.internal/x"}, []string{"internal:443/x", "internal.example/x"}},
		{"*.docker.io/*", []string{"mirror.docker.io/x"}, []string{"docker.io/library/nginx"}},
		{"docker.io/*", []string{"docker.io/library/nginx", "docker.io/acme/app"}, []string{"mirror.docker.io/x"}},
		{"docker.io/library/*", []string{"docker.io/library/nginx"}, []string{"docker.io/acme/app", "docker.io/library2/app"}},
		{"docker.io/acme/*", []string{"docker.io/acme/app"}, []string{"docker.io/library/acme"}},
		{"docker.io/library/nginx", []string{"docker.io/library/nginx"}, []string{"docker.io/library/nginx2"}},
		{"localhost:5000/*", []string{"localhost:5000/a"}, []string{"localhost/a", "localhost:50001/a"}},
		{"registry:443/*", []string{"registry:443/a"}, []string{"docker.io/registry/a"}},
		{"[::1]:5000/*", []string{"[::1]:5000/a"}, []string{"[::1]/a"}},
		{"10.0.0.1/*", []string{"10.0.0.1/a"}, []string{"10.0.0.11/a"}},
	} {
		t.Run(tc.scope, func(t *testing.T) {
			s, err := parseScope(tc.scope)
			if err != nil {
				t.Fatal(err)
			}
			for _, repository := range tc.holds {
				if !s.holds(repository) {
					t.Errorf("does not hold %s", repository)
				}
			}
			for _, repository := range tc.not {
				if s.holds(repository) {
					t.Errorf("holds %s", repository)
				}
			}
		})
	}
}

func TestScopeRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "**", "*/*", "*/app", "*.", "*./*", "*.*/*", "*.example.com", "*.example.com/", "*.example.com/app", "*.example.com/app/*", "*.a.*.com/*",
		"ghcr.io", "ghcr.io/", "/*", "//*", "ghcr.io//*", "ghcr.io/*/*", "ghcr.io/*/app", "ghcr.io/ac*", "ghcr.io/acme*", "gh*.io/*", "ghcr.io/acme/**", "ghcr.io/acme/",
		"ghcr.io/app:v1", "ghcr.io/app:latest", "ghcr.io/app@sha256:" + strings.Repeat("a", 64), "ghcr.io/app:latest/*",
		"GHCR.IO/*", "GHCR.IO/app", "ghcr.io:443/*", "ghcr.io:443/app", "ghcr.io./*", "ghcr.io/Acme/*", "*.Example.com/*", "*.example.com:443/*", "*.example.com./*",
		"nginx", "nginx/*", "library/nginx", "library/*", "docker.io/nginx", "index.docker.io/*", "index.docker.io/library/nginx", "registry/*", "*.example",
		"https://ghcr.io/*", "user@ghcr.io/*", "ghcr.io/../*", "ghcr.io/./*", "ghcr.io/%2a", "ghcr.io/acme /*", "ghcr.io/acme/*\n", "ghсr.io/*", "ghcr.io\x00/*",
		"127.1/*", "0x7f.1/*", "*.1/*", "*.0.0.1/*", "*.10.0.0.1/*", "[0:0::1]/*", "[::1", "[::ffff:7f00:1]/*", "*.[::1]/*",
		"[ns]ghcr.io/*", "ghcr.io/" + strings.Repeat("a", 300), strings.Repeat("a", 2000),
	} {
		t.Run(Truncate(text), func(t *testing.T) {
			s, err := parseScope(text)
			if err == nil {
				t.Fatalf("taken for %+v", s)
			}
			if !strings.HasPrefix(err.Error(), "scope "+Quote(text)) {
				t.Errorf("the error %q does not name the scope", err)
			}
		})
	}
}

func TestScopeSuggested(t *testing.T) {
	for text, want := range map[string]string{
		"x/*": "docker.io/x/*", "x/y/*": "docker.io/x/y/*", "any/*": "docker.io/any/*", "index.docker.io/*": "docker.io/*", "GHCR.IO/acme/*": "ghcr.io/acme/*",
		"*.Example.com/*": "*.example.com/*", "*.example.com:443/*": "*.example.com/*", "nginx": "docker.io/library/nginx", "any/any": "docker.io/any/any",
	} {
		_, err := parseScope(text)
		if got := fmt.Sprint(err); got != "scope "+Quote(text)+": expected the canonical name, "+Quote(want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if _, err := parseScope(want); err != nil {
			t.Errorf("%s: what is suggested is refused: %v", text, err)
		}
	}
}

// naiveHolds says from the documentation, word by word, whether a scope holds a repository.
func naiveHolds(scope, repository string) bool {
	hostOf := func(s string) string { host, _, _ := strings.Cut(s, "/"); return host }
	switch {
	case scope == "*":
		return true
	case strings.HasPrefix(scope, "*."):
		labels, domain := strings.Split(hostOf(repository), "."), strings.Split(hostOf(scope)[2:], ".")
		return len(labels) > len(domain) && slices.Equal(labels[len(labels)-len(domain):], domain)
	case strings.HasSuffix(scope, "/*"):
		have, want := strings.Split(repository, "/"), strings.Split(strings.TrimSuffix(scope, "/*"), "/")
		return len(have) > len(want) && slices.Equal(have[:len(want)], want)
	default:
		return scope == repository
	}
}

// naiveRank orders kinds as the documentation lists them, and within one the longer first.
func naiveRank(scope string) int {
	switch {
	case scope == "*":
		return 0
	case strings.HasPrefix(scope, "*."):
		return 1e4 + len(scope)
	case strings.HasSuffix(scope, "/*"):
		return 2e4 + len(scope)
	default:
		return 3e4
	}
}

// TestMostSpecificScopeWins compares random tables with going through all scopes.
func TestMostSpecificScopeWins(t *testing.T) {
	hosts := []string{"a.example", "b.a.example", "c.b.a.example", "a.example:5000", "docker.io", "localhost:5000", "z.test"}
	parts := []string{"x", "y", "xy", "library"}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	path := func(n int) string {
		s := ""
		for range n {
			s += "/" + pick(parts)
		}
		return s
	}
	found := 0
	for round := range 2000 {
		var table scopeTable[string]
		var scopes []string
		for range random.IntN(12) {
			var scope string
			switch random.IntN(8) {
			case 0:
				scope = "*"
			case 1, 2:
				scope = "*." + pick([]string{"example", "a.example", "b.a.example", "test", "a.example:5000"}) + "/*"
			case 3, 4, 5:
				scope = pick(hosts) + path(random.IntN(3)) + "/*"
			default:
				scope = pick(hosts) + path(2+random.IntN(2))
			}
			if slices.Contains(scopes, scope) {
				continue
			}
			scopes = append(scopes, scope)
			if errs := table.add("test", []string{scope}, scope); errs != nil {
				t.Fatal(errs)
			}
		}
		for range 20 {
			repository := pick(hosts) + path(2+random.IntN(2))
			want := ""
			for _, scope := range scopes {
				if naiveHolds(scope, repository) && (want == "" || naiveRank(scope) > naiveRank(want)) {
					want = scope
				}
			}
			got, ok := table.find(repository)
			if got != want || ok != (want != "") {
				t.Fatalf("round %d: %s has the scope %q, want %q of %q", round, repository, got, want, scopes)
			}
			if ok {
				found++
			}
		}
	}
	if found < 10000 {
		t.Errorf("only %d repositories had a scope: the tables are too thin", found)
	}
}

// TestSpellingsStayInTheirScope: no spelling of a host may slip under a weaker policy.
func TestSpellingsStayInTheirScope(t *testing.T) {
	var table scopeTable[string]
	for _, scope := range []string{"*", "docker.io/*", "ghcr.io/acme/*", "registry:443/*", "[::1]:5000/*"} {
		if errs := table.add("test", []string{scope}, scope); errs != nil {
			t.Fatal(errs)
		}
	}
	for _, tc := range []struct{ key, want string }{
		{"nginx", "docker.io/*"},
		{"library/nginx", "docker.io/*"},
		{"Docker.IO/library/nginx", ""},
		{"DOCKER.io/nginx", ""},
		{"docker.io:443/library/nginx", ""},
		{"index.docker.io/nginx", "docker.io/*"},
		{"INDEX.docker.io/library/nginx", ""},
		{"index.docker.io:443/library/nginx", ""},
		{"docker.io./library/nginx", ""},
		{"GHCR.IO/acme/app", "ghcr.io/acme/*"},
		{"ghcr.io:443/acme/app", "ghcr.io/acme/*"},
		{"ghcr.io./acme/app", ""},
		{"ghcr.io:0443/acme/app", ""},
		{"ghcr.io//acme/app", ""},
		{"ghcr.io/./acme/app", ""},
		{"ghcr.io/x/../acme/app", ""},
		{"ghcr.io/acme%2fapp", ""},
		{"registry:443/app", "registry:443/*"},
		{"REGISTRY/app", "registry:443/*"},
		{"[0:0:0:0::1]:5000/app", "[::1]:5000/*"},
	} {
		s, err := ParseKey(tc.key)
		got := ""
		if err == nil {
			got, _ = table.find(s.Repository)
		}
		if got != tc.want {
			t.Errorf("%s falls under %q, want %q (%v)", tc.key, got, tc.want, err)
		}
	}
}

func TestScopeTableTies(t *testing.T) {
	var table scopeTable[int]
	if errs := table.add("first", []string{"ghcr.io/*", "*"}, 1); errs != nil {
		t.Fatal(errs)
	}
	errs := table.add("second", []string{"ghcr.io/*", "bad*", "ghcr.io/a", "*"}, 2)
	if len(errs) != 3 {
		t.Fatalf("%d errors, want three: %v", len(errs), errs)
	}
	for i, part := range []string{`second: scope "ghcr.io/*" is already the scope of first`, `second: scope "bad*"`, `second: scope "*" is already the scope of first`} {
		if !strings.Contains(fmt.Sprint(errs[i]), part) {
			t.Errorf("error %q, want %q", errs[i], part)
		}
	}
	if errs := table.add("third", nil, 3); len(errs) != 1 || !strings.Contains(errs[0].Error(), "third: scopes: there is none") {
		t.Errorf("no scopes: %v", errs)
	}
	if v, _ := table.find("ghcr.io/b"); v != 1 {
		t.Errorf("the tie was won by %d", v)
	}
	if v, _ := table.find("ghcr.io/a"); v != 2 {
		t.Errorf("the good scope beside bad ones belongs to %d", v)
	}
	var empty scopeTable[int]
	if _, ok := empty.find("ghcr.io/a"); ok {
		t.Error("an empty table finds something")
	}
}
