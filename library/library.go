// Package library holds what a program must know of the objects beside it: the ConstraintTemplates, as they are applied.
package library

import _ "embed" // for the templates

//go:embed default/template.yaml
var defaultTemplate string

//go:embed tenants/template.yaml
var tenantsTemplate string

// Templates are the manifests of the ConstraintTemplates: the one of library/default, and that for tenants.
func Templates() []string { return []string{defaultTemplate, tenantsTemplate} }
