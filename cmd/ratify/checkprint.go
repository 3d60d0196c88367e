package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ratify-provider/ratify"
)

func (a *app) printCheck(r *checkResult) {
	name := r.File
	if name == "-" {
		name = "standard input"
	}
	for _, line := range r.Errors {
		if !r.serves { // a tenant's error names the tenant's file
			line = name + ": " + line
		}
		fmt.Fprintf(a.err, "error: %s\n", line)
	}
	switch {
	case r.Valid:
		fmt.Fprintf(a.out, "%s %s is good\n", a.ui.paint(green, "✓"), name)
	case r.serves:
		fmt.Fprintf(a.out, "%s %s: %s in files of tenants; the rest is good\n", a.ui.paint(red, "✗"), name, plural(len(r.Errors), "error"))
	default:
		fmt.Fprintf(a.out, "%s %s: %s\n", a.ui.paint(red, "✗"), name, plural(len(r.Errors), "error"))
		return
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	r.printParts(w)
	r.printTrust(w)
	_ = w.Flush() // a.out remembers a failure
	for _, warning := range r.Warnings {
		fmt.Fprintf(a.err, "warning: %s\n", warning)
	}
}

// printParts prints what decides: stores, verifiers, policies, and what stands before these.
func (r *checkResult) printParts(w io.Writer) {
	stores := table{columns: []column{{"STORE", ""}, {"TYPE", ""}, {"SCOPES", ""}}}
	for _, s := range r.Stores {
		stores.add(plain(s.Name), s.Type, commas(s.Scopes))
	}
	stores.print(w)
	verifiers := table{columns: []column{{"VERIFIER", ""}, {"TYPE", ""}, {"EVIDENCE", ""}, {"SIGNED BY", "-"}}}
	for _, v := range r.Verifiers {
		verifiers.add(plain(v.Name), v.Type, string(v.Evidence), commas(v.SignedBy))
	}
	verifiers.print(w)
	policies := table{columns: []column{{"NAMESPACE", "-"}, {"SCOPE (most specific first)", ""}, {"POLICY", ""},
		{"MODE", string(ratify.ModeEnforce)}, {"LAST KNOWN GOOD", "-"}, {"REQUIRE", ""}, {"VERIFIERS", ""}, {"PLATFORMS", string(ratify.PlatformsIndex)}}}
	rules := table{columns: []column{{"POLICY", ""}, {"RULE", ""}}}
	told := map[string]bool{}
	for _, s := range r.Policies {
		policies.add(s.Namespace, s.Scope, plain(s.Policy), string(s.Mode), lasting(s.LastKnownGood), s.Require, commas(s.Verifiers), string(s.Platforms))
		if s.Rule != "" && !told[s.Policy] {
			told[s.Policy] = true
			rules.add(plain(s.Policy), oneLine(s.Rule))
		}
	}
	policies.print(w)
	rules.print(w)
	mirrors := table{columns: []column{{"PULLED FROM", ""}, {"VERIFIED AS", ""}, {"EVIDENCE AT", string(ratify.EvidenceAtMirror)}}}
	for _, m := range r.Mirrors {
		mirrors.add(m.PulledFrom, m.VerifyAs, string(m.Evidence))
	}
	mirrors.print(w)
	exemptions := table{columns: []column{{"EXEMPT", "-"}, {"DIGESTS", "-"}, {"NAMESPACES", "-"}, {"UNTIL", ""}, {"REASON", ""}}}
	for _, x := range r.Exemptions {
		var digests []string
		for _, d := range x.Digests {
			digests = append(digests, d.String())
		}
		exemptions.add(commas(x.Scopes), commas(digests), commas(x.Namespaces), x.Expires.UTC().Format(time.RFC3339), plain(x.Reason))
	}
	exemptions.print(w)
	r.printTenants(w)
}

// lasting is a duration, or nothing for 0.
func lasting(d ratify.Duration) string {
	if d == 0 {
		return ""
	}
	return time.Duration(d).String()
}

func (r *checkResult) printTenants(w io.Writer) {
	delegated := table{columns: []column{{"DELEGATED TO", ""}, {"SCOPES", ""}}}
	for _, d := range r.Delegated {
		delegated.add(commas(d.Namespaces), commas(d.Scopes))
	}
	delegated.print(w)
	tenants := table{columns: []column{{"TENANT", ""}, {"STATE", ""}, {"FILE", ""}}}
	for _, t := range r.Tenants {
		state := "good"
		if !t.Valid {
			state = "not good, everything is refused"
		}
		tenants.add(plain(t.Namespace), state, plain(t.File))
	}
	tenants.print(w)
}

// printTrust prints what it all rests on, and the settings.
func (r *checkResult) printTrust(w io.Writer) {
	certificates := table{columns: []column{{"CERTIFICATE", ""}, {"EXPIRES", ""}, {"FILE", ""}}}
	for _, c := range r.Certificates {
		certificates.add(plain(c.Subject), c.NotAfter.Format(time.DateOnly), c.File)
	}
	certificates.print(w)
	keys := table{columns: []column{{"PUBLIC KEY", ""}, {"SHA256 FINGERPRINT", ""}, {"FILE", ""}}}
	for _, k := range r.Keys {
		keys.add(k.Type, k.Fingerprint, k.File)
	}
	keys.print(w)
	roots := table{columns: []column{{"TRUSTED ROOT", ""}, {"AUTHORITIES", ""}, {"TRANSPARENCY LOGS", ""}, {"CERTIFICATE LOGS", ""}, {"TIMESTAMP AUTHORITIES", ""}}}
	for _, t := range r.TrustedRoots {
		roots.add(t.File, strconv.Itoa(t.CertificateAuthorities), strconv.Itoa(t.TransparencyLogs), strconv.Itoa(t.CertificateLogs), strconv.Itoa(t.TimestampAuthorities))
	}
	roots.print(w)
	settings := table{columns: []column{{"SETTING", ""}, {"VALUE", ""}}}
	for _, s := range r.Settings {
		settings.add(s.Name, s.Value)
	}
	settings.print(w)
}

// A table is printed with a heading. A column in which every cell says nothing but the default is left out.
type table struct {
	columns []column
	rows    [][]string
}

// A column has a title, and what an empty cell stands for.
type column struct{ title, otherwise string }

func (t *table) add(cells ...string) {
	for i, c := range t.columns {
		if cells[i] == "" {
			cells[i] = c.otherwise
		}
	}
	t.rows = append(t.rows, cells)
}

// print prints nothing of a table without rows.
func (t *table) print(w io.Writer) {
	if len(t.rows) == 0 {
		return
	}
	said := make([]bool, len(t.columns))
	titles := make([]string, len(t.columns))
	for i, c := range t.columns {
		titles[i], said[i] = c.title, c.otherwise == ""
		for _, row := range t.rows {
			said[i] = said[i] || row[i] != c.otherwise
		}
	}
	fmt.Fprintln(w)
	for _, row := range append([][]string{titles}, t.rows...) {
		var cells []string
		for i, cell := range row {
			if said[i] {
				cells = append(cells, cell)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}

func commas(items []string) string { return strings.Join(items, ", ") }

// oneLine makes one line of an expression that may be written in several.
func oneLine(expression string) string { return plain(strings.Join(strings.Fields(expression), " ")) }
