package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/store/oras"
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
	const gone = `{"credsStore": "gone", "auths": {"ghcr.io/team": {"auth": "dTpw"}, "ghcr.io": {}}}`
	known := map[string]any{"username": "user", "password": "secret"}
	file := map[string]any{}
	for name, c := range map[string]struct {
		file, host, repository string
		want                   map[string]any // file: the file itself
		use                    oras.Use       // of the helper, if one is asked
		why                    string
	}{
		"in the file":                  {`{"auths": {"ghcr.io": {"auth": "dTpw"}}}`, "ghcr.io", "app", file, "", ""},
		"nowhere":                      {`{}`, "ghcr.io", "app", file, "", ""},
		"of one helper for all":        {`{"credsStore": "keychain"}`, "ghcr.io", "app", known, oras.Accepted, ""},
		"of the host's helper":         {`{"credHelpers": {"ghcr.io": "keychain"}, "credsStore": "gone"}`, "ghcr.io", "app", known, oras.Accepted, ""},
		"of another's helper":          {`{"credHelpers": {"quay.io": "keychain"}}`, "ghcr.io", "app", file, "", ""},
		"not known to a helper":        {`{"credsStore": "keychain"}`, "quay.io", "app", nil, oras.PassedOver, "it has no credential"},
		"Docker Hub's token":           {`{"credHelpers": {"https://index.docker.io/v1/": "hub"}}`, "docker.io", "library/app", map[string]any{"identityToken": "secret"}, oras.Accepted, ""},
		"helper not installed":         {gone, "ghcr.io", "app", nil, oras.Failed, "docker-credential-gone is not on the PATH"},
		"in the file, beside a helper": {gone, "ghcr.io", "team/app", file, oras.Failed, "docker-credential-gone"},
		"a path instead of a helper":   {`{"credsStore": "/bin/true"}`, "ghcr.io", "app", nil, oras.Failed, "/bin/true is not the name of a helper"},
		"no docker config":             {`]`, "ghcr.io", "app", file, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "config.json", []byte(c.file))
			got, use := credentialsFor(t.Context(), path, c.host, []string{c.repository})
			want := c.want
			if want != nil && len(want) == 0 {
				want = map[string]any{"dockerConfig": path}
			}
			if !maps.Equal(got, want) || (got == nil) != (want == nil) {
				t.Errorf("%v, want %v", got, want)
			}
			if use == nil {
				use = &oras.SourceUse{}
			} else if use.Registry != c.host || !strings.HasSuffix(use.Source, "of docker config "+path) {
				t.Errorf("the helper is told as %+v", use)
			}
			if use.Use != c.use || !strings.Contains(use.Why, c.why) {
				t.Errorf("%+v, want %s: %s", use, c.use, c.why)
			}
		})
	}
	if got, use := credentialsFor(t.Context(), "", "ghcr.io", nil); got != nil || use != nil {
		t.Errorf("without a docker config: %v, %v", got, use)
	}
	if name, _ := helperOf(filepath.Join(t.TempDir(), "not-there"), "ghcr.io", nil); name != "" {
		t.Error("a file that is not there has a helper")
	}
}
