package world

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Kind is what a request to the registry is for.
type Kind string

// The kinds. A request that is answered 401 or 429 counts as Challenge or Limited, and not as what it asked for.
const (
	Manifest  Kind = "manifest"  // a manifest by its digest, unless it is evidence
	Tag       Kind = "tag"       // a manifest by its tag
	Referrers Kind = "referrers" // the list of what is attached
	Evidence  Kind = "evidence"  // the manifest of a signature
	Blob      Kind = "blob"
	CosignTag Kind = "cosignTag" // a manifest by the tag sha256-….sig
	Challenge Kind = "challenge" // answered 401
	Token     Kind = "token"     // asked of the token server
	Limited   Kind = "limited"   // answered 429
	Other     Kind = "other"
)

// RegistryOptions describe a registry. The zero value speaks HTTP/1.1 without TLS.
type RegistryOptions struct {
	// TLS makes it HTTPS, with HTTP/2 for those who ask for it.
	TLS bool
}

// A Registry serves what the distribution specification 1.1 calls pull, with the referrers API, from memory, on a free port
// of 127.0.0.1. Its methods are safe for concurrent use, and the settings may be changed while it is asked.
type Registry struct {
	host    string
	caPEM   []byte // of the root of its certificate; nil without TLS
	servers []*http.Server
	served  sync.WaitGroup
	tokens  *tokenServer
	prefix  string // of what is in every manifest, so that two registries never hold the same one

	contentMu    sync.RWMutex
	content      map[string]*entry // by path
	made         int               // images so far
	repositories int

	mu      sync.Mutex
	delay   time.Duration
	limit   *bucket
	counts  map[Kind]int
	tracing *Trace
}

// An entry is what is found at a path.
type entry struct {
	kind      Kind
	mediaType string
	digest    digest.Digest
	body      []byte
	image     digest.Digest // that it belongs to
	users     int           // images in whose content it is: those of one repository may share a configuration
}

// headerTimeout ends a connection that never says what it wants; every client is on the same machine.
const headerTimeout = 10 * time.Second

// NewRegistry starts an empty registry and its token server, which nobody needs until SetTokens.
func NewRegistry(options RegistryOptions) (*Registry, error) {
	r := &Registry{content: map[string]*entry{}, counts: map[Kind]int{}, prefix: randomText()}
	var config *tls.Config
	if options.TLS {
		pair, caPEM, err := registryPair()
		if err != nil {
			return nil, err
		}
		r.caPEM, config = caPEM, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	}
	registry, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	tokens, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	scheme := "http"
	if options.TLS {
		scheme = "https"
	}
	r.host = registry.Addr().String()
	r.tokens = &tokenServer{realm: scheme + "://" + tokens.Addr().String() + "/token", service: r.host, host: tokens.Addr().String(), key: []byte(randomText())}
	r.serve(registry, r.serveImage, config)
	r.serve(tokens, r.serveToken, config)
	return r, nil
}

// serve starts a server; config is nil without TLS.
func (r *Registry) serve(listener net.Listener, handler http.HandlerFunc, config *tls.Config) {
	config = config.Clone() // each server adds to its own
	server := &http.Server{Handler: handler, TLSConfig: config, ReadHeaderTimeout: headerTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	r.servers = append(r.servers, server)
	r.served.Go(func() {
		// Both end by Close alone, and say so.
		if config == nil {
			_ = server.Serve(listener)
		} else {
			_ = server.ServeTLS(listener, "", "")
		}
	})
}

func listen(address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
}

// Close ends the registry and its token server.
func (r *Registry) Close() error {
	var errs []error
	for _, server := range r.servers {
		errs = append(errs, server.Close())
	}
	r.served.Wait()
	return errors.Join(errs...)
}

// Host is the registry's name in references: 127.0.0.1:PORT.
func (r *Registry) Host() string { return r.host }

// TokenHost is that of the token server.
func (r *Registry) TokenHost() string { return r.tokens.host }

// CA is the root of the registry's certificate in PEM; nil without TLS.
func (r *Registry) CA() []byte { return r.caPEM }

// SetDelay makes every answer wait, those of the token server too; 0 is none.
func (r *Registry) SetDelay(delay time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = delay
}

// SetLimit answers 429, with Retry-After in whole seconds, to what goes beyond so many requests a second after a burst;
// perSecond 0 is no limit. The token server is not limited.
func (r *Registry) SetLimit(perSecond float64, burst int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.limit = nil
	if perSecond > 0 {
		r.limit = newBucket(perSecond, burst, time.Now())
	}
}

// SetTokens asks for a bearer token that lives so long; 0 asks for none. Everybody gets tokens, each for what it asks.
func (r *Registry) SetTokens(life time.Duration) { r.tokens.setLife(life) }

// SetRepositories spreads the images that are made from now on over so many repositories; 0 gives each its own.
func (r *Registry) SetRepositories(n int) {
	r.contentMu.Lock()
	defer r.contentMu.Unlock()
	r.repositories = n
}

// Counts tells how many requests of each kind have come since the last Reset; kinds without any are left out.
func (r *Registry) Counts() map[Kind]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// Reset forgets the counts.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.counts)
}

// An answer is what a request gets.
type answer struct {
	kind   Kind
	status int
	entry  entry // its body is empty where there is nothing
	header map[string]string
}

// serveImage answers one request. What it is answered is decided when it comes, and told after the delay.
func (r *Registry) serveImage(w http.ResponseWriter, req *http.Request) {
	began := time.Now()
	repository, a := r.answer(req, began)
	r.conclude(w, req, began, repository, a)
}

// conclude counts the request, waits, and writes.
func (r *Registry) conclude(w http.ResponseWriter, req *http.Request, began time.Time, repository string, a answer) {
	r.mu.Lock()
	r.counts[a.kind]++
	delay, tracing := r.delay, r.tracing
	r.mu.Unlock()
	waitErr := wait(req.Context(), delay)
	if tracing != nil {
		// Noted before it is written: who has read it may ask again before this function goes on.
		tracing.add(Request{Kind: a.kind, Path: req.URL.RequestURI(), Repository: repository, Image: a.entry.image, Status: a.status, Began: began, Ended: time.Now()})
	}
	if waitErr != nil {
		return // the client is gone
	}
	header := w.Header()
	for name, value := range a.header {
		header.Set(name, value)
	}
	if a.entry.mediaType != "" {
		header.Set("Content-Type", a.entry.mediaType)
	}
	if a.entry.digest != "" {
		header.Set("Docker-Content-Digest", a.entry.digest.String())
	}
	header.Set("Content-Length", strconv.Itoa(len(a.entry.body)))
	w.WriteHeader(a.status)
	if req.Method != http.MethodHead {
		_, _ = w.Write(a.entry.body) // a client that is gone needs no answer
	}
}

func wait(ctx context.Context, delay time.Duration) error {
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer decides what a request gets, and tells the repository that it is for.
func (r *Registry) answer(req *http.Request, now time.Time) (repository string, a answer) {
	p := parsePath(req.URL.Path)
	found := r.find(p, req.URL.Path)
	if after, limited := r.limited(now); limited {
		return p.repository, answer{kind: Limited, status: http.StatusTooManyRequests, entry: entry{image: found.image}, header: map[string]string{"Retry-After": strconv.Itoa(after)}}
	}
	if !r.tokens.admits(req.Header.Get("Authorization"), p.repository, now) {
		header := map[string]string{"WWW-Authenticate": r.tokens.challenge(p.repository)}
		return p.repository, answer{kind: Challenge, status: http.StatusUnauthorized, entry: entry{image: found.image}, header: header}
	}
	switch {
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		return p.repository, answer{kind: Other, status: http.StatusMethodNotAllowed}
	case found.body == nil:
		return p.repository, answer{kind: found.kind, status: http.StatusNotFound, entry: entry{image: found.image}}
	}
	return p.repository, answer{kind: found.kind, status: http.StatusOK, entry: found}
}

// limited takes one from the bucket, and tells after how many seconds there is one where there is none.
func (r *Registry) limited(now time.Time) (after int, limited bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit == nil {
		return 0, false
	}
	return r.limit.take(now)
}

// find gives what is at a path; where there is nothing, an entry without a body that says what was looked for.
func (r *Registry) find(p path, whole string) entry {
	r.contentMu.RLock()
	there, ok := r.content[whole]
	var found entry
	if ok {
		found = *there // under the lock: how many use it changes with the images that are made
	}
	r.contentMu.RUnlock()
	if ok {
		return found
	}
	e := &entry{kind: p.kind(), image: p.image()}
	if e.kind == Referrers {
		// The specification has an empty list for what has none, and for what is not there either.
		e.mediaType, e.body = ocispec.MediaTypeImageIndex, []byte(emptyIndex)
	}
	return *e
}

const emptyIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

// A path is /v2/REPOSITORY/SORT/REFERENCE, in its parts; the zero value is any other.
type path struct{ repository, sort, reference string }

func parsePath(text string) path {
	rest, ok := strings.CutPrefix(text, "/v2/")
	end := strings.LastIndexByte(rest, '/')
	if !ok || end < 0 {
		return path{}
	}
	middle := strings.LastIndexByte(rest[:end], '/')
	if middle < 0 {
		return path{}
	}
	return path{repository: rest[:middle], sort: rest[middle+1 : end], reference: rest[end+1:]}
}

// kind is what the path asks for, as far as it can be told without knowing what is there.
func (p path) kind() Kind {
	isDigest := strings.HasPrefix(p.reference, "sha256:")
	switch {
	case p.sort == "referrers":
		return Referrers
	case p.sort == "blobs":
		return Blob
	case p.sort != "manifests":
		return Other
	case isDigest:
		return Manifest
	case strings.HasPrefix(p.reference, "sha256-") && strings.HasSuffix(p.reference, ".sig"):
		return CosignTag
	case strings.HasPrefix(p.reference, "sha256-"):
		return Other // cosign's other tags, and the tag in place of the referrers API
	}
	return Tag
}

// image is the digest of the image that the path names, also by one of cosign's tags; empty if it names none.
func (p path) image() digest.Digest {
	hex := strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(p.reference, "sha256-"), ".sig"), ".att")
	for _, text := range []string{p.reference, "sha256:" + hex} {
		if d := digest.Digest(text); d.Validate() == nil {
			return d
		}
	}
	return ""
}
