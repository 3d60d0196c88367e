package oras

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// startRate is the requests a second with which a registry is asked again after its first refusal. It doubles each
	// second until the next one, so that a limit of a hundred is found in four.
	startRate = 10.0
	// minRate asks a registry that accepts next to nothing once in five seconds; maxRate is as good as none.
	minRate, maxRate = 0.2, 1000.0
	// What an accepted request adds to the rate: ln 2 doubles it in a second; later half a per cent a second makes up for
	// slowDown in twenty, and so one second in twenty is lost to the refusal that tells where the limit is.
	growthAtStart, growth = 0.69, 0.005
	// slowDown is what a refusal leaves of the rate, slowDownAtStart of a rate that was still doubling, and slowDownMost is
	// what is left at least, for a refusal may come from a moment's unevenness.
	slowDown, slowDownAtStart, slowDownMost = 0.9, 0.85, 0.75
	// minPause is the wait after a refusal without a time, maxPause the longest that pauses without an accepted request in
	// between grow to: four in the minute that work lasts.
	minPause, maxPause = maxRetryWait, 16 * time.Second
	// maxBarren refusals in a row, with nothing accepted between them, say that it is not the rate: the rate has gone down to
	// a third by then.
	maxBarren = 4
	// maxSaid is the longest time that is waited because a registry says so: no work lasts longer.
	maxSaid = time.Minute
	// forgetAfter is how long after its last refusal a registry counts as one that does not limit: a limit is counted in
	// seconds, or work would have to be given up anyway.
	forgetAfter = time.Minute
	// maxWaiting bounds the requests that wait for one registry: the work that is accepted at the same time (1,024 images)
	// with four pieces of evidence each.
	maxWaiting = 4096
	// lateness is what a timer may be late by without the rate suffering.
	lateness = 10 * time.Millisecond
)

var (
	errTurnTooLate = errors.New("the request's turn does not come before the deadline")
	errTooManyWait = errors.New("too many requests wait for their turn already")
)

// A pacer holds back the requests for one registry under one credential after it has refused some for their number (429,
// or 503 with a time). It then sends one after the other, those of the oldest image first, at the rate at which they are accepted, which
// it learns: a refusal lowers the rate, and each accepted request raises it by a little. Until the first refusal it costs
// two atomic operations.
//
// It is by credential because limits are, mostly: the exhausted account of one tenant is no reason for others to wait. The
// zero value is ready.
type pacer struct {
	epoch  atomic.Uint64 // counts refusals that told something new; 0 while the registry does not limit
	served atomic.Uint64 // accepted requests

	mu      sync.Mutex
	waiting list.List // of *turn, by number
	timer   *time.Timer
	next    time.Time // when the next request may be sent
	rate    float64   // requests a second
	found   bool      // the rate has been too high before, and no longer doubles

	epochs                     uint64
	refusedAt, resumedAt       time.Time // the last refusal that told something new, and the end of its pause
	accepted                   int       // of what was sent since
	servedAtLast, servedBefore uint64    // served at the last refusal and at the one before
	barren                     int       // refusals in a row with nothing accepted in between
}

// A turn is one request's.
type turn struct {
	number uint64        // the lowest is the next; it stays the same when the request is sent again
	epoch  uint64        // of the pacer when it was sent
	end    time.Time     // of what it is for; zero if there is none
	come   chan struct{} // closed when its turn has come, or will not come before end
	late   bool          // it will not; set before
}

// await waits until the request may be sent, and calls waiting before if it has to. Errors are the two above, and the
// context's where it was cancelled.
func (p *pacer) await(ctx context.Context, t *turn, waiting func()) error {
	if t.epoch = p.epoch.Load(); t.epoch == 0 {
		return nil
	}
	place, err := p.queue(ctx, t)
	if place == nil {
		return err
	}
	waiting()
	select {
	case <-t.come:
		if t.late {
			return errTurnTooLate
		}
		return nil
	case <-ctx.Done():
		p.mu.Lock()
		p.waiting.Remove(place) // does nothing where its turn has just come
		p.mu.Unlock()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return errTurnTooLate
		}
		return ctx.Err()
	}
}

// queue gives the request its place, or none if it may be sent at once.
func (p *pacer) queue(ctx context.Context, t *turn) (*list.Element, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.waiting.Len() == 0 && now.Sub(p.refusedAt) > forgetAfter {
		p.epoch.Store(0)
		t.epoch = 0
		return nil, nil
	}
	if p.waiting.Len() == 0 && !p.next.After(now) {
		p.send(t, now)
		return nil, nil
	}
	if p.waiting.Len() >= maxWaiting {
		return nil, errTooManyWait
	}
	behind, ahead := p.waiting.Back(), p.waiting.Len()
	for behind != nil && behind.Value.(*turn).number > t.number {
		behind = behind.Prev()
		ahead--
	}
	t.end, _ = ctx.Deadline()
	if p.tooLate(t, ahead) {
		return nil, errTurnTooLate
	}
	t.come, t.late = make(chan struct{}), false
	var place *list.Element
	if behind == nil {
		place = p.waiting.PushFront(t)
	} else {
		place = p.waiting.InsertAfter(t, behind)
	}
	p.arm(now)
	return place, nil
}

// tooLate tells whether the turn of a request with so many ahead of it does not come before its end, as things are: one
// request after each pause, while nothing is accepted, or at twice the rate that was found, which a moment's refusals may
// have put too low. A rate that doubles tells nothing yet.
func (p *pacer) tooLate(t *turn, ahead int) bool {
	if t.end.IsZero() {
		return false
	}
	gap := time.Duration(0)
	switch {
	case p.barren >= maxBarren:
		gap = p.silence()
	case p.found:
		gap = time.Duration(float64(time.Second) / (2 * p.rate))
	}
	return p.next.Add(time.Duration(ahead) * gap).After(t.end)
}

// giveUp tells those whose turn will not come in time, so that nobody waits for nothing.
func (p *pacer) giveUp() {
	ahead := 0
	for e := p.waiting.Front(); e != nil; {
		t, next := e.Value.(*turn), e.Next()
		if p.tooLate(t, ahead) {
			p.waiting.Remove(e)
			t.late = true
			close(t.come)
		} else {
			ahead++
		}
		e = next
	}
}

// silence is the pause after as many refusals in a row as there were.
func (p *pacer) silence() time.Duration { return min(minPause<<min(max(p.barren-1, 0), 8), maxPause) }

// send counts a request that is sent now. Each one moves the next one on; a timer's lateness does not add up.
func (p *pacer) send(t *turn, now time.Time) {
	t.epoch = p.epoch.Load()
	if earliest := now.Add(-lateness); p.next.Before(earliest) {
		p.next = earliest
	}
	p.next = p.next.Add(time.Duration(float64(time.Second) / p.rate))
}

// release sends those whose turn has come.
func (p *pacer) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for e := p.waiting.Front(); e != nil && !p.next.After(now); e = p.waiting.Front() {
		t := p.waiting.Remove(e).(*turn)
		p.send(t, now)
		close(t.come)
	}
	p.arm(now)
}

// arm sets the timer for whoever waits.
func (p *pacer) arm(now time.Time) {
	switch {
	case p.waiting.Len() == 0:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.next.Sub(now), p.release)
	default:
		p.timer.Reset(p.next.Sub(now))
	}
}

// accept is told that a request was not refused for its number.
func (p *pacer) accept(t *turn) {
	p.served.Add(1)
	if t.epoch == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.epoch != p.epoch.Load() {
		return // it tells about a rate that is no longer
	}
	p.accepted++
	if p.found {
		p.rate = min(p.rate+growth, maxRate)
	} else {
		p.rate = min(p.rate+growthAtStart, maxRate)
	}
}

// refuse is told that a request was refused for its number, and for how long the registry wants to be left alone; 0 if it
// does not say. It returns whether any request was accepted since a refusal before.
func (p *pacer) refuse(t *turn, said time.Duration) (progress bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	epoch := p.epoch.Load()
	if epoch != 0 && t.epoch != epoch {
		// It was sent before the last refusal came, and is part of the same event.
		p.pause(now.Add(said))
		p.giveUp()
		return p.served.Load() > p.servedBefore
	}
	served := p.served.Load()
	progress = served > p.servedAtLast
	p.barren++
	if progress {
		p.barren = 0
	}
	p.servedBefore, p.servedAtLast = p.servedAtLast, served
	p.slow(epoch == 0, now)
	p.refusedAt, p.resumedAt, p.accepted = now, now, 0
	p.pause(now.Add(max(said, p.silence())))
	p.epochs++
	p.epoch.Store(p.epochs)
	p.giveUp()
	return progress
}

// slow lowers the rate, to what was accepted in the time since the last refusal if that is much less.
func (p *pacer) slow(first bool, now time.Time) {
	if first {
		p.rate, p.found = startRate, false
		return
	}
	left := slowDown
	if !p.found {
		left = slowDownAtStart
	}
	p.found = true
	measured := float64(p.accepted) / max(now.Sub(p.resumedAt).Seconds(), 0.001)
	p.rate = max(min(p.rate*left, max(measured, p.rate*slowDownMost)), minRate)
}

// pause sends nothing before until.
func (p *pacer) pause(until time.Time) {
	if p.resumedAt.Before(until) {
		p.resumedAt = until
	}
	if p.next.Before(until) {
		p.next = until
		p.arm(time.Now())
	}
}
