package sigstore

import (
	"context"
	"errors"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A placed repository tells in which place it is, and for whom it is read: what one tenant may read, and what is not there
// for one, is nothing to another.
type placed interface{ Place() string }

const (
	// absentLife is how long it is remembered that there is no such tag: as long as a refusal is kept, which is what comes
	// of it, so that whoever signs an image waits no longer for it.
	absentLife = 10 * time.Second
	// maxAbsent is how many images a busy cluster looks at within that time, with two tags each.
	maxAbsent = 8 << 10
	// maxAbsentBytes holds as many of names of 200 bytes and tags of 75, and what each entry costs beside them.
	maxAbsentBytes = 4 << 20
)

// lookups are those that are under way.
type lookups struct {
	mu      sync.Mutex
	running map[string]*lookup
}

type lookup struct {
	done   chan struct{}
	layers []ocispec.Descriptor
	err    error
}

// errUnfinished is the error of a lookup that did not come to its end.
var errUnfinished = errors.New("the lookup has not ended")

// find returns what look finds under a tag. Several verifiers that want the same tag at the same time, as those of a
// policy do, ask once; whoever waited for a lookup that failed, perhaps because nobody wanted it any more, asks for himself.
func (s *Shared) find(ctx context.Context, key string, look func() ([]ocispec.Descriptor, error)) ([]ocispec.Descriptor, error) {
	if _, absent := s.absent.Get(key); absent {
		return nil, nil
	}
	s.lookups.mu.Lock()
	l, running := s.lookups.running[key]
	if !running {
		l = &lookup{done: make(chan struct{}), err: errUnfinished}
		s.lookups.running[key] = l
	}
	s.lookups.mu.Unlock()
	if !running {
		defer s.end(key, l)
		l.layers, l.err = look()
		return notThere(l.layers, l.err)
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.err == nil || errors.Is(l.err, errNoTag) {
		return notThere(l.layers, l.err)
	}
	return notThere(look())
}

// end lets go of those who wait.
func (s *Shared) end(key string, l *lookup) {
	if errors.Is(l.err, errNoTag) {
		s.absent.Set(key, struct{}{}, absentLife)
	}
	s.lookups.mu.Lock()
	delete(s.lookups.running, key)
	s.lookups.mu.Unlock()
	close(l.done)
}
