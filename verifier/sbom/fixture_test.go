package sbom_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

var (
	image = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}
	now   = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
)

const (
	typeSPDX      = sbomtest.TypeSPDX
	typeCycloneDX = sbomtest.TypeCycloneDX
)

// repository is one whose content is at hand.
type repository struct {
	content map[digest.Digest][]byte
	resolve func(reference string) (ocispec.Descriptor, error)
}

func (*repository) Name() string { return "registry.example/acme/app" }

func (r *repository) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	if r.resolve != nil {
		return r.resolve(reference)
	}
	return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
}

func (*repository) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (r *repository) Fetch(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	data, ok := r.content[desc.Digest]
	if !ok {
		return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: "no such content"}
	}
	return data, nil
}

// attached makes an artifact of one layer that refers to the subject.
func attached(subject ocispec.Descriptor, artifactType string, document []byte) (ocispec.Descriptor, *repository, error) {
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config:  ocispec.DescriptorEmptyJSON,
		Layers:  []ocispec.Descriptor{{MediaType: artifactType, Digest: digest.FromBytes(document), Size: int64(len(document))}},
		Subject: &subject,
	})
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	return desc, &repository{content: map[digest.Digest][]byte{desc.Digest: manifest, digest.FromBytes(document): document}}, err
}

func attach(t testing.TB, subject ocispec.Descriptor, artifactType string, document []byte) (ocispec.Descriptor, *repository) {
	t.Helper()
	desc, repo, err := attached(subject, artifactType, document)
	if err != nil {
		t.Fatal(err)
	}
	return desc, repo
}

func newVerifier(t testing.TB, cfg sbom.Config) *sbom.Verifier {
	t.Helper()
	v, err := sbom.New(cfg, sbom.Deps{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// verify verifies a document that is attached to the image.
func verify(t testing.TB, cfg sbom.Config, artifactType string, document []byte) ratify.Result {
	t.Helper()
	desc, repo := attach(t, image, artifactType, document)
	return verifyIn(t, cfg, image, desc, repo)
}

func verifyIn(t testing.TB, cfg sbom.Config, subject, desc ocispec.Descriptor, repo ratify.Repository) ratify.Result {
	t.Helper()
	v := newVerifier(t, cfg)
	if !v.Match(desc) {
		t.Fatalf("%s is not matched", desc.ArtifactType)
	}
	result, err := v.Verify(t.Context(), subject, desc, repo)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

type pkg = sbomtest.Package

var alpine = []pkg{
	{Name: "musl", Version: "1.2.4-r2", PURL: "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.18.4", License: "MIT"},
	{Name: "busybox", Version: "1.36.1-r4", PURL: "pkg:apk/alpine/busybox@1.36.1-r4?arch=x86_64", License: "GPL-2.0-only"},
	{Name: "log4j-core", Version: "2.14.1", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", License: "Apache-2.0"},
	{Name: "alpine", Version: "3.18.4", Kind: "operating-system"},
}

type object = map[string]any

// edit changes a document before it is written.
type edit func(object)

func set(path string, value any) edit {
	return func(o object) {
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			o = o[name].(object)
		}
		last := names[len(names)-1]
		if value == nil {
			delete(o, last)
			return
		}
		o[last] = value
	}
}

func encode(t testing.TB, document sbomtest.Document, edits []edit) []byte {
	t.Helper()
	for _, e := range edits {
		e(document)
	}
	data, err := document.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var about = sbomtest.About{Name: "registry.example/acme/app", Digest: image.Digest, Created: now.Add(-time.Hour)}

func spdxDocument(t testing.TB, packages []pkg, edits ...edit) []byte {
	t.Helper()
	return encode(t, sbomtest.SPDX(about, packages...), edits)
}

func cycloneDXDocument(t testing.TB, packages []pkg, edits ...edit) []byte {
	t.Helper()
	return encode(t, sbomtest.CycloneDX(about, packages...), edits)
}

// A format is one of the two, so that a test holds for both.
type format struct {
	artifactType string
	document     func(testing.TB, []pkg, ...edit) []byte
}

var formats = map[string]format{
	"spdx":      {typeSPDX, spdxDocument},
	"cyclonedx": {typeCycloneDX, cycloneDXDocument},
}

// inBoth runs a test for each format.
func inBoth(t *testing.T, test func(t *testing.T, f format)) {
	for _, name := range slices.Sorted(maps.Keys(formats)) {
		t.Run(name, func(t *testing.T) { test(t, formats[name]) })
	}
}

func expect(t *testing.T, result ratify.Result, code ratify.Code, message ...string) {
	t.Helper()
	if result.Passed != (code == "") || result.Code != code {
		t.Fatalf("passed %t, code %q: %s; want code %q", result.Passed, result.Code, result.Message, code)
	}
	for _, part := range message {
		if !strings.Contains(result.Message, part) {
			t.Errorf("message %q, want %q in it", result.Message, part)
		}
	}
	if result.Unproven {
		t.Errorf("what a proven document says is unproven: %s", result.Message)
	}
}
