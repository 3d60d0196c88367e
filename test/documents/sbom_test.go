package documents_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/xeipuuv/gojsonschema"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

var sbomImage = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}

// sbomBlobs is a repository whose content is at hand.
type sbomBlobs map[digest.Digest][]byte

func (sbomBlobs) Name() string { return "registry.example/acme/app" }

func (sbomBlobs) Resolve(context.Context, string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
}

func (sbomBlobs) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (b sbomBlobs) Fetch(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	return b[desc.Digest], nil
}

// judgeSBOM attaches a document to an image and verifies it.
func judgeSBOM(t *testing.T, cfg sbom.Config, artifactType string, document []byte) ratify.Result {
	t.Helper()
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Subject: &sbomImage,
		Layers: []ocispec.Descriptor{{MediaType: artifactType, Digest: digest.FromBytes(document), Size: int64(len(document))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	v, err := sbom.New(cfg, sbom.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := v.Verify(t.Context(), sbomImage, desc, sbomBlobs{desc.Digest: manifest, digest.FromBytes(document): document})
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// samePackages compares what the verifier counted with what a library reads.
func samePackages(t *testing.T, result ratify.Result, packages int, licenses []string) {
	t.Helper()
	if !result.Passed {
		t.Fatalf("%s: %s", result.Code, result.Message)
	}
	if got := result.Extensions["packages"]; got != int64(packages) {
		t.Errorf("%v packages, the library reads %d", got, packages)
	}
	slices.Sort(licenses)
	licenses = slices.Compact(licenses)
	if got := result.Extensions["licenses"].([]string); !slices.Equal(got, licenses) {
		t.Errorf("licences %q, the library reads %q", got, licenses)
	}
}

// moduleDir is where the source of a module is, which has examples and schemas beside it.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// cycloneDXSchema is the published schema of a version. It refers to two others by name, which are given to it: nothing is
// fetched.
func cycloneDXSchema(t *testing.T, version string) *gojsonschema.Schema {
	t.Helper()
	dir := filepath.Join(moduleDir(t, "github.com/CycloneDX/cyclonedx-go"), "schema")
	file := func(pattern string) gojsonschema.JSONLoader {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(names) != 1 {
			t.Fatalf("%s: %q, %v", pattern, names, err)
		}
		data, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		return gojsonschema.NewBytesLoader(data)
	}
	loader := gojsonschema.NewSchemaLoader()
	for name, pattern := range map[string]string{"spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schema*.json"} {
		if err := loader.AddSchema("http://cyclonedx.org/schema/"+name, file(pattern)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := loader.Compile(file("bom-" + version + ".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, schema *gojsonschema.Schema, document []byte) {
	t.Helper()
	if result, err := schema.Validate(gojsonschema.NewStringLoader("{}")); err != nil || result.Valid() {
		t.Fatalf("the schema takes anything: %v", err)
	}
	result, err := schema.Validate(gojsonschema.NewBytesLoader(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range result.Errors() {
		t.Errorf("schema: %s", problem)
	}
}

var sbomPackages = []sbomtest.Package{
	{Name: "musl", Version: "1.2.4-r2", PURL: "pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64", License: "MIT"},
	{Name: "busybox", Version: "1.36.1-r4", PURL: "pkg:apk/alpine/busybox@1.36.1-r4", License: "GPL-2.0-only"},
	{Name: "log4j-core", Version: "2.14.1", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"},
	{Name: "alpine", Version: "3.18.4", Kind: "operating-system"},
}

func aboutImage() sbomtest.About {
	return sbomtest.About{Name: "registry.example/acme/app", Digest: sbomImage.Digest, Created: time.Now().Add(-time.Hour)}
}

// TestCycloneDXFixture holds what the other tests make documents with against the published schema.
func TestCycloneDXFixture(t *testing.T) {
	document, err := sbomtest.CycloneDX(aboutImage(), sbomPackages...).JSON()
	if err != nil {
		t.Fatal(err)
	}
	validate(t, cycloneDXSchema(t, "1.5"), document)
	samePackages(t, judgeSBOM(t, sbom.Config{}, sbomtest.TypeCycloneDX, document), 4, []string{"GPL-2.0-only", "MIT"})
}

// countComponents counts components and those in them, and gathers their licences.
func countComponents(list *[]cdx.Component, licenses *[]string) (n int) {
	if list == nil {
		return 0
	}
	for _, c := range *list {
		n += 1 + countComponents(c.Components, licenses)
		gatherLicenses(c.Licenses, licenses)
	}
	return n
}

func gatherLicenses(list *cdx.Licenses, licenses *[]string) {
	if list == nil {
		return
	}
	for _, l := range *list {
		switch {
		case l.Expression != "":
			*licenses = append(*licenses, l.Expression)
		case l.License.ID != "":
			*licenses = append(*licenses, l.License.ID)
		default:
			*licenses = append(*licenses, l.License.Name)
		}
	}
}

// TestCycloneDXExamples reads the examples of the format's own library, written by it in each version.
func TestCycloneDXExamples(t *testing.T) {
	examples, err := filepath.Glob(filepath.Join(moduleDir(t, "github.com/CycloneDX/cyclonedx-go"), "testdata", "valid-*.json"))
	if err != nil || len(examples) < 20 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	for _, version := range []cdx.SpecVersion{cdx.SpecVersion1_4, cdx.SpecVersion1_5, cdx.SpecVersion1_6} {
		schema := cycloneDXSchema(t, version.String())
		for _, example := range examples {
			t.Run(version.String()+"/"+filepath.Base(example), func(t *testing.T) {
				data, err := os.ReadFile(example)
				if err != nil {
					t.Fatal(err)
				}
				bom := new(cdx.BOM)
				if err := cdx.NewBOMDecoder(bytes.NewReader(data), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
					t.Fatal(err)
				}
				var document bytes.Buffer
				if err := cdx.NewBOMEncoder(&document, cdx.BOMFileFormatJSON).EncodeVersion(bom, version); err != nil {
					t.Fatal(err)
				}
				compareCycloneDX(t, schema, document.Bytes())
			})
		}
	}
}

func compareCycloneDX(t *testing.T, schema *gojsonschema.Schema, document []byte) {
	t.Helper()
	bom := new(cdx.BOM)
	if err := cdx.NewBOMDecoder(bytes.NewReader(document), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	validate(t, schema, document)
	var licenses []string
	packages := countComponents(bom.Components, &licenses)
	if bom.Metadata != nil && bom.Metadata.Component != nil {
		packages += countComponents(bom.Metadata.Component.Components, &licenses)
		gatherLicenses(bom.Metadata.Component.Licenses, &licenses)
		if bom.Metadata.Component.Type != cdx.ComponentTypeContainer {
			packages++
		}
	}
	samePackages(t, judgeSBOM(t, sbom.Config{}, sbomtest.TypeCycloneDX, document), packages, licenses)
}

// TestCycloneDXLibrary has the library write what a rule refuses.
func TestCycloneDXLibrary(t *testing.T) {
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{
		Timestamp: time.Now().UTC().Format(time.RFC3339), Tools: &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "tool", Version: "1"}}},
		Component: &cdx.Component{Type: cdx.ComponentTypeContainer, Name: "app", Version: sbomImage.Digest.String()},
	}
	bom.Components = &[]cdx.Component{{
		Type: cdx.ComponentTypeLibrary, Group: "org.apache.logging.log4j", Name: "log4j-core", Version: "2.14.1",
		PackageURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		Components: &[]cdx.Component{{Type: cdx.ComponentTypeLibrary, Name: "inner", Licenses: &cdx.Licenses{{Expression: "MIT OR GPL-3.0-only"}}}},
	}}
	for _, version := range []cdx.SpecVersion{cdx.SpecVersion1_4, cdx.SpecVersion1_5, cdx.SpecVersion1_6} {
		t.Run(version.String(), func(t *testing.T) {
			var document bytes.Buffer
			if err := cdx.NewBOMEncoder(&document, cdx.BOMFileFormatJSON).EncodeVersion(bom, version); err != nil {
				t.Fatal(err)
			}
			validate(t, cycloneDXSchema(t, version.String()), document.Bytes())
			refusals(t, sbomtest.TypeCycloneDX, document.Bytes())
		})
	}
}

// refusals judges a document with log4j-core 2.14.1 under Apache-2.0, and something under MIT OR GPL-3.0-only.
func refusals(t *testing.T, artifactType string, document []byte) {
	t.Helper()
	for _, tc := range []struct {
		name string
		cfg  sbom.Config
		code ratify.Code
	}{
		{"nothing", sbom.Config{}, ""},
		{"a choice", sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"GPL-3.0-or-later"}}}, ""},
		{"no choice", sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"GPL-3.0-or-later", "MIT"}}}, ratify.LicenseDisallowed},
		{"a licence", sbom.Config{Licenses: sbom.Licenses{Allowed: []string{"MIT"}}}, ratify.LicenseDisallowed},
		{"a range", sbom.Config{Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "log4j-core", Versions: "<2.17.1"}}}}, ratify.PackageDisallowed},
		{"another range", sbom.Config{Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "log4j-core", Versions: "<2.14.1"}}}}, ""},
		{"a package URL", sbom.Config{Packages: sbom.Packages{Disallowed: []sbom.Package{{PURL: "pkg:maven/org.apache.logging.log4j/*"}}}}, ratify.PackageDisallowed},
	} {
		if result := judgeSBOM(t, tc.cfg, artifactType, document); result.Code != tc.code || result.Passed != (tc.code == "") {
			t.Errorf("%s: code %q: %s; want %q", tc.name, result.Code, result.Message, tc.code)
		}
	}
}

// compareSPDX reads a document with the format's own library, too, and returns what that read.
func compareSPDX(t *testing.T, document []byte) *spdx.Document {
	t.Helper()
	doc, err := spdxjson.Read(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	var licenses []string
	packages := 0
	for _, p := range doc.Packages {
		if p.PrimaryPackagePurpose != "CONTAINER" {
			packages++
		}
		for _, license := range []string{p.PackageLicenseConcluded, p.PackageLicenseDeclared} {
			if license != "" && license != "NOASSERTION" {
				licenses = append(licenses, license)
				break
			}
		}
	}
	samePackages(t, judgeSBOM(t, sbom.Config{}, sbomtest.TypeSPDX, document), packages, licenses)
	return doc
}

// spdxSchema is the published schema of SPDX 2.3, which syft has in its source. schemas.mod says which syft, apart from
// what the tests link.
func spdxSchema(t *testing.T) *gojsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-modfile=schemas.mod", "-json", "github.com/anchore/syft").Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(module.Dir, "schema", "spdx-json", "spdx-schema-2.3.json"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := gojsonschema.NewSchema(gojsonschema.NewBytesLoader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSPDXFixture(t *testing.T) {
	document, err := sbomtest.SPDX(aboutImage(), sbomPackages...).JSON()
	if err != nil {
		t.Fatal(err)
	}
	validate(t, spdxSchema(t), document)
	if err := spdxlib.ValidateDocument(compareSPDX(t, document)); err != nil {
		t.Error(err)
	}
}

func TestSPDXExample(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(moduleDir(t, "github.com/spdx/tools-golang"), "examples", "sample-docs", "json", "SPDXJSONExample-v2.3.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	compareSPDX(t, document)
}

// TestSPDXLibrary has the library write what a rule refuses.
func TestSPDXLibrary(t *testing.T) {
	entry := func(id, name, version, license, purl string) *spdx.Package {
		return &spdx.Package{
			PackageSPDXIdentifier: common.ElementID(id), PackageName: name, PackageVersion: version, PackageDownloadLocation: "NOASSERTION",
			PackageLicenseConcluded: "NOASSERTION", PackageLicenseDeclared: license,
			PackageExternalReferences: []*spdx.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: purl}},
		}
	}
	doc := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: "app", DocumentNamespace: "https://sbom.example/app",
		CreationInfo: &spdx.CreationInfo{Created: time.Now().UTC().Format(time.RFC3339), Creators: []common.Creator{{CreatorType: "Tool", Creator: "example-1.0"}}},
		Packages: []*spdx.Package{
			entry("log4j", "log4j-core", "2.14.1", "Apache-2.0", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"),
			entry("inner", "inner", "1.0.0", "MIT OR GPL-3.0-only", "pkg:npm/inner@1.0.0"),
		},
	}
	var document bytes.Buffer
	if err := spdxjson.Write(doc, &document); err != nil {
		t.Fatal(err)
	}
	validate(t, spdxSchema(t), document.Bytes())
	compareSPDX(t, document.Bytes())
	refusals(t, sbomtest.TypeSPDX, document.Bytes())
	if tools := judgeSBOM(t, sbom.Config{}, sbomtest.TypeSPDX, document.Bytes()).Extensions["tools"]; fmt.Sprint(tools) != "[example-1.0]" {
		t.Errorf("tools %v", tools)
	}
}
