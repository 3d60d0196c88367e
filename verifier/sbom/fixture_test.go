package sbom_test

import (
	"context"
	"encoding/json"
	"fmt"
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
)

var (
	image = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}
	now   = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
)

// The artifact types under which tools attach bills of materials.
const (
	typeSPDX      = "application/spdx+json"
	typeCycloneDX = "application/vnd.cyclonedx+json"
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

// attach makes an artifact of one layer that refers to the subject.
func attach(t testing.TB, subject ocispec.Descriptor, artifactType string, document []byte) (ocispec.Descriptor, *repository) {
	t.Helper()
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config:  ocispec.DescriptorEmptyJSON,
		Layers:  []ocispec.Descriptor{{MediaType: artifactType, Digest: digest.FromBytes(document), Size: int64(len(document))}},
		Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	return desc, &repository{content: map[digest.Digest][]byte{desc.Digest: manifest, digest.FromBytes(document): document}}
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

// pkg is a package as a test thinks of it.
type pkg struct {
	name, version, purl string
	license             string // an expression; "" is that nobody says
	kind                string // CycloneDX's type; "" is library
}

var alpine = []pkg{
	{name: "musl", version: "1.2.4-r2", purl: "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.18.4", license: "MIT"},
	{name: "busybox", version: "1.36.1-r4", purl: "pkg:apk/alpine/busybox@1.36.1-r4?arch=x86_64", license: "GPL-2.0-only"},
	{name: "log4j-core", version: "2.14.1", purl: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", license: "Apache-2.0"},
	{name: "alpine", version: "3.18.4", kind: "operating-system"},
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

func encode(t testing.TB, document object, edits []edit) []byte {
	t.Helper()
	for _, e := range edits {
		e(document)
	}
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// spdxDocument is a document as syft writes it: the image first, then its packages with CPEs beside the package URL, and
// files and relationships after them.
func spdxDocument(t testing.TB, packages []pkg, edits ...edit) []byte {
	t.Helper()
	list := []any{object{
		"name": "registry.example/acme/app", "SPDXID": "SPDXRef-DocumentRoot-Image-app", "versionInfo": image.Digest.String(),
		"downloadLocation": "NOASSERTION", "filesAnalyzed": false, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
		"primaryPackagePurpose": "CONTAINER",
		"checksums":             []any{object{"algorithm": "SHA256", "checksumValue": image.Digest.Encoded()}},
		"externalRefs": []any{object{
			"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
			"referenceLocator": "pkg:oci/app@" + strings.Replace(image.Digest.String(), ":", "%3A", 1) + "?arch=amd64&tag=1.0",
		}},
	}}
	relationships := []any{object{"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": "SPDXRef-DocumentRoot-Image-app", "relationshipType": "DESCRIBES"}}
	for i, p := range packages {
		id := fmt.Sprintf("SPDXRef-Package-%d", i)
		entry := object{
			"name": p.name, "SPDXID": id, "versionInfo": p.version, "supplier": "NOASSERTION", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"sourceInfo": "acquired package info from the package manager's database", "licenseConcluded": "NOASSERTION", "licenseDeclared": orText(p.license, "NOASSERTION"),
			"copyrightText": "NOASSERTION",
		}
		refs := []any{object{"referenceCategory": "SECURITY", "referenceType": "cpe23Type", "referenceLocator": "cpe:2.3:a:" + p.name + ":" + p.name + ":" + p.version + ":*:*:*:*:*:*:*"}}
		if p.purl != "" {
			refs = append(refs, object{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": p.purl})
		}
		entry["externalRefs"] = refs
		if p.kind != "" {
			entry["primaryPackagePurpose"] = strings.ToUpper(strings.ReplaceAll(p.kind, "-", "_"))
		}
		list = append(list, entry)
		relationships = append(relationships, object{"spdxElementId": "SPDXRef-DocumentRoot-Image-app", "relatedSpdxElement": id, "relationshipType": "CONTAINS"})
	}
	return encode(t, object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "registry.example/acme/app",
		"documentNamespace": "https://example.com/syft/image/app-5b1d7f4e",
		"creationInfo": object{
			"licenseListVersion": "3.22", "creators": []any{"Organization: Anchore, Inc", "Tool: syft-0.95.0"}, "created": now.Add(-time.Hour).Format(time.RFC3339),
		},
		"packages": list,
		"files": []any{object{
			"fileName": "/bin/busybox", "SPDXID": "SPDXRef-File-bin-busybox", "fileTypes": []any{"APPLICATION", "BINARY"},
			"checksums": []any{object{"algorithm": "SHA1", "checksumValue": "0000000000000000000000000000000000000000"}}, "licenseConcluded": "NOASSERTION", "copyrightText": "",
		}},
		"relationships": relationships,
	}, edits)
}

// cycloneDXDocument is a document as trivy writes it.
func cycloneDXDocument(t testing.TB, packages []pkg, edits ...edit) []byte {
	t.Helper()
	list := []any{}
	for i, p := range packages {
		entry := object{
			"bom-ref": fmt.Sprintf("ref-%d", i), "type": orText(p.kind, "library"), "name": p.name, "version": p.version,
			"properties": []any{object{"name": "aquasecurity:trivy:PkgType", "value": "alpine"}},
		}
		if p.purl != "" {
			entry["purl"] = p.purl
		}
		if p.license != "" {
			entry["licenses"] = []any{object{"license": object{"name": p.license}}}
		}
		list = append(list, entry)
	}
	return encode(t, object{
		"$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
		"metadata": object{
			"timestamp": now.Add(-time.Hour).Format(time.RFC3339),
			"tools":     object{"components": []any{object{"type": "application", "group": "aquasecurity", "name": "trivy", "version": "0.49.0"}}},
			"component": object{
				"bom-ref": "root", "type": "container", "name": "registry.example/acme/app:1.0",
				"purl": "pkg:oci/app@" + strings.Replace(image.Digest.String(), ":", "%3A", 1) + "?arch=amd64&repository_url=registry.example%2Facme%2Fapp",
			},
		},
		"components": list, "dependencies": []any{object{"ref": "root", "dependsOn": []any{"ref-0"}}}, "vulnerabilities": []any{},
	}, edits)
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
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
