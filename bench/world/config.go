package world

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Config is what ratify is told: one registry, whom to trust, and how much there is to choose from.
type Config struct {
	Registry *Registry
	// Signers are trusted. Those of Notation share one verifier, those of cosign another; where there are both, one must pass.
	Signers []*Signer
	// CosignTags looks for signatures under cosign's tags as well; it needs a signer of cosign.
	CosignTags bool
	// Policies is how many policies there are; all but one are for repositories that nobody asks about. 0 is 1.
	Policies int
	// Cache is the file's own section; nil leaves the defaults.
	Cache map[string]any
	// Edit, if set, changes the file before it is written: for fields that a measurement alone needs.
	Edit func(file map[string]any)
}

// A module is a store or a verifier in the file.
type module map[string]any

// configName is the file's.
const configName = "ratify.json"

// write writes the file and those that it names into the directory, and tells whether any of them is another now.
func (c Config) write(dir string) (changed bool, err error) {
	files := &fileWriter{dir: dir}
	var roots []string
	var keys []map[string]string
	for i, signer := range c.Signers {
		name := fmt.Sprintf("signer-%d.pem", i)
		switch {
		case signer.root != nil:
			roots = append(roots, files.replace(name, signer.root))
		case signer.key != nil:
			keys = append(keys, map[string]string{"name": fmt.Sprintf("key-%d", i), "file": files.replace(name, signer.key)})
		}
	}
	if len(keys) == 0 && c.CosignTags {
		return false, errors.New("write configuration: CosignTags needs a signer of cosign")
	}
	content := map[string]any{
		"stores": []any{c.store(files)}, "verifiers": c.verifiers(roots, keys), "policies": c.policies(len(roots) > 0, len(keys) > 0),
	}
	if c.Cache != nil {
		content["cache"] = c.Cache
	}
	if c.Edit != nil {
		c.Edit(content)
	}
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return false, fmt.Errorf("write configuration: %w", err)
	}
	files.replace(configName, data)
	return files.changed, files.err
}

func (c Config) store(files *fileWriter) module {
	entry := map[string]any{"host": c.Registry.Host(), "allowPrivate": true, "authHosts": []string{c.Registry.TokenHost()}}
	if ca := c.Registry.CA(); ca != nil {
		entry["caFile"] = files.replace("registry-ca.pem", ca)
	} else {
		entry["plainHTTP"] = true
	}
	return module{"name": "registries", "type": "oras", "scopes": []string{"*"}, "settings": map[string]any{"registries": []any{entry}}}
}

func (c Config) verifiers(roots []string, keys []map[string]string) []module {
	var verifiers []module
	if len(roots) > 0 {
		verifiers = append(verifiers, module{"name": "notation", "type": "notation", "settings": map[string]any{
			"trustStores": []any{map[string]any{"type": "ca", "name": "certs", "files": roots}},
			"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
				"name": "default", "registryScopes": []string{"*"}, "signatureVerification": map[string]any{"level": "strict"},
				"trustStores": []string{"ca:certs"}, "trustedIdentities": []string{"*"},
			}}},
		}})
	}
	if len(keys) > 0 {
		settings := map[string]any{"keys": keys}
		if c.CosignTags {
			settings["cosignTags"] = true
		}
		verifiers = append(verifiers, module{"name": "cosign", "type": "cosign", "settings": settings})
	}
	return verifiers
}

func (c Config) policies(notation, cosign bool) []map[string]any {
	var names []string
	if notation {
		names = append(names, "notation")
	}
	if cosign {
		names = append(names, "cosign")
	}
	policies := []map[string]any{{"name": "default", "scopes": []string{"*"}, "verifiers": names, "require": "any"}}
	for i := range c.Policies - 1 {
		policies = append(policies, map[string]any{
			"name": fmt.Sprintf("other-%d", i), "scopes": []string{fmt.Sprintf("registry-%d.example/team/*", i)}, "verifiers": names, "require": "all",
		})
	}
	return policies
}

// A fileWriter writes files into a directory until one cannot be written.
type fileWriter struct {
	dir     string
	changed bool  // a file is another than it was
	err     error // of the first that could not be written
}

// replace writes a file so that nobody ever reads half of it, and returns its path. One that holds the same already is left
// alone: the server watches it.
func (w *fileWriter) replace(name string, data []byte) string {
	path := filepath.Join(w.dir, name)
	if there, err := os.ReadFile(path); w.err != nil || err == nil && bytes.Equal(there, data) {
		return path
	}
	w.changed = true
	if w.err = os.WriteFile(path+".new", data, 0o600); w.err == nil {
		w.err = os.Rename(path+".new", path)
	}
	return path
}
