package oras

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// DefaultDockerConfig returns the path of the docker config.json of the user, by $DOCKER_CONFIG or the home directory,
// or "" where there is none. It is for the command line: a server names its file.
func DefaultDockerConfig() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".docker")
	}
	path := filepath.Join(dir, "config.json")
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
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
	helpers map[string]bool
	store   bool // one helper for all hosts
}

// parseDockerConfig reads the format of docker's config.json. Its errors hold nothing of the file but the names of
// registries: a broken credential is still a credential.
func parseDockerConfig(data []byte) (dockerConfig, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if json.Unmarshal(data, &file) != nil {
		return dockerConfig{}, errors.New("it is no docker configuration: not JSON of its form")
	}
	config := dockerConfig{auths: map[string]auth.Credential{}, helpers: map[string]bool{}, store: file.CredsStore != ""}
	var errs []error
	for key, a := range file.Auths {
		cred := auth.Credential{Username: a.Username, Password: a.Password, RefreshToken: a.IdentityToken, AccessToken: a.RegistryToken}
		if a.Auth != "" {
			// docker itself reads auth first, and the fields beside it only where there is none.
			text, err := base64.StdEncoding.DecodeString(a.Auth)
			username, password, ok := strings.Cut(string(text), ":")
			if err != nil || !ok || username == "" {
				errs = append(errs, fmt.Errorf("auths[%s].auth is not user:password in base64", ratify.Quote(key)))
				continue
			}
			cred.Username, cred.Password = username, strings.TrimRight(password, "\x00")
		}
		if cred == auth.EmptyCredential {
			continue // docker leaves {} behind for hosts whose credentials a helper keeps
		}
		name := dockerKey(key)
		if _, taken := config.auths[name]; taken && config.auths[name] != cred {
			errs = append(errs, fmt.Errorf("auths has two different credentials for %s", ratify.Quote(name)))
			continue
		}
		config.auths[name] = cred
	}
	for key := range file.CredHelpers {
		config.helpers[dockerKey(key)] = true
	}
	return config, errors.Join(errs...)
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

// lookup finds the entry whose path holds the repository and is the longest, by whole components.
func (c dockerConfig) lookup(host, path string) (cred auth.Credential, helper bool) {
	host = dockerHost(host)
	for prefix := path; prefix != ""; {
		if cred, ok := c.auths[host+"/"+prefix]; ok {
			return cred, false
		}
		i := strings.LastIndexByte(prefix, '/')
		prefix = prefix[:max(i, 0)]
	}
	if cred, ok := c.auths[host]; ok {
		return cred, false
	}
	return auth.EmptyCredential, c.store || c.helpers[host]
}
