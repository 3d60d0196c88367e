package content

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// counted tells how much was read of something without end.
type counted struct{ n int64 }

func (c *counted) Read(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

func TestReadIsBounded(t *testing.T) {
	for _, tc := range []struct {
		text  string
		limit int64
		want  error
	}{
		{"", 0, nil},
		{"abc", 3, nil},
		{"abcd", 3, ErrTooLarge},
		{"a", 0, ErrTooLarge},
	} {
		data, err := Read(strings.NewReader(tc.text), tc.limit)
		if !errors.Is(err, tc.want) || tc.want == nil && string(data) != tc.text || tc.want != nil && data != nil {
			t.Errorf("%q within %d: %q, %v, want %v", tc.text, tc.limit, data, err, tc.want)
		}
	}
	var endless counted
	if _, err := Read(&endless, 1000); !errors.Is(err, ErrTooLarge) || endless.n > 1001 {
		t.Errorf("%d bytes were read, error %v", endless.n, err)
	}
	broken := errors.New("broken")
	if data, err := Read(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)), 10); !errors.Is(err, broken) || data != nil {
		t.Errorf("what was cut is %q, %v", data, err)
	}
}

func TestReadDescribed(t *testing.T) {
	text := []byte("some words")
	manifest := []byte(`{"mediaType":"` + ocispec.MediaTypeImageManifest + `"}`)
	describe := func(data []byte, mediaType string, size int) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(size)}
	}
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		desc     ocispec.Descriptor
		sent     io.Reader
		want     error
		wantCode ratify.Code
		unkept   bool
	}{
		"as it says":             {desc: describe(text, "text/plain", len(text)), sent: bytes.NewReader(text)},
		"sha512":                 {desc: ocispec.Descriptor{Digest: digest.SHA512.FromBytes(text), Size: int64(len(text))}, sent: bytes.NewReader(text)},
		"a manifest":             {desc: describe(manifest, ocispec.MediaTypeImageManifest, len(manifest)), sent: bytes.NewReader(manifest)},
		"another manifest":       {desc: describe(manifest, ocispec.MediaTypeImageIndex, len(manifest)), sent: bytes.NewReader(manifest), wantCode: ratify.EvidenceInvalid},
		"other bytes":            {desc: describe(text, "text/plain", len(text)), sent: strings.NewReader("some other"), want: ErrOtherDigest},
		"too little":             {desc: describe(text, "text/plain", len(text)), sent: bytes.NewReader(text[:4]), want: ErrOtherDigest},
		"nothing":                {desc: describe(text, "text/plain", len(text)), sent: strings.NewReader(""), want: ErrOtherDigest},
		"more than it should":    {desc: describe(text, "text/plain", len(text)), sent: strings.NewReader("some words and more"), want: ErrOtherDigest, unkept: true},
		"a descriptor too small": {desc: describe(text, "text/plain", 4), sent: bytes.NewReader(text), wantCode: ratify.EvidenceInvalid, unkept: true},
		"a descriptor too large": {desc: describe(text, "text/plain", 400), sent: bytes.NewReader(text), wantCode: ratify.EvidenceInvalid},
		"without end":            {desc: describe(text, "text/plain", 10), sent: &counted{}, wantCode: ratify.LimitExceeded, unkept: true},
		"without end, as large as may be": {desc: describe(manifest, ocispec.MediaTypeImageManifest, ratify.MaxManifestBytes), sent: &counted{},
			wantCode: ratify.LimitExceeded, unkept: true},
		"cut":                     {desc: describe(text, "text/plain", len(text)), sent: io.MultiReader(bytes.NewReader(text), iotest.ErrReader(broken)), want: broken},
		"cut behind its size":     {desc: describe(text, "text/plain", 4), sent: io.MultiReader(bytes.NewReader(text), iotest.ErrReader(broken)), want: broken, unkept: true},
		"ended by another bound":  {desc: describe(text, "text/plain", len(text)), sent: iotest.ErrReader(ErrTooLarge), wantCode: ratify.LimitExceeded, unkept: true},
		"empty and said to be so": {desc: describe(nil, "text/plain", 0), sent: strings.NewReader("")},
	} {
		t.Run(name, func(t *testing.T) {
			unkept := false
			data, err := ReadDescribed(tc.sent, tc.desc, func() { unkept = true })
			var known *ratify.Error
			errors.As(err, &known)
			switch {
			case tc.want == nil && tc.wantCode == "":
				if err != nil || digest.NewDigestFromBytes(tc.desc.Digest.Algorithm(), hashOf(tc.desc.Digest.Algorithm(), data)) != tc.desc.Digest {
					t.Errorf("read %q, error %v", data, err)
				}
			case tc.want != nil && !errors.Is(err, tc.want), tc.wantCode != "" && (known == nil || known.Code != tc.wantCode), data != nil:
				t.Errorf("read %d bytes, error %v, want %v %s", len(data), err, tc.want, tc.wantCode)
			}
			if unkept != tc.unkept {
				t.Errorf("told that it is not kept: %t, want %t", unkept, tc.unkept)
			}
			if c, ok := tc.sent.(*counted); ok && c.n > Bound(tc.desc)+64<<10 {
				t.Errorf("%d bytes were read of what has no end", c.n)
			}
		})
	}
}

func hashOf(a digest.Algorithm, data []byte) []byte {
	h := a.Hash()
	h.Write(data)
	return h.Sum(nil)
}

func TestDiscardIsBounded(t *testing.T) {
	var endless counted
	if Discard(&endless, 1000); endless.n != 1000 {
		t.Errorf("%d bytes were read", endless.n)
	}
}
