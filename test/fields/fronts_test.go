package fields

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Who may read what the registries behind passwords hold.
const (
	username = "reader"
	password = "correct horse"
	identity = "identity-token"
	apiToken = "api-token"
)

// A gate stands before the registry and lets questions about one image wait.
type gate struct {
	mu   sync.Mutex
	held map[string]*hold
}

// A hold keeps what is read of a repository waiting.
type hold struct {
	arrived chan struct{} // closed when somebody waits
	release chan struct{}
	first   sync.Once
}

func (g *gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		g.mu.Lock()
		h := g.held[repository]
		g.mu.Unlock()
		if h != nil && r.Method == http.MethodGet {
			h.first.Do(func() { close(h.arrived) })
			select {
			case <-h.release:
			case <-r.Context().Done():
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (g *gate) hold(repository string) *hold {
	h := &hold{arrived: make(chan struct{}), release: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[repository] = h
	return h
}

func (g *gate) letGo(repository string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.held[repository].release)
	delete(g.held, repository)
}

// proxy passes whatever it is asked for on to the fixture's registry.
func (w *world) proxy() http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: w.Host}) }}
}

// listen serves on the loopback address and returns host and port.
func listen(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func listenTLS(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it are part of the tests
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// behind is the fixture's registry behind a check, which answers itself and returns false where it lets nobody through.
func (w *world) behind(check func(w http.ResponseWriter, r *http.Request) bool) http.Handler {
	registry := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.Host})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if check(w, r) {
			registry.ServeHTTP(w, r)
		}
	})
}

func everybody(http.ResponseWriter, *http.Request) bool { return true }

func byPassword(w http.ResponseWriter, r *http.Request) bool {
	user, given, _ := r.BasicAuth()
	if user == username && given == password {
		return true
	}
	w.Header().Set("Www-Authenticate", `Basic realm="test"`)
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

// byToken lets those through who have a token of the realm.
func byToken(realm string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer "+realm {
			return true
		}
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test"`, realm))
		w.WriteHeader(http.StatusUnauthorized)
		return false
	}
}

// tokens is a token server whose tokens are the realm's own address: for everybody at /open, else for who is known.
func tokens(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/open" && r.PostFormValue("refresh_token") != identity {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	realm := "http://" + r.Host + r.URL.Path
	fmt.Fprintf(w, `{"token":%q,"access_token":%q}`, realm, realm)
}

// toBlobs redirects reads of blobs to another host.
func toBlobs(host string) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return true
		}
		http.Redirect(w, r, "https://"+host+r.URL.Path, http.StatusTemporaryRedirect)
		return false
	}
}

// dockerConfig has a password for a registry.
func dockerConfig(host, password string) []byte {
	return fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(username+":"+password)))
}

// apiServer answers for the namespaces of a cluster: the service account default names the Secret of that name, every other
// account the Secret other.
func apiServer(secrets map[string][]byte) http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, object any) {
		data, err := json.Marshal(object)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(data)
	}
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/serviceaccounts/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := "other"
		if r.PathValue("name") == "default" {
			name = "default"
		}
		reply(w, map[string]any{"imagePullSecrets": []any{map[string]any{"name": name}}})
	})
	mux.HandleFunc("GET /api/v1/namespaces/{namespace}/secrets/{name}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, map[string]any{"type": "kubernetes.io/dockerconfigjson", "data": map[string][]byte{".dockerconfigjson": secrets[r.PathValue("name")]}})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+apiToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
