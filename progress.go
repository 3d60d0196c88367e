package ratify

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
)

type progressKey struct{}

// WithProgress returns a context under which the engine and the verifiers tell report which step they are at, in
// words for the user such as "listing referrers". report must not block and must be safe for concurrent use.
func WithProgress(ctx context.Context, report func(step string)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// Progress tells whoever waits which step the work under ctx is at.
func Progress(ctx context.Context, step string) {
	if report, ok := ctx.Value(progressKey{}).(func(string)); ok {
		report(step)
	}
}

// A Finding is what became of one piece of evidence, or of a verifier's search for some. What was not looked at, or could
// not be, is none.
type Finding struct {
	// Subject is what the evidence is about, Verifier the name of who looked, and Reference the evidence; without one there
	// was none.
	Subject, Verifier string
	Reference         digest.Digest
	// Passed tells whether it is good, or else it was refused.
	Passed bool
	// Counts tells of a refusal whether it can be what decides, although others pass: somebody who is trusted made the
	// evidence, and not any one piece is enough.
	Counts bool
}

type findingsKey struct{}

// WithFindings returns a context under which the engine tells what becomes of each piece of evidence as soon as it is known,
// which is long before the decision if another one cannot be read. told must not block and must be safe for concurrent use.
func WithFindings(ctx context.Context, told func(Finding)) context.Context {
	return context.WithValue(ctx, findingsKey{}, told)
}

// tell tells of outcomes of the standing. It is called where nobody else adds to them.
func (s *standing) tell(ctx context.Context, outcomes []outcome) {
	told, ok := ctx.Value(findingsKey{}).(func(Finding))
	if !ok {
		return
	}
	for i := range outcomes {
		o := &outcomes[i]
		if !o.passed() && !o.report.Code.Definitive() {
			continue
		}
		told(Finding{
			Subject: o.report.Subject, Verifier: o.report.Name, Reference: o.report.Reference,
			Passed: o.passed(), Counts: s.ofSeveral() && o.refuses(),
		})
	}
}

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
