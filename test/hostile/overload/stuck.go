package overload

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/opencontainers/go-digest"
)

// stuckRegistries accept connections, take in what is sent, and never answer. Each has an address of its own, as what
// belongs to different owners has.
type stuckRegistries struct {
	hosts     []string
	listeners []net.Listener
	serving   sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// newStuck starts n of them, at 127.0.1.1 and following: at most 254.
func newStuck(n int) (*stuckRegistries, error) {
	s := &stuckRegistries{}
	for i := range n {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.1.%d:0", i+1)) //nolint:noctx // loopback, and closed by close
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.listeners = append(s.listeners, listener)
		s.hosts = append(s.hosts, listener.Addr().String())
		s.serving.Go(func() { s.accept(listener) })
	}
	return s, nil
}

func (s *stuckRegistries) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
		s.serving.Go(func() {
			defer conn.Close()
			_, _ = io.Copy(io.Discard, conn) // until the other side gives up, or close
		})
	}
}

func (s *stuckRegistries) close() error {
	var errs []error
	for _, listener := range s.listeners {
		errs = append(errs, listener.Close())
	}
	s.mu.Lock()
	for _, conn := range s.conns {
		_ = conn.Close() // most are closed already
	}
	s.mu.Unlock()
	s.serving.Wait()
	return errors.Join(errs...)
}

// references are n images that nobody has asked for, spread over all the registries.
func (s *stuckRegistries) references(n int, byTag bool) []string {
	references := make([]string, n)
	for i := range references {
		host := s.hosts[i%len(s.hosts)]
		if byTag {
			references[i] = fmt.Sprintf("%s/stuck/app-%d:v1", host, i)
		} else {
			references[i] = fmt.Sprintf("%s/stuck/app@%s", host, digest.FromString(fmt.Sprint("stuck", i)))
		}
	}
	return references
}

// entries are the registries in the configuration's store.
func (s *stuckRegistries) entries() []any {
	var entries []any
	for _, host := range s.hosts {
		entries = append(entries, map[string]any{"host": host, "plainHTTP": true, "allowPrivate": true})
	}
	return entries
}
