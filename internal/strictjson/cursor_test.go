package strictjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/internal/strictjson"
)

const everything = 1 << 30

// decode makes of the value that follows what encoding/json would.
func decode(c *strictjson.Cursor) (value any, err error) {
	switch c.Next() {
	case '{':
		object := map[string]any{}
		return object, c.Object(nil, func(name string) (err error) {
			object[name], err = decode(c)
			return err
		})
	case '[':
		list := make([]any, 0, c.Count(everything))
		err = c.List(everything, func() error {
			value, err := decode(c)
			list = append(list, value)
			return err
		})
		return list, err
	case '"':
		return c.Text()
	case 'n':
		return nil, c.Optional(func() error { return errors.New("no null") })
	}
	raw, err := c.Raw()
	if err != nil {
		return nil, err
	}
	switch string(raw) {
	case "true", "false":
		return string(raw) == "true", nil
	}
	return json.Number(raw), nil
}

// FuzzCursor: what Check accepts is read as the library reads it, and any other text ends.
func FuzzCursor(f *testing.F) {
	for _, seed := range []string{`{"a":[{},[],"\"",1e9,null],"b":{"\u0061":true}}`, ` [ "\ud800" , -1 ] `, `{"a"`, `[}`, `[[`, `"\`, "{\"\\u0061\":\x00", `[1`, `nu`, `}`, `{"a":`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := strictjson.NewCursor(data)
		got, err := decode(c)
		if strictjson.Check(data) != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var want any
		if wrong := d.Decode(&want); wrong != nil || err != nil || !reflect.DeepEqual(got, want) || c.Next() != 0 {
			t.Fatalf("%q is read as %v, %v, want %v, %v", data, got, err, want, wrong)
		}
		if raw, err := strictjson.NewCursor(data).Raw(); err != nil || string(raw) != string(bytes.TrimSpace(data)) {
			t.Errorf("%q is passed over as %q, %v", data, raw, err)
		}
	})
}

func TestCursor(t *testing.T) {
	var text string
	var at time.Time
	known := []string{"name", "list", "at", "k"}
	read := func(c *strictjson.Cursor) error {
		return c.Object(known, func(name string) error {
			switch name {
			case "name":
				return c.TextInto(&text)
			case "list":
				return c.Optional(func() error { return c.List(2, func() error { return nil }) })
			case "at":
				return c.TimeInto(&at)
			}
			return nil
		})
	}
	for _, tc := range []struct{ name, data, want string }{
		{"what is known and what is not", `{"x":[{}],"name":"a","k":{"Name":1},"list":[1,[2]],"at":"2026-03-10T11:00:00+01:00","NAME2":0}`, ""},
		{"null", `{"name":null,"list":null,"at":null}`, ""},
		{"an escaped name", `{"n\u0061me":"a"}`, ""},
		{"other letters", `{"Name":"a"}`, `the name "Name" is a field's in other letters`},
		{"other letters, escaped", `{"\u004eame":"a"}`, `the name "Name" is a field's in other letters`},
		{"a letter that folds into another", "{\"\u212a\":1}", "in other letters"},
		{"too long a list", `{"list":[1,2,3]}`, "list: it has more than 2 elements"},
		{"no list", `{"list":{}}`, "list: expected a list, got an object"},
		{"no string", `{"name":1}`, "name: expected a string, got a number"},
		{"no time", `{"at":"yesterday"}`, `at: expected a time such as 2026-01-02T15:04:05Z, got "yesterday"`},
		{"no object", `null`, "expected an object, got null"},
		{"no JSON", `{"name"`, "name: expected a string, got nothing"},
		{"no end", `{"x":[`, "a value is missing or has no end"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := read(strictjson.NewCursor([]byte(tc.data)))
			if tc.name == "what is known and what is not" && (text != "a" || !at.Equal(time.Date(2026, 3, 10, 10, 0, 0, 0, time.UTC)) || at.Location() != time.UTC) {
				t.Errorf("read %q, %s", text, at)
			}
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			var limit strictjson.LimitError
			if errors.As(err, &limit) != strings.Contains(tc.want, "more than") {
				t.Errorf("%v is a limit: %q", err, limit)
			}
		})
	}
}

// TestMemory: what is passed over takes none.
func TestMemory(t *testing.T) {
	data := []byte(`{"x":[` + strings.Repeat(`{"a":"\u0061"},`, 1000) + `0],"name":[` + strings.Repeat(`{},`, 1000) + `0]}`)
	known := []string{"name"}
	allocated := testing.AllocsPerRun(10, func() {
		c := strictjson.NewCursor(data)
		err := c.Object(known, func(string) error { return c.List(c.Count(everything), func() error { return nil }) })
		if err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 5 {
		t.Errorf("%v pieces of memory", allocated)
	}
}
