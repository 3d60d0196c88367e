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
	kind      string // its type, such as maven
	namespace string
	name      string
	version   string
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
	u.kind, rest, _ = strings.Cut(strings.ToLower(rest), "/")
	rest = decoded(rest)
	u.name = rest
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		u.namespace, u.name = rest[:i], rest[i+1:]
	}
	if u.kind == "pypi" {
		u.name = strings.NewReplacer("_", "-", ".", "-").Replace(u.name)
	}
	return u, u.kind != "" && u.name != ""
}

func decoded(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// path is the package without its version: type, namespace and name.
func (u packageURL) path() string {
	if u.namespace == "" {
		return u.kind + "/" + u.name
	}
	return u.kind + "/" + u.namespace + "/" + u.name
}

// distributed tells that versions are a distribution's: the upstream version between an epoch and a revision.
func (u packageURL) distributed() bool {
	switch u.kind {
	case "deb", "rpm", "apk", "alpm":
		return true
	}
	return false
}

// A packageRule disallows a package.
type packageRule struct {
	versions *semver.Constraints // nil is any
	text     string              // the range, as it was written
}

// packageRules find the rules for a package. The zero value has none.
type packageRules struct {
	exact    map[string][]packageRule // by name, or by the path of a package URL
	prefixes []prefixRule
}

type prefixRule struct {
	prefix string
	packageRule
}

func (r *packageRules) any() bool { return len(r.exact)+len(r.prefixes) > 0 }

// build makes rules of a configuration, and tells all that is wrong with it.
func (p Packages) build() (packageRules, []error) {
	r := packageRules{exact: map[string][]packageRule{}}
	var problems []error
	if len(p.Disallowed) > maxRules {
		return r, []error{fmt.Errorf("packages: disallowed: %d rules, at most %d are taken", len(p.Disallowed), maxRules)}
	}
	for i, entry := range p.Disallowed {
		key, rule, err := entry.build()
		if err != nil {
			problems = append(problems, fmt.Errorf("packages: disallowed[%d] %s: %w", i, ratify.Quote(cmp.Or(entry.Name, entry.PURL)), err))
			continue
		}
		if prefix, ok := strings.CutSuffix(key, "*"); ok {
			r.prefixes = append(r.prefixes, prefixRule{prefix, rule})
			continue
		}
		r.exact[key] = append(r.exact[key], rule)
	}
	return r, problems
}

// purlMark stands before the path of a package URL where names and paths are in one table: no name has a NUL.
const purlMark = "\x00"

func (p Package) build() (key string, rule packageRule, err error) {
	switch {
	case p.Name != "" && p.PURL != "":
		return "", rule, errors.New("it has a name and a purl, of which one says which package is meant")
	case p.Name != "":
		key = strings.ToLower(p.Name)
	case p.PURL != "":
		u, ok := parsePackageURL(p.PURL)
		switch {
		case !ok:
			return "", rule, errors.New(`purl: write it like "pkg:maven/org.example/library"`)
		case u.version != "" || strings.ContainsAny(p.PURL, "?#"):
			return "", rule, errors.New("purl: it is written without version, qualifiers and subpath; versions has a field of its own")
		}
		key = purlMark + u.path()
	default:
		return "", rule, errors.New("it has neither a name nor a purl")
	}
	if key == "*" || strings.Contains(strings.TrimSuffix(key, "*"), "*") {
		return "", rule, errors.New("a * stands at the end, after something, or nowhere")
	}
	if p.Versions == "" {
		return key, rule, nil
	}
	rule.text = p.Versions
	if rule.versions, err = semver.NewConstraint(p.Versions); err != nil {
		return "", rule, fmt.Errorf("versions: %s: write it like %q", ratify.Truncate(err.Error()), ">=2.0 <2.17.1")
	}
	// Without it the library takes 2.17.0-rc1 for outside of <2.17.1.
	rule.versions.IncludePrerelease = true
	return key, rule, nil
}

// disallow tells why a package is disallowed; "" if it is not.
func (r *packageRules) disallow(c *component) string {
	if !r.any() {
		return ""
	}
	for _, key := range c.keys() {
		for _, rule := range r.exact[key] {
			if why := rule.disallow(c); why != "" {
				return why
			}
		}
		for _, rule := range r.prefixes {
			if strings.HasPrefix(key, rule.prefix) {
				if why := rule.disallow(c); why != "" {
					return why
				}
			}
		}
	}
	return ""
}

// keys are what a rule may know the package by: its name, with and without its group, as the document and its package
// URLs have it, and their paths.
func (c *component) keys() []string {
	keys := make([]string, 0, 8)
	names := func(group, name string) {
		keys = append(keys, name)
		if group != "" {
			keys = append(keys, group+"/"+name, group+":"+name)
		}
	}
	names(strings.ToLower(c.group), strings.ToLower(c.name))
	for _, u := range c.urls {
		names(u.namespace, u.name)
		keys = append(keys, purlMark+u.path())
	}
	return keys
}

// disallow tells whether the rule's range holds the package's version, in any form in which the document has it. A version
// that cannot be compared is taken to be in the range: the rule says that some versions must not run, and nothing says that
// this is another.
func (rule packageRule) disallow(c *component) string {
	if rule.versions == nil {
		return "is disallowed"
	}
	versions := []string{c.version}
	distributed := false
	for _, u := range c.urls {
		if u.version != "" {
			versions = append(versions, u.version)
		}
		distributed = distributed || u.distributed()
	}
	if c.version == "" && len(versions) > 1 {
		versions = versions[1:]
	}
	for _, version := range versions {
		in, comparable := rule.holds(version, distributed)
		switch {
		case !comparable:
			return fmt.Sprintf("is disallowed in some versions (%s), and its version cannot be compared", rule.text)
		case in:
			return fmt.Sprintf("is disallowed (%s)", rule.text)
		}
	}
	return ""
}

// holds compares a version. What semantic versions call a pre-release is in many ecosystems something that was released
// (31.1-jre, 2.0.0-1): the range holds it if it holds the version with these words or without. Of a distribution's version
// the upstream part is compared, for ranges are written in it; what a distribution has mended in a revision does not show.
func (rule packageRule) holds(text string, distributed bool) (in, comparable bool) {
	if distributed {
		text = upstream(text)
	}
	version, err := semver.NewVersion(strings.TrimPrefix(strings.ReplaceAll(text, "~", "-"), "go"))
	if err != nil {
		return false, false
	}
	if rule.versions.Check(version) {
		return true, true
	}
	released := semver.New(version.Major(), version.Minor(), version.Patch(), "", "")
	return !distributed && rule.versions.Check(released), true
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
