// Package sigstore reads what the tools of Sigstore attach to images, and tells who signed it: cosign's signatures and
// attestations under tags, and bundles that are referrers, by public keys or by certificates that a Fulcio issued.
//
// It decides who signed, and that what was signed is about the subject; what an attestation says is for its verifier.
// Keys are checked with the standard library; certificates, transparency logs and timestamps by sigstore-go, with a
// trusted root that is read from a file: nothing here ever asks a network, and the only repository that it reads from is
// the one that it is handed. What was verified is remembered for the process (outcome.go). Begin at Trust, New,
// Verifier.Signature and Verifier.Statement.
package sigstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/ratify-provider/ratify"
)

// bundleTypes are the media types of Sigstore bundles in all their spellings, which are artifact types as well.
var bundleTypes = []string{
	"application/vnd.dev.sigstore.bundle.v0.3+json",
	"application/vnd.dev.sigstore.bundle+json;version=0.3",
	"application/vnd.dev.sigstore.bundle+json;version=0.2",
	"application/vnd.dev.sigstore.bundle+json;version=0.1",
}

// BundleType is the artifact type of the bundles that tools write today.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// SignPredicate is the predicate type of a statement that says nothing but that its subject is signed.
const SignPredicate = "https://sigstore.dev/cosign/sign/v1"

// Match tells whether the descriptor is of a bundle, or is one that FindSignatures or FindAttestations returned. An image
// manifest without an artifact type may be of a bundle; what it is shows when it is read. Whether a bundle holds a
// signature or an attestation shows then, too: what its annotations say of it is anybody's claim.
func (v *Verifier) Match(evidence ocispec.Descriptor) bool {
	switch typed(evidence).ArtifactType {
	case "":
		return evidence.MediaType == ocispec.MediaTypeImageManifest
	case mediaTypeSimpleSigning, mediaTypeEnvelope:
		return v.tags
	}
	return evidence.MediaType == ocispec.MediaTypeImageManifest && slices.Contains(bundleTypes, evidence.ArtifactType)
}

// typed is the descriptor without an artifact type that says nothing: some registries take the config's media type for it
// even where the manifest has one, and the config of a bundle is empty.
func typed(evidence ocispec.Descriptor) ocispec.Descriptor {
	if evidence.ArtifactType == ocispec.MediaTypeEmptyJSON {
		evidence.ArtifactType = ""
	}
	return evidence
}

// Signature verifies a signature of the subject, and tells whose it is: cosign's simple signing, a bundle with a signature
// over the subject's manifest, or a bundle with a statement of SignPredicate about it. A refusal is an *ratify.Error with
// a definitive code, and never says more than that nobody who is trusted has signed this subject here; see Refusal.
// An attestation is ratify.ErrOtherKind.
func (v *Verifier) Signature(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (Signer, error) {
	ratify.Progress(ctx, "reading a signature")
	blob, err := locate(ctx, subject, evidence, repo)
	if err != nil {
		return Signer{}, err
	}
	if blob.Size > ratify.MaxEnvelopeBytes && blob.attestation {
		return Signer{}, fmt.Errorf("%w: an attestation", ratify.ErrOtherKind)
	}
	data, err := read(ctx, blob, repo, ratify.MaxEnvelopeBytes)
	if err != nil {
		return Signer{}, err
	}
	outcome := v.outcome("signature", blob, data, subject)
	verify := func(manifest []byte) (Signer, error) {
		return v.shared.once(ctx, outcome, manifest, func() (Signer, error) { return v.signed(ctx, blob, data, subject, manifest) })
	}
	signer, err := verify(nil)
	if !errors.Is(err, errManifestNeeded) {
		return signer, err
	}
	manifest, err := repo.Fetch(ctx, subject)
	if err != nil {
		return Signer{}, err
	}
	return verify(manifest)
}

// errManifestNeeded says that what is signed is the subject's manifest, or its digest by another algorithm than the
// subject's own.
var errManifestNeeded = errors.New("the subject's manifest is needed")

// signed is Signature for evidence that was read. manifest is the subject's, and may be nil until it is needed.
func (v *Verifier) signed(ctx context.Context, b blob, data []byte, subject ocispec.Descriptor, manifest []byte) (Signer, error) {
	release, err := v.shared.hold(ctx, b.Size)
	if err != nil {
		return Signer{}, err
	}
	defer release()
	found, err := parse(b, data)
	if err != nil {
		return Signer{}, err
	}
	switch {
	case found.payload != nil:
		signer, err := v.verifyMessage(ctx, found.bundle, found.payload)
		if err != nil {
			return Signer{}, err
		}
		if err := checkPayload(found.payload, subject); err != nil {
			return Signer{}, err
		}
		return signer, nil
	case found.bundle.GetMessageSignature() != nil && manifest == nil:
		return Signer{}, errManifestNeeded
	case found.bundle.GetMessageSignature() != nil:
		return v.verifyMessage(ctx, found.bundle, manifest)
	}
	statement, err := parseStatement(found.bundle.GetDsseEnvelope())
	if err != nil {
		return Signer{}, err
	}
	if statement.PredicateType != SignPredicate {
		return Signer{}, fmt.Errorf("%w: an attestation of %s", ratify.ErrOtherKind, ratify.Quote(statement.PredicateType))
	}
	// Of attestations, whoever reads the predicate says which version of the statement it knows.
	if !slices.Contains([]string{"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"}, statement.Type) {
		return Signer{}, malformed("its statement is of the type %s, and v0.1 and v1 are known", ratify.Quote(statement.Type))
	}
	return v.verifyStatement(ctx, statement, subject, manifest, found.bundle)
}

// A Statement is an in-toto statement (https://github.com/in-toto/attestation, statement v0.1 and v1) that is proven to be
// about the subject, and to be signed.
type Statement struct {
	Type          string
	PredicateType string
	// Predicate is JSON, as it was signed; empty where there is none.
	Predicate json.RawMessage
}

// Statement verifies an attestation of the subject, and returns what it states and whose it is: a bundle with a statement,
// or a layer that FindAttestations returned. A subject of the statement must name the subject's digest by SHA-256 or
// stronger. Refusals are as for Signature; a signature is ratify.ErrOtherKind.
func (v *Verifier) Statement(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (*Statement, Signer, error) {
	ratify.Progress(ctx, "reading an attestation")
	blob, err := locate(ctx, subject, evidence, repo)
	if err != nil {
		return nil, Signer{}, err
	}
	data, err := read(ctx, blob, repo, ratify.MaxDocumentBytes)
	if err != nil {
		return nil, Signer{}, err
	}
	statement, signer, err := v.attested(ctx, blob, data, subject, nil)
	if !errors.Is(err, errManifestNeeded) {
		return statement, signer, err
	}
	manifest, err := repo.Fetch(ctx, subject)
	if err != nil {
		return nil, Signer{}, err
	}
	return v.attested(ctx, blob, data, subject, manifest)
}

// attested is Statement for evidence that was read. manifest is the subject's, and may be nil until it is needed.
func (v *Verifier) attested(ctx context.Context, b blob, data []byte, subject ocispec.Descriptor, manifest []byte) (*Statement, Signer, error) {
	release, err := v.shared.hold(ctx, b.Size)
	if err != nil {
		return nil, Signer{}, err
	}
	defer release()
	found, err := parse(b, data)
	if err != nil {
		return nil, Signer{}, err
	}
	envelope := found.bundle.GetDsseEnvelope()
	if envelope == nil {
		return nil, Signer{}, fmt.Errorf("%w: a signature", ratify.ErrOtherKind)
	}
	statement, err := parseStatement(envelope)
	if err != nil {
		return nil, Signer{}, err
	}
	if statement.PredicateType == SignPredicate {
		return nil, Signer{}, fmt.Errorf("%w: a signature", ratify.ErrOtherKind)
	}
	// Whoever is at the same statement already has memory for it, and waits for nothing.
	signer, err := v.shared.once(ctx, v.outcome("statement", b, data, subject), manifest, func() (Signer, error) {
		return v.verifyStatement(ctx, statement, subject, manifest, found.bundle)
	})
	if err != nil {
		return nil, Signer{}, err
	}
	return &statement.Statement, signer, nil
}

// Refusal makes a result of an error of Signature or Statement: where it looked and nobody trusted has signed, a refusal
// that decides nothing by itself, for a stranger may attach what he likes. Any other error stays one.
func Refusal(err error) (ratify.Result, error) {
	var refused *ratify.Error
	if !errors.As(err, &refused) || !refused.Code.Definitive() {
		return ratify.Result{}, err
	}
	return ratify.Result{Unproven: true, Code: refused.Code, Message: refused.UserMessage(), Remedy: refused.UserRemedy()}, nil
}

// verifyStatement verifies who signed the statement, and that it is about the subject. The error is errManifestNeeded where
// that cannot be told without the subject's manifest, and it is nil.
func (v *Verifier) verifyStatement(ctx context.Context, statement *statement, subject ocispec.Descriptor, manifest []byte, b *protobundle.Bundle) (Signer, error) {
	algorithm, sum, err := statement.find(subject, manifest)
	if err != nil {
		return Signer{}, err
	}
	envelope := b.GetDsseEnvelope()
	covered := newMessage(preAuthenticationEncoding(envelope.GetPayloadType(), envelope.GetPayload()))
	return v.verify(ctx, b, covered, verify.WithArtifactDigest(algorithm, sum))
}

// annotationPredicate is on a bundle's manifest, and a claim.
const annotationPredicate = "dev.sigstore.bundle.predicateType"

// A blob holds a piece of evidence.
type blob struct {
	ocispec.Descriptor
	attestation bool // its manifest says so
}

// locate tells which blob holds the evidence.
func locate(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (blob, error) {
	evidence = typed(evidence)
	switch evidence.ArtifactType {
	case mediaTypeSimpleSigning, mediaTypeEnvelope:
		return blob{Descriptor: evidence}, checkLayer(ctx, evidence, repo)
	}
	manifest, err := ratify.ReadEvidence(ctx, repo, subject, evidence, 1, bundleTypes...)
	if err != nil {
		return blob{}, err
	}
	layer := manifest.Layers[0]
	if !slices.Contains(bundleTypes, layer.MediaType) {
		return blob{}, malformed("its layer's media type is %s", ratify.Quote(layer.MediaType))
	}
	predicate := manifest.Annotations[annotationPredicate]
	return blob{Descriptor: layer, attestation: predicate != "" && predicate != SignPredicate}, nil
}

// evidence is what a piece of evidence holds, whichever way it was stored.
type evidence struct {
	bundle  *protobundle.Bundle
	payload []byte // of cosign's simple signing, which the bundle's signature covers
}

// read reads the evidence; of what is larger than limit bytes nothing is read. Only what identifies the blob goes on: a
// layer's URLs and inline data are not for following.
func read(ctx context.Context, b blob, repo ratify.Repository, limit int64) ([]byte, error) {
	if b.Size > limit {
		return nil, tooLarge("it has %d bytes, at most %d are read", b.Size, limit)
	}
	return repo.Fetch(ctx, ocispec.Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size})
}

// parse parses evidence that was read.
func parse(b blob, data []byte) (*evidence, error) {
	switch b.MediaType {
	case mediaTypeSimpleSigning, mediaTypeEnvelope:
		return parseLayer(b.Descriptor, data)
	}
	parsed, err := parseBundle(data)
	if err != nil {
		return nil, err
	}
	return &evidence{bundle: parsed}, nil
}

func malformed(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the evidence is malformed: " + fmt.Sprintf(format, args...)}
}

func tooLarge(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: "the evidence is larger than is read: " + fmt.Sprintf(format, args...)}
}
