package sigstore

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/ratify-provider/ratify"
)

// Bounds on the text of a piece of evidence. They are looked at before any decoder sees it, for decoders make of "{}" a
// hundred times its bytes, and no context ends them. What is beyond is malformed and not too large: nobody but a stranger
// writes such a thing, and nobody can make it of what somebody else has signed.
const (
	// maxValues bounds the values in a bundle, in an envelope, or in a log's entry: ten log entries with the proof of a log
	// of 2^64 leaves have 64 hashes and some 20 other values each, ten certificates and ten timestamps two each.
	maxValues = 1 << 10
	// maxNesting bounds how deep they are nested: a bundle has six levels, a log's entry five.
	maxNesting = 20
	// maxTextBytes bounds each string in a bundle but its payload: certificates, timestamps and log entries have 1 to 10 KiB.
	maxTextBytes = 64 << 10
)

// checkShape bounds the values in a text, which need not be JSON: there are no more of them than commas and opening
// brackets, and one. limit is how many there may be; each is called with where each string begins and ends, in its quotes.
func checkShape(text []byte, limit int, each func(start, end int) error) error {
	values, nesting := 1, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			start := i
			i = endOfString(text, start)
			if err := each(start, min(i+1, len(text))); err != nil {
				return err
			}
		case ',':
			values++
		case '{', '[':
			values++
			nesting++
		case '}', ']':
			nesting--
		}
		switch {
		case values > limit:
			return malformed("it holds more than %d values", limit)
		case nesting > maxNesting:
			return malformed("it is nested deeper than %d", maxNesting)
		}
	}
	return nil
}

// anyString is for texts whose strings cost no more than they have bytes.
func anyString(int, int) error { return nil }

// endOfString returns where the string that begins at start ends: at its closing quote, or beyond the text.
func endOfString(text []byte, start int) int {
	for i := start + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}

// splitBundle checks the shape of a bundle's text and takes out its payload, if that is long: what is left is short, and
// the payload is decoded here, once. The library's decoder copies it twice, and puts what it cannot decode into its error.
func splitBundle(text []byte) (rest, payload []byte, err error) {
	from, to := 0, 0
	err = checkShape(text, maxValues, func(start, end int) error {
		switch {
		case end-start <= maxTextBytes:
		case from > 0 || !isPayload(text[:start]):
			return malformed("it holds a text of %d bytes that is no payload, at most %d are read", end-start, maxTextBytes)
		default:
			from, to = start, end
		}
		return nil
	})
	if n := len(text) - (to - from); err == nil && n > ratify.MaxEnvelopeBytes {
		err = malformed("it has %d bytes beside its payload, at most %d are read", n, ratify.MaxEnvelopeBytes)
	}
	if err != nil || from == 0 {
		return text, nil, err
	}
	if payload, err = decodePayload(text[from:to]); err != nil {
		return nil, nil, err
	}
	rest = make([]byte, 0, len(text)-(to-from)+len(`""`))
	rest = append(append(append(rest, text[:from]...), `""`...), text[to:]...)
	return rest, payload, nil
}

// isPayload tells whether the value that follows is an envelope's payload. No other field of a bundle has the name, and
// the library refuses names that are no field's.
func isPayload(before []byte) bool {
	const space = " \t\r\n"
	name, found := bytes.CutSuffix(bytes.TrimRight(before, space), []byte(":"))
	return found && bytes.HasSuffix(bytes.TrimRight(name, space), []byte(`"payload"`))
}

// decodePayload decodes a string of base64, in either alphabet and with or without padding (ProtoJSON, bytes).
func decodePayload(quoted []byte) ([]byte, error) {
	if bytes.ContainsAny(quoted, "\r\n") || len(quoted) < 2 || quoted[len(quoted)-1] != '"' {
		return nil, malformed("its payload is no JSON string")
	}
	encoded := ""
	if bytes.IndexByte(quoted, '\\') < 0 {
		encoded = string(quoted[1 : len(quoted)-1])
	} else if err := json.Unmarshal(quoted, &encoded); err != nil {
		return nil, malformed("its payload is no JSON string")
	}
	encoding := base64.StdEncoding
	if strings.ContainsAny(encoded, "-_") {
		encoding = base64.URLEncoding
	}
	if len(encoded)%4 != 0 {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	payload, err := encoding.DecodeString(encoded)
	if err != nil {
		return nil, malformed("its payload: %s", reason(err))
	}
	return payload, nil
}
