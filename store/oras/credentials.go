package oras

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// DefaultDockerConfig returns the path of the docker config.json of the user, by $DOCKER_CONFIG or the home directory,
// or "" where there is none or it is not about credentials. It is for the command line: a server names its file.
func DefaultDockerConfig() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	name := filepath.Join(dir, "config.json")
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	var set files.Set
	if data, err := set.Read(name); err == nil {
		// Whatever else is wrong with the file is told where it is read.
		if _, err := parseDockerConfig(data); errors.Is(err, errNoCredentials) {
			return ""
		}
	}
	return name
}

// credentialSource gives the credential for a repository; nil gives none.
type credentialSource struct {
	static auth.Credential
	docker dockerConfig
}

// lookup returns the credential for a repository, and whether the docker config has a helper for its host instead.
func (s *credentialSource) lookup(host, path string) (cred auth.Credential, helper bool) {
	if s == nil {
		return auth.EmptyCredential, false
	}
	if s.docker.auths == nil {
		return s.static, false
	}
	return s.docker.lookup(host, path)
}

func newCredentialSource(c *Credentials, pattern hostPattern, set *files.Set) (*credentialSource, error) {
	if c == nil {
		return nil, nil
	}
	ways := 0
	for _, set := range []bool{c.DockerConfig != "", c.Username != "", c.IdentityToken != "", c.IdentityTokenFile != ""} {
		if set {
			ways++
		}
	}
	password := c.Password != "" || c.PasswordFile != ""
	switch {
	case ways != 1:
		return nil, errors.New("set exactly one of dockerConfig, username, identityToken, identityTokenFile")
	case c.Password != "" && c.PasswordFile != "":
		return nil, errors.New("set only one of password, passwordFile")
	case password != (c.Username != ""):
		return nil, errors.New("username needs password or passwordFile, and they need username")
	case c.DockerConfig == "" && !pattern.exact():
		return nil, errors.New("they would be sent to hosts that somebody else may own; name an exact host, or use dockerConfig")
	}
	if c.DockerConfig != "" {
		data, err := set.Read(c.DockerConfig)
		if err != nil {
			return nil, fmt.Errorf("dockerConfig: %w", err)
		}
		docker, err := parseDockerConfig(data)
		if err != nil {
			return nil, fmt.Errorf("dockerConfig: %s: %w", c.DockerConfig, err)
		}
		return &credentialSource{docker: docker}, nil
	}
	s := &credentialSource{static: auth.Credential{Username: c.Username, Password: string(c.Password), RefreshToken: string(c.IdentityToken)}}
	if c.PasswordFile != "" {
		text, err := readSecret(set, c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("passwordFile: %w", err)
		}
		s.static.Password = text
	}
	if c.IdentityTokenFile != "" {
		text, err := readSecret(set, c.IdentityTokenFile)
		if err != nil {
			return nil, fmt.Errorf("identityTokenFile: %w", err)
		}
		s.static.RefreshToken = text
	}
	return s, nil
}

func readSecret(set *files.Set, path string) (string, error) {
	data, err := set.Read(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(string(data), " \t\r\n")
	if text == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

// dockerConfig is what is read of a docker config.json: credentials by host[/path], and the hosts of helpers.
type dockerConfig struct {
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

// errNoCredentials says that a file is not about credentials at all, which is more likely a mistake than anonymous access.
var errNoCredentials = errors.New("it has neither auths nor credHelpers nor credsStore, and is no .dockercfg: a list of registries with their credentials")

// parseDockerConfig reads the format of docker's config.json, or that of its predecessor .dockercfg, which is auths alone.
// Its errors hold nothing of the file but the names of registries: a broken credential is still a credential.
func parseDockerConfig(data []byte) (dockerConfig, error) {
	var file struct {
		Auths       map[string]dockerEntry `json:"auths"`
		CredHelpers map[string]string      `json:"credHelpers"`
		CredsStore  string                 `json:"credsStore"`
	}
	if json.Unmarshal(data, &file) != nil {
		return dockerConfig{}, errors.New("it is no docker configuration: not JSON of its form")
	}
	place := "auths[%s]"
	legacy := file.Auths == nil && len(file.CredHelpers) == 0 && file.CredsStore == ""
	if legacy {
		place = "%s"
		if json.Unmarshal(data, &file.Auths) != nil {
			return dockerConfig{}, errNoCredentials
		}
	}
	config := dockerConfig{auths: map[string]auth.Credential{}, helpers: map[string]bool{}, store: file.CredsStore != ""}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(file.Auths)) {
		if err := config.add(key, file.Auths[key]); err != nil {
			errs = append(errs, fmt.Errorf(place+"%w", ratify.Quote(key), err))
		}
	}
	if legacy && len(config.auths) == 0 && len(errs) == 0 {
		return dockerConfig{}, errNoCredentials
	}
	// As the kubelet has it, in falling order of the bytes: wildcards sort before letters, and a host before its paths, so
	// that what is more specific comes first. The kubelet then tries all that match, and this program the first.
	slices.Sort(config.globs)
	slices.Reverse(config.globs)
	for key := range file.CredHelpers {
		config.helpers[dockerKey(key)] = true
	}
	return config, errors.Join(errs...)
}

// add takes one entry; its errors are continuations of the entry's place.
func (c *dockerConfig) add(key string, a dockerEntry) error {
	cred := auth.Credential{Username: a.Username, Password: a.Password, RefreshToken: a.IdentityToken, AccessToken: a.RegistryToken}
	if a.Auth != "" {
		// docker itself reads auth first, and the fields beside it only where there is none.
		text, err := base64.StdEncoding.DecodeString(a.Auth)
		username, password, ok := strings.Cut(string(text), ":")
		if err != nil || !ok || username == "" {
			return errors.New(".auth is not user:password in base64")
		}
		cred.Username, cred.Password = username, strings.TrimRight(password, "\x00")
	}
	if cred == auth.EmptyCredential {
		return nil // docker leaves {} behind for hosts whose credentials a helper keeps
	}
	name := dockerKey(key)
	if other, taken := c.auths[name]; taken {
		if other != cred {
			return fmt.Errorf(": there is another credential for %s", ratify.Quote(name))
		}
		return nil
	}
	host, prefix, _ := strings.Cut(name, "/")
	glob, err := isGlob(host)
	switch {
	case err != nil:
		return err
	case strings.Contains(prefix, "*"):
		return errors.New(": a path has no wildcards; it is for all repositories below it as it is")
	case glob:
		c.globs = append(c.globs, name)
	}
	c.auths[name] = cred
	return nil
}

// isGlob tells whether the host of an entry has wildcards, those of path.Match: the kubelet's are the same.
func isGlob(host string) (bool, error) {
	name, port := splitPort(host)
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || !strings.ContainsAny(host, `*?[\`) {
		return false, nil
	}
	bad := strings.ContainsAny(port, `*?[]\`)
	for label := range strings.SplitSeq(name, ".") {
		_, err := path.Match(label, "")
		bad = bad || err != nil
	}
	if bad {
		return false, errors.New(": the wildcards of its host are malformed; they stand for one label, or a part of one, and not for a port")
	}
	return true, nil
}

// matchGlob tells whether an entry with wildcards in its host is for a repository. A wildcard stands for no dot, so that
// *.example is not for a.b.example; ports are equal; the path is a prefix by whole components.
func matchGlob(key, host, repository string) bool {
	pattern, prefix, _ := strings.Cut(key, "/")
	if prefix != "" && !strings.HasPrefix(repository+"/", prefix+"/") {
		return false
	}
	patternName, patternPort := splitPort(pattern)
	name, port := splitPort(host)
	patterns, labels := strings.Split(patternName, "."), strings.Split(name, ".")
	if patternPort != port || len(patterns) != len(labels) {
		return false
	}
	for i, label := range labels {
		if ok, err := path.Match(patterns[i], label); !ok || err != nil {
			return false
		}
	}
	return true
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
	return dockerAlias(strings.TrimSuffix(strings.ToLower(host), ":"+defaultPort))
}

// lookup finds the entry whose path holds the repository and is the longest, by whole components. An entry that names the
// host goes before those with wildcards.
func (c dockerConfig) lookup(host, repository string) (cred auth.Credential, helper bool) {
	host = dockerHost(host)
	for prefix := repository; prefix != ""; {
		if cred, ok := c.auths[host+"/"+prefix]; ok {
			return cred, false
		}
		i := strings.LastIndexByte(prefix, '/')
		prefix = prefix[:max(i, 0)]
	}
	if cred, ok := c.auths[host]; ok {
		return cred, false
	}
	for _, key := range c.globs {
		if matchGlob(key, host, repository) {
			return c.auths[key], false
		}
	}
	return auth.EmptyCredential, c.store || c.helpers[host]
}
