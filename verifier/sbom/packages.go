package sbom

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/ratify-provider/ratify"
)

// maxRules bounds the rules about packages: each that ends in * is compared with each package, 100,000 at most.
const maxRules = 1000

// A packageURL is a package URL (purl specification), as far as a package is known by it.
type packageURL struct {
	path    string // type, namespace and name: maven/org.example/library
	version string
}

// parsePackageURL reads a package URL; what is after its version does not matter here. Type, namespace and name are made
// lower case: for most types they are compared so anyway, and a rule against a package rather matches one too many.
func parsePackageURL(text string) (packageURL, bool) {
	const scheme = "pkg:"
	if len(text) < len(scheme) || !strings.EqualFold(text[:len(scheme)], scheme) {
		return packageURL{}, false
	}
	rest, _, _ := strings.Cut(text[len(scheme):], "#")
	rest, _, _ = strings.Cut(rest, "?")
	rest = strings.Trim(rest, "/")
	var u packageURL
	// The version follows the last @, but for those which tools fail to encode at the beginning of an npm scope.
	if i := strings.LastIndexByte(rest, '@'); i > 0 && rest[i-1] != '/' {
		rest, u.version = rest[:i], decoded(rest[i+1:])
	}
	u.path = decoded(strings.ToLower(rest))
	if u.kind() == "pypi" {
		u.path = strings.NewReplacer("_", "-", ".", "-").Replace(u.path)
	}
	return u, u.kind() != "" && u.name() != ""
}

// kind is the package URL's type.
func (u packageURL) kind() string {
	kind, _, _ := strings.Cut(u.path, "/")
	return kind
}

// name is the name with its namespace.
func (u packageURL) name() string {
	_, name, _ := strings.Cut(u.path, "/")
	return name
}

// distributed tells that versions are a distribution's: the upstream version between an epoch and a revision.
func (u packageURL) distributed() bool {
	switch u.kind() {
	case "deb", "rpm", "apk", "alpm":
		return true
	}
	return false
}

func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// A packageRule disallows a package.
type packageRule struct {
	versions *semver.Constraints // nil is any
	// why is said of a package in the range, and unclear of one whose version cannot be compared.
	why, unclear string
}

// packageRules find the rules for a package. The zero value has none.
type packageRules struct{ names, paths matcher }

// A matcher finds rules by a name, or by the path of a package URL.
type matcher struct {
	exact    map[string][]packageRule
	prefixes []prefixRule
}

type prefixRule struct {
	prefix string
	packageRule
}

func (r *packageRules) any() bool { return r.names.any() || r.paths.any() }

func (m *matcher) any() bool { return len(m.exact)+len(m.prefixes) > 0 }

func (m *matcher) add(key string, rule packageRule) {
	if prefix, ok := strings.CutSuffix(key, "*"); ok {
		m.prefixes = append(m.prefixes, prefixRule{prefix, rule})
		return
	}
	if m.exact == nil {
		m.exact = map[string][]packageRule{}
	}
	m.exact[key] = append(m.exact[key], rule)
}

// build makes rules of a configuration, and tells all that is wrong with it.
func (p Packages) build() (packageRules, []error) {
	var r packageRules
	if len(p.Disallowed) > maxRules {
		return r, []error{fmt.Errorf("packages: disallowed: %d rules, at most %d are taken", len(p.Disallowed), maxRules)}
	}
	var problems []error
	for i, entry := range p.Disallowed {
		if err := r.add(entry); err != nil {
			problems = append(problems, fmt.Errorf("packages: disallowed[%d] %s: %w", i, ratify.Quote(cmp.Or(entry.Name, entry.PURL)), err))
		}
	}
	return r, problems
}

func (r *packageRules) add(p Package) error {
	into, key := &r.names, comparableName(p.Name)
	switch u, ok := parsePackageURL(p.PURL); {
	case p.Name == "" && p.PURL == "":
		return errors.New("it has neither a name nor a purl")
	case p.Name != "" && p.PURL != "":
		return errors.New("it has a name and a purl, of which one says which package is meant")
	case p.PURL != "" && !ok:
		return errors.New(`purl: write it like "pkg:maven/org.example/library"`)
	case p.PURL != "" && (u.version != "" || strings.ContainsAny(p.PURL, "?#")):
		return errors.New("purl: it is written without version, qualifiers and subpath; versions has a field of its own")
	case p.PURL != "":
		into, key = &r.paths, u.path
	}
	if key == "*" || strings.Contains(strings.TrimSuffix(key, "*"), "*") {
		return errors.New("a * stands at the end, after something, or nowhere")
	}
	rule := packageRule{why: "is disallowed"}
	if p.Versions != "" {
		var err error
		rule.why = fmt.Sprintf("is disallowed (%s)", p.Versions)
		rule.unclear = fmt.Sprintf("is disallowed in some versions (%s), and its version cannot be compared", p.Versions)
		if rule.versions, err = semver.NewConstraint(p.Versions); err != nil {
			return fmt.Errorf("versions: %s: write it like %q", ratify.Truncate(err.Error()), ">=2.0 <2.17.1")
		}
		// Without it the library takes 2.17.0-rc1 for outside of <2.17.1.
		rule.versions.IncludePrerelease = true
	}
	into.add(key, rule)
	return nil
}

// comparableName gives one spelling to a name with its group, which Maven's tools write with a colon.
func comparableName(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, ":", "/"))
}

// disallow tells why a package is disallowed; "" if it is not. It is known by its name, with and without its group, as the
// document and its package URLs have it.
func (r *packageRules) disallow(c *component) string {
	if !r.any() {
		return ""
	}
	name := comparableName(c.name)
	why := r.names.disallow(name, c)
	if i := strings.LastIndexByte(name, '/'); why == "" && i >= 0 {
		why = r.names.disallow(name[i+1:], c)
	}
	if why == "" && c.group != "" {
		why = r.names.disallow(comparableName(c.group)+"/"+name, c)
	}
	for _, u := range c.urls {
		if why == "" {
			why = r.paths.disallow(u.path, c)
		}
		if why == "" {
			why = r.names.disallow(u.name(), c)
		}
		if i := strings.LastIndexByte(u.path, '/'); why == "" && i >= 0 {
			why = r.names.disallow(u.path[i+1:], c)
		}
	}
	return why
}

func (m *matcher) disallow(key string, c *component) string {
	rules := m.exact[key]
	for i := range rules {
		if why := rules[i].disallow(c); why != "" {
			return why
		}
	}
	for i := range m.prefixes {
		if rule := &m.prefixes[i]; strings.HasPrefix(key, rule.prefix) {
			if why := rule.disallow(c); why != "" {
				return why
			}
		}
	}
	return ""
}

// disallow tells whether the rule's range holds the package's version, in any form in which the document has it. A version
// that cannot be compared is taken to be in the range: the rule says that some versions must not run, and nothing says that
// this is another.
func (rule *packageRule) disallow(c *component) string {
	if rule.versions == nil {
		return rule.why
	}
	distributed, elsewhere, why := false, false, ""
	for _, u := range c.urls {
		distributed = distributed || u.distributed()
	}
	for _, u := range c.urls {
		if u.version != "" && why == "" {
			elsewhere, why = true, rule.holds(u.version, distributed)
		}
	}
	if why != "" || c.version == "" && elsewhere {
		return why
	}
	return rule.holds(c.version, distributed)
}

// holds tells why a version is disallowed; "" if it is not. What semantic versions call a pre-release is in many ecosystems something that was released
// (31.1-jre, 2.0.0-1): the range holds it if it holds the version with these words or without. Of a distribution's version
// the upstream part is compared, for ranges are written in it; what a distribution has mended in a revision does not show.
func (rule *packageRule) holds(text string, distributed bool) (why string) {
	if distributed {
		text = upstream(text)
	}
	version, err := semver.NewVersion(strings.TrimPrefix(strings.ReplaceAll(text, "~", "-"), "go"))
	if err != nil {
		return rule.unclear
	}
	if rule.versions.Check(version) {
		return rule.why
	}
	if version.Prerelease() != "" && !distributed && rule.versions.Check(semver.New(version.Major(), version.Minor(), version.Patch(), "", "")) {
		return rule.why
	}
	return ""
}

// upstream cuts epoch and revision off a distribution's version: 1:2.17.0-3ubuntu1 is 2.17.0.
func upstream(version string) string {
	if epoch, rest, ok := strings.Cut(version, ":"); ok && strings.Trim(epoch, "0123456789") == "" {
		version = rest
	}
	if i := strings.LastIndexByte(version, '-'); i > 0 {
		version = version[:i]
	}
	return version
}
