package sigstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// judged fails unless the evidence is refused, or accepted as who has signed it. What nobody signed must not pass,
// whatever it looks like, and a refusal must be one.
func judged(t *testing.T, signer sigstore.Signer, err error) {
	t.Helper()
	var problem *ratify.Error
	switch {
	case err == nil && signer.Key != "ci" && signer.Identity != workflow:
		t.Errorf("accepted as %+v", signer)
	case err != nil && !errors.Is(err, ratify.ErrOtherKind) && (!errors.As(err, &problem) || !problem.Code.Definitive()):
		t.Errorf("neither refused nor accepted: %v", err)
	}
}

func FuzzBundle(f *testing.F) {
	key, instance := newKey(f, cosigntest.P256), newSigstore(f, "ours")
	trust := byIdentity(f, instance)
	trust.Keys = byKey(f, key).Keys
	v := newVerifier(f, trust)
	f.Add(must[*cosigntest.Signed](f)(key.Sign(cosigntest.SignStatement(image.Digest))).Bundle())
	f.Add(must[*cosigntest.Signed](f)(key.SignMessage(manifest)).Bundle())
	f.Add(must[*cosigntest.Signed](f)(key.Sign(cosigntest.Statement(image.Digest, provenance, nil))).Bundle())
	f.Add(signAs(f, instance, cosigntest.Options{Stamp: true}).Bundle())
	f.Add(signAs(f, instance, cosigntest.Options{}).BundleOf("application/vnd.dev.sigstore.bundle+json;version=0.1"))
	cases, _ := filepath.Glob(filepath.Join(os.Getenv(conformanceVariable), "*", "bundle.sigstore.json"))
	for _, path := range cases {
		f.Add(must[[]byte](f)(os.ReadFile(path)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := cosigntest.AttachBundle(image, data)
		signer, err := v.Signature(t.Context(), image, a.Descriptor, newRepository(a))
		judged(t, signer, err)
		_, signer, err = v.Statement(t.Context(), image, a.Descriptor, newRepository(a))
		judged(t, signer, err)
	})
}

func FuzzLayer(f *testing.F) {
	key, instance := newKey(f, cosigntest.P256), newSigstore(f, "ours")
	trust := byIdentity(f, instance)
	trust.Keys = byKey(f, key).Keys
	v := newVerifier(f, trust)
	add := func(s *cosigntest.Signed) {
		layer := s.Layer()
		a := layer.Descriptor.Annotations
		f.Add(layer.Data, s.PayloadType != "", a["dev.cosignproject.cosign/signature"], a["dev.sigstore.cosign/certificate"], a["dev.sigstore.cosign/bundle"], a["dev.sigstore.cosign/rfc3161timestamp"])
	}
	payload := cosigntest.Payload("registry.example/app", image.Digest)
	options := cosigntest.Options{Identity: workflow, Issuer: issuer, Stamp: true}
	add(must[*cosigntest.Signed](f)(key.SignMessage(payload)))
	add(must[*cosigntest.Signed](f)(instance.SignMessage(payload, options)))
	add(must[*cosigntest.Signed](f)(key.Sign(cosigntest.Statement(image.Digest, provenance, nil))))
	add(must[*cosigntest.Signed](f)(instance.Sign(cosigntest.Statement(image.Digest, provenance, nil), options)))
	f.Fuzz(func(t *testing.T, data []byte, envelope bool, signature, certificate, bundle, stamp string) {
		signed := cosigntest.Signed{Message: data}
		layer := signed.Layer()
		layer.Descriptor.Annotations = map[string]string{
			"dev.cosignproject.cosign/signature": signature, "dev.sigstore.cosign/certificate": certificate,
			"dev.sigstore.cosign/bundle": bundle, "dev.sigstore.cosign/rfc3161timestamp": stamp,
		}
		find := v.FindSignatures
		if envelope {
			layer.Descriptor.MediaType, find = cosigntest.EnvelopeType, v.FindAttestations
		}
		repo := newRepository(cosigntest.Collect(image.Digest, layer))
		for _, evidence := range must[[]ocispec.Descriptor](t)(find(t.Context(), image, repo)) {
			signer, err := v.Signature(t.Context(), image, evidence, repo)
			judged(t, signer, err)
			_, signer, err = v.Statement(t.Context(), image, evidence, repo)
			judged(t, signer, err)
		}
	})
}

// FuzzCollection reads what is under a tag.
func FuzzCollection(f *testing.F) {
	key := newKey(f, cosigntest.P256)
	v := newVerifier(f, byKey(f, key))
	good := cosigntest.Collect(image.Digest, must[*cosigntest.Signed](f)(key.SignMessage(cosigntest.Payload("a", image.Digest))).Layer())
	f.Add(good.Manifest)
	f.Add([]byte(`{"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":-1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		repo := newRepository(good)
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digestOf(string(data)), Size: int64(len(data))}
		repo.Blobs[desc.Digest], repo.Tags[good.Tag] = data, desc
		found, err := v.FindSignatures(t.Context(), image, repo)
		if err != nil || len(found) > 100 {
			t.Errorf("%d found: %v", len(found), err)
		}
		for _, evidence := range found {
			if !v.Match(evidence) || evidence.Size < 0 {
				t.Errorf("found %+v", evidence)
			}
		}
	})
}
