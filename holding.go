package ratify

import (
	"context"
	"sync"
)

type holdingKey struct{}

// A holding is what is in memory for somebody who reads.
type holding struct {
	mu      sync.Mutex
	ended   bool
	release []func()
}

// Hold is for stores that count the bytes that they have read as long as they are in memory: release is called once, when the
// one who reads under ctx is done with what he was given, and at once where nobody says when that is.
func Hold(ctx context.Context, release func()) {
	h, ok := ctx.Value(holdingKey{}).(*holding)
	if !ok {
		release()
		return
	}
	h.mu.Lock()
	ended := h.ended
	if !ended {
		h.release = append(h.release, release)
	}
	h.mu.Unlock()
	if ended {
		release()
	}
}

// withHolding returns a context under which what is read is held until done is called.
func withHolding(ctx context.Context) (held context.Context, done func()) {
	h := &holding{}
	return context.WithValue(ctx, holdingKey{}, h), h.end
}

func (h *holding) end() {
	h.mu.Lock()
	release := h.release
	h.release, h.ended = nil, true
	h.mu.Unlock()
	for _, f := range release {
		f()
	}
}
