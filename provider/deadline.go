package provider

import (
	"context"
	"sync"
	"time"
)

// A deadline is a context with an end, like context.WithDeadline's. It sets its timer when somebody first waits for it, and
// nobody does where all is known.
type deadline struct {
	context.Context
	until time.Time

	once  sync.Once
	timed context.Context
	stop  context.CancelFunc
}

func withDeadline(parent context.Context, until time.Time) *deadline {
	return &deadline{Context: parent, until: until}
}

func (d *deadline) start() context.Context {
	d.once.Do(func() { d.timed, d.stop = context.WithDeadline(d.Context, d.until) })
	return d.timed
}

func (d *deadline) Deadline() (time.Time, bool) { return d.until, true }
func (d *deadline) Done() <-chan struct{}       { return d.start().Done() }
func (d *deadline) Err() error                  { return d.start().Err() }

// cancel ends it. Nobody may wait for it any more.
func (d *deadline) cancel() {
	if d.stop != nil {
		d.stop()
	}
}
