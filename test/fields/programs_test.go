package fields

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The names under which the test is a program that gives credentials, and what of its environment it uses. In a directory
// named empty it has none.
const (
	helperName       = "docker-credential-fields"
	pluginName       = "fields-plugin"
	usernameVariable = "FIELDS_USERNAME"
	passwordVariable = "FIELDS_PASSWORD"
)

// giveCredential is a docker credential helper, or a credential provider plugin of the kubelet.
func giveCredential(name, path string, in io.Reader, out io.Writer) int {
	given := os.Getenv(passwordVariable)
	if filepath.Base(filepath.Dir(path)) == "empty" {
		given = "none"
	}
	if name == helperName {
		host, err := io.ReadAll(in)
		if err != nil {
			return 1
		}
		fmt.Fprintf(out, `{"ServerURL":%q,"Username":%q,"Secret":%q}`, host, os.Getenv(usernameVariable), given)
		return 0
	}
	var request struct{ Image string }
	if json.NewDecoder(in).Decode(&request) != nil {
		return 1
	}
	host, _, _ := strings.Cut(request.Image, "/")
	fmt.Fprintf(out, `{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","auth":{%q:{"username":%q,"password":%q}}}`,
		host, username, given)
	return 0
}

// programs makes directories of the programs, one of which has no credential, and returns their common one.
func programs(t *testing.T) string {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"full", "empty"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{helperName, pluginName} {
			if err := os.Symlink(executable, filepath.Join(dir, sub, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// pluginConfig is the kubelet's file, for images of a registry.
func pluginConfig(host string) []byte {
	return fmt.Appendf(nil, `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: %s
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [%q]
  defaultCacheDuration: 1m
`, pluginName, host)
}
