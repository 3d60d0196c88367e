package provider

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
)

// takeAll takes as many places as who can get.
func takeAll(s *shares, who string) (releases []func()) {
	for {
		release, ok := s.try(who)
		if !ok {
			return releases
		}
		releases = append(releases, release)
	}
}

// takeWhole takes all places, for as many as that needs.
func takeWhole(s *shares) {
	for i := 0; s.free > 0; i++ {
		takeAll(s, fmt.Sprint("taker", i))
	}
}

// nobody tells whether nobody holds or wants anything.
func (s *shares) nobody() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free == s.places && s.reserved == 0 && len(s.by) == 0 && s.waiting.Len() == 0
}

// placesFor are shares of which nobody has earned any.
func placesFor(places int) *shares { return newShares(places, places/spareShare, newEarnings()) }

func TestShares(t *testing.T) {
	for _, c := range []struct{ places, first, second, third int }{
		{1, 1, 0, 0}, {2, 2, 0, 0}, {4, 3, 1, 0}, {64, 48, 12, 3}, {1024, 768, 192, 48},
	} {
		s := placesFor(c.places)
		if a, b, d := len(takeAll(s, "a")), len(takeAll(s, "b")), len(takeAll(s, "c")); a != c.first || b != c.second || d != c.third {
			t.Errorf("of %d places: %d, %d, %d; want %d, %d, %d", c.places, a, b, d, c.first, c.second, c.third)
		}
	}
}

// TestSharesComeBack: whatever is taken, waited for and given up, in the end all places are free, and whoever waited
// while there was one for it got it.
func TestSharesComeBack(t *testing.T) {
	const places = 8
	s := placesFor(places)
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if r.IntN(3) == 0 {
					go cancel()
				}
				release, err := s.acquire(ctx, fmt.Sprint(r.IntN(4)))
				if err == nil {
					release()
				} else if ratify.AsError(err).Code != ratify.Overloaded || !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if !s.nobody() {
		t.Errorf("%d free, %v held, %d waiting", s.free, s.by, s.waiting.Len())
	}
}

// TestTurns: who waits is served in order, but who may have no more does not hold up the others.
func TestTurns(t *testing.T) {
	s := placesFor(4)
	stuck := takeAll(s, "stuck")
	other, ok := s.try("other")
	if !ok {
		t.Fatal("one that is stuck has all places")
	}
	served := make(chan string, 2)
	for i, who := range []string{"stuck", "healthy"} {
		go func() {
			if _, err := s.acquire(t.Context(), who); err == nil {
				served <- who
			}
		}()
		for waiting := 0; waiting <= i; time.Sleep(time.Millisecond) {
			s.mu.Lock()
			waiting = s.waiting.Len()
			s.mu.Unlock()
		}
	}
	other()
	if who := <-served; who != "healthy" {
		t.Errorf("served: %s", who)
	}
	stuck[0]()
	if who := <-served; who != "stuck" {
		t.Errorf("served: %s", who)
	}
}
