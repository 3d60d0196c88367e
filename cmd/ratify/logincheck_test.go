package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// checkMemory checks the login at a memory's registry, and returns what is printed.
func checkMemory(t *testing.T, m *memory) (*loginCheck, string) {
	t.Helper()
	a, stdout, _ := testApp(t)
	c := checkLogin(t.Context(), m.generation().engine, testSubject, nil)
	a.printLogin(c)
	return c, stdout.String()
}

func (m *memory) manifest(t *testing.T, mediaType string, value any) ocispec.Descriptor {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	d := describeBytes(data)
	d.MediaType = mediaType
	m.blobs[string(d.Digest)] = data
	return d
}

func TestCheckLogin(t *testing.T) {
	layer := describeBytes([]byte("layer"))
	large := layer
	large.Size = ratify.MaxEnvelopeBytes + 1
	for name, tc := range map[string]struct {
		manifest any
		want     string
	}{
		"config":           {map[string]any{"config": layer}, layer.Digest.String()},
		"layer":            {map[string]any{"config": ocispec.DescriptorEmptyJSON, "layers": []ocispec.Descriptor{large, layer}}, layer.Digest.String()},
		"too large":        {map[string]any{"layers": []ocispec.Descriptor{large}}, "none to read"},
		"nothing":          {map[string]any{}, "none to read"},
		"no manifest":      {"text", "none to read"},
		"index of nothing": {map[string]any{"manifests": []ocispec.Descriptor{}}, "none to read"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			m.subject = m.manifest(t, ocispec.MediaTypeImageManifest, tc.manifest)
			m.blobs[string(layer.Digest)] = []byte("layer")
			c, text := checkMemory(t, m)
			if !c.Accepted || c.code != nil || len(c.Reads) != 3 || c.Reads[2].Found != tc.want {
				t.Errorf("%+v", c)
			}
			if !strings.Contains(text, "blob: allowed, "+tc.want+"\n") || !strings.Contains(text, "referrers: allowed, 0 artifacts attached\n") {
				t.Errorf("printed\n%s", text)
			}
		})
	}
	m := newMemory(testImage)
	image := m.manifest(t, ocispec.MediaTypeImageManifest, map[string]any{"config": layer})
	m.subject = m.manifest(t, ocispec.MediaTypeImageIndex, map[string]any{"manifests": []ocispec.Descriptor{image}})
	m.blobs[string(layer.Digest)] = []byte("layer")
	if c, _ := checkMemory(t, m); !c.Accepted || c.Reads[2].Found != layer.Digest.String() {
		t.Errorf("of an index: %+v", c)
	}
	m.subject = m.manifest(t, ocispec.MediaTypeImageIndex, map[string]any{"manifests": []ocispec.Descriptor{m.subject}})
	if c, _ := checkMemory(t, m); !c.Accepted || c.Reads[2].Found != "none to read" {
		t.Errorf("of an index of indexes: %+v", c)
	}
}

func TestCheckLoginFails(t *testing.T) {
	refused := &ratify.Error{Code: ratify.RegistryAuth, Message: "refused"}
	for name, tc := range map[string]struct {
		change func(m *memory)
		reads  int
		what   string
		exit   int
	}{
		"manifest": {func(m *memory) {
			m.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, refused }
		}, 1, "manifest", exitRefused},
		"not there": {func(m *memory) {
			m.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
				return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
			}
		}, 1, "manifest", exitRefused},
		"not reached": {func(m *memory) {
			m.resolve = func(context.Context, string) (ocispec.Descriptor, error) {
				return ocispec.Descriptor{}, &ratify.Error{Code: ratify.RegistryUnavailable}
			}
		}, 1, "manifest", exitUnknown},
		"referrers": {func(m *memory) {
			m.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, refused }
		}, 3, "referrers", exitRefused},
		"blob": {func(m *memory) {
			m.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, refused }
		}, 3, "blob", exitRefused},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			m.subject = m.manifest(t, ocispec.MediaTypeImageManifest, map[string]any{"config": describeBytes([]byte("x"))})
			m.blobs[string(describeBytes([]byte("x")).Digest)] = []byte("x")
			tc.change(m)
			c, text := checkMemory(t, m)
			if c.Accepted || c.code == nil || int(c.exit()) != tc.exit || len(c.Reads) != tc.reads {
				t.Errorf("%+v", c)
			}
			if !strings.Contains(text, tc.what+": failed, ") || !strings.Contains(text, "hint: ") {
				t.Errorf("printed\n%s", text)
			}
		})
	}
	m := newMemory(testImage)
	m.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return nil, &ratify.Error{Code: ratify.LimitExceeded}
	}
	m.subject = m.manifest(t, ocispec.MediaTypeImageManifest, map[string]any{})
	if c, _ := checkMemory(t, m); !c.Accepted {
		t.Errorf("more than is read is taken for a refusal: %+v", c)
	}
}
