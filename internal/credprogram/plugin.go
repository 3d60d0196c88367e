package credprogram

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/keyring"
)

// The one version of the plugins' protocol that is spoken; the older ones ended with Kubernetes 1.28.
const (
	pluginAPI  = "credentialprovider.kubelet.k8s.io/v1"
	kubeletAPI = "kubelet.config.k8s.io/v1"
)

// maxPlugins bounds a configuration: a cluster has one for each cloud that it pulls from.
const maxPlugins = 16

// pluginsFile is the kubelet's CredentialProviderConfig.
type pluginsFile struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Providers  []pluginEntry `json:"providers"`
}

type pluginEntry struct {
	Name                 string          `json:"name"`
	MatchImages          []string        `json:"matchImages"`
	DefaultCacheDuration string          `json:"defaultCacheDuration"`
	APIVersion           string          `json:"apiVersion"`
	Args                 []string        `json:"args,omitempty"`
	Env                  []Variable      `json:"env,omitempty"`
	TokenAttributes      json.RawMessage `json:"tokenAttributes,omitempty"`
}

// A Plugin is a program of the protocol credentialprovider.kubelet.k8s.io/v1.
type Plugin struct {
	program     program
	images      []keyring.Pattern
	defaultKeep time.Duration
}

// An Extent is which other images an answer is for, too.
type Extent string

// The extents, as the protocol names them.
const (
	ForImage    Extent = "Image"
	ForRegistry Extent = "Registry"
	ForAll      Extent = "Global"
)

// An Answer is what a plugin knows for an image.
type Answer struct {
	Extent Extent
	// Keep is how long the answer may be kept; 0 is not at all.
	Keep time.Duration
	Ring keyring.Ring
}

// LoadPlugins reads a CredentialProviderConfig of the kubelet, in YAML or JSON, strictly, and finds its programs in a
// directory. Variables are given to each program beside its own, which win. It returns all errors at once, each with its
// place.
func LoadPlugins(data []byte, directory string, variables []Variable) ([]*Plugin, error) {
	var file pluginsFile
	if err := yaml.UnmarshalStrict(data, &file); err != nil {
		return nil, fmt.Errorf("it is no CredentialProviderConfig: %s", ratify.Quote(err.Error()))
	}
	switch {
	case file.Kind != "CredentialProviderConfig" || file.APIVersion != kubeletAPI:
		return nil, fmt.Errorf("it is %s of %s, and no CredentialProviderConfig of %s", ratify.Quote(file.Kind), ratify.Quote(file.APIVersion), kubeletAPI)
	case len(file.Providers) == 0:
		return nil, errors.New("providers: it is empty")
	case len(file.Providers) > maxPlugins:
		return nil, fmt.Errorf("providers: there are more than %d", maxPlugins)
	}
	var plugins []*Plugin
	var errs []error
	names := map[string]bool{}
	for i, entry := range file.Providers {
		p, problems := newPlugin(entry, directory, variables)
		if names[entry.Name] {
			problems = append(problems, fmt.Errorf("name: there is another provider %s", ratify.Quote(entry.Name)))
		}
		names[entry.Name] = true
		for _, problem := range problems {
			errs = append(errs, fmt.Errorf("providers[%d].%w", i, problem))
		}
		plugins = append(plugins, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return plugins, nil
}

func newPlugin(entry pluginEntry, directory string, variables []Variable) (*Plugin, []error) {
	var errs []error
	fail := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
	}
	p := &Plugin{}
	if entry.APIVersion != pluginAPI {
		fail("apiVersion", "expected %s, got %s", pluginAPI, ratify.Quote(entry.APIVersion))
	}
	if entry.TokenAttributes != nil {
		fail("tokenAttributes", "tokens of the pod's service account are not at hand here; use a plugin that has an identity of its own")
	}
	keep, err := time.ParseDuration(entry.DefaultCacheDuration)
	if err != nil || keep < 0 {
		fail("defaultCacheDuration", "expected a duration such as 12h")
	}
	p.defaultKeep = keep
	if len(entry.MatchImages) == 0 {
		fail("matchImages", "it is empty")
	}
	for i, image := range entry.MatchImages {
		pattern, err := keyring.ParsePattern(image)
		if err != nil {
			errs = append(errs, fmt.Errorf("matchImages[%d] %s%w", i, ratify.Quote(image), err))
		}
		p.images = append(p.images, pattern)
	}
	for i, v := range entry.Env {
		if v.Name == "" || strings.Contains(v.Name, "=") {
			fail(fmt.Sprintf("env[%d].name", i), "%s is no name of a variable", ratify.Quote(v.Name))
		}
	}
	if entry.Name == "" || entry.Name == "." || entry.Name == ".." || strings.ContainsAny(entry.Name, `/\ `) {
		fail("name", "%s is no name of a file in the directory of plugins", ratify.Quote(entry.Name))
		return p, errs
	}
	// The last one of a name counts (os/exec), and so the provider's own.
	p.program, err = newProgram("credential provider "+entry.Name, filepath.Join(directory, entry.Name), entry.Args, append(variables[:len(variables):len(variables)], entry.Env...))
	if err != nil {
		errs = append(errs, fmt.Errorf("name: %w", err))
	}
	return p, errs
}

// Name is how messages call the plugin.
func (p *Plugin) Name() string { return p.program.name }

// Match tells whether the plugin is for a repository.
func (p *Plugin) Match(host, repository string) bool {
	for _, pattern := range p.images {
		if pattern.Match(host, repository) {
			return true
		}
	}
	return false
}

// Get asks for what the plugin knows for a repository, by its name without tag and digest, as the kubelet does. An error
// is an *Error, or the context's.
func (p *Plugin) Get(ctx context.Context, host, repository string) (Answer, error) {
	request, err := json.Marshal(map[string]string{"apiVersion": pluginAPI, "kind": "CredentialProviderRequest", "image": host + "/" + repository})
	if err != nil {
		return Answer{}, err
	}
	output, code, err := p.program.run(ctx, request)
	if err != nil {
		return Answer{}, err
	}
	if code != 0 {
		return Answer{}, p.program.failed(code)
	}
	return p.parse(output)
}

// parse reads a CredentialProviderResponse. Fields that later versions may add are let be, as the kubelet lets them be.
func (p *Plugin) parse(output []byte) (Answer, error) {
	var response struct {
		APIVersion    string  `json:"apiVersion"`
		Kind          string  `json:"kind"`
		CacheKeyType  Extent  `json:"cacheKeyType"`
		CacheDuration *string `json:"cacheDuration"`
		Auth          map[string]struct {
			Username string `json:"username"`
			Password string `json:"password"`
		} `json:"auth"`
	}
	switch {
	case json.Unmarshal(output, &response) != nil, response.Kind != "CredentialProviderResponse":
		return Answer{}, p.program.fail("gave an answer that is no CredentialProviderResponse")
	case response.APIVersion != pluginAPI:
		return Answer{}, p.program.fail("gave an answer that is not of %s", pluginAPI)
	}
	answer := Answer{Extent: response.CacheKeyType, Keep: p.defaultKeep}
	switch answer.Extent {
	case ForImage, ForRegistry, ForAll:
	default:
		return Answer{}, p.program.fail("gave an answer whose cacheKeyType is none")
	}
	if response.CacheDuration != nil {
		keep, err := time.ParseDuration(*response.CacheDuration)
		if err != nil || keep < 0 {
			return Answer{}, p.program.fail("gave an answer whose cacheDuration is none")
		}
		answer.Keep = keep
	}
	auths := map[string]auth.Credential{}
	for key, entry := range response.Auth {
		auths[key] = auth.Credential{Username: entry.Username, Password: entry.Password}
	}
	ring, err := keyring.Of(auths)
	if err != nil {
		return Answer{}, p.program.fail("gave an answer whose auth is for no registry")
	}
	answer.Ring = ring
	return answer, nil
}
