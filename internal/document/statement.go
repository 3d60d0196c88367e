package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/internal/strictjson"
)

// The types of in-toto statements that are read; version 0.1 is what most tools still write.
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

const (
	// maxSubjects bounds the subjects of one statement: a release of many files and platforms has some hundreds.
	maxSubjects = 1000
	// maxFound is how many digests a message shows of a statement that is about something else.
	maxFound = 3
)

// A statement is an in-toto statement (attestation framework, statement layer) whose subject was found to be the image.
type statement struct {
	predicateType string
	predicate     json.RawMessage
}

// openStatement reads a statement, bare or in a DSSE envelope whose signatures somebody else has answered for, and checks
// that it is about the subject. Which of the two it is shows in its fields, for both go under the same media types.
func openStatement(data []byte, subject ocispec.Descriptor) (*statement, error) {
	if err := strictjson.Check(data); err != nil {
		return nil, err
	}
	fields, err := objectOf(data)
	if err != nil {
		return nil, malformed("it is no JSON object")
	}
	_, enveloped := fields["payload"]
	_, bare := fields["_type"]
	switch {
	case enveloped && bare:
		return nil, malformed("it could be read as a statement and as an envelope")
	case enveloped:
		payload, err := openEnvelope(fields)
		if err != nil {
			return nil, err
		}
		if err := strictjson.Check(payload); err != nil {
			return nil, err
		}
		if fields, err = objectOf(payload); err != nil {
			return nil, malformed("its payload is no JSON object")
		}
	}
	return readStatement(fields, subject)
}

// objectOf keeps names as they are written: encoding/json takes a field in other letters for the field.
func objectOf(data []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, fmt.Errorf("null is no object")
	}
	return fields, nil
}

func openEnvelope(fields map[string]json.RawMessage) ([]byte, error) {
	found, err := stringOf(fields, "payloadType")
	if err != nil {
		return nil, err
	}
	if found != sigstore.PayloadType {
		return nil, malformed("its envelope holds %s, not %s", ratify.Quote(found), sigstore.PayloadType)
	}
	encoded, err := stringOf(fields, "payload")
	if err != nil {
		return nil, err
	}
	// DSSE lets a producer choose either alphabet, and asks a consumer for both.
	payload, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		payload, err = base64.URLEncoding.DecodeString(encoded)
	}
	if err != nil {
		return nil, malformed("its payload is not base64")
	}
	return payload, nil
}

func readStatement(fields map[string]json.RawMessage, subject ocispec.Descriptor) (*statement, error) {
	version, err := stringOf(fields, "_type")
	if err != nil {
		return nil, err
	}
	if err := checkVersion(version); err != nil {
		return nil, err
	}
	predicateType, err := stringOf(fields, "predicateType")
	if err != nil {
		return nil, err
	}
	if err := matchSubject(fields["subject"], subject); err != nil {
		return nil, err
	}
	return &statement{predicateType: predicateType, predicate: fields["predicate"]}, nil
}

func checkVersion(statementType string) error {
	if statementType != statementV01 && statementType != statementV1 {
		return malformed("its statement is of the type %s, none of %s, %s", ratify.Quote(statementType), statementV01, statementV1)
	}
	return nil
}

func stringOf(fields map[string]json.RawMessage, name string) (string, error) {
	var value *string
	if err := json.Unmarshal(fields[name], &value); err != nil || value == nil || *value == "" {
		return "", malformed("it has no %s", name)
	}
	return *value, nil
}

// matchSubject finds the image among the statement's subjects by its digest. Names are not compared: a name is what the
// signer called the artifact, and a digest is what it is. Algorithms weaker than SHA-256 count for nothing.
func matchSubject(list json.RawMessage, subject ocispec.Descriptor) error {
	algorithm := subject.Digest.Algorithm()
	if !slices.Contains([]digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512}, algorithm) {
		return &ratify.Error{Code: ratify.SubjectMismatch, Message: "the image's digest algorithm " + ratify.Quote(algorithm.String()) + " is too weak to match a statement by"}
	}
	d := json.NewDecoder(bytes.NewReader(list))
	if opening, err := d.Token(); err != nil || opening != json.Delim('[') {
		return malformed("it has no list of subjects")
	}
	var found []string
	for n := 0; d.More(); n++ {
		if n == maxSubjects {
			return tooMuch("it has more than %d subjects", maxSubjects)
		}
		var entry map[string]json.RawMessage
		var digests map[string]string
		if err := d.Decode(&entry); err != nil {
			return malformed("a subject is no object")
		}
		if entry["digest"] != nil && json.Unmarshal(entry["digest"], &digests) != nil {
			return malformed("a subject's digests are not text")
		}
		if digests[algorithm.String()] == subject.Digest.Encoded() {
			return nil
		}
		found = appendFound(found, digests, algorithm)
	}
	return aboutOther(found, algorithm)
}

// appendFound keeps the first few digests for the message.
func appendFound(found []string, digests map[string]string, algorithm digest.Algorithm) []string {
	if len(found) == maxFound {
		return found
	}
	if value, ok := digests[algorithm.String()]; ok {
		return append(found, ratify.Quote(algorithm.String()+":"+value))
	}
	names := make([]string, 0, len(digests))
	for name := range digests {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 {
		return append(found, "a subject without a digest")
	}
	return append(found, "a subject by "+ratify.Quote(names[0])+" alone")
}

func aboutOther(found []string, algorithm digest.Algorithm) error {
	message := "the statement is about nothing"
	for i, text := range found {
		if i == 0 {
			message = "the statement is not about this image by " + algorithm.String() + ", it names " + text
			continue
		}
		message += ", " + text
	}
	return &ratify.Error{Code: ratify.SubjectMismatch, Message: message}
}
