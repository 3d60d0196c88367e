package notation_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

func TestDescribe(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{Intermediates: 1})
	tsa := newTSA(t, notationtest.TimestampOptions{Now: func() time.Time { return yesterday }})
	for key, algorithm := range map[notationtest.KeyType]string{
		notationtest.P256: "ECDSA-SHA-256", notationtest.P384: "ECDSA-SHA-384",
		notationtest.RSA2048: "RSASSA-PSS-SHA-256", notationtest.RSA3072: "RSASSA-PSS-SHA-384",
	} {
		for _, mediaType := range formats {
			t.Run(string(key)+" "+mediaType, func(t *testing.T) {
				signer := issue(t, authority, notationtest.LeafOptions{Key: key})
				envelope := sign(t, signer, notationtest.SignOptions{
					MediaType: mediaType, SigningTime: yesterday, Expiry: 48 * time.Hour, UserMetadata: map[string]string{"build": "42"}, Timestamp: tsa,
					Attributes: []signature.Attribute{{Key: "org.example.must", Critical: true, Value: "x"}, {Key: "org.example.may", Value: "y"}},
				})
				got := must[*notation.Signature](t)(notation.Describe(envelope, mediaType))
				sum := sha256.Sum256(signer.Chain[0].Raw)
				switch {
				case got.Problem != "":
					t.Errorf("problem %q", got.Problem)
				case got.Algorithm != algorithm || got.MediaType != mediaType:
					t.Errorf("algorithm %q, media type %q", got.Algorithm, got.MediaType)
				case got.SignedAttributes.SigningScheme != "notary.x509" || got.SignedAttributes.ContentType != "application/vnd.cncf.notary.payload.v1+json":
					t.Errorf("signed attributes %+v", got.SignedAttributes)
				case !got.SignedAttributes.SigningTime.Equal(yesterday) || !got.SignedAttributes.Expiry.Equal(yesterday.Add(48*time.Hour)):
					t.Errorf("times %+v", got.SignedAttributes)
				case got.SignedAttributes.Extended["org.example.must"] != "x (critical)" || got.SignedAttributes.Extended["org.example.may"] != "y":
					t.Errorf("extended attributes %v", got.SignedAttributes.Extended)
				case got.UserMetadata["build"] != "42":
					t.Errorf("user metadata %v", got.UserMetadata)
				case got.UnsignedAttributes.SigningAgent == "":
					t.Error("no signing agent")
				case got.UnsignedAttributes.Timestamp == nil || !got.UnsignedAttributes.Timestamp.Time.Equal(yesterday) || len(got.UnsignedAttributes.Timestamp.Certificates) != 2 || got.UnsignedAttributes.Timestamp.Problem != "":
					t.Errorf("timestamp %+v", got.UnsignedAttributes.Timestamp)
				case len(got.Certificates) != 3 || got.Certificates[0].Fingerprint != hex.EncodeToString(sum[:]):
					t.Errorf("certificates %+v", got.Certificates)
				case got.Certificates[0].IssuedTo != "CN=Example Signer,O=Example,ST=WA,C=US" || !strings.Contains(got.Certificates[0].IssuedBy, "Intermediate 1"):
					t.Errorf("leaf %+v", got.Certificates[0])
				case !got.Certificates[0].NotAfter.Equal(signer.Chain[0].NotAfter) || !got.Certificates[0].NotBefore.Equal(signer.Chain[0].NotBefore):
					t.Errorf("validity %+v", got.Certificates[0])
				case got.Target.Digest != image.Digest || got.Target.Size != image.Size || got.Target.MediaType != image.MediaType:
					t.Errorf("target %+v", got.Target)
				}
				if _, err := json.Marshal(got); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestDescribeShowsWhatIsWrong is about signatures that no trust policy accepts: those are the ones people look at.
func TestDescribeShowsWhatIsWrong(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	unfit := issue(t, authority, notationtest.LeafOptions{Usage: notationtest.ServerAuth})
	tsa := newTSA(t, notationtest.TimestampOptions{})
	for _, mediaType := range formats {
		options := notationtest.SignOptions{MediaType: mediaType}
		good := sign(t, signer, options)
		t.Run("tampered "+mediaType, func(t *testing.T) {
			got := must[*notation.Signature](t)(notation.Describe(tamperSignature(t, good, mediaType), mediaType))
			if got.Problem == "" || got.Target.Digest != image.Digest {
				t.Errorf("problem %q, target %v", got.Problem, got.Target)
			}
		})
		t.Run("unfit certificate "+mediaType, func(t *testing.T) {
			got := must[*notation.Signature](t)(notation.Describe(sign(t, unfit, options), mediaType))
			if !strings.Contains(got.Problem, "ServerAuth") || len(got.Certificates) != 2 {
				t.Errorf("problem %q, certificates %v", got.Problem, got.Certificates)
			}
		})
		t.Run("payload "+mediaType, func(t *testing.T) {
			got := must[*notation.Signature](t)(notation.Describe(sign(t, signer, notationtest.SignOptions{MediaType: mediaType, Payload: []byte(`{"targetArtifact":1}`)}), mediaType))
			if !strings.Contains(got.Problem, "payload") {
				t.Errorf("problem %q", got.Problem)
			}
		})
		t.Run("timestamp of another message "+mediaType, func(t *testing.T) {
			other := must[[]byte](t)(tsa.Token([]byte("other")))
			got := must[*notation.Signature](t)(notation.Describe(must[[]byte](t)(notationtest.ReplaceTimestamp(good, mediaType, other)), mediaType))
			if got.UnsignedAttributes.Timestamp == nil || got.UnsignedAttributes.Timestamp.Problem == "" || got.UnsignedAttributes.Timestamp.Time.IsZero() {
				t.Errorf("timestamp %+v", got.UnsignedAttributes.Timestamp)
			}
		})
		t.Run("timestamp that is none "+mediaType, func(t *testing.T) {
			got := must[*notation.Signature](t)(notation.Describe(must[[]byte](t)(notationtest.ReplaceTimestamp(good, mediaType, []byte("x"))), mediaType))
			if got.UnsignedAttributes.Timestamp == nil || got.UnsignedAttributes.Timestamp.Problem == "" {
				t.Errorf("timestamp %+v", got.UnsignedAttributes.Timestamp)
			}
		})
		t.Run("rubbish "+mediaType, func(t *testing.T) {
			if _, err := notation.Describe([]byte("rubbish"), mediaType); ratify.AsError(err).Code != ratify.SignatureInvalid {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := notation.Describe(nil, "text/html"); ratify.AsError(err).Code != ratify.EvidenceInvalid {
		t.Errorf("error %v", err)
	}
}
