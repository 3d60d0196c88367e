// Package ratify decides whether an image may run: whether somebody the operator trusts vouches for it.
//
// It holds the vocabulary (Subject, Store, Repository, Verifier, Result, Report, Policy, Error) and the pipeline
// (Engine): resolve a reference to a digest, list its referrers, let verifiers examine them, decide by policy.
// It reads nothing from a network or a disk by itself: stores do (store/oras, store/ocilayout), and what one kind of
// evidence means is known by its verifier (verifier/notation). Protocols are on top of it (provider, cmd/ratify).
//
// Three outcomes are kept apart all the way: verified; refused (all that the policy needs was read, and it is not good
// enough); could not tell (something needed could not be read). Begin at Engine.Verify.
package ratify

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Store is where subjects and their evidence are read: a registry client, an OCI layout on disk.
type Store interface {
	// Open returns the repository of the subject, and the one in which its evidence is: the same one unless the store
	// is configured otherwise. It does no I/O that a context deadline does not bound. Errors are *Error where the user
	// can do something about them.
	Open(ctx context.Context, s Subject) (subject, evidence Repository, err error)
}

// A Repository is one repository and nothing else, so that a verifier cannot read from elsewhere.
// Every read is bounded, and checked against its descriptor before a byte of it is returned.
// Implementations are safe for concurrent use. Errors are *Error; see Code for which are definitive.
type Repository interface {
	// Name is the canonical name under which the subject is verified: host/path, no tag, no digest. Trust policies
	// are chosen by it.
	Name() string
	// Resolve reads the manifest behind a tag or a digest and computes digest, size and media type from its bytes.
	// What a header says is never evidence. A manifest that is not there is SUBJECT_NOT_FOUND.
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	// Referrers lists the artifacts whose subject is the given one, whatever their artifact type, in the order in which
	// the store gives them; of subject only the digest is needed. Nothing attached is an empty list, no error. Where
	// there are more than MaxReferrers, or more pages than are read, what was read comes with the error LIMIT_EXCEEDED.
	// The descriptors are claims: ReadEvidence checks them.
	Referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error)
	// Fetch reads a manifest or a blob whole. Its size, digest and, for manifests, media type are those of desc,
	// or there is an error. A desc.Size beyond the bound of its kind (MaxManifestBytes, MaxDocumentBytes), negative, or
	// a digest of an unknown algorithm is refused before anything is asked.
	Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
}

// A Verifier checks one kind of evidence. It is immutable and safe for concurrent use.
type Verifier interface {
	// Match tells, by the descriptor alone, whether the evidence is of the kind that this verifier examines.
	Match(evidence ocispec.Descriptor) bool
	// Verify examines one piece of evidence for the subject; repo.Name() is the name the subject is verified under.
	// A Result means that it looked. An error means that it could not look, unless it is an *Error with a
	// definitive code, which the engine takes as a refusal with that code; one that a stranger could have caused (see
	// Result.Unproven), unless the evidence was proven beforehand, by signedBy.
	Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo Repository) (Result, error)
}

// A Finder is a Verifier whose evidence is not only among the referrers (signatures kept under a tag, say).
type Finder interface {
	// Find looks for it. Of subject only the digest is known for certain: Find is called beside Repository.Referrers, it may
	// be before the subject was read, or for one that turns out not to be there.
	Find(ctx context.Context, subject ocispec.Descriptor, repo Repository) ([]ocispec.Descriptor, error)
}

// A Skipper is a Verifier that may ask for nothing at all for some subjects (Notary Project's level skip).
// The engine then takes it as passed, with the code SKIPPED, and reads nothing for it.
type Skipper interface {
	Skip(s Subject) bool
}

// An AbsenceJudge is a Verifier that says itself what it means that no evidence of its kind is there
// (Notary Project's level audit enforces integrity only if a signature is present). Without it, absence is a refusal.
type AbsenceJudge interface {
	// Absent returns the result for a subject without evidence, and whether it has anything to say.
	Absent(s Subject) (Result, bool)
}

// Pieces says which of several pieces of evidence of one kind decide. Those that nobody who is trusted vouches for never do:
// whoever may write to a registry can attach what he likes.
type Pieces string

// The choices, as a configuration writes them.
const (
	// PiecesAny passes as soon as one piece does: one good signature is enough.
	PiecesAny Pieces = "any"
	// PiecesAll passes if there is a proven piece and every proven piece passes.
	PiecesAll Pieces = "all"
	// PiecesNewest passes if the proven piece with the latest Result.Made does: an old clean scan never beats a newer
	// dirty one. Of pieces with the same instant, and of those without a date, all must pass, too.
	PiecesNewest Pieces = "newest"
)

// A DocumentVerifier is a Verifier of documents, which say something about an image, and by themselves nothing about who
// says it.
type DocumentVerifier interface {
	Verifier
	// Documents returns which pieces decide where the configuration does not say, and whether the verifier proves by
	// itself who made a document (it has keys or identities of its own). One that does not needs signedBy.
	Documents() (pieces Pieces, proves bool)
}

// An Advisor is a Verifier that says what to do where none of its evidence is attached. Empty is what the code says.
type Advisor interface {
	Missing() (remedy string)
}

// A PredicateSeeker is a DocumentVerifier that names the predicate types of the attestations that it takes, for the message
// that there are only others.
type PredicateSeeker interface {
	PredicateTypes() []string
}

// A Result is what a verifier found in one piece of evidence. The zero value is a refusal.
type Result struct {
	Passed bool
	// Code is the reason of a refusal; where it is empty the engine says SIGNATURE_INVALID. Where Passed it is VERIFIED,
	// unless it says AUDITED: passed although something is wrong that the policy only logs.
	Code Code
	// Message says what was found, for the user; empty means the code's own. Text from outside in it must have gone
	// through Quote.
	Message string
	// Remedy says what to do; empty means the code's own.
	Remedy string
	// NotAfter is the earliest instant at which the same evidence could no longer verify: the end of a certificate that
	// no timestamp outlives, or of the signature. Zero: no end in sight. Ignored where not Passed.
	NotAfter time.Time
	// FreshUntil is until when this result may be kept: the end of the CRL or OCSP answer that it rests on.
	// Zero: no such answer. It bounds our own cache and nothing else.
	FreshUntil time.Time
	// Unproven says of a refusal that it is about who made the evidence and not about what it says: where all pieces
	// decide, or the newest, it is as if it were not there. A stranger's document can neither admit an image nor deny it.
	// So is each refusal of a Verifier that is no DocumentVerifier, for a signature says nothing but who made it, and one
	// with the code SUBJECT_MISMATCH. With LIMIT_EXCEEDED it is unread, and may be what decides.
	Unproven bool
	// Made is when the evidence came about, by a source that the verifier trusts; zero is not known. It matters where the
	// newest piece decides: one whose date is not known decides beside it.
	Made time.Time
	// Extensions are facts for the reader of the report, and what a policy's rule sees of evidence that passed: strings,
	// numbers, booleans, and lists and maps (by string) of them; text from outside in them must have gone through Truncate.
	Extensions map[string]any
	// Claims are what a rule sees beside Extensions: of the same types, and too much for a report.
	Claims map[string]any
}
