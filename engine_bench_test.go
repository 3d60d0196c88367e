package ratify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// BenchmarkEngineVerify is one pass of the engine over a store and verifiers that cost nothing.
func BenchmarkEngineVerify(b *testing.B) {
	digested := repositoryName + "@" + subjectDescriptor.Digest.String()
	passing := func() ratify.Verifier { return &fakeVerifier{kind: "sig", verify: look(pass, nil)} }
	finding := fakeFinder{&fakeVerifier{kind: "found", verify: look(pass, nil)}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
		return pieces("found", 1), nil
	}}
	for _, tc := range []struct {
		name, key string
		w         *world
	}{
		{"digest, a signature", digested, newWorld(pieces("sig", 1), passing())},
		{"tag, a signature", taggedKey, newWorld(pieces("sig", 1), passing())},
		{"digest, a signature that is found", digested, newWorld(nil, finding)},
		{"digest, 3 verifiers", digested, newWorld(pieces("sig", 1), passing(), passing(), passing())},
		{"digest, 20 bad signatures", digested, newWorld(pieces("sig", 20), &fakeVerifier{kind: "sig", verify: look(refuse, nil)})},
		{"digest, nothing attached", digested, newWorld(nil, passing())},
	} {
		b.Run(tc.name, func(b *testing.B) {
			tc.w.now = time.Now
			e, s := tc.w.engine(b), mustParse(b, tc.key)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Verify(b.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPolicies is one pass under many policies, of which the last is the one.
func BenchmarkPolicies(b *testing.B) {
	for _, form := range []struct {
		name, scope, key string
	}{
		{"repositories", "registry.example/team-%d/app", "registry.example/team-%d/app"},
		{"paths", "registry.example/team-%d/*", "registry.example/team-%d/app"},
		{"hosts", "host-%d.example/*", "host-%d.example/app"},
		{"domains", "*.domain-%d.example/*", "host.domain-%d.example/app"},
	} {
		for _, n := range []int{1, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s %d", form.name, n), func(b *testing.B) {
				verifier := ratify.NamedVerifier{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}
				setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{verifier}, Now: time.Now}
				for i := range n {
					setup.Policies = append(setup.Policies, ratify.Policy{
						Name: fmt.Sprint(i), Scopes: []string{fmt.Sprintf(form.scope, i)}, Verifiers: []string{"v"},
					})
				}
				w := newWorld(pieces("sig", 1))
				e, s := newEngine(b, setup, w.repo), mustParse(b, fmt.Sprintf(form.key, n-1)+"@"+subjectDescriptor.Digest.String())
				b.ReportAllocs()
				for b.Loop() {
					if r, err := e.Verify(b.Context(), s); err != nil || !r.IsSuccess {
						b.Fatal(r.Message, err)
					}
				}
			})
		}
	}
}

// signatureManifest is one as tools write it.
func signatureManifest(b *testing.B) []byte {
	b.Helper()
	data, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.notary.signature",
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{{MediaType: "application/jose+json", Digest: digest.FromString("envelope"), Size: 2000}},
		Subject: &subjectDescriptor,
		Annotations: map[string]string{
			"io.cncf.notary.x509chain.thumbprint#S256": `["b13a843be16b1f461f08d61c14f3eab7d87c073570da077217541a7eb31c084d"]`,
			ocispec.AnnotationCreated:                  "2026-03-04T05:06:07Z",
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// imageManifest is that of an image of many layers.
func imageManifest(b *testing.B, layers int) []byte {
	b.Helper()
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString("config"), Size: 5000}}
	for i := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(fmt.Sprint(i)), Size: 1 << 20})
	}
	data, err := json.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// BenchmarkReadEvidence is the manifest of a signature that is at hand.
func BenchmarkReadEvidence(b *testing.B) {
	data := signatureManifest(b)
	evidence := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.notary.signature", Digest: digest.FromBytes(data), Size: int64(len(data))}
	repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return data, nil }}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ratify.ReadEvidence(b.Context(), repo, subjectDescriptor, evidence, 1, evidence.ArtifactType); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDescribeManifest is an image's manifest that was read.
func BenchmarkDescribeManifest(b *testing.B) {
	for _, layers := range []int{5, 100} {
		b.Run(fmt.Sprintf("%d layers", layers), func(b *testing.B) {
			data := imageManifest(b, layers)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ratify.DescribeManifest(data, "", ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
