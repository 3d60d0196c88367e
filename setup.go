package ratify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

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
	// SignedBy are the names of the verifiers of which one must prove each piece of evidence, as an artifact of its own,
	// before it counts. It is for a DocumentVerifier alone.
	SignedBy []string
	// Evidence is which pieces decide; empty is the verifier's own choice, or PiecesAny.
	Evidence Pieces
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
