package sbom_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/sbom"
)

// Documents around a list of packages.
const (
	spdxAround      = `{"spdxVersion":"SPDX-2.3","creationInfo":{"created":"2026-03-10T11:00:00Z"},"packages":[%s]}`
	cycloneDXAround = `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[%s]}`
)

func strict() sbom.Config {
	return sbom.Config{
		Licenses: sbom.Licenses{Disallowed: []string{"GPL-3.0-or-later"}, Allowed: []string{"MIT"}},
		Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "evil", Versions: "<2"}, {PURL: "pkg:npm/evil*"}}},
	}
}

func TestMalformed(t *testing.T) {
	for _, tc := range []struct {
		name, artifactType, document string
		code                         ratify.Code
		message                      string
	}{
		{"no object", typeSPDX, `[]`, ratify.EvidenceInvalid, "expected an object"},
		{"null", typeSPDX, `null`, ratify.EvidenceInvalid, "it has no spdxVersion"},
		{"nothing in it", typeCycloneDX, `{}`, ratify.EvidenceInvalid, "its bomFormat is"},
		{"no JSON", typeCycloneDX, `<bom/>`, ratify.EvidenceInvalid, "malformed"},
		{"not all of it", typeSPDX, `{"spdxVersion":"SPDX-2.3","packages":[`, ratify.EvidenceInvalid, "malformed"},
		{"a version that is no text", typeSPDX, `{"spdxVersion":2.3}`, ratify.EvidenceInvalid, "expected a string"},
		{"packages that are no list", typeSPDX, `{"spdxVersion":"SPDX-2.3","packages":{"name":"evil"}}`, ratify.EvidenceInvalid, "expected a list"},
		{"a package that is no object", typeSPDX, fmt.Sprintf(spdxAround, `"evil"`), ratify.EvidenceInvalid, "packages: [0]: expected an object, got a string"},
		{"a package without a name", typeSPDX, fmt.Sprintf(spdxAround, `{"name":"a"},{"versionInfo":"1"}`), ratify.EvidenceInvalid, "packages: [1]: it has no name"},
		{"a component without a name", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"purl":"pkg:npm/evil@1"}`), ratify.EvidenceInvalid, "components: [0]: it has no name"},
		{"a licence that is a list", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","licenses":[{"license":{"id":["MIT"]}}]}`), ratify.EvidenceInvalid, "components: [0]: licenses: [0]: license: id: expected a string, got a list"},
		{"a name twice", typeSPDX, fmt.Sprintf(spdxAround, `{"name":"good","name":"evil"}`), ratify.EvidenceInvalid, "twice"},
		{"a list twice", typeSPDX, `{"spdxVersion":"SPDX-2.3","packages":[],"packages":[{"name":"evil"}]}`, ratify.EvidenceInvalid, "twice"},
		{"a list in other letters", typeSPDX, `{"spdxVersion":"SPDX-2.3","packages":[],"Packages":[{"name":"evil"}]}`, ratify.EvidenceInvalid, `the name "Packages" is a field's in other letters`},
		{"a field in other letters", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","Licenses":[]}`), ratify.EvidenceInvalid, `components: [0]: the name "Licenses" is a field's in other letters`},
		{"a letter that folds into another", typeSPDX, "{\"spdxVersion\":\"SPDX-2.3\",\"pac\u212aages\":[]}", ratify.EvidenceInvalid, "in other letters"},
		{"trailing", typeSPDX, fmt.Sprintf(spdxAround, "") + `{}`, ratify.EvidenceInvalid, "malformed"},
		{"no UTF-8", typeSPDX, fmt.Sprintf(spdxAround, "{\"name\":\"\xff\"}"), ratify.EvidenceInvalid, "UTF-8"},
		{"a number beyond all", typeSPDX, `{"spdxVersion":"SPDX-2.3","x":1e999999}`, "", ""},
		{"deep nesting", typeSPDX, `{"spdxVersion":"SPDX-2.3","x":` + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + `}`, ratify.LimitExceeded, "deeper"},
		{"components as deep as may be", typeCycloneDX, fmt.Sprintf(cycloneDXAround, within(32)), "", ""},
		{"components too deep", typeCycloneDX, fmt.Sprintf(cycloneDXAround, within(33)), ratify.LimitExceeded, "it has components within components deeper than 32"},
		{"as many packages as may be", typeSPDX, fmt.Sprintf(spdxAround, times(`{"name":"a"}`, 100_000)), "", ""},
		{"too many packages", typeSPDX, fmt.Sprintf(spdxAround, times(`{"name":"a"}`, 100_001)), ratify.LimitExceeded, "it lists more than 100000 packages"},
		{"a million components", typeCycloneDX, fmt.Sprintf(cycloneDXAround, times(`{"name":"a"}`, 1_000_000)), ratify.LimitExceeded, "it lists more than 100000 packages"},
		{"components within one", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","components":[`+times(`{"name":"a"}`, 100_000)+`]}`), ratify.LimitExceeded, "it lists more than 100000 packages"},
		{"too many references", typeSPDX, fmt.Sprintf(spdxAround, `{"name":"a","externalRefs":[`+times(`{}`, 200_001)+`]}`), ratify.LimitExceeded, "externalRefs: it has more than 200000 elements"},
		{"too many licences", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","licenses":[`+times(`{"expression":"MIT"}`, 201)+`]}`), ratify.LimitExceeded, "a package has more than 200 licences"},
		{"too many package URLs", typeSPDX, fmt.Sprintf(spdxAround, `{"name":"a","externalRefs":[`+times(`{"referenceType":"purl","referenceLocator":"pkg:npm/a"}`, 201)+`]}`), ratify.LimitExceeded, "a package has more than 200 package URLs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, verify(t, sbom.Config{}, tc.artifactType, []byte(tc.document)), tc.code, tc.message)
		})
	}
}

func times(text string, n int) string { return strings.TrimSuffix(strings.Repeat(text+",", n), ",") }

// within nests components n deep.
func within(n int) string {
	return strings.Repeat(`{"name":"a","components":[`, n-1) + `{"name":"a"}` + strings.Repeat(`]}`, n-1)
}

// TestWhatCounts looks at where a licence and a package may be written.
func TestWhatCounts(t *testing.T) {
	spdx := func(fields string) string { return fmt.Sprintf(spdxAround, `{"name":"a",`+fields+`}`) }
	component := func(fields string) string { return fmt.Sprintf(cycloneDXAround, `{"name":"a",`+fields+`}`) }
	for _, tc := range []struct {
		name, artifactType, document string
		code                         ratify.Code
		message                      string
	}{
		{"the concluded licence", typeSPDX, spdx(`"licenseConcluded":"MIT","licenseDeclared":"GPL-3.0-only"`), "", ""},
		{"the concluded licence is disallowed", typeSPDX, spdx(`"licenseDeclared":"MIT","licenseConcluded":"GPL-3.0-only"`), ratify.LicenseDisallowed, `"a" has the licence "GPL-3.0-only", which is disallowed`},
		{"the declared licence", typeSPDX, spdx(`"licenseConcluded":"NOASSERTION","licenseDeclared":"GPL-3.0-only"`), ratify.LicenseDisallowed, "GPL-3.0-only"},
		{"none was concluded", typeSPDX, spdx(`"licenseConcluded":"NONE","licenseDeclared":"MIT"`), ratify.LicenseDisallowed, `"NONE", which is unknown`},
		{"no licence", typeSPDX, spdx(`"versionInfo":"1"`), ratify.LicenseDisallowed, `"a 1" has the licence "NOASSERTION", which is unknown`},
		{"no licence of an operating system", typeSPDX, spdx(`"primaryPackagePurpose":"OPERATING_SYSTEM"`), "", ""},
		{"no licence of an application that is a file", typeSPDX, spdx(`"primaryPackagePurpose":"APPLICATION"`), "", ""},
		{"no licence of an application that is a package", typeSPDX,
			spdx(`"primaryPackagePurpose":"APPLICATION","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1"}]`), ratify.LicenseDisallowed, "unknown"},
		{"an expression", typeSPDX, spdx(`"licenseConcluded":"MIT AND (MIT OR GPL-3.0-only)"`), "", ""},
		{"an expression that is not met", typeSPDX, spdx(`"licenseConcluded":"MIT AND GPL-3.0-only"`), ratify.LicenseDisallowed,
			`"a" has the licence "MIT AND GPL-3.0-only", of which "GPL-3.0-only" is disallowed`},
		{"a package URL among others", typeSPDX, spdx(`"licenseConcluded":"MIT","externalRefs":[{"referenceLocator":"cpe","referenceType":"cpe23Type"},{"referenceLocator":"pkg:npm/evil-lib@3","referenceType":"purl"}]`),
			ratify.PackageDisallowed, `"a" is disallowed`},

		{"by identifier", typeCycloneDX, component(`"licenses":[{"license":{"id":"MIT"}}]`), "", ""},
		{"by identifier, disallowed", typeCycloneDX, component(`"licenses":[{"license":{"id":"GPL-3.0-only"}}]`), ratify.LicenseDisallowed, "GPL-3.0-only"},
		{"by name", typeCycloneDX, component(`"licenses":[{"license":{"name":"GPL-3.0-only"}}]`), ratify.LicenseDisallowed, "which is disallowed"},
		{"by a name that is no identifier", typeCycloneDX, component(`"licenses":[{"license":{"name":"The MIT License"}}]`), ratify.LicenseDisallowed, `"The MIT License", which is unknown`},
		{"by expression", typeCycloneDX, component(`"licenses":[{"expression":"MIT OR GPL-3.0-only"}]`), "", ""},
		{"several hold together", typeCycloneDX, component(`"licenses":[{"license":{"id":"MIT"}},{"license":{"id":"GPL-3.0-only"}}]`), ratify.LicenseDisallowed, "GPL-3.0-only"},
		{"the concluded ones", typeCycloneDX, component(`"licenses":[{"license":{"id":"GPL-3.0-only","acknowledgement":"declared"}},{"license":{"id":"MIT","acknowledgement":"concluded"}}]`), "", ""},
		{"a concluded expression", typeCycloneDX, component(`"licenses":[{"license":{"id":"MIT"}},{"expression":"GPL-3.0-only","acknowledgement":"concluded"}]`), ratify.LicenseDisallowed, "GPL-3.0-only"},
		{"an empty entry", typeCycloneDX, component(`"licenses":[{}]`), ratify.LicenseDisallowed, "unknown"},
		{"an empty list", typeCycloneDX, component(`"licenses":[]`), ratify.LicenseDisallowed, "unknown"},
		{"null", typeCycloneDX, component(`"licenses":null,"components":null`), ratify.LicenseDisallowed, "unknown"},
		{"no licence of a file", typeCycloneDX, component(`"type":"file"`), "", ""},
		{"a disallowed licence of a file", typeCycloneDX, component(`"type":"file","licenses":[{"license":{"id":"GPL-3.0-only"}}]`), ratify.LicenseDisallowed, "GPL-3.0-only"},
		{"within a component", typeCycloneDX, component(`"type":"application","components":[{"name":"evil","version":"1.0","licenses":[{"expression":"MIT"}]}]`), ratify.PackageDisallowed, `"evil 1.0" is disallowed (<2)`},
		{"the described component", typeCycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"application","name":"evil","version":"1"}}}`, ratify.PackageDisallowed, "evil"},
		{"no licence of the described component", typeCycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"type":"application","name":"a","purl":"pkg:npm/a@1"}}}`, "", ""},
		{"a pedigree", typeCycloneDX, component(`"licenses":[{"expression":"MIT"}],"pedigree":{"ancestors":[{"name":"evil","version":"1"}]}`), "", ""},
		{"names before the version", typeCycloneDX, `{"components":[{"name":"evil","version":"1"}],"specVersion":"1.4","bomFormat":"CycloneDX"}`, ratify.PackageDisallowed, "evil"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, verify(t, strict(), tc.artifactType, []byte(tc.document)), tc.code, tc.message)
		})
	}
}

// TestMessageIsBounded: a document has names of its own choice.
func TestMessageIsBounded(t *testing.T) {
	name := strings.Repeat("\u00fc\x1b", 5000)
	document := spdxDocument(t, []pkg{{Name: "evil" + name, Version: "1"}, {Name: "evil"}, {Name: "evil"}, {Name: "evil"}, {Name: "evil"}})
	cfg := sbom.Config{Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "evil*"}}}}
	result := verify(t, cfg, typeSPDX, document)
	expect(t, result, ratify.PackageDisallowed, "; 2 more")
	if len(result.Message) > 2048 || strings.ContainsRune(result.Message, '\x1b') {
		t.Errorf("message of %d bytes: %s", len(result.Message), result.Message)
	}
}

// TestManyLicenses: the facts are bounded, and say so.
func TestManyLicenses(t *testing.T) {
	var packages []pkg
	for i := range 100 {
		packages = append(packages, pkg{Name: "a", License: fmt.Sprintf("LicenseRef-%d-%s", i, strings.Repeat("x", 500))})
	}
	inBoth(t, func(t *testing.T, f format) {
		facts := verify(t, sbom.Config{}, f.artifactType, f.document(t, packages)).Extensions
		licenses := facts["licenses"].([]string)
		if len(licenses) != 64 || len(licenses[0]) > ratify.MaxTextBytes || facts["licensesComplete"] != false {
			t.Errorf("%d licences of %d bytes, complete: %v", len(licenses), len(licenses[0]), facts["licensesComplete"])
		}
	})
}

// TestMemory: a document takes at most four times its size to judge, whatever it is made of. The library that compares
// versions takes some hundred bytes for each, which few packages are compared for: those that a rule names.
func TestMemory(t *testing.T) {
	const size = 2 << 20
	fill := func(around, entry string) string {
		return fmt.Sprintf(around, times(entry, min(size/len(entry), 50_000)))
	}
	long := strings.Repeat("x", size)
	for _, tc := range []struct {
		name, artifactType, document string
		most                         float64
	}{
		{"syft", typeSPDX, string(spdxDocument(t, realistic(4_000))), 4},
		{"trivy", typeCycloneDX, string(cycloneDXDocument(t, realistic(7_000))), 4},
		{"small packages", typeSPDX, fill(spdxAround, `{"name":"a"}`), 4},
		{"small components", typeCycloneDX, fill(cycloneDXAround, `{"name":"a","purl":"pkg:npm/a@1","licenses":[{"expression":"MIT"}]}`), 4},
		{"small fields", typeSPDX, fill(spdxAround, `{"name":"a","a":0,"b":"","c":[],"d":{},"e":null,"f":1,"g":2,"h":3}`), 4},
		{"other licences", typeCycloneDX, fill(cycloneDXAround, `{"name":"a","licenses":[{"expression":"(MIT OR ISC) AND (MIT)"},{"license":{"name":"LicenseRef"}}]}`), 4},
		{"versions to compare", typeCycloneDX, fill(cycloneDXAround, `{"name":"evil","version":"1.0"}`), 15 * poolLoss},
		{"versions that cannot be compared", typeCycloneDX, fill(cycloneDXAround, `{"name":"evil","version":"x"}`), 4 * poolLoss},
		{"each its own licence", typeCycloneDX, fmt.Sprintf(cycloneDXAround, strings.Join(distinct(30_000), ",")), 4},
		{"files", typeSPDX, `{"spdxVersion":"SPDX-2.3","files":[` + times(`{"fileName":"a"}`, size/17) + `]}`, 4},
		{"a long name", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"`+long+`"}`), 4},
		{"a long text that is not read", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","description":"`+long+`"}`), 4},
		{"a long expression", typeSPDX, fmt.Sprintf(spdxAround, `{"name":"a","licenseConcluded":"`+long+`"}`), 4},
		{"a long package URL", typeCycloneDX, fmt.Sprintf(cycloneDXAround, `{"name":"a","purl":"pkg:npm/`+long+`"}`), 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc, repo := attach(t, image, tc.artifactType, []byte(tc.document))
			v := newVerifier(t, strict())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := v.Verify(t.Context(), image, desc, repo); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			taken := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(tc.document))
			t.Logf("%.1f times %d KiB", taken, len(tc.document)>>10)
			if taken > tc.most {
				t.Errorf("%.1f times the document's %d bytes were allocated, at most %.0f should be", taken, len(tc.document), tc.most)
			}
		})
	}
}

// distinct are components of which no two have the same licence.
func distinct(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"name":"a","licenses":[{"expression":"MIT OR L-%d"}]}`, i)
	}
	return list
}

// realistic are the packages of a large image.
func realistic(n int) []pkg {
	licenses := []string{"MIT", "Apache-2.0", "GPL-2.0-only AND LGPL-2.1-or-later", "BSD-3-Clause OR ISC", ""}
	packages := make([]pkg, n)
	for i := range packages {
		name, version := fmt.Sprintf("package-%d", i), fmt.Sprintf("%d.%d.%d", i%7, i%11, i%13)
		packages[i] = pkg{Name: name, Version: version, PURL: "pkg:npm/%40scope/" + name + "@" + version, License: licenses[i%len(licenses)]}
	}
	return packages
}

func BenchmarkVerify(b *testing.B) {
	for name, f := range formats {
		for _, n := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				document := f.document(b, realistic(n))
				desc, repo := attach(b, image, f.artifactType, document)
				v := newVerifier(b, strict())
				b.SetBytes(int64(len(document)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := v.Verify(b.Context(), image, desc, repo); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// FuzzVerify: whatever is in a document, there is an answer, and never a pass without a format that is read.
func FuzzVerify(f *testing.F) {
	for _, artifactType := range []string{typeSPDX, typeCycloneDX} {
		f.Add(artifactType, spdxDocument(f, alpine))
		f.Add(artifactType, cycloneDXDocument(f, alpine))
		f.Add(artifactType, []byte(fmt.Sprintf(cycloneDXAround, within(3))))
		f.Add(artifactType, []byte(`{"Data":"{}","Timestamp":""}`))
		f.Add(artifactType, []byte(`"{\"spdxVersion\":\"SPDX-2.3\"}"`))
		f.Add(artifactType, []byte(fmt.Sprintf(spdxAround, `{"name":"evil","versionInfo":"1.0","licenseConcluded":"MIT OR ("}`)))
	}
	v := newVerifier(f, strict())
	f.Fuzz(func(t *testing.T, artifactType string, document []byte) {
		if artifactType != typeSPDX && artifactType != typeCycloneDX {
			return
		}
		desc, repo := attach(t, image, artifactType, document)
		result, err := v.Verify(t.Context(), image, desc, repo)
		if err != nil {
			t.Fatal(err)
		}
		if result.Passed && result.Extensions["format"] == nil {
			t.Errorf("passed: %+v", result)
		}
		if !result.Passed && (result.Code == "" || result.Message == "") {
			t.Errorf("refused without a reason: %+v", result)
		}
	})
}
