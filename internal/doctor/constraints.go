package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify"
)

// A Template is a ConstraintTemplate that the program comes with.
type Template struct {
	Version, Rego string
	// Tenancy tells that it asks for images by namespace.
	Tenancy bool
}

// versionAnnotation is where a template says its version, as Gatekeeper's library has it.
const versionAnnotation = "metadata.gatekeeper.sh/version"

// A constraintTemplate is what matters of one.
type constraintTemplate struct {
	Metadata metadata
	Spec     struct {
		CRD struct {
			Spec struct{ Names struct{ Kind string } }
		}
		Targets []struct {
			Rego string
			Code []struct {
				Engine string
				Source struct{ Rego string }
			}
		}
	}
	Status *struct{ ByPod []podStatus }
}

// A podStatus is what one pod of Gatekeeper's makes of an object.
type podStatus struct {
	ID       string
	Enforced *bool
	Active   *bool
	Errors   []struct{ Code, Type, Message string }
}

// trouble is what the pods complain about.
func trouble(pods []podStatus) (list []string) {
	for _, p := range pods {
		for _, e := range p.Errors {
			list = append(list, ratify.Truncate(strings.TrimSpace(e.Code+e.Type+": "+e.Message)))
		}
		if p.Enforced != nil && !*p.Enforced && len(p.Errors) == 0 {
			list = append(list, "it is not enforced by "+ratify.Truncate(p.ID))
		}
		if p.Active != nil && !*p.Active && len(p.Errors) == 0 {
			list = append(list, "it is not active in "+ratify.Truncate(p.ID))
		}
	}
	return sorted(list)
}

func (t constraintTemplate) ours() bool { return t.Spec.CRD.Spec.Names.Kind == kindConstraint }

// rego is the text of a template of one target in one language, and "" of another one.
func (t *constraintTemplate) rego() string {
	if len(t.Spec.Targets) != 1 {
		return ""
	}
	target := t.Spec.Targets[0]
	for _, code := range target.Code {
		if code.Engine == "Rego" && len(target.Code) == 1 && target.Rego == "" {
			return strings.TrimSpace(code.Source.Rego)
		}
	}
	if len(target.Code) > 0 {
		return ""
	}
	return strings.TrimSpace(target.Rego)
}

// ParseTemplate reads a ConstraintTemplate in YAML.
func ParseTemplate(manifest []byte) (Template, error) {
	var t constraintTemplate
	if err := yaml.Unmarshal(manifest, &t); err != nil {
		return Template{}, fmt.Errorf("decode a template: %w", err)
	}
	p := Template{Version: t.Metadata.Annotations[versionAnnotation], Rego: t.rego()}
	if p.Version == "" || p.Rego == "" {
		return Template{}, errors.New("decode a template: it has no version, or no Rego")
	}
	p.Tenancy = !regexp.MustCompile(`(?m)^key_prefix = ""$`).MatchString(p.Rego)
	return p, nil
}

// A constraint is a RatifyVerification.
type constraint struct {
	Metadata metadata
	Spec     struct {
		EnforcementAction        string
		ScopedEnforcementActions []struct {
			Action            string
			EnforcementPoints []struct{ Name string }
		}
		Match      match
		Parameters struct {
			Provider      string
			RequireDigest any
		}
	}
	Status *struct{ ByPod []podStatus }
}

// A match is what a constraint, or a mutation, is for.
type match struct {
	Kinds                            []struct{ APIGroups, Kinds []string }
	Namespaces, ExcludedNamespaces   []string
	LabelSelector, NamespaceSelector *selector
	Scope, Name, Source              string
}

// A constraintText is a constraint's fields as they are written: those that are unknown have no effect, whatever they are meant
// for.
type constraintText struct {
	Metadata metadata
	Spec     struct {
		Match, Parameters map[string]json.RawMessage
	}
}

// misspelt are the fields of a constraint's match and parameters that neither Gatekeeper nor the template knows.
func (c *constraintText) misspelt() (list []string) {
	collect := func(at string, given map[string]json.RawMessage, known ...string) {
		for name := range given {
			if !slices.Contains(known, name) {
				list = append(list, "spec."+at+" has the field "+ratify.Quote(name)+", and knows "+commas(known))
			}
		}
	}
	collect("match", c.Spec.Match, "excludedNamespaces", "kinds", "labelSelector", "name", "namespaceSelector", "namespaces", "scope", "source")
	collect("parameters", c.Spec.Parameters, "exemptUnchangedUpdates", "provider", "requireDigest")
	return sorted(list)
}

// misspelt tells whether a constraint has fields that nobody knows: then what it does not say may well be meant. One check
// speaks of it.
func (x *examination) misspelt() bool {
	texts, _ := decoded[constraintText](x.Snapshot, kindConstraint)
	return slices.ContainsFunc(texts, func(c constraintText) bool { return len(c.misspelt()) > 0 })
}

func (c *constraint) ref() string { return ref(kindConstraint, "", c.Metadata.Name) }

func (c *constraint) provider() string {
	if c.Spec.Parameters.Provider == "" {
		return verifyProvider
	}
	return c.Spec.Parameters.Provider
}

// requiresDigest reads the parameter as the template does: any value but false means that somebody wants it.
func (c *constraint) requiresDigest() bool {
	return c.Spec.Parameters.RequireDigest != nil && c.Spec.Parameters.RequireDigest != false
}

// denies tells whether what is found is denied when a pod is admitted.
func (c *constraint) denies() bool {
	switch c.Spec.EnforcementAction {
	case "", "deny":
		return true
	case "scoped":
		for _, scoped := range c.Spec.ScopedEnforcementActions {
			for _, point := range scoped.EnforcementPoints {
				if scoped.Action == "deny" && (point.Name == "*" || point.Name == validation) {
					return true
				}
			}
		}
	}
	return false
}

// narrowed is what keeps a match from being for every pod, beside the namespaces that it names as excluded.
func (m *match) narrowed() (list []string) {
	if m.Kinds != nil && !slices.ContainsFunc(m.Kinds, func(k struct{ APIGroups, Kinds []string }) bool {
		return (slices.Contains(k.APIGroups, "") || slices.Contains(k.APIGroups, "*")) && (slices.Contains(k.Kinds, "Pod") || slices.Contains(k.Kinds, "*"))
	}) {
		list = append(list, "match.kinds does not have Pod")
	}
	if len(m.Namespaces) > 0 {
		list = append(list, "match.namespaces is "+ratify.Truncate(commas(m.Namespaces))+" alone")
	}
	if slices.ContainsFunc(m.ExcludedNamespaces, everything) {
		list = append(list, "match.excludedNamespaces has *")
	}
	if !m.LabelSelector.empty() {
		list = append(list, "match.labelSelector: whoever makes a pod chooses its labels")
	}
	if !m.NamespaceSelector.empty() {
		list = append(list, "match.namespaceSelector is set")
	}
	if m.Scope == "Cluster" {
		list = append(list, "match.scope is Cluster, and pods are in namespaces")
	}
	if m.Name != "" && m.Name != "*" {
		list = append(list, "match.name is "+ratify.Truncate(m.Name))
	}
	if m.Source == "Generated" {
		list = append(list, "match.source is Generated, and pods are not generated by Gatekeeper")
	}
	return list
}

// everything tells whether a pattern of namespaces is for all of them.
func everything(pattern string) bool { return pattern != "" && strings.Trim(pattern, "*") == "" }

// covers tells whether a namespace is among those of a list, in which one may begin or end with an asterisk.
func covers(list []string, namespace string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		inner := strings.Trim(pattern, "*")
		begins, ends := strings.HasPrefix(pattern, "*"), strings.HasSuffix(pattern, "*")
		switch {
		case begins && ends:
			return strings.Contains(namespace, inner)
		case begins:
			return strings.HasSuffix(namespace, inner)
		case ends:
			return strings.HasPrefix(namespace, inner)
		default:
			return namespace == pattern
		}
	})
}

func constraintChecks() []check {
	return []check{
		{"template-present", "there is a template", LevelError, templatePresent},
		{"template-version", "the template is the one of this program", LevelWarning, templateVersion},
		{"template-tenancy", "template and configuration agree about tenants", LevelError, templateTenancy},
		{"template-status", "Gatekeeper has taken up the template", LevelError, templateStatus},
		{"constraint-present", "there is a constraint", LevelError, constraintPresent},
		{"constraint-enforcement", "what is not proven is denied", LevelError, constraintEnforcement},
		{"constraint-coverage", "a constraint is for every pod outside of its excluded namespaces", LevelError, constraintCoverage},
		{"constraint-status", "Gatekeeper enforces the constraints", LevelError, constraintStatus},
		{"exempt-namespaces", "what must start first is exempt", LevelError, exemptNamespaces},
		{"digests", "what is verified is what runs", LevelWarning, digests},
	}
}

// template is the installed one. Without it the check at hand has no meaning: another one speaks of that.
func (x *examination) template() *constraintTemplate {
	templates, ok := list[constraintTemplate](x, kindTemplate)
	if !ok {
		return nil
	}
	if i := slices.IndexFunc(templates, constraintTemplate.ours); i >= 0 {
		return &templates[i]
	}
	x.moot("there is no template")
	return nil
}

func templatePresent(x *examination) {
	if templates, ok := list[constraintTemplate](x, kindTemplate); ok && !slices.ContainsFunc(templates, constraintTemplate.ours) {
		x.find("", "there is no ConstraintTemplate of the kind "+kindConstraint, "nothing asks ratify, so every image is admitted",
			"kubectl apply -f library/default/template.yaml")
	}
}

// shipped is the template of the program whose text is the installed one's.
func (x *examination) shipped(t *constraintTemplate) *Template {
	for i := range x.Templates {
		if x.Templates[i].Rego == t.rego() {
			return &x.Templates[i]
		}
	}
	return nil
}

func templateVersion(x *examination) {
	t := x.template()
	if t == nil || len(x.Templates) == 0 {
		return
	}
	place, is, want := ref(kindTemplate, "", t.Metadata.Name), t.Metadata.Annotations[versionAnnotation], x.Templates[0].Version
	const remedy = "kubectl apply -f library/default/template.yaml (with tenants, library/tenants/template.yaml) of the release that is installed"
	switch {
	case is != want:
		if is == "" {
			is = "not said"
		}
		x.find(place, "its version is "+ratify.Truncate(is)+", and this program's template has "+want,
			"a template that does not know the provider's answers denies them, and an older one may lack a denial that a newer one has", remedy)
	case x.shipped(t) == nil:
		x.find(place, "its Rego is not that of version "+want, "somebody has changed it: that it admits nothing without proof is tested of the original alone", remedy)
	}
}

func templateTenancy(x *examination) {
	t := x.template()
	if t == nil {
		return
	}
	known := x.shipped(t)
	if known == nil {
		x.moot("the template is not one of this program's")
		return
	}
	x.configurations(func(s *server, c *Configuration) {
		if !c.Decoded || c.Tenancy == known.Tenancy {
			return
		}
		message, file := "asks for images by namespace, and tenancy is off in ", "default"
		if c.Tenancy {
			message, file = "asks for images without their namespace, and tenancy is on in ", "tenants"
		}
		x.find(ref(kindTemplate, "", t.Metadata.Name), message+s.settings.Config, "ratify refuses every key that Gatekeeper sends, so every pod is denied",
			"kubectl apply -f library/"+file+"/template.yaml, or change tenancy.enabled in the chart")
	})
}

func templateStatus(x *examination) {
	t := x.template()
	if t == nil {
		return
	}
	if t.Status == nil {
		x.moot("what was given does not say what Gatekeeper makes of the template")
		return
	}
	for _, complaint := range trouble(t.Status.ByPod) {
		x.find(ref(kindTemplate, "", t.Metadata.Name), complaint, "a template that Gatekeeper does not take denies nothing",
			"kubectl apply -f library/default/template.yaml of the release that is installed, and look at Gatekeeper's log")
	}
}

// constraints are the installed ones. Without any the check at hand has no meaning: another one speaks of that.
func (x *examination) constraints() []constraint {
	constraints, ok := list[constraint](x, kindConstraint)
	if ok && len(constraints) == 0 {
		x.moot("there is no constraint")
	}
	return constraints
}

func constraintPresent(x *examination) {
	templates, unread := decoded[constraintTemplate](x.Snapshot, kindTemplate)
	if unread == nil && !slices.ContainsFunc(templates, constraintTemplate.ours) {
		x.moot("there is no template, without which there can be no constraint")
		return
	}
	if constraints, ok := list[constraint](x, kindConstraint); ok && len(constraints) == 0 {
		x.find("", "there is no constraint of the kind "+kindConstraint, "the template alone is for no object, so every image is admitted",
			"kubectl apply -f library/default/samples/constraint.yaml")
	}
}

// best are the constraints that a condition holds for, or all where it holds for none.
func best(constraints []constraint, holds func(*constraint) bool) []*constraint {
	var all, some []*constraint
	for i := range constraints {
		all = append(all, &constraints[i])
		if holds(&constraints[i]) {
			some = append(some, &constraints[i])
		}
	}
	if len(some) > 0 {
		return some
	}
	return all
}

func (c *constraint) wide() bool { return len(c.Spec.Match.narrowed()) == 0 }

func constraintEnforcement(x *examination) {
	candidates := best(x.constraints(), (*constraint).wide)
	if slices.ContainsFunc(candidates, (*constraint).denies) {
		return
	}
	for _, c := range candidates {
		x.find(c.ref(), "enforcementAction is "+ratify.Truncate(c.Spec.EnforcementAction), "what is not proven is admitted, and at most reported",
			"set spec.enforcementAction to deny")
	}
}

func constraintCoverage(x *examination) {
	if !x.configCoverage() {
		return // beside it the constraints' own match says nothing
	}
	texts, _ := decoded[constraintText](x.Snapshot, kindConstraint)
	for _, c := range texts {
		for _, field := range c.misspelt() {
			x.find(ref(kindConstraint, "", c.Metadata.Name), field, "it has no effect, so the constraint is not what it was meant to be", "correct its name, or take it away")
		}
	}
	candidates := best(x.constraints(), (*constraint).denies)
	for _, c := range candidates {
		if c.wide() {
			x.noteExcluded(c)
			return
		}
	}
	for _, c := range candidates {
		for _, why := range c.Spec.Match.narrowed() {
			x.find(c.ref(), why, "pods outside of its match are admitted without being looked at", "take library/default/samples/constraint.yaml, and exclude what must be by excludedNamespaces")
		}
	}
}

// noteExcluded says which namespaces a constraint leaves out, beside those that must start first.
func (x *examination) noteExcluded(c *constraint) {
	if rest := x.beside(c.Spec.Match.ExcludedNamespaces); len(rest) > 0 {
		x.note(c.ref() + " excludes the namespaces " + ratify.Truncate(commas(rest)))
	}
}

// beside are the namespaces of a list but for those that must start first.
func (x *examination) beside(list []string) []string {
	return slices.DeleteFunc(sorted(list), func(n string) bool {
		return n == "kube-system" || n == x.gatekeeperNamespace() || n == x.namespace
	})
}

func constraintStatus(x *examination) {
	for _, c := range x.constraints() {
		if c.Status == nil {
			x.moot("what was given does not say what Gatekeeper makes of the constraint")
			continue
		}
		for _, complaint := range trouble(c.Status.ByPod) {
			x.find(c.ref(), complaint, "a constraint that Gatekeeper does not enforce denies nothing", "kubectl describe "+strings.ToLower(kindConstraint)+" "+c.Metadata.Name+", and look at Gatekeeper's log")
		}
	}
}
