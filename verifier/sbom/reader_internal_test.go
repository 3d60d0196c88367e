package sbom

import "testing"

// FuzzRead: a text that is no JSON ends in an error or a result.
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
	})
}
