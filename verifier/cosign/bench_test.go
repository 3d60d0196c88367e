package cosign_test

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// BenchmarkVerify is one signature whose manifest and blob are at hand: one that was never seen, and one that was.
func BenchmarkVerify(b *testing.B) {
	key, instance := newKey(b, cosigntest.P256), newSigstore(b, "ours")
	for _, signer := range []struct {
		name string
		cfg  cosign.Config
		sign func(b *testing.B, storage int) *cosigntest.Signed
	}{
		{"key", trusting(b, key), func(b *testing.B, storage int) *cosigntest.Signed {
			return signWith(b, key, storages[storage].message, image.Digest)
		}},
		{"identity", trustingIdentity(b, instance), func(b *testing.B, storage int) *cosigntest.Signed {
			return signAs(b, instance, storages[storage].message, image.Digest, cosigntest.Options{})
		}},
	} {
		for i, s := range storages {
			v := newVerifier(b, signer.cfg)
			one := func(b *testing.B, evidence ocispec.Descriptor, repo ratify.Repository) {
				if result, err := v.Verify(b.Context(), image, evidence, repo); err != nil || !result.Passed {
					b.Fatal(result, err)
				}
			}
			attach := func(b *testing.B) (ocispec.Descriptor, ratify.Repository) {
				artifact := s.store(signer.sign(b, i))
				repo := holding(artifact)
				if artifact.Tag == "" {
					return artifact.Descriptor, repo
				}
				return must[[]ocispec.Descriptor](b)(v.Find(b.Context(), image, repo))[0], repo
			}
			b.Run(signer.name+"/"+s.name+"/first", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					evidence, repo := attach(b)
					b.StartTimer()
					one(b, evidence, repo)
				}
			})
			b.Run(signer.name+"/"+s.name+"/again", func(b *testing.B) {
				evidence, repo := attach(b)
				one(b, evidence, repo)
				b.ReportAllocs()
				for b.Loop() {
					one(b, evidence, repo)
				}
			})
		}
	}
}
