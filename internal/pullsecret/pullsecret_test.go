package pullsecret

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	plantedSecret = "planted-secret"
	plantedToken  = "planted-token"
)

// apiServer is an API server that has objects by path, and remembers what it was asked.
type apiServer struct {
	server *httptest.Server
	token  string
	// before answers in place of the server where it returns true.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	objects map[string]any
	asked   []string
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{token: plantedToken, objects: map[string]any{}}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.RequestURI())
	object, ok := s.objects[r.URL.Path]
	token := s.token
	s.mu.Unlock()
	switch {
	case s.before != nil && s.before(w, r):
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_ = json.NewEncoder(w).Encode(object)
	}
}

func (s *apiServer) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *apiServer) put(path string, object any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = object
}

// account puts a service account that names pull secrets.
func (s *apiServer) account(namespace, name string, secrets ...string) {
	named := []map[string]string{}
	for _, secret := range secrets {
		named = append(named, map[string]string{"name": secret})
	}
	s.put("/api/v1/namespaces/"+namespace+"/serviceaccounts/"+name, map[string]any{"kind": "ServiceAccount", "imagePullSecrets": named})
}

// secret puts a Secret.
func (s *apiServer) secret(namespace, name, kind, key, text string) {
	s.put("/api/v1/namespaces/"+namespace+"/secrets/"+name, map[string]any{"kind": "Secret", "type": kind, "data": map[string][]byte{key: []byte(text)}})
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// settings are those under which the server can be reached.
func (s *apiServer) settings(t *testing.T) Settings {
	t.Helper()
	directory := t.TempDir()
	settings := Settings{APIServer: s.server.URL, TokenFile: filepath.Join(directory, "token"), CAFile: filepath.Join(directory, "ca.crt")}
	writeFile(t, settings.TokenFile, []byte(plantedToken+"\n"))
	writeFile(t, settings.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}))
	return settings
}

func newClient(t *testing.T, settings Settings) *Client {
	t.Helper()
	c, err := New(settings)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func dockerConfig(host, user string) string {
	return fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, plantedSecret)
}

func names(a Answer) []string {
	var all []string
	for _, s := range a.Secrets {
		all = append(all, s.Name)
	}
	return all
}

func TestGet(t *testing.T) {
	s := newAPIServer(t)
	s.account("team-a", "default", "one", "two", "token", "gone", "broken", "../../x")
	s.secret("team-a", "one", typeDockerConfigJSON, keyDockerConfigJSON, dockerConfig("a.example", "one"))
	s.secret("team-a", "two", typeDockerConfig, keyDockerConfig, `{"b.example":{"username":"two","password":"p"}}`)
	s.secret("team-a", "token", "kubernetes.io/service-account-token", keyDockerConfigJSON, dockerConfig("a.example", "stolen"))
	s.secret("team-a", "broken", typeDockerConfigJSON, keyDockerConfigJSON, plantedSecret)
	c := newClient(t, s.settings(t))
	got, err := c.Get(t.Context(), "team-a")
	if err != nil || !slices.Equal(names(got), []string{"one", "two"}) {
		t.Fatalf("secrets %q: %v", names(got), err)
	}
	if cred, _ := got.Secrets[0].Ring.Lookup("a.example", "app"); cred.Username != "one" || cred.Password != plantedSecret {
		t.Errorf("credential of %q", cred.Username)
	}
	if cred, _ := got.Secrets[1].Ring.Lookup("b.example", "app"); cred.Username != "two" {
		t.Errorf("credential of %q", cred.Username)
	}
	problems := strings.Join(got.Problems, "\n")
	for _, want := range []string{"Secret token is not of the type", "Secret gone is not there", "Secret broken is of no use", `"../../x" is no name of a Secret`} {
		if !strings.Contains(problems, want) {
			t.Errorf("problems %q, want %q", problems, want)
		}
	}
	if strings.Contains(problems, plantedSecret) {
		t.Errorf("problems %q show a secret", problems)
	}
	const place = "GET /api/v1/namespaces/team-a/"
	want := []string{place + "serviceaccounts/default", place + "secrets/one", place + "secrets/two", place + "secrets/token", place + "secrets/gone", place + "secrets/broken"}
	if !slices.Equal(s.seen(), want) {
		t.Errorf("asked %q, want %q", s.seen(), want)
	}
}

func TestNothingToRead(t *testing.T) {
	s := newAPIServer(t)
	s.account("empty", "default")
	s.account("other", "puller", "one")
	s.secret("other", "one", typeDockerConfigJSON, keyDockerConfigJSON, dockerConfig("a.example", "one"))
	c := newClient(t, s.settings(t))
	for _, namespace := range []string{"empty", "other", "not-there"} {
		if got, err := c.Get(t.Context(), namespace); err != nil || len(got.Secrets) != 0 {
			t.Errorf("%s: %q and %v", namespace, names(got), err)
		}
	}
	settings := s.settings(t)
	settings.ServiceAccount = "puller"
	if got, err := newClient(t, settings).Get(t.Context(), "other"); err != nil || len(got.Secrets) != 1 {
		t.Errorf("of another account: %q and %v", names(got), err)
	}
}

// A name that could lead elsewhere in the API never reaches a URL.
func TestNamesOfNamespaces(t *testing.T) {
	s := newAPIServer(t)
	c := newClient(t, s.settings(t))
	for _, namespace := range []string{"", "A", "a/b", "../x", "a.b", "-a", "a-", "a%2f", "a?b", strings.Repeat("a", 64), "ä"} {
		if _, err := c.Get(t.Context(), namespace); err == nil || !strings.Contains(err.Error(), "namespace") {
			t.Errorf("%q: %v", namespace, err)
		}
	}
	if len(s.seen()) != 0 {
		t.Errorf("asked %q", s.seen())
	}
}

func TestManySecrets(t *testing.T) {
	s := newAPIServer(t)
	var all []string
	for i := range maxSecrets + 5 {
		name := fmt.Sprint("s", i)
		s.secret("a", name, typeDockerConfigJSON, keyDockerConfigJSON, dockerConfig("a.example", name))
		all = append(all, name)
	}
	s.account("a", "default", all...)
	got, err := newClient(t, s.settings(t)).Get(t.Context(), "a")
	if err != nil || len(got.Secrets) != maxSecrets || len(got.Problems) != 1 || len(s.seen()) != maxSecrets+1 {
		t.Errorf("%d secrets, problems %q, %d requests: %v", len(got.Secrets), got.Problems, len(s.seen()), err)
	}
}

func TestFailures(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, plantedToken)
			return true
		}
	}
	for _, tc := range []struct {
		name   string
		before func(http.ResponseWriter, *http.Request) bool
		want   string
	}{
		{"forbidden", status(403), "a Role must allow"},
		{"unauthorized", status(401), "does not accept the token"},
		{"error", status(500), "answered 500"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "https://192.0.2.1/", http.StatusFound)
			return true
		}, "answered 302"},
		{"malformed", status(200), "malformed"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, `{"x":"`+strings.Repeat("x", maxObjectBytes)+`"}`)
			return true
		}, "longer than"},
		{"cut", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
			return true
		}, "cut its answer short"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newAPIServer(t)
			s.before = tc.before
			c := newClient(t, s.settings(t))
			for range 2 {
				_, err := c.Get(t.Context(), "a")
				if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), plantedToken) {
					t.Errorf("error %v, want %q", err, tc.want)
				}
			}
			if n := len(s.seen()); n != 1 {
				t.Errorf("asked %d times, want once: a failure is remembered", n)
			}
		})
	}
}

func TestSecretThatMayNotBeRead(t *testing.T) {
	s := newAPIServer(t)
	s.account("a", "default", "one")
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/secrets/") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	_, err := newClient(t, s.settings(t)).Get(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "read Secret one of namespace a: the API server does not allow it") {
		t.Errorf("error %v", err)
	}
}

// The token and the CA are read again, as they rotate; an answer is kept for a while, and that there is none for less.
func TestRotation(t *testing.T) {
	s := newAPIServer(t)
	s.account("a", "default", "one")
	s.secret("a", "one", typeDockerConfigJSON, keyDockerConfigJSON, dockerConfig("a.example", "one"))
	settings := s.settings(t)
	c := newClient(t, settings)
	c.keepFor, c.retryAfter = 0, 0
	get := func(want string) {
		t.Helper()
		_, err := c.Get(t.Context(), "a")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	get("")
	s.mu.Lock()
	s.token = "another"
	s.mu.Unlock()
	get("does not accept the token")
	writeFile(t, settings.TokenFile, []byte("another"))
	get("")
	ca, err := os.ReadFile(settings.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, settings.CAFile, []byte("garbage"))
	get("holds no PEM certificate")
	writeFile(t, settings.CAFile, ca)
	get("")
	writeFile(t, settings.TokenFile, []byte("a\nb"))
	get("holds none")
	if err := os.Remove(settings.TokenFile); err != nil {
		t.Fatal(err)
	}
	get("no such file")
}

func TestAnswersAreKept(t *testing.T) {
	s := newAPIServer(t)
	s.account("a", "default", "one")
	s.secret("a", "one", typeDockerConfigJSON, keyDockerConfigJSON, dockerConfig("a.example", "one"))
	c := newClient(t, s.settings(t))
	c.retryAfter = 0
	for range 3 {
		if got, err := c.Get(t.Context(), "a"); err != nil || len(got.Secrets) != 1 {
			t.Fatalf("%q: %v", names(got), err)
		}
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	for range 2 {
		if _, err := c.Get(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.seen()); n != 4 {
		t.Errorf("%d requests, want 4: that there is nothing is kept for less long", n)
	}
}

// All who ask at the same time share one answer; one who goes away takes nothing along.
func TestJoined(t *testing.T) {
	s := newAPIServer(t)
	s.account("a", "default")
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	s.before = func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	}
	c := newClient(t, s.settings(t))
	first, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := c.Get(first, "a"); left <- err }()
	<-arrived
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left got %v", err)
	}
	errs := make(chan error, 10)
	for range cap(errs) {
		go func() { _, err := c.Get(t.Context(), "a"); errs <- err }()
	}
	close(release)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestAnotherServer(t *testing.T) {
	settings := newAPIServer(t).settings(t)
	other := newAPIServer(t)
	settings.APIServer = other.server.URL
	writeFile(t, settings.CAFile, selfSigned(t))
	if _, err := newClient(t, settings).Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("error %v", err)
	}
	if len(other.seen()) != 0 {
		t.Error("a server that no CA vouches for was asked")
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_SERVICE_PORT", "")
	for _, tc := range []struct {
		settings Settings
		want     string
	}{
		{Settings{}, "apiServer: it is needed outside of a cluster"},
		{Settings{APIServer: "http://a.example"}, "apiServer: it is no URL of the form"},
		{Settings{APIServer: "https://u:" + plantedSecret + "@a.example"}, "apiServer: it is no URL of the form"},
		{Settings{APIServer: "https://a.example/path"}, "apiServer: it is no URL of the form"},
		{Settings{APIServer: "https://a.example", ServiceAccount: "../x"}, "serviceAccount:"},
	} {
		if _, err := New(tc.settings); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), plantedSecret) {
			t.Errorf("error %v, want %q", err, tc.want)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	c, err := New(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	want := Settings{APIServer: "https://[fd00::1]:443", ServiceAccount: "default",
		TokenFile: "/var/run/secrets/kubernetes.io/serviceaccount/token", CAFile: "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"}
	if c.settings != want {
		t.Errorf("%+v, want %+v", c.settings, want)
	}
	if c.keepFor != time.Minute || c.retryAfter != 5*time.Second {
		t.Errorf("kept for %s, tried again after %s", c.keepFor, c.retryAfter)
	}
}

// selfSigned is the certificate of nobody in particular: servers of httptest share one.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
