package sbom_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/sbom"
)

// load decodes settings as a configuration file has them, and builds a verifier.
func load(settings map[string]any) (*sbom.Verifier, error) {
	var cfg sbom.Config
	if err := config.NewSettings("settings", settings).Decode(&cfg); err != nil {
		return nil, err
	}
	return sbom.New(cfg, sbom.Deps{})
}

func TestConfig(t *testing.T) {
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(file, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := load(object{
		"keys":     []any{object{"name": "release", "file": file}},
		"licenses": object{"disallowed": []any{"AGPL-3.0-or-later", "LicenseRef-Example"}, "allowed": []any{"MIT", "GPL-2.0-only WITH Classpath-exception-2.0"}, "unknown": "allow"},
		"packages": object{"disallowed": []any{object{"name": "log4j-core", "versions": ">=2.0 <2.17.1"}, object{"purl": "pkg:npm/%40evil/*"}}},
		"maxAge":   "720h",
	})
	if err != nil {
		t.Fatal(err)
	}
	if pieces, proves := v.Documents(); pieces != ratify.PiecesAll || !proves {
		t.Errorf("pieces %s, proves %t", pieces, proves)
	}
	if warnings := v.Warnings(); len(warnings) != 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestConfigErrors(t *testing.T) {
	licenses := func(l sbom.Licenses) sbom.Config { return sbom.Config{Licenses: l} }
	packages := func(p ...sbom.Package) sbom.Config { return sbom.Config{Packages: sbom.Packages{Disallowed: p}} }
	for _, tc := range []struct {
		name string
		cfg  sbom.Config
		want []string
	}{
		{"a licence that there is not", licenses(sbom.Licenses{Disallowed: []string{"MIT", "GPL-3.0-onl"}}),
			[]string{`licenses: disallowed[1]: "GPL-3.0-onl": it is no identifier of the SPDX License List (did you mean "GPL-3.0-only"?)`}},
		{"a licence without its version", licenses(sbom.Licenses{Disallowed: []string{"agpl", "GPL"}}), []string{
			`licenses: disallowed[0]: "agpl": it is no identifier of the SPDX License List (did you mean "AGPL-3.0-only"?)`,
			`licenses: disallowed[1]: "GPL": it is no identifier of the SPDX License List (did you mean "GPL-3.0-only"?)`}},
		{"an expression", licenses(sbom.Licenses{Allowed: []string{"MIT OR ISC"}}), []string{`licenses: allowed[0]: "MIT OR ISC": expected one identifier`}},
		{"an operator", licenses(sbom.Licenses{Allowed: []string{"AND"}}), []string{`licenses: allowed[0]: "AND": expected one identifier`}},
		{"no words", licenses(sbom.Licenses{Allowed: []string{""}}), []string{`licenses: allowed[0]: "": it is no licence expression`}},
		{"two exceptions", licenses(sbom.Licenses{Allowed: []string{"GPL-2.0-with-GCC-exception WITH Classpath-exception-2.0"}}), []string{"it names two exceptions"}},
		{"allowed and disallowed", licenses(sbom.Licenses{Allowed: []string{"gpl-2.0"}, Disallowed: []string{"GPL-2.0-only"}}), []string{`licenses: allowed[0]: "gpl-2.0" is disallowed, too`}},
		{"another choice", licenses(sbom.Licenses{Allowed: []string{"MIT"}, Unknown: "maybe"}), []string{`licenses: unknown: expected allow or refuse, got "maybe"`}},
		{"no effect", licenses(sbom.Licenses{Unknown: "allow"}), []string{"licenses: unknown: has no effect without disallowed or allowed"}},
		{"no package", packages(sbom.Package{Versions: "<1"}), []string{`packages: disallowed[0] "": it has neither a name nor a purl`}},
		{"name and purl", packages(sbom.Package{Name: "a", PURL: "pkg:npm/a"}), []string{`packages: disallowed[0] "a": it has a name and a purl`}},
		{"no package URL", packages(sbom.Package{PURL: "npm/a"}), []string{`packages: disallowed[0] "npm/a": purl: write it like "pkg:maven/org.example/library"`}},
		{"a package URL with its version", packages(sbom.Package{PURL: "pkg:npm/a@1.0"}), []string{"purl: it is written without version, qualifiers and subpath"}},
		{"a package URL with qualifiers", packages(sbom.Package{PURL: "pkg:npm/a?arch=x"}), []string{"purl: it is written without version, qualifiers and subpath"}},
		{"a star in the middle", packages(sbom.Package{Name: "a*b"}), []string{"a * stands at the end, after something, or nowhere"}},
		{"a star alone", packages(sbom.Package{Name: "*"}), []string{"a * stands at the end, after something, or nowhere"}},
		{"no range", packages(sbom.Package{Name: "a", Versions: "two"}), []string{`packages: disallowed[0] "a": versions: `, `write it like ">=2.0 <2.17.1"`}},
		{"too many rules", packages(slices.Repeat([]sbom.Package{{Name: "a"}}, 1001)...), []string{"packages: disallowed: 1001 rules, at most 1000 are taken"}},
		{"an age of the future", sbom.Config{MaxAge: -1}, []string{"maxAge: expected a positive duration"}},
		{"all at once", sbom.Config{Licenses: sbom.Licenses{Allowed: []string{"x y"}}, Packages: sbom.Packages{Disallowed: []sbom.Package{{}}}, MaxAge: -1},
			[]string{"licenses: allowed[0]", "packages: disallowed[0]", "maxAge"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := sbom.New(tc.cfg, sbom.Deps{})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	if warnings := newVerifier(t, sbom.Config{}).Warnings(); len(warnings) != 1 {
		t.Errorf("no rule: %q", warnings)
	}
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(file, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := object{
		"keys": []any{object{"name": "release", "file": file}}, "cosignTags": true, "licenses": object{"disallowed": []any{"AGPL-3.0-only"}},
	}
	for _, want := range []int{1, 0} {
		v, err := load(settings)
		if err != nil {
			t.Fatal(err)
		}
		if warnings := v.Warnings(); len(warnings) != want || want > 0 && !strings.Contains(warnings[0], "set maxAge") {
			t.Errorf("settings %v: %q, want %d", settings, warnings, want)
		}
		settings["maxAge"] = "720h"
	}
}
