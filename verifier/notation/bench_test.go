package notation_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	notationgo "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

type benchCase struct {
	name          string
	leaf, issuer  notationtest.KeyType
	intermediates int
	stamped       bool
}

// benchCases are the hierarchies of the figures in the manual: the issuer's key decides what a chain costs.
var benchCases = []benchCase{
	{"RSA-2048 by RSA-3072", notationtest.RSA2048, notationtest.RSA3072, 0, false},
	{"RSA-2048 by RSA-3072, chain of three", notationtest.RSA2048, notationtest.RSA3072, 1, false},
	{"RSA-2048 by RSA-3072, timestamp", notationtest.RSA2048, notationtest.RSA3072, 0, true},
	{"P-256 by P-256", notationtest.P256, notationtest.P256, 0, false},
}

// make makes a few signatures by one signer, and the settings that trust him.
func (c benchCase) make(b *testing.B, mediaType string, count int) (s settings, envelopes [][]byte) {
	b.Helper()
	authority := newAuthority(b, notationtest.AuthorityOptions{Key: c.issuer, Intermediates: c.intermediates})
	s.ca = []*x509.Certificate{authority.Root()}
	options := notationtest.SignOptions{MediaType: mediaType}
	if c.stamped {
		options.Timestamp = newTSA(b, notationtest.TimestampOptions{})
		s.tsa = []*x509.Certificate{options.Timestamp.Authority.Root()}
	}
	signer := issue(b, authority, notationtest.LeafOptions{Key: c.leaf})
	for range count {
		envelopes = append(envelopes, sign(b, signer, options))
	}
	return s, envelopes
}

func benchName(name, mediaType string) string {
	return strings.ReplaceAll(name, " ", "_") + "/" + strings.TrimPrefix(mediaType, "application/")
}

// certStore is a trust store of certificates at hand.
type certStore func(ctx context.Context, storeType truststore.Type, name string) ([]*x509.Certificate, error)

func (s certStore) GetCertificates(ctx context.Context, storeType truststore.Type, name string) ([]*x509.Certificate, error) {
	return s(ctx, storeType, name)
}

// BenchmarkLibrary is notation-go alone, as its command uses it: what BenchmarkVerify is compared with.
func BenchmarkLibrary(b *testing.B) {
	for _, c := range benchCases {
		for _, mediaType := range formats {
			b.Run(benchName(c.name, mediaType), func(b *testing.B) {
				s, envelopes := c.make(b, mediaType, 1)
				document := s.config(b).TrustPolicy
				store := certStore(func(_ context.Context, kind truststore.Type, _ string) ([]*x509.Certificate, error) {
					if kind == truststore.TypeTSA {
						return s.tsa, nil
					}
					return s.ca, nil
				})
				v := must[notationgo.Verifier](b)(verifier.New(&trustpolicy.Document{Version: document.Version, TrustPolicies: document.TrustPolicies}, store, nil))
				options := notationgo.VerifierVerifyOptions{ArtifactReference: repository + "@" + image.Digest.String(), SignatureMediaType: mediaType}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(b.Context(), image, envelopes[0], options); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkVerify is one signature whose manifest and envelope are at hand and whose revocation answers are kept: of a
// signer who was never seen, of one who was, and one that was seen itself.
func BenchmarkVerify(b *testing.B) {
	for _, c := range benchCases {
		for _, mediaType := range formats {
			for _, work := range []notation.Work{notation.VerifiedAll, notation.VerifiedSignature, notation.VerifiedNothing} {
				b.Run(fmt.Sprintf("%s/%d", benchName(c.name, mediaType), work), func(b *testing.B) { benchmarkVerify(b, c, mediaType, work) })
			}
		}
	}
}

func benchmarkVerify(b *testing.B, c benchCase, mediaType string, work notation.Work) {
	s, envelopes := c.make(b, mediaType, 2)
	var seen notation.Work
	s.observe = func(w notation.Work) { seen = w }
	artifacts := make([]*notationtest.Artifact, len(envelopes))
	for i := range artifacts {
		artifacts[i] = must[*notationtest.Artifact](b)(notationtest.Attach(image, envelopes[i], mediaType))
	}
	switch work {
	case notation.VerifiedAll:
		s.forgetful = true
	case notation.VerifiedSignature: // room for one, and two take turns
		s.outcomes = notation.NewOutcomes(notation.OutcomesOptions{MaxEntries: 1})
	case notation.VerifiedNothing:
		s.outcomes = notation.NewOutcomes(notation.OutcomesOptions{})
	}
	v, repo := s.verifier(b), holding(artifacts...)
	verifyNext := func(i int) {
		if result, err := v.Verify(b.Context(), image, artifacts[i%2].ManifestDescriptor, repo); err != nil || !result.Passed {
			b.Fatal(result, err)
		}
	}
	verifyNext(0)
	verifyNext(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		verifyNext(i)
		if seen != work {
			b.Fatalf("work %d, want %d", seen, work)
		}
	}
}
