package notation_test

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

func TestWarnings(t *testing.T) {
	ca := []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}
	for name, c := range map[string]struct {
		settings settings
		want     []string
	}{
		"strict": {settings{ca: ca}, nil},
		"permissive": {settings{ca: ca, level: "permissive"},
			[]string{`trust policy statement "default" (level permissive): not enforced: authenticTimestamp, expiry, revocation`}},
		"audit": {settings{ca: ca, level: "audit"},
			[]string{`trust policy statement "default" (level audit): unsigned images are admitted; not enforced: authenticity, authenticTimestamp, expiry, revocation`}},
		"skip": {settings{level: "skip"},
			[]string{`trust policy statement "default" (level skip): every image is admitted, signed or not`}},
		"an override": {settings{ca: ca, override: map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip}},
			[]string{`trust policy statement "default" (level strict): not enforced: revocation`}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.settings.verifier(t).Warnings(); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestTrustEnds: the first certificate to end is told, of whichever store.
func TestTrustEnds(t *testing.T) {
	early, late := newAuthority(t, notationtest.AuthorityOptions{}).Root(), newAuthority(t, notationtest.AuthorityOptions{}).Root()
	if got := (settings{ca: []*x509.Certificate{late, early}}).verifier(t).TrustEnds(); !got.Equal(slices.MinFunc([]time.Time{early.NotAfter, late.NotAfter}, time.Time.Compare)) {
		t.Errorf("%v", got)
	}
	if got := (settings{level: "skip"}).verifier(t).TrustEnds(); !got.IsZero() {
		t.Errorf("of no store: %v", got)
	}
}

// TestAudited: what passes although something is wrong has a code of its own, so that it can be counted.
func TestAudited(t *testing.T) {
	a := newAuthority(t, notationtest.AuthorityOptions{})
	other := []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}
	artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, sign(t, issue(t, a, notationtest.LeafOptions{}), notationtest.SignOptions{}), notationtest.JWS))
	for name, c := range map[string]struct {
		settings settings
		want     ratify.Code
	}{
		"good":              {settings{ca: []*x509.Certificate{a.Root()}, level: "audit"}, ""},
		"by somebody":       {settings{ca: other, level: "audit"}, ratify.Audited},
		"by nobody, strict": {settings{ca: other}, ratify.UntrustedSigner},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := c.settings.verifier(t).Verify(t.Context(), image, artifact.ManifestDescriptor, holding(artifact))
			if err != nil || result.Code != c.want || result.Passed != (c.want != ratify.UntrustedSigner) {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
	result, ok := settings{ca: other, level: "audit"}.verifier(t).Absent(ratify.Subject{Repository: repository})
	if !ok || !result.Passed || result.Code != ratify.Audited {
		t.Errorf("unsigned: %+v, %t", result, ok)
	}
}
