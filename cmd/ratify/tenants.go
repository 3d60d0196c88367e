package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
)

// addTenants adds to a generation what the files of its tenants say. A file that is not good is that tenant's problem: its
// namespace is refused everything, and no other notices.
func (p *process) addTenants(g *generation) error {
	t := g.file.Tenancy
	if t.Directory == "" {
		return nil
	}
	if err := checkDelegations(t.Delegate); err != nil {
		return err
	}
	paths, err := g.files.List(t.Directory)
	if err != nil {
		return fmt.Errorf("tenancy: directory: %w", err)
	}
	byNamespace := map[string][]string{}
	for _, path := range paths {
		if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" || ext == ".json" {
			namespace := strings.TrimSuffix(filepath.Base(path), ext)
			byNamespace[namespace] = append(byNamespace[namespace], path)
		}
	}
	g.setup.Tenancy.Invalid = map[string]string{}
	within := g.files.Within(t.Directory)
	cluster := g.setup // what a tenant sees: nothing of another's
	for _, namespace := range slices.Sorted(maps.Keys(byNamespace)) {
		verifiers, policies, err := p.makeTenant(cluster, t, namespace, byNamespace[namespace], within)
		if err != nil {
			g.setup.Tenancy.Invalid[namespace] = "see the log, or run ratify check"
			for _, line := range linesOf(err) {
				g.tenantErrors = append(g.tenantErrors, byNamespace[namespace][0]+": "+line)
			}
			continue
		}
		g.setup.Verifiers = slices.Concat(g.setup.Verifiers, verifiers)
		g.setup.Policies = slices.Concat(g.setup.Policies, policies)
	}
	return nil
}

// makeTenant returns the verifiers and policies of one tenant, of which an engine can be made beside the cluster's. A panic
// is an error: what parses certificates was written by others, and one tenant's must not keep the process from starting.
func (p *process) makeTenant(cluster ratify.Setup, t config.Tenancy, namespace string, paths []string, set *files.Set) (verifiers []ratify.NamedVerifier, policies []ratify.Policy, err error) {
	defer func() {
		if value := recover(); value != nil {
			p.onPanic(ratify.NewTraceID(), value, debug.Stack())
			err = fmt.Errorf("panic: %v", value)
		}
	}()
	if err := ratify.CheckNamespace(namespace); err != nil {
		return nil, nil, fmt.Errorf("the name of the file: %w", err)
	}
	if len(paths) > 1 {
		return nil, nil, fmt.Errorf("there is another file for the same namespace, %s", paths[1])
	}
	data, err := set.Read(paths[0])
	if err != nil {
		return nil, nil, err
	}
	tenant, err := config.ParseTenant(data)
	if err != nil {
		return nil, nil, err
	}
	verifiers, err = p.makeVerifiers(tenant.Verifiers, set)
	if err := errors.Join(err, checkNamed(tenant), checkDelegated(t.Delegate, namespace, tenant.Policies), checkOperatorsAlone(tenant, verifiers)); err != nil {
		return nil, nil, err
	}
	verifiers, policies = own(namespace, verifiers, tenant.Policies)
	// The tenant's come first, so that an error has the place that they have in their file.
	cluster.Verifiers, cluster.Policies = slices.Concat(verifiers, cluster.Verifiers), slices.Concat(policies, cluster.Policies)
	_, err = ratify.NewEngine(cluster)
	return verifiers, policies, err
}

// own makes the names of a tenant's verifiers and policies its own, and its policies for itself alone.
func own(namespace string, verifiers []ratify.NamedVerifier, policies []ratify.Policy) ([]ratify.NamedVerifier, []ratify.Policy) {
	r := renamer{namespace: namespace, names: map[string]bool{}}
	for _, v := range verifiers {
		r.names[v.Name] = true
	}
	for i, v := range verifiers {
		verifiers[i].Name, verifiers[i].SignedBy = r.name(v.Name), r.all(v.SignedBy)
	}
	for i, policy := range policies {
		policies[i].Name, policies[i].Namespaces = namespace+"/"+policy.Name, []string{namespace}
		policies[i].Verifiers, policies[i].Require = r.all(policy.Verifiers), r.tree(policy.Require)
	}
	return verifiers, policies
}

// checkNamed makes sure that what gets a name before its own has one.
func checkNamed(tenant *config.Tenant) error {
	var errs []error
	for i, v := range tenant.Verifiers {
		if v.Name == "" {
			errs = append(errs, fmt.Errorf("%s: name: it has none", placeOf("verifiers", i, v.Module)))
		}
	}
	for i, p := range tenant.Policies {
		if p.Name == "" {
			errs = append(errs, fmt.Errorf("%s: name: it has none", placeOf("policies", i, config.Module{})))
		}
	}
	return errors.Join(errs...)
}

// checkOperatorsAlone refuses what a tenant must not do even where repositories are delegated to it: whom it trusts is its
// own matter, that something is verified is not, nor is where this program's requests go.
func checkOperatorsAlone(tenant *config.Tenant, verifiers []ratify.NamedVerifier) error {
	var errs []error
	for i, v := range verifiers {
		if open, ok := v.Verifier.(interface{ OperatorsAlone() []string }); ok {
			for _, what := range open.OperatorsAlone() {
				errs = append(errs, fmt.Errorf("%s: %s; that is for the cluster's configuration alone", placeOf("verifiers", i, tenant.Verifiers[i].Module), what))
			}
		}
	}
	for i, policy := range tenant.Policies {
		if policy.Mode == ratify.ModeAudit {
			errs = append(errs, fmt.Errorf("%s: mode: audit admits what is not verified; that is for the cluster's configuration alone", placeOf("policies", i, config.Module{Name: policy.Name})))
		}
		if policy.LastKnownGood != 0 {
			errs = append(errs, fmt.Errorf("%s: lastKnownGood: it admits what cannot be verified now; that is for the cluster's configuration alone", placeOf("policies", i, config.Module{Name: policy.Name})))
		}
	}
	return errors.Join(errs...)
}

// checkDelegations makes sure that what is delegated is well formed: a scope that holds nothing delegates nothing.
func checkDelegations(delegations []config.Delegation) error {
	var errs []error
	for i, d := range delegations {
		for _, pattern := range d.Namespaces {
			if err := ratify.CheckNamespacePattern(pattern); err != nil {
				errs = append(errs, fmt.Errorf("tenancy: delegate[%d]: namespaces: %w", i, err))
			}
		}
		for _, scope := range d.Scopes {
			if err := ratify.CheckScope(scope); err != nil {
				errs = append(errs, fmt.Errorf("tenancy: delegate[%d]: scopes: %w", i, err))
			}
		}
	}
	return errors.Join(errs...)
}

// checkDelegated makes sure that a tenant's policies are for repositories that are delegated to it.
func checkDelegated(delegations []config.Delegation, namespace string, policies []ratify.Policy) error {
	var errs []error
	for i, policy := range policies {
		for _, scope := range policy.Scopes {
			covers := func(d config.Delegation) bool {
				return slices.ContainsFunc(d.Namespaces, func(pattern string) bool { return ratify.MatchNamespace(pattern, namespace) }) &&
					slices.ContainsFunc(d.Scopes, func(outer string) bool { return ratify.ScopeWithin(scope, outer) })
			}
			if !slices.ContainsFunc(delegations, covers) {
				errs = append(errs, fmt.Errorf("%s: scopes: %s is not delegated to the namespace %s by the cluster's configuration (tenancy.delegate)",
					placeOf("policies", i, config.Module{Name: policy.Name}), ratify.Quote(scope), ratify.Quote(namespace)))
			}
		}
	}
	return errors.Join(errs...)
}

// A renamer gives a tenant's own verifiers names that are no other's. The cluster's keep theirs.
type renamer struct {
	namespace string
	names     map[string]bool
}

func (r renamer) name(name string) string {
	if r.names[name] {
		return r.namespace + "/" + name
	}
	return name
}

func (r renamer) all(names []string) []string {
	var renamed []string
	for _, name := range names {
		renamed = append(renamed, r.name(name))
	}
	return renamed
}

func (r renamer) tree(t ratify.Require) ratify.Require {
	if t.Verifier != "" {
		t.Verifier = r.name(t.Verifier)
	}
	t.Of = slices.Clone(t.Of)
	for i := range t.Of {
		t.Of[i] = r.tree(t.Of[i])
	}
	return t
}
