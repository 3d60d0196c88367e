package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// TestClaimsOfWhatIsMalformed: what a stranger attached is shown as far as it can be read, and breaks nothing.
func TestClaimsOfWhatIsMalformed(t *testing.T) {
	const mediaType = bundleTypePrefix + ".v0.3+json"
	for name, c := range map[string]struct {
		bundle string
		size   int64 // as the manifest has it; 0: the true one
		want   claims
	}{
		"no JSON":            {"]", 0, claims{PredicateType: "claimed"}},
		"nothing":            {"{}", 0, claims{PredicateType: "claimed"}},
		"of other types":     {`{"verificationMaterial": 1}`, 0, claims{PredicateType: "claimed"}},
		"a key":              {`{"verificationMaterial": {"publicKey": {"hint": "h"}}}`, 0, claims{PredicateType: "claimed", KeyHint: "h"}},
		"no certificate":     {`{"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}}`, 0, claims{PredicateType: "claimed"}},
		"many certificates":  {`{"verificationMaterial": {"x509CertificateChain": {"certificates": [{}, {}, {}]}}}`, 0, claims{PredicateType: "claimed"}},
		"a predicate inside": {`{"dsseEnvelope": {"payload": "eyJwcmVkaWNhdGVUeXBlIjoicCJ9"}}`, 0, claims{PredicateType: "p"}},
		"too large":          {`{"verificationMaterial": {"publicKey": {"hint": "h"}}}`, ratify.MaxEnvelopeBytes + 1, claims{PredicateType: "claimed"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			layer := digest.FromString(c.bundle)
			m.blobs[string(layer)] = []byte(c.bundle)
			if c.size == 0 {
				c.size = int64(len(c.bundle))
			}
			manifest := m.manifest(t, ocispec.MediaTypeImageManifest, map[string]any{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": mediaType, "config": ocispec.DescriptorEmptyJSON,
				"layers":  []ocispec.Descriptor{{MediaType: mediaType, Digest: layer, Size: c.size}},
				"subject": testImage, "annotations": map[string]string{predicateAnnotation: "claimed"},
			})
			manifest.ArtifactType = mediaType
			m.lists[string(testImage.Digest)] = []ocispec.Descriptor{manifest}
			result, incomplete := inspectMemory(t, m)
			if incomplete != nil || len(result.Attached) != 1 || result.Attached[0].Unverified == nil {
				t.Fatalf("%+v (%v)", result.Attached, incomplete)
			}
			if got := *result.Attached[0].Unverified; got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestClaimsAreBounded(t *testing.T) {
	m := newMemory(testImage)
	var many []ocispec.Descriptor
	for i := range maxInspected + 5 {
		d := describeBytes(fmt.Append(nil, i))
		d.ArtifactType = bundleTypePrefix
		many = append(many, d)
	}
	m.lists[string(testImage.Digest)] = many
	reads := 0
	fetch := m.fetch
	m.fetch = func(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
		reads++
		return fetch(ctx, d)
	}
	result, _ := inspectMemory(t, m)
	if len(result.Attached) != len(many) || reads > maxInspected {
		t.Errorf("%d artifacts, %d reads", len(result.Attached), reads)
	}
	var out strings.Builder
	n := &node{}
	(&claims{KeyHint: "\x1b[2J"}).grow(n)
	n.printChildren(&out, "")
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("printed %q", out.String())
	}
}
