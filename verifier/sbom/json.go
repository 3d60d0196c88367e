package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
)

// A reader goes through a JSON text that document.CheckJSON accepts, and keeps nothing of it: what is not asked for is
// stepped over.
type reader struct{ d *json.Decoder }

func newReader(data []byte) *reader {
	r := &reader{json.NewDecoder(bytes.NewReader(data))}
	r.d.UseNumber() // the decoder has an error for a number that is no float64, and no number is of interest
	return r
}

// A malformed error says what of a document breaks its format.
type malformed string

// Error returns what is wrong.
func (m malformed) Error() string { return string(m) }

func badly(format string, args ...any) error { return malformed(fmt.Sprintf(format, args...)) }

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
	for r.d.More() {
		name, err := r.name()
		switch {
		case err != nil:
		case slices.Contains(known, name):
			err = field(name)
		case slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }):
			err = badly("the name %s is a field's in other letters", ratify.Quote(name))
		default:
			err = r.skip()
		}
		if err != nil {
			return err
		}
	}
	_, err := r.d.Token()
	return err
}

// name reads the name of a field.
func (r *reader) name() (string, error) {
	token, err := r.d.Token()
	name, _ := token.(string) // the decoder refuses anything else in this place
	return name, err
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
	for r.d.More() {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := r.d.Token()
	return err
}

// open reads the beginning of an object or of a list; null has none.
func (r *reader) open(want json.Delim) (bool, error) {
	token, err := r.d.Token()
	switch {
	case err != nil:
		return false, err
	case token == nil:
		return false, nil
	case token == want:
		return true, nil
	case want == '{':
		return false, badly("expected an object at byte %d", r.d.InputOffset())
	}
	return false, badly("expected a list at byte %d", r.d.InputOffset())
}

// text reads a string, or null, which is as if it were not there.
func (r *reader) text(into *string) error {
	token, err := r.d.Token()
	if err != nil || token == nil {
		return err
	}
	s, ok := token.(string)
	if !ok {
		return badly("expected a string at byte %d", r.d.InputOffset())
	}
	*into = s
	return nil
}

// skip steps over a value. The decoder holds no more of it at a time than one element, so that a list of all files of an
// image takes the memory of its longest.
func (r *reader) skip() error {
	token, err := r.d.Token()
	if err != nil || token != json.Delim('{') && token != json.Delim('[') {
		return err
	}
	for r.d.More() {
		if token == json.Delim('{') {
			if _, err := r.d.Token(); err != nil {
				return err
			}
		}
		if err := r.d.Decode(&nothing{}); err != nil {
			return err
		}
	}
	_, err = r.d.Token()
	return err
}

// nothing takes any JSON value and keeps none of it.
type nothing struct{}

// UnmarshalJSON does nothing.
func (*nothing) UnmarshalJSON([]byte) error { return nil }
