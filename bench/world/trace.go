package world

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// A Request is one that the registry or its token server was asked.
type Request struct {
	Kind       Kind
	Path       string // with its query
	Repository string
	Image      digest.Digest // that it was for; empty if that cannot be told, of tokens say
	Status     int
	// Began is when it came, Ended when its answer was about to be written.
	Began, Ended time.Time
}

// A Trace is the requests of a time.
type Trace struct {
	registry *Registry
	mu       sync.Mutex
	requests []Request
}

// Trace notes every request from now until Stop. There is one at a time: a new one ends the one before.
func (r *Registry) Trace() *Trace {
	t := &Trace{registry: r}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tracing = t
	return t
}

func (t *Trace) add(request Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests = append(t.requests, request)
}

// Stop ends the notes and returns them in the order in which the requests came.
func (t *Trace) Stop() []Request {
	t.registry.mu.Lock()
	if t.registry.tracing == t {
		t.registry.tracing = nil
	}
	t.registry.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	requests := slices.Clone(t.requests)
	slices.SortStableFunc(requests, func(a, b Request) int { return a.Began.Compare(b.Began) })
	return requests
}

// Of keeps the requests that were for the image: those that name it or what belongs to it, and those for its repository that
// name no image.
func Of(image Image, requests []Request) []Request {
	var kept []Request
	for _, request := range requests {
		if request.Image == image.Digest || request.Image == "" && request.Repository == image.repository {
			kept = append(kept, request)
		}
	}
	return kept
}

// Sequence is the longest chain of requests of which each came after the one before was answered. It means something where
// the registry has a delay that is long against what a client takes between two requests.
func Sequence(requests []Request) []Request {
	byEnd := slices.Clone(requests)
	slices.SortFunc(byEnd, func(a, b Request) int { return cmp.Or(a.Ended.Compare(b.Ended), a.Began.Compare(b.Began)) })
	var chain []Request
	// Taking what ends first leaves most room for the others, so that no chain is longer.
	for _, request := range byEnd {
		if len(chain) == 0 || !request.Began.Before(chain[len(chain)-1].Ended) {
			chain = append(chain, request)
		}
	}
	return chain
}
