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
// and stops at the first error. Here every error is told, with its place.
func decode(place string, data []byte, into any) error {
	var value any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return located(place, "not valid JSON: %v", err)
	}
	var c checker
	c.check(place, value, reflect.TypeOf(into).Elem())
	if len(c.errs) > 0 {
		return errors.Join(c.errs...)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return located(place, "%v", err)
	}
	placeSettings(reflect.ValueOf(into).Elem(), place)
	return nil
}

type checker struct{ errs []error }

func (c *checker) fail(place, format string, args ...any) {
	c.errs = append(c.errs, located(place, format, args...))
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

func (c *checker) check(place string, value any, t reflect.Type) {
	if value == nil {
		return // null is absence, as in JSON and YAML everywhere
	}
	if t.Kind() == reflect.Pointer {
		c.check(place, value, t.Elem())
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		c.checkUnmarshaler(place, value, t)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.checkStruct(place, value, t)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			c.fail(place, "expected a list, got %s", describe(value))
			return
		}
		for i, element := range list {
			c.check(elementPlace(place, i, element), element, t.Elem())
		}
	case reflect.Map:
		m, ok := value.(map[string]any)
		if !ok {
			c.fail(place, "expected a mapping, got %s", describe(value))
			return
		}
		for _, key := range sortedKeys(m) {
			c.check(join(place, key), m[key], t.Elem())
		}
	default:
		c.checkScalar(place, value, t)
	}
}

func (c *checker) checkUnmarshaler(place string, value any, t reflect.Type) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		c.fail(place, "%v", err)
	}
}

func (c *checker) checkStruct(place string, value any, t reflect.Type) {
	m, ok := value.(map[string]any)
	if !ok {
		c.fail(place, "expected a mapping, got %s", describe(value))
		return
	}
	fields := map[string]reflect.Type{}
	collectFields(t, fields)
	for _, key := range sortedKeys(m) {
		fieldType, ok := fields[key]
		if !ok {
			c.fail(place, "unknown field %s%s", ratify.Quote(key), hint(key, sortedKeys(fields)))
			continue
		}
		// A module's settings are checked when they are decoded into what they belong to.
		if fieldType == reflect.TypeFor[Settings]() {
			if _, ok := m[key].(map[string]any); !ok && m[key] != nil {
				c.fail(join(place, key), "expected a mapping, got %s", describe(m[key]))
			}
			continue
		}
		c.check(join(place, key), m[key], fieldType)
	}
}

func (c *checker) checkScalar(place string, value any, t reflect.Type) {
	data, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(data, reflect.New(t).Interface())
	}
	if err != nil {
		got := describe(value)
		if number, ok := value.(json.Number); ok && t.Kind() != reflect.String {
			got = "the number " + ratify.Truncate(number.String()) // no secret is where a number is expected
		}
		c.fail(place, "expected %s, got %s", kindName(t), got)
	}
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
	f, ok := v.Addr().Interface().(*File)
	if !ok {
		return
	}
	for name, modules := range map[string][]Module{"stores": f.Stores, "verifiers": f.Verifiers} {
		for i := range modules {
			modules[i].Settings.place = elementPlace(join(place, name), i, map[string]any{"name": modules[i].Name})
		}
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
		return "true or false"
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

// Nearest returns the known name that differs from name by at most a third of its letters, or "".
func Nearest(name string, known []string) string {
	best, distance := "", max(len(name)/3, 2)+1
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

// editDistance is Levenshtein's, over bytes, for names of at most 64 bytes: longer ones are nobody's typo.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost = 1 + min(previous, row[j], row[j+1])
			}
			previous, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
