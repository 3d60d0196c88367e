package provider

import (
	"container/list"
	"context"
	"net/netip"
	"strings"
	"sync"

	"github.com/ratify-provider/ratify"
)

// shareFactor times the places that are free is what one registry may hold. By such a dynamic threshold switches share
// their buffers: a registry alone has three quarters of all places, n that are stuck leave one in 3n+1 to the others.
const shareFactor = 3

// spareShare is the part of all places within which work may begin that nobody waits for: what somebody asks for finds three
// quarters free of it.
const spareShare = 4

// Shares are places for work, of which no registry can have all: one that is stuck keeps each of its places for as long
// as the work may last, and images in it cost nothing to invent.
type shares struct {
	places  int
	mu      sync.Mutex
	free    int
	held    map[string]int
	waiting *list.List // of *turn; none of them could be taken now
}

// A turn is somebody who waits for a place.
type turn struct {
	who   string
	take  func(who string) bool // is called under mu
	taken chan struct{}
}

func newShares(places int) *shares {
	return &shares{places: places, free: places, held: map[string]int{}, waiting: list.New()}
}

// try takes a place if there is one for who.
func (s *shares) try(who string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.take(who) {
		return nil, false
	}
	return func() { s.release(who) }, true
}

// trySpare is try for work that nobody waits for: it has a place only while few are taken.
func (s *shares) trySpare(who string) (release func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.takeSpare(who) {
		return nil, false
	}
	return func() { s.release(who) }, true
}

// acquire waits for a place. Errors are *ratify.Error with the code OVERLOADED.
func (s *shares) acquire(ctx context.Context, who string) (release func(), err error) {
	return s.wait(ctx, &turn{who: who, take: s.take, taken: make(chan struct{})})
}

// acquireSpare is acquire for work that nobody waits for: it waits until few places are taken.
func (s *shares) acquireSpare(ctx context.Context, who string) (release func(), err error) {
	return s.wait(ctx, &turn{who: who, take: s.takeSpare, taken: make(chan struct{})})
}

func (s *shares) wait(ctx context.Context, t *turn) (release func(), err error) {
	release = func() { s.release(t.who) }
	s.mu.Lock()
	if t.take(t.who) {
		s.mu.Unlock()
		return release, nil
	}
	e := s.waiting.PushBack(t)
	s.mu.Unlock()
	select {
	case <-t.taken:
		return release, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	s.waiting.Remove(e) // does nothing where its turn has just come
	s.mu.Unlock()
	select {
	case <-t.taken:
		release()
	default:
	}
	return nil, &ratify.Error{Code: ratify.Overloaded, Err: ctx.Err()}
}

func (s *shares) take(who string) bool {
	if s.held[who] >= shareFactor*s.free {
		return false
	}
	s.free--
	s.held[who]++
	return true
}

// takeSpare takes a place if it is among the first of all that are taken.
func (s *shares) takeSpare(who string) bool {
	return s.places-s.free < s.places/spareShare && s.take(who)
}

// release gives a place back, and to those whose turn has come.
func (s *shares) release(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[who]--; s.held[who] == 0 {
		delete(s.held, who)
	}
	var next *list.Element
	for e := s.waiting.Front(); e != nil && s.free > 0; e = next {
		next = e.Next()
		if t := e.Value.(*turn); t.take(t.who) {
			s.waiting.Remove(e)
			close(t.taken)
		}
	}
}

// shareOf tells whose share a subject's work counts against: the registry's domain, for who owns one has any number of
// names below it.
func shareOf(s ratify.Subject) string {
	host := s.Host()
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return host
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}
