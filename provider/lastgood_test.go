package provider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// A staged registry has an image with pieces of evidence of one or two kinds, each of which becomes what the test says.
type staged struct {
	mu       sync.Mutex
	read     func(context.Context) error // what becomes of each question; nil: it is answered
	evidence []string                    // kind/name
	become   map[string]becoming         // by name
}

// becoming is what a verifier makes of one piece.
type becoming func(context.Context) (ratify.Result, error)

func (s *staged) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *staged) Open(_ context.Context, subject ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	r := stagedRepository{s, subject.Repository}
	return r, r, nil
}

type stagedRepository struct {
	*staged
	name string
}

func (r stagedRepository) Name() string { return r.name }

// asked is what becomes of each question.
func (s *staged) asked(ctx context.Context) error {
	s.mu.Lock()
	read := s.read
	s.mu.Unlock()
	if read == nil {
		return nil
	}
	return read(ctx)
}

func (r stagedRepository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if err := r.asked(ctx); err != nil {
		return ocispec.Descriptor{}, err
	}
	d := digest.Digest(reference)
	if d.Validate() != nil {
		d = digest.FromString(reference)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1}, nil
}

func (r stagedRepository) Referrers(ctx context.Context, _ ocispec.Descriptor) (list []ocispec.Descriptor, err error) {
	if err := r.asked(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.evidence {
		kind, _, _ := strings.Cut(e, "/")
		list = append(list, ocispec.Descriptor{ArtifactType: kind, Digest: digest.FromString(e), Annotations: map[string]string{"name": e}})
	}
	return list, nil
}

func (stagedRepository) Fetch(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, nil }

// A stagedVerifier looks at one kind; documents are one.
type stagedVerifier struct {
	*staged
	kind string
}

func (v stagedVerifier) Match(e ocispec.Descriptor) bool { return e.ArtifactType == v.kind }

func (v stagedVerifier) Verify(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
	v.mu.Lock()
	become := v.become[e.Annotations["name"]]
	v.mu.Unlock()
	return become(ctx)
}

type stagedDocuments struct{ stagedVerifier }

func (stagedDocuments) Documents() (ratify.Pieces, bool) { return ratify.PiecesNewest, true }

func good(context.Context) (ratify.Result, error) { return ratify.Result{Passed: true}, nil }

func revoked(context.Context) (ratify.Result, error) {
	return ratify.Result{Code: ratify.CertificateRevoked}, nil
}

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func hanging(ctx context.Context) (ratify.Result, error) { return ratify.Result{}, hang(ctx) }

func fails(code ratify.Code) becoming {
	return func(context.Context) (ratify.Result, error) {
		return ratify.Result{}, &ratify.Error{Code: code, Err: errors.New("the cause")}
	}
}

// provider is one with a policy that asks for a signature and keeps what it knows for an hour, unless that is changed.
func (s *staged) provider(t testing.TB, text string, change func(*ratify.Policy)) (*Provider, *observer.ObservedLogs) {
	t.Helper()
	if s.evidence == nil {
		s.evidence, s.become = []string{"signature/a"}, map[string]becoming{"signature/a": good}
	}
	core, logs := observer.New(zap.DebugLevel)
	p := New(Options{VerifyTimeout: 1800 * time.Millisecond, MutateTimeout: 900 * time.Millisecond, Log: zap.New(core), Metrics: NewMetrics()})
	p.Install(s.engine(t, change), settings(t, text))
	t.Cleanup(func() { p.current.Load().cancel() })
	return p, logs
}

func (s *staged) engine(t testing.TB, change func(*ratify.Policy)) *ratify.Engine {
	t.Helper()
	policy := ratify.Policy{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"signature"}, LastKnownGood: ratify.Duration(time.Hour)}
	if change != nil {
		change(&policy)
	}
	setup := ratify.Setup{Stores: []ratify.NamedStore{{Name: "staged", Scopes: []string{"*"}, Store: s}}, Policies: []ratify.Policy{policy}}
	for _, name := range policy.Asks() {
		var v ratify.Verifier = stagedVerifier{s, name}
		if name == "document" {
			v = stagedDocuments{stagedVerifier{s, name}}
		}
		setup.Verifiers = append(setup.Verifiers, ratify.NamedVerifier{Name: name, Type: "staged", Verifier: v})
	}
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		t.Fatal(err)
	}
	return engine
}

// untilAgain is longer than a verdict is known, and shorter than it is known to have been good.
const untilAgain = 11 * time.Minute

// codeOf asks about a key and returns the code of the answer.
func codeOf(t *testing.T, p *Provider, key string) ratify.Code {
	t.Helper()
	a := request(t, p, key)[0]
	if a.problem != nil {
		return a.problem.Code
	}
	return a.verdict.report.Code
}

// TestLastKnownGood: what was verified stays admitted while what it needs is away, and for no other reason.
func TestLastKnownGood(t *testing.T) {
	for code, stays := range map[ratify.Code]bool{
		ratify.RegistryUnavailable: true, ratify.RateLimited: true, ratify.RevocationUnavailable: true, ratify.Deadline: true,
		ratify.RegistryAuth: false, ratify.RegistryInvalid: false, ratify.Internal: false, ratify.Overloaded: false,
		ratify.CertificateRevoked: false, ratify.LimitExceeded: false,
	} {
		t.Run(string(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "", nil)
				key, want := atDigest("app", "x"), code
				if stays {
					want = ratify.LastKnownGood
				}
				codeOf(t, p, key)
				s.set(func() { s.become["signature/a"] = fails(code) })
				if got := codeOf(t, p, key); got != ratify.Verified {
					t.Errorf("within its TTL: %s", got)
				}
				time.Sleep(untilAgain)
				for range 2 {
					if got := codeOf(t, p, key); got != want {
						t.Errorf("%s, want %s", got, want)
					}
				}
				if got := codeOf(t, p, atDigest("app", "another")); got != code {
					t.Errorf("what was never verified: %s", got)
				}
				s.set(func() { s.become["signature/a"] = good })
				time.Sleep(11 * time.Second) // longer than a refusal is kept
				if got := codeOf(t, p, key); got != ratify.Verified {
					t.Errorf("when all is there again: %s", got)
				}
			})
		})
	}
}

// TestLastKnownGoodIsMarked: the answer over HTTP, the log and the metrics say what it is, why, since when and how long.
func TestLastKnownGoodIsMarked(t *testing.T) {
	s := &staged{}
	p, logs := s.provider(t, "cache: {ttl: 1ns}\ngatekeeperCacheTTL: 1ns", nil)
	server := httptest.NewServer(p.Handler())
	t.Cleanup(server.Close)
	f := &face{provider: p, t: t, url: server.URL}
	key := atDigest("app", "x")
	before := f.verify(key)[key]
	s.set(func() { s.become["signature/a"] = fails(ratify.RegistryUnavailable) })
	after := f.verify(key)[key]
	verified, err := time.Parse(time.RFC3339Nano, fmt.Sprint(before["timestamp"]))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"isSuccess": true, "succeeded": true, "code": "LAST_KNOWN_GOOD", "stale": true, "staleCode": "REGISTRY_UNAVAILABLE",
		"verifiedAt": before["timestamp"], "notAfter": float64(verified.Add(time.Hour).Unix()), "key": key, "version": ratify.ReportVersion,
		"message": "admitted as verified at " + verified.Format(time.RFC3339) + ", it cannot be verified now: the registry did not answer as it should",
	} {
		if after[field] != want {
			t.Errorf("%s: %v, want %v", field, after[field], want)
		}
	}
	if fmt.Sprint(after["verifierReports"]) != fmt.Sprint(before["verifierReports"]) || before["stale"] != nil || after["traceID"] == before["traceID"] {
		t.Errorf("%v\n%v", before, after)
	}
	record := logs.FilterMessage("verify").All()[1]
	if m := record.ContextMap(); record.Level != zap.WarnLevel || m["stale"] != true || m["staleCode"] != "REGISTRY_UNAVAILABLE" || m["cause"] != "the cause" || m["verifiedAt"] == nil || m["cached"] != false {
		t.Errorf("%s %v", record.Level, m)
	}
	if n := testutil.ToFloat64(p.options.Metrics.staleAdmissions.WithLabelValues("default", "REGISTRY_UNAVAILABLE")); n != 1 {
		t.Errorf("%v counted", n)
	}
	if n := p.current.Load().cached(); n.Lasting != 1 {
		t.Errorf("%+v held", n)
	}
}

// TestLastKnownGoodEnds: it does with its bound, and before that with what it rests on; and the report never promises more.
func TestLastKnownGoodEnds(t *testing.T) {
	for name, tc := range map[string]struct{ evidence, bound, end time.Duration }{
		"the bound":    {0, 30 * time.Minute, 30 * time.Minute},
		"the evidence": {20 * time.Minute, time.Hour, 20 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "", func(p *ratify.Policy) { p.LastKnownGood = ratify.Duration(tc.bound) })
				key, began := atDigest("app", "x"), time.Now()
				s.set(func() {
					s.become["signature/a"] = func(context.Context) (ratify.Result, error) {
						r := ratify.Result{Passed: true, FreshUntil: began.Add(time.Minute)}
						if tc.evidence > 0 {
							r.NotAfter = began.Add(tc.evidence)
						}
						return r, nil
					}
				})
				codeOf(t, p, key)
				s.set(func() { s.become["signature/a"] = fails(ratify.RevocationUnavailable) })
				time.Sleep(tc.end - time.Second)
				a := request(t, p, key)[0]
				if a.problem != nil || !a.verdict.report.Stale || a.verdict.report.NotAfter != began.Add(tc.end).Unix() {
					t.Fatalf("before its end: %+v", a)
				}
				time.Sleep(time.Second)
				if got := codeOf(t, p, key); got != ratify.RevocationUnavailable {
					t.Errorf("after its end: %s", got)
				}
			})
		})
	}
}

// TestRefusedSince: what was refused once, or of whose evidence something was, is not known to be good any more, whatever
// else is away, and also while somebody still waits for the rest.
func TestRefusedSince(t *testing.T) {
	any2 := func(p *ratify.Policy) { p.Verifiers, p.Require = []string{"signature", "other"}, ratify.RequireAny }
	both := func(p *ratify.Policy) { p.Verifiers, p.Require = []string{"signature", "document"}, ratify.RequireAny }
	scan := func(made time.Duration, passes bool) becoming {
		return func(context.Context) (ratify.Result, error) {
			return ratify.Result{Passed: passes, Code: map[bool]ratify.Code{false: ratify.VulnerabilityFound}[passes], Made: time.Unix(0, 0).Add(made)}, nil
		}
	}
	away := fails(ratify.RegistryUnavailable)
	for name, tc := range map[string]struct {
		policy      func(*ratify.Policy)
		first, then map[string]becoming
		stays       bool
	}{
		"the signature, and another one cannot be read": {nil,
			map[string]becoming{"signature/a": good}, map[string]becoming{"signature/a": revoked, "signature/b": away}, false},
		"the signature, and another one never comes": {nil,
			map[string]becoming{"signature/a": good}, map[string]becoming{"signature/a": revoked, "signature/b": hanging}, false},
		"a stranger's signature": {nil,
			map[string]becoming{"signature/a": good}, map[string]becoming{"signature/a": away, "signature/b": revoked}, true},
		"there is no signature any more, and another kind cannot be read": {any2,
			map[string]becoming{"signature/a": good}, map[string]becoming{"other/b": away}, false},
		"there was no signature before": {any2,
			map[string]becoming{"other/b": good}, map[string]becoming{"other/b": away}, true},
		"a new document, and an older one cannot be read": {both,
			map[string]becoming{"document/1": scan(1, true)}, map[string]becoming{"document/1": away, "document/2": scan(2, false)}, false},
		"a document that was refused before": {both,
			map[string]becoming{"document/1": scan(1, false), "document/2": scan(2, true)}, map[string]becoming{"document/1": scan(1, false), "document/2": away}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "", tc.policy)
				key := atDigest("app", "x")
				stage := func(become map[string]becoming) {
					s.set(func() {
						s.evidence, s.become = nil, become
						for e := range become {
							s.evidence = append(s.evidence, e)
						}
					})
				}
				stage(tc.first)
				if got := codeOf(t, p, key); got != ratify.Verified {
					t.Fatal(got)
				}
				time.Sleep(untilAgain)
				stage(tc.then)
				if got := codeOf(t, p, key); (got == ratify.LastKnownGood) != tc.stays {
					t.Errorf("%s", got)
				}
				time.Sleep(2 * workTime)
				stage(map[string]becoming{"signature/a": away, "signature/b": away, "other/a": away, "other/b": away, "document/1": away, "document/2": away})
				if got := codeOf(t, p, key); (got == ratify.LastKnownGood) != tc.stays {
					t.Errorf("later: %s", got)
				}
			})
		})
	}
}

// TestStuckRegistry: whoever asks is answered before his deadline, and once that is known at once; also by a tag whose digest
// is known. What a tag means cannot be known without the registry.
func TestStuckRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "cache: {tagTTL: 1h}", nil)
		byDigest, byTag := atDigest("app", "x"), "reg.example/app:1"
		for _, key := range []string{byDigest, byTag} {
			codeOf(t, p, key)
		}
		s.set(func() { s.read = hang })
		time.Sleep(untilAgain)
		for _, key := range []string{byDigest, byTag} {
			for i, want := range []time.Duration{p.options.VerifyTimeout - standInReserve, 0} {
				began := time.Now()
				a := request(t, p, key)[0]
				if a.problem != nil || a.verdict.report.StaleCode != ratify.Deadline || !strings.Contains(a.verdict.report.Message, ", while ") {
					t.Fatalf("%s: %+v: %+v", key, a.problem, a.verdict)
				}
				if took := time.Since(began); took != want {
					t.Errorf("%s, question %d: answered after %v, want %v", key, i, took, want)
				}
			}
		}
		if got := codeOf(t, p, "reg.example/app:2"); got != ratify.Deadline {
			t.Errorf("a tag that is not known: %s", got)
		}
		time.Sleep(2 * workTime) // what hangs has ended
		if got := codeOf(t, p, byDigest); got != ratify.LastKnownGood {
			t.Errorf("later: %s", got)
		}
		s.set(func() { s.read = nil })
		time.Sleep(workTime)
		if got := codeOf(t, p, byDigest); got != ratify.Verified {
			t.Errorf("when the registry is there again: %s", got)
		}
	})
}

// TestLastKnownGoodNeedsItsTurn: who has not come to ask the registry does not know that it is away.
func TestLastKnownGoodNeedsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "concurrency: 1", nil)
		key := atDigest("app", "x")
		codeOf(t, p, key)
		time.Sleep(untilAgain)
		release, ok := p.current.Load().slots.try("other.example")
		if !ok {
			t.Fatal("no place")
		}
		defer release()
		if got := codeOf(t, p, key); got != ratify.Deadline && got != ratify.Overloaded {
			t.Error(got)
		}
	})
}

// TestLastKnownGoodOfOneConfiguration: the next one, or a policy without it, knows nothing.
func TestLastKnownGoodOfOneConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "", nil)
		key := atDigest("app", "x")
		codeOf(t, p, key)
		s.set(func() { s.become["signature/a"] = fails(ratify.RegistryUnavailable) })
		p.Install(s.engine(t, nil), settings(t, ""))
		if got := codeOf(t, p, key); got != ratify.RegistryUnavailable {
			t.Errorf("under the next configuration: %s", got)
		}
		p, _ = s.provider(t, "", func(p *ratify.Policy) { p.LastKnownGood = 0 })
		s.set(func() { s.become["signature/a"] = good })
		codeOf(t, p, key)
		s.set(func() { s.become["signature/a"] = fails(ratify.RegistryUnavailable) })
		time.Sleep(untilAgain)
		if got := codeOf(t, p, key); got != ratify.RegistryUnavailable {
			t.Errorf("without lastKnownGood: %s", got)
		}
		synctest.Wait()
	})
}

// TestLastKnownGoodAndRenewal: a renewal that cannot tell is counted as one, and one that refuses ends it.
func TestLastKnownGoodAndRenewal(t *testing.T) {
	for code, want := range map[ratify.Code]ratify.Code{ratify.RegistryUnavailable: ratify.LastKnownGood, ratify.CertificateRevoked: ratify.RegistryUnavailable} {
		t.Run(string(code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &staged{}
				p, _ := s.provider(t, "cache: {ttl: 100s}", nil)
				key := atDigest("app", "x")
				codeOf(t, p, key)
				time.Sleep(95 * time.Second)
				s.set(func() { s.become["signature/a"] = fails(code) })
				codeOf(t, p, key)
				synctest.Wait()
				result := map[bool]string{true: "refused", false: "unknown"}[code.Definitive()]
				if n := testutil.ToFloat64(p.options.Metrics.renewals.WithLabelValues(result)); n != 1 {
					t.Errorf("%v counted", n)
				}
				s.set(func() { s.become["signature/a"] = fails(ratify.RegistryUnavailable) })
				time.Sleep(time.Minute)
				if got := codeOf(t, p, key); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			})
		})
	}
}

// TestStandingReportIsBounded: one that was as long as can be loses what the verifiers said.
func TestStandingReportIsBounded(t *testing.T) {
	report := &ratify.Report{Version: ratify.ReportVersion, Timestamp: time.Now().UTC()}
	report.Pass(ratify.Verified, time.Now().Add(time.Hour))
	for extra := range 700 {
		report.VerifierReports = []ratify.VerifierReport{{Message: `,"verifierReports":`, Extensions: map[string]any{"noise": strings.Repeat("x", maxReportBytes-800+extra)}}}
		v, err := newVerdict(report)
		if err != nil {
			t.Fatal(err)
		}
		v, err = v.stand(&ratify.Error{Code: ratify.Deadline}, time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		var got ratify.Report
		if err := json.Unmarshal(v.value("k"), &got); err != nil || len(v.encoded) > maxReportBytes || !got.Stale || got.Key != "k" {
			t.Fatalf("%v, %d bytes", err, len(v.encoded))
		}
		if len(got.VerifierReports) == 0 {
			return
		}
	}
	t.Error("it was never too long")
}
