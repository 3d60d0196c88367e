package content

import (
	"errors"
	"strings"
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

func TestCheck(t *testing.T) {
	const manifest = ocispec.MediaTypeImageManifest
	for _, tc := range []struct {
		name       string
		mediaType  string
		said, size int64
		data       string
		want       string // part of the message
	}{
		{"a blob as described", "text/plain", 2, 2, "ab", ""},
		{"a longer blob", "text/plain", 2, 3, "", "has 2 bytes, and it has 3"},
		{"a shorter blob", "text/plain", 3, 2, "ab", "has 3 bytes, and it has 2"},
		{"a blob of no bytes", "text/plain", 3, 0, "", "has 3 bytes, and it has 0"},
		{"a blob that is a manifest", "text/plain", 21, 21, `{"mediaType":"other"}`, ""},
		{"a manifest as described", manifest, 2, 2, `{}`, ""},
		{"a manifest of another media type", manifest, 21, 21, `{"mediaType":"other"}`, "of the media type \"" + manifest + "\", and it is not"},
		{"a manifest that is none", manifest, 1, 1, `x`, "and it is not"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Check(ocispec.Descriptor{MediaType: tc.mediaType, Digest: digestA, Size: tc.said}, []byte(tc.data), tc.size)
			if tc.want == "" {
				if err != nil {
					t.Errorf("error %v, want none", err)
				}
				return
			}
			if e := ratify.AsError(err); e == nil || e.Code != ratify.EvidenceInvalid || !strings.Contains(e.Message, tc.want) {
				t.Errorf("error %v, want %s with %q", err, ratify.EvidenceInvalid, tc.want)
			}
		})
	}
}

func TestTooLarge(t *testing.T) {
	for mediaType, bound := range map[string]string{"text/plain": "16777216", ocispec.MediaTypeImageManifest: "4194304"} {
		e := ratify.AsError(TooLarge(ocispec.Descriptor{MediaType: mediaType, Digest: digestA, Size: 10}))
		if e.Code != ratify.LimitExceeded || !strings.Contains(e.Message, "has 10 bytes, and it has more than the bound of "+bound) {
			t.Errorf("%s: %v, want the bound %s", mediaType, e, bound)
		}
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
