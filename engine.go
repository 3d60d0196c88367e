package ratify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// An Engine decides about subjects. It is immutable and safe for concurrent use; a new configuration is a new Engine.
// It keeps no verdicts: whoever asks does.
type Engine struct {
	stores   scopeTable[Store]
	policies scopeTable[*boundPolicy]
	now      func() time.Time
	onPanic  func(traceID string, value any, stack []byte)
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
	subjectRepo, evidenceRepo, err := e.open(ctx, s)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	desc, err = resolve(ctx, subjectRepo, s)
	return desc, named{evidenceRepo, subjectRepo.Name()}, err
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
	if err != nil {
		problem := AsError(err)
		report.Fail(problem)
		return report, problem.Code.Definitive() // Verify tells the others as the errors that they are
	}
	if !x.decided() {
		return nil, false
	}
	if err := x.decide(); err != nil {
		report.Fail(AsError(err))
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
	report.Fail(problem)
	if problem.Code.Definitive() {
		return report, nil
	}
	return report, problem
}

// NewReport returns a report about the subject that says nothing yet, with a trace of its own.
func (e *Engine) NewReport(s Subject) *Report {
	name := ""
	if policy, ok := e.policies.find(s.Repository); ok && s.Reference() != "" {
		name = policy.Name
	}
	return &Report{
		Policy:  name,
		Version: ReportVersion, Subject: s.String(), Digest: s.Digest,
		Timestamp: e.now().UTC().Truncate(time.Millisecond), TraceID: NewTraceID(),
		VerifierReports: []VerifierReport{},
	}
}

// verify fills the report with a decision. An error whose code is definitive is one, too.
func (e *Engine) verify(ctx context.Context, s Subject, known *ocispec.Descriptor, report *Report) (err error) {
	defer e.contain(report.TraceID, &err)
	x, err := e.begin(s, report)
	if err != nil {
		return err
	}
	if x.decided() {
		return x.decide()
	}
	subjectRepo, evidenceRepo, err := e.open(ctx, s)
	if err != nil {
		return err
	}
	found, err := e.look(ctx, s, known, subjectRepo, evidenceRepo, report.TraceID)
	if found.subject.Digest != "" {
		s = s.At(found.subject.Digest)
		report.Subject, report.Digest = s.String(), s.Digest
	}
	if err != nil {
		return err
	}
	x.examine(ctx, found, named{evidenceRepo, subjectRepo.Name()})
	return x.decide()
}

// begin finds the policy and asks its verifiers whether they want anything here at all.
func (e *Engine) begin(s Subject, report *Report) (x *examination, err error) {
	defer e.contain(report.TraceID, &err)
	policy, ok := e.policies.find(s.Repository)
	if !ok {
		return nil, &Error{Code: NoPolicy, Message: "no policy applies to " + Quote(s.Repository)}
	}
	return newExamination(e, policy, s, report), nil
}

func (e *Engine) open(ctx context.Context, s Subject) (subject, evidence Repository, err error) {
	store, ok := e.stores.find(s.Repository)
	if !ok {
		return nil, nil, &Error{Code: NoStore, Message: "no store serves " + Quote(s.Repository)}
	}
	return store.Open(ctx, s)
}

// findings are what a subject is and what is attached to it. Of what lies past a bound, limit tells.
type findings struct {
	subject   ocispec.Descriptor
	referrers []ocispec.Descriptor
	limit     *Error
}

// look resolves the subject and lists its referrers, at the same time where the digest is known beforehand.
func (e *Engine) look(ctx context.Context, s Subject, known *ocispec.Descriptor, subjectRepo, evidenceRepo Repository, traceID string) (f findings, err error) {
	if known != nil || s.Digest == "" {
		if known == nil {
			desc, err := resolve(ctx, subjectRepo, s)
			if err != nil {
				return f, err
			}
			known = &desc
		} else if err := checkDescribed(*known); err != nil {
			return f, err
		}
		f.subject = *known
		f.referrers, f.limit, err = list(ctx, evidenceRepo, f.subject)
		return f, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listed := make(chan error, 1)
	go func() {
		var err error
		defer func() { listed <- err }()
		defer e.contain(traceID, &err)
		f.referrers, f.limit, err = list(ctx, evidenceRepo, ocispec.Descriptor{Digest: s.Digest})
	}()
	desc, err := resolve(ctx, subjectRepo, s)
	if err != nil {
		cancel() // without the subject its referrers are of no use
	}
	listErr := <-listed
	f.subject = desc
	if err != nil {
		return f, err
	}
	return f, listErr
}

func resolve(ctx context.Context, repo Repository, s Subject) (ocispec.Descriptor, error) {
	Progress(ctx, "reading the image's manifest")
	desc, err := repo.Resolve(ctx, s.Reference())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := checkDescribed(desc); err != nil {
		return ocispec.Descriptor{}, err
	}
	if s.Digest != "" && desc.Digest != s.Digest {
		return ocispec.Descriptor{}, &Error{Code: RegistryInvalid, Message: "the registry answered another manifest than the digest asked for"}
	}
	return desc, nil
}

// checkDescribed refuses a descriptor that names no content: evidence with an equally empty subject would be for it.
func checkDescribed(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return &Error{Code: Internal, Err: fmt.Errorf("the subject's descriptor has the digest %s: %w", Quote(desc.Digest.String()), err)}
	}
	return nil
}

// list lists the referrers up to the bound. A bound that was reached is no error here: what was read may be enough.
func list(ctx context.Context, repo Repository, subject ocispec.Descriptor) ([]ocispec.Descriptor, *Error, error) {
	Progress(ctx, "listing the image's referrers")
	referrers, err := repo.Referrers(ctx, subject)
	var e *Error
	if errors.As(err, &e) && e.Code == LimitExceeded {
		return referrers[:min(len(referrers), MaxReferrers)], e, nil
	}
	if err == nil && len(referrers) > MaxReferrers {
		return referrers[:MaxReferrers], &Error{Code: LimitExceeded, Message: fmt.Sprintf("more than %d artifacts are attached", MaxReferrers)}, nil
	}
	return referrers, nil, err
}

// named is a repository that goes by the name the subject is verified under, wherever its evidence is.
type named struct {
	Repository
	name string
}

func (n named) Name() string { return n.name }

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
