package oras

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/internal/cache"
	"github.com/ratify-provider/ratify/internal/netguard"
)

const (
	// fewConns are enough for a server that speaks HTTP/2: each connection takes 100 requests at the same time at least
	// (RFC 9113 §6.5.2), which makes more than maxConnsPerHost.
	fewConns = 4
	// pingAfter and pingTimeout find a connection over which nothing comes any more, before headerTimeout does: all requests
	// to a server go over a few, and would go on to.
	pingAfter, pingTimeout = 5 * time.Second, 3 * time.Second
	// meetWait bounds the wait for the first connection to a server, which tells what it speaks: two round trips over half
	// the world. After that all others connect themselves.
	meetWait = 500 * time.Millisecond
	// maxContacts bounds the servers of which it is remembered what they speak.
	maxContacts = 1024
)

// A transport uses few connections to servers that speak HTTP/2 and many to others. The standard library's opens one for
// each request that finds none, and finds out afterwards that the first one would have been enough: two hundred handshakes
// for nothing when a batch of images comes.
type transport struct {
	many, few *http.Transport
	meetWait  time.Duration // the constant, longer in tests

	mu       sync.Mutex
	contacts *cache.Cache[*contact]
}

// A contact is what is known of a server.
type contact struct {
	known chan struct{} // closed when http2 says what it speaks, or nobody waits for it any more
	http2 atomic.Bool
}

func newTransport(tlsConfig *tls.Config, allowPrivate bool, proxy func(*http.Request) (*url.URL, error)) *transport {
	many := &http.Transport{
		Proxy:                  proxy,
		DialContext:            netguard.DialContext(allowPrivate),
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    tlsTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxConnsPerHost:        maxConnsPerHost,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		MaxIdleConns:           maxIdleConns,
		// A dial function and a TLS configuration of one's own turn HTTP/2 off unless it is asked for.
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		// A compressed body could grow without bound, and its length says nothing.
		DisableCompression: true,
	}
	few := many.Clone()
	few.MaxConnsPerHost = fewConns
	return &transport{many: many, few: few, meetWait: meetWait, contacts: cache.New(maxContacts, maxRememberedBytes, func(*contact) int64 { return 256 })}
}

// RoundTrip sends a request.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" {
		return t.many.RoundTrip(req)
	}
	c, first := t.contact(req.URL.Host)
	if first {
		return t.meet(req, c)
	}
	if err := c.wait(req.Context(), t.meetWait); err != nil {
		closeBody(req)
		return nil, err
	}
	over := t.many
	if c.http2.Load() {
		over = t.few
	}
	resp, err := over.RoundTrip(req)
	if err == nil {
		c.http2.Store(resp.ProtoMajor == 2)
	}
	return resp, err
}

// contact returns what is known of a server, and whether nobody has asked for it before.
func (t *transport) contact(host string) (c *contact, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.contacts.Get(host); ok {
		return c, false
	}
	c = &contact{known: make(chan struct{})}
	t.contacts.Set(host, c, clientTTL)
	return c, true
}

// meet sends the first request to a server, and learns what it speaks as soon as there is a connection.
func (t *transport) meet(req *http.Request, c *contact) (*http.Response, error) {
	var once sync.Once
	met := false
	learn := func(http2 bool) {
		met = true
		c.http2.Store(http2)
		close(c.known)
	}
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if conn, ok := info.Conn.(*tls.Conn); ok {
			once.Do(func() { learn(conn.ConnectionState().NegotiatedProtocol == "h2") })
		}
	}}
	// The other side compares requests: see session.exchange.
	resp, err := t.few.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
	once.Do(func() { close(c.known) })
	if !met {
		t.mu.Lock()
		t.contacts.Delete(req.URL.Host)
		t.mu.Unlock()
	}
	return resp, err
}

// wait waits until it is known what the server speaks, at most for as long as it is worth. An error is the context's.
func (c *contact) wait(ctx context.Context, most time.Duration) error {
	select {
	case <-c.known:
		return nil
	default:
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c.known:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
