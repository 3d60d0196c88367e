package matrix

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program"
)

// A world is what the cells have in common: the images, the authorities, and an address that nobody may be led to.
type world struct {
	env         promise.Env
	fixture     *fixture.Fixture
	content     http.Handler // the registry, under whatever address it is asked
	ca, foreign *authority
	caFile      string
	canary      *host
	addresses   addresses
	other       map[step][]byte
	trusted     string // a file with the roots of all signers
}

// stranger has the name of an image whose signature is attached well, and is another's.
const neighbour = fixture.Multi

func newWorld(ctx context.Context, env promise.Env) (w *world, err error) {
	w = &world{env: env}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	options := fixture.Options{Dir: filepath.Join(env.Dir, "fixture"), Wrap: func(h http.Handler) http.Handler { w.content = byDigest(h); return h }}
	if err := os.MkdirAll(options.Dir, 0o755); err != nil {
		return w, err
	}
	if w.fixture, err = fixture.Start(ctx, options); err != nil {
		return w, err
	}
	if w.ca, err = newAuthority("registries"); err != nil {
		return w, err
	}
	if w.foreign, err = newAuthority("nobody knows it"); err != nil {
		return w, err
	}
	w.caFile = filepath.Join(env.Dir, "registries.crt")
	if err := os.WriteFile(w.caFile, w.ca.pem(), 0o600); err != nil {
		return w, err
	}
	if err := w.readOther(); err != nil {
		return w, err
	}
	w.canary = &host{right: http.NotFoundHandler(), stepOf: func(*http.Request) step { return "" }}
	if err := w.canary.listen(ctx, w.addresses.take()); err != nil {
		return w, err
	}
	w.canary.serve()
	return w, nil
}

func (w *world) close() {
	if w.canary != nil {
		w.canary.end()
	}
	if w.fixture != nil {
		_ = w.fixture.Close() // what is left of it is in the directory of the part
	}
}

// byDigest has the registry give what it has by a digest under any repository's name, as one does that stores content once.
func byDigest(registry http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := &recorder{header: http.Header{}, status: http.StatusOK}
		registry.ServeHTTP(recorded, r)
		if recorded.status == http.StatusNotFound && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/sha256:") {
			recorded = &recorder{header: http.Header{}, status: http.StatusOK}
			elsewhere := r.Clone(r.Context())
			elsewhere.URL.Path = strings.Replace(r.URL.Path, "/v2/"+fixture.Signed+"/", "/v2/"+neighbour+"/", 1)
			registry.ServeHTTP(recorded, elsewhere)
		}
		maps.Copy(w.Header(), recorded.header)
		w.WriteHeader(recorded.status)
		_, _ = w.Write(recorded.body) // a client that is gone needs no answer
	})
}

// get reads from the registry itself.
func (w *world) get(path string) ([]byte, error) {
	recorded := &recorder{header: http.Header{}, status: http.StatusOK}
	req, err := http.NewRequest(http.MethodGet, "http://registry"+path, nil)
	if err != nil {
		return nil, err
	}
	w.content.ServeHTTP(recorded, req)
	if recorded.status != http.StatusOK {
		return nil, fmt.Errorf("read %s: status %d", path, recorded.status)
	}
	return recorded.body, nil
}

// readOther reads what another image has at each step: one that is not signed, and the list of one that is.
func (w *world) readOther() error {
	unsigned, signed := w.fixture.Images[fixture.Unsigned], w.fixture.Images[neighbour]
	w.other = map[step][]byte{}
	var errs []error
	for at, path := range map[step]string{
		resolve:   "/v2/unsigned/manifests/" + unsigned.Tag,
		manifest:  "/v2/unsigned/manifests/" + unsigned.Tag,
		signature: "/v2/unsigned/manifests/" + unsigned.Tag,
		blob:      "/v2/unsigned/manifests/" + unsigned.Tag,
		referrers: "/v2/" + neighbour + "/referrers/" + signed.Digest.String(),
	} {
		data, err := w.get(path)
		errs = append(errs, err)
		w.other[at] = data
	}
	return errors.Join(errs...)
}

// stepsOf tells the steps of reading an image from its registry.
func stepsOf(image digest.Digest) func(*http.Request) step {
	return func(r *http.Request) step {
		path := r.URL.Path
		reference := path[strings.LastIndexByte(path, '/')+1:]
		switch {
		case strings.Contains(path, "/referrers/"):
			return referrers
		case strings.Contains(path, "/blobs/"):
			return blob
		case reference == image.String():
			return manifest
		case strings.Contains(path, "/manifests/sha256:"):
			return signature
		case strings.Contains(path, "/manifests/sha256-"):
			return "fallback tag"
		case strings.Contains(path, "/manifests/"):
			return resolve
		}
		return ""
	}
}

// newHost makes the server of a cell, with TLS.
func (w *world) newHost(ctx context.Context, h *host) error {
	h.elsewhere, h.other = w.canary.address, w.other
	ip := w.addresses.take()
	if err := h.listen(ctx, ip); err != nil {
		return err
	}
	if err := w.secure(h, ip); err != nil {
		h.end()
		return err
	}
	return nil
}

func (w *world) secure(h *host, ip netip.Addr) (err error) {
	address := net.IP(ip.AsSlice())
	if h.secret.good, err = withCertificate(w.ca, address, time.Now().Add(lifetime)); err != nil {
		return err
	}
	if h.fault.line != nil && h.fault.line.tls != nil {
		h.secret.bad, err = h.fault.line.tls(w, address)
	}
	return err
}

// Tokens are those that a registry accepts: the last one that was given.
type tokens struct {
	mu   sync.Mutex
	text string
}

func (t *tokens) renew() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = rand.Text()
	return t.text
}

// give is a token server.
func (t *tokens) give(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, t.renew())
}

// lock lets only those read who have the token.
func (t *tokens) lock(realm string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.mu.Lock()
		right := t.text != "" && r.Header.Get("Authorization") == "Bearer "+t.text
		t.mu.Unlock()
		if !right {
			w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, realm))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A registryEntry is what the configuration says of one registry.
type registryEntry struct{ host, authHost string }

// settings are a configuration for the registries, trusting the world's signers.
func (w *world) settings(entries []registryEntry, extra string) string {
	var b strings.Builder
	b.WriteString("stores:\n- name: registries\n  type: oras\n  scopes: [\"*\"]\n  settings:\n    registries:\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "    - {host: %q, caFile: %q, allowPrivate: true", e.host, w.caFile)
		if e.authHost != "" {
			fmt.Fprintf(&b, ", authHosts: [%q]", e.authHost)
		}
		b.WriteString("}\n")
	}
	if len(entries) == 0 {
		b.WriteString("    []\n")
	}
	b.WriteString(extra)
	return b.String()
}

// trustedOnly is the rest of a configuration in which the fixture's signer decides alone.
func (w *world) trustedOnly() string {
	return fmt.Sprintf(`verifiers:
- name: notation
  type: notation
  settings:
    trustStores:
    - {type: ca, name: certs, files: [%q]}
    trustPolicy:
      version: "1.0"
      trustPolicies:
      - {name: default, registryScopes: ["*"], signatureVerification: {level: strict}, trustStores: ["ca:certs"], trustedIdentities: ["*"]}
policies:
- {name: default, scopes: ["*"], verifiers: [notation]}
`, w.fixture.SignerFile)
}

// A served program is one under test, and who asks it.
type served struct {
	*program.Provider
	*asker
}

// serve starts the program with a configuration file.
func (w *world) serve(ctx context.Context, config string, args ...string) (*served, error) {
	pki := w.fixture.PKI
	args = append([]string{
		"--config=" + config, "--cert-dir=" + pki.CertDir, "--client-ca=" + pki.ClientCAFile,
		"--verify-timeout=" + budget.String(),
	}, args...)
	return start(ctx, w.env.Binary, pki, args)
}

func start(ctx context.Context, binary string, pki *fixture.PKI, args []string) (*served, error) {
	p, err := program.Serve(ctx, program.ServeOptions{Binary: binary, Args: args})
	if err != nil {
		return nil, err
	}
	a, err := newAsker(p, pki)
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &served{p, a}, nil
}

func (s *served) end() error {
	s.asker.close()
	return s.Stop()
}

// write writes a file of the part.
func (w *world) write(name, text string) (string, error) {
	path := filepath.Join(w.env.Dir, name)
	return path, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600))
}
