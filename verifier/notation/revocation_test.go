package notation_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// revocable is an authority with an intermediate whose certificates name a responder.
type revocable struct {
	responder *notationtest.Responder
	authority *notationtest.Authority
	signer    *notationtest.Signer
	envelope  []byte
}

func newRevocable(t testing.TB, ocsp, crl bool) *revocable {
	t.Helper()
	r := &revocable{responder: notationtest.NewResponder()}
	server := httptest.NewServer(r.responder)
	t.Cleanup(server.Close)
	options := notationtest.AuthorityOptions{Intermediates: 1}
	if ocsp {
		options.OCSPURL = server.URL + "/ocsp"
	}
	if crl {
		options.CRLURL = server.URL + "/crl"
	}
	r.authority = newAuthority(t, options)
	r.responder.Add(r.authority)
	r.signer = issue(t, r.authority, notationtest.LeafOptions{})
	r.envelope = sign(t, r.signer, notationtest.SignOptions{})
	return r
}

func (r *revocable) settings() settings {
	return settings{ca: []*x509.Certificate{r.authority.Root()}}
}

func TestRevocation(t *testing.T) {
	revoke := func(position int) func(*revocable) {
		return func(r *revocable) { r.responder.Revoke(r.signer.Chain[position]) }
	}
	set := func(state notationtest.State) func(*revocable) {
		return func(r *revocable) { r.responder.Set(state) }
	}
	both, ocspOnly := []string{"ocsp", "crl"}, []string{"ocsp"}
	for _, c := range []struct {
		name    string
		sources []string
		prepare func(*revocable)
		code    ratify.Code
		words   []string
	}{
		{"good", both, set(notationtest.Good), ratify.Verified, nil},
		{"revoked leaf", both, revoke(0), ratify.CertificateRevoked, []string{"is revoked", "CN=Example Signer"}},
		{"revoked intermediate", both, revoke(1), ratify.CertificateRevoked, []string{"Intermediate 1"}},
		{"all revoked", both, set(notationtest.Revoked), ratify.CertificateRevoked, nil},
		{"unknown", ocspOnly, set(notationtest.Unknown), ratify.RevocationUnavailable, []string{"does not know"}},
		{"stale", both, set(notationtest.Stale), ratify.RevocationUnavailable, []string{"stale"}},
		{"garbage", both, set(notationtest.Garbage), ratify.RevocationUnavailable, nil},
		{"forged", both, set(notationtest.Forged), ratify.RevocationUnavailable, nil},
		{"signed by another leaf", ocspOnly, set(notationtest.Delegated), ratify.RevocationUnavailable, []string{"may not sign such answers"}},
		{"down", both, set(notationtest.Down), ratify.RevocationUnavailable, []string{"503"}},
		{"redirect", both, set(notationtest.Redirect), ratify.RevocationUnavailable, []string{"302"}},
		{"huge", both, set(notationtest.Huge), ratify.RevocationUnavailable, []string{"more than"}},
	} {
		for _, source := range c.sources {
			t.Run(c.name+" "+source, func(t *testing.T) {
				r := newRevocable(t, source == "ocsp", source == "crl")
				c.prepare(r)
				strict := verify(t, r.settings().verifier(t), r.envelope, notationtest.JWS)
				expect(t, strict, c.code, c.words...)

				permissive := r.settings()
				permissive.level = "permissive"
				got := verify(t, permissive.verifier(t), r.envelope, notationtest.JWS)
				expect(t, got, ratify.Verified)
				if c.code != ratify.Verified && !slices.Equal(got.loggedOnly(), []string{"revocation " + string(c.code)}) {
					t.Errorf("logged only %q", got.loggedOnly())
				}

				skipped := r.settings()
				skipped.override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{"revocation": "skip"}
				before := r.responder.Requests()
				expect(t, verify(t, skipped.verifier(t), r.envelope, notationtest.JWS), ratify.Verified)
				if r.responder.Requests() != before {
					t.Error("revocation that is skipped was asked for")
				}
			})
		}
	}
}

func TestRevocationFallsBackToTheList(t *testing.T) {
	for _, state := range []notationtest.State{notationtest.Down, notationtest.Unknown, notationtest.Garbage} {
		t.Run(string(state), func(t *testing.T) {
			list, ocsp := notationtest.NewResponder(), notationtest.NewResponder()
			listServer, ocspServer := httptest.NewServer(list), httptest.NewServer(ocsp)
			defer listServer.Close()
			defer ocspServer.Close()
			authority := newAuthority(t, notationtest.AuthorityOptions{OCSPURL: ocspServer.URL, CRLURL: listServer.URL})
			list.Add(authority)
			ocsp.Add(authority)
			ocsp.Set(state)
			signer := issue(t, authority, notationtest.LeafOptions{})
			envelope := sign(t, signer, notationtest.SignOptions{})
			s := settings{ca: []*x509.Certificate{authority.Root()}}
			expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.Verified)
			list.Revoke(signer.Chain[0])
			expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.CertificateRevoked)
			list.Set(notationtest.Down)
			expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.RevocationUnavailable)
		})
	}
}

// TestUntrustedSignatureAsksNobody is about a stranger's certificates at the level audit, under which the library asks the
// addresses that they name.
func TestUntrustedSignatureAsksNobody(t *testing.T) {
	for _, level := range []string{"strict", "permissive", "audit"} {
		for _, source := range []string{"ocsp", "crl"} {
			t.Run(level+" "+source, func(t *testing.T) {
				r := newRevocable(t, source == "ocsp", source == "crl")
				s := settings{level: level, ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}}
				verify(t, s.verifier(t), r.envelope, notationtest.JWS)
				if n := r.responder.Requests(); n != 0 {
					t.Errorf("%d requests for an untrusted chain", n)
				}
			})
		}
	}
	t.Run("audit, anchored in a store of another scheme", func(t *testing.T) {
		r := newRevocable(t, true, true)
		s := settings{level: "audit", ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}, authority: []*x509.Certificate{r.authority.Root()}}
		verify(t, s.verifier(t), r.envelope, notationtest.JWS)
		if n := r.responder.Requests(); n != 0 {
			t.Errorf("%d requests for a chain that no store of its scheme holds", n)
		}
	})
	t.Run("audit, with a trusted timestamp", func(t *testing.T) {
		time := newRevocable(t, true, true)
		tsa := must[*notationtest.TimestampAuthority](t)(notationtest.NewTimestampAuthority(notationtest.TimestampOptions{Authority: time.authority}))
		stranger := issue(t, newAuthority(t, notationtest.AuthorityOptions{}), notationtest.LeafOptions{})
		s := settings{level: "audit", ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}, tsa: []*x509.Certificate{time.authority.Root()}}
		verify(t, s.verifier(t), sign(t, stranger, notationtest.SignOptions{Timestamp: tsa}), notationtest.JWS)
		if n := time.responder.Requests(); n != 0 {
			t.Errorf("%d requests for the timestamp of an untrusted signature", n)
		}
	})
}

func TestRevocationAtPrivateAddressesIsRefused(t *testing.T) {
	r := newRevocable(t, true, true)
	s := r.settings()
	s.public = true
	got := verify(t, s.verifier(t), r.envelope, notationtest.JWS)
	expect(t, got, ratify.RevocationUnavailable)
	if remedy := ratify.AsError(got.err).UserRemedy(); !strings.Contains(remedy, "allowPrivateRevocation") {
		t.Errorf("remedy %q does not name the setting", remedy)
	}
	if n := r.responder.Requests(); n != 0 {
		t.Errorf("%d requests to a loopback address", n)
	}
}

func TestRequireRevocationInfo(t *testing.T) {
	silent := newAuthority(t, notationtest.AuthorityOptions{})
	envelope := sign(t, issue(t, silent, notationtest.LeafOptions{}), notationtest.SignOptions{})
	s := settings{ca: []*x509.Certificate{silent.Root()}}
	expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.Verified)
	s.require = true
	expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.RevocationInfoAbsent, "CN=Example Signer")
	s.level = "permissive"
	expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.Verified, "revocation")

	talking := newRevocable(t, true, false)
	s = talking.settings()
	s.require = true
	expect(t, verify(t, s.verifier(t), talking.envelope, notationtest.JWS), ratify.Verified)
}

func TestRevocationWithinTheDeadline(t *testing.T) {
	r := newRevocable(t, true, false)
	r.responder.Set(notationtest.Slow)
	defer r.responder.Release()
	artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, r.envelope, notationtest.JWS))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := r.settings().verifier(t).Verify(ctx, image, artifact.ManifestDescriptor, holding(artifact))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want the deadline's", err)
	}

	s := r.settings()
	s.revocation = notation.NewRevocation(notation.RevocationOptions{Timeout: 100 * time.Millisecond})
	defer s.revocation.Close()
	expect(t, verify(t, s.verifier(t), r.envelope, notationtest.JWS), ratify.RevocationUnavailable)
}

// TestOneRequestForMany has many callers wait for one slow responder, the first of which gives up.
func TestOneRequestForMany(t *testing.T) {
	r := newRevocable(t, true, false)
	r.responder.Set(notationtest.Slow)
	v := r.settings().verifier(t)
	artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, r.envelope, notationtest.JWS))
	repo := holding(artifact)

	first, giveUp := context.WithCancel(t.Context())
	asking := make(chan struct{}, 100)
	ctx := ratify.WithProgress(first, func(step string) {
		if step == "asking whether certificates are revoked" {
			asking <- struct{}{}
		}
	})
	gone := make(chan error, 1)
	go func() {
		_, err := v.Verify(ctx, image, artifact.ManifestDescriptor, repo)
		gone <- err
	}()
	<-asking
	<-asking // the leaf's and the intermediate's
	const callers = 20
	results := make(chan verdict, callers)
	var waiting sync.WaitGroup
	waiting.Add(2 * callers)
	others := ratify.WithProgress(t.Context(), func(step string) {
		if step == "asking whether certificates are revoked" {
			waiting.Done()
		}
	})
	for range callers {
		go func() {
			result, err := v.Verify(others, image, artifact.ManifestDescriptor, repo)
			results <- verdict{result, err}
		}()
	}
	waiting.Wait()
	giveUp()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller that gave up got %v", err)
	}
	r.responder.Release()
	for range callers {
		expect(t, <-results, ratify.Verified)
	}
	if n := r.responder.Requests(); n != 2 {
		t.Errorf("%d requests for two certificates", n)
	}
	expect(t, verify(t, v, r.envelope, notationtest.JWS), ratify.Verified)
	if n := r.responder.Requests(); n != 2 {
		t.Errorf("%d requests after the answers were kept", n)
	}
}

func TestFreshUntil(t *testing.T) {
	for _, source := range []string{"ocsp", "crl"} {
		t.Run(source, func(t *testing.T) {
			r := newRevocable(t, source == "ocsp", source == "crl")
			r.responder.SetLife(10 * time.Minute)
			got := verify(t, r.settings().verifier(t), r.envelope, notationtest.JWS)
			expect(t, got, ratify.Verified)
			if left := time.Until(got.FreshUntil); left < 9*time.Minute || left > 10*time.Minute {
				t.Errorf("fresh for %s, want what is left of the answer's ten minutes", left)
			}
			if !got.NotAfter.Equal(r.signer.Chain[0].NotAfter) {
				t.Errorf("not after %s, want the leaf's end %s", got.NotAfter, r.signer.Chain[0].NotAfter)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		r := newRevocable(t, true, false)
		r.responder.Set(notationtest.Down)
		s := r.settings()
		s.level = "permissive"
		got := verify(t, s.verifier(t), r.envelope, notationtest.JWS)
		expect(t, got, ratify.Verified)
		if left := time.Until(got.FreshUntil); left <= 0 || left > time.Minute {
			t.Errorf("fresh for %s though revocation is not known", left)
		}
	})
}

// TestAnswersAreOfOneCertificate has two signers of one authority, and so of one responder, one of which is revoked.
func TestAnswersAreOfOneCertificate(t *testing.T) {
	for _, source := range []string{"ocsp", "crl"} {
		t.Run(source, func(t *testing.T) {
			r := newRevocable(t, source == "ocsp", source == "crl")
			other := issue(t, r.authority, notationtest.LeafOptions{CommonName: "Other"})
			r.responder.Revoke(other.Chain[0])
			v := r.settings().verifier(t)
			expect(t, verify(t, v, r.envelope, notationtest.JWS), ratify.Verified)
			expect(t, verify(t, v, sign(t, other, notationtest.SignOptions{}), notationtest.JWS), ratify.CertificateRevoked)
			expect(t, verify(t, v, r.envelope, notationtest.JWS), ratify.Verified)
		})
	}
}
