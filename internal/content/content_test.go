package content

import (
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

func TestCheckDescriptor(t *testing.T) {
	const blob, manifest = "text/plain", ocispec.MediaTypeImageManifest
	for _, tc := range []struct {
		name      string
		mediaType string
		digest    digest.Digest
		size      int64
		want      ratify.Code
	}{
		{"empty", blob, digestA, 0, ""},
		{"document at the bound", blob, digestA, ratify.MaxDocumentBytes, ""},
		{"document above the bound", blob, digestA, ratify.MaxDocumentBytes + 1, ratify.LimitExceeded},
		{"manifest at the bound", manifest, digestA, ratify.MaxManifestBytes, ""},
		{"manifest above the bound", manifest, digestA, ratify.MaxManifestBytes + 1, ratify.LimitExceeded},
		{"2^62", blob, digestA, 1 << 62, ratify.LimitExceeded},
		{"negative", blob, digestA, -1, ratify.EvidenceInvalid},
		{"no digest", blob, "", 1, ratify.EvidenceInvalid},
		{"unknown algorithm", blob, "md5:d41d8cd98f00b204e9800998ecf8427e", 1, ratify.EvidenceInvalid},
		{"path", blob, "sha256:../../x", 1, ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckDescriptor(ocispec.Descriptor{MediaType: tc.mediaType, Digest: tc.digest, Size: tc.size})
			var e *ratify.Error
			if errors.As(err, &e) != (tc.want != "") || e != nil && e.Code != tc.want {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCheckSubject(t *testing.T) {
	if err := CheckSubject(ocispec.Descriptor{Digest: digestA}); err != nil {
		t.Error(err)
	}
	if e := ratify.AsError(CheckSubject(ocispec.Descriptor{Digest: "x"})); e == nil || e.Code != ratify.BadReference {
		t.Errorf("error %v, want %s", e, ratify.BadReference)
	}
}

func TestHasMediaType(t *testing.T) {
	for text, want := range map[string]bool{`{"mediaType":"m"}`: true, `{}`: true, `{"mediaType":"n"}`: false, `{"mediaType":1}`: false, `x`: false, ``: false} {
		if got := HasMediaType([]byte(text), "m"); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestReferrersTag(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		digestA:                      "sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		digest.SHA512.FromString(""): "sha512-cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce",
	} {
		if got := ReferrersTag(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
