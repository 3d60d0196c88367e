package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
)

// couldBeSignature tells by the descriptor alone whether an artifact may be a signature; in indexes under a fallback tag
// often only its manifest says (ratify.ErrOtherKind).
func couldBeSignature(r *referrer) bool {
	return r.ArtifactType == notation.ArtifactType || r.ArtifactType == "" && r.MediaType == ocispec.MediaTypeImageManifest
}

// readSignature reads a signature of the subject and says what is written in it. An error of a signature that could be
// read comes beside it.
func readSignature(ctx context.Context, repo ratify.Repository, subject, evidence ocispec.Descriptor) (*notation.Signature, error) {
	manifest, err := ratify.ReadEvidence(ctx, repo, subject, evidence, 1, notation.ArtifactType)
	if err != nil {
		return nil, err
	}
	layer := manifest.Layers[0]
	if layer.Size > ratify.MaxEnvelopeBytes {
		return nil, &ratify.Error{Code: ratify.EvidenceInvalid, Message: fmt.Sprintf("the signature has %d bytes, more than %d", layer.Size, ratify.MaxEnvelopeBytes)}
	}
	// Only what identifies the blob goes on: a layer's URLs and inline data are not for following.
	data, err := repo.Fetch(ctx, ocispec.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size})
	if err != nil {
		return nil, err
	}
	signature, err := notation.Describe(data, layer.MediaType)
	if err != nil {
		return nil, err
	}
	switch {
	case signature.Problem != "":
		return signature, &ratify.Error{Code: ratify.SignatureInvalid, Message: "the signature is not valid: " + plain(signature.Problem)}
	case signature.Target.Digest != subject.Digest:
		return signature, &ratify.Error{Code: ratify.SubjectMismatch, Message: "the signature is for another artifact, " + plain(string(signature.Target.Digest))}
	default:
		return signature, nil
	}
}

// growSignature hangs what a signature says below a node.
func growSignature(n *node, s *notation.Signature) {
	n.add("signature algorithm: %s", orNone(s.Algorithm))
	n.add("signature envelope type: %s", plain(s.MediaType))

	signed := n.add("signed attributes")
	signed.addField("content type", s.SignedAttributes.ContentType)
	signed.addField("signing scheme", s.SignedAttributes.SigningScheme)
	signed.addTime("signing time", s.SignedAttributes.SigningTime)
	signed.addTime("expiry", s.SignedAttributes.Expiry)
	signed.addMap(s.SignedAttributes.Extended)

	user := n.add("user defined attributes")
	user.addMap(s.UserMetadata)
	user.orEmpty()

	unsigned := n.add("unsigned attributes")
	unsigned.addField("signing agent", s.UnsignedAttributes.SigningAgent)
	if t := s.UnsignedAttributes.Timestamp; t != nil {
		stamp := unsigned.add("timestamp signature")
		stamp.addTime("timestamp", t.Time)
		stamp.addField("error", t.Problem)
		growCertificates(stamp, t.Certificates)
	}
	unsigned.orEmpty()

	growCertificates(n, s.Certificates)

	artifact := n.add("signed artifact")
	artifact.addField("media type", s.Target.MediaType)
	artifact.addField("digest", s.Target.Digest.String())
	artifact.add("size: %d", s.Target.Size)
}

func growCertificates(n *node, chain []notation.Certificate) {
	certificates := n.add("certificates")
	for _, c := range chain {
		one := certificates.add("SHA256 fingerprint: %s", c.Fingerprint)
		one.addField("issued to", c.IssuedTo)
		one.addField("issued by", c.IssuedBy)
		one.addTime("valid from", c.NotBefore)
		one.addTime("expiry", c.NotAfter)
	}
	certificates.orEmpty()
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return plain(s)
}

// addField adds a line for a value, if there is one.
func (n *node) addField(name, value string) {
	if value != "" {
		n.add("%s: %s", name, plain(value))
	}
}

func (n *node) addTime(name string, t time.Time) {
	if !t.IsZero() {
		n.add("%s: %s", name, t.Format(time.ANSIC))
	}
}

// maxShownAttributes bounds what a signature can fill the screen with.
const maxShownAttributes = 50

func (n *node) addMap(m map[string]string) {
	names := slices.SortedFunc(maps.Keys(m), strings.Compare)
	for i, name := range names {
		if i == maxShownAttributes {
			n.add("… and %d more", len(names)-i)
			return
		}
		n.add("%s: %s", plain(name), plain(m[name]))
	}
}

// orEmpty says that there is nothing below a node.
func (n *node) orEmpty() {
	if len(n.children) == 0 {
		n.add("(empty)")
	}
}
