package oras

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/http/httpproxy"

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
	// maxConnsPerHost keeps one registry from taking all connections; 64 keys are the largest batch.
	maxConnsPerHost     = 64
	maxIdleConnsPerHost = 32
	maxIdleConns        = 128
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
	return fingerprint(strconv.FormatBool(s.allowPrivate), string(s.caPEM), proxy, s.noProxy)
}

// client makes connections, directly or through a proxy, and judges the addresses that they are made to.
type client struct {
	key          string
	allowPrivate bool
	proxyFor     func(*url.URL) (*url.URL, error)
	direct       *http.Transport
	proxied      *http.Transport
}

func newClient(s clientSettings) (*client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
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
		direct:       newTransport(tlsConfig, s.allowPrivate),
	}
	if s.proxy != nil {
		c.proxyFor = (&httpproxy.Config{HTTPProxy: s.proxy.String(), HTTPSProxy: s.proxy.String(), NoProxy: s.noProxy}).ProxyFunc()
		// Only the proxy is dialled here, and it is the operator's choice wherever it is.
		c.proxied = newTransport(tlsConfig.Clone(), true)
		c.proxied.Proxy = http.ProxyURL(s.proxy)
	}
	return c, nil
}

func newTransport(tlsConfig *tls.Config, allowPrivate bool) *http.Transport {
	return &http.Transport{
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
		// A compressed body could grow without bound, and its length says nothing.
		DisableCompression: true,
	}
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
	// Names are resolved by the proxy, and only it can judge what they resolve to; a literal address can be judged here.
	if addr, err := netip.ParseAddr(strings.Trim(req.URL.Hostname(), "[]")); err == nil {
		if err := netguard.Check(addr, c.allowPrivate); err != nil {
			return nil, err
		}
	}
	return c.proxied.RoundTrip(req)
}

const (
	// maxRetryWait bounds the wait before the one retry: a webhook that waits two seconds must hear of the result.
	maxRetryWait = 250 * time.Millisecond
	minRetryWait = 50 * time.Millisecond
	// Retries are a tenth of the requests in the long run, so that a registry in an outage does not get twice the load,
	// after a few that are always there.
	retryShare   = 0.1
	retryReserve = 5
)

// retryBudget counts what may be retried at one registry. The zero value has its reserve.
type retryBudget struct {
	mu   sync.Mutex
	owed float64 // retries made, less those earned; at most retryReserve, never below 0
}

func (b *retryBudget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = max(0, b.owed-retryShare)
}

func (b *retryBudget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owed+1 > retryReserve {
		return false
	}
	b.owed++
	return true
}

// retryPolicy is the policy of oras-go's retry transport for one request.
type retryPolicy struct{ budget *retryBudget }

// Retry waits once, briefly, for what is likely to pass: a connection cut before its answer, and the statuses by which a
// server asks to come again. A Retry-After that is longer than the longest wait is honoured by not retrying.
func (p retryPolicy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	const stop = -1
	if attempt > 0 {
		return stop, nil
	}
	p.budget.earn()
	wait := minRetryWait + rand.N(minRetryWait) //nolint:gosec // spreads retries, hides nothing
	if err != nil {
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return stop, nil
		}
	} else {
		switch resp.StatusCode {
		case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		default:
			return stop, nil
		}
		if after := resp.Header.Get("Retry-After"); after != "" {
			wait = max(wait, retryAfter(after))
		}
	}
	if wait > maxRetryWait || !p.budget.spend() {
		return stop, nil
	}
	return wait, nil
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); what it cannot read is too long to wait.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return maxRetryWait + 1
}
