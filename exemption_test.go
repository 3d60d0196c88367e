package ratify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

func in(d time.Duration) ratify.Instant { return ratify.Instant{Time: now.Add(d)} }

// exempting is a setup that refuses everything that is not exempt.
func exempting(exemptions ...ratify.Exemption) ratify.Setup {
	return ratify.Setup{
		Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig"}}}, Policies: everywhere("v"),
		Exemptions: exemptions, Tenancy: &ratify.Tenancy{},
		Mirrors: []ratify.Mirror{{PulledFrom: "mirror.example/*", VerifyAs: "registry.example/*"}},
	}
}

func TestExemptions(t *testing.T) {
	image, other := subjectDescriptor.Digest, digest.FromString("another")
	at := func(repository string, d digest.Digest) string { return repository + "@" + d.String() }
	for _, tc := range []struct {
		name string
		x    ratify.Exemption
		key  string
		code ratify.Code
	}{
		{"its repository", ratify.Exemption{Scopes: []string{repositoryName}}, taggedKey, ratify.Exempt},
		{"its repository, by digest", ratify.Exemption{Scopes: []string{repositoryName}}, at(repositoryName, image), ratify.Exempt},
		{"one below it", ratify.Exemption{Scopes: []string{repositoryName}}, repositoryName + "/more:v1", ratify.NoReferrers},
		{"a scope", ratify.Exemption{Scopes: []string{"other.example/*", "registry.example/*"}}, taggedKey, ratify.Exempt},
		{"another scope", ratify.Exemption{Scopes: []string{"registry.example/ap/*"}}, taggedKey, ratify.NoReferrers},
		{"its digest, asked by tag", ratify.Exemption{Digests: []digest.Digest{other, image}}, taggedKey, ratify.Exempt},
		{"its digest, asked by digest", ratify.Exemption{Digests: []digest.Digest{image}}, at("z.example/x", image), ratify.Exempt},
		{"another digest", ratify.Exemption{Digests: []digest.Digest{other}}, taggedKey, ratify.NoReferrers},
		{"its digest, elsewhere", ratify.Exemption{Scopes: []string{"other.example/*"}, Digests: []digest.Digest{image}}, taggedKey, ratify.NoReferrers},
		{"its digest and repository", ratify.Exemption{Scopes: []string{repositoryName}, Digests: []digest.Digest{image}}, taggedKey, ratify.Exempt},
		{"its namespace", ratify.Exemption{Scopes: []string{"*"}, Namespaces: []string{"x", "team-*"}}, "[team-a]" + taggedKey, ratify.Exempt},
		{"its namespace, by digest", ratify.Exemption{Digests: []digest.Digest{image}, Namespaces: []string{"team-a"}}, "[team-a]" + taggedKey, ratify.Exempt},
		{"another namespace", ratify.Exemption{Scopes: []string{"*"}, Namespaces: []string{"team-*"}}, "[teams]" + taggedKey, ratify.NoReferrers},
		{"a namespace, and the cluster asks", ratify.Exemption{Scopes: []string{"*"}, Namespaces: []string{"*"}}, taggedKey, ratify.NoReferrers},
		{"no namespace is all of them", ratify.Exemption{Scopes: []string{"*"}}, "[team-a]" + taggedKey, ratify.Exempt},
		{"it is pulled from a mirror, the origin is exempt", ratify.Exemption{Scopes: []string{repositoryName}}, "mirror.example/app:v1", ratify.Exempt},
		{"it is pulled from a mirror that is exempt", ratify.Exemption{Scopes: []string{"mirror.example/*"}}, "mirror.example/app:v1", ratify.Exempt},
		{"the mirror is exempt, it is pulled from the origin", ratify.Exemption{Scopes: []string{"mirror.example/*"}}, taggedKey, ratify.NoReferrers},
		{"a digest below the mirror", ratify.Exemption{Scopes: []string{"mirror.example/*"}, Digests: []digest.Digest{image}}, "mirror.example/app:v1", ratify.Exempt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.x.Reason, tc.x.Expires = "migration until spring", in(time.Hour)
			e := newEngine(t, exempting(tc.x), attached(nil))
			s, err := e.ParseKey(tc.key)
			if err != nil {
				t.Fatal(err)
			}
			desc, err := e.Resolve(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			asked := map[string]func() (*ratify.Report, error){
				"Verify":         func() (*ratify.Report, error) { return e.Verify(t.Context(), s) },
				"VerifyResolved": func() (*ratify.Report, error) { return e.VerifyResolved(t.Context(), s, desc) },
			}
			if r, ok := e.Preliminary(s); ok {
				asked["Preliminary"] = func() (*ratify.Report, error) { return r, nil }
			} else if tc.code == ratify.Exempt && (len(tc.x.Digests) == 0 || s.Digest != "") {
				t.Error("not exempt without reading")
			}
			for how, ask := range asked {
				r, err := ask()
				checkReport(t, r, err)
				if r.Code != tc.code || r.Namespace != s.Namespace {
					t.Errorf("%s: %s, want %s (%v)", how, r.Code, tc.code, err)
				}
				if want := "until 2026-03-04T06:06:07Z: "; tc.code == ratify.Exempt && (r.NotAfter != now.Add(time.Hour).Unix() || !strings.Contains(r.Message, want)) {
					t.Errorf("%s: until %d: %q", how, r.NotAfter, r.Message)
				}
			}
		})
	}
}

// TestExemptionsEnd: on the very instant, and not before; the longest of several holds, and is said.
func TestExemptionsEnd(t *testing.T) {
	clock := now
	setup := exempting(
		ratify.Exemption{Scopes: []string{"*"}, Reason: "long", Expires: in(2 * time.Hour)},
		ratify.Exemption{Scopes: []string{"*"}, Reason: "short", Expires: in(time.Hour)},
		ratify.Exemption{Scopes: []string{"*"}, Reason: "over", Expires: in(-time.Hour)},
		ratify.Exemption{Scopes: []string{"other.example/*"}, Reason: "longest", Expires: in(99 * time.Hour)},
	)
	setup.Now = func() time.Time { return clock }
	e := newEngine(t, setup, attached(nil))
	for _, tc := range []struct {
		after    time.Duration
		code     ratify.Code
		notAfter time.Duration
		ended    int
	}{
		{0, ratify.Exempt, 2 * time.Hour, 1},
		{time.Hour, ratify.Exempt, 2 * time.Hour, 2},
		{2*time.Hour - 1, ratify.Exempt, 2 * time.Hour, 2},
		{2 * time.Hour, ratify.NoReferrers, 0, 3},
		{3 * time.Hour, ratify.NoReferrers, 0, 3},
	} {
		clock = now.Add(tc.after)
		r, err := e.Verify(t.Context(), mustParse(t, taggedKey))
		if r.Code != tc.code || err != nil || tc.code == ratify.Exempt && (r.NotAfter != now.Add(tc.notAfter).Unix() || !strings.HasSuffix(r.Message, ": long")) {
			t.Errorf("after %s: %s until %d %q (%v)", tc.after, r.Code, r.NotAfter, r.Message, err)
		}
		if ended := e.ExpiredExemptions(); len(ended) != tc.ended {
			t.Errorf("after %s: ended %q, want %d", tc.after, ended, tc.ended)
		}
	}
	clock = now
	if got, want := e.ExpiredExemptions(), []string{"exemptions[2]: it ended at 2026-03-04T04:06:07Z"}; !slices.Equal(got, want) {
		t.Errorf("ended %q, want %q", got, want)
	}
	if r, err := e.Verify(t.Context(), mustParse(t, "other.example/app:v1")); r.NotAfter != now.Add(24*time.Hour).Unix() {
		t.Errorf("a long one is looked at again after a day: until %d (%v)", r.NotAfter, err)
	}
}

// TestExemptWhateverElse: it needs no policy, no store that serves it, and nothing to be readable; where the digest is
// needed the image must be there.
func TestExemptWhateverElse(t *testing.T) {
	setup := exempting(ratify.Exemption{Scopes: []string{"*"}, Reason: "r", Expires: in(time.Hour)})
	setup.Verifiers, setup.Policies, setup.Stores = nil, nil, []ratify.NamedStore{}
	if r, err := ask(t, newEngine(t, setup, nil), taggedKey); r.Code != ratify.Exempt || r.Policy != "" {
		t.Errorf("%s (%v)", r.Code, err)
	}
	byDigest := exempting(ratify.Exemption{Digests: []digest.Digest{subjectDescriptor.Digest}, Reason: "r", Expires: in(time.Hour)})
	repo := attached(nil)
	repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, unavailable }
	if r, err := ask(t, newEngine(t, byDigest, repo), taggedKey); r.Code != ratify.Exempt || r.Digest != subjectDescriptor.Digest {
		t.Errorf("its referrers are unreadable: %s (%v)", r.Code, err)
	}
	repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, unavailable }
	if r, err := ask(t, newEngine(t, byDigest, repo), taggedKey); r.Code != ratify.RegistryUnavailable {
		t.Errorf("it is unreadable: %s (%v)", r.Code, err)
	}
}

func TestExemptionsAtLoad(t *testing.T) {
	good := ratify.Exemption{Scopes: []string{"*"}, Reason: "r", Expires: in(-time.Hour)}
	for _, tc := range []struct {
		name    string
		change  func(x *ratify.Exemption)
		tenancy bool
		want    string
	}{
		{"good, although it has ended", func(*ratify.Exemption) {}, false, ""},
		{"a malformed scope", func(x *ratify.Exemption) { x.Scopes = []string{"nginx"} }, false, `exemptions[0]: scopes: scope "nginx": expected the canonical name`},
		{"a malformed digest", func(x *ratify.Exemption) { x.Digests = []digest.Digest{"sha256:x\n"} }, false, `exemptions[0]: digests: "sha256:x\n": `},
		{"an unknown algorithm", func(x *ratify.Exemption) { x.Digests = []digest.Digest{"md5:d41d8cd98f00b204e9800998ecf8427e"} }, false, "exemptions[0]: digests: "},
		{"a malformed namespace", func(x *ratify.Exemption) { x.Namespaces = []string{"*-a"} }, true, `exemptions[0]: namespaces: expected a namespace, prefix* or *, got "*-a"`},
		{"namespaces without tenancy", func(x *ratify.Exemption) { x.Namespaces = []string{"a"} }, false, "exemptions[0]: namespaces: they have no effect without tenancy"},
		{"nothing named", func(x *ratify.Exemption) { x.Scopes = nil }, false, "exemptions[0]: it names no scopes and no digests"},
		{"no reason", func(x *ratify.Exemption) { x.Reason = "" }, false, "exemptions[0]: reason: it has none"},
		{"no end", func(x *ratify.Exemption) { x.Expires = ratify.Instant{} }, false, "exemptions[0]: expires: it has none; an exemption must end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := good
			tc.change(&x)
			setup := ratify.Setup{Exemptions: []ratify.Exemption{x}}
			if tc.tenancy {
				setup.Tenancy = &ratify.Tenancy{}
			}
			_, err := ratify.NewEngine(setup)
			if got := fmt.Sprint(err); (err == nil) != (tc.want == "") || err != nil && (!strings.HasPrefix(got, tc.want) || strings.Contains(got, "\n")) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestInstant(t *testing.T) {
	for in, want := range map[string]string{
		`"2026-12-31"`:                "2027-01-01T00:00:00Z",
		`"2024-02-28"`:                "2024-02-29T00:00:00Z",
		`"2026-12-31T12:00:00Z"`:      "2026-12-31T12:00:00Z",
		`"2026-12-31T12:00:00+02:00"`: "2026-12-31T10:00:00Z",
		`"9999-12-30"`:                "9999-12-31T00:00:00Z",
		`null`:                        "0001-01-01T00:00:00Z",
	} {
		var i ratify.Instant
		if err := json.Unmarshal([]byte(in), &i); err != nil || i.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %s, want %s (%v)", in, i, want, err)
		}
		data, err := json.Marshal(i)
		var again ratify.Instant
		if err := json.Unmarshal(data, &again); err != nil || !again.Equal(i.Time) {
			t.Errorf("%s is written %s (%v)", in, data, err)
		}
		if err != nil {
			t.Error(err)
		}
	}
	for _, in := range []string{`""`, `"never"`, `"2026-13-01"`, `"2026-02-30"`, `"2026-1-1"`, `"2026-12-31T12:00:00"`, `"2026-12-31 12:00:00Z"`, `1767225600`, `true`, `[]`, `{}`, `"9999-12-31"`, `"2026-12-31T24:00:00Z"`,
		`"9999-12-31T23:59:59-01:00"`, `"0001-01-01T00:00:00+01:00"`, `"0000-06-01"`} {
		var i ratify.Instant
		if err := json.Unmarshal([]byte(in), &i); err == nil || !strings.Contains(err.Error(), "expected a date such as 2026-12-31, or an instant such as") {
			t.Errorf("%s is taken for %s (%v)", in, i, err)
		}
	}
	if err := json.Unmarshal([]byte(`"`+strings.Repeat("9", 5000)+`"`), new(ratify.Instant)); err == nil || len(err.Error()) > 2*ratify.MaxTextBytes {
		t.Errorf("the error is too long: %v", err)
	}
}
