// Package store runs the suite that every store must pass against real registries, in process: one with the referrers
// API, one with pages of it left to the fallback tag, and Docker's own with passwords and with tokens.
package store

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/crypto/bcrypt"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/store/storetest"
)

const (
	username = "reader"
	password = "correct horse"
	service  = "test-registry"
	issuer   = "test-issuer"
)

// listen serves a registry over HTTP on the loopback address and returns its host.
func listen(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// push puts the content into a repository, by a client that keeps the fallback tag where there is no referrers API.
func push(t *testing.T, repository string, content storetest.Content, credential auth.Credential) {
	t.Helper()
	repo, err := remote.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	repo.PlainHTTP = true
	repo.SkipReferrersGC = true // a registry need not delete
	repo.Client = &auth.Client{Cache: auth.NewCache(), Credential: auth.StaticCredential(repo.Reference.Registry, credential)}
	ctx := t.Context()
	for _, b := range content.Blobs {
		if err := repo.Blobs().Push(ctx, b.Desc, bytes.NewReader(b.Data)); err != nil {
			t.Fatalf("push blob: %v", err)
		}
	}
	for _, m := range content.Manifests {
		if err := repo.Manifests().Push(ctx, m.Desc, bytes.NewReader(m.Data)); err != nil {
			t.Fatalf("push manifest: %v", err)
		}
		for _, tag := range m.Tags {
			if err := repo.Manifests().PushReference(ctx, m.Desc, bytes.NewReader(m.Data), tag); err != nil {
				t.Fatalf("push tag %s: %v", tag, err)
			}
		}
	}
}

func newStore(t *testing.T, registry oras.Registry) *oras.Store {
	t.Helper()
	registry.PlainHTTP, registry.AllowPrivate = true, true
	store, err := oras.New(oras.Config{Registries: []oras.Registry{registry}}, oras.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestGoContainerRegistry(t *testing.T) {
	for name, referrers := range map[string]bool{"referrers API": true, "fallback tag": false} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
				host := listen(t, ggcr.New(ggcr.WithReferrersSupport(referrers), ggcr.Logger(log.New(io.Discard, "", 0))))
				push(t, host+"/team/app", content, auth.EmptyCredential)
				return newStore(t, oras.Registry{Host: host}), host + "/team/app"
			}})
		})
	}
}

// distribution serves Docker's registry with the given section of its configuration for access control.
func distribution(t *testing.T, access string) string {
	t.Helper()
	config, err := configuration.Parse(strings.NewReader("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {inmemory: {}, maintenance: {uploadpurging: {enabled: false}}}\nhttp: {secret: test}\n" + access))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return listen(t, handlers.NewApp(ctx, config))
}

func TestDistributionAnonymous(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
		host := distribution(t, "")
		push(t, host+"/team/app", content, auth.EmptyCredential)
		return newStore(t, oras.Registry{Host: host}), host + "/team/app"
	}})
}

func TestDistributionWithPassword(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	htpasswd := writeFile(t, []byte(username+":"+string(hash)+"\n"))
	var host string
	storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
		host = distribution(t, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", htpasswd))
		push(t, host+"/team/app", content, auth.Credential{Username: username, Password: password})
		docker := fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
		return newStore(t, oras.Registry{Host: host, Credentials: oras.Sources{{DockerConfig: writeFile(t, docker)}}}), host + "/team/app"
	}})
	t.Run("refused", func(t *testing.T) {
		host = distribution(t, fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", htpasswd))
		wantAuth(t, newStore(t, oras.Registry{Host: host}), host)
		wantAuth(t, newStore(t, oras.Registry{Host: host, Credentials: oras.Sources{{Username: username, Password: "wrong"}}}), host)
	})
}

func wantAuth(t *testing.T, store *oras.Store, host string) {
	t.Helper()
	repo, _, err := store.Open(t.Context(), ratify.Subject{Repository: host + "/team/app"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = repo.Resolve(t.Context(), "v1")
	var e *ratify.Error
	if !errors.As(err, &e) || e.Code != ratify.RegistryAuth {
		t.Errorf("error %v, want %s", err, ratify.RegistryAuth)
	}
	if e != nil && strings.Contains(e.Error(), password) {
		t.Errorf("error %q shows the password", e)
	}
}

func TestDistributionWithTokens(t *testing.T) {
	tokens := newTokenServer(t)
	access := fmt.Sprintf("auth: {token: {realm: %q, service: %s, issuer: %s, jwks: %q}}\n", tokens.url, service, issuer, tokens.jwks)
	storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
		host := distribution(t, access)
		push(t, host+"/team/app", content, auth.Credential{Username: username, Password: password})
		tokens.forget()
		return newStore(t, oras.Registry{
			Host: host, AuthHosts: []string{tokens.host}, Credentials: oras.Sources{{Username: username, Password: password}},
		}), host + "/team/app"
	}})
	// The suite does some sixty reads of one repository.
	if n := tokens.count(); n != 1 {
		t.Errorf("%d tokens for one repository, want 1", n)
	}
	t.Run("refused", func(t *testing.T) {
		host := distribution(t, access)
		wantAuth(t, newStore(t, oras.Registry{Host: host, AuthHosts: []string{tokens.host}, Credentials: oras.Sources{{Username: username, Password: "wrong"}}}), host)
	})
	t.Run("anonymous", func(t *testing.T) {
		host := distribution(t, access)
		wantAuth(t, newStore(t, oras.Registry{Host: host, AuthHosts: []string{tokens.host}}), host)
	})
	t.Run("token server that is not allowed", func(t *testing.T) {
		host := distribution(t, access)
		tokens.forget()
		repo, _, err := newStore(t, oras.Registry{Host: host, Credentials: oras.Sources{{Username: username, Password: password}}}).
			Open(t.Context(), ratify.Subject{Repository: host + "/team/app"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = repo.Resolve(t.Context(), "v1")
		var e *ratify.Error
		if !errors.As(err, &e) || e.Code != ratify.RegistryNotAllowed || !strings.Contains(e.Remedy, "authHosts") {
			t.Errorf("error %v, want %s", err, ratify.RegistryNotAllowed)
		}
		if n := tokens.count(); n != 0 {
			t.Errorf("%d requests to the token server, want none", n)
		}
	})
}

// tokenServer gives tokens for what is asked to whoever knows the password, and tokens for nothing to others.
type tokenServer struct {
	url, host, jwks string
	key             *ecdsa.PrivateKey

	mu    sync.Mutex
	asked int
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s := &tokenServer{key: key}
	encode := base64.RawURLEncoding.EncodeToString
	s.jwks = writeFile(t, fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","alg":"ES256","x":%q,"y":%q}]}`, encode(public[1:33]), encode(public[33:])))
	s.host = listen(t, s)
	s.url = "http://" + s.host + "/token"
	return s
}

func (s *tokenServer) forget() { s.mu.Lock(); s.asked = 0; s.mu.Unlock() }

func (s *tokenServer) count() int { s.mu.Lock(); defer s.mu.Unlock(); return s.asked }

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	s.mu.Unlock()
	user, given, ok := r.BasicAuth()
	if ok && (user != username || given != password) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"errors":[{"code":"UNAUTHORIZED","message":"not %s"}]}`, password)
		return
	}
	type resource struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	access := []resource{}
	for _, scope := range r.URL.Query()["scope"] {
		parts := strings.Split(scope, ":")
		if ok && len(parts) == 3 {
			access = append(access, resource{parts[0], parts[1], strings.Split(parts[2], ",")})
		}
	}
	now := time.Now().Unix()
	token, err := s.sign(map[string]any{
		"iss": issuer, "sub": user, "aud": service, "exp": now + 300, "nbf": now - 10, "iat": now, "jti": fmt.Sprint(now), "access": access,
	})
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `{"token":%q}`, token)
}

// sign makes a compact JWS with ES256 (RFC 7518 §3.4: r and s of 32 bytes each).
func (s *tokenServer) sign(claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"1"}`)) + "." + encode(payload)
	sum := sha256.Sum256([]byte(text))
	r, t, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	for i, n := range []*big.Int{r, t} {
		n.FillBytes(signature[32*i : 32*i+32])
	}
	return text + "." + encode(signature), nil
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
