package matrix

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// A class is what becomes of an image.
type class string

const (
	verified class = "verified"
	refused  class = "refused"
	unknown  class = "systemError"
	// stopped is a program that refuses to start, or to go on: it admits nothing, either.
	stopped class = "does not start"
)

// An outcome is a class with the code that says why; a want may leave the code out.
type outcome struct {
	class class
	code  string
}

func (o outcome) String() string { return strings.TrimSpace(string(o.class) + " " + o.code) }

// An answer is what the program said of one image.
type answer struct {
	outcome
	digest string
	text   string // what a person would see
	took   time.Duration
}

// maxAnswerBytes bounds the answer about one image, by invariant I5: a report has 64 KiB at most, and is text in a text,
// which may double it.
const maxAnswerBytes = 160 << 10

// maxTextBytes bounds what a person sees: kubectl prints it in a terminal.
const maxTextBytes = 4 << 10

// askTime bounds one question: a program that does not answer at all must not hold up the whole.
const askTime = 30 * time.Second

// headerTime is how long the program waits for a request on a connection. Where this process had no time for as long, it is
// no wonder that there is no answer, and the question is asked again.
const headerTime = 2 * time.Second

// askOnce asks about one image. An error says that the answer breaks the protocol, or one of its invariants.
func askOnce(ctx context.Context, p *lab.Program, key string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	began := time.Now()
	reply, err := p.Verify(ctx, key)
	if err != nil && reply.Status == 0 && time.Since(began) > headerTime {
		reply, err = p.Verify(ctx, key)
	}
	if err != nil {
		return answer{took: reply.Took}, fmt.Errorf("I4: %w", err)
	}
	if reply.Status != http.StatusOK {
		return answer{took: reply.Took}, fmt.Errorf("I4: the answer has the status %d", reply.Status)
	}
	got, err := decode(key, reply.Body)
	got.took = reply.Took
	return got, err
}

// decode reads the answer about one image with the protocol's own types, and holds the invariants.
func decode(key string, data []byte) (answer, error) {
	if len(data) > maxAnswerBytes {
		return answer{}, fmt.Errorf("I5: the answer has more than %d bytes", maxAnswerBytes)
	}
	var response externaldata.ProviderResponse
	if err := strictly(data, &response); err != nil {
		return answer{}, fmt.Errorf("I4: the answer is no ProviderResponse: %w", err)
	}
	items := response.Response.Items
	switch {
	case response.APIVersion != "externaldata.gatekeeper.sh/v1beta1" || response.Kind != "ProviderResponse":
		return answer{}, fmt.Errorf("I4: the answer is a %q of %q", response.Kind, response.APIVersion)
	case response.Response.SystemError != "" && len(items) > 0:
		return answer{}, fmt.Errorf("I2: a systemError comes with %d items", len(items))
	case response.Response.SystemError != "":
		got := answer{text: response.Response.SystemError}
		got.class, got.code = unknown, codeIn(got.text)
		return got, checkText(key, got)
	case len(items) != 1 || items[0].Key != key:
		return answer{}, fmt.Errorf("I1: %d items for the one key %q", len(items), key)
	case items[0].Error != "":
		return answer{}, fmt.Errorf("I3: the item has an error beside its value: %q", items[0].Error)
	}
	return decodeReport(key, items[0].Value)
}

// A report is what the template and people read of an item's value.
type report struct {
	Version, Key, Subject, Digest string
	IsSuccess, Succeeded          *bool
	Code, Message, Remedy         string
	NotAfter                      int64
	TraceID                       string
}

func decodeReport(key string, value any) (answer, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return answer{}, err
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		return answer{}, fmt.Errorf("I4: the item's value is no report: %w", err)
	}
	switch {
	case r.Version != "1.0" || r.Key != key || r.Code == "" || r.TraceID == "":
		return answer{}, fmt.Errorf("the report lacks its version, key, code or trace: %s", data)
	case r.IsSuccess == nil || r.Succeeded == nil || *r.IsSuccess != *r.Succeeded:
		return answer{}, fmt.Errorf("the report contradicts itself about success: %s", data)
	case *r.IsSuccess && (r.NotAfter <= time.Now().Unix() || r.Digest == ""):
		return answer{}, fmt.Errorf("the image is admitted with no digest, or until a time that is past: %s", data)
	case *r.IsSuccess:
		return answer{outcome: outcome{verified, r.Code}, digest: r.Digest}, nil
	case transient(r.Code):
		return answer{}, fmt.Errorf("I3: what could not be told is an item: %s", data)
	}
	got := answer{outcome: outcome{refused, r.Code}, digest: r.Digest, text: denial(key, r)}
	return got, checkText(key, got)
}

// denial is what the ConstraintTemplate makes of a refusal.
func denial(key string, r report) string {
	return fmt.Sprintf("Subject failed verification: %s: %s. %s (trace %s)", key, r.Message, r.Remedy, r.TraceID)
}

// transient tells codes that say that an image could not be told about.
func transient(code string) bool {
	return slices.Contains([]string{
		"REGISTRY_UNAVAILABLE", "REGISTRY_INVALID", "REGISTRY_AUTH", "RATE_LIMITED", "DEADLINE", "REVOCATION_UNAVAILABLE", "OVERLOADED", "INTERNAL",
	}, code)
}

// codeIn is the code in a systemError, which says IMAGE: CODE: words.
func codeIn(text string) string {
	for part := range strings.SplitSeq(text, ": ") {
		if part != "" && strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == "" {
			return part
		}
	}
	return ""
}

// checkText holds what people read: it names the image and a cause, in one line, and obeys nobody else.
func checkText(key string, got answer) error {
	var wrong []error
	if got.code == "" {
		wrong = append(wrong, errors.New("it names no code"))
	}
	if !strings.Contains(got.text, key) {
		wrong = append(wrong, fmt.Errorf("it does not name the image %s", key))
	}
	if len(got.text) > maxTextBytes {
		wrong = append(wrong, fmt.Errorf("it has %d bytes", len(got.text)))
	}
	if i := strings.IndexFunc(got.text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		wrong = append(wrong, fmt.Errorf("it has %q in it", got.text[i]))
	}
	if strings.Contains(got.text, "Set-Cookie") {
		wrong = append(wrong, errors.New("it repeats what a server wrote into the body of an error"))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the text for people: %w: %q", errors.Join(wrong...), got.text)
	}
	return nil
}

// strictly decodes one JSON value with no field that is not known, and nothing after it.
func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after its end")
	}
	return nil
}
