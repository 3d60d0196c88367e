package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/store/storetest"
)

// roleVariable makes the test binary a program that gives the registry's password: a docker credential helper, or a
// credential provider plugin of the kubelet.
const roleVariable = "STORE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "helper":
		host, _ := io.ReadAll(os.Stdin)
		fmt.Printf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, host, username, password)
	case "plugin":
		var request struct{ Image string }
		if json.NewDecoder(os.Stdin).Decode(&request) != nil {
			os.Exit(1)
		}
		host, _, _ := strings.Cut(request.Image, "/")
		fmt.Printf(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","auth":{%q:{"username":%q,"password":%q}}}`,
			host, username, password)
	default:
		os.Exit(m.Run())
	}
}

func executable(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func helper(t *testing.T) oras.Credentials {
	t.Helper()
	return oras.Credentials{Helper: &oras.Helper{Name: executable(t), Env: []oras.Variable{{Name: roleVariable, Value: "helper"}}}}
}

func plugin(t *testing.T, host string) oras.Credentials {
	t.Helper()
	directory := t.TempDir()
	if err := os.Symlink(executable(t), filepath.Join(directory, "test-plugin")); err != nil {
		t.Fatal(err)
	}
	config := writeFile(t, fmt.Appendf(nil, `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: test-plugin
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [%q]
  defaultCacheDuration: 1m
  env: [{name: %s, value: plugin}]
`, host, roleVariable))
	return oras.Credentials{Provider: &oras.Provider{Config: config, BinDir: directory}}
}

// The whole suite, where the first source is refused and a program has the credential that is not.
func TestDistributionWithSources(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords := fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", writeFile(t, []byte(username+":"+string(hash)+"\n")))
	tokens := newTokenServer(t)
	byToken := fmt.Sprintf("auth: {token: {realm: %q, service: %s, issuer: %s, jwks: %q}}\n", tokens.url, service, issuer, tokens.jwks)
	wrong := oras.Credentials{Username: username, Password: "wrong"}
	for name, access := range map[string]string{"password": passwords, "token": byToken} {
		for source, good := range map[string]func(host string) oras.Credentials{
			"helper":         func(string) oras.Credentials { return helper(t) },
			"plugin":         func(host string) oras.Credentials { return plugin(t, host) },
			"another static": func(string) oras.Credentials { return oras.Credentials{Username: username, Password: password} },
		} {
			t.Run(name+" by "+source, func(t *testing.T) {
				storetest.Run(t, storetest.Harness{Open: func(t *testing.T, content storetest.Content) (ratify.Store, string) {
					host := distribution(t, access)
					push(t, host+"/team/app", content, auth.Credential{Username: username, Password: password})
					return newStore(t, oras.Registry{Host: host, AuthHosts: []string{tokens.host}, Credentials: oras.Sources{wrong, good(host)}}), host + "/team/app"
				}})
			})
		}
	}
}

// A credential goes to the registry that it is for, whoever else is asked in its company.
func TestCredentialStaysAtItsHost(t *testing.T) {
	var mu sync.Mutex
	var got []string
	other := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprint(r.Header))
		w.Header().Set("Www-Authenticate", `Basic realm="other"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	mine := listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	docker := oras.Credentials{DockerConfig: writeFile(t, fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, mine, username, password))}
	sources := oras.Sources{docker, plugin(t, mine)}
	store, err := oras.New(oras.Config{Registries: []oras.Registry{
		{Host: mine, PlainHTTP: true, AllowPrivate: true, Credentials: sources}, {Host: "*", PlainHTTP: true, AllowPrivate: true, Credentials: sources},
	}}, oras.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{mine, other} {
		repo, _, err := store.Open(context.Background(), ratify.Subject{Repository: host + "/team/app"})
		if err != nil {
			t.Fatal(err)
		}
		var e *ratify.Error
		if _, err := repo.Resolve(t.Context(), "v1"); !errors.As(err, &e) || e.Code != ratify.RegistryAuth || strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("%s: error %v, want %s", host, err, ratify.RegistryAuth)
		}
	}
	if len(got) == 0 {
		t.Error("the other host was not asked")
	}
	for _, header := range got {
		if strings.Contains(header, "Authorization") {
			t.Errorf("the other host got %s", header)
		}
	}
}
