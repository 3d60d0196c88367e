package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

func listMemory(t *testing.T, m *memory) (string, *ratify.Error) {
	t.Helper()
	a, stdout, _ := testApp(t)
	root, incomplete, err := a.listTree(t.Context(), m.generation(), testSubject, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	a.printTree(root)
	return stdout.String(), incomplete
}

func artifact(name, artifactType string) ocispec.Descriptor {
	d := describeBytes([]byte(name))
	d.ArtifactType = artifactType
	return d
}

func TestListTree(t *testing.T) {
	m := newMemory(testImage)
	sbom, signature, deep := artifact("sbom", "sbom"), artifact("signature", "signature"), artifact("deep", "deep")
	m.lists[string(testImage.Digest)] = []ocispec.Descriptor{sbom, signature}
	m.lists[string(sbom.Digest)] = []ocispec.Descriptor{signature}
	m.lists[string(signature.Digest)] = []ocispec.Descriptor{deep, sbom, testImage} // in a circle
	m.lists[string(deep.Digest)] = []ocispec.Descriptor{artifact("too deep", "too deep")}
	got, incomplete := listMemory(t, m)
	want := fmt.Sprintf(`registry.example/app@%s
├── sbom
│   └── %s
│       └── signature
│           └── %s
└── signature
    └── %s
        ├── deep
        │   └── %s
        ├── sbom
        │   └── %s
        └── application/vnd.oci.image.manifest.v1+json
            └── %s
`, testImage.Digest, sbom.Digest, signature.Digest, signature.Digest, deep.Digest, sbom.Digest, testImage.Digest)
	if got != want || incomplete != nil {
		t.Errorf("got\n%swant\n%sincomplete: %v", got, want, incomplete)
	}
}

func TestListReadsTypesThatAreNotListed(t *testing.T) {
	for name, c := range map[string]struct {
		listed   string
		manifest string // "" is none
		want     string
	}{
		"listed":              {"sbom", "", "sbom"},
		"not listed":          {"", `{"artifactType":"sbom","config":{"mediaType":"application/vnd.oci.empty.v1+json"}}`, "sbom"},
		"of an empty config":  {ocispec.MediaTypeEmptyJSON, `{"artifactType":"sbom"}`, "sbom"},
		"older than OCI 1.1":  {"", `{"config":{"mediaType":"signature"}}`, "signature"},
		"cannot be read":      {"", "", ocispec.MediaTypeImageManifest},
		"is no manifest":      {ocispec.MediaTypeEmptyJSON, `]`, ocispec.MediaTypeEmptyJSON},
		"clears the terminal": {"", `{"artifactType":"\u001b[2J"}`, `"\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			d := artifact(c.manifest, c.listed)
			m.lists[string(testImage.Digest)] = []ocispec.Descriptor{d}
			if c.manifest != "" {
				m.blobs[string(d.Digest)] = []byte(c.manifest)
			}
			got, _ := listMemory(t, m)
			if want := "└── " + c.want + "\n"; !strings.Contains(got, want) {
				t.Errorf("got\n%swant %s", got, want)
			}
		})
	}
}

func TestListBounds(t *testing.T) {
	m := newMemory(testImage)
	var many []ocispec.Descriptor
	for i := range ratify.MaxReferrers {
		many = append(many, artifact(fmt.Sprint(i), ""))
	}
	listings, reads := 0, 0
	m.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if listings++; subject.Digest == testImage.Digest {
			return many, nil
		}
		return nil, nil
	}
	m.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) {
		reads++
		return []byte("{}"), nil
	}
	_, incomplete := listMemory(t, m)
	if listings != maxListings || reads != maxListings || incomplete == nil || incomplete.Code != ratify.LimitExceeded {
		t.Errorf("%d listings, %d reads, incomplete: %v", listings, reads, incomplete)
	}

	m.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return many[:1], &ratify.Error{Code: ratify.LimitExceeded, Message: "more than 10 pages"}
	}
	got, incomplete := listMemory(t, m)
	if !strings.Contains(got, string(many[0].Digest)) || incomplete == nil || incomplete.Message != "more than 10 pages" {
		t.Errorf("got\n%sincomplete: %v", got, incomplete)
	}
}

func TestListFails(t *testing.T) {
	refused := &ratify.Error{Code: ratify.RegistryAuth, Message: "no access"}
	child := artifact("child", "sbom")
	for name, at := range map[string]ocispec.Descriptor{"of the image": testImage, "of an attachment": child} {
		m := newMemory(testImage)
		m.referrers = func(_ context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			if subject.Digest == at.Digest {
				return nil, refused
			}
			return []ocispec.Descriptor{child}, nil
		}
		a, _, _ := testApp(t)
		if _, _, err := a.listTree(t.Context(), m.generation(), testSubject, time.Minute); !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
