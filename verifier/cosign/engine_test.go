package cosign_test

import (
	"context"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// attached is a repository with the image under v1, and referrers.
type attached struct {
	*cosigntest.Repository
	referrers []ocispec.Descriptor
}

func (a attached) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return a.referrers, nil
}

func (a attached) Open(context.Context, ratify.Subject) (subject, evidence ratify.Repository, err error) {
	return a, a, nil
}

// TestStrangersDecideNothing: what they attach neither admits an image nor denies it, wherever it is and whichever way
// the pieces decide.
func TestStrangersDecideNothing(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	statement := func(k *cosigntest.Key, of ocispec.Descriptor) *cosigntest.Artifact {
		return cosigntest.AttachBundle(image, signWith(t, k, nil, of.Digest).Bundle())
	}
	junk := []*cosigntest.Artifact{
		cosigntest.AttachBundle(image, []byte("junk")),
		statement(newKey(t, cosigntest.P256), image),
		statement(key, other),
		cosigntest.AttachBundle(image, must[*cosigntest.Signed](t)(key.Sign(cosigntest.Statement(image.Digest, "https://spdx.dev/Document", nil))).Bundle()),
		cosigntest.Collect(image.Digest,
			signWith(t, newKey(t, cosigntest.P256), storages[0].message, image.Digest).Layer(),
			signWith(t, key, storages[0].message, other.Digest).Layer()),
	}
	for _, pieces := range []ratify.Pieces{"", ratify.PiecesAny, ratify.PiecesAll} {
		for name, tc := range map[string]struct {
			artifacts []*cosigntest.Artifact
			want      bool
		}{
			"alone":                   {junk, false},
			"before a good one":       {append(append([]*cosigntest.Artifact{}, junk...), statement(key, image)), true},
			"behind a good one":       {append([]*cosigntest.Artifact{statement(key, image)}, junk...), true},
			"an attestation and none": {junk[3:4], false},
		} {
			t.Run(string(pieces)+"/"+name, func(t *testing.T) {
				repo := attached{Repository: holding(tc.artifacts...)}
				repo.Tags["v1"] = image
				for _, a := range tc.artifacts {
					if a.Tag == "" {
						repo.referrers = append(repo.referrers, a.Descriptor)
					}
				}
				engine := must[*ratify.Engine](t)(ratify.NewEngine(ratify.Setup{
					Stores:    []ratify.NamedStore{{Name: "memory", Scopes: []string{"*"}, Store: repo}},
					Verifiers: []ratify.NamedVerifier{{Name: "cosign", Type: "cosign", Verifier: newVerifier(t, trusting(t, key)), Evidence: pieces}},
					Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"cosign"}}},
				}))
				report, err := engine.Verify(t.Context(), must[ratify.Subject](t)(ratify.ParseKey("registry.example/app:v1")))
				if err != nil {
					t.Fatal(err)
				}
				if report.IsSuccess != tc.want {
					t.Errorf("%s: %s", report.Code, report.Message)
					for _, r := range report.VerifierReports {
						t.Logf("%s: %s", r.Code, r.Message)
					}
				}
			})
		}
	}
}
