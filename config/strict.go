package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
)

// decode is json.Unmarshal, but strict: encoding/json matches names without regard to case, drops what it does not know,
// and stops at the first error. Here every error is told, with its place, and beside an *Error into holds what could be
// decoded.
func decode(place string, data []byte, into any) error {
	var value any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return &Error{faults: []error{located(place, "not valid JSON: %v", err)}, hole: true}
	}
	var c checker
	kept, _ := c.check(place, value, reflect.TypeOf(into).Elem())
	if len(c.faults) > 0 {
		var err error
		if data, err = json.Marshal(kept); err != nil {
			c.hole = true
			return &c.Error
		}
	}
	if err := json.Unmarshal(data, into); err != nil {
		c.fail(place, "%v", err)
		c.hole = true
	}
	placeSettings(reflect.ValueOf(into).Elem(), place)
	if len(c.faults) > 0 {
		return &c.Error
	}
	return nil
}

// An Error is all that is wrong with a configuration, or with settings, a line each. What could be decoded is there
// beside it, so that it can be checked in the same go, and is good for nothing else. In it, a field that is misspelt has
// its right name, a value that stands where a list belongs is a list, and a number that stands for text is text: what is
// said of them is then said of what was meant.
type Error struct {
	faults   []error
	mistyped map[string]bool // places of values that were dropped, or that were changed
	hole     bool            // something was dropped that others may refer to, or whose absence would be told
}

// Error tells all, a line each.
func (e *Error) Error() string { return errors.Join(e.faults...).Error() }

// Unwrap gives each.
func (e *Error) Unwrap() []error { return e.faults }

// Decoded tells whether what was decoded beside err is whole enough for its parts to be compared with one another.
func Decoded(err error) bool {
	var e *Error
	return errors.As(err, &e) && !e.hole
}

// Join adds to the error of a decoding what a check of the decoded part tells, but for what it tells of values that the
// error has told of.
func Join(err, more error) error {
	var e *Error
	if more == nil || !errors.As(err, &e) {
		return errors.Join(err, more)
	}
	longest := 0
	for place := range e.mistyped {
		longest = max(longest, len(place))
	}
	all := []error{err}
	for line := range strings.Lines(more.Error()) {
		if line = strings.TrimRight(line, "\n"); !e.tellsOf(line, longest) {
			all = append(all, errors.New(line))
		}
	}
	return errors.Join(all...)
}

// tellsOf tells whether a line is about a place that was mistyped, or what is in it; longest is the longest of them. The
// place is looked up, not compared with each: a list may have as many wrong elements as the file has bytes.
func (e *Error) tellsOf(line string, longest int) bool {
	for i, r := range line {
		if i > longest {
			break
		}
		if strings.ContainsRune(":[. ", r) && e.mistyped[line[:i]] {
			return true
		}
	}
	return e.mistyped[""] // the whole
}

// A checker gathers what is wrong with a value, and takes from it what is right.
type checker struct{ Error }

func (c *checker) fail(place, format string, args ...any) {
	c.faults = append(c.faults, located(place, format, args...))
}

func (c *checker) distrust(place string) {
	if c.mistyped == nil {
		c.mistyped = map[string]bool{}
	}
	c.mistyped[place] = true
}

// lose is for a value that cannot be kept.
func (c *checker) lose(place string, hole bool) (any, bool) {
	c.distrust(place)
	c.hole = c.hole || hole
	return nil, false
}

func (c *checker) add(other *checker) {
	c.faults = append(c.faults, other.faults...)
	for place := range other.mistyped {
		c.distrust(place)
	}
	c.hole = c.hole || other.hole
}

func located(place, format string, args ...any) error {
	message := fmt.Sprintf(format, args...)
	if place == "" {
		return errors.New(message)
	}
	return errors.New(place + ": " + message)
}

func join(place, name string) string {
	if place == "" {
		return name
	}
	return place + ": " + name
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// check returns what can be kept of a value, and whether anything can.
func (c *checker) check(place string, value any, t reflect.Type) (kept any, ok bool) {
	if value == nil {
		return nil, true // null is absence, as in JSON and YAML everywhere
	}
	if t.Kind() == reflect.Pointer {
		return c.check(place, value, t.Elem())
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return c.checkUnmarshaler(place, value, t)
	}
	switch t.Kind() {
	case reflect.Struct:
		return c.checkStruct(place, value, t)
	case reflect.Slice:
		return c.checkList(place, value, t)
	case reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			c.fail(place, "expected a mapping, got %s", describe(value))
			return c.lose(place, true)
		}
		kept := map[string]any{}
		for _, key := range sortedKeys(m) {
			if element, ok := c.check(join(place, key), m[key], t.Elem()); ok {
				kept[key] = element
			}
		}
		return kept, true
	default:
		return c.checkScalar(place, value, t)
	}
}

func (c *checker) checkList(place string, value any, t reflect.Type) (any, bool) {
	list, ok := value.([]any)
	if !ok {
		c.fail(place, "expected a list, got %s", describe(value))
		var alone checker
		element, ok := alone.check(elementPlace(place, 0, value), value, t.Elem())
		if !ok {
			return c.lose(place, true)
		}
		c.add(&alone)
		return []any{element}, true
	}
	kept := make([]any, len(list)) // one that is lost stays as null, so that the others keep their index
	for i, element := range list {
		kept[i], _ = c.check(elementPlace(place, i, element), element, t.Elem())
	}
	return kept, true
}

func (c *checker) checkUnmarshaler(place string, value any, t reflect.Type) (any, bool) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		c.fail(place, "%v", err)
		_, names := value.(map[string]any) // of others, as the tree of a policy's requirement does
		return c.lose(place, names)
	}
	return value, true
}

func (c *checker) checkStruct(place string, value any, t reflect.Type) (any, bool) {
	m, ok := value.(map[string]any)
	if !ok {
		c.fail(place, "expected a mapping, got %s", describe(value))
		return c.lose(place, true)
	}
	fields := map[string]reflect.Type{}
	collectFields(t, fields)
	kept := map[string]any{}
	for _, key := range sortedKeys(m) {
		fieldType, ok := fields[key]
		if !ok {
			c.fail(place, "unknown field %s%s", ratify.Quote(key), hint(key, sortedKeys(fields)))
			c.keepAs(Nearest(key, sortedKeys(fields)), place, key, m, fields, kept)
			continue
		}
		// A module's settings are checked when they are decoded into what they belong to.
		if fieldType == reflect.TypeFor[Settings]() {
			if _, ok := m[key].(map[string]any); !ok && m[key] != nil {
				c.fail(join(place, key), "expected a mapping, got %s", describe(m[key]))
				c.lose(place, false) // whatever the module says of having none
				continue
			}
			kept[key] = m[key]
			continue
		}
		if field, ok := c.check(join(place, key), m[key], fieldType); ok {
			kept[key] = field
		}
	}
	return kept, true
}

// keepAs keeps an unknown field under the name that was probably meant, unless that is there, too.
func (c *checker) keepAs(name, place, key string, m map[string]any, fields map[string]reflect.Type, kept map[string]any) {
	_, there := m[name]
	_, taken := kept[name]
	if name == "" || there || taken {
		return
	}
	var guess checker
	field, ok := guess.check(join(place, name), m[key], fields[name])
	if !ok {
		c.lose(join(place, name), guess.hole) // the field may be another after all: its type is not told
		return
	}
	kept[name] = field
	c.add(&guess)
}

func (c *checker) checkScalar(place string, value any, t reflect.Type) (any, bool) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err == nil {
		return value, true
	}
	number, isNumber := value.(json.Number)
	got := describe(value)
	if isNumber && t.Kind() != reflect.String {
		got = "the number " + ratify.Truncate(number.String()) // no secret is where a number is expected
	}
	c.fail(place, "expected %s, got %s", kindName(t), got)
	if _, isBool := value.(bool); t.Kind() == reflect.String && (isNumber || isBool) {
		c.distrust(place)
		return fmt.Sprint(value), true
	}
	return c.lose(place, t.Kind() == reflect.String)
}

func collectFields(t reflect.Type, fields map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			collectFields(f.Type, fields)
		case !f.IsExported() || name == "-":
		case name == "":
			fields[f.Name] = f.Type
		default:
			fields[name] = f.Type
		}
	}
}

// elementPlace names an element of a list by its index and, if it has one, its name.
func elementPlace(place string, i int, element any) string {
	place = fmt.Sprintf("%s[%d]", place, i)
	if m, ok := element.(map[string]any); ok {
		for _, key := range []string{"name", "host"} {
			if name, ok := m[key].(string); ok && name != "" {
				return place + " " + ratify.Quote(name)
			}
		}
	}
	return place
}

// placeSettings tells the settings of each module where they stand.
func placeSettings(v reflect.Value, place string) {
	tell := func(m *Module, list string, i int) {
		m.Settings.place = elementPlace(join(place, list), i, map[string]any{"name": m.Name})
	}
	var verifiers []Verifier
	switch f := v.Addr().Interface().(type) {
	case *File:
		verifiers = f.Verifiers
		for i := range f.Stores {
			tell(&f.Stores[i].Module, "stores", i)
		}
	case *Tenant:
		verifiers = f.Verifiers
	}
	for i := range verifiers {
		tell(&verifiers[i].Module, "verifiers", i)
	}
}

// describe names the type of a value and not the value: it may be a secret, in its place or out of it.
func describe(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case json.Number:
		return "a number (text that looks like one wants quotes)"
	case bool:
		return "true or false (text that looks like one, such as n or on, wants quotes)"
	case []any:
		return "a list"
	default:
		return "a mapping"
	}
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// hint suggests the known name that is meant, if one is near.
func hint(name string, known []string) string {
	if near := Nearest(name, known); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	if len(known) == 0 || len(known) > 12 {
		return ""
	}
	return " (known: " + strings.Join(known, ", ") + ")"
}

// Nearest returns the known name that differs from name by at most a third of its letters, or by one if it has fewer
// than six; "" if there is none.
func Nearest(name string, known []string) string {
	best, distance := "", max(len(name)/3, 1)+1
	for _, candidate := range known {
		if strings.EqualFold(candidate, name) {
			return candidate
		}
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	return best
}

// editDistance is Levenshtein's, over bytes, with two neighbours that changed places counted as one, for that is how
// fingers slip. It is for names of at most 64 bytes: longer ones are nobody's typo.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
