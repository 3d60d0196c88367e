package oras

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/credprogram"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/keyring"
	"github.com/ratify-provider/ratify/internal/listhash"
	"github.com/ratify-provider/ratify/internal/pullsecret"
)

// target is what a credential is wanted for.
type target struct{ host, path, namespace string }

// candidate is a credential that may be tried.
type candidate struct {
	cred auth.Credential
	from string // the source in words: its kind and its file, never a secret
	// forget makes that the source is asked again the next time, if it keeps what it was told.
	forget func()
}

// source is a Credentials made ready.
type source struct {
	place        string // credentials[1]
	label        string // kind and file
	repositories []string
	namespaces   []string
	tenants      bool // it is the tenants' own
	// find returns what the source has for a target, or says why it has none. An error means that it could not be asked.
	find func(ctx context.Context, t target) (found []candidate, none string, err error)
}

// The reasons for which a source is passed over.
const (
	hasNone          = "it has no credential for this repository"
	leftToHelper     = "the docker config leaves this registry to a credential helper, which is not run"
	otherRepository  = "it is for other repositories"
	otherNamespace   = "it is for other namespaces"
	clustersOwn      = "it is the cluster's own, and not for the images of namespaces"
	namespacesOwn    = "it is for the images of namespaces, and none is asked about"
	notMatchedByFile = "no provider's matchImages names this repository"
)

// serves tells whether the source is for a target, or why not.
func (s *source) serves(t target) (why string, ok bool) {
	named := len(s.namespaces) > 0
	switch {
	case len(s.repositories) > 0 && !slices.ContainsFunc(s.repositories, func(prefix string) bool { return strings.HasPrefix(t.path+"/", prefix+"/") }):
		return otherRepository, false
	case t.namespace == "" && (named || s.tenants):
		return namespacesOwn, false
	case t.namespace != "" && !named && !s.tenants:
		return clustersOwn, false
	case named && !slices.ContainsFunc(s.namespaces, func(pattern string) bool { return ratify.MatchNamespace(pattern, t.namespace) }):
		return otherNamespace, false
	}
	return "", true
}

// newSources makes the sources of a registry ready. Errors continue the place of the registry.
func newSources(all Sources, pattern hostPattern, deps Deps) ([]*source, error) {
	switch {
	case all != nil && len(all) == 0:
		return nil, errors.New("credentials: it is an empty list; leave it out for access without credentials")
	case len(all) > maxSources:
		return nil, fmt.Errorf("credentials: there are more than %d sources", maxSources)
	}
	var sources []*source
	var errs []error
	for i, c := range all {
		place := "credentials"
		if len(all) > 1 {
			place = fmt.Sprintf("credentials[%d]", i)
		}
		made, err := newSource(place, c, pattern, deps)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", place, err))
		}
		sources = append(sources, made...)
	}
	return sources, errors.Join(errs...)
}

// newSource makes one source ready; the plugins of one provider are several.
func newSource(place string, c Credentials, pattern hostPattern, deps Deps) ([]*source, error) {
	if err := errors.Join(c.check(pattern), parseRepositories(c.Repositories, pattern), parseNamespaces(c.Namespaces)); err != nil {
		return nil, err
	}
	var made []*source
	var err error
	switch {
	case c.Helper != nil:
		made, err = helperSource(*c.Helper, deps.Pool)
	case c.Provider != nil:
		made, err = providerSources(*c.Provider, deps)
	case c.PullSecrets != nil:
		made, err = pullSecretsSource(*c.PullSecrets, deps.Pool)
	case c.PullSecretDirectory != "":
		made, err = directorySource(c.PullSecretDirectory, deps.Files)
	case c.DockerConfig != "":
		made, err = dockerConfigSource(c.DockerConfig, deps.Files)
	default:
		made, err = staticSource(c, deps.Files)
	}
	for _, s := range made {
		s.place, s.repositories, s.namespaces = place, c.Repositories, c.Namespaces
	}
	return made, err
}

// TenantSources are the places of the credentials that are for tenants alone, and so of no effect where there are none.
func (s *Store) TenantSources() (places []string) {
	for _, e := range s.entries {
		for _, source := range e.sources {
			if source.tenants || len(source.namespaces) > 0 {
				places = append(places, fmt.Sprintf("registry %s: %s", ratify.Quote(e.pattern.text), source.place))
			}
		}
	}
	return slices.Compact(places)
}

func staticSource(c Credentials, set *files.Set) ([]*source, error) {
	label, cred := "user name and password", auth.Credential{Username: c.Username, Password: string(c.Password), RefreshToken: string(c.IdentityToken)}
	if c.Username == "" {
		label = "identity token"
	}
	for _, file := range []struct {
		field, path string
		into        *string
	}{{"passwordFile", c.PasswordFile, &cred.Password}, {"identityTokenFile", c.IdentityTokenFile, &cred.RefreshToken}} {
		if file.path == "" {
			continue
		}
		text, err := readSecret(set, file.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.field, err)
		}
		*file.into, label = text, label+" of "+file.path
	}
	return []*source{{label: label, find: func(context.Context, target) ([]candidate, string, error) {
		return []candidate{{cred: cred, from: label}}, "", nil
	}}}, nil
}

// fromRing is what one docker config has for a target.
func fromRing(ring keyring.Ring, t target, from string) (found []candidate, none string) {
	cred, helper := ring.Lookup(t.host, t.path)
	switch {
	case helper:
		return nil, leftToHelper
	case cred == auth.EmptyCredential:
		return nil, hasNone
	}
	return []candidate{{cred: cred, from: from}}, ""
}

func dockerConfigSource(path string, set *files.Set) ([]*source, error) {
	ring, err := readRing(set, path)
	if err != nil {
		return nil, fmt.Errorf("dockerConfig: %w", err)
	}
	label := "docker config " + path
	return []*source{{label: label, find: func(_ context.Context, t target) ([]candidate, string, error) {
		found, none := fromRing(ring, t, label)
		return found, none, nil
	}}}, nil
}

// namedRing is a mounted pull secret.
type namedRing struct {
	path string
	ring keyring.Ring
}

// directorySource reads mounted pull secrets. One that cannot be used is an error: unlike a tenant's, it is the operator's.
func directorySource(directory string, set *files.Set) ([]*source, error) {
	paths, err := pullSecretPaths(directory, set)
	if err != nil {
		return nil, fmt.Errorf("pullSecretDirectory: %w", err)
	}
	var rings []namedRing
	var errs []error
	for _, path := range paths {
		ring, err := readRing(set, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("pullSecretDirectory: %w", err))
			continue
		}
		rings = append(rings, namedRing{path, ring})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return []*source{{label: "pull secrets in " + directory, find: func(_ context.Context, t target) ([]candidate, string, error) {
		var all []candidate
		why := hasNone
		for _, r := range rings {
			found, none := fromRing(r.ring, t, "pull secret "+r.path)
			all = append(all, found...)
			if none == leftToHelper {
				why = none
			}
		}
		return all, why, nil
	}}}, nil
}

// pullSecretPaths lists the files of mounted Secrets: those in the directory, and, where Secrets are mounted whole, the
// keys that the API gives them, whose names begin with a dot.
func pullSecretPaths(directory string, set *files.Set) ([]string, error) {
	paths, err := set.List(directory)
	if err != nil {
		return nil, err
	}
	directories := []string{directory}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(directory, entry.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			directories = append(directories, path)
		}
	}
	for _, d := range directories {
		for _, key := range []string{".dockerconfigjson", ".dockercfg"} {
			path := filepath.Join(d, key)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				paths = append(paths, path)
			}
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s holds no pull secret", directory)
	}
	slices.Sort(paths)
	return paths, nil
}

// variables are the environment of a program, and what tells it from another.
func variables(given []Variable, passed []string) (all []credprogram.Variable, err error) {
	for i, name := range passed {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("passEnvironment[%d]: it is no name of a variable", i)
		}
		if value, ok := os.LookupEnv(name); ok {
			all = append(all, credprogram.Variable{Name: name, Value: value})
		}
	}
	for i, v := range given {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(string(v.Value), 0) {
			return nil, fmt.Errorf("env[%d]: its name is none, or its value is no text", i)
		}
		all = append(all, credprogram.Variable{Name: v.Name, Value: string(v.Value)})
	}
	return all, nil
}

func fingerprintOf(variables []credprogram.Variable) string {
	texts := make([]string, 0, 2*len(variables))
	for _, v := range variables {
		texts = append(texts, v.Name, v.Value)
	}
	return listhash.Sum(texts...)
}

// helperKeep is how long a helper's answer is kept: its protocol does not say, and those of clouds last an hour or more.
const helperKeep = 5 * time.Minute

func helperSource(h Helper, pool *Pool) ([]*source, error) {
	env, err := variables(h.Env, h.PassEnvironment)
	if err != nil {
		return nil, fmt.Errorf("helper: %w", err)
	}
	helper, err := credprogram.NewHelper(h.Name, env)
	if err != nil {
		return nil, fmt.Errorf("helper: name: %w", err)
	}
	key := listhash.Sum("helper", helper.Path(), fingerprintOf(env))
	label := "credential helper " + h.Name
	return []*source{{label: label, find: func(ctx context.Context, t target) ([]candidate, string, error) {
		return pool.askProgram(ctx, key, t, question{label: label, join: credprogram.ForRegistry, get: func(ctx context.Context) (credprogram.Answer, error) {
			cred, err := helper.Get(ctx, t.host)
			if err != nil {
				return credprogram.Answer{}, err
			}
			ring, err := keyring.Of(map[string]auth.Credential{t.host: cred})
			return credprogram.Answer{Extent: credprogram.ForRegistry, Keep: helperKeep, Ring: ring}, err
		}})
	}}}, nil
}

func providerSources(p Provider, deps Deps) ([]*source, error) {
	env, err := variables(nil, p.PassEnvironment)
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	switch {
	case p.Config == "":
		return nil, errors.New("provider: config: it is missing: the path of a CredentialProviderConfig")
	case !filepath.IsAbs(p.BinDir):
		return nil, errors.New("provider: binDir: it is no absolute path")
	}
	data, err := deps.Files.Read(p.Config)
	if err != nil {
		return nil, fmt.Errorf("provider: config: %w", err)
	}
	plugins, err := credprogram.LoadPlugins(data, p.BinDir, env)
	if err != nil {
		return nil, fmt.Errorf("provider: config: %s: %w", p.Config, err)
	}
	var made []*source
	for _, plugin := range plugins {
		key := listhash.Sum("provider", plugin.Name(), p.BinDir, string(data), fingerprintOf(env))
		label := plugin.Name() + " of " + p.Config
		made = append(made, &source{label: label, find: func(ctx context.Context, t target) ([]candidate, string, error) {
			if !plugin.Match(t.host, t.path) {
				return nil, notMatchedByFile, nil
			}
			return deps.Pool.askProgram(ctx, key, t, question{label: label, join: credprogram.ForImage, get: func(ctx context.Context) (credprogram.Answer, error) {
				return plugin.Get(ctx, t.host, t.path)
			}})
		}})
	}
	return made, nil
}

func pullSecretsSource(p PullSecrets, pool *Pool) ([]*source, error) {
	client, err := pool.apiServer(pullsecret.Settings{APIServer: p.APIServer, TokenFile: p.TokenFile, CAFile: p.CAFile, ServiceAccount: p.ServiceAccount})
	if err != nil {
		return nil, fmt.Errorf("pullSecrets: %w", err)
	}
	return []*source{{label: "pull secrets of the namespace", tenants: true, find: func(ctx context.Context, t target) ([]candidate, string, error) {
		answer, err := client.Get(ctx, t.namespace)
		if err != nil {
			return nil, "", err
		}
		var all []candidate
		why := hasNone
		for _, s := range answer.Secrets {
			found, none := fromRing(s.Ring, t, "pull secret "+s.Name+" of namespace "+t.namespace)
			all = append(all, found...)
			if none == leftToHelper {
				why = none
			}
		}
		if len(answer.Secrets) == 0 {
			why = "namespace " + t.namespace + " has no pull secret that can be used"
		}
		if len(answer.Problems) > 0 {
			why += "; " + strings.Join(answer.Problems, "; ")
		}
		return all, why, nil
	}}}, nil
}
