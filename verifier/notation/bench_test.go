package notation_test

import (
	"crypto/x509"
	"testing"

	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// BenchmarkVerify is one signature whose manifest and envelope are at hand and whose revocation answers are kept.
func BenchmarkVerify(b *testing.B) {
	for _, key := range []notationtest.KeyType{notationtest.P256, notationtest.RSA2048} {
		for _, mediaType := range formats {
			b.Run(string(key)+" "+mediaType, func(b *testing.B) {
				authority := newAuthority(b, notationtest.AuthorityOptions{Key: key})
				signer := issue(b, authority, notationtest.LeafOptions{Key: key})
				envelope := sign(b, signer, notationtest.SignOptions{MediaType: mediaType})
				artifact := must[*notationtest.Artifact](b)(notationtest.Attach(image, envelope, mediaType))
				v, repo := settings{ca: []*x509.Certificate{authority.Root()}}.verifier(b), holding(artifact)
				b.ReportAllocs()
				for b.Loop() {
					if result, err := v.Verify(b.Context(), image, artifact.ManifestDescriptor, repo); err != nil || !result.Passed {
						b.Fatal(result, err)
					}
				}
			})
		}
	}
}
