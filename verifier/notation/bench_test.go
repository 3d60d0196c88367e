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
}

// benchCases are the hierarchies of the figures in the manual: the issuer's key decides what a chain costs.
var benchCases = []benchCase{
	{"RSA-2048 by RSA-3072", notationtest.RSA2048, notationtest.RSA3072, 0},
	{"RSA-2048 by RSA-3072, chain of three", notationtest.RSA2048, notationtest.RSA3072, 1},
	{"P-256 by P-256", notationtest.P256, notationtest.P256, 0},
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
				authority := newAuthority(b, notationtest.AuthorityOptions{Key: c.issuer, Intermediates: c.intermediates})
				envelope := sign(b, issue(b, authority, notationtest.LeafOptions{Key: c.leaf}), notationtest.SignOptions{MediaType: mediaType})
				root := []*x509.Certificate{authority.Root()}
				s := settings{ca: root}
				document := s.config(b).TrustPolicy
				store := certStore(func(context.Context, truststore.Type, string) ([]*x509.Certificate, error) { return root, nil })
				v := must[notationgo.Verifier](b)(verifier.New(&trustpolicy.Document{Version: document.Version, TrustPolicies: document.TrustPolicies}, store, nil))
				options := notationgo.VerifierVerifyOptions{ArtifactReference: repository + "@" + image.Digest.String(), SignatureMediaType: mediaType}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(b.Context(), image, envelope, options); err != nil {
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
	authority := newAuthority(b, notationtest.AuthorityOptions{Key: c.issuer, Intermediates: c.intermediates})
	signer := issue(b, authority, notationtest.LeafOptions{Key: c.leaf})
	var seen notation.Work
	s := settings{ca: []*x509.Certificate{authority.Root()}, observe: func(w notation.Work) { seen = w }}
	artifacts := make([]*notationtest.Artifact, 2)
	for i := range artifacts {
		artifacts[i] = must[*notationtest.Artifact](b)(notationtest.Attach(image, sign(b, signer, notationtest.SignOptions{MediaType: mediaType}), mediaType))
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
