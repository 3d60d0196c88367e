package notation

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"golang.org/x/crypto/ocsp"

	"github.com/ratify-provider/ratify"
)

// A standing is what is known about one certificate's revocation.
type standing struct {
	subject string
	// code is empty where nothing is wrong: CERTIFICATE_REVOKED, REVOCATION_INFO_ABSENT or REVOCATION_UNAVAILABLE.
	code ratify.Code
	err  error
	// until is the end of the answer that it rests on; zero where there is none.
	until time.Time
}

// A call is what one verification shares with the validators that the library calls back. The library tells of
// revocation in words only, and gives the validators no word about trust.
type call struct {
	// anchored says that the envelope's chain holds a certificate of the statement's trust stores.
	anchored bool

	mu      sync.Mutex
	signing []standing
	tsa     []standing
	stamped []*x509.Certificate // the chain that tsa is about
}

// of returns what a validator has found out.
func (c *call) of(v *validator) []standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.timestamping {
		return c.tsa
	}
	return c.signing
}

// stampChain is the chain of the timestamp whose revocation was asked about; nil if none was.
func (c *call) stampChain() []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stamped
}

type callKey struct{}

func withCall(ctx context.Context, c *call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// freshUntil is the earliest end of the answers that were used; zero where there were none.
func (c *call) freshUntil() time.Time {
	var first time.Time
	for _, s := range append(c.signing[:len(c.signing):len(c.signing)], c.tsa...) {
		first = earliest(first, s.until)
	}
	return first
}

// worst returns the standing that decides: revoked before unknown before absent.
func worst(standings []standing) (standing, bool) {
	for _, code := range []ratify.Code{ratify.CertificateRevoked, ratify.RevocationUnavailable, ratify.RevocationInfoAbsent} {
		for _, s := range standings {
			if s.code == code {
				return s, true
			}
		}
	}
	return standing{}, false
}

// A validator implements the library's revocation.Validator over the shared answers. It does not verify the chain again:
// the library has, before it asks, and so a third of the cost of a verification is saved.
type validator struct {
	revocation   *Revocation
	requireInfo  bool
	allowPrivate bool
	timestamping bool
}

// ValidateContext looks at every certificate but the last, which nobody can revoke (specification, trust store and trust
// policy, certificate revocation evaluation). It asks nothing for a chain that is not anchored: at the level audit the
// library would let a stranger's certificate choose whom this process connects to.
func (v *validator) ValidateContext(ctx context.Context, opts revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok || len(opts.CertChain) == 0 {
		return nil, errors.New("check revocation: no verification under way")
	}
	standings := make([]standing, len(opts.CertChain)-1)
	var wait sync.WaitGroup
	for i := range standings {
		cert, issuer := opts.CertChain[i], opts.CertChain[i+1]
		if !c.anchored {
			standings[i] = standing{subject: cert.Subject.String(), code: ratify.RevocationUnavailable, err: errors.New("not asked, for the signer is not trusted")}
			continue
		}
		if len(cert.OCSPServer)+len(cert.CRLDistributionPoints) == 0 { // nobody to wait for
			standings[i] = v.look(ctx, cert, issuer, opts.AuthenticSigningTime)
			continue
		}
		wait.Go(func() { standings[i] = v.look(ctx, cert, issuer, opts.AuthenticSigningTime) })
	}
	wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.timestamping {
		c.tsa, c.stamped = standings, opts.CertChain
	} else {
		c.signing = standings
	}
	results := make([]*result.CertRevocationResult, 0, len(opts.CertChain))
	for _, s := range standings {
		results = append(results, &result.CertRevocationResult{Result: s.result()})
	}
	return append(results, &result.CertRevocationResult{Result: result.ResultNonRevokable}), nil
}

func (s standing) result() result.Result {
	switch s.code {
	case "":
		return result.ResultOK
	case ratify.CertificateRevoked:
		return result.ResultRevoked
	}
	return result.ResultUnknown
}

// look asks by OCSP first, and by CRL where OCSP gives no answer or there is none. It contains panics, for it runs on a
// stack of its own.
func (v *validator) look(ctx context.Context, cert, issuer *x509.Certificate, signed time.Time) (s standing) {
	defer func() {
		if value := recover(); value != nil {
			s.code, s.err = ratify.RevocationUnavailable, fmt.Errorf("panic: %v", value)
		}
		s.subject = cert.Subject.String()
	}()
	var unknown error
	if len(cert.OCSPServer) > 0 {
		a, err := v.revocation.askOCSP(ctx, cert, issuer, v.allowPrivate)
		switch {
		case err != nil:
			unknown = err
		case a.single.status == ocsp.Good,
			a.single.status == ocsp.Revoked && !signed.IsZero() && !a.single.invalidity.IsZero() && signed.Before(a.single.invalidity):
			return standing{until: a.until}
		case a.single.status == ocsp.Revoked:
			return standing{code: ratify.CertificateRevoked, until: a.until}
		default:
			unknown = errors.New("the OCSP responder does not know the certificate")
		}
	}
	if len(cert.CRLDistributionPoints) > 0 {
		revoked, until, err := v.revocation.askCRLs(ctx, cert, issuer, signed, v.allowPrivate)
		switch {
		case err != nil:
			return standing{code: ratify.RevocationUnavailable, err: errors.Join(unknown, err)}
		case revoked:
			return standing{code: ratify.CertificateRevoked, until: until}
		}
		return standing{until: until}
	}
	switch {
	case unknown != nil:
		return standing{code: ratify.RevocationUnavailable, err: unknown}
	case v.requireInfo:
		return standing{code: ratify.RevocationInfoAbsent}
	}
	return standing{}
}
