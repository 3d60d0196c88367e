package sbom

import (
	"testing"
)

func TestPackageURL(t *testing.T) {
	for text, want := range map[string]packageURL{
		"pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar#x": {"maven/org.apache.logging.log4j/log4j-core", "2.14.1"},
		"pkg:npm/%40Angular/core@1.0":                                     {"npm/@angular/core", "1.0"},
		"pkg:npm/@angular/core":                                           {"npm/@angular/core", ""},
		"pkg:npm/@angular/core@1.0":                                       {"npm/@angular/core", "1.0"},
		"PKG:PyPI/Jinja2_x.y@3":                                           {"pypi/jinja2-x-y", "3"},
		"pkg://golang/github.com/acme/lib/v2@v2.0.0":                      {"golang/github.com/acme/lib/v2", "v2.0.0"},
		"pkg:deb/debian/openssl@1%3A3.0.2-0?distro=debian-12":             {"deb/debian/openssl", "1:3.0.2-0"},
		"pkg:oci/app@sha256%3Aab?tag=1":                                   {"oci/app", "sha256:ab"},
	} {
		if got, ok := parsePackageURL(text); !ok || got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	for _, text := range []string{"", "pkg:", "pkg:npm", "pkg:npm/", "npm/x@1", "cpe:2.3:a:x"} {
		if got, ok := parsePackageURL(text); ok {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestPackageRules(t *testing.T) {
	for _, tc := range []struct {
		name      string
		rule      Package
		component component
		purl      string
		want      string
	}{
		{"by name", Package{Name: "log4j-core"}, component{name: "log4j-core"}, "", "is disallowed"},
		{"by name in other letters", Package{Name: "Log4J-core"}, component{name: "log4j-CORE"}, "", "is disallowed"},
		{"a longer name", Package{Name: "log4j"}, component{name: "log4j-core"}, "", ""},
		{"the beginning of a name", Package{Name: "log4j*"}, component{name: "log4j-core"}, "", "is disallowed"},
		{"a name with its group", Package{Name: "@angular/core"}, component{name: "core", group: "@angular"}, "", "is disallowed"},
		{"a name with its group as Maven writes it", Package{Name: "org.example:lib"}, component{name: "lib", group: "org.example"}, "", "is disallowed"},
		{"a name that is in the package URL", Package{Name: "log4j-core"}, component{name: "org.apache:log4j-core"}, "pkg:maven/org.apache/log4j-core@2", "is disallowed"},
		{"a name with its group in it", Package{Name: "log4j-core"}, component{name: "org.apache:log4j-core"}, "", "is disallowed"},
		{"a group is no name", Package{Name: "org.apache"}, component{name: "org.apache:log4j-core"}, "pkg:maven/org.apache/log4j-core@2", ""},
		{"by package URL", Package{PURL: "pkg:npm/%40evil/lib"}, component{name: "lib"}, "pkg:npm/@evil/lib@1.0", "is disallowed"},
		{"another namespace", Package{PURL: "pkg:npm/%40evil/lib"}, component{name: "lib"}, "pkg:npm/@good/lib@1.0", ""},
		{"the beginning of a package URL", Package{PURL: "pkg:npm/%40evil/*"}, component{name: "lib"}, "pkg:npm/@evil/lib@1.0", "is disallowed"},
		{"a name is no package URL", Package{Name: "npm/lib"}, component{name: "lib"}, "pkg:npm/lib@1.0", ""},

		{"in the range", Package{Name: "a", Versions: ">=2.0 <2.17.1"}, component{name: "a", version: "2.17.0"}, "", "is disallowed (>=2.0 <2.17.1)"},
		{"at its end", Package{Name: "a", Versions: ">=2.0 <2.17.1"}, component{name: "a", version: "2.17.1"}, "", ""},
		{"before it", Package{Name: "a", Versions: ">=2.0 <2.17.1"}, component{name: "a", version: "v1.2"}, "", ""},
		{"alternatives", Package{Name: "a", Versions: "<1.0 || >=2.0"}, component{name: "a", version: "1.5.0"}, "", ""},
		{"the version of the package URL alone", Package{Name: "a", Versions: "<2"}, component{name: "a"}, "pkg:npm/a@1.0", "is disallowed (<2)"},
		{"the package URL has another version", Package{Name: "a", Versions: "<2"}, component{name: "a", version: "2.0"}, "pkg:npm/a@1.0", "is disallowed (<2)"},
		{"a pre-release of the first good one", Package{Name: "a", Versions: "<2.17.1"}, component{name: "a", version: "2.17.1-rc1"}, "", "is disallowed (<2.17.1)"},
		{"a pre-release of the first bad one", Package{Name: "a", Versions: ">=2.0"}, component{name: "a", version: "2.0-rc1"}, "", "is disallowed (>=2.0)"},
		{"a word that is no pre-release", Package{Name: "guava", Versions: ">=31.1"}, component{name: "guava", version: "31.1-jre"}, "", "is disallowed (>=31.1)"},
		{"build metadata", Package{Name: "a", Versions: "=1.0.0"}, component{name: "a", version: "1.0.0+build"}, "", "is disallowed (=1.0.0)"},
		{"Go's own", Package{Name: "stdlib", Versions: "<1.22"}, component{name: "stdlib", version: "go1.21.3"}, "pkg:golang/stdlib@1.21.3", "is disallowed (<1.22)"},

		{"a revision of Debian", Package{Name: "openssl", Versions: ">=3.0.2 <3.0.8"}, component{name: "openssl", version: "3.0.2-0ubuntu1.10"}, "pkg:deb/ubuntu/openssl@3.0.2-0ubuntu1.10", "is disallowed (>=3.0.2 <3.0.8)"},
		{"a revision of Debian after the range", Package{Name: "openssl", Versions: "<3.0.2"}, component{name: "openssl", version: "3.0.2-0ubuntu1.10"}, "pkg:deb/ubuntu/openssl@3.0.2-0ubuntu1.10", ""},
		{"an epoch", Package{Name: "a", Versions: "<2"}, component{name: "a", version: "1:2.1-3"}, "pkg:rpm/fedora/a@2.1-3?epoch=1", ""},
		{"a revision of Alpine", Package{Name: "musl", Versions: "<1.2.4"}, component{name: "musl", version: "1.2.4-r2"}, "pkg:apk/alpine/musl@1.2.4-r2", ""},
		{"Debian's mark of a pre-release", Package{Name: "a", Versions: "<2.0"}, component{name: "a", version: "2.0~rc1-1"}, "pkg:deb/debian/a@2.0~rc1-1", "is disallowed (<2.0)"},

		{"no version", Package{Name: "a", Versions: "<2"}, component{name: "a"}, "", "is disallowed in some versions (<2), and its version cannot be compared"},
		{"a version that is none", Package{Name: "a", Versions: "<2"}, component{name: "a", version: "(devel)"}, "", "is disallowed in some versions (<2), and its version cannot be compared"},
		{"a letter", Package{Name: "openssl", Versions: "<1.1.1"}, component{name: "openssl", version: "1.1.1k"}, "", "is disallowed in some versions (<1.1.1), and its version cannot be compared"},
		{"four numbers", Package{Name: "a", Versions: "<1"}, component{name: "a", version: "2.0.0.1"}, "", "is disallowed in some versions (<1), and its version cannot be compared"},
		{"no version, of another package", Package{Name: "b", Versions: "<2"}, component{name: "a"}, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules, problems := Packages{Disallowed: []Package{tc.rule}}.build()
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			c := tc.component
			if err := c.addURL(tc.purl); err != nil {
				t.Fatal(err)
			}
			if got := rules.disallow(&c); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
