package ratify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

type fakeRule func(ctx context.Context, claims ratify.Claims) (bool, error)

func (f fakeRule) Holds(ctx context.Context, claims ratify.Claims) (bool, error) {
	return f(ctx, claims)
}

// compiled is a compiler of one rule, whatever the expression is.
func compiled(f fakeRule) func(string) (ratify.Rule, error) {
	return func(string) (ratify.Rule, error) { return f, nil }
}

func always(holds bool) func(string) (ratify.Rule, error) {
	return compiled(func(context.Context, ratify.Claims) (bool, error) { return holds, nil })
}

// ruled is an engine with one policy, which has a rule.
func ruled(t *testing.T, f fakeRule, evidence []ocispec.Descriptor, require ratify.Require, verifiers ...ratify.Verifier) *ratify.Engine {
	t.Helper()
	setup := ratify.Setup{CompileRule: compiled(f), Policies: everywhere()}
	setup.Policies[0].Rule, setup.Policies[0].Require = "evidence.all(e, e.ok)", require
	for i, v := range verifiers {
		name := string(rune('a' + i))
		setup.Verifiers = append(setup.Verifiers, ratify.NamedVerifier{Name: name, Type: "fake", Verifier: v})
		setup.Policies[0].Verifiers = append(setup.Policies[0].Verifiers, name)
	}
	return newEngine(t, setup, attached(map[digest.Digest][]ocispec.Descriptor{subjectDescriptor.Digest: evidence}))
}

// TestRuleSeesAllEvidenceThatPassed: the first good piece is enough for the verifiers, and not for the rule.
func TestRuleSeesAllEvidenceThatPassed(t *testing.T) {
	v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if e.Digest == piece("sig", 3).Digest {
			return refuse, nil
		}
		return ratify.Result{Passed: true, Extensions: map[string]any{"digest": e.Digest.String()}}, nil
	}}
	other := &fakeVerifier{kind: "b", verify: look(ratify.Result{Passed: true, Code: ratify.Audited}, nil)}
	var claims ratify.Claims
	e := ruled(t, func(_ context.Context, c ratify.Claims) (bool, error) {
		claims = c
		return true, nil
	}, append(pieces("sig", 12), piece("b", 0)), ratify.RequireAny, v, other)
	if r, err := ask(t, e, taggedKey); r.Code != ratify.Verified {
		t.Fatalf("%s %s (%v)", r.Code, r.Message, err)
	}
	var seen []string
	for _, c := range claims.Evidence {
		seen = append(seen, fmt.Sprint(c.Verifier, c.Type, c.ArtifactType, c.Code, c.Reference))
		if c.Verifier == "a" && c.Facts["digest"] != c.Reference {
			t.Errorf("facts %v of %s", c.Facts, c.Reference)
		}
	}
	var want []string
	for i := range 12 {
		if i != 3 {
			want = append(want, fmt.Sprint("a", "fake", "sig", ratify.Verified, piece("sig", i).Digest))
		}
	}
	want = append(want, fmt.Sprint("b", "fake", "b", ratify.Audited, piece("b", 0).Digest))
	slices.Sort(want)
	if slices.Sort(seen); !slices.Equal(seen, want) {
		t.Errorf("the rule saw\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	if claims.Subject.Digest != subjectDescriptor.Digest || claims.Subject.Repository != repositoryName || claims.MediaType != subjectDescriptor.MediaType {
		t.Errorf("about %+v %s", claims.Subject, claims.MediaType)
	}
}

func TestRuleDecides(t *testing.T) {
	good, down := &fakeVerifier{kind: "a", verify: look(pass, nil)}, &fakeVerifier{kind: "b", verify: look(pass, unavailable)}
	skipped := fakeSkipper{&fakeVerifier{kind: "a"}, func(ratify.Subject) bool { return true }}
	evidence := append(pieces("a", 1), pieces("b", 1)...)
	says := func(holds bool, err error) fakeRule {
		return func(context.Context, ratify.Claims) (bool, error) { return holds, err }
	}
	none := func(_ context.Context, c ratify.Claims) (bool, error) { return len(c.Evidence) == 0, nil }
	for _, tc := range []struct {
		name      string
		rule      fakeRule
		evidence  []ocispec.Descriptor
		verifiers []ratify.Verifier
		code      ratify.Code
		message   string
	}{
		{"it holds", says(true, nil), evidence, []ratify.Verifier{good}, ratify.Verified, "verification succeeded"},
		{"it does not hold", says(false, nil), evidence, []ratify.Verifier{good}, ratify.RuleNotMet, `"evidence.all(e, e.ok)"`},
		{"it cannot be evaluated", says(true, errors.New("no such key")), evidence, []ratify.Verifier{good}, ratify.RuleNotMet, "could not be evaluated: no such key"},
		{"it panics", func(context.Context, ratify.Claims) (bool, error) { panic("boom") }, evidence, []ratify.Verifier{good}, ratify.Internal, ""},
		{"other evidence is unreadable", says(true, nil), evidence, []ratify.Verifier{good, down}, ratify.RegistryUnavailable, ""},
		{"other evidence is unreadable, and it would not hold", says(false, nil), evidence, []ratify.Verifier{good, down}, ratify.RegistryUnavailable, ""},
		{"evidence past the bound", says(true, nil), pieces("a", ratify.MaxEvidence+1), []ratify.Verifier{good}, ratify.LimitExceeded, "the policy's rule must see all"},
		{"evidence up to the bound", says(true, nil), pieces("a", ratify.MaxEvidence), []ratify.Verifier{good}, ratify.Verified, ""},
		{"nothing is asked for", none, evidence, []ratify.Verifier{skipped}, ratify.Skipped, ""},
		{"nothing is asked for, and it does not hold", says(false, nil), evidence, []ratify.Verifier{skipped}, ratify.RuleNotMet, ""},
		{"it is asked about the image, not the tag", func(_ context.Context, c ratify.Claims) (bool, error) {
			return c.Subject.Digest != subjectDescriptor.Digest, nil
		}, evidence, []ratify.Verifier{skipped}, ratify.RuleNotMet, ""},
		{"the verifiers refuse", says(true, nil), evidence, []ratify.Verifier{&fakeVerifier{kind: "a", verify: look(refuse, nil)}}, ratify.UntrustedSigner, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := ruled(t, tc.rule, tc.evidence, ratify.RequireAny, tc.verifiers...)
			r, err := ask(t, e, taggedKey)
			if r.Code != tc.code || !strings.Contains(r.Message, tc.message) {
				t.Errorf("%s %q, want %s %q (%v)", r.Code, r.Message, tc.code, tc.message, err)
			}
			if p, ok := e.Preliminary(mustParse(t, taggedKey)); ok {
				t.Errorf("decided without reading: %+v", p)
			}
		})
	}
}

// TestRuleThatIsEndedRefusesNothing: what ran out of time says nothing about the image.
func TestRuleThatIsEndedRefusesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := ruled(t, func(ctx context.Context, _ ratify.Claims) (bool, error) {
		cancel()
		return false, ctx.Err()
	}, pieces("a", 1), ratify.RequireAll, &fakeVerifier{kind: "a", verify: look(pass, nil)})
	r, err := e.Verify(ctx, mustParse(t, taggedKey))
	if checkReport(t, r, err); r.Code != ratify.Deadline {
		t.Errorf("%s %q (%v)", r.Code, r.Message, err)
	}
}

func TestRuleAtLoad(t *testing.T) {
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{}}}, Policies: everywhere("v")}
	setup.Policies[0].Rule = "evidence.all("
	for want, compile := range map[string]func(string) (ratify.Rule, error){
		`policies[0] "default": rule: rules are not supported here`: nil,
		`policies[0] "default": rule: 1:14: syntax error`: func(text string) (ratify.Rule, error) {
			if text != "evidence.all(" {
				t.Errorf("compiled %q", text)
			}
			return nil, errors.New("1:14: syntax error")
		},
	} {
		setup.CompileRule = compile
		if _, err := ratify.NewEngine(setup); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
