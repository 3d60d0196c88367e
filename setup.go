package ratify

import (
	"errors"
	"fmt"
	"maps"
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

// pieces are which pieces decide.
func (v NamedVerifier) pieces() Pieces {
	if document, ok := v.Verifier.(DocumentVerifier); ok && v.Evidence == "" {
		pieces, _ := document.Documents()
		return pieces
	}
	return v.Evidence
}

// A Setup is all that an Engine is made of.
type Setup struct {
	Stores     []NamedStore
	Verifiers  []NamedVerifier
	Policies   []Policy
	Exemptions []Exemption
	Mirrors    []Mirror
	// Tenancy is nil where there are no tenants.
	Tenancy *Tenancy
	// CompileRule makes a Rule of a policy's expression; nil refuses policies that have one.
	CompileRule func(expression string) (Rule, error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// OnPanic is told what a verifier or store panicked with, and its stack; nil drops it.
	OnPanic func(traceID string, value any, stack []byte)
	// ExamineAll makes an engine for looking: the decision does not end the examination, and up to MaxReferrers pieces of
	// evidence are examined instead of MaxEvidence. What is decided is the same, but for what lay past the smaller bound.
	ExamineAll bool
}

// NewEngine checks the setup whole and returns all that is wrong with it at once: names that are missing, doubled or
// unknown, scopes that are malformed or tie, requirements that cannot be met, verifiers that no policy uses.
func NewEngine(setup Setup) (*Engine, error) {
	e := &Engine{now: setup.Now, onPanic: setup.OnPanic, tenancy: setup.Tenancy, examineAll: setup.ExamineAll}
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
	b, problems := newBinder(setup)
	errs = append(errs, problems...)
	names = map[string]bool{}
	for i, p := range setup.Policies {
		place := placeOf("policies", i, p.Name)
		errs = append(errs, checkName(place, p.Name, names)...)
		errs = append(errs, p.check(place)...)
		bound, problems := b.bind(place, p)
		errs = append(errs, problems...)
		errs = append(errs, e.policies.add(place, p, bound, setup.Tenancy != nil)...)
	}
	for i, v := range setup.Verifiers {
		if !b.used[v.Name] {
			errs = append(errs, fmt.Errorf("%s: no policy uses it", placeOf("verifiers", i, v.Name)))
		}
	}
	e.exemptions, problems = newExemptions(setup.Exemptions, setup.Tenancy != nil)
	errs = append(errs, problems...)
	for i, m := range setup.Mirrors {
		errs = append(errs, e.addMirror(fmt.Sprintf("mirrors[%d]", i), m)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return e, nil
}

// A binder finds what policies name.
type binder struct {
	verifiers   map[string]boundVerifier
	used        map[string]bool
	compileRule func(string) (Rule, error)
}

// newBinder binds the verifiers to those that prove their evidence.
func newBinder(setup Setup) (*binder, []error) {
	b := &binder{verifiers: map[string]boundVerifier{}, used: map[string]bool{}, compileRule: setup.CompileRule}
	var errs []error
	names := map[string]bool{}
	for i, v := range setup.Verifiers {
		errs = append(errs, checkName(placeOf("verifiers", i, v.Name), v.Name, names)...)
		b.verifiers[v.Name] = boundVerifier{NamedVerifier: v, pieces: v.pieces()}
	}
	for i, v := range setup.Verifiers {
		bound, problems := b.bindProvers(placeOf("verifiers", i, v.Name), v)
		errs = append(errs, problems...)
		b.verifiers[v.Name] = bound
	}
	return b, errs
}

// bindProvers finds the verifiers of signedBy, and what else a verifier of documents needs to be told.
func (b *binder) bindProvers(place string, v NamedVerifier) (bound boundVerifier, errs []error) {
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", place, fmt.Errorf(format, args...)))
	}
	bound = boundVerifier{NamedVerifier: v, pieces: v.pieces()}
	document, isDocument := v.Verifier.(DocumentVerifier)
	switch {
	case v.Evidence != "" && !slices.Contains([]Pieces{PiecesAny, PiecesAll, PiecesNewest}, v.Evidence):
		fail("evidence: expected %s, %s or %s, got %s", PiecesAny, PiecesAll, PiecesNewest, Quote(string(v.Evidence)))
	case v.Verifier == nil: // it could not be made, which has been told
	case isDocument:
		_, proves := document.Documents()
		if !proves && len(v.SignedBy) == 0 {
			fail("signedBy: nothing says who may vouch for its documents; name verifiers that must prove them, or give it keys or identities of its own")
		}
		if proves && len(v.SignedBy) > 0 {
			fail("signedBy: it has keys or identities of its own, and an attestation has no signature beside that; choose one of both")
		}
	case len(v.SignedBy) > 0:
		fail("signedBy: it is for verifiers of documents; this one proves by itself who made its evidence")
		return bound, errs
	case v.Evidence == PiecesNewest:
		fail("evidence: newest is for verifiers of documents; a signature has no date that anybody vouches for")
	}
	if len(v.SignedBy) == 0 {
		return bound, errs
	}
	provers := &boundPolicy{Policy: Policy{Name: v.Name}, proves: true}
	for _, name := range v.SignedBy {
		prover, ok := b.verifiers[name]
		switch {
		case !ok:
			fail("signedBy: there is no verifier %s (known: %s)", Quote(name), b.known())
		case len(prover.SignedBy) > 0 || name == v.Name:
			fail("signedBy: the evidence of %s must be proven itself; name a verifier of signatures", Quote(name))
		default:
			provers.verifiers = append(provers.verifiers, prover)
		}
		b.used[name] = true
	}
	provers.condition = conditionOver(len(provers.verifiers), 1)
	bound.provers = provers
	return bound, errs
}

// bind finds the verifiers of a policy.
func (b *binder) bind(place string, p Policy) (bound *boundPolicy, errs []error) {
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", place, fmt.Errorf(format, args...)))
	}
	bound = &boundPolicy{Policy: p}
	names, field := p.Verifiers, "verifiers"
	tree := len(p.Require.Of) > 0 || p.Require.Verifier != ""
	if tree {
		if len(names) > 0 {
			fail("verifiers: they have no effect beside a tree in require, which names them")
		}
		names, field = p.Require.Names(), "require"
	}
	for _, name := range names {
		v, ok := b.verifiers[name]
		switch {
		case !ok:
			fail("%s: there is no verifier %s (known: %s)", field, Quote(name), b.known())
		case slices.ContainsFunc(bound.verifiers, func(v boundVerifier) bool { return v.Name == name }):
			fail("%s: %s is there twice", field, Quote(name))
		default:
			bound.verifiers = append(bound.verifiers, v)
			b.used[name] = true
		}
	}
	switch {
	case len(names) == 0:
		fail("verifiers: there is none, so nothing could ever pass")
	case tree:
		bound.condition = p.Require.bind(names)
	case p.Require.AtLeast > len(names) || p.Require.AtLeast < 0:
		fail("require: %d of %d verifiers cannot be met", p.Require.AtLeast, len(names))
	default:
		bound.condition = conditionOver(len(names), p.Require.AtLeast)
	}
	if p.Rule != "" {
		rule, err := b.compile(p.Rule)
		if err != nil {
			for line := range strings.Lines(err.Error()) { // it may be several
				fail("rule: %s", strings.TrimRight(line, "\n"))
			}
		}
		bound.rule = rule
	}
	return bound, errs
}

func (b *binder) compile(expression string) (Rule, error) {
	if b.compileRule == nil {
		return nil, errors.New("rules are not supported here")
	}
	return b.compileRule(expression)
}

func (b *binder) known() string { return strings.Join(slices.Sorted(maps.Keys(b.verifiers)), ", ") }

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
