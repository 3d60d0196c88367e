package keyring

import (
	"errors"
	"net/netip"
	"path"
	"strings"
)

// defaultPort is left out where hosts are compared.
const defaultPort = "443"

// A Pattern is host[:port][/path], where the host may have the wildcards of path.Match; the kubelet's are the same. A
// wildcard stands for no dot, ports are equal, and the path is a prefix by whole components: the kubelet's ends in mid
// component, so that a credential for acme is one for acme-evil, too.
type Pattern struct{ text string }

// ParsePattern reads a pattern; its errors are continuations of its place.
func ParsePattern(text string) (Pattern, error) {
	key := dockerKey(text)
	if key == "" || strings.HasPrefix(key, "/") {
		return Pattern{}, errors.New(": it names no host")
	}
	_, err := parsePattern(key)
	return Pattern{key}, err
}

// Match tells whether the pattern is for a repository.
func (p Pattern) Match(host, repository string) bool {
	return match(p.text, dockerHost(host), repository)
}

// String is the pattern in its canonical form.
func (p Pattern) String() string { return p.text }

// parsePattern tells whether a key has wildcards, and what is wrong with them.
func parsePattern(key string) (glob bool, err error) {
	host, prefix, _ := strings.Cut(key, "/")
	glob, err = isGlob(host)
	switch {
	case err != nil:
		return false, err
	case strings.Contains(prefix, "*"):
		return false, errors.New(": a path has no wildcards; it is for all repositories below it as it is")
	}
	return glob, nil
}

// isGlob tells whether a host has wildcards.
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

// match tells whether a key, with or without wildcards in its host, is for a repository.
func match(key, host, repository string) bool {
	pattern, prefix, _ := strings.Cut(key, "/")
	if prefix != "" && !strings.HasPrefix(repository+"/", prefix+"/") {
		return false
	}
	if pattern == host {
		return true // an IPv6 address is no pattern
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

// splitPort splits host[:port], where the host may be an IPv6 address in brackets.
func splitPort(host string) (name, port string) {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i], host[i+1:]
	}
	return host, ""
}

// HubAlias gives all names of Docker Hub the one that references have.
func HubAlias(host string) string {
	switch host {
	case "registry-1.docker.io", "index.docker.io":
		return "docker.io"
	}
	return host
}
