package sigstore

import (
	"context"
	"errors"
	"sync"
	"time"
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
	landed, err := other.wait(ctx)
	if err != nil {
		return value, err
	}
	if landed && other.err == nil {
		return other.value, nil
	}
	return work()
}

// wait waits for another's work, for half of the time that is left: who does it may have more, and is perhaps stuck in a
// request that would be answered at once to whoever sends it again. An error is the context's.
func (f *flight[V]) wait(ctx context.Context) (landed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	var enough <-chan time.Time
	if end, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(end) / 2)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return true, nil
	case <-enough:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// land lets go of those who wait.
func (f *flights[V]) land(key string, own *flight[V]) {
	f.mu.Lock()
	delete(f.running, key)
	f.mu.Unlock()
	close(own.done)
}
