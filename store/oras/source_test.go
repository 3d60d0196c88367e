package oras

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// The variables that make the test binary a program that gives credentials, and tell it what to do.
const (
	roleVariable   = "ORAS_TEST_ROLE"
	runsVariable   = "ORAS_TEST_RUNS" // the path of a file that gets a line with each run
	answerVariable = "ORAS_TEST_ANSWER"
)

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "" {
		os.Exit(m.Run())
	}
	input, _ := io.ReadAll(os.Stdin)
	if runs, err := os.OpenFile(os.Getenv(runsVariable), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintf(runs, "%s\n", input)
		runs.Close()
	}
	answer := os.Getenv(answerVariable)
	if answer == "" {
		os.Exit(1)
	}
	fmt.Print(answer)
}

// program is a program that gives an answer, and remembers that it was run.
type program struct {
	runs, answer string
}

func newProgram(t *testing.T, answer string) *program {
	t.Helper()
	return &program{runs: filepath.Join(t.TempDir(), "runs"), answer: answer}
}

// seen are the inputs of the runs so far.
func (p *program) seen(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(p.runs)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func (p *program) env() []Variable {
	return []Variable{{roleVariable, "program"}, {runsVariable, Secret(p.runs)}, {answerVariable, Secret(p.answer)}}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *program) helper(t *testing.T) Credentials {
	t.Helper()
	return Credentials{Helper: &Helper{Name: executable(t), Env: p.env()}}
}

// provider is the program as a plugin of the kubelet.
func (p *program) provider(t *testing.T, images ...string) Credentials {
	t.Helper()
	directory := t.TempDir()
	if err := os.Symlink(executable(t), filepath.Join(directory, "test")); err != nil {
		t.Fatal(err)
	}
	env := []map[string]string{}
	for _, v := range p.env() {
		env = append(env, map[string]string{"name": v.Name, "value": string(v.Value)})
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": []any{map[string]any{
		"name": "test", "matchImages": images, "defaultCacheDuration": "1h", "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "env": env,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return Credentials{Provider: &Provider{Config: writeFile(t, string(text)), BinDir: directory}}
}

func pluginAnswer(extent, host, username, password string) string {
	return fmt.Sprintf(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":%q,"auth":{%q:{"username":%q,"password":%q}}}`,
		extent, host, username, password)
}

// locked is a registry that lets one user in.
func locked(t *testing.T, c fixture, username, password string) *fakeRegistry {
	t.Helper()
	f := newFake(t, c.content())
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		return r.Header.Get("Authorization") != basicAuth(username, password) && answer(401, "", nil, "Www-Authenticate", `Basic realm="registry"`)(w, r)
	}
	return f
}

// tried are the user names that a registry was shown, each once for requests that follow one another.
func tried(f *fakeRegistry) []string {
	var users []string
	for _, r := range f.all() {
		user, _, _ := r.BasicAuth()
		users = append(users, user)
	}
	return slices.Compact(users)
}

func withSources(t *testing.T, f *fakeRegistry, sources ...Credentials) Registry {
	t.Helper()
	entry := f.entry(t)
	entry.Credentials = sources
	return entry
}

func docker(t *testing.T, host, username, password string) Credentials {
	t.Helper()
	return Credentials{DockerConfig: writeFile(t, dockerText(host, username, password))}
}

func dockerText(host, username, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, username, password)
}

func openFor(t *testing.T, store *Store, name, namespace string) ratify.Repository {
	t.Helper()
	repo, _, err := store.Open(t.Context(), ratify.Subject{Repository: name, Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

// The next source is tried when the registry, or its token server, refuses the credential of the one before; what was
// refused rests.
func TestSourcesAreTriedInOrder(t *testing.T) {
	good := Credentials{Username: "good", Password: plantedSecret}
	bad := Credentials{Username: "bad", Password: "planted-secret-bad"}
	for _, tc := range []struct {
		name    string
		sources Sources
		want    []string
	}{
		{"the first is good", Sources{good, bad}, []string{"", "good"}},
		{"the second is good", Sources{bad, good}, []string{"", "bad", "", "good"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f := locked(t, c, "good", plantedSecret)
			store := newStore(t, Deps{}, withSources(t, f, tc.sources...))
			repo := open(t, store, f.repository())
			if err := resolveTag(t.Context(), repo, c); err != nil {
				t.Fatal(err)
			}
			if got := tried(f); !slices.Equal(got, tc.want) {
				t.Errorf("tried %q, want %q", got, tc.want)
			}
			before := len(f.seen())
			for _, again := range []ratify.Repository{repo, open(t, store, f.repository())} {
				if err := fetchBlob(t.Context(), again, c); err != nil {
					t.Fatal(err)
				}
				if err := listReferrers(t.Context(), again, c); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(f.seen()) - before; n != 3 {
				t.Errorf("%d requests for one blob and two lists, want 3: what was refused rests", n)
			}
		})
	}
}

func TestNextSourceAfterARefusalOf(t *testing.T) {
	for name, refuse := range map[string]func(f *fakeRegistry, s *tokenServer){
		"the token server, 401": func(_ *fakeRegistry, s *tokenServer) {
			s.answer = refuseUser("bad", http.StatusUnauthorized)
		},
		"the token server, 403": func(_ *fakeRegistry, s *tokenServer) {
			s.answer = refuseUser("bad", http.StatusForbidden)
		},
		"the resource, 403": func(f *fakeRegistry, s *tokenServer) {
			s.answer = func(w http.ResponseWriter, r *http.Request) {
				user, _, _ := r.BasicAuth()
				fmt.Fprintf(w, `{"token":%q}`, user)
			}
			ask := s.wantToken("repository:app:pull", anyToken)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				return ask(w, r) || r.Header.Get("Authorization") == "Bearer bad" && answer(403, "", nil)(w, r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newFixture()
			f, s, entry := withTokens(t, c, "repository:app:pull", anyToken)
			refuse(f, s)
			entry.Credentials = Sources{{Username: "bad", Password: "x"}, docker(t, f.host, "good", plantedSecret)}
			repo := open(t, newStore(t, Deps{}, entry), f.repository())
			if err := resolveTag(t.Context(), repo, c); err != nil {
				t.Fatal(err)
			}
			requests, tokens := len(f.seen()), len(s.seen())
			if err := fetchBlob(t.Context(), repo, c); err != nil {
				t.Fatal(err)
			}
			if len(f.seen()) != requests+1 || len(s.seen()) != tokens {
				t.Errorf("%d requests and %d for tokens, want 1 and 0: what was refused rests", len(f.seen())-requests, len(s.seen())-tokens)
			}
		})
	}
}

func refuseUser(user string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if got, _, _ := r.BasicAuth(); got == user {
			w.WriteHeader(status)
			return
		}
		_, _ = io.WriteString(w, `{"token":"t"}`)
	}
}

// Where all are refused the error says which, by kind and file; nothing goes without a credential then.
func TestAllSourcesRefused(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "nobody", "x")
	file := docker(t, f.host, "file", plantedSecret)
	repo := open(t, newStore(t, Deps{}, withSources(t, f, Credentials{Username: "first", Password: plantedSecret}, file)), f.repository())
	err := resolveTag(t.Context(), repo, c)
	checkFailure(t, err, ratify.RegistryAuth)
	for _, want := range []string{"answered 401", "tried user name and password, docker config " + file.DockerConfig} {
		if !strings.Contains(ratify.AsError(err).UserMessage(), want) {
			t.Errorf("message %q, want %q", ratify.AsError(err).UserMessage(), want)
		}
	}
	if got, want := tried(f), []string{"", "first", "", "file"}; !slices.Equal(got, want) {
		t.Errorf("tried %q, want %q", got, want)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "nobody", "x")
	var sources []Credentials
	for i := range maxAttempts + 2 {
		sources = append(sources, Credentials{Username: fmt.Sprint("user", i), Password: plantedSecret})
	}
	err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, withSources(t, f, sources...)), f.repository()), c)
	checkFailure(t, err, ratify.RegistryAuth)
	if !strings.Contains(ratify.AsError(err).UserMessage(), "more are not tried") {
		t.Errorf("message %q", ratify.AsError(err).UserMessage())
	}
	if got := tried(f); got[len(got)-1] != fmt.Sprint("user", maxAttempts-1) {
		t.Errorf("tried %q", got)
	}
}

// A repository gets the source that is for it, and a tenant none of the cluster's.
func TestWhichSourceServes(t *testing.T) {
	named := func(name string, change func(*Credentials)) Credentials {
		c := Credentials{Username: name, Password: "p"}
		change(&c)
		return c
	}
	sources := Sources{
		named("team", func(c *Credentials) { c.Repositories = []string{"acme/team", "other"} }),
		named("a", func(c *Credentials) { c.Namespaces = []string{"a", "team-*"} }),
		named("cluster", func(*Credentials) {}),
		named("all", func(c *Credentials) { c.Namespaces = []string{"*"} }),
	}
	made, err := newSources(sources, hostPattern{text: "a.example", name: "a.example"}, Deps{Files: &files.Set{}, Pool: NewPool()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path, namespace string
		want            []string
	}{
		{"app", "", []string{"cluster"}},
		{"acme/team", "", []string{"team", "cluster"}},
		{"acme/team/app", "", []string{"team", "cluster"}},
		{"acme/teams", "", []string{"cluster"}},
		{"other/app", "a", []string{"a", "all"}},
		{"app", "a", []string{"a", "all"}},
		{"app", "team-x", []string{"a", "all"}},
		{"app", "team", []string{"all"}},
		{"app", "ab", []string{"all"}},
	} {
		var got []string
		for _, s := range made {
			at := target{host: "a.example", path: tc.path, namespace: tc.namespace}
			if _, ok := s.serves(at); !ok {
				continue
			}
			found, _, err := s.find(t.Context(), at)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, found[0].cred.Username)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s for %q: %q, want %q", tc.path, tc.namespace, got, tc.want)
		}
	}
}

// What the cluster may read is not read for a tenant, and the refusal says what would allow it.
func TestTenantGetsNoCredentialOfTheCluster(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "cluster", plantedSecret)
	store := newStore(t, Deps{}, withSources(t, f, Credentials{Username: "cluster", Password: plantedSecret}))
	if err := resolveTag(t.Context(), openFor(t, store, f.repository(), ""), c); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.requests = nil
	f.mu.Unlock()
	err := resolveTag(t.Context(), openFor(t, store, f.repository(), "team-a"), c)
	checkFailure(t, err, ratify.RegistryAuth)
	if !strings.Contains(ratify.AsError(err).UserRemedy(), "add namespaces") {
		t.Errorf("remedy %q", ratify.AsError(err).UserRemedy())
	}
	if got := tried(f); !slices.Equal(got, []string{""}) {
		t.Errorf("tried %q", got)
	}
	store = newStore(t, Deps{}, withSources(t, f, Credentials{Username: "a", Password: plantedSecret, Namespaces: []string{"a"}}))
	err = resolveTag(t.Context(), openFor(t, store, f.repository(), ""), c)
	checkFailure(t, err, ratify.RegistryAuth)
	if !strings.Contains(ratify.AsError(err).UserRemedy(), "as in every mutation") {
		t.Errorf("remedy %q", ratify.AsError(err).UserRemedy())
	}
}

func TestCredentialHelper(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "helped", plantedSecret)
	p := newProgram(t, fmt.Sprintf(`{"Username":"helped","Secret":%q}`, plantedSecret))
	pool := NewPool()
	for range 2 {
		store := newStore(t, Deps{Pool: pool}, withSources(t, f, p.helper(t)))
		if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.seen(t); !slices.Equal(got, []string{f.host}) {
		t.Errorf("run with %q, want once, with the host", got)
	}
}

// A program gets the variables of this process that are named, and no others.
func TestPassEnvironment(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "passed", plantedSecret)
	p := newProgram(t, fmt.Sprintf(`{"Username":"passed","Secret":%q}`, plantedSecret))
	plugged := newProgram(t, pluginAnswer("Image", f.host, "passed", plantedSecret))
	for name, tc := range map[string]struct {
		answer string
		with   func(names []string) Credentials
	}{
		"helper": {p.answer, func(names []string) Credentials {
			return Credentials{Helper: &Helper{Name: executable(t), Env: p.env()[:2], PassEnvironment: names}}
		}},
		"provider": {plugged.answer, func(names []string) Credentials {
			bare := *plugged
			bare.answer = ""
			made := bare.provider(t, f.host)
			text, err := os.ReadFile(made.Provider.Config)
			if err != nil {
				t.Fatal(err)
			}
			made.Provider.Config = writeFile(t, strings.Replace(string(text), `,{"name":"`+answerVariable+`","value":""}`, "", 1))
			made.Provider.PassEnvironment = names
			return made
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(answerVariable, tc.answer)
			if err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, withSources(t, f, tc.with([]string{answerVariable, "NOT_SET"}))), f.repository()), c); err != nil {
				t.Error(err)
			}
			err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, withSources(t, f, tc.with(nil))), f.repository()), c)
			checkFailure(t, err, ratify.RegistryAuth)
		})
	}
}

func TestProvider(t *testing.T) {
	for extent, runs := range map[string]int{"Image": 2, "Registry": 1, "Global": 1} {
		t.Run(extent, func(t *testing.T) {
			c := newFixture()
			f := locked(t, c, "plugged", plantedSecret)
			p := newProgram(t, pluginAnswer(extent, f.host, "plugged", plantedSecret))
			store := newStore(t, Deps{}, withSources(t, f, p.provider(t, "unrelated.example", f.host)))
			for range 2 {
				if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
					t.Fatal(err)
				}
			}
			_ = resolveTag(t.Context(), open(t, store, f.host+"/app/other"), c)
			if got := p.seen(t); len(got) != runs || !strings.Contains(got[0], `"image":"`+f.repository()+`"`) {
				t.Errorf("run with %q, want %d runs", got, runs)
			}
		})
	}
}

// What a plugin says of other hosts, and for images that are not its own, is used for nobody.
func TestProviderForAnotherHost(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "plugged", plantedSecret)
	p := newProgram(t, pluginAnswer("Image", "other.example", "plugged", plantedSecret))
	checkFailure(t, resolveTag(t.Context(), open(t, newStore(t, Deps{}, withSources(t, f, p.provider(t, f.host))), f.repository()), c), ratify.RegistryAuth)
	checkFailure(t, resolveTag(t.Context(), open(t, newStore(t, Deps{}, withSources(t, f, p.provider(t, "*.example"))), f.repository()), c), ratify.RegistryAuth)
	if n := len(p.seen(t)); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	if got := tried(f); !slices.Equal(got, []string{""}) {
		t.Errorf("tried %q", got)
	}
}

// A program is run once for all who ask at the same time, and one that fails is not asked again at once.
func TestProgramsAreAskedOnce(t *testing.T) {
	for name, succeeds := range map[string]bool{"good": true, "failing": false} {
		t.Run(name, func(t *testing.T) {
			c := newFixture()
			f := locked(t, c, "helped", plantedSecret)
			p := newProgram(t, "")
			if succeeds {
				p.answer = fmt.Sprintf(`{"Username":"helped","Secret":%q}`, plantedSecret)
			}
			store := newStore(t, Deps{}, withSources(t, f, p.helper(t)))
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
			for range cap(errs) {
				if err := <-errs; (err == nil) != succeeds {
					t.Error(err)
				}
			}
			if n := len(p.seen(t)); n != 1 {
				t.Errorf("%d runs, want 1", n)
			}
		})
	}
}

// A source that cannot be asked is no source without credentials: the registry is not asked as nobody, a source behind it is
// used, and what that one does not see is not said to be absent.
func TestSourceThatCannotBeAsked(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "second", plantedSecret)
	p := newProgram(t, "")
	alone := open(t, newStore(t, Deps{}, withSources(t, f, p.helper(t))), f.repository())
	err := resolveTag(t.Context(), alone, c)
	checkFailure(t, err, ratify.RegistryAuth)
	if !strings.Contains(ratify.AsError(err).UserMessage(), "could not be obtained: credential helper") {
		t.Errorf("message %q", ratify.AsError(err).UserMessage())
	}
	if n := len(f.seen()); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
	repo := open(t, newStore(t, Deps{}, withSources(t, f, p.helper(t), docker(t, f.host, "second", plantedSecret))), f.repository())
	if err := resolveTag(t.Context(), repo, c); err != nil {
		t.Error(err)
	}
	if err := listReferrers(t.Context(), repo, c); err != nil {
		t.Error(err)
	}
	_, err = repo.Resolve(t.Context(), "absent")
	checkFailure(t, err, ratify.RegistryAuth)
	_, err = repo.Referrers(t.Context(), c.referrer.Desc)
	checkFailure(t, err, ratify.RegistryAuth)
}

// The answer of a program is asked for anew when the registry refuses it, but not for each refusal.
func TestRefusedAnswerIsForgotten(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "rotated", plantedSecret)
	p := newProgram(t, `{"Username":"old","Secret":"s"}`)
	pool := NewPool()
	pool.refusedFor = time.Second // more than two reads take
	store := newStore(t, Deps{Pool: pool}, withSources(t, f, p.helper(t)))
	checkFailure(t, resolveTag(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
	checkFailure(t, resolveTag(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
	if n := len(p.seen(t)); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	eventually(t, func() bool {
		checkFailure(t, resolveTag(t.Context(), open(t, store, f.repository()), c), ratify.RegistryAuth)
		return len(p.seen(t)) > 1
	})
}

func TestPullSecretDirectory(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "good", plantedSecret)
	directory := t.TempDir()
	for name, text := range map[string]string{
		"1-other.json": dockerText("other.example", "other", "x"), "2-bad.json": dockerText(f.host, "bad", "x"),
		"mounted/.dockerconfigjson": dockerText(f.host, "good", plantedSecret), "..data/ignored.json": "{",
	} {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := &files.Set{}
	store := newStore(t, Deps{Files: set}, withSources(t, f, Credentials{PullSecretDirectory: directory}))
	if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
		t.Fatal(err)
	}
	if got, want := tried(f), []string{"", "bad", "", "good"}; !slices.Equal(got, want) {
		t.Errorf("tried %q, want %q", got, want)
	}
	if err := os.WriteFile(filepath.Join(directory, "3-new.json"), []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if !set.Changed() {
		t.Error("a new pull secret goes unseen")
	}
}

// kubernetes is an API server with one pull secret in each of some namespaces.
func kubernetes(t *testing.T, secrets map[string]string) PullSecrets {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		text, ok := secrets[parts[4]]
		switch {
		case r.Header.Get("Authorization") != "Bearer kube-token":
			w.WriteHeader(http.StatusUnauthorized)
		case text == "forbidden":
			w.WriteHeader(http.StatusForbidden)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case parts[5] == "serviceaccounts":
			_, _ = io.WriteString(w, `{"imagePullSecrets":[{"name":"pull"}]}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"type": "kubernetes.io/dockerconfigjson", "data": map[string][]byte{".dockerconfigjson": []byte(text)}})
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return PullSecrets{APIServer: server.URL, TokenFile: writeFile(t, "kube-token"), CAFile: writeFile(t, string(ca))}
}

// A tenant is read for with its own pull secret, and nobody else with it.
func TestPullSecretsOfTheTenant(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "a", plantedSecret)
	cluster := kubernetes(t, map[string]string{
		"team-a": dockerText(f.host, "a", plantedSecret), "team-b": dockerText(f.host, "b", "x"),
		"elsewhere": dockerText("other.example", "a", plantedSecret), "closed": "forbidden", "broken": "{" + plantedSecret,
	})
	store := newStore(t, Deps{}, withSources(t, f, Credentials{PullSecrets: &cluster}))
	for _, tc := range []struct {
		namespace       string
		tried           []string
		message, remedy string
	}{
		{"team-a", []string{"", "a"}, "", ""},
		{"team-b", []string{"", "b"}, "tried pull secret pull of namespace team-b", "are valid"},
		{"elsewhere", []string{""}, "asks for a password", "pull secret for this registry: it has no credential for this repository"},
		{"broken", []string{""}, "asks for a password", "namespace broken has no pull secret that can be used; Secret pull is of no use"},
		{"none", []string{""}, "asks for a password", "namespace none has no pull secret that can be used"},
		{"", []string{""}, "asks for a password", "as in every mutation"},
		{"closed", nil, "a Role must allow", "ratify login-check"},
		{"A/../team-a", nil, "not the name of a namespace", "ratify login-check"},
	} {
		t.Run(tc.namespace, func(t *testing.T) {
			f.mu.Lock()
			f.requests = nil
			f.mu.Unlock()
			store.deps.Pool.refused = NewPool().refused // what was refused to one tenant is not what this is about
			err := resolveTag(t.Context(), openFor(t, store, f.repository(), tc.namespace), c)
			if (err == nil) != (tc.message == "") || err != nil && !strings.Contains(ratify.AsError(err).UserMessage(), tc.message) {
				t.Errorf("error %v, want %q", err, tc.message)
			}
			if err != nil {
				checkFailure(t, err, ratify.RegistryAuth)
				if !strings.Contains(ratify.AsError(err).UserRemedy(), tc.remedy) {
					t.Errorf("remedy %q, want %q", ratify.AsError(err).UserRemedy(), tc.remedy)
				}
			}
			if got := tried(f); !slices.Equal(got, tc.tried) {
				t.Errorf("tried %q, want %q", got, tc.tried)
			}
		})
	}
}

func TestSourcesThatAreNone(t *testing.T) {
	config := writeFile(t, `{"auths":{}}`)
	plugins := writeFile(t, "kind: CredentialProviderConfig\n")
	for _, tc := range []struct {
		name, host string
		sources    Sources
		want       string
	}{
		{"empty list", "a.example", Sources{}, "registries[0].credentials: it is an empty list"},
		{"too many", "a.example", make(Sources, maxSources+1), "registries[0].credentials: there are more than 32"},
		{"the second", "a.example", Sources{{DockerConfig: config}, {}}, "registries[0].credentials[1]: set exactly one of"},
		{"two kinds", "a.example", Sources{{DockerConfig: config, PullSecretDirectory: "/x"}}, "set exactly one of dockerConfig, pullSecretDirectory, or make them a list"},
		{"host in a repository", "a.example", Sources{{DockerConfig: config, Repositories: []string{"a.example/acme"}}}, "repositories[0]: leave the host out: acme"},
		{"wildcard in a repository", "a.example", Sources{{DockerConfig: config, Repositories: []string{"acme/*"}}}, "repositories[0]: \"acme/*\" is no path"},
		{"tag in a repository", "a.example", Sources{{DockerConfig: config, Repositories: []string{"acme:v1"}}}, "repositories[0]:"},
		{"slash at the end", "a.example", Sources{{DockerConfig: config, Repositories: []string{"acme/"}}}, "repositories[0]:"},
		{"empty repository", "a.example", Sources{{DockerConfig: config, Repositories: []string{""}}}, "repositories[0]:"},
		{"capital letters", "a.example", Sources{{DockerConfig: config, Namespaces: []string{"Team"}}}, "namespaces[0]: expected a namespace, prefix* or *"},
		{"asterisk in front", "a.example", Sources{{DockerConfig: config, Namespaces: []string{"a", "*-x"}}}, "namespaces[1]:"},
		{"empty namespace", "a.example", Sources{{DockerConfig: config, Namespaces: []string{""}}}, "namespaces[0]:"},
		{"helper for all hosts", "*", Sources{{Helper: &Helper{Name: "x"}}}, "helper: it would be asked for hosts that somebody else may own"},
		{"helper that is not there", "a.example", Sources{{Helper: &Helper{Name: "none-such"}}}, "credentials: helper: name: docker-credential-none-such is not on the PATH"},
		{"variable without a name", "a.example", Sources{{Helper: &Helper{Name: "x", Env: []Variable{{Value: plantedSecret}}}}}, "helper: env[0]:"},
		{"passed variable without a name", "a.example", Sources{{Helper: &Helper{Name: "x", PassEnvironment: []string{"A=B"}}}}, "helper: passEnvironment[0]:"},
		{"provider without a file", "a.example", Sources{{Provider: &Provider{BinDir: "/x"}}}, "provider: config: it is missing"},
		{"provider in a relative directory", "a.example", Sources{{Provider: &Provider{Config: plugins, BinDir: "x"}}}, "provider: binDir: it is no absolute path"},
		{"provider whose file is none", "a.example", Sources{{Provider: &Provider{Config: plugins, BinDir: "/x"}}}, "provider: config: " + plugins + ": it is"},
		{"directory that is not there", "a.example", Sources{{PullSecretDirectory: "/does/not/exist"}}, "pullSecretDirectory: open /does/not/exist"},
		{"directory that is empty", "a.example", Sources{{PullSecretDirectory: t.TempDir()}}, "holds no pull secret"},
		{"API server by HTTP", "a.example", Sources{{PullSecrets: &PullSecrets{APIServer: "http://k.example"}}}, "pullSecrets: apiServer: it is no URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(Config{Registries: []Registry{{Host: tc.host, Credentials: tc.sources}}}, Deps{})
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), plantedSecret) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestSourcesAreReadStrictly(t *testing.T) {
	for text, want := range map[string]int{
		`{"username":"u","password":"p"}`:            1,
		`[{"username":"u","password":"p"}]`:          1,
		`[{"pullSecrets":{}},{"dockerConfig":"/x"}]`: 2,
		`[]`:   0,
		`null`: 0,
		`[{"helper":{"name":"x","env":[{"name":"a","value":"b"}]}}]`: 1,
	} {
		var s Sources
		if err := json.Unmarshal([]byte(text), &s); err != nil || len(s) != want {
			t.Errorf("%s: %d sources, want %d (%v)", text, len(s), want, err)
		}
	}
	for text, want := range map[string]string{
		`{"usrname":"u"}`: `unknown field "usrname" (did you mean "username"?)`,
		`[{"username":"u"},{"helper":{"nam":"x"}}]`: `[1]: helper: unknown field "nam" (did you mean "name"?)`,
		`[{"password":["` + plantedSecret + `"]}]`:  `[0]: password: `,
		`"` + plantedSecret + `"`:                   `expected a mapping, got a string`,
		`[{"a":1},{"b":2}]`:                         `; [1]: unknown field "b"`,
	} {
		var s Sources
		err := json.Unmarshal([]byte(text), &s)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), plantedSecret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}

// A trace tells what became of each source, and nothing secret.
func TestTrace(t *testing.T) {
	c := newFixture()
	f := locked(t, c, "good", plantedSecret)
	p := newProgram(t, "")
	file := docker(t, f.host, "good", plantedSecret)
	store := newStore(t, Deps{}, withSources(t, f,
		Credentials{Username: "team", Password: plantedSecret, Repositories: []string{"team"}},
		p.helper(t), docker(t, "other.example", "x", "y"), Credentials{Username: "bad", Password: plantedSecret + "2"}, file,
		Credentials{Username: "late", Password: plantedSecret}))
	var mu sync.Mutex
	var got []string
	ctx := WithTrace(t.Context(), func(u SourceUse) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(u.Place, " ", u.Use))
		if text := fmt.Sprintf("%+v", u); strings.Contains(text, plantedSecret) {
			t.Errorf("%q shows a secret", text)
		}
	})
	if err := resolveTag(ctx, open(t, store, f.repository()), c); err != nil {
		t.Fatal(err)
	}
	want := []string{"credentials[0] passed over", "credentials[1] failed", "credentials[2] passed over", "credentials[3] refused", "credentials[4] accepted"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
