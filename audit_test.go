package ratify_test

import (
	"context"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// auditing is an engine whose policy for registry.example only audits.
func auditing(t *testing.T, repo ratify.Repository, verify func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error)) *ratify.Engine {
	t.Helper()
	return newEngine(t, ratify.Setup{
		Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: &fakeVerifier{kind: "sig", verify: verify}}},
		Policies:  []ratify.Policy{{Name: "audit", Scopes: []string{"registry.example/*"}, Verifiers: []string{"v"}, Mode: ratify.ModeAudit}},
	}, repo)
}

func TestModeAudit(t *testing.T) {
	signed := lists{subjectDescriptor.Digest: pieces("sig", 2)}
	gone := attached(nil)
	gone.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound, Remedy: "push it"}
	}
	down := attached(nil)
	down.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, unavailable }
	for _, tc := range []struct {
		name    string
		repo    *fakeRepository
		verify  func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error)
		code    ratify.Code
		wouldBe ratify.Code
		kept    bool
		reports int
	}{
		{"verified", attached(signed), look(pass, nil), ratify.Verified, "", true, 2},
		{"refused", attached(signed), look(refuse, nil), ratify.WouldBeRefused, ratify.UntrustedSigner, true, 2},
		{"nothing attached", attached(nil), look(pass, nil), ratify.WouldBeRefused, ratify.NoReferrers, true, 1},
		{"not there", gone, look(pass, nil), ratify.WouldBeRefused, ratify.SubjectNotFound, true, 0},
		{"could not be told", attached(signed), look(pass, unavailable), ratify.WouldBeRefused, ratify.RegistryUnavailable, false, 2},
		{"could not be read", down, look(pass, nil), ratify.WouldBeRefused, ratify.RegistryUnavailable, false, 0},
		{"a panic", attached(signed), func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
			panic("boom")
		}, ratify.WouldBeRefused, ratify.Internal, false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := ask(t, auditing(t, tc.repo, tc.verify), taggedKey)
			if r.Code != tc.code || r.WouldBeCode != tc.wouldBe || !r.IsSuccess || err != nil || r.Policy != "audit" || len(r.VerifierReports) != tc.reports {
				t.Errorf("%s, would be %s, under %s, %d reports (%v)", r.Code, r.WouldBeCode, r.Policy, len(r.VerifierReports), err)
			}
			if r.FreshUntil.IsZero() != tc.kept || !tc.kept && !r.FreshUntil.Equal(now) {
				t.Errorf("kept until %s", r.FreshUntil)
			}
			for _, v := range r.VerifierReports {
				if tc.wouldBe != "" && (v.IsSuccess || v.Code != tc.wouldBe && v.Code != ratify.NotExamined) {
					t.Errorf("verifier report %+v", v)
				}
			}
		})
	}
}

// TestAuditIsOfOnePolicy: what has no policy is refused all the same.
func TestAuditIsOfOnePolicy(t *testing.T) {
	e := auditing(t, attached(nil), look(pass, nil))
	if r, err := ask(t, e, "other.example/app:v1"); r.Code != ratify.NoPolicy || r.IsSuccess {
		t.Errorf("%s (%v)", r.Code, err)
	}
	if e.Audits(mustParse(t, "other.example/app")) || !e.Audits(mustParse(t, taggedKey)) {
		t.Error("the wrong one audits")
	}
	if r, decided := e.Preliminary(mustParse(t, "other.example/app:v1")); !decided || r.IsSuccess {
		t.Errorf("decided %t: %+v", decided, r)
	}
}

// TestConcludeUnderAudit: what whoever asks could not have verified is admitted, too, and not kept if it may turn out well.
func TestConcludeUnderAudit(t *testing.T) {
	e := auditing(t, attached(nil), look(pass, nil))
	for _, tc := range []struct {
		problem *ratify.Error
		wouldBe ratify.Code
		kept    bool
	}{
		{&ratify.Error{Code: ratify.Deadline}, ratify.Deadline, false},
		{&ratify.Error{Code: ratify.Overloaded, Message: "64 at once"}, ratify.Overloaded, false},
		{&ratify.Error{Code: ratify.SubjectNotFound}, ratify.SubjectNotFound, true},
		{&ratify.Error{Code: ratify.Verified}, ratify.Internal, false},
		{nil, ratify.Internal, false},
	} {
		r := e.Conclude(mustParse(t, taggedKey), tc.problem)
		checkReport(t, r, nil)
		if r.Code != ratify.WouldBeRefused || r.WouldBeCode != tc.wouldBe || r.FreshUntil.IsZero() != tc.kept {
			t.Errorf("%v: %s, would be %s, kept until %s", tc.problem, r.Code, r.WouldBeCode, r.FreshUntil)
		}
		other := e.Conclude(mustParse(t, "other.example/app"), tc.problem)
		if other.IsSuccess || other.Code != tc.wouldBe || other.WouldBeCode != "" {
			t.Errorf("%v, without a policy: %s", tc.problem, other.Code)
		}
	}
}

// TestAuditAndTheClient: whoever gives up waiting is told that it is admitted, and it is not kept.
func TestAuditAndTheClient(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := auditing(t, attached(lists{subjectDescriptor.Digest: pieces("sig", 9)}), func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		cancel()
		<-ctx.Done()
		return ratify.Result{}, ctx.Err()
	})
	r, err := e.Verify(ctx, mustParse(t, taggedKey))
	checkReport(t, r, err)
	if r.WouldBeCode != ratify.Deadline || !r.FreshUntil.Equal(now) || r.NotAfter != now.Add(24*time.Hour).Unix() || !strings.Contains(r.Message, "the time ran out") {
		t.Errorf("%s %q, kept until %s (%v)", r.WouldBeCode, r.Message, r.FreshUntil, err)
	}
}
