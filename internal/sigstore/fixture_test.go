package sigstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

var (
	manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)
	image    = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
)

// newRepository holds the image and its evidence.
func newRepository(artifacts ...*cosigntest.Artifact) *cosigntest.Repository {
	r := cosigntest.NewRepository(artifacts...)
	r.Blobs[image.Digest] = manifest
	return r
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
