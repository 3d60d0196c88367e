package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/spf13/cobra"
)

// expiryNotice is how long before its end a certificate is warned about: time enough to have a new one issued.
const expiryNotice = 30 * 24 * time.Hour

// exemptionNotice is the same for an exemption: time enough to have an image signed.
const exemptionNotice = 14 * 24 * time.Hour

// A checkResult is what is to be said about a configuration.
type checkResult struct {
	File         string              `json:"file"`
	Valid        bool                `json:"valid"`
	Errors       []string            `json:"errors"`
	Warnings     []string            `json:"warnings"`
	Stores       []checkedStore      `json:"stores,omitempty"`
	Verifiers    []checkedVerifier   `json:"verifiers,omitempty"`
	Policies     []checkedScope      `json:"policies,omitempty"`
	Mirrors      []ratify.Mirror     `json:"mirrors,omitempty"`
	Exemptions   []ratify.Exemption  `json:"exemptions,omitempty"`
	Tenants      []checkedTenant     `json:"tenants,omitempty"`
	Delegated    []config.Delegation `json:"delegated,omitempty"`
	Certificates []certificate       `json:"certificates,omitempty"`
	Keys         []publicKey         `json:"keys,omitempty"`
	TrustedRoots []trustedRoot       `json:"trustedRoots,omitempty"`
	Settings     []checkSetting      `json:"settings,omitempty"`
	// serves tells that a server runs with the configuration, whatever the errors: they are tenants'.
	serves bool
}

type checkedStore struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Scopes []string `json:"scopes"`
}

type checkedVerifier struct {
	Name     string        `json:"name"`
	Type     string        `json:"type"`
	Evidence ratify.Pieces `json:"evidence"`
	SignedBy []string      `json:"signedBy,omitempty"`
}

// A checkedScope is one scope of one policy, for one pattern of namespaces; the list is in the order in which they are
// looked up: by namespaces and then by scope the most specific first.
type checkedScope struct {
	Namespace string      `json:"namespace,omitempty"`
	Scope     string      `json:"scope"`
	Policy    string      `json:"policy"`
	Mode      ratify.Mode `json:"mode"`
	// LastKnownGood is for how long an image stays admitted that cannot be verified again; 0: not at all.
	LastKnownGood ratify.Duration  `json:"lastKnownGood,omitempty"`
	Platforms     ratify.Platforms `json:"platforms"`
	Require       string           `json:"require"`
	Verifiers     []string         `json:"verifiers"`
	Rule          string           `json:"rule,omitempty"`
}

// A checkedTenant is a file of a tenant. Of a namespace whose file is not valid, every image is refused.
type checkedTenant struct {
	Namespace string `json:"namespace"`
	File      string `json:"file"`
	Valid     bool   `json:"valid"`
}

type checkSetting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func (a *app) checkCommand() *cobra.Command {
	var output format
	command := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file",
		Long: `Check tells everything that is wrong with a configuration, each with its place and
what was probably meant, or, where nothing is, what it would do: which policy is
for which repositories and tenants, what is exempt until when, which name a mirror's
images have, and which certificates, keys and trusted roots it rests on. The files
that the configuration names are read. No registry is asked.

A tenant's file that is not good is that tenant's error alone: the rest is shown all
the same, for a server would run with it.

FILE - is standard input.

Exit codes: 0 good, 3 not.`,
		Example: `  ratify check ratify.yaml
  kubectl exec -n gatekeeper-system deploy/ratify -- /ratify check /etc/ratify/config/config.yaml
  ratify check -o json ratify.yaml | jq -r '.errors[]'`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("for example: "+command.CommandPath()+" ratify.yaml", "%s needs one file, got %d", command.CommandPath(), len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			return a.check(output, args[0])
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	addOutputFlag(command, &output)
	return command
}

func (a *app) check(output format, path string) error {
	g, err := a.buildConfig(path)
	result := newCheckResult(path, g, err, time.Now())
	if output != formatText {
		if err := output.print(a.out, result); err != nil {
			return err
		}
	} else {
		a.printCheck(result)
	}
	if !result.Valid {
		return exitCode(exitUsage)
	}
	return nil
}

// buildConfig builds the configuration in a file, or on standard input where the path is -.
func (a *app) buildConfig(path string) (*generation, error) {
	if path != "-" {
		return a.process().build(path)
	}
	data, err := content.Read(a.in, files.MaxBytes)
	if errors.Is(err, content.ErrTooLarge) {
		err = fmt.Errorf("larger than %d bytes", files.MaxBytes)
	}
	if err != nil {
		return &generation{files: &files.Set{}}, fmt.Errorf("read the configuration: standard input: %w", err)
	}
	return a.process().buildFrom(data, &files.Set{})
}

func newCheckResult(path string, g *generation, err error, now time.Time) *checkResult {
	r := &checkResult{File: path, Valid: err == nil, Errors: linesOf(err), Warnings: []string{}}
	if err != nil {
		return r
	}
	r.serves = true
	r.Valid, r.Errors = len(g.tenantErrors) == 0, append(r.Errors, g.tenantErrors...)
	for _, m := range g.file.Stores {
		r.Stores = append(r.Stores, checkedStore{m.Name, m.Type, m.Scopes})
	}
	for _, v := range g.setup.Verifiers {
		r.Verifiers = append(r.Verifiers, checkedVerifier{v.Name, v.Type, piecesOf(v), v.SignedBy})
	}
	r.Policies = scopesOf(g.setup.Policies)
	r.Mirrors, r.Exemptions = g.file.Mirrors, g.file.Exemptions
	r.Tenants, r.Delegated = g.tenants(), g.file.Tenancy.Delegate
	r.Certificates, r.Keys, r.TrustedRoots = certificatesOf(g.files), keysOf(g.files), rootsOf(g.files, now)
	r.warn(g, now)
	if r.Settings, err = settingsOf(g.file); err != nil {
		r.Valid, r.serves, r.Errors = false, false, linesOf(err)
	}
	return r
}

// warn says what is good, and not meant or not for long.
func (r *checkResult) warn(g *generation, now time.Time) {
	add := func(warning string) {
		if warning != "" {
			r.Warnings = append(r.Warnings, warning)
		}
	}
	if len(r.Policies) == 0 {
		add("policies: there is none, so every image is refused")
	}
	for _, warning := range admitsUnproven(g.file.Policies, g.file.Exemptions, now) {
		add(warning)
	}
	for _, warning := range g.warnings() {
		add(warning)
	}
	for _, warning := range g.warnMirrored() {
		add(warning)
	}
	for i, x := range r.Exemptions {
		if left := x.Expires.Sub(now); left > 0 && left < exemptionNotice {
			add(fmt.Sprintf("exemptions[%d]: it ends in %s, at %s", i, days(left), x.Expires.UTC().Format(time.RFC3339)))
		}
	}
	for _, c := range r.Certificates {
		add(c.warning(now))
	}
	for _, t := range r.TrustedRoots {
		add(t.warning())
	}
}

// admitsUnproven says where every repository's images are admitted without proof: in the cluster, or in the namespaces that a
// policy or an exemption names.
func admitsUnproven(policies []ratify.Policy, exemptions []ratify.Exemption, now time.Time) (warnings []string) {
	for i, p := range policies {
		if p.Mode == ratify.ModeAudit && slices.Contains(p.Scopes, "*") {
			warnings = append(warnings, fmt.Sprintf("%s: mode: audit on the scope *: what is not proven is admitted, and at most reported",
				placeOf("policies", i, config.Module{Name: p.Name})))
		}
	}
	for i, x := range exemptions {
		if len(x.Digests) == 0 && slices.Contains(x.Scopes, "*") && now.Before(x.Expires.Time) {
			warnings = append(warnings, fmt.Sprintf("exemptions[%d]: the scope *: until %s every image is admitted without proof", i, x.Expires.UTC().Format(time.RFC3339)))
		}
	}
	return warnings
}

// piecesOf is which pieces of evidence decide, by the configuration or by the verifier's own choice.
func piecesOf(v ratify.NamedVerifier) ratify.Pieces {
	if v.Evidence != "" {
		return v.Evidence
	}
	if document, ok := v.Verifier.(ratify.DocumentVerifier); ok {
		pieces, _ := document.Documents()
		return pieces
	}
	return ratify.PiecesAny
}

// tenants lists the files of tenants.
func (g *generation) tenants() []checkedTenant {
	dir := g.file.Tenancy.Directory
	if dir == "" {
		return nil
	}
	var reader files.Set         // as in readAgain
	paths, _ := reader.List(dir) // it could be listed a moment ago
	var list []checkedTenant
	for _, path := range paths {
		if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" || ext == ".json" {
			namespace := strings.TrimSuffix(filepath.Base(path), ext)
			_, invalid := g.setup.Tenancy.Invalid[namespace]
			list = append(list, checkedTenant{namespace, path, !invalid})
		}
	}
	return list
}

// settingsOf lists what the configuration says beside its lists, defaults included.
func settingsOf(file *config.File) ([]checkSetting, error) {
	rest := *file
	rest.Stores, rest.Verifiers, rest.Policies, rest.Exemptions, rest.Mirrors, rest.Tenancy.Delegate = nil, nil, nil, nil, nil, nil
	data, err := json.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("encode the settings: %w", err)
	}
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("decode the settings: %w", err)
	}
	return flatten("", values), nil
}

// flatten names nested values by their path: cache.ttl.
func flatten(prefix string, values map[string]any) []checkSetting {
	var settings []checkSetting
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch value := values[name].(type) {
		case nil:
		case map[string]any:
			settings = append(settings, flatten(prefix+name+".", value)...)
		default:
			settings = append(settings, checkSetting{prefix + name, fmt.Sprint(value)})
		}
	}
	return settings
}

// linesOf takes a joined error apart, for a list is what it is.
func linesOf(err error) []string {
	lines := []string{}
	if err == nil {
		return lines
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// scopesOf lists the policies by namespace and scope, the most specific first.
func scopesOf(policies []ratify.Policy) []checkedScope {
	var scopes []checkedScope
	for _, p := range policies {
		namespaces := p.Namespaces
		if len(namespaces) == 0 {
			namespaces = []string{""}
		}
		for _, namespace := range namespaces {
			for _, scope := range p.Scopes {
				scopes = append(scopes, checkedScope{namespace, scope, p.Name, cmp.Or(p.Mode, ratify.ModeEnforce), p.LastKnownGood,
					cmp.Or(p.Platforms, ratify.PlatformsIndex), p.Require.String(), p.Asks(), p.Rule})
			}
		}
	}
	slices.SortStableFunc(scopes, func(a, b checkedScope) int {
		return cmp.Or(
			cmp.Compare(openness(a.Namespace), openness(b.Namespace)),
			cmp.Compare(len(b.Namespace), len(a.Namespace))*openness(a.Namespace),
			strings.Compare(a.Namespace, b.Namespace),
			cmp.Compare(generality(a.Scope), generality(b.Scope)),
			cmp.Compare(len(b.Scope), len(a.Scope)),
			strings.Compare(a.Scope, b.Scope))
	})
	return scopes
}

// openness orders the forms of namespaces as they are looked up: exact names, prefixes, and the cluster's policies last.
func openness(namespace string) int {
	switch {
	case namespace == "":
		return 2
	case strings.HasSuffix(namespace, "*"):
		return 1
	default:
		return 0
	}
}

// generality orders the forms of a scope as they are looked up: an exact name, host/path/*, *.domain/*, and * last.
func generality(scope string) int {
	switch {
	case scope == "*":
		return 3
	case strings.HasPrefix(scope, "*."):
		return 2
	case strings.HasSuffix(scope, "/*"):
		return 1
	default:
		return 0
	}
}
