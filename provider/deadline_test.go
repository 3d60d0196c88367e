package provider

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadlineOfARequest: it ends like the library's, for who waits and for who asks, with its parent and with its end.
func TestDeadlineOfARequest(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(d *deadline, parent context.CancelFunc)
		want error
	}{
		"time":          {func(*deadline, context.CancelFunc) { time.Sleep(time.Second) }, context.DeadlineExceeded},
		"the parent":    {func(_ *deadline, parent context.CancelFunc) { parent() }, context.Canceled},
		"when waited":   {func(d *deadline, _ context.CancelFunc) { <-d.Done() }, context.DeadlineExceeded},
		"when answered": {func(d *deadline, _ context.CancelFunc) { _ = d.Done(); d.cancel() }, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				parent, cancel := context.WithCancel(t.Context())
				defer cancel()
				d := withDeadline(parent, time.Now().Add(time.Second))
				defer d.cancel()
				if until, ok := d.Deadline(); !ok || until != d.until {
					t.Errorf("%v, %t", until, ok)
				}
				tc.end(d, cancel)
				<-d.Done()
				if !errors.Is(d.Err(), tc.want) {
					t.Errorf("%v", d.Err())
				}
			})
		})
	}
	d := withDeadline(t.Context(), time.Now().Add(time.Hour))
	if d.cancel(); d.timed != nil {
		t.Error("a timer was set that nobody waits for")
	}
}
