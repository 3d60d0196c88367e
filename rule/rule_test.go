package rule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/rule"
)

// workflow is a builder's identity as a keyless certificate spells it.
const workflow = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2.3"

func claims() ratify.Claims {
	return ratify.Claims{
		Subject:   ratify.Subject{Namespace: "team-a", Repository: "ghcr.io/acme/app", Digest: digest.FromString("app")},
		MediaType: "application/vnd.oci.image.index.v1+json",
		Evidence: []ratify.Claim{
			{Verifier: "provenance", Type: "attestation", ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Reference: "sha256:01", Code: ratify.Verified,
				Facts: map[string]any{"builder": workflow, "hermetic": true, "level": 3, "score": 7.5, "sources": []string{"git+https://github.com/acme/app"}}},
			{Verifier: "sbom", Type: "sbom", ArtifactType: "application/spdx+json", Reference: "sha256:02", Code: ratify.Audited,
				Facts: map[string]any{"packages": []any{
					map[string]any{"name": "openssl", "licenses": []any{"Apache-2.0"}},
					map[string]any{"name": "busybox", "licenses": []any{"GPL-2.0-only"}},
				}, "counts": map[string]int{"b": 2, "a": 1, "c": 3}, "made": "2026-01-02T03:04:05Z", "note": nil}},
			{Verifier: "notation", Type: "notation"},
		},
	}
}

func compile(t testing.TB, expression string) *rule.Rule {
	t.Helper()
	r, err := rule.Compile(expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return r
}

func TestHolds(t *testing.T) {
	for expression, want := range map[string]bool{
		`evidence.exists(e, e.verifier == "provenance" && e.claims.builder.startsWith("https://github.com/acme/"))`:      true,
		`evidence.exists(e, e.verifier == "provenance" && e.claims.builder.startsWith("https://github.com/other/"))`:     false,
		`evidence.exists(e, e.claims.?builder.orValue("").matches("^https://github\\.com/acme/.+@refs/tags/v[0-9.]+$"))`: true,
		`evidence.exists_one(e, e.type == "sbom")`:                                                                          true,
		`evidence.all(e, e.code != "AUDITED")`:                                                                              false,
		`evidence.filter(e, e.artifactType == "application/spdx+json").size() == 1`:                                         true,
		`evidence.exists(e, has(e.claims.hermetic) && e.claims.hermetic)`:                                                   true,
		`evidence.exists(e, e.claims.?level.orValue(0) >= 3)`:                                                               true,
		`evidence.exists(e, e.claims.?level.orValue(0) > 3)`:                                                                false,
		`evidence.exists(e, e.claims.?score.orValue(0.0) > 7)`:                                                              true,
		`evidence.exists(e, "git+https://github.com/acme/app" in e.claims.?sources.orValue([]))`:                            true,
		`!evidence.exists(e, e.claims.?packages.orValue([]).exists(p, p.licenses.exists(l, l.startsWith("GPL"))))`:          false,
		`evidence.exists(e, timestamp(e.claims.?made.orValue("1970-01-01T00:00:00Z")) > timestamp("2026-01-01T00:00:00Z"))`: true,
		`evidence.exists(e, e.claims.?counts.orValue({}) == {"a": 1, "b": 2, "c": 3})`:                                      true,
		`evidence.exists(e, has(e.claims.note) && e.claims.note == null)`:                                                   true,
		`evidence.exists(e, e.reference == "sha256:02")`:                                                                    true,
		`evidence[2].claims == {}`:                                                                                          true,
		`image.namespace == "team-a" && image.host == "ghcr.io"`:                                                            true,
		`image.repository == "ghcr.io/acme/app" && image.digest.startsWith("sha256:")`:                                      true,
		`image.mediaType.contains("index")`:                                                                                 true,
		`image.namespace in ["team-b", "team-c"]`:                                                                           false,
		// What fails for one piece does not matter where another decides.
		`evidence.exists(e, e.claims.level == 3)`:                            true,
		"image.host == \"ghcr.io\" // the registry\n&& evidence.size() == 3": true,
	} {
		t.Run(expression, func(t *testing.T) {
			got, err := compile(t, expression).Holds(t.Context(), claims())
			if err != nil || got != want {
				t.Errorf("got %t, %v, want %t", got, err, want)
			}
		})
	}
}

func TestClaimsOfNothing(t *testing.T) {
	for expression, want := range map[string]bool{
		`evidence.exists(e, true)`:                    false,
		`evidence.all(e, false)`:                      true,
		`image.namespace == "" && image.digest == ""`: true,
	} {
		if got, err := compile(t, expression).Holds(t.Context(), ratify.Claims{}); err != nil || got != want {
			t.Errorf("%s: got %t, %v, want %t", expression, got, err, want)
		}
	}
}

// What a user sees of a rule that cannot be: the texts are pinned, the library's words among them.
func TestCompileErrors(t *testing.T) {
	for _, tc := range []struct{ name, expression, want string }{
		{"empty", " \n", "line 1, column 1: the rule is empty, at ` `"},
		{"too long", strings.Repeat(" ", rule.MaxExpressionBytes) + "true", "line 1, column 1: the rule has 4100 bytes, more than the 4096 that are allowed, at `" + strings.Repeat(" ", 40) + "`"},
		{"cut short", `image.host == "a" &&`, "line 1, column 21: Syntax error: mismatched input '<EOF>'"},
		{"open string", `image.host == "a`, "line 1, column 15: Syntax error: token recognition error at: '\"a', at `\"a`\nline 1, column 17: Syntax error: mismatched input '<EOF>'"},
		{"misspelt variable", `evidnce.size() > 0`, "line 1, column 1: undeclared reference to 'evidnce' (did you mean 'evidence'?), at `evidnce.size() > 0`"},
		{"misspelt field", `evidence.exists(e, e.verifer == "notation")`, "line 1, column 21: undefined field 'verifer', at `.verifer == \"notation\")`"},
		{"on the second line", "image.host == \"ghcr.io\" &&\n  image.registry == \"x\"", "line 2, column 8: undefined field 'registry', at `.registry == \"x\"`"},
		{"two at once", `image.a == "x" || image.b == "x"`, "line 1, column 6: undefined field 'a', at `.a == \"x\" || image.b == \"x\"`\nline 1, column 24: undefined field 'b', at `.b == \"x\"`"},
		{"another type", `image.host`, "line 1, column 1: the rule is of the type string and must be of the type bool, at `image.host`"},
		{"a claim that is not compared", `evidence[0].claims.hermetic`, "line 1, column 1: the rule is of the type dyn and must be of the type bool, at `evidence[0].claims.hermetic`"},
		{"types that do not compare", `image.host == 1`, "line 1, column 12: found no matching overload for '_==_' applied to '(string, int)', at `== 1`"},
		{"unknown function", `image.host.lowerAscii() == "a"`, "line 1, column 22: undeclared reference to 'lowerAscii', at `() == \"a\"`"},
		{"no calendar", `timestamp("2026-01-01T00:00:00Z").getHours("Europe/Oslo") == 1`, "line 1, column 43: undeclared reference to 'getHours', at `(\"Europe/Oslo\") == 1`"},
		{"malformed regular expression", `image.host.matches("(")`, "line 1, column 20: invalid matches argument, at `\"(\")`"},
		{"large regular expression", `image.host.matches("(a?){400}b")`, "line 1, column 20: regex program size 1603 exceeds limit of 300, at `\"(a?){400}b\")`"},
		{"malformed timestamp", `timestamp("yesterday") < timestamp("2026-01-01T00:00:00Z")`, "line 1, column 11: invalid timestamp argument, at `\"yesterday\") < timestamp(\"2026-01-01T00:`"},
		{"constant that cannot be", `int("abc") == 1`, "line 1, column 1: type conversion error from 'string' to 'int', at `int(\"abc\") == 1`"},
		{"five loops in one another", `evidence.all(a, evidence.all(b, evidence.all(c, evidence.all(d, evidence.all(e, true)))))`, "line 1, column 77: comprehension exceeds nesting limit, at `(e, true)))))`"},
		{"control characters", "image.host == \x1b", `line 1, column 15: "Syntax error: token recognition error at: '\x1b'", at "\x1b"` + "\nline 1, column 16: Syntax error: mismatched input '<EOF>'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := rule.Compile(tc.expression)
			if err == nil || err.Error() != tc.want {
				t.Fatalf("got  %v\nwant %s", err, tc.want)
			}
			var first *rule.Error
			if !errors.As(err, &first) || first.Line < 1 || first.Column < 1 || first.Message == "" {
				t.Errorf("the error is a %T, and names the place %+v", err, first)
			}
		})
	}
}

func TestManyFaultsAreCut(t *testing.T) {
	_, err := rule.Compile(strings.TrimSuffix(strings.Repeat(`image.x == "" && `, 20), " && "))
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("got %v, want five lines", err)
	}
}

// A literal so large that no claims could ever make it true is found before it is needed.
func TestCostAtCompilation(t *testing.T) {
	ten := "[1,2,3,4,5,6,7,8,9,10]"
	_, err := rule.Compile(ten + ".map(a, " + ten + ".map(b, " + ten + ".map(c, " + ten + ".map(d, a+b+c+d)))) == []")
	if err == nil || !strings.Contains(err.Error(), "steps at least, more than the 200000 that are allowed") {
		t.Errorf("got %v", err)
	}
}

func TestEvaluationErrors(t *testing.T) {
	for _, tc := range []struct{ name, expression, want string }{
		{"a claim that is not there", `evidence.all(e, e.claims.builder != "")`, "line 1, column 25: no such key: builder, at `.builder != \"\")`"},
		{"a claim below one that is not there", `evidence[2].claims.a.b == 1`, "line 1, column 21: no such key: a, at `.b == 1`"},
		{"evidence that is not there", `evidence[3].verifier == ""`, "line 1, column 12: index out of bounds: 3, at `.verifier == \"\"`"},
		{"a claim of another type", `evidence[0].claims.level.startsWith("x")`, "line 1, column 36: no such overload, at `(\"x\")`"},
		{"a condition that is no bool", `evidence.exists(e, e.claims.?builder.orValue(""))`, "line 1, column 16: no such overload, at `(e, e.claims.?builder.orValue(\"\"))`"},
		{"division by zero", `1 / (image.host.size() - 7) == 1`, "line 1, column 3: division by zero, at `/ (image.host.size() - 7) == 1`"},
		{"a regular expression out of claims", `image.host.matches(evidence[0].claims.builder + "(")`, "line 1, column 1: error parsing regexp: missing closing ): `" + workflow + "(`, at `image.host.matches(evidence[0].claims.bu`"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			holds, err := compile(t, tc.expression).Holds(t.Context(), claims())
			var placed *rule.Error
			if holds || !errors.As(err, &placed) || err.Error() != tc.want {
				t.Errorf("got  %t %v\nwant false %s", holds, err, tc.want)
			}
		})
	}
}

// A claim's text comes back in errors of conversions; it must not write to anybody's terminal, nor fill a record.
func TestErrorsShowClaimsSafely(t *testing.T) {
	c := claims()
	c.Evidence[0].Facts = map[string]any{"level": "\x1b[2J\n" + strings.Repeat("x", 10_000)}
	_, err := compile(t, `timestamp(evidence[0].claims.level) == timestamp("2026-01-01T00:00:00Z") || image.host.matches(evidence[0].claims.level + "(")`).Holds(t.Context(), c)
	if err == nil || len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Errorf("got %q", err)
	}
}

func nested(depth int) any {
	var value any = "x"
	for i := range depth {
		if i%2 == 0 {
			value = []any{value}
		} else {
			value = map[string]any{"a": value}
		}
	}
	return value
}

func TestHostileFacts(t *testing.T) {
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	many := make([]any, 30_000)
	large := make(map[string]any, 30_000)
	for i := range 30_000 {
		large[fmt.Sprint(i)] = i
	}
	for _, tc := range []struct {
		name string
		fact any
		want string // empty: the rule holds
	}{
		{"deep enough", nested(31), ""},
		{"too deep", nested(33), `the claims of verifier "sbom" are nested deeper than 32 levels`},
		{"far too deep", nested(1_000_000), `the claims of verifier "sbom" are nested deeper than 32 levels`},
		{"in itself", cyclic, `the claims of verifier "sbom" are nested deeper than 32 levels`},
		{"many", many, `the claims of verifier "sbom" are more than 20000 values`},
		{"many by name", large, `the claims of verifier "sbom" are more than 20000 values`},
		{"a channel", make(chan int), `the claims of verifier "sbom" have a value of the Go type chan int, which no rule can read`},
		{"a structure in a list", []any{struct{}{}}, `the claims of verifier "sbom" have a value of the Go type struct {}, which no rule can read`},
		{"keys that are numbers", map[int]string{1: "a"}, `the claims of verifier "sbom" have a value of the Go type map[int]string, which no rule can read`},
		{"a nil list", []string(nil), ""},
		{"a nil map", map[string]any(nil), ""},
		{"typed text", ratify.Verified, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := ratify.Claims{Evidence: []ratify.Claim{{Verifier: "sbom", Facts: map[string]any{"fact": tc.fact}}}}
			holds, err := compile(t, `evidence[0].claims.fact == evidence[0].claims.fact`).Holds(t.Context(), c)
			if tc.want == "" && (err != nil || !holds) || tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("got %t, %v, want %q", holds, err, tc.want)
			}
		})
	}
}

// The bound is on all evidence together.
func TestManyFactsOfManyVerifiers(t *testing.T) {
	var c ratify.Claims
	for range ratify.MaxEvidence + 1 {
		c.Evidence = append(c.Evidence, ratify.Claim{Verifier: "sbom", Facts: map[string]any{"fact": make([]string, 1_000)}})
	}
	if _, err := compile(t, `image.host == ""`).Holds(t.Context(), c); err == nil {
		t.Error("21,000 values were taken")
	}
}

// heavy are claims as large as they may be.
func heavy() ratify.Claims {
	names := make([]string, 900)
	for i := range names {
		names[i] = strings.Repeat("x", 250)
	}
	var c ratify.Claims
	for range ratify.MaxEvidence {
		c.Evidence = append(c.Evidence, ratify.Claim{Verifier: "sbom", Facts: map[string]any{"names": names}})
	}
	return c
}

// A bomb is a short expression that would take long, or much.
type bomb struct {
	name, expression string
	size             bool // it is stopped by the size of what it makes, and not by its steps
}

func bombs() []bomb {
	hundred := "[" + strings.TrimSuffix(strings.Repeat("1,", 100), ",") + "]"
	grown := func(seed, step string) string { return seed + strings.Repeat(".map(a, "+step+")", 4) + "[0]" }
	sum, list := "a"+strings.Repeat("+a", 100), "["+strings.TrimSuffix(strings.Repeat("a,", 100), ",")+"]"
	return []bomb{
		{"loops over claims", `evidence.all(e, e.claims.names.all(x, e.claims.names.all(y, x == y)))`, false},
		{"loops over literals", hundred + ".all(a, " + hundred + ".all(b, " + hundred + ".all(c, a+b+c > 0)))", false},
		{"lists that are compared", `evidence.all(e, e.claims.names.all(x, e.claims.names == e.claims.names))`, false},
		{"claims that are compared", `evidence.all(e, evidence.all(f, e.claims == f.claims))`, false},
		{"evidence that is compared", `evidence.all(e, e.claims.names.all(x, evidence == evidence))`, false},
		{"lists that are searched", `evidence.all(e, e.claims.names.all(x, !("z" in e.claims.names)))`, false},
		{"lists that are searched for lists", `evidence.all(e, e.claims.names.all(x, e.claims.names in [[], e.claims.names]))`, false},
		{"claims that are added up", `evidence.all(e, e.claims.names.all(x, x` + strings.Repeat("+x", 9) + ` != ""))`, false},
		{"text that is counted", `[evidence[0].claims.names[0]].map(a, a` + strings.Repeat("+a", 20) + `).all(a, evidence.all(e, e.claims.names.all(x, a.size() > 0)))`, false},
		{"text that grows", grown(`["x"]`, sum) + ` != ""`, true},
		{"text of claims that grows", grown(`[evidence[0].claims.names[0]]`, sum) + ` != ""`, false},
		{"lists that grow", grown(`[evidence[0].claims.names]`, sum) + ` == []`, false},
		{"lists of lists", grown(`[evidence[0].claims.names]`, list) + ` == [[]]`, true},
		{"maps of maps", grown(`[evidence[0].claims]`, `{"a": a, "b": a, "c": a, "d": a, "e": a, "f": a, "g": a, "h": a, "i": a, "j": a, "k": a, "l": a}`) + ` == {}`, false},
		{"regular expressions", `evidence[0].claims.names.all(x, x.matches("(x?){70}y") == false)`, false},
		{"regular expressions of claims", `evidence.all(e, e.claims.names.all(x, x.matches(x + "y") == false))`, false},
	}
}

func TestCostBombs(t *testing.T) {
	for _, b := range bombs() {
		t.Run(b.name, func(t *testing.T) {
			want := "the rule took more than the 200000 steps that are allowed"
			if b.size {
				want = "the rule made a value of more than the 1000000 elements that are allowed"
			}
			r, err := rule.Compile(b.expression)
			if err == nil {
				_, err = r.Holds(t.Context(), heavy())
			} else {
				want = "steps at least, more than the 200000 that are allowed"
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestEndedContext(t *testing.T) {
	r := compile(t, `evidence.size() == 0`)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if holds, err := r.Holds(cancelled, ratify.Claims{}); holds || !errors.Is(err, context.Canceled) {
		t.Errorf("got %t, %v", holds, err)
	}
}

// endsLater is a context that ends when it has been looked at so many times.
type endsLater struct {
	context.Context
	mu    sync.Mutex
	looks int
	done  chan struct{}
}

func (c *endsLater) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looks--; c.looks == 0 {
		close(c.done)
	}
	return c.done
}

func (c *endsLater) Err() error {
	select {
	case <-c.done:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestContextThatEndsMeanwhile(t *testing.T) {
	r := compile(t, `evidence.all(e, e.claims.names.all(x, x != ""))`)
	if holds, err := r.Holds(t.Context(), heavy()); err != nil || !holds {
		t.Fatalf("without an end: %t, %v", holds, err)
	}
	ctx := &endsLater{Context: t.Context(), looks: 3, done: make(chan struct{})}
	if holds, err := r.Holds(ctx, heavy()); holds || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %t, %v", holds, err)
	}
}

// Claims are maps, whose order changes from run to run; what a rule says of them must not.
func TestOrderOfClaims(t *testing.T) {
	facts := map[string]any{}
	var names []string
	for i := range 20 {
		name := fmt.Sprintf("claim%02d", i)
		facts[name], names = i, append(names, name)
	}
	c := ratify.Claims{Evidence: []ratify.Claim{{Facts: map[string]any{"all": facts}}}}
	walked := compile(t, `evidence[0].claims.all.map(k, k) == ["`+strings.Join(names, `", "`)+`"]`)
	// Several claims are of the wrong type: the error is that of the first, by name.
	failing := compile(t, `evidence[0].claims.all.all(k, int(k + "!") == 1)`)
	var first string
	for range 50 {
		if holds, err := walked.Holds(t.Context(), c); err != nil || !holds {
			t.Fatalf("got %t, %v", holds, err)
		}
		_, err := failing.Holds(t.Context(), c)
		if err == nil || first != "" && err.Error() != first {
			t.Fatalf("got %v, before it was %s", err, first)
		}
		first = err.Error()
	}
}

func TestConcurrentUse(t *testing.T) {
	r := compile(t, `evidence.exists(e, e.verifier == "provenance" && e.claims.level == 3)`)
	results := make([]bool, 16)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i], _ = r.Holds(t.Context(), claims()) })
	}
	wg.Wait()
	if slices.Contains(results, false) {
		t.Errorf("got %v", results)
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{`evidence.exists(e, e.claims.level == 3)`, `image.host == "ghcr.io"`, `evidence[0].claims.?a.orValue(1) > 0`, "\"\\u00e9\" == 'x'", `image.host.matches("(a|b)*")`,
		`{"a": [1, 2u, 3.0, b"x", null]}.size() == 1 ? true : false`, "r'\\x' in ['']", "((((", "\x00"} {
		f.Add(seed)
	}
	for _, bomb := range bombs() {
		f.Add(bomb.expression)
	}
	c := claims()
	f.Fuzz(func(t *testing.T, expression string) {
		r, err := rule.Compile(expression)
		if err != nil {
			if r != nil || err.Error() == "" {
				t.Errorf("a rule came with the error %q", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		first, firstErr := r.Holds(ctx, c)
		if firstErr != nil && first {
			t.Errorf("the rule holds, with the error %v", firstErr)
		}
		if ctx.Err() != nil {
			t.Errorf("an evaluation took two seconds")
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	r, c := compile(b, `evidence.exists(e, e.verifier == "provenance" && e.claims.builder.startsWith("https://github.com/acme/"))`), claims()
	b.ReportAllocs()
	for b.Loop() {
		if holds, err := r.Holds(b.Context(), c); err != nil || !holds {
			b.Fatal(holds, err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rule.Compile(`evidence.exists(e, e.verifier == "provenance")`); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleCompile() {
	r, err := rule.Compile(`evidence.exists(e, e.type == "attestation" && e.claims.builder.startsWith("https://github.com/acme/"))`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Holds(context.Background(), claims()))
	// Output: true <nil>
}
