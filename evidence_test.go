package ratify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

const (
	imageType  = ocispec.MediaTypeImageManifest
	indexType  = ocispec.MediaTypeImageIndex
	dockerType = ratify.MediaTypeDockerManifest
	listType   = ratify.MediaTypeDockerManifestList
)

func TestDescribeManifest(t *testing.T) {
	descriptor := `{"mediaType":"application/octet-stream","digest":"` + someDigest + `","size":3}`
	for _, tc := range []struct {
		name, data, claimed string
		want                string // the media type; empty: refused
	}{
		{"image", `{"schemaVersion":2,"mediaType":"` + imageType + `","config":` + descriptor + `,"layers":[]}`, "", imageType},
		{"image, type claimed", `{"schemaVersion":2,"config":` + descriptor + `,"layers":[]}`, imageType, imageType},
		{"image, its own type counts", `{"mediaType":"` + imageType + `","layers":[]}`, "text/html", imageType},
		{"index", `{"schemaVersion":2,"mediaType":"` + indexType + `","manifests":[` + descriptor + `]}`, "", indexType},
		{"index, type claimed", `{"manifests":[]}`, indexType, indexType},
		{"Docker manifest", `{"mediaType":"` + dockerType + `","config":` + descriptor + `,"layers":[]}`, "", dockerType},
		{"Docker list", `{"mediaType":"` + listType + `","manifests":[]}`, "", listType},
		{"unknown fields", `{"mediaType":"` + imageType + `","layers":[],"x":{"layers":1}}`, "", imageType},
		{"annotations are anybody's own", `{"mediaType":"` + imageType + `","layers":[],"annotations":{"Layers":"a","layers":"b"}}`, "", imageType},

		{"both", `{"mediaType":"` + imageType + `","layers":[],"manifests":[]}`, "", ""},
		{"both, one null", `{"mediaType":"` + imageType + `","layers":[],"manifests":null}`, "", ""},
		{"config and manifests", `{"mediaType":"` + indexType + `","config":` + descriptor + `,"manifests":[]}`, "", ""},
		{"both, the second in other letters", `{"mediaType":"` + imageType + `","layers":[],"Manifests":[]}`, "", ""},
		{"both, the second with a long s", `{"mediaType":"` + imageType + `","layers":[],"manifeſts":[]}`, "", ""},
		{"layers in other letters", `{"mediaType":"` + imageType + `","layers":[],"LAYERS":[]}`, "", ""},
		{"image with the index's type", `{"mediaType":"` + indexType + `","layers":[]}`, "", ""},
		{"index with the image's type", `{"mediaType":"` + imageType + `","manifests":[]}`, "", ""},
		{"index claimed to be an image", `{"manifests":[]}`, imageType, ""},
		{"image claimed to be an index", `{"layers":[]}`, listType, ""},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, imageType, ""},
		{"type twice", `{"mediaType":"` + indexType + `","mediaType":"` + imageType + `"}`, "", ""},
		{"type twice in other letters", `{"mediaType":"` + indexType + `","MediaType":"` + imageType + `"}`, "", ""},
		{"type in other letters", `{"MEDIATYPE":"` + imageType + `","layers":[]}`, "", ""},
		{"name twice within", `{"mediaType":"` + imageType + `","config":{"digest":"a","digest":"b"},"layers":[]}`, "", ""},
		{"name twice in an annotation", `{"mediaType":"` + imageType + `","layers":[],"annotations":{"a":"b","a":"c"}}`, "", ""},
		{"no type at all", `{"layers":[]}`, "", ""},
		{"another type", `{"mediaType":"application/json","layers":[]}`, imageType, ""},
		{"another type claimed", `{"layers":[]}`, "text/html", ""},
		{"type with a parameter", `{"layers":[]}`, imageType + "; charset=utf-8", ""},
		{"type is a number", `{"mediaType":1}`, imageType, ""},
		{"config is a list", `{"mediaType":"` + imageType + `","config":[]}`, "", ""},
		{"null", `null`, "", ""},
		{"list", `[]`, imageType, ""},
		{"number", `1`, imageType, ""},
		{"string", `"{}"`, imageType, ""},
		{"empty", ``, imageType, ""},
		{"HTML", `<html>`, imageType, ""},
		{"truncated", `{"mediaType":"` + imageType + `","layers":[`, "", ""},
		{"trailing", `{"mediaType":"` + imageType + `","layers":[]} {}`, "", ""},
		{"byte order mark", "\ufeff" + `{"mediaType":"` + imageType + `","layers":[]}`, "", ""},
		{"deep", `{"mediaType":"` + imageType + `","layers":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc, err := ratify.DescribeManifest([]byte(tc.data), "", tc.claimed)
			if tc.want == "" {
				var e *ratify.Error
				if !errors.As(err, &e) || e.Code != ratify.SubjectInvalid || desc.Digest != "" {
					t.Fatalf("%+v, error %v, want SUBJECT_INVALID", desc, err)
				}
				if len(e.UserMessage()) > 4*ratify.MaxTextBytes || strings.ContainsAny(e.UserMessage(), "\n\x00\x1b") {
					t.Errorf("message %q", e.UserMessage())
				}
				return
			}
			if err != nil || desc.MediaType != tc.want || desc.Digest != digest.FromString(tc.data) || desc.Size != int64(len(tc.data)) {
				t.Errorf("%+v, want %s (%v)", desc, tc.want, err)
			}
		})
	}
}

func TestDescribeManifestAlgorithm(t *testing.T) {
	data := []byte(`{"mediaType":"` + imageType + `","artifactType":"application/x","layers":[]}`)
	for _, tc := range []struct {
		algorithm digest.Algorithm
		want      digest.Digest
	}{
		{"", digest.SHA256.FromBytes(data)},
		{digest.SHA256, digest.SHA256.FromBytes(data)},
		{digest.SHA512, digest.SHA512.FromBytes(data)},
		{"md5", ""},
		{"sha1", ""},
		{"\x1b", ""},
	} {
		desc, err := ratify.DescribeManifest(data, tc.algorithm, "")
		if (err == nil) != (tc.want != "") || desc.Digest != tc.want {
			t.Errorf("%q: %s, want %s (%v)", tc.algorithm, desc.Digest, tc.want, err)
		}
		if err == nil && desc.ArtifactType != "application/x" {
			t.Errorf("artifact type %q", desc.ArtifactType)
		}
	}
}

// TestDescribeManifestHoldsLittle: a descriptor lives as long as its image is examined, and what is decoded for it is no
// multiple of the manifest.
func TestDescribeManifestHoldsLittle(t *testing.T) {
	data := []byte(`{"mediaType":"` + imageType + `","artifactType":"` + strings.Repeat("x", 1<<20) + `","config":{"annotations":{"":""`)
	for i := range 9_000 {
		data = fmt.Appendf(data, `,"%x":""`, i)
	}
	data = append(data, "}}}"...)
	desc, err := ratify.DescribeManifest(data, "", "")
	if err != nil || len(desc.ArtifactType) > ratify.MaxTextBytes {
		t.Errorf("artifact type of %d bytes, error %v", len(desc.ArtifactType), err)
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = ratify.DescribeManifest(data, "", "") }); n > 20_000 {
		t.Errorf("%.0f allocations: the config was decoded", n) // two for each name, to find doubles
	}
}

func TestIsManifest(t *testing.T) {
	for mediaType, want := range map[string]bool{
		imageType: true, indexType: true, dockerType: true, listType: true, "application/vnd.oci.artifact.manifest.v1+json": true,
		"": false, "application/json": false, strings.ToUpper(imageType): false, imageType + ";q=1": false, ocispec.MediaTypeImageLayer: false,
	} {
		if got := ratify.IsManifest(mediaType); got != want {
			t.Errorf("%q: %t", mediaType, got)
		}
	}
}

// FuzzManifest: of what is accepted, a reader that takes names by their exact letters, and one that takes the first of
// two, say the same.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		`{"schemaVersion":2,"mediaType":"` + imageType + `","config":{"digest":"` + someDigest + `","size":2},"layers":[{"size":1}]}`,
		`{"mediaType":"` + indexType + `","manifests":[{"digest":"` + someDigest + `"}],"annotations":{"a":"b"}}`,
		`{"mediaType":"` + imageType + `","MEDIATYPE":"` + indexType + `"}`, `{"layers":[],"manifeſts":null}`, `{"mediaType":null}`, `null`, `[1,2`, `{"a":1}{}`,
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), imageType)
		f.Add([]byte(seed), listType)
	}
	f.Fuzz(func(t *testing.T, data []byte, claimed string) {
		desc, err := ratify.DescribeManifest(data, "", claimed)
		readEvidence(t, data)
		if err != nil {
			var e *ratify.Error
			if !errors.As(err, &e) || e.Code != ratify.SubjectInvalid {
				t.Fatalf("error %v", err)
			}
			return
		}
		if desc.Digest != digest.FromBytes(data) || desc.Size != int64(len(data)) || !ratify.IsManifest(desc.MediaType) {
			t.Fatalf("%+v", desc)
		}
		exact := map[string]json.RawMessage{}
		if err := json.Unmarshal(data, &exact); err != nil {
			t.Fatal(err)
		}
		var mediaType string
		if raw, ok := exact["mediaType"]; ok && json.Unmarshal(raw, &mediaType) != nil {
			t.Fatalf("media type %s", raw)
		}
		if mediaType == "" {
			mediaType = claimed
		}
		if desc.MediaType != mediaType {
			t.Fatalf("media type %q, to another reader %q", desc.MediaType, mediaType)
		}
		_, image := exact["layers"]
		_, index := exact["manifests"]
		if isIndex := mediaType == indexType || mediaType == listType; image && index || image && isIndex || index && !isIndex {
			t.Fatalf("%q could be read as two kinds", data)
		}
		for name := range exact {
			for _, field := range []string{"mediaType", "layers", "manifests", "config", "subject"} {
				if name != field && strings.EqualFold(name, field) {
					t.Fatalf("%q has the field %q in other letters", data, name)
				}
			}
		}
	})
}

// readEvidence reads the bytes as evidence and checks what holds of all that is accepted.
func readEvidence(t *testing.T, data []byte) {
	evidence := ocispec.Descriptor{MediaType: imageType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return data, nil }}
	m, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, evidence, 1, "kind")
	if err != nil {
		if !errors.Is(err, ratify.ErrOtherKind) && !ratify.AsError(err).Code.Definitive() {
			t.Fatalf("error %v", err)
		}
		return
	}
	if m.Subject.Digest != subjectDescriptor.Digest || m.Subject.Size != subjectDescriptor.Size || len(m.Layers) != 1 || m.Layers[0].Digest.Validate() != nil {
		t.Fatalf("accepted %+v", m)
	}
}

// evidenceManifest is a good one, which each case changes.
func evidenceManifest(change func(m map[string]any)) []byte {
	m := map[string]any{
		"schemaVersion": 2, "mediaType": imageType, "artifactType": "kind",
		"config":  map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": someDigest, "size": 2},
		"layers":  []any{map[string]any{"mediaType": "application/jose+json", "digest": someDigest, "size": 7}},
		"subject": map[string]any{"mediaType": imageType, "digest": subjectDescriptor.Digest, "size": subjectDescriptor.Size},
	}
	if change != nil {
		change(m)
	}
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return data
}

func manyAnnotations(n int) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[strconv.Itoa(i)] = ""
	}
	return all
}

func TestReadEvidence(t *testing.T) {
	set := func(name string, value any) func(map[string]any) { return func(m map[string]any) { m[name] = value } }
	subject := func(d digest.Digest, size any) func(map[string]any) {
		return set("subject", map[string]any{"digest": d, "size": size})
	}
	layer := func(d string, size any) any { return map[string]any{"digest": d, "size": size} }
	other := digest.FromString("another image")
	for _, tc := range []struct {
		name string
		data []byte
		code ratify.Code // empty: accepted
	}{
		{"good", evidenceManifest(nil), ""},
		{"artifact older than OCI 1.1", evidenceManifest(func(m map[string]any) {
			delete(m, "artifactType")
			m["config"] = map[string]any{"mediaType": "kind", "digest": someDigest, "size": 2}
		}), ""},
		{"no media type of its own", evidenceManifest(func(m map[string]any) { delete(m, "mediaType") }), ""},
		{"no subject", evidenceManifest(func(m map[string]any) { delete(m, "subject") }), ratify.SubjectMismatch},
		{"subject is null", evidenceManifest(set("subject", nil)), ratify.SubjectMismatch},
		{"empty subject", evidenceManifest(set("subject", map[string]any{})), ratify.SubjectMismatch},
		{"another subject", evidenceManifest(subject(other, subjectDescriptor.Size)), ratify.SubjectMismatch},
		{"subject of another size", evidenceManifest(subject(subjectDescriptor.Digest, 10)), ratify.SubjectMismatch},
		{"subject of a negative size", evidenceManifest(subject(subjectDescriptor.Digest, -1)), ratify.SubjectMismatch},
		{"subject in capitals", evidenceManifest(subject(digest.Digest(strings.ToUpper(string(subjectDescriptor.Digest))), subjectDescriptor.Size)), ratify.SubjectMismatch},
		{"subject with escape codes", evidenceManifest(subject(digest.Digest("\x1b[31m"+strings.Repeat("x", 9000)), 1)), ratify.SubjectMismatch},
		{"size is no whole number", evidenceManifest(subject(subjectDescriptor.Digest, 9.5)), ratify.EvidenceInvalid},
		{"size is a string", evidenceManifest(subject(subjectDescriptor.Digest, "9")), ratify.EvidenceInvalid},
		{"another artifact type", evidenceManifest(set("artifactType", "other\x1b")), ratify.EvidenceInvalid},
		{"another artifact type over the config's", evidenceManifest(func(m map[string]any) {
			m["artifactType"] = "other"
			m["config"] = map[string]any{"mediaType": "kind", "digest": someDigest, "size": 2}
		}), ratify.EvidenceInvalid},
		{"no layer", evidenceManifest(set("layers", []any{})), ratify.EvidenceInvalid},
		{"layers missing", evidenceManifest(func(m map[string]any) { delete(m, "layers") }), ratify.EvidenceInvalid},
		{"two layers", evidenceManifest(set("layers", []any{layer(someDigest, 1), layer(someDigest, 1)})), ratify.EvidenceInvalid},
		{"a hundred layers and one", evidenceManifest(set("layers", slices.Repeat([]any{layer(someDigest, 1)}, 101))), ratify.EvidenceInvalid},
		{"a million layers", []byte(`{"layers":[` + strings.Repeat("{},", 1<<20) + `{}]}`), ratify.EvidenceInvalid},
		{"layers are an object", evidenceManifest(set("layers", map[string]any{})), ratify.EvidenceInvalid},
		{"layer of a negative size", evidenceManifest(set("layers", []any{layer(someDigest, -1)})), ratify.EvidenceInvalid},
		{"layer of 2^63", evidenceManifest(set("layers", []any{layer(someDigest, 1e19)})), ratify.EvidenceInvalid},
		{"layer of 2^62 is for Fetch to refuse", evidenceManifest(set("layers", []any{layer(someDigest, int64(1)<<62)})), ""},
		{"layer without a digest", evidenceManifest(set("layers", []any{layer("", 1)})), ratify.EvidenceInvalid},
		{"layer with a malformed digest", evidenceManifest(set("layers", []any{layer("sha256:../../x", 1)})), ratify.EvidenceInvalid},
		{"layer with MD5", evidenceManifest(set("layers", []any{layer("md5:d41d8cd98f00b204e9800998ecf8427e", 1)})), ratify.EvidenceInvalid},
		{"four thousand annotations", evidenceManifest(set("annotations", manyAnnotations(4_100))), ratify.EvidenceInvalid},
		{"four thousand annotations less some", evidenceManifest(set("annotations", manyAnnotations(4_000))), ""},
		{"index, too", evidenceManifest(set("manifests", []any{})), ratify.EvidenceInvalid},
		{"says another media type", evidenceManifest(set("mediaType", dockerType)), ratify.EvidenceInvalid},
		{"subject in other letters", evidenceManifest(set("Subject", map[string]any{"digest": other})), ratify.EvidenceInvalid},
		{"subject twice", []byte(strings.Replace(string(evidenceManifest(nil)), "{", `{"subject":{"digest":"`+other.String()+`","size":9},`, 1)), ratify.EvidenceInvalid},
		{"no JSON", []byte("<html>"), ratify.EvidenceInvalid},
		{"empty", nil, ratify.EvidenceInvalid},
		{"null", []byte("null"), ratify.SubjectMismatch},
		{"list", []byte("[]"), ratify.EvidenceInvalid},
		{"truncated", evidenceManifest(nil)[:50], ratify.EvidenceInvalid},
		{"trailing", append(evidenceManifest(nil), "{}"...), ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			evidence := ocispec.Descriptor{MediaType: imageType, ArtifactType: "kind", Digest: digest.FromBytes(tc.data), Size: int64(len(tc.data))}
			repo := &fakeRepository{fetch: func(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
				if desc.Digest != evidence.Digest {
					t.Errorf("fetching %s", desc.Digest)
				}
				return tc.data, nil
			}}
			m, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, evidence, 1, "kind")
			if tc.code == "" {
				if err != nil || m == nil || len(m.Layers) != 1 {
					t.Fatalf("%+v: %v", m, err)
				}
				return
			}
			var e *ratify.Error
			if !errors.As(err, &e) || e.Code != tc.code || m != nil {
				t.Fatalf("%+v, error %v, want %s", m, err, tc.code)
			}
			if message := e.UserMessage(); len(message) > 5*ratify.MaxTextBytes || strings.ContainsAny(message, "\n\x1b") {
				t.Errorf("message %q", message)
			}
		})
	}
}

// TestReadEvidenceOfAnotherKind: where the descriptor does not say what the evidence is, its manifest does, and another
// kind is no fault.
func TestReadEvidenceOfAnotherKind(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(map[string]any)
		other  bool
	}{
		"the kind":           {nil, false},
		"another kind":       {func(m map[string]any) { m["artifactType"] = "other" }, true},
		"none":               {func(m map[string]any) { delete(m, "artifactType") }, true},
		"and for another":    {func(m map[string]any) { m["artifactType"] = "other"; delete(m, "subject") }, true},
		"kind of the config": {func(m map[string]any) { delete(m, "artifactType"); m["config"] = map[string]any{"mediaType": "kind"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			data := evidenceManifest(tc.change)
			repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return data, nil }}
			_, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, ocispec.Descriptor{MediaType: imageType, Digest: digest.FromBytes(data)}, 1, "kind")
			if errors.Is(err, ratify.ErrOtherKind) != tc.other || err != nil != tc.other {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestReadEvidenceHoldsLittle: what is decoded of a manifest is held while its layer is read.
func TestReadEvidenceHoldsLittle(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	fat := map[string]any{"mediaType": "m", "digest": someDigest, "size": 1, "annotations": map[string]string{"a": long}, "data": "eHg=", "urls": []string{long}}
	data := evidenceManifest(func(m map[string]any) {
		m["config"], m["layers"] = fat, []any{fat}
		m["annotations"] = map[string]string{"short": "kept", "long": long, long: ""}
	})
	repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return data, nil }}
	evidence := ocispec.Descriptor{MediaType: imageType, Digest: digest.FromBytes(data)}
	m, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, evidence, 1, "kind")
	if err != nil {
		t.Fatal(err)
	}
	part := ocispec.Descriptor{MediaType: "m", Digest: someDigest, Size: 1}
	if !reflect.DeepEqual(m.Config, part) || !reflect.DeepEqual(m.Layers, []ocispec.Descriptor{part}) {
		t.Errorf("config %v, layers %v, want %v", m.Config, m.Layers, part)
	}
	if !maps.Equal(m.Annotations, map[string]string{"short": "kept"}) {
		t.Errorf("%d annotations", len(m.Annotations))
	}
	data = evidenceManifest(func(m map[string]any) {
		many := map[string]string{}
		for i := range 20_000 {
			many[strconv.Itoa(i)] = ""
		}
		m["annotations"] = many
	})
	if _, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, evidence, 1, "kind"); ratify.AsError(err) == nil || ratify.AsError(err).Code != ratify.EvidenceInvalid {
		t.Errorf("error %v, want %s", err, ratify.EvidenceInvalid)
	}
}

func TestReadEvidenceOfAnotherMediaType(t *testing.T) {
	for _, mediaType := range []string{"", indexType, dockerType, "application/json\x1b"} {
		// Nothing is fetched: the repository would fail with another error.
		_, err := ratify.ReadEvidence(t.Context(), &fakeRepository{}, subjectDescriptor, ocispec.Descriptor{MediaType: mediaType}, 1, "kind")
		if ratify.AsError(err).Code != ratify.EvidenceInvalid {
			t.Errorf("%q: %v", mediaType, err)
		}
	}
}

func TestReadEvidenceThatCannotBeFetched(t *testing.T) {
	repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, unavailable }}
	m, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, piece("kind", 1), 1, "kind")
	if m != nil || ratify.AsError(err).Code != ratify.RegistryUnavailable {
		t.Errorf("%+v: %v", m, err)
	}
}

// TestReadEvidenceOfALargeManifest: it is not even fetched, and a stranger's is no bound that was reached.
func TestReadEvidenceOfALargeManifest(t *testing.T) {
	large := piece("kind", 1)
	large.Size = 256<<10 + 1
	repo := &fakeRepository{fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) {
		t.Error("it is fetched")
		return nil, unavailable
	}}
	if _, err := ratify.ReadEvidence(t.Context(), repo, subjectDescriptor, large, 1, "kind"); ratify.AsError(err).Code != ratify.EvidenceInvalid {
		t.Error(err)
	}
}
