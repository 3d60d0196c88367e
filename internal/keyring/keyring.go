// Package keyring knows which credential is for which repository: it reads docker's config.json and what became of it in
// Kubernetes, Secrets of pods and answers of credential providers.
//
// It hands out a credential for the host that an entry names and for no other; where it is sent is its user's matter.
// Programs that a file names are not run. Begin at Parse and Ring.Lookup.
package keyring

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// A Ring holds credentials by host[/path], and the hosts whose credentials a helper has. It is immutable.
type Ring struct {
	auths   map[string]auth.Credential
	globs   []string // the keys of auths with wildcards in their host, in the order in which they are tried
	helpers map[string]bool
	store   bool // one helper for all hosts
}

// dockerEntry is the entry of one registry.
type dockerEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// ErrNoCredentials says that a file is not about credentials at all, which is more likely a mistake than anonymous access.
var ErrNoCredentials = errors.New("it has neither auths nor credHelpers nor credsStore, and is no .dockercfg: a list of registries with their credentials")

// Parse reads the format of docker's config.json, or that of its predecessor .dockercfg, which is auths alone: what
// Secrets of the types kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg hold. Its errors hold nothing of the
// file but the names of registries: a broken credential is still a credential.
func Parse(data []byte) (Ring, error) {
	var file struct {
		Auths       map[string]dockerEntry `json:"auths"`
		CredHelpers map[string]string      `json:"credHelpers"`
		CredsStore  string                 `json:"credsStore"`
	}
	if json.Unmarshal(data, &file) != nil {
		return Ring{}, errors.New("it is no docker configuration: not JSON of its form")
	}
	place := "auths[%s]"
	legacy := file.Auths == nil && len(file.CredHelpers) == 0 && file.CredsStore == ""
	if legacy {
		place = "%s"
		if json.Unmarshal(data, &file.Auths) != nil {
			return Ring{}, ErrNoCredentials
		}
	}
	ring := Ring{auths: map[string]auth.Credential{}, helpers: map[string]bool{}, store: file.CredsStore != ""}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(file.Auths)) {
		cred, err := file.Auths[key].credential()
		if err == nil {
			err = ring.add(key, cred)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf(place+"%w", ratify.Quote(key), err))
		}
	}
	if legacy && len(ring.auths) == 0 && len(errs) == 0 {
		return Ring{}, ErrNoCredentials
	}
	ring.sortGlobs()
	for key := range file.CredHelpers {
		ring.helpers[dockerKey(key)] = true
	}
	return ring, errors.Join(errs...)
}

// Of makes a ring of credentials by host[/path], where the host may have wildcards. Empty credentials are left out. Its
// errors hold nothing but keys.
func Of(credentials map[string]auth.Credential) (Ring, error) {
	ring := Ring{auths: map[string]auth.Credential{}}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(credentials)) {
		if err := ring.add(key, credentials[key]); err != nil {
			errs = append(errs, fmt.Errorf("%s%w", ratify.Quote(key), err))
		}
	}
	ring.sortGlobs()
	return ring, errors.Join(errs...)
}

// sortGlobs brings wildcards into falling order of their bytes, as the kubelet has it: wildcards sort before letters, and
// a host before its paths, so that what is more specific comes first. The kubelet then tries all that match, and this
// program the first.
func (r *Ring) sortGlobs() {
	slices.Sort(r.globs)
	slices.Reverse(r.globs)
}

// Bytes is about how much memory the ring holds, for a cache that counts it.
func (r Ring) Bytes() int64 {
	const entry = 256 // the map's slot and the credential's four headers
	size := int64(entry)
	for key, cred := range r.auths {
		size += entry + int64(len(key)+len(cred.Username)+len(cred.Password)+len(cred.RefreshToken)+len(cred.AccessToken))
	}
	for key := range r.helpers {
		size += entry + int64(len(key))
	}
	return size
}

// credential reads an entry; its errors are continuations of the entry's place.
func (a dockerEntry) credential() (auth.Credential, error) {
	cred := auth.Credential{Username: a.Username, Password: a.Password, RefreshToken: a.IdentityToken, AccessToken: a.RegistryToken}
	if a.Auth == "" {
		return cred, nil
	}
	// docker itself reads auth first, and the fields beside it only where there is none.
	text, err := base64.StdEncoding.DecodeString(a.Auth)
	username, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok || username == "" {
		return auth.EmptyCredential, errors.New(".auth is not user:password in base64")
	}
	cred.Username, cred.Password = username, strings.TrimRight(password, "\x00")
	return cred, nil
}

// add takes one credential; its errors are continuations of the entry's place.
func (r *Ring) add(key string, cred auth.Credential) error {
	if cred == auth.EmptyCredential {
		return nil // docker leaves {} behind for hosts whose credentials a helper keeps
	}
	name := dockerKey(key)
	if other, taken := r.auths[name]; taken {
		if other != cred {
			return fmt.Errorf(": there is another credential for %s", ratify.Quote(name))
		}
		return nil
	}
	glob, err := parsePattern(name)
	if err != nil {
		return err
	}
	if glob {
		r.globs = append(r.globs, name)
	}
	r.auths[name] = cred
	return nil
}

// dockerKey brings a key of auths into the form host[/path]: docker login writes https://index.docker.io/v1/ for Docker
// Hub, and a URL or a host for others.
func dockerKey(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimRight(key, "/")
	for _, api := range []string{"/v1", "/v2"} {
		key = strings.TrimSuffix(key, api)
	}
	host, path, _ := strings.Cut(key, "/")
	if path == "" {
		return dockerHost(host)
	}
	return dockerHost(host) + "/" + path
}

// dockerHost gives a host the one spelling that entries are kept and looked up under.
func dockerHost(host string) string {
	return HubAlias(strings.TrimSuffix(strings.ToLower(host), ":"+defaultPort))
}

// Lookup finds the entry whose path holds the repository and is the longest, by whole components. An entry that names the
// host goes before those with wildcards. Where there is none the credential is empty, and helper tells whether the file
// leaves the host to a credential helper.
func (r Ring) Lookup(host, repository string) (cred auth.Credential, helper bool) {
	host = dockerHost(host)
	for prefix := repository; prefix != ""; {
		if cred, ok := r.auths[host+"/"+prefix]; ok {
			return cred, false
		}
		i := strings.LastIndexByte(prefix, '/')
		prefix = prefix[:max(i, 0)]
	}
	if cred, ok := r.auths[host]; ok {
		return cred, false
	}
	for _, key := range r.globs {
		if match(key, host, repository) {
			return r.auths[key], false
		}
	}
	return auth.EmptyCredential, r.store || r.helpers[host]
}
