package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// TLSOptions say where the certificates are.
type TLSOptions struct {
	// CertDir holds tls.crt and tls.key, as a mounted Secret of type kubernetes.io/tls does.
	CertDir string
	// ClientCA is a file of the CA certificates that Gatekeeper's client certificate must chain to.
	ClientCA string
	// ClientNames are the names of which the client certificate must have one: every certificate of that CA would
	// pass otherwise, and it may be the cluster's.
	ClientNames []string
	// InsecureNoClientAuth lets anybody ask. For trying things out.
	InsecureNoClientAuth bool
}

// TLS holds the server's certificates and replaces them when their files change.
type TLS struct {
	options TLSOptions
	metrics *Metrics
	looked  atomic.Pointer[looked]
	current atomic.Pointer[certificates]
}

// looked is what was read the last time.
type looked struct {
	files files.Set
	again time.Time // when the same files will be good, though they are not yet; zero: that is not known
}

type certificates struct {
	config       *tls.Config
	pair         tls.Certificate
	clientCA     *x509.CertPool
	clientCAEnds time.Time
	rotating     bool // several client CAs are trusted
}

// turnover is how long a connection is kept while several client CAs are trusted, as they are while they rotate. A client
// shows a new certificate with a new connection alone, and Gatekeeper keeps those that it uses for ever: what still has the
// old one when its CA goes is refused, and a pod with it. A handshake costs 0.6 ms, so that it may come every few seconds.
const turnover = 2 * time.Second

// NewTLS loads the certificates. A pair that does not fit, has expired or is not yet valid, and a client CA that is
// missing without InsecureNoClientAuth, are errors.
func NewTLS(options TLSOptions, metrics *Metrics) (*TLS, error) {
	switch {
	case options.CertDir == "":
		return nil, errors.New("--cert-dir is missing: Gatekeeper asks over TLS alone")
	case options.ClientCA == "" && !options.InsecureNoClientAuth:
		return nil, errors.New("--client-ca is missing: without it any pod could ask; give Gatekeeper's ca.crt, or --insecure-no-client-auth to try things out")
	case options.ClientCA != "" && options.InsecureNoClientAuth:
		return nil, errors.New("--client-ca and --insecure-no-client-auth contradict each other")
	case options.ClientCA != "" && len(options.ClientNames) == 0:
		return nil, errors.New("--client-name is missing: every certificate of the client CA could ask")
	}
	if slices.Contains(options.ClientNames, "") {
		return nil, errors.New("--client-name is empty: that is the common name of every certificate that has none")
	}
	t := &TLS{options: options, metrics: metrics}
	err := t.Load()
	if err == nil {
		metrics.lastReload.WithLabelValues("tls").Set(1)
	}
	return t, err
}

// Load reads the files and puts them into force, if they are good.
func (t *TLS) Load() error {
	look := &looked{}
	c, err := t.loadContained(&look.files)
	var early *notYetValidError
	if errors.As(err, &early) {
		look.again = early.from
	}
	t.looked.Store(look) // also after a failure: the next look is for what changes from here
	if err != nil {
		return err
	}
	t.current.Store(c)
	t.metrics.expiry("serving", c.pair.Leaf.NotAfter)
	if c.clientCA != nil {
		t.metrics.expiry("client_ca", c.clientCAEnds)
	}
	return nil
}

// Changed tells whether the files would now be read differently, or are good by now.
func (t *TLS) Changed() bool {
	look := t.looked.Load()
	return !look.again.IsZero() && !time.Now().Before(look.again) || look.files.Changed()
}

// Paths are the files that it reads.
func (t *TLS) Paths() []string { return t.looked.Load().files.Paths() }

// loadContained takes a panic for an error: the last good certificates must go on serving.
func (t *TLS) loadContained(set *files.Set) (c *certificates, err error) {
	defer func() {
		if value := recover(); value != nil {
			t.metrics.Panic()
			c, err = nil, fmt.Errorf("panic: %s", cut(fmt.Sprint(value), maxCauseBytes))
		}
	}()
	return t.load(set)
}

func (t *TLS) load(set *files.Set) (*certificates, error) {
	certFile, keyFile := filepath.Join(t.options.CertDir, "tls.crt"), filepath.Join(t.options.CertDir, "tls.key")
	certPEM, certErr := set.Read(certFile)
	keyPEM, keyErr := set.Read(keyFile)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	if err := checkValidity(certFile, pair.Leaf); err != nil {
		return nil, err
	}
	c := &certificates{pair: pair, config: &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"}, // what Gatekeeper speaks
		// Short records at a connection's beginning are for who shows the first words before the last have come.
		DynamicRecordSizingDisabled: true,
		// A resumed session would carry a client certificate over a change of the client CA; Gatekeeper never resumes.
		SessionTicketsDisabled: true,
	}}
	if t.options.InsecureNoClientAuth {
		return c, nil
	}
	caPEM, err := set.Read(t.options.ClientCA)
	if err != nil {
		return nil, err
	}
	pool, ends, err := parseCAs(caPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.options.ClientCA, err)
	}
	c.clientCA, c.clientCAEnds = pool, ends
	c.rotating = bytes.Count(caPEM, []byte("-----BEGIN ")) > 1
	c.config.ClientAuth = tls.RequireAndVerifyClientCert
	c.config.ClientCAs = pool
	c.config.VerifyConnection = func(state tls.ConnectionState) error { return t.checkName(state.PeerCertificates) }
	return c, nil
}

func checkValidity(file string, leaf *x509.Certificate) error {
	now := time.Now()
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("%s: the certificate has expired on %s", file, leaf.NotAfter.Format(time.RFC3339))
	}
	if now.Before(leaf.NotBefore) {
		return &notYetValidError{file, leaf.NotBefore}
	}
	return nil
}

// A notYetValidError is about a certificate of the future: its issuer's clock may be ahead of ours by a little.
type notYetValidError struct {
	file string
	from time.Time
}

func (e *notYetValidError) Error() string {
	return fmt.Sprintf("%s: the certificate is not valid before %s", e.file, e.from.Format(time.RFC3339))
}

// parseCAs reads certificates in PEM, each of them: a bundle of which some blocks are garbage is a half-written file.
func parseCAs(data []byte) (*x509.CertPool, time.Time, error) {
	pool := x509.NewCertPool()
	var ends time.Time
	left := bytes.Count(data, []byte("-----BEGIN ")) // pem.Decode passes over a block that is damaged
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			if strings.TrimSpace(string(rest)) != "" {
				return nil, ends, errors.New("there is something that is no PEM block")
			}
			break
		}
		left--
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, ends, fmt.Errorf("a block is no certificate: %w", err)
		}
		pool.AddCert(cert)
		if ends.IsZero() || cert.NotAfter.Before(ends) {
			ends = cert.NotAfter
		}
	}
	switch {
	case left != 0:
		return nil, ends, errors.New("a block is damaged")
	case ends.IsZero():
		return nil, ends, errors.New("there is no certificate")
	}
	return pool, ends, nil
}

func (t *TLS) checkName(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("no client certificate")
	}
	leaf := chain[0]
	for _, name := range t.options.ClientNames {
		if leaf.Subject.CommonName == name || slices.Contains(leaf.DNSNames, name) {
			return nil
		}
	}
	return fmt.Errorf("the client certificate of %s has none of the names that may ask: %s",
		ratify.Quote(leaf.Subject.String()), strings.Join(t.options.ClientNames, ", "))
}

// Config is for a listener: each handshake takes what is in force.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c := t.current.Load()
			if a := admissionOf(hello.Context()); a != nil {
				a.handshake.Store(c)
			}
			return c.config, nil
		},
	}
}

// An admission is what is known of a connection's client certificate, so that its chain is not verified with each request.
type admission struct {
	since     time.Time
	handshake atomic.Pointer[certificates] // that the connection was let in by
	last      atomic.Pointer[admitted]     // the answer that holds for now
}

// admitted says that the client certificate is good by these certificates from one instant to another.
type admitted struct {
	by       *certificates
	from, to time.Time
}

type admissionKey struct{}

// ConnContext is for an http.Server, so that Guard knows which requests come by the same connection.
func (t *TLS) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, admissionKey{}, &admission{since: time.Now()})
}

func admissionOf(ctx context.Context) *admission {
	a, _ := ctx.Value(admissionKey{}).(*admission)
	return a
}

// Guard lets a request through only if its client certificate would be accepted now: a kept-alive connection must not
// outlive the CA that it was let in by.
func (t *TLS) Guard(next http.Handler, refused http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := t.current.Load()
		if c.clientCA != nil && (r.TLS == nil || !t.accepts(c, admissionOf(r.Context()), r.TLS)) {
			w.Header().Set("Connection", "close")
			refused.ServeHTTP(w, r)
			return
		}
		if a := admissionOf(r.Context()); c.rotating && a != nil && time.Since(a.since) > turnover {
			w.Header().Set("Connection", "close") // with the answer: nothing is lost
		}
		next.ServeHTTP(w, r)
	})
}

// accepts tells whether the client certificate of a connection is good by c. What was found holds as long as the chain
// does: nothing else in it depends on the clock. a may be nil.
func (t *TLS) accepts(c *certificates, a *admission, state *tls.ConnectionState) bool {
	now := time.Now()
	if a == nil {
		return t.verify(c, state.PeerCertificates, state.VerifiedChains).holds(c, now)
	}
	if a.last.Load().holds(c, now) {
		return true
	}
	found := (*admitted)(nil)
	if a.handshake.Load() == c {
		found = longest(c, state.VerifiedChains)
	}
	if !found.holds(c, now) {
		found = t.verify(c, state.PeerCertificates, state.VerifiedChains)
	}
	a.last.Store(found)
	return found.holds(c, now)
}

// verify does again what the handshake did, by certificates that may be others by now.
func (t *TLS) verify(c *certificates, peer []*x509.Certificate, chains [][]*x509.Certificate) *admitted {
	if len(peer) == 0 || len(chains) == 0 || t.checkName(peer) != nil {
		return nil
	}
	intermediates := x509.NewCertPool()
	for _, cert := range peer[1:] {
		intermediates.AddCert(cert)
	}
	now, err := peer[0].Verify(x509.VerifyOptions{Roots: c.clientCA, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil
	}
	return longest(c, now)
}

// longest is the time of the chain that holds longest.
func longest(c *certificates, chains [][]*x509.Certificate) *admitted {
	var best *admitted
	for _, chain := range chains {
		a := &admitted{by: c}
		for i, cert := range chain {
			if i == 0 || cert.NotBefore.After(a.from) {
				a.from = cert.NotBefore
			}
			if i == 0 || cert.NotAfter.Before(a.to) {
				a.to = cert.NotAfter
			}
		}
		if best == nil || a.to.After(best.to) {
			best = a
		}
	}
	return best
}

func (a *admitted) holds(c *certificates, now time.Time) bool {
	return a != nil && a.by == c && !now.Before(a.from) && !now.After(a.to)
}
