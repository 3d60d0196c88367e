package oras

import (
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/inflight"
)

func TestNewNamesThePlaceOfEveryError(t *testing.T) {
	good := writeFile(t, `{"auths":{}}`)
	for _, tc := range []struct {
		name       string
		registries []Registry
		want       []string
	}{
		{"no host", []Registry{{}}, []string{`registries[0].host: it is empty`}},
		{"host with a scheme", []Registry{{Host: "https://a.example"}}, []string{`registries[0].host: "https://a.example" is no host`}},
		{"host with a path", []Registry{{Host: "a.example/app"}}, []string{`registries[0].host:`}},
		{"host with a user", []Registry{{Host: "u@a.example"}}, []string{`registries[0].host:`}},
		{"host without a dot", []Registry{{Host: "registry"}}, []string{`registries[0].host: "registry" is no host: without a dot it needs a port`}},
		{"star in the middle", []Registry{{Host: "a.*.example"}}, []string{`registries[0].host:`}},
		{"tie", []Registry{{Host: "a.example"}, {Host: "A.example:443"}}, []string{`registries: two entries have the host "a.example"`}},
		{"tie of Docker Hub's names", []Registry{{Host: "docker.io"}, {Host: "registry-1.docker.io"}}, []string{`two entries have the host "docker.io"`}},
		{"auth host", []Registry{{Host: "a.example", AuthHosts: []string{"ok.example", "https://b"}}}, []string{`registries[0].authHosts[1]:`}},
		{"any auth host", []Registry{{Host: "a.example", AuthHosts: []string{"*"}}}, []string{`registries[0].authHosts[0]:`}},
		{"redirect host", []Registry{{Host: "a.example", RedirectHosts: []string{""}}}, []string{`registries[0].redirectHosts[0]:`}},
		{"missing CA file", []Registry{{Host: "a.example", CAFile: "/does/not/exist"}}, []string{`registries[0].caFile: open /does/not/exist`}},
		{"CA file without a certificate", []Registry{{Host: "a.example", CAFile: good}}, []string{`registries[0].caFile: ` + good + ` holds no PEM certificate`}},
		{"proxy", []Registry{{Host: "a.example", Proxy: "socks5://user:" + plantedSecret + "@p"}}, []string{`registries[0].proxy: it is no URL`}},
		{"noProxy alone", []Registry{{Host: "a.example", NoProxy: []string{"x"}}}, []string{`registries[0].noProxy: it has no effect`}},
		{"empty credentials", []Registry{{Host: "a.example", Credentials: Sources{{}}}}, []string{`registries[0].credentials: set exactly one of`}},
		{"two kinds of credentials", []Registry{{Host: "a.example", Credentials: Sources{{DockerConfig: good, IdentityToken: plantedSecret}}}}, []string{`set exactly one of`}},
		{"username alone", []Registry{{Host: "a.example", Credentials: Sources{{Username: "u"}}}}, []string{`username needs password`}},
		{"password beside a docker config", []Registry{{Host: "a.example", Credentials: Sources{{DockerConfig: good, Password: plantedSecret}}}}, []string{`username needs password`}},
		{"two passwords", []Registry{{Host: "a.example", Credentials: Sources{{Username: "u", Password: plantedSecret, PasswordFile: good}}}}, []string{`set only one of password`}},
		{"password for hosts of others", []Registry{{Host: "*.azurecr.io", Credentials: Sources{{Username: "u", Password: plantedSecret}}}}, []string{`name an exact host`}},
		{"password for all hosts", []Registry{{Host: "*", Credentials: Sources{{Username: "u", Password: plantedSecret}}}}, []string{`name an exact host`}},
		{"missing password file", []Registry{{Host: "a.example", Credentials: Sources{{Username: "u", PasswordFile: "/does/not/exist"}}}}, []string{`registries[0].credentials: passwordFile: open`}},
		{"empty password file", []Registry{{Host: "a.example", Credentials: Sources{{Username: "u", PasswordFile: writeFile(t, "\n")}}}}, []string{`is empty`}},
		{"missing token file", []Registry{{Host: "a.example", Credentials: Sources{{IdentityTokenFile: "/does/not/exist"}}}}, []string{`identityTokenFile: open`}},
		{"missing docker config", []Registry{{Host: "a.example", Credentials: Sources{{DockerConfig: "/does/not/exist"}}}}, []string{`dockerConfig: open`}},
		{"docker config that is none", []Registry{{Host: "a.example", Credentials: Sources{{DockerConfig: writeFile(t, plantedSecret)}}}}, []string{`no docker configuration`}},
		{"all at once", []Registry{{Host: ""}, {Host: "a.example", CAFile: "/no", AuthHosts: []string{"/"}}}, []string{`registries[0].host`, `registries[1].caFile`, `registries[1].authHosts[0]`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(Config{Registries: tc.registries}, Deps{})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q", err, want)
				}
			}
			if strings.Contains(err.Error(), plantedSecret) {
				t.Errorf("error %q shows a secret", err)
			}
		})
	}
}

func TestMostSpecificEntryWins(t *testing.T) {
	store := newStore(t, Deps{},
		Registry{Host: "*"}, Registry{Host: "*.example"}, Registry{Host: "*.eu.example"}, Registry{Host: "a.eu.example"},
		Registry{Host: "a.eu.example:5000"}, Registry{Host: "*.example:5000"}, Registry{Host: "docker.io"}, Registry{Host: "[::1]:5000"}, Registry{Host: "registry:443"})
	for host, want := range map[string]string{
		"a.eu.example": "a.eu.example", "b.eu.example": "*.eu.example", "eu.example": "*.example", "b.a.eu.example": "*.eu.example",
		"example": "*", "xexample": "*", "a.example.evil": "*", "a.eu.example:5000": "a.eu.example:5000", "b.eu.example:5000": "*.example:5000",
		"b.eu.example:6000": "*", "docker.io": "docker.io", "registry-1.docker.io": "docker.io", "index.docker.io": "docker.io",
		"[::1]:5000": "[::1]:5000", "[::1]": "*", "registry:443": "registry:443", "registry:5000": "*",
	} {
		if got := store.entryFor(host).class; got != want {
			t.Errorf("%s falls under %s, want %s", host, got, want)
		}
	}
	if got := newStore(t, Deps{}, Registry{Host: "a.example"}).entryFor("b.example").class; got != hostClassOther {
		t.Errorf("a host without an entry is of the class %q", got)
	}
}

func TestOpenRefusesANameWithoutARegistry(t *testing.T) {
	for _, name := range []string{"", "app", "/app", "host/"} {
		_, _, err := newStore(t, Deps{}).Open(t.Context(), ratify.Subject{Repository: name})
		checkFailure(t, err, ratify.BadReference)
	}
}

func TestDefaultDockerConfig(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	if got := DefaultDockerConfig(); got != "" {
		t.Errorf("%q where there is none", got)
	}
	path := filepath.Join(dir, "config.json")
	// Nobody named this file, and docker keeps other settings there too. What is broken is told where it is read.
	for text, want := range map[string]string{`{"currentContext":"colima"}`: "", `{"auths":{}}`: path, `{"credsStore":"desktop"}`: path, `]`: path} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := DefaultDockerConfig(); got != want {
			t.Errorf("%q for %s, want %q", got, text, want)
		}
	}
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("HOME", dir)
	if got := DefaultDockerConfig(); got != "" {
		t.Errorf("%q where the home directory has none", got)
	}
}

func TestSecretsCannotBePrinted(t *testing.T) {
	config := Config{Registries: []Registry{{Host: "a.example", Proxy: plantedSecret, Credentials: Sources{{Username: "u", Password: plantedSecret, IdentityToken: plantedSecret}}}}}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(encoded), fmt.Sprint(config), fmt.Sprintf("%+v %#v", config, config),
		fmt.Sprintf("%s %q %x %d %v", config.Registries[0].Proxy, config.Registries[0].Proxy, config.Registries[0].Proxy, config.Registries[0].Proxy, config.Registries[0].Credentials),
	} {
		if strings.Contains(text, plantedSecret) || strings.Contains(text, fmt.Sprintf("%x", plantedSecret)) {
			t.Errorf("%q shows a secret", text)
		}
	}
	var decoded Config
	if err := json.Unmarshal([]byte(`{"registries":[{"host":"a","proxy":"p","credentials":{"username":"u","password":"x"}}]}`), &decoded); err != nil {
		t.Fatal(err)
	}
	if decoded.Registries[0].Credentials[0].Password != "x" {
		t.Error("a secret is not read as it is")
	}
	if data, err := json.Marshal(Credentials{Username: "u"}); err != nil || strings.Contains(string(data), redacted) {
		t.Errorf("%s and %v: an empty secret looks set", data, err)
	}
}

func TestFilesAreRemembered(t *testing.T) {
	set := &files.Set{}
	password, config := writeFile(t, "p"), writeFile(t, `{"auths":{}}`)
	_, err := New(Config{Registries: []Registry{
		{Host: "a.example", Credentials: Sources{{Username: "u", PasswordFile: password}}},
		{Host: "b.example", Credentials: Sources{{DockerConfig: config}}},
	}}, Deps{Files: set})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{password, config} {
		if err := os.WriteFile(path, []byte(`{"auths":{"x":{}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if !set.Changed() {
			t.Errorf("a change of %s goes unseen", path)
		}
	}
	if got := len(set.Paths()); got != 2 {
		t.Errorf("%d files remembered, want 2", got)
	}
}

func TestObserveGetsNoHostThatSomebodyElseChose(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	var mu sync.Mutex
	got := map[string]int{}
	deps := Deps{Observe: func(class string, status int) {
		mu.Lock()
		defer mu.Unlock()
		got[fmt.Sprint(class, " ", status)]++
	}}
	if err := resolveTag(t.Context(), open(t, newStore(t, deps, f.entry(t)), f.repository()), c); err != nil {
		t.Fatal(err)
	}
	_ = resolveTag(t.Context(), open(t, newStore(t, deps), f.repository()), c) // refused: a private address
	if len(got) != 2 || got[f.host+" 200"] != 1 || got["other 0"] != 1 {
		t.Errorf("observed %v", got)
	}
}

func TestProxy(t *testing.T) {
	c := newFixture()
	f := &fakeRegistry{content: c.content()}
	f.server = httptest.NewServer(f)
	defer f.server.Close()
	f.host = f.server.Listener.Addr().String()
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.Method+" "+r.URL.String())
		mu.Unlock()
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		f.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	store := newStore(t, Deps{},
		Registry{Host: "*", PlainHTTP: true, Proxy: Secret(proxy.URL), NoProxy: []string{".direct.example", "10.0.0.0/8"}},
		Registry{Host: "secure.example", Proxy: Secret(proxy.URL)})

	if err := resolveTag(t.Context(), open(t, store, "registry.example/app"), c); err != nil {
		t.Errorf("through the proxy: %v", err)
	}
	if len(asked) != 1 || asked[0] != "GET http://registry.example/v2/app/manifests/v1" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	// A tunnel that the proxy refuses is an unavailable registry, and its answer is no answer of the registry.
	err := resolveTag(t.Context(), open(t, store, "secure.example/app"), c)
	checkFailure(t, err, ratify.RegistryUnavailable)
	if !strings.Contains(err.Error(), "its proxy answered 403 Forbidden") {
		t.Errorf("error %v does not say that it is the proxy", err)
	}
	if len(asked) != 2 || asked[1] != "CONNECT //secure.example:443" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	// Literal addresses are judged before the proxy is asked, and exceptions when they are dialled.
	checkFailure(t, resolveTag(t.Context(), open(t, store, "169.254.169.254/app"), c), ratify.RegistryNotAllowed)
	checkFailure(t, resolveTag(t.Context(), open(t, store, "192.168.1.1/app"), c), ratify.RegistryNotAllowed)
	checkFailure(t, resolveTag(t.Context(), open(t, store, "10.0.0.1/app"), c), ratify.RegistryNotAllowed)
	// So are other spellings of addresses, and names of the proxy's own machine.
	for _, host := range []string{"127.1", "2852039166:443", "0xa9.0xfe.0xa9.0xfe", "localhost:5000", "LOCALHOST.", "metadata.google.internal"} {
		checkFailure(t, resolveTag(t.Context(), open(t, store, host+"/app"), c), ratify.RegistryNotAllowed)
	}
	if len(asked) != 2 {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

// A registry that learns the referrers API is asked for it again.
func TestReferrersAPIIsProbedAgain(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	f.tagOnly = true
	pool := NewPool()
	pool.capabilityTTL = 100 * time.Millisecond
	store := newStore(t, Deps{Pool: pool}, f.entry(t))
	for range 2 {
		if err := listReferrers(t.Context(), open(t, store, f.repository()), c); err != nil {
			t.Fatal(err)
		}
	}
	if seen := f.seen(); len(seen) != 3 {
		t.Errorf("requests %q: want the API once, and the tag twice", seen)
	}
	f.mu.Lock()
	f.tagOnly = false
	f.mu.Unlock()
	eventually(t, func() bool {
		got, err := open(t, store, f.repository()).Referrers(t.Context(), c.image.Desc)
		if err != nil {
			t.Fatal(err)
		}
		seen := f.seen()
		return len(got) == 1 && strings.Contains(seen[len(seen)-1], "/referrers/")
	})
}

func TestBodiesInFlightAreBounded(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	pool := NewPool()
	store := newStore(t, Deps{Pool: pool}, f.entry(t))
	owner, full := inflight.Owner(f.host), int64(maxInFlightBytes/4*3)
	if !pool.bodies.Try(owner, full) {
		t.Fatal("the pool is not empty")
	}
	checkFailure(t, fetchBlob(t.Context(), open(t, store, f.repository()), c), ratify.Overloaded)
	pool.bodies.Give(owner, full)
	if err := fetchBlob(t.Context(), open(t, store, f.repository()), c); err != nil {
		t.Error(err)
	}
	if !pool.bodies.Try(owner, full) {
		t.Error("a read keeps what it held")
	}
}

// An error that has its code keeps it on the way out.
func TestKnownErrorsStay(t *testing.T) {
	s := open(t, newStore(t, Deps{}), "registry.example/app").(*access).as(auth.EmptyCredential).session
	refused := &ratify.Error{Code: ratify.RegistryAuth}
	if err := s.failure(t.Context(), fmt.Errorf("outer: %w", refused)); !errors.Is(err, refused) {
		t.Errorf("%v is no longer the error that it was", err)
	}
}
