package notation

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/crypto/ocsp"

	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// opened signs an image and reads the signature both ways.
func opened(t *testing.T, authority notationtest.AuthorityOptions, options notationtest.SignOptions) (*envelope, *signature.EnvelopeContent) {
	t.Helper()
	issuer, err := notationtest.NewAuthority(authority)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := issuer.Issue(notationtest.LeafOptions{})
	if err != nil {
		t.Fatal(err)
	}
	options.MediaType = notationtest.COSE
	data, err := signer.Sign(t.Context(), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:0", Size: 1}, options)
	if err != nil {
		t.Fatal(err)
	}
	env, err := openEnvelope(data, notationtest.COSE)
	if err != nil {
		t.Fatal(err)
	}
	content, ok := readContent(data, notationtest.COSE, signature.Envelope.Verify)
	if !ok {
		t.Fatal("the signature does not verify")
	}
	return env, content
}

// TestFit takes from a good content each thing that the library makes sure of, or that ties it to what was opened.
func TestFit(t *testing.T) {
	env, content := opened(t, notationtest.AuthorityOptions{Intermediates: 1}, notationtest.SignOptions{Expiry: time.Hour})
	for _, c := range []struct {
		name   string
		change func(*signature.EnvelopeContent)
		want   bool
	}{
		{"nothing", func(*signature.EnvelopeContent) {}, true},
		{"payload", func(c *signature.EnvelopeContent) { c.Payload.Content = nil }, false},
		{"content type", func(c *signature.EnvelopeContent) { c.Payload.ContentType = "text/plain" }, false},
		{"signature", func(c *signature.EnvelopeContent) { c.SignerInfo.Signature = nil }, false},
		{"algorithm", func(c *signature.EnvelopeContent) { c.SignerInfo.SignatureAlgorithm = 0 }, false},
		{"algorithm of another key", func(c *signature.EnvelopeContent) { c.SignerInfo.SignatureAlgorithm = signature.AlgorithmES384 }, false},
		{"scheme", func(c *signature.EnvelopeContent) {
			c.SignerInfo.SignedAttributes.SigningScheme = signature.SigningSchemeX509SigningAuthority
		}, false},
		{"signing time", func(c *signature.EnvelopeContent) { c.SignerInfo.SignedAttributes.SigningTime = time.Time{} }, false},
		{"expiry", func(c *signature.EnvelopeContent) { c.SignerInfo.SignedAttributes.Expiry = time.Time{} }, true},
		{"expiry after signing", func(c *signature.EnvelopeContent) {
			c.SignerInfo.SignedAttributes.Expiry = c.SignerInfo.SignedAttributes.SigningTime
		}, false},
		{"timestamp", func(c *signature.EnvelopeContent) { c.SignerInfo.UnsignedAttributes.TimestampSignature = []byte("x") }, false},
		{"no chain", func(c *signature.EnvelopeContent) { c.SignerInfo.CertificateChain = nil }, false},
		{"shorter chain", func(c *signature.EnvelopeContent) {
			c.SignerInfo.CertificateChain = c.SignerInfo.CertificateChain[:2]
		}, false},
		{"order of the chain", func(c *signature.EnvelopeContent) {
			c.SignerInfo.CertificateChain = slices.Clone(c.SignerInfo.CertificateChain)
			slices.Reverse(c.SignerInfo.CertificateChain[1:])
		}, false},
	} {
		changed := *content
		c.change(&changed)
		if got := fit(&changed, env); got != c.want {
			t.Errorf("%s: fit %t, want %t", c.name, got, c.want)
		}
	}
}

// TestLasts moves the clock past what ends.
func TestLasts(t *testing.T) {
	plain := notationtest.SignOptions{Expiry: time.Hour}
	trusted := notationtest.SignOptions{SigningAuthority: true}
	env, _ := opened(t, notationtest.AuthorityOptions{}, plain)
	leaf := env.chain[0]
	for _, c := range []struct {
		name    string
		options notationtest.SignOptions
		at      func(content *signature.EnvelopeContent) time.Time
		want    bool
	}{
		{"now", plain, func(*signature.EnvelopeContent) time.Time { return time.Now() }, true},
		{"expired", plain, func(c *signature.EnvelopeContent) time.Time { return c.SignerInfo.SignedAttributes.Expiry }, false},
		{"before the certificate", plain, func(*signature.EnvelopeContent) time.Time { return leaf.NotBefore.Add(-time.Minute) }, false},
		{"after the certificate", notationtest.SignOptions{}, func(*signature.EnvelopeContent) time.Time { return leaf.NotAfter.Add(time.Minute) }, false},
		{"after the certificate, by a trusted signing time", trusted, func(*signature.EnvelopeContent) time.Time { return leaf.NotAfter.Add(time.Minute) }, true},
		{"trusted signing time before the certificate", notationtest.SignOptions{SigningAuthority: true, SigningTime: leaf.NotBefore.Add(-24 * time.Hour)},
			func(*signature.EnvelopeContent) time.Time { return time.Now() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, content := opened(t, notationtest.AuthorityOptions{}, c.options)
			st := &statement{enforced: trustpolicy.LevelStrict.Enforcement, check: &validator{revocation: NewRevocation(RevocationOptions{})}}
			j := &judgement{st: st, env: env, call: &call{anchored: true}}
			if got := j.lasts(withCall(t.Context(), j.call), content, c.at(content)); got != c.want {
				t.Errorf("lasts %t, want %t", got, c.want)
			}
		})
	}
}

// TestLastsAsksForTheSigningTime has a responder that tells since when a revoked key is not to be trusted.
func TestLastsAsksForTheSigningTime(t *testing.T) {
	const address = "http://ocsp.example"
	since := time.Now().Add(-time.Minute).Truncate(time.Second)
	for _, c := range []struct {
		name    string
		options notationtest.SignOptions
		want    bool
	}{
		{"signed before", notationtest.SignOptions{SigningAuthority: true, SigningTime: since.Add(-time.Minute)}, true},
		{"signed after", notationtest.SignOptions{SigningAuthority: true}, false},
		{"said to be signed before", notationtest.SignOptions{SigningTime: since.Add(-time.Minute)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, content := opened(t, notationtest.AuthorityOptions{OCSPURL: address}, c.options)
			revocation := NewRevocation(RevocationOptions{})
			ends := time.Now().Add(time.Hour)
			revocation.kept.put(fmt.Sprintf("ocsp false %s %s %s", fingerprint(env.chain[0].Raw), fingerprint(env.chain[1].Raw), address),
				answer{single: &singleStatus{status: ocsp.Revoked, invalidity: since}, until: ends, refresh: ends})
			st := &statement{enforced: trustpolicy.LevelStrict.Enforcement, check: &validator{revocation: revocation}}
			j := &judgement{st: st, env: env, call: &call{anchored: true}}
			if got := j.lasts(withCall(t.Context(), j.call), content, time.Now()); got != c.want {
				t.Errorf("lasts %t, want %t", got, c.want)
			}
		})
	}
}

// TestSettleWithoutAnchor settles for nothing that the statement's trust stores do not hold, whatever is remembered.
func TestSettleWithoutAnchor(t *testing.T) {
	env, content := opened(t, notationtest.AuthorityOptions{}, notationtest.SignOptions{})
	enforced := trustpolicy.LevelStrict.Enforcement
	enforced = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip, trustpolicy.TypeIntegrity: enforced[trustpolicy.TypeIntegrity]}
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:0", Size: 1}
	for _, anchored := range []bool{true, false} {
		st := &statement{enforced: enforced, policy: trustpolicy.TrustPolicy{TrustStores: []string{"ca:certs"}}, stores: anchors{}}
		if anchored {
			st.stores["ca:certs"] = env.chain[1:]
		}
		j := &judgement{st: st, env: env, subject: subject}
		if _, ok := j.settle(t.Context(), content, time.Now()); ok != anchored {
			t.Errorf("anchored %t, settled %t", anchored, ok)
		}
	}
}

// TestPassed reads the clock on both sides of what is remembered.
func TestPassed(t *testing.T) {
	o := NewOutcomes(OutcomesOptions{})
	from := time.Now()
	until := from.Add(time.Hour)
	o.passes.Set("key", pass{from: from.Round(0), until: until}, time.Hour)
	for _, c := range []struct {
		name string
		key  string
		at   time.Time
		want bool
	}{
		{"at once", "key", from, true},
		{"just before the end", "key", until.Add(-1), true},
		{"at the end", "key", until, false},
		{"clock set back", "key", from.Add(-1), false},
		{"another", "other", from, false},
	} {
		if _, ok := o.passed(c.key, c.at); ok != c.want {
			t.Errorf("%s: %t, want %t", c.name, ok, c.want)
		}
	}
}

// TestStampChains keeps the chain of a timestamp, and finds it by what it consists of.
func TestStampChains(t *testing.T) {
	env, _ := opened(t, notationtest.AuthorityOptions{Intermediates: 1}, notationtest.SignOptions{})
	o, at := NewOutcomes(OutcomesOptions{}), time.Now()
	var p pass
	if o.keepStamp(&p, &stamp{at, env.chain}); o.stampOf(p) == nil || !o.stampOf(p).at.Equal(at) || !sameChain(o.stampOf(p).chain, env.chain) {
		t.Errorf("the timestamp is not what was kept: %v", o.stampOf(p))
	}
	if o.stampOf(pass{}) != nil {
		t.Error("a pass without a timestamp has one")
	}
	if !o.knowStampChain(env.chain) || o.knowStampChain(env.chain[1:]) || (*Outcomes)(nil).knowStampChain(env.chain) {
		t.Error("another chain is known than the one that was kept")
	}
}

// TestStampChainsStandAlone keeps a chain, and nothing of the token that its certificates were parsed from.
func TestStampChainsStandAlone(t *testing.T) {
	env, _ := opened(t, notationtest.AuthorityOptions{}, notationtest.SignOptions{})
	token := bytes.Clone(env.chain[0].Raw)
	parsed, err := x509.ParseCertificate(token)
	if err != nil {
		t.Fatal(err)
	}
	o, p := NewOutcomes(OutcomesOptions{}), pass{}
	o.keepStamp(&p, &stamp{time.Now(), []*x509.Certificate{parsed}})
	clear(token)
	if kept := o.stampOf(p); kept == nil || !sameChain(kept.chain, env.chain[:1]) {
		t.Errorf("what is kept changed with the token: %v", kept)
	}
}

// TestFormatOfAnotherLibrary hands over envelopes that are not built as the library's are today.
func TestFormatOfAnotherLibrary(t *testing.T) {
	type empty struct{ signature.Envelope }
	env, _ := opened(t, notationtest.AuthorityOptions{}, notationtest.SignOptions{})
	parsed, err := signature.ParseEnvelope(env.mediaType, env.data)
	if err != nil {
		t.Fatal(err)
	}
	if format, ok := formatOf(parsed); !ok || format == parsed {
		t.Error("the library's envelope has no part for its format: every signature is verified whole")
	}
	for name, strange := range map[string]signature.Envelope{
		"nothing":    nil,
		"no struct":  number(0),
		"no field":   &lacking{},
		"nil field":  &empty{},
		"other kind": &another{Envelope: 1},
	} {
		if _, ok := formatOf(strange); ok {
			t.Errorf("%s: a part was found", name)
		}
	}
}

type (
	number  int
	lacking struct{}
	another struct{ Envelope any }
)

func (number) Sign(*signature.SignRequest) ([]byte, error)   { return nil, nil }
func (number) Verify() (*signature.EnvelopeContent, error)   { return nil, nil }
func (number) Content() (*signature.EnvelopeContent, error)  { return nil, nil }
func (lacking) Sign(*signature.SignRequest) ([]byte, error)  { return nil, nil }
func (lacking) Verify() (*signature.EnvelopeContent, error)  { return nil, nil }
func (lacking) Content() (*signature.EnvelopeContent, error) { return nil, nil }
func (another) Sign(*signature.SignRequest) ([]byte, error)  { return nil, nil }
func (another) Verify() (*signature.EnvelopeContent, error)  { return nil, nil }
func (another) Content() (*signature.EnvelopeContent, error) { return nil, nil }
