package ratify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// What a piece of evidence turns out to be.
const (
	good = iota
	bad
	unreadable
)

// possible tells what a verifier can come to, if each of its unreadable pieces may be anything.
func possible(evidence []int) (canPass, canFail bool) {
	canFail = !slices.Contains(evidence, good)
	canPass = slices.Contains(evidence, good) || slices.Contains(evidence, unreadable)
	return canPass, canFail
}

// oracle decides by going through all that the unreadable evidence may be: what holds in every world is decided.
func oracle(verifiers [][]int, need int) ratify.Outcome {
	worlds, satisfied := 0, 0
	var walk func(i, passes int)
	walk = func(i, passes int) {
		if i == len(verifiers) {
			worlds++
			if passes >= need {
				satisfied++
			}
			return
		}
		canPass, canFail := possible(verifiers[i])
		if canPass {
			walk(i+1, passes+1)
		}
		if canFail {
			walk(i+1, passes)
		}
	}
	walk(0, 0)
	switch satisfied {
	case worlds:
		return ratify.OutcomeVerified
	case 0:
		return ratify.OutcomeRefused
	default:
		return ratify.OutcomeUnknown
	}
}

func TestOracle(t *testing.T) {
	for _, tc := range []struct {
		name      string
		verifiers [][]int
		need      int
		want      ratify.Outcome
	}{
		{"no evidence", [][]int{{}}, 1, ratify.OutcomeRefused},
		{"a good one beside an unreadable one", [][]int{{unreadable, good}}, 1, ratify.OutcomeVerified},
		{"a bad one beside an unreadable one", [][]int{{unreadable, bad}}, 1, ratify.OutcomeUnknown},
		{"all, one refused", [][]int{{bad}, {unreadable}}, 2, ratify.OutcomeRefused},
		{"any, one passed", [][]int{{good}, {unreadable}}, 1, ratify.OutcomeVerified},
	} {
		if got := oracle(tc.verifiers, tc.need); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// combinations lists what up to three pieces of evidence of one verifier can be, in an order that varies.
func combinations() [][]int {
	list := [][]int{{}}
	for a := range 3 {
		list = append(list, []int{a})
		for b := a; b < 3; b++ {
			list = append(list, []int{b, a})
			for c := b; c < 3; c++ {
				list = append(list, []int{b, c, a})
			}
		}
	}
	return list
}

// TestThreeOutcomes goes through every combination of up to three verifiers with up to three pieces of evidence each,
// under every requirement, and compares with the oracle.
func TestThreeOutcomes(t *testing.T) {
	all := combinations()
	asked := 0
	for count := 1; count <= 3; count++ {
		verifiers, setEvidence := scripted(count)
		for require := 0; require <= count; require++ {
			w := newWorld(nil, verifiers...)
			w.require = ratify.Require{AtLeast: require}
			e := w.engine(t)
			need := require
			if require == 0 {
				need = count
			}
			each(all, count, func(chosen [][]int) {
				asked++
				evidence := setEvidence(chosen)
				w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return evidence, nil }
				r, err := e.Verify(t.Context(), ratify.Subject{Repository: repositoryName, Tag: "v1"})
				checkReport(t, r, err)
				if got, want := outcomeOf(r, err), oracle(chosen, need); got != want {
					t.Fatalf("%d of %v: %s, want %s (%+v)", need, chosen, got, want, r)
				}
			})
		}
	}
	if asked < 30000 {
		t.Errorf("asked %d times only", asked)
	}
}

// scripted returns verifiers that find what the given function's argument says, and that function.
func scripted(count int) ([]ratify.Verifier, func([][]int) []ocispec.Descriptor) {
	script := map[digest.Digest]int{}
	var list []ratify.Verifier
	for i := range count {
		list = append(list, &fakeVerifier{kind: fmt.Sprintf("kind/%d", i),
			verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				switch script[evidence.Digest] {
				case good:
					return pass, nil
				case bad:
					return refuse, nil
				default:
					return ratify.Result{}, unavailable
				}
			}})
	}
	descriptors := make([][]ocispec.Descriptor, count)
	for i := range descriptors {
		descriptors[i] = pieces(fmt.Sprintf("kind/%d", i), 3)
	}
	return list, func(chosen [][]int) []ocispec.Descriptor {
		var evidence []ocispec.Descriptor
		for i, of := range chosen {
			for n, what := range of {
				d := descriptors[i][n]
				script[d.Digest] = what
				evidence = append(evidence, d)
			}
		}
		return evidence
	}
}

func each(all [][]int, count int, do func([][]int)) {
	chosen := make([][]int, count)
	var walk func(i int)
	walk = func(i int) {
		if i == count {
			do(chosen)
			return
		}
		for _, c := range all {
			chosen[i] = c
			walk(i + 1)
		}
	}
	walk(0)
}

func TestVerdictOfOneVerifier(t *testing.T) {
	var typedNil *ratify.Error
	for _, tc := range []struct {
		name   string
		verify func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error)
		want   ratify.Outcome
		code   ratify.Code
	}{
		{"pass", look(pass, nil), ratify.OutcomeVerified, ratify.Verified},
		{"pass whose code is ignored", look(ratify.Result{Passed: true, Code: ratify.UntrustedSigner}, nil), ratify.OutcomeVerified, ratify.Verified},
		{"zero result", look(ratify.Result{}, nil), ratify.OutcomeRefused, ratify.SignatureInvalid},
		{"refusal", look(refuse, nil), ratify.OutcomeRefused, ratify.UntrustedSigner},
		{"refusal with a code that says verified", look(ratify.Result{Code: ratify.Verified}, nil), ratify.OutcomeRefused, ratify.SignatureInvalid},
		{"refusal with a code that says skipped", look(ratify.Result{Code: ratify.Skipped}, nil), ratify.OutcomeRefused, ratify.SignatureInvalid},
		{"refusal with a transient code", look(ratify.Result{Code: ratify.Deadline}, nil), ratify.OutcomeRefused, ratify.SignatureInvalid},
		{"refusal with a code of its own", look(ratify.Result{Code: "BAD_DAY"}, nil), ratify.OutcomeRefused, ratify.SignatureInvalid},
		{"passed until a second ago", look(ratify.Result{Passed: true, NotAfter: now.Add(-time.Second)}, nil), ratify.OutcomeRefused, ratify.SignatureExpired},
		{"passed until this instant", look(ratify.Result{Passed: true, NotAfter: now}, nil), ratify.OutcomeRefused, ratify.SignatureExpired},
		{"definitive error", look(pass, &ratify.Error{Code: ratify.SubjectMismatch}), ratify.OutcomeRefused, ratify.SubjectMismatch},
		{"definitive error, wrapped", look(pass, fmt.Errorf("reading: %w", &ratify.Error{Code: ratify.EvidenceInvalid})), ratify.OutcomeRefused, ratify.EvidenceInvalid},
		{"transient error beside a pass", look(pass, unavailable), ratify.OutcomeUnknown, ratify.RegistryUnavailable},
		{"error without a code", look(pass, errors.New("odd")), ratify.OutcomeUnknown, ratify.Internal},
		{"cancelled", look(pass, context.Canceled), ratify.OutcomeUnknown, ratify.Deadline},
		{"deadline, wrapped", look(pass, fmt.Errorf("reading: %w", context.DeadlineExceeded)), ratify.OutcomeUnknown, ratify.Deadline},
		{"error that says verified", look(pass, &ratify.Error{Code: ratify.Verified}), ratify.OutcomeUnknown, ratify.Internal},
		{"error that says skipped", look(pass, &ratify.Error{Code: ratify.Skipped}), ratify.OutcomeUnknown, ratify.Internal},
		{"error with an unheard-of code", look(pass, &ratify.Error{Code: "BAD_DAY"}), ratify.OutcomeUnknown, ratify.Internal},
		{"nil pointer as an error", look(pass, typedNil), ratify.OutcomeUnknown, ratify.Internal},
		{"panic", func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
			panic("boom")
		}, ratify.OutcomeUnknown, ratify.Internal},
		{"panic with nil dereferenced", func(_ context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			var m *ocispec.Manifest
			return ratify.Result{Passed: true, Message: m.MediaType}, nil
		}, ratify.OutcomeUnknown, ratify.Internal},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(pieces("sig", 1), &fakeVerifier{kind: "sig", verify: tc.verify})
			r, err := w.verify(t)
			if got := outcomeOf(r, err); got != tc.want || r.Code != tc.code {
				t.Errorf("%s %s, want %s %s (error %v)", got, r.Code, tc.want, tc.code, err)
			}
			if len(r.VerifierReports) != 1 || r.VerifierReports[0].IsSuccess != (tc.want == ratify.OutcomeVerified) {
				t.Errorf("verifier reports: %+v", r.VerifierReports)
			}
		})
	}
}

// TestOneBadPieceSpoilsNothing puts each kind of failure before and behind a good piece of evidence.
func TestOneBadPieceSpoilsNothing(t *testing.T) {
	for name, spoil := range map[string]func() (ratify.Result, error){
		"refusal":       func() (ratify.Result, error) { return refuse, nil },
		"unreadable":    func() (ratify.Result, error) { return ratify.Result{}, unavailable },
		"unknown error": func() (ratify.Result, error) { return ratify.Result{}, errors.New("odd") },
		"panic":         func() (ratify.Result, error) { panic("boom") },
		"nil pointer":   func() (ratify.Result, error) { var e *ratify.Error; return ratify.Result{}, e },
	} {
		for _, goodAt := range []int{0, 1, 9} {
			t.Run(fmt.Sprintf("%s, the good one is number %d", name, goodAt), func(t *testing.T) {
				evidence := pieces("sig", 10)
				v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
					if e.Digest == evidence[goodAt].Digest {
						return pass, nil
					}
					return spoil()
				}}
				if r, err := newWorld(evidence, v).verify(t); outcomeOf(r, err) != ratify.OutcomeVerified {
					t.Errorf("%s: %v", r.Message, err)
				}
			})
		}
	}
}

func TestPanicsAreTold(t *testing.T) {
	boom := func() { panic("boom") }
	sig := func() *fakeVerifier { return &fakeVerifier{kind: "sig", verify: look(pass, nil)} }
	for _, tc := range []struct {
		name string
		key  string
		trip func(w *world) ratify.Store
	}{
		{"Open", taggedKey, func(w *world) ratify.Store {
			return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
				panic("boom")
			}}
		}},
		{"Open gives no repository", taggedKey, func(w *world) ratify.Store {
			return fakeStore{open: func(context.Context, ratify.Subject) (ratify.Repository, ratify.Repository, error) {
				return nil, nil, nil
			}}
		}},
		{"Resolve", taggedKey, func(w *world) ratify.Store {
			w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { boom(); return ocispec.Descriptor{}, nil }
			return nil
		}},
		{"Resolve beside Referrers", repositoryName + "@" + subjectDescriptor.Digest.String(), func(w *world) ratify.Store {
			w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { boom(); return ocispec.Descriptor{}, nil }
			return nil
		}},
		{"Referrers", taggedKey, func(w *world) ratify.Store {
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { boom(); return nil, nil }
			return nil
		}},
		{"Referrers beside Resolve", repositoryName + "@" + subjectDescriptor.Digest.String(), func(w *world) ratify.Store {
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { boom(); return nil, nil }
			return nil
		}},
		{"Match", taggedKey, func(w *world) ratify.Store {
			v := sig()
			v.match = func(ocispec.Descriptor) bool { boom(); return true }
			w.verifiers[0].Verifier = v
			return nil
		}},
		{"Verify", taggedKey, func(w *world) ratify.Store {
			v := sig()
			v.verify = func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
				boom()
				return pass, nil
			}
			w.verifiers[0].Verifier = v
			return nil
		}},
		{"Find", taggedKey, func(w *world) ratify.Store {
			v := sig()
			v.match = func(ocispec.Descriptor) bool { return false }
			w.verifiers[0].Verifier = fakeFinder{v, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
				boom()
				return nil, nil
			}}
			return nil
		}},
		{"Find beside Resolve", repositoryName + "@" + subjectDescriptor.Digest.String(), func(w *world) ratify.Store {
			v := sig()
			v.match = func(ocispec.Descriptor) bool { return false }
			w.verifiers[0].Verifier = fakeFinder{v, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
				boom()
				return nil, nil
			}}
			return nil
		}},
		{"Skip", taggedKey, func(w *world) ratify.Store {
			w.verifiers[0].Verifier = fakeSkipper{sig(), func(ratify.Subject) bool { boom(); return true }}
			return nil
		}},
		{"Absent", taggedKey, func(w *world) ratify.Store {
			w.verifiers[0].Verifier = fakeJudge{sig(), func(ratify.Subject) (ratify.Result, bool) { boom(); return pass, true }}
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, nil }
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(pieces("sig", 1), sig())
			var mu sync.Mutex
			var traces []string
			w.onPanic = func(traceID string, value any, stack []byte) {
				mu.Lock()
				defer mu.Unlock()
				traces = append(traces, traceID)
				if value == nil || len(stack) == 0 {
					t.Errorf("value %v, %d bytes of stack", value, len(stack))
				}
			}
			var e *ratify.Engine
			if store := tc.trip(w); store != nil {
				e = w.engineOn(t, store)
			} else {
				e = w.engine(t)
			}
			r, err := e.Verify(t.Context(), mustParse(t, tc.key))
			checkReport(t, r, err)
			if err == nil || r.Code != ratify.Internal {
				t.Errorf("code %s, error %v", r.Code, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(traces) == 0 {
				t.Fatal("OnPanic was not told")
			}
			for _, trace := range traces {
				if trace != r.TraceID {
					t.Errorf("OnPanic was told of trace %q, the report has %q", trace, r.TraceID)
				}
			}
		})
	}
}

func TestPanicOfOneVerifierLeavesTheOther(t *testing.T) {
	evidence := append(pieces("a", 1), pieces("b", 1)...)
	bomb := &fakeVerifier{kind: "a", match: func(ocispec.Descriptor) bool { panic("boom") }}
	w := newWorld(evidence, bomb, &fakeVerifier{kind: "b", verify: look(pass, nil)})
	w.require = ratify.RequireAny
	if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeVerified {
		t.Errorf("%s: %v", r.Message, err)
	}
}

func TestExaminesAtMostFourAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int32
		v := &fakeVerifier{kind: "sig", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for {
				old := most.Load()
				if n <= old || most.CompareAndSwap(old, n) {
					break
				}
			}
			time.Sleep(time.Second)
			return refuse, nil
		}}
		began := time.Now()
		newWorld(pieces("sig", 20), v).verify(t)
		if got := most.Load(); got != 4 {
			t.Errorf("%d at the same time, want 4", got)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("20 pieces of a second each took %s, want 5s", took)
		}
	})
}

func TestStopsWhenDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var examined atomic.Int32
		evidence := pieces("sig", 12)
		v := &fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			examined.Add(1)
			if e.Digest == evidence[1].Digest {
				time.Sleep(time.Second)
				return pass, nil
			}
			<-ctx.Done()
			return ratify.Result{}, ctx.Err()
		}}
		began := time.Now()
		r, err := newWorld(evidence, v).verify(t)
		if outcomeOf(r, err) != ratify.OutcomeVerified || time.Since(began) != time.Second {
			t.Errorf("%s after %s: %v", r.Message, time.Since(began), err)
		}
		if got := examined.Load(); got != 4 {
			t.Errorf("%d pieces were examined, want the first 4", got)
		}
		codes := map[ratify.Code]int{}
		for _, v := range r.VerifierReports {
			codes[v.Code]++
		}
		if codes[ratify.Verified] != 1 || codes[ratify.NotExamined] != 11 {
			t.Errorf("verifier reports by code: %v", codes)
		}
	})
}

// TestExamineAll: an engine for looking decides the same, and leaves nothing unexamined: neither behind a pass nor behind a
// refusal, nor what proves a document, nor past the bound of those that decide.
func TestExamineAll(t *testing.T) {
	bad := piece("sig", 0)
	prover := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		if e.Digest == bad.Digest {
			return refuse, nil
		}
		return pass, nil
	}}
	document := piece("doc", 0)
	signatures := pieces("sig", ratify.MaxEvidence+2)
	repo := attached(map[digest.Digest][]ocispec.Descriptor{
		subjectDescriptor.Digest: append([]ocispec.Descriptor{document}, signatures...),
		document.Digest:          signatures,
	})
	never := fakeSkipper{&fakeVerifier{kind: "skipped"}, func(ratify.Subject) bool { return true }}
	setup := ratify.Setup{
		Verifiers: []ratify.NamedVerifier{
			{Name: "signature", Type: "fake", Verifier: prover},
			{Name: "document", Type: "fake", SignedBy: []string{"signature"}, Verifier: fakeDocuments{&fakeVerifier{kind: "doc", verify: look(pass, nil)}, ratify.PiecesAll, false}},
			{Name: "other", Type: "fake", Verifier: &fakeVerifier{kind: "doc", verify: look(refuse, nil)}},
			{Name: "skipper", Type: "fake", Verifier: never},
		},
	}
	for name, tc := range map[string]struct {
		policy ratify.Policy
		code   ratify.Code
	}{
		"passed":  {ratify.Policy{Verifiers: []string{"signature", "document", "other", "skipper"}, Require: ratify.RequireAny}, ratify.Verified},
		"refused": {ratify.Policy{Verifiers: []string{"signature", "document", "other", "skipper"}}, ratify.UntrustedSigner},
	} {
		t.Run(name, func(t *testing.T) {
			tc.policy.Name, tc.policy.Scopes = "default", []string{"*"}
			all := setup
			all.Policies, all.ExamineAll = []ratify.Policy{tc.policy}, true
			r, _ := ask(t, newEngine(t, all, repo), taggedKey)
			if r.Code != tc.code {
				t.Errorf("%s: %s, want %s", r.Code, r.Message, tc.code)
			}
			if want := len(signatures) + 3; len(r.VerifierReports) != want {
				t.Errorf("%d verifier reports, want %d", len(r.VerifierReports), want)
			}
			for _, v := range r.VerifierReports {
				if v.Code == ratify.NotExamined {
					t.Errorf("%s left %s", v.Name, v.Reference)
				}
				if v.Name == "document" && len(v.NestedReports) != len(signatures) {
					t.Errorf("%d nested reports, want %d", len(v.NestedReports), len(signatures))
				}
			}
		})
	}
}

func TestStopsWhenRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &fakeVerifier{kind: "b", verify: func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			<-ctx.Done()
			return ratify.Result{}, ctx.Err()
		}}
		w := newWorld(append(pieces("a", 1), pieces("b", 30)...), &fakeVerifier{kind: "a", verify: look(refuse, nil)}, slow)
		r, err := w.verify(t)
		// What was not needed is no reason, nor is it one that there was more of it than the bound.
		if outcomeOf(r, err) != ratify.OutcomeRefused || r.Code != ratify.UntrustedSigner {
			t.Errorf("%s %q: %v", r.Code, r.Message, err)
		}
	})
}

func TestEachPieceHasHalfOfWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var budgets []time.Duration
		v := &fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				t.Error("no deadline")
			}
			mu.Lock()
			budgets = append(budgets, time.Until(deadline))
			last := len(budgets) == 9
			mu.Unlock()
			if last {
				return pass, nil
			}
			<-ctx.Done()
			return ratify.Result{}, ctx.Err()
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		r, err := newWorld(pieces("sig", 9), v).engine(t).Verify(ctx, mustParse(t, taggedKey))
		checkReport(t, r, err)
		if outcomeOf(r, err) != ratify.OutcomeVerified {
			t.Errorf("the good one behind eight stuck ones: %s %v", r.Message, err)
		}
		want := []time.Duration{4, 4, 4, 4, 2, 2, 2, 2, 1}
		for i, w := range want {
			if budgets[i] != w*time.Second {
				t.Errorf("budgets %v, want %v seconds", budgets, want)
				break
			}
		}
	})
}

func TestDeadline(t *testing.T) {
	stuck := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tc := range []struct {
		name string
		set  func(w *world)
	}{
		{"resolving", func(w *world) {
			w.repo.resolve = func(ctx context.Context, _ string) (ocispec.Descriptor, error) {
				return ocispec.Descriptor{}, stuck(ctx)
			}
		}},
		{"listing", func(w *world) {
			w.repo.referrers = func(ctx context.Context, _ ocispec.Descriptor) ([]ocispec.Descriptor, error) {
				return nil, stuck(ctx)
			}
		}},
		{"verifying", func(w *world) {
			w.verifiers[0].Verifier = &fakeVerifier{kind: "sig", verify: func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				return pass, stuck(ctx)
			}}
		}},
		{"finding", func(w *world) {
			w.verifiers[0].Verifier = fakeFinder{&fakeVerifier{kind: "none"}, func(ctx context.Context, _ ocispec.Descriptor, _ ratify.Repository) ([]ocispec.Descriptor, error) {
				return nil, stuck(ctx)
			}}
		}},
	} {
		for _, key := range []string{taggedKey, repositoryName + "@" + subjectDescriptor.Digest.String()} {
			t.Run(tc.name+" "+key[len(repositoryName):len(repositoryName)+3], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(pieces("sig", 1), &fakeVerifier{kind: "sig", verify: look(pass, nil)})
					tc.set(w)
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					began := time.Now()
					r, err := w.engine(t).Verify(ctx, mustParse(t, key))
					checkReport(t, r, err)
					if r.Code != ratify.Deadline || time.Since(began) > time.Second {
						t.Errorf("%s after %s: %v", r.Code, time.Since(began), err)
					}
				})
			})
		}
		t.Run(tc.name+", cancelled", func(t *testing.T) {
			w := newWorld(pieces("sig", 1), &fakeVerifier{kind: "sig", verify: look(pass, nil)})
			tc.set(w)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			r, err := w.engine(t).Verify(ctx, mustParse(t, taggedKey))
			checkReport(t, r, err)
			if r.Code != ratify.Deadline {
				t.Errorf("%s: %v", r.Code, err)
			}
		})
	}
}

// TestAStuckFinderLeavesTimeForTheOthers: evidence that cannot be found must not use up the time of what was.
func TestAStuckFinderLeavesTimeForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finder := fakeFinder{&fakeVerifier{kind: "a"}, func(ctx context.Context, _ ocispec.Descriptor, _ ratify.Repository) ([]ocispec.Descriptor, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		w := newWorld(pieces("b", 1), finder, &fakeVerifier{kind: "b", verify: func(ctx context.Context, _, _ ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			return pass, ctx.Err()
		}})
		w.require = ratify.RequireAny
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		r, err := w.engine(t).Verify(ctx, mustParse(t, taggedKey))
		checkReport(t, r, err)
		if outcomeOf(r, err) != ratify.OutcomeVerified {
			t.Errorf("%s: %v", r.Message, err)
		}
	})
}

func TestAtMostTwentyPieces(t *testing.T) {
	for _, tc := range []struct {
		name     string
		counts   []int // pieces of each verifier
		examined []int
		limited  bool
	}{
		{"twenty", []int{20}, []int{20}, false},
		{"twenty-one", []int{21}, []int{20}, true},
		{"one crowds out nobody", []int{400, 3}, []int{17, 3}, true},
		{"the last comes first, too", []int{3, 400}, []int{3, 17}, true},
		{"turns", []int{30, 30, 30}, []int{7, 7, 6}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			examined := make([]atomic.Int32, len(tc.counts))
			var evidence []ocispec.Descriptor
			var verifiers []ratify.Verifier
			for i, count := range tc.counts {
				kind := fmt.Sprintf("kind/%d", i)
				evidence = append(evidence, pieces(kind, count)...)
				verifiers = append(verifiers, &fakeVerifier{kind: kind, verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
					examined[i].Add(1)
					return refuse, nil
				}})
			}
			w := newWorld(evidence, verifiers...)
			w.require = ratify.RequireAny // or the first refusal would decide
			r, err := w.verify(t)
			if outcomeOf(r, err) != ratify.OutcomeRefused {
				t.Fatalf("%s: %v", r.Message, err)
			}
			for i, want := range tc.examined {
				if got := examined[i].Load(); int(got) != want {
					t.Errorf("verifier %d examined %d pieces, want %d", i, got, want)
				}
			}
			if got := r.Code == ratify.LimitExceeded; got != tc.limited {
				t.Errorf("code %s, message %q", r.Code, r.Message)
			}
		})
	}
}

func TestGoodEvidenceWithinTheBoundIsEnough(t *testing.T) {
	evidence := pieces("sig", 30)
	at := func(n int) ratify.Verifier {
		return &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			return ratify.Result{Passed: e.Digest == evidence[n].Digest}, nil
		}}
	}
	if r, err := newWorld(evidence, at(19)).verify(t); outcomeOf(r, err) != ratify.OutcomeVerified {
		t.Errorf("the twentieth: %s", r.Message)
	}
	if r, err := newWorld(evidence, at(20)).verify(t); outcomeOf(r, err) == ratify.OutcomeVerified || r.Code != ratify.LimitExceeded {
		t.Errorf("the twenty-first: %s %s", r.Code, r.Message)
	}
}

func TestEvidenceListedTwiceIsExaminedOnce(t *testing.T) {
	var examined atomic.Int32
	v := fakeFinder{&fakeVerifier{kind: "sig", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		examined.Add(1)
		return refuse, nil
	}}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
		return append(pieces("sig", 3), piece("other", 1)), nil
	}}
	r, _ := newWorld(append(pieces("sig", 2), pieces("sig", 2)...), v).verify(t)
	if got := examined.Load(); got != 3 || len(r.VerifierReports) != 3 {
		t.Errorf("examined %d pieces, %d verifier reports, want 3", got, len(r.VerifierReports))
	}
}

// A list that anybody may write, as the one under the fallback tag, must not hide a good signature behind a lie about it.
func TestALieDoesNotHideTheTruth(t *testing.T) {
	truth := piece("sig", 1)
	for name, change := range map[string]func(*ocispec.Descriptor){
		"size":       func(d *ocispec.Descriptor) { d.Size++ },
		"media type": func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex },
	} {
		t.Run(name, func(t *testing.T) {
			lie := truth
			change(&lie)
			v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				return ratify.Result{Passed: evidence.Size == truth.Size && evidence.MediaType == truth.MediaType, Code: ratify.EvidenceInvalid}, nil
			}}
			if r, err := newWorld([]ocispec.Descriptor{lie, truth}, v).verify(t); err != nil || !r.IsSuccess {
				t.Errorf("%s %s, %v", r.Code, r.Message, err)
			}
		})
	}
}

func TestFinder(t *testing.T) {
	found := func(list []ocispec.Descriptor, err error) func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
		return func(_ context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
			if subject.Digest != subjectDescriptor.Digest || repo.Name() != repositoryName {
				return nil, fmt.Errorf("asked about %s in %s", subject.Digest, repo.Name())
			}
			return list, err
		}
	}
	limit := &ratify.Error{Code: ratify.LimitExceeded}
	for _, tc := range []struct {
		name     string
		attached []ocispec.Descriptor
		find     func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error)
		result   ratify.Result
		want     ratify.Outcome
		code     ratify.Code
	}{
		{"found only by it", nil, found(pieces("sig", 1), nil), pass, ratify.OutcomeVerified, ratify.Verified},
		{"what it finds must match, too", nil, found(pieces("other", 1), nil), pass, ratify.OutcomeRefused, ratify.NoReferrers},
		{"it finds nothing", nil, found(nil, nil), pass, ratify.OutcomeRefused, ratify.NoReferrers},
		{"it finds nothing, a referrer is good", pieces("sig", 1), found(nil, nil), pass, ratify.OutcomeVerified, ratify.Verified},
		{"it fails, a referrer is good", pieces("sig", 1), found(nil, unavailable), pass, ratify.OutcomeVerified, ratify.Verified},
		{"it fails, a referrer is bad", pieces("sig", 1), found(nil, unavailable), refuse, ratify.OutcomeUnknown, ratify.RegistryUnavailable},
		{"it fails, nothing is attached", nil, found(nil, unavailable), pass, ratify.OutcomeUnknown, ratify.RegistryUnavailable},
		{"it refuses, nothing is attached", nil, found(nil, &ratify.Error{Code: ratify.EvidenceInvalid}), pass, ratify.OutcomeRefused, ratify.EvidenceInvalid},
		{"it refuses, a referrer is good", pieces("sig", 1), found(nil, &ratify.Error{Code: ratify.EvidenceInvalid}), pass, ratify.OutcomeVerified, ratify.Verified},
		{"it reaches a bound", nil, found(nil, limit), pass, ratify.OutcomeRefused, ratify.LimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := fakeFinder{&fakeVerifier{kind: "sig", verify: look(tc.result, nil)}, tc.find}
			r, err := newWorld(tc.attached, v).verify(t)
			if got := outcomeOf(r, err); got != tc.want || r.Code != tc.code {
				t.Errorf("%s %s, want %s %s (%v)", got, r.Code, tc.want, tc.code, err)
			}
		})
	}
}

// TestARefusalIsNotAnOutageInDisguise: what one finder refuses must not hide that another verifier's evidence could not
// be read, in whatever order they stand.
func TestARefusalIsNotAnOutageInDisguise(t *testing.T) {
	refusing := fakeFinder{&fakeVerifier{kind: "a"}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
		return nil, &ratify.Error{Code: ratify.EvidenceInvalid}
	}}
	down := &fakeVerifier{kind: "b", verify: look(pass, unavailable)}
	for _, verifiers := range [][]ratify.Verifier{{refusing, down}, {down, refusing}} {
		w := newWorld(pieces("b", 1), verifiers...)
		w.require = ratify.RequireAny
		if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeUnknown || r.Code != ratify.RegistryUnavailable {
			t.Errorf("any: %s %s, want could not tell", outcomeOf(r, err), r.Code)
		}
		w.require = ratify.RequireAll
		if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeRefused {
			t.Errorf("all: %s %s, want refused", outcomeOf(r, err), r.Code)
		}
	}
}

func TestAbsence(t *testing.T) {
	judge := func(result ratify.Result, says bool) ratify.Verifier {
		return fakeJudge{&fakeVerifier{kind: "sig", verify: look(refuse, nil)}, func(s ratify.Subject) (ratify.Result, bool) {
			if s.Digest != subjectDescriptor.Digest || s.Tag != "" {
				return ratify.Result{}, false
			}
			return result, says
		}}
	}
	plain := &fakeVerifier{kind: "sig", verify: look(refuse, nil)}
	odd := []ocispec.Descriptor{piece("application/spdx+json", 1), piece("evil\x1b[31m\n", 2), piece("application/spdx+json", 3)}
	for _, tc := range []struct {
		name     string
		verifier ratify.Verifier
		attached []ocispec.Descriptor
		code     ratify.Code
		message  string
	}{
		{"nothing attached", plain, nil, ratify.NoReferrers, "verification failed: no referrers found for this artifact"},
		{"other kinds attached", plain, odd, ratify.NoSignature, `verification failed: no evidence of the required kind is attached, only "application/spdx+json", "evil\x1b[31m\n"`},
		{"many kinds attached", plain, []ocispec.Descriptor{piece("a", 1), piece("b", 1), piece("c", 1), piece("d", 1), piece("e", 1)}, ratify.NoSignature,
			`verification failed: no evidence of the required kind is attached, only "a", "b", "c", 2 other kinds`},
		{"a judge has nothing to say", judge(pass, false), nil, ratify.NoReferrers, "verification failed: no referrers found for this artifact"},
		{"a judge passes", judge(ratify.Result{Passed: true, Message: "only logged"}, true), nil, ratify.Verified, "verification succeeded"},
		{"a judge passes beside other kinds", judge(pass, true), odd, ratify.Verified, "verification succeeded"},
		{"a judge refuses", judge(ratify.Result{Code: ratify.NoTrustPolicy}, true), nil, ratify.NoTrustPolicy, "verification failed: no trust policy statement applies to this repository"},
		{"a judge passes until yesterday", judge(ratify.Result{Passed: true, NotAfter: now.Add(-time.Hour)}, true), nil, ratify.SignatureExpired, "verification failed: the signature has expired"},
		{"a judge is not asked about bad evidence", judge(pass, true), pieces("sig", 1), ratify.UntrustedSigner, "verification failed: signature is not produced by a trusted signer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := newWorld(tc.attached, tc.verifier).verify(t)
			if r.Code != tc.code || r.Message != tc.message {
				t.Errorf("%s %q, want %s %q (%v)", r.Code, r.Message, tc.code, tc.message, err)
			}
		})
	}
}

// TestOtherKinds: what a verifier matched for want of a type, and what turned out to be something else, is as if it
// had not been matched. A stranger's untyped artifact can neither refuse an image nor hide why it is refused.
func TestOtherKinds(t *testing.T) {
	untyped := func(evidence ocispec.Descriptor) bool {
		return evidence.ArtifactType == "sig" || evidence.ArtifactType == ""
	}
	verify := func(result ratify.Result) *fakeVerifier {
		return &fakeVerifier{kind: "sig", match: untyped, verify: func(_ context.Context, _, evidence ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			if evidence.ArtifactType == "" {
				return ratify.Result{}, fmt.Errorf("read: %w", ratify.ErrOtherKind)
			}
			return result, nil
		}}
	}
	lenient := fakeJudge{verify(refuse), func(ratify.Subject) (ratify.Result, bool) { return pass, true }}
	for _, tc := range []struct {
		name     string
		verifier ratify.Verifier
		attached []ocispec.Descriptor
		code     ratify.Code
	}{
		{"alone", verify(pass), pieces("", 3), ratify.NoSignature},
		{"alone, and absence passes", lenient, pieces("", 3), ratify.Verified},
		{"beside good evidence", verify(pass), append(pieces("", 2), piece("sig", 9)), ratify.Verified},
		{"beside bad evidence", lenient, append(pieces("", 2), piece("sig", 9)), ratify.UntrustedSigner},
		{"more than are examined", lenient, pieces("", ratify.MaxEvidence+1), ratify.Verified},
		{"more than are examined, and absence refuses", verify(pass), pieces("", ratify.MaxEvidence+1), ratify.LimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := newWorld(tc.attached, tc.verifier).verify(t)
			if r.Code != tc.code {
				t.Errorf("%s %q, want %s (%v)", r.Code, r.Message, tc.code, err)
			}
		})
	}
}

// TestAudited: an image is VERIFIED only if it is so without the verifiers that only audit.
func TestAudited(t *testing.T) {
	audited := &fakeVerifier{kind: "sig", verify: look(ratify.Result{Passed: true, Code: ratify.Audited}, nil)}
	good := &fakeVerifier{kind: "sig", verify: look(pass, nil)}
	skipped := fakeSkipper{&fakeVerifier{kind: "sig"}, func(ratify.Subject) bool { return true }}
	for _, tc := range []struct {
		name      string
		verifiers []ratify.Verifier
		require   ratify.Require
		code      ratify.Code
	}{
		{"alone", []ratify.Verifier{audited}, ratify.RequireAll, ratify.Audited},
		{"all, one good", []ratify.Verifier{audited, good}, ratify.RequireAll, ratify.Audited},
		{"two of two, one skipped", []ratify.Verifier{audited, skipped}, ratify.Require{AtLeast: 2}, ratify.Audited},
		{"all good", []ratify.Verifier{good, good}, ratify.RequireAll, ratify.Verified},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(pieces("sig", 1), tc.verifiers...)
			w.require = tc.require
			r, err := w.verify(t)
			if r.Code != tc.code || !r.IsSuccess || err != nil {
				t.Errorf("%s %t, want %s (%v)", r.Code, r.IsSuccess, tc.code, err)
			}
		})
	}
}

func TestNoReferrersSaysSoWhateverTheNumberOfVerifiers(t *testing.T) {
	for _, require := range []ratify.Require{ratify.RequireAll, ratify.RequireAny, {AtLeast: 2}, {AtLeast: 3}} {
		w := newWorld(nil, &fakeVerifier{kind: "a"}, &fakeVerifier{kind: "b"}, &fakeVerifier{kind: "c"})
		w.require = require
		r, _ := w.verify(t)
		if want := "verification failed: no referrers found for this artifact"; r.Code != ratify.NoReferrers || r.Message != want {
			t.Errorf("require %v: %s %q, want %q", require, r.Code, r.Message, want)
		}
	}
}

func TestSkip(t *testing.T) {
	skips := func(s ratify.Subject) bool { return s.Repository == repositoryName }
	skipper := fakeSkipper{&fakeVerifier{kind: "a"}, skips}
	never := fakeSkipper{&fakeVerifier{kind: "a", verify: look(refuse, nil)}, func(ratify.Subject) bool { return false }}
	signed := &fakeVerifier{kind: "b", verify: look(pass, nil)}
	for _, tc := range []struct {
		name      string
		verifiers []ratify.Verifier
		require   ratify.Require
		code      ratify.Code
		reads     bool
	}{
		{"all skipped", []ratify.Verifier{skipper}, ratify.RequireAll, ratify.Skipped, false},
		{"any, one skipped", []ratify.Verifier{skipper, signed}, ratify.RequireAny, ratify.Skipped, false},
		{"all, one skipped and one good", []ratify.Verifier{skipper, signed}, ratify.RequireAll, ratify.Verified, true},
		{"all, one skipped and one bad", []ratify.Verifier{skipper, &fakeVerifier{kind: "b", verify: look(refuse, nil)}}, ratify.RequireAll, ratify.UntrustedSigner, true},
		{"all, one skipped and one without evidence", []ratify.Verifier{skipper, &fakeVerifier{kind: "c"}}, ratify.RequireAll, ratify.NoSignature, true},
		{"two of three, two skipped", []ratify.Verifier{skipper, signed, skipper}, ratify.Require{AtLeast: 2}, ratify.Skipped, false},
		{"a skipper that does not skip", []ratify.Verifier{never}, ratify.RequireAll, ratify.UntrustedSigner, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld([]ocispec.Descriptor{piece("a", 1), piece("b", 1)}, tc.verifiers...)
			w.require = tc.require
			reads := false
			resolve := w.repo.resolve
			w.repo.resolve = func(ctx context.Context, reference string) (ocispec.Descriptor, error) {
				reads = true
				return resolve(ctx, reference)
			}
			r, err := w.verify(t)
			if r.Code != tc.code || reads != tc.reads {
				t.Errorf("%s, read %t, want %s, %t (%v)", r.Code, reads, tc.code, tc.reads, err)
			}
		})
	}
}

func TestReason(t *testing.T) {
	results := func(list ...ratify.Result) ratify.Verifier {
		evidence := pieces("sig", len(list))
		return &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			at := slices.IndexFunc(evidence, func(d ocispec.Descriptor) bool { return d.Digest == e.Digest })
			return list[at], nil
		}}
	}
	for _, tc := range []struct {
		name    string
		results []ratify.Result
		code    ratify.Code
		message string
	}{
		{"one", []ratify.Result{{Code: ratify.UntrustedSigner}}, ratify.UntrustedSigner, "signature is not produced by a trusted signer"},
		{"a foreign signature hides no expired one", []ratify.Result{{Code: ratify.UntrustedSigner}, {Code: ratify.CertificateExpired}}, ratify.CertificateExpired,
			"a certificate of the signature is outside its validity (the nearest of 2)"},
		{"a revoked one comes first", []ratify.Result{{Code: ratify.CertificateExpired}, {Code: ratify.CertificateRevoked}, {Code: ratify.SubjectMismatch}}, ratify.CertificateRevoked,
			"a certificate of the signature is revoked (the nearest of 3)"},
		{"its own words", []ratify.Result{{Code: ratify.IdentityMismatch, Message: "not alice", Remedy: "ask alice"}, {Code: ratify.EvidenceInvalid}}, ratify.IdentityMismatch, "not alice (the nearest of 2)"},
		{"a code without a rank", []ratify.Result{{Code: ratify.NoTrustPolicy}}, ratify.NoTrustPolicy, "no trust policy statement applies to this repository"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _ := newWorld(pieces("sig", len(tc.results)), results(tc.results...)).verify(t)
			if r.Code != tc.code || r.Message != "verification failed: "+tc.message {
				t.Errorf("%s %q, want %s %q", r.Code, r.Message, tc.code, tc.message)
			}
		})
	}
}

func TestReasonWhereTheOtherVerifierIsAbsent(t *testing.T) {
	w := newWorld(pieces("a", 1), &fakeVerifier{kind: "b"}, &fakeVerifier{kind: "a", verify: look(ratify.Result{Code: ratify.SignatureExpired}, nil)})
	w.require = ratify.RequireAny
	if r, _ := w.verify(t); r.Code != ratify.SignatureExpired || strings.Contains(r.Message, "nearest") {
		t.Errorf("%s %q", r.Code, r.Message)
	}
}

func TestReasonIsTheSameEveryTime(t *testing.T) {
	v := &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		return ratify.Result{Code: ratify.UntrustedSigner, Message: e.Digest.Encoded()[:8]}, nil
	}}
	e := newWorld(pieces("sig", 20), v).engine(t)
	first, _ := e.Verify(t.Context(), mustParse(t, taggedKey))
	for range 50 {
		if r, _ := e.Verify(t.Context(), mustParse(t, taggedKey)); r.Message != first.Message {
			t.Fatalf("%q, then %q", first.Message, r.Message)
		}
	}
}

func TestNotAfter(t *testing.T) {
	day := 24 * time.Hour
	in := func(hours int) time.Time {
		if hours == 0 {
			return time.Time{}
		}
		return now.Add(time.Duration(hours) * time.Hour)
	}
	for _, tc := range []struct {
		name    string
		require ratify.Require
		ends    []int // hours from now of one piece for each verifier; 0 has no end
		want    time.Duration
	}{
		{"no end in sight", ratify.RequireAll, []int{0}, day},
		{"an end", ratify.RequireAll, []int{3}, 3 * time.Hour},
		{"an end beyond a day", ratify.RequireAll, []int{300}, day},
		{"all: the earliest", ratify.RequireAll, []int{5, 3, 0}, 3 * time.Hour},
		{"three of three: the earliest", ratify.Require{AtLeast: 3}, []int{5, 3, 7}, 3 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var evidence []ocispec.Descriptor
			var verifiers []ratify.Verifier
			for i, hours := range tc.ends {
				kind := fmt.Sprintf("kind/%d", i)
				evidence = append(evidence, piece(kind, 0))
				verifiers = append(verifiers, &fakeVerifier{kind: kind, verify: look(ratify.Result{Passed: true, NotAfter: in(hours)}, nil)})
			}
			w := newWorld(evidence, verifiers...)
			w.require = tc.require
			r, err := w.verify(t)
			if want := now.Add(tc.want).Unix(); r.NotAfter != want {
				t.Errorf("notAfter %d, want %d (%v)", r.NotAfter, want, err)
			}
		})
	}
}

// TestNotAfterIsThatOfWhatWasProven: whatever passed before the decision, the verdict never outlives what it needs.
func TestNotAfterIsThatOfWhatWasProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var finish sync.WaitGroup
		finish.Add(3)
		// Three verifiers pass at the same instant, so that more than the two needed are known.
		verifier := func(kind string, hours int) ratify.Verifier {
			return &fakeVerifier{kind: kind, verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
				finish.Done()
				finish.Wait()
				return ratify.Result{Passed: true, NotAfter: now.Add(time.Duration(hours) * time.Hour), FreshUntil: now.Add(time.Duration(hours) * time.Minute)}, nil
			}}
		}
		evidence := []ocispec.Descriptor{piece("a", 0), piece("b", 0), piece("c", 0)}
		w := newWorld(evidence, verifier("a", 2), verifier("b", 4), verifier("c", 6))
		w.require = ratify.Require{AtLeast: 2}
		r, _ := w.verify(t)
		var ends []int
		for i, v := range r.VerifierReports {
			if v.IsSuccess {
				ends = append(ends, []int{2, 4, 6}[i])
			}
		}
		slices.Sort(ends)
		want := now.Add(time.Duration(ends[len(ends)-2]) * time.Hour)
		if r.NotAfter != want.Unix() {
			t.Errorf("passed until %v hours, notAfter %d, want %d", ends, r.NotAfter, want.Unix())
		}
		if want := now.Add(time.Duration(ends[0]) * time.Minute); !r.FreshUntil.Equal(want) {
			t.Errorf("freshUntil %s, want %s", r.FreshUntil, want)
		}
	})
}

// TestTheLongestLivedOfAVerifiersPieces: if two of its pieces pass, the verifier holds as long as one of them does.
func TestTheLongestLivedOfAVerifiersPieces(t *testing.T) {
	for _, hours := range [][]int{{2, 6}, {6, 2}} {
		synctest.Test(t, func(t *testing.T) {
			evidence := pieces("sig", 2)
			var started sync.WaitGroup
			started.Add(2)
			w := newWorld(evidence, &fakeVerifier{kind: "sig", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				started.Done()
				started.Wait()
				at := slices.IndexFunc(evidence, func(d ocispec.Descriptor) bool { return d.Digest == e.Digest })
				time.Sleep(time.Duration(at) * time.Second) // the first is settled first
				end := now.Add(time.Duration(hours[at]) * time.Hour)
				return ratify.Result{Passed: true, NotAfter: end, FreshUntil: end}, nil
			}})
			r, _ := w.verify(t)
			if want := now.Add(6 * time.Hour); r.NotAfter != want.Unix() || !r.FreshUntil.Equal(want) {
				t.Errorf("ends in %v hours: notAfter %d, fresh until %s, want %s", hours, r.NotAfter, r.FreshUntil, want)
			}
		})
	}
}

func TestNotAfterHasWholeSecondsRoundedDown(t *testing.T) {
	w := newWorld(pieces("sig", 1), &fakeVerifier{kind: "sig", verify: look(ratify.Result{Passed: true, NotAfter: now.Add(90*time.Second + 999*time.Millisecond)}, nil)})
	if r, _ := w.verify(t); r.NotAfter != now.Add(90*time.Second).Unix() {
		t.Errorf("notAfter %d", r.NotAfter)
	}
}

// TestClaimsAreBounded: a registry's descriptor may claim anything, a report has room for little of it.
func TestClaimsAreBounded(t *testing.T) {
	huge := strings.Repeat("A", 1<<20)
	claims := []ocispec.Descriptor{
		{ArtifactType: "sig", Digest: digest.Digest(huge)},
		{ArtifactType: huge, Digest: digest.FromString("a")},
		{ArtifactType: "sig", Digest: "sha256:\x1b[2J\n", Annotations: map[string]string{"a": huge}},
	}
	v := &fakeVerifier{match: func(ocispec.Descriptor) bool { return true }, verify: look(refuse, nil)}
	r, _ := newWorld(claims, v).verify(t)
	for _, v := range r.VerifierReports {
		if len(v.Reference) > ratify.MaxTextBytes || len(v.ArtifactType) > ratify.MaxTextBytes || len(v.Message) > 2*ratify.MaxTextBytes {
			t.Errorf("reference of %d bytes, artifact type of %d, message of %d", len(v.Reference), len(v.ArtifactType), len(v.Message))
		}
	}
	if data := encode(t, r); len(data) > 8<<10 {
		t.Errorf("the report has %d bytes", len(data))
	}
}

// seeker is a verifier of documents that says which attestations it takes.
type seeker struct{ fakeDocuments }

func (seeker) PredicateTypes() []string { return []string{"wanted/v1", "wanted/v2"} }

// TestPredicateMismatchSaysBoth: what was found, and what was wanted.
func TestPredicateMismatchSaysBoth(t *testing.T) {
	other := func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		return ratify.Result{}, fmt.Errorf("%w: an attestation of \"found/v1\"", ratify.ErrOtherKind)
	}
	v := seeker{fakeDocuments{&fakeVerifier{kind: "bundle", verify: other}, ratify.PiecesAny, true}}
	const want = `verification failed: no attestation of the required predicate type is attached, only an attestation of "found/v1" (wanted: wanted/v1, wanted/v2)`
	if r, err := newWorld(pieces("bundle", 2), v).verify(t); r.Code != ratify.PredicateMismatch || r.Message != want {
		t.Errorf("%s %q, want %q (%v)", r.Code, r.Message, want, err)
	}
}

// advisor is a verifier that knows what to do where it finds nothing.
type advisor struct{ *fakeVerifier }

func (advisor) Missing() string { return "attach it" }

// TestMissing: the remedy is the verifier's, for its kind of evidence; and of a signature that is something else the message
// says what it is.
func TestMissing(t *testing.T) {
	other := &fakeVerifier{kind: "bundle", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
		return ratify.Result{}, fmt.Errorf("%w: an attestation", ratify.ErrOtherKind)
	}}
	for _, tc := range []struct {
		name     string
		evidence []ocispec.Descriptor
		code     ratify.Code
		message  string
	}{
		{"nothing attached", nil, ratify.NoReferrers, "verification failed: no referrers found for this artifact"},
		{"another kind", pieces("sbom", 1), ratify.NoSignature, `verification failed: no evidence of the required kind is attached, only "sbom"`},
		{"something else in a bundle", pieces("bundle", 1), ratify.NoSignature, "verification failed: no evidence of the required kind is attached, only an attestation"},
	} {
		if r, err := newWorld(tc.evidence, advisor{other}).verify(t); r.Code != tc.code || r.Message != tc.message || r.Remedy != "attach it" {
			t.Errorf("%s: %s %q %q (%v)", tc.name, r.Code, r.Message, r.Remedy, err)
		}
	}
}
