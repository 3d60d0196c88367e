package oras

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/store/storetest"
)

const (
	plantedUser   = "planted-user"
	plantedSecret = "planted-secret"
)

// stranger is a server of somebody else: nothing may ever be sent to it.
type stranger struct {
	server *httptest.Server
	mu     sync.Mutex
	got    []*http.Request
	conns  atomic.Int32
}

func newStranger(t *testing.T) *stranger {
	s := &stranger{}
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.got = append(s.got, r.Clone(context.Background()))
		io.WriteString(w, `{"token":"from-a-stranger"}`)
	}))
	s.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

func (s *stranger) url() string  { return s.server.URL }
func (s *stranger) host() string { return s.server.Listener.Addr().String() }

// fixture is one image with one referrer, and the blob that it has.
type fixture struct {
	image, referrer storetest.Manifest
	layer           storetest.Blob
}

func newFixture() fixture {
	config := storetest.NewBlob(ocispec.MediaTypeImageConfig, []byte("{}"))
	c := fixture{layer: storetest.NewBlob("text/plain", []byte("ten bytes!"))}
	c.image = storetest.NewImage(ocispec.MediaTypeImageManifest, "", nil, config, c.layer, nil)
	c.image.Tags = []string{"v1"}
	c.referrer = storetest.NewImage(ocispec.MediaTypeImageManifest, storetest.ArtifactType, &c.image.Desc, config, c.layer, nil)
	return c
}

func (c fixture) content() storetest.Content {
	return storetest.Content{Blobs: []storetest.Blob{c.layer}, Manifests: []storetest.Manifest{c.image, c.referrer}}
}

// The three reads, each of its usual target.
func resolveTag(ctx context.Context, repo ratify.Repository, _ fixture) error {
	_, err := repo.Resolve(ctx, "v1")
	return err
}

func resolveDigest(ctx context.Context, repo ratify.Repository, c fixture) error {
	_, err := repo.Resolve(ctx, c.image.Desc.Digest.String())
	return err
}

func listReferrers(ctx context.Context, repo ratify.Repository, c fixture) error {
	_, err := repo.Referrers(ctx, c.image.Desc)
	return err
}

func fetchBlob(ctx context.Context, repo ratify.Repository, c fixture) error {
	_, err := repo.Fetch(ctx, c.layer.Desc)
	return err
}

func fetchManifest(ctx context.Context, repo ratify.Repository, c fixture) error {
	_, err := repo.Fetch(ctx, c.referrer.Desc)
	return err
}

// answer writes one answer to all requests.
func answer(status int, contentType string, body []byte, headers ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Add(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		w.Write(body)
		return true
	}
}

// link answers every page of referrers with a link to the next one.
func link(next func(r *http.Request) string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Link", "<"+next(r)+`>; rel="next"`)
		writeIndex(w, nil)
		return true
	}
}

func bearer(realm, scope string) string {
	return fmt.Sprintf(`Bearer realm=%q,service="registry",scope=%q`, realm, scope)
}

func zipped(size int) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, size))
	w.Close()
	return b.Bytes()
}

const index = ocispec.MediaTypeImageIndex

func TestMaliciousRegistry(t *testing.T) {
	other := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]}`)
	type operation func(context.Context, ratify.Repository, fixture) error
	for _, tc := range []struct {
		name     string
		do       operation
		before   func(s *stranger) func(http.ResponseWriter, *http.Request) bool
		want     ratify.Code
		requests int // that the registry gets, at most
		remedy   string
	}{
		{name: "another manifest under the digest and the right header", do: resolveDigest, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, ocispec.MediaTypeImageManifest, other, "Docker-Content-Digest", newFixture().image.Desc.Digest.String())
			}},
		{name: "tag moved between resolve and read, the digest with it", want: ratify.RegistryInvalid, requests: 2,
			do: func(ctx context.Context, repo ratify.Repository, _ fixture) error {
				desc, err := repo.Resolve(ctx, "v1")
				if err != nil {
					return fmt.Errorf("resolve: %w", err)
				}
				repo.(*access).deps.Pool.content = blobs.New(blobs.Options{}) // what was just read would be taken
				_, err = repo.Fetch(ctx, desc)
				return err
			},
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, "sha256:") && answer(200, ocispec.MediaTypeImageManifest, other)(w, r)
				}
			}},
		{name: "signature manifest swapped after listing", do: fetchManifest, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, ocispec.MediaTypeImageManifest, bytes.Repeat([]byte(" "), int(newFixture().referrer.Desc.Size)))
			}},
		{name: "blob swapped after listing", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", []byte("TEN BYTES!"), "Docker-Content-Digest", newFixture().layer.Desc.Digest.String())
			}},
		{name: "page of referrers that points at itself", do: listReferrers, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(r *http.Request) string { return r.URL.RequestURI() })
			}},
		{name: "always a new page of referrers", do: listReferrers, want: ratify.LimitExceeded, requests: maxPages,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				n := 0
				return link(func(r *http.Request) string { n++; return fmt.Sprintf("%s?n=%d", r.URL.Path, n) })
			}},
		{name: "next page on another origin", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(r *http.Request) string { return s.url() + r.URL.Path + "?n=2" })
			}},
		{name: "next page on another origin without scheme", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(r *http.Request) string { return "//" + s.host() + r.URL.Path })
			}},
		{name: "next page over http", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(r *http.Request) string { return "http://" + r.Host + r.URL.Path + "?n=2" })
			}},
		{name: "next page with a user in its address", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(r *http.Request) string { return "https://user:password@" + r.Host + r.URL.Path + "?n=2" })
			}},
		{name: "next page in another repository", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(*http.Request) string { return "/v2/other/referrers/sha256:x" })
			}},
		{name: "next page that climbs out of the repository", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return link(func(*http.Request) string { return "/v2/app/%2e%2e/other/referrers/x" })
			}},
		{name: "a million descriptors in 4 MiB", do: listReferrers, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				var page strings.Builder
				for i := range 1 << 16 {
					fmt.Fprintf(&page, `{"digest":"%d"},`, i)
				}
				return answer(200, index, []byte(`{"manifests":[`+page.String()+`{}]}`))
			}},
		{name: "one descriptor of 5 MiB", do: listReferrers, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, []byte(`{"manifests":[{"annotations":{"x":"`+strings.Repeat("x", 5<<20)+`"}}]}`))
			}},
		{name: "an index of referrers that has layers", do: listReferrers, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, []byte(`{"layers":[],"manifests":[]}`))
			}},
		{name: "a list of referrers that says it is a manifest", do: listReferrers, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","manifests":[]}`))
			}},
		{name: "10 bytes declared and 1 GiB announced", do: fetchBlob, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", nil, "Content-Length", "1073741824")
			}},
		{name: "10 bytes declared and an endless body", do: fetchBlob, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool { return endless }},
		{name: "an endless manifest", do: resolveTag, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool { return endless }},
		{name: "an endless list", do: listReferrers, want: ratify.LimitExceeded, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					w.Header().Set("Content-Type", index)
					return endless(w, r)
				}
			}},
		{name: "10 bytes declared and fewer sent", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool { return answer(200, "", []byte("few")) }},
		{name: "10 bytes declared and fewer sent in chunks", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, _ *http.Request) bool {
					w.(http.Flusher).Flush()
					io.WriteString(w, "few")
					return true
				}
			}},
		{name: "10 bytes declared and others sent, that are more", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", bytes.Repeat([]byte("TEN BYTES!"), 1<<10))
			}},
		{name: "10 bytes declared and more sent, that break off", do: fetchBlob, want: ratify.RegistryUnavailable, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", bytes.Repeat([]byte("TEN BYTES!"), 1<<10), "Content-Length", "10485760")
			}},
		{name: "1 MiB declared, and the bytes of the digest sent, which are fewer", want: ratify.EvidenceInvalid, requests: 1,
			do: func(ctx context.Context, repo ratify.Repository, c fixture) error {
				desc := c.layer.Desc
				desc.Size = 1 << 20
				_, err := repo.Fetch(ctx, desc)
				return err
			}},
		{name: "1 byte declared, and the bytes of the digest sent in chunks", want: ratify.EvidenceInvalid, requests: 1,
			do: func(ctx context.Context, repo ratify.Repository, c fixture) error {
				desc := c.layer.Desc
				desc.Size = 1
				_, err := repo.Fetch(ctx, desc)
				return err
			},
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, _ *http.Request) bool {
					w.(http.Flusher).Flush()
					w.Write(newFixture().layer.Data)
					return true
				}
			}},
		{name: "gzip bomb", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", zipped(1<<20), "Content-Encoding", "gzip")
			}},
		{name: "the right bytes under a name of compression", do: fetchBlob, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, "", newFixture().layer.Data, "Content-Encoding", "br")
			}},
		{name: "gzip bomb in place of a list", do: listReferrers, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, zipped(1<<20), "Content-Encoding", "gzip")
			}},
		{name: "realm on another host and port", do: resolveTag, want: ratify.RegistryNotAllowed, requests: 1, remedy: "authHosts",
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(401, "", nil, "Www-Authenticate", bearer(s.url()+"/token", ""))
			}},
		{name: "realm over http", do: resolveTag, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					return answer(401, "", nil, "Www-Authenticate", bearer("http://"+r.Host+"/token", ""))(w, r)
				}
			}},
		{name: "realm with a user in its address", do: resolveTag, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					return answer(401, "", nil, "Www-Authenticate", bearer("https://user@"+r.Host+"/token", ""))(w, r)
				}
			}},
		{name: "realm that is a file", do: resolveTag, want: ratify.RegistryInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(401, "", nil, "Www-Authenticate", bearer("file:///etc/passwd", ""))
			}},
		{name: "second challenge line with a stranger's realm", do: resolveTag, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(401, "", nil, "Www-Authenticate", `Negotiate`, "Www-Authenticate", bearer(s.url()+"/token", ""))
			}},
		{name: "manifest redirected to another host", do: resolveTag, want: ratify.RegistryNotAllowed, requests: 1, remedy: "redirectHosts",
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(307, "", nil, "Location", s.url()+"/manifest")
			}},
		{name: "blob redirected to another host", do: fetchBlob, want: ratify.RegistryNotAllowed, requests: 1, remedy: "redirectHosts",
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(302, "", nil, "Location", s.url()+"/blob")
			}},
		{name: "blob redirected to http", do: fetchBlob, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					return answer(302, "", nil, "Location", "http://"+r.Host+"/blob")(w, r)
				}
			}},
		{name: "blob redirected with a user in the address", do: fetchBlob, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					return answer(302, "", nil, "Location", "https://user:password@"+r.Host+"/blob")(w, r)
				}
			}},
		{name: "redirects without end", do: fetchBlob, want: ratify.LimitExceeded, requests: maxRedirects + 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				n := 0
				return func(w http.ResponseWriter, r *http.Request) bool {
					n++
					return answer(302, "", nil, "Location", fmt.Sprintf("/v2/app/blobs/%d", n))(w, r)
				}
			}},
		{name: "referrers redirected to another host", do: listReferrers, want: ratify.RegistryNotAllowed, requests: 1,
			before: func(s *stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(308, "", nil, "Location", s.url()+"/v2/app/referrers/x")
			}},
		{name: "URLs in a descriptor", requests: 1, want: "",
			do: func(ctx context.Context, repo ratify.Repository, c fixture) error {
				desc := c.layer.Desc
				desc.URLs = []string{"https://192.0.2.1/layer"}
				desc.Data = []byte("not this")
				data, err := repo.Fetch(ctx, desc)
				if err == nil && !bytes.Equal(data, c.layer.Data) {
					return errors.New("data that is not the registry's")
				}
				return err
			}},
		{name: "manifest with both layers and manifests", do: resolveTag, want: ratify.SubjectInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, ocispec.MediaTypeImageManifest, []byte(`{"config":{},"layers":[],"manifests":[]}`))
			}},
		{name: "header and manifest disagree about the media type", do: resolveTag, want: ratify.SubjectInvalid, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, []byte(`{"mediaType":"`+index+`","config":{},"layers":[]}`))
			}},
		{name: "headers of a megabyte", do: resolveTag, want: ratify.RegistryUnavailable, requests: 1,
			before: func(*stranger) func(http.ResponseWriter, *http.Request) bool {
				return answer(200, index, nil, "X", strings.Repeat("x", 1<<20))
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, s := newFixture(), newStranger(t)
			f := newFake(t, c.content())
			if tc.before != nil {
				f.before = tc.before(s)
			}
			repo := openFake(t, f, func(r *Registry) {
				r.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
				// The stranger's certificate is trusted: nothing but the rule may stop a connection to it.
				r.CAFile = caFile(t, f.server, s.server)
			})
			err := tc.do(t.Context(), repo, c)
			checkFailure(t, err, tc.want)
			var e *ratify.Error
			if errors.As(err, &e) && !strings.Contains(e.UserRemedy(), tc.remedy) {
				t.Errorf("remedy %q, want the field %s", e.UserRemedy(), tc.remedy)
			}
			if seen := f.seen(); len(seen) > tc.requests {
				t.Errorf("%d requests, want at most %d: %q", len(seen), tc.requests, seen)
			}
			if n := s.conns.Load(); n != 0 {
				t.Errorf("%d connections to a stranger", n)
			}
		})
	}
}

// What goes on beyond the size that a descriptor gives is hashed, and takes no part of the bytes in flight.
func TestUndeclaredBytesAreNotKept(t *testing.T) {
	const sent = 15 << 20 // below the bound, and more than the buffers of two sockets take
	data := bytes.Repeat([]byte("x"), ratify.MaxDocumentBytes)
	desc := ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromBytes(data), Size: 10}
	f := newFake(t, storetest.Content{})
	reading, goOn := make(chan struct{}), make(chan struct{})
	f.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Write(data[:sent])
		close(reading)
		<-goOn
		w.Write(data[sent:])
		return true
	}
	pool := NewPool()
	repo := open(t, newStore(t, Deps{Pool: pool}, f.entry(t)), f.repository())
	done := make(chan error)
	go func() {
		_, err := repo.Fetch(t.Context(), desc)
		done <- err
	}()
	select {
	case <-reading:
	case err := <-done:
		t.Fatal(err)
	}
	if !pool.bodies.Try("another", maxInFlightBytes/4*3) {
		t.Error("bytes that are not kept count as in flight")
	}
	close(goOn)
	err := <-done
	checkFailure(t, err, ratify.EvidenceInvalid)
	if !strings.Contains(err.Error(), "has 10 bytes, and it has 16777216") {
		t.Errorf("error %v does not name both sizes", err)
	}
}

// endless writes until the client goes away.
func endless(w http.ResponseWriter, r *http.Request) bool {
	for {
		if _, err := w.Write([]byte(strings.Repeat(" ", 32<<10))); err != nil || r.Context().Err() != nil {
			return true
		}
	}
}

// checkFailure checks the code, and that no error shows the planted secret or control characters.
func checkFailure(t *testing.T, err error, want ratify.Code) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("error %v, want none", err)
		}
		return
	}
	var e *ratify.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v, want %s", err, want)
	}
	if e.Code != want {
		t.Errorf("code %s (%v), want %s", e.Code, err, want)
	}
	text := err.Error() + e.UserMessage() + e.UserRemedy()
	if strings.Contains(text, plantedSecret) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.Errorf("error %q shows a secret or control characters", text)
	}
	if len(e.UserMessage()) > 3*ratify.MaxTextBytes {
		t.Errorf("message of %d bytes", len(e.UserMessage()))
	}
}

func TestErrorBodiesAreNotShown(t *testing.T) {
	for status, want := range map[int]ratify.Code{
		400: ratify.RegistryInvalid, 401: ratify.RegistryAuth, 403: ratify.RegistryAuth, 405: ratify.RegistryInvalid, 408: ratify.RegistryUnavailable,
		429: ratify.RateLimited, 500: ratify.RegistryUnavailable, 501: ratify.RegistryUnavailable, 503: ratify.RegistryUnavailable, 599: ratify.RegistryUnavailable,
	} {
		for name, body := range map[string]string{
			"escape codes": "{\"errors\":[{\"code\":\"X\x1b[31m\",\"message\":\"line\\nfeed\"}]}",
			"a megabyte":   strings.Repeat("x", 1<<20),
		} {
			t.Run(fmt.Sprint(status, " with ", name), func(t *testing.T) {
				c := newFixture()
				f := newFake(t, c.content())
				f.before = answer(status, "application/json", []byte(body), "Retry-After", "3600")
				err := resolveTag(t.Context(), openFake(t, f, nil), c)
				checkFailure(t, err, want)
				if text := err.Error(); strings.Contains(text, "31m") || strings.Contains(text, "feed") || strings.Contains(text, "xxx") {
					t.Errorf("error %q repeats the body", text)
				}
				if !strings.Contains(err.Error(), fmt.Sprintf("registry %s answered %d", f.host, status)) {
					t.Errorf("error %q names neither host nor status", err)
				}
				if n := len(f.seen()); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			})
		}
	}
}

// A descriptor that no answer could satisfy costs no request.
func TestImpossibleDescriptorsAskForNothing(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	repo := openFake(t, f, nil)
	for _, size := range []int64{-1, ratify.MaxDocumentBytes + 1, 1 << 31, 1 << 62} {
		desc := c.layer.Desc
		desc.Size = size
		if _, err := repo.Fetch(t.Context(), desc); err == nil {
			t.Errorf("size %d is accepted", size)
		}
	}
	if _, err := repo.Fetch(t.Context(), ocispec.Descriptor{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"}); err == nil {
		t.Error("md5 is accepted")
	}
	if seen := f.seen(); len(seen) != 0 {
		t.Errorf("requests %q, want none", seen)
	}
}

// What fits is kept beside the error that says that there is more.
func TestReferrersBeyondTheBoundAreCut(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	many := make([]ocispec.Descriptor, ratify.MaxReferrers+1)
	for i := range many {
		many[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 1}
	}
	for name, tagOnly := range map[string]bool{"API": false, "fallback tag": true} {
		t.Run(name, func(t *testing.T) {
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if tagOnly && strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				writeIndex(w, many)
				return true
			}
			f.tagOnly = tagOnly
			got, err := openFake(t, f, nil).Referrers(t.Context(), c.image.Desc)
			checkFailure(t, err, ratify.LimitExceeded)
			if len(got) != ratify.MaxReferrers || got[0].Digest != many[0].Digest {
				t.Errorf("%d referrers, want the first %d", len(got), ratify.MaxReferrers)
			}
		})
	}
}

func TestReferrersListedTwiceCountOnce(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.RawQuery == "" {
			w.Header().Set("Link", "<"+r.URL.Path+`?n=2>; rel="next"`)
		}
		writeIndex(w, []ocispec.Descriptor{c.referrer.Desc, c.referrer.Desc})
		return true
	}
	got, err := openFake(t, f, nil).Referrers(t.Context(), c.image.Desc)
	if err != nil || len(got) != 1 {
		t.Errorf("%d referrers and %v, want 1", len(got), err)
	}
}

func TestAllowedRedirectCarriesNoCredentials(t *testing.T) {
	c := newFixture()
	var got []http.Header
	cdn := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		w.Write(c.layer.Data)
	}))
	defer cdn.Close()
	f := newFake(t, c.content())
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "" {
			return answer(401, "", nil, "Www-Authenticate", `Basic realm="x"`)(w, r)
		}
		return answer(307, "", nil, "Location", cdn.URL+"/blob?signature=1")(w, r)
	}
	repo := openFake(t, f, func(r *Registry) {
		r.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
		r.CAFile = caFile(t, f.server, cdn)
		r.RedirectHosts = []string{cdn.Listener.Addr().String()}
	})
	if err := fetchBlob(t.Context(), repo, c); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d requests to the redirect host, want 1", len(got))
	}
	for _, name := range []string{"Authorization", "Cookie", "Referer"} {
		if v := got[0].Get(name); v != "" {
			t.Errorf("the redirect host got %s %q", name, v)
		}
	}
}

// TestRedirectHostMayNotChallenge: a registry that asks nobody who he is gets no password because somebody else asks for it.
func TestRedirectHostMayNotChallenge(t *testing.T) {
	c := newFixture()
	asked := 0
	cdn := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		answer(401, "", nil, "Www-Authenticate", `Basic realm="x"`)(w, r)
	}))
	defer cdn.Close()
	f := newFake(t, c.content())
	f.before = answer(307, "", nil, "Location", cdn.URL+"/blob")
	repo := openFake(t, f, func(r *Registry) {
		r.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
		r.CAFile = caFile(t, f.server, cdn)
		r.RedirectHosts = []string{cdn.Listener.Addr().String()}
	})
	if err := fetchBlob(t.Context(), repo, c); err == nil || asked == 0 {
		t.Errorf("the redirect host was asked %d times: %v", asked, err)
	}
	if got := tried(f); !slices.Equal(got, []string{""}) {
		t.Errorf("the registry got the passwords of %q", got)
	}
}

func TestRedirectOnTheSameHostKeepsCredentials(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "":
			return answer(401, "", nil, "Www-Authenticate", `Basic realm="x"`)(w, r)
		case strings.HasPrefix(r.URL.Path, "/elsewhere/"):
			return answer(200, "", c.layer.Data)(w, r)
		default:
			return answer(307, "", nil, "Location", "/elsewhere/blob")(w, r)
		}
	}
	repo := openFake(t, f, func(r *Registry) { r.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}} })
	if err := fetchBlob(t.Context(), repo, c); err != nil {
		t.Error(err)
	}
}

// Servers may repeat what they were sent wherever an answer has room for words: none of it is in an error, for errors are
// logged.
func TestWordsOfServersAreInNoError(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, text := range map[string]string{
		"words of a status":        "HTTP/1.1 407 " + plantedSecret + "\r\nContent-Length: 0\r\n\r\n",
		"a line that is no status": plantedSecret + "\r\n\r\n",
		"a malformed status":       "HTTP/1.1 " + plantedSecret + " x\r\n\r\n",
		"a malformed version":      plantedSecret + "/1.1 200 OK\r\n\r\n",
		"a malformed header":       ok + plantedSecret + " x\r\n\r\n",
		"a malformed length":       ok + "Content-Length: " + plantedSecret + "\r\n\r\n",
		"two lengths":              ok + "Content-Length: 1\r\nContent-Length: " + plantedSecret + "\r\n\r\n",
		"an unknown encoding":      ok + "Transfer-Encoding: " + plantedSecret + "\r\n\r\n",
		"a malformed chunk":        ok + "Content-Type: " + index + "\r\nTransfer-Encoding: chunked\r\n\r\n" + plantedSecret + "\r\n",
		"a redirect that is none":  "HTTP/1.1 302 Found\r\nLocation: ://" + plantedSecret + "\r\nContent-Length: 0\r\n\r\n",
		"a redirect elsewhere":     "HTTP/1.1 302 Found\r\nLocation: https://192.0.2.1/" + plantedSecret + "\r\nContent-Length: 0\r\n\r\n",
		"an upgrade":               "HTTP/1.1 101 " + plantedSecret + "\r\nUpgrade: " + plantedSecret + "\r\nConnection: Upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			host := sayAlways(t, text)
			for who, entry := range map[string]Registry{
				"registry": {Host: host, PlainHTTP: true, AllowPrivate: true, Credentials: Sources{{Username: plantedUser, Password: plantedSecret}}},
				"proxy":    {Host: "*", Proxy: Secret("http://" + plantedUser + ":" + plantedSecret + "@" + host)},
			} {
				name := host + "/app"
				if who == "proxy" {
					name = "secure.example/app"
				}
				err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), name), newFixture())
				if err == nil {
					t.Fatalf("%s: no error", who)
				}
				shown := err.Error()
				var e *ratify.Error
				if errors.As(err, &e); e.Err != nil {
					shown += e.Message + e.Remedy + e.Err.Error()
				}
				if strings.Contains(shown, plantedSecret) {
					t.Errorf("%s: error %q", who, shown)
				}
			}
		})
	}
}

// sayAlways answers every request with the same bytes.
func sayAlways(t *testing.T, text string) (host string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, text)
			}()
		}
	}()
	return listener.Addr().String()
}

// The guard judges requests whoever built them.
func TestAllow(t *testing.T) {
	store := newStore(t, Deps{}, Registry{
		Host: "registry.example", AuthHosts: []string{"sts.example", "*.auth.example:8443"}, RedirectHosts: []string{"*.s3.example", "cdn.example:8443"},
	}, Registry{Host: "plain.example", PlainHTTP: true, AuthHosts: []string{"sts.example"}, RedirectHosts: []string{"cdn.example"}})
	for _, tc := range []struct {
		registry string
		kind     purpose
		url      string
		want     bool
	}{
		{"registry.example", forRegistry, "https://registry.example/v2/", true},
		{"registry.example", forRegistry, "https://registry.example:443/v2/", true},
		{"registry.example", forRegistry, "https://REGISTRY.example/v2/", true},
		{"registry.example", forRegistry, "http://registry.example/v2/", false},
		{"registry.example", forRegistry, "https://registry.example:8443/v2/", false},
		{"registry.example", forRegistry, "https://registry.example.evil/v2/", false},
		{"registry.example", forRegistry, "https://sts.example/v2/", false},
		{"registry.example", forRegistry, "https://x.s3.example/v2/", false},
		{"registry.example", forRegistry, "https://user@registry.example/v2/", false},
		{"registry.example", forRegistry, "ftp://registry.example/", false},
		{"registry.example", forToken, "https://registry.example/token", true},
		{"registry.example", forToken, "https://registry.example:8443/token", false},
		{"registry.example", forToken, "https://sts.example/token", true},
		{"registry.example", forToken, "http://sts.example/token", false},
		{"registry.example", forToken, "https://sts.example:8443/token", false},
		{"registry.example", forToken, "https://x.auth.example:8443/token", true},
		{"registry.example", forToken, "https://x.auth.example/token", false},
		{"registry.example", forToken, "https://x.s3.example/token", false},
		{"registry.example", forToken, "https://user@sts.example/token", false},
		{"registry.example", byRedirect, "https://a.b.s3.example/x", true},
		{"registry.example", byRedirect, "https://s3.example/x", false},
		{"registry.example", byRedirect, "https://xs3.example/x", false},
		{"registry.example", byRedirect, "https://a.s3.example.evil/x", false},
		{"registry.example", byRedirect, "https://a.s3.example:8443/x", false},
		{"registry.example", byRedirect, "http://a.s3.example/x", false},
		{"registry.example", byRedirect, "https://cdn.example:8443/x", true},
		{"registry.example", byRedirect, "https://sts.example/x", false},
		{"registry.example", byRedirect, "https://registry.example/x", true},
		{"plain.example", forRegistry, "http://plain.example/v2/", true},
		{"plain.example", forRegistry, "http://plain.example:80/v2/", true},
		{"plain.example", forRegistry, "https://plain.example/v2/", false},
		{"plain.example", forToken, "http://sts.example/token", true},
		{"plain.example", forToken, "https://sts.example/token", true},
		{"plain.example", byRedirect, "http://cdn.example/x", false},
		{"plain.example", byRedirect, "https://cdn.example/x", true},
		{"docker.io", forRegistry, "https://registry-1.docker.io/v2/", true},
		{"docker.io", forToken, "https://auth.docker.io/token", true},
		{"docker.io", forToken, "https://auth.docker.io.evil/token", false},
		{"docker.io", forToken, "http://auth.docker.io/token", false},
		{"docker.io", byRedirect, "https://production.cloudflare.docker.com/x", true},
		{"docker.io", byRedirect, "https://images.r2.cloudflarestorage.com/x", true},
		{"docker.io", byRedirect, "https://r2.cloudflarestorage.com.evil/x", false},
		{"index.docker.io", forToken, "https://auth.docker.io/token", true},
		{"ghcr.io", byRedirect, "https://pkg-containers.githubusercontent.com/x", true},
		{"ghcr.io", byRedirect, "https://raw.githubusercontent.com/x", false},
		{"ghcr.io", forToken, "https://pkg-containers.githubusercontent.com/x", false},
		{"quay.io", byRedirect, "https://cdn02.quay.io/x", true},
		{"quay.io", byRedirect, "https://evil.quay.io/x", false},
		{"other.example", forToken, "https://auth.docker.io/token", false},
		{"other.example", byRedirect, "https://registry.example/", false},
	} {
		t.Run(fmt.Sprint(tc.registry, " ", tc.kind, " ", tc.url), func(t *testing.T) {
			s := open(t, store, tc.registry+"/app").(*access).as(auth.EmptyCredential).session
			u, err := url.Parse(tc.url)
			if err != nil {
				t.Fatal(err)
			}
			err = s.allow(u, tc.kind)
			if (err == nil) != tc.want {
				t.Errorf("allow: %v, want allowed %v", err, tc.want)
			}
			if err != nil {
				checkFailure(t, err, ratify.RegistryNotAllowed)
			}
		})
	}
}

// FuzzReferrersPage gives arbitrary text and an arbitrary link as a page of referrers.
func FuzzReferrersPage(f *testing.F) {
	c := newFixture()
	page, err := json.Marshal(ocispec.Index{MediaType: index, Manifests: []ocispec.Descriptor{c.referrer.Desc}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page, `</v2/app/referrers/x?n=2>; rel="next"`)
	f.Add([]byte(`{"manifests":[{"size":-1}]}`), `<https://192.0.2.1/>; rel="next"`)
	f.Add([]byte(`{`), `<//host/v2/app/>`)
	store, err := New(Config{}, Deps{})
	if err != nil {
		f.Fatal(err)
	}
	repo, _, err := store.Open(context.Background(), ratify.Subject{Repository: "registry.example/app"})
	if err != nil {
		f.Fatal(err)
	}
	r := repo.(*access).as(auth.EmptyCredential)
	f.Fuzz(func(t *testing.T, body []byte, link string) {
		u, err := url.Parse(r.url("referrers", c.image.Desc.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		resp := &http.Response{Header: http.Header{"Link": {link}}, Body: io.NopCloser(bytes.NewReader(body)), Request: &http.Request{URL: u}}
		list := &listing{seen: map[claim]bool{}, left: ratify.MaxManifestBytes}
		_ = r.readPage(t.Context(), resp, list, nil)
		if len(list.found) > ratify.MaxReferrers {
			t.Errorf("%d referrers", len(list.found))
		}
		next, err := r.nextPage(resp)
		if err == nil && next != "" && !strings.HasPrefix(next, "https://registry.example/v2/app/") {
			t.Errorf("link %q leads to %q", link, next)
		}
	})
}
