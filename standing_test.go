package ratify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// What a piece of evidence of a document verifier turns out to be, beside good, bad and unreadable.
const (
	unproven = unreadable + 1 + iota
	otherKind
	kindsOfPieces
)

// A dated piece is what it is, and when it was made: hours after an instant, 0 is not known.
type dated struct{ what, hours int }

// holdsWhere decides where everything is known: of the proven pieces.
func holdsWhere(mode ratify.Pieces, world []dated) bool {
	var counted []dated
	for _, p := range world {
		if p.what == good || p.what == bad {
			counted = append(counted, p)
		}
	}
	if mode == ratify.PiecesNewest {
		newest := 0
		for _, p := range counted {
			newest = max(newest, p.hours)
		}
		counted = slices.DeleteFunc(counted, func(p dated) bool { return p.hours != 0 && p.hours < newest })
	}
	isGood := func(p dated) bool { return p.what == good }
	if mode == ratify.PiecesAny {
		return slices.ContainsFunc(counted, isGood)
	}
	return len(counted) > 0 && !slices.ContainsFunc(counted, func(p dated) bool { return p.what == bad })
}

// outcomeOfPieces goes through all that unreadable pieces may be, and be made.
func outcomeOfPieces(mode ratify.Pieces, list []dated) ratify.Outcome {
	worlds, holding := 0, 0
	world := slices.Clone(list)
	var walk func(int)
	walk = func(i int) {
		if i == len(world) {
			worlds++
			if holdsWhere(mode, world) {
				holding++
			}
			return
		}
		if list[i].what != unreadable {
			walk(i + 1)
			return
		}
		for _, what := range []int{good, bad, unproven} {
			for _, hours := range []int{0, 3, 100} {
				world[i] = dated{what, hours}
				walk(i + 1)
			}
		}
	}
	walk(0)
	switch holding {
	case worlds:
		return ratify.OutcomeVerified
	case 0:
		return ratify.OutcomeRefused
	default:
		return ratify.OutcomeUnknown
	}
}

func TestOracleOfPieces(t *testing.T) {
	for _, tc := range []struct {
		mode ratify.Pieces
		list []dated
		want ratify.Outcome
	}{
		{ratify.PiecesAny, nil, ratify.OutcomeRefused},
		{ratify.PiecesAny, []dated{{bad, 9}, {good, 1}}, ratify.OutcomeVerified},
		{ratify.PiecesAll, []dated{{bad, 1}, {good, 9}}, ratify.OutcomeRefused},
		{ratify.PiecesAll, []dated{{unproven, 9}, {good, 1}}, ratify.OutcomeVerified},
		{ratify.PiecesAll, []dated{{bad, 1}, {unreadable, 0}}, ratify.OutcomeRefused},
		{ratify.PiecesNewest, []dated{{bad, 9}, {good, 1}}, ratify.OutcomeRefused},
		{ratify.PiecesNewest, []dated{{bad, 1}, {good, 9}}, ratify.OutcomeVerified},
		{ratify.PiecesNewest, []dated{{bad, 9}, {good, 9}}, ratify.OutcomeRefused},
		{ratify.PiecesNewest, []dated{{unproven, 9}, {good, 1}}, ratify.OutcomeVerified},
		{ratify.PiecesNewest, []dated{{bad, 0}, {good, 9}}, ratify.OutcomeRefused},
		{ratify.PiecesNewest, []dated{{good, 0}, {good, 9}}, ratify.OutcomeVerified},
		{ratify.PiecesNewest, []dated{{good, 0}, {bad, 9}}, ratify.OutcomeRefused},
		{ratify.PiecesNewest, []dated{{good, 1}, {unreadable, 0}}, ratify.OutcomeUnknown},
	} {
		if got := outcomeOfPieces(tc.mode, tc.list); got != tc.want {
			t.Errorf("%s of %v: %s, want %s", tc.mode, tc.list, got, tc.want)
		}
	}
}

// datedVerifier finds what the script says.
func datedVerifier(script map[digest.Digest]dated) fakeDocuments {
	return fakeDocuments{&fakeVerifier{kind: "doc", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
		p := script[e.Digest]
		var made time.Time
		if p.hours > 0 {
			made = now.Add(time.Duration(p.hours-1000) * time.Hour)
		}
		switch p.what {
		case good:
			return ratify.Result{Passed: true, Made: made}, nil
		case bad:
			return ratify.Result{Code: ratify.VulnerabilityFound, Made: made}, nil
		case unproven:
			return ratify.Result{Code: ratify.SignatureInvalid, Unproven: true, Made: made}, nil
		case otherKind:
			return ratify.Result{}, fmt.Errorf("%w: a statement of x", ratify.ErrOtherKind)
		default:
			return ratify.Result{}, unavailable
		}
	}}, ratify.PiecesAll, true}
}

// TestPiecesAgainstOracle goes through every combination of up to four pieces, in several orders of their instants, for
// each way that several pieces decide.
func TestPiecesAgainstOracle(t *testing.T) {
	orders := [][4]int{{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 2, 1, 2}, {0, 0, 0, 0}, {0, 3, 3, 1}}
	evidence := pieces("doc", 4)
	asked := 0
	for _, mode := range []ratify.Pieces{ratify.PiecesAny, ratify.PiecesAll, ratify.PiecesNewest} {
		script := map[digest.Digest]dated{}
		repo := attached(nil)
		e := newEngine(t, ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: datedVerifier(script), Evidence: mode}}, Policies: everywhere("v")}, repo)
		for count := range 5 {
			repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return evidence[:count], nil }
			for n := range pow(kindsOfPieces, count) {
				for _, order := range orders {
					list := make([]dated, count)
					for i := range list {
						list[i] = dated{n / pow(kindsOfPieces, i) % kindsOfPieces, order[i]}
						script[evidence[i].Digest] = list[i]
					}
					asked++
					r, err := e.Verify(t.Context(), ratify.Subject{Repository: repositoryName, Tag: "v1"})
					checkReport(t, r, err)
					if got, want := outcomeOf(r, err), outcomeOfPieces(mode, list); got != want {
						t.Fatalf("%s of %v: %s, want %s (%s)", mode, list, got, want, r.Message)
					}
					if len(r.VerifierReports) < count-strings.Count(fmt.Sprint(list), fmt.Sprintf("{%d", otherKind)) {
						t.Fatalf("%s of %v: %d verifier reports", mode, list, len(r.VerifierReports))
					}
				}
			}
		}
	}
	if asked < 10_000 {
		t.Errorf("asked %d times only", asked)
	}
}

func pow(base, exponent int) int {
	n := 1
	for range exponent {
		n *= base
	}
	return n
}

// TestRefusalsByWhoCausesThem: where all pieces decide, or the newest, what a stranger can attach does not; what is
// unread because it is too large does, for it may be what decides.
func TestRefusalsByWhoCausesThem(t *testing.T) {
	invalid := &ratify.Error{Code: ratify.EvidenceInvalid}
	large := &ratify.Error{Code: ratify.LimitExceeded, Message: "17 MiB"}
	for _, tc := range []struct {
		name      string
		documents bool
		result    ratify.Result
		err       error
		code      ratify.Code // under all
	}{
		{"a proven document refuses", true, ratify.Result{Code: ratify.LicenseDisallowed}, nil, ratify.LicenseDisallowed},
		{"nobody vouches for it", true, ratify.Result{Code: ratify.UntrustedSigner, Unproven: true}, nil, ratify.Verified},
		{"it is for another image, and proven", true, ratify.Result{Code: ratify.SubjectMismatch}, nil, ratify.Verified},
		{"its manifest is malformed", true, ratify.Result{}, invalid, ratify.Verified},
		{"its manifest names another subject", true, ratify.Result{}, &ratify.Error{Code: ratify.SubjectMismatch}, ratify.Verified},
		{"it is too large", true, ratify.Result{}, large, ratify.LimitExceeded},
		{"it is too large, in a result", true, ratify.Result{Unproven: true, Code: ratify.LimitExceeded, Message: "17 MiB"}, nil, ratify.LimitExceeded},
		{"it is unreadable", true, ratify.Result{}, unavailable, ratify.RegistryUnavailable},
		{"a signature by a stranger", false, ratify.Result{Code: ratify.UntrustedSigner}, nil, ratify.Verified},
		{"a signature without a reason", false, ratify.Result{}, nil, ratify.Verified},
		{"a signature robbed of its timestamp", false, ratify.Result{Code: ratify.CertificateExpired}, nil, ratify.Verified},
		{"a signature that is malformed", false, ratify.Result{}, invalid, ratify.Verified},
		{"a signature that is too large", false, ratify.Result{}, large, ratify.LimitExceeded},
		{"a signature that is unreadable", false, ratify.Result{}, unavailable, ratify.RegistryUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plain := &fakeVerifier{kind: "doc", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
				if e.Digest == piece("doc", 0).Digest {
					return ratify.Result{Passed: true, Made: now.Add(-time.Hour)}, nil
				}
				return tc.result, tc.err
			}}
			var v ratify.Verifier = plain
			if tc.documents {
				v = fakeDocuments{plain, ratify.PiecesAny, true}
			}
			for mode, code := range map[ratify.Pieces]ratify.Code{ratify.PiecesAll: tc.code, ratify.PiecesAny: ratify.Verified} {
				w := newWorld(pieces("doc", 2), v)
				w.verifiers[0].Evidence = mode
				if r, err := w.verify(t); r.Code != code {
					t.Errorf("%s: %s %q, want %s (%v)", mode, r.Code, r.Message, code, err)
				}
			}
		})
	}
}

// TestFinderOfSeveral: what a finder could not read may be what decides; what it found malformed is what a stranger left
// there.
func TestFinderOfSeveral(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error
		listed int
		code   ratify.Code
	}{
		{"unreadable", unavailable, 1, ratify.RegistryUnavailable},
		{"unreadable, nothing is listed", unavailable, 0, ratify.RegistryUnavailable},
		{"malformed", &ratify.Error{Code: ratify.EvidenceInvalid}, 1, ratify.Verified},
		{"malformed, nothing is listed", &ratify.Error{Code: ratify.EvidenceInvalid}, 0, ratify.EvidenceInvalid},
		{"past a bound", &ratify.Error{Code: ratify.LimitExceeded}, 1, ratify.LimitExceeded},
		{"past a bound, nothing is listed", &ratify.Error{Code: ratify.LimitExceeded}, 0, ratify.LimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := fakeFinder{&fakeVerifier{kind: "doc", verify: look(pass, nil)}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
				return nil, tc.err
			}}
			w := newWorld(pieces("doc", tc.listed), v)
			w.verifiers[0].Evidence = ratify.PiecesAll
			if r, err := w.verify(t); r.Code != tc.code {
				t.Errorf("%s %q, want %s (%v)", r.Code, r.Message, tc.code, err)
			}
		})
	}
}

// TestPiecesBeyondTheBound: what was not read may refuse where all decide, or be newer; what was read and refuses is the
// reason all the same.
func TestPiecesBeyondTheBound(t *testing.T) {
	for _, tc := range []struct {
		name  string
		mode  ratify.Pieces
		badAt int // -1: nowhere
		count int
		code  ratify.Code
	}{
		{"any", ratify.PiecesAny, -1, ratify.MaxEvidence + 1, ratify.Verified},
		{"all, within", ratify.PiecesAll, -1, ratify.MaxEvidence, ratify.Verified},
		{"all, beyond", ratify.PiecesAll, -1, ratify.MaxEvidence + 1, ratify.LimitExceeded},
		{"all, beyond, one of those read refuses", ratify.PiecesAll, 7, ratify.MaxEvidence + 1, ratify.VulnerabilityFound},
		{"newest, within", ratify.PiecesNewest, -1, ratify.MaxEvidence, ratify.Verified},
		{"newest, beyond", ratify.PiecesNewest, -1, ratify.MaxEvidence + 1, ratify.LimitExceeded},
		{"newest, beyond, the newest of those read refuses", ratify.PiecesNewest, ratify.MaxEvidence - 1, ratify.MaxEvidence + 1, ratify.VulnerabilityFound},
		{"newest, beyond, an old one refuses", ratify.PiecesNewest, 0, ratify.MaxEvidence + 1, ratify.LimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			evidence, script := pieces("doc", tc.count), map[digest.Digest]dated{}
			for i, e := range evidence {
				script[e.Digest] = dated{good, i + 1}
				if i == tc.badAt {
					script[e.Digest] = dated{bad, i + 1}
				}
			}
			w := newWorld(evidence, datedVerifier(script))
			w.verifiers[0].Evidence = tc.mode
			if r, err := w.verify(t); r.Code != tc.code {
				t.Errorf("%s %q, want %s (%v)", r.Code, r.Message, tc.code, err)
			}
		})
	}
}

// TestDefaultPiecesAreTheVerifiers: without a word in the configuration, a document verifier says which pieces decide.
func TestDefaultPiecesAreTheVerifiers(t *testing.T) {
	evidence := pieces("doc", 2)
	script := map[digest.Digest]dated{evidence[0].Digest: {good, 9}, evidence[1].Digest: {bad, 1}}
	for mode, code := range map[ratify.Pieces]ratify.Code{ratify.PiecesAny: ratify.Verified, ratify.PiecesAll: ratify.VulnerabilityFound, ratify.PiecesNewest: ratify.Verified} {
		v := datedVerifier(script)
		v.pieces = mode
		if r, err := newWorld(evidence, v).verify(t); r.Code != code {
			t.Errorf("%s: %s, want %s (%v)", mode, r.Code, code, err)
		}
	}
}

// TestNewestEndsWithTheFirstOfTheNewest: pieces of one instant must all pass, so the one that ends first ends it.
func TestNewestEndsWithTheFirstOfTheNewest(t *testing.T) {
	ends := []time.Duration{time.Minute, 3 * time.Hour, 2 * time.Hour, 0}
	made := []time.Duration{-9 * time.Hour, -time.Hour, -time.Hour, -time.Hour}
	for mode, want := range map[ratify.Pieces]time.Duration{ratify.PiecesAny: 24 * time.Hour, ratify.PiecesAll: time.Minute, ratify.PiecesNewest: 2 * time.Hour} {
		evidence := pieces("doc", len(ends))
		v := fakeDocuments{&fakeVerifier{kind: "doc", verify: func(_ context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			i := slices.IndexFunc(evidence, func(d ocispec.Descriptor) bool { return d.Digest == e.Digest })
			result := ratify.Result{Passed: true, Made: now.Add(made[i])}
			if ends[i] > 0 {
				result.NotAfter = now.Add(ends[i])
			}
			return result, nil
		}}, mode, true}
		// Only a rule has all pieces of any examined.
		e := newEngine(t, ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: v}},
			Policies: []ratify.Policy{{Name: "p", Scopes: []string{"*"}, Verifiers: []string{"v"}, Rule: "true"}}, CompileRule: always(true)}, attached(map[digest.Digest][]ocispec.Descriptor{subjectDescriptor.Digest: evidence}))
		if r, err := ask(t, e, taggedKey); r.NotAfter != now.Add(want).Unix() {
			t.Errorf("%s: ends in %s, want %s (%v)", mode, time.Unix(r.NotAfter, 0).Sub(now), want, err)
		}
	}
}

// TestUnexaminedProvesNothing: a verifier whose pieces were left because another one had decided has not passed: it
// lengthens no verdict, and did not decide.
func TestUnexaminedProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read atomic.Int32
		all := &fakeVerifier{kind: "a", verify: func(ctx context.Context, _, e ocispec.Descriptor, _ ratify.Repository) (ratify.Result, error) {
			if e.Digest == piece("a", 0).Digest {
				read.Add(1)
				return pass, nil
			}
			<-ctx.Done()
			return ratify.Result{}, ctx.Err()
		}}
		one := &fakeVerifier{kind: "b", verify: func(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
			time.Sleep(time.Second)
			return ratify.Result{Passed: true, Code: ratify.Audited, NotAfter: now.Add(time.Hour)}, nil
		}}
		w := newWorld(append(pieces("a", 12), piece("b", 0)), all, one)
		w.verifiers[0].Evidence, w.require = ratify.PiecesAll, ratify.RequireAny
		r, err := w.verify(t)
		if read.Load() != 1 || r.Code != ratify.Audited || r.NotAfter != now.Add(time.Hour).Unix() || !slices.Equal(r.DecidedBy, []string{"b"}) {
			t.Errorf("%s by %q until %s (%v)", r.Code, r.DecidedBy, time.Unix(r.NotAfter, 0).UTC(), err)
		}
	})
}

// TestAbsenceIsAskedInAWorkerThatMayPanic: the process must survive it.
func TestAbsenceIsAskedInAWorkerThatMayPanic(t *testing.T) {
	judge := fakeJudge{&fakeVerifier{kind: "sig", verify: look(ratify.Result{}, ratify.ErrOtherKind)}, func(ratify.Subject) (ratify.Result, bool) { panic("boom") }}
	var told atomic.Int32
	w := newWorld(pieces("sig", 3), judge)
	w.onPanic = func(string, any, []byte) { told.Add(1) }
	if r, err := w.verify(t); r.Code != ratify.Internal || err == nil || told.Load() != 1 {
		t.Errorf("%s, %d panics told (%v)", r.Code, told.Load(), err)
	}
}
