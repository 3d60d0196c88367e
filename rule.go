package ratify

import "context"

// Claims are what a policy's rule decides about: the image, and what the evidence that passed says of it.
type Claims struct {
	Subject   Subject // with its digest
	MediaType string
	Evidence  []Claim
}

// A Claim is one piece of evidence that passed.
type Claim struct {
	Verifier, Type          string // the verifier's
	ArtifactType, Reference string // the evidence's; Reference is its digest
	Code                    Code
	Facts                   map[string]any // Result.Extensions and Claims
}

// A Rule is a condition that a policy sets beside its verifiers, for what they cannot be configured to ask.
type Rule interface {
	// Holds tells whether the rule is true for the claims. An error refuses the image, and says what could not be
	// evaluated, unless the context has ended.
	Holds(ctx context.Context, claims Claims) (bool, error)
}
