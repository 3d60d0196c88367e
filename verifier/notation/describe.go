package notation

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// A Signature is what an envelope says, for a person to read. All of it is the signer's claim, or anybody's; texts are as
// they were written and have to be quoted before they reach a terminal.
type Signature struct {
	MediaType          string             `json:"mediaType"`
	Algorithm          string             `json:"signatureAlgorithm,omitempty"`
	SignedAttributes   SignedAttributes   `json:"signedAttributes"`
	UserMetadata       map[string]string  `json:"userDefinedAttributes,omitempty"`
	UnsignedAttributes UnsignedAttributes `json:"unsignedAttributes"`
	Certificates       []Certificate      `json:"certificates"`
	Target             ocispec.Descriptor `json:"signedArtifact"`
	// Problem says why the envelope would not verify under any trust policy; what could be read is there beside it.
	Problem string `json:"problem,omitempty"`
}

// SignedAttributes are the headers that the signature covers.
type SignedAttributes struct {
	ContentType   string    `json:"contentType,omitempty"`
	SigningScheme string    `json:"signingScheme,omitempty"`
	SigningTime   time.Time `json:"signingTime,omitzero"`
	Expiry        time.Time `json:"expiry,omitzero"`
	// Extended are attributes beyond the specification's, as text; those that a verifier must understand end in " (critical)".
	Extended map[string]string `json:"extended,omitempty"`
}

// UnsignedAttributes are the headers that anybody can change.
type UnsignedAttributes struct {
	SigningAgent string     `json:"signingAgent,omitempty"`
	Timestamp    *Timestamp `json:"timestampSignature,omitempty"`
}

// A Timestamp is an RFC 3161 countersignature.
type Timestamp struct {
	Time         time.Time     `json:"timestamp,omitzero"`
	Accuracy     time.Duration `json:"accuracyNanoseconds,omitempty"`
	Certificates []Certificate `json:"certificates,omitempty"`
	// Problem says why it is no timestamp of this signature. That it has none does not make the timestamp trusted.
	Problem string `json:"problem,omitempty"`
}

// A Certificate is one of a chain, the leaf first.
type Certificate struct {
	Fingerprint string    `json:"SHA256Fingerprint"`
	IssuedTo    string    `json:"issuedTo"`
	IssuedBy    string    `json:"issuedBy"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"expiry"`
}

// Describe reads a signature envelope of the media type application/jose+json or application/cose within the bounds of
// Verify, and takes no decision. An envelope beyond a bound, or so malformed that there is nothing to show, is an
// *ratify.Error with SIGNATURE_INVALID or EVIDENCE_INVALID.
func Describe(data []byte, mediaType string) (*Signature, error) {
	env, err := openEnvelope(data, mediaType)
	if err != nil {
		return nil, err
	}
	described := &Signature{MediaType: mediaType, Certificates: describeChain(env.chain)}
	described.SignedAttributes.SigningScheme = string(env.scheme)
	parsed, err := signature.ParseEnvelope(mediaType, data)
	if err != nil {
		described.Problem = err.Error()
		return described, nil
	}
	content, err := parsed.Verify()
	if err != nil {
		described.Problem = err.Error()
		var broken *signature.SignatureIntegrityError
		if !errors.As(err, &broken) {
			return described, nil
		}
		if content, err = parsed.Content(); err != nil {
			return described, nil
		}
	}
	described.fill(content)
	return described, nil
}

func (s *Signature) fill(content *signature.EnvelopeContent) {
	info := content.SignerInfo
	s.Algorithm = algorithmName(info.SignatureAlgorithm)
	s.SignedAttributes = SignedAttributes{
		ContentType:   content.Payload.ContentType,
		SigningScheme: string(info.SignedAttributes.SigningScheme),
		SigningTime:   info.SignedAttributes.SigningTime.UTC(),
		Expiry:        info.SignedAttributes.Expiry.UTC(),
	}
	for _, attribute := range info.SignedAttributes.ExtendedAttributes {
		if s.SignedAttributes.Extended == nil {
			s.SignedAttributes.Extended = map[string]string{}
		}
		text := ratify.Truncate(fmt.Sprint(attribute.Value))
		if attribute.Critical {
			text += " (critical)"
		}
		s.SignedAttributes.Extended[fmt.Sprint(attribute.Key)] = text
	}
	s.UnsignedAttributes.SigningAgent = info.UnsignedAttributes.SigningAgent
	if token := info.UnsignedAttributes.TimestampSignature; len(token) > 0 {
		s.UnsignedAttributes.Timestamp = describeTimestamp(token, info.Signature)
	}
	p, err := readPayload(content)
	if err != nil {
		s.Problem = "malformed payload: " + err.Error()
		return
	}
	s.UserMetadata = p.TargetArtifact.Annotations
	s.Target = ocispec.Descriptor{MediaType: p.TargetArtifact.MediaType, Digest: p.TargetArtifact.Digest, Size: p.TargetArtifact.Size}
}

func describeTimestamp(data, signed []byte) *Timestamp {
	token, err := tspclient.ParseSignedToken(data)
	if err != nil {
		return &Timestamp{Problem: err.Error()}
	}
	described := &Timestamp{Certificates: describeChain(token.Certificates)}
	info, err := token.Info()
	if err != nil {
		described.Problem = err.Error()
		return described
	}
	described.Time = info.GenTime.UTC()
	stamp, err := info.Validate(signed)
	if err != nil {
		described.Problem = err.Error()
		return described
	}
	described.Accuracy = stamp.Accuracy
	return described
}

func describeChain(chain []*x509.Certificate) []Certificate {
	described := make([]Certificate, len(chain))
	for i, cert := range chain {
		described[i] = Certificate{
			Fingerprint: fingerprint(cert.Raw),
			IssuedTo:    cert.Subject.String(),
			IssuedBy:    cert.Issuer.String(),
			NotBefore:   cert.NotBefore.UTC(),
			NotAfter:    cert.NotAfter.UTC(),
		}
	}
	return described
}

// algorithmName is the specification's name for an algorithm (signature specification, algorithm selection).
func algorithmName(algorithm signature.Algorithm) string {
	switch algorithm {
	case signature.AlgorithmPS256:
		return "RSASSA-PSS-SHA-256"
	case signature.AlgorithmPS384:
		return "RSASSA-PSS-SHA-384"
	case signature.AlgorithmPS512:
		return "RSASSA-PSS-SHA-512"
	case signature.AlgorithmES256:
		return "ECDSA-SHA-256"
	case signature.AlgorithmES384:
		return "ECDSA-SHA-384"
	case signature.AlgorithmES512:
		return "ECDSA-SHA-512"
	}
	return "unknown"
}
