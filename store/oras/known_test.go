package oras

import (
	"context"
	"errors"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/store/storetest"
)

// readAll does what a verification of one signature reads, by digest.
func readAll(t *testing.T, repo ratify.Repository, c fixture) {
	t.Helper()
	for _, read := range []func(context.Context, ratify.Repository, fixture) error{resolveDigest, listReferrers, fetchManifest, fetchBlob} {
		if err := read(t.Context(), repo, c); err != nil {
			t.Fatal(err)
		}
	}
}

func count(f *fakeRegistry, work func()) int {
	before := len(f.seen())
	work()
	return len(f.seen()) - before
}

// What was read is not asked for again: not under a new configuration, and where there is a directory not by a new process.
// The list of referrers is.
func TestContentIsAskedForOnce(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	dir := t.TempDir()
	again := func(pool *Pool) int {
		store := newStore(t, Deps{Pool: pool}, f.entry(t))
		return count(f, func() { readAll(t, open(t, store, f.repository()), c) })
	}

	first := NewPoolWith(blobs.Options{Memory: blobs.DefaultMemory, Dir: dir, Disk: blobs.DefaultDisk})
	if n := again(first); n != 4 {
		t.Errorf("%d requests the first time, want 4", n)
	}
	if n := again(first); n != 1 {
		t.Errorf("%d requests after a reload, want 1", n)
	}
	first.Close()

	if n := again(NewPool()); n != 4 {
		t.Errorf("%d requests in another process without the directory, want 4", n)
	}

	second := NewPoolWith(blobs.Options{Memory: blobs.DefaultMemory, Dir: dir, Disk: blobs.DefaultDisk})
	defer second.Close()
	if n := again(second); n != 1 {
		t.Errorf("%d requests in another process with the directory, want 1", n)
	}
	if got := f.seen()[len(f.seen())-1]; !strings.Contains(got, "/referrers/") {
		t.Errorf("it asked %s", got)
	}
	if s := second.ContentStats(); s.DiskHits != 3 || s.Misses != 0 {
		t.Errorf("%+v, want 3 hits on disk", s)
	}
	if n := again(second); n != 1 || second.ContentStats().MemoryHits != 3 {
		t.Errorf("%d requests, %+v; want 1, and 3 hits in memory", n, second.ContentStats())
	}
}

// A tag may be on something else by now. What it is on is kept under its digest.
func TestTagsAreAskedForEachTime(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	repo := openFake(t, f, nil)
	for range 2 {
		if n := count(f, func() { _ = resolveTag(t.Context(), repo, c) }); n != 1 {
			t.Errorf("%d requests for a tag, want 1", n)
		}
	}
	if n := count(f, func() { _ = resolveDigest(t.Context(), repo, c) }); n != 0 {
		t.Errorf("%d requests for a digest that was read by tag, want 0", n)
	}
	var data []byte
	if n := count(f, func() { data, _ = repo.Fetch(t.Context(), c.image.Desc) }); n != 0 || string(data) != string(c.image.Data) {
		t.Errorf("%d requests for its manifest, %d bytes; want 0, all", n, len(data))
	}
}

// What one tenant has read is not for another, nor for the cluster, and what is in one repository not in another.
func TestContentIsNotShared(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	plain := newFake(t, c.content())
	store := newStore(t, Deps{}, f.entry(t), plain.entry(t))
	for _, tc := range []struct {
		name, repository, namespace string
		asked                       *fakeRegistry
	}{
		{"the cluster", f.repository(), "", f},
		{"a tenant", f.repository(), "team-a", f},
		{"another", f.repository(), "team-b", f},
		{"another registry", plain.repository(), "", plain},
	} {
		n := count(tc.asked, func() { readAll(t, openFor(t, store, tc.repository, tc.namespace), c) })
		if n != 4 {
			t.Errorf("%s: %d requests, want 4", tc.name, n)
		}
		if n := count(tc.asked, func() { readAll(t, openFor(t, store, tc.repository, tc.namespace), c) }); n != 1 {
			t.Errorf("%s: %d requests the second time, want 1", tc.name, n)
		}
	}
	other := open(t, store, f.host+"/elsewhere")
	if err := fetchBlob(t.Context(), other, c); err == nil {
		t.Error("a blob of one repository was found in another")
	}
}

// The keys of content are told apart by everything that says whose it is, and by nothing else.
func TestKeysOfContent(t *testing.T) {
	c := newFixture()
	d := c.image.Desc.Digest
	key := func(e *entry, target target, kind string, d digest.Digest) blobs.Key {
		return (&access{entry: e, target: target}).keyOf(kind, d)
	}
	of := target{host: "a.example", path: "app", namespace: "team-a"}
	base := key(&entry{}, of, kindManifests, d)
	for name, other := range map[string]blobs.Key{
		"scheme":    key(&entry{plainHTTP: true}, of, kindManifests, d),
		"host":      key(&entry{}, target{"b.example", "app", "team-a"}, kindManifests, d),
		"path":      key(&entry{}, target{"a.example", "app/x", "team-a"}, kindManifests, d),
		"namespace": key(&entry{}, target{"a.example", "app", ""}, kindManifests, d),
		"kind":      key(&entry{}, of, kindBlobs, d),
		"digest":    key(&entry{}, of, kindManifests, c.layer.Desc.Digest),
		"border":    key(&entry{}, target{"a.example", "pp", "team-aa"}, kindManifests, d),
	} {
		if other == base {
			t.Errorf("%s: the key is the same", name)
		}
	}
	if key(&entry{sources: []*source{{}}, client: &client{}}, of, kindManifests, d) != base {
		t.Error("the key depends on a credential or a connection")
	}
}

// A digest that is there as a blob may not be there as a manifest.
func TestKindsOfContentAreNotMixed(t *testing.T) {
	c := newFixture()
	f := newFake(t, storetest.Content{Blobs: []storetest.Blob{{Desc: c.image.Desc, Data: c.image.Data}}})
	repo := openFake(t, f, nil)
	blob := c.image.Desc
	blob.MediaType = "text/plain"
	if _, err := repo.Fetch(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	checkFailure(t, resolveDigest(t.Context(), repo, c), ratify.SubjectNotFound)
	_, err := repo.Fetch(t.Context(), c.image.Desc)
	checkFailure(t, err, ratify.RegistryInvalid)
}

// The type of a manifest that has none of its own is under no digest.
func TestManifestWithoutTypeIsResolvedEachTime(t *testing.T) {
	c := newFixture()
	c.image = storetest.NewImage("", "", nil, storetest.NewBlob(ocispec.MediaTypeImageConfig, []byte("{}")), c.layer, nil)
	f := newFake(t, c.content())
	repo := openFake(t, f, nil)
	for range 2 {
		if n := count(f, func() {
			if desc, err := repo.Resolve(t.Context(), c.image.Desc.Digest.String()); err != nil || desc.MediaType != ocispec.MediaTypeImageManifest {
				t.Errorf("%v, %v", desc, err)
			}
		}); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	}
}

// Kept content is compared with a descriptor as the registry's is.
func TestKeptContentIsChecked(t *testing.T) {
	c := newFixture()
	for _, tc := range []struct {
		name   string
		change func(*ocispec.Descriptor)
		want   ratify.Code
	}{
		{"size", func(d *ocispec.Descriptor) { d.Size++ }, ratify.EvidenceInvalid},
		{"size of nothing", func(d *ocispec.Descriptor) { d.Size = 0 }, ratify.EvidenceInvalid},
		{"negative size", func(d *ocispec.Descriptor) { d.Size = -1 }, ratify.EvidenceInvalid},
		{"size beyond the bound", func(d *ocispec.Descriptor) { d.Size = ratify.MaxManifestBytes + 1 }, ratify.LimitExceeded},
		{"media type", func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex }, ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc := c.image.Desc
			tc.change(&desc)
			f := newFake(t, c.content())
			unread := openFake(t, f, nil)
			_, before := unread.Fetch(t.Context(), desc)
			repo := openFake(t, f, nil)
			if _, err := repo.Fetch(t.Context(), c.image.Desc); err != nil {
				t.Fatal(err)
			}
			data, after := repo.Fetch(t.Context(), desc)
			checkFailure(t, after, tc.want)
			if data != nil || before.Error() != after.Error() {
				t.Errorf("%d bytes and %v, want none and %v", len(data), after, before)
			}
		})
	}
}

// A credential that was replaced changes nothing. One that was taken away ends the verification all the same: the list of
// referrers is not given without it.
func TestKeptContentAndCredentials(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "a", plantedSecret)
	dir := t.TempDir()
	pool := NewPoolWith(blobs.Options{Dir: dir, Disk: blobs.DefaultDisk})
	openWith := func(password string) ratify.Repository {
		return open(t, newStore(t, Deps{Pool: pool}, withSources(t, f, Credentials{Username: "a", Password: Secret(password)})), f.repository())
	}
	readAll(t, openWith(plantedSecret), c)
	pool.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("%d files, %v; want 3", len(files), err)
	}
	for _, file := range files {
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(file.Name()) {
			t.Errorf("a file is called %s", file.Name())
		}
		data, err := os.ReadFile(dir + "/" + file.Name())
		if err != nil || !slices.Contains([]string{string(c.image.Data), string(c.referrer.Data), string(c.layer.Data)}, string(data)) {
			t.Errorf("a file holds %q, %v", data, err)
		}
	}

	pool = NewPoolWith(blobs.Options{Dir: dir, Disk: blobs.DefaultDisk})
	defer pool.Close()
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		return r.Header.Get("Authorization") != basicAuth("a", "new") && answer(401, "", nil, "Www-Authenticate", `Basic realm="registry"`)(w, r)
	}
	if n := count(f, func() { readAll(t, openWith("new"), c) }); n != 2 {
		t.Errorf("%d requests with the new password, want 2: one is refused for want of it", n)
	}
	gone := openWith("another")
	if err := resolveDigest(t.Context(), gone, c); err != nil {
		t.Error(err)
	}
	checkFailure(t, listReferrers(t.Context(), gone, c), ratify.RegistryAuth)
}

// Who changes what he was given does not change what others get.
func TestContentIsTheCallersOwn(t *testing.T) {
	c := newFixture()
	repo := openFake(t, newFake(t, c.content()), nil)
	for range 3 {
		data, err := repo.Fetch(t.Context(), c.layer.Desc)
		if err != nil || string(data) != string(c.layer.Data) {
			t.Fatalf("%q, %v", data, err)
		}
		clear(data)
	}
}

// What is known is not an answer for who has gone.
func TestKnownContentAfterTheEnd(t *testing.T) {
	c := newFixture()
	repo := openFake(t, newFake(t, c.content()), nil)
	readAll(t, repo, c)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fetchBlob(ended, repo, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := resolveDigest(ended, repo, c); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
