package oras

import (
	"context"

	"github.com/ratify-provider/ratify"
)

// Use is what became of a credential source in one read.
type Use string

// What may become of a source.
const (
	// Accepted: the registry let its credential in.
	Accepted Use = "accepted"
	// Refused: the registry, or its token server, did not.
	Refused Use = "refused"
	// PassedOver: the source is not for the image, or has no credential for it.
	PassedOver Use = "passed over"
	// Failed: the source could not be asked.
	Failed Use = "failed"
	// Unanswered: the registry was asked with its credential, and gave no answer that says whether it lets it in.
	Unanswered Use = "unanswered"
)

// A SourceUse says what became of one source in one read. It holds no secret: sources are told by their kind and file.
type SourceUse struct {
	// Registry is the host, as references have it.
	Registry string `json:"registry"`
	// Place is where the source stands in its registry's entry, credentials[1]; empty for reads without credentials.
	Place string `json:"place,omitempty"`
	// Source is its kind, and its file or program.
	Source string `json:"source"`
	Use    Use    `json:"use"`
	// Why says why it was not accepted.
	Why string `json:"why,omitempty"`
}

type traceKey struct{}

// WithTrace returns a context under which reads tell which credential sources they use, in the order in which they are
// tried. Sources behind the one that is accepted are not told of. It is for those who look for what is wrong; tell must be
// safe for concurrent use if reads are concurrent.
func WithTrace(ctx context.Context, tell func(SourceUse)) context.Context {
	return context.WithValue(ctx, traceKey{}, tell)
}

func traceOf(ctx context.Context) func(SourceUse) {
	if tell, ok := ctx.Value(traceKey{}).(func(SourceUse)); ok {
		return tell
	}
	return func(SourceUse) {}
}

// useOf tells an answer from none, for errors that are no refusal of a credential.
func useOf(err error) Use {
	if err == nil || isNotFound(err) {
		return Accepted
	}
	return Unanswered
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return ratify.AsError(err).UserMessage()
}
