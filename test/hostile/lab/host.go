package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// maxSeenBytes bounds what is kept of the bytes that came to one host: a thousand times what one image sends.
const maxSeenBytes = 16 << 20

// HostOptions say where a host is and what it is. The zero value is a server over TLS at a free port of 127.0.0.1 that knows
// nothing.
type HostOptions struct {
	// Name is how records and leaks call it; it must be its alone.
	Name string
	// Address is where it listens: an IP address of this machine, 127.0.0.1 by default.
	Address string
	// Port is 0 for a free one. In a cell any port can be had, the default ones included.
	Port int
	// Plain is HTTP without TLS.
	Plain bool
	// Names are further names and addresses that its certificate is for.
	Names []string
	// Server is how a correct host answers; nil knows nothing: 404.
	Server Server
	// Script answers; nil answers as Server does.
	Script Script
	// Forbidden makes a canary of it: whoever connects has gone where nobody may go, and Close of the lab says so.
	Forbidden bool
}

// A Server says what a correct host answers. It must be safe for concurrent use.
type Server interface{ Answer(*Exchange) Answer }

// A ServerFunc is a Server.
type ServerFunc func(*Exchange) Answer

// Answer calls the function.
func (f ServerFunc) Answer(x *Exchange) Answer { return f(x) }

// A Script answers one request, in any way it likes. It must be safe for concurrent use.
type Script func(*Exchange)

// Correct answers as the host's Server does: the default script.
func Correct(x *Exchange) { x.Send(x.Correct()) }

// A Greeting sees a connection before TLS and HTTP do, and tells whether it has dealt with it: then nobody else will, and
// the connection is closed when it returns. n counts the host's connections from 1.
type Greeting func(ctx context.Context, n int, conn *net.TCPConn) (dealt bool)

// A Host is a server whose every answer a script decides. Its methods are safe for concurrent use.
type Host struct {
	// Name is HostOptions.Name.
	Name string
	// Addr is host:port, where it listens.
	Addr string

	lab     *Lab
	options HostOptions
	tls     map[Certificate]*tls.Config
	server  *http.Server
	ctx     context.Context
	end     context.CancelFunc
	serving sync.WaitGroup

	mu          sync.Mutex
	listener    net.Listener
	script      Script
	greeting    Greeting
	certificate Certificate
	connections []string // who came
	open        map[net.Conn]bool
	requests    []Request
	counts      map[Step]int
	seen        []byte // what came, as plain text
}

// Host starts a host.
func (l *Lab) Host(options HostOptions) (*Host, error) {
	if options.Address == "" {
		options.Address = "127.0.0.1"
	}
	h := &Host{Name: options.Name, lab: l, options: options, script: options.Script, counts: map[Step]int{}, open: map[net.Conn]bool{}}
	if h.script == nil {
		h.script = Correct
	}
	h.ctx, h.end = context.WithCancel(context.Background())
	var err error
	if !options.Plain {
		names := append([]string{options.Address, "localhost"}, options.Names...)
		if h.tls, err = tlsConfigs(l.trusted, l.foreign, names); err != nil {
			return nil, err
		}
	}
	h.server = &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return h.ctx }}
	h.Addr = net.JoinHostPort(options.Address, strconv.Itoa(options.Port))
	if err := h.Up(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
	return h, nil
}

// Up listens, at the port that the host had before if it had one. A host that listens already is left alone.
func (h *Host) Up() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listener != nil {
		return nil
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(h.ctx, "tcp", h.Addr)
	if err != nil {
		return err
	}
	h.Addr, h.listener = listener.Addr().String(), listener
	h.serving.Go(func() { h.accept(listener) })
	return nil
}

// Down stops listening, so that connections are refused, and resets those that are open.
func (h *Host) Down() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var err error
	if h.listener != nil {
		err = h.listener.Close()
		h.listener = nil
	}
	for conn := range h.open {
		reset(conn)
	}
	return err
}

// Reset resets the connections that are open, and goes on listening.
func (h *Host) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for conn := range h.open {
		reset(conn)
	}
}

// SetScript changes how requests are answered from now on; nil is Correct.
func (h *Host) SetScript(script Script) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if script == nil {
		script = Correct
	}
	h.script = script
}

// SetGreeting changes what becomes of connections from now on; nil lets all through. Connections that are open go on: see
// Reset.
func (h *Host) SetGreeting(greeting Greeting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.greeting = greeting
}

// SetCertificate changes the certificate of connections from now on. Connections that are open go on: see Reset.
func (h *Host) SetCertificate(kind Certificate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.certificate = kind
}

// URL is where it serves a path.
func (h *Host) URL(path string) string {
	if h.options.Plain {
		return "http://" + h.Addr + path
	}
	return "https://" + h.Addr + path
}

// Port is where it listens.
func (h *Host) Port() string {
	_, port, _ := net.SplitHostPort(h.Addr)
	return port
}

// Connections are those that came so far, by where they came from.
func (h *Host) Connections() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.connections)
}

// Requests are those that came so far, in their order.
func (h *Host) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// Count is how many requests of a step have come so far; of all, if step is Any.
func (h *Host) Count(step Step) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if step == Any {
		return len(h.requests)
	}
	return h.counts[step]
}

// Seen are the bytes that came so far, as they are within TLS.
func (h *Host) Seen() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// Close ends the host.
func (h *Host) Close() error {
	h.end()
	err := h.Down()
	err = errors.Join(err, h.server.Close())
	h.serving.Wait()
	return err
}

// accept takes connections: each is greeted on its own, so that one that is held holds no other.
func (h *Host) accept(listener net.Listener) {
	queue := &queue{conns: make(chan net.Conn), addr: listener.Addr(), done: make(chan struct{})}
	h.serving.Go(func() { _ = h.server.Serve(queue) }) // it ends by Close alone, and says so
	defer close(queue.done)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		h.serving.Go(func() { h.greet(conn.(*net.TCPConn), queue) })
	}
}

func (h *Host) greet(conn *net.TCPConn, to *queue) {
	h.mu.Lock()
	h.connections = append(h.connections, conn.RemoteAddr().String())
	n, greeting := len(h.connections), h.greeting
	h.open[conn] = true
	h.mu.Unlock()
	if greeting != nil && greeting(h.ctx, n, conn) {
		h.forget(conn)
		_ = conn.Close()
		return
	}
	wire := &wire{Conn: conn, tcp: conn, host: h}
	if h.tls != nil {
		wire.Conn = tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: h.configFor})
	}
	select {
	case to.conns <- wire:
	case <-to.done:
		_ = wire.Close()
	}
}

func (h *Host) configFor(*tls.ClientHelloInfo) (*tls.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tls[h.certificate], nil
}

func (h *Host) forget(conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, conn)
}

func (h *Host) see(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, data[:min(len(data), maxSeenBytes-len(h.seen))]...)
}

// ServeHTTP records a request and has the script answer it.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &Exchange{host: h, w: w, r: r, Request: newRequest(h, r)}
	h.mu.Lock()
	h.counts[x.Step]++
	x.N, x.StepN = len(h.requests)+1, h.counts[x.Step]
	h.requests = append(h.requests, x.Request)
	script := h.script
	h.mu.Unlock()
	script(x)
}

// reset ends a connection with RST instead of FIN: what the other side has not read yet is lost.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // one that is closed already needs none
	}
	_ = conn.Close()
}

// A queue is the listener of connections that were greeted.
type queue struct {
	conns chan net.Conn
	addr  net.Addr
	done  chan struct{} // closed when no more come
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error   { return nil }
func (q *queue) Addr() net.Addr { return q.addr }

// A wire is a connection whose plain text is recorded.
type wire struct {
	net.Conn // over TLS, or tcp itself
	tcp      *net.TCPConn
	host     *Host
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.host.see(p[:n])
	}
	return n, err
}

func (w *wire) Close() error {
	w.host.forget(w.tcp)
	return w.Conn.Close()
}
