package notationtest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	notationgo "github.com/notaryproject/notation-go"
	notationsigner "github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	gocose "github.com/veraison/go-cose"
)

// The envelopes' media types and the signatures' artifact type.
const (
	JWS          = jws.MediaTypeEnvelope
	COSE         = cose.MediaTypeEnvelope
	ArtifactType = "application/vnd.cncf.notary.signature"
)

// payloadType is the content type of what a signature covers.
const payloadType = "application/vnd.cncf.notary.payload.v1+json"

// A Signer is a key with its certificates.
type Signer struct {
	Key crypto.Signer
	// Chain begins with the leaf and ends with the root. It may be changed: it is not covered by the signature.
	Chain []*x509.Certificate
	// stand is a chain for the same key to sign with: the library refuses to sign with a bad or expired one.
	stand []*x509.Certificate
}

func newSigner(key crypto.Signer, chain []*x509.Certificate) (*Signer, error) {
	stand, err := (&Authority{}).issue(leafTemplate(LeafOptions{CommonName: "Stand-in", NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(3650 * day)}), key)
	if err != nil {
		return nil, err
	}
	return &Signer{Key: key, Chain: chain, stand: []*x509.Certificate{stand}}, nil
}

// SignOptions describe a signature. The zero value is a JWS signature of the scheme notary.x509, made now, with no expiry.
type SignOptions struct {
	// MediaType is JWS or COSE.
	MediaType string
	// SigningAuthority asks for the scheme notary.x509.signingAuthority.
	SigningAuthority bool
	// SigningTime is what the signature claims; zero is now.
	SigningTime time.Time
	// Expiry is how long after SigningTime the signature ends; zero is never.
	Expiry time.Duration
	// UserMetadata is signed along with the descriptor.
	UserMetadata map[string]string
	// Timestamp, if set, countersigns.
	Timestamp *TimestampAuthority
	// Attributes are further signed attributes; a critical one has to be understood by a verifier.
	Attributes []signature.Attribute
	// Payload replaces what is signed: the target artifact by default. For JWS it is a JSON object.
	Payload []byte
	// PayloadType replaces the content type of the payload.
	PayloadType string
}

// Sign returns the envelope of a signature over the descriptor. A plain request is signed by notation-go as its
// command does; what that refuses to make (a chosen time, an unfit certificate) is signed one floor below.
func (s *Signer) Sign(ctx context.Context, target ocispec.Descriptor, options SignOptions) ([]byte, error) {
	if options.MediaType == "" {
		options.MediaType = JWS
	}
	if len(options.UserMetadata) > 0 {
		target.Annotations = options.UserMetadata
	}
	if s.plain(options) {
		return s.signPlain(ctx, target, options)
	}
	payload := options.Payload
	if payload == nil {
		var err error
		if payload, err = json.Marshal(map[string]any{"targetArtifact": target}); err != nil {
			return nil, err
		}
	}
	local, err := signature.NewLocalSigner(s.stand, s.Key)
	if err != nil {
		return nil, err
	}
	request := &signature.SignRequest{
		Payload:                  signature.Payload{ContentType: payloadType, Content: payload},
		Signer:                   local,
		SigningTime:              options.SigningTime,
		ExtendedSignedAttributes: options.Attributes,
		SigningAgent:             "notationtest",
		SigningScheme:            signature.SigningSchemeX509,
	}
	if options.PayloadType != "" {
		request.Payload.ContentType = options.PayloadType
	}
	if request.SigningTime.IsZero() {
		request.SigningTime = time.Now()
	}
	if options.Expiry != 0 {
		request.Expiry = request.SigningTime.Add(options.Expiry)
	}
	if options.SigningAuthority {
		request.SigningScheme = signature.SigningSchemeX509SigningAuthority
	}
	if options.Timestamp != nil {
		request.Timestamper, request.TSARootCAs = options.Timestamp, options.Timestamp.pool()
	}
	envelope, err := signature.NewEnvelope(options.MediaType)
	if err != nil {
		return nil, err
	}
	data, err := envelope.Sign(request.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", target.Digest, err)
	}
	return ReplaceChain(data, options.MediaType, rawChain(s.Chain))
}

// plain tells whether notation-go's own signer makes what is asked for.
func (s *Signer) plain(options SignOptions) bool {
	now := time.Now()
	for _, cert := range s.Chain {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return false
		}
	}
	usable := len(s.Chain[0].ExtKeyUsage) == 1 && s.Chain[0].ExtKeyUsage[0] == x509.ExtKeyUsageCodeSigning
	return usable && !options.SigningAuthority && options.SigningTime.IsZero() && options.Attributes == nil &&
		options.Payload == nil && options.PayloadType == ""
}

func (s *Signer) signPlain(ctx context.Context, target ocispec.Descriptor, options SignOptions) ([]byte, error) {
	signer, err := notationsigner.NewGenericSigner(s.Key, s.Chain)
	if err != nil {
		return nil, err
	}
	request := notationgo.SignerSignOptions{SignatureMediaType: options.MediaType, ExpiryDuration: options.Expiry}
	if options.Timestamp != nil {
		request.Timestamper, request.TSARootCAs = options.Timestamp, options.Timestamp.pool()
	}
	data, _, err := signer.Sign(ctx, target, request)
	return data, err
}

func rawChain(chain []*x509.Certificate) [][]byte {
	raw := make([][]byte, len(chain))
	for i, cert := range chain {
		raw[i] = cert.Raw
	}
	return raw
}

// ReplaceChain puts other certificates into an envelope; anybody can, for the signature does not cover them.
func ReplaceChain(envelope []byte, mediaType string, chain [][]byte) ([]byte, error) {
	return edit(envelope, mediaType, "x5c", chain)
}

// ReplaceTimestamp puts another timestamp token into an envelope; the signature does not cover it either.
func ReplaceTimestamp(envelope []byte, mediaType string, token []byte) ([]byte, error) {
	return edit(envelope, mediaType, "io.cncf.notary.timestampSignature", token)
}

// edit sets one header that is not protected; the name is that of JWS.
func edit(envelope []byte, mediaType, name string, value any) ([]byte, error) {
	if mediaType == COSE {
		var message gocose.Sign1Message
		if err := message.UnmarshalCBOR(envelope); err != nil {
			return nil, err
		}
		var label any = name
		if chain, ok := value.([][]byte); ok {
			certs := make([]any, len(chain))
			for i := range chain {
				certs[i] = chain[i]
			}
			label, value = gocose.HeaderLabelX5Chain, certs
		}
		message.Headers.Unprotected[label] = value
		message.Headers.RawUnprotected = nil
		return message.MarshalCBOR()
	}
	var outer struct {
		Payload   string         `json:"payload"`
		Protected string         `json:"protected"`
		Header    map[string]any `json:"header"`
		Signature string         `json:"signature"`
	}
	if err := json.Unmarshal(envelope, &outer); err != nil {
		return nil, err
	}
	outer.Header[name] = value
	return json.Marshal(outer)
}

// Tamper returns the envelope with one bit of its signature changed.
func Tamper(envelope []byte, mediaType string) ([]byte, error) {
	if mediaType == COSE {
		var message gocose.Sign1Message
		if err := message.UnmarshalCBOR(envelope); err != nil {
			return nil, err
		}
		message.Signature[len(message.Signature)/2] ^= 1
		return message.MarshalCBOR()
	}
	var outer map[string]any
	if err := json.Unmarshal(envelope, &outer); err != nil {
		return nil, err
	}
	encoded := []byte(outer["signature"].(string))
	// A and B differ in the last bit of what they encode, so that the text stays base64url.
	if middle := len(encoded) / 2; encoded[middle] == 'A' {
		encoded[middle] = 'B'
	} else {
		encoded[middle] = 'A'
	}
	outer["signature"] = string(encoded)
	return json.Marshal(outer)
}

// An Artifact is a signature as a registry holds it: a manifest that refers to the image, an empty config, and the envelope.
type Artifact struct {
	Manifest, Config, Envelope                               []byte
	ManifestDescriptor, ConfigDescriptor, EnvelopeDescriptor ocispec.Descriptor
}

// Attach makes the artifact that attaches an envelope to the subject, in the form of OCI 1.1's artifact guidance, which
// names the kind both ways: by artifactType and by the config's media type.
func Attach(subject ocispec.Descriptor, envelope []byte, mediaType string) (*Artifact, error) {
	a := &Artifact{Config: []byte("{}"), Envelope: envelope}
	a.ConfigDescriptor = describe(ArtifactType, a.Config)
	a.EnvelopeDescriptor = describe(mediaType, envelope)
	target := ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	manifest := ocispec.Manifest{
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: ArtifactType,
		Config:       a.ConfigDescriptor,
		Layers:       []ocispec.Descriptor{a.EnvelopeDescriptor},
		Subject:      &target,
		Annotations:  map[string]string{ocispec.AnnotationCreated: time.Now().UTC().Format(time.RFC3339)},
	}
	manifest.SchemaVersion = 2
	data, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	a.Manifest = data
	a.ManifestDescriptor = describe(ocispec.MediaTypeImageManifest, data)
	a.ManifestDescriptor.ArtifactType = ArtifactType
	return a, nil
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
