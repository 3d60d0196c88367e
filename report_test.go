package ratify_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

func encode(t testing.TB, value any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(data, '\n')
}

// TestReportGolden holds the shape of the report: it is a wire contract.
func TestReportGolden(t *testing.T) {
	until := now.Add(2 * time.Hour)
	good := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if e.Digest == piece("sig", 1).Digest {
			return ratify.Result{Passed: true, NotAfter: until, FreshUntil: until, Extensions: map[string]any{"signer": "CN=alice", "level": "strict"}}, nil
		}
		return ratify.Result{Code: ratify.UntrustedSigner, Extensions: map[string]any{"signer": "CN=mallory"}}, nil
	}}
	type answer struct {
		Case   string         `json:"case"`
		Report *ratify.Report `json:"report"`
	}
	var answers []answer
	for _, tc := range []struct {
		name      string
		key       string
		evidence  []ocispec.Descriptor
		verifiers []ratify.Verifier
		set       func(*world)
	}{
		{"verified", taggedKey, pieces("sig", 2), []ratify.Verifier{good}, nil},
		{"no referrers", taggedKey, nil, []ratify.Verifier{good}, nil},
		{"no signature", taggedKey, pieces("sbom", 1), []ratify.Verifier{good}, nil},
		{"untrusted", taggedKey, pieces("sig", 1), []ratify.Verifier{good}, nil},
		{"skipped", taggedKey, nil, []ratify.Verifier{fakeSkipper{good, func(ratify.Subject) bool { return true }}}, nil},
		{"not found", taggedKey, nil, []ratify.Verifier{good}, func(w *world) {
			w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
				return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
			}
		}},
		{"could not list", repositoryName + "@" + subjectDescriptor.Digest.String(), nil, []ratify.Verifier{good}, func(w *world) {
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, unavailable }
		}},
	} {
		w := newWorld(tc.evidence, tc.verifiers...)
		w.require = ratify.RequireAny
		if tc.set != nil {
			tc.set(w)
		}
		r, err := w.engine(t).Verify(t.Context(), mustParse(t, tc.key))
		checkReport(t, r, err)
		r.Key, r.TraceID = tc.key, strings.Repeat("0", 32)
		// Which of two pieces is examined first is up to the scheduler; the rest of the shape is not.
		for i, v := range r.VerifierReports {
			if tc.name == "verified" && !v.IsSuccess {
				r.VerifierReports = append(r.VerifierReports[:i], r.VerifierReports[i+1:]...)
				break
			}
		}
		answers = append(answers, answer{tc.name, r})
	}
	golden(t, "testdata/report.golden.json", encode(t, answers))
}

func TestFail(t *testing.T) {
	r := &ratify.Report{IsSuccess: true, Succeeded: true, NotAfter: 5, Code: ratify.Verified, Message: "m"}
	r.Fail(&ratify.Error{Code: ratify.Overloaded, Err: context.Canceled})
	want := ratify.Overloaded.Info()
	if r.IsSuccess || r.Succeeded || r.NotAfter != 0 || r.Code != want.Code || r.Message != "verification failed: "+want.Message || r.Remedy != want.Remedy {
		t.Errorf("%+v", r)
	}
}

// TestStand: the report says what it is, and promises no more than either bound.
func TestStand(t *testing.T) {
	for _, tc := range []struct{ notAfter, end, want time.Duration }{{2 * time.Hour, time.Hour, time.Hour}, {time.Hour, 2 * time.Hour, time.Hour}} {
		r := &ratify.Report{Timestamp: now, TraceID: "before"}
		r.Pass(ratify.Verified, now.Add(tc.notAfter))
		later := now.Add(time.Minute)
		r.Stand(&ratify.Error{Code: ratify.RateLimited, Message: "it says so"}, later, now.Add(tc.end))
		if !r.IsSuccess || !r.Succeeded || !r.Stale || r.Code != ratify.LastKnownGood || r.StaleCode != ratify.RateLimited || !r.VerifiedAt.Equal(now) ||
			!r.Timestamp.Equal(later.Truncate(time.Millisecond)) || r.TraceID == "before" || r.NotAfter != now.Add(tc.want).Unix() || !r.FreshUntil.Equal(later) ||
			!strings.HasSuffix(r.Message, "it cannot be verified now: it says so") || r.Remedy != ratify.RateLimited.Info().Remedy {
			t.Errorf("%+v", r)
		}
	}
}

func TestTraceIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		id := ratify.NewTraceID()
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Fatalf("trace id %q", id)
		}
		seen[id] = true
	}
}
