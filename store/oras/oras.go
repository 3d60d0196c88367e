// Package oras reads subjects and their evidence from registries that speak the OCI distribution protocol.
//
// Everything a registry says is taken for what a stranger says: which hosts a request may go to is decided here and not
// by an answer (session.allow), every body is bounded and hashed (repository.go), and no header is evidence.
// Authentication, the part of the protocol with the most dialects, is oras-go's auth.Client. Manifests, blobs and
// referrers are read by requests of our own: oras-go's Repository decodes a page of referrers whole, which takes two hundred
// times its size if a stranger wants it to, and reads a manifest without a digest header before a bound of ours applies.
// Begin at New and Store.Open.
package oras

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/keyring"
)

// Config says how registries are reached. The zero value reaches every registry on a public address over HTTPS, without
// credentials.
type Config struct {
	// Registries apply by their Host, the most specific one alone; a registry without an entry gets the zero value of
	// Registry.
	Registries []Registry `json:"registries,omitempty"`
}

// Registry says how the registries are reached whose host matches.
type Registry struct {
	// Host is an exact host[:port], *.domain[:port] for all hosts below it, or * for all. A pattern without a port is for
	// the default port alone, except *.
	Host string `json:"host"`
	// PlainHTTP uses HTTP instead of HTTPS for the registry and its token server.
	PlainHTTP bool `json:"plainHTTP,omitempty"`
	// AllowPrivate allows loopback and private addresses for the registry, its token server and its redirects.
	AllowPrivate bool `json:"allowPrivate,omitempty"`
	// Credentials are one source of credentials, or a list of them in the order in which they are tried; none means
	// access without.
	Credentials Sources `json:"credentials,omitempty"`
	// AuthHosts are the hosts of token servers beside the registry's own, as host[:port] or *.domain[:port]. Docker Hub's
	// is built in.
	AuthHosts []string `json:"authHosts,omitempty"`
	// RedirectHosts are the hosts to which the registry may redirect reads, as host[:port] or *.domain[:port]. Such
	// requests are HTTPS and carry no credentials. Those of docker.io, ghcr.io and quay.io are built in.
	RedirectHosts []string `json:"redirectHosts,omitempty"`
	// CAFile is a PEM file of certificates that are trusted for this registry in addition to the system's.
	CAFile string `json:"caFile,omitempty"`
	// Proxy is the URL of an HTTP proxy, http or https. A proxy resolves names itself, so that addresses behind it are
	// its own matter: only its address, the names of hosts and literal addresses are judged here. Proxies of the
	// environment are not used.
	Proxy Secret `json:"proxy,omitempty"`
	// NoProxy are the exceptions, as in the environment variable NO_PROXY: hosts, .domains, addresses, CIDR ranges.
	NoProxy []string `json:"noProxy,omitempty"`
}

// A Secret is text that no formatting and no encoding shows.
type Secret string

const redacted = "[redacted]"

// Format writes a placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// MarshalText gives a placeholder, so that an encoded configuration holds no secret; an empty one stays empty.
func (s Secret) MarshalText() ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	return []byte(redacted), nil
}

// Deps are what a Store shares with others. Fields that are nil get working defaults.
type Deps struct {
	// Files reads the files that the configuration names, and remembers them.
	Files *files.Set
	// Pool outlives the Store: see Pool.
	Pool *Pool
	// Observe is told of each request that was sent to a registry, a token server or by their redirect: the Host pattern
	// of the registry's entry, or "other", fit for a metric's label; and the HTTP status, 0 where there was no answer.
	// It must be safe for concurrent use.
	Observe func(hostClass string, status int)
	// Breaker is told when requests for a server begin to be refused, because it answers nothing, and when that ends. It
	// must be safe for concurrent use.
	Breaker func(BreakerChange)
}

// hostClassOther is the class of registries without an entry: their hosts are chosen by whoever writes references, and
// must not become labels.
const hostClassOther = "other"

// A Store reads from registries. It is immutable and safe for concurrent use.
type Store struct {
	entries []*entry // the most specific first
	deps    Deps
}

// New checks the configuration, reads the files that it names and builds the store. It returns all errors at once, each
// with its place.
func New(cfg Config, deps Deps) (*Store, error) {
	if deps.Files == nil {
		deps.Files = &files.Set{}
	}
	if deps.Pool == nil {
		deps.Pool = NewPool()
	}
	if deps.Observe == nil {
		deps.Observe = func(string, int) {}
	}
	if deps.Breaker == nil {
		deps.Breaker = func(BreakerChange) {}
	}
	s := &Store{deps: deps}
	var errs []error
	for i, registry := range cfg.Registries {
		e, err := newEntry(fmt.Sprintf("registries[%d]", i), registry, deps)
		errs = append(errs, err)
		if e != nil {
			s.entries = append(s.entries, e)
		}
	}
	errs = append(errs, refuseTies(s.entries))
	fallback, err := newEntry("", Registry{Host: "*"}, deps)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	fallback.class = hostClassOther
	s.entries = append(bySpecificity(s.entries), fallback)
	return s, nil
}

// Open returns the repository of the subject, twice: evidence is where the subject is. It does no I/O. Subject.Namespace is
// the tenant whose credentials are used; empty is the cluster.
func (s *Store) Open(_ context.Context, subject ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	host, path, ok := strings.Cut(subject.Repository, "/")
	if !ok || host == "" || path == "" {
		return nil, nil, &ratify.Error{Code: ratify.BadReference, Message: "the repository " + ratify.Quote(subject.Repository) + " names no registry"}
	}
	r := &access{
		entry: s.entryFor(host), deps: s.deps, name: subject.Repository,
		target: target{host: host, path: path, namespace: subject.Namespace},
	}
	return r, r, nil
}

// entryFor returns the most specific entry that matches; the last one matches all.
func (s *Store) entryFor(host string) *entry {
	name, port := splitReference(keyring.HubAlias(host))
	for _, e := range s.entries {
		if e.pattern.match(name, port) {
			return e
		}
	}
	return s.entries[len(s.entries)-1]
}
