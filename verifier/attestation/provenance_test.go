package attestation_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

const (
	builder   = "https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1"
	app       = "https://github.com/acme/app"
	gitlab    = "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v18.0.0/PROVENANCE.md"
	buildkit  = "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
	gcb       = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
	container = "https://slsa.dev/container-based-build/v0.1?draft"
)

func TestProvenance(t *testing.T) {
	r := newRegistry(t)
	sources := func(entries ...string) attestation.Provenance { return attestation.Provenance{Sources: entries} }
	// parameters is provenance of another build type.
	parameters := func(buildType string, parameters any, dependencies ...string) fields {
		p := with(buildV1(), buildType, "buildDefinition", "buildType")
		with(p, parameters, "buildDefinition", "externalParameters")
		var list []any
		for _, uri := range dependencies {
			list = append(list, fields{"uri": uri})
		}
		return with(p, list, "buildDefinition", "resolvedDependencies")
	}
	source := func(uri string) fields { return with(buildV02(), uri, "invocation", "configSource", "uri") }
	materials := func(uris ...string) fields {
		p := with(buildV02(), nil, "invocation")
		list := []any{}
		for _, uri := range uris {
			list = append(list, fields{"uri": uri})
		}
		return with(p, list, "materials")
	}
	manyURIs := func(n int) (uris []string) {
		for i := range n {
			uris = append(uris, fmt.Sprintf("git+https://github.com/acme/%d", i))
		}
		return uris
	}
	for _, tc := range []struct {
		name      string
		rules     attestation.Provenance
		predicate any
		want      ratify.Code // empty: passed
		message   string
	}{
		{"v1: all rules", attestation.Provenance{Builders: []string{builder}, Sources: []string{app}, BuildTypes: []string{"https://actions.github.io/buildtypes/workflow/v1"}}, buildV1(), "", ""},
		{"v0.2: all rules", attestation.Provenance{Builders: []string{builder}, Sources: []string{app}, BuildTypes: []string{"https://example.com/container@v1"}}, buildV02(), "", ""},
		{"v1: one of several builders", attestation.Provenance{Builders: []string{"x:y", builder}}, buildV1(), "", ""},
		{"v1: builder by pattern", attestation.Provenance{Builders: []string{`^https://github\.com/acme/builder/\.github/workflows/build\.yml@refs/tags/v[0-9]+$`}}, buildV1(), "", ""},
		{"v1: another builder", attestation.Provenance{Builders: []string{"https://b.example"}}, buildV1(), ratify.ProvenanceMismatch, `its builder is "` + builder + `", allowed: "https://b.example"`},
		{"v0.2: another builder", attestation.Provenance{Builders: []string{"https://b.example"}}, buildV02(), ratify.ProvenanceMismatch, `its builder is "` + builder + `"`},
		{"v1: a builder with something behind it", attestation.Provenance{Builders: []string{strings.TrimSuffix(builder, "1")}}, buildV1(), ratify.ProvenanceMismatch, "its builder"},
		{"v1: no builder", attestation.Provenance{Builders: []string{`^.*$`}}, with(buildV1(), nil, "runDetails", "builder"), ratify.ProvenanceMismatch, "its builder is not named"},
		{"v0.2: no builder", attestation.Provenance{Builders: []string{`^.*$`}}, with(buildV02(), nil, "builder"), ratify.ProvenanceMismatch, "its builder is not named"},
		{"v1: another build type", attestation.Provenance{BuildTypes: []string{gcb}}, buildV1(), ratify.ProvenanceMismatch, `allowed: "` + gcb + `"`},
		{"v0.2: another build type", attestation.Provenance{BuildTypes: []string{gcb}}, buildV02(), ratify.ProvenanceMismatch, `its build type is "https://example.com/container@v1"`},
		{"v1: all wrong", attestation.Provenance{Builders: []string{"b:b"}, Sources: []string{"s:s"}, BuildTypes: []string{"t:t"}}, buildV1(), ratify.ProvenanceMismatch, `its build type is "https://actions.github.io/buildtypes/workflow/v1", allowed: "t:t"; its source is`},
		{"v1: many are allowed", attestation.Provenance{Builders: []string{"a:1", "a:2", `^a:3$`, "a:4", "a:5"}}, buildV1(), ratify.ProvenanceMismatch, `"a:1", "a:2", what matches "^a:3$", 2 more`},

		{"v1: source with its branch", sources(app + "@refs/heads/main"), buildV1(), "", ""},
		{"v1: source on another branch", sources(app + "@refs/heads/release"), buildV1(), ratify.ProvenanceMismatch, `its source is "` + app + `@refs/heads/main", allowed: "` + app + `@refs/heads/release"`},
		{"v1: source with git+", sources("git+" + app), buildV1(), "", ""},
		{"v1: source by pattern", sources(`^https://github\.com/acme/[^/@]+@refs/heads/main$`), buildV1(), "", ""},
		{"v1: source by pattern that knows no branch", sources(`^https://github\.com/acme/app$`), buildV1(), ratify.ProvenanceMismatch, "its source"},
		{"v1: another source", sources("https://github.com/acme/other"), buildV1(), ratify.ProvenanceMismatch, "allowed: \"https://github.com/acme/other\""},
		{"v1: the beginning of a source", sources("https://github.com/acme/ap"), buildV1(), ratify.ProvenanceMismatch, "its source"},
		{"v1: source above the repository", sources("https://github.com/acme"), buildV1(), ratify.ProvenanceMismatch, "its source"},
		{"v1: workflow of another source, ours among the dependencies", sources(app),
			with(buildV1(), "https://github.com/evil/app", "buildDefinition", "externalParameters", "workflow", "repository"), ratify.ProvenanceMismatch, `"https://github.com/evil/app@refs/heads/main"`},
		{"v1: no workflow, ours among the dependencies", sources(app), with(buildV1(), nil, "buildDefinition", "externalParameters", "workflow"), ratify.ProvenanceMismatch, "it names no source repository"},
		{"v1: GitLab", sources("https://gitlab.example/acme/app"), parameters(gitlab, fields{"source": "https://gitlab.example/acme/app"}), "", ""},
		{"v1: BuildKit", sources("https://github.com/acme/app.git"), parameters(buildkit, fields{"configSource": fields{"uri": "https://github.com/acme/app.git#refs/tags/v1:sub"}}), "", ""},
		{"v1: BuildKit of a local directory", sources(app), parameters(buildkit, fields{"configSource": fields{"path": "Dockerfile"}}, "git+"+app), ratify.ProvenanceMismatch, "it names no source repository"},
		{"v1: container-based", sources(app), parameters(container, fields{"source": fields{"uri": "git+" + app + "@refs/heads/main"}}), "", ""},
		{"v1: Google Cloud Build", sources(app), parameters(gcb, fields{"buildConfigSource": fields{"repository": "git+" + app, "ref": "refs/heads/main"}}), "", ""},
		{"v1: Google Cloud Build, configuration and source differ", sources(app),
			parameters(gcb, fields{"buildConfigSource": fields{"repository": app}, "sourceToBuild": fields{"repository": "https://github.com/evil/app"}}), ratify.ProvenanceMismatch, "evil"},
		{"v1: unknown build type, one dependency", sources(app), parameters("t:t", fields{}, "pkg:docker/x", "git+"+app+"@refs/tags/v1"), "", ""},
		{"v1: unknown build type, several dependencies", sources(app, "https://github.com/acme/lib"), parameters("t:t", fields{}, "git+"+app, "git+https://github.com/acme/lib"), "", ""},
		{"v1: unknown build type, one dependency is foreign", sources(app), parameters("t:t", fields{}, "git+"+app, "git+https://github.com/evil/app"), ratify.ProvenanceMismatch, "evil"},
		{"v1: unknown build type, no git dependency", sources(app), parameters("t:t", fields{}, app), ratify.ProvenanceMismatch, `it names no source repository (build type "t:t")`},
		{"v1: unknown build type, parameters that look like a source", sources(app),
			parameters("t:t", fields{"source": app, "workflow": fields{"repository": app}, "configSource": fields{"uri": app}}), ratify.ProvenanceMismatch, "it names no source repository"},
		{"v1: no dependencies at all", sources(app), with(parameters("t:t", fields{}), nil, "buildDefinition", "resolvedDependencies"), ratify.ProvenanceMismatch, "it names no source repository"},

		{"v0.2: source with its branch", sources(app + "@refs/heads/main"), buildV02(), "", ""},
		{"v0.2: source at a commit", sources(app), source("git+" + app + "@0123456789abcdef0123456789abcdef01234567"), "", ""},
		{"v0.2: another source, ours among the materials", sources(app), source("git+https://github.com/evil/app"), ratify.ProvenanceMismatch, "evil"},
		{"v0.2: our source, another repository among the materials", sources(app), with(buildV02(), []any{fields{"uri": "git+https://github.com/other/lib"}}, "materials"), "", ""},
		{"v0.2: a source that is spelled as the pattern", sources("^https://x$"), source("^https://x$#y"), ratify.ProvenanceMismatch, "its source"},
		{"v0.2: a name that goes on behind @", sources(app), source("git+" + app + "@evil/app"), ratify.ProvenanceMismatch, "@evil/app"},
		{"v0.2: what looks like user and host", sources("https://github.com"), source("git+https://github.com@evil.example/acme/app"), ratify.ProvenanceMismatch, "evil.example"},
		{"v0.2: a subdomain behind it", sources("https://github.com/acme/app"), source("https://github.com/acme/app.evil.example"), ratify.ProvenanceMismatch, "evil.example"},
		{"v0.2: no configuration source, materials", sources(app), materials("pkg:docker/x", "git+"+app), "", ""},
		{"v0.2: no configuration source, a foreign material", sources(app), materials("git+"+app, "git+https://github.com/evil/app"), ratify.ProvenanceMismatch, "evil"},
		{"v0.2: no source at all", sources(app), materials(), ratify.ProvenanceMismatch, "it names no source repository"},

		{"v1: no object", sources(app), []any{}, ratify.EvidenceInvalid, "the predicate is no object"},
		{"v1: nothing", sources(app), nil, ratify.EvidenceInvalid, "the predicate is no object"},
		{"v1: an empty object", sources(app), fields{}, ratify.ProvenanceMismatch, "it names no source repository"},
		{"v1: a field in other letters", attestation.Provenance{Builders: []string{builder}}, with(with(buildV1(), nil, "runDetails", "builder"), fields{"id": builder}, "runDetails", "Builder"), ratify.ProvenanceMismatch, "its builder is not named"},
		{"v1: builder is a list", attestation.Provenance{Builders: []string{builder}}, with(buildV1(), []any{builder}, "runDetails", "builder", "id"), ratify.EvidenceInvalid, "id is no text"},
		{"v1: parameters are a text", sources(app), with(buildV1(), "x", "buildDefinition", "externalParameters"), ratify.EvidenceInvalid, "externalParameters is no object"},
		{"v1: dependencies are an object", sources(app), with(parameters("t:t", fields{}), fields{}, "buildDefinition", "resolvedDependencies"), ratify.EvidenceInvalid, "resolvedDependencies is no list"},
		{"v1: a dependency is a text", sources(app), with(parameters("t:t", fields{}), []any{"git+" + app}, "buildDefinition", "resolvedDependencies"), ratify.EvidenceInvalid, "an element that is no object"},
		{"v1: a dependency's address is a number", sources(app), with(parameters("t:t", fields{}), []any{fields{"uri": 1}}, "buildDefinition", "resolvedDependencies"), ratify.EvidenceInvalid, "uri is no text"},
		{"v1: a long text", attestation.Provenance{Builders: []string{builder}}, with(buildV1(), strings.Repeat("x", 4097), "runDetails", "builder", "id"), ratify.LimitExceeded, "id has 4097 bytes"},
		{"v1: as many git repositories as are read", sources(`^https://github\.com/acme/[0-9]+$`), parameters("t:t", fields{}, manyURIs(100)...), "", ""},
		{"v1: too many git repositories", sources(`^https://github\.com/acme/[0-9]+$`), parameters("t:t", fields{}, manyURIs(101)...), ratify.LimitExceeded, "100 git repositories"},
		{"v1: too many dependencies", sources(app), parameters("t:t", fields{}, make([]string, 20_001)...), ratify.LimitExceeded, "20000 resolvedDependencies"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			predicateType := slsaV1
			if strings.HasPrefix(tc.name, "v0.2") {
				predicateType = slsaV02
			}
			cfg := r.config(predicateType)
			cfg.Provenance = &tc.rules
			result, err := r.verify(cfg, r.attest(predicateType, tc.predicate))
			if err != nil || result.Passed != (tc.want == "") || result.Code != tc.want || result.Unproven {
				t.Fatalf("%+v, want %q (%v)", result, tc.want, err)
			}
			if !strings.Contains(result.Message, tc.message) || len(result.Message) > 4000 {
				t.Errorf("message %q, want one with %q", result.Message, tc.message)
			}
		})
	}
}

// What a builder writes goes into a message that a person reads.
func TestMessagesQuoteWhatWasFound(t *testing.T) {
	r := newRegistry(t)
	cfg := r.config(slsaV1)
	cfg.Provenance = &attestation.Provenance{Builders: []string{builder}}
	result, err := r.verify(cfg, r.attest(slsaV1, with(buildV1(), "x\n\x1b[31m"+strings.Repeat("y", 1000), "runDetails", "builder", "id")))
	if err != nil || result.Passed || strings.ContainsAny(result.Message, "\n\x1b") || len(result.Message) > 1000 {
		t.Errorf("%+v (%v)", result, err)
	}
	if text, _ := result.Extensions["builder"].(string); len(text) > ratify.MaxTextBytes {
		t.Errorf("builder of %d bytes", len(text))
	}
}

func FuzzProvenance(f *testing.F) {
	for _, seed := range []any{buildV1(), buildV02(), fields{"buildDefinition": 1}, []any{nil}} {
		data, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
		f.Add(data, false)
	}
	r := newRegistry(f)
	f.Fuzz(func(t *testing.T, predicate []byte, first bool) {
		if !json.Valid(predicate) {
			return // no statement can be made of it
		}
		r.t = t
		predicateType := slsaV02
		if first {
			predicateType = slsaV1
		}
		cfg := attestation.Config{PredicateType: predicateType, Provenance: &attestation.Provenance{Builders: []string{builder}, Sources: []string{app}}}
		result, err := r.verify(cfg, r.attach(cosigntest.Statement(r.image.Digest, predicateType, json.RawMessage(predicate))))
		if err != nil {
			t.Fatal(err)
		}
		if result.Passed && result.Extensions["builder"] != builder {
			t.Fatalf("passed with %v", result.Extensions)
		}
		sources, _ := result.Extensions["sources"].([]string)
		if result.Passed && (len(sources) == 0 || slices.ContainsFunc(sources, func(s string) bool { return !strings.HasPrefix(s, app) })) {
			t.Fatalf("passed with %v", result.Extensions)
		}
		if !result.Passed && !result.Code.Definitive() {
			t.Fatalf("%+v", result)
		}
		clear(r.Blobs)
	})
}
