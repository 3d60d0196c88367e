package sbom

import (
	"encoding/json"
	"testing"

	"github.com/ratify-provider/ratify/internal/document"
)

// FuzzRead: a text that is no JSON ends in an error or a result, and what is JSON is stepped over as the library does.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"}]}`, `{"a":[{},[],"\"",1e9,null],"b":{}}`, `{"a"`, `[}`, "{\"\\u0061\":\x00", `"{\"Data\":{}}"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, kind := range []string{spdxKind, cycloneDXKind} {
			if b, err := read(kind, data, func(*component) {}); err == nil && b.format == "" {
				t.Errorf("%q has no format and no error", data)
			}
		}
		if document.CheckJSON(data) != nil {
			return
		}
		r := reader{data: data}
		value, err := r.value()
		if err != nil || !json.Valid(value) || r.peek() != 0 {
			t.Errorf("%q is read as %q, %v", data, value, err)
		}
	})
}
