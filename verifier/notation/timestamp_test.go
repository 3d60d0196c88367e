package notation_test

import (
	"crypto/x509"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

func newTSA(t testing.TB, options notationtest.TimestampOptions) *notationtest.TimestampAuthority {
	t.Helper()
	return must[*notationtest.TimestampAuthority](t)(notationtest.NewTimestampAuthority(options))
}

// token stamps the signature inside an envelope.
func token(t testing.TB, tsa *notationtest.TimestampAuthority, envelope []byte, mediaType string) []byte {
	t.Helper()
	parsed := must[signature.Envelope](t)(signature.ParseEnvelope(mediaType, envelope))
	content := must[*signature.EnvelopeContent](t)(parsed.Content())
	return must[[]byte](t)(tsa.Token(content.SignerInfo.Signature))
}

func TestTimestamps(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{NotBefore: lastYear})
	tsa := newTSA(t, notationtest.TimestampOptions{})
	lastMonths := newTSA(t, notationtest.TimestampOptions{Authority: tsa.Authority, Now: func() time.Time { return lastMonth }})
	foreign := newTSA(t, notationtest.TimestampOptions{Now: func() time.Time { return lastMonth }})
	unfit := newTSA(t, notationtest.TimestampOptions{Authority: tsa.Authority, Leaf: notationtest.LeafOptions{Usage: notationtest.CodeSigning}})
	valid := issue(t, authority, notationtest.LeafOptions{})
	expired := issue(t, authority, notationtest.LeafOptions{NotBefore: lastYear, NotAfter: yesterday})
	future := issue(t, authority, notationtest.LeafOptions{NotBefore: tomorrow})
	after := trustpolicy.OptionAfterCertExpiry

	for _, c := range []struct {
		name    string
		signer  *notationtest.Signer
		stamp   *notationtest.TimestampAuthority
		replace func(t *testing.T, envelope []byte, mediaType string) []byte
		option  trustpolicy.TimestampOption
		noStore bool
		code    ratify.Code
		words   []string
		end     time.Time // of what is verified
		stamped bool
	}{
		{name: "valid, stamped", signer: valid, stamp: tsa, code: ratify.Verified, stamped: true},
		{name: "valid, stamped, always", signer: valid, stamp: tsa, option: trustpolicy.OptionAlways, code: ratify.Verified, stamped: true},
		{name: "valid, not stamped", signer: valid, code: ratify.TimestampInvalid, words: []string{"has no timestamp"}},
		{name: "valid, not stamped, after expiry", signer: valid, option: after, code: ratify.Verified, end: valid.Chain[0].NotAfter},
		{name: "valid, stamped, after expiry", signer: valid, stamp: tsa, option: after, code: ratify.Verified, stamped: true},
		{name: "valid, stamped before its certificate was, after expiry", signer: valid, stamp: lastMonths, option: after, code: ratify.Verified, end: valid.Chain[0].NotAfter},
		{name: "valid, stamped by a stranger, after expiry", signer: valid, stamp: foreign, option: after, code: ratify.Verified, end: valid.Chain[0].NotAfter},
		{name: "valid, stamped, no store", signer: valid, stamp: tsa, noStore: true, code: ratify.Verified, end: valid.Chain[0].NotAfter},
		{name: "expired, stamped in time", signer: expired, stamp: lastMonths, code: ratify.Verified, stamped: true},
		{name: "expired, stamped in time, after expiry", signer: expired, stamp: lastMonths, option: after, code: ratify.Verified, stamped: true},
		{name: "expired, stamped in time, no store", signer: expired, stamp: lastMonths, noStore: true, code: ratify.CertificateExpired, words: []string{yesterday.UTC().Format(time.RFC3339)}},
		{name: "expired, stamped too late", signer: expired, stamp: tsa, code: ratify.TimestampInvalid},
		{name: "expired, stamped by a stranger", signer: expired, stamp: foreign, code: ratify.TimestampInvalid},
		{name: "expired, not stamped", signer: expired, code: ratify.CertificateExpired, words: []string{"has no timestamp"}},
		{name: "expired, not stamped, after expiry", signer: expired, option: after, code: ratify.CertificateExpired},
		{name: "not yet valid, stamped", signer: future, stamp: tsa, code: ratify.TimestampInvalid},
		{name: "not yet valid, stamped, after expiry", signer: future, stamp: tsa, option: after, code: ratify.CertificateExpired, words: []string{"is valid from"}},
		{name: "for another message", signer: expired, code: ratify.TimestampInvalid, replace: func(t *testing.T, envelope []byte, mediaType string) []byte {
			other := sign(t, valid, notationtest.SignOptions{MediaType: mediaType})
			return must[[]byte](t)(notationtest.ReplaceTimestamp(envelope, mediaType, token(t, lastMonths, other, mediaType)))
		}},
		{name: "rubbish", signer: expired, code: ratify.TimestampInvalid, replace: func(t *testing.T, envelope []byte, mediaType string) []byte {
			return must[[]byte](t)(notationtest.ReplaceTimestamp(envelope, mediaType, []byte("rubbish")))
		}},
		{name: "rubbish that does not matter", signer: valid, option: after, code: ratify.Verified, end: valid.Chain[0].NotAfter, replace: func(t *testing.T, envelope []byte, mediaType string) []byte {
			return must[[]byte](t)(notationtest.ReplaceTimestamp(envelope, mediaType, []byte("rubbish")))
		}},
		{name: "by a certificate for something else", signer: valid, code: ratify.TimestampInvalid, replace: func(t *testing.T, envelope []byte, mediaType string) []byte {
			return must[[]byte](t)(notationtest.ReplaceTimestamp(envelope, mediaType, token(t, unfit, envelope, mediaType)))
		}},
	} {
		for _, mediaType := range formats {
			t.Run(c.name+" "+mediaType, func(t *testing.T) {
				envelope := sign(t, c.signer, notationtest.SignOptions{MediaType: mediaType, Timestamp: c.stamp})
				if c.replace != nil {
					envelope = c.replace(t, envelope, mediaType)
				}
				s := settings{ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{tsa.Authority.Root()}, timestamps: c.option}
				if c.noStore {
					s.tsa = nil
				}
				// The signer who is valid is known from another signature.
				known := sign(t, valid, notationtest.SignOptions{MediaType: mediaType, Timestamp: tsa})
				got := compare(t, s, signed{mediaType, known}).verify(t, envelope, mediaType)
				expect(t, got, c.code, c.words...)
				if c.code != ratify.Verified {
					return
				}
				if !got.NotAfter.Equal(c.end) {
					t.Errorf("not after %s, want %s", got.NotAfter, c.end)
				}
				if _, ok := got.Extensions["timestamp"]; ok != c.stamped {
					t.Errorf("timestamp told: %t, want %t", ok, c.stamped)
				}
			})
		}
	}
}

func TestTimestampAuthorityIsRevoked(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	for _, c := range []struct {
		state  notationtest.State
		level  string
		code   ratify.Code
		logged string
	}{
		{notationtest.Good, "strict", ratify.Verified, ""},
		{notationtest.Revoked, "strict", ratify.TimestampInvalid, ""},
		{notationtest.Down, "strict", ratify.RevocationUnavailable, ""},
		{notationtest.Revoked, "permissive", ratify.Verified, "authenticTimestamp TIMESTAMP_INVALID"},
		{notationtest.Down, "permissive", ratify.Verified, "authenticTimestamp REVOCATION_UNAVAILABLE"},
	} {
		t.Run(string(c.state)+" "+c.level, func(t *testing.T) {
			responder := notationtest.NewResponder()
			server := httptest.NewServer(responder)
			defer server.Close()
			clock := newAuthority(t, notationtest.AuthorityOptions{OCSPURL: server.URL})
			responder.Add(clock)
			tsa := newTSA(t, notationtest.TimestampOptions{Authority: clock})
			responder.Set(c.state)
			s := settings{level: c.level, ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{clock.Root()}}
			got := verify(t, s.verifier(t), sign(t, signer, notationtest.SignOptions{Timestamp: tsa}), notationtest.JWS)
			expect(t, got, c.code)
			if logged := strings.Join(got.loggedOnly(), ", "); logged != c.logged {
				t.Errorf("logged only %q, want %q", logged, c.logged)
			}
		})
	}
}

func TestSigningAuthority(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{NotBefore: lastYear})
	roots := []*x509.Certificate{authority.Root()}
	expired := notationtest.LeafOptions{NotBefore: lastYear, NotAfter: yesterday}
	for _, c := range []struct {
		name     string
		settings settings
		leaf     notationtest.LeafOptions
		at       time.Time
		code     ratify.Code
		words    []string
		remedy   string
	}{
		{"good", settings{authority: roots}, notationtest.LeafOptions{}, time.Now(), ratify.Verified, nil, ""},
		{"expired since", settings{authority: roots}, expired, lastMonth, ratify.Verified, nil, ""},
		{"signed after expiry", settings{authority: roots}, expired, time.Now(), ratify.CertificateExpired, []string{"when it was signed"}, ""},
		{"store of type ca", settings{ca: roots}, notationtest.LeafOptions{}, time.Now(), ratify.UntrustedSigner, nil, "a trust store of type signingAuthority"},
	} {
		for _, mediaType := range formats {
			t.Run(c.name+" "+mediaType, func(t *testing.T) {
				envelope := sign(t, issue(t, authority, c.leaf), notationtest.SignOptions{MediaType: mediaType, SigningAuthority: true, SigningTime: c.at})
				got := verify(t, c.settings.verifier(t), envelope, mediaType)
				expect(t, got, c.code, c.words...)
				if !strings.Contains(got.Remedy, c.remedy) {
					t.Errorf("remedy %q, want %q", got.Remedy, c.remedy)
				}
				if c.code == ratify.Verified && !got.NotAfter.IsZero() {
					t.Errorf("not after %s: the certificates' end is of no concern", got.NotAfter)
				}
			})
		}
	}
}

// TestNotAfter changes what ends a signature and what of it is enforced.
func TestNotAfter(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{Intermediates: 1, IntermediateNotAfter: tomorrow})
	signer := issue(t, authority, notationtest.LeafOptions{})
	plain := sign(t, signer, notationtest.SignOptions{})
	expiring := sign(t, signer, notationtest.SignOptions{Expiry: time.Hour})
	soon := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, c := range []struct {
		name, level string
		envelope    []byte
		want        time.Time
	}{
		{"intermediate", "strict", plain, authority.Chain[0].NotAfter},
		{"expiry before it", "strict", expiring, soon},
		{"nothing is enforced", "permissive", expiring, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := verify(t, settings{level: c.level, ca: []*x509.Certificate{authority.Root()}}.verifier(t), c.envelope, notationtest.JWS)
			expect(t, got, ratify.Verified)
			if difference := got.NotAfter.Sub(c.want).Abs(); difference > 5*time.Second {
				t.Errorf("not after %s, want %s", got.NotAfter, c.want)
			}
		})
	}
}
