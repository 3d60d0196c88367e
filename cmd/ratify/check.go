package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/spf13/cobra"
)

// expiryNotice is how long before its end a certificate is warned about: time enough to have a new one issued.
const expiryNotice = 30 * 24 * time.Hour

// A checkResult is what is to be said about a configuration.
type checkResult struct {
	File         string         `json:"file"`
	Valid        bool           `json:"valid"`
	Errors       []string       `json:"errors"`
	Warnings     []string       `json:"warnings"`
	Stores       []checkedPart  `json:"stores,omitempty"`
	Verifiers    []checkedPart  `json:"verifiers,omitempty"`
	Policies     []checkedScope `json:"policies,omitempty"`
	Certificates []certificate  `json:"certificates,omitempty"`
	Settings     []checkSetting `json:"settings,omitempty"`
}

type checkedPart struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Scopes []string `json:"scopes,omitempty"`
}

// A checkedScope is one scope of one policy; the list has the most specific first, as they are looked up.
type checkedScope struct {
	Scope     string   `json:"scope"`
	Policy    string   `json:"policy"`
	Require   string   `json:"require"`
	Verifiers []string `json:"verifiers"`
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
for which repositories, and which certificates it trusts until when. The files
that the configuration names are read. No registry is asked.

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
	data, err := io.ReadAll(io.LimitReader(a.in, files.MaxBytes+1))
	if err == nil && len(data) > files.MaxBytes {
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
	for _, m := range g.file.Stores {
		r.Stores = append(r.Stores, checkedPart{m.Name, m.Type, m.Scopes})
	}
	for _, m := range g.file.Verifiers {
		r.Verifiers = append(r.Verifiers, checkedPart{Name: m.Name, Type: m.Type})
	}
	r.Policies = scopesOf(g.file.Policies)
	if len(r.Policies) == 0 {
		r.Warnings = append(r.Warnings, "policies: there is none, so every image is refused")
	}
	r.Warnings = append(r.Warnings, g.warnings()...)
	r.Certificates = certificatesOf(g.files)
	for _, c := range r.Certificates {
		if warning := c.warning(now); warning != "" {
			r.Warnings = append(r.Warnings, warning)
		}
	}
	if r.Settings, err = settingsOf(g.file); err != nil {
		r.Valid, r.Errors = false, linesOf(err)
	}
	return r
}

// settingsOf lists what the configuration says beside its modules and policies, defaults included.
func settingsOf(file *config.File) ([]checkSetting, error) {
	rest := *file
	rest.Stores, rest.Verifiers, rest.Policies = nil, nil, nil
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

// scopesOf lists the policies by scope, the most specific first.
func scopesOf(policies []ratify.Policy) []checkedScope {
	var scopes []checkedScope
	for _, p := range policies {
		for _, scope := range p.Scopes {
			scopes = append(scopes, checkedScope{scope, p.Name, p.Require.String(), p.Asks()})
		}
	}
	slices.SortStableFunc(scopes, func(a, b checkedScope) int {
		return cmp.Or(
			cmp.Compare(generality(a.Scope), generality(b.Scope)),
			cmp.Compare(len(b.Scope), len(a.Scope)),
			strings.Compare(a.Scope, b.Scope))
	})
	return scopes
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

func (a *app) printCheck(r *checkResult) {
	name := r.File
	if name == "-" {
		name = "standard input"
	}
	if !r.Valid {
		for _, line := range r.Errors {
			fmt.Fprintf(a.err, "error: %s: %s\n", name, line)
		}
		fmt.Fprintf(a.out, "%s %s: %s\n", a.ui.paint(red, "✗"), name, plural(len(r.Errors), "error"))
		return
	}
	fmt.Fprintf(a.out, "%s %s is good\n", a.ui.paint(green, "✓"), name)
	table := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, "\nSTORE\tTYPE\tSCOPES\n")
	for _, s := range r.Stores {
		fmt.Fprintf(table, "%s\t%s\t%s\n", plain(s.Name), s.Type, strings.Join(s.Scopes, ", "))
	}
	fmt.Fprint(table, "\nVERIFIER\tTYPE\n")
	for _, v := range r.Verifiers {
		fmt.Fprintf(table, "%s\t%s\n", plain(v.Name), v.Type)
	}
	fmt.Fprint(table, "\nSCOPE (most specific first)\tPOLICY\tREQUIRE\tVERIFIERS\n")
	for _, s := range r.Policies {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Scope, plain(s.Policy), s.Require, strings.Join(s.Verifiers, ", "))
	}
	if len(r.Certificates) > 0 {
		fmt.Fprint(table, "\nCERTIFICATE\tEXPIRES\tFILE\n")
		for _, c := range r.Certificates {
			fmt.Fprintf(table, "%s\t%s\t%s\n", plain(c.Subject), c.NotAfter.Format(time.DateOnly), c.File)
		}
	}
	fmt.Fprint(table, "\nSETTING\tVALUE\n")
	for _, s := range r.Settings {
		fmt.Fprintf(table, "%s\t%s\n", s.Name, s.Value)
	}
	_ = table.Flush() // a.out remembers a failure
	for _, warning := range r.Warnings {
		fmt.Fprintf(a.err, "warning: %s\n", warning)
	}
}
