package ratify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// namesByTokens is what checkNames does, told by the tokens of encoding/json.
func namesByTokens(d *json.Decoder, fields bool) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token != json.Delim('{') && token != json.Delim('[') {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		inner := fields
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name := key.(string)
			misspelt := false
			for _, field := range fieldNames {
				misspelt = misspelt || field != name && strings.EqualFold(field, name)
			}
			switch {
			case seen[name]:
				return fmt.Errorf("the name %s is there twice", Quote(name))
			case fields && misspelt:
				return fmt.Errorf("the name %s is a field's in other letters", Quote(name))
			}
			seen[name] = true
			inner = fields && name != "annotations"
		}
		if err := namesByTokens(d, inner); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// sameNames compares both for valid JSON; of anything else there must be an answer at all.
func sameNames(t *testing.T, data []byte) {
	t.Helper()
	got := fmt.Sprint(checkNames(data))
	if !json.Valid(data) {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // how large a number is says nothing of names
	if want := fmt.Sprint(namesByTokens(decoder, true)); got != want {
		t.Errorf("%.300q: %s, want %s", data, got, want)
	}
}

// hostileNames are texts in which names could be mistaken.
func hostileNames() []string {
	many := make([]string, 3*maxListedNames)
	for i := range many {
		many[i] = fmt.Sprintf(`"name-%d":%d`, i, i)
	}
	manyAnd := func(more string) string { return "{" + strings.Join(many, ",") + "," + more + "}" }
	return []string{
		`{}`, `[]`, `""`, `0`, `1e9999`, `null`, ` { } `, "\t[\r\n1 , 2 ]\n", `{"a":{},"b":[],"c":"","d":-1.5e+3,"e":true,"f":null}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"layers":[],"\u006cayers":[]}`, `{"L\u0061yers":[]}`, `{"layerſ":[]}`, `{"ſize":1}`, `{"Kind":1,"kind":2}`,
		`{"a\"b":1,"a\"b":2}`, `{"a\\":1,"a\\":2}`, `{"\\":"\"","\"":"\\"}`, `{"a":"}","b":"]","c":",","d":":"}`, `{"a":"\\\"","b":1,"b":2}`,
		"{\"\xff\":1,\"\xfe\":2}", "{\"\xff\":1,\"\ufffd\":2}", `{"\ud800":1,"\ufffd":2}`, `{"":1,"":2}`, `{"":1," ":2}`,
		`{"annotations":{"Layers":1,"layers":2,"x":{"Digest":1}}}`, `{"annotations":{"a":1,"a":1}}`, `{"Annotations":{}}`, `{"x":{"annotations":{"Size":1}},"y":[{"Size":1}]}`,
		`[{"a":1},{"a":1}]`, `[{"digest":1},{"Digest":1}]`, `{"config":{"data":"e30=","DATA":1}}`, `{"platform":{"os":"linux","OS":"linux"}}`,
		manyAnd(`"name-0":1`), manyAnd(`"name-40":1`), manyAnd(`"new":1`), manyAnd(`"MANIFESTS":1`), "{" + strings.Join(many[:maxListedNames], ",") + `,"name-15":1}`,
		strings.Repeat("[", 1000) + strings.Repeat("]", 1000), strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000),
		// None of these is JSON.
		``, ` `, `{`, `[`, `"`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `[1`, `[1,`, `[}]`, `{]}`, `[:]`, `{:}`, `{,}`, `[,]`, `{"a" 1}`, `{1:2}`, `"\`, `{"\`, `}`, `]`, `,`, `:`, `{"\x":1}`,
	}
}

func TestNames(t *testing.T) {
	for _, text := range hostileNames() {
		sameNames(t, []byte(text))
	}
}

// TestNamesOfEveryCut: a text that ends anywhere has an answer.
func TestNamesOfEveryCut(t *testing.T) {
	for _, text := range hostileNames() {
		for i := range min(len(text), 500) {
			sameNames(t, []byte(text[:i]))
		}
	}
}

// TestManyNames: as many as there may be are looked at in no time; of a manifest of the largest size, which is nothing but
// annotations, no more are remembered.
func TestManyNames(t *testing.T) {
	object := func(names int) []byte {
		text := []byte(`{"annotations":{"":0`)
		for i := range names - 1 {
			text = fmt.Appendf(text, `,"%x":0`, i)
		}
		return append(text, "}}"...)
	}
	if err := checkNames(object(maxNames)); err != nil {
		t.Error(err)
	}
	largest := object(MaxManifestBytes / 10)
	var err error
	if took := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			err = checkNames(largest)
		}
	}); err == nil || took.AllocedBytesPerOp() > 4<<20 {
		t.Errorf("%v, with %d bytes", err, took.AllocedBytesPerOp())
	}
}

func FuzzNames(f *testing.F) {
	for _, text := range hostileNames() {
		f.Add([]byte(text))
	}
	f.Fuzz(sameNames)
}
