package document_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/document"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// memory is a repository of what was put into it.
type memory struct {
	*cosigntest.Repository
	fetch func(ocispec.Descriptor) error // asked first, if set
}

func newMemory() *memory { return &memory{Repository: cosigntest.NewRepository()} }

func (m *memory) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if m.fetch != nil {
		if err := m.fetch(desc); err != nil {
			return nil, err
		}
	}
	return m.Repository.Fetch(ctx, desc)
}

func (m *memory) put(mediaType string, data []byte) ocispec.Descriptor { return m.Put(mediaType, data) }

func (m *memory) push(a *cosigntest.Artifact) ocispec.Descriptor { return m.Push(a) }

// attach puts a plain artifact of one layer there.
func (m *memory) attach(subject ocispec.Descriptor, artifactType, layerType string, data []byte) ocispec.Descriptor {
	manifest := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Config: ocispec.DescriptorEmptyJSON,
		Layers: []ocispec.Descriptor{m.put(layerType, data)}, Subject: &subject,
	}
	desc := m.put(ocispec.MediaTypeImageManifest, marshal(manifest))
	desc.ArtifactType = artifactType
	return desc
}

func marshal(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// image makes an image that is like no other.
func (m *memory) image(content string) ocispec.Descriptor {
	return m.put(ocispec.MediaTypeImageManifest, marshal(map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "layers": []any{}, "annotations": map[string]string{"content": content}}))
}

const (
	spdxType      = "application/spdx+json"
	cycloneType   = "application/vnd.cyclonedx+json"
	statementType = "application/vnd.in-toto+json"
	envelopeType  = "application/vnd.dsse.envelope.v1+json"
	spdxPredicate = "https://spdx.dev/Document"
)

var kinds = []document.Kind{
	{Name: "SPDX", ArtifactTypes: []string{spdxType}, PredicateTypes: []string{spdxPredicate}},
	{Name: "CycloneDX", ArtifactTypes: []string{cycloneType}, PredicateTypes: []string{"https://cyclonedx.org/bom"}},
}

func newReader(t *testing.T, source document.Source) *document.Reader {
	t.Helper()
	r, err := document.NewReader(source, &files.Set{}, nil, kinds...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// envelope is a DSSE envelope whose signature nobody looks at.
func envelope(payloadType string, payload []byte) []byte {
	return marshal(map[string]any{"payloadType": payloadType, "payload": payload, "signatures": []any{map[string]any{"sig": "bm9uZQ=="}}})
}

// statement is a statement with the fields of which each may be replaced or, by nil, left out.
func statement(subject ocispec.Descriptor, replace map[string]any) []byte {
	fields := map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": spdxPredicate, "predicate": map[string]any{"name": "app"},
		"subject": []any{map[string]any{"name": "app", "digest": map[string]any{"sha256": subject.Digest.Encoded()}}},
	}
	for name, value := range replace {
		if fields[name] = value; value == nil {
			delete(fields, name)
		}
	}
	return marshal(fields)
}

// digests is a list of subjects, one for each map.
func digests(list ...map[string]any) map[string]any {
	var subjects []any
	for _, d := range list {
		subjects = append(subjects, map[string]any{"digest": d})
	}
	return map[string]any{"subject": subjects}
}

// outcome is what Read found, in a form to compare: the kind and type of a document, or the code of a refusal, with an
// exclamation mark where it is unproven, or "other", or "error".
func outcome(doc *document.Document, refusal *ratify.Result, err error) string {
	switch {
	case errors.Is(err, ratify.ErrOtherKind):
		return "other"
	case err != nil:
		return "error"
	case refusal != nil && refusal.Unproven:
		return string(refusal.Code) + "!"
	case refusal != nil:
		return string(refusal.Code)
	}
	return doc.Kind.Name + " " + doc.Type
}

func TestPlain(t *testing.T) {
	m := newMemory()
	image, other := m.image("app"), m.image("other")
	sha512 := digest.SHA512.FromBytes(m.Blobs[image.Digest])
	own := map[string]any{"sha256": image.Digest.Encoded()}
	foreign := map[string]any{"sha256": other.Digest.Encoded()}
	many := make([]map[string]any, 1001)
	for i := range many {
		many[i] = foreign
	}
	good := []byte(`{"name":"app"}`)
	for _, tc := range []struct {
		name                    string
		artifactType, layerType string
		data                    []byte
		want                    string
		message                 string // in the refusal, if it matters
	}{
		{"by artifact type", spdxType, spdxType, good, "SPDX " + spdxType, ""},
		{"by artifact type, layer without one", spdxType, "application/vnd.oci.image.layer.v1.tar", good, "SPDX " + spdxType, ""},
		{"the other kind", cycloneType, cycloneType, good, "CycloneDX " + cycloneType, ""},
		{"by the layer's media type", "", cycloneType, good, "CycloneDX " + cycloneType, ""},
		{"by the layer's media type, type of an image", ocispec.MediaTypeImageConfig, spdxType, good, "SPDX " + spdxType, ""},
		{"types that contradict", spdxType, cycloneType, good, "EVIDENCE_INVALID", cycloneType},
		{"neither type known", "", "application/x", good, "other", ""},
		{"type of an image, an image", ocispec.MediaTypeImageConfig, ocispec.MediaTypeImageLayerGzip, good, "other", ""},

		{"no JSON", spdxType, spdxType, []byte("SPDXVersion: SPDX-2.3"), "EVIDENCE_INVALID", ""},
		{"a name twice", spdxType, spdxType, []byte(`{"name":"a","name":"b"}`), "EVIDENCE_INVALID", `"name" is there twice`},
		{"too deep", spdxType, spdxType, []byte(strings.Repeat("[", 101) + strings.Repeat("]", 101)), "LIMIT_EXCEEDED", ""},
		{"too large", spdxType, spdxType, make([]byte, ratify.MaxDocumentBytes+1), "LIMIT_EXCEEDED", "16777217 bytes"},
		{"empty", spdxType, spdxType, nil, "EVIDENCE_INVALID", ""},

		{"statement", statementType, statementType, statement(image, nil), "SPDX " + spdxPredicate, ""},
		{"statement v0.1", statementType, statementType, statement(image, map[string]any{"_type": "https://in-toto.io/Statement/v0.1"}), "SPDX " + spdxPredicate, ""},
		{"statement in an envelope", envelopeType, envelopeType, envelope(statementType, statement(image, nil)), "SPDX " + spdxPredicate, ""},
		{"envelope under the statement's type", statementType, statementType, envelope(statementType, statement(image, nil)), "SPDX " + spdxPredicate, ""},
		{"statement under the document's type", spdxType, statementType, statement(image, nil), "SPDX " + spdxPredicate, ""},
		{"envelope under the predicate's type", "application/vnd.in-toto.spdx+dsse", "application/x", envelope(statementType, statement(image, nil)), "SPDX " + spdxPredicate, ""},
		{"envelope without artifact type", "", envelopeType, envelope(statementType, statement(image, nil)), "SPDX " + spdxPredicate, ""},
		{"no predicate", statementType, statementType, statement(image, map[string]any{"predicate": nil}), "SPDX " + spdxPredicate, ""},
		{"several subjects, one is it", statementType, statementType, statement(image, digests(foreign, map[string]any{"sha1": "00"}, own)), "SPDX " + spdxPredicate, ""},
		{"a second algorithm", statementType, statementType, statement(image, digests(map[string]any{"sha1": "00", "sha256": image.Digest.Encoded()})), "SPDX " + spdxPredicate, ""},

		{"another predicate type", statementType, statementType, statement(image, map[string]any{"predicateType": "https://example.com/x"}), "other", ""},
		{"another type of statement", statementType, statementType, statement(image, map[string]any{"_type": "https://in-toto.io/Statement/v2"}), "EVIDENCE_INVALID", "Statement/v2"},
		{"no type of statement", statementType, statementType, statement(image, map[string]any{"_type": nil}), "EVIDENCE_INVALID", ""},
		{"no predicate type", statementType, statementType, statement(image, map[string]any{"predicateType": nil}), "EVIDENCE_INVALID", ""},
		{"predicate type is a number", statementType, statementType, statement(image, map[string]any{"predicateType": 1}), "EVIDENCE_INVALID", ""},
		{"no subject", statementType, statementType, statement(image, map[string]any{"subject": nil}), "EVIDENCE_INVALID", ""},
		{"subject is no list", statementType, statementType, statement(image, map[string]any{"subject": own}), "EVIDENCE_INVALID", ""},
		{"subjects are texts", statementType, statementType, statement(image, map[string]any{"subject": []any{"app"}}), "EVIDENCE_INVALID", ""},
		{"digest is a list", statementType, statementType, statement(image, digests(map[string]any{"sha256": []any{image.Digest.Encoded()}})), "EVIDENCE_INVALID", ""},
		{"no subjects", statementType, statementType, statement(image, map[string]any{"subject": []any{}}), "SUBJECT_MISMATCH!", "about nothing"},
		{"another image", statementType, statementType, statement(other, nil), "SUBJECT_MISMATCH!", other.Digest.String()},
		{"another image in an envelope", envelopeType, envelopeType, envelope(statementType, statement(other, nil)), "SUBJECT_MISMATCH!", other.Digest.String()},
		{"by SHA-1 alone", statementType, statementType, statement(image, digests(map[string]any{"sha1": strings.Repeat("0", 40)})), "SUBJECT_MISMATCH!", `by "sha1" alone`},
		{"by SHA-1 under SHA-256's name", statementType, statementType, statement(image, digests(map[string]any{"sha256": strings.Repeat("0", 40)})), "SUBJECT_MISMATCH!", ""},
		{"by name alone", statementType, statementType, statement(image, map[string]any{"subject": []any{map[string]any{"name": image.Digest.String()}}}), "SUBJECT_MISMATCH!", ""},
		{"digest in other letters", statementType, statementType, statement(image, digests(map[string]any{"SHA256": image.Digest.Encoded()})), "SUBJECT_MISMATCH!", ""},
		{"by SHA-512, which nobody computed", statementType, statementType, statement(image, digests(map[string]any{"sha512": sha512.Encoded()})), "SUBJECT_MISMATCH!", ""},
		{"too many subjects", statementType, statementType, statement(image, digests(many...)), "LIMIT_EXCEEDED", "1000"},
		{"field in other letters", statementType, statementType, statement(image, map[string]any{"predicateType": nil, "PredicateType": spdxPredicate}), "EVIDENCE_INVALID", ""},
		{"subject twice", statementType, statementType, append([]byte(`{"subject":[],`), statement(image, nil)[1:]...), "EVIDENCE_INVALID", `"subject" is there twice`},
		{"both a statement and an envelope", statementType, statementType, statement(image, map[string]any{"payload": statement(image, nil), "payloadType": statementType}), "EVIDENCE_INVALID", "as a statement and as an envelope"},
		{"envelope of something else", envelopeType, envelopeType, envelope("application/json", statement(image, nil)), "EVIDENCE_INVALID", "application/json"},
		{"envelope of an envelope", envelopeType, envelopeType, envelope(statementType, envelope(statementType, statement(image, nil))), "EVIDENCE_INVALID", ""},
		{"envelope of a list", envelopeType, envelopeType, envelope(statementType, []byte(`[]`)), "EVIDENCE_INVALID", ""},
		{"envelope of what has a name twice", envelopeType, envelopeType, envelope(statementType, append([]byte(`{"predicate":1,`), statement(image, nil)[1:]...)), "EVIDENCE_INVALID", `"predicate" is there twice`},
		{"envelope in no base64", envelopeType, envelopeType, []byte(`{"payloadType":"` + statementType + `","payload":"%"}`), "EVIDENCE_INVALID", "base64"},
		{"list", statementType, statementType, []byte(`[]`), "EVIDENCE_INVALID", ""},
		{"null", statementType, statementType, []byte(`null`), "EVIDENCE_INVALID", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReader(t, document.Source{})
			evidence := m.attach(image, tc.artifactType, tc.layerType, tc.data)
			if !r.Match(evidence) {
				t.Fatal("does not match")
			}
			doc, refusal, err := r.Read(t.Context(), image, evidence, m)
			if got := outcome(doc, refusal, err); got != tc.want {
				t.Fatalf("%s, want %s (%+v, %v)", got, tc.want, refusal, err)
			}
			if refusal != nil && (!strings.Contains(refusal.Message, tc.message) || len(refusal.Message) > 2000) {
				t.Errorf("message %q, want one with %q", refusal.Message, tc.message)
			}
			if doc != nil && !json.Valid(doc.Data) {
				t.Errorf("data %q", doc.Data)
			}
		})
	}
}

func TestPlainData(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	r := newReader(t, document.Source{})
	statement := statement(image, map[string]any{"predicate": map[string]any{"a": []any{1.5, "????"}}})
	encoded := base64.URLEncoding.EncodeToString(statement)
	if !strings.Contains(encoded, "_") {
		t.Fatal("it is the same in both alphabets")
	}
	urlSafe := marshal(map[string]any{"payloadType": statementType, "payload": encoded})
	for _, tc := range []struct {
		name, artifactType string
		data               []byte
		want               string
	}{
		{"blob", spdxType, []byte(` {"a": 1} `), ` {"a": 1} `},
		{"predicate", statementType, statement, `{"a":[1.5,"????"]}`},
		{"predicate in an envelope", envelopeType, envelope(statementType, statement), `{"a":[1.5,"????"]}`},
		{"predicate in URL-safe base64", envelopeType, urlSafe, `{"a":[1.5,"????"]}`},
	} {
		doc, refusal, err := r.Read(t.Context(), image, m.attach(image, tc.artifactType, tc.artifactType, tc.data), m)
		if err != nil || refusal != nil || string(doc.Data) != tc.want || !doc.Made.IsZero() || doc.Signer != nil {
			t.Errorf("%s: %+v %+v (%v)", tc.name, doc, refusal, err)
		}
	}
}

func TestOtherPredicateIsNamed(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	evidence := m.attach(image, statementType, statementType, statement(image, map[string]any{"predicateType": "https://example.com/\x1b"}))
	_, _, err := newReader(t, document.Source{}).Read(t.Context(), image, evidence, m)
	if err == nil || err.Error() != ratify.ErrOtherKind.Error()+`: an attestation of "https://example.com/\x1b"` {
		t.Errorf("%v", err)
	}
	// What is no attestation is no attestation of another type.
	for _, layerType := range []string{"application/x", ""} {
		if _, _, err := newReader(t, document.Source{}).Read(t.Context(), image, m.attach(image, "", layerType, []byte("x")), m); err != ratify.ErrOtherKind { //nolint:errorlint // with no text of its own
			t.Errorf("%q: %v", layerType, err)
		}
	}
}

func TestPlainManifests(t *testing.T) {
	m := newMemory()
	image, other := m.image("app"), m.image("other")
	layer := m.put(spdxType, []byte(`{}`))
	manifest := func(change func(*ocispec.Manifest)) ocispec.Descriptor {
		doc := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: spdxType, Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &image}
		change(&doc)
		desc := m.put(ocispec.MediaTypeImageManifest, marshal(doc))
		desc.ArtifactType = doc.ArtifactType
		return desc
	}
	claim := func(artifactType string, desc ocispec.Descriptor) ocispec.Descriptor {
		desc.ArtifactType = artifactType
		return desc
	}
	none := func(*ocispec.Manifest) {}
	for _, tc := range []struct {
		name     string
		evidence ocispec.Descriptor
		want     string
	}{
		{"good", manifest(none), "SPDX " + spdxType},
		{"listed without its type", claim("", manifest(none)), "SPDX " + spdxType},
		{"envelope listed without its type", claim("", m.attach(image, "application/vnd.in-toto.spdx+dsse", "application/x", envelope(statementType, statement(image, nil)))), "SPDX " + spdxPredicate},
		{"another image's", manifest(func(m *ocispec.Manifest) { m.Subject = &other }), "SUBJECT_MISMATCH!"},
		{"nobody's", manifest(func(m *ocispec.Manifest) { m.Subject = nil }), "SUBJECT_MISMATCH!"},
		{"two layers", manifest(func(m *ocispec.Manifest) { m.Layers = append(m.Layers, layer) }), "EVIDENCE_INVALID"},
		{"two layers and no type", manifest(func(m *ocispec.Manifest) { m.ArtifactType = ""; m.Layers = append(m.Layers, layer) }), "other"},
		{"listed as another kind", claim(cycloneType, manifest(none)), "EVIDENCE_INVALID"},
		{"listed as a kind, and without a type", claim(spdxType, manifest(func(m *ocispec.Manifest) { m.ArtifactType = "" })), "SPDX " + spdxType},
		{"listed without its type, and foreign", claim("", manifest(func(m *ocispec.Manifest) { m.ArtifactType = "application/x" })), "other"},
		{"layer of an unknown digest", manifest(func(m *ocispec.Manifest) { m.Layers = []ocispec.Descriptor{{MediaType: spdxType, Digest: "md5:00"}} }), "EVIDENCE_INVALID"},
		{"layer of a negative size", manifest(func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }), "EVIDENCE_INVALID"},
		{"layer that is larger than it says", manifest(func(m *ocispec.Manifest) { m.Layers[0].Size-- }), "error"},
		{"layer that is not there", manifest(func(m *ocispec.Manifest) {
			m.Layers = []ocispec.Descriptor{{MediaType: spdxType, Digest: digest.FromString("gone")}}
		}), "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			layer = m.put(spdxType, []byte(`{}`))
			r := newReader(t, document.Source{})
			doc, refusal, err := r.Read(t.Context(), image, tc.evidence, m)
			if got := outcome(doc, refusal, err); !r.Match(tc.evidence) || got != tc.want {
				t.Errorf("%s, want %s (%+v, %v)", got, tc.want, refusal, err)
			}
		})
	}
}

func TestInlineDataAndURLsAreNotFollowed(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	layer := m.put(spdxType, []byte(`{"from":"the registry"}`))
	layer.Data, layer.URLs = []byte(`{"from":"the manifest"}`), []string{"http://127.0.0.1:1/"}
	desc := m.put(ocispec.MediaTypeImageManifest, marshal(ocispec.Manifest{ArtifactType: spdxType, Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &image}))
	desc.ArtifactType = spdxType
	m.fetch = func(asked ocispec.Descriptor) error {
		if asked.Digest == layer.Digest && (asked.Data != nil || asked.URLs != nil) {
			return fmt.Errorf("asked with %+v", asked)
		}
		return nil
	}
	doc, _, err := newReader(t, document.Source{}).Read(t.Context(), image, desc, m)
	if err != nil || !bytes.Contains(doc.Data, []byte("the registry")) {
		t.Errorf("%+v (%v)", doc, err)
	}
}

func TestMatch(t *testing.T) {
	key, _ := writeKey(t, "ci")
	plain := newReader(t, document.Source{})
	proving := newReader(t, document.Source{Trust: sigstore.Trust{Keys: []sigstore.Key{key}, CosignTags: true}})
	for _, tc := range []struct {
		mediaType, artifactType string
		plain, proving          bool
	}{
		{ocispec.MediaTypeImageManifest, spdxType, true, true},
		{ocispec.MediaTypeImageManifest, statementType, true, true},
		{ocispec.MediaTypeImageManifest, envelopeType, true, true},
		{ocispec.MediaTypeImageManifest, "", true, true},
		{ocispec.MediaTypeImageManifest, cosigntest.BundleType, false, true},
		{envelopeType, envelopeType, false, true},
		{ocispec.MediaTypeImageManifest, "application/vnd.cncf.notary.signature", false, false},
		{ocispec.MediaTypeImageIndex, spdxType, false, false},
		{spdxType, spdxType, false, false},
	} {
		desc := ocispec.Descriptor{MediaType: tc.mediaType, ArtifactType: tc.artifactType}
		if got := plain.Match(desc); got != tc.plain {
			t.Errorf("without trust, %+v: %t", desc, got)
		}
		if got := proving.Match(desc); got != tc.proving {
			t.Errorf("with trust, %+v: %t", desc, got)
		}
	}
	if plain.Proves() || !proving.Proves() {
		t.Errorf("proves: %t without trust, %t with it", plain.Proves(), proving.Proves())
	}
}

func writeKey(t *testing.T, name string) (sigstore.Key, *cosigntest.Key) {
	t.Helper()
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name+".pub")
	if err := os.WriteFile(path, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return sigstore.Key{Name: name, File: path}, key
}

func sign(t *testing.T, key *cosigntest.Key, statement []byte) *cosigntest.Signed {
	t.Helper()
	signed, err := key.Sign(statement)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestAttestation(t *testing.T) {
	m := newMemory()
	image, other := m.image("app"), m.image("other")
	trusted, key := writeKey(t, "ci")
	_, stranger := writeKey(t, "stranger")
	bundle := func(signed *cosigntest.Signed) ocispec.Descriptor {
		return m.push(cosigntest.AttachBundle(image, signed.Bundle()))
	}
	tampered := func(change func(*cosigntest.Signed)) *cosigntest.Signed {
		signed := sign(t, key, statement(image, nil))
		change(signed)
		return signed
	}
	unlisted := func(desc ocispec.Descriptor) ocispec.Descriptor {
		desc.ArtifactType = ""
		return desc
	}
	huge := statement(image, map[string]any{"predicate": strings.Repeat("x", ratify.MaxDocumentBytes)})
	large := statement(image, map[string]any{"predicate": strings.Repeat("x", 2*ratify.MaxEnvelopeBytes)})
	for _, tc := range []struct {
		name     string
		evidence ocispec.Descriptor
		want     string
		message  string
	}{
		{"bundle", bundle(sign(t, key, statement(image, nil))), "SPDX " + spdxPredicate, ""},
		{"bundle listed without its type", unlisted(bundle(sign(t, key, statement(image, nil)))), "SPDX " + spdxPredicate, ""},
		{"statement v0.1", bundle(sign(t, key, statement(image, map[string]any{"_type": "https://in-toto.io/Statement/v0.1"}))), "SPDX " + spdxPredicate, ""},
		{"several subjects", bundle(sign(t, key, statement(image, digests(map[string]any{"sha256": other.Digest.Encoded()}, map[string]any{"sha256": image.Digest.Encoded()})))), "SPDX " + spdxPredicate, ""},
		{"large", bundle(sign(t, key, large)), "SPDX " + spdxPredicate, ""},
		{"too large", bundle(sign(t, key, huge)), "LIMIT_EXCEEDED!", ""},
		{"by another key", bundle(sign(t, stranger, statement(image, nil))), "UNTRUSTED_SIGNER!", `"ci"`},
		{"payload changed", bundle(tampered(func(s *cosigntest.Signed) { s.Message = statement(image, map[string]any{"predicate": "x"}) })), "SIGNATURE_INVALID!", ""},
		{"signature changed", bundle(tampered(func(s *cosigntest.Signed) { s.Signature[len(s.Signature)-1] ^= 1 })), "SIGNATURE_INVALID!", ""},
		{"for another image", bundle(sign(t, key, statement(other, nil))), "SUBJECT_MISMATCH!", other.Digest.Encoded()},
		{"by SHA-1 alone", bundle(sign(t, key, statement(image, digests(map[string]any{"sha1": strings.Repeat("0", 40)})))), "EVIDENCE_INVALID!", ""},
		{"another image's bundle", m.push(cosigntest.AttachBundle(other, sign(t, key, statement(other, nil)).Bundle())), "SUBJECT_MISMATCH!", ""},
		{"another predicate type", bundle(sign(t, key, statement(image, map[string]any{"predicateType": "https://example.com/x"}))), "other", ""},
		{"a signature", bundle(sign(t, key, cosigntest.SignStatement(image.Digest))), "other", ""},
		{"a name twice in the predicate", bundle(sign(t, key, statement(image, map[string]any{"predicate": json.RawMessage(`{"a":1,"a":2}`)}))), "EVIDENCE_INVALID", `"a" is there twice`},
		{"predicate too deep", bundle(sign(t, key, statement(image, map[string]any{"predicate": json.RawMessage(strings.Repeat("[", 101) + strings.Repeat("]", 101))}))), "LIMIT_EXCEEDED", ""},
		{"another type of statement", bundle(sign(t, key, statement(image, map[string]any{"_type": "https://in-toto.io/Statement/v2"}))), "EVIDENCE_INVALID", "Statement/v2"},
		{"no bundle", m.push(cosigntest.AttachBundle(image, []byte("{}"))), "EVIDENCE_INVALID!", ""},
		{"attached as it is", m.attach(image, spdxType, spdxType, []byte(`{}`)), "EVIDENCE_UNPROVEN!", spdxType},
		{"statement attached as it is", m.attach(image, statementType, statementType, statement(image, nil)), "EVIDENCE_UNPROVEN!", ""},
		{"attached as it is, without a type", m.attach(image, "", spdxType, []byte(`{}`)), "other", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newReader(t, document.Source{Trust: sigstore.Trust{Keys: []sigstore.Key{trusted}}})
			if !r.Match(tc.evidence) {
				t.Fatal("does not match")
			}
			doc, refusal, err := r.Read(t.Context(), image, tc.evidence, m)
			if got := outcome(doc, refusal, err); got != tc.want {
				t.Fatalf("%s, want %s (%+v, %v)", got, tc.want, refusal, err)
			}
			if refusal != nil && !strings.Contains(refusal.Message, tc.message) {
				t.Errorf("message %q, want one with %q", refusal.Message, tc.message)
			}
			if doc != nil && (doc.Signer["key"] != "ci" || !doc.Made.IsZero()) {
				t.Errorf("signer %v, made %s", doc.Signer, doc.Made)
			}
		})
	}
}

func TestFind(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	trusted, key := writeKey(t, "ci")
	_, stranger := writeKey(t, "stranger")
	m.push(cosigntest.Collect(image.Digest, sign(t, stranger, statement(image, nil)).Layer(), sign(t, key, statement(image, nil)).Layer()))
	for _, tc := range []struct {
		name  string
		trust sigstore.Trust
		want  []string
	}{
		{"asked for", sigstore.Trust{Keys: []sigstore.Key{trusted}, CosignTags: true}, []string{"UNTRUSTED_SIGNER!", "SPDX " + spdxPredicate}},
		{"not asked for", sigstore.Trust{Keys: []sigstore.Key{trusted}}, nil},
		{"nobody is believed", sigstore.Trust{}, nil},
	} {
		r := newReader(t, document.Source{Trust: tc.trust})
		found, err := r.Find(t.Context(), image, m)
		if err != nil || len(found) != len(tc.want) {
			t.Fatalf("%s: %+v (%v)", tc.name, found, err)
		}
		for i, evidence := range found {
			if got := outcome(r.Read(t.Context(), image, evidence, m)); !r.Match(evidence) || got != tc.want[i] {
				t.Errorf("%s: %d: %s, want %s", tc.name, i, got, tc.want[i])
			}
		}
	}
}

// A timestamp beside a signature by a key can be made any day by whoever has the signature, and must not make it younger.
func TestMade(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	private, err := cosigntest.NewSigstore("private")
	if err != nil {
		t.Fatal(err)
	}
	trustedRoot, err := cosigntest.TrustedRoot(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, trustedRoot, 0o600); err != nil {
		t.Fatal(err)
	}
	trusted, key := writeKey(t, "ci")
	one := 1
	r := newReader(t, document.Source{Trust: sigstore.Trust{
		Keys: []sigstore.Key{trusted}, Identities: []sigstore.Identity{{Issuer: "https://issuer.example", Subject: "ci@example.com"}},
		TrustedRoot: path, Thresholds: sigstore.Thresholds{Timestamps: &one},
	}})
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	byIdentity, err := private.Sign(statement(image, nil), cosigntest.Options{Identity: "ci@example.com", Issuer: "https://issuer.example", At: at, Stamp: true})
	if err != nil {
		t.Fatal(err)
	}
	byKey := sign(t, key, statement(image, nil))
	if err := private.Stamp(byKey, at); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		signed *cosigntest.Signed
		made   time.Time
		signer string
	}{
		{"identity", byIdentity, at, "identity"},
		{"key", byKey, time.Time{}, "key"},
	} {
		doc, refusal, err := r.Read(t.Context(), image, m.push(cosigntest.AttachBundle(image, tc.signed.Bundle())), m)
		if err != nil || refusal != nil {
			t.Fatalf("%s: %+v (%v)", tc.name, refusal, err)
		}
		if !doc.Made.Equal(tc.made) || doc.Signer[tc.signer] == nil || doc.Signer["signedBefore"] != at.UTC().Format(time.RFC3339) {
			t.Errorf("%s: made %s, want %s; signer %v", tc.name, doc.Made, tc.made, doc.Signer)
		}
	}
}

func TestWhatIsNotReadIsNoRefusal(t *testing.T) {
	m := newMemory()
	image := m.image("app")
	trusted, key := writeKey(t, "ci")
	plain := m.attach(image, spdxType, spdxType, []byte(`{}`))
	bundle := m.push(cosigntest.AttachBundle(image, sign(t, key, statement(image, nil)).Bundle()))
	away := &ratify.Error{Code: ratify.RegistryUnavailable}
	m.fetch = func(ocispec.Descriptor) error { return away }
	for name, read := range map[string]struct {
		source   document.Source
		evidence ocispec.Descriptor
	}{
		"plain":       {document.Source{}, plain},
		"attestation": {document.Source{Trust: sigstore.Trust{Keys: []sigstore.Key{trusted}}}, bundle},
	} {
		if doc, refusal, err := newReader(t, read.source).Read(t.Context(), image, read.evidence, m); !errors.Is(err, away) || doc != nil || refusal != nil {
			t.Errorf("%s: %+v %+v (%v)", name, doc, refusal, err)
		}
	}
}

func TestNewReaderTellsWhatIsWrong(t *testing.T) {
	_, err := document.NewReader(document.Source{Trust: sigstore.Trust{Keys: []sigstore.Key{{Name: "ci", File: "/nowhere"}}}}, nil, nil, kinds...)
	if err == nil || !strings.Contains(err.Error(), `keys[0] "ci"`) {
		t.Errorf("%v", err)
	}
}

func FuzzStatement(f *testing.F) {
	m := newMemory()
	image, other := m.image("app"), m.image("other")
	for _, seed := range [][]byte{statement(image, nil), statement(other, nil), envelope(statementType, statement(image, nil)), []byte(`{"_type":1}`), []byte(`{"payload":"e30="}`)} {
		f.Add(seed)
	}
	r, err := document.NewReader(document.Source{}, nil, nil, kinds...)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemory()
		doc, refusal, err := r.Read(t.Context(), image, m.attach(image, statementType, statementType, data), m)
		set := 0
		for _, is := range []bool{doc != nil, refusal != nil, err != nil} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Fatalf("%+v %+v (%v)", doc, refusal, err)
		}
		if refusal != nil && (refusal.Passed || !refusal.Code.Definitive()) {
			t.Fatalf("%+v", refusal)
		}
		if doc != nil && (!json.Valid(doc.Data) || doc.Kind.Name == "") {
			t.Fatalf("%+v", doc)
		}
	})
}

// TestWarningsOfIdentities: whoever believes nearly everybody is told, whatever else he has set.
func TestWarningsOfIdentities(t *testing.T) {
	instance, err := cosigntest.NewSigstore("ours")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cosigntest.TrustedRoot(instance)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, root, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, document.Source{Trust: sigstore.Trust{TrustedRoot: path, CosignTags: true, Identities: []sigstore.Identity{{IssuerPattern: "^https://.*$", SubjectPattern: "^https://.*$"}}}})
	if warnings := r.Warnings(time.Hour); len(warnings) != 1 || !strings.HasPrefix(warnings[0], "identities[0]: ") {
		t.Errorf("%q", warnings)
	}
	if warnings := r.Warnings(0); len(warnings) != 2 {
		t.Errorf("%q", warnings)
	}
}
