// Package strictjson reads JSON that all readers read alike: it refuses what two could understand differently, and reads
// the rest in place. It knows no format. Begin at Check and Cursor.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/ratify-provider/ratify"
)

const (
	// MaxDepth bounds the nesting of a document: the deepest seen are CycloneDX's components within components, two levels
	// each, and the environment in a provenance, some ten.
	MaxDepth = 100
	// maxNames bounds the names of one object: a map from file to digest has some thousands, and each costs the memory of
	// an entry in a set.
	maxNames = 10_000
	// fewNames are compared one by one, which is faster than a set and takes no memory.
	fewNames = 16
)

// Check refuses what two readers could read differently, or what takes more than it is worth to read: text that is not
// one JSON value in UTF-8 (RFC 8259 section 8.1), an object with a name that is there twice (section 4 leaves open which
// counts), nesting deeper than MaxDepth, an object of more than 10,000 names. It takes memory for the names of the objects
// that are open and no more. Errors are *ratify.Error with EVIDENCE_INVALID or LIMIT_EXCEEDED.
func Check(data []byte) error {
	if !utf8.Valid(data) {
		return malformed("it is not UTF-8")
	}
	// Depth comes before validity: the library's own bound is 10,000, and it says less.
	if err := checkDepth(data); err != nil {
		return err
	}
	if !json.Valid(data) {
		var value json.RawMessage
		return malformed("%s", ratify.Quote(fmt.Sprint(json.Unmarshal(data, &value))))
	}
	return checkNames(data)
}

// checkDepth counts brackets outside of strings; the text need not be JSON.
func checkDepth(data []byte) error {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			i = endOfString(data, i)
		case '{', '[':
			if depth++; depth > MaxDepth {
				return tooMuch("it is nested deeper than %d", MaxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// endOfString returns where the string that begins at start ends: at its closing quote, or beyond the text.
func endOfString(data []byte, start int) int {
	for i := start + 1; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(data)
}

// checkNames goes through valid JSON of at most MaxDepth.
func checkNames(data []byte) error {
	open := make([]object, 0, MaxDepth) // an array is an object without names
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			open = open[:len(open)+1] // with the list of names of the last that was open here
			open[len(open)-1].begin(data[i] == '{')
		case '}', ']':
			open = open[:len(open)-1]
		case ',':
			open[len(open)-1].nameNext = open[len(open)-1].isObject
		case '"':
			end := endOfString(data, i)
			if n := len(open); n > 0 && open[n-1].nameNext {
				if err := open[n-1].add(data[i : end+1]); err != nil {
					return err
				}
			}
			i = end
		}
	}
	return nil
}

// An object is one that is open, with the names that were seen in it.
type object struct {
	isObject, nameNext bool
	few                [][]byte
	many               map[string]struct{}
}

func (o *object) begin(isObject bool) {
	o.isObject, o.nameNext, o.few, o.many = isObject, isObject, o.few[:0], nil
}

// add takes a name in its quotes.
func (o *object) add(quoted []byte) error {
	o.nameNext = false
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if err := json.Unmarshal(quoted, &plain); err != nil {
			return malformed("%s", ratify.Quote(err.Error()))
		}
		name = []byte(plain)
	}
	if o.has(name) {
		return malformed("the name %s is there twice in one object", ratify.Quote(string(name)))
	}
	switch {
	case len(o.few) < fewNames:
		o.few = append(o.few, name)
	case o.many == nil:
		o.many = map[string]struct{}{}
		fallthrough
	default:
		o.many[string(name)] = struct{}{}
	}
	if len(o.many)+fewNames > maxNames {
		return tooMuch("an object has more than %d names", maxNames)
	}
	return nil
}

func (o *object) has(name []byte) bool {
	for _, few := range o.few {
		if bytes.Equal(few, name) {
			return true
		}
	}
	_, ok := o.many[string(name)]
	return ok
}

func malformed(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the document is malformed: " + fmt.Sprintf(format, args...)}
}

func tooMuch(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: "the document is not read: " + fmt.Sprintf(format, args...)}
}
