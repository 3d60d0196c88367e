package lab

import (
	"encoding/json"
	"fmt"
	"maps"
)

// Settings are what a configuration of the lab says. The zero value trusts the lab's Signer for every repository.
type Settings struct {
	// Registries are the entries of the store: see Lab.Entry.
	Registries []map[string]any
	// TrustFiles are the roots of the trust store ca:certs; none is the lab's TrustFile.
	TrustFiles []string
	// Notation are further settings of the verifier of that name, or others than the lab's.
	Notation map[string]any
	// Verifiers stand beside the verifier notation.
	Verifiers []map[string]any
	// Policies replace the one that asks notation for everything.
	Policies []map[string]any
	// Top are further fields of the file: cache, tenancy, concurrency.
	Top map[string]any
}

// Entry is the entry of a registry at a host, under the lab's CA: private addresses are allowed, for the host is on the
// loopback interface. more adds to it, and replaces; nil takes a field away.
func (l *Lab) Entry(h *Host, more map[string]any) map[string]any {
	entry := map[string]any{"host": h.Addr, "allowPrivate": true}
	if h.options.Plain {
		entry["plainHTTP"] = true
	} else {
		entry["caFile"] = l.CAFile
	}
	maps.Copy(entry, more)
	maps.DeleteFunc(entry, func(_ string, value any) bool { return value == nil })
	return entry
}

// Configuration is the file as it would be written.
func (l *Lab) Configuration(s Settings) ([]byte, error) {
	if s.TrustFiles == nil {
		s.TrustFiles = []string{l.TrustFile}
	}
	notation := map[string]any{
		"trustStores": []any{map[string]any{"type": "ca", "name": "certs", "files": s.TrustFiles}},
		"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
			"name": "default", "registryScopes": []string{"*"}, "signatureVerification": map[string]any{"level": "strict"},
			"trustStores": []string{"ca:certs"}, "trustedIdentities": []string{"*"},
		}}},
	}
	maps.Copy(notation, s.Notation)
	if s.Policies == nil {
		s.Policies = []map[string]any{{"name": "default", "scopes": []string{"*"}, "verifiers": []string{"notation"}, "require": "all"}}
	}
	file := map[string]any{
		"stores": []any{map[string]any{
			"name": "registries", "type": "oras", "scopes": []string{"*"}, "settings": map[string]any{"registries": s.Registries},
		}},
		"verifiers": append([]map[string]any{{"name": "notation", "type": "notation", "settings": notation}}, s.Verifiers...),
		"policies":  s.Policies,
	}
	maps.Copy(file, s.Top)
	return json.MarshalIndent(file, "", "  ")
}

// Configure writes a configuration, which is JSON, and returns its path: each call a new one.
func (l *Lab) Configure(s Settings) (string, error) {
	data, err := l.Configuration(s)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	l.files++
	name := fmt.Sprintf("config-%d.json", l.files)
	l.mu.Unlock()
	return l.WriteFile(name, data)
}
