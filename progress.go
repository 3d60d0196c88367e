package ratify

import (
	"context"
	"errors"
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

func isContextError(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
