package ratify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Engine decides about subjects. It is immutable and safe for concurrent use; a new configuration is a new Engine.
// It keeps no verdicts: whoever asks does.
type Engine struct {
	stores     scopeTable[Store]
	policies   policyTable
	mirrors    scopeTable[Mirror]
	exemptions []exemption
	tenancy    *Tenancy
	now        func() time.Time
	onPanic    func(traceID string, value any, stack []byte)
	examineAll bool
}

// maxEvidence is how many pieces of evidence are examined for one subject.
func (e *Engine) maxEvidence() int {
	if e.examineAll {
		return MaxReferrers
	}
	return MaxEvidence
}

// Resolve finds out which digest the subject has, from the bytes of its manifest. Errors are *Error.
func (e *Engine) Resolve(ctx context.Context, s Subject) (ocispec.Descriptor, error) {
	desc, _, err := e.Open(ctx, s)
	return desc, err
}

// Open resolves the subject and opens the repository that its evidence is in, for whoever wants to look for himself.
// Errors are *Error.
func (e *Engine) Open(ctx context.Context, s Subject) (desc ocispec.Descriptor, evidence Repository, err error) {
	defer func() {
		if err != nil {
			err = AsError(err)
		}
	}()
	defer e.contain("", &err)
	as, mirror, err := e.verifiedAs(s)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	subjectRepo, evidenceRepo, err := e.open(ctx, s, as, mirror)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc, err = resolve(ctx, subjectRepo, s)
	return desc, evidenceRepo, err
}

// Verify decides about the subject. The report is never nil. The error is nil if the subject is verified or refused;
// if it could not be told, the error is the *Error that says why, and the report says the same.
func (e *Engine) Verify(ctx context.Context, s Subject) (*Report, error) {
	return e.run(ctx, s, nil)
}

// VerifyResolved is Verify for a subject whose manifest Resolve has just described, and does not read it again.
func (e *Engine) VerifyResolved(ctx context.Context, s Subject, desc ocispec.Descriptor) (*Report, error) {
	return e.run(ctx, s.At(desc.Digest), &desc)
}

// Preliminary decides about the subject without reading anything, where that is possible: no policy applies, or the one
// that does asks for nothing. Otherwise it returns false, and the report is of no use.
func (e *Engine) Preliminary(s Subject) (*Report, bool) {
	report := e.NewReport(s)
	x, err := e.begin(s, report)
	switch {
	case err != nil:
		problem := AsError(err)
		e.conclude(s, report, problem)
		return report, problem.Code.Definitive() // Verify tells the others as the errors that they are
	case x == nil:
		return report, true
	case !x.decided():
		return nil, false
	}
	if err := x.decide(context.Background()); err != nil {
		e.conclude(s, report, AsError(err))
	}
	return report, true
}

func (e *Engine) run(ctx context.Context, s Subject, known *ocispec.Descriptor) (*Report, error) {
	report := e.NewReport(s)
	err := e.verify(ctx, s, known, report)
	if err == nil {
		return report, nil
	}
	problem := AsError(err)
	e.conclude(s, report, problem)
	if report.IsSuccess || problem.Code.Definitive() {
		return report, nil
	}
	return report, problem
}

// Conclude makes the report about a subject that whoever asks could not have verified, with the reason.
func (e *Engine) Conclude(s Subject, problem *Error) *Report {
	report := e.NewReport(s)
	e.conclude(s, report, problem.reason())
	return report
}

// conclude writes into the report why the subject is not verified; under a policy that only audits it is admitted.
func (e *Engine) conclude(s Subject, report *Report, problem *Error) {
	if e.Audits(s) {
		report.WouldFail(problem, e.now())
		return
	}
	report.Fail(problem)
}

// Audits tells whether the policy of the subject has the mode audit: then nothing that goes wrong keeps the image out.
// What has neither tag nor digest is no reference that was understood, and no policy is for it.
func (e *Engine) Audits(s Subject) bool {
	as, _, err := e.verifiedAs(s)
	if err != nil || s.Reference() == "" {
		return false
	}
	policy, err := e.policyFor(as)
	return err == nil && policy.Mode == ModeAudit
}

// LastKnownGood is how long after its verification the subject's policy admits it while it cannot be verified again; 0: it
// does not.
func (e *Engine) LastKnownGood(s Subject) time.Duration {
	as, _, err := e.verifiedAs(s)
	if err != nil {
		return 0
	}
	policy, err := e.policyFor(as)
	if err != nil {
		return 0
	}
	return time.Duration(policy.LastKnownGood)
}

// NewReport returns a report about the subject that says nothing yet, with a trace of its own.
func (e *Engine) NewReport(s Subject) *Report {
	report := &Report{
		Version: ReportVersion, Namespace: s.Namespace, Subject: s.String(), Digest: s.Digest,
		Timestamp: e.now().UTC().Truncate(time.Millisecond), TraceID: NewTraceID(),
		VerifierReports: []VerifierReport{},
	}
	as, mirror, err := e.verifiedAs(s)
	if err != nil || s.Reference() == "" {
		return report
	}
	if mirror != nil {
		report.VerifiedAs = as.Repository
	}
	if policy, err := e.policyFor(as); err == nil {
		report.Policy = policy.Name
	}
	return report
}

// verify fills the report with a decision. An error whose code is definitive is one, too.
func (e *Engine) verify(ctx context.Context, s Subject, known *ocispec.Descriptor, report *Report) (err error) {
	defer e.contain(report.TraceID, &err)
	x, err := e.begin(s, report)
	if err != nil || x == nil {
		return err
	}
	if x.decided() {
		return x.decide(ctx)
	}
	subjectRepo, evidenceRepo, err := e.open(ctx, s, x.subject, x.mirror)
	if err != nil {
		return err
	}
	found, err := x.look(ctx, s, known, subjectRepo, evidenceRepo)
	if found.subject.Digest != "" {
		s = s.At(found.subject.Digest)
		report.Subject, report.Digest = s.String(), s.Digest
		if e.exempt(report, s, x.subject.At(s.Digest)) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if x.policy.Platforms != "" && x.policy.Platforms != PlatformsIndex && isIndex(found.subject.MediaType) {
		return x.examinePlatforms(ctx, found, subjectRepo, evidenceRepo)
	}
	x.examine(ctx, found, evidenceRepo)
	return x.decide(ctx)
}

// begin finds the policy and asks its verifiers whether they want anything here at all. For a subject that is exempt, which
// the report then says, there is no examination.
func (e *Engine) begin(s Subject, report *Report) (x *examination, err error) {
	defer e.contain(report.TraceID, &err)
	as, mirror, err := e.verifiedAs(s)
	if err != nil {
		return nil, err
	}
	if e.exempt(report, s, as) {
		return nil, nil
	}
	policy, err := e.policyFor(as)
	if err != nil {
		return nil, err
	}
	x = newExamination(e, policy, as, report)
	x.mirror = mirror
	return x, nil
}

// open opens the repository of the subject, and the one that its evidence is in, which goes by the name that the subject
// is verified under.
func (e *Engine) open(ctx context.Context, s, as Subject, mirror *Mirror) (subject, evidence Repository, err error) {
	subject, evidence, err = e.openStore(ctx, s)
	if err == nil && mirror != nil && mirror.Evidence == EvidenceAtOrigin {
		_, evidence, err = e.openStore(ctx, as)
	}
	if err != nil {
		return nil, nil, err
	}
	name := subject.Name()
	if mirror != nil {
		name = as.Repository
	}
	return subject, named{evidence, name, "[" + s.Namespace + "]" + evidence.Name()}, nil
}

func (e *Engine) openStore(ctx context.Context, s Subject) (subject, evidence Repository, err error) {
	store, ok := e.stores.find(s.Repository)
	if !ok {
		return nil, nil, &Error{Code: NoStore, Message: "no store serves " + Quote(s.Repository)}
	}
	return store.Open(ctx, s)
}

// named is a repository that goes by the name the subject is verified under, wherever its evidence is.
type named struct {
	Repository
	name, place string
}

func (n named) Name() string { return n.name }

// Place is where the evidence is, and for which tenant it is read. A verifier that remembers what it found in a repository,
// or that something is not there, remembers it for this place alone.
func (n named) Place() string { return n.place }

// contain turns a panic into INTERNAL: no input may take the process down, or be taken for a pass (CVE-2023-25656).
func (e *Engine) contain(traceID string, err *error) {
	if value := recover(); value != nil {
		e.onPanic(traceID, value, debug.Stack())
		*err = &Error{Code: Internal, Err: fmt.Errorf("panic: %v", value)}
	}
}

// NewTraceID returns 16 random bytes in hexadecimal, as the W3C trace context has them.
func NewTraceID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, by its documentation
	return hex.EncodeToString(b[:])
}
