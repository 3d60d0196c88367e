package ratify

import (
	"fmt"
	"slices"
	"time"
)

// A Policy says which verifiers must pass for which repositories.
type Policy struct {
	// Name is how reports call it.
	Name string `json:"name"`
	// Namespaces are the tenants that it is for: a namespace, prefix* or *. Without any it is the cluster's: for requests
	// without a namespace, and for tenants without a policy of their own (see Tenancy).
	Namespaces []string `json:"namespaces,omitempty"`
	// Scopes are the repositories that it is for: host/repo, host/path/*, host/*, *.domain/* or *. Of all policies the
	// one with the most specific scope applies; two of one scope are an error.
	Scopes []string `json:"scopes"`
	// Verifiers are the names of those that are asked. Where Require is a tree it names them, and Verifiers is empty.
	Verifiers []string `json:"verifiers"`
	// Require says how many of them must pass: all (the default), any, or a number; or it is a tree of verifiers, such as
	// {all: [notation, {any: [cosign, gpg]}]}.
	Require Require `json:"require"`
	// Rule is an expression over the claims of the evidence that passed, in the language of Setup.CompileRule. It must be
	// true beside Require. Where there is one, all evidence is examined, and all of it must be readable.
	Rule string `json:"rule,omitempty"`
	// Mode is enforce (the default) or audit: then what would be refused, or could not be told, is admitted with the code
	// WOULD_BE_REFUSED.
	Mode Mode `json:"mode,omitempty"`
	// Platforms says which manifests must have the evidence where the image is an index of several: index (the default),
	// all or any.
	Platforms Platforms `json:"platforms,omitempty"`
	// LastKnownGood is for how long after its verification an image stays admitted, by its digest, while its registry or
	// its revocation source is away; at most maxLastKnownGood. 0, the default: not at all.
	LastKnownGood Duration `json:"lastKnownGood,omitempty"`
}

// maxLastKnownGood is a week: who has not mended a registry by then has lost it. For as long a certificate that is revoked may
// go on admitting what it signed, if whoever holds it can keep the revocation source away.
const maxLastKnownGood = 7 * 24 * time.Hour

// Mode says what a policy does with what it refuses.
type Mode string

// The modes; empty is ModeEnforce.
const (
	ModeEnforce Mode = "enforce"
	ModeAudit   Mode = "audit"
)

// Platforms says where the evidence of an image for several platforms is.
type Platforms string

// The choices; empty is PlatformsIndex.
const (
	// PlatformsIndex asks for evidence on the index itself, whatever is in it.
	PlatformsIndex Platforms = "index"
	// PlatformsAll asks for evidence on the manifest of every platform that the index lists.
	PlatformsAll Platforms = "all"
	// PlatformsAny takes either.
	PlatformsAny Platforms = "any"
)

// Asks lists the verifiers that the policy asks, by name.
func (p Policy) Asks() []string {
	if names := p.Require.Names(); len(names) > 0 {
		return names
	}
	return p.Verifiers
}

// boundPolicy is a policy with its verifiers found.
type boundPolicy struct {
	Policy
	verifiers []boundVerifier
	condition condition // over the verifiers
	rule      Rule      // nil: none
	proves    bool      // it is signedBy of a verifier: what passes without being verified proves nothing
}

// boundVerifier is a verifier with those that must prove its evidence.
type boundVerifier struct {
	NamedVerifier
	pieces  Pieces
	provers *boundPolicy // nil: its evidence proves itself
}

// anybodys tells whether a stranger could have caused a refusal with this code. A signature says nothing but who made it:
// where it does not verify, anybody may have attached it, a trusted one robbed of its timestamp included. That a document is
// for another artifact says nothing of this one, whoever made it: to be listed here it need only be copied. What else a
// document says, its verifier knows.
func (v boundVerifier) anybodys(code Code) bool {
	_, isDocument := v.Verifier.(DocumentVerifier)
	return !isDocument || code == SubjectMismatch
}

// check tells what of a policy is wrong in itself.
func (p Policy) check(place string) (errs []error) {
	if p.Mode != "" && p.Mode != ModeEnforce && p.Mode != ModeAudit {
		errs = append(errs, fmt.Errorf("%s: mode: expected %s or %s, got %s", place, ModeEnforce, ModeAudit, Quote(string(p.Mode))))
	}
	if p.Platforms != "" && !slices.Contains([]Platforms{PlatformsIndex, PlatformsAll, PlatformsAny}, p.Platforms) {
		errs = append(errs, fmt.Errorf("%s: platforms: expected %s, %s or %s, got %s", place, PlatformsIndex, PlatformsAll, PlatformsAny, Quote(string(p.Platforms))))
	}
	switch known := time.Duration(p.LastKnownGood); {
	case known < 0 || known > maxLastKnownGood:
		errs = append(errs, fmt.Errorf("%s: lastKnownGood: expected a duration of at most %dh, got %s", place, maxLastKnownGood/time.Hour, known))
	case known > 0 && p.Mode == ModeAudit:
		errs = append(errs, fmt.Errorf("%s: lastKnownGood: it has no effect beside mode: audit, which admits what cannot be told anyway", place))
	}
	return errs
}
