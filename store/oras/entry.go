package oras

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// entry is a Registry made ready.
type entry struct {
	pattern       hostPattern
	class         string
	plainHTTP     bool
	allowPrivate  bool
	authHosts     []hostPattern
	redirectHosts []hostPattern
	sources       []*source
	client        *client
}

// newEntry checks a Registry; its errors begin with place.
func newEntry(place string, r Registry, deps Deps) (*entry, error) {
	var errs []error
	fail := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", place, field, err))
		}
	}
	pattern, err := parseRegistryHost(r.Host)
	fail("host", err)
	e := &entry{pattern: pattern, class: pattern.text, plainHTTP: r.PlainHTTP, allowPrivate: r.AllowPrivate}
	e.authHosts = parseHosts("authHosts", r.AuthHosts, fail)
	e.redirectHosts = parseHosts("redirectHosts", r.RedirectHosts, fail)
	e.sources, err = newSources(r.Credentials, pattern, deps)
	if err != nil {
		errs = append(errs, prefixed(place+".", err)...)
	}
	settings := clientSettings{allowPrivate: r.AllowPrivate, noProxy: strings.Join(r.NoProxy, ",")}
	if r.CAFile != "" {
		settings.caPEM, err = deps.Files.Read(r.CAFile)
		fail("caFile", err)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(settings.caPEM) {
			fail("caFile", fmt.Errorf("%s holds no PEM certificate", r.CAFile))
		}
	}
	settings.proxy, err = parseProxy(r.Proxy)
	fail("proxy", err)
	if r.Proxy == "" && len(r.NoProxy) > 0 {
		fail("noProxy", errors.New("it has no effect without proxy"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	e.client, err = deps.Pool.client(settings)
	fail("caFile", err)
	return e, errors.Join(errs...)
}

// prefixed puts the place before each of several errors.
func prefixed(place string, err error) (errs []error) {
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, errors.New(place+strings.TrimRight(line, "\n")))
	}
	return errs
}

func parseHosts(field string, texts []string, fail func(string, error)) []hostPattern {
	patterns := make([]hostPattern, 0, len(texts))
	for i, text := range texts {
		p, err := parseHost(text)
		fail(fmt.Sprintf("%s[%d]", field, i), err)
		patterns = append(patterns, p)
	}
	return patterns
}

func parseProxy(proxy Secret) (*url.URL, error) {
	if proxy == "" {
		return nil, nil
	}
	u, err := url.Parse(string(proxy))
	// The text may hold a password, and so may an error about it.
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("it is no URL of the form http://host:port or https://host:port")
	}
	return u, nil
}

func refuseTies(entries []*entry) error {
	var errs []error
	first := map[string]bool{}
	for _, e := range entries {
		if first[e.pattern.text] {
			errs = append(errs, fmt.Errorf("registries: two entries have the host %q", e.pattern.text))
		}
		first[e.pattern.text] = true
	}
	return errors.Join(errs...)
}

// bySpecificity sorts exact hosts first, then domains from the longest to the shortest, then *. Two patterns of one rank
// that match the same host are the same pattern, which refuseTies refuses.
func bySpecificity(entries []*entry) []*entry {
	rank := func(p hostPattern) int {
		switch {
		case p.exact():
			return 1 << 16
		case p.below:
			return p.labels
		default:
			return -1
		}
	}
	slices.SortStableFunc(entries, func(a, b *entry) int { return rank(b.pattern) - rank(a.pattern) })
	return entries
}

func (e *entry) scheme() string {
	if e.plainHTTP {
		return "http"
	}
	return "https"
}

// origin is where requests for a registry go.
func (e *entry) origin(host string) string {
	return origin(&url.URL{Scheme: e.scheme(), Host: servingHost(host)})
}
