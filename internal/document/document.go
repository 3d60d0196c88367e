// Package document reads documents about an image (provenance, bills of materials, scans, statements of any kind) for the
// verifiers that judge what they say, and establishes who vouches for them.
//
// A document comes as an attestation, an in-toto statement signed by the keys or identities of the verifier's own settings
// (Source), or as a plain artifact attached to the image, which proves nothing by itself: the engine proves it before it
// comes here, by the verifiers that signedBy names. What a document says is not decided here. Begin at NewReader and
// Reader.Read.
package document

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/internal/strictjson"
)

// MaxSkew is how far the clocks of builders, scanners and signers may be ahead of ours, so that what they date is not in the
// future yet: clocks that are kept differ by seconds, and those that are not by minutes.
const MaxSkew = 5 * time.Minute

// A Source says whose documents are believed. It is embedded in the Config of each verifier of documents. The zero value
// believes nobody: then the verifier reads plain artifacts, and needs signedBy.
type Source struct {
	sigstore.Trust
}

// A Kind is what a verifier reads.
type Kind struct {
	// Name is what messages call it, such as "SPDX 2.3 JSON".
	Name string
	// ArtifactTypes are those of plain artifacts whose only layer is such a document, and the media types of that layer.
	ArtifactTypes []string
	// PredicateTypes are those of statements whose predicate is such a document. They are compared exactly.
	PredicateTypes []string
}

// A Document is one whose maker is known, and which is about the image.
type Document struct {
	// Kind is which of the reader's kinds it is.
	Kind Kind
	// Type is the predicate type, artifact type or media type by which it was found to be.
	Type string
	// Data is the predicate, or the blob. It is JSON that strictjson.Check accepts; a statement without a predicate has null.
	Data []byte
	// Made is when the signature was made, proven by a transparency log or timestamp within the minutes for which the
	// certificate of an identity is good; zero if nothing proves it. It always is for a key: whoever has the signature can
	// have it stamped again, so that a timestamp says before when it was made (Signer has it), and an old document could be
	// made to look new. There, what the signed document says of its age is all there is.
	Made time.Time
	// Signer are facts about the signer, fit for Result.Extensions; nil for a plain artifact, whose signers are in the
	// report that is nested in its own.
	Signer map[string]any
}

// A Reader reads the documents of some kinds. It is immutable and safe for concurrent use.
type Reader struct {
	kinds []Kind
	trust *sigstore.Verifier // nil: nobody is believed, all documents are proven beforehand
	tags  bool               // attestations are looked for under cosign's tag, too
}

// NewReader returns a reader of documents of the given kinds. All that is wrong with the source is in the error, a line
// each; set reads the files that it names, nil reads them all the same; shared is the process's, nil is one of its
// own.
func NewReader(s Source, set *files.Set, shared *sigstore.Shared, kinds ...Kind) (*Reader, error) {
	r := &Reader{kinds: kinds, tags: s.CosignTags}
	if s.IsZero() {
		return r, nil
	}
	var err error
	if r.trust, err = sigstore.New(s.Trust, set, shared); err != nil {
		return nil, err
	}
	return r, nil
}

// Proves tells whether the source proves who made a document, see ratify.DocumentVerifier.
func (r *Reader) Proves() bool { return r.trust != nil }

// Missing says how a document gets to an image, see ratify.Advisor.
func (r *Reader) Missing(what string) string {
	if r.trust != nil {
		return "attest " + what + " for this digest with a key or identity that the verifier trusts (cosign attest)"
	}
	return "attach " + what + " to this digest as an artifact, and sign that artifact as signedBy asks; of attestations, a verifier with keys or identities is needed"
}

// PredicateTypes are those of the attestations that are read, see ratify.PredicateSeeker.
func (r *Reader) PredicateTypes() []string {
	var types []string
	for _, kind := range r.kinds {
		types = append(types, kind.PredicateTypes...)
	}
	return types
}

// Warnings tells what of the source an operator may not have meant; maxAge is how long a document counts, 0 for ever. A tag
// has no memory: moved back to a collection without the newer documents, it shows an image as it once was, and only the age
// of what is left tells. The same holds for whoever may delete a referrer.
func (r *Reader) Warnings(maxAge time.Duration) (warnings []string) {
	if r.trust != nil {
		warnings = r.trust.Warnings()
	}
	if !r.tags || maxAge > 0 {
		return warnings
	}
	return append(warnings, "cosignTags without maxAge: whoever may push can take newer documents away by moving cosign's tag back, and where evidence is newest or all, older ones then decide; set maxAge")
}

// Match tells whether the descriptor may be of a document: by its artifact type, or because it has none. A plain document
// matches a source that believes somebody, too, so that the report says why it does not count.
func (r *Reader) Match(evidence ocispec.Descriptor) bool {
	return r.matchPlain(evidence) || r.trust != nil && r.trust.Match(evidence)
}

// Find returns the attestations that are not among the referrers, if the source asks for them.
func (r *Reader) Find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	if r.trust == nil {
		return nil, nil
	}
	return r.trust.FindAttestations(ctx, subject, repo)
}

// Read reads one document. Of the three results one is set: the document; or a refusal, to be returned by the verifier as
// it is, Unproven where a stranger could have caused it; or an error: what could not be read, or ratify.ErrOtherKind. For a
// proven statement of another predicate type, the text of that error names the type.
func (r *Reader) Read(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (*Document, *ratify.Result, error) {
	switch {
	case r.trust == nil:
		document, err := r.readPlain(ctx, subject, evidence, repo)
		if err != nil {
			return refuse(err, false)
		}
		return document, nil, nil
	case r.trust.Match(evidence):
		return r.readAttestation(ctx, subject, evidence, repo)
	}
	return nil, &ratify.Result{
		Code:     ratify.EvidenceUnproven,
		Message:  "a document of type " + ratify.Quote(evidence.ArtifactType) + " is attached as it is, and this verifier takes attestations that its keys or identities signed",
		Remedy:   "attest the document (cosign attest --predicate), or let a verifier without keys and identities of its own read it, with signedBy",
		Unproven: true,
	}, nil
}

func (r *Reader) readAttestation(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (*Document, *ratify.Result, error) {
	st, signer, err := r.trust.Statement(ctx, subject, evidence, repo)
	if err != nil {
		return refuse(err, true)
	}
	// From here on it is proven: what is wrong with it now is the signer's doing, and counts.
	document, err := r.fromProven(st)
	if err != nil {
		return refuse(err, false)
	}
	document.Signer = signer.Extensions()
	if signer.Key == "" {
		document.Made = signer.Time
	}
	return document, nil, nil
}

func (r *Reader) fromProven(st *sigstore.Statement) (*Document, error) {
	document, err := r.fromPredicate(st.PredicateType, st.Predicate)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(st.Type); err != nil {
		return nil, err
	}
	return document, strictjson.Check(document.Data)
}

// refuse makes a refusal of a definitive error. That the evidence belongs to another image is always as good as unproven:
// whoever may write to the registry's lists can claim so of a proven document.
func refuse(err error, unproven bool) (*Document, *ratify.Result, error) {
	var problem *ratify.Error
	if !errors.As(err, &problem) || !problem.Code.Definitive() {
		return nil, nil, err
	}
	return nil, &ratify.Result{
		Code: problem.Code, Message: problem.UserMessage(), Remedy: problem.UserRemedy(),
		Unproven: unproven || problem.Code == ratify.SubjectMismatch,
	}, nil
}

// otherPredicate is what Read returns for a statement that is of none of the kinds.
func otherPredicate(predicateType string) error {
	return fmt.Errorf("%w: an attestation of %s", ratify.ErrOtherKind, ratify.Quote(predicateType))
}

// byPredicate returns the kind that a predicate type belongs to.
func (r *Reader) byPredicate(predicateType string) (Kind, bool) {
	return r.kind(func(k Kind) bool { return slices.Contains(k.PredicateTypes, predicateType) })
}

// byType returns the kind that an artifact type or media type belongs to.
func (r *Reader) byType(artifactType string) (Kind, bool) {
	return r.kind(func(k Kind) bool { return slices.Contains(k.ArtifactTypes, artifactType) })
}

func (r *Reader) kind(match func(Kind) bool) (Kind, bool) {
	if i := slices.IndexFunc(r.kinds, match); i >= 0 {
		return r.kinds[i], true
	}
	return Kind{}, false
}

// silentTypes are artifact types that say nothing about what the artifact is: there the media type of its layer does. They
// are what clients write where nobody gave a type, and what OCI 1.1 takes from the config of older manifests.
var silentTypes = []string{"", ocispec.MediaTypeEmptyJSON, ocispec.MediaTypeImageConfig, "application/vnd.unknown.artifact.v1", "application/vnd.unknown.config.v1+json"}

// statementTypes are those under which statements are attached, bare or in a DSSE envelope: the payload's, the envelope's,
// and application/vnd.in-toto.<predicate>+dsse for each predicate that the in-toto attestation framework specifies.
var statementTypes = []string{
	sigstore.PayloadType, "application/vnd.dsse.envelope.v1+json",
	"application/vnd.in-toto.cyclonedx+dsse", "application/vnd.in-toto.link+dsse", "application/vnd.in-toto.provenance+dsse",
	"application/vnd.in-toto.reference+dsse", "application/vnd.in-toto.release+dsse", "application/vnd.in-toto.runtime-trace+dsse",
	"application/vnd.in-toto.scai+dsse", "application/vnd.in-toto.spdx+dsse", "application/vnd.in-toto.test-result+dsse",
	"application/vnd.in-toto.vsa+dsse", "application/vnd.in-toto.vuln+dsse", "application/vnd.in-toto.vulns+dsse",
}

func isStatementType(mediaType string) bool { return slices.Contains(statementTypes, mediaType) }

func (r *Reader) matchPlain(evidence ocispec.Descriptor) bool {
	if evidence.MediaType != ocispec.MediaTypeImageManifest {
		return false
	}
	_, known := r.byType(evidence.ArtifactType)
	return known || isStatementType(evidence.ArtifactType) || slices.Contains(silentTypes, evidence.ArtifactType)
}

// readPlain reads an artifact of one layer.
func (r *Reader) readPlain(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (*Document, error) {
	silent := slices.Contains(silentTypes, evidence.ArtifactType)
	accepted := append([]string{evidence.ArtifactType}, silentTypes...)
	if silent {
		accepted = append(r.acceptedTypes(), silentTypes...)
	}
	ratify.Progress(ctx, "reading a document")
	manifest, err := ratify.ReadEvidence(ctx, repo, subject, evidence, 1, accepted...)
	var problem *ratify.Error
	if silent && errors.As(err, &problem) && problem.Code == ratify.EvidenceInvalid {
		// Nothing said that it is a document, so that it is no malformed one.
		return nil, ratify.ErrOtherKind
	}
	if err != nil {
		return nil, err
	}
	layer := manifest.Layers[0]
	kind, found, err := r.plainKind(manifest.ArtifactType, layer.MediaType)
	if err != nil {
		return nil, err
	}
	if layer.Size > ratify.MaxDocumentBytes {
		return nil, tooMuch("it has %d bytes, more than %d", layer.Size, ratify.MaxDocumentBytes)
	}
	// Only what identifies the blob goes on: a layer's URLs and inline data are not for following.
	data, err := repo.Fetch(ctx, ocispec.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size})
	if err != nil {
		return nil, err
	}
	if isStatementType(found) {
		return r.fromStatement(data, subject)
	}
	if err := strictjson.Check(data); err != nil {
		return nil, err
	}
	return &Document{Kind: kind, Type: found, Data: data}, nil
}

func (r *Reader) acceptedTypes() []string {
	types := slices.Clone(statementTypes)
	for _, k := range r.kinds {
		types = append(types, k.ArtifactTypes...)
	}
	return types
}

// plainKind tells what an artifact is by its artifact type and by the media type of its layer: a statement wherever one of
// them says so, for a statement says itself what it holds; else the kind that either of them names.
func (r *Reader) plainKind(artifactType, mediaType string) (kind Kind, found string, err error) {
	if isStatementType(mediaType) {
		return Kind{}, mediaType, nil
	}
	byLayer, layerKnown := r.byType(mediaType)
	byArtifact, artifactKnown := r.byType(artifactType)
	switch {
	case layerKnown && artifactKnown && byLayer.Name != byArtifact.Name:
		return Kind{}, "", malformed("its artifact type is %s, and its layer's media type %s", ratify.Quote(artifactType), ratify.Quote(mediaType))
	case artifactKnown:
		return byArtifact, artifactType, nil
	case layerKnown:
		return byLayer, mediaType, nil
	case isStatementType(artifactType):
		return Kind{}, artifactType, nil
	}
	return Kind{}, "", ratify.ErrOtherKind
}

func (r *Reader) fromStatement(data []byte, subject ocispec.Descriptor) (*Document, error) {
	st, err := openStatement(data, subject)
	if err != nil {
		return nil, err
	}
	return r.fromPredicate(st.predicateType, st.predicate)
}

func (r *Reader) fromPredicate(predicateType string, predicate json.RawMessage) (*Document, error) {
	kind, ok := r.byPredicate(predicateType)
	if !ok {
		return nil, otherPredicate(predicateType)
	}
	if len(predicate) == 0 {
		predicate = json.RawMessage("null")
	}
	return &Document{Kind: kind, Type: predicateType, Data: predicate}, nil
}

func malformed(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the document is malformed: " + fmt.Sprintf(format, args...)}
}

func tooMuch(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: "the document is not read: " + fmt.Sprintf(format, args...)}
}
