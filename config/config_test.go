package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
)

// smallest is the shortest configuration that parses.
const smallest = `stores: [{name: s, type: oras, scopes: ["*"]}]` + "\n"

const whole = `
stores:
- name: registries
  type: oras
  scopes: ["*"]
  settings: {registries: [{host: "localhost:5000", plainHTTP: true}]}
verifiers:
- name: notation
  type: notation
  settings: {trustStores: [{type: ca, name: certs, files: [/etc/ratify/certs/notary.crt]}]}
policies:
- {name: default, scopes: ["*"], verifiers: [notation], require: any}
- {name: strict, scopes: ["ghcr.io/acme/*"], verifiers: [notation], require: all}
cache: {ttl: 1m, refusalTTL: 2s, tagTTL: 3s, maxEntries: 4, maxBytes: 5Mi}
mutation: {reference: digest}
gatekeeperCacheTTL: 7s
concurrency: 8
`

func parse(t testing.TB, text string) *File {
	t.Helper()
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestParseWhole(t *testing.T) {
	f := parse(t, whole)
	want := &File{
		Stores:    []Store{{Module: Module{Name: "registries", Type: "oras", Settings: f.Stores[0].Settings}, Scopes: []string{"*"}}},
		Verifiers: []Verifier{{Module: Module{Name: "notation", Type: "notation", Settings: f.Verifiers[0].Settings}}},
		Policies: []ratify.Policy{
			{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"notation"}, Require: ratify.RequireAny},
			{Name: "strict", Scopes: []string{"ghcr.io/acme/*"}, Verifiers: []string{"notation"}, Require: ratify.RequireAll},
		},
		Cache:              Cache{Duration(time.Minute), Duration(2 * time.Second), Duration(3 * time.Second), 4, 5 << 20},
		Mutation:           Mutation{DigestOnly},
		Tenancy:            Tenancy{WithoutPolicy: WithoutPolicyCluster},
		GatekeeperCacheTTL: Duration(7 * time.Second),
		Concurrency:        8,
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("%+v, want %+v", f, want)
	}
	asJSON, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if again := parse(t, string(asJSON)); encode(t, again) != encode(t, f) {
		t.Errorf("JSON gives %s, want %s", encode(t, again), encode(t, f))
	}
}

func encode(t testing.TB, f *File) string {
	t.Helper()
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestDefaults(t *testing.T) {
	want := &File{
		Cache:              Cache{Duration(10 * time.Minute), Duration(10 * time.Second), Duration(5 * time.Second), 20000, 64 << 20},
		Mutation:           Mutation{TagAndDigest},
		Tenancy:            Tenancy{WithoutPolicy: WithoutPolicyCluster},
		GatekeeperCacheTTL: Duration(30 * time.Second),
		Concurrency:        288,
	}
	for _, text := range []string{
		smallest,
		smallest + "cache:\nmutation:\npolicies:\nconcurrency:\n",
		smallest + "cache: {ttl: null, refusalTTL: null, tagTTL: null, maxEntries: null, maxBytes: null}\nmutation: {reference: null}\ngatekeeperCacheTTL: null\nconcurrency: null\nverifiers: null\n",
		smallest + "---\n",
		"---\n" + smallest,
	} {
		f := parse(t, text)
		f.Stores = nil
		if !reflect.DeepEqual(f, want) {
			t.Errorf("%q: %+v, want %+v", text, f, want)
		}
	}
}

// fieldRows has a row for each field of File: text that sets it alone, beside the smallest configuration.
var fieldRows = map[string]string{
	"stores":                      "stores: [{name: s, type: oras, scopes: ['*']}, {}]",
	"stores.name":                 "stores: [{name: other, type: oras, scopes: ['*']}]",
	"stores.type":                 "stores: [{name: s, type: ocilayout, scopes: ['*']}]",
	"stores.scopes":               "stores: [{name: s, type: oras, scopes: ['ghcr.io/*']}]",
	"stores.settings":             "stores: [{name: s, type: oras, scopes: ['*'], settings: {a: 1}}]",
	"verifiers":                   "verifiers: [{}]",
	"verifiers.name":              "verifiers: [{name: v}]",
	"verifiers.type":              "verifiers: [{type: notation}]",
	"verifiers.settings":          "verifiers: [{settings: {a: 1}}]",
	"verifiers.signedBy":          "verifiers: [{signedBy: [other]}]",
	"verifiers.evidence":          "verifiers: [{evidence: all}]",
	"policies":                    "policies: [{}]",
	"policies.name":               "policies: [{name: p}]",
	"policies.scopes":             "policies: [{scopes: ['*']}]",
	"policies.verifiers":          "policies: [{verifiers: [v]}]",
	"policies.require":            "policies: [{require: any}]",
	"policies.namespaces":         "policies: [{namespaces: [team-a]}]",
	"policies.rule":               "policies: [{rule: 'true'}]",
	"policies.mode":               "policies: [{mode: audit}]",
	"policies.platforms":          "policies: [{platforms: all}]",
	"policies.lastKnownGood":      "policies: [{lastKnownGood: 1h}]",
	"exemptions":                  "exemptions: [{}]",
	"exemptions.scopes":           "exemptions: [{scopes: ['*']}]",
	"exemptions.digests":          "exemptions: [{digests: ['sha256:x']}]",
	"exemptions.namespaces":       "exemptions: [{namespaces: [team-a]}]",
	"exemptions.reason":           "exemptions: [{reason: migration}]",
	"exemptions.expires":          "exemptions: [{expires: 2030-01-01}]",
	"mirrors":                     "mirrors: [{}]",
	"mirrors.pulledFrom":          "mirrors: [{pulledFrom: 'a.example/*'}]",
	"mirrors.verifyAs":            "mirrors: [{verifyAs: 'a.example/*'}]",
	"mirrors.evidence":            "mirrors: [{evidence: origin}]",
	"tenancy":                     "tenancy: {enabled: true}",
	"tenancy.enabled":             "tenancy: {enabled: true}",
	"tenancy.withoutPolicy":       "tenancy: {enabled: true, withoutPolicy: refuse}",
	"tenancy.directory":           "tenancy: {enabled: true, directory: /tenants, delegate: [{namespaces: ['*'], scopes: ['*']}]}",
	"tenancy.delegate":            "tenancy: {enabled: true, directory: /tenants, delegate: [{namespaces: ['*'], scopes: ['*']}]}",
	"tenancy.delegate.namespaces": "tenancy: {enabled: true, directory: /tenants, delegate: [{namespaces: [team-a], scopes: ['*']}]}",
	"tenancy.delegate.scopes":     "tenancy: {enabled: true, directory: /tenants, delegate: [{namespaces: ['*'], scopes: ['ghcr.io/*']}]}",
	"cache":                       "cache: {ttl: 1s, maxEntries: 3}",
	"cache.ttl":                   "cache: {ttl: 1s}",
	"cache.refusalTTL":            "cache: {refusalTTL: 1s}",
	"cache.tagTTL":                "cache: {tagTTL: 1s}",
	"cache.maxEntries":            "cache: {maxEntries: 3}",
	"cache.maxBytes":              "cache: {maxBytes: 3Ki}",
	"mutation":                    "mutation: {reference: digest}",
	"mutation.reference":          "mutation: {reference: digest}",
	"gatekeeperCacheTTL":          "gatekeeperCacheTTL: 1s",
	"concurrency":                 "concurrency: 3",
}

// TestEachFieldHasAnEffect: changing a field alone changes what is decoded, and there is a row for each field.
func TestEachFieldHasAnEffect(t *testing.T) {
	fields := fieldsOf(reflect.TypeFor[File](), "")
	for _, field := range fields {
		row, ok := fieldRows[field]
		if !ok {
			t.Errorf("field %s has no row", field)
			continue
		}
		text := row + "\n"
		if !strings.HasPrefix(field, "stores") {
			text += smallest
		}
		if f := parse(t, text); encode(t, f) == encode(t, parse(t, smallest)) {
			t.Errorf("%s: %q changes nothing", field, row)
		}
		last := field[strings.LastIndexByte(field, '.')+1:]
		if !strings.Contains(row, last) {
			t.Errorf("%s: the row %q is for something else", field, row)
		}
	}
	for field := range fieldRows {
		if !slices.Contains(fields, field) {
			t.Errorf("there is a row for %s, and no such field", field)
		}
	}
}

// fieldsOf lists the fields of a struct by their names in the file, and those within.
func fieldsOf(t reflect.Type, prefix string) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Anonymous {
			names = append(names, fieldsOf(f.Type, prefix)...)
			continue
		}
		name := prefix + strings.Split(f.Tag.Get("json"), ",")[0]
		names = append(names, name)
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		leaf := reflect.PointerTo(inner).Implements(reflect.TypeFor[json.Unmarshaler]())
		if inner.Kind() == reflect.Struct && !leaf {
			names = append(names, fieldsOf(inner, name+".")...)
		}
	}
	return names
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string // each line of the error
	}{
		{"empty", "", []string{"the configuration is empty"}},
		{"white space", " \n\t\n", []string{"the configuration is empty"}},
		{"a comment", "# nothing\n", []string{"stores: there is none, so no image could be read"}},
		{"null", "null", []string{"stores: there is none, so no image could be read"}},
		{"a list", "[]", []string{"expected a mapping, got a list"}},
		{"a number", "3", []string{"expected a mapping, got a number (text that looks like one wants quotes)"}},
		{"no stores", "stores: []", []string{"stores: there is none, so no image could be read"}},

		{"unknown field", smallest + "zzzzzzzz: 1", []string{`unknown field "zzzzzzzz" (known: cache, concurrency, exemptions, gatekeeperCacheTTL, mirrors, mutation, policies, stores, tenancy, verifiers)`}},
		{"misspelt field", smallest + "polices: []", []string{`unknown field "polices" (did you mean "policies"?)`}},
		{"field in other letters", smallest + "Concurrency: 3", []string{`unknown field "Concurrency" (did you mean "concurrency"?)`}},
		{"field in other letters beside itself", smallest + "concurrency: 3\nCONCURRENCY: 4", []string{`unknown field "CONCURRENCY" (did you mean "concurrency"?)`}},
		{"misspelt field within", smallest + "cache: {TTL: 1s}", []string{`cache: unknown field "TTL" (did you mean "ttl"?)`}},
		{"misspelt field of a policy", smallest + "policies: [{name: p, scope: [x]}]", []string{`policies[0] "p": unknown field "scope" (did you mean "scopes"?)`}},
		{"settings beside their place", "verifiers: [{name: v, trustStores: []}]\n" + smallest, []string{`verifiers[0] "v": unknown field "trustStores" (known: evidence, name, settings, signedBy, type)`}},
		{"escape codes in a field", smallest + `"\e[31mred": 1`, []string{`unknown field "\x1b[31mred" (known: cache, concurrency, exemptions, gatekeeperCacheTTL, mirrors, mutation, policies, stores, tenancy, verifiers)`}},

		{"repeated field", smallest + "concurrency: 3\nconcurrency: 3", []string{"the configuration is not valid YAML: unmarshal errors:", `  line 3: key "concurrency" already set in map`}},
		{"repeated field, JSON", `{"stores":[],"stores":[]}`, []string{"the configuration is not valid YAML: unmarshal errors:", `  line 1: key "stores" already set in map`}},
		{"truncated", "stores: [{name: s,", []string{"the configuration is not valid YAML: line 1: did not find expected node content"}},
		{"truncated JSON", `{"stores": [`, []string{"the configuration is not valid YAML: line 1: did not find expected node content"}},
		{"control characters", smallest + "\x00", []string{"the configuration is not valid YAML: control characters are not allowed"}},
		{"a second document", smallest + "---\nconcurrency: 3\n", []string{"the configuration is not valid YAML: there is more than one document"}},
		{"a second document behind an end", smallest + "...\nconcurrency: 3\n", []string{"the configuration is not valid YAML: line 2: did not find expected <document start>"}},
		{"a second document, malformed", smallest + "---\na: b: c\n", []string{"the configuration is not valid YAML: line 3: mapping values are not allowed in this context"}},

		{"number for a string", "stores: [{name: 3}]", []string{`stores[0]: name: expected a string, got a number (text that looks like one wants quotes)`}},
		{"truth for a string", "stores: [{name: on}]", []string{`stores[0]: name: expected a string, got true or false (text that looks like one, such as n or on, wants quotes)`}},
		{"mapping for a list", "stores: {name: s}", []string{"stores: expected a list, got a mapping"}},
		{"string for a list", "policies: [{name: p, scopes: '*'}]\n" + smallest, []string{`policies[0] "p": scopes: expected a list, got a string`}},
		{"list for a mapping", "cache: [1]\n" + smallest, []string{"cache: expected a mapping, got a list"}},
		{"number in a list of strings", "policies: [{verifiers: [1.10, a]}]\n" + smallest, []string{"policies[0]: verifiers[0]: expected a string, got a number (text that looks like one wants quotes)"}},
		{"list for settings", "stores: [{name: s, settings: [1]}]", []string{`stores[0] "s": settings: expected a mapping, got a list`}},
		{"string for a number", smallest + "concurrency: many", []string{`concurrency: expected a whole number, got a string`}},
		{"fraction", smallest + "concurrency: 1.5", []string{"concurrency: expected a whole number, got the number 1.5"}},
		{"number for a duration", smallest + "gatekeeperCacheTTL: 30", []string{"gatekeeperCacheTTL: expected a duration such as 30s, got 30"}},
		{"duration without a unit", smallest + "cache: {ttl: '30'}", []string{`cache: ttl: expected a positive duration such as 30s or 24h, got "30"`}},
		{"duration of nothing", smallest + "cache: {ttl: 0s}", []string{`cache: ttl: expected a positive duration such as 30s or 24h, got "0s"`}},
		{"negative duration", smallest + "cache: {tagTTL: -1s}", []string{`cache: tagTTL: expected a positive duration such as 30s or 24h, got "-1s"`}},
		{"duration too long", smallest + "cache: {tagTTL: 9999999h}", []string{`cache: tagTTL: expected a positive duration such as 30s or 24h, got "9999999h"`}},
		{"list for a quantity", smallest + "cache: {maxBytes: [1]}", []string{"cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got [1]"}},
		{"quantity of nothing", smallest + "cache: {maxBytes: 0}", []string{"cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got 0"}},
		{"negative quantity", smallest + "cache: {maxBytes: -1Mi}", []string{`cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got "-1Mi"`}},
		{"quantity beyond 64 bits", smallest + "cache: {maxBytes: 100E}", []string{`cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got "100E"`}},
		{"quantity far beyond 64 bits", smallest + "cache: {maxBytes: '1e99999999'}", []string{`cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got "1e99999999"`}},
		{"quantity just beyond 64 bits", smallest + "cache: {maxBytes: 20E}", []string{`cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got "20E"`}},
		{"quantity of another unit", smallest + "cache: {maxBytes: 64MiB}", []string{`cache: maxBytes: expected a positive quantity of bytes such as 64Mi, got "64MiB"`}},
		{"require nothing", smallest + "policies: [{name: p, require: 0}]", []string{`policies[0] "p": require: expected all, any, a positive number, or a tree such as {all: [a, {any: [b, c]}]} or {atLeast: 2, of: [a, b, c]}, got 0`}},
		{"require none", smallest + "policies: [{name: p, require: none}]", []string{`policies[0] "p": require: expected all, any, a positive number, or a tree such as {all: [a, {any: [b, c]}]} or {atLeast: 2, of: [a, b, c]}, got "none"`}},
		{"unknown form of reference", smallest + "mutation: {reference: tag}", []string{`mutation: reference: expected "tagAndDigest" or "digest", got "tag"`}},
		{"negative concurrency", smallest + "concurrency: -1", []string{"concurrency: expected a number from 1 to 10000, got -1"}},
		{"huge concurrency", smallest + "concurrency: 9223372036854775807", []string{"concurrency: expected a number from 1 to 10000, got 9223372036854775807"}},
		{"beyond an integer", smallest + "concurrency: 99999999999999999999", []string{"concurrency: expected a whole number, got the number 100000000000000000000"}},
		{"negative entries", smallest + "cache: {maxEntries: -1}", []string{"cache: maxEntries: expected a positive number, got -1"}},
		{"scopes of a verifier", smallest + "verifiers: [{name: v, scopes: []}]", []string{`verifiers[0] "v": unknown field "scopes" (known: evidence, name, settings, signedBy, type)`}},

		{"signedBy is a list", smallest + "verifiers: [{name: v, signedBy: notation}]", []string{`verifiers[0] "v": signedBy: expected a list, got a string`}},
		{"evidence is a word", smallest + "verifiers: [{name: v, evidence: [all]}]", []string{`verifiers[0] "v": evidence: expected a string, got a list`}},
		{"a tree that names nothing", smallest + "policies: [{name: p, require: {all: []}}]", []string{`policies[0] "p": require: a node of the tree names nothing, so nothing could ever pass`}},
		{"a tree of two kinds", smallest + "policies: [{name: p, require: {all: [a], any: [b]}}]", []string{`policies[0] "p": require: expected all, any, a positive number, or a tree such as {all: [a, {any: [b, c]}]} or {atLeast: 2, of: [a, b, c]}: a node has one of all, any, or atLeast with of`}},
		{"a tree that cannot be met", smallest + "policies: [{name: p, require: {atLeast: 3, of: [a, b]}}]", []string{`policies[0] "p": require: atLeast: 3 of 2 cannot be met`}},
		{"a mode that is on", smallest + "policies: [{name: p, mode: on}]", []string{`policies[0] "p": mode: expected a string, got true or false (text that looks like one, such as n or on, wants quotes)`}},
		{"a rule that is true", smallest + "policies: [{name: p, rule: true}]", []string{`policies[0] "p": rule: expected a string, got true or false (text that looks like one, such as n or on, wants quotes)`}},
		{"misspelt field of an exemption", smallest + "exemptions: [{reason: r, expire: 2030-01-01}]", []string{`exemptions[0]: unknown field "expire" (did you mean "expires"?)`}},
		{"an exemption until never", smallest + "exemptions: [{expires: never}]", []string{`exemptions[0]: expires: expected a date such as 2026-12-31, or an instant such as 2026-12-31T12:00:00Z, got "never"`}},
		{"an exemption until a number", smallest + "exemptions: [{expires: 1767225600}]", []string{`exemptions[0]: expires: expected a date such as 2026-12-31, or an instant such as 2026-12-31T12:00:00Z, got 1767225600`}},
		{"an exemption until there is no such day", smallest + "exemptions: [{expires: 2026-02-30}]", []string{`exemptions[0]: expires: expected a date such as 2026-12-31, or an instant such as 2026-12-31T12:00:00Z, got "2026-02-30"`}},
		{"digest for digests", smallest + "exemptions: [{digests: 'sha256:x'}]", []string{`exemptions[0]: digests: expected a list, got a string`}},
		{"misspelt field of a mirror", smallest + "mirrors: [{pullFrom: a}]", []string{`mirrors[0]: unknown field "pullFrom" (did you mean "pulledFrom"?)`}},
		{"evidence of a mirror", smallest + "mirrors: [{evidence: 1}]", []string{`mirrors[0]: evidence: expected a string, got a number (text that looks like one wants quotes)`}},
		{"tenancy that is not a mapping", smallest + "tenancy: true", []string{"tenancy: expected a mapping, got true or false (text that looks like one, such as n or on, wants quotes)"}},
		{"tenancy without a policy", smallest + "tenancy: {enabled: true, withoutPolicy: allow}", []string{`tenancy: withoutPolicy: expected "cluster" or "refuse", got "allow"`}},
		{"tenancy that is off, refusing", smallest + "tenancy: {withoutPolicy: refuse}", []string{"tenancy: the other fields have no effect without enabled: true"}},
		{"tenancy that is off, with files", smallest + "tenancy: {directory: /tenants, delegate: [{namespaces: [a], scopes: ['*']}]}", []string{"tenancy: the other fields have no effect without enabled: true"}},
		{"delegation without files", smallest + "tenancy: {enabled: true, delegate: [{namespaces: [a], scopes: ['*']}]}", []string{"tenancy: delegate: it has no effect without directory"}},
		{"files without delegation", smallest + "tenancy: {enabled: true, directory: /tenants}", []string{"tenancy: directory: its files can have no policy as long as delegate names no repositories"}},
		{"delegation to nobody, and of nothing", smallest + "tenancy: {enabled: true, directory: /tenants, delegate: [{scopes: ['*']}, {namespaces: [a]}]}", []string{"tenancy: delegate[0]: it needs namespaces and scopes", "tenancy: delegate[1]: it needs namespaces and scopes"}},

		{"all at once, in order", "stores: [{name: a, typo: x}, {host: b, tipe: oras}]\ncache: {ttl: 1, maxEntries: x}\nconcurency: 1", []string{
			"cache: maxEntries: expected a whole number, got a string",
			"cache: ttl: expected a duration such as 30s, got 1",
			`unknown field "concurency" (did you mean "concurrency"?)`,
			`stores[0] "a": unknown field "typo" (did you mean "type"?)`,
			`stores[1] "b": unknown field "host" (known: name, scopes, settings, type)`,
			`stores[1] "b": unknown field "tipe" (did you mean "type"?)`,
		}},
		{"all of range at once", "verifiers: [{scopes: [a]}]\nconcurrency: -1\ncache: {maxEntries: -1}\nmutation: {reference: x}", []string{
			`verifiers[0]: unknown field "scopes" (known: evidence, name, settings, signedBy, type)`,
			"stores: there is none, so no image could be read",
			"concurrency: expected a number from 1 to 10000, got -1",
			"cache: maxEntries: expected a positive number, got -1",
			`mutation: reference: expected "tagAndDigest" or "digest", got "x"`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse([]byte(tc.text))
			if err == nil {
				t.Fatalf("taken for %+v", f)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, tc.want) {
				t.Errorf("errors\n%s\nwant\n%s", err, strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestParseTenant(t *testing.T) {
	tenant, err := ParseTenant([]byte("verifiers: [{name: v, type: notation, settings: {a: 1}, evidence: all}]\npolicies: [{name: p, scopes: ['ghcr.io/acme/*'], require: {any: [v, notation]}, mode: audit}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Tenant{
		Verifiers: []Verifier{{Module: Module{Name: "v", Type: "notation", Settings: tenant.Verifiers[0].Settings}, Evidence: ratify.PiecesAll}},
		Policies: []ratify.Policy{{Name: "p", Scopes: []string{"ghcr.io/acme/*"}, Mode: ratify.ModeAudit,
			Require: ratify.Require{AtLeast: 1, Of: []ratify.Require{{Verifier: "v"}, {Verifier: "notation"}}}}},
	}
	if !reflect.DeepEqual(tenant, want) || tenant.Verifiers[0].Settings.Place() != `verifiers[0] "v"` {
		t.Errorf("%+v, want %+v", tenant, want)
	}
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"empty", " \n", []string{"the file is empty"}},
		{"a list", "[]", []string{"expected a mapping, got a list"}},
		{"truncated", "policies: [{", []string{"the configuration is not valid YAML: line 1: did not find expected node content"}},
		{"a second document", "policies: []\n---\npolicies: []\n", []string{"the configuration is not valid YAML: there is more than one document"}},
		{"repeated field", "policies: []\npolicies: []", []string{"the configuration is not valid YAML: unmarshal errors:", `  line 2: key "policies" already set in map`}},
		{"what is the cluster's", "stores: []\nexemptions: []\nmirrors: []\ntenancy: {}\n", []string{
			`unknown field "exemptions" (known: policies, verifiers)`, `unknown field "mirrors" (known: policies, verifiers)`,
			`unknown field "stores" (known: policies, verifiers)`, `unknown field "tenancy" (known: policies, verifiers)`}},
		{"another's namespace", "policies: [{name: p, scopes: ['*'], namespaces: [team-b]}, {name: q, namespaces: ['*']}]", []string{
			`policies[0] "p": namespaces: the file is for its own namespace alone, which its name says`, `policies[1] "q": namespaces: the file is for its own namespace alone, which its name says`}},
		{"another's namespace, misspelt", "policies: [{name: p, namespace: [team-b]}]", []string{
			`policies[0] "p": unknown field "namespace" (did you mean "namespaces"?)`, `policies[0] "p": namespaces: the file is for its own namespace alone, which its name says`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tenant, err := ParseTenant([]byte(tc.text))
			if err == nil {
				t.Fatalf("taken for %+v", tenant)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, tc.want) {
				t.Errorf("errors\n%s\nwant\n%s", err, strings.Join(tc.want, "\n"))
			}
		})
	}
}

// TestDecodedBesideErrors: what is right is there beside the errors, under the names that were meant.
func TestDecodedBesideErrors(t *testing.T) {
	for _, tc := range []struct {
		name, text, want string
		whole            bool
	}{
		{"nothing wrong but a value", "concurrency: -1", `{"concurrency":-1}`, true},
		{"unknown field", "fancy: 1\npolicies: [{name: p, colour: red, verifiers: [v]}]", `{"policies":[{"name":"p","scopes":null,"verifiers":["v"],"require":"all"}]}`, true},
		{"misspelt field", "concurency: 3\npolicies: [{name: p, verifers: [v], require: 2}]", `{"concurrency":3,"policies":[{"name":"p","scopes":null,"verifiers":["v"],"require":2}]}`, true},
		{"misspelt beside the right one", "concurency: 3\nconcurrency: 4", `{"concurrency":4}`, true},
		{"misspelt twice", "concurency: 3\nconcurreny: 4", `{"concurrency":3}`, true},
		{"misspelt and mistyped", "concurency: x", `{}`, true},
		{"misspelt settings", "verifiers: [{name: v, type: t, setings: {a: 1}}]", `{"verifiers":[{"name":"v","type":"t","settings":{"a":1}}]}`, true},
		{"one for a list", "policies: {name: p, scopes: '*', verifiers: v}", `{"policies":[{"name":"p","scopes":["*"],"verifiers":["v"],"require":"all"}]}`, true},
		{"number for text", "policies: [{name: 3, scopes: [on]}]", `{"policies":[{"name":"3","scopes":["true"],"verifiers":null,"require":"all"}]}`, true},
		{"text for a number", "concurrency: many\ncache: {ttl: 3, maxEntries: x, maxBytes: 1}", `{"cache":{"ttl":"10m0s","refusalTTL":"10s","tagTTL":"5s","maxEntries":20000,"maxBytes":1}}`, true},
		{"bad requirement", "policies: [{name: p, require: none}]", `{"policies":[{"name":"p","scopes":null,"verifiers":null,"require":"all"}]}`, true},
		{"list for settings", "verifiers: [{name: v, settings: [1]}]", `{"verifiers":[{"name":"v","type":"","settings":{}}]}`, true},
		{"list for text", "policies: [{name: [p], scopes: ['*']}]", `{"policies":[{"name":"","scopes":["*"],"verifiers":null,"require":"all"}]}`, false},
		{"number for a list", "policies: 7", `{}`, false},
		{"number in a list", "policies: [7, {name: p}]", `{"policies":[{"name":"","scopes":null,"verifiers":null,"require":"all"},{"name":"p","scopes":null,"verifiers":null,"require":"all"}]}`, false},
		{"list for a mapping", "cache: [1]\nconcurrency: 3", `{"concurrency":3}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := Parse([]byte(smallest + tc.text))
			if err == nil || f == nil {
				t.Fatalf("taken for %+v, error %v", f, err)
			}
			var want, got map[string]any
			if err := errors.Join(json.Unmarshal([]byte(encode(t, parse(t, smallest))), &want), json.Unmarshal([]byte(encode(t, f)), &got)); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if whole := Decoded(err); whole != tc.whole {
				t.Errorf("whole: %t, want %t", whole, tc.whole)
			}
		})
	}
}

func TestJoinTellsNothingTwice(t *testing.T) {
	var c moduleConfig
	err := settingsOf(t, "{list: [{host: 3, prt: 4}], count: x}").Decode(&c)
	const place = `verifiers[0] "notation": `
	more := []string{"list[0]: host: is no host", "list[0]: host", "list[0]: hosts: too many", "count: too small", "counted", "name: missing"}
	lines := place + strings.Join(more, "\n"+place)
	got := Join(err, errors.New(lines))
	want := err.Error() + "\n" + place + strings.Join([]string{more[1], more[2], more[4], more[5]}, "\n"+place)
	if got == nil || got.Error() != want {
		t.Errorf("%v\nwant\n%s", got, want)
	}
	if len(c.List) != 1 || c.List[0] != (inner{"3", 4}) {
		t.Errorf("decoded %+v", c.List)
	}
	err = settingsOf(t, "{Name: 3}").Decode(&c)
	if got := Join(err, errors.New(place+"name: is no name")); got.Error() != err.Error() || c.Name != "3" {
		t.Errorf("%v, decoded %q", got, c.Name)
	}
	if got := Join(nil, errUnexpected); !errors.Is(got, errUnexpected) {
		t.Errorf("%v", got)
	}
	if got := Join(errUnexpected, nil); !errors.Is(got, errUnexpected) {
		t.Errorf("%v", got)
	}
	if got := Join(nil, nil); got != nil {
		t.Errorf("%v", got)
	}
}

var errUnexpected = errors.New("unexpected")

func TestAnchors(t *testing.T) {
	f := parse(t, smallest+"cache: &c {ttl: 3s}\npolicies: [{name: &n p, scopes: &s ['*']}, {name: q, scopes: *s}]\n")
	if f.Cache.TTL != Duration(3*time.Second) || f.Policies[1].Scopes[0] != "*" {
		t.Errorf("%+v", f)
	}
}

// TestBombs: aliases within aliases and deep nesting are refused before they take memory.
func TestBombs(t *testing.T) {
	var aliases strings.Builder
	aliases.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&aliases, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	for name, text := range map[string]string{
		"aliases":       aliases.String(),
		"deep flow":     "stores: " + strings.Repeat("[", 100_000),
		"deep mappings": strings.Repeat("{a: ", 100_000),
		"endless alias": "stores: &a [*a]",
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			if _, err := Parse([]byte(text)); err == nil || len(err.Error()) > 4096 {
				t.Errorf("error %.200v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestManyFaults: telling nothing twice takes a time that grows with the file, not with its square.
func TestManyFaults(t *testing.T) {
	const n = 30_000
	err := settingsOf(t, "{name: [x], list: ["+strings.Repeat("{host: 1},", n)+"]}").Decode(&moduleConfig{})
	var more strings.Builder
	for i := range n {
		fmt.Fprintf(&more, "verifiers[0] \"notation\": list[%d]: host: told\nverifiers[0] \"notation\": list[%d]: new\n", i, i)
	}
	began := time.Now()
	got := Join(err, errors.New(more.String()))
	if lines := strings.Count(got.Error(), "\n") + 1; lines != 2*n+1 {
		t.Errorf("%d lines, want %d", lines, 2*n+1)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]Bytes{
		"67108864": 64 << 20, "64Mi": 64 << 20, "1Ki": 1024, "1k": 1000, "1": 1, "1e3": 1000, "'5Gi'": 5 << 30,
		"1.5Gi": 3 << 29, "7E": 7e18,
	} {
		if got := parse(t, smallest+"cache: {maxBytes: "+text+"}").Cache.MaxBytes; got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// moduleConfig is settings of a module, of every shape that they have.
type moduleConfig struct {
	Name     string            `json:"name"`
	On       bool              `json:"enabled"`
	Ratio    float64           `json:"ratio"`
	Count    uint8             `json:"count"`
	Optional *inner            `json:"optional"`
	List     []inner           `json:"list"`
	Map      map[string]inner  `json:"map"`
	Labels   map[string]string `json:"labels"`
	Free     any               `json:"free"`
	TTL      Duration          `json:"ttl"`
	Untagged string
	Hidden   string `json:"-"`
	private  string
	embedded
}

type embedded struct {
	Shared string `json:"shared"`
}

type inner struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

func settingsOf(t testing.TB, text string) Settings {
	t.Helper()
	return parse(t, "verifiers: [{name: notation, settings: "+text+"}]\n"+smallest).Verifiers[0].Settings
}

func TestSettings(t *testing.T) {
	s := settingsOf(t, `{name: en, enabled: true, ratio: 0.5, count: 255, optional: {host: a}, list: [{host: b, port: 1}], map: {k: {port: 2}}, labels: {x: z}, free: [1, {a: b}], ttl: 3s, Untagged: u, shared: e}`)
	if s.Place() != `verifiers[0] "notation"` {
		t.Errorf("place %s", s.Place())
	}
	var c moduleConfig
	if err := s.Decode(&c); err != nil {
		t.Fatal(err)
	}
	want := moduleConfig{Name: "en", On: true, Ratio: 0.5, Count: 255, Optional: &inner{Host: "a"}, List: []inner{{"b", 1}}, Map: map[string]inner{"k": {Port: 2}},
		Labels: map[string]string{"x": "z"}, Free: []any{1.0, map[string]any{"a": "b"}}, TTL: Duration(3 * time.Second), Untagged: "u", embedded: embedded{"e"}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	for _, absent := range []string{"null", "{}", ""} {
		c := moduleConfig{private: "kept"}
		if err := settingsOf(t, absent).Decode(&c); err != nil || c.private != "kept" || c.Name != "" {
			t.Errorf("settings %q: %+v, %v", absent, c, err)
		}
	}
	if err := (Settings{}).Decode(&c); err != nil {
		t.Error(err)
	}
	if err := NewSettings("the command line", map[string]any{"name": "other"}).Decode(&c); err != nil || c.Name != "other" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSettingsRefused(t *testing.T) {
	const place = `verifiers[0] "notation": `
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"misspelt", "{list: [], lst: []}", []string{place + `unknown field "lst" (did you mean "list"?)`}},
		{"other letters", "{NAME: en}", []string{place + `unknown field "NAME" (did you mean "name"?)`}},
		{"the field's own name", "{Name: en}", []string{place + `unknown field "Name" (did you mean "name"?)`}},
		{"hidden", "{Hidden: n}", []string{place + `unknown field "Hidden" (known: Untagged, count, enabled, free, labels, list, map, name, optional, ratio, shared, ttl)`}},
		{"private", "{private: n}", []string{place + `unknown field "private" (known: Untagged, count, enabled, free, labels, list, map, name, optional, ratio, shared, ttl)`}},
		{"within a list", "{list: [{host: a}, {hots: b, host: c}]}", []string{place + `list[1] "c": unknown field "hots" (did you mean "host"?)`}},
		{"within a pointer", "{optional: {prot: 1}}", []string{place + `optional: unknown field "prot" (did you mean "port"?)`}},
		{"within a map, in order", "{map: {b: {x: 1}, a: {port: x}}}", []string{place + `map: a: port: expected a whole number, got a string`, place + `map: b: unknown field "x" (known: host, port)`}},
		{"list for a map", "{labels: [a]}", []string{place + "labels: expected a mapping, got a list"}},
		{"number for truth", "{enabled: 1}", []string{place + "enabled: expected true or false, got the number 1"}},
		{"string for a number", "{ratio: x}", []string{place + `ratio: expected a number, got a string`}},
		{"out of range", "{count: 256}", []string{place + "count: expected a whole number, got the number 256"}},
		{"negative", "{count: -1}", []string{place + "count: expected a whole number, got the number -1"}},
		{"list for a string", "{name: [a]}", []string{place + "name: expected a string, got a list"}},
		{"mapping for a string", "{name: {a: b}}", []string{place + "name: expected a string, got a mapping"}},
		{"a duration", "{ttl: 3}", []string{place + "ttl: expected a duration such as 30s, got 3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := settingsOf(t, tc.text)
			var c moduleConfig
			err := s.Decode(&c)
			if err == nil {
				t.Fatalf("taken for %+v", c)
			}
			if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, tc.want) {
				t.Errorf("errors\n%s\nwant\n%s", err, strings.Join(tc.want, "\n"))
			}
		})
	}
}

func TestPlaceOfUnnamedSettings(t *testing.T) {
	f := parse(t, "stores: [{}, {name: two}]")
	if got := f.Stores[0].Settings.Place() + " " + f.Stores[1].Settings.Place(); got != `stores[0] stores[1] "two"` {
		t.Errorf("places %s", got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"trustStores", "trustPolicy", "name", "type"}
	for name, want := range map[string]string{
		"trustStore": "trustStores", "TRUSTSTORES": "trustStores", "trusttPolicy": "trustPolicy", "nam": "name", "naem": "name", "tpye": "type",
		"tyep": "type", "ty": "", "pe": "", "tpe": "type", "tp": "", "types": "type", "typist": "", "typed1": "type", "typis": "", "certificates": "", "zzzz": "", "": "", strings.Repeat("trustStores", 10): "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := Nearest("pot", []string{"host", "proxy"}); got != "" {
		t.Errorf("pot: %q", got)
	}
	if got := Nearest("x", nil); got != "" {
		t.Errorf("%q out of nothing", got)
	}
}

func TestEditDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"ab", "abc", 1},
		{"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"ab", "ba", 1}, {"oars", "oras", 1}, {"abcd", "badc", 2}, {"abc", "ca", 3}, {strings.Repeat("a", 65), "a", 64},
	} {
		if got := editDistance(tc.a, tc.b); got != tc.want {
			t.Errorf("%q to %q: %d, want %d", tc.a, tc.b, got, tc.want)
		}
	}
}

// FuzzConfig: nothing panics, and what parses is written as something that parses to the same.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{whole, smallest, "", "null", "stores: [null]", "{", "stores: &a [*a]", smallest + "---\na: b", smallest + "cache: {maxBytes: 1e99}", smallest + "policies: [{require: 3}]", "a: !!binary x", "? [a]\n: b",
		smallest + "policies: [{require: {all: [a, {any: [b, c]}, {atLeast: 1, of: [d]}]}, namespaces: [team-*], mode: audit, platforms: all, rule: 'true'}]",
		smallest + "exemptions: [{scopes: ['*'], digests: ['sha256:x'], namespaces: [a], reason: r, expires: 2030-01-01}, {expires: '2030-01-01T12:00:00+02:00'}, {expires: 9999-12-31}]",
		smallest + "mirrors: [{pulledFrom: 'a.example/*', verifyAs: 'b.example/*', evidence: origin}]",
		smallest + "tenancy: {enabled: true, withoutPolicy: refuse, directory: /tenants, delegate: [{namespaces: ['*'], scopes: ['*']}]}",
		"verifiers: [{name: v, type: t, signedBy: [w], evidence: newest}]\npolicies: [{name: p, verifiers: [v]}]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if tenant, err := ParseTenant(data); err == nil && slices.ContainsFunc(tenant.Policies, func(p ratify.Policy) bool { return len(p.Namespaces) > 0 }) {
			t.Fatalf("a tenant's policies are for %+v", tenant.Policies)
		}
		file, err := Parse(data)
		if err != nil {
			return
		}
		var modules []Module
		for _, store := range file.Stores {
			modules = append(modules, store.Module)
		}
		for _, verifier := range file.Verifiers {
			modules = append(modules, verifier.Module)
		}
		for _, m := range modules {
			var c moduleConfig
			_ = m.Settings.Decode(&c) // must not panic; whether it fits is its own affair
			if m.Settings.Place() == "" {
				t.Fatal("settings without a place")
			}
		}
		written := encode(t, file)
		again, err := Parse([]byte(written))
		if err != nil {
			t.Fatalf("%s does not parse: %v", written, err)
		}
		if rewritten := encode(t, again); rewritten != written {
			t.Fatalf("%s becomes %s", written, rewritten)
		}
	})
}
