package sigstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

var (
	manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)
	image    = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
)

// repository holds an image and its evidence.
type repository struct {
	blobs map[digest.Digest][]byte
	tags  map[string]ocispec.Descriptor
	// before, if set, is asked before anything is read.
	before func(what string) error
}

func newRepository(artifacts ...*cosigntest.Artifact) *repository {
	r := &repository{blobs: map[digest.Digest][]byte{image.Digest: manifest}, tags: map[string]ocispec.Descriptor{}}
	for _, a := range artifacts {
		r.blobs[a.Descriptor.Digest] = a.Manifest
		for sum, blob := range a.Blobs {
			r.blobs[sum] = blob
		}
		if a.Tag != "" {
			r.tags[a.Tag] = ocispec.Descriptor{MediaType: a.Descriptor.MediaType, Digest: a.Descriptor.Digest, Size: a.Descriptor.Size}
		}
	}
	return r
}

func (r *repository) Name() string { return "registry.example/app" }

func (r *repository) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	if r.before != nil {
		if err := r.before(reference); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if desc, ok := r.tags[reference]; ok {
		return desc, nil
	}
	return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
}

func (r *repository) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	panic("the engine lists referrers, nobody else")
}

func (r *repository) Fetch(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if r.before != nil {
		if err := r.before(desc.Digest.String()); err != nil {
			return nil, err
		}
	}
	data, ok := r.blobs[desc.Digest]
	if !ok || int64(len(data)) != desc.Size {
		return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: "no blob of that digest and size: " + desc.Digest.String()}
	}
	return data, nil
}

// must ends the test on an error.
func must[T any](t testing.TB) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newKey(t testing.TB, kind cosigntest.KeyType) *cosigntest.Key {
	t.Helper()
	return must[*cosigntest.Key](t)(cosigntest.NewKey(kind))
}

func newSigstore(t testing.TB, name string) *cosigntest.Sigstore {
	t.Helper()
	return must[*cosigntest.Sigstore](t)(cosigntest.NewSigstore(name))
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func digestOf(text string) digest.Digest { return digest.FromString(text) }
