package ratify

import (
	"fmt"
	"strings"
)

// A scope names a set of repositories:
//
//	host/repo      this repository
//	host/path/*    every repository below host/path, by whole components
//	host/*         every repository of the host
//	*.domain/*     every repository of every host below the domain
//	*              everything
//
// The most specific scope that holds a repository wins, in the order of this list and, within a line, the longer one.
type scope struct {
	text   string
	kind   scopeKind
	prefix string // what the name, or for subdomains the host, must be, begin with, or end with
}

type scopeKind int

const (
	scopeAll scopeKind = iota
	scopeDomain
	scopeBelow
	scopeExact
)

// CheckScope tells what keeps a text from being a scope.
func CheckScope(text string) error {
	_, err := parseScope(text)
	return err
}

// parseScope accepts the forms above, in their canonical spelling, and nothing else.
func parseScope(text string) (scope, error) {
	if text == "*" {
		return scope{text: text}, nil
	}
	if domain, ok := strings.CutPrefix(text, "*."); ok {
		domain, rest, _ := strings.Cut(domain, "/")
		if rest != "*" {
			return scope{}, fmt.Errorf("scope %s: after a *.domain only /* may follow", Quote(text))
		}
		if err := canonicalScope("any.", domain, "/any"); err != nil {
			return scope{}, fmt.Errorf("scope %s: %w", Quote(text), err)
		}
		return scope{text, scopeDomain, "." + domain}, nil
	}
	if below, ok := strings.CutSuffix(text, "/*"); ok {
		// Two components, for docker.io/any and docker.io/acme alone are short for others below docker.io/library.
		if err := canonicalScope("", below, "/any/any"); err != nil {
			return scope{}, fmt.Errorf("scope %s: %w", Quote(text), err)
		}
		return scope{text, scopeBelow, below + "/"}, nil
	}
	if err := canonicalScope("", text, ""); err != nil {
		return scope{}, fmt.Errorf("scope %s: %w", Quote(text), err)
	}
	return scope{text, scopeExact, text}, nil
}

// canonicalScope makes sure that a scope is spelled as the names it is compared with, or it would hold nothing. before and
// after stand for what its * may stand for.
func canonicalScope(before, text, after string) error {
	name := before + text + after
	if strings.Contains(name, "*") {
		return fmt.Errorf("a * may only stand for the whole, as the first label of a host (*.example.com/*), or as the last component (host/path/*)")
	}
	s, err := ParseKey(name)
	host, _, below := strings.Cut(name, "/")
	switch {
	case !below && strings.ContainsAny(host, ".:"):
		return fmt.Errorf("expected host/repository; for the whole host write %s", Quote(host+"/*"))
	case err != nil, s.Tag != "latest", s.Digest != "", strings.HasSuffix(name, ":latest"):
		return fmt.Errorf("expected host/repository, without tag and digest")
	case s.Repository != name:
		canonical := strings.TrimSuffix(strings.TrimPrefix(s.Repository, before), after)
		if before != "" {
			canonical = "*." + canonical
		}
		if after != "" {
			canonical += "/*"
		}
		return fmt.Errorf("expected the canonical name, %s", Quote(canonical))
	}
	return nil
}

func (s scope) holds(repository string) bool {
	switch s.kind {
	case scopeExact:
		return repository == s.prefix
	case scopeBelow:
		return strings.HasPrefix(repository, s.prefix)
	case scopeDomain:
		host, _, _ := strings.Cut(repository, "/")
		return strings.HasSuffix(host, s.prefix)
	default:
		return true
	}
}

// scopeTable finds what belongs to the most specific scope, by asking for each that could hold a repository: that takes as
// long whether there is one scope or a thousand.
type scopeTable[T any] struct {
	values map[scopeKey]T
	owners map[string]string // scope to who has it
}

type scopeKey struct {
	kind   scopeKind
	prefix string
}

// add enters a value under each of its scopes. owner is for the error that two of one scope are.
func (t *scopeTable[T]) add(owner string, scopes []string, value T) (errs []error) {
	if t.values == nil {
		t.values, t.owners = map[scopeKey]T{}, map[string]string{}
	}
	if len(scopes) == 0 {
		return []error{fmt.Errorf("%s: scopes: there is none, so it would never be used", owner)}
	}
	for _, text := range scopes {
		s, err := parseScope(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", owner, err))
			continue
		}
		if first, taken := t.owners[text]; taken {
			errs = append(errs, fmt.Errorf("%s: scope %s is already the scope of %s; which of them wins must not be left to chance", owner, Quote(text), first))
			continue
		}
		t.owners[text] = owner
		t.values[scopeKey{s.kind, s.prefix}] = value
	}
	return errs
}

func (t *scopeTable[T]) find(repository string) (value T, ok bool) {
	if len(t.values) == 0 {
		return value, false
	}
	if value, ok = t.values[scopeKey{scopeExact, repository}]; ok {
		return value, true
	}
	for end := strings.LastIndexByte(repository, '/'); end >= 0; end = strings.LastIndexByte(repository[:end], '/') {
		if value, ok = t.values[scopeKey{scopeBelow, repository[:end+1]}]; ok {
			return value, true
		}
	}
	host, _, _ := strings.Cut(repository, "/")
	for i := range len(host) {
		if host[i] != '.' {
			continue
		}
		if value, ok = t.values[scopeKey{scopeDomain, host[i:]}]; ok {
			return value, true
		}
	}
	value, ok = t.values[scopeKey{kind: scopeAll}]
	return value, ok
}
