// Package sbom verifies bills of materials: whether what an image is made of is what the operator allows.
//
// It reads SPDX 2.3 and CycloneDX 1.4 to 1.6, in JSON, and judges licences, packages and age. Who vouches for a document
// is established before: by the keys or identities of the verifier's own settings, or by the engine (signedBy). What is
// not in a bill of materials nobody can judge; this package believes what is written there. Begin at New and
// Verifier.Verify.
package sbom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/document"
)

// A Verifier verifies bills of materials. It is immutable and safe for concurrent use. It implements
// ratify.DocumentVerifier and ratify.Finder.
type Verifier struct {
	reader *document.Reader
	rules  rules
	now    func() time.Time
}

var (
	_ ratify.DocumentVerifier = (*Verifier)(nil)
	_ ratify.Finder           = (*Verifier)(nil)
	_ ratify.PredicateSeeker  = (*Verifier)(nil)
	_ ratify.Advisor          = (*Verifier)(nil)
)

// Match tells whether the descriptor may be of a bill of materials.
func (v *Verifier) Match(evidence ocispec.Descriptor) bool { return v.reader.Match(evidence) }

// Find returns attestations that are not among the referrers, if the settings ask for them.
func (v *Verifier) Find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return v.reader.Find(ctx, subject, repo)
}

// Missing says what to do where there is none.
func (v *Verifier) Missing() string { return v.reader.Missing("a bill of materials") }

// PredicateTypes are those of the attestations that are taken.
func (v *Verifier) PredicateTypes() []string { return v.reader.PredicateTypes() }

// Documents tells that all bills of materials decide, unless the configuration says otherwise: each may list what the others
// left out, and one without the disallowed package must not hide one with it.
func (v *Verifier) Documents() (pieces ratify.Pieces, proves bool) {
	return ratify.PiecesAll, v.reader.Proves()
}

// Verify reads one bill of materials and judges it. What it finds wrong in a document that somebody who is trusted vouches
// for is a plain refusal, a malformed document included. Errors are those of reading.
func (v *Verifier) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	doc, refusal, err := v.reader.Read(ctx, subject, evidence, repo)
	switch {
	case err != nil:
		return ratify.Result{}, err
	case refusal != nil:
		return *refusal, nil
	}
	ratify.Progress(ctx, "judging a bill of materials")
	result := v.judge(doc)
	if !result.Passed {
		return result.Result, nil
	}
	other, err := otherImage(ctx, subject, result.images, repo)
	if err != nil {
		return ratify.Result{}, err
	}
	if other != "" {
		result.Passed, result.Code = false, ratify.SubjectMismatch
		result.Message = fmt.Sprintf("the bill of materials describes another image of the repository, %s", ratify.Quote(other))
	}
	return result.Result, nil
}

// otherImage returns the image that a document describes, if it is certainly another. A document is bound to its image by
// who attached it; what it says of itself is no binding: tools name the digest of an index for its platform, that of a
// platform for its index, and for an image that was not pushed yet one that no registry knows. So only a digest speaks
// against the document that is in this repository, and is an image where the subject is one, or an index where it is one.
func otherImage(ctx context.Context, subject ocispec.Descriptor, described []digest.Digest, repo ratify.Repository) (string, error) {
	// They are SHA-256: the same image may have been asked for by a digest of another algorithm.
	if subject.Digest.Algorithm() != digest.SHA256 || slices.Contains(described, subject.Digest) {
		return "", nil
	}
	for _, d := range described {
		found, err := repo.Resolve(ctx, d.String())
		var problem *ratify.Error
		switch {
		case errors.As(err, &problem) && problem.Code.Definitive():
			continue // it is not there, or it is no image
		case err != nil:
			return "", err
		case isIndex(found) == isIndex(subject):
			return d.String(), nil
		}
	}
	return "", nil
}

func isIndex(desc ocispec.Descriptor) bool {
	return desc.MediaType == ocispec.MediaTypeImageIndex || desc.MediaType == ratify.MediaTypeDockerManifestList
}
