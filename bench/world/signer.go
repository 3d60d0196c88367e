package world

import (
	"context"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A SignerKind is how images are signed.
type SignerKind string

// The kinds of signers.
const (
	// NotationRSA has a leaf of RSA-2048 under a root of RSA-3072: what companies' authorities issue.
	NotationRSA SignerKind = "notation-rsa"
	// NotationP256 has a leaf and a root of P-256: the cheapest to make, for very many images.
	NotationP256 SignerKind = "notation-p256"
	// CosignBundle signs with a key of P-256, as cosign 3 does: a bundle that is a referrer.
	CosignBundle SignerKind = "cosign-bundle"
	// CosignSig signs with a key of P-256, as cosign 1 and 2 do: under the tag sha256-….sig.
	CosignSig SignerKind = "cosign-sig"
	// Unsigned signs nothing.
	Unsigned SignerKind = "unsigned"
)

// A Signer signs images with a key of its own. It is safe for concurrent use.
type Signer struct {
	Kind   SignerKind
	attach func(subject ocispec.Descriptor, repository string) ([]piece, error)
	// root is the certificate that a trust store for it holds, key the public key; at most one is there.
	root, key []byte
}

// A piece is evidence: a manifest, under a tag or found among the referrers, and its blobs.
type piece struct {
	manifest   []byte
	descriptor ocispec.Descriptor
	tag        string
	blobs      [][]byte
}

// NewSigner makes keys and, for Notation, certificates.
func NewSigner(kind SignerKind) (*Signer, error) {
	switch kind {
	case NotationRSA:
		return newNotation(kind, notationtest.RSA3072, notationtest.RSA2048)
	case NotationP256:
		return newNotation(kind, notationtest.P256, notationtest.P256)
	case CosignBundle, CosignSig:
		return newCosign(kind)
	case Unsigned:
		return &Signer{Kind: kind, attach: func(ocispec.Descriptor, string) ([]piece, error) { return nil, nil }}, nil
	}
	return nil, fmt.Errorf("make signer: unknown kind %q", kind)
}

// Root is the certificate in PEM that whoever trusts a signer of Notation must trust; nil for the others.
func (s *Signer) Root() []byte { return s.root }

func newNotation(kind SignerKind, root, leaf notationtest.KeyType) (*Signer, error) {
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Bench Root", Key: root})
	if err != nil {
		return nil, err
	}
	signer, err := authority.Issue(notationtest.LeafOptions{CommonName: "bench.example", Key: leaf})
	if err != nil {
		return nil, err
	}
	return &Signer{Kind: kind, root: authority.PEM(), attach: func(subject ocispec.Descriptor, _ string) ([]piece, error) {
		envelope, err := signer.Sign(context.Background(), subject, notationtest.SignOptions{MediaType: notationtest.JWS})
		if err != nil {
			return nil, err
		}
		a, err := notationtest.Attach(subject, envelope, notationtest.JWS)
		if err != nil {
			return nil, err
		}
		return []piece{{manifest: a.Manifest, descriptor: a.ManifestDescriptor, blobs: [][]byte{a.Config, a.Envelope}}}, nil
	}}, nil
}

func newCosign(kind SignerKind) (*Signer, error) {
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		return nil, err
	}
	return &Signer{Kind: kind, key: key.PublicPEM(), attach: func(subject ocispec.Descriptor, repository string) ([]piece, error) {
		artifact, err := attachCosign(kind, key, subject, repository)
		if err != nil {
			return nil, err
		}
		p := piece{manifest: artifact.Manifest, descriptor: artifact.Descriptor, tag: artifact.Tag}
		for _, blob := range artifact.Blobs {
			p.blobs = append(p.blobs, blob)
		}
		return []piece{p}, nil
	}}, nil
}

func attachCosign(kind SignerKind, key *cosigntest.Key, subject ocispec.Descriptor, repository string) (*cosigntest.Artifact, error) {
	if kind == CosignBundle {
		signed, err := key.Sign(cosigntest.SignStatement(subject.Digest))
		if err != nil {
			return nil, err
		}
		return cosigntest.AttachBundle(subject, signed.Bundle()), nil
	}
	signed, err := key.SignMessage(cosigntest.Payload(repository, subject.Digest))
	if err != nil {
		return nil, err
	}
	return cosigntest.Collect(subject.Digest, signed.Layer()), nil
}
