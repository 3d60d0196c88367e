package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/strictjson"
)

func manyNames(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf(`"n%d":0`, i))
	}
	return "{" + strings.Join(names, ",") + "}"
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestCheck(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		want       ratify.Code
	}{
		{"object", `{"a":{"a":1,"b":[{"a":1},{"a":2}]},"b":"a"}`, ""},
		{"values that look like names", `{"a":"b","b":["a","a","b"],"c":"c"}`, ""},
		{"brackets and quotes in strings", `{"a":"}{][\"{","b\"":"\\","b":""}`, ""},
		{"names in other letters are other names", `{"path":1,"Path":2,"PATH":3}`, ""},
		{"white space", " \n\t{ \"a\" : [ ] } \r\n", ""},
		{"scalar", `"a"`, ""},
		{"null", `null`, ""},
		{"siblings do not share names", `[{"a":1},{"a":1},[{"a":1}],{"a":{"a":{"a":1}}}]`, ""},
		{"as deep as allowed", nested(strictjson.MaxDepth), ""},
		{"as many names as allowed", manyNames(10_000), ""},

		{"twice", `{"a":1,"a":1}`, ratify.EvidenceInvalid},
		{"twice, one escaped", `{"a":1,"\u0061":2}`, ratify.EvidenceInvalid},
		{"twice, after an object", `{"a":1,"b":{"c":[{}]},"a":2}`, ratify.EvidenceInvalid},
		{"twice, within", `{"b":[[{"a":1,"c":2,"a":3}]]}`, ratify.EvidenceInvalid},
		{"twice, the empty name", `{"":1,"":2}`, ratify.EvidenceInvalid},
		{"twice among many", strings.TrimSuffix(manyNames(100), "}") + `,"n99":1}`, ratify.EvidenceInvalid},
		{"twice among many, an early one", strings.TrimSuffix(manyNames(100), "}") + `,"n1":1}`, ratify.EvidenceInvalid},
		{"too many names", manyNames(10_001), ratify.LimitExceeded},
		{"too deep", nested(strictjson.MaxDepth + 1), ratify.LimitExceeded},
		{"far too deep", nested(1_000_000), ratify.LimitExceeded},
		{"too deep and not closed", strings.Repeat(`{"a":`, 1_000_000), ratify.LimitExceeded},
		{"closed too often", strings.Repeat("]", 1000) + nested(200), ratify.EvidenceInvalid},
		{"empty", ``, ratify.EvidenceInvalid},
		{"trailing", `{} {}`, ratify.EvidenceInvalid},
		{"cut short", `{"a":"`, ratify.EvidenceInvalid},
		{"cut short in an escape", `{"a":"\`, ratify.EvidenceInvalid},
		{"not UTF-8", "{\"a\":\"\xff\"}", ratify.EvidenceInvalid},
		{"byte order mark", "\ufeff{}", ratify.EvidenceInvalid},
		{"HTML", "<html>", ratify.EvidenceInvalid},
		{"number with a leading zero", `{"a":01}`, ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := strictjson.Check([]byte(tc.data))
			if code(err) != tc.want {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			if err != nil && len(err.Error()) > 2*ratify.MaxTextBytes {
				t.Errorf("message of %d bytes", len(err.Error()))
			}
		})
	}
}

// code is the code of an error, or empty for none.
func code(err error) ratify.Code {
	var problem *ratify.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &problem):
		return problem.Code
	default:
		return ratify.Internal
	}
}

// hasTwice tells by the library's tokens whether an object has a name twice: slower than Check, and written apart.
func hasTwice(d *json.Decoder) bool {
	token, err := d.Token()
	if err != nil {
		return false
	}
	delim, _ := token.(json.Delim)
	seen, twice := map[string]bool{}, false
	for (delim == '{' || delim == '[') && d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return twice
			}
			twice = twice || seen[name.(string)]
			seen[name.(string)] = true
		}
		twice = hasTwice(d) || twice
	}
	if delim == '{' || delim == '[' {
		_, _ = d.Token()
	}
	return twice
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"a":{"a":1},"b":[1,"x",{"\u0061":null,"a":0}]}`, `{"a":1,"a":2}`, `[[[[`, "\"\\", `{"":{"":""}}`, nested(101)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := strictjson.Check(data)
		if err == nil && !json.Valid(data) {
			t.Fatal("accepted what is no JSON")
		}
		if err == nil && hasTwice(json.NewDecoder(strings.NewReader(string(data)))) {
			t.Fatal("accepted a name that is there twice")
		}
		if err != nil && !code(err).Definitive() {
			t.Fatalf("%v is no refusal", err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	pkg := `{"SPDXID":"SPDXRef-1","name":"a package","versionInfo":"1.2.3","licenseConcluded":"Apache-2.0","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/a@1.2.3"}]}`
	data := []byte("[" + strings.TrimSuffix(strings.Repeat(pkg+",", 16<<20/len(pkg)), ",") + "]")
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if err := strictjson.Check(data); err != nil {
			b.Fatal(err)
		}
	}
}
