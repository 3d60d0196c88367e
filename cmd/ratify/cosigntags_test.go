package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// tag puts a manifest under one of cosign's tags for the image.
func (m *memory) tag(suffix, manifest string) ocispec.Descriptor {
	desc := describeBytes([]byte(manifest))
	m.blobs[string(desc.Digest)] = []byte(manifest)
	m.tags["sha256-"+m.subject.Digest.Encoded()+suffix] = desc
	return desc
}

func TestListShowsCosignTags(t *testing.T) {
	layer := func(n int, annotations string) string {
		return fmt.Sprintf(`{"mediaType":"text/plain","digest":"%s","size":1%s}`, digest.FromString(fmt.Sprint(n)), annotations)
	}
	many := make([]string, maxTagLayers+10)
	for i := range many {
		many[i] = layer(i, "")
	}
	for name, c := range map[string]struct {
		manifest string
		want     []string // lines below the tag
	}{
		"signatures":  {`{"layers":[` + layer(1, "") + "," + layer(2, "") + `]}`, []string{"├── %1 text/plain", "└── %2 text/plain"}},
		"attestation": {`{"layers":[` + layer(1, `,"annotations":{"predicateType":"https://slsa.dev/provenance/v1"}`) + `]}`, []string{"└── %1 text/plain", "    └── predicate type: https://slsa.dev/provenance/v1"}},
		"hostile":     {`{"layers":[{"mediaType":"\u001b[2J","digest":"x\u001b[2J"}]}`, []string{`└── "x\x1b[2J" "\x1b[2J"`}},
		"nothing":     {`{"layers":null}`, []string{"└── (empty)"}},
		"an index":    {`{"manifests":[]}`, []string{"└── (empty)"}},
		"no manifest": {`]`, []string{"└── (empty)"}},
		"odd layers":  {`{"layers":{}}`, []string{"└── (empty)"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			m.tag(".att", c.manifest)
			got, incomplete := listMemory(t, m)
			want := fmt.Sprintf("registry.example/app@%s\n└── sha256-%s.att\n", testImage.Digest, testImage.Digest.Encoded())
			for _, line := range c.want {
				line = strings.NewReplacer("%1", digest.FromString("1").String(), "%2", digest.FromString("2").String()).Replace(line)
				want += "    " + line + "\n"
			}
			if got != want || incomplete != nil {
				t.Errorf("got\n%swant\n%sincomplete: %v", got, want, incomplete)
			}
		})
	}
	m := newMemory(testImage)
	m.tag(".sig", `{"layers":[`+strings.Join(many, ",")+`]}`)
	if got, _ := listMemory(t, m); strings.Count(got, "text/plain") != maxTagLayers {
		t.Errorf("%d layers are shown, want %d", strings.Count(got, "text/plain"), maxTagLayers)
	}
}

// TestTagsThatCannotBeRead: what was read before is shown, and the exit code tells.
func TestTagsThatCannotBeRead(t *testing.T) {
	limited := &ratify.Error{Code: ratify.RateLimited}
	for name, change := range map[string]func(m *memory, att ocispec.Descriptor){
		"resolve": func(m *memory, _ ocispec.Descriptor) {
			resolve := m.resolve
			m.resolve = func(ctx context.Context, reference string) (ocispec.Descriptor, error) {
				if strings.HasSuffix(reference, ".att") {
					return ocispec.Descriptor{}, limited
				}
				return resolve(ctx, reference)
			}
		},
		"fetch": func(m *memory, att ocispec.Descriptor) {
			fetch := m.fetch
			m.fetch = func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
				if desc.Digest == att.Digest {
					return nil, limited
				}
				return fetch(ctx, desc)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			m.tag(".sig", `{"layers":[]}`)
			change(m, m.tag(".att", `{"layers":[],"annotations":{}}`))
			if got, incomplete := listMemory(t, m); !strings.Contains(got, ".sig\n") || incomplete == nil || incomplete.Code != ratify.RateLimited {
				t.Errorf("ls: %s (%v)", got, incomplete)
			}
			if got, incomplete := inspectMemory(t, m); len(got.CosignTags) != 1 || incomplete == nil || incomplete.Code != ratify.RateLimited {
				t.Errorf("inspect: %d tags (%v)", len(got.CosignTags), incomplete)
			}
		})
	}
}

// TestNoTagForLongDigests: a registry takes no tag that is longer, and would answer anything.
func TestNoTagForLongDigests(t *testing.T) {
	long := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.SHA512.FromString("image"), Size: 1}
	found, err := findTagged(t.Context(), &fakeRepository{}, "registry.example/app", long)
	if len(found) != 0 || err != nil {
		t.Errorf("%v, %v", found, err)
	}
}

func TestTagsWithinTheDeadline(t *testing.T) {
	m := newMemory(testImage)
	resolve := m.resolve
	m.resolve = func(ctx context.Context, reference string) (ocispec.Descriptor, error) {
		if reference == testSubject.Tag {
			return resolve(ctx, reference)
		}
		<-ctx.Done()
		return ocispec.Descriptor{}, ctx.Err()
	}
	a, _, _ := testApp(t)
	_, incomplete, err := a.listTree(t.Context(), m.generation(), testSubject, 10*time.Millisecond)
	if err != nil || incomplete == nil || incomplete.Code != ratify.Deadline || incomplete.Message != "no decision within 10ms" {
		t.Errorf("%v, %v", incomplete, err)
	}
}
