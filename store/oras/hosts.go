package oras

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/keyring"
)

// Docker Hub's names: the one in references, the one that serves, the one that gives tokens.
const (
	dockerHub      = "docker.io"
	dockerRegistry = "registry-1.docker.io"
	dockerAuth     = "auth.docker.io"
)

// builtInHosts are the token servers and redirects of large public registries, as their documentation for firewalls lists
// them, so that an image there can be verified without an entry. They are reached as any other: over HTTPS, at public
// addresses, redirects without credentials.
func builtInHosts(serving string) (authHosts, redirectHosts []hostPattern) {
	switch serving {
	case dockerRegistry:
		return []hostPattern{{name: dockerAuth}}, []hostPattern{
			{name: "production.cloudflare.docker.com"},
			{name: "production.cloudfront.docker.com"},
			{name: ".r2.cloudflarestorage.com", below: true},
		}
	case "ghcr.io":
		return nil, []hostPattern{{name: "pkg-containers.githubusercontent.com"}}
	case "quay.io":
		return nil, []hostPattern{{name: "cdn.quay.io"}, {name: "cdn01.quay.io"}, {name: "cdn02.quay.io"}, {name: "cdn03.quay.io"}}
	}
	return nil, nil
}

// servingHost is the host that requests for a registry go to.
func servingHost(host string) string {
	if keyring.HubAlias(host) == dockerHub {
		return dockerRegistry
	}
	return host
}

// hostPattern is an exact host, all hosts below a domain, or all.
type hostPattern struct {
	text   string // canonical
	any    bool
	below  bool   // name begins with a dot and stands for all that end in it
	name   string // lower case
	port   string // empty: the default one of the scheme
	labels int    // how specific a domain is
}

// parseHost parses an exact host[:port] or *.domain[:port]. The parser of references decides what a host is, so that a
// pattern and a reference spell it the same way.
func parseHost(text string) (hostPattern, error) {
	host, below := strings.CutPrefix(text, "*.")
	if below {
		host = "x." + host
	}
	if strings.ContainsAny(host, "/@") {
		return hostPattern{}, fmt.Errorf("%q is no host: leave out scheme, path and user", text)
	}
	subject, err := ratify.ParseKey(host + "/x")
	if err != nil {
		return hostPattern{}, fmt.Errorf("%q is no host", text)
	}
	canonical := subject.Host()
	if canonical == dockerHub && keyring.HubAlias(strings.ToLower(host)) != dockerHub {
		return hostPattern{}, fmt.Errorf("%q is no host: without a dot it needs a port, :443 for the default one", text)
	}
	name, port := splitReference(canonical)
	if below {
		name = name[1:]
		return hostPattern{text: "*" + name + withColon(port), below: true, name: name, port: port, labels: strings.Count(name, ".")}, nil
	}
	return hostPattern{text: canonical, name: name, port: port}, nil
}

// parseRegistryHost also takes * for all registries, and gives Docker Hub its one name.
func parseRegistryHost(text string) (hostPattern, error) {
	if text == "*" {
		return hostPattern{text: "*", any: true}, nil
	}
	if text == "" {
		return hostPattern{}, errors.New(`it is empty; write host[:port], *.domain or *`)
	}
	p, err := parseHost(keyring.HubAlias(strings.ToLower(text)))
	if err != nil {
		return hostPattern{}, err
	}
	return p, nil
}

func (p hostPattern) exact() bool { return !p.any && !p.below }

// match tells whether a host falls under the pattern; port is empty where it is the default one.
func (p hostPattern) match(name, port string) bool {
	switch {
	case p.any:
		return true
	case p.port != port:
		return false
	case p.below:
		return len(name) > len(p.name) && strings.HasSuffix(name, p.name)
	default:
		return p.name == name
	}
}

// defaultPort is left out where hosts are compared, except in a URL of another scheme.
const defaultPort = "443"

// splitReference splits the host of a reference, whose port is empty where it is the default one.
func splitReference(host string) (name, port string) {
	name, port = splitPort(host)
	if port == defaultPort {
		port = ""
	}
	return name, port
}

// splitPort splits host[:port], where the host may be an IPv6 address in brackets.
func splitPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i], host[i+1:]
	}
	return host, ""
}

func withColon(port string) string {
	if port == "" {
		return ""
	}
	return ":" + port
}

// urlHost returns name and port of a URL's host in canonical form: lower case, no port where it is the scheme's own.
func urlHost(u *url.URL) (name, port string) {
	name, port = splitPort(strings.ToLower(u.Host))
	if u.Scheme == "https" && port == defaultPort || u.Scheme == "http" && port == "80" {
		port = ""
	}
	return name, port
}

// origin is the scheme and the canonical host of a URL: the same for all URLs that lead to the same server.
func origin(u *url.URL) string {
	name, port := urlHost(u)
	return u.Scheme + "://" + name + withColon(port)
}

func matchAny(patterns []hostPattern, u *url.URL) bool {
	name, port := urlHost(u)
	for _, p := range patterns {
		if p.match(name, port) {
			return true
		}
	}
	return false
}
