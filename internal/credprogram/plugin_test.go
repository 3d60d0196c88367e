//go:build unix

package credprogram

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// pluginDirectory has this binary as the plugin "test".
func pluginDirectory(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	if err := os.Symlink(testBinary(t), filepath.Join(directory, "test")); err != nil {
		t.Fatal(err)
	}
	return directory
}

const goodPlugin = `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: test
  matchImages: ["*.dkr.ecr.*.amazonaws.com", "registry.example:5000/team"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get-credentials, "--flag=a b"]
  env: [{name: CREDPROGRAM_TEST_MODE, value: plugin}, {name: CREDPROGRAM_TEST_ANSWER, value: %q}, {name: CREDPROGRAM_TEST_DIR, value: %q}]
`

func loadPlugin(t *testing.T, answer, directory string) *Plugin {
	t.Helper()
	plugins, err := LoadPlugins(fmt.Appendf(nil, goodPlugin, answer, directory), pluginDirectory(t), []Variable{{modeVariable, "overridden"}})
	if err != nil {
		t.Fatal(err)
	}
	return plugins[0]
}

func TestPlugin(t *testing.T) {
	const answer = `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry",` +
		`"cacheDuration":"6h0m0s","auth":{"1.dkr.ecr.eu.amazonaws.com":{"username":"AWS","password":"` + plantedSecret + `"}},"later":1}`
	directory := t.TempDir()
	p := loadPlugin(t, answer, directory)
	got, err := p.Get(t.Context(), "1.dkr.ecr.eu.amazonaws.com", "team/app")
	if err != nil || got.Extent != ForRegistry || got.Keep != 6*time.Hour {
		t.Fatalf("%s for %s: %v", got.Extent, got.Keep, err)
	}
	if cred, _ := got.Ring.Lookup("1.dkr.ecr.eu.amazonaws.com", "team/app"); cred != (auth.Credential{Username: "AWS", Password: plantedSecret}) {
		t.Errorf("credential of %q", cred.Username)
	}
	if cred, _ := got.Ring.Lookup("2.dkr.ecr.eu.amazonaws.com", "team/app"); cred != auth.EmptyCredential {
		t.Error("another host gets the credential")
	}
	for file, want := range map[string]string{
		"request": `{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"1.dkr.ecr.eu.amazonaws.com/team/app","kind":"CredentialProviderRequest"}`,
		"args":    "get-credentials --flag=a b",
	} {
		if data, err := os.ReadFile(filepath.Join(directory, file)); err != nil || string(data) != want {
			t.Errorf("%s %q, want %q (%v)", file, data, want, err)
		}
	}
}

func TestPluginMatch(t *testing.T) {
	p := loadPlugin(t, "", "")
	for image, want := range map[string]bool{
		"1.dkr.ecr.eu.amazonaws.com/app":        true,
		"1.dkr.ecr.eu.amazonaws.com:5000/app":   false,
		"a.1.dkr.ecr.eu.amazonaws.com/app":      false,
		"1.dkr.ecr.eu.amazonaws.com.evil/app":   false,
		"evil/1.dkr.ecr.eu.amazonaws.com":       false,
		"registry.example:5000/team":            true,
		"registry.example:5000/team/app":        true,
		"registry.example:5000/teams":           false,
		"registry.example/team":                 false,
		"registry.example:5000/other":           false,
		"evil.example/registry.example:5000/te": false,
	} {
		host, repository, _ := strings.Cut(image, "/")
		if got := p.Match(host, repository); got != want {
			t.Errorf("%s: %t, want %t", image, got, want)
		}
	}
}

func TestPluginAnswers(t *testing.T) {
	const head = `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1"`
	for _, tc := range []struct {
		name, answer, err string
		keep              time.Duration
		extent            Extent
	}{
		{"default duration", head + `,"cacheKeyType":"Image","auth":{}}`, "", 12 * time.Hour, ForImage},
		{"no duration", head + `,"cacheKeyType":"Global","cacheDuration":null}`, "", 12 * time.Hour, ForAll},
		{"zero", head + `,"cacheKeyType":"Registry","cacheDuration":"0s"}`, "", 0, ForRegistry},
		{"negative", head + `,"cacheKeyType":"Registry","cacheDuration":"-1s"}`, "cacheDuration", 0, ""},
		{"a number", head + `,"cacheKeyType":"Registry","cacheDuration":5}`, "no CredentialProviderResponse", 0, ""},
		{"no extent", head + `}`, "cacheKeyType", 0, ""},
		{"another extent", head + `,"cacheKeyType":"` + plantedSecret + `"}`, "cacheKeyType", 0, ""},
		{"older version", `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1","cacheKeyType":"Image"}`, "not of credentialprovider.kubelet.k8s.io/v1", 0, ""},
		{"another kind", `{"kind":"Status","apiVersion":"v1"}`, "no CredentialProviderResponse", 0, ""},
		{"no JSON", plantedSecret, "no CredentialProviderResponse", 0, ""},
		{"nothing", "", "no CredentialProviderResponse", 0, ""},
		{"two for one", head + `,"cacheKeyType":"Image","auth":{"a.example":{"username":"u","password":"` + plantedSecret + `"},"A.example":{"username":"u","password":"x"}}}`, "auth is for no registry", 0, ""},
		{"malformed key", head + `,"cacheKeyType":"Image","auth":{"[a.example":{"username":"u","password":"` + plantedSecret + `"}}}`, "auth is for no registry", 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := loadPlugin(t, "", "")
			got, err := p.parse([]byte(tc.answer))
			checkError(t, err, tc.err)
			if got.Keep != tc.keep || got.Extent != tc.extent {
				t.Errorf("kept for %s (%s), want %s (%s)", got.Keep, got.Extent, tc.keep, tc.extent)
			}
		})
	}
}

func TestLoadPluginsRefuses(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
	good := "- {name: test, matchImages: [a.example], defaultCacheDuration: 1h, apiVersion: credentialprovider.kubelet.k8s.io/v1}\n"
	provider := func(old, with string) string { return head + strings.Replace(good, old, with, 1) }
	for _, tc := range []struct{ name, file, want string }{
		{"no YAML", "a: [", "no CredentialProviderConfig"},
		{"another kind", "apiVersion: v1\nkind: Config\n", `it is "Config" of "v1"`},
		{"older version", strings.Replace(head+good, "k8s.io/v1\n", "k8s.io/v1beta1\n", 1), "no CredentialProviderConfig of kubelet.config.k8s.io/v1"},
		{"unknown field", provider("matchImages", "matchImage"), `unknown field`},
		{"twice", head + good + good, `providers[1].name: there is another provider "test"`},
		{"none", head, "providers: it is empty"},
		{"too many", head + strings.Repeat(good, 17), "more than 16"},
		{"no images", provider("[a.example]", "[]"), "providers[0].matchImages: it is empty"},
		{"malformed image", provider("a.example", `"[a.example"`), `providers[0].matchImages[0] "[a.example": the wildcards`},
		{"empty image", provider("a.example", `""`), `providers[0].matchImages[0] "": it names no host`},
		{"no duration", provider("1h", `""`), "providers[0].defaultCacheDuration: expected a duration"},
		{"older protocol", provider("k8s.io/v1}", "k8s.io/v1beta1}"), "providers[0].apiVersion: expected credentialprovider.kubelet.k8s.io/v1"},
		{"tokens of pods", provider("name: test", "name: test, tokenAttributes: {cacheType: Token}"), "providers[0].tokenAttributes: tokens of the pod's"},
		{"variable without a name", provider("name: test", "name: test, env: [{value: "+plantedSecret+"}]"), "providers[0].env[0].name:"},
		{"not there", provider("name: test", "name: gone"), "providers[0].name: stat"},
		{"elsewhere", provider("name: test", "name: ../test"), "is no name of a file"},
		{"all at once", provider("name: test, matchImages: [a.example]", "name: gone"), "providers[0].matchImages"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := LoadPlugins([]byte(tc.file), pluginDirectory(t), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), plantedSecret) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := LoadPlugins([]byte(head+good), pluginDirectory(t), nil); err != nil {
		t.Error(err)
	}
}

func TestPluginFails(t *testing.T) {
	p := loadPlugin(t, "", "")
	p.program.env = append(p.program.env, modeVariable+"=fails")
	_, err := p.Get(t.Context(), "a.example", "app")
	checkError(t, err, "credential provider test failed")
}

func FuzzAnswer(f *testing.F) {
	f.Add(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","cacheDuration":"6h","auth":{"*.a.example":{"username":"u","password":"p"}}}`, "b.a.example")
	f.Add(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Image","auth":{"[a-c].example:5000/x":{"username":"u","password":"p"}}}`, "b.example:5000")
	p := &Plugin{program: program{name: "fuzzed"}}
	f.Fuzz(func(t *testing.T, text, host string) {
		answer, err := p.parse([]byte(text))
		if err != nil {
			if answer.Ring.Bytes() != (Answer{}).Ring.Bytes() {
				t.Error("an answer that is none has credentials")
			}
			return
		}
		cred, helper := answer.Ring.Lookup(host, "app")
		if helper || answer.Keep < 0 || cred.RefreshToken != "" || cred.AccessToken != "" {
			t.Errorf("%+v is more than a plugin can say", answer.Extent)
		}
	})
}
