package ratify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// fieldNames are those of manifests, indexes and descriptors.
var fieldNames = []string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "fsLayers", "subject",
	"digest", "size", "urls", "data", "platform", "annotations"}

// checkNames refuses what two readers could read differently (CVE-2021-41190): a name that is there twice, of which some
// take the first and some the last, and a field in other letters, which encoding/json takes for the field and others do
// not. data is valid JSON, which is not looked at for anything else: that takes a twentieth of what decoding its tokens does.
func checkNames(data []byte) error {
	n := names{data: data}
	return n.value(true)
}

// names goes through JSON in place.
type names struct {
	data []byte
	at   int
}

var errNotJSON = errors.New("it is not JSON")

// value goes through one value; fields tells that the names in it are fields, and not anybody's own.
func (n *names) value(fields bool) error {
	switch n.next() {
	case '{':
		return n.object(fields)
	case '[':
		return n.list(fields)
	case '"':
		_, err := n.text()
		return err
	}
	start := n.at
	for n.at < len(n.data) && strings.IndexByte(",]} \t\r\n", n.data[n.at]) < 0 {
		n.at++ // a number, true, false or null
	}
	if n.at == start {
		return errNotJSON
	}
	return nil
}

// next passes over space, and returns what follows; 0 is the end.
func (n *names) next() byte {
	for ; n.at < len(n.data); n.at++ {
		switch c := n.data[n.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// more tells whether a list or an object has another element; it passes over what stands between two.
func (n *names) more(end byte) (bool, error) {
	switch n.next() {
	case end:
		n.at++
		return false, nil
	case 0:
		return false, errNotJSON
	case ',':
		n.at++
	}
	return true, nil
}

func (n *names) list(fields bool) error {
	n.at++
	for {
		more, err := n.more(']')
		if err != nil || !more {
			return err
		}
		if err := n.value(fields); err != nil {
			return err
		}
	}
}

func (n *names) object(fields bool) error {
	n.at++
	var seen nameSet
	for {
		more, err := n.more('}')
		if err != nil || !more {
			return err
		}
		name, err := n.name()
		if err != nil {
			return err
		}
		switch {
		case len(seen.many) >= maxNames:
			return fmt.Errorf("an object has more than %d names", maxNames)
		case !seen.add(name):
			return fmt.Errorf("the name %s is there twice", Quote(name))
		case fields && isMisspelt(name):
			return fmt.Errorf("the name %s is a field's in other letters", Quote(name))
		}
		if err := n.value(fields && name != "annotations"); err != nil {
			return err
		}
	}
}

// name reads a name as encoding/json understands it, and passes over the colon behind it.
func (n *names) name() (string, error) {
	if n.next() != '"' {
		return "", errNotJSON
	}
	quoted, err := n.text()
	if err != nil {
		return "", err
	}
	if n.next() != ':' {
		return "", errNotJSON
	}
	n.at++
	text := quoted[1 : len(quoted)-1]
	if i := slices.IndexFunc(fieldNames, func(field string) bool { return field == string(text) }); i >= 0 {
		return fieldNames[i], nil // which costs no memory
	}
	name := string(text)
	if strings.IndexByte(name, '\\') >= 0 || !utf8.ValidString(name) {
		err = json.Unmarshal(quoted, &name)
	}
	return name, err
}

// text passes over a string, and returns it with its quotes.
func (n *names) text() ([]byte, error) {
	start := n.at
	for n.at++; n.at < len(n.data); n.at++ {
		switch n.data[n.at] {
		case '\\':
			n.at++
		case '"':
			n.at++
			return n.data[start:n.at], nil
		}
	}
	return nil, errNotJSON
}

// maxListedNames is how many names are compared one by one: a descriptor has some five. Of more, those of annotations are
// a stranger's, who could make the square of them.
const maxListedNames = 16

// maxNames bounds the names of one object: half a mebibyte to remember them. Annotations are the only ones that have more than
// a dozen, and clients allow 256 KiB of those.
const maxNames = 10_000

// A nameSet holds the names of one object.
type nameSet struct {
	few  [maxListedNames]string
	n    int
	many map[string]bool // all of them, where there are more
}

// add tells whether the name is new.
func (s *nameSet) add(name string) bool {
	if s.many == nil && slices.Contains(s.few[:s.n], name) || s.many[name] {
		return false
	}
	if s.many == nil && s.n < maxListedNames {
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = map[string]bool{}
		for _, known := range s.few {
			s.many[known] = true
		}
	}
	s.many[name] = true
	return true
}

func isMisspelt(name string) bool {
	return !slices.Contains(fieldNames, name) &&
		slices.ContainsFunc(fieldNames, func(field string) bool { return strings.EqualFold(field, name) })
}
