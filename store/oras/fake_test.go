package oras

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/store/storetest"
)

// fakeRegistry is a registry over TLS that can be told to misbehave. It remembers every request.
type fakeRegistry struct {
	server  *httptest.Server
	host    string
	content storetest.Content
	// perPage is the number of referrers on a page; 0 puts all on one.
	perPage int
	// tagOnly turns the referrers API off.
	tagOnly bool
	// before answers in place of the registry where it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu       sync.Mutex
	requests []*http.Request
}

func newFake(t *testing.T, content storetest.Content) *fakeRegistry {
	f := &fakeRegistry{content: content}
	f.start(t, false)
	return f
}

// restartWithHTTP2 serves HTTP/2 from now on, and refuses HTTP/1.
func (f *fakeRegistry) restartWithHTTP2(t *testing.T) {
	f.start(t, true)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		return r.ProtoMajor != 2 && answer(http.StatusHTTPVersionNotSupported, "", nil)(w, r)
	}
}

func (f *fakeRegistry) start(t *testing.T, http2 bool) {
	f.server = httptest.NewUnstartedServer(f)
	f.server.EnableHTTP2 = http2
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are what some tests want
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	f.host = f.server.Listener.Addr().String()
}

func (f *fakeRegistry) repository() string { return f.host + "/app" }

// seen returns the requests so far as "METHOD path?query".
func (f *fakeRegistry) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := make([]string, len(f.requests))
	for i, r := range f.requests {
		lines[i] = r.Method + " " + r.URL.RequestURI()
	}
	return lines
}

func (f *fakeRegistry) all() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Clone(r.Context()))
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/app/")
	kind, reference, _ := strings.Cut(rest, "/")
	switch {
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case kind == "manifests":
		f.serveManifest(w, reference)
	case kind == "blobs":
		f.serveBlob(w, reference)
	case kind == "referrers" && !f.tagOnly:
		f.serveReferrers(w, r, reference)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fakeRegistry) serveManifest(w http.ResponseWriter, reference string) {
	for _, m := range f.content.Manifests {
		if m.Desc.Digest.String() == reference || slices.Contains(m.Tags, reference) {
			w.Header().Set("Content-Type", m.Desc.MediaType)
			w.Write(m.Data)
			return
		}
	}
	if f.tagOnly {
		for _, m := range f.content.Manifests {
			if m.Subject != nil && content.ReferrersTag(m.Subject.Digest) == reference {
				writeIndex(w, f.referrersOf(m.Subject.Digest.String()))
				return
			}
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (f *fakeRegistry) serveBlob(w http.ResponseWriter, reference string) {
	for _, b := range f.content.Blobs {
		if b.Desc.Digest.String() == reference {
			w.Write(b.Data)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
}

func (f *fakeRegistry) serveReferrers(w http.ResponseWriter, r *http.Request, subject string) {
	all := f.referrersOf(subject)
	from, _ := strconv.Atoi(r.URL.Query().Get("from"))
	all = all[min(from, len(all)):]
	if f.perPage > 0 && len(all) > f.perPage {
		all = all[:f.perPage]
		w.Header().Set("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, r.URL.Path, from+f.perPage))
	}
	writeIndex(w, all)
}

func (f *fakeRegistry) referrersOf(subject string) []ocispec.Descriptor {
	var all []ocispec.Descriptor
	for _, m := range f.content.Manifests {
		if m.Subject != nil && m.Subject.Digest.String() == subject {
			all = append(all, m.Desc)
		}
	}
	return all
}

func writeIndex(w http.ResponseWriter, manifests []ocispec.Descriptor) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": manifests})
}

// entry is the configuration under which the fake can be reached.
func (f *fakeRegistry) entry(t *testing.T) Registry {
	t.Helper()
	return Registry{Host: f.host, AllowPrivate: true, CAFile: caFile(t, f.server)}
}

func caFile(t *testing.T, servers ...*httptest.Server) string {
	t.Helper()
	var text []byte
	for _, server := range servers {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})...)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newStore(t *testing.T, deps Deps, registries ...Registry) *Store {
	t.Helper()
	store, err := New(Config{Registries: registries}, deps)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func open(t *testing.T, store *Store, name string) ratify.Repository {
	t.Helper()
	repo, _, err := store.Open(t.Context(), ratify.Subject{Repository: name})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// openFake opens the fake's repository under its entry, changed by change.
func openFake(t *testing.T, f *fakeRegistry, change func(*Registry)) ratify.Repository {
	t.Helper()
	entry := f.entry(t)
	if change != nil {
		change(&entry)
	}
	return open(t, newStore(t, Deps{}, entry), f.repository())
}

// freePort returns an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}
