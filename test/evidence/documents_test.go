package evidence

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/openvex/go-vex/pkg/vex"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// What the configuration asks of documents.
const (
	maxAge             = 24 * time.Hour
	disallowedLicense  = "AGPL-3.0-only"
	predicateVuln      = "https://cosign.sigstore.dev/attestation/vuln/v1"
	predicateSLSA      = "https://slsa.dev/provenance/v1"
	unrelatedPredicate = "https://acme.example/reviewed/v1"
	typeSARIF          = "application/sarif+json"
	typeStatement      = "application/vnd.in-toto+json"
	unrelatedType      = "application/vnd.acme.review"
	vulnerable         = "CVE-2022-0778"
)

func encode(t *testing.T, value any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(value)
	check(t, err)
	return data
}

// packages are what a bill of materials lists.
func packages(p piece) []sbomtest.Package {
	list := []sbomtest.Package{
		{Name: "musl", Version: "1.2.4", PURL: "pkg:apk/alpine/musl@1.2.4", License: "MIT"},
		{Name: "zlib", Version: "1.3.1", PURL: "pkg:apk/alpine/zlib@1.3.1", License: "Zlib"},
	}
	if p.dirty {
		list = append(list, sbomtest.Package{Name: "ghostscript", Version: "10.2.1", PURL: "pkg:apk/alpine/ghostscript@10.2.1", License: disallowedLicense})
	}
	return list
}

var spdx = document{sbomtest.PredicateSPDX, sbomtest.TypeSPDX, func(t *testing.T, about image, p piece) json.RawMessage {
	return encode(t, sbomtest.SPDX(sbomtest.About{Name: about.name, Digest: about.descriptor.Digest, Created: p.made()}, packages(p)...))
}}

var cycloneDX = document{sbomtest.PredicateCycloneDX, sbomtest.TypeCycloneDX, func(t *testing.T, about image, p piece) json.RawMessage {
	return encode(t, sbomtest.CycloneDX(sbomtest.About{Name: about.name, Digest: about.descriptor.Digest, Created: p.made()}, packages(p)...))
}}

// provenance is of the builder that is allowed, unless it is dirty.
var provenance = document{predicateSLSA, "", func(t *testing.T, _ image, p piece) json.RawMessage {
	predicate := fixture.Provenance("https://github.com/acme/app")
	run := predicate["runDetails"].(map[string]any)
	run["metadata"] = map[string]any{"finishedOn": p.made().UTC().Format(time.RFC3339)}
	if p.dirty {
		run["builder"] = map[string]any{"id": "https://laptop.example"}
	}
	return encode(t, predicate)
}}

// statement is provenance in an in-toto statement of its own, which is signed as an artifact.
var statement = document{"", typeStatement, func(t *testing.T, about image, p piece) json.RawMessage {
	predicateType := predicateSLSA
	if p.unrelated {
		predicateType = unrelatedPredicate
	}
	return encode(t, map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"name": about.name, "digest": map[string]string{"sha256": about.descriptor.Digest.Encoded()}}},
		"predicateType": predicateType, "predicate": provenance.write(t, about, p),
	})
}}

// A finding is one of a scanner.
type finding struct{ id, severity, score string }

func findings(p piece) []finding {
	found := []finding{{"CVE-2021-42374", "MEDIUM", "5.3"}}
	if p.dirty {
		found = append(found, finding{vulnerable, "HIGH", "7.5"})
	}
	return found
}

// trivy and grype write SARIF with the same library, each in its own way. Neither says when it was: the manifest does.
var trivy = document{"", typeSARIF, func(t *testing.T, about image, p piece) json.RawMessage {
	run := sarif.NewRunWithInformationURI("Trivy", "https://github.com/aquasecurity/trivy")
	run.Tool.Driver.WithVersion("0.58.0").WithFullName("Trivy Vulnerability Scanner")
	for _, found := range findings(p) {
		level := map[string]string{"HIGH": "error", "MEDIUM": "warning"}[found.severity]
		properties := sarif.NewPropertyBag().WithTags([]string{"vulnerability", "security", found.severity})
		properties.Add("precision", "very-high").Add("security-severity", found.score)
		run.AddRule(found.id).WithName("OsPackageVulnerability").WithHelpURI("https://avd.aquasec.com/nvd/" + strings.ToLower(found.id)).
			WithHelp(sarif.NewMultiformatMessageString().WithText("Vulnerability " + found.id + "\nSeverity: " + found.severity + "\nPackage: openssl")).
			WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(level)).WithProperties(properties)
		run.CreateResultForRule(found.id).WithLevel(level).
			WithMessage(sarif.NewTextMessage("Package: openssl\nInstalled Version: 1.1.1k-r0\nVulnerability " + found.id + "\nSeverity: " + found.severity)).
			AddLocation(location(about.name))
	}
	return written(t, run)
}}

var grype = document{"", typeSARIF, func(t *testing.T, about image, p piece) json.RawMessage {
	run := sarif.NewRunWithInformationURI("grype", "https://github.com/anchore/grype")
	run.Tool.Driver.WithVersion("0.87.0")
	for _, found := range findings(p) {
		rule, word := found.id+"-openssl", strings.ToLower(found.severity)
		properties := sarif.NewPropertyBag()
		properties.Add("security-severity", found.score).Add("purls", []string{"pkg:apk/alpine/openssl@1.1.1k-r0"})
		run.AddRule(rule).WithName("ApkMatcherExactDirectMatch").WithHelpURI("https://github.com/anchore/grype").
			WithHelp(sarif.NewMultiformatMessageString().WithText("Vulnerability " + found.id + "\nSeverity: " + word + "\nPackage: openssl\nVersion: 1.1.1k-r0")).
			WithProperties(properties)
		run.CreateResultForRule(rule).
			WithMessage(sarif.NewTextMessage("A " + word + " vulnerability in apk package: openssl, version 1.1.1k-r0 was found in image " + about.name)).
			AddLocation(location(about.name))
	}
	return written(t, run)
}}

func location(uri string) *sarif.Location {
	return sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().
		WithArtifactLocation(sarif.NewSimpleArtifactLocation(uri)).WithRegion(sarif.NewRegion().WithStartLine(1)))
}

func written(t *testing.T, run *sarif.Run) json.RawMessage {
	t.Helper()
	report := sarif.NewReport()
	report.AddRun(run)
	check(t, report.Validate())
	var out bytes.Buffer
	check(t, report.Write(&out))
	return out.Bytes()
}

// scan is cosign's predicate around the JSON of trivy.
var scan = document{predicateVuln, "", func(t *testing.T, about image, p piece) json.RawMessage {
	predicate := fixture.Scan(p.made())
	result := predicate["scanner"].(map[string]any)["result"].(map[string]any)
	list := []any{}
	for _, found := range findings(p) {
		list = append(list, map[string]any{"VulnerabilityID": found.id, "PkgName": "openssl", "InstalledVersion": "1.1.1k-r0", "Severity": found.severity})
	}
	result["ArtifactName"] = about.name
	result["Results"] = []any{map[string]any{"Target": about.name, "Class": "os-pkgs", "Type": "alpine", "Vulnerabilities": list}}
	return encode(t, predicate)
}}

// openVEX clears what a dirty scan finds; a dirty one says that the image is affected.
var openVEX = document{vex.ContextLocator(), "", func(t *testing.T, about image, p piece) json.RawMessage {
	at := p.made()
	s := vex.Statement{
		Vulnerability: vex.Vulnerability{Name: vulnerable}, Timestamp: &at,
		Products: []vex.Product{{Component: vex.Component{
			ID:     about.descriptor.Digest.String(),
			Hashes: map[vex.Algorithm]vex.Hash{vex.SHA256: vex.Hash(about.descriptor.Digest.Encoded())},
		}}},
		Status: vex.StatusNotAffected, Justification: vex.VulnerableCodeNotInExecutePath,
	}
	if p.dirty {
		s.Status, s.Justification, s.ActionStatement = vex.StatusAffected, "", "upgrade"
	}
	check(t, s.Validate())
	doc := vex.New()
	doc.Author, doc.Timestamp, doc.Statements = "acme", &at, []vex.Statement{s}
	_, err := doc.GenerateCanonicalID()
	check(t, err)
	var out bytes.Buffer
	check(t, doc.ToJSON(&out))
	return out.Bytes()
}}

// TestDocuments reads what is attached here with the libraries of the formats: a document that no tool would read proves
// nothing about those that tools write.
func TestDocuments(t *testing.T) {
	about := image{name: "registry.example/app", descriptor: describe("", []byte("{}"))}
	for name, p := range map[string]piece{"good": {}, "dirty": {dirty: true}, "old": {old: 2 * maxAge}} {
		t.Run(name, func(t *testing.T) {
			bom := cyclonedx.BOM{}
			check(t, cyclonedx.NewBOMDecoder(bytes.NewReader(cycloneDX.write(t, about, p)), cyclonedx.BOMFileFormatJSON).Decode(&bom))
			if bom.Components == nil || len(*bom.Components) != len(packages(p)) {
				t.Errorf("CycloneDX has the components %v", bom.Components)
			}
			bill := v2_3.Document{}
			check(t, spdxjson.ReadInto(bytes.NewReader(spdx.write(t, about, p)), &bill))
			if len(bill.Packages) != 1+len(packages(p)) {
				t.Errorf("SPDX has %d packages", len(bill.Packages))
			}
			for tool, d := range map[string]document{"Trivy": trivy, "grype": grype} {
				report, err := sarif.FromBytes(d.write(t, about, p))
				check(t, err)
				if run := report.Runs[0]; *run.Tool.Driver.Name != tool || len(run.Results) != len(findings(p)) {
					t.Errorf("SARIF of %s has %d results", *run.Tool.Driver.Name, len(run.Results))
				}
			}
			said, err := vex.Parse(openVEX.write(t, about, p))
			check(t, err)
			if matches := said.Matches(vulnerable, about.descriptor.Digest.String(), nil); len(matches) != 1 {
				t.Errorf("OpenVEX says %v", said.Statements)
			}
		})
	}
}
