package attestation_test

import (
	"testing"

	"github.com/ratify-provider/ratify/verifier/attestation"
)

// BenchmarkVerify is one attestation of provenance by a key, whose manifest and bundle are at hand: one that was never seen,
// and one that was.
func BenchmarkVerify(b *testing.B) {
	r := newRegistry(b)
	cfg := r.config(slsaV1)
	cfg.Provenance = &attestation.Provenance{Sources: []string{"https://github.com/acme/app"}}
	v := newVerifier(b, cfg)
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			evidence := r.attest(slsaV1, buildV1())
			b.StartTimer()
			if result, err := v.Verify(b.Context(), r.image, evidence, r); err != nil || !result.Passed {
				b.Fatal(result, err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		evidence := r.attest(slsaV1, buildV1())
		b.ReportAllocs()
		for b.Loop() {
			if result, err := v.Verify(b.Context(), r.image, evidence, r); err != nil || !result.Passed {
				b.Fatal(result, err)
			}
		}
	})
}
