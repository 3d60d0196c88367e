package sigstore

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/strictjson"
)

// PayloadType is what a DSSE envelope of an in-toto statement says that it holds (in-toto attestation framework, envelope
// layer).
const PayloadType = "application/vnd.in-toto+json"

// maxSubjects bounds the subjects of a statement: a release of a large project has some hundred artifacts. It is the
// library's bound as well.
const maxSubjects = 1024

// maxDigests bounds the digests of one subject: there are some ten algorithms. It is the library's bound as well.
const maxDigests = 32

// strong are the digest algorithms that bind a statement to a subject, as in-toto and as go-digest name them.
var strong = []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512}

// statementFields are the names that are read of a statement.
var statementFields = []string{"_type", "subject", "predicateType", "predicate"}

// statement is an in-toto statement that is not proven yet.
type statement struct {
	Statement
	subjects int
	named    map[digest.Algorithm][]string // the subjects' digests by strong algorithms
}

func parseStatement(envelope *protodsse.Envelope) (*statement, error) {
	payload := envelope.GetPayload()
	if envelope.GetPayloadType() != PayloadType {
		return nil, malformed("its payload type is %s, not %s", ratify.Quote(envelope.GetPayloadType()), PayloadType)
	}
	if !json.Valid(payload) {
		return nil, malformed("its statement is no JSON")
	}
	s := &statement{named: map[digest.Algorithm][]string{}}
	err := s.read(payload) // which is bounded
	if err == nil {
		err = checkFields(payload)
	}
	var refused *ratify.Error
	switch {
	case errors.As(err, &refused):
		return nil, malformed("its statement: %s", refused.UserMessage()) // see maxValues
	case err != nil:
		return nil, malformed("its statement: %s", err)
	case !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/"):
		return nil, malformed("its statement is of the type %s, not of in-toto's", ratify.Quote(s.Type))
	case s.PredicateType == "":
		return nil, malformed("its statement names no predicate type")
	case s.subjects == 0:
		return nil, malformed("its statement names no subject")
	}
	return s, nil
}

// checkFields refuses what two readers could take for two statements: a signature would be good for both. What is within
// the predicate is not looked at: that is for who judges it, and its signer's fault, who is not known yet.
func checkFields(payload []byte) error {
	c := strictjson.NewCursor(payload)
	seen := map[string]bool{}
	return c.Object(statementFields, func(name string) error {
		if seen[name] {
			return errors.New("it is there twice")
		}
		seen[name] = true
		if name == "predicate" {
			return nil
		}
		value, err := c.Raw()
		if err != nil {
			return err
		}
		return strictjson.Check(value)
	})
}

func (s *statement) read(payload []byte) error {
	c := strictjson.NewCursor(payload)
	return c.Object(statementFields, func(name string) (err error) {
		switch name {
		case "_type":
			return c.TextInto(&s.Type)
		case "predicateType":
			return c.TextInto(&s.PredicateType)
		case "predicate":
			s.Predicate, err = c.Raw()
			return err
		}
		return c.List(maxSubjects, func() error {
			s.subjects++
			return c.Object([]string{"digest"}, func(string) error {
				return c.Optional(func() error { return s.readDigests(c) })
			})
		})
	})
}

func (s *statement) readDigests(c *strictjson.Cursor) error {
	digests := 0
	return c.Object(nil, func(name string) error {
		if digests++; digests > maxDigests {
			return fmt.Errorf("it has more than %d", maxDigests)
		}
		var value string
		err := c.TextInto(&value)
		if a := digest.Algorithm(name); value != "" && slices.Contains(strong, a) {
			s.named[a] = append(s.named[a], value)
		}
		return err
	})
}

// find tells by which digest the statement names the subject. The subject's own algorithm is looked at first; the manifest
// is needed only where the statement has none but others (errManifestNeeded), and may be nil until then.
func (s *statement) find(subject ocispec.Descriptor, manifest []byte) (algorithm string, sum []byte, err error) {
	own := subject.Digest.Algorithm()
	if len(s.named[own]) > 0 {
		return matching(s.named[own], subject.Digest)
	}
	if len(s.named) == 0 {
		return "", nil, malformed("its statement names no subject by SHA-256 or stronger")
	}
	if manifest == nil {
		return "", nil, errManifestNeeded
	}
	for _, a := range strong {
		if len(s.named[a]) == 0 {
			continue
		}
		if algorithm, sum, err = matching(s.named[a], a.FromBytes(manifest)); err == nil {
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
