package attestation_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

const (
	slsaV1  = "https://slsa.dev/provenance/v1"
	slsaV02 = "https://slsa.dev/provenance/v0.2"
	custom  = "https://example.com/tested/v1"
)

// now is the verifiers' clock.
var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

// A registry holds one image, and what is attached to it.
type registry struct {
	*cosigntest.Repository
	t       testing.TB
	image   ocispec.Descriptor
	key     *cosigntest.Key
	trusted sigstore.Key // the public half of key, on disk
}

func newRegistry(t testing.TB) *registry {
	t.Helper()
	r := &registry{t: t, Repository: cosigntest.NewRepository()}
	r.image = r.put(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","layers":[]}`))
	r.key = newKey(t)
	r.trusted = sigstore.Key{Name: "ci", File: filepath.Join(t.TempDir(), "ci.pub")}
	if err := os.WriteFile(r.trusted.File, r.key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func newKey(t testing.TB) *cosigntest.Key {
	t.Helper()
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (r *registry) put(mediaType string, data []byte) ocispec.Descriptor {
	return r.Put(mediaType, data)
}

func (r *registry) push(a *cosigntest.Artifact) ocispec.Descriptor { return r.Push(a) }

// attest pushes an attestation of the image by the trusted key.
func (r *registry) attest(predicateType string, predicate any) ocispec.Descriptor {
	return r.attestBy(r.key, predicateType, predicate)
}

func (r *registry) attestBy(key *cosigntest.Key, predicateType string, predicate any) ocispec.Descriptor {
	return r.push(cosigntest.AttachBundle(r.image, r.sign(key, cosigntest.Statement(r.image.Digest, predicateType, predicate)).Bundle()))
}

func (r *registry) sign(key *cosigntest.Key, statement []byte) *cosigntest.Signed {
	r.t.Helper()
	signed, err := key.Sign(statement)
	if err != nil {
		r.t.Fatal(err)
	}
	return signed
}

// attach pushes a statement as it is, as a referrer that somebody else proves.
func (r *registry) attach(statement []byte) ocispec.Descriptor {
	manifest := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: cosigntest.StatementType, Config: ocispec.DescriptorEmptyJSON,
		Layers: []ocispec.Descriptor{r.put(cosigntest.StatementType, statement)}, Subject: &r.image,
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		r.t.Fatal(err)
	}
	desc := r.put(ocispec.MediaTypeImageManifest, data)
	desc.ArtifactType = manifest.ArtifactType
	return desc
}

// config trusts the registry's key and asks for the predicate types.
func (r *registry) config(types ...string) attestation.Config {
	cfg := attestation.Config{PredicateTypes: types}
	cfg.Keys = []sigstore.Key{r.trusted}
	return cfg
}

func newVerifier(t testing.TB, cfg attestation.Config) *attestation.Verifier {
	t.Helper()
	v, err := attestation.New(cfg, attestation.Deps{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (r *registry) verify(cfg attestation.Config, evidence ocispec.Descriptor) (ratify.Result, error) {
	r.t.Helper()
	v := newVerifier(r.t, cfg)
	if !v.Match(evidence) {
		r.t.Fatalf("%+v does not match", evidence)
	}
	return v.Verify(r.t.Context(), r.image, evidence, r)
}

// fields is a JSON object.
type fields = map[string]any

// buildV1 is provenance of version 1, of GitHub's workflows.
func buildV1() fields {
	return fields{
		"buildDefinition": fields{
			"buildType":            "https://actions.github.io/buildtypes/workflow/v1",
			"externalParameters":   fields{"workflow": fields{"ref": "refs/heads/main", "repository": "https://github.com/acme/app", "path": ".github/workflows/release.yml"}},
			"resolvedDependencies": []any{fields{"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": fields{"gitCommit": "abc"}}},
		},
		"runDetails": fields{
			"builder":  fields{"id": "https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1"},
			"metadata": fields{"finishedOn": "2026-03-01T11:00:00Z"},
		},
	}
}

// buildV02 is the same of version 0.2.
func buildV02() fields {
	return fields{
		"builder":    fields{"id": "https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1"},
		"buildType":  "https://example.com/container@v1",
		"invocation": fields{"configSource": fields{"uri": "git+https://github.com/acme/app@refs/heads/main", "entryPoint": "release.yml"}},
		"metadata":   fields{"buildFinishedOn": "2026-03-01T11:00:00Z"},
		"materials":  []any{fields{"uri": "git+https://github.com/acme/app@refs/heads/main"}, fields{"uri": "pkg:docker/alpine@3"}},
	}
}

// with sets the value at the path of names, or removes it, in place.
func with(object fields, value any, path ...string) fields {
	within := object
	for _, name := range path[:len(path)-1] {
		within = within[name].(fields)
	}
	if last := path[len(path)-1]; value == nil {
		delete(within, last)
	} else {
		within[last] = value
	}
	return object
}
