package notationtest

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
)

// A State is how a Responder behaves. The zero value is Good.
type State string

// The states. Revoked and Unknown (which lists cannot say) are about every certificate; Responder.Revoke is about one.
const (
	Good    State = "good"
	Revoked State = "revoked"
	Unknown State = "unknown"
	// Slow answers nothing until the client goes away or Responder.Release is called.
	Slow State = "slow"
	// Stale answers as Good, signed, but its next update is an hour past.
	Stale State = "stale"
	// Garbage answers 200 with bytes that are no answer.
	Garbage State = "garbage"
	// Forged answers as Good, signed by a key that the issuer knows nothing of.
	Forged State = "forged"
	// Delegated answers as Good, signed by a certificate of the issuer that may not sign such answers.
	Delegated State = "delegated"
	// Down answers 503.
	Down State = "down"
	// Redirect answers 302 to itself.
	Redirect State = "redirect"
	// Huge answers more bytes than any client should read.
	Huge State = "huge"
)

// hugeBytes is beyond every bound that a client of revocation answers has.
const hugeBytes = 40 << 20

// A Responder answers OCSP requests (at any path but those that end in .crl) and serves certificate revocation lists. It is safe
// for concurrent use.
type Responder struct {
	mu          sync.Mutex
	state       State
	authorities []*Authority
	revoked     map[string]time.Time
	requests    int
	release     chan struct{}
	life        time.Duration
}

// NewResponder makes a responder; the authorities that it speaks for are told by Add, for they need its address first.
func NewResponder() *Responder {
	return &Responder{state: Good, revoked: map[string]time.Time{}, release: make(chan struct{}), life: time.Hour}
}

// Add makes the responder speak for an authority.
func (r *Responder) Add(a *Authority) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.authorities = append(r.authorities, a)
}

// Set changes how the responder behaves from now on.
func (r *Responder) Set(state State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

// SetLife changes how far in the future the next update is; it is an hour at first.
func (r *Responder) SetLife(life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = life
}

// Revoke revokes one certificate.
func (r *Responder) Revoke(cert *x509.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.revoked[cert.SerialNumber.String()] = time.Now().Add(-time.Minute)
}

// Requests returns how many requests have come.
func (r *Responder) Requests() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// Release lets every request go that Slow holds, now and later.
func (r *Responder) Release() { close(r.release) }

// ServeHTTP answers as RFC 6960 appendix A and RFC 5280 section 5 describe, as far as the state lets it.
func (r *Responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests++
	state, life := r.state, r.life
	r.mu.Unlock()
	switch state {
	case Slow:
		select {
		case <-r.release:
		case <-req.Context().Done():
			return
		}
	case Garbage:
		_, _ = io.WriteString(w, "<html>it works</html>")
		return
	case Down:
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	case Redirect:
		http.Redirect(w, req, req.URL.Path, http.StatusFound)
		return
	case Huge:
		_, _ = io.CopyN(w, zeros{}, hugeBytes)
		return
	}
	next := time.Now().Add(life)
	if state == Stale {
		next = time.Now().Add(-time.Hour)
	}
	data, err := r.answer(req, state, next)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = w.Write(data)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (r *Responder) answer(req *http.Request, state State, next time.Time) ([]byte, error) {
	if strings.HasSuffix(req.URL.Path, ".crl") {
		name := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
		return r.list(strings.TrimSuffix(name, ".crl"), state, next)
	}
	body, err := ocspRequest(req)
	if err != nil {
		return nil, err
	}
	question, err := ocsp.ParseRequest(body)
	if err != nil {
		return nil, err
	}
	return r.status(question, state, next)
}

func ocspRequest(req *http.Request) ([]byte, error) {
	if req.Method == http.MethodPost {
		return io.ReadAll(io.LimitReader(req.Body, maxQueryBytes))
	}
	escaped := req.URL.EscapedPath()
	// The request is the last element, in base64 whose own slashes are escaped (RFC 6960 appendix A.1).
	text, err := url.PathUnescape(escaped[strings.LastIndexByte(escaped, '/')+1:])
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

// issuer finds the authority's certificate that a question is about, with its key.
func (r *Responder) issuer(match func(*x509.Certificate) bool) (*x509.Certificate, crypto.Signer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, authority := range r.authorities {
		for i, cert := range authority.Chain {
			if match(cert) {
				return cert, authority.keys[i]
			}
		}
	}
	return nil, nil
}

func (r *Responder) status(question *ocsp.Request, state State, next time.Time) ([]byte, error) {
	issuer, key := r.issuer(func(cert *x509.Certificate) bool {
		hash := question.HashAlgorithm.New()
		hash.Write(cert.RawSubject)
		return bytes.Equal(hash.Sum(nil), question.IssuerNameHash)
	})
	if issuer == nil {
		return ocsp.UnauthorizedErrorResponse, nil
	}
	template := ocsp.Response{
		Status:       ocsp.Good,
		SerialNumber: question.SerialNumber,
		ThisUpdate:   next.Add(-2 * time.Hour),
		NextUpdate:   next,
		IssuerHash:   question.HashAlgorithm,
	}
	r.mu.Lock()
	at, revoked := r.revoked[question.SerialNumber.String()]
	r.mu.Unlock()
	if state == Revoked {
		at, revoked = time.Now().Add(-time.Minute), true
	}
	if revoked {
		template.Status, template.RevokedAt, template.RevocationReason = ocsp.Revoked, at, ocsp.KeyCompromise
	}
	if state == Unknown {
		template.Status = ocsp.Unknown
	}
	responder := issuer
	switch state {
	case Forged:
		other, err := NewAuthority(AuthorityOptions{Name: issuer.Subject.CommonName})
		if err != nil {
			return nil, err
		}
		key = other.keys[0]
	case Delegated:
		leaf, err := (&Authority{Chain: []*x509.Certificate{issuer}, keys: []crypto.Signer{key}}).Issue(LeafOptions{CommonName: "No Responder"})
		if err != nil {
			return nil, err
		}
		responder, key, template.Certificate = leaf.Chain[0], leaf.Key, leaf.Chain[0]
	}
	return ocsp.CreateResponse(issuer, responder, template, key)
}

func (r *Responder) list(name string, state State, next time.Time) ([]byte, error) {
	issuer, key := r.issuer(func(cert *x509.Certificate) bool { return cert.SerialNumber.Text(16) == name })
	if issuer == nil {
		return nil, http.ErrMissingFile
	}
	if state == Forged {
		// The name is the issuer's and so is the key's identifier, the key is not.
		other, err := NewAuthority(AuthorityOptions{Name: issuer.Subject.CommonName})
		if err != nil {
			return nil, err
		}
		issuer, key = other.Chain[0], other.keys[0]
	}
	template := &x509.RevocationList{
		Number:     big.NewInt(time.Now().UnixNano()),
		ThisUpdate: next.Add(-2 * time.Hour),
		NextUpdate: next,
	}
	for serial, at := range r.listed(state) {
		number, _ := new(big.Int).SetString(serial, 10)
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: number, RevocationTime: at, ReasonCode: ocsp.KeyCompromise})
	}
	return x509.CreateRevocationList(rand.Reader, template, issuer, key)
}

// listed returns the serial numbers that a list holds: everything ever issued in the state Revoked.
func (r *Responder) listed(state State) map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	serials := maps.Clone(r.revoked)
	if state != Revoked {
		return serials
	}
	for _, authority := range r.authorities {
		authority.mu.Lock()
		for _, cert := range authority.issued {
			serials[cert.SerialNumber.String()] = time.Now().Add(-time.Minute)
		}
		authority.mu.Unlock()
	}
	return serials
}
