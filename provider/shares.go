package provider

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/inflight"
)

const (
	// shareFactor times the common places that are free is what one registry may hold of them. By such a dynamic threshold
	// switches share their buffers: a registry alone has three quarters of them, n that are stuck leave one in 3n+1.
	shareFactor = 3
	// reservedPart of all places is for registries of which images were verified lately, to each as much as its part in
	// those: however many others are stuck, or answer with anything else, those that are of use have half.
	reservedPart = 2
	// recentTimes is how many of the times that a registry has held a place its mean is about: enough that one slow image
	// says little, few enough that it follows within a second or two of work.
	recentTimes = 8
)

// Shares are places for work, of which no registry can have all: one that is stuck keeps each of its places for as long
// as the work may last, and images in it cost nothing to invent.
type shares struct {
	places, spare int       // all of them, and within how many work may begin that nobody waits for
	earned        *earnings // whose the reserved ones are

	mu       sync.Mutex
	began    time.Time
	free     int
	reserved int               // of the reserved places, how many are taken
	by       map[string]*share // of those who hold any, or wait
	waiting  *list.List        // of *turn; none of them could be taken now
}

// A share is what one registry holds.
type share struct {
	held, reserved int
	waits          int           // turns that wait for a place
	since          time.Duration // the sum of when its places were taken, since the shares began
	mean           time.Duration // for which it has held a place lately; 0: none was given back
	moved          time.Duration // when one was given back last, or somebody began to wait; since the shares began
}

// A place is one that somebody holds.
type place struct {
	who      string
	reserved bool
	at       time.Duration // since the shares began
}

// A turn is somebody who waits for a place.
type turn struct {
	who   string
	spare bool // nobody waits for his work
	place place
	taken chan struct{}
}

// newShares returns shares of so many places, of which work that nobody waits for may begin while fewer than spare are taken.
func newShares(places, spare int, earned *earnings) *shares {
	return &shares{places: places, spare: spare, earned: earned, began: time.Now(), free: places, by: map[string]*share{}, waiting: list.New()}
}

// try takes a place if there is one for who.
func (s *shares) try(who string) (release func(), ok bool) { return s.tryTurn(&turn{who: who}) }

// trySpare is try for work that nobody waits for: it has a place only while few are taken.
func (s *shares) trySpare(who string) (release func(), ok bool) {
	return s.tryTurn(&turn{who: who, spare: true})
}

func (s *shares) tryTurn(t *turn) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.take(t) {
		return nil, false
	}
	return func() { s.release(t.place) }, true
}

// acquire waits for a place. Errors are *ratify.Error with the code OVERLOADED.
func (s *shares) acquire(ctx context.Context, who string) (release func(), err error) {
	return s.wait(ctx, &turn{who: who, taken: make(chan struct{})})
}

// acquireSpare is acquire for work that nobody waits for: it waits until few places are taken.
func (s *shares) acquireSpare(ctx context.Context, who string) (release func(), err error) {
	return s.wait(ctx, &turn{who: who, spare: true, taken: make(chan struct{})})
}

func (s *shares) wait(ctx context.Context, t *turn) (release func(), err error) {
	release = func() { s.release(t.place) }
	s.mu.Lock()
	if s.take(t) {
		s.mu.Unlock()
		return release, nil
	}
	e := s.waiting.PushBack(t)
	ours := s.of(t.who)
	if ours.waits == 0 {
		ours.moved = time.Since(s.began)
	}
	ours.waits++
	s.mu.Unlock()
	select {
	case <-t.taken:
		return release, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-t.taken: // its turn has just come
		s.give(t.place)
		s.serve()
	default:
		s.leave(e)
	}
	return nil, &ratify.Error{Code: ratify.Overloaded, Err: ctx.Err()}
}

// of is the share of who, a new one where there is none.
func (s *shares) of(who string) *share {
	ours := s.by[who]
	if ours == nil {
		ours = &share{}
		s.by[who] = ours
	}
	return ours
}

// drop forgets a share of which nothing is left.
func (s *shares) drop(who string) {
	if ours := s.by[who]; ours.held == 0 && ours.waits == 0 {
		delete(s.by, who)
	}
}

// take takes a place: of the reserved ones what who has earned, or else of the common ones what he may have.
func (s *shares) take(t *turn) bool {
	if s.free == 0 || t.spare && s.places-s.free >= s.spare {
		return false
	}
	ours, reserve := s.of(t.who), 0
	if s.earned.any() {
		reserve = s.places / reservedPart
	}
	t.place = place{who: t.who, at: time.Since(s.began)}
	common := s.places - reserve - (s.places - s.free - s.reserved)
	switch {
	case s.reserved < reserve && float64(ours.reserved) < s.earned.part(t.who)*float64(reserve):
		t.place.reserved = true
		s.reserved++
		ours.reserved++
	case ours.held-ours.reserved >= shareFactor*common:
		s.drop(t.who)
		return false
	}
	s.free--
	ours.held++
	ours.since += t.place.at
	return true
}

// leave ends the wait of a turn.
func (s *shares) leave(e *list.Element) {
	who := s.waiting.Remove(e).(*turn).who
	s.by[who].waits--
	s.drop(who)
}

// release gives a place back, and to those whose turn has come.
func (s *shares) release(p place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give(p)
	s.serve()
}

// serve gives places to those whose turn has come.
func (s *shares) serve() {
	type class struct {
		who   string
		spare bool
	}
	none := map[class]bool{} // for whom there is none now
	var next *list.Element
	for e := s.waiting.Front(); e != nil && s.free > 0; e = next {
		next = e.Next()
		t := e.Value.(*turn)
		if none[class{t.who, t.spare}] {
			continue
		}
		if !s.take(t) {
			none[class{t.who, t.spare}] = true
			continue
		}
		s.leave(e)
		close(t.taken)
	}
}

// give takes back a place.
func (s *shares) give(p place) {
	ours := s.by[p.who]
	s.free++
	ours.held--
	ours.since -= p.at
	if p.reserved {
		s.reserved--
		ours.reserved--
	}
	ours.moved = time.Since(s.began)
	if held := ours.moved - p.at; ours.mean == 0 {
		ours.mean = max(held, 1)
	} else {
		ours.mean += (min(held, recentTimes*ours.mean) - ours.mean) / recentTimes // one that hung says little
	}
	s.drop(p.who)
}

// expect tells how long it will be until work is done that would now have to wait for a place of its registry. Where that is
// not known, because there is a place or none was ever given back, it is 0, or how long places are held already: nobody is to be
// turned away who would have made it.
func (s *shares) expect(who string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := s.by[who]
	if ours == nil || ours.waits == 0 || ours.held == 0 {
		return 0
	}
	each := ours.mean
	if still := time.Since(s.began) - ours.moved; still > each {
		// One that hangs beside others that do not says nothing of these.
		each = max(each, min(still, s.age(ours)))
	}
	return each + time.Duration(ours.waits+1)*each/time.Duration(ours.held)
}

// age is for how long the places of a share are held, in the mean.
func (s *shares) age(ours *share) time.Duration {
	return time.Since(s.began) - ours.since/time.Duration(ours.held)
}

// stuck tells whether somebody waits for a place of a registry, and none was given back for longer than that.
func (s *shares) stuck(who string, than time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := s.by[who]
	return ours != nil && ours.held > 0 && ours.waits > 0 && time.Since(s.began)-ours.moved > than
}

// shareOf tells whose share a subject's work counts against: the registry's domain.
func shareOf(s ratify.Subject) string { return inflight.Owner(s.Host()) }
