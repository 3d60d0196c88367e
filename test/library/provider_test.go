package library

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/ratify-provider/ratify/test/engine"
)

// A fakeProvider answers what a test tells it, over TLS 1.3 to whoever shows Gatekeeper's client certificate.
type fakeProvider struct {
	server *httptest.Server
	// ca issued the server's certificate, clients issues Gatekeeper's.
	ca, clients *engine.Authority
	// clientCert and clientKey are what Gatekeeper shows.
	clientCert, clientKey string

	// prefix is what every key begins with; tests neither see it nor write it. Empty: they see what is asked.
	prefix string

	mu       sync.Mutex
	answer   func(keys []string) (status int, body string)
	requests [][]string
}

func newFakeProvider(t *testing.T) *fakeProvider {
	t.Helper()
	p := &fakeProvider{}
	p.ca, p.clients = newAuthority(t, "provider-ca"), newAuthority(t, "gatekeeper-ca")
	p.clientCert, p.clientKey = issue(t, p.clients, engine.ClientName)
	cert, key := issue(t, p.ca, "ratify.gatekeeper-system.svc")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	p.server = httptest.NewUnstartedServer(p)
	// Refused handshakes are part of the suite, not of its output.
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	// Up to 3.21 Gatekeeper leaves an idle connection behind each request; they must not use up this process's files.
	p.server.Config.IdleTimeout = time.Second
	p.server.TLS = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    p.clients.Pool(),
		VerifyConnection: func(state tls.ConnectionState) error {
			return state.PeerCertificates[0].VerifyHostname(engine.ClientName)
		},
	}
	p.server.StartTLS()
	t.Cleanup(p.server.Close)
	return p
}

func newAuthority(t *testing.T, name string) *engine.Authority {
	t.Helper()
	authority, err := engine.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func issue(t *testing.T, authority *engine.Authority, name string) (cert, key string) {
	t.Helper()
	cert, key, err := authority.Issue(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (p *fakeProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/redirect") {
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		return
	}
	var request externaldata.ProviderRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil || r.Method != http.MethodPost {
		http.Error(w, "not a ProviderRequest", http.StatusBadRequest)
		return
	}
	keys := p.withoutPrefix(request.Request.Keys)
	p.mu.Lock()
	p.requests = append(p.requests, keys)
	answer := p.answer
	p.mu.Unlock()
	status, body := answer(keys)
	body = strings.ReplaceAll(body, `"key":"`, `"key":"`+p.prefix)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// withoutPrefix shows each key as the image that it is for; a key that has not the prefix stands out.
func (p *fakeProvider) withoutPrefix(keys []string) []string {
	images := make([]string, len(keys))
	for i, key := range keys {
		image, ok := strings.CutPrefix(key, p.prefix)
		if !ok {
			image = "without prefix: " + key
		}
		images[i] = image
	}
	return images
}

// answers sets what is answered from now on, and forgets the requests so far.
func (p *fakeProvider) answers(answer func(keys []string) (int, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.requests = answer, nil
}

// says answers the same to every request.
func (p *fakeProvider) says(status int, body string) {
	body = withInstants(body)
	p.answers(func([]string) (int, string) { return status, body })
}

// proves answers each key with a proof.
func (p *fakeProvider) proves() {
	p.answers(func(keys []string) (int, string) {
		items := make([]any, len(keys))
		for i, key := range keys {
			items[i] = item(key, proof(key))
		}
		return http.StatusOK, withInstants(body(items...))
	})
}

// asked returns the keys of each request since the last answers.
func (p *fakeProvider) asked() [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

// provider is the Provider object for it, named as the library names it.
func (p *fakeProvider) provider() engine.Provider {
	return engine.Provider{Name: "ratify-provider", URL: p.server.URL + "/ratify/gatekeeper/v1/verify", CAPEM: p.ca.PEM(), TimeoutSeconds: 30}
}

func withInstants(body string) string {
	now := time.Now().Unix()
	body = strings.ReplaceAll(body, `"`+future+`"`, strconv.FormatInt(now+3600, 10))
	return strings.ReplaceAll(body, `"`+past+`"`, strconv.FormatInt(now-3600, 10))
}
