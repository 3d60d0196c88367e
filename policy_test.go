package ratify

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestRequireJSON(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want Require
		out  string
	}{
		{`"all"`, RequireAll, `"all"`},
		{`"any"`, RequireAny, "1"},
		{`1`, RequireAny, "1"},
		{`3`, Require{AtLeast: 3}, "3"},
		{`null`, RequireAll, `"all"`},
	} {
		r := RequireAll
		if err := json.Unmarshal([]byte(tc.in), &r); err != nil || !reflect.DeepEqual(r, tc.want) {
			t.Errorf("%s: %v, want %v (%v)", tc.in, r, tc.want, err)
		}
		if out, err := json.Marshal(r); err != nil || string(out) != tc.out {
			t.Errorf("%v is written %s, want %s (%v)", r, out, tc.out, err)
		}
	}
	for _, in := range []string{`0`, `-1`, `1.5`, `1e99`, `99999999999999999999`, `"All"`, `"ALL"`, `"none"`, `""`, `"1"`, `true`, `[]`, `["all"]`, `{}`} {
		r := Require{AtLeast: 7}
		if err := json.Unmarshal([]byte(in), &r); err == nil || !strings.Contains(err.Error(), "expected all, any, a positive number") {
			t.Errorf("%s is taken for %v (%v)", in, r, err)
		}
	}
	long := `"` + strings.Repeat("x", 5000) + `"`
	if err := new(Require).UnmarshalJSON([]byte(long)); err == nil || len(err.Error()) > 2*MaxTextBytes {
		t.Errorf("the error has %d bytes", len(fmt.Sprint(err)))
	}
}

// TestDecide goes through every tally of up to six verifiers: what holds however the unknown ones turn out is decided.
func TestDecide(t *testing.T) {
	for total := range 7 {
		for p := range total + 1 {
			for r := range total - p + 1 {
				u := total - p - r
				for require := 0; require <= 7; require++ {
					need := require
					if require == 0 {
						need = total
					}
					want := unknown
					if p >= need {
						want = passed
					}
					if p+u < need || total == 0 {
						want = refused // of nothing, nothing is proven
					}
					verdicts := slices.Concat(slices.Repeat([]verdict{passed}, p), slices.Repeat([]verdict{refused}, r), slices.Repeat([]verdict{unknown}, u))
					got := conditionOver(total, require).decide(verdicts)
					if got != want {
						t.Errorf("require %d of %d passed, %d refused, %d unknown: %d, want %d", require, p, r, u, got, want)
					}
				}
			}
		}
	}
	for _, require := range []int{-1, -100} {
		if got := conditionOver(5, require).decide(slices.Repeat([]verdict{passed}, 5)); got == passed {
			t.Errorf("require %d passes", require)
		}
	}
}

func TestZeroVerdictProvesNothing(t *testing.T) {
	var v verdict
	for _, odd := range []verdict{v, 99} {
		if got := conditionOver(1, 0).decide([]verdict{odd}); got == passed {
			t.Errorf("%d passes", odd)
		}
	}
	if (&standing{left: 1}).verdict() != unknown || (&standing{problem: &Error{}}).verdict() != unknown || (&standing{}).verdict() != refused {
		t.Error("a standing without a pass is taken for more than it is")
	}
}

func TestValidity(t *testing.T) {
	at := func(hours ...int) (list []time.Time) {
		for _, h := range hours {
			var end time.Time
			if h != 0 {
				end = time.Unix(int64(h)*3600, 0)
			}
			list = append(list, end)
		}
		return list
	}
	for _, tc := range []struct {
		name    string
		require int
		ends    []time.Time
		want    time.Time
	}{
		{"nothing", 0, nil, time.Time{}},
		{"nothing of two", 2, nil, time.Time{}},
		{"all", 0, at(5, 2, 9), at(2)[0]},
		{"any", 1, at(5, 2, 9), at(9)[0]},
		{"two of three", 2, at(5, 2, 9), at(5)[0]},
		{"three of three", 3, at(5, 2, 9), at(2)[0]},
		{"more than there are", 4, at(5, 2, 9), time.Time{}},
		{"all, one without an end", 0, at(5, 0, 9), at(5)[0]},
		{"any, one without an end", 1, at(5, 0, 9), time.Time{}},
		{"two, one without an end", 2, at(5, 0, 9), at(9)[0]},
		{"all without an end", 0, at(0, 0), time.Time{}},
	} {
		if got, _ := conditionOver(len(tc.ends), tc.require).validity(slices.Repeat([]verdict{passed}, len(tc.ends)), tc.ends); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestValidityIsTheLastInstantThatDecides: one instant earlier enough verifiers still hold, at the end they do not.
func TestValidityIsTheLastInstantThatDecides(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		ends := make([]time.Time, 1+random.IntN(5))
		for i := range ends {
			if n := random.IntN(6); n > 0 {
				ends[i] = time.Unix(int64(n), 0)
			}
		}
		require := random.IntN(len(ends) + 1)
		need := require
		if require == 0 {
			need = len(ends)
		}
		holding := func(at time.Time) (n int) {
			for _, end := range ends {
				if end.IsZero() || at.Before(end) {
					n++
				}
			}
			return n
		}
		got, _ := conditionOver(len(ends), require).validity(slices.Repeat([]verdict{passed}, len(ends)), ends)
		if got.IsZero() {
			if holding(time.Unix(1e9, 0)) < need {
				t.Fatalf("require %d of %v has no end", require, ends)
			}
			continue
		}
		if holding(got.Add(-1)) < need || holding(got) >= need {
			t.Fatalf("require %d of %v ends at %s", require, ends, got)
		}
	}
}

func TestEarlier(t *testing.T) {
	one, two, never := time.Unix(1, 0), time.Unix(2, 0), time.Time{}
	for _, tc := range []struct{ a, b, want time.Time }{
		{one, two, one}, {two, one, one}, {one, never, one}, {never, one, one}, {never, never, never}, {one, one, one},
	} {
		if got := earlier(tc.a, tc.b); !got.Equal(tc.want) {
			t.Errorf("earlier(%v, %v) = %v", tc.a, tc.b, got)
		}
	}
}

type nothing struct{}

func (nothing) Open(context.Context, Subject) (Repository, Repository, error) {
	return nil, nil, &Error{Code: RegistryUnavailable}
}
func (nothing) Match(ocispec.Descriptor) bool { return false }
func (nothing) Verify(context.Context, ocispec.Descriptor, ocispec.Descriptor, Repository) (Result, error) {
	return Result{}, nil
}

func TestNewEngine(t *testing.T) {
	stores := []NamedStore{{"s", []string{"*"}, nothing{}}}
	verifiers := []NamedVerifier{{Name: "v", Type: "fake", Verifier: nothing{}}}
	policies := []Policy{{Name: "p", Scopes: []string{"*"}, Verifiers: []string{"v"}}}
	for _, tc := range []struct {
		name  string
		setup Setup
		want  []string // one for each error, in order
	}{
		{"good", Setup{Stores: stores, Verifiers: verifiers, Policies: policies}, nil},
		{"empty denies everything", Setup{}, nil},
		{"unnamed", Setup{
			Stores:    []NamedStore{{"", []string{"*"}, nothing{}}},
			Verifiers: []NamedVerifier{{Name: "", Type: "fake", Verifier: nothing{}}},
			Policies:  []Policy{{Scopes: []string{"*"}, Verifiers: []string{"v"}}},
		}, []string{"stores[0]: name: it has none", "verifiers[0]: name: it has none", "policies[0]: name: it has none", `policies[0]: verifiers: there is no verifier "v" (known: )`, "verifiers[0]: no policy uses it"}},
		{"names taken", Setup{
			Stores:    append(slices.Clone(stores), NamedStore{"s", []string{"ghcr.io/*"}, nothing{}}),
			Verifiers: append(slices.Clone(verifiers), verifiers[0]),
			Policies:  append(slices.Clone(policies), Policy{Name: "p", Scopes: []string{"ghcr.io/*"}, Verifiers: []string{"v"}}),
		}, []string{`stores[1] "s": the name is already taken`, `verifiers[1] "v": the name is already taken`, `policies[1] "p": the name is already taken`}},
		{"scopes tie", Setup{
			Stores:    append(slices.Clone(stores), NamedStore{"s2", []string{"*"}, nothing{}}),
			Verifiers: verifiers,
			Policies:  append(slices.Clone(policies), Policy{Name: "p2", Scopes: []string{"ghcr.io/*", "*"}, Verifiers: []string{"v"}}),
		}, []string{`stores[1] "s2": scope "*" is already the scope of stores[0] "s"`, `policies[1] "p2": scope "*" is already the scope of policies[0] "p"`}},
		{"scopes missing or malformed", Setup{
			Stores:    []NamedStore{{"s", nil, nothing{}}},
			Verifiers: verifiers,
			Policies:  []Policy{{Name: "p", Scopes: []string{"GHCR.io/*"}, Verifiers: []string{"v"}}},
		}, []string{`stores[0] "s": scopes: there is none`, `policies[0] "p": scope "GHCR.io/*": expected the canonical name, "ghcr.io/*"`}},
		{"verifiers of a policy", Setup{
			Stores:    stores,
			Verifiers: append(slices.Clone(verifiers), NamedVerifier{Name: "w", Type: "fake", Verifier: nothing{}}),
			Policies:  []Policy{{Name: "p", Scopes: []string{"*"}, Verifiers: []string{"v", "v", "x\n"}}, {Name: "q", Scopes: []string{"a.example/*"}}},
		}, []string{`policies[0] "p": verifiers: "v" is there twice`, `policies[0] "p": verifiers: there is no verifier "x\n" (known: v, w)`, `policies[1] "q": verifiers: there is none`, `verifiers[1] "w": no policy uses it`}},
		{"requirements", Setup{
			Stores: stores, Verifiers: verifiers,
			Policies: []Policy{
				{Name: "p", Scopes: []string{"*"}, Verifiers: []string{"v"}, Require: Require{AtLeast: 2}},
				{Name: "q", Scopes: []string{"a.example/*"}, Verifiers: []string{"v"}, Require: Require{AtLeast: -1}},
			},
		}, []string{`policies[0] "p": require: 2 of 1 verifiers cannot be met`, `policies[1] "q": require: -1 of 1 verifiers cannot be met`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e, err := NewEngine(tc.setup)
			if (err == nil) != (len(tc.want) == 0) || (e == nil) != (err != nil) {
				t.Fatalf("engine %v, error %v", e != nil, err)
			}
			if err == nil {
				return
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Errorf("%d errors, want %d:\n%v", len(lines), len(tc.want), err)
			}
			for i, want := range tc.want {
				if i < len(lines) && !strings.HasPrefix(lines[i], want) {
					t.Errorf("error %q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestEmptyEngineRefusesEverything(t *testing.T) {
	e, err := NewEngine(Setup{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Verify(t.Context(), Subject{Repository: "docker.io/library/nginx", Tag: "latest"})
	if err != nil || r.IsSuccess || r.Code != NoPolicy {
		t.Errorf("%s: %v", r.Code, err)
	}
	if _, err := e.Resolve(t.Context(), Subject{Repository: "docker.io/library/nginx", Tag: "latest"}); AsError(err).Code != NoStore {
		t.Errorf("resolve: %v", err)
	}
}
