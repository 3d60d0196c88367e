package notation_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// long and short ago, and to come.
var (
	lastYear  = time.Now().Add(-365 * 24 * time.Hour).Truncate(time.Second)
	lastMonth = time.Now().Add(-30 * 24 * time.Hour).Truncate(time.Second)
	yesterday = time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	tomorrow  = time.Now().Add(24 * time.Hour).Truncate(time.Second)
)

var formats = []string{notationtest.JWS, notationtest.COSE}

// TestVerify holds the outcomes of one signature at the level strict, for each envelope and kind of key.
func TestVerify(t *testing.T) {
	cases := []struct {
		name      string
		authority notationtest.AuthorityOptions
		leaf      notationtest.LeafOptions
		sign      notationtest.SignOptions
		foreign   bool
		tamper    func(t *testing.T, envelope []byte, mediaType string) []byte
		code      ratify.Code
		words     []string
	}{
		{name: "good", code: ratify.Verified, words: []string{"Example Signer"}},
		{name: "good with an intermediate", authority: notationtest.AuthorityOptions{Intermediates: 1}, code: ratify.Verified},
		{name: "good until tomorrow", sign: notationtest.SignOptions{Expiry: 24 * time.Hour}, code: ratify.Verified},
		{name: "foreign", foreign: true, code: ratify.UntrustedSigner, words: []string{"signature is not produced by a trusted signer", "CN=Example Signer", "CN=Example Root"}},
		{name: "expired leaf", leaf: notationtest.LeafOptions{NotBefore: lastYear, NotAfter: yesterday}, code: ratify.CertificateExpired, words: []string{"Example Signer", yesterday.UTC().Format(time.RFC3339)}},
		{name: "expired intermediate", authority: notationtest.AuthorityOptions{Intermediates: 1, IntermediateNotBefore: lastYear, IntermediateNotAfter: yesterday}, code: ratify.CertificateExpired, words: []string{"Intermediate 1"}},
		{name: "not yet valid", leaf: notationtest.LeafOptions{NotBefore: tomorrow}, code: ratify.CertificateExpired, words: []string{"is valid from " + tomorrow.UTC().Format(time.RFC3339)}},
		{name: "expired signature", sign: notationtest.SignOptions{SigningTime: lastMonth, Expiry: time.Hour}, code: ratify.SignatureExpired, words: []string{lastMonth.Add(time.Hour).UTC().Format(time.RFC3339)}},
		{name: "wrong usage", leaf: notationtest.LeafOptions{Usage: notationtest.ServerAuth}, code: ratify.CertificateInvalid, words: []string{"ServerAuth"}},
		{name: "certificate authority as a leaf", leaf: notationtest.LeafOptions{Usage: notationtest.CertSign}, code: ratify.CertificateInvalid},
		{name: "tampered signature", tamper: tamperSignature, code: ratify.SignatureInvalid},
		{name: "payload of another type", sign: notationtest.SignOptions{PayloadType: "text/plain"}, code: ratify.SignatureInvalid},
		{name: "payload without a target", sign: notationtest.SignOptions{Payload: []byte(`{"some":"thing"}`)}, code: ratify.SubjectMismatch},
		{name: "payload of another shape", sign: notationtest.SignOptions{Payload: []byte(`{"targetArtifact":"text"}`)}, code: ratify.SignatureInvalid},
		{name: "unknown critical attribute", sign: notationtest.SignOptions{Attributes: []signature.Attribute{{Key: "org.example.must", Critical: true, Value: "x"}}}, code: ratify.PluginRequired, words: []string{"org.example.must"}},
		{name: "unknown attribute", sign: notationtest.SignOptions{Attributes: []signature.Attribute{{Key: "org.example.may", Value: "x"}}}, code: ratify.Verified},
		{name: "plugin", sign: notationtest.SignOptions{Attributes: []signature.Attribute{{Key: "io.cncf.notary.verificationPlugin", Critical: true, Value: "com.example.run"}}}, code: ratify.PluginRequired, words: []string{"com.example.run"}},
		{name: "plugin that is not critical", sign: notationtest.SignOptions{Attributes: []signature.Attribute{{Key: "io.cncf.notary.verificationPlugin", Value: "com.example.run"}}}, code: ratify.PluginRequired},
		{name: "scheme that no store is for", sign: notationtest.SignOptions{SigningAuthority: true}, code: ratify.UntrustedSigner},
	}
	other := newAuthority(t, notationtest.AuthorityOptions{})
	for _, key := range []notationtest.KeyType{notationtest.P256, notationtest.RSA2048} {
		for _, c := range cases {
			t.Run(c.name+" "+string(key), func(t *testing.T) {
				c.authority.Key, c.leaf.Key = key, key
				authority := newAuthority(t, c.authority)
				signer := issue(t, authority, c.leaf)
				trusted := authority
				if c.foreign {
					trusted = other
				}
				v := settings{ca: []*x509.Certificate{trusted.Root()}}.verifier(t)
				for _, mediaType := range formats {
					c.sign.MediaType = mediaType
					envelope := sign(t, signer, c.sign)
					if c.tamper != nil {
						envelope = c.tamper(t, envelope, mediaType)
					}
					expect(t, verify(t, v, envelope, mediaType), c.code, c.words...)
				}
			})
		}
	}
}

func tamperSignature(t *testing.T, envelope []byte, mediaType string) []byte {
	t.Helper()
	return must[[]byte](t)(notationtest.Tamper(envelope, mediaType))
}

func TestVerifyComparesTheTarget(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	v := settings{ca: []*x509.Certificate{authority.Root()}}.verifier(t)
	audit := settings{level: "audit", ca: []*x509.Certificate{authority.Root()}}.verifier(t)
	for _, c := range []struct {
		name   string
		change func(*ocispec.Descriptor)
		code   ratify.Code
		words  string
	}{
		{"digest", func(d *ocispec.Descriptor) { d.Digest = digest.FromString("other") }, ratify.SubjectMismatch, digest.FromString("other").String()},
		{"size", func(d *ocispec.Descriptor) { d.Size++ }, ratify.SignatureInvalid, "6 bytes"},
		{"media type", func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex }, ratify.SignatureInvalid, ocispec.MediaTypeImageIndex},
	} {
		for _, mediaType := range formats {
			t.Run(c.name+" "+mediaType, func(t *testing.T) {
				target := image
				c.change(&target)
				envelope := must[[]byte](t)(signer.Sign(t.Context(), target, notationtest.SignOptions{MediaType: mediaType}))
				expect(t, verify(t, v, envelope, mediaType), c.code, c.words)
				expect(t, verify(t, audit, envelope, mediaType), c.code, c.words)
			})
		}
	}
}

func TestVerifyNamesStoreAndSignerToTrust(t *testing.T) {
	signer := issue(t, newAuthority(t, notationtest.AuthorityOptions{Name: "Stranger"}), notationtest.LeafOptions{})
	v := settings{ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}}.verifier(t)
	got := verify(t, v, sign(t, signer, notationtest.SignOptions{}), notationtest.JWS)
	expect(t, got, ratify.UntrustedSigner, "Stranger")
	if want := "add the signer's CA certificate to trust store ca:certs, or sign the image with a trusted key"; got.Remedy != want {
		t.Errorf("remedy %q, want %q", got.Remedy, want)
	}
	if got.Extensions["issuer"] != "CN=Stranger,O=Example,ST=WA,C=US" {
		t.Errorf("issuer %v", got.Extensions["issuer"])
	}
}

func TestIdentities(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	envelope := sign(t, issue(t, authority, notationtest.LeafOptions{CommonName: "Release"}), notationtest.SignOptions{})
	for _, c := range []struct {
		name       string
		identities []string
		code       ratify.Code
		words      []string
	}{
		{"all", []string{"*"}, ratify.Verified, nil},
		{"exact", []string{"x509.subject: CN=Release,O=Example,ST=WA,C=US"}, ratify.Verified, nil},
		{"less", []string{"x509.subject: O=Example,ST=WA,C=US"}, ratify.Verified, nil},
		{"one of two", []string{"x509.subject: O=Other,ST=WA,C=US", "x509.subject: O=Example,ST=WA,C=US"}, ratify.Verified, nil},
		{"other", []string{"x509.subject: CN=Build,O=Example,ST=WA,C=US"}, ratify.IdentityMismatch, []string{"CN=Release", "CN=Build"}},
		{"prefix is no match", []string{"x509.subject: CN=Rel,O=Example,ST=WA,C=US"}, ratify.IdentityMismatch, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := settings{ca: []*x509.Certificate{authority.Root()}, identities: c.identities}.verifier(t)
			expect(t, verify(t, v, envelope, notationtest.JWS), c.code, c.words...)
		})
	}
}

// TestLevels changes nothing but the level, or one override.
func TestLevels(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	trusted := []*x509.Certificate{authority.Root()}
	expired := sign(t, issue(t, authority, notationtest.LeafOptions{NotBefore: lastYear, NotAfter: yesterday}),
		notationtest.SignOptions{SigningTime: lastMonth, Expiry: time.Hour})
	foreign := sign(t, issue(t, newAuthority(t, notationtest.AuthorityOptions{}), notationtest.LeafOptions{}), notationtest.SignOptions{})
	type overrides = map[trustpolicy.ValidationType]trustpolicy.ValidationAction
	for _, c := range []struct {
		name     string
		settings settings
		envelope []byte
		code     ratify.Code
		logged   []string
	}{
		{"strict expired", settings{level: "strict"}, expired, ratify.SignatureExpired, nil},
		{"permissive expired", settings{level: "permissive"}, expired, ratify.Verified, []string{"expiry SIGNATURE_EXPIRED", "authenticTimestamp CERTIFICATE_EXPIRED"}},
		{"audit expired", settings{level: "audit"}, expired, ratify.Verified, []string{"expiry SIGNATURE_EXPIRED", "authenticTimestamp CERTIFICATE_EXPIRED"}},
		{"strict, expiry logged", settings{level: "strict", override: overrides{"expiry": "log"}}, expired, ratify.CertificateExpired, nil},
		{"strict, expiry and timestamp logged", settings{level: "strict", override: overrides{"expiry": "log", "authenticTimestamp": "log"}}, expired, ratify.Verified, []string{"expiry SIGNATURE_EXPIRED", "authenticTimestamp CERTIFICATE_EXPIRED"}},
		{"permissive, expiry enforced", settings{level: "permissive", override: overrides{"expiry": "enforce"}}, expired, ratify.SignatureExpired, nil},
		{"audit, timestamp enforced", settings{level: "audit", override: overrides{"authenticTimestamp": "enforce"}}, expired, ratify.CertificateExpired, nil},
		{"permissive foreign", settings{level: "permissive"}, foreign, ratify.UntrustedSigner, nil},
		{"audit foreign", settings{level: "audit"}, foreign, ratify.Verified, []string{"authenticity UNTRUSTED_SIGNER", "revocation REVOCATION_UNAVAILABLE"}},
		{"audit, authenticity enforced", settings{level: "audit", override: overrides{"authenticity": "enforce"}}, foreign, ratify.UntrustedSigner, nil},
		{"strict, revocation skipped", settings{level: "strict", override: overrides{"revocation": "skip"}}, foreign, ratify.UntrustedSigner, nil},
		{"audit, other identity", settings{level: "audit", identities: []string{"x509.subject: O=Other,ST=WA,C=US"}}, expired, ratify.Verified,
			[]string{"authenticity IDENTITY_MISMATCH", "expiry SIGNATURE_EXPIRED", "authenticTimestamp CERTIFICATE_EXPIRED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.settings.ca = trusted
			got := verify(t, c.settings.verifier(t), c.envelope, notationtest.JWS)
			expect(t, got, c.code)
			if c.code == ratify.Verified && !slices.Equal(got.loggedOnly(), c.logged) {
				t.Errorf("logged only %q, want %q", got.loggedOnly(), c.logged)
			}
			if len(c.logged) > 0 && !strings.Contains(got.Message, "only logged") {
				t.Errorf("message %q does not say that checks failed", got.Message)
			}
		})
	}
	t.Run("audit tampered", func(t *testing.T) {
		v := settings{level: "audit", ca: trusted}.verifier(t)
		expect(t, verify(t, v, tamperSignature(t, expired, notationtest.JWS), notationtest.JWS), ratify.SignatureInvalid)
	})
}

func TestSkip(t *testing.T) {
	v := settings{level: "skip"}.verifier(t)
	if !v.Skip(ratify.Subject{Repository: repository}) {
		t.Error("level skip does not skip")
	}
	if _, ok := v.Absent(ratify.Subject{Repository: repository}); ok {
		t.Error("level skip judges absence")
	}
	result, err := v.Verify(t.Context(), image, image, holding())
	expect(t, verdict{result, err}, ratify.Verified)
	strict := settings{ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}}.verifier(t)
	if strict.Skip(ratify.Subject{Repository: repository}) {
		t.Error("level strict skips")
	}
}

func TestAbsent(t *testing.T) {
	type overrides = map[trustpolicy.ValidationType]trustpolicy.ValidationAction
	trusted := []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}
	for _, c := range []struct {
		name     string
		settings settings
		passes   bool
	}{
		{"strict", settings{}, false},
		{"permissive", settings{level: "permissive"}, false},
		{"audit", settings{level: "audit"}, true},
		{"audit, revocation skipped", settings{level: "audit", override: overrides{"revocation": "skip"}}, true},
		{"audit, authenticity enforced", settings{level: "audit", override: overrides{"authenticity": "enforce"}}, false},
		{"audit, expiry enforced", settings{level: "audit", override: overrides{"expiry": "enforce"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.settings.ca = trusted
			result, ok := c.settings.verifier(t).Absent(ratify.Subject{Repository: repository})
			if ok != c.passes || result.Passed != c.passes {
				t.Errorf("passed %t, judged %t, want %t", result.Passed, ok, c.passes)
			}
			if ok && !strings.Contains(result.Message, "not signed") {
				t.Errorf("message %q", result.Message)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	v := &notation.Verifier{}
	for _, c := range []struct {
		name                    string
		mediaType, artifactType string
		want                    bool
	}{
		{"signature", ocispec.MediaTypeImageManifest, notationtest.ArtifactType, true},
		{"unsaid", ocispec.MediaTypeImageManifest, "", true},
		{"other artifact", ocispec.MediaTypeImageManifest, "application/spdx+json", false},
		{"index", ocispec.MediaTypeImageIndex, "", false},
	} {
		if got := v.Match(ocispec.Descriptor{MediaType: c.mediaType, ArtifactType: c.artifactType}); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
