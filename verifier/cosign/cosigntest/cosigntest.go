// Package cosigntest makes what the tools of Sigstore attach to an image, with freshly generated keys: signatures and
// attestations under cosign's tags, bundles that are referrers, by keys and by certificates of a private Sigstore.
// It is for tests, the demonstration and the benchmark; nothing in it is fit for keys that somebody relies on.
//
// A key's signature as cosign 3 attaches it, and an attestation:
//
//	key, err := cosigntest.NewKey(cosigntest.P256)
//	os.WriteFile("cosign.pub", key.PublicPEM(), 0o644)
//	envelope, err := key.Sign(cosigntest.SignStatement(image.Digest))          // or cosigntest.Statement(…)
//	artifact := cosigntest.AttachBundle(image, envelope.Bundle())              // a referrer: manifest and blobs
//
// The same under cosign's tags:
//
//	message, err := key.SignMessage(cosigntest.Payload("registry.example/app", image.Digest))
//	artifact := cosigntest.Collect(image.Digest, message.Layer())               // to push under artifact.Tag
//
// A private Sigstore signs the same things without a key; see NewSigstore.
package cosigntest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A KeyType is the algorithm and size of a key.
type KeyType string

// The key types that cosign signs with.
const (
	P256    KeyType = "P-256"
	P384    KeyType = "P-384"
	P521    KeyType = "P-521"
	RSA2048 KeyType = "RSA-2048"
	Ed25519 KeyType = "Ed25519"
)

// A Scheme is how a key signs. The zero value is what cosign does.
type Scheme string

// PSS is for RSA keys; CurveDigest is for ECDSA keys, and takes a digest as long as the curve; Prehash is for Ed25519 keys
// (Ed25519ph), as a transparency log has it.
const (
	PSS         Scheme = "PSS"
	CurveDigest Scheme = "curve digest"
	Prehash     Scheme = "prehash"
)

// A Key is a pair of keys.
type Key struct {
	private crypto.Signer
	scheme  Scheme
}

// NewKey generates a key.
func NewKey(kind KeyType) (*Key, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case P256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA2048:
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("unknown key type %q", kind)
	}
	if err != nil {
		return nil, err
	}
	return &Key{private: private}, nil
}

// With is the same key under another scheme.
func (k *Key) With(scheme Scheme) *Key { return &Key{private: k.private, scheme: scheme} }

// PublicPEM is the public key as cosign writes it into cosign.pub.
func (k *Key) PublicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.pkix()})
}

// pkix is the public key in DER. The types that NewKey makes can all be encoded.
func (k *Key) pkix() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		panic(err)
	}
	return der
}

// Hint is the name under which a bundle refers to the key.
func (k *Key) Hint() string {
	sum := sha256.Sum256(k.pkix())
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (k *Key) sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	switch key := k.private.(type) {
	case ed25519.PrivateKey:
		if k.scheme == Prehash {
			sum := sha512.Sum512(message)
			return key.Sign(rand.Reader, sum[:], crypto.SHA512)
		}
		return ed25519.Sign(key, message), nil
	case *rsa.PrivateKey:
		if k.scheme == PSS {
			return key.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
		}
	case *ecdsa.PrivateKey:
		if k.scheme == CurveDigest && key.Curve == elliptic.P384() {
			sum := sha512.Sum384(message)
			return key.Sign(rand.Reader, sum[:], crypto.SHA384)
		}
		if k.scheme == CurveDigest && key.Curve == elliptic.P521() {
			sum := sha512.Sum512(message)
			return key.Sign(rand.Reader, sum[:], crypto.SHA512)
		}
	}
	return k.private.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Media types.
const (
	BundleType        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	SimpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
	EnvelopeType      = "application/vnd.dsse.envelope.v1+json"
	StatementType     = "application/vnd.in-toto+json"
	SignPredicate     = "https://sigstore.dev/cosign/sign/v1"
)

// A Signed is something signed, with whatever else proves it.
type Signed struct {
	Message     []byte // what a message signature covers, or the payload of an envelope
	PayloadType string // of an envelope; empty for a message signature
	Signature   []byte
	Hint        string // of the key; empty where there is a certificate
	Certificate []byte // DER
	Entries     []Entry
	Timestamps  [][]byte // RFC 3161
}

// SignMessage signs the message itself.
func (k *Key) SignMessage(message []byte) (*Signed, error) {
	sig, err := k.sign(message)
	return &Signed{Message: message, Signature: sig, Hint: k.Hint()}, err
}

// Sign signs an in-toto statement in an envelope.
func (k *Key) Sign(statement []byte) (*Signed, error) {
	sig, err := k.sign(pae(StatementType, statement))
	return &Signed{Message: statement, PayloadType: StatementType, Signature: sig, Hint: k.Hint()}, err
}

// pae is what a signature in a DSSE envelope covers.
func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// Payload is what cosign signs under its tags (simple signing).
func Payload(name string, image digest.Digest) []byte {
	return mustMarshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": name},
			"image":    map[string]any{"docker-manifest-digest": image},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
}

// Statement is an in-toto statement of the predicate about the image. predicate is anything that encodes to JSON.
func Statement(image digest.Digest, predicateType string, predicate any) []byte {
	return mustMarshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"digest": map[string]string{image.Algorithm().String(): image.Encoded()}}},
		"predicateType": predicateType,
		"predicate":     predicate,
	})
}

// SignStatement is the statement that cosign 3 signs an image with.
func SignStatement(image digest.Digest) []byte {
	return Statement(image, SignPredicate, map[string]any{})
}

// mustMarshal encodes what was put together here.
func mustMarshal(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// CertificatePEM is the certificate as a transparency log keeps it.
func (s *Signed) CertificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})
}

// Bundle is a Sigstore bundle of version 0.3.
func (s *Signed) Bundle() []byte { return s.BundleOf(BundleType) }

// BundleOf is a bundle that says to be of the media type.
func (s *Signed) BundleOf(mediaType string) []byte {
	material := map[string]any{}
	if s.Certificate != nil {
		material["certificate"] = map[string]any{"rawBytes": s.Certificate}
	} else {
		material["publicKey"] = map[string]any{"hint": s.Hint}
	}
	if len(s.Entries) > 0 {
		entries := []any{}
		for _, entry := range s.Entries {
			entries = append(entries, entry.bundle())
		}
		material["tlogEntries"] = entries
	}
	if len(s.Timestamps) > 0 {
		stamps := []any{}
		for _, stamp := range s.Timestamps {
			stamps = append(stamps, map[string]any{"signedTimestamp": stamp})
		}
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": stamps}
	}
	b := map[string]any{"mediaType": mediaType, "verificationMaterial": material}
	if s.PayloadType != "" {
		b["dsseEnvelope"] = map[string]any{"payloadType": s.PayloadType, "payload": s.Message, "signatures": []any{map[string]any{"sig": s.Signature}}}
	} else {
		sum := sha256.Sum256(s.Message)
		b["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": s.Signature}
	}
	return mustMarshal(b)
}

// A Layer is a signature or an attestation under one of cosign's tags.
type Layer struct {
	Data       []byte
	Descriptor ocispec.Descriptor
}

// Layer is the signed thing as cosign keeps it under a tag.
func (s *Signed) Layer() Layer {
	data, mediaType := s.Message, SimpleSigningType
	annotations := map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(s.Signature)}
	if s.PayloadType != "" {
		mediaType = EnvelopeType
		data = mustMarshal(map[string]any{"payloadType": s.PayloadType, "payload": s.Message, "signatures": []any{map[string]any{"keyid": "", "sig": s.Signature}}})
		annotations["dev.cosignproject.cosign/signature"] = ""
	}
	if s.Certificate != nil {
		annotations["dev.sigstore.cosign/certificate"] = string(s.CertificatePEM())
	}
	for _, entry := range s.Entries {
		annotations["dev.sigstore.cosign/bundle"] = string(entry.annotation())
	}
	for _, stamp := range s.Timestamps {
		annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(mustMarshal(map[string]any{"SignedRFC3161Timestamp": stamp}))
	}
	layer := Layer{Data: data, Descriptor: describe(mediaType, data)}
	layer.Descriptor.Annotations = annotations
	return layer
}

// An Artifact is evidence as a registry holds it.
type Artifact struct {
	// Tag is where cosign looks for it; empty for a referrer.
	Tag        string
	Manifest   []byte
	Descriptor ocispec.Descriptor // of the manifest
	Blobs      map[digest.Digest][]byte
}

func newArtifact(manifest ocispec.Manifest, blobs ...[]byte) *Artifact {
	manifest.Versioned = specs.Versioned{SchemaVersion: 2}
	manifest.MediaType = ocispec.MediaTypeImageManifest
	data := mustMarshal(manifest)
	a := &Artifact{Manifest: data, Descriptor: describe(ocispec.MediaTypeImageManifest, data), Blobs: map[digest.Digest][]byte{}}
	a.Descriptor.ArtifactType = manifest.ArtifactType
	for _, blob := range blobs {
		a.Blobs[digest.FromBytes(blob)] = blob
	}
	return a
}

// AttachBundle makes the referrer that attaches a bundle to the subject, as cosign 3 does.
func AttachBundle(subject ocispec.Descriptor, bundle []byte) *Artifact {
	return AttachAnnotated(subject, bundle, map[string]string{"dev.sigstore.bundle.content": "dsse-envelope"})
}

// AttachAnnotated is AttachBundle with annotations of the manifest, which prove nothing: tools say with them what the
// bundle holds (dev.sigstore.bundle.content, dev.sigstore.bundle.predicateType).
func AttachAnnotated(subject ocispec.Descriptor, bundle []byte, annotations map[string]string) *Artifact {
	target := ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	return newArtifact(ocispec.Manifest{
		ArtifactType: BundleType,
		Config:       ocispec.DescriptorEmptyJSON,
		Layers:       []ocispec.Descriptor{describe(BundleType, bundle)},
		Subject:      &target,
		Annotations:  annotations,
	}, []byte("{}"), bundle)
}

// Collect makes what is under cosign's tag for the image: all signatures, or all attestations. The first layer says which.
func Collect(image digest.Digest, layers ...Layer) *Artifact {
	config := []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]},"config":{}}`)
	manifest := ocispec.Manifest{Config: describe(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{}}
	blobs, suffix := [][]byte{config}, ".sig"
	for i, layer := range layers {
		if i == 0 && layer.Descriptor.MediaType == EnvelopeType {
			suffix = ".att"
		}
		manifest.Layers = append(manifest.Layers, layer.Descriptor)
		blobs = append(blobs, layer.Data)
	}
	a := newArtifact(manifest, blobs...)
	a.Tag = strings.Replace(image.String(), ":", "-", 1) + suffix
	return a
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
