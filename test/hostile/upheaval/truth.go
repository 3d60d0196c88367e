package upheaval

import (
	"sync"
	"time"
)

// A trust is a set of signers.
type trust uint8

// The two signers that are ever trusted.
const (
	first trust = 1 << iota
	second
)

const (
	// grace is how long an answer under way may still be of the configuration before: the promise.
	grace = time.Second
	// delivery is what an answer may take from the program to the one who asked, which is not the program's;
	// looseDelivery is for a run beside other tests.
	delivery, looseDelivery = 250 * time.Millisecond, 2 * time.Second
)

// A state is who is trusted from one change of the configuration to the next.
type state struct {
	trust    trust
	written  time.Time            // when its file may have been read for the first time
	accepted map[string]time.Time // by the address of an instance: when it was seen to have said so
}

// Truth is what was right at each time. Its methods are safe for concurrent use.
type truth struct {
	delivery time.Duration

	mu      sync.Mutex
	states  []state
	unknown []window
}

// A window is a time in which "could not tell" is right.
type window struct{ from, to time.Time }

func newTruth(now trust, delivery time.Duration) *truth {
	return &truth{delivery: delivery, states: []state{{trust: now, written: time.Now(), accepted: map[string]time.Time{}}}}
}

// write is told before a file is written.
func (t *truth) write(next trust) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.states = append(t.states, state{trust: next, written: time.Now(), accepted: map[string]time.Time{}})
}

// accept is told when an instance has said that what was written last is in force.
func (t *truth) accept(instance string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, s := range t.states {
		if s.accepted[instance].IsZero() {
			s.accepted[instance] = now
		}
	}
}

// mayNotTell opens a time in which an answer may be "could not tell"; it lasts until the returned function is called.
func (t *truth) mayNotTell() (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := len(t.unknown)
	t.unknown = append(t.unknown, window{from: time.Now()})
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.unknown[i].to = time.Now()
	}
}

// untoldIsRight tells whether a request of that time may be answered "could not tell".
func (t *truth) untoldIsRight(sent, received time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.unknown {
		if received.After(w.from) && (w.to.IsZero() || sent.Before(w.to)) {
			return true
		}
	}
	return false
}

// A judgement is what is held of an answer.
type judgement int

const (
	right judgement = iota
	// oldAccepted is a verdict of a configuration for a request that was sent after the instance had said that another is in
	// force; oldLater is one that came more than the grace after that.
	oldAccepted
	oldLater
	wrong
)

// judge tells whether an instance could say that an image of these signers is admitted, or is not.
func (t *truth) judge(instance string, sent, received time.Time, signers trust, admitted bool) judgement {
	t.mu.Lock()
	defer t.mu.Unlock()
	worst := wrong
	for i, s := range t.states {
		if s.written.After(received) || admitted != (signers&s.trust != 0) {
			continue
		}
		if i+1 == len(t.states) {
			return right
		}
		over, known := t.states[i+1].accepted[instance]
		switch {
		case !known || !sent.After(over) && !received.After(over.Add(grace+t.delivery)):
			return right
		case sent.After(over):
			worst = oldAccepted
		default:
			worst = oldLater
		}
	}
	return worst
}
