package ratify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// a recordingStore notes what is asked of which repository, and has an image with one signature in each.
type recordingStore struct {
	mu    sync.Mutex
	asked []string
}

func (s *recordingStore) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf(format, args...))
}

func (s *recordingStore) Open(_ context.Context, subject ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	repo := &fakeRepository{name: subject.Repository}
	repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
		s.note("image at %s", subject.Repository)
		return subjectDescriptor, nil
	}
	repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		s.note("referrers at %s", subject.Repository)
		return pieces("sig", 1), nil
	}
	repo.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) {
		s.note("evidence at %s", subject.Repository)
		return nil, nil
	}
	if subject.Namespace != "" {
		s.note("for %s", subject.Namespace)
	}
	return repo, repo, nil
}

func TestMirrors(t *testing.T) {
	mirrors := []ratify.Mirror{
		{PulledFrom: "mirror.example/*", VerifyAs: "origin.example/*"},
		{PulledFrom: "mirror.example/hub/*", VerifyAs: "docker.io/*", Evidence: ratify.EvidenceAtOrigin},
		{PulledFrom: "mirror.example/one", VerifyAs: "other.example/two/three", Evidence: ratify.EvidenceAtMirror},
		{PulledFrom: "cache.example/a/b/*", VerifyAs: "origin.example/*", Evidence: ratify.EvidenceAtOrigin},
		{PulledFrom: "chain.example/*", VerifyAs: "mirror.example/*"},
	}
	for _, tc := range []struct {
		key, as, evidence string // evidence: where it is read
		bad               bool
	}{
		{"origin.example/app", "", "origin.example/app", false},
		{"mirror.example/app", "origin.example/app", "mirror.example/app", false},
		{"mirror.example/a/b/c", "origin.example/a/b/c", "mirror.example/a/b/c", false},
		{"MIRROR.example:443/app", "origin.example/app", "mirror.example/app", false},
		{"mirror.example/hub/library/nginx", "docker.io/library/nginx", "docker.io/library/nginx", false},
		{"mirror.example/hub/acme/app", "docker.io/acme/app", "docker.io/acme/app", false},
		{"mirror.example/hub", "origin.example/hub", "mirror.example/hub", false},
		{"mirror.example/hubs/app", "origin.example/hubs/app", "mirror.example/hubs/app", false},
		{"mirror.example/one", "other.example/two/three", "mirror.example/one", false},
		{"mirror.example/one/more", "origin.example/one/more", "mirror.example/one/more", false},
		{"cache.example/a/b/c", "origin.example/c", "origin.example/c", false},
		{"cache.example/a/c", "", "cache.example/a/c", false},
		{"chain.example/app", "mirror.example/app", "chain.example/app", false}, // one step, not two
		{"mirror.example/hub/nginx", "", "", true},                              // docker.io/nginx is the name of nothing
		{"mirror.example:5000/app", "", "mirror.example:5000/app", false},       // another host
	} {
		t.Run(tc.key, func(t *testing.T) {
			store := &recordingStore{}
			verified := tc.as
			pulled := mustParse(t, tc.key).Repository
			if tc.as == "" {
				verified = pulled
			}
			saw := func(what, name string) {
				if name != verified {
					t.Errorf("%s saw %s, want %s", what, name, verified)
				}
			}
			v := fakeSkipper{&fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, e ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
				saw("the trust policy", repo.Name())
				_, err := repo.Fetch(ctx, e)
				return pass, err
			}}, func(s ratify.Subject) bool { saw("the skipper", s.Repository); return false }}
			e := newEngine(t, ratify.Setup{
				Stores:    []ratify.NamedStore{{Name: "s", Scopes: []string{"*"}, Store: store}},
				Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: v}},
				Policies:  []ratify.Policy{{Name: "p", Scopes: []string{"*"}, Verifiers: []string{"v"}, Rule: "r"}},
				Mirrors:   mirrors, Tenancy: &ratify.Tenancy{},
				CompileRule: compiled(func(_ context.Context, c ratify.Claims) (bool, error) {
					saw("the rule", c.Subject.Repository)
					return true, nil
				}),
			}, nil)
			r, err := ask(t, e, "[team-a]"+tc.key)
			if tc.bad {
				if r.Code != ratify.BadReference || !strings.Contains(r.Message, `"docker.io/nginx"`) || len(store.asked) > 0 {
					t.Errorf("%s %q, asked %q", r.Code, r.Message, store.asked)
				}
				if _, _, err := e.Open(t.Context(), mustParse(t, tc.key)); ratify.AsError(err) == nil || ratify.AsError(err).Code != ratify.BadReference {
					t.Errorf("opened (%v)", err)
				}
				return
			}
			if r.Code != ratify.Verified || r.VerifiedAs != tc.as || r.Subject != pulled+"@"+subjectDescriptor.Digest.String() || err != nil {
				t.Errorf("%s, %s as %q (%v)", r.Code, r.Subject, r.VerifiedAs, err)
			}
			store.asked = slices.DeleteFunc(store.asked, func(s string) bool { return s == "for team-a" })
			if want := []string{"image at " + pulled, "referrers at " + tc.evidence, "evidence at " + tc.evidence}; !slices.Equal(store.asked, want) {
				t.Errorf("asked %q, want %q", store.asked, want)
			}
		})
	}
}

// TestMirrorsAreUnderTheOriginsPolicy, and a name that a rule spoils is under none: not even one that only audits.
func TestMirrorsAreUnderTheOriginsPolicy(t *testing.T) {
	e := newEngine(t, ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "s", Scopes: []string{"*"}, Store: &recordingStore{}}},
		Verifiers: []ratify.NamedVerifier{{Name: "no", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(refuse, nil)}}, {Name: "yes", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}},
		Policies: []ratify.Policy{
			{Name: "audit", Scopes: []string{"*"}, Verifiers: []string{"no"}, Mode: ratify.ModeAudit},
			{Name: "origin", Scopes: []string{"docker.io/*"}, Verifiers: []string{"no"}},
			{Name: "lax", Scopes: []string{"mirror.example/*"}, Verifiers: []string{"yes"}},
		},
		Mirrors: []ratify.Mirror{{PulledFrom: "mirror.example/hub/*", VerifyAs: "docker.io/*"}},
	}, nil)
	if r, _ := ask(t, e, "mirror.example/hub/library/nginx:1"); r.Code != ratify.UntrustedSigner || r.Policy != "origin" || r.Subject != "mirror.example/hub/library/nginx@"+subjectDescriptor.Digest.String() {
		t.Errorf("%s under %q: %s", r.Code, r.Policy, r.Subject)
	}
	s := mustParse(t, "mirror.example/hub/nginx:1")
	if r, _ := ask(t, e, "mirror.example/hub/nginx:1"); r.Code != ratify.BadReference || r.Policy != "" || e.Audits(s) {
		t.Errorf("%s under %q, audits %t", r.Code, r.Policy, e.Audits(s))
	}
	if r := e.Conclude(s, &ratify.Error{Code: ratify.Deadline}); r.Code != ratify.Deadline || r.IsSuccess {
		t.Errorf("concluded %s", r.Code)
	}
	if r, decided := e.Preliminary(s); !decided || r.Code != ratify.BadReference {
		t.Errorf("decided %t: %+v", decided, r)
	}
}

// TestOriginThatNoStoreServes is told, although the mirror is served.
func TestOriginThatNoStoreServes(t *testing.T) {
	e := newEngine(t, ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "s", Scopes: []string{"mirror.example/*"}, Store: &recordingStore{}}},
		Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: look(pass, nil)}}}, Policies: everywhere("v"),
		Mirrors: []ratify.Mirror{{PulledFrom: "mirror.example/*", VerifyAs: "origin.example/*", Evidence: ratify.EvidenceAtOrigin}},
	}, nil)
	if r, _ := ask(t, e, "mirror.example/app:1"); r.Code != ratify.NoStore || !strings.Contains(r.Message, `"origin.example/app"`) {
		t.Errorf("%s %q", r.Code, r.Message)
	}
}

func TestMirrorsAtLoad(t *testing.T) {
	for _, tc := range []struct {
		name   string
		mirror ratify.Mirror
		want   string
	}{
		{"good", ratify.Mirror{PulledFrom: "a.example/*", VerifyAs: "b.example/c/*", Evidence: ratify.EvidenceAtOrigin}, ""},
		{"empty", ratify.Mirror{}, "mirrors[0]: pulledFrom: scope \"\": "},
		{"malformed origin", ratify.Mirror{PulledFrom: "a.example/*", VerifyAs: "nginx"}, `mirrors[0]: verifyAs: scope "nginx": expected the canonical name`},
		{"unknown place", ratify.Mirror{PulledFrom: "a.example/*", VerifyAs: "b.example/*", Evidence: "both"}, `mirrors[0]: evidence: expected mirror or origin, got "both"`},
		{"many as one", ratify.Mirror{PulledFrom: "a.example/*", VerifyAs: "b.example/c"}, "mirrors[0]: pulledFrom and verifyAs must both"},
		{"one as many", ratify.Mirror{PulledFrom: "a.example/b", VerifyAs: "b.example/*"}, "mirrors[0]: pulledFrom and verifyAs must both"},
		{"every host", ratify.Mirror{PulledFrom: "*", VerifyAs: "*"}, "mirrors[0]: pulledFrom and verifyAs must both"},
		{"a domain", ratify.Mirror{PulledFrom: "*.example/*", VerifyAs: "*.test/*"}, "mirrors[0]: pulledFrom and verifyAs must both"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ratify.NewEngine(ratify.Setup{Mirrors: []ratify.Mirror{tc.mirror}})
			if (err == nil) != (tc.want == "") || err != nil && !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	twice := ratify.Mirror{PulledFrom: "a.example/*", VerifyAs: "b.example/*"}
	if _, err := ratify.NewEngine(ratify.Setup{Mirrors: []ratify.Mirror{twice, twice}}); err == nil || !strings.Contains(err.Error(), `mirrors[1]: scope "a.example/*" is already the scope of mirrors[0]`) {
		t.Errorf("twice: %v", err)
	}
}
