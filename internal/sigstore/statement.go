package sigstore

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"

	"github.com/ratify-provider/ratify"
)

// payloadTypeStatement is the DSSE payload type of in-toto statements.
const payloadTypeStatement = "application/vnd.in-toto+json"

// maxSubjects bounds the subjects of a statement: a release of a large project has some hundred artifacts. It is the
// library's bound as well.
const maxSubjects = 1024

// statement is an in-toto statement that is not proven yet.
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

func parseStatement(envelope *protodsse.Envelope) (*statement, error) {
	if envelope.GetPayloadType() != payloadTypeStatement {
		return nil, malformed("its payload type is %s, not %s", ratify.Quote(envelope.GetPayloadType()), payloadTypeStatement)
	}
	var s statement
	if err := json.Unmarshal(envelope.GetPayload(), &s); err != nil {
		return nil, malformed("its statement is no JSON: %s", reason(err))
	}
	switch {
	case !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/"):
		return nil, malformed("its statement is of the type %s, not of in-toto's", ratify.Quote(s.Type))
	case s.PredicateType == "":
		return nil, malformed("its statement names no predicate type")
	case len(s.Subject) == 0:
		return nil, malformed("its statement names no subject")
	case len(s.Subject) > maxSubjects:
		return nil, tooLarge("its statement has %d subjects, at most %d are read", len(s.Subject), maxSubjects)
	}
	return &s, nil
}

// strong are the digest algorithms that bind a statement to a subject, as in-toto and as go-digest name them.
var strong = []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512}

// find tells by which digest the statement names the subject. The subject's own algorithm is looked at first; the manifest
// is read only where the statement has none but others.
func (s *statement) find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) (algorithm string, sum []byte, err error) {
	named := map[digest.Algorithm][]string{}
	for _, candidate := range s.Subject {
		for _, a := range strong {
			if value := candidate.Digest[string(a)]; value != "" {
				named[a] = append(named[a], value)
			}
		}
	}
	own := subject.Digest.Algorithm()
	if len(named[own]) > 0 {
		return matching(named[own], subject.Digest)
	}
	if len(named) == 0 {
		return "", nil, malformed("its statement names no subject by SHA-256 or stronger")
	}
	manifest, err := repo.Fetch(ctx, subject)
	if err != nil {
		return "", nil, err
	}
	for _, a := range strong {
		if len(named[a]) == 0 {
			continue
		}
		if algorithm, sum, err = matching(named[a], a.FromBytes(manifest)); err == nil {
			return algorithm, sum, nil
		}
	}
	return "", nil, err
}

// matching tells whether one of the values is the digest's.
func matching(values []string, want digest.Digest) (algorithm string, sum []byte, err error) {
	for _, value := range values {
		if strings.EqualFold(value, want.Encoded()) {
			sum, err = hex.DecodeString(want.Encoded())
			return want.Algorithm().String(), sum, err
		}
	}
	shown := make([]string, 0, len(values))
	for _, value := range values {
		shown = append(shown, ratify.Quote(want.Algorithm().String()+":"+value))
	}
	return "", nil, &ratify.Error{Code: ratify.SubjectMismatch, Message: "the statement is for another artifact, " + listed(shown) + ", and not for " + ratify.Quote(want.String())}
}
