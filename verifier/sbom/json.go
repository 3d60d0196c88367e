package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/ratify-provider/ratify"
)

// A reader goes once through a JSON text that document.CheckJSON accepts, and makes nothing of it but the strings that it
// is asked for. The library's decoder takes seven times the size of what syft writes, and forty times that of the worst
// document, and 64 MiB of documents may be under way.
//
// That the text is valid is known, so that the reader only has to find its way; on any other text it gives some error or
// other, and reads nothing outside of it.
type reader struct {
	data []byte
	at   int
}

// A malformed error says what of a document breaks its format.
type malformed string

// Error returns what is wrong.
func (m malformed) Error() string { return string(m) }

func badly(format string, args ...any) error { return malformed(fmt.Sprintf(format, args...)) }

// peek returns the next byte that is no white space, without taking it; 0 at the end.
func (r *reader) peek() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// open takes the beginning of an object or of a list; null has none, and is taken, too.
func (r *reader) open(want byte) (bool, error) {
	switch c := r.peek(); {
	case c == want:
		r.at++
		return true, nil
	case c == 'n':
		return false, r.skip()
	case want == '{':
		return false, badly("expected an object at byte %d", r.at)
	}
	return false, badly("expected a list at byte %d", r.at)
}

// more tells whether another element or field follows, and takes what stands before it, or the end.
func (r *reader) more(end byte) bool {
	c := r.peek()
	if c == ',' {
		r.at++
		c = r.peek()
	}
	if c == end || c == 0 {
		r.at = min(r.at+1, len(r.data))
		return false
	}
	return true
}

// object reads an object, or null. field is called for each name that is known and must read its value; the others' values
// are stepped over. A known name in other letters is refused: to encoding/json, with which many tools are made, it is the
// field, and to others it is not.
func (r *reader) object(known []string, field func(name string) error) error {
	opened, err := r.open('{')
	if err != nil || !opened {
		return err
	}
	return r.fields(known, field)
}

// fields reads the rest of an object that is open.
func (r *reader) fields(known []string, field func(name string) error) error {
	for r.more('}') {
		found, err := r.name()
		if err != nil {
			return err
		}
		name := ""
		for _, k := range known {
			if string(found) == k {
				name = k
			} else if bytes.EqualFold(found, []byte(k)) {
				return badly("the name %s is a field's in other letters", ratify.Quote(string(found)))
			}
		}
		if name == "" {
			err = r.skip()
		} else {
			err = field(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list reads a list, or null. element is called for each element and must read it.
func (r *reader) list(element func() error) error {
	opened, err := r.open('[')
	if err != nil || !opened {
		return err
	}
	return r.elements(element)
}

// elements reads the rest of a list that is open.
func (r *reader) elements(element func() error) error {
	for r.more(']') {
		if err := element(); err != nil {
			return err
		}
	}
	return nil
}

// name reads the name of a field, and what stands between it and its value.
func (r *reader) name() ([]byte, error) {
	quoted, err := r.quoted()
	if err != nil {
		return nil, err
	}
	if r.peek() != ':' {
		return nil, badly("expected a colon at byte %d", r.at)
	}
	r.at++
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1], nil
	}
	name, err := unquote(quoted)
	return []byte(name), err
}

// text reads a string, or null, which is as if it were not there.
func (r *reader) text(into *string) error {
	if r.peek() == 'n' {
		return r.skip()
	}
	quoted, err := r.quoted()
	if err != nil {
		return err
	}
	*into, err = unquote(quoted)
	return err
}

// quoted takes a string with its quotes.
func (r *reader) quoted() ([]byte, error) {
	if r.peek() != '"' {
		return nil, badly("expected a string at byte %d", r.at)
	}
	start := r.at
	for r.at++; r.at < len(r.data); r.at++ {
		switch r.data[r.at] {
		case '\\':
			r.at++
		case '"':
			r.at++
			return r.data[start:r.at], nil
		}
	}
	r.at = len(r.data)
	return nil, badly("a string has no end")
}

// unquote returns what a string holds.
func unquote(quoted []byte) (string, error) {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var text string
	err := json.Unmarshal(quoted, &text)
	return text, err
}

// value takes any value and returns its text.
func (r *reader) value() ([]byte, error) {
	r.peek()
	start := r.at
	if err := r.skip(); err != nil {
		return nil, err
	}
	return r.data[start:r.at], nil
}

// skip steps over any value.
func (r *reader) skip() error {
	for depth := 0; ; {
		switch r.peek() {
		case 0:
			return badly("a value has no end")
		case '"':
			if _, err := r.quoted(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			r.at++
		case '}', ']':
			depth--
			r.at++
		case ',', ':':
			r.at++
		default: // a number, true, false or null
			r.at++
			for r.at < len(r.data) && !bytes.ContainsRune([]byte(" \t\n\r,]}"), rune(r.data[r.at])) {
				r.at++
			}
		}
		if depth <= 0 {
			return nil
		}
	}
}
