package inflight

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestOneAloneHasThreeQuarters(t *testing.T) {
	b := New(100)
	if !b.Try("a", 75) || b.Try("a", 1) {
		t.Error("one alone may hold 75 of 100, and no more")
	}
	if !b.Try("b", 18) || b.Try("b", 1) {
		t.Error("another may hold three quarters of what is left")
	}
	b.Give("a", 75)
	b.Give("b", 18)
	if !b.Try("c", 75) {
		t.Error("what was given back is not there")
	}
}

// TestSomeAreLeft: however many never give back, the next one finds something.
func TestSomeAreLeft(t *testing.T) {
	const total, stuck = 64 << 20, 64
	b := New(total)
	for again := true; again; {
		again = false
		for i := range stuck {
			again = b.Try(fmt.Sprint(i), 4<<10) || again
		}
	}
	if !b.Try("healthy", total/(3*stuck+1)/2) {
		t.Error("the others hold all")
	}
}

func TestWhoWaitsGetsWhatIsGivenBack(t *testing.T) {
	b := New(100)
	b.Try("a", 75)
	taken := make(chan error, 1)
	go func() { taken <- b.Take(t.Context(), "b", 50) }()
	for waits := false; !waits; {
		b.mu.Lock()
		waits = b.waiting.Len() == 1
		b.mu.Unlock()
	}
	b.Give("a", 75)
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	b.Give("b", 50)
	if len(b.held) != 0 || b.free != 100 {
		t.Errorf("%d are free, and %v held, after all was given back", b.free, b.held)
	}
}

func TestWhoWaitsForNothingGoes(t *testing.T) {
	b := New(100)
	b.Try("a", 75)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.Take(ctx, "a", 1); !errors.Is(err, context.DeadlineExceeded) || b.waiting.Len() != 0 {
		t.Errorf("error %v, and %d wait", err, b.waiting.Len())
	}
}

// TestNothingIsLost: with many who take, wait, and go away, all is there in the end.
func TestNothingIsLost(t *testing.T) {
	b := New(1000)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			who := fmt.Sprint(i % 5)
			for n := range int64(200) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n%3)*100*time.Microsecond)
				if b.Take(ctx, who, n%100+1) == nil {
					b.Give(who, n%100+1)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if b.free != 1000 || len(b.held) != 0 || b.waiting.Len() != 0 {
		t.Errorf("%d are free, %v held, %d wait", b.free, b.held, b.waiting.Len())
	}
}

// TestNothingIsAlwaysThere: the end of an answer holds nothing, so it neither waits for others nor leaves a name behind, of which
// strangers have any number.
func TestNothingIsAlwaysThere(t *testing.T) {
	b := New(100)
	if !b.Try("empty", 0) || len(b.held) != 0 {
		t.Errorf("%v is remembered of who holds nothing", b.held)
	}
	for who, bytes := range map[string]int64{"a": 60, "b": 20, "c": 10} {
		b.held[who] = bytes
		b.free -= bytes
	}
	if !b.Try("a", 0) {
		t.Error("who has more than he might have now must wait for nothing")
	}
}

func TestOwner(t *testing.T) {
	for host, want := range map[string]string{
		"docker.io":                  "docker.io",
		"a.registry.example":         "registry.example",
		"b.a.registry.example:5000":  "registry.example",
		"localhost:5000":             "localhost",
		"127.0.0.1:5000":             "127.0.0.1",
		"192.0.2.1:1":                "192.0.2.1",
		"[::1]:5000":                 "::1",
		"[2001:db8::1]:5000":         "2001:db8::/48",
		"[2001:db8:0:ffff::2]":       "2001:db8::/48",
		"[2001:db8:1::1]":            "2001:db8:1::/48",
		"[::ffff:192.0.2.1]":         "192.0.2.1",
		"[fd00::1]":                  "fd00::1",
		"registry:5000":              "registry",
		"1.dkr.ecr.r.amazonaws.com":  "amazonaws.com",
		"a.s3.amazonaws.com":         "amazonaws.com",
		"a.b.co.uk":                  "b.co.uk",
		"co.uk":                      "co.uk",
		"mine.github.io":             "github.io",
		"a.b.c.unheard":              "c.unheard",
		"registry.svc.cluster.local": "cluster.local",
	} {
		if got := Owner(host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}
