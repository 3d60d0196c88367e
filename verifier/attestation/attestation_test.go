package attestation_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

func TestVerify(t *testing.T) {
	r := newRegistry(t)
	stranger := newKey(t)
	other := r.put(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","layers":[1]}`))
	good := cosigntest.Statement(r.image.Digest, custom, fields{"passed": true})
	tampered := r.sign(r.key, good)
	tampered.Message = cosigntest.Statement(r.image.Digest, custom, fields{"passed": false})
	noTrust := attestation.Config{PredicateType: custom}
	sha1 := fields{"_type": "https://in-toto.io/Statement/v1", "predicateType": custom, "subject": []any{fields{"digest": fields{"sha1": strings.Repeat("0", 40)}}}}
	sha1Data, err := json.Marshal(sha1)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		code     ratify.Code // empty: passed
		unproven bool
	}
	passed := result{}
	for _, tc := range []struct {
		name     string
		cfg      attestation.Config
		evidence ocispec.Descriptor
		want     result
	}{
		{"good", r.config(custom), r.attest(custom, fields{"passed": true}), passed},
		{"good, one of several types", r.config(slsaV1, custom), r.attest(custom, fields{}), passed},
		{"no predicate", r.config(custom), r.attest(custom, nil), passed},
		{"a predicate that is no object", r.config(custom), r.attest(custom, []any{1, "x"}), passed},
		{"by another key", r.config(custom), r.attestBy(stranger, custom, fields{}), result{ratify.UntrustedSigner, true}},
		{"for another image", r.config(custom), r.push(cosigntest.AttachBundle(r.image, r.sign(r.key, cosigntest.Statement(other.Digest, custom, fields{})).Bundle())), result{ratify.SubjectMismatch, true}},
		{"tampered", r.config(custom), r.push(cosigntest.AttachBundle(r.image, tampered.Bundle())), result{ratify.SignatureInvalid, true}},
		{"by SHA-1 alone", r.config(custom), r.push(cosigntest.AttachBundle(r.image, r.sign(r.key, sha1Data).Bundle())), result{ratify.EvidenceInvalid, true}},
		{"oversized", r.config(custom), r.attest(custom, fields{"x": strings.Repeat("x", ratify.MaxDocumentBytes)}), result{ratify.LimitExceeded, true}},
		{"a name twice", r.config(custom), r.attest(custom, json.RawMessage(`{"passed":false,"passed":true}`)), result{ratify.EvidenceInvalid, false}},
		{"nested deeply", r.config(custom), r.attest(custom, json.RawMessage(strings.Repeat("[", 5000)+strings.Repeat("]", 5000))), result{ratify.LimitExceeded, false}},
		{"attached as it is", r.config(custom), r.attach(good), result{ratify.EvidenceUnproven, true}},
		{"attached as it is, proven beforehand", noTrust, r.attach(good), passed},
		{"attached as it is, for another image", noTrust, r.attach(cosigntest.Statement(other.Digest, custom, fields{})), result{ratify.SubjectMismatch, true}},
		{"attached as it is, by SHA-1 alone", noTrust, r.attach(sha1Data), result{ratify.SubjectMismatch, true}},
		{"attached as it is, no statement", noTrust, r.attach([]byte("{}")), result{ratify.EvidenceInvalid, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := r.verify(tc.cfg, tc.evidence)
			if err != nil {
				t.Fatal(err)
			}
			if got.Passed != (tc.want == passed) || got.Code != tc.want.code || got.Unproven != tc.want.unproven {
				t.Fatalf("%+v, want %+v", got, tc.want)
			}
			if !got.Passed && got.Message == "" {
				t.Error("no message")
			}
		})
	}
}

func TestAnotherPredicateTypeIsAnotherKind(t *testing.T) {
	r := newRegistry(t)
	for name, evidence := range map[string]ocispec.Descriptor{
		"attestation":       r.attest(slsaV02, buildV02()),
		"attached as it is": r.attach(cosigntest.Statement(r.image.Digest, slsaV02, buildV02())),
	} {
		cfg := r.config(slsaV1)
		if name == "attached as it is" {
			cfg.Keys = nil
		}
		result, err := r.verify(cfg, evidence)
		if want := `: an attestation of "` + slsaV02 + `"`; !errors.Is(err, ratify.ErrOtherKind) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %+v, error %v, want one that ends in %s", name, result, err, want)
		}
	}
	if _, err := r.verify(r.config(slsaV1), r.push(cosigntest.AttachBundle(r.image, r.sign(r.key, cosigntest.SignStatement(r.image.Digest)).Bundle()))); !errors.Is(err, ratify.ErrOtherKind) {
		t.Errorf("a signature: %v", err)
	}
}

// Several are attached; the engine passes the image if one of them does.
func TestSeveralOfWhichOneIsGood(t *testing.T) {
	r := newRegistry(t)
	cfg := r.config(slsaV1)
	cfg.CosignTags = true
	cfg.Provenance = &attestation.Provenance{Sources: []string{"https://github.com/acme/app"}}
	evil := with(buildV1(), "https://github.com/evil/app", "buildDefinition", "externalParameters", "workflow", "repository")
	var layers []cosigntest.Layer
	for _, of := range []struct {
		key       *cosigntest.Key
		predicate fields
	}{{newKey(t), buildV1()}, {r.key, evil}, {r.key, buildV1()}} {
		layers = append(layers, r.sign(of.key, cosigntest.Statement(r.image.Digest, slsaV1, of.predicate)).Layer())
	}
	r.push(cosigntest.Collect(r.image.Digest, layers...))
	v := newVerifier(t, cfg)
	if pieces, proves := v.Documents(); pieces != ratify.PiecesAny || !proves {
		t.Errorf("%s, %t", pieces, proves)
	}
	found, err := v.Find(t.Context(), r.image, r)
	if err != nil || len(found) != 3 {
		t.Fatalf("%+v (%v)", found, err)
	}
	for i, want := range []ratify.Code{ratify.UntrustedSigner, ratify.ProvenanceMismatch, ""} {
		result, err := v.Verify(t.Context(), r.image, found[i], r)
		if err != nil || result.Code != want || result.Passed != (want == "") || result.Unproven != (want == ratify.UntrustedSigner) {
			t.Errorf("%d: %+v, want %q (%v)", i, result, want, err)
		}
	}
}

func TestWithoutTrustItProvesNothing(t *testing.T) {
	if _, proves := newVerifier(t, attestation.Config{PredicateType: custom}).Documents(); proves {
		t.Error("it says that it proves")
	}
}

func TestMaxAge(t *testing.T) {
	r := newRegistry(t)
	finished := func(text string) fields { return with(buildV1(), text, "runDetails", "metadata", "finishedOn") }
	for _, tc := range []struct {
		name      string
		maxAge    time.Duration
		predicate fields
		want      ratify.Code
		message   string
		made      time.Time
	}{
		{"young enough", 2 * time.Hour, buildV1(), "", "", now.Add(-time.Hour)},
		{"any age", 0, finished("2001-01-01T00:00:00Z"), "", "", time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"too old", 30 * time.Minute, buildV1(), ratify.EvidenceTooOld, "is 1h0m0s old, of 2026-03-01T11:00:00Z, allowed is an age of 30m0s", now.Add(-time.Hour)},
		{"too old at this very instant", time.Hour, buildV1(), ratify.EvidenceTooOld, "1h0m0s old", now.Add(-time.Hour)},
		{"another zone", 90 * time.Minute, finished("2026-03-01T13:00:00+02:00"), "", "", now.Add(-time.Hour)},
		{"no time", time.Hour, with(buildV1(), nil, "runDetails", "metadata"), ratify.EvidenceTooOld, "nothing tells when", time.Time{}},
		{"no time, any age", 0, with(buildV1(), nil, "runDetails", "metadata"), "", "", time.Time{}},
		{"a clock that is ahead", time.Hour, finished("2026-03-01T12:04:59Z"), "", "", now.Add(4*time.Minute + 59*time.Second)},
		{"in the future", time.Hour, finished("2026-03-01T12:06:00Z"), ratify.EvidenceInvalid, "in the future, at 2026-03-01T12:06:00Z", now.Add(6 * time.Minute)},
		{"in the future, any age", 0, finished("2099-01-01T00:00:00Z"), ratify.EvidenceInvalid, "in the future", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"no time of RFC 3339", time.Hour, finished("yesterday"), ratify.EvidenceInvalid, `finishedOn is "yesterday"`, time.Time{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := r.config(slsaV1)
			cfg.MaxAge = config.Duration(tc.maxAge)
			result, err := r.verify(cfg, r.attest(slsaV1, tc.predicate))
			if err != nil || result.Passed != (tc.want == "") || result.Code != tc.want || !strings.Contains(result.Message, tc.message) || result.Unproven {
				t.Fatalf("%+v, want %s %q (%v)", result, tc.want, tc.message, err)
			}
			if !result.Made.Equal(tc.made) {
				t.Errorf("made %s, want %s", result.Made, tc.made)
			}
			var end time.Time
			if result.Passed && tc.maxAge > 0 {
				end = tc.made.Add(tc.maxAge)
			}
			if !result.NotAfter.Equal(end) {
				t.Errorf("ends %s, want %s", result.NotAfter, end)
			}
		})
	}
}

// Of the proven time of a signature and what the provenance says, the earlier counts.
func TestAgeBySignatureOfAnIdentity(t *testing.T) {
	r := newRegistry(t)
	private, err := cosigntest.NewSigstore("private")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cosigntest.TrustedRoot(private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(path, root, 0o600); err != nil {
		t.Fatal(err)
	}
	signedAt := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	for _, tc := range []struct {
		name          string
		predicateType string
		predicate     any
		made          time.Time
	}{
		{"no provenance", custom, fields{}, signedAt},
		{"provenance without a time", slsaV1, with(buildV1(), nil, "runDetails", "metadata"), signedAt},
		{"provenance of before", slsaV1, with(buildV1(), signedAt.Add(-time.Hour).UTC().Format(time.RFC3339), "runDetails", "metadata", "finishedOn"), signedAt.Add(-time.Hour)},
		{"provenance of later", slsaV1, with(buildV1(), signedAt.Add(time.Hour).UTC().Format(time.RFC3339), "runDetails", "metadata", "finishedOn"), signedAt},
	} {
		cfg := attestation.Config{PredicateType: tc.predicateType, MaxAge: config.Duration(100 * time.Hour)}
		cfg.Identities = []sigstore.Identity{{Issuer: "https://issuer.example", Subject: "ci@example.com"}}
		cfg.TrustedRoot = path
		v, err := attestation.New(cfg, attestation.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := private.Sign(cosigntest.Statement(r.image.Digest, tc.predicateType, tc.predicate), cosigntest.Options{Identity: "ci@example.com", Issuer: "https://issuer.example", At: signedAt, Stamp: true})
		if err != nil {
			t.Fatal(err)
		}
		result, err := v.Verify(t.Context(), r.image, r.push(cosigntest.AttachBundle(r.image, signed.Bundle())), r)
		if err != nil || !result.Passed || !result.Made.Equal(tc.made) || !result.NotAfter.Equal(tc.made.Add(100*time.Hour)) {
			t.Errorf("%s: %+v, want made %s (%v)", tc.name, result, tc.made, err)
		}
	}
}

func TestExtensions(t *testing.T) {
	r := newRegistry(t)
	long := strings.Repeat("ä", 1000)
	many := map[string]any{}
	for i := range 1000 {
		many[fmt.Sprint(i)] = i
	}
	deep := json.RawMessage(`{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`)
	for _, tc := range []struct {
		name, predicateType string
		predicate           any
		want                fields
	}{
		{"custom", custom, json.RawMessage(`{"n":1,"f":1.5,"big":1e30,"huge":123456789012345678901234567890,"b":true,"nil":null,"list":["x",{"y":"z"}]}`), fields{
			"predicateType": custom, "key": "ci",
			"predicate": fields{"n": int64(1), "f": 1.5, "big": 1e30, "huge": 123456789012345678901234567890.0, "b": true, "nil": nil, "list": []any{"x", fields{"y": "z"}}},
		}},
		{"long text", custom, fields{"a": long}, fields{"predicateType": custom, "key": "ci", "predicate": fields{"a": ratify.Truncate(long)}}},
		{"no object", custom, []any{1}, fields{"predicateType": custom, "key": "ci"}},
		{"none", custom, nil, fields{"predicateType": custom, "key": "ci"}},
		{"too large to show", custom, fields{"a": strings.Repeat("x", 64<<10)}, fields{"predicateType": custom, "key": "ci"}},
		{"too many values to show", custom, many, fields{"predicateType": custom, "key": "ci"}},
		{"too deep to show", custom, deep, fields{"predicateType": custom, "key": "ci"}},
		{"a name too long to show", custom, fields{long: 1}, fields{"predicateType": custom, "key": "ci"}},
		{"a number too large to show", custom, json.RawMessage(`{"a":1e999}`), fields{"predicateType": custom, "key": "ci"}},
		{"provenance", slsaV1, json.RawMessage(`{"buildDefinition":{"buildType":"t","externalParameters":{},"resolvedDependencies":[{"uri":"git+https://a"},{"uri":"https://b"}]},"runDetails":{"builder":{"id":"b"},"metadata":{"finishedOn":"2026-03-01T10:00:00+01:00"}}}`), fields{
			"predicateType": slsaV1, "key": "ci", "builder": "b", "buildType": "t", "sources": []string{"https://a"}, "finishedOn": "2026-03-01T09:00:00Z",
			"predicate": fields{
				"buildDefinition": fields{"buildType": "t", "externalParameters": fields{}, "resolvedDependencies": []any{fields{"uri": "git+https://a"}, fields{"uri": "https://b"}}},
				"runDetails":      fields{"builder": fields{"id": "b"}, "metadata": fields{"finishedOn": "2026-03-01T10:00:00+01:00"}},
			},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result, err := r.verify(r.config(tc.predicateType), r.attest(tc.predicateType, tc.predicate))
			if err != nil || !result.Passed {
				t.Fatalf("%+v (%v)", result, err)
			}
			// The predicate is for a rule alone: a report would be too long with it.
			facts := maps.Clone(result.Extensions)
			maps.Copy(facts, result.Claims)
			if _, reported := result.Extensions["predicate"]; reported || !reflect.DeepEqual(facts, tc.want) {
				t.Errorf("%#v\nwant %#v", facts, tc.want)
			}
		})
	}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	r := newRegistry(t)
	hundred := make([]string, 101)
	types := make([]string, 21)
	for i := range hundred {
		hundred[i] = fmt.Sprintf("https://example.com/%d", i)
	}
	copy(types, hundred)
	provenance := func(p attestation.Provenance) func(*attestation.Config) {
		return func(c *attestation.Config) { c.Provenance = &p }
	}
	for _, tc := range []struct {
		name   string
		change func(*attestation.Config)
		want   []string // in this order, one a line; none: no error
	}{
		{"good", func(*attestation.Config) {}, nil},
		{"no type", func(c *attestation.Config) { c.PredicateType = "" }, []string{"predicateType: it is required"}},
		{"both", func(c *attestation.Config) { c.PredicateTypes = []string{slsaV1} }, []string{"predicateType and predicateTypes: it has both"}},
		{"cosign's name", func(c *attestation.Config) { c.PredicateType = "slsaprovenance1" }, []string{`predicateType: "slsaprovenance1" is a short name of cosign's, write ` + slsaV1}},
		{"no URI", func(c *attestation.Config) { c.PredicateType = "provenance" }, []string{`predicateType: "provenance" is no URI`}},
		{"white space", func(c *attestation.Config) { c.PredicateType = slsaV1 + " " }, []string{"predicateType:"}},
		{"several, of which two are wrong", func(c *attestation.Config) {
			c.PredicateType, c.PredicateTypes = "", []string{slsaV1, "vuln", slsaV1}
		}, []string{`predicateTypes[1]: "vuln" is a short name`, `predicateTypes[2]: "https://slsa.dev/provenance/v1" is there twice`}},
		{"too many", func(c *attestation.Config) { c.PredicateType, c.PredicateTypes = "", types }, []string{"predicateTypes: there are 21, at most 20"}},
		{"empty rules", provenance(attestation.Provenance{}), []string{"provenance: it has no effect"}},
		{"rules for another type", func(c *attestation.Config) {
			c.PredicateType, c.Provenance = custom, &attestation.Provenance{Builders: []string{"https://b.example"}}
		}, []string{`provenance: "` + custom + `" is not SLSA provenance`}},
		{"good rules", provenance(attestation.Provenance{Builders: []string{"https://b.example", `^https://b\.example/(a|b)$`}, Sources: []string{"git+https://github.com/acme/app"}, BuildTypes: []string{`^https://t\.example/.+$`}}), nil},
		{"an empty entry", provenance(attestation.Provenance{Builders: []string{""}}), []string{"provenance: builders[0]: it is empty"}},
		{"an entry twice", provenance(attestation.Provenance{Builders: []string{"b:", "b:"}}), []string{`provenance: builders[1]: "b:" is there twice`}},
		{"a glob", provenance(attestation.Provenance{Sources: []string{"https://github.com/acme/*"}}), []string{`provenance: sources[0]: "https://github.com/acme/*" is taken as it stands and looks like a pattern`}},
		{"anchored at the end alone", provenance(attestation.Provenance{Sources: []string{"https://github.com/acme/.+$"}}), []string{"provenance: sources[0]:"}},
		{"anchored at the beginning alone", provenance(attestation.Provenance{Sources: []string{"^https://github.com/acme/"}}), []string{"provenance: sources[0]: \"^https://github.com/acme/\" is not anchored as a whole"}},
		{"an alternative that is not anchored", provenance(attestation.Provenance{Sources: []string{"^a|b$"}}), []string{"is not anchored as a whole"}},
		{"an anchor that may be left out", provenance(attestation.Provenance{Sources: []string{"^?a$"}}), []string{"is not anchored as a whole"}},
		{"anchored by line", provenance(attestation.Provenance{Sources: []string{"^(?m:a$)"}}), []string{"is not anchored as a whole"}},
		{"a dollar sign that is text", provenance(attestation.Provenance{Sources: []string{`^a\$`}}), []string{"is not anchored as a whole"}},
		{"no regular expression", provenance(attestation.Provenance{BuildTypes: []string{"^(a$"}}), []string{"provenance: buildTypes[0]:"}},
		{"a pattern with git+", provenance(attestation.Provenance{Sources: []string{`^git\+https://github\.com/acme/app$`}}), []string{"never matches"}},
		{"white space in an entry", provenance(attestation.Provenance{Builders: []string{"a b"}}), []string{"white space"}},
		{"too many entries", provenance(attestation.Provenance{Builders: hundred}), []string{"provenance: builders: there are 101, at most 100"}},
		{"negative age", func(c *attestation.Config) { c.MaxAge = -1 }, []string{"maxAge: -1ns is less than no time"}},
		{"age that nothing tells", func(c *attestation.Config) { c.PredicateType, c.MaxAge = custom, 1 }, []string{"maxAge: nothing tells when an attestation of \"" + custom + `" was made`}},
		{"a key that is not there", func(c *attestation.Config) { c.Keys[0].File = "/nowhere" }, []string{`keys[0] "ci"`}},
		{"all at once", func(c *attestation.Config) {
			c.PredicateType, c.MaxAge, c.Keys[0].File, c.Provenance = "x", -1, "/nowhere", &attestation.Provenance{Builders: []string{"^a"}}
		}, []string{"predicateType:", "provenance: \"x\"", "maxAge:", "provenance: builders[0]:", "keys[0]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := r.config()
			cfg.PredicateType = slsaV1
			tc.change(&cfg)
			_, err := attestation.New(cfg, attestation.Deps{})
			if len(tc.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("%d lines, want %d:\n%v", len(lines), len(tc.want), err)
			}
			for i, line := range lines {
				if !strings.Contains(line, tc.want[i]) {
					t.Errorf("line %q, want one with %q", line, tc.want[i])
				}
			}
		})
	}
}

// TestWarnings holds that a tag which can be moved back is warned of where an age is not set, and could be.
func TestWarnings(t *testing.T) {
	const other = "https://example.com/type"
	for _, tc := range []struct {
		name          string
		predicateType string
		tags          bool
		maxAge        time.Duration
		want          int
	}{
		{"no tags", slsaV1, false, 0, 0},
		{"tags, and no age", slsaV1, true, 0, 1},
		{"tags, and an age", slsaV1, true, time.Hour, 0},
		{"tags, and nothing tells the age", other, true, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := newRegistry(t).config(tc.predicateType)
			cfg.CosignTags, cfg.MaxAge = tc.tags, config.Duration(tc.maxAge)
			if warnings := newVerifier(t, cfg).Warnings(); len(warnings) != tc.want {
				t.Errorf("warnings %q, want %d", warnings, tc.want)
			}
		})
	}
}

func TestSettingsDecode(t *testing.T) {
	r := newRegistry(t)
	var cfg attestation.Config
	err := config.NewSettings(`verifiers[0] "provenance"`, map[string]any{
		"keys": []any{map[string]any{"name": "ci", "file": r.trusted.File}}, "cosignTags": true,
		"predicateType": slsaV1, "maxAge": "2h",
		"provenance": map[string]any{"builders": []any{"https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1"}, "sources": []any{"https://github.com/acme/app"}, "buildTypes": []any{"https://actions.github.io/buildtypes/workflow/v1"}},
	}).Decode(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.CosignTags {
		t.Error("cosignTags is not taken")
	}
	if result, err := r.verify(cfg, r.attest(slsaV1, buildV1())); err != nil || !result.Passed {
		t.Errorf("%+v (%v)", result, err)
	}
	err = config.NewSettings("here", map[string]any{"predicateTyp": slsaV1}).Decode(&cfg)
	if err == nil || !strings.Contains(err.Error(), `unknown field "predicateTyp"`) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNotReadIsNoRefusal(t *testing.T) {
	r := newRegistry(t)
	evidence := r.attest(custom, fields{})
	r.Before = func(string) error { return &ratify.Error{Code: ratify.RegistryUnavailable} }
	result, err := r.verify(r.config(custom), evidence)
	if problem := (*ratify.Error)(nil); !errors.As(err, &problem) || problem.Code != ratify.RegistryUnavailable {
		t.Errorf("%+v (%v)", result, err)
	}
}
