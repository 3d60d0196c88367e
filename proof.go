package ratify

import (
	"context"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A proof is what the verifiers of signedBy say of a document, taken as a subject of its own.
type proof struct {
	proven     bool
	end, fresh time.Time
	reports    []VerifierReport
	why        *Error // where not proven
}

// refusal is the result for a document that is not proven. A nil proof, which comes with an error, has none.
func (p *proof) refusal() Result {
	if p == nil || p.why == nil {
		return Result{}
	}
	code := EvidenceUnproven
	if p.why.Code == LimitExceeded {
		// Its signature may be among what was not looked at: it must not be as if the document were not there.
		code = LimitExceeded
	}
	return Result{Unproven: true, Code: code, Message: EvidenceUnproven.Info().Message + ": " + strings.TrimSuffix(p.why.UserMessage(), notEnough)}
}

// prove verifies a document as a subject. Nothing deeper is followed: whoever is in signedBy has no signedBy himself, and so
// a document cannot, by any way around, vouch for itself, nor may he ask for proofs. An error means that it could not be told.
func (x *examination) prove(ctx context.Context, v boundVerifier, evidence ocispec.Descriptor, repo Repository) (*proof, error) {
	Progress(ctx, "proving a document for "+v.Name)
	ctx = context.WithValue(ctx, proofKey{}, nil)
	if !IsManifest(evidence.MediaType) || checkDescribed(evidence) != nil {
		return &proof{why: &Error{Code: NoSignature, Message: "it is no artifact that can be signed on its own"}}, nil
	}
	if err := x.spend(); err != nil {
		return nil, err
	}
	document := ocispec.Descriptor{MediaType: evidence.MediaType, Digest: evidence.Digest, Size: evidence.Size}
	report := &Report{TraceID: x.report.TraceID}
	nested := newExamination(x.engine, v.provers, x.subject.At(evidence.Digest), report).within(x)
	found, err := nested.search(ctx, document, repo)
	if err != nil {
		return nil, err
	}
	nested.examine(ctx, found, repo)
	err = nested.decide(ctx)
	p := &proof{proven: err == nil, fresh: report.FreshUntil, reports: report.VerifierReports}
	if err == nil {
		p.end = time.Unix(report.NotAfter, 0)
		// Its signers vouch for a digest. What else is said of it here is whose it is who lists it: a proven document, listed a
		// second time with another size, must not refuse the image.
		_, err = repo.Fetch(ctx, document)
		p.proven = err == nil
	}
	if err == nil {
		return p, nil
	}
	if p.why = AsError(err); !p.why.Code.Definitive() {
		return p, p.why
	}
	return p, nil
}

type proofKey struct{}

type proveFunc func(ctx context.Context, evidence ocispec.Descriptor) (bool, error)

// proofs are those that a verifier asked for beside that of the evidence itself: its result rests on them, too.
type proofs struct {
	mu   sync.Mutex
	list []*proof
}

func (p *proofs) add(another *proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, another)
}

// bound is until when all of them last, and what rests on them may be kept.
func (p *proofs) bound(end, fresh time.Time) (time.Time, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, another := range p.list {
		end, fresh = earlier(end, another.end), earlier(fresh, another.fresh)
	}
	return end, fresh
}

func (x *examination) withProver(ctx context.Context, v boundVerifier, repo Repository, used *proofs) context.Context {
	return context.WithValue(ctx, proofKey{}, proveFunc(func(ctx context.Context, evidence ocispec.Descriptor) (bool, error) {
		// The verifier waits for others, which need its place.
		<-x.slots
		defer func() { x.slots <- struct{}{} }()
		p, err := x.prove(ctx, v, evidence, repo)
		switch {
		case err != nil:
			return false, err
		case !p.proven && p.why.Code == LimitExceeded:
			return false, p.why
		case !p.proven:
			return false, nil
		}
		used.add(p)
		return true, nil
	}))
}

// Prove tells a verifier with signedBy whether another document of the subject, beside the one that it examines, is
// proven: whether one of the verifiers that signedBy names vouches for it. Without signedBy nothing is proven. An error
// means that it could not be told, or that so much is attached to the document that not all was looked at (LIMIT_EXCEEDED).
// It is for the goroutine in which the engine called Verify.
func Prove(ctx context.Context, evidence ocispec.Descriptor) (bool, error) {
	if prove, ok := ctx.Value(proofKey{}).(proveFunc); ok {
		return prove(ctx, evidence)
	}
	return false, nil
}
