package sigstore

import (
	"context"
	"errors"
	"sync"
)

// flights have what several want at the same time done once, by one of them: singleflight would have it done on a stack of
// its own where a wait has to end with its context, and a panic there is nobody's to contain.
type flights[V any] struct {
	mu      sync.Mutex
	running map[string]*flight[V]
}

type flight[V any] struct {
	done  chan struct{}
	value V
	err   error
}

func newFlights[V any]() *flights[V] { return &flights[V]{running: map[string]*flight[V]{}} }

// errUnfinished is the error of work that did not come to its end.
var errUnfinished = errors.New("the work has not ended")

// do works, or waits for whoever is at the same work. Who has waited for nothing, perhaps because nobody else wanted it any
// more, works himself: an error is nobody else's.
func (f *flights[V]) do(ctx context.Context, key string, work func() (V, error)) (value V, err error) {
	f.mu.Lock()
	other, running := f.running[key]
	if !running {
		own := &flight[V]{done: make(chan struct{}), err: errUnfinished}
		f.running[key] = own
		f.mu.Unlock()
		defer f.land(key, own)
		own.value, own.err = work()
		return own.value, own.err
	}
	f.mu.Unlock()
	select {
	case <-other.done:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	if other.err == nil {
		return other.value, nil
	}
	return work()
}

// land lets go of those who wait.
func (f *flights[V]) land(key string, own *flight[V]) {
	f.mu.Lock()
	delete(f.running, key)
	f.mu.Unlock()
	close(own.done)
}
