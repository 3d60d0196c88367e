// Package storetest holds what every store must do: one suite, run against each store over the same content.
// It is imported by tests alone. Begin at Run.
package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// ArtifactType is the artifact type of most of the referrers in the suite's content.
const ArtifactType = "application/vnd.example.signature"

// A Blob is content and its descriptor.
type Blob struct {
	Desc ocispec.Descriptor
	Data []byte
}

// A Manifest is a Blob that is a manifest, with the tags that point at it and the descriptor of its subject, if any.
type Manifest struct {
	Blob
	Tags    []string
	Subject *ocispec.Descriptor
}

// Content is what a repository must hold before the suite can run over it. Blobs come before manifests, and a manifest
// comes after its subject.
type Content struct {
	Blobs     []Blob
	Manifests []Manifest
}

// A Harness makes a store over given content.
type Harness struct {
	// Open returns a store that holds the content in the repository whose canonical name it returns.
	Open func(t *testing.T, content Content) (store ratify.Store, repository string)
	// MaxReferrers is how many referrers of one subject the backend can hold and list within its bounds; 0 means
	// ratify.MaxReferrers.
	MaxReferrers int
}

// suite is the content and what the tests say about it.
type suite struct {
	repo                            ratify.Repository
	image, index, bare, docker, big Manifest
	unsigned, noise                 Manifest
	referrers                       []Manifest
	layer                           Blob
}

// Run runs the suite.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.MaxReferrers == 0 {
		h.MaxReferrers = ratify.MaxReferrers
	}
	s, content := newContent(min(h.MaxReferrers, 120))
	store, name := h.Open(t, content)
	subject, evidence, err := store.Open(t.Context(), ratify.Subject{Repository: name, Tag: "v1"})
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	if subject.Name() != name || evidence.Name() != name {
		t.Errorf("names %q and %q, want %q", subject.Name(), evidence.Name(), name)
	}
	s.repo = subject
	t.Run("Resolve", s.testResolve)
	t.Run("ResolveRefuses", s.testResolveRefuses)
	t.Run("Referrers", s.testReferrers)
	t.Run("Fetch", s.testFetch)
	t.Run("FetchRefuses", s.testFetchRefuses)
	t.Run("Context", s.testContext)
}

// NewBlob describes data.
func NewBlob(mediaType string, data []byte) Blob {
	return Blob{Desc: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}, Data: data}
}

// NewImage makes an image manifest with one layer, which refers to subject unless it is nil. Its artifact type may be empty.
func NewImage(mediaType, artifactType string, subject *ocispec.Descriptor, config, layer Blob, annotations map[string]string) Manifest {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType, ArtifactType: artifactType,
		Config: config.Desc, Layers: []ocispec.Descriptor{layer.Desc}, Subject: subject, Annotations: annotations,
	}
	blob := NewBlob(ocispec.MediaTypeImageManifest, encode(m))
	if mediaType != "" {
		blob.Desc.MediaType = mediaType
	}
	blob.Desc.ArtifactType = artifactType
	blob.Desc.Annotations = annotations
	return Manifest{Blob: blob, Subject: subject}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // the suite's own types
	}
	return data
}

func newContent(referrers int) (*suite, Content) {
	config := NewBlob(ocispec.MediaTypeImageConfig, []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	empty := NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	s := &suite{layer: NewBlob(ocispec.MediaTypeImageLayer, []byte("a layer"))}
	s.image = NewImage(ocispec.MediaTypeImageManifest, "", nil, config, s.layer, nil)
	s.image.Tags = []string{"v1", "latest"}
	s.bare = NewImage("", "", nil, config, s.layer, map[string]string{"about": "no media type of its own"})
	s.bare.Tags = []string{"bare"}
	s.docker = NewImage(ratify.MediaTypeDockerManifest, "", nil, config, s.layer, nil)
	s.docker.Tags = []string{"docker"}
	s.unsigned = NewImage(ocispec.MediaTypeImageManifest, "", nil, config, s.layer, map[string]string{"about": "unsigned"})
	s.unsigned.Tags = []string{"unsigned"}
	s.big = NewImage(ocispec.MediaTypeImageManifest, "", nil, config, s.layer, map[string]string{"pad": strings.Repeat("x", 1<<20)})
	s.big.Tags = []string{"big"}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{s.image.Desc}}
	s.index = Manifest{Blob: NewBlob(ocispec.MediaTypeImageIndex, encode(index)), Tags: []string{"index"}}

	content := Content{
		Blobs:     []Blob{config, empty, s.layer},
		Manifests: []Manifest{s.image, s.bare, s.docker, s.unsigned, s.big, s.index},
	}
	for i := range referrers {
		artifactType := ArtifactType
		if i%10 == 9 {
			artifactType = "application/vnd.example.sbom"
		}
		about := map[string]string{"number": fmt.Sprint(i)}
		// The config has the artifact's type too, as signatures have it: some registries list that one.
		r := NewImage(ocispec.MediaTypeImageManifest, artifactType, &s.image.Desc, NewBlob(artifactType, empty.Data), s.layer, about)
		s.referrers = append(s.referrers, r)
	}
	// An artifact for another image must not be found.
	s.noise = NewImage(ocispec.MediaTypeImageManifest, ArtifactType, &s.index.Desc, NewBlob(ArtifactType, empty.Data), s.layer, map[string]string{"about": "noise"})
	content.Manifests = append(append(content.Manifests, s.referrers...), s.noise)
	return s, content
}

func (s *suite) testResolve(t *testing.T) {
	for _, tc := range []struct {
		name, reference string
		want            Manifest
	}{
		{"tag", "v1", s.image},
		{"second tag", "latest", s.image},
		{"digest", s.image.Desc.Digest.String(), s.image},
		{"index", "index", s.index},
		{"index by digest", s.index.Desc.Digest.String(), s.index},
		{"media type not in the bytes", "bare", s.bare},
		{"Docker's media type", "docker", s.docker},
		{"a megabyte", "big", s.big},
		{"referrer by digest", s.referrers[0].Desc.Digest.String(), s.referrers[0]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := s.repo.Resolve(t.Context(), tc.reference)
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want.Desc
			if got.Digest != want.Digest || got.Size != want.Size || got.MediaType != want.MediaType {
				t.Errorf("%s %s %d, want %s %s %d", got.MediaType, got.Digest, got.Size, want.MediaType, want.Digest, want.Size)
			}
		})
	}
}

func (s *suite) testResolveRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, reference string
		want            ratify.Code
	}{
		{"unknown tag", "v2", ratify.SubjectNotFound},
		{"unknown digest", digest.FromString("nothing").String(), ratify.SubjectNotFound},
		{"empty", "", ratify.BadReference},
		{"path", "../v1", ratify.BadReference},
		{"query", "v1?x=y", ratify.BadReference},
		{"unknown algorithm", "md5:d41d8cd98f00b204e9800998ecf8427e", ratify.BadReference},
		{"short digest", "sha256:abcd", ratify.BadReference},
		{"digest in upper case", strings.ToUpper(s.image.Desc.Digest.String()), ratify.BadReference},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc, err := s.repo.Resolve(t.Context(), tc.reference)
			wantCode(t, err, tc.want)
			if desc.Digest != "" {
				t.Errorf("a descriptor %v beside the error", desc)
			}
		})
	}
}

func (s *suite) testReferrers(t *testing.T) {
	t.Run("many", func(t *testing.T) {
		got, err := s.repo.Referrers(t.Context(), s.image.Desc)
		if err != nil {
			t.Fatal(err)
		}
		wantReferrers(t, got, s.referrers)
	})
	t.Run("one", func(t *testing.T) {
		got, err := s.repo.Referrers(t.Context(), s.index.Desc)
		if err != nil {
			t.Fatal(err)
		}
		wantReferrers(t, got, []Manifest{s.noise})
	})
	t.Run("none", func(t *testing.T) {
		got, err := s.repo.Referrers(t.Context(), s.unsigned.Desc)
		if err != nil || len(got) != 0 {
			t.Errorf("%d referrers and %v, want none", len(got), err)
		}
	})
	t.Run("unknown subject", func(t *testing.T) {
		got, err := s.repo.Referrers(t.Context(), ocispec.Descriptor{Digest: digest.FromString("nothing")})
		if err != nil || len(got) != 0 {
			t.Errorf("%d referrers and %v, want none", len(got), err)
		}
	})
	t.Run("malformed subject", func(t *testing.T) {
		_, err := s.repo.Referrers(t.Context(), ocispec.Descriptor{Digest: "sha256:../../x"})
		wantCode(t, err, ratify.BadReference)
	})
}

// wantReferrers compares without order: the specification gives none.
func wantReferrers(t *testing.T, got []ocispec.Descriptor, want []Manifest) {
	t.Helper()
	line := func(d ocispec.Descriptor) string {
		return fmt.Sprint(d.Digest, d.Size, d.MediaType, d.ArtifactType, d.Annotations)
	}
	var gotLines, wantLines []string
	for _, d := range got {
		gotLines = append(gotLines, line(d))
	}
	for _, m := range want {
		wantLines = append(wantLines, line(m.Desc))
	}
	slices.Sort(gotLines)
	slices.Sort(wantLines)
	if !slices.Equal(gotLines, wantLines) {
		t.Errorf("%d referrers, want %d:\n got %q\nwant %q", len(got), len(want), gotLines, wantLines)
	}
}

func (s *suite) testFetch(t *testing.T) {
	for _, tc := range []struct {
		name string
		want Blob
	}{
		{"manifest", s.image.Blob},
		{"index", s.index.Blob},
		{"manifest without media type", s.bare.Blob},
		{"blob", s.layer},
		{"referrer", s.referrers[0].Blob},
		{"a megabyte", s.big.Blob},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := s.repo.Fetch(t.Context(), tc.want.Desc)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, tc.want.Data) {
				t.Errorf("%d bytes that are not the content", len(got))
			}
		})
	}
}

func (s *suite) testFetchRefuses(t *testing.T) {
	with := func(b Blob, change func(*ocispec.Descriptor)) ocispec.Descriptor {
		change(&b.Desc)
		return b.Desc
	}
	size := func(n int64) func(*ocispec.Descriptor) { return func(d *ocispec.Descriptor) { d.Size = n } }
	dig := func(s digest.Digest) func(*ocispec.Descriptor) { return func(d *ocispec.Descriptor) { d.Digest = s } }
	kind := func(s string) func(*ocispec.Descriptor) { return func(d *ocispec.Descriptor) { d.MediaType = s } }
	for _, tc := range []struct {
		name string
		desc ocispec.Descriptor
		want ratify.Code
	}{
		{"manifest, one byte less", with(s.image.Blob, size(s.image.Desc.Size-1)), ratify.EvidenceInvalid},
		{"manifest, one byte more", with(s.image.Blob, size(s.image.Desc.Size+1)), ratify.EvidenceInvalid},
		{"blob, one byte less", with(s.layer, size(s.layer.Desc.Size-1)), ratify.EvidenceInvalid},
		{"blob, one byte more", with(s.layer, size(s.layer.Desc.Size+1)), ratify.EvidenceInvalid},
		{"blob, no bytes", with(s.layer, size(0)), ratify.EvidenceInvalid},
		{"negative size", with(s.layer, size(-1)), ratify.EvidenceInvalid},
		{"size of 2^62", with(s.layer, size(1<<62)), ratify.LimitExceeded},
		{"size of 2^31", with(s.layer, size(1<<31)), ratify.LimitExceeded},
		{"one byte above the bound of documents", with(s.layer, size(ratify.MaxDocumentBytes+1)), ratify.LimitExceeded},
		{"one byte above the bound of manifests", with(s.image.Blob, size(ratify.MaxManifestBytes+1)), ratify.LimitExceeded},
		{"unknown manifest", with(s.image.Blob, dig(digest.FromString("nothing"))), ratify.RegistryInvalid},
		{"unknown blob", with(s.layer, dig(digest.FromString("nothing"))), ratify.RegistryInvalid},
		{"unknown algorithm", with(s.layer, dig("md5:d41d8cd98f00b204e9800998ecf8427e")), ratify.EvidenceInvalid},
		{"no digest", with(s.layer, dig("")), ratify.EvidenceInvalid},
		{"digest with a path", with(s.layer, dig("sha256:../../../etc/passwd")), ratify.EvidenceInvalid},
		{"manifest of another media type", with(s.image.Blob, kind(ratify.MediaTypeDockerManifest)), ratify.EvidenceInvalid},
		{"index as a manifest", with(s.index.Blob, kind(ocispec.MediaTypeImageManifest)), ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data, err := s.repo.Fetch(t.Context(), tc.desc)
			wantCode(t, err, tc.want)
			if data != nil {
				t.Errorf("%d bytes beside the error", len(data))
			}
		})
	}
}

func (s *suite) testContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, resolveErr := s.repo.Resolve(ctx, "v1")
	_, referrersErr := s.repo.Referrers(ctx, s.image.Desc)
	_, fetchErr := s.repo.Fetch(ctx, s.layer.Desc)
	for name, err := range map[string]error{"Resolve": resolveErr, "Referrers": referrersErr, "Fetch": fetchErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s under an ended context: %v", name, err)
		}
	}
}

func wantCode(t *testing.T, err error, want ratify.Code) {
	t.Helper()
	var e *ratify.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s", err, want)
	}
	if e.Code != want {
		t.Errorf("code %s (%v), want %s", e.Code, err, want)
	}
}
