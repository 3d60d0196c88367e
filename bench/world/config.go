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

// write writes the file and those that it names into the directory.
func (c Config) write(dir, file string) error {
	var roots []string
	var keys []map[string]string
	for i, signer := range c.Signers {
		path, pem := filepath.Join(dir, fmt.Sprintf("signer-%d.pem", i)), signer.root
		switch {
		case signer.root != nil:
			roots = append(roots, path)
		case signer.key != nil:
			pem = signer.key
			keys = append(keys, map[string]string{"name": fmt.Sprintf("key-%d", i), "file": path})
		default:
			continue
		}
		if err := replaceFile(path, pem); err != nil {
			return err
		}
	}
	if len(keys) == 0 && c.CosignTags {
		return errors.New("write configuration: CosignTags needs a signer of cosign")
	}
	content := map[string]any{"verifiers": c.verifiers(roots, keys), "policies": c.policies(len(roots) > 0, len(keys) > 0)}
	store, err := c.store(dir)
	if err != nil {
		return err
	}
	content["stores"] = []any{store}
	if c.Cache != nil {
		content["cache"] = c.Cache
	}
	if c.Edit != nil {
		c.Edit(content)
	}
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return replaceFile(file, data)
}

func (c Config) store(dir string) (module, error) {
	entry := map[string]any{"host": c.Registry.Host(), "allowPrivate": true, "authHosts": []string{c.Registry.TokenHost()}}
	if ca := c.Registry.CA(); ca != nil {
		path := filepath.Join(dir, "registry-ca.pem")
		entry["caFile"] = path
		if err := replaceFile(path, ca); err != nil {
			return nil, err
		}
	} else {
		entry["plainHTTP"] = true
	}
	return module{"name": "registries", "type": "oras", "scopes": []string{"*"}, "settings": map[string]any{"registries": []any{entry}}}, nil
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

// replaceFile writes a file so that nobody ever reads half of it. One that holds the same already is left alone: the server
// watches it.
func replaceFile(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
		return nil
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
