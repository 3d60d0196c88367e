package random

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// A registry serves all worlds at once. It is the proxy of the program's store, so that hosts may have any name and nothing
// is resolved; a world is known by its id, which is in each host or path.
type registry struct {
	pool   *pool
	server *httptest.Server
	sites  sync.Map // by id
	served atomic.Int64
}

func newRegistry(p *pool) *registry {
	r := &registry{pool: p}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r
}

func (r *registry) close() { r.server.Close() }

// A site is one world as it is served.
type site struct {
	world *world
	phase atomic.Pointer[phase]
	held  map[string]held // by host and path
}

// held is what is answered at an address. Without a body there is nothing.
type held struct {
	object object
	body   []byte
	typed  string
}

// idOf finds a world's id in the first part of a host, or in a path.
var idOf = regexp.MustCompile(`w[0-9]+w`)

// open makes a world's site. close takes it away again.
func (r *registry) open(w *world) (*site, error) {
	s := &site{world: w, held: map[string]held{}}
	for _, i := range w.images {
		if err := r.addImage(s, w, i); err != nil {
			return nil, err
		}
	}
	// Documents are subjects of what proves them, and so are made before.
	for _, documents := range []bool{true, false} {
		for at, list := range w.lists {
			for _, e := range list {
				if (e.piece.kind == plainBill) != documents {
					continue
				}
				if err := r.addPiece(s, w, at, e.piece); err != nil {
					return nil, err
				}
			}
		}
	}
	for at := range w.lists {
		if err := r.addList(s, w, at); err != nil {
			return nil, err
		}
	}
	for at := range w.tagged {
		if err := r.addTagged(s, at, w.tagged[at]); err != nil {
			return nil, err
		}
	}
	r.sites.Store(w.id, s)
	return s, nil
}

// address is where an object is, below a repository.
func address(repo, kind, reference string) string {
	host, path, _ := strings.Cut(repo, "/")
	if host == dockerHub {
		host = "registry-1.docker.io"
	}
	return host + "/v2/" + path + "/" + kind + "/" + reference
}

func (r *registry) addImage(s *site, w *world, i image) error {
	c, err := r.pool.subject(i.subject)
	if err != nil {
		return err
	}
	for _, name := range append(platformsOf(i.subject), i.subject) {
		c, err := r.pool.subject(name)
		if err != nil {
			return err
		}
		d := c.descriptor.Digest.String()
		s.held[address(i.repo, "manifests", d)] = held{object: object{i.repo, byDigest, name}, body: c.data, typed: c.descriptor.MediaType}
		at := place{i.repo, name}
		if w.lists[at] == nil {
			w.lists[at] = []entry{}
		}
		if w.tagged[at] == nil {
			w.tagged[at] = []piece{}
		}
	}
	if i.tag != "" {
		s.held[address(i.repo, "manifests", i.tag)] = held{object: object{i.repo, byTag, i.tag}, body: c.data, typed: c.descriptor.MediaType}
	}
	return nil
}

func (r *registry) addPiece(s *site, w *world, at place, of piece) error {
	a, err := r.pool.artifact(of)
	if err != nil {
		return err
	}
	s.held[address(at.repo, "manifests", a.manifest.descriptor.Digest.String())] = held{object: object{at.repo, pieceOf, of.id()}, body: a.manifest.data, typed: a.manifest.descriptor.MediaType}
	s.held[address(at.repo, "blobs", a.blob.descriptor.Digest.String())] = held{object: object{at.repo, contentOf, of.id()}, body: a.blob.data, typed: "application/octet-stream"}
	if document := (place{at.repo, of.id()}); of.kind == plainBill && w.lists[document] == nil {
		w.lists[document] = []entry{}
	}
	return nil
}

// addList makes the list of what is attached to a subject, as it is to be shown.
func (r *registry) addList(s *site, w *world, at place) error {
	c, err := r.pool.subject(at.subject)
	if err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, e := range w.lists[at] {
		a, err := r.pool.artifact(e.piece)
		if err != nil {
			return err
		}
		d := a.manifest.descriptor
		d.ArtifactType = e.typed
		switch e.lie {
		case wrongSize:
			d.Size++
		case hugeSize:
			d.Size = 1 << 40
		case noSize:
			d.Size = -1
		case wrongMedia:
			d.MediaType = ocispec.MediaTypeImageIndex
		case nowhere:
			d = describe(d.MediaType, []byte("nothing: "+e.piece.id()))
			d.ArtifactType = e.typed
		}
		index.Manifests = append(index.Manifests, d)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	kind, reference := "referrers", c.descriptor.Digest.String()
	if w.withoutAPI[hostOf(at.repo)] {
		kind, reference = "manifests", "sha256-"+c.descriptor.Digest.Encoded()
	}
	s.held[address(at.repo, kind, reference)] = held{object: object{at.repo, listOf, at.subject}, body: data, typed: index.MediaType}
	return nil
}

// addTagged makes what is under cosign's tag of a subject.
func (r *registry) addTagged(s *site, at place, pieces []piece) error {
	c, err := r.pool.subject(at.subject)
	if err != nil {
		return err
	}
	var layers []cosigntest.Layer
	for _, of := range pieces {
		a, err := r.pool.artifact(of)
		if err != nil {
			return err
		}
		layers = append(layers, *a.layer)
		s.held[address(at.repo, "blobs", a.blob.descriptor.Digest.String())] = held{object: object{at.repo, contentOf, of.id()}, body: a.blob.data, typed: "application/octet-stream"}
	}
	h := held{object: object{at.repo, cosignTag, at.subject}}
	if len(layers) > 0 {
		collection := cosigntest.Collect(c.descriptor.Digest, layers...)
		h.body, h.typed = collection.Manifest, collection.Descriptor.MediaType
		s.held[address(at.repo, "manifests", collection.Descriptor.Digest.String())] = h
	}
	s.held[address(at.repo, "manifests", "sha256-"+c.descriptor.Digest.Encoded()+".sig")] = h
	return nil
}

// serve answers one request.
func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	r.served.Add(1)
	found, ok := r.sites.Load(idOf.FindString(req.Host + req.URL.Path))
	if !ok {
		http.NotFound(w, req)
		return
	}
	s := found.(*site)
	p := s.phase.Load()
	h, known := s.held[req.Host+req.URL.Path]
	if !known {
		// Of what is not there, the host and the repository may be at fault all the same.
		h.object = object{repo: repoOf(req)}
	}
	if known && h.object.kind == byTag {
		h = r.moved(p, h)
	}
	switch f := p.faultOf(h.object); {
	case f != noFault:
		answerFault(w, f, h)
	case h.body == nil && !known && s.isList(req):
		answer(w, ocispec.MediaTypeImageIndex, []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`))
	case h.body == nil:
		http.NotFound(w, req)
	default:
		answer(w, h.typed, h.body)
	}
}

// isList tells a request for the referrers of a digest that nobody has described, at a host that has the API.
func (s *site) isList(req *http.Request) bool {
	return strings.Contains(req.URL.Path, "/referrers/") && !s.world.withoutAPI[hostName(req.Host)]
}

// moved is what a tag is on in a phase.
func (r *registry) moved(p *phase, h held) held {
	subject, ok := p.moved[tagName{h.object.repo, h.object.ref}]
	if !ok {
		return h
	}
	c, err := r.pool.subject(subject)
	if err != nil {
		return held{object: h.object}
	}
	h.body, h.typed = c.data, c.descriptor.MediaType
	return h
}

// repoOf is the repository that a request is for.
func repoOf(req *http.Request) string {
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/", "/referrers/"} {
		if repo, _, ok := strings.Cut(path, kind); ok {
			return hostName(req.Host) + "/" + repo
		}
	}
	return hostName(req.Host) + "/" + path
}

func hostName(host string) string {
	if host == "registry-1.docker.io" {
		return dockerHub
	}
	return host
}

func answer(w http.ResponseWriter, typed string, body []byte) {
	w.Header().Set("Content-Type", typed)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // a client that is gone needs no answer
}

// answerFault is what a registry does instead.
func answerFault(w http.ResponseWriter, f fault, h held) {
	switch f {
	case "truncated":
		w.Header().Set("Content-Type", h.typed)
		w.Header().Set("Content-Length", strconv.Itoa(len(h.body)+1))
		_, _ = w.Write(h.body[:len(h.body)/4])
		panic(http.ErrAbortHandler) // ends the connection in the middle
	case "other bytes":
		answer(w, h.typed, []byte(fmt.Sprintf("%d other bytes", len(h.body))))
	case "a page":
		answer(w, "text/html", []byte("<html>log in</html>"))
	case "empty":
		answer(w, h.typed, nil)
	case "compressed":
		w.Header().Set("Content-Encoding", "gzip")
		answer(w, h.typed, h.body)
	case notManifest:
		answer(w, "application/json", []byte(`{"schemaVersion":2,"mediaType":"application/vnd.acme.thing"}`))
	case "reset":
		reset(w)
	case "429":
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		status, err := strconv.Atoi(string(f))
		if err != nil {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
	}
}

// reset ends the connection before an answer.
func reset(w http.ResponseWriter) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	connection, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // or it is closed properly
	}
	_ = connection.SetDeadline(time.Now())
	_ = connection.Close()
}
