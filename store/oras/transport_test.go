package oras

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// crowd is a server that answers when as many requests are there as are meant to be there at the same time.
type crowd struct {
	server  *httptest.Server
	session *session
	conns   atomic.Int64
	resumed atomic.Int64

	mu      sync.Mutex
	size    int
	there   int
	release chan struct{}
}

func newCrowd(t *testing.T, http2 bool) *crowd {
	t.Helper()
	c := &crowd{}
	c.server = httptest.NewUnstartedServer(c)
	c.server.EnableHTTP2 = http2
	c.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.conns.Add(1)
		}
	}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	host := c.server.Listener.Addr().String()
	store := newStore(t, Deps{}, Registry{Host: host, AllowPrivate: true, CAFile: caFile(t, c.server)})
	c.session = newSession(store.entryFor(host), host, "app", auth.EmptyCredential, store.deps)
	// A machine that is busy needs seconds for a hundred handshakes, and what is counted here are connections.
	c.transport().meetWait = time.Minute
	for _, over := range []*http.Transport{c.transport().many, c.transport().few} {
		over.TLSHandshakeTimeout, over.ResponseHeaderTimeout = time.Minute, time.Minute
		over.DialContext = (&net.Dialer{}).DialContext
	}
	return c
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS.DidResume {
		c.resumed.Add(1)
	}
	c.mu.Lock()
	release := c.release
	if c.there++; c.there == c.size {
		close(release)
	}
	c.mu.Unlock()
	select {
	case <-release:
		w.Write([]byte("x"))
	case <-r.Context().Done():
	}
}

// visit sends so many requests at the same time and returns how many connections were made for them.
func (c *crowd) visit(t *testing.T, size int) int {
	t.Helper()
	c.size, c.there, c.release = size, 0, make(chan struct{})
	before := c.conns.Load()
	var all errgroup.Group
	for range size {
		all.Go(func() error {
			return c.session.get(t.Context(), c.session.origin+"/v2/app/blobs/x", "*/*", func(resp *http.Response) error {
				_, err := io.ReadAll(resp.Body)
				return err
			})
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	return int(c.conns.Load() - before)
}

func (c *crowd) transport() *transport { return c.session.entry.client.direct }

func (c *crowd) closeIdle() {
	c.transport().many.CloseIdleConnections()
	c.transport().few.CloseIdleConnections()
}

// 64 images with two requests each are under way at the same time: over a connection each, which are kept, or over a few
// where the server speaks HTTP/2.
func TestConnections(t *testing.T) {
	const requests = 128
	for _, tc := range []struct {
		name        string
		http2       bool
		atMost, new int // connections for the first batch, and for the next one
	}{
		{"HTTP/1.1", false, requests + 1, 1},     // the very first connection is among the few
		{"HTTP/2", true, 4 * fewConns, fewConns}, // which of two is full is found out by trying
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCrowd(t, tc.http2)
			if n := c.visit(t, requests); n > tc.atMost {
				t.Errorf("%d connections for %d requests, want at most %d", n, requests, tc.atMost)
			}
			if n := c.visit(t, requests); n > tc.new {
				t.Errorf("%d new connections for as many again, want at most %d", n, tc.new)
			}
			c.closeIdle()
			resumed := c.resumed.Load()
			n := c.visit(t, requests)
			if c.resumed.Load() == resumed {
				t.Errorf("none of %d new connections has resumed a session", n)
			}
		})
	}
}

// What a server spoke is not what it has to speak for ever.
func TestServerThatSpeaksHTTP2NoMore(t *testing.T) {
	c := newCrowd(t, false)
	c.visit(t, 1)
	contact, first := c.transport().contact(c.server.Listener.Addr().String())
	if first {
		t.Fatal("the server is not known after a request")
	}
	contact.http2.Store(true)
	c.visit(t, 1)
	c.visit(t, 4*fewConns) // would not end over a few connections
}

// A server that does not answer holds up nobody but those who ask it first, and is met anew afterwards.
func TestFirstConnectionThatIsNotMade(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	host := listener.Addr().String()
	store := newStore(t, Deps{}, Registry{Host: host, AllowPrivate: true})
	s := newSession(store.entryFor(host), host, "app", auth.EmptyCredential, store.deps)
	ask := func(ctx context.Context) error {
		return s.get(ctx, s.origin+"/v2/", "*/*", func(*http.Response) error { return nil })
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := make(chan error)
	go func() { first <- ask(ctx) }()
	silent, err := listener.Accept() // it has connected, and waits for the handshake
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	short, end := context.WithTimeout(t.Context(), meetWait/10)
	defer end()
	if err := ask(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the context's", err)
	}
	go func() { // all others are turned away at once
		for {
			next, err := listener.Accept()
			if err != nil {
				return
			}
			next.Close()
		}
	}()
	checkFailure(t, ask(t.Context()), ratify.RegistryUnavailable) // and has not waited for the first
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
	if _, first := s.entry.client.direct.contact(host); !first {
		t.Error("the server counts as known, and is not")
	}
}

// A connection over which nothing comes any more is given up, and the next request has another one.
func TestConnectionThatIsDead(t *testing.T) {
	c := newCrowd(t, true)
	var dead atomic.Bool
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	go func() {
		for {
			conn, err := proxy.Accept()
			if err != nil {
				return
			}
			go pass(conn, c.server.Listener.Addr().String(), &dead)
		}
	}()
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, proxy.Addr().String())
	}
	few := c.transport().few
	few.DialContext, c.transport().many.DialContext = dial, dial
	if few.HTTP2.SendPingTimeout+few.HTTP2.PingTimeout >= headerTimeout {
		t.Error("the wait for an answer ends before the connection is found dead")
	}
	few.HTTP2.SendPingTimeout, few.HTTP2.PingTimeout = 100*time.Millisecond, 100*time.Millisecond
	c.visit(t, 1)
	dead.Store(true)
	c.size, c.release = 1<<20, make(chan struct{})
	err = c.session.get(t.Context(), c.session.origin+"/v2/", "*/*", func(*http.Response) error { return nil })
	checkFailure(t, err, ratify.RegistryUnavailable)
	dead.Store(false)
	if n := c.visit(t, 1); n != 1 {
		t.Errorf("%d new connections, want one", n)
	}
}

// pass hands on what a connection brings, both ways, and swallows it while dead.
func pass(conn net.Conn, to string, dead *atomic.Bool) {
	defer conn.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, server}, {server, conn}} {
		both.Go(func() {
			data := make([]byte, 32<<10)
			for {
				n, err := way[0].Read(data)
				if err == nil && !dead.Load() {
					_, err = way[1].Write(data[:n])
				}
				if err != nil {
					way[1].Close()
					return
				}
			}
		})
	}
	both.Wait()
}
