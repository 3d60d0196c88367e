package admission

import (
	"net/http"
	"strings"
	"sync"
)

// A gate stands before the registry: it counts what is read of each repository, and can fail or hold it.
type gate struct {
	mu     sync.Mutex
	reads  map[string]int
	faults map[string]http.HandlerFunc // by repository
	held   []*hold
}

// A hold keeps the requests for one path of a repository waiting.
type hold struct {
	path    string        // what the path begins with
	arrived chan struct{} // closed when the first one waits
	release chan struct{}
	first   sync.Once
	end     sync.Once
}

func newGate() *gate {
	return &gate{reads: map[string]int{}, faults: map[string]http.HandlerFunc{}}
}

func (g *gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		if r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		g.mu.Lock()
		g.reads[repository]++
		fault, held := g.faults[repository], g.held
		g.mu.Unlock()
		for _, h := range held {
			if strings.HasPrefix(r.URL.Path, h.path) {
				h.first.Do(func() { close(h.arrived) })
				select {
				case <-h.release:
				case <-r.Context().Done():
					return
				}
			}
		}
		if fault != nil {
			fault(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fail answers what is read of a repository in another way, until mend.
func (g *gate) fail(repository string, fault http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults[repository] = fault
}

func (g *gate) mend(repository string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.faults, repository)
}

// hold keeps all that is read below a path, such as signed/referrers/, waiting until it is let go.
func (g *gate) hold(path string) *hold {
	h := &hold{path: "/v2/" + path, arrived: make(chan struct{}), release: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = append(g.held, h)
	return h
}

func (h *hold) letGo() { h.end.Do(func() { close(h.release) }) }

// open lets everybody go, so that the registry can end.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.held {
		h.letGo()
	}
}

// read is how often something was read of a repository.
func (g *gate) read(repository string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reads[repository]
}

// status is a fault: a registry that answers this, with headers as pairs of name and value.
func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
	}
}
