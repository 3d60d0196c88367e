package ratify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Tenancy says what is to be had of tenants: namespaces whose images are verified by policies of their own.
type Tenancy struct {
	// RefuseWithoutPolicy refuses a tenant's image where no policy of its own applies; otherwise the cluster's decide.
	RefuseWithoutPolicy bool
	// Invalid are the namespaces whose own policies could not be loaded, with the reason. They are refused everything: what
	// those policies forbid is not known.
	Invalid map[string]string
}

// maxNamespaceBytes is the longest label of RFC 1123, which a namespace is.
const maxNamespaceBytes = 63

// ParseTenantKey is ParseKey where tenancy is on: [namespace]reference is the reference asked about for that tenant, and one
// without a prefix is the cluster's.
func ParseTenantKey(key string) (Subject, error) {
	namespace, reference, ok := strings.Cut(key, "]")
	namespace, prefixed := strings.CutPrefix(namespace, "[")
	if !ok || !prefixed || strings.Contains(namespace, ":") { // an IPv6 address is in brackets, too
		return ParseKey(key)
	}
	if err := CheckNamespace(namespace); err != nil {
		return Subject{}, badReference(key, err.Error())
	}
	s, err := ParseKey(reference)
	if err != nil {
		return Subject{}, err
	}
	s.Namespace = namespace
	return s, nil
}

// CheckNamespace tells what keeps a text from being the name of a namespace (RFC 1123, label).
func CheckNamespace(name string) error {
	switch {
	case name == "":
		return errors.New("its namespace is empty")
	case len(name) > maxNamespaceBytes, strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "", name[0] == '-', name[len(name)-1] == '-':
		return fmt.Errorf("%s is not the name of a namespace", Quote(name))
	}
	return nil
}

// CheckNamespacePattern accepts a namespace, prefix* and *.
func CheckNamespacePattern(pattern string) error {
	name, open := strings.CutSuffix(pattern, "*")
	if open {
		name += "x"
	}
	if CheckNamespace(name) != nil {
		return fmt.Errorf("expected a namespace, prefix* or *, got %s", Quote(pattern))
	}
	return nil
}

// MatchNamespace tells whether a pattern holds a tenant; none holds the cluster.
func MatchNamespace(pattern, namespace string) bool {
	if prefix, open := strings.CutSuffix(pattern, "*"); open {
		return namespace != "" && strings.HasPrefix(namespace, prefix)
	}
	return pattern == namespace && namespace != ""
}

// A policyTable finds the policy of a subject: of the most specific of namespace, then scope.
type policyTable struct {
	cluster scopeTable[*boundPolicy]
	tenants []tenantPolicies // the most specific first: exact names, then prefixes from the longest to the shortest
}

type tenantPolicies struct {
	pattern  string
	policies scopeTable[*boundPolicy]
}

// add enters a policy under its namespaces and scopes. place is for errors.
func (t *policyTable) add(place string, p Policy, bound *boundPolicy, tenancy bool) (errs []error) {
	if len(p.Namespaces) == 0 {
		return t.cluster.add(place, p.Scopes, bound)
	}
	if !tenancy {
		errs = append(errs, fmt.Errorf("%s: namespaces: they have no effect without tenancy", place))
	}
	for _, pattern := range p.Namespaces {
		if err := CheckNamespacePattern(pattern); err != nil {
			errs = append(errs, fmt.Errorf("%s: namespaces: %w", place, err))
			continue
		}
		errs = append(errs, t.tenant(pattern).add(place, p.Scopes, bound)...)
	}
	return errs
}

// tenant returns the table of a pattern, which it makes where there is none.
func (t *policyTable) tenant(pattern string) *scopeTable[*boundPolicy] {
	at, found := slices.BinarySearchFunc(t.tenants, pattern, func(p tenantPolicies, pattern string) int {
		return compareNamespacePatterns(p.pattern, pattern)
	})
	if !found {
		t.tenants = slices.Insert(t.tenants, at, tenantPolicies{pattern: pattern})
	}
	return &t.tenants[at].policies
}

// compareNamespacePatterns orders the most specific first.
func compareNamespacePatterns(a, b string) int {
	aOpen, bOpen := strings.HasSuffix(a, "*"), strings.HasSuffix(b, "*")
	switch {
	case aOpen != bOpen && aOpen:
		return 1
	case aOpen != bOpen:
		return -1
	case aOpen && len(a) != len(b):
		return len(b) - len(a)
	default:
		return strings.Compare(a, b)
	}
}

// find returns the policy of a subject.
func (t *policyTable) find(s Subject, refuseWithoutPolicy bool) (*boundPolicy, bool) {
	if s.Namespace != "" {
		for i := range t.tenants {
			if MatchNamespace(t.tenants[i].pattern, s.Namespace) {
				if p, ok := t.tenants[i].policies.find(s.Repository); ok {
					return p, true
				}
			}
		}
		if refuseWithoutPolicy {
			return nil, false
		}
	}
	return t.cluster.find(s.Repository)
}

// policyFor returns the policy of a subject, which goes by the name it is verified under. Errors are *Error.
func (e *Engine) policyFor(s Subject) (*boundPolicy, error) {
	if e.tenancy != nil {
		if why, invalid := e.tenancy.Invalid[s.Namespace]; invalid {
			return nil, &Error{Code: TenantInvalid, Message: fmt.Sprintf("the policies of the namespace %s could not be loaded: %s", Quote(s.Namespace), Truncate(why))}
		}
	}
	if p, ok := e.policies.find(s, e.tenancy != nil && e.tenancy.RefuseWithoutPolicy); ok {
		return p, nil
	}
	message := "no policy applies to " + Quote(s.Repository)
	if s.Namespace != "" {
		message += " in the namespace " + Quote(s.Namespace)
	}
	return nil, &Error{Code: NoPolicy, Message: message}
}

// ParseKey parses a key as this engine's tenancy has it. Errors are *Error with the code BAD_REFERENCE.
func (e *Engine) ParseKey(key string) (Subject, error) {
	if e.tenancy != nil {
		return ParseTenantKey(key)
	}
	return ParseKey(key)
}

// ScopeWithin tells whether every repository of the inner scope is one of the outer's. Scopes that are malformed hold
// nothing.
func ScopeWithin(inner, outer string) bool {
	i, err := parseScope(inner)
	if err != nil {
		return false
	}
	o, err := parseScope(outer)
	if err != nil {
		return false
	}
	switch {
	case o.kind == scopeAll:
		return true
	case i.kind == scopeAll:
		return false
	case i.kind == scopeDomain:
		return o.kind == scopeDomain && strings.HasSuffix(i.prefix, o.prefix)
	case i.kind == scopeBelow:
		return o.kind != scopeExact && o.holds(i.prefix+"any")
	default:
		return o.holds(i.prefix)
	}
}
