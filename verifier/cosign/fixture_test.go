package cosign_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

var (
	manifest = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)
	image    = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	other    = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("another image"), Size: 13}
)

// holding is a repository with the image and its evidence.
func holding(artifacts ...*cosigntest.Artifact) *cosigntest.Repository {
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

// trusting is a configuration that trusts the keys, named k0, k1 and so on, and looks under tags.
func trusting(t testing.TB, keys ...*cosigntest.Key) cosign.Config {
	t.Helper()
	trust := sigstore.Trust{CosignTags: true}
	for i, key := range keys {
		trust.Keys = append(trust.Keys, sigstore.Key{Name: fmt.Sprintf("k%d", i), File: writeFile(t, key.PublicPEM())})
	}
	return cosign.Config{Trust: trust}
}

// Who signs without a key in these tests.
const (
	workflow = "https://ci.example/acme/app/release.yml@refs/heads/main"
	issuer   = "https://token.ci.example"
)

// trustingIdentity is a configuration that trusts the workflow, by the instances.
func trustingIdentity(t testing.TB, instances ...*cosigntest.Sigstore) cosign.Config {
	t.Helper()
	return cosign.Config{Trust: sigstore.Trust{
		CosignTags:  true,
		Identities:  []sigstore.Identity{{Issuer: issuer, Subject: workflow}},
		TrustedRoot: writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot(instances...))),
	}}
}

func newVerifier(t testing.TB, cfg cosign.Config) *cosign.Verifier {
	t.Helper()
	return must[*cosign.Verifier](t)(cosign.New(cfg, cosign.Deps{}))
}

// examine verifies all that the verifier finds in the artifacts, and returns the last result.
func examine(t testing.TB, v *cosign.Verifier, artifacts ...*cosigntest.Artifact) (ratify.Result, error) {
	t.Helper()
	repo := holding(artifacts...)
	evidence := must[[]ocispec.Descriptor](t)(v.Find(t.Context(), image, repo))
	for _, a := range artifacts {
		if a.Tag == "" {
			evidence = append(evidence, a.Descriptor)
		}
	}
	var result ratify.Result
	err := errNothing
	for _, e := range evidence {
		if v.Match(e) {
			result, err = v.Verify(t.Context(), image, e, repo)
		}
	}
	return result, err
}

var errNothing = errors.New("nothing to examine was found")

// expect wants a code, and words in the message; a refusal must be one that cannot deny anything by itself.
func expect(t testing.TB, result ratify.Result, err error, code ratify.Code, words ...string) {
	t.Helper()
	if err != nil {
		t.Fatalf("could not look: %v", err)
	}
	got := result.Code
	if result.Passed && got == "" {
		got = ratify.Verified
	}
	if got != code {
		t.Fatalf("%s: %s, want %s", got, result.Message, code)
	}
	if result.Passed == result.Unproven {
		t.Errorf("passed %t and unproven %t", result.Passed, result.Unproven)
	}
	for _, word := range words {
		if !strings.Contains(result.Message, word) {
			t.Errorf("message %q, want %q in it", result.Message, word)
		}
	}
}
