package sbom_test

import (
	"fmt"
	"testing"

	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// BenchmarkVerifyAttested is one attested bill of materials, whose manifest and bundle are at hand: one that was never
// seen, and one that was.
func BenchmarkVerifyAttested(b *testing.B) {
	s := newSigner(b)
	cfg := s.cfg
	cfg.Licenses = sbom.Licenses{Disallowed: []string{"AGPL-3.0-only"}, Unknown: "allow"}
	v := newVerifier(b, cfg)
	for _, n := range []int{100, 10_000} {
		bill := sbomtest.SPDX(about, realistic(n)...)
		b.Run(fmt.Sprintf("%d packages/first", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				desc, repo := s.attest(b, image, predicateSPDX, bill)
				b.StartTimer()
				if result, err := v.Verify(b.Context(), image, desc, repo); err != nil || !result.Passed {
					b.Fatal(result, err)
				}
			}
		})
		b.Run(fmt.Sprintf("%d packages/again", n), func(b *testing.B) {
			desc, repo := s.attest(b, image, predicateSPDX, bill)
			b.ReportAllocs()
			for b.Loop() {
				if result, err := v.Verify(b.Context(), image, desc, repo); err != nil || !result.Passed {
					b.Fatal(result, err)
				}
			}
		})
	}
}
