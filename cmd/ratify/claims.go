package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

const (
	bundleTypePrefix    = "application/vnd.dev.sigstore.bundle"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
	// fulcioIssuer is the certificate extension that names the OpenID Connect issuer (Fulcio's OID 1.8, a DER string).
	fulcioIssuer = "1.3.6.1.4.1.57264.1.8"
)

// claims are what a Sigstore bundle says of itself. Nobody has verified any of it.
type claims struct {
	PredicateType string `json:"predicateType,omitempty"`
	KeyHint       string `json:"keyHint,omitempty"`
	Identity      string `json:"certificateIdentity,omitempty"`
	Issuer        string `json:"certificateIssuer,omitempty"`
}

// claim reads what the bundles among the artifacts say of themselves, where nobody said whom to trust. What cannot be read,
// or is past the bounds, says nothing.
func (i *inspector) claim(ctx context.Context, artifacts []*referrer) {
	left := maxInspected
	for _, r := range artifacts {
		if left > 0 && strings.HasPrefix(r.ArtifactType, bundleTypePrefix) {
			left--
			ratify.Progress(ctx, "reading bundle "+plain(string(r.Digest)))
			r.Unverified = i.claimsOf(ctx, r.descriptor())
		}
	}
}

func (i *inspector) claimsOf(ctx context.Context, evidence ocispec.Descriptor) *claims {
	manifest, err := ratify.ReadEvidence(ctx, i.repo, i.subject, evidence, 1, evidence.ArtifactType)
	if err != nil {
		return nil
	}
	c := &claims{PredicateType: manifest.Annotations[predicateAnnotation]}
	layer := manifest.Layers[0]
	if layer.Size > ratify.MaxEnvelopeBytes {
		return c
	}
	data, err := i.repo.Fetch(ctx, ocispec.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size})
	if err != nil {
		return c
	}
	type certificate struct {
		Raw []byte `json:"rawBytes"`
	}
	var bundle struct {
		Material struct {
			Key         struct{ Hint string }                 `json:"publicKey"`
			Certificate certificate                           `json:"certificate"`
			Chain       struct{ Certificates [1]certificate } `json:"x509CertificateChain"` // the leaf is the first
		} `json:"verificationMaterial"`
		Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
	}
	if json.Unmarshal(data, &bundle) != nil {
		return c
	}
	var statement struct{ PredicateType string }
	if json.Unmarshal(bundle.Envelope.Payload, &statement) == nil {
		c.PredicateType = cmp.Or(statement.PredicateType, c.PredicateType)
	}
	c.KeyHint = bundle.Material.Key.Hint
	for _, raw := range [][]byte{bundle.Material.Certificate.Raw, bundle.Material.Chain.Certificates[0].Raw} {
		if leaf, err := x509.ParseCertificate(raw); err == nil {
			c.Identity, c.Issuer = namesOf(leaf)
		}
	}
	return c
}

// namesOf are the identity that a certificate of minutes is for, and who vouched for it.
func namesOf(leaf *x509.Certificate) (identity, issuer string) {
	switch {
	case len(leaf.URIs) > 0:
		identity = leaf.URIs[0].String()
	case len(leaf.EmailAddresses) > 0:
		identity = leaf.EmailAddresses[0]
	}
	for _, extension := range leaf.Extensions {
		if extension.Id.String() != fulcioIssuer {
			continue
		}
		if rest, err := asn1.Unmarshal(extension.Value, &issuer); err != nil || len(rest) > 0 {
			issuer = ""
		}
	}
	return identity, issuer
}

// grow hangs the claims below a node.
func (c *claims) grow(n *node) {
	if c == nil || *c == (claims{}) {
		return
	}
	said := n.add("it says (not verified)")
	said.addField("predicate type", c.PredicateType)
	said.addField("key hint", c.KeyHint)
	said.addField("certificate identity", c.Identity)
	said.addField("certificate issuer", c.Issuer)
}
