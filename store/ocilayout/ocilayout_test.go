package ocilayout

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/store/storetest"
)

// layout is a directory under construction.
type layout struct {
	t    *testing.T
	path string
}

func newLayout(t *testing.T) layout {
	l := layout{t, t.TempDir()}
	l.write(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	l.writeIndex()
	return l
}

func (l layout) write(name string, data []byte) {
	l.t.Helper()
	path := filepath.Join(l.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func blobPath(d digest.Digest) string {
	return filepath.Join("blobs", d.Algorithm().String(), d.Encoded())
}

func (l layout) writeBlob(b storetest.Blob) { l.write(blobPath(b.Desc.Digest), b.Data) }

func (l layout) writeIndex(manifests ...ocispec.Descriptor) {
	l.write(ocispec.ImageIndexFile, indexOf(manifests...).Data)
}

func indexOf(manifests ...ocispec.Descriptor) storetest.Blob {
	data, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests})
	if err != nil {
		panic(err)
	}
	return storetest.NewBlob(ocispec.MediaTypeImageIndex, data)
}

func (l layout) open() ratify.Repository {
	l.t.Helper()
	store, err := New(Config{Path: l.path})
	if err != nil {
		l.t.Fatal(err)
	}
	repo, _, err := store.Open(l.t.Context(), ratify.Subject{Repository: "registry.example/app"})
	if err != nil {
		l.t.Fatal(err)
	}
	return repo
}

func withTag(d ocispec.Descriptor, tag string) ocispec.Descriptor {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[ocispec.AnnotationRefName] = tag
	return d
}

func image(about string, subject *ocispec.Descriptor) storetest.Manifest {
	config := storetest.NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	artifactType := ""
	if subject != nil {
		artifactType = storetest.ArtifactType
	}
	return storetest.NewImage(ocispec.MediaTypeImageManifest, artifactType, subject, config, config, map[string]string{"about": about})
}

func TestSuite(t *testing.T) {
	// load writes the content; place says in which way index.json leads to the referrers.
	load := func(place func(l layout, roots, referrers []ocispec.Descriptor)) storetest.Harness {
		return storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
			l := newLayout(t)
			for _, b := range content.Blobs {
				l.writeBlob(b)
			}
			var roots, referrers []ocispec.Descriptor
			for _, m := range content.Manifests {
				l.writeBlob(m.Blob)
				for _, tag := range m.Tags {
					roots = append(roots, withTag(m.Desc, tag))
				}
				if m.Subject != nil {
					referrers = append(referrers, m.Desc)
				}
			}
			place(l, roots, referrers)
			store, err := New(Config{Path: l.path})
			if err != nil {
				t.Fatal(err)
			}
			return store, "registry.example/app"
		}}
	}
	t.Run("referrers in index.json", func(t *testing.T) {
		storetest.Run(t, load(func(l layout, roots, referrers []ocispec.Descriptor) {
			l.writeIndex(append(roots, referrers...)...)
		}))
	})
	t.Run("referrers in an index", func(t *testing.T) {
		storetest.Run(t, load(func(l layout, roots, referrers []ocispec.Descriptor) {
			nested := indexOf(referrers...)
			l.writeBlob(nested)
			l.writeIndex(append(roots, nested.Desc)...)
		}))
	})
}

func TestReferrersByFallbackTag(t *testing.T) {
	l := newLayout(t)
	subject := image("subject", nil)
	l.writeBlob(subject.Blob)
	// The manifest itself is not in the layout: the list under the tag is a claim, as a registry's is.
	claimed := image("claimed", &subject.Desc)
	list := indexOf(claimed.Desc)
	l.writeBlob(list)
	l.writeIndex(withTag(subject.Desc, "v1"), withTag(list.Desc, content.ReferrersTag(subject.Desc.Digest)))
	got, err := l.open().Referrers(t.Context(), subject.Desc)
	if err != nil || len(got) != 1 || got[0].Digest != claimed.Desc.Digest {
		t.Errorf("%v and %v, want the claimed one", got, err)
	}
}

// Only another manifest under the tag, or nothing, means that there is no list. What cannot be read might be one.
func TestFallbackTagThatIsNoList(t *testing.T) {
	subject := image("subject", nil)
	docker := storetest.NewBlob(ratify.MediaTypeDockerManifestList, []byte(`{"mediaType":"`+ratify.MediaTypeDockerManifestList+`","manifests":[]}`))
	bare := storetest.NewBlob(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[]}`))
	text := storetest.NewBlob(ocispec.MediaTypeImageIndex, []byte("text"))
	torn := storetest.NewBlob(ocispec.MediaTypeImageIndex, []byte(`{"manifests":[`))
	unknown := storetest.NewBlob("application/json", []byte(`{"status":"maintenance"}`))
	missing := indexOf(image("listed", &subject.Desc).Desc)
	for _, tc := range []struct {
		name  string
		blobs []storetest.Blob
		tags  []ocispec.Descriptor
		want  ratify.Code
	}{
		{"no tag", nil, nil, ""},
		{"the subject itself", nil, []ocispec.Descriptor{subject.Desc}, ""},
		{"another image", []storetest.Blob{image("other", nil).Blob}, []ocispec.Descriptor{image("other", nil).Desc}, ""},
		{"Docker's list of platforms", []storetest.Blob{docker}, []ocispec.Descriptor{docker.Desc}, ""},
		{"empty list without a media type of its own", []storetest.Blob{bare}, []ocispec.Descriptor{bare.Desc}, ""},
		{"text", []storetest.Blob{text}, []ocispec.Descriptor{text.Desc}, ratify.RegistryInvalid},
		{"torn index", []storetest.Blob{torn}, []ocispec.Descriptor{torn.Desc}, ratify.RegistryInvalid},
		{"JSON of no known kind", []storetest.Blob{unknown}, []ocispec.Descriptor{unknown.Desc}, ratify.RegistryInvalid},
		{"index that is not there", nil, []ocispec.Descriptor{missing.Desc}, ratify.RegistryInvalid},
		{"malformed digest", nil, []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageIndex, Digest: "sha256:x"}}, ratify.RegistryInvalid},
		{"two", []storetest.Blob{bare, missing}, []ocispec.Descriptor{bare.Desc, missing.Desc}, ratify.RegistryInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLayout(t)
			l.writeBlob(subject.Blob)
			for _, b := range tc.blobs {
				l.writeBlob(b)
			}
			roots := []ocispec.Descriptor{subject.Desc}
			for _, d := range tc.tags {
				roots = append(roots, withTag(d, content.ReferrersTag(subject.Desc.Digest)))
			}
			l.writeIndex(roots...)
			got, err := l.open().Referrers(t.Context(), subject.Desc)
			if len(got) != 0 {
				t.Errorf("%v, want none", got)
			}
			if tc.want != "" {
				wantCode(t, err, tc.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestReferrersBounds(t *testing.T) {
	subject := image("subject", nil)
	t.Run("referrers", func(t *testing.T) {
		l := newLayout(t)
		descs := make([]ocispec.Descriptor, ratify.MaxReferrers+1)
		for i := range descs {
			m := image(fmt.Sprint(i), &subject.Desc)
			l.writeBlob(m.Blob)
			descs[i] = m.Desc
		}
		l.writeIndex(descs...)
		got, err := l.open().Referrers(t.Context(), subject.Desc)
		wantCode(t, err, ratify.LimitExceeded)
		if len(got) != ratify.MaxReferrers {
			t.Errorf("%d referrers beside the limit, want %d", len(got), ratify.MaxReferrers)
		}
	})
	t.Run("depth", func(t *testing.T) {
		l := newLayout(t)
		first := image("first", &subject.Desc)
		l.writeBlob(first.Blob)
		nested := indexOf()
		for range maxDepth + 1 {
			l.writeBlob(nested)
			nested = indexOf(nested.Desc)
		}
		l.writeBlob(nested)
		l.writeIndex(first.Desc, nested.Desc)
		got, err := l.open().Referrers(t.Context(), subject.Desc)
		wantCode(t, err, ratify.LimitExceeded)
		if len(got) != 1 {
			t.Errorf("%d referrers beside the limit, want 1", len(got))
		}
	})
	t.Run("entries", func(t *testing.T) {
		l := newLayout(t)
		descs := make([]ocispec.Descriptor, maxEntries+1)
		for i := range descs {
			descs[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1}
		}
		l.writeIndex(descs...)
		_, err := l.open().Referrers(t.Context(), subject.Desc)
		wantCode(t, err, ratify.LimitExceeded)
	})
	t.Run("entries of an index that are not looked at", func(t *testing.T) {
		l := newLayout(t)
		descs := make([]ocispec.Descriptor, maxEntries, maxEntries+1)
		for i := range descs {
			descs[i] = ocispec.Descriptor{MediaType: "x", Digest: "x"}
		}
		last := image("last", &subject.Desc)
		l.writeBlob(last.Blob)
		nested := indexOf(append(descs, last.Desc)...)
		l.writeBlob(nested)
		l.writeIndex(nested.Desc)
		_, err := l.open().Referrers(t.Context(), subject.Desc)
		wantCode(t, err, ratify.LimitExceeded)
	})
	t.Run("an index that lists itself is no endless walk", func(t *testing.T) {
		// It cannot hash to its own digest, so the nearest thing is a manifest listed many times.
		l := newLayout(t)
		m := image("once", &subject.Desc)
		l.writeBlob(m.Blob)
		nested := indexOf(m.Desc, m.Desc)
		l.writeBlob(nested)
		l.writeIndex(m.Desc, nested.Desc, nested.Desc)
		got, err := l.open().Referrers(t.Context(), subject.Desc)
		if err != nil || len(got) != 1 {
			t.Errorf("%d referrers and %v, want 1", len(got), err)
		}
	})
}

func TestMissingManifestsAreSkippedAndChangedOnesAreNot(t *testing.T) {
	subject := image("subject", nil)
	good, missing, changed := image("good", &subject.Desc), image("missing", &subject.Desc), image("changed", &subject.Desc)
	l := newLayout(t)
	l.writeBlob(good.Blob)
	l.writeIndex(missing.Desc, good.Desc)
	got, err := l.open().Referrers(t.Context(), subject.Desc)
	if err != nil || len(got) != 1 {
		t.Errorf("%d referrers and %v, want the one that is there", len(got), err)
	}
	l.write(blobPath(changed.Desc.Digest), []byte(`{"changed":true}`))
	l.writeIndex(good.Desc, changed.Desc)
	_, err = l.open().Referrers(t.Context(), subject.Desc)
	wantCode(t, err, ratify.RegistryInvalid)
}

func TestChangedContentIsRefused(t *testing.T) {
	m := image("image", nil)
	l := newLayout(t)
	l.write(blobPath(m.Desc.Digest), append([]byte(" "), m.Data[:len(m.Data)-1]...))
	l.writeIndex(withTag(m.Desc, "v1"))
	_, err := l.open().Resolve(t.Context(), "v1")
	wantCode(t, err, ratify.RegistryInvalid)
	_, err = l.open().Fetch(t.Context(), m.Desc)
	wantCode(t, err, ratify.RegistryInvalid)
}

// A descriptor of few bytes does not make of a large file one that could be read another time, and a changed one is no
// descriptor's fault.
func TestOtherSizes(t *testing.T) {
	blob := storetest.NewBlob("text/plain", []byte("content"))
	large := storetest.NewBlob("text/plain", make([]byte, ratify.MaxDocumentBytes+1))
	for _, tc := range []struct {
		name    string
		desc    ocispec.Descriptor
		content []byte
		want    ratify.Code
	}{
		{"the content is longer", blob.Desc, []byte("content, and more"), ratify.RegistryInvalid},
		{"the content is shorter", blob.Desc, nil, ratify.RegistryInvalid},
		{"the content is longer than is read", blob.Desc, large.Data, ratify.LimitExceeded},
		{"the descriptor says less than is read", ocispec.Descriptor{MediaType: "text/plain", Digest: large.Desc.Digest, Size: 10}, large.Data, ratify.LimitExceeded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLayout(t)
			l.write(blobPath(tc.desc.Digest), tc.content)
			_, err := l.open().Fetch(t.Context(), tc.desc)
			wantCode(t, err, tc.want)
		})
	}
}

func TestNothingOutsideIsRead(t *testing.T) {
	secret := storetest.NewBlob("text/plain", []byte("outside"))
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, secret.Data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"link to an absolute path": func(path string) error { return os.Symlink(outside, path) },
		"link to a relative path": func(path string) error {
			relative, err := filepath.Rel(filepath.Dir(path), outside)
			if err != nil {
				return err
			}
			return os.Symlink(relative, path)
		},
		"pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.write("blobs/sha256/other", nil)
			if err := make(filepath.Join(l.path, blobPath(secret.Desc.Digest))); err != nil {
				t.Fatal(err)
			}
			data, err := l.open().Fetch(t.Context(), secret.Desc)
			wantCode(t, err, ratify.RegistryUnavailable)
			if data != nil {
				t.Errorf("read %q", data)
			}
		})
	}
	t.Run("link to the directory of blobs", func(t *testing.T) {
		l := newLayout(t)
		elsewhere := newLayout(t)
		elsewhere.writeBlob(secret)
		if err := os.Symlink(filepath.Join(elsewhere.path, "blobs"), filepath.Join(l.path, "blobs")); err != nil {
			t.Fatal(err)
		}
		_, err := l.open().Fetch(t.Context(), secret.Desc)
		wantCode(t, err, ratify.RegistryUnavailable)
	})
}

func TestLinkInsideIsFollowed(t *testing.T) {
	l := newLayout(t)
	b := storetest.NewBlob("text/plain", []byte("inside"))
	l.write("blobs/sha256/other", b.Data)
	if err := os.Symlink("other", filepath.Join(l.path, blobPath(b.Desc.Digest))); err != nil {
		t.Fatal(err)
	}
	if data, err := l.open().Fetch(t.Context(), b.Desc); err != nil || string(data) != "inside" {
		t.Errorf("%q and %v", data, err)
	}
}

func TestResolve(t *testing.T) {
	one, two := image("one", nil), image("two", nil)
	big := storetest.NewBlob(ocispec.MediaTypeImageManifest, []byte(strings.Repeat(" ", ratify.MaxManifestBytes+1)))
	sha512 := storetest.Blob{Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.SHA512.FromBytes(one.Data), Size: one.Desc.Size}, Data: one.Data}
	l := newLayout(t)
	for _, b := range []storetest.Blob{one.Blob, two.Blob, big, sha512} {
		l.writeBlob(b)
	}
	l.writeIndex(withTag(one.Desc, "same"), withTag(one.Desc, "same"), withTag(one.Desc, "moved"), withTag(two.Desc, "moved"),
		withTag(big.Desc, "big"), withTag(sha512.Desc, "sha512"), withTag(ocispec.Descriptor{Digest: "sha256:x"}, "bad"))
	for _, tc := range []struct {
		reference string
		want      ratify.Code
	}{
		{"same", ""},
		{"sha512", ""},
		{sha512.Desc.Digest.String(), ""},
		{"moved", ratify.SubjectInvalid},
		{"big", ratify.LimitExceeded},
		{"bad", ratify.RegistryInvalid},
		{"a/b", ratify.BadReference},
	} {
		t.Run(tc.reference, func(t *testing.T) {
			desc, err := l.open().Resolve(t.Context(), tc.reference)
			if tc.want != "" {
				wantCode(t, err, tc.want)
			} else if err != nil || desc.Size != one.Desc.Size {
				t.Errorf("%v and %v", desc, err)
			}
		})
	}
}

func TestOldArtifactsSayTheirTypeInTheConfig(t *testing.T) {
	subject := image("subject", nil)
	config := storetest.NewBlob("application/vnd.cncf.notary.signature", []byte("{}"))
	old := storetest.NewImage(ocispec.MediaTypeImageManifest, "", &subject.Desc, config, config, nil)
	l := newLayout(t)
	l.writeBlob(old.Blob)
	l.writeIndex(old.Desc)
	got, err := l.open().Referrers(t.Context(), subject.Desc)
	if err != nil || len(got) != 1 || got[0].ArtifactType != config.Desc.MediaType {
		t.Errorf("%+v and %v, want the config's media type", got, err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(l layout)
		want   string
	}{
		{"no directory", func(l layout) { os.RemoveAll(l.path) }, "no OCI image layout"},
		{"no oci-layout", func(l layout) { os.Remove(filepath.Join(l.path, "oci-layout")) }, "no OCI image layout"},
		{"no index.json", func(l layout) { os.Remove(filepath.Join(l.path, "index.json")) }, "index.json"},
		{"oci-layout is no JSON", func(l layout) { l.write("oci-layout", []byte("1.0.0")) }, "version 1"},
		{"oci-layout of another version", func(l layout) { l.write("oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`)) }, "version 1"},
		{"oci-layout of a gigabyte", func(l layout) { l.write("oci-layout", make([]byte, maxMarkerBytes+1)) }, "larger than allowed"},
		{"index.json is no index", func(l layout) { l.write("index.json", []byte("[]")) }, "decode index"},
		{"index.json of 5 MiB", func(l layout) { l.write("index.json", make([]byte, 5<<20)) }, "larger than allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLayout(t)
			tc.damage(l)
			if _, err := New(Config{Path: l.path}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "path: ") {
				t.Errorf("error %v, want path: … %s", err, tc.want)
			}
		})
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no path is accepted")
	}
}

func TestLayoutThatGoesAway(t *testing.T) {
	l := newLayout(t)
	repo := l.open()
	if err := os.RemoveAll(l.path); err != nil {
		t.Fatal(err)
	}
	_, err := repo.Resolve(t.Context(), "v1")
	wantCode(t, err, ratify.RegistryUnavailable)
	_, err = repo.Referrers(t.Context(), image("x", nil).Desc)
	wantCode(t, err, ratify.RegistryUnavailable)
}

func wantCode(t *testing.T, err error, want ratify.Code) {
	t.Helper()
	var e *ratify.Error
	if !errors.As(err, &e) || e.Code != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// FuzzManifest puts hostile bytes where a manifest is expected, by a tag, a referrer and a fetch.
func FuzzManifest(f *testing.F) {
	subject := image("subject", nil)
	f.Add(subject.Data)
	f.Add(image("referrer", &subject.Desc).Data)
	f.Add(indexOf(subject.Desc).Data)
	f.Add([]byte(`{"subject":null,"manifests":[],"layers":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := storetest.NewBlob(ocispec.MediaTypeImageManifest, data)
		l := newLayout(t)
		l.writeBlob(b)
		asIndex := b.Desc
		asIndex.MediaType = ocispec.MediaTypeImageIndex
		l.writeIndex(withTag(b.Desc, "v1"), withTag(asIndex, content.ReferrersTag(subject.Desc.Digest)))
		repo := l.open()
		if desc, err := repo.Resolve(t.Context(), "v1"); err == nil && (desc.Digest != b.Desc.Digest || desc.Size != b.Desc.Size) {
			t.Errorf("resolved to %v", desc)
		}
		if list, err := repo.Referrers(t.Context(), subject.Desc); err == nil && len(list) > ratify.MaxReferrers {
			t.Errorf("%d referrers", len(list))
		}
		if got, err := repo.Fetch(t.Context(), b.Desc); err == nil && string(got) != string(data) {
			t.Errorf("fetched %q", got)
		}
	})
}
