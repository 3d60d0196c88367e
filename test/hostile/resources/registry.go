package resources

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// idleTime ends connections that nobody uses any more: until then the provider keeps them for the next image, which is no leak.
const idleTime = 5 * time.Second

// A registry answers as the script of a repository says. The repositories of a script are SCRIPT/N for every N, and the same.
type registry struct {
	host        string
	server      *http.Server
	served      chan struct{}
	scripts     map[string]*script
	authorities []*notationtest.Authority // whose certificates name this host for revocation
}

// A script is what is in a repository, and how it is answered.
type script struct {
	image     content
	referrers []ocispec.Descriptor
	held      map[digest.Digest]content
	// instead, if set, answers before all else; false is that it did not.
	instead func(w http.ResponseWriter, r *http.Request, kind, reference string) bool
}

type content struct {
	mediaType string
	data      []byte
}

func (c content) digest() digest.Digest { return digest.FromBytes(c.data) }

func (c content) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: c.mediaType, Digest: c.digest(), Size: int64(len(c.data))}
}

// newRegistry starts the registry, with the scripts that need what the fixture has.
func newRegistry(ctx context.Context, f *fixture.Fixture) (*registry, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{host: listener.Addr().String(), served: make(chan struct{})}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: askTime, IdleTimeout: idleTime}
	if r.scripts, err = r.makeScripts(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("write the scripts of the registry: %w", err), listener.Close())
	}
	go func() {
		defer close(r.served)
		_ = r.server.Serve(listener) // it ends by close alone
	}()
	return r, nil
}

func (r *registry) close() {
	_ = r.server.Close()
	<-r.served
}

// authorityFile writes the roots of the authorities whose answers about revocation are hostile.
func (r *registry) authorityFile(dir string) string {
	var all []byte
	for _, a := range r.authorities {
		all = append(all, a.PEM()...)
	}
	name := filepath.Join(dir, "revocation.crt")
	if err := os.WriteFile(name, all, 0o600); err != nil {
		return "" // the configuration is refused without it
	}
	return name
}

// key is what a pod would say: the image of a script's repository, by its tag, or by its digest where there is none.
func (r *registry) key(name, n, tag string) string {
	if tag != "" {
		return r.host + "/" + name + "/" + n + ":" + tag
	}
	return r.host + "/" + name + "/" + n + "@" + r.scripts[name].image.digest().String()
}

// ServeHTTP answers /v2/SCRIPT/N/KIND/REFERENCE; a script's name may have several parts.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	parts := strings.Split(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	switch {
	case parts[0] == "crl":
		pour(w, 64<<20)
		return
	case len(parts) < 4:
		http.NotFound(w, req)
		return
	}
	at := len(parts) - 2
	s := r.scripts[strings.Join(parts[:at-1], "/")]
	if s == nil {
		http.NotFound(w, req)
		return
	}
	s.answer(w, req, parts[at], parts[at+1])
}

func (s *script) answer(w http.ResponseWriter, r *http.Request, kind, reference string) {
	if s.instead != nil && s.instead(w, r, kind, reference) {
		return
	}
	switch held, ok := s.held[digest.Digest(reference)]; {
	case kind == "referrers" && reference == s.image.digest().String():
		sendIndex(w, s.referrers)
	case kind == "referrers":
		sendIndex(w, nil)
	case ok:
		send(w, held)
	case kind == "manifests":
		send(w, s.image)
	default:
		http.NotFound(w, r)
	}
}

func send(w http.ResponseWriter, c content) {
	w.Header().Set("Content-Type", c.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(c.data)))
	_, _ = w.Write(c.data)
}

func sendIndex(w http.ResponseWriter, list []ocispec.Descriptor) {
	data, _ := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: list}) // has a JSON form always
	send(w, content{ocispec.MediaTypeImageIndex, data})
}

// pour sends so many blanks, as fast as they are read.
func pour(w io.Writer, n int64) {
	blanks := bytes.Repeat([]byte(" "), 64<<10)
	for ; n > 0; n -= int64(len(blanks)) {
		if _, err := w.Write(blanks); err != nil {
			return
		}
	}
}

// drip sends all but the end of what was asked for at once, and then a byte now and then, until the one who reads goes away.
func drip(w http.ResponseWriter, r *http.Request, c content) {
	w.Header().Set("Content-Type", c.mediaType)
	const end = 4096
	at := max(0, len(c.data)-end)
	_, _ = w.Write(c.data[:at])
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ; at < len(c.data); at++ {
		if _, err := w.Write(c.data[at : at+1]); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
