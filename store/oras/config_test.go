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
		{"empty credentials", []Registry{{Host: "a.example", Credentials: &Credentials{}}}, []string{`registries[0].credentials: set exactly one of`}},
		{"two kinds of credentials", []Registry{{Host: "a.example", Credentials: &Credentials{DockerConfig: good, IdentityToken: plantedSecret}}}, []string{`set exactly one of`}},
		{"username alone", []Registry{{Host: "a.example", Credentials: &Credentials{Username: "u"}}}, []string{`username needs password`}},
		{"password beside a docker config", []Registry{{Host: "a.example", Credentials: &Credentials{DockerConfig: good, Password: plantedSecret}}}, []string{`username needs password`}},
		{"two passwords", []Registry{{Host: "a.example", Credentials: &Credentials{Username: "u", Password: plantedSecret, PasswordFile: good}}}, []string{`set only one of password`}},
		{"password for hosts of others", []Registry{{Host: "*.azurecr.io", Credentials: &Credentials{Username: "u", Password: plantedSecret}}}, []string{`name an exact host`}},
		{"password for all hosts", []Registry{{Host: "*", Credentials: &Credentials{Username: "u", Password: plantedSecret}}}, []string{`name an exact host`}},
		{"missing password file", []Registry{{Host: "a.example", Credentials: &Credentials{Username: "u", PasswordFile: "/does/not/exist"}}}, []string{`registries[0].credentials: passwordFile: open`}},
		{"empty password file", []Registry{{Host: "a.example", Credentials: &Credentials{Username: "u", PasswordFile: writeFile(t, "\n")}}}, []string{`is empty`}},
		{"missing token file", []Registry{{Host: "a.example", Credentials: &Credentials{IdentityTokenFile: "/does/not/exist"}}}, []string{`identityTokenFile: open`}},
		{"missing docker config", []Registry{{Host: "a.example", Credentials: &Credentials{DockerConfig: "/does/not/exist"}}}, []string{`dockerConfig: open`}},
		{"docker config that is none", []Registry{{Host: "a.example", Credentials: &Credentials{DockerConfig: writeFile(t, plantedSecret)}}}, []string{`no docker configuration`}},
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

func TestDockerConfigLookup(t *testing.T) {
	config, err := parseDockerConfig([]byte(`{
		"auths": {
			"https://index.docker.io/v1/": {"username": "hub", "password": "p"},
			"ghcr.io": {"auth": "Z2hjcjpwOnE="},
			"ghcr.io/acme": {"username": "acme", "password": "p"},
			"ghcr.io/acme/app": {"identitytoken": "app"},
			"https://registry.example:443/v2/": {"registrytoken": "t"},
			"http://LOCALHOST:5000": {"username": "local", "password": "p"},
			"helped.example": {},
			"single:443": {"username": "single", "password": "p"}
		},
		"credHelpers": {"helped.example": "x"}, "HttpHeaders": {"a": "b"}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		host, path string
		want       auth.Credential
		helper     bool
	}{
		{"docker.io", "library/nginx", auth.Credential{Username: "hub", Password: "p"}, false},
		{"registry-1.docker.io", "library/nginx", auth.Credential{Username: "hub", Password: "p"}, false},
		{"ghcr.io", "other/app", auth.Credential{Username: "ghcr", Password: "p:q"}, false},
		{"ghcr.io", "acme/tool", auth.Credential{Username: "acme", Password: "p"}, false},
		{"ghcr.io", "acme/app", auth.Credential{RefreshToken: "app"}, false},
		{"ghcr.io", "acme/app/sub", auth.Credential{RefreshToken: "app"}, false},
		{"ghcr.io", "acme/application", auth.Credential{Username: "acme", Password: "p"}, false},
		{"ghcr.io", "acme2/app", auth.Credential{Username: "ghcr", Password: "p:q"}, false},
		{"registry.example", "app", auth.Credential{AccessToken: "t"}, false},
		{"localhost:5000", "app", auth.Credential{Username: "local", Password: "p"}, false},
		{"localhost", "app", auth.Credential{}, false},
		{"single:443", "app", auth.Credential{Username: "single", Password: "p"}, false},
		{"registry.example:5000", "app", auth.Credential{}, false},
		{"helped.example", "app", auth.Credential{}, true},
		{"ghcr.io.evil", "acme/app", auth.Credential{}, false},
	} {
		got, helper := config.lookup(tc.host, tc.path)
		if got != tc.want || helper != tc.helper {
			t.Errorf("%s/%s gets %v (helper %v), want %v (%v)", tc.host, tc.path, got.Username, helper, tc.want.Username, tc.helper)
		}
	}
}

// Secrets of pods hold two things that docker's own file does not: wildcards in hosts, and the form that docker had first.
func TestDockerConfigOfPods(t *testing.T) {
	user := func(name string) auth.Credential { return auth.Credential{Username: name, Password: "p"} }
	const globs = `{"auths": {
		"*.x.example": {"username": "any", "password": "p"},
		"https://*.x.example/v1/": {"username": "any", "password": "p"},
		"*.x.example/team": {"username": "team", "password": "p"},
		"eu.x.example": {"username": "eu", "password": "p"},
		"eu-*.X.example": {"username": "prefix", "password": "p"},
		"k8s.*.?o:5000": {"username": "port", "password": "p"},
		"[a-c].class.example": {"username": "class", "password": "p"},
		"10.0.*.*": {"username": "address", "password": "p"},
		"[::1]:5000": {"username": "six", "password": "p"}
	}}`
	const legacy = `{"https://index.docker.io/v1/": {"auth": "aHViOnA=", "email": "a@b"}, "*.x.example": {"username": "any", "password": "p"}}`
	for _, tc := range []struct {
		name, file, host, path string
		want                   auth.Credential
	}{
		{"one label", globs, "a.x.example", "app", user("any")},
		{"path", globs, "a.x.example", "team/app", user("team")},
		{"path is whole components", globs, "a.x.example", "teams/app", user("any")},
		{"exact host before wildcards", globs, "eu.x.example", "team/app", user("eu")},
		{"more letters before fewer", globs, "eu-1.x.example", "app", user("prefix")},
		{"two labels", globs, "a.b.x.example", "app", auth.Credential{}},
		{"no label", globs, "x.example", "app", auth.Credential{}},
		{"suffix of somebody else's", globs, "a.x.example.evil", "app", auth.Credential{}},
		{"prefix of somebody else's", globs, "evil/a.x.example", "app", auth.Credential{}},
		{"host in the path", globs, "evil.example", "a.x.example/team", auth.Credential{}},
		{"dot is a dot", globs, "a.xyexample", "app", auth.Credential{}},
		{"another port", globs, "a.x.example:5000", "app", auth.Credential{}},
		{"default port", globs, "a.x.example:443", "app", user("any")},
		{"port", globs, "k8s.gcr.io:5000", "app", user("port")},
		{"port missing", globs, "k8s.gcr.io", "app", auth.Credential{}},
		{"class", globs, "b.class.example", "app", user("class")},
		{"outside of the class", globs, "d.class.example", "app", auth.Credential{}},
		{"address", globs, "10.0.3.4", "app", user("address")},
		{"address of others", globs, "10.1.3.4", "app", auth.Credential{}},
		{"IPv6 address is no class", globs, "[::1]:5000", "app", user("six")},
		{"IPv6 address is no class for a letter", globs, "1:5000", "app", auth.Credential{}},
		{"legacy form", legacy, "docker.io", "library/nginx", user("hub")},
		{"legacy form, wildcard", legacy, "a.x.example", "app", user("any")},
		{"legacy form, another host", legacy, "quay.io", "app", auth.Credential{}},
		{"no credentials", `{"auths":{}}`, "quay.io", "app", auth.Credential{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			config, err := parseDockerConfig([]byte(tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := config.lookup(tc.host, tc.path); got != tc.want {
				t.Errorf("%s/%s gets %q, want %q", tc.host, tc.path, got.Username, tc.want.Username)
			}
		})
	}
}

// What would give no credentials, ever, is said when the file is read.
func TestDockerConfigWithoutEffect(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"empty", `{}`, "neither auths nor credHelpers nor credsStore"},
		{"null", `null`, "neither auths nor credHelpers nor credsStore"},
		{"no auths", `{"auths":null}`, "neither auths nor credHelpers nor credsStore"},
		{"no helper", `{"credsStore":"","credHelpers":{}}`, "neither auths nor credHelpers nor credsStore"},
		{"other settings", `{"HttpHeaders":{"User-Agent":"x"},"psFormat":"table"}`, "neither auths nor credHelpers nor credsStore"},
		{"a Secret in whole", `{"kind":"Secret","data":{".dockerconfigjson":"x"}}`, "neither auths nor credHelpers nor credsStore"},
		{"auths by another name", `{"auth":{"a.example":{"username":"u","password":"` + plantedSecret + `"}}}`, "neither auths nor credHelpers nor credsStore"},
		{"legacy form without a credential", `{"a.example":{"email":"a@b"}}`, "neither auths nor credHelpers nor credsStore"},
		{"legacy form, broken", `{"a.example":{"auth":"` + plantedSecret + `"}}`, `"a.example".auth is not user:password in base64`},
		{"wildcard that is malformed", `{"auths":{"[a.x.example":{"username":"u","password":"p"}}}`, `auths["[a.x.example"]: the wildcards of its host are malformed`},
		{"wildcard port", `{"auths":{"a.example:*":{"username":"u","password":"p"}}}`, `auths["a.example:*"]: the wildcards of its host are malformed`},
		{"wildcard in a path", `{"auths":{"a.example/team/*":{"username":"u","password":"p"}}}`, `auths["a.example/team/*"]: a path has no wildcards`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parseDockerConfig([]byte(tc.file))
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), plantedSecret) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestDockerConfigErrorsShowNoSecret(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":             plantedSecret,
		"auth is no base64":   `{"auths":{"a.example":{"auth":"` + plantedSecret + `"}}}`,
		"auth has no colon":   `{"auths":{"a.example":{"auth":"cGxhbnRlZC1zZWNyZXQ="}}}`,
		"auth is a number":    `{"auths":{"a.example":{"auth":1}}}`,
		"two for one host":    `{"auths":{"a.example":{"identitytoken":"` + plantedSecret + `"},"https://a.example":{"identitytoken":"x"}}}`,
		"auths is a list":     `{"auths":["` + plantedSecret + `"]}`,
		"username is missing": `{"auths":{"a.example":{"auth":"OnBsYW50ZWQtc2VjcmV0"}}}`,
	} {
		_, err := parseDockerConfig([]byte(text))
		if err == nil || strings.Contains(err.Error(), plantedSecret) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}}`, "docker.io", "library/nginx")
	f.Add(`{"auths":{"a.example/x":{"username":"u","password":"p"}},"credHelpers":{"b":"c"},"credsStore":"d"}`, "a.example", "x/y")
	f.Add(`{"*.a.example":{"username":"u","password":"p"},"[b-d]?.example:5000/x":{"auth":"dTpw"}}`, "c1.example:5000", "x/y")
	f.Fuzz(func(t *testing.T, text, host, path string) {
		config, err := parseDockerConfig([]byte(text))
		if err != nil {
			return
		}
		cred, _ := config.lookup(host, path)
		if cred == auth.EmptyCredential {
			return
		}
		// A credential goes to a host that the file names, and to no other.
		for key := range config.auths {
			h, _, _ := strings.Cut(key, "/")
			if h == dockerHost(host) || strings.HasPrefix(dockerHost(host)+"/"+path+"/", key+"/") {
				return
			}
			// Wildcards stand for no dot, and for nothing of a port.
			_, keyPort := splitPort(h)
			_, port := splitPort(dockerHost(host))
			if strings.ContainsAny(h, `*?[\`) && strings.Count(h, ".") == strings.Count(dockerHost(host), ".") && keyPort == port {
				return
			}
		}
		t.Errorf("%q/%q gets a credential of another host", host, path)
	})
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
	config := Config{Registries: []Registry{{Host: "a.example", Proxy: plantedSecret, Credentials: &Credentials{Username: "u", Password: plantedSecret, IdentityToken: plantedSecret}}}}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(encoded), fmt.Sprint(config), fmt.Sprintf("%+v %#v", config, config),
		fmt.Sprintf("%s %q %x %d %v", config.Registries[0].Proxy, config.Registries[0].Proxy, config.Registries[0].Proxy, config.Registries[0].Proxy, *config.Registries[0].Credentials),
	} {
		if strings.Contains(text, plantedSecret) || strings.Contains(text, fmt.Sprintf("%x", plantedSecret)) {
			t.Errorf("%q shows a secret", text)
		}
	}
	var decoded Config
	if err := json.Unmarshal([]byte(`{"registries":[{"host":"a","proxy":"p","credentials":{"username":"u","password":"x"}}]}`), &decoded); err != nil {
		t.Fatal(err)
	}
	if decoded.Registries[0].Credentials.Password != "x" {
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
		{Host: "a.example", Credentials: &Credentials{Username: "u", PasswordFile: password}},
		{Host: "b.example", Credentials: &Credentials{DockerConfig: config}},
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
	checkFailure(t, resolveTag(t.Context(), open(t, store, "secure.example/app"), c), ratify.RegistryUnavailable)
	if len(asked) != 2 || asked[1] != "CONNECT //secure.example:443" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	// Literal addresses are judged before the proxy is asked, and exceptions when they are dialled.
	checkFailure(t, resolveTag(t.Context(), open(t, store, "169.254.169.254/app"), c), ratify.RegistryNotAllowed)
	checkFailure(t, resolveTag(t.Context(), open(t, store, "192.168.1.1/app"), c), ratify.RegistryNotAllowed)
	checkFailure(t, resolveTag(t.Context(), open(t, store, "10.0.0.1/app"), c), ratify.RegistryNotAllowed)
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
	if !pool.bodies.TryAcquire(maxInFlightBytes - 5) {
		t.Fatal("the pool is not empty")
	}
	checkFailure(t, fetchBlob(t.Context(), open(t, store, f.repository()), c), ratify.Overloaded)
	pool.bodies.Release(maxInFlightBytes - 5)
	if err := fetchBlob(t.Context(), open(t, store, f.repository()), c); err != nil {
		t.Error(err)
	}
	if !pool.bodies.TryAcquire(maxInFlightBytes) {
		t.Error("a read keeps what it held")
	}
}

// An error that has its code keeps it on the way out.
func TestKnownErrorsStay(t *testing.T) {
	s := open(t, newStore(t, Deps{}), "registry.example/app").(*repository).session
	refused := &ratify.Error{Code: ratify.RegistryAuth}
	if err := s.failure(t.Context(), fmt.Errorf("outer: %w", refused)); !errors.Is(err, refused) {
		t.Errorf("%v is no longer the error that it was", err)
	}
}
