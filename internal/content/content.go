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
	switch {
	case desc.Digest.Validate() != nil:
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "a descriptor has the digest " + ratify.Quote(desc.Digest.String()) + ", which is malformed or of an unknown algorithm"}
	case desc.Size < 0:
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: fmt.Sprintf("a descriptor has the size %d", desc.Size)}
	case desc.Size > Bound(desc):
		return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("%s has %d bytes, more than the bound of %d", desc.Digest, desc.Size, Bound(desc))}
	}
	return nil
}

// Bound is how many bytes are read of what a descriptor of this kind leads to.
func Bound(desc ocispec.Descriptor) int64 {
	if ratify.IsManifest(desc.MediaType) {
		return ratify.MaxManifestBytes
	}
	return ratify.MaxDocumentBytes
}

// Check compares what is stored under a descriptor's digest, and has that digest, with the rest of the descriptor: its size,
// and the media type of a manifest; data may be nil where the size is not the descriptor's. A difference is
// EVIDENCE_INVALID, and no failure to read: whoever wrote the descriptor was wrong, and will be the next time. Anybody who
// may push can do so, for a registry that is given a manifest looks for the digests in it and not at the sizes.
func Check(desc ocispec.Descriptor, data []byte, size int64) error {
	switch {
	case size != desc.Size:
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: fmt.Sprintf("a descriptor says that %s has %d bytes, and it has %d", desc.Digest, desc.Size, size)}
	case ratify.IsManifest(desc.MediaType) && !HasMediaType(data, desc.MediaType):
		return &ratify.Error{Code: ratify.EvidenceInvalid, Message: fmt.Sprintf("a descriptor says that %s is of the media type %s, and it is not", desc.Digest, ratify.Quote(desc.MediaType))}
	}
	return nil
}

// TooLarge says that what is stored under a descriptor's digest goes on beyond the bound of its kind, whatever size the
// descriptor gives it. So nobody knows whether it has that digest; asking again would not tell, either.
func TooLarge(desc ocispec.Descriptor) error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("a descriptor says that %s has %d bytes, and it has more than the bound of %d", desc.Digest, desc.Size, Bound(desc))}
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
