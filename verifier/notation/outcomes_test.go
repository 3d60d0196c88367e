package notation_test

import (
	"crypto/x509"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// TestOutcomesOfAnotherConfiguration verifies one signature under one configuration and then under the next.
func TestOutcomesOfAnotherConfiguration(t *testing.T) {
	authority, other := newAuthority(t, notationtest.AuthorityOptions{}), newAuthority(t, notationtest.AuthorityOptions{})
	tsa := newTSA(t, notationtest.TimestampOptions{})
	envelope := sign(t, issue(t, authority, notationtest.LeafOptions{CommonName: "Release"}), notationtest.SignOptions{Timestamp: tsa})
	for _, c := range []struct {
		name   string
		change func(*settings)
		rename func(*trustpolicy.TrustPolicy)
		work   notation.Work
		code   ratify.Code
	}{
		{name: "the same", work: notation.VerifiedNothing, code: ratify.Verified},
		{name: "more repositories", rename: func(p *trustpolicy.TrustPolicy) { p.RegistryScopes = []string{repository} }, work: notation.VerifiedNothing, code: ratify.Verified},
		{name: "another name", rename: func(p *trustpolicy.TrustPolicy) { p.Name = "other" }, code: ratify.Verified},
		{name: "another level", change: func(s *settings) { s.level = "permissive" }, code: ratify.Verified},
		{name: "an override", change: func(s *settings) {
			s.override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{"expiry": "log"}
		}, code: ratify.Verified},
		{name: "another identity", change: func(s *settings) { s.identities = []string{"x509.subject: CN=Build,O=Example,ST=WA,C=US"} }, code: ratify.IdentityMismatch},
		{name: "the same identity by name", change: func(s *settings) { s.identities = []string{"x509.subject: CN=Release,O=Example,ST=WA,C=US"} }, code: ratify.Verified},
		{name: "one more certificate", change: func(s *settings) { s.ca = append(s.ca, other.Root()) }, code: ratify.Verified},
		{name: "another certificate", change: func(s *settings) { s.ca = []*x509.Certificate{other.Root()} }, code: ratify.UntrustedSigner},
		{name: "another kind of store", change: func(s *settings) { s.ca, s.authority, s.tsa, s.timestamps = nil, s.ca, nil, "" }, code: ratify.UntrustedSigner},
		{name: "no timestamps", change: func(s *settings) { s.tsa, s.timestamps = nil, "" }, code: ratify.Verified},
		{name: "timestamps always", change: func(s *settings) { s.timestamps = trustpolicy.OptionAlways }, code: ratify.Verified},
		{name: "timestamps of another authority", change: func(s *settings) { s.tsa = []*x509.Certificate{other.Root()} }, code: ratify.Verified},
		{name: "revocation required", change: func(s *settings) { s.require = true }, code: ratify.RevocationInfoAbsent},
		{name: "no private responders", change: func(s *settings) { s.public = true }, code: ratify.Verified},
	} {
		t.Run(c.name, func(t *testing.T) {
			var work []notation.Work
			s := settings{ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{tsa.Authority.Root()}, timestamps: trustpolicy.OptionAfterCertExpiry,
				outcomes: notation.NewOutcomes(notation.OutcomesOptions{}), observe: func(w notation.Work) { work = append(work, w) }}
			expect(t, verify(t, s.verifier(t), envelope, notationtest.JWS), ratify.Verified)
			if c.change != nil {
				c.change(&s)
			}
			cfg := s.config(t)
			if c.rename != nil {
				c.rename(&cfg.TrustPolicy.TrustPolicies[0])
			}
			v := must[*notation.Verifier](t)(notation.New(cfg, notation.Deps{Outcomes: s.outcomes, Observe: s.observe}))
			work = nil
			expect(t, verify(t, v, envelope, notationtest.JWS), c.code)
			if work[0] != c.work {
				t.Errorf("work %v, want %v first", work, c.work)
			}
		})
	}
}

// TestOutcomesOfAnotherSubject asks for what was signed, and then for something else with the same signature.
func TestOutcomesOfAnotherSubject(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	for _, mediaType := range formats {
		envelope := sign(t, signer, notationtest.SignOptions{MediaType: mediaType})
		v := settings{ca: []*x509.Certificate{authority.Root()}}.verifier(t)
		expect(t, verify(t, v, envelope, mediaType), ratify.Verified)
		for _, c := range []struct {
			name string
			code ratify.Code
		}{{"digest", ratify.SubjectMismatch}, {"size", ratify.SignatureInvalid}, {"media type", ratify.SignatureInvalid}} {
			t.Run(c.name+" "+mediaType, func(t *testing.T) {
				subject := image
				switch c.name {
				case "digest":
					subject.Digest = digest.FromString("other")
				case "size":
					subject.Size++
				default:
					subject.MediaType += "x"
				}
				artifact := must[*notationtest.Artifact](t)(notationtest.Attach(subject, envelope, mediaType))
				result, err := v.Verify(t.Context(), subject, artifact.ManifestDescriptor, holding(artifact))
				expect(t, verdict{result, err}, c.code)
			})
		}
	}
}

// TestOutcomesAskAboutRevocation remembers a signature while nothing is wrong with a chain, and asks about it later.
func TestOutcomesAskAboutRevocation(t *testing.T) {
	for _, c := range []struct {
		name    string
		state   notationtest.State
		stamped bool // the responder is for the timestamp's chain
		level   string
		code    ratify.Code
		work    notation.Work
	}{
		{"still good", notationtest.Good, false, "strict", ratify.Verified, notation.VerifiedNothing},
		{"revoked", notationtest.Revoked, false, "strict", ratify.CertificateRevoked, notation.VerifiedAll},
		{"revoked, only logged", notationtest.Revoked, false, "permissive", ratify.Verified, notation.VerifiedAll},
		{"down", notationtest.Down, false, "strict", ratify.RevocationUnavailable, notation.VerifiedAll},
		{"timestamp's still good", notationtest.Good, true, "strict", ratify.Verified, notation.VerifiedNothing},
		{"timestamp's revoked", notationtest.Revoked, true, "strict", ratify.TimestampInvalid, notation.VerifiedAll},
		{"timestamp's down", notationtest.Down, true, "strict", ratify.RevocationUnavailable, notation.VerifiedAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			responder := notationtest.NewResponder()
			server := httptest.NewServer(responder)
			defer server.Close()
			var signers, clocks notationtest.AuthorityOptions
			if c.stamped {
				clocks.OCSPURL = server.URL
			} else {
				signers.OCSPURL = server.URL
			}
			authority, clock := newAuthority(t, signers), newAuthority(t, clocks)
			if c.stamped {
				responder.Add(clock)
			} else {
				responder.Add(authority)
			}
			tsa := newTSA(t, notationtest.TimestampOptions{Authority: clock})
			signer := issue(t, authority, notationtest.LeafOptions{})
			envelope := sign(t, signer, notationtest.SignOptions{Timestamp: tsa})
			var work []notation.Work
			s := settings{level: c.level, ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{clock.Root()},
				outcomes: notation.NewOutcomes(notation.OutcomesOptions{}), observe: func(w notation.Work) { work = append(work, w) }}
			first := verify(t, s.verifier(t), envelope, notationtest.JWS)
			expect(t, first, ratify.Verified)
			if first.FreshUntil.IsZero() {
				t.Error("no answer bounds how fresh it is")
			}
			responder.Set(c.state)
			work = nil
			again := verify(t, s.verifier(t), envelope, notationtest.JWS) // a verifier with no answers kept
			expect(t, again, c.code)
			if work[0] != c.work {
				t.Errorf("work %v, want %v first", work, c.work)
			}
			// Another signature by the same signer.
			expect(t, verify(t, s.verifier(t), sign(t, signer, notationtest.SignOptions{Timestamp: tsa}), notationtest.JWS), c.code)
		})
	}
}

// TestOutcomesAskNoMoreAboutRevocation has the responder go down once a signature is remembered: what is looked at in three
// ways then asks as often as what is looked at in one.
func TestOutcomesAskNoMoreAboutRevocation(t *testing.T) {
	for _, level := range []string{"strict", "permissive"} {
		t.Run(level, func(t *testing.T) {
			responder := notationtest.NewResponder()
			server := httptest.NewServer(responder)
			defer server.Close()
			authority := newAuthority(t, notationtest.AuthorityOptions{OCSPURL: server.URL, Intermediates: 1})
			responder.Add(authority)
			envelope := sign(t, issue(t, authority, notationtest.LeafOptions{}), notationtest.SignOptions{})
			s := settings{level: level, ca: []*x509.Certificate{authority.Root()}, outcomes: notation.NewOutcomes(notation.OutcomesOptions{})}
			expect(t, verifyOnce(t, s.verifier(t), envelope, notationtest.JWS), ratify.Verified)
			responder.Set(notationtest.Down)
			requests := func(s settings) (verdict, int) {
				before := responder.Requests()
				return verifyOnce(t, s.verifier(t), envelope, notationtest.JWS), responder.Requests() - before
			}
			again, asked := requests(s)
			s.outcomes, s.forgetful = nil, true
			whole, want := requests(s)
			whole.expectSame(t, again)
			if asked != want {
				t.Errorf("asked %d times, and %d where nothing is remembered", asked, want)
			}
		})
	}
}

// TestOutcomesEnd lets time go by over what is remembered.
func TestOutcomesEnd(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for _, c := range []struct {
		name       string
		expiry     time.Duration
		life       time.Duration // of the leaf
		timestamps bool
		after      time.Duration
		code       ratify.Code
		work       notation.Work
	}{
		{"before all ends", hour, day, false, hour - time.Second, ratify.Verified, notation.VerifiedNothing},
		{"the signature ends", hour, day, false, hour, ratify.SignatureExpired, notation.VerifiedAll},
		{"the certificate ends", 0, day, false, day + time.Second, ratify.CertificateExpired, notation.VerifiedAll},
		{"the certificate ends, and a timestamp outlives it", 0, day, true, day + time.Second, ratify.Verified, notation.VerifiedAll},
		{"a month", 0, 365 * day, false, 31 * day, ratify.Verified, notation.VerifiedAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				authority := newAuthority(t, notationtest.AuthorityOptions{})
				signer := issue(t, authority, notationtest.LeafOptions{NotBefore: now.Add(-hour), NotAfter: now.Add(c.life)})
				options := notationtest.SignOptions{Expiry: c.expiry}
				var work []notation.Work
				s := settings{ca: []*x509.Certificate{authority.Root()}, observe: func(w notation.Work) { work = append(work, w) }}
				if c.timestamps {
					tsa := newTSA(t, notationtest.TimestampOptions{})
					options.Timestamp, s.tsa = tsa, []*x509.Certificate{tsa.Authority.Root()}
				}
				v, envelope := s.verifier(t), sign(t, signer, options)
				expect(t, verify(t, v, envelope, notationtest.JWS), ratify.Verified)
				time.Sleep(c.after)
				work = nil
				expect(t, verify(t, v, envelope, notationtest.JWS), c.code)
				if work[0] != c.work {
					t.Errorf("work %v, want %v first", work, c.work)
				}
			})
		})
	}
}

// TestOutcomesAreBounded remembers one signature at a time.
func TestOutcomesAreBounded(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	one, two := sign(t, signer, notationtest.SignOptions{}), sign(t, signer, notationtest.SignOptions{})
	var work []notation.Work
	v := settings{ca: []*x509.Certificate{authority.Root()}, outcomes: notation.NewOutcomes(notation.OutcomesOptions{MaxEntries: 1}),
		observe: func(w notation.Work) { work = append(work, w) }}.verifier(t)
	for _, envelope := range [][]byte{one, two, one} {
		work = nil
		expect(t, verify(t, v, envelope, notationtest.JWS), ratify.Verified)
		if work[0] == notation.VerifiedNothing || work[1] != notation.VerifiedNothing {
			t.Errorf("work %v, want some and then none", work)
		}
	}
}
