package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// helper writes a docker credential helper that knows one host, and puts it on the PATH.
func helper(t *testing.T, name, host, username string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
read -r asked
if [ "$asked" = "%s" ]; then echo '{"ServerURL":"%s","Username":"%s","Secret":"secret"}'; exit 0; fi
echo "credentials not found in native keychain"; exit 1
`, host, host, username)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestCredentialsFor(t *testing.T) {
	helper(t, "keychain", "ghcr.io", "user")
	helper(t, "hub", "https://index.docker.io/v1/", "<token>")
	for name, c := range map[string]struct {
		file, host string
		want       map[string]any // nil: the file itself
		warning    string
	}{
		"in the file":           {`{"auths": {"ghcr.io": {"auth": "dTpw"}}}`, "ghcr.io", nil, ""},
		"nowhere":               {`{}`, "ghcr.io", nil, ""},
		"of one helper for all": {`{"credsStore": "keychain"}`, "ghcr.io", map[string]any{"username": "user", "password": "secret"}, ""},
		"of the host's helper":  {`{"credHelpers": {"ghcr.io": "keychain"}}`, "ghcr.io", map[string]any{"username": "user", "password": "secret"}, ""},
		"of another's helper":   {`{"credHelpers": {"quay.io": "keychain"}}`, "ghcr.io", nil, ""},
		"not known to a helper": {`{"credsStore": "keychain"}`, "quay.io", nil, ""},
		"Docker Hub's token":    {`{"credHelpers": {"https://index.docker.io/v1/": "hub"}}`, "docker.io", map[string]any{"identityToken": "secret"}, ""},
		"helper not installed":  {`{"credsStore": "gone"}`, "ghcr.io", nil, "docker-credential-gone"},
		"no docker config":      {`]`, "ghcr.io", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "config.json", []byte(c.file))
			got, err := credentialsFor(t.Context(), path, c.host)
			want := c.want
			if want == nil {
				want = map[string]any{"dockerConfig": path}
			}
			if !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			if (err != nil) != (c.warning != "") || err != nil && !strings.Contains(err.Error(), c.warning) {
				t.Errorf("warning: %v", err)
			}
		})
	}
	if got, err := credentialsFor(t.Context(), "", "ghcr.io"); got != nil || err != nil {
		t.Errorf("without a docker config: %v, %v", got, err)
	}
	if hasHelper(filepath.Join(t.TempDir(), "not-there"), "ghcr.io") {
		t.Error("a file that is not there has a helper")
	}
}
