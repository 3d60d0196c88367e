package ratify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An examination is what is known while the evidence of one subject is examined under one policy.
type examination struct {
	engine  *Engine
	policy  *boundPolicy
	subject Subject
	report  *Report

	found     findings
	mu        sync.Mutex
	standings []standing // one for each verifier of the policy
}

// A standing is what is known of one verifier. It passes as soon as one piece of its evidence does.
type standing struct {
	left    int // pieces not examined yet; those that nothing will be known of count, too
	pieces  int // pieces to examine
	others  int // pieces that turned out to be of another kind
	passed  bool
	problem *Error // why something could not be read
	limit   *Error // a bound that kept evidence from being read
	end     time.Time
	fresh   time.Time
	reports []VerifierReport
}

func (s *standing) verdict() verdict {
	switch {
	case s.passed:
		return passed
	case s.left > 0 || s.problem != nil:
		return unknown
	default:
		// Where a bound was reached, what was read does not prove the image, and asking again would read no more.
		return refused
	}
}

// code is how a verifier passed: by its best evidence.
func (s *standing) code() Code {
	code := Audited
	for _, r := range s.reports {
		if r.IsSuccess && r.Code != Audited {
			code = r.Code
		}
	}
	return code
}

// A piece is one piece of evidence for one verifier.
type piece struct {
	verifier int
	rank     int // its place among the verifier's pieces
	evidence ocispec.Descriptor
}

// newExamination begins with the verifiers that ask for nothing here.
func newExamination(e *Engine, policy *boundPolicy, s Subject, report *Report) *examination {
	x := &examination{engine: e, policy: policy, subject: s, report: report, standings: make([]standing, len(policy.verifiers))}
	for i, v := range policy.verifiers {
		x.standings[i].left = 1 // that its evidence was looked for at all
		if skipper, ok := v.Verifier.(Skipper); ok && skipper.Skip(s) {
			r := x.verifierReport(v, ocispec.Descriptor{}, Skipped, true)
			x.standings[i] = standing{passed: true, reports: []VerifierReport{r}}
		}
	}
	return x
}

func (x *examination) tally() (t tally) {
	for i := range x.standings {
		t.add(x.standings[i].verdict())
	}
	return t
}

func (x *examination) decided() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.policy.Require.decide(x.tally()) != unknown
}

// examine hands the evidence to the verifiers, some pieces at the same time, until the policy is decided.
func (x *examination) examine(ctx context.Context, f findings, repo Repository) {
	x.subject, x.found = x.subject.At(f.subject.Digest), f
	pieces := x.collect(ctx, repo)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan piece)
	var workers sync.WaitGroup
	for range min(maxParallelEvidence, len(pieces)) {
		workers.Go(func() {
			for p := range queue {
				x.examinePiece(ctx, p, repo)
				if x.decided() {
					cancel() // what is still under way is no longer needed
				}
			}
		})
	}
	for _, p := range pieces {
		queue <- p
	}
	close(queue)
	workers.Wait()
}

// collect finds each verifier's evidence and judges those that have none. What is beyond the bound is told, not
// examined; the verifiers take turns, so that the evidence of one cannot crowd out another's.
func (x *examination) collect(ctx context.Context, repo Repository) []piece {
	var pieces []piece
	for i, v := range x.policy.verifiers {
		s := &x.standings[i]
		if s.passed {
			continue
		}
		s.left, s.limit = 0, x.found.limit
		evidence, err := x.find(ctx, v, repo)
		if err != nil {
			x.fail(s, v, ocispec.Descriptor{}, err)
		}
		if len(evidence) == 0 && err == nil {
			x.judgeAbsence(s, v)
		}
		for rank, e := range evidence {
			pieces = append(pieces, piece{i, rank, e})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.rank - b.rank })
	if len(pieces) > MaxEvidence {
		for _, p := range pieces[MaxEvidence:] {
			x.standings[p.verifier].limit = &Error{Code: LimitExceeded, Message: fmt.Sprintf(
				"%d pieces of evidence are attached, of which %d were examined", len(pieces), MaxEvidence)}
		}
		pieces = pieces[:MaxEvidence]
	}
	for _, p := range pieces {
		x.standings[p.verifier].left++
		x.standings[p.verifier].pieces++
	}
	return pieces
}

func (x *examination) find(ctx context.Context, v NamedVerifier, repo Repository) (evidence []ocispec.Descriptor, err error) {
	defer x.engine.contain(x.report.TraceID, &err)
	seen := map[digest.Digest]bool{}
	add := func(list []ocispec.Descriptor) {
		for _, e := range list {
			if !seen[e.Digest] && v.Verifier.Match(e) {
				seen[e.Digest] = true
				evidence = append(evidence, e)
			}
		}
	}
	add(x.found.referrers)
	if finder, ok := v.Verifier.(Finder); ok {
		findCtx, cancel := halfOfWhatIsLeft(ctx)
		defer cancel()
		more, err := finder.Find(findCtx, x.found.subject, repo)
		if err != nil {
			return evidence, err
		}
		add(more)
	}
	return evidence, nil
}

// judgeAbsence decides for a verifier that has no evidence.
func (x *examination) judgeAbsence(s *standing, v NamedVerifier) {
	if judge, ok := v.Verifier.(AbsenceJudge); ok {
		if result, ok := judge.Absent(x.subject); ok {
			x.settle(s, v, ocispec.Descriptor{}, result)
			return
		}
	}
	switch {
	case s.limit != nil:
		s.reports = append(s.reports, x.failure(v, ocispec.Descriptor{}, s.limit))
	case len(x.found.referrers) == 0:
		s.reports = append(s.reports, x.failure(v, ocispec.Descriptor{}, &Error{Code: NoReferrers}))
	default:
		s.reports = append(s.reports, x.failure(v, ocispec.Descriptor{}, &Error{Code: NoSignature,
			Message: NoSignature.Info().Message + ", only " + kinds(x.found.referrers)}))
	}
}

// kinds names what is attached instead of what was looked for.
func kinds(referrers []ocispec.Descriptor) string {
	const most = 3
	var names []string
	for _, r := range referrers {
		name := "an artifact without a type"
		if r.ArtifactType != "" {
			name = Quote(r.ArtifactType)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d other kinds", len(names)-most))
	}
	return strings.Join(names, ", ")
}

func (x *examination) examinePiece(ctx context.Context, p piece, repo Repository) {
	v := x.policy.verifiers[p.verifier]
	var result Result
	var err error
	examined := !x.decided()
	if examined {
		Progress(ctx, "verifying evidence with "+v.Name)
		result, err = x.callVerifier(ctx, v, p.evidence, repo)
	}

	x.mu.Lock()
	defer x.mu.Unlock()
	s := &x.standings[p.verifier]
	// What was ended because others had decided was not examined, either.
	ended := err != nil && ctx.Err() != nil && x.policy.Require.decide(x.tally()) != unknown
	s.left--
	switch {
	case !examined, ended:
		s.reports = append(s.reports, x.verifierReport(v, p.evidence, NotExamined, false))
	case err == nil:
		x.settle(s, v, p.evidence, result)
	case errors.Is(err, ErrOtherKind):
		s.others++
		if s.others == s.pieces && s.problem == nil {
			x.judgeAbsence(s, v)
		}
	default:
		x.fail(s, v, p.evidence, err)
	}
}

// fail takes an error into a standing: a definitive one is a refusal, any other leaves it open.
func (x *examination) fail(s *standing, v NamedVerifier, evidence ocispec.Descriptor, err error) {
	problem := AsError(err)
	if s.problem == nil && !problem.Code.Definitive() {
		s.problem = problem
	}
	s.reports = append(s.reports, x.failure(v, evidence, problem))
}

// callVerifier leaves time for the next piece if this one is stuck.
func (x *examination) callVerifier(ctx context.Context, v NamedVerifier, evidence ocispec.Descriptor, repo Repository) (result Result, err error) {
	ctx, cancel := halfOfWhatIsLeft(ctx)
	defer cancel()
	defer x.engine.contain(x.report.TraceID, &err)
	return v.Verifier.Verify(ctx, x.found.subject, evidence, repo)
}

// settle takes a result into a standing.
func (x *examination) settle(s *standing, v NamedVerifier, evidence ocispec.Descriptor, result Result) {
	now := x.engine.now()
	if result.Passed && !result.NotAfter.IsZero() && !result.NotAfter.After(now) {
		// A verifier that says so contradicts itself; the safe reading is that it is over.
		result.Passed, result.Code, result.Message, result.Remedy = false, SignatureExpired, "", ""
	}
	if !result.Passed {
		code := result.Code
		if !code.Definitive() {
			code = SignatureInvalid
		}
		r := x.failure(v, evidence, &Error{Code: code, Message: result.Message, Remedy: result.Remedy})
		r.Extensions = result.Extensions
		s.reports = append(s.reports, r)
		return
	}
	if !s.passed || laterFirst(result.NotAfter, s.end) < 0 {
		s.end, s.fresh = result.NotAfter, result.FreshUntil
	}
	s.passed = true
	code := Verified
	if result.Code == Audited {
		code = Audited
	}
	r := x.verifierReport(v, evidence, code, true)
	r.Extensions = result.Extensions
	if result.Message != "" {
		r.Message = result.Message
	}
	s.reports = append(s.reports, r)
}

func (x *examination) verifierReport(v NamedVerifier, evidence ocispec.Descriptor, code Code, success bool) VerifierReport {
	r := VerifierReport{
		Subject: x.subject.String(), IsSuccess: success, Name: v.Name, Type: v.Type,
		ArtifactType: Truncate(evidence.ArtifactType), Reference: digest.Digest(Truncate(evidence.Digest.String())),
		Code: code, Message: code.Info().Message,
	}
	return r
}

func (x *examination) failure(v NamedVerifier, evidence ocispec.Descriptor, problem *Error) VerifierReport {
	r := x.verifierReport(v, evidence, problem.Code, false)
	r.Message, r.Remedy = problem.UserMessage(), problem.UserRemedy()
	return r
}

// decide writes the decision into the report. A refusal, and what could not be told, are returned as the *Error that
// says why.
func (x *examination) decide() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.standings {
		reports := x.standings[i].reports
		slices.SortStableFunc(reports, func(a, b VerifierReport) int { return strings.Compare(string(a.Reference), string(b.Reference)) })
		x.report.VerifierReports = append(x.report.VerifierReports, reports...)
	}
	switch x.policy.Require.decide(x.tally()) {
	case passed:
		x.pass()
		return nil
	case refused:
		return x.reason()
	default:
		for i := range x.standings {
			if s := &x.standings[i]; s.verdict() == unknown && s.problem != nil {
				return s.problem
			}
		}
		return &Error{Code: Internal, Err: errors.New("undecided without a reason")}
	}
}

func (x *examination) pass() {
	var ends []time.Time
	codes := map[Code]int{}
	for i := range x.standings {
		s := &x.standings[i]
		if !s.passed {
			continue
		}
		ends = append(ends, s.end)
		x.report.FreshUntil = earlier(x.report.FreshUntil, s.fresh)
		codes[s.code()]++
	}
	// Verified is what does not rest on a verifier that only audits.
	code := Skipped
	without := tally{passed: codes[Verified] + codes[Skipped], refused: len(x.standings) - codes[Verified] - codes[Skipped]}
	switch {
	case codes[Audited] > 0 && x.policy.Require.decide(without) != passed:
		code = Audited
	case codes[Verified] > 0:
		code = Verified
	}
	end := earlier(x.policy.Require.validity(ends), x.engine.now().Add(defaultValidity))
	x.report.IsSuccess, x.report.Succeeded, x.report.Code = true, true, code
	x.report.NotAfter = end.Unix()
	x.report.Message = code.Info().Message
}

// nearness orders reasons by how near the evidence came to proving the image, the nearest first: somebody's foreign
// signature must not hide that one's own has expired.
var nearness = []Code{
	CertificateRevoked, CertificateExpired, SignatureExpired, TimestampInvalid, RevocationInfoAbsent, IdentityMismatch,
	PluginRequired, CertificateInvalid, SignatureInvalid, UntrustedSigner, SubjectMismatch, EvidenceInvalid,
}

// reason is why the policy refuses: of the refused verifiers' reports, the one that came nearest.
func (x *examination) reason() *Error {
	best, bestRank, failed := VerifierReport{Code: Internal}, len(nearness)+2, 0
	var limit *Error
	for i := range x.standings {
		s := &x.standings[i]
		if s.verdict() != refused {
			continue
		}
		// Evidence that was left unexamined because the decision did not need it did not decide: nor did its number.
		if limit == nil && !slices.ContainsFunc(s.reports, func(r VerifierReport) bool { return r.Code == NotExamined }) {
			limit = s.limit
		}
		for _, r := range s.reports {
			if r.IsSuccess || r.Code == NotExamined {
				continue
			}
			if r.Reference != "" {
				failed++
			}
			rank := slices.Index(nearness, r.Code)
			if rank < 0 {
				rank = len(nearness)
			}
			if rank < bestRank {
				best, bestRank = r, rank
			}
		}
	}
	if limit != nil {
		return &Error{Code: LimitExceeded, Message: limit.UserMessage() + ", and none proves the image"}
	}
	e := &Error{Code: best.Code, Message: best.Message, Remedy: best.Remedy}
	if failed > 1 && best.Reference != "" {
		e.Message += fmt.Sprintf(" (the nearest of %d)", failed)
	}
	return e
}

// halfOfWhatIsLeft leaves time for the next piece, or the next verifier's evidence, if this one is stuck.
func halfOfWhatIsLeft(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}
