package oras

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/ratify-provider/ratify/internal/listhash"
	"github.com/ratify-provider/ratify/internal/netguard"
)

const (
	// tlsTimeout bounds a handshake: two round trips, and one lost packet.
	tlsTimeout = 3 * time.Second
	// headerTimeout bounds the wait for the head of an answer. Registries that fetch through a cache take seconds for
	// what they have not seen; work goes on after a webhook's deadline, and its retry profits.
	headerTimeout = 10 * time.Second
	// requestTimeout bounds a request with its redirects and its body: 16 MiB at 5 Mbit/s.
	requestTimeout = 30 * time.Second
	// idleTimeout is shorter than the idle timeouts of common load balancers, so that they do not close first.
	idleTimeout = 50 * time.Second
	// maxHeaderBytes bounds the head of an answer. Go's own bound is 10 MiB for each request; 64 KiB hold any chain of
	// links and challenges.
	maxHeaderBytes = 64 << 10
	// maxConnsPerHost is what 200 images at the same time need of a registry that answers in 50 ms and speaks HTTP/1, to be
	// done in half a second with four requests each: 200 × 4 × 50 ms / 160 ms, and what their unevenness costs. All of them
	// stay for the next batch: connections that are closed between two steps of one batch cost a handshake each.
	maxConnsPerHost     = 256
	maxIdleConnsPerHost = maxConnsPerHost
	// maxIdleConns bounds what strangers' registries leave behind: 512 at some 35 KB each are 18 MB, for idleTimeout.
	maxIdleConns = 512
	// maxTLSSessions bounds the sessions that are kept to be resumed: one for each host of an entry that is in use.
	maxTLSSessions = 64
)

// clientSettings are what a connection depends on.
type clientSettings struct {
	allowPrivate bool
	caPEM        []byte
	proxy        *url.URL
	noProxy      string
}

func (s clientSettings) fingerprint() string {
	proxy := ""
	if s.proxy != nil {
		proxy = s.proxy.String()
	}
	return listhash.Sum(strconv.FormatBool(s.allowPrivate), string(s.caPEM), proxy, s.noProxy)
}

// client makes connections, directly or through a proxy, and judges the addresses that they are made to.
type client struct {
	key          string
	allowPrivate bool
	proxyFor     func(*url.URL) (*url.URL, error)
	direct       *transport
	proxied      *transport
}

func newClient(s clientSettings) (*client, error) {
	// A resumed session spares the server its signature and us the chain, which crypto/tls holds against the roots and the
	// clock again.
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(maxTLSSessions)}
	if len(s.caPEM) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("read the system's certificates: %w", err)
		}
		roots.AppendCertsFromPEM(s.caPEM)
		tlsConfig.RootCAs = roots
	}
	c := &client{
		allowPrivate: s.allowPrivate,
		proxyFor:     func(*url.URL) (*url.URL, error) { return nil, nil },
		direct:       newTransport(tlsConfig, s.allowPrivate, nil),
	}
	if s.proxy != nil {
		c.proxyFor = (&httpproxy.Config{HTTPProxy: s.proxy.String(), HTTPSProxy: s.proxy.String(), NoProxy: s.noProxy}).ProxyFunc()
		// Only the proxy is dialled here, and it is the operator's choice wherever it is.
		c.proxied = newTransport(tlsConfig.Clone(), true, http.ProxyURL(s.proxy))
		c.proxied.many.OnProxyConnectResponse, c.proxied.few.OnProxyConnectResponse = tunnelled, tunnelled
	}
	return c, nil
}

// proxyError is a proxy's refusal to make a tunnel. Its words are not part of it: they may repeat the password.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy answered %d %s", e.status, http.StatusText(e.status))
}

func tunnelled(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return &proxyError{resp.StatusCode}
	}
	return nil
}

// RoundTrip sends a request that session.allow has let through.
func (c *client) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := c.proxyFor(req.URL)
	if err != nil {
		return nil, fmt.Errorf("choose a proxy: %w", err)
	}
	if proxy == nil {
		return c.direct.RoundTrip(req)
	}
	// Names are resolved by the proxy, and only it can judge what they resolve to; what is an address can be judged here.
	if err := netguard.CheckHost(req.URL.Hostname(), c.allowPrivate); err != nil {
		closeBody(req)
		return nil, err
	}
	return c.proxied.RoundTrip(req)
}
