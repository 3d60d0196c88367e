package docs

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/store/ocilayout"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/vulnerability"
)

func readDoc(t *testing.T, name string) []byte {
	t.Helper()
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	return read(t, filepath.Join(root, "docs", name))
}

// trustSection is about fields that the settings of several verifiers share.
const trustSection = "### Whom to trust: `keys` and `identities`"

// sections are where docs/configuration.md names the fields of a type.
var sections = []struct {
	headings []string
	of       any
}{
	{[]string{"## `stores`"}, config.Store{}},
	{[]string{"### `type: oras`"}, oras.Config{}},
	{[]string{"### `type: ocilayout`"}, ocilayout.Config{}},
	{[]string{"## `verifiers`"}, config.Verifier{}},
	{[]string{"### `type: notation`"}, notation.Config{}},
	{[]string{trustSection}, cosign.Config{}},
	{[]string{"### `type: attestation`", trustSection}, attestation.Config{}},
	{[]string{"### `type: sbom`", trustSection}, sbom.Config{}},
	{[]string{"### `type: vulnerability`", trustSection}, vulnerability.Config{}},
	{[]string{"## `policies`"}, ratify.Policy{}},
	{[]string{"## `exemptions`"}, ratify.Exemption{}},
	{[]string{"## `mirrors`"}, ratify.Mirror{}},
	{[]string{"## `tenancy`"}, struct {
		config.Tenancy
		config.Tenant
	}{}},
	{[]string{"## The rest"}, struct {
		Cache              config.Cache    `json:"cache"`
		Mutation           config.Mutation `json:"mutation"`
		GatekeeperCacheTTL string          `json:"gatekeeperCacheTTL"`
		Concurrency        int             `json:"concurrency"`
	}{}},
}

// elsewhere are types whose fields are a section's own, or no field but a form of text.
var elsewhere = map[reflect.Type]bool{
	reflect.TypeFor[config.Verifier](): true, reflect.TypeFor[ratify.Policy](): true, reflect.TypeFor[config.Settings](): true,
	reflect.TypeFor[ratify.Require](): true, reflect.TypeFor[ratify.Instant](): true,
}

// fields lists the fields of a type by their names in the file, and those of the types below it that are ours.
func fields(of reflect.Type, top bool, names map[string]bool) {
	switch of.Kind() {
	case reflect.Slice, reflect.Pointer:
		fields(of.Elem(), false, names)
		return
	case reflect.Struct:
	default:
		return
	}
	if !top && (elsewhere[of] || !strings.HasPrefix(of.PkgPath(), "github.com/ratify-provider/ratify")) {
		return
	}
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || !f.IsExported() {
			continue // embedded: its fields are visible ones, too
		}
		names[name] = true
		fields(f.Type, false, names)
	}
}

// section returns the text from a heading to the next of its level or above.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut("\n"+page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/configuration.md has no section %s", heading)
	}
	level := strings.Count(strings.Fields(heading)[0], "#")
	if end := regexp.MustCompile(`(?m)^#{1,` + string(rune('0'+level)) + `} `).FindStringIndex(rest); end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

var quoted = regexp.MustCompile("`[^`\n]+`")

// TestManualNamesEveryField: docs/configuration.md names each field where its module is described, and its tables none that
// there is not.
func TestManualNamesEveryField(t *testing.T) {
	page := string(readDoc(t, "configuration.md"))
	all, rows := map[string]bool{}, map[string]bool{}
	for _, s := range sections {
		names := map[string]bool{}
		fields(reflect.TypeOf(s.of), true, names)
		text := ""
		for _, heading := range s.headings {
			text += section(t, page, heading)
		}
		words := map[string]bool{}
		for _, q := range quoted.FindAllString(text, -1) {
			for _, word := range regexp.MustCompile(`[A-Za-z]+`).FindAllString(q, -1) {
				words[word] = true
			}
		}
		for name := range names {
			all[name] = true
			if !words[name] {
				t.Errorf("%s of %T is not named under %s", name, s.of, s.headings[0])
			}
		}
		for _, line := range strings.Split(text, "\n") {
			if cells := strings.Split(line, "|"); len(cells) > 2 {
				for _, q := range quoted.FindAllString(cells[1], -1) {
					for _, word := range strings.Split(strings.Trim(q, "`"), ".") {
						rows[word] = true
					}
				}
			}
		}
	}
	for word := range rows {
		if !all[word] {
			t.Errorf("docs/configuration.md has a row for %s, which is no field", word)
		}
	}
	top := map[string]bool{}
	fields(reflect.TypeFor[config.File](), true, top)
	for name := range top {
		if !all[name] && !strings.Contains(page, "## `"+name+"`") {
			t.Errorf("%s of the file is not named", name)
		}
	}
}

// TestLinks: what the pages of docs/tasks link to is there.
func TestLinks(t *testing.T) {
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "tasks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(pages, filepath.Join(root, "docs", "configuration.md"), filepath.Join(root, "docs", "operations.md"), filepath.Join(root, "docs", "architecture.md")) {
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(read(t, path)), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), link[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
			}
		}
	}
}
