package sbom_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/verifier/sbom"
)

func TestRules(t *testing.T) {
	disallow := func(packages ...sbom.Package) sbom.Config {
		return sbom.Config{Packages: sbom.Packages{Disallowed: packages}}
	}
	for _, tc := range []struct {
		name    string
		cfg     sbom.Config
		code    ratify.Code
		message []string
	}{
		{"no rule", sbom.Config{}, "", []string{"packages: 4"}},
		{"a disallowed licence", sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"gpl-2.0"}}}, ratify.LicenseDisallowed,
			[]string{`"busybox 1.36.1-r4" has the licence "GPL-2.0-only", which is disallowed`}},
		{"a licence that nobody has", sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"AGPL-3.0-or-later"}}}, "", nil},
		{"all licences are allowed", sbom.Config{Licenses: sbom.Licenses{Allowed: []string{"MIT", "GPL-2.0-only", "Apache-2.0"}}}, "", nil},
		{"two licences are not allowed", sbom.Config{Licenses: sbom.Licenses{Allowed: []string{"MIT"}}}, ratify.LicenseDisallowed,
			[]string{`"busybox 1.36.1-r4" has the licence "GPL-2.0-only", which is not allowed, "log4j-core 2.14.1" has`}},
		{"a package in a range", disallow(sbom.Package{Name: "log4j-core", Versions: ">=2.0 <2.17.1"}), ratify.PackageDisallowed,
			[]string{`"log4j-core 2.14.1" is disallowed (>=2.0 <2.17.1)`}},
		{"a package outside of the range", disallow(sbom.Package{Name: "log4j-core", Versions: "<2.14"}), "", nil},
		{"a package by its URL", disallow(sbom.Package{PURL: "pkg:maven/org.apache.logging.log4j/log4j-core"}), ratify.PackageDisallowed, nil},
		{"packages by the beginning of their URL", disallow(sbom.Package{PURL: "pkg:maven/org.apache.*"}), ratify.PackageDisallowed, nil},
		{"another package URL", disallow(sbom.Package{PURL: "pkg:maven/org.apache/log4j-core"}), "", nil},
		{"packages by the beginning of their name", disallow(sbom.Package{Name: "busy*"}), ratify.PackageDisallowed, []string{`"busybox 1.36.1-r4" is disallowed`}},
		{"both", sbom.Config{
			Licenses: sbom.Licenses{Disallowed: []string{"MIT"}},
			Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "busybox"}}},
		}, ratify.PackageDisallowed, []string{`"busybox 1.36.1-r4" is disallowed; and "musl 1.2.4-r2" has the licence "MIT"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, f format) {
				expect(t, verify(t, tc.cfg, f.artifactType, f.document(t, alpine)), tc.code, tc.message...)
			})
		})
	}
}

func TestFacts(t *testing.T) {
	for name, want := range map[string]map[string]any{
		"spdx": {"format": "SPDX-2.3", "packages": int64(4), "created": "2026-03-10T11:00:00Z", "tools": []string{"syft-0.95.0"},
			"licenses": []string{"Apache-2.0", "GPL-2.0-only", "MIT"}, "licensesComplete": true},
		"cyclonedx": {"format": "CycloneDX-1.5", "packages": int64(4), "created": "2026-03-10T11:00:00Z", "tools": []string{"trivy 0.49.0"},
			"licenses": []string{"Apache-2.0", "GPL-2.0-only", "MIT"}, "licensesComplete": true},
	} {
		t.Run(name, func(t *testing.T) {
			f := formats[name]
			result := verify(t, sbom.Config{MaxAge: config.Duration(2 * time.Hour)}, f.artifactType, f.document(t, alpine))
			expect(t, result, "")
			if !reflect.DeepEqual(result.Extensions, want) {
				t.Errorf("facts\n%v\nwant\n%v", result.Extensions, want)
			}
			if made := now.Add(-time.Hour); !result.Made.Equal(made) || !result.NotAfter.Equal(now.Add(time.Hour)) {
				t.Errorf("made %s, not after %s", result.Made, result.NotAfter)
			}
		})
	}
}

func TestAge(t *testing.T) {
	day := sbom.Config{MaxAge: config.Duration(24 * time.Hour)}
	for _, tc := range []struct {
		name    string
		cfg     sbom.Config
		created any
		code    ratify.Code
		message string
	}{
		{"young enough", day, now.Add(-24 * time.Hour).Format(time.RFC3339), "", ""},
		{"too old", day, now.Add(-31 * time.Hour).Format(time.RFC3339), ratify.EvidenceTooOld, "was made 31 h ago, at most 24 h are allowed: 7 h too old"},
		{"old, and any age is allowed", sbom.Config{}, "2001-01-01T00:00:00Z", "", ""},
		{"no time", day, nil, ratify.EvidenceTooOld, "does not say when it was made, and at most 24 h are allowed"},
		{"no time, and any age is allowed", sbom.Config{}, nil, "", ""},
		{"a clock that is a little ahead", day, now.Add(5 * time.Minute).Format(time.RFC3339), "", ""},
		{"the future", sbom.Config{}, now.Add(6 * time.Minute).Format(time.RFC3339), ratify.EvidenceInvalid, "was made 6 min from now"},
		{"no time at all", sbom.Config{}, "yesterday", ratify.EvidenceInvalid, `expected a time such as 2026-01-02T15:04:05Z, got "yesterday"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, verify(t, tc.cfg, typeSPDX, spdxDocument(t, alpine, set("creationInfo.created", tc.created))), tc.code, tc.message)
			expect(t, verify(t, tc.cfg, typeCycloneDX, cycloneDXDocument(t, alpine, set("metadata.timestamp", tc.created))), tc.code, tc.message)
		})
	}
}

// TestMadeOfRefusals: where the newest document decides, one that is refused must not give way to an older one.
func TestMadeOfRefusals(t *testing.T) {
	inBoth(t, func(t *testing.T, f format) {
		result := verify(t, sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"MIT"}}}, f.artifactType, f.document(t, alpine))
		expect(t, result, ratify.LicenseDisallowed)
		if !result.Made.Equal(now.Add(-time.Hour)) {
			t.Errorf("made %s", result.Made)
		}
	})
}

// TestRemedy: what to do about a licence that nobody knows is another thing than about one that is disallowed.
func TestRemedy(t *testing.T) {
	document := spdxDocument(t, []pkg{{Name: "a"}, {Name: "b", License: "MIT"}})
	result := verify(t, sbom.Config{Licenses: sbom.Licenses{Disallowed: []string{"MIT"}}}, typeSPDX, document)
	expect(t, result, ratify.LicenseDisallowed, `"a" has the licence "NOASSERTION", which is unknown, "b" has the licence "MIT", which is disallowed`)
	if !strings.Contains(result.Remedy, "licenses: unknown") {
		t.Errorf("remedy %q", result.Remedy)
	}
	lax := sbom.Licenses{Disallowed: []string{"MIT"}, Unknown: "allow"}
	if result := verify(t, sbom.Config{Licenses: lax}, typeSPDX, document); result.Passed || result.Remedy != "" {
		t.Errorf("%+v", result)
	}
}

func TestVersions(t *testing.T) {
	for _, tc := range []struct {
		name, artifactType string
		document           []byte
		code               ratify.Code
		message            string
	}{
		{"SPDX 2.2", typeSPDX, spdxDocument(t, alpine, set("spdxVersion", "SPDX-2.2")), ratify.EvidenceInvalid, `its version is "SPDX-2.2", and SPDX-2.3 is read`},
		{"SPDX 3", typeSPDX, []byte(`{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}`), ratify.EvidenceInvalid, "it has no spdxVersion"},
		{"CycloneDX 1.3", typeCycloneDX, cycloneDXDocument(t, alpine, set("specVersion", "1.3")), ratify.EvidenceInvalid, `its version is "1.3", and CycloneDX 1.4, 1.5, 1.6 are read`},
		{"CycloneDX 1.4", typeCycloneDX, cycloneDXDocument(t, alpine, set("specVersion", "1.4"),
			set("metadata.tools", []any{object{"vendor": "example", "name": "tool", "version": "1"}})), "", ""},
		{"CycloneDX 1.6", typeCycloneDX, cycloneDXDocument(t, alpine, set("specVersion", "1.6")), "", ""},
		{"another format", typeCycloneDX, cycloneDXDocument(t, alpine, set("bomFormat", "SPDX")), ratify.EvidenceInvalid, `its bomFormat is "SPDX"`},
		{"SPDX under the type of CycloneDX", typeCycloneDX, spdxDocument(t, alpine), ratify.EvidenceInvalid, "its bomFormat is"},
		{"CycloneDX under the type of SPDX", typeSPDX, cycloneDXDocument(t, alpine), ratify.EvidenceInvalid, "it has no spdxVersion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			expect(t, verify(t, sbom.Config{}, tc.artifactType, tc.document), tc.code, tc.message)
		})
	}
}

func TestReading(t *testing.T) {
	stranger := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("another"), Size: 7}
	t.Run("for another image", func(t *testing.T) {
		desc, repo := attach(t, stranger, typeSPDX, spdxDocument(t, alpine))
		result := verifyIn(t, sbom.Config{}, image, desc, repo)
		if result.Passed || result.Code != ratify.SubjectMismatch || !result.Unproven {
			t.Errorf("%+v", result)
		}
	})
	t.Run("oversized", func(t *testing.T) {
		large := append(spdxDocument(t, alpine), strings.Repeat(" ", ratify.MaxDocumentBytes)...)
		expect(t, verify(t, sbom.Config{}, typeSPDX, large), ratify.LimitExceeded)
	})
	t.Run("absent", func(t *testing.T) {
		desc, repo := attach(t, image, typeSPDX, spdxDocument(t, alpine))
		for d := range repo.content {
			if d != desc.Digest {
				delete(repo.content, d)
			}
		}
		if _, err := newVerifier(t, sbom.Config{}).Verify(t.Context(), image, desc, repo); ratify.AsError(err).Code != ratify.RegistryInvalid {
			t.Errorf("error %v", err)
		}
	})
	t.Run("another kind", func(t *testing.T) {
		desc, repo := attach(t, image, "application/vnd.example.signature", []byte("{}"))
		v := newVerifier(t, sbom.Config{})
		if v.Match(desc) {
			t.Error("matched")
		}
		desc.ArtifactType = ""
		if _, err := v.Verify(t.Context(), image, desc, repo); !errors.Is(err, ratify.ErrOtherKind) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("defaults", func(t *testing.T) {
		if pieces, proves := newVerifier(t, sbom.Config{}).Documents(); pieces != ratify.PiecesAll || proves {
			t.Errorf("pieces %s, proves %t", pieces, proves)
		}
	})
}

// TestDescribedImage: what a document says of itself speaks against it only where it is certain.
func TestDescribedImage(t *testing.T) {
	other := digest.FromString("other")
	answer := func(mediaType string) func(string) (ocispec.Descriptor, error) {
		return func(reference string) (ocispec.Descriptor, error) {
			return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(reference)}, nil
		}
	}
	fail := func(code ratify.Code) func(string) (ocispec.Descriptor, error) {
		return func(string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, &ratify.Error{Code: code} }
	}
	for _, tc := range []struct {
		name    string
		resolve func(string) (ocispec.Descriptor, error)
		code    ratify.Code
		fails   ratify.Code
	}{
		{"another image of the repository", answer(ocispec.MediaTypeImageManifest), ratify.SubjectMismatch, ""},
		{"an index, maybe of this image", answer(ocispec.MediaTypeImageIndex), "", ""},
		{"not in this repository", fail(ratify.SubjectNotFound), "", ""},
		{"the registry is away", fail(ratify.RegistryUnavailable), "", ratify.RegistryUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, f format) {
				document := strings.ReplaceAll(string(f.document(t, alpine)), image.Digest.Encoded(), other.Encoded())
				desc, repo := attach(t, image, f.artifactType, []byte(document))
				repo.resolve = tc.resolve
				result, err := newVerifier(t, sbom.Config{}).Verify(t.Context(), image, desc, repo)
				if tc.fails != "" {
					if err == nil || ratify.AsError(err).Code != tc.fails {
						t.Errorf("error %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				expect(t, result, tc.code)
				if tc.code != "" && !strings.Contains(result.Message, other.String()) {
					t.Errorf("message %q", result.Message)
				}
			})
		})
	}
	t.Run("an image by another algorithm", func(t *testing.T) {
		subject := image
		subject.Digest = digest.SHA512.FromString("image")
		desc, repo := attach(t, subject, typeSPDX, spdxDocument(t, alpine))
		repo.resolve = answer(ocispec.MediaTypeImageManifest)
		expect(t, verifyIn(t, sbom.Config{}, subject, desc, repo), "")
	})
	t.Run("this image", func(t *testing.T) {
		inBoth(t, func(t *testing.T, f format) {
			desc, repo := attach(t, image, f.artifactType, f.document(t, alpine))
			repo.resolve = func(reference string) (ocispec.Descriptor, error) {
				t.Errorf("asked for %s", reference)
				return ocispec.Descriptor{}, nil
			}
			expect(t, verifyIn(t, sbom.Config{}, image, desc, repo), "")
		})
	})
}
