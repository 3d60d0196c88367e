package ratify

import (
	"context"
	"sync"
	"testing"
)

func TestHold(t *testing.T) {
	released := 0
	release := func() { released++ }
	Hold(t.Context(), release)
	if released != 1 {
		t.Fatal("with nobody who says when he is done it is not released at once")
	}
	outer, doneOuter := withHolding(t.Context())
	inner, doneInner := withHolding(outer)
	Hold(outer, release)
	Hold(inner, release)
	if released != 1 {
		t.Fatal("it is released before who reads is done")
	}
	doneInner()
	if released != 2 {
		t.Errorf("%d are released after the inner one is done, want 2", released)
	}
	doneOuter()
	doneOuter()
	if released != 3 {
		t.Errorf("%d are released after both are done, want 3", released)
	}
	Hold(outer, release) // a read that ends after its reader has gone
	if released != 4 {
		t.Error("what comes late is held for ever")
	}
}

// TestHoldIsSafe: whatever happens at the same time, each is released once.
func TestHoldIsSafe(t *testing.T) {
	for range 100 {
		ctx, done := withHolding(context.Background())
		var all sync.WaitGroup
		var mu sync.Mutex
		released := 0
		for range 8 {
			all.Go(func() { Hold(ctx, func() { mu.Lock(); released++; mu.Unlock() }) })
		}
		all.Go(done)
		all.Wait()
		if released != 8 {
			t.Fatalf("%d of 8 are released", released)
		}
	}
}
