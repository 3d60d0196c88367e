package keyring

import (
	"strings"
	"testing"

	"oras.land/oras-go/v2/registry/remote/auth"
)

const plantedSecret = "planted-secret"

func TestDockerConfigLookup(t *testing.T) {
	ring, err := Parse([]byte(`{
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
		got, helper := ring.Lookup(tc.host, tc.path)
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
			ring, err := Parse([]byte(tc.file))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := ring.Lookup(tc.host, tc.path); got != tc.want {
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
			_, err := Parse([]byte(tc.file))
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
		_, err := Parse([]byte(text))
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
		ring, err := Parse([]byte(text))
		if err != nil {
			return
		}
		cred, _ := ring.Lookup(host, path)
		if cred == auth.EmptyCredential {
			return
		}
		// A credential goes to a host that the file names, and to no other.
		for key := range ring.auths {
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
