package matrix

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A step is where of a verification a fault is.
type step string

// The steps, in the order in which an image is verified.
const (
	resolve       step = "resolve"
	manifest      step = "manifest"
	referrers     step = "referrers"
	signature     step = "signature manifest"
	blob          step = "blob"
	token         step = "token"
	ocsp          step = "OCSP"
	crl           step = "CRL"
	timestamp     step = "timestamp's OCSP"
	cached        step = "cache"
	configuration step = "configuration"
)

// A host is one server of one cell: it answers what is right, but for a fault at one step. Every host has an address of its
// own, so that what is learned about one says nothing of another.
type host struct {
	address string
	right   http.Handler
	stepOf  func(*http.Request) step
	// before is the step whose answer is the last one before the fault's: a fault of the connection begins with the next
	// connection, so that answer ends its own.
	fault      fault
	at, before step
	// elsewhere is an address that nobody may lead to; other is what another image has at each step.
	elsewhere string
	other     map[step][]byte
	tokens    *tokens

	listener net.Listener
	server   *http.Server
	served   chan struct{}
	closed   context.Context
	close    context.CancelFunc

	requests, connections atomic.Int64
	broken                atomic.Bool // whether a fault of the connection has begun

	mu     sync.Mutex
	nth    map[step]int64
	taken  []net.Conn // connections that nobody serves
	secret tlsSettings
}

// tlsSettings are what a host shows: nil good is a host without TLS.
type tlsSettings struct{ good, bad *tls.Config }

// addresses gives each host one of 127.64.0.0/10, which are all this machine's own.
type addresses struct{ next atomic.Uint32 }

func (a *addresses) take() netip.Addr {
	n := a.next.Add(1)
	return netip.AddrFrom4([4]byte{127, byte(64 + n>>16&0x3f), byte(n >> 8), byte(n)})
}

// headerTimeout ends a connection that never says what it wants; every client here is on the same machine.
const headerTimeout = 30 * time.Second

// listen makes the host's address; serve begins to answer.
func (h *host) listen(ctx context.Context, ip netip.Addr) error {
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", ip.String()+":0")
	if err != nil {
		return err
	}
	h.listener, h.address, h.nth = listener, listener.Addr().String(), map[step]int64{}
	h.closed, h.close = context.WithCancel(context.Background())
	h.served = make(chan struct{})
	return nil
}

func (h *host) serve() {
	h.server = &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ErrorLog: log.New(io.Discard, "", 0),
		// HTTP/1.1 alone: faults take connections over.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	h.broken.Store(h.fault.line != nil && h.before == "")
	listener := net.Listener(line{h.listener, h})
	if h.secret.good != nil {
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS10, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if h.broken.Load() && h.secret.bad != nil {
				return h.secret.bad, nil
			}
			return h.secret.good, nil
		}})
	}
	if h.broken.Load() && h.fault.line.gone {
		h.listener.Close()
	}
	go func() {
		defer close(h.served)
		_ = h.server.Serve(listener) // it ends with the host, and says so
	}()
}

// end closes the host and all its connections.
func (h *host) end() {
	h.close()
	h.listener.Close()
	h.mu.Lock()
	for _, conn := range h.taken {
		conn.Close()
	}
	h.taken = nil
	h.mu.Unlock()
	if h.server != nil {
		h.server.Close()
		<-h.served
	}
}

// ServeHTTP answers what is right, or the fault.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	at := h.stepOf(r)
	h.mu.Lock()
	h.nth[at]++
	nth := h.nth[at]
	h.mu.Unlock()
	if h.fault.line != nil {
		// Each answer is the last of its connection, so that the next step needs a new one.
		w.Header().Set("Connection", "close")
		if at == h.before {
			h.begin()
		}
	}
	if at != h.at || h.fault.answer == nil {
		h.right.ServeHTTP(w, r)
		return
	}
	recorded := &recorder{header: http.Header{}, status: http.StatusOK}
	h.right.ServeHTTP(recorded, r)
	h.fault.answer(&exchange{w: w, r: r, host: h, nth: nth, right: recorded})
}

// begin makes the fault of the connection befall whoever connects from now on.
func (h *host) begin() {
	h.broken.Store(true)
	if h.fault.line.gone {
		h.listener.Close()
	}
}

// line is the listener, before anything is said over a connection.
type line struct {
	net.Listener
	host *host
}

// Accept returns connections that are to be served, and has the fault befall the others.
func (l line) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.host.connections.Add(1)
		if !l.host.broken.Load() || l.host.fault.line.take == nil {
			return conn, nil
		}
		l.host.mu.Lock()
		l.host.taken = append(l.host.taken, conn)
		l.host.mu.Unlock()
		go l.host.fault.line.take(conn)
	}
}

// A recorder keeps the right answer.
type recorder struct {
	header http.Header
	status int
	body   []byte
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }
func (r *recorder) Write(data []byte) (int, error) {
	r.body = append(r.body, data...)
	return len(data), nil
}

// An exchange is one request that a fault answers.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	host  *host
	nth   int64 // among those of the step, from 1
	right *recorder
}

// send sends an answer with a length, with the right answer's headers where there are none of its own.
func (x *exchange) send(status int, contentType string, body []byte) {
	for name, values := range x.right.header {
		x.w.Header()[name] = values
	}
	if contentType != "" {
		x.w.Header().Set("Content-Type", contentType)
	}
	x.w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	x.w.WriteHeader(status)
	_, _ = x.w.Write(body) // a client that is gone needs no answer
}

func (x *exchange) sendRight() { x.send(x.right.status, "", x.right.body) }

// raw takes the connection over, until the client or the host is gone.
func (x *exchange) raw(use func(conn net.Conn) error) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(errors.Join(http.ErrAbortHandler, err))
	}
	x.host.mu.Lock()
	x.host.taken = append(x.host.taken, conn)
	x.host.mu.Unlock()
	_ = use(conn) // it ends where the other end does
	conn.Close()
}

// wait waits until nobody wants the answer any more.
func (x *exchange) wait() {
	select {
	case <-x.r.Context().Done():
	case <-x.host.closed.Done():
	}
	panic(http.ErrAbortHandler) // what was begun must not be ended well
}
