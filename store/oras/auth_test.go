package oras

import (
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// tokenServer gives tokens and remembers what it was asked for.
type tokenServer struct {
	server *httptest.Server
	// answer writes an answer; nil gives the token "token-N" with N counting from 1.
	answer http.HandlerFunc

	mu       sync.Mutex
	requests []tokenRequest
}

type tokenRequest struct {
	method, query, form, authorization string
}

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.requests = append(s.requests, tokenRequest{r.Method, r.URL.RawQuery, string(body), r.Header.Get("Authorization")})
	n := len(s.requests)
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(w, r)
		return
	}
	fmt.Fprintf(w, `{"token":"token-%d","access_token":"token-%d"}`, n, n)
}

func (s *tokenServer) seen() []tokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]tokenRequest(nil), s.requests...)
}

// wantToken makes a registry that asks for a token of s, and accepts those that accept says.
func (s *tokenServer) wantToken(scope string, accept func(token string) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if ok && accept(token) {
			return false
		}
		return answer(401, "", nil, "Www-Authenticate", bearer(s.server.URL+"/token", scope))(w, r)
	}
}

func anyToken(string) bool { return true }

// withTokens makes a registry with a token server, and its entry.
func withTokens(t *testing.T, c fixture, scope string, accept func(string) bool) (*fakeRegistry, *tokenServer, Registry) {
	t.Helper()
	f, s := newFake(t, c.content()), newTokenServer(t)
	f.before = s.wantToken(scope, accept)
	entry := f.entry(t)
	entry.CAFile = caFile(t, f.server, s.server)
	entry.AuthHosts = []string{s.server.Listener.Addr().String()}
	return f, s, entry
}

func basicAuth(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBasicAuthentication(t *testing.T) {
	for name, credentials := range map[string]func(f *fakeRegistry) Sources{
		"password": func(*fakeRegistry) Sources { return Sources{{Username: plantedUser, Password: plantedSecret}} },
		"password file": func(*fakeRegistry) Sources {
			return Sources{{Username: plantedUser, PasswordFile: writeFile(t, plantedSecret+"\n")}}
		},
		"docker config": func(f *fakeRegistry) Sources {
			auth := strings.TrimPrefix(basicAuth(plantedUser, plantedSecret), "Basic ")
			return Sources{{DockerConfig: writeFile(t, fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, f.host, auth))}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFixture()
			f := newFake(t, c.content())
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				return r.Header.Get("Authorization") != basicAuth(plantedUser, plantedSecret) && answer(401, "", nil, "Www-Authenticate", `Basic realm="registry"`)(w, r)
			}
			repo := openFake(t, f, func(r *Registry) { r.Credentials = credentials(f) })
			for range 3 {
				if err := resolveTag(t.Context(), repo, c); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(f.seen()); n != 4 {
				t.Errorf("%d requests for three reads, want 4: one challenge for all", n)
			}
		})
	}
}

// A registry that asks for a password refuses a credential that is none, and the next one is tried.
func TestBasicAuthenticationWithoutPassword(t *testing.T) {
	c := newFixture()
	for name, lacking := range map[string]func(f *fakeRegistry) Credentials{
		"identity token":  func(*fakeRegistry) Credentials { return Credentials{IdentityToken: plantedSecret} },
		"user name alone": func(f *fakeRegistry) Credentials { return docker(t, f.host, plantedUser, "") },
		"password alone":  func(*fakeRegistry) Credentials { return newProgram(t, `{"Username":"","Secret":"x"}`).helper(t) },
		"a plugin's password": func(f *fakeRegistry) Credentials {
			return newProgram(t, pluginAnswer("Registry", f.host, "", "x")).provider(t, f.host)
		},
		"a plugin's user name": func(f *fakeRegistry) Credentials {
			return newProgram(t, pluginAnswer("Registry", f.host, "u", "")).provider(t, f.host)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := locked(t, c, plantedUser, plantedSecret)
			err := resolveTag(t.Context(), openFake(t, f, func(r *Registry) { r.Credentials = Sources{lacking(f)} }), c)
			checkFailure(t, err, ratify.RegistryAuth)
			repo := openFake(t, f, func(r *Registry) {
				r.Credentials = Sources{lacking(f), {Username: plantedUser, Password: plantedSecret}}
			})
			if err := resolveTag(t.Context(), repo, c); err != nil {
				t.Errorf("with another source: %v", err)
			}
		})
	}
}

func TestTokenAuthentication(t *testing.T) {
	c := newFixture()
	for _, tc := range []struct {
		name, scope string
		credentials Sources
		want        tokenRequest
	}{
		{"anonymous", "repository:app:pull", nil,
			tokenRequest{method: "GET", query: "scope=repository%3Aapp%3Apull&service=registry"}},
		{"password", "repository:app:pull", Sources{{Username: plantedUser, Password: plantedSecret}},
			tokenRequest{method: "GET", query: "scope=repository%3Aapp%3Apull&service=registry", authorization: basicAuth(plantedUser, plantedSecret)}},
		{"identity token", "repository:app:pull", Sources{{IdentityToken: plantedSecret}},
			tokenRequest{method: "POST", form: "client_id=ratify&grant_type=refresh_token&refresh_token=" + plantedSecret + "&scope=repository%3Aapp%3Apull&service=registry"}},
		{"identity token file", "repository:app:pull", Sources{{IdentityTokenFile: writeFile(t, plantedSecret+"\n")}},
			tokenRequest{method: "POST", form: "client_id=ratify&grant_type=refresh_token&refresh_token=" + plantedSecret + "&scope=repository%3Aapp%3Apull&service=registry"}},
		{"no scope in the challenge", "", nil,
			tokenRequest{method: "GET", query: "scope=repository%3Aapp%3Apull&service=registry"}},
		{"writing scopes in the challenge", "repository:app:pull,push,delete repository:other:* registry:catalog:*", nil,
			tokenRequest{method: "GET", query: "scope=repository%3Aapp%3Apull&service=registry"}},
		{"a scope of another form", "aws", nil,
			tokenRequest{method: "GET", query: "scope=aws&scope=repository%3Aapp%3Apull&service=registry"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, s, entry := withTokens(t, c, tc.scope, anyToken)
			entry.Credentials = tc.credentials
			repo := open(t, newStore(t, Deps{}, entry), f.repository())
			if err := resolveTag(t.Context(), repo, c); err != nil {
				t.Fatal(err)
			}
			if seen := s.seen(); len(seen) != 1 || seen[0] != tc.want {
				t.Errorf("token requests %+v, want %+v", seen, tc.want)
			}
			for _, r := range f.all() {
				if strings.Contains(r.Header.Get("Authorization"), plantedSecret) || strings.HasPrefix(r.Header.Get("Authorization"), "Basic") {
					t.Errorf("the registry got %q", r.Header.Get("Authorization"))
				}
			}
		})
	}
}

func TestRegistryTokenIsUsedAsItIs(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", func(token string) bool { return token == plantedSecret })
	entry.Credentials = Sources{{DockerConfig: writeFile(t, fmt.Sprintf(`{"auths":{%q:{"registrytoken":%q}}}`, f.host, plantedSecret))}}
	if err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c); err != nil {
		t.Fatal(err)
	}
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d requests for a token, want none", n)
	}
}

func TestTokenThatExpiresInMidBatch(t *testing.T) {
	c := newFixture()
	valid := "token-1"
	f, s, entry := withTokens(t, c, "", func(token string) bool { return token == valid })
	repo := open(t, newStore(t, Deps{}, entry), f.repository())
	if err := resolveTag(t.Context(), repo, c); err != nil {
		t.Fatal(err)
	}
	valid = "token-2"
	for range 2 {
		if err := fetchBlob(t.Context(), repo, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.seen()); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

func TestFailuresOfTheTokenServer(t *testing.T) {
	const repeats = `{"errors":[{"code":"X","message":"your password is ` + plantedSecret + `"}]}`
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); io.WriteString(w, repeats) }
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) }
	}
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   ratify.Code
	}{
		{"401", status(401), ratify.RegistryAuth},
		{"403", status(403), ratify.RegistryAuth},
		{"404", status(404), ratify.RegistryInvalid},
		{"429", status(429), ratify.RateLimited},
		{"500", status(500), ratify.RegistryUnavailable},
		{"no token", text(`{}`), ratify.RegistryInvalid},
		{"HTML", text(`<html>`), ratify.RegistryInvalid},
		{"empty", text(``), ratify.RegistryInvalid},
		{"an answer of a megabyte", text(`{"x":"` + strings.Repeat("x", 1<<20) + `"}`), ratify.RegistryInvalid},
		{"a good token in an answer that is too long", text(`{"access_token":"t","x":"` + strings.Repeat("x", maxTokenAnswerBytes) + `"}`), ratify.RegistryInvalid},
		{"a token that is too long", text(`{"token":"` + strings.Repeat("x", maxTokenBytes+1) + `"}`), ratify.RegistryInvalid},
		{"a token with a line feed", text(`{"token":"x\nX-Header: y"}`), ratify.RegistryInvalid},
		{"a token that is a number", text(`{"token":1}`), ratify.RegistryInvalid},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped(1 << 20))
		}, ratify.RegistryInvalid},
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://192.0.2.1/token", http.StatusFound)
		}, ratify.RegistryNotAllowed},
		{"redirect to http", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/token", http.StatusFound)
		}, ratify.RegistryNotAllowed},
		{"half an answer", text(`{"token":"x"`), ratify.RegistryInvalid},
		{"an answer that is cut", resetWith(`{"token":"x"`), ratify.RegistryUnavailable},
		{"redirect of the password in a body", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, ratify.RegistryNotAllowed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f, s, entry := withTokens(t, c, "", anyToken)
			s.answer = tc.answer
			entry.Credentials = Sources{{IdentityToken: plantedSecret}}
			err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c)
			checkFailure(t, err, tc.want)
			if !strings.Contains(err.Error(), "token") && !strings.Contains(err.Error(), s.server.Listener.Addr().String()) && tc.name != "redirect of the password in a body" {
				t.Errorf("error %q does not say that it is the token server's", err)
			}
			if len(f.seen()) > 1 || len(s.seen()) > 2 {
				t.Errorf("%d requests to the registry, %d for tokens", len(f.seen()), len(s.seen()))
			}
		})
	}
}

// resetWith sends some bytes of an answer and ends the connection.
func resetWith(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { resetAfter("", text)(w, r) }
}

// A credential is one host's, spelled exactly, on exactly one port.
func TestWhoGetsACredential(t *testing.T) {
	store := newStore(t, Deps{}, Registry{Host: "registry.example", Credentials: Sources{{Username: plantedUser, Password: plantedSecret}}})
	entry := store.entryFor("registry.example")
	s := newSession(entry, "registry.example", "app", auth.Credential{Username: plantedUser, Password: plantedSecret}, store.deps)
	for hostport, want := range map[string]bool{
		"registry.example": true, "registry.example:443": true, "REGISTRY.example": true,
		"registry.example:80": false, "registry.example:8443": false, "registry.example.": false, "registry.example.:443": false,
		"a.registry.example": false, "registry.example.evil.example": false, "xregistry.example": false, "registry.example:0443": false,
		"ｒegistry.example": false, "registry\u3002example": false, "registry.example\x00": false, "": false, "[registry.example]": false,
	} {
		got, err := s.credential(t.Context(), hostport)
		if err != nil || (got != auth.EmptyCredential) != want {
			t.Errorf("%q gets it: %t, error %v; want %t", hostport, got != auth.EmptyCredential, err, want)
		}
	}
	for host, want := range map[string]bool{
		"registry.example": true, "registry.example:443": true, "registry.example:80": false, "registry.example.": false, "a.registry.example": false, "registry.example.evil": false,
	} {
		if got := len(store.entryFor(host).sources) > 0; got != want {
			t.Errorf("references to %q have the entry's credentials: %t, want %t", host, got, want)
		}
	}
}

// The token server of one registry is nobody else's: a redirect to it gets no token, and a token request leads nowhere else.
func TestTokenServerIsNoRedirectHost(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	f.before = answer(307, "", nil, "Location", s.server.URL+"/blob")
	checkFailure(t, fetchBlob(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c), ratify.RegistryNotAllowed)
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d requests to the token server, want none", n)
	}
}

func TestRefusedCredentialRests(t *testing.T) {
	for _, tc := range []struct {
		name      string
		challenge string // empty: a token server, which refuses
		others    bool   // whether other repositories are spared too
	}{
		{"by the registry", `Basic realm="x"`, true},
		{"by the token server", "", true},
		{"unknown challenge", "Negotiate", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f, s, entry := withTokens(t, c, "", anyToken)
			s.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
			if tc.challenge != "" {
				f.before = answer(401, "", nil, "Www-Authenticate", tc.challenge)
			}
			entry.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
			pool := NewPool()
			pool.refusedFor = 200 * time.Millisecond
			store := newStore(t, Deps{Pool: pool}, entry)
			total := func() int { return len(f.seen()) + len(s.seen()) }

			checkFailure(t, resolveTag(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
			first := total()
			checkFailure(t, fetchBlob(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
			if n := total() - first; n != 0 {
				t.Errorf("%d requests with a refused credential, want none", n)
			}
			checkFailure(t, resolveTag(t.Context(), open(t, store, f.host+"/other"), c), ratify.RegistryAuth)
			if n := total() - first; (n == 0) != tc.others {
				t.Errorf("%d requests for another repository, spared: want %v", n, tc.others)
			}
			// Another credential is another matter, and so is this one after a while.
			entry.Credentials = Sources{{Username: plantedUser, Password: "another"}}
			before := total()
			checkFailure(t, resolveTag(t.Context(), open(t, newStore(t, Deps{Pool: pool}, entry), f.repository()), c), ratify.RegistryAuth)
			if total() == before {
				t.Error("a new credential is not tried")
			}
			eventually(t, func() bool {
				before := total()
				checkFailure(t, resolveTag(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
				return total() > before
			})
		})
	}
}

// eventually repeats a question until its answer is yes, for at most five seconds.
func eventually(t *testing.T, ask func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); <-tick.C {
		if ask() {
			return
		}
	}
	t.Error("it did not happen in five seconds")
}

func TestRemedyOfRefusedAccess(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		remedy string
	}{
		"anonymous": {`{"auths":{}}`, "configure credentials"},
		"helper":    {`{"auths":{},"credsStore":"desktop"}`, "credential helper"},
		"refused":   {`{"auths":{"HOST":{"username":"u","password":"p"}}}`, "are valid"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFixture()
			f := newFake(t, c.content())
			f.before = answer(401, "", nil, "Www-Authenticate", `Basic realm="x"`)
			repo := openFake(t, f, func(r *Registry) {
				r.Credentials = Sources{{DockerConfig: writeFile(t, strings.ReplaceAll(tc.config, "HOST", f.host))}}
			})
			err := resolveTag(t.Context(), repo, c)
			checkFailure(t, err, ratify.RegistryAuth)
			if e := ratify.AsError(err); !strings.Contains(e.UserRemedy(), tc.remedy) {
				t.Errorf("remedy %q, want %q", e.UserRemedy(), tc.remedy)
			}
		})
	}
}

// One fetch of a token serves all who wait for it, and no caller that goes away takes it along.
func TestOneTokenForMany(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.answer = func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(arrived) })
		<-release
		io.WriteString(w, `{"token":"t"}`)
	}
	store := newStore(t, Deps{}, entry)
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() {
			repo, _, err := store.Open(t.Context(), ratify.Subject{Repository: f.repository()})
			if err == nil {
				err = resolveTag(t.Context(), repo, c)
			}
			errs <- err
		}()
	}
	<-arrived
	eventually(t, func() bool { return len(f.seen()) == cap(errs) }) // all were challenged
	close(release)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := len(s.seen()); n > 3 {
		t.Errorf("%d tokens for %d callers", n, cap(errs))
	}
}

// Stores share what they learn, but only under the same settings and the same credential.
func TestPoolOutlivesAStore(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	entry.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
	pool := NewPool()
	read := func(entry Registry) {
		t.Helper()
		if err := resolveTag(t.Context(), open(t, newStore(t, Deps{Pool: pool}, entry), f.repository()), c); err != nil {
			t.Fatal(err)
		}
	}
	read(entry)
	read(entry)
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d tokens for two stores of the same settings, want 1", n)
	}
	for name, change := range map[string]func(*Registry){
		"another password": func(r *Registry) { r.Credentials = Sources{{Username: plantedUser, Password: "other"}} },
		"no credentials":   func(r *Registry) { r.Credentials = nil },
		"another CA file":  func(r *Registry) { r.CAFile = caFile(t, f.server, s.server, f.server) },
	} {
		before := len(s.seen())
		changed := entry
		change(&changed)
		read(changed)
		if n := len(s.seen()) - before; n != 1 {
			t.Errorf("%s: %d new tokens, want 1", name, n)
		}
	}
}

func TestChallenges(t *testing.T) {
	for _, tc := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"bearer", []string{`Bearer realm="https://a/token",service="s",scope="repository:x:pull"`}, `Bearer realm="https://a/token",service="s",scope="repository:x:pull"`},
		{"in another order, with spaces", []string{`bearer  scope = "aws" , realm = "r"`}, `Bearer realm="r",service="",scope="aws"`},
		{"without quotes", []string{`Bearer realm=r,service=s`}, `Bearer realm="r",service="s"`},
		{"escaped quotes", []string{`Bearer realm="a\"b\\c"`}, `Bearer realm="a\"b\\c",service=""`},
		{"basic", []string{`Basic realm="x"`}, "Basic"},
		{"basic, then bearer on one line", []string{`Basic realm="x", Bearer realm="r",service="s"`}, `Bearer realm="r",service="s"`},
		{"bearer on the second line", []string{"Negotiate", `Bearer realm="r"`}, `Bearer realm="r",service=""`},
		{"the first realm counts", []string{`Bearer realm="r",realm="q"`}, `Bearer realm="r",service=""`},
		{"unknown", []string{"Negotiate abc=="}, ""},
		{"nothing", nil, ""},
		{"unfinished string", []string{`Bearer realm="r`}, `Bearer realm="",service=""`},
		{"unfinished escape", []string{`Bearer realm="r\`}, `Bearer realm="",service=""`},
		{"parameter without a challenge", []string{`realm="r"`}, ""},
		{"scopes that write", []string{`Bearer realm="r",scope="repository:x:pull,push,delete registry:catalog:* aws"`}, `Bearer realm="r",service="",scope="repository:x:pull aws"`},
		{"scopes without end", []string{`Bearer realm="r",scope="` + strings.Repeat("a:b:c ", 1000) + `"`}, `Bearer realm="r",service=""`},
		{"more scopes than are asked for", []string{`Bearer realm="r",scope="` + strings.Repeat("a ", 20) + `"`}, `Bearer realm="r",service="",scope="a a a a a a a a"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := ""
			if c, ok := chooseChallenge(tc.lines); ok {
				got = c.String()
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="s",scope="repository:x:pull"`)
	f.Add(`Basic realm="x", Bearer realm="r\"\\"`)
	f.Fuzz(func(t *testing.T, line string) {
		chosen, ok := chooseChallenge([]string{line})
		if !ok || chosen.scheme != schemeBearer {
			return
		}
		text := chosen.String()
		if strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("%q holds what no header holds", text)
		}
		// What is written is read back as it is: oras-go and the check of the realm see the same address.
		again, ok := chooseChallenge([]string{text})
		if !ok || again.String() != text {
			t.Errorf("%q becomes %q", text, again.String())
		}
		// So is what is remembered of it, which says nothing of a repository, and names the same token server.
		general := chosen.general("app")
		if general == "" {
			return
		}
		remembered, ok := chooseChallenge([]string{general})
		if !ok || remembered.String() != general || remembered.params["realm"] != again.params["realm"] || strings.Contains(" "+remembered.params["scope"], " repository:") {
			t.Errorf("of %q is remembered %q", text, general)
		}
	})
}
