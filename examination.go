package ratify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An examination is what is known while the evidence of one subject is examined under one policy.
type examination struct {
	engine  *Engine
	policy  *boundPolicy
	subject Subject // as it is verified
	mirror  *Mirror // whose rule that is; nil: none
	report  *Report

	found findings
	// What one subject may cost, shared by the examinations of its platforms and of proofs.
	budget *atomic.Int64 // of maxExaminations
	slots  chan struct{} // one for each piece that a verifier looks at

	mu        sync.Mutex
	standings []standing // one for each verifier of the policy
}

// A piece is one piece of evidence for one verifier.
type piece struct {
	verifier int
	rank     int // its place among the verifier's pieces
	evidence ocispec.Descriptor
}

// newExamination begins with the verifiers that ask for nothing here.
func newExamination(e *Engine, policy *boundPolicy, s Subject, report *Report) *examination {
	x := &examination{engine: e, policy: policy, subject: s, report: report, budget: &atomic.Int64{}, slots: make(chan struct{}, maxParallelEvidence), standings: make([]standing, len(policy.verifiers))}
	x.budget.Store(maxExaminations)
	for i, v := range policy.verifiers {
		x.standings[i].mode = v.pieces
		x.standings[i].left = 1 // that its evidence was looked for at all
		if skipper, ok := v.Verifier.(Skipper); ok && skipper.Skip(s) {
			if policy.proves {
				// A document that nobody looks at is not proven, or any stranger's would be.
				problem := &Error{Code: EvidenceUnproven, Message: "the policy asks for no verification here, and so proves no document"}
				x.standings[i] = standing{mode: v.pieces, settled: true, outcomes: []outcome{{report: x.failure(v, ocispec.Descriptor{}, problem)}}}
				continue
			}
			r := x.verifierReport(v, ocispec.Descriptor{}, Skipped, true)
			x.standings[i] = standing{mode: v.pieces, settled: true, outcomes: []outcome{{report: r, proven: true}}}
		}
	}
	return x
}

// within makes the examination a part of another one, at whose cost it is.
func (x *examination) within(whole *examination) *examination {
	x.budget, x.slots = whole.budget, whole.slots
	return x
}

// errSpent is told of what was not looked at because too much was before.
var errSpent = &Error{Code: LimitExceeded, Message: fmt.Sprintf("more than %d pieces of evidence, or lists of them, belong to the image, its platforms and its documents", maxExaminations)}

// spend takes what one step costs from the budget.
func (x *examination) spend() error {
	if x.budget.Add(-1) < 0 {
		return errSpent
	}
	return nil
}

func (x *examination) verdicts() []verdict {
	verdicts := make([]verdict, len(x.standings))
	for i := range x.standings {
		verdicts[i] = x.standings[i].verdict()
	}
	return verdicts
}

// decided tells whether more evidence is of no use. A rule sees the image, and all evidence that passed; an engine for
// looking has a use for everything.
func (x *examination) decided() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.settledVerdict() != unknown
}

func (x *examination) settledVerdict() verdict {
	v := x.policy.condition.decide(x.verdicts())
	open := x.found.subject.Digest == "" || slices.ContainsFunc(x.standings, func(s standing) bool { return s.left > 0 })
	if open && (x.engine.examineAll || v == passed && x.policy.rule != nil) {
		return unknown
	}
	return v
}

// examine hands the evidence to the verifiers, some pieces at the same time, until the policy is decided.
func (x *examination) examine(ctx context.Context, f findings, repo Repository) {
	if f.found == nil {
		f.found = x.askFinders(ctx, f.subject, repo)()
	}
	x.subject, x.found = x.subject.At(f.subject.Digest), f
	pieces := x.collect()
	for i := range x.standings {
		x.standings[i].tell(ctx, x.standings[i].outcomes)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(len(pieces)); i = next.Add(1) - 1 {
			x.examinePiece(ctx, pieces[i], repo)
			if x.decided() {
				cancel() // what is still under way is no longer needed
			}
		}
	}
	var workers sync.WaitGroup
	for range min(maxParallelEvidence, len(pieces)) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
}

// collect finds each verifier's evidence and judges those that have none. What is beyond the bound is told, not
// examined; the verifiers take turns, so that the evidence of one cannot crowd out another's.
func (x *examination) collect() []piece {
	var pieces []piece
	var exceeding []int // the verifiers with more than are examined of anybody's
	total := 0
	for i, v := range x.policy.verifiers {
		s := &x.standings[i]
		if s.settled {
			continue
		}
		s.left, s.limit = 0, x.found.limit
		m := x.evidenceFor(i)
		if m.err != nil {
			x.fail(s, v, ocispec.Descriptor{}, m.err, nil)
		}
		if len(m.evidence) == 0 && m.err == nil {
			x.judgeAbsence(s, v)
		}
		for rank, e := range m.evidence {
			pieces = append(pieces, piece{i, rank, e})
		}
		if total += len(m.evidence) + m.beyond; m.beyond > 0 {
			exceeding = append(exceeding, i)
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.rank - b.rank })
	if most := x.engine.maxEvidence(); total > most {
		for _, p := range pieces[min(most, len(pieces)):] {
			exceeding = append(exceeding, p.verifier)
		}
		for _, i := range exceeding {
			x.standings[i].limit = &Error{Code: LimitExceeded, Message: fmt.Sprintf(
				"%d pieces of evidence are attached, of which %d were examined", total, most)}
		}
		pieces = pieces[:min(most, len(pieces))]
	}
	for _, p := range pieces {
		x.standings[p.verifier].left++
		x.standings[p.verifier].pieces++
	}
	return pieces
}

// evidenceFor returns what a verifier matches of the referrers and of what it found for itself, each piece once.
func (x *examination) evidenceFor(i int) matched {
	listed, beside := x.found.attached.matched[i], x.found.found[i]
	if listed.err != nil || len(beside.evidence) == 0 {
		listed.err = cmp.Or(listed.err, beside.err)
		return listed
	}
	all := x.match(x.policy.verifiers[i], listed.evidence, beside.evidence)
	all.beyond += listed.beyond
	all.err = cmp.Or(all.err, beside.err)
	return all
}

// judgeAbsence decides for a verifier that has no evidence.
func (x *examination) judgeAbsence(s *standing, v boundVerifier) {
	if judge, ok := v.Verifier.(AbsenceJudge); ok {
		result, says, err := x.askAbout(judge)
		switch {
		case err != nil:
			x.fail(s, v, ocispec.Descriptor{}, err, nil)
			return
		case says:
			x.settle(s, v, ocispec.Descriptor{}, result, nil)
			return
		}
	}
	problem := &Error{Code: NoSignature, Message: NoSignature.Info().Message + ", only " + x.found.attached.kinds}
	_, isDocument := v.Verifier.(DocumentVerifier)
	switch {
	case s.limit != nil:
		problem = s.limit
	case len(s.others) > 0 && !isDocument:
		problem = &Error{Code: NoSignature, Message: NoSignature.Info().Message + ", only " + enumerate(s.others)}
	case len(s.others) > 0:
		problem = &Error{Code: PredicateMismatch, Message: PredicateMismatch.Info().Message + ", only " + enumerate(s.others) + wanted(v.Verifier)}
	case x.found.attached.count == 0:
		problem = &Error{Code: NoReferrers}
	}
	if advisor, ok := v.Verifier.(Advisor); ok && problem != s.limit {
		problem.Remedy = advisor.Missing()
	}
	s.outcomes = append(s.outcomes, outcome{report: x.failure(v, ocispec.Descriptor{}, problem)})
}

// wanted says which predicate types a verifier takes, where it does.
func wanted(v Verifier) string {
	seeker, ok := v.(PredicateSeeker)
	if !ok {
		return ""
	}
	return " (wanted: " + enumerate(seeker.PredicateTypes()) + ")"
}

// askAbout asks what absence means. It may be a worker that does, whose panic nobody else would contain.
func (x *examination) askAbout(judge AbsenceJudge) (result Result, says bool, err error) {
	defer x.engine.contain(x.report.TraceID, &err)
	result, says = judge.Absent(x.subject)
	return result, says, nil
}

// enumerate names the first few of a list, each once, in an order that is the same every time.
func enumerate(list []string) string {
	const most = 3
	var names []string
	for _, name := range list {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("%d other kinds", len(names)-most))
	}
	return strings.Join(names, ", ")
}

func (x *examination) examinePiece(ctx context.Context, p piece, repo Repository) {
	v := x.policy.verifiers[p.verifier]
	var result Result
	var proof *proof
	var err error
	examined := !x.decided()
	if examined {
		Progress(ctx, "verifying evidence with "+v.Name)
		result, proof, err = x.callVerifier(ctx, v, p.evidence, repo)
	}

	x.mu.Lock()
	defer x.mu.Unlock()
	s := &x.standings[p.verifier]
	defer func(known int) { s.tell(ctx, s.outcomes[known:]) }(len(s.outcomes))
	// What was ended because others had decided was not examined, either.
	ended := err != nil && ctx.Err() != nil && x.settledVerdict() != unknown
	if !examined || ended {
		// It stays left: what is not known of it must not make the verifier look as if all of its evidence were.
		s.outcomes = append(s.outcomes, outcome{report: x.verifierReport(v, p.evidence, NotExamined, false)})
		return
	}
	s.left--
	switch {
	case err == nil:
		x.settle(s, v, p.evidence, result, proof)
	case errors.Is(err, ErrOtherKind):
		s.pieces--
		if kind, told := strings.CutPrefix(err.Error(), ErrOtherKind.Error()+": "); told {
			s.others = append(s.others, Truncate(kind))
		}
		if s.pieces == 0 && s.problem == nil {
			x.judgeAbsence(s, v)
		}
	default:
		x.fail(s, v, p.evidence, err, proof)
	}
}

// fail takes an error into a standing: a definitive one is a refusal, any other leaves it open. Unless the evidence was
// proven before, a stranger can cause it.
func (x *examination) fail(s *standing, v boundVerifier, evidence ocispec.Descriptor, err error, p *proof) {
	problem := AsError(err)
	if problem == errSpent {
		s.limit = problem
	}
	if problem.Code.Definitive() {
		x.settle(s, v, evidence, Result{Unproven: true, Code: problem.Code, Message: problem.UserMessage(), Remedy: problem.UserRemedy()}, p)
		return
	}
	if s.problem == nil {
		s.problem = problem
	}
	o := outcome{report: x.failure(v, evidence, problem)}
	if p != nil {
		o.report.NestedReports = p.reports
	}
	s.outcomes = append(s.outcomes, o)
}

// callVerifier leaves time for the next piece if this one is stuck. A verifier whose evidence must be proven is asked once
// it is: what nobody vouches for is not even read.
func (x *examination) callVerifier(ctx context.Context, v boundVerifier, evidence ocispec.Descriptor, repo Repository) (result Result, p *proof, err error) {
	ctx, cancel := halfOfWhatIsLeft(ctx)
	defer cancel()
	defer x.engine.contain(x.report.TraceID, &err)
	if err := x.spend(); err != nil {
		return result, nil, err
	}
	if v.provers != nil {
		if p, err = x.prove(ctx, v, evidence, repo); err != nil || !p.proven {
			return p.refusal(), p, err
		}
		used := &proofs{}
		defer func() { p.end, p.fresh = used.bound(p.end, p.fresh) }()
		ctx = x.withProver(ctx, v, repo, used)
	}
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return result, p, ctx.Err()
	}
	ctx, done := withHolding(ctx)
	defer done()
	result, err = v.Verifier.Verify(ctx, x.found.subject, evidence, repo)
	return result, p, err
}

// settle takes a result into a standing; p is the proof of the evidence, where the verifier needs one.
func (x *examination) settle(s *standing, v boundVerifier, evidence ocispec.Descriptor, result Result, p *proof) {
	now := x.engine.now()
	if x.policy.proves && result.Passed && result.Code == Audited {
		result = Result{Unproven: true, Code: EvidenceUnproven, Message: "the policy only logs what is wrong here, and so proves no document", Extensions: result.Extensions}
	}
	if p != nil && p.proven {
		result.Unproven = false
		result.NotAfter, result.FreshUntil = earlier(result.NotAfter, p.end), earlier(result.FreshUntil, p.fresh)
	}
	if result.Passed && !result.NotAfter.IsZero() && !result.NotAfter.After(now) {
		// A verifier that says so contradicts itself; the safe reading is that it is over.
		result.Passed, result.Code, result.Message, result.Remedy = false, SignatureExpired, "", ""
	}
	result.Unproven = result.Unproven || v.anybodys(result.Code)
	if result.Unproven && result.Code == LimitExceeded && s.ofSeveral() && s.limit == nil {
		s.limit = &Error{Code: LimitExceeded, Message: result.Message} // what was not read may be what decides
	}
	o := outcome{proven: result.Passed || !result.Unproven, made: result.Made, end: result.NotAfter, fresh: result.FreshUntil}
	if result.Passed {
		code := Verified
		if result.Code == Audited {
			code = Audited
		}
		o.report = x.verifierReport(v, evidence, code, true)
		if result.Message != "" {
			o.report.Message = result.Message
		}
	} else {
		code := result.Code
		if !code.Definitive() {
			code = SignatureInvalid
		}
		o.report = x.failure(v, evidence, &Error{Code: code, Message: result.Message, Remedy: result.Remedy})
	}
	o.report.Extensions, o.claims = result.Extensions, result.Claims
	if p != nil {
		o.report.NestedReports = p.reports
	}
	s.outcomes = append(s.outcomes, o)
}

func (x *examination) verifierReport(v boundVerifier, evidence ocispec.Descriptor, code Code, success bool) VerifierReport {
	r := VerifierReport{
		Subject: x.subject.String(), IsSuccess: success, Name: v.Name, Type: v.Type,
		ArtifactType: Truncate(evidence.ArtifactType), Reference: digest.Digest(Truncate(evidence.Digest.String())),
		Code: code, Message: code.Info().Message,
	}
	return r
}

func (x *examination) failure(v boundVerifier, evidence ocispec.Descriptor, problem *Error) VerifierReport {
	r := x.verifierReport(v, evidence, problem.Code, false)
	r.Message, r.Remedy = problem.UserMessage(), problem.UserRemedy()
	return r
}

// decide writes the decision into the report. A refusal, and what could not be told, are returned as the *Error that
// says why.
func (x *examination) decide(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := range x.standings {
		// In the order of their names, whichever came first: the same evidence has the same reason each time.
		outcomes := x.standings[i].outcomes
		slices.SortStableFunc(outcomes, func(a, b outcome) int { return strings.Compare(string(a.report.Reference), string(b.report.Reference)) })
		for _, o := range outcomes {
			x.report.VerifierReports = append(x.report.VerifierReports, o.report)
		}
	}
	verdicts := x.verdicts()
	outcome := x.policy.condition.decide(verdicts)
	for _, i := range x.policy.condition.deciders(verdicts, outcome) {
		if outcome != unknown {
			x.report.DecidedBy = append(x.report.DecidedBy, x.policy.verifiers[i].Name)
		}
	}
	switch outcome {
	case passed:
		if err := x.obeysRule(ctx); err != nil {
			x.report.DecidedBy = nil // none of the verifiers did
			return err
		}
		x.pass(verdicts)
		return nil
	case refused:
		return x.reason(verdicts)
	default:
		return x.problem(verdicts)
	}
}

// problem is why the policy could not be decided.
func (x *examination) problem(verdicts []verdict) *Error {
	for i := range x.standings {
		if s := &x.standings[i]; verdicts[i] == unknown && s.problem != nil {
			return s.problem
		}
	}
	return &Error{Code: Internal, Err: errors.New("undecided without a reason")}
}

// obeysRule asks the policy's rule about the evidence that passed. What could not be read, or lies past a bound, might have
// changed its answer, whichever that is.
func (x *examination) obeysRule(ctx context.Context) error {
	if x.policy.rule == nil {
		return nil
	}
	for i := range x.standings {
		if problem := x.standings[i].problem; problem != nil {
			return problem
		}
	}
	for i := range x.standings {
		if limit := x.standings[i].limit; limit != nil {
			return &Error{Code: LimitExceeded, Message: limit.UserMessage() + ", and the policy's rule must see all"}
		}
	}
	claims := Claims{Subject: x.subject, MediaType: x.found.subject.MediaType}
	for i, v := range x.policy.verifiers {
		for o := range x.standings[i].decisive() { // what a newer document has taken the place of says nothing any more
			if o.passed() && o.report.Reference != "" { // without one it is no evidence: nothing was asked for, or is there
				facts := map[string]any{}
				maps.Copy(facts, o.report.Extensions)
				maps.Copy(facts, o.claims)
				claims.Evidence = append(claims.Evidence, Claim{Verifier: v.Name, Type: v.Type, ArtifactType: o.report.ArtifactType,
					Reference: o.report.Reference.String(), Code: o.report.Code, Facts: facts})
			}
		}
	}
	holds, err := x.policy.rule.Holds(ctx, claims)
	switch {
	case holds && err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return &Error{Code: RuleNotMet, Message: "the policy's rule could not be evaluated: " + Truncate(err.Error()), Err: err}
	default:
		return &Error{Code: RuleNotMet, Message: RuleNotMet.Info().Message + ": " + Quote(strings.Join(strings.Fields(x.policy.Rule), " "))}
	}
}

func (x *examination) pass(verdicts []verdict) {
	ends, without := make([]time.Time, len(x.standings)), slices.Clone(verdicts)
	code, fresh := Skipped, time.Time{}
	for i := range x.standings {
		s := &x.standings[i]
		if verdicts[i] != passed {
			continue
		}
		var until time.Time
		ends[i], until = s.validity()
		fresh = earlier(fresh, until)
		switch s.code() {
		case Audited:
			without[i] = refused
		case Verified:
			code = Verified
		}
	}
	// Verified is what does not rest on a verifier that only audits.
	if x.policy.condition.decide(without) != passed {
		code = Audited
	}
	end, _ := x.policy.condition.validity(verdicts, ends)
	x.report.FreshUntil = fresh
	x.report.Pass(code, earlier(end, x.engine.now().Add(defaultValidity)))
}

// nearness orders reasons by how near the evidence came to proving the image, the nearest first: somebody's foreign
// signature must not hide that one's own has expired.
var nearness = []Code{
	VulnerabilityFound, LicenseDisallowed, PackageDisallowed, EvidenceTooOld, ProvenanceMismatch,
	CertificateRevoked, CertificateExpired, SignatureExpired, TimestampInvalid, TransparencyInvalid, RevocationInfoAbsent, IdentityMismatch,
	PluginRequired, CertificateInvalid, SignatureInvalid, UntrustedSigner, EvidenceUnproven, SubjectMismatch, EvidenceInvalid,
}

const notEnough = ", and what was read does not prove the image"

// reason is why the policy refuses: of the refused verifiers' decisive outcomes, the one that came nearest.
func (x *examination) reason(verdicts []verdict) *Error {
	best, bestRank, failed := VerifierReport{Code: Internal}, len(nearness)+2, 0
	var limit *Error
	for _, i := range x.policy.condition.deciders(verdicts, refused) {
		s := &x.standings[i]
		if limit == nil && !s.refuses() {
			limit = s.limit
		}
		for o := range s.decisive() {
			if o.passed() {
				continue
			}
			if o.report.Reference != "" {
				failed++
			}
			rank := slices.Index(nearness, o.report.Code)
			if rank < 0 {
				rank = len(nearness)
			}
			if rank < bestRank {
				best, bestRank = o.report, rank
			}
		}
	}
	if limit != nil {
		return &Error{Code: LimitExceeded, Message: strings.TrimSuffix(limit.UserMessage(), notEnough) + notEnough}
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
