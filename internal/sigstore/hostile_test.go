package sigstore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// edit changes the JSON of a bundle.
func edit(t testing.TB, data []byte, change func(b map[string]any)) []byte {
	t.Helper()
	var b map[string]any
	check(t, json.Unmarshal(data, &b))
	change(b)
	return must[[]byte](t)(json.Marshal(b))
}

func material(b map[string]any) map[string]any { return b["verificationMaterial"].(map[string]any) }

func TestHostileBundles(t *testing.T) {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	byHand := must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest)))
	message := must[*cosigntest.Signed](t)(key.SignMessage(manifest))
	keyless := signAs(t, instance, cosigntest.Options{Stamp: true})
	trust := byIdentity(t, instance)
	trust.Keys = byKey(t, key).Keys
	v := newVerifier(t, trust)
	list := func(n int, value any) []any {
		values := make([]any, n)
		for i := range values {
			values[i] = value
		}
		return values
	}
	for _, tc := range []struct {
		name   string
		bundle []byte
		want   ratify.Code
		words  []string
	}{
		{"empty", nil, ratify.EvidenceInvalid, []string{"no Sigstore bundle"}},
		{"no object", []byte(`[]`), ratify.EvidenceInvalid, nil},
		{"nothing in it", []byte(`{}`), ratify.EvidenceInvalid, nil},
		{"cut off", byHand.Bundle()[:100], ratify.EvidenceInvalid, nil},
		{"more after it", append(byHand.Bundle(), "{}"...), ratify.EvidenceInvalid, nil},
		{"a field twice", bytes.Replace(byHand.Bundle(), []byte(`{"`), []byte(`{"mediaType":"x","`), 1), ratify.EvidenceInvalid, nil},
		{"an unknown field", edit(t, byHand.Bundle(), func(b map[string]any) { b["trust"] = true }), ratify.EvidenceInvalid, nil},
		{"invalid UTF-8", bytes.Replace(byHand.Bundle(), []byte("application"), []byte("appl\xffcation"), 1), ratify.EvidenceInvalid, nil},
		{"a version of the future", byHand.BundleOf("application/vnd.dev.sigstore.bundle.v0.9+json"), ratify.EvidenceInvalid, []string{"0.9"}},
		{"both contents", edit(t, byHand.Bundle(), func(b map[string]any) {
			b["messageSignature"] = map[string]any{"signature": []byte("x")}
		}), ratify.EvidenceInvalid, nil},
		{"no material", edit(t, byHand.Bundle(), func(b map[string]any) { delete(b, "verificationMaterial") }), ratify.EvidenceInvalid, nil},
		{"null material", edit(t, byHand.Bundle(), func(b map[string]any) { b["verificationMaterial"] = nil }), ratify.EvidenceInvalid, nil},
		{"null entries", edit(t, keyless.Bundle(), func(b map[string]any) { material(b)["tlogEntries"] = []any{nil} }), ratify.EvidenceInvalid, nil},
		{"entries of nothing", edit(t, keyless.Bundle(), func(b map[string]any) { material(b)["tlogEntries"] = []any{map[string]any{}} }), ratify.EvidenceInvalid, nil},
		{"no signature", edit(t, byHand.Bundle(), func(b map[string]any) { b["dsseEnvelope"].(map[string]any)["signatures"] = []any{} }), ratify.EvidenceInvalid, []string{"0 signatures instead of 1"}},
		{"two signatures", edit(t, byHand.Bundle(), func(b map[string]any) {
			envelope := b["dsseEnvelope"].(map[string]any)
			envelope["signatures"] = append(envelope["signatures"].([]any), map[string]any{"sig": []byte("x")})
		}), ratify.EvidenceInvalid, []string{"2 signatures instead of 1"}},
		{"empty signature", edit(t, byHand.Bundle(), func(b map[string]any) { b["dsseEnvelope"].(map[string]any)["signatures"] = []any{map[string]any{}} }), ratify.SignatureInvalid, nil},
		{"no message digest", edit(t, message.Bundle(), func(b map[string]any) { delete(b["messageSignature"].(map[string]any), "messageDigest") }), ratify.EvidenceInvalid, nil},
		{"a weak message digest", edit(t, message.Bundle(), func(b map[string]any) {
			b["messageSignature"].(map[string]any)["messageDigest"].(map[string]any)["algorithm"] = "SHA3_256"
		}), ratify.EvidenceInvalid, []string{"SHA3_256"}},
		{"another message digest", edit(t, message.Bundle(), func(b map[string]any) {
			b["messageSignature"].(map[string]any)["messageDigest"].(map[string]any)["digest"] = []byte("another")
		}), ratify.SubjectMismatch, []string{fmt.Sprintf("%x", "another")}},
		{"eleven entries", edit(t, keyless.Bundle(), func(b map[string]any) { material(b)["tlogEntries"] = list(11, map[string]any{}) }), ratify.EvidenceInvalid, []string{"11 transparency log entries, at most 10"}},
		{"eleven timestamps", edit(t, keyless.Bundle(), func(b map[string]any) {
			material(b)["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": list(11, map[string]any{})}
		}), ratify.EvidenceInvalid, []string{"11 timestamps"}},
		{"eleven certificates", edit(t, keyless.BundleOf("application/vnd.dev.sigstore.bundle+json;version=0.1"), func(b map[string]any) {
			delete(material(b), "certificate")
			material(b)["x509CertificateChain"] = map[string]any{"certificates": list(11, map[string]any{})}
		}), ratify.EvidenceInvalid, []string{"11 certificates"}},
		{"no certificate in the chain", edit(t, keyless.BundleOf("application/vnd.dev.sigstore.bundle+json;version=0.1"), func(b map[string]any) {
			delete(material(b), "certificate")
			material(b)["x509CertificateChain"] = map[string]any{}
		}), ratify.EvidenceInvalid, nil},
		{"no certificate at all", edit(t, keyless.Bundle(), func(b map[string]any) { material(b)["certificate"] = map[string]any{"rawBytes": []byte("x")} }), ratify.EvidenceInvalid, nil},
		{"an entry twice", edit(t, keyless.Bundle(), func(b map[string]any) {
			material(b)["tlogEntries"] = list(2, material(b)["tlogEntries"].([]any)[0])
		}), ratify.TransparencyInvalid, []string{"duplicate"}},
		{"an entry at another index", edit(t, keyless.Bundle(), func(b map[string]any) {
			material(b)["tlogEntries"].([]any)[0].(map[string]any)["logIndex"] = 99
		}), ratify.TransparencyInvalid, nil},
		{"an entry at another time", edit(t, keyless.Bundle(), func(b map[string]any) {
			entry := material(b)["tlogEntries"].([]any)[0].(map[string]any)
			entry["integratedTime"] = entry["integratedTime"].(float64) + 1
		}), ratify.TransparencyInvalid, nil},
		{"an entry of another signature", edit(t, keyless.Bundle(), func(b map[string]any) {
			var other map[string]any
			check(t, json.Unmarshal(signAs(t, instance, cosigntest.Options{}).Bundle(), &other))
			material(b)["tlogEntries"] = material(other)["tlogEntries"]
		}), ratify.TransparencyInvalid, nil},
		{"another's certificate", edit(t, keyless.Bundle(), func(b map[string]any) {
			var other map[string]any
			check(t, json.Unmarshal(signAs(t, instance, cosigntest.Options{}).Bundle(), &other))
			material(b)["certificate"] = material(other)["certificate"]
		}), ratify.TransparencyInvalid, nil},
		{"garbage for a timestamp", edit(t, keyless.Bundle(), func(b map[string]any) {
			material(b)["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": []byte("garbage")}}}
		}), ratify.Verified, nil}, // none is asked for, and the log proves the time
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := cosigntest.AttachBundle(image, tc.bundle)
			if tc.name == "empty" {
				a = cosigntest.AttachBundle(image, []byte{})
			}
			_, err := signatureOf(t, v, a)
			expect(t, err, tc.want, tc.words...)
		})
	}
}

// TestVersions: the older bundles are still there.
func TestVersions(t *testing.T) {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	trust := byIdentity(t, instance)
	trust.Keys = byKey(t, key).Keys
	v := newVerifier(t, trust)
	for _, mediaType := range []string{
		"application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dev.sigstore.bundle+json;version=0.3",
		"application/vnd.dev.sigstore.bundle+json;version=0.2", "application/vnd.dev.sigstore.bundle+json;version=0.1",
	} {
		for name, signed := range map[string]*cosigntest.Signed{
			"key":      must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest))),
			"identity": signAs(t, instance, cosigntest.Options{}),
		} {
			t.Run(mediaType+"/"+name, func(t *testing.T) {
				a := cosigntest.AttachBundle(image, signed.BundleOf(mediaType))
				a = remake(t, a, func(m *ocispec.Manifest) { m.ArtifactType, m.Layers[0].MediaType = mediaType, mediaType })
				if _, err := signatureOf(t, v, a); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// remake changes the manifest.
func remake(t testing.TB, a *cosigntest.Artifact, change func(m *ocispec.Manifest)) *cosigntest.Artifact {
	t.Helper()
	var m ocispec.Manifest
	check(t, json.Unmarshal(a.Manifest, &m))
	change(&m)
	data := must[[]byte](t)(json.Marshal(m))
	return &cosigntest.Artifact{
		Tag: a.Tag, Manifest: data, Blobs: maps.Clone(a.Blobs),
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: m.ArtifactType, Digest: digest.FromBytes(data), Size: int64(len(data))},
	}
}

func TestHostileManifests(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	good := bundled(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest))))
	for _, tc := range []struct {
		name   string
		change func(m *ocispec.Manifest)
		claim  func(d *ocispec.Descriptor)
		want   ratify.Code
		words  []string
	}{
		{name: "as it is", want: ratify.Verified},
		{name: "another subject", change: func(m *ocispec.Manifest) { m.Subject.Digest = digestOf("another image") }, want: ratify.SubjectMismatch},
		{name: "no subject", change: func(m *ocispec.Manifest) { m.Subject = nil }, want: ratify.SubjectMismatch},
		{name: "two layers", change: func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, want: ratify.EvidenceInvalid},
		{name: "no layer", change: func(m *ocispec.Manifest) { m.Layers = nil }, want: ratify.EvidenceInvalid},
		{name: "a layer of another type", change: func(m *ocispec.Manifest) { m.Layers[0].MediaType = cosigntest.EnvelopeType }, want: ratify.EvidenceInvalid, words: []string{cosigntest.EnvelopeType}},
		{name: "a layer said to be larger", change: func(m *ocispec.Manifest) { m.Layers[0].Size = 1 << 40 }, want: ratify.LimitExceeded},
		{name: "a layer of less than nothing", change: func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, want: ratify.EvidenceInvalid},
		{name: "URLs and inline data", change: func(m *ocispec.Manifest) {
			m.Layers[0].URLs, m.Layers[0].Data = []string{"http://169.254.169.254/"}, []byte("x")
		}, want: ratify.Verified},
		{name: "annotations that lie", change: func(m *ocispec.Manifest) {
			m.Annotations = map[string]string{"dev.sigstore.bundle.predicateType": provenance, "dev.sigstore.bundle.content": "message-signature"}
		}, want: ratify.Verified},
		{name: "not typed by the registry", claim: func(d *ocispec.Descriptor) { d.ArtifactType = "" }, want: ratify.Verified},
		{name: "typed by its config", claim: func(d *ocispec.Descriptor) { d.ArtifactType = ocispec.MediaTypeEmptyJSON }, want: ratify.Verified},
		{name: "typed as another kind", change: func(m *ocispec.Manifest) { m.ArtifactType = "application/spdx+json" }, claim: func(d *ocispec.Descriptor) { d.ArtifactType = cosigntest.BundleType }, want: ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := good
			if tc.change != nil {
				a = remake(t, good, tc.change)
			}
			if tc.claim != nil {
				tc.claim(&a.Descriptor)
			}
			repo := newRepository(a)
			if !v.Match(a.Descriptor) {
				t.Fatal("does not match")
			}
			_, err := v.Signature(t.Context(), image, a.Descriptor, watched{repo, t})
			expect(t, err, tc.want, tc.words...)
		})
	}
	for _, claimed := range []string{"", ocispec.MediaTypeEmptyJSON} {
		a := remake(t, good, func(m *ocispec.Manifest) { m.ArtifactType = "application/spdx+json" })
		a.Descriptor.ArtifactType = claimed
		if _, err := v.Signature(t.Context(), image, a.Descriptor, newRepository(a)); !errors.Is(err, ratify.ErrOtherKind) {
			t.Errorf("claimed %q: %v", claimed, err)
		}
	}
	for _, d := range []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.notary.signature"},
		{MediaType: ocispec.MediaTypeImageIndex},
		{MediaType: ocispec.MediaTypeImageIndex, ArtifactType: cosigntest.BundleType},
	} {
		if v.Match(d) {
			t.Errorf("matches %+v", d)
		}
	}
}

// watched fails the test if a read carries more than what identifies a blob.
type watched struct {
	*cosigntest.Repository
	t testing.TB
}

func (w watched) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if len(desc.URLs) > 0 || desc.Data != nil {
		w.t.Errorf("read with URLs or data: %+v", desc)
	}
	return w.Repository.Fetch(ctx, desc)
}

func TestHostileTags(t *testing.T) {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	trust := byIdentity(t, instance)
	trust.Keys = byKey(t, key).Keys
	v := newVerifier(t, trust)
	byHand := must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("registry.example/app", image.Digest)))
	keyless := must[*cosigntest.Signed](t)(instance.SignMessage(cosigntest.Payload("registry.example/app", image.Digest), cosigntest.Options{Identity: workflow, Issuer: issuer}))
	one := func(s *cosigntest.Signed) *cosigntest.Artifact { return cosigntest.Collect(image.Digest, s.Layer()) }
	annotate := func(s *cosigntest.Signed, name, value string) *cosigntest.Artifact {
		layer := s.Layer()
		layer.Descriptor.Annotations[name] = value
		return cosigntest.Collect(image.Digest, layer)
	}
	const (
		signature   = "dev.cosignproject.cosign/signature"
		certificate = "dev.sigstore.cosign/certificate"
		bundle      = "dev.sigstore.cosign/bundle"
		stamp       = "dev.sigstore.cosign/rfc3161timestamp"
	)
	sign := func(payload string) *cosigntest.Artifact {
		return one(must[*cosigntest.Signed](t)(key.SignMessage([]byte(payload))))
	}
	for _, tc := range []struct {
		name     string
		artifact *cosigntest.Artifact
		want     ratify.Code
		words    []string
	}{
		{"by key", one(byHand), ratify.Verified, nil},
		{"by identity", one(keyless), ratify.Verified, nil},
		{"under another name", one(must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("elsewhere.example/other", image.Digest)))), ratify.Verified, nil},
		{"no signature", annotate(byHand, signature, ""), ratify.EvidenceInvalid, []string{signature}},
		{"no base64", annotate(byHand, signature, "!"), ratify.EvidenceInvalid, []string{signature}},
		{"no certificate", annotate(keyless, certificate, "x"), ratify.EvidenceInvalid, []string{certificate}},
		{"a certificate of nothing", annotate(keyless, certificate, "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"), ratify.EvidenceInvalid, nil},
		{"a bundle of nothing", annotate(keyless, bundle, "{}"), ratify.EvidenceInvalid, []string{bundle}},
		{"a bundle that is none", annotate(keyless, bundle, "x"), ratify.EvidenceInvalid, []string{bundle}},
		{"a log that is none", annotate(keyless, bundle, `{"Payload":{"body":"e30=","logID":"x"}}`), ratify.EvidenceInvalid, []string{bundle}},
		{"an entry without a promise", annotate(keyless, bundle, strings.Replace(keyless.Layer().Descriptor.Annotations[bundle], `"SignedEntryTimestamp":"`, `"Unsigned":"`, 1)), ratify.EvidenceInvalid, nil},
		{"a timestamp that is none", annotate(keyless, stamp, "{}"), ratify.EvidenceInvalid, []string{stamp}},
		{"endless annotations", annotate(byHand, bundle, strings.Repeat("x", 1<<20)), ratify.EvidenceInvalid, []string{"annotations"}},
		{"not JSON", sign("hello"), ratify.EvidenceInvalid, []string{"is no JSON"}},
		{"another type", sign(`{"critical":{"type":"atomic container signature","image":{"docker-manifest-digest":"` + image.Digest.String() + `"}}}`), ratify.EvidenceInvalid, []string{"atomic container signature"}},
		{"no digest", sign(`{"critical":{"type":"cosign container image signature"}}`), ratify.SubjectMismatch, nil},
		{"the digest in another place", sign(`{"critical":{"type":"cosign container image signature","image":{}},"optional":{"docker-manifest-digest":"` + image.Digest.String() + `"}}`), ratify.SubjectMismatch, nil},
		{"a layer of a statement for an image", one(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest)))), "", nil},
		{"a manifest of 101 layers", remake(t, one(byHand), func(m *ocispec.Manifest) {
			for range 100 {
				m.Layers = append(m.Layers, m.Layers[0])
			}
		}), ratify.LimitExceeded, []string{"more than 100 layers"}},
		{"a layer of less than nothing", remake(t, one(byHand), func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }), ratify.EvidenceInvalid, nil},
		{"a layer of no digest", remake(t, one(byHand), func(m *ocispec.Manifest) { m.Layers[0].Digest = "sha256:x" }), ratify.EvidenceInvalid, nil},
		{"no layer", remake(t, one(byHand), func(m *ocispec.Manifest) { m.Layers = nil }), "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			repo := newRepository(tc.artifact)
			tag := strings.TrimSuffix(tc.artifact.Tag, ".att")
			repo.Tags[strings.TrimSuffix(tag, ".sig")+".sig"] = repo.Tags[tc.artifact.Tag]
			found, err := v.FindSignatures(t.Context(), image, repo)
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				if len(found) > 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			if len(found) != 1 || !v.Match(found[0]) {
				t.Fatalf("found %v", found)
			}
			_, err = v.Signature(t.Context(), image, found[0], repo)
			expect(t, err, tc.want, tc.words...)
		})
	}
}

// TestCopiedUnderTheTag: what is under the tag of an image need not be about it (CVE-2022-36056, CVE-2022-23649 and
// their kind): neither a collection that is another image's, nor any layer of one that is its own.
func TestCopiedUnderTheTag(t *testing.T) {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	trust := byIdentity(t, instance)
	trust.Keys = byKey(t, key).Keys
	v := newVerifier(t, trust)
	options := cosigntest.Options{Identity: workflow, Issuer: issuer}
	foreign := []cosigntest.Layer{
		must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("registry.example/app", digestOf("another image")))).Layer(),
		must[*cosigntest.Signed](t)(instance.SignMessage(cosigntest.Payload("registry.example/app", digestOf("another image")), options)).Layer(),
	}
	own := must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("registry.example/app", image.Digest))).Layer()
	for at := range 3 {
		layers := append(append(append([]cosigntest.Layer{}, foreign[:min(at, 2)]...), own), foreign[min(at, 2):]...)
		repo := newRepository(cosigntest.Collect(image.Digest, layers...))
		found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
		if len(found) != 3 {
			t.Fatalf("found %d", len(found))
		}
		for i, evidence := range found {
			_, err := v.Signature(t.Context(), image, evidence, repo)
			if i == at {
				expect(t, err, ratify.Verified)
				continue
			}
			refused(t, err, ratify.SubjectMismatch, digestOf("another image").String(), image.Digest.String())
		}
	}
}

// TestTwoSignersOfOnePayload: their layers have the same digest, and are two pieces of evidence.
func TestTwoSignersOfOnePayload(t *testing.T) {
	stranger, key := newKey(t, cosigntest.P256), newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	payload := cosigntest.Payload("registry.example/app", image.Digest)
	repo := newRepository(cosigntest.Collect(image.Digest,
		must[*cosigntest.Signed](t)(stranger.SignMessage(payload)).Layer(), must[*cosigntest.Signed](t)(key.SignMessage(payload)).Layer()))
	found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
	if len(found) != 2 || found[0].Digest != found[1].Digest {
		t.Fatalf("found %v", found)
	}
	_, err := v.Signature(t.Context(), image, found[0], repo)
	refused(t, err, ratify.UntrustedSigner)
	if _, err := v.Signature(t.Context(), image, found[1], repo); err != nil {
		t.Error(err)
	}
}

func TestTags(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	unavailable := &ratify.Error{Code: ratify.RegistryUnavailable}
	good := cosigntest.Collect(image.Digest, must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("a", image.Digest))).Layer())

	t.Run("none", func(t *testing.T) {
		found, err := v.FindSignatures(t.Context(), image, newRepository())
		if len(found) != 0 || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	})
	t.Run("not configured", func(t *testing.T) {
		trust := byKey(t, key)
		trust.CosignTags = false
		off, repo := newVerifier(t, trust), newRepository(good)
		evidence := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))[0]
		repo.Before = func(what string) error { t.Errorf("asked for %s", what); return nil }
		found, err := off.FindSignatures(t.Context(), image, repo)
		more, problem := off.FindAttestations(t.Context(), image, repo)
		if len(found)+len(more) != 0 || err != nil || problem != nil || off.Match(evidence) {
			t.Errorf("%v, %v, %v, %v", found, more, err, problem)
		}
	})
	t.Run("longer than a tag can be", func(t *testing.T) {
		subject := ocispec.Descriptor{Digest: digest.SHA512.FromString("x"), Size: 1, MediaType: ocispec.MediaTypeImageManifest}
		repo := newRepository()
		repo.Before = func(what string) error { t.Errorf("asked for %s", what); return nil }
		if found, err := v.FindSignatures(t.Context(), subject, repo); len(found) != 0 || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	})
	for _, what := range []string{good.Tag, good.Descriptor.Digest.String()} {
		t.Run("unavailable", func(t *testing.T) {
			repo := newRepository(good)
			repo.Before = func(asked string) error {
				if asked == what {
					return unavailable
				}
				return nil
			}
			if _, err := v.FindSignatures(t.Context(), image, repo); !errors.Is(err, unavailable) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("unavailable when it is read", func(t *testing.T) {
		repo := newRepository(good)
		found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
		repo.Before = func(string) error { return unavailable }
		_, err := v.Signature(t.Context(), image, found[0], repo)
		refused(t, err, ratify.RegistryUnavailable)
	})
	for name, data := range map[string]string{"not JSON": "hello", "layers that are none": `{"layers":[5]}`, "no layers": `{"layers":{}}`} {
		t.Run(name, func(t *testing.T) {
			repo := newRepository()
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digestOf(data), Size: int64(len(data))}
			repo.Blobs[desc.Digest], repo.Tags[good.Tag] = []byte(data), desc
			found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
			if name == "no layers" {
				if len(found) != 0 {
					t.Errorf("found %v", found)
				}
				return
			}
			_, err := v.Signature(t.Context(), image, found[0], repo)
			refused(t, err, ratify.EvidenceInvalid, "cosign's tag")
		})
	}
	t.Run("an index", func(t *testing.T) {
		repo := newRepository()
		repo.Tags[good.Tag] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digestOf("x"), Size: 1}
		found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
		_, err := v.Signature(t.Context(), image, found[0], repo)
		refused(t, err, ratify.EvidenceInvalid, ocispec.MediaTypeImageIndex)
	})
	t.Run("a referrer that says to be a layer", func(t *testing.T) {
		repo := newRepository(good)
		evidence := good.Descriptor
		evidence.ArtifactType = cosigntest.SimpleSigningType
		_, err := v.Signature(t.Context(), image, evidence, repo)
		refused(t, err, ratify.EvidenceInvalid, "neither a referrer nor a layer")
	})
}

// TestEndlessCollection: of a million layers, or annotations, in a manifest no more than the bound are decoded. What is not
// read could be a signature.
func TestEndlessCollection(t *testing.T) {
	v := newVerifier(t, byKey(t, newKey(t, cosigntest.P256)))
	for name, data := range map[string][]byte{
		"layers":      fill(4<<20, `{"layers":[{}`, `,{}`, `]}`),
		"annotations": fill(4<<20, `{"layers":[{"annotations":{"":""`, `,"":""`, `}}]}`),
		"other":       fill(4<<20, `{"x":[0`, `,0`, `]}`),
		"nesting":     fill(4<<20, `{"x":`, `[`, ``),
	} {
		t.Run(name, func(t *testing.T) {
			repo := newRepository()
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
			repo.Blobs[desc.Digest], repo.Tags[cosigntest.Collect(image.Digest).Tag] = data, desc
			checkCost(t, len(data), func() {
				found := must[[]ocispec.Descriptor](t)(v.FindSignatures(t.Context(), image, repo))
				_, err := v.Signature(t.Context(), image, found[0], repo)
				refused(t, err, ratify.LimitExceeded, "under cosign's tag")
			})
		})
	}
}

// TestProgress: whoever waits is told what is read.
func TestProgress(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	a := bundled(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest))))
	var steps []string
	ctx := ratify.WithProgress(t.Context(), func(step string) { steps = append(steps, step) })
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, _ = v.Signature(ctx, image, a.Descriptor, newRepository(a))
	_, _, _ = v.Statement(ctx, image, a.Descriptor, newRepository(a))
	if fmt.Sprint(steps) != "[reading a signature reading an attestation]" {
		t.Errorf("%q", steps)
	}
}
