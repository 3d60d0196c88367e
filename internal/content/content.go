// Package content checks what stores read, for all of it was written by strangers: descriptors before anything is asked
// for, manifests after they were read, lists of referrers while they are read.
package content

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// CheckDescriptor refuses a descriptor that could not be read whatever is stored under it: with EVIDENCE_INVALID where it
// is malformed, with LIMIT_EXCEEDED where its size is beyond the bound of its kind.
func CheckDescriptor(desc ocispec.Descriptor) error {
	limit := int64(ratify.MaxDocumentBytes)
	if ratify.IsManifest(desc.MediaType) {
		limit = ratify.MaxManifestBytes
	}
	switch {
	case desc.Digest.Validate() != nil:
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "a descriptor has the digest " + ratify.Quote(desc.Digest.String()) + ", which is malformed or of an unknown algorithm"}
	case desc.Size < 0:
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: fmt.Sprintf("a descriptor has the size %d", desc.Size)}
	case desc.Size > limit:
		return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("%s has %d bytes, more than the bound of %d", desc.Digest, desc.Size, limit)}
	}
	return nil
}

// CheckSubject refuses a subject whose digest could not be looked for.
func CheckSubject(subject ocispec.Descriptor) error {
	if err := subject.Digest.Validate(); err != nil {
		return &ratify.Error{Code: ratify.BadReference, Message: "the digest " + ratify.Quote(subject.Digest.String()) + " is malformed or of an unknown algorithm", Err: err}
	}
	return nil
}

// HasMediaType tells whether a manifest says the media type of itself, or nothing.
func HasMediaType(manifest []byte, mediaType string) bool {
	var m struct {
		MediaType string `json:"mediaType"`
	}
	return json.Unmarshal(manifest, &m) == nil && (m.MediaType == "" || m.MediaType == mediaType)
}

// ReferrersTag is the tag under which the referrers of a digest are listed where there is no referrers API (distribution
// specification 1.1, "Referrers Tag Schema"): algorithm and digest, cut at 32 and 64 characters, so that the result is a
// tag for sha512 too.
func ReferrersTag(d digest.Digest) string {
	algorithm, encoded := d.Algorithm().String(), d.Encoded()
	return algorithm[:min(len(algorithm), 32)] + "-" + encoded[:min(len(encoded), 64)]
}
