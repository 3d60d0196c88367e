package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/spf13/cobra"
)

const (
	// configVariable is the environment variable that names the configuration file where no flag does.
	configVariable = "RATIFY_CONFIG"
	// defaultTimeout is for one image on a slow line; a webhook would have given up long before.
	defaultTimeout = 30 * time.Second
	// commandLine is the place that errors name for what flags have said.
	commandLine = "command line"
)

// A source is what the flags of a command say about where images are read and whom is trusted.
type source struct {
	config, ociLayout, caFile, dockerConfig string
	authHosts, redirectHosts                []string
	plainHTTP                               bool
	timeout                                 time.Duration
	trust                                   trustFlags
	// namespace is the tenant for which is asked.
	namespace string
	// tellsSources is for a command that says of every source of credentials what became of it.
	tellsSources bool
}

func (s *source) addFlags(command *cobra.Command, withTrust bool) {
	flags := command.Flags()
	flags.StringVarP(&s.config, "config", "c", "", "configuration `file`, the same as the server's (default $"+configVariable+")")
	flags.StringVar(&s.ociLayout, "oci-layout", "", "read from the OCI image layout in `directory` instead of a registry")
	flags.StringVar(&s.caFile, "ca-file", "", "PEM `file` of the CA of the registry's certificate, beside the system's")
	flags.StringVar(&s.dockerConfig, "docker-config", "", "`file` with credentials, in docker's form (default $DOCKER_CONFIG/config.json or ~/.docker/config.json)")
	flags.BoolVar(&s.plainHTTP, "plain-http", false, "speak HTTP to the registry, without TLS")
	flags.StringSliceVar(&s.authHosts, "auth-host", nil, "`host` beside the registry's own that may ask for its credentials (a token server)")
	flags.StringSliceVar(&s.redirectHosts, "redirect-host", nil, "`host` beside the registry's own that it may send readers to (a blob store); *.domain is allowed")
	flags.DurationVar(&s.timeout, "timeout", defaultTimeout, "how long one image may take")
	if withTrust {
		s.trust.add(command)
	}
	mustComplete(command.MarkFlagFilename("config", "yaml", "yml", "json"))
	mustComplete(command.MarkFlagFilename("ca-file", "pem", "crt", "cer"))
	mustComplete(command.MarkFlagFilename("docker-config", "json"))
	mustComplete(command.MarkFlagDirname("oci-layout"))
}

// addNamespaceFlag is for commands that ask as the server is asked about a tenant's image.
func (s *source) addNamespaceFlag(command *cobra.Command) {
	command.Flags().StringVarP(&s.namespace, "namespace", "n", "", "ask for the `namespace`, where the configuration has tenants; [namespace]image says the same")
	mustComplete(command.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions))
}

// given is a flag, and whether it was given.
type given struct {
	name string
	set  bool
}

func givenOf(flags []given) (names []string) {
	for _, f := range flags {
		if f.set {
			names = append(names, f.name)
		}
	}
	return names
}

// registryFlags are the flags that stand for a store's settings, as they were given.
func (s *source) registryFlags() []string {
	return givenOf([]given{
		{"--auth-host", s.authHosts != nil}, {"--ca-file", s.caFile != ""}, {"--docker-config", s.dockerConfig != ""},
		{"--plain-http", s.plainHTTP}, {"--redirect-host", s.redirectHosts != nil},
	})
}

// check refuses flags of which one would have no effect: on a question of trust nothing may be dropped in silence.
func (s *source) check() error {
	registry := s.registryFlags()
	instead := slices.Concat(registry, s.trust.given())
	switch {
	case s.timeout <= 0:
		return usage("", "--timeout: expected a positive duration such as 30s, got %s", s.timeout)
	case s.ociLayout != "" && len(registry) > 0:
		return usage("a layout on disk needs no registry", "--oci-layout and %s exclude each other", strings.Join(registry, ", "))
	case s.config != "" && len(instead) > 0:
		return usage("say it in the configuration, or leave --config out", "--config and %s exclude each other", strings.Join(instead, ", "))
	case s.namespace != "":
		if err := ratify.CheckNamespace(s.namespace); err != nil {
			return usage("", "--namespace: %s", err)
		}
	}
	return s.trust.check()
}

// configPath is the configuration file that is meant, or "". Flags that stand for a configuration win over the
// environment.
func (s *source) configPath() string {
	if s.config != "" || len(s.trust.given()) > 0 || len(s.registryFlags()) > 0 {
		return s.config
	}
	return os.Getenv(configVariable)
}

// load makes the generation that the flags mean for the subjects.
func (a *app) load(ctx context.Context, s *source, subjects []ratify.Subject) (*generation, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	g, err := a.generationOf(ctx, s, subjects)
	if err == nil && s.namespace != "" && g.setup.Tenancy == nil {
		return nil, usage("name a configuration whose tenancy is enabled, or leave --namespace out", "--namespace has no effect: there are no tenants")
	}
	return g, err
}

func (a *app) generationOf(ctx context.Context, s *source, subjects []ratify.Subject) (*generation, error) {
	p := a.process()
	set := &files.Set{}
	path := s.configPath()
	file := &config.File{}
	if path != "" {
		g, err := p.build(path)
		if err != nil {
			return nil, prefixEach(path, err)
		}
		if s.ociLayout == "" {
			return g, nil
		}
		file, set = g.file, g.files
	}
	file.Stores = []config.Store{a.storeOf(ctx, s, subjects)}
	if path == "" {
		a.byFlags = true
		s.trust.enter(file)
	}
	return p.assemble(file, nil, set)
}

// loadAsked is load for one image, which may be a tenant's.
func (a *app) loadAsked(ctx context.Context, s *source, image string) (ratify.Subject, *generation, error) {
	g, err := a.load(ctx, s, goodSubjects(parseKeys([]string{image}, ratify.ParseKey)))
	if err != nil {
		return ratify.Subject{}, nil, err
	}
	subject, err := s.parser(g.engine)(image)
	return subject, g, err
}

// checkTenant refuses a question that names no tenant where there are some: the server answers it for mutation alone, and
// a verdict by the cluster's policy is no pod's.
func (g *generation) checkTenant(subjects ...ratify.Subject) error {
	if g.setup.Tenancy == nil {
		return nil
	}
	for _, s := range subjects {
		if s.Namespace == "" {
			return usage("", "the configuration has tenants: name one with --namespace, or write [namespace]IMAGE: %s", plain(s.String()))
		}
	}
	return nil
}

// parser parses images as a server with the engine does, for the namespace that the flag names.
func (s *source) parser(engine *ratify.Engine) func(image string) (ratify.Subject, error) {
	return func(image string) (ratify.Subject, error) {
		subject, err := engine.ParseKey(image)
		switch {
		case err != nil || s.namespace == "":
			return subject, err
		case subject.Namespace != "" && subject.Namespace != s.namespace:
			return ratify.Subject{}, &ratify.Error{Code: ratify.BadReference,
				Message: "the image reference " + ratify.Quote(image) + " is for another namespace than --namespace " + s.namespace, Remedy: "leave one of both out"}
		}
		subject.Namespace = s.namespace
		return subject, nil
	}
}

// storeOf is the store that the flags describe. The hosts that the user typed may be on private addresses: a person who
// names a host means it, unlike a pod's creator.
func (a *app) storeOf(ctx context.Context, s *source, subjects []ratify.Subject) config.Store {
	m := config.Store{Module: config.Module{Name: commandLine}, Scopes: []string{"*"}}
	if s.ociLayout != "" {
		m.Type, m.Settings = "ocilayout", config.NewSettings(commandLine, map[string]any{"path": s.ociLayout})
		return m
	}
	dockerConfig := s.dockerConfig
	if dockerConfig == "" {
		dockerConfig = oras.DefaultDockerConfig()
	}
	registries := []map[string]any{}
	for _, host := range hostsOf(subjects) {
		r := s.registry(host)
		credentials, use := credentialsFor(ctx, dockerConfig, host, repositoriesOf(subjects, host))
		if use != nil {
			a.helpers = append(a.helpers, *use)
		}
		if use != nil && use.Use == oras.Failed && !s.tellsSources {
			fmt.Fprintf(a.err, "warning: %s gave nothing for %s: %s\n", use.Source, plain(host), use.Why)
		}
		if credentials != nil {
			r["credentials"] = credentials
		}
		registries = append(registries, r)
	}
	m.Type, m.Settings = "oras", config.NewSettings(commandLine, map[string]any{"registries": registries})
	return m
}

// registry is the entry of one host, as a configuration would have it, without credentials. Unlike a server, a person's
// program takes the proxy of the environment.
func (s *source) registry(host string) map[string]any {
	r := map[string]any{"host": host, "allowPrivate": true}
	scheme := "https"
	if s.plainHTTP {
		r["plainHTTP"], scheme = true, "http"
	}
	if s.caFile != "" {
		r["caFile"] = s.caFile
	}
	if s.authHosts != nil {
		r["authHosts"] = s.authHosts
	}
	if s.redirectHosts != nil {
		r["redirectHosts"] = s.redirectHosts
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: host}})
	if err != nil || proxy == nil {
		return r
	}
	r["proxy"] = proxy.String()
	exceptions := strings.FieldsFunc(cmp.Or(os.Getenv("NO_PROXY"), os.Getenv("no_proxy")), func(c rune) bool { return c == ',' || c == ' ' })
	if len(exceptions) > 0 {
		r["noProxy"] = exceptions
	}
	return r
}

// remedy adds to a remedy, which names settings of a configuration, the flags that stand for them where there is none.
func (a *app) remedy(text string) string {
	if !a.byFlags {
		return text
	}
	var flags []string
	for _, stand := range []struct{ words, flag string }{
		{"plainHTTP", "--plain-http"}, {"caFile", "--ca-file"}, {"credentials", "--docker-config"},
		{"authHosts", "--auth-host"}, {"redirectHosts", "--redirect-host"}, {"trust store ca:", "--notation-cert"},
		{"to keys", "--cosign-key"}, {" identities", "--certificate-identity"}, {"trusted root", "--trusted-root"}, {"trustedRoot", "--trusted-root"},
	} {
		if strings.Contains(text, stand.words) {
			flags = append(flags, stand.flag)
		}
	}
	if flags == nil {
		return text
	}
	return fmt.Sprintf("%s (on this command line: %s)", text, strings.Join(flags, ", "))
}

func hostsOf(subjects []ratify.Subject) []string {
	var hosts []string
	for _, s := range subjects {
		hosts = append(hosts, s.Host())
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// repositoriesOf are the repositories of a host, without it.
func repositoriesOf(subjects []ratify.Subject, host string) []string {
	var repositories []string
	for _, s := range subjects {
		if repository, ok := strings.CutPrefix(s.Repository, host+"/"); ok {
			repositories = append(repositories, repository)
		}
	}
	return repositories
}
