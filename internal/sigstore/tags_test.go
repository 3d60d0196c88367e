package sigstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// failing is a repository that resolves nothing.
type failing struct {
	*cosigntest.Repository
	err error
}

func (f failing) Resolve(context.Context, string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, f.err
}

// TestFaultsOfATagAreNotTheImages: what is wrong with the manifest under cosign's tag is said of the evidence. Whoever reads
// it must not push the image again.
func TestFaultsOfATagAreNotTheImages(t *testing.T) {
	v := newProcess().verifier(t, byKey(t, newKey(t, cosigntest.P256)))
	away := errors.New("away")
	for _, tc := range []struct {
		name string
		err  error
		want ratify.Code
		says string
	}{
		{"no such tag", &ratify.Error{Code: ratify.SubjectNotFound}, "", ""},
		{"two readings", &ratify.Error{Code: ratify.SubjectInvalid, Message: "the manifest is malformed: it has layers and manifests"}, ratify.EvidenceInvalid, "under cosign's tag, the manifest is malformed: it has layers and manifests"},
		{"too large", &ratify.Error{Code: ratify.LimitExceeded, Message: "the image's manifest is larger than 4194304 bytes"}, ratify.LimitExceeded, "the manifest under cosign's tag"},
		{"a registry that is away", &ratify.Error{Code: ratify.RegistryUnavailable, Err: away}, ratify.RegistryUnavailable, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			found, err := v.FindSignatures(t.Context(), image, failing{newRepository(), tc.err})
			if tc.want == "" {
				if err != nil || len(found) > 0 {
					t.Errorf("found %v, %v", found, err)
				}
				return
			}
			var problem *ratify.Error
			if !errors.As(err, &problem) || problem.Code != tc.want || !strings.Contains(problem.UserMessage(), tc.says) {
				t.Errorf("got %v, want %s: %q", err, tc.want, tc.says)
			}
		})
	}
}
