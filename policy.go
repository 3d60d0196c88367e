package ratify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Policy says which verifiers must pass for which repositories.
type Policy struct {
	// Name is how reports call it.
	Name string `json:"name"`
	// Scopes are the repositories that it is for: host/repo, host/path/*, host/*, *.domain/* or *. Of all policies the
	// one with the most specific scope applies; two of one scope are an error.
	Scopes []string `json:"scopes"`
	// Verifiers are the names of those that are asked.
	Verifiers []string `json:"verifiers"`
	// Require says how many of them must pass: all (the default), any, or a number.
	Require Require `json:"require"`
}

// Require is how many verifiers of a policy must pass: 0 is all of them.
type Require int

// RequireAll and RequireAny are written all and any.
const (
	RequireAll Require = 0
	RequireAny Require = 1
)

// UnmarshalJSON takes all, any, or a positive number; null is absence.
func (r *Require) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		return nil
	case `"all"`:
		*r = RequireAll
		return nil
	case `"any"`:
		*r = RequireAny
		return nil
	}
	var n int
	if err := json.Unmarshal(data, &n); err != nil || n < 1 {
		return fmt.Errorf("expected all, any or a positive number, got %s", Truncate(string(data)))
	}
	*r = Require(n)
	return nil
}

// MarshalJSON writes it as it is read.
func (r Require) MarshalJSON() ([]byte, error) {
	if r == RequireAll {
		return []byte(`"all"`), nil
	}
	return json.Marshal(int(r))
}

// verdict is what is known of one verifier, or of a whole policy: a truth value with a third state. The zero value
// proves nothing.
type verdict int

const (
	unknown verdict = iota
	refused
	passed
)

// tally counts the verdicts of a policy's verifiers.
type tally struct{ passed, refused, unknown int }

func (t *tally) add(v verdict) {
	switch v {
	case passed:
		t.passed++
	case refused:
		t.refused++
	default:
		t.unknown++
	}
}

// decide says whether the policy holds. What could not be read matters only where it could change the decision.
func (r Require) decide(t tally) verdict {
	need := int(r)
	if r == RequireAll {
		need = t.passed + t.refused + t.unknown
	}
	switch {
	case need > 0 && t.passed >= need:
		return passed
	case t.passed+t.unknown < need || need <= 0:
		return refused
	default:
		return unknown
	}
}

// validity is until when a decision holds that rests on verifiers which hold until the given instants, of which the
// requirement needs some: with all, the earliest; with any, the latest; with N, the N-th latest. Zero has no end.
func (r Require) validity(ends []time.Time) time.Time {
	if len(ends) == 0 {
		return time.Time{}
	}
	slices.SortFunc(ends, laterFirst)
	need := int(r)
	if r == RequireAll || need > len(ends) {
		need = len(ends)
	}
	return ends[need-1]
}

// laterFirst orders instants from the latest to the earliest; zero, which has no end, is the latest.
func laterFirst(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	default:
		return b.Compare(a)
	}
}

// earlier returns the earlier of two ends; zero has no end.
func earlier(a, b time.Time) time.Time {
	if laterFirst(a, b) <= 0 {
		return b
	}
	return a
}

// A NamedStore is a store as a configuration has it.
type NamedStore struct {
	Name   string
	Scopes []string
	Store  Store
}

// A NamedVerifier is a verifier as a configuration has it: Name is how policies and reports call it, Type of which kind
// it is.
type NamedVerifier struct {
	Name, Type string
	Verifier   Verifier
}

// A Setup is all that an Engine is made of.
type Setup struct {
	Stores    []NamedStore
	Verifiers []NamedVerifier
	Policies  []Policy
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// OnPanic is told what a verifier or store panicked with, and its stack; nil drops it.
	OnPanic func(traceID string, value any, stack []byte)
}

// boundPolicy is a policy with its verifiers found.
type boundPolicy struct {
	Policy
	verifiers []NamedVerifier
}

// NewEngine checks the setup whole and returns all that is wrong with it at once: names that are missing, doubled or
// unknown, scopes that are malformed or tie, requirements that cannot be met, verifiers that no policy uses.
func NewEngine(setup Setup) (*Engine, error) {
	e := &Engine{now: setup.Now, onPanic: setup.OnPanic}
	if e.now == nil {
		e.now = time.Now
	}
	if e.onPanic == nil {
		e.onPanic = func(string, any, []byte) {}
	}
	var errs []error
	names := map[string]bool{}
	for i, s := range setup.Stores {
		place := placeOf("stores", i, s.Name)
		errs = append(errs, checkName(place, s.Name, names)...)
		errs = append(errs, e.stores.add(place, s.Scopes, s.Store)...)
	}
	verifiers := map[string]NamedVerifier{}
	names = map[string]bool{}
	for i, v := range setup.Verifiers {
		errs = append(errs, checkName(placeOf("verifiers", i, v.Name), v.Name, names)...)
		verifiers[v.Name] = v
	}
	used := map[string]bool{}
	names = map[string]bool{}
	for i, p := range setup.Policies {
		place := placeOf("policies", i, p.Name)
		errs = append(errs, checkName(place, p.Name, names)...)
		bound, problems := bindPolicy(place, p, verifiers, used)
		errs = append(errs, problems...)
		errs = append(errs, e.policies.add(place, p.Scopes, bound)...)
	}
	for i, v := range setup.Verifiers {
		if !used[v.Name] {
			errs = append(errs, fmt.Errorf("%s: no policy uses it", placeOf("verifiers", i, v.Name)))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return e, nil
}

func bindPolicy(place string, p Policy, verifiers map[string]NamedVerifier, used map[string]bool) (*boundPolicy, []error) {
	var errs []error
	bound := &boundPolicy{Policy: p}
	for _, name := range p.Verifiers {
		v, ok := verifiers[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: verifiers: there is no verifier %s (known: %s)", place, Quote(name), knownNames(verifiers)))
		case slices.ContainsFunc(bound.verifiers, func(v NamedVerifier) bool { return v.Name == name }):
			errs = append(errs, fmt.Errorf("%s: verifiers: %s is there twice", place, Quote(name)))
		default:
			bound.verifiers = append(bound.verifiers, v)
			used[name] = true
		}
	}
	if len(p.Verifiers) == 0 {
		errs = append(errs, fmt.Errorf("%s: verifiers: there is none, so nothing could ever pass", place))
	}
	if int(p.Require) > len(p.Verifiers) || p.Require < 0 {
		errs = append(errs, fmt.Errorf("%s: require: %d of %d verifiers cannot be met", place, p.Require, len(p.Verifiers)))
	}
	return bound, errs
}

func knownNames(verifiers map[string]NamedVerifier) string {
	names := make([]string, 0, len(verifiers))
	for name := range verifiers {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func placeOf(list string, i int, name string) string {
	if name == "" {
		return fmt.Sprintf("%s[%d]", list, i)
	}
	return fmt.Sprintf("%s[%d] %s", list, i, Quote(name))
}

func checkName(place, name string, seen map[string]bool) []error {
	switch {
	case name == "":
		return []error{fmt.Errorf("%s: name: it has none", place)}
	case seen[name]:
		return []error{fmt.Errorf("%s: the name is already taken", place)}
	}
	seen[name] = true
	return nil
}
