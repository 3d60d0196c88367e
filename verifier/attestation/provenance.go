package attestation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
)

// The predicate types of SLSA provenance that rules are about.
const (
	slsaV1  = "https://slsa.dev/provenance/v1"
	slsaV02 = "https://slsa.dev/provenance/v0.2"
)

func isProvenance(predicateType string) bool {
	return predicateType == slsaV1 || predicateType == slsaV02
}

// Provenance says how an image must have been built. It is about SLSA provenance of the predicate types
// https://slsa.dev/provenance/v1 and https://slsa.dev/provenance/v0.2. Each list that is set must hold; one entry of it
// is enough.
//
// An entry is compared exactly, or is a regular expression (RE2) if it begins with ^; it then must be anchored as a whole,
// as in ^(this|that)$.
type Provenance struct {
	// Builders are identities of build platforms: runDetails.builder.id (v1), builder.id (v0.2). The platform fills it in;
	// who is built for cannot choose it.
	Builders []string `json:"builders,omitempty"`
	// Sources are repositories that the build was started from, such as https://github.com/acme/app. An exact entry also
	// allows any revision of the repository (…@refs/heads/main, …@<commit>, …#<ref>); with a revision it allows that one
	// alone. A leading git+ is left out of what is compared, in the entry and in the provenance.
	//
	// Which field names the source must not be left to whoever is built for:
	//
	//   - v0.2: invocation.configSource.uri, which the platform fills in.
	//   - v1: the fields of buildDefinition.externalParameters which a build type known here defines to be the source:
	//     GitHub's workflows, GitLab's runner, Google Cloud Build, BuildKit, the container-based build. What an unknown
	//     build type calls source may be anybody's text, and is not looked at.
	//   - where these name none, and in v1 the build type is unknown: every git+ URI among the dependencies
	//     (resolvedDependencies, materials) must be allowed, and there must be one. A build of foreign source may fetch an
	//     allowed repository as well, so that one of them is not enough.
	Sources []string `json:"sources,omitempty"`
	// BuildTypes are templates of builds: buildDefinition.buildType (v1), buildType (v0.2).
	BuildTypes []string `json:"buildTypes,omitempty"`
}

// rules are a Provenance that was checked.
type rules struct{ builders, sources, buildTypes []matcher }

// maxEntries bounds each list: each entry is compared with each source that a provenance names.
const maxEntries = 100

func newRules(p Provenance) (*rules, []error) {
	r := &rules{}
	var problems []error
	if len(p.Builders)+len(p.Sources)+len(p.BuildTypes) == 0 {
		return nil, []error{fmt.Errorf("provenance: it has no effect without builders, sources or buildTypes")}
	}
	for _, list := range []struct {
		place   string
		entries []string
		into    *[]matcher
	}{
		{"provenance: builders", p.Builders, &r.builders},
		{"provenance: sources", p.Sources, &r.sources},
		{"provenance: buildTypes", p.BuildTypes, &r.buildTypes},
	} {
		if len(list.entries) > maxEntries {
			problems = append(problems, fmt.Errorf("%s: there are %d, at most %d", list.place, len(list.entries), maxEntries))
			continue
		}
		matchers, wrong := newMatchers(list.place, list.entries)
		*list.into = matchers
		problems = append(problems, wrong...)
	}
	for i, m := range r.sources {
		switch {
		case m.pattern == nil:
			r.sources[i].text = strings.TrimPrefix(m.text, gitPrefix)
		case strings.HasPrefix(m.text, "^git+") || strings.HasPrefix(m.text, `^git\+`):
			problems = append(problems, fmt.Errorf("provenance: sources[%d]: %s never matches, sources are compared without the leading %s", i, ratify.Quote(m.text), gitPrefix))
		}
	}
	return r, problems
}

// check returns what the rules do not allow, in words; nothing if they allow it all.
func (r *rules) check(b *build) (wrong []string) {
	if len(r.builders) > 0 && !anyMatches(r.builders, b.builder) {
		wrong = append(wrong, fmt.Sprintf("its builder is %s, allowed: %s", named(b.builder), wanted(r.builders)))
	}
	if len(r.buildTypes) > 0 && !anyMatches(r.buildTypes, b.buildType) {
		wrong = append(wrong, fmt.Sprintf("its build type is %s, allowed: %s", named(b.buildType), wanted(r.buildTypes)))
	}
	if len(r.sources) == 0 {
		return wrong
	}
	if len(b.sources) == 0 {
		return append(wrong, fmt.Sprintf("it names no source repository (build type %s), allowed: %s", named(b.buildType), wanted(r.sources)))
	}
	for _, source := range b.sources {
		if !slices.ContainsFunc(r.sources, func(m matcher) bool { return matchesSource(m, source) }) {
			return append(wrong, fmt.Sprintf("its source is %s, allowed: %s", ratify.Quote(source), wanted(r.sources)))
		}
	}
	return wrong
}

func named(found string) string {
	if found == "" {
		return "not named"
	}
	return ratify.Quote(found)
}

func anyMatches(matchers []matcher, found string) bool {
	return found != "" && slices.ContainsFunc(matchers, func(m matcher) bool { return m.matches(found) })
}

// matchesSource tells whether an exact entry is the source, or the source without its revision. What follows the entry must
// look like a revision: on a host that allows @ in names, https://host/app@evil/x is another repository than
// https://host/app.
func matchesSource(m matcher, source string) bool {
	if m.matches(source) {
		return true
	}
	rest, ok := strings.CutPrefix(source, m.text)
	if m.pattern != nil || !ok || rest == "" {
		return false
	}
	return rest[0] == '#' || rest[0] == '@' && isRevision(rest[1:])
}

// isRevision tells whether the text is a full reference or a commit in hexadecimal (SHA-1 or SHA-256).
func isRevision(text string) bool {
	if strings.HasPrefix(text, "refs/") {
		return true
	}
	return (len(text) == 40 || len(text) == 64) && strings.Trim(text, "0123456789abcdef") == ""
}

// gitPrefix marks a URI as a git repository (SPDX's download location, which SLSA uses).
const gitPrefix = "git+"

// A build is what rules and reports need of a provenance, whatever its version.
type build struct {
	builder, buildType string
	sources            []string // without the leading git+; see Provenance.Sources
	finished           time.Time
}

// readBuild reads provenance of one of the two predicate types.
func readBuild(predicateType string, predicate []byte) (*build, *ratify.Error) {
	var fields object
	if err := json.Unmarshal(predicate, &fields); err != nil || fields == nil {
		return nil, malformed("the predicate is no object")
	}
	b, w := &build{}, &walk{}
	if predicateType == slsaV1 {
		b.readV1(w, fields)
	} else {
		b.readV02(w, fields)
	}
	return b, w.problem
}

func (b *build) readV1(w *walk, fields object) {
	definition, details := w.object(fields, "buildDefinition"), w.object(fields, "runDetails")
	b.buildType = w.text(definition, "buildType")
	b.builder = w.text(w.object(details, "builder"), "id")
	b.finished = w.instant(w.object(details, "metadata"), "finishedOn")
	parameters := w.object(definition, "externalParameters")
	if places, ok := sourcePlaces(b.buildType); ok {
		for _, place := range places {
			b.addSource(place.read(w, parameters))
		}
		return
	}
	b.addDependencies(w, definition["resolvedDependencies"], "resolvedDependencies")
}

func (b *build) readV02(w *walk, fields object) {
	b.buildType = w.text(fields, "buildType")
	b.builder = w.text(w.object(fields, "builder"), "id")
	b.finished = w.instant(w.object(fields, "metadata"), "buildFinishedOn")
	b.addSource(w.text(w.object(w.object(fields, "invocation"), "configSource"), "uri"))
	if len(b.sources) == 0 {
		b.addDependencies(w, fields["materials"], "materials")
	}
}

func (b *build) addSource(uri string) {
	uri = strings.TrimPrefix(uri, gitPrefix)
	if uri != "" && !slices.Contains(b.sources, uri) {
		b.sources = append(b.sources, uri)
	}
}

// A sourcePlace is where externalParameters name a source: the names of the object, of the repository in it, and of the
// revision, where it has a field of its own.
type sourcePlace struct{ object, repository, revision string }

// sourcePlaces returns where a build type that is known names its source; each that is there must be allowed.
func sourcePlaces(buildType string) ([]sourcePlace, bool) {
	switch buildType {
	case "https://actions.github.io/buildtypes/workflow/v1",
		"https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1":
		return []sourcePlace{{"workflow", "repository", "ref"}}, true
	case "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
		"https://slsa-framework.github.io/gcb-buildtypes/triggered-build/v1":
		return []sourcePlace{{"buildConfigSource", "repository", "ref"}, {"sourceToBuild", "repository", "ref"}}, true
	case "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md":
		return []sourcePlace{{"configSource", "uri", ""}}, true
	case "https://slsa.dev/container-based-build/v0.1?draft":
		return []sourcePlace{{"source", "uri", ""}}, true
	}
	if strings.HasPrefix(buildType, "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/") {
		return []sourcePlace{{"", "source", ""}}, true
	}
	return nil, false
}

func (p sourcePlace) read(w *walk, parameters object) string {
	within := parameters
	if p.object != "" {
		within = w.object(parameters, p.object)
	}
	repository := w.text(within, p.repository)
	if revision := w.text(within, p.revision); repository != "" && revision != "" {
		return repository + "@" + revision
	}
	return repository
}

// An object is a JSON object by its names as they are written: encoding/json would take a field in other letters for the
// field.
type object map[string]json.RawMessage

// Bounds on what is read of a provenance.
const (
	// maxText bounds one field: a URI has some hundred bytes, and a pattern may go through it once for each entry.
	maxText = 4096
	// maxDependencies is how many are looked at: a build that lists each package of a large image has some thousands.
	maxDependencies = 20_000
	// maxSources is how many of them may be git repositories, each of which is compared with each entry of the rules.
	maxSources = 100
)

// A walk reads fields and keeps the first error. What is not there is the zero value; what is of another type is an error,
// for it may be what the rules are about.
type walk struct{ problem *ratify.Error }

func (w *walk) fail(problem *ratify.Error) {
	if w.problem == nil {
		w.problem = problem
	}
}

func (w *walk) object(within object, name string) object {
	var fields object
	if data := within[name]; data != nil && json.Unmarshal(data, &fields) != nil {
		w.fail(malformed("%s is no object", name))
	}
	return fields
}

func (w *walk) text(within object, name string) string {
	var value string
	if data := within[name]; data != nil && json.Unmarshal(data, &value) != nil {
		w.fail(malformed("%s is no text", name))
	}
	if len(value) > maxText {
		w.fail(tooMuch("%s has %d bytes, more than %d", name, len(value), maxText))
		return ""
	}
	return value
}

func (w *walk) instant(within object, name string) time.Time {
	text := w.text(within, name)
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		w.fail(malformed("%s is %s, no time of RFC 3339", name, ratify.Quote(text)))
	}
	return t
}

// addDependencies adds the git repositories among the dependencies.
func (b *build) addDependencies(w *walk, list json.RawMessage, name string) {
	if list == nil || string(list) == "null" {
		return
	}
	d := json.NewDecoder(bytes.NewReader(list))
	if opening, err := d.Token(); err != nil || opening != json.Delim('[') {
		w.fail(malformed("%s is no list", name))
		return
	}
	for n := 1; d.More() && w.problem == nil; n++ {
		var dependency object
		if err := d.Decode(&dependency); err != nil {
			w.fail(malformed("%s has an element that is no object", name))
			return
		}
		uri := w.text(dependency, "uri")
		if strings.HasPrefix(uri, gitPrefix) {
			b.addSource(uri)
		}
		if n > maxDependencies || len(b.sources) > maxSources {
			w.fail(tooMuch("it has more than %d %s, or more than %d git repositories in them", maxDependencies, name, maxSources))
		}
	}
}

func malformed(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the provenance is malformed: " + fmt.Sprintf(format, args...)}
}

func tooMuch(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: "the provenance is not read: " + fmt.Sprintf(format, args...)}
}
