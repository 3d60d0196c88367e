package oras

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/keyring"
)

// maxSources bounds the credential sources of one registry: a few clouds, and a few teams.
const maxSources = 32

// Sources are where credentials for a registry come from, in the order in which they are tried: the first that has one for
// a repository is used, and when the registry refuses it (401 or 403, its own or its token server's) the next one's, within
// the same request. A refused credential rests for 5 s. Requests go without credentials only where no source has any: a
// registry that serves some repositories to everybody would otherwise answer for another than is asked about.
//
// A single one may be written without a list.
type Sources []Credentials

// UnmarshalJSON takes one object or a list of them, strictly: unknown fields are errors.
func (s *Sources) UnmarshalJSON(data []byte) error {
	*s = nil
	if string(data) == "null" {
		return nil
	}
	var items []json.RawMessage
	list := bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("["))
	if !list {
		items = []json.RawMessage{data}
	} else if err := json.Unmarshal(data, &items); err != nil {
		return errors.New("it is no list of mappings")
	}
	*s = make(Sources, len(items))
	var errs []string
	for i, item := range items {
		place := ""
		if list {
			place = fmt.Sprintf("[%d]", i)
		}
		if err := config.NewSettings(place, item).Decode(&(*s)[i]); err != nil {
			errs = append(errs, strings.Split(err.Error(), "\n")...)
		}
	}
	if len(errs) > 0 {
		return errors.New(strings.Join(errs, "; ")) // one line: its reader puts the place before it
	}
	return nil
}

// Credentials are one source. Exactly one of DockerConfig, Username, IdentityToken(File), Helper, Provider,
// PullSecretDirectory and PullSecrets is set. A user name or an identity token needs a Registry with an exact host, so that
// no name that somebody else chose gets it. A credential is sent to the registry that it was found for and to its token
// server, and to no other host.
type Credentials struct {
	// Repositories are for which repositories of the registry the source is: paths below its host, without it, by whole
	// components: acme is for acme/app, and not for acme2/app. None means all.
	Repositories []string `json:"repositories,omitempty"`
	// Namespaces are for which tenants the source is, and for these alone: a namespace, prefix* or *. Without it the source
	// is the cluster's own and no tenant's: a tenant whose images it read could find out about, and have admitted, what
	// the tenant has no right to pull. What is for the cluster and for tenants is written twice, without Namespaces and
	// with. PullSecrets are their tenants', and need no Namespaces. Where tenancy is off there is only the cluster, and so
	// there is in every mutation.
	Namespaces []string `json:"namespaces,omitempty"`

	// DockerConfig is the path of a docker config.json, or of a mounted Secret of the type
	// kubernetes.io/dockerconfigjson. Its entry with the longest path that holds the repository is used. Credential
	// helpers that it names are not run: a program runs only where Helper or Provider names it.
	DockerConfig string `json:"dockerConfig,omitempty"`
	// Username goes with Password or PasswordFile.
	Username string `json:"username,omitempty"`
	Password Secret `json:"password,omitempty"`
	// PasswordFile is the path of a file with the password; white space at its end is cut off.
	PasswordFile string `json:"passwordFile,omitempty"`
	// IdentityToken is a refresh token that the token server exchanges for access tokens.
	IdentityToken     Secret `json:"identityToken,omitempty"`
	IdentityTokenFile string `json:"identityTokenFile,omitempty"`
	// Helper is a docker credential helper.
	Helper *Helper `json:"helper,omitempty"`
	// Provider is a set of the kubelet's credential provider plugins.
	Provider *Provider `json:"provider,omitempty"`
	// PullSecretDirectory is where pull secrets are mounted: each file in it is read as DockerConfig is, and so are
	// .dockerconfigjson and .dockercfg in it and in the directories in it. All that have an entry for the repository are
	// tried, in the order of their names.
	PullSecretDirectory string `json:"pullSecretDirectory,omitempty"`
	// PullSecrets are the tenant's own, read from the API server.
	PullSecrets *PullSecrets `json:"pullSecrets,omitempty"`
}

// A Helper is a program of docker's credential helper protocol. It is run with the argument get and the registry's host on
// its standard input, without a shell, for at most 5 s, with PATH, HOME and what is said here as its environment, and it
// may write 64 KiB. Its answer is kept for 5 min, that it has none for 1 min, a failure for 5 s. It is asked for hosts that
// match the registry's, which must not be *: a helper that knows a credential for any host would hand it to anybody's.
type Helper struct {
	// Name is what follows docker-credential- in the name of a program on the PATH, or the absolute path of a program.
	Name string `json:"name"`
	// Env are variables of its environment.
	Env []Variable `json:"env,omitempty"`
	// PassEnvironment are the names of variables of this process that it gets, too: those that a cloud's webhook puts
	// into the pod, AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE for one.
	PassEnvironment []string `json:"passEnvironment,omitempty"`
}

// A Provider is a configuration of the kubelet's credential provider plugins (kubelet.config.k8s.io/v1,
// credentialprovider.kubelet.k8s.io/v1): what nodes have for ECR, ACR and Artifact Registry serves here unchanged. A plugin
// runs for the images that its matchImages name, as a Helper does; its answer is kept as long as it says, from 5 s to 12 h.
// Paths in matchImages and in answers are prefixes by whole components. tokenAttributes are refused: there is no pod whose
// token could be sent.
type Provider struct {
	// Config is the path of the CredentialProviderConfig.
	Config string `json:"config"`
	// BinDir is the directory of the plugins, an absolute path.
	BinDir string `json:"binDir"`
	// PassEnvironment is as in Helper.
	PassEnvironment []string `json:"passEnvironment,omitempty"`
}

// PullSecrets are those that a service account of the tenant's namespace names as imagePullSecrets, at most ten. They are
// read with the verb get alone and kept for 1 min. What a pod names itself is not known here. The zero value is for a
// program in a pod of the cluster.
type PullSecrets struct {
	// ServiceAccount is the account's name; empty is default.
	ServiceAccount string `json:"serviceAccount,omitempty"`
	// APIServer is the URL of the API server, https://host:port; empty is the cluster's own.
	APIServer string `json:"apiServer,omitempty"`
	// TokenFile and CAFile are the paths of a token for the API server and of its CA, read again as they rotate; empty is
	// where the kubelet mounts them, /var/run/secrets/kubernetes.io/serviceaccount.
	TokenFile string `json:"tokenFile,omitempty"`
	CAFile    string `json:"caFile,omitempty"`
}

// A Variable is a variable of a program's environment. Its value may be a secret.
type Variable struct {
	Name  string `json:"name"`
	Value Secret `json:"value"`
}

// ways names which kinds of source are set.
func (c Credentials) ways() []string {
	var set []string
	for _, way := range []struct {
		name string
		set  bool
	}{
		{"dockerConfig", c.DockerConfig != ""}, {"username", c.Username != ""},
		{"identityToken", c.IdentityToken != ""}, {"identityTokenFile", c.IdentityTokenFile != ""},
		{"helper", c.Helper != nil}, {"provider", c.Provider != nil},
		{"pullSecretDirectory", c.PullSecretDirectory != ""}, {"pullSecrets", c.PullSecrets != nil},
	} {
		if way.set {
			set = append(set, way.name)
		}
	}
	return set
}

// check tells what is wrong with a source by itself, for registries whose host matches the pattern.
func (c Credentials) check(pattern hostPattern) error {
	ways := c.ways()
	password := c.Password != "" || c.PasswordFile != ""
	static := c.Username != "" || c.IdentityToken != "" || c.IdentityTokenFile != ""
	switch {
	case len(ways) > 1:
		return fmt.Errorf("set exactly one of %s, or make them a list", strings.Join(ways, ", "))
	case c.Password != "" && c.PasswordFile != "":
		return errors.New("set only one of password, passwordFile")
	case len(ways) == 1 && password != (c.Username != ""), len(ways) == 0 && password:
		return errors.New("username needs password or passwordFile, and they need username")
	case len(ways) == 0:
		return errors.New("set exactly one of dockerConfig, username, identityToken, identityTokenFile, helper, provider, pullSecretDirectory, pullSecrets")
	case static && !pattern.exact():
		return errors.New("they would be sent to hosts that somebody else may own; name an exact host, or use dockerConfig")
	case c.Helper != nil && pattern.any:
		return errors.New("helper: it would be asked for hosts that somebody else may own; name a host, or *.domain")
	}
	return nil
}

// parseRepositories checks paths below a registry's host.
func parseRepositories(texts []string, pattern hostPattern) error {
	for i, text := range texts {
		if rest, ok := strings.CutPrefix(text, pattern.text+"/"); ok && pattern.exact() {
			return fmt.Errorf("repositories[%d]: leave the host out: %s", i, rest)
		}
		subject, err := ratify.ParseKey("host.example/" + text)
		if err != nil || subject.Repository != "host.example/"+text || strings.ContainsAny(text, ":@") {
			return fmt.Errorf("repositories[%d]: %s is no path of a repository, or the beginning of one in whole components, such as acme or acme/app", i, ratify.Quote(text))
		}
	}
	return nil
}

func parseNamespaces(texts []string) error {
	for i, text := range texts {
		if err := ratify.CheckNamespacePattern(text); err != nil {
			return fmt.Errorf("namespaces[%d]: %w", i, err)
		}
	}
	return nil
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

// readRing reads a docker config.
func readRing(set *files.Set, path string) (keyring.Ring, error) {
	data, err := set.Read(path)
	if err != nil {
		return keyring.Ring{}, err
	}
	ring, err := keyring.Parse(data)
	if err != nil {
		return keyring.Ring{}, fmt.Errorf("%s: %w", path, err)
	}
	return ring, nil
}

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
		if _, err := keyring.Parse(data); errors.Is(err, keyring.ErrNoCredentials) {
			return ""
		}
	}
	return name
}
