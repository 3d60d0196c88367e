package sigstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who waits for another's work is not held beyond half of his own time by it, nor by its failure, nor beyond his own end.
func TestFlightsHoldNobodyForLong(t *testing.T) {
	for name, tc := range map[string]struct {
		leader time.Duration // until it ends
		err    error
		wait   time.Duration // the follower's deadline
		took   time.Duration
		want   string
	}{
		"done in time":       {leader: time.Second, wait: 10 * time.Second, took: time.Second, want: "leader's"},
		"failed":             {leader: time.Second, err: errors.New("down"), wait: 10 * time.Second, took: time.Second, want: "own"},
		"stuck":              {leader: time.Minute, wait: 10 * time.Second, took: 5 * time.Second, want: "own"},
		"stuck, no time":     {leader: time.Minute, wait: -time.Second, want: ""},
		"no deadline at all": {leader: time.Minute, took: time.Minute, want: "leader's"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlights[string]()
				var all sync.WaitGroup
				all.Go(func() {
					_, _ = f.do(t.Context(), "key", func() (string, error) {
						time.Sleep(tc.leader)
						return "leader's", tc.err
					})
				})
				synctest.Wait()
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if tc.wait != 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.wait)
				}
				defer cancel()
				began := time.Now()
				got, err := f.do(ctx, "key", func() (string, error) { return "own", ctx.Err() })
				if took := time.Since(began); got != tc.want || took != tc.took || (err != nil) != (tc.want == "") {
					t.Errorf("%q, %v after %v, want %q after %v", got, err, took, tc.want, tc.took)
				}
				all.Wait()
			})
		})
	}
}
