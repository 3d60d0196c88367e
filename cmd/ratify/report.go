package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
)

// printReports writes what is written at the end: JSON and YAML whole.
func (a *app) printReports(output format, line *progress, reports []*ratify.Report) (err error) {
	if output == formatText {
		return nil
	}
	line.print(func() {
		if len(reports) == 1 {
			err = output.print(a.out, reports[0])
			return
		}
		err = output.print(a.out, reports)
	})
	return err
}

// printReport writes the block of one image.
func (a *app) printReport(w io.Writer, r *ratify.Report) {
	subject := a.ui.paint(bold, plain(r.Subject))
	verdict := "verified"
	if !r.IsSuccess || r.Code != ratify.Verified {
		verdict = fmt.Sprintf("%s: %s", r.Code, r.Message)
	}
	fmt.Fprintf(w, "%s %s %s%s\n", a.mark(r.IsSuccess, r.Code), subject, verdict, policyOf(r))
	if r.VerifiedAs != "" {
		fmt.Fprintf(w, "  verified as: %s\n", plain(r.VerifiedAs))
	}
	if r.WouldBeCode != "" {
		fmt.Fprintf(w, "  would be: %s\n", r.WouldBeCode)
	}
	if r.Remedy != "" {
		fmt.Fprintf(w, "  remedy: %s\n", a.remedy(r.Remedy))
	}
	// Where one verifier was asked, it is clear who decided.
	if len(r.DecidedBy) > 0 && slices.ContainsFunc(r.VerifierReports, func(v ratify.VerifierReport) bool { return v.Name != r.DecidedBy[0] }) {
		fmt.Fprintf(w, "  decided by: %s\n", plainList(r.DecidedBy))
	}
	a.printVerifierReports(w, "  ", r.Digest, r.VerifierReports)
}

// printVerifierReports writes a line for each, and below it those of who vouches for the evidence.
func (a *app) printVerifierReports(w io.Writer, indent string, subject digest.Digest, reports []ratify.VerifierReport) {
	for i := range reports {
		fmt.Fprintf(w, "%s%s\n", indent, a.verifierLine(&reports[i], subject))
		a.printVerifierReports(w, indent+"  ", reports[i].Reference, reports[i].NestedReports)
	}
}

func policyOf(r *ratify.Report) string {
	switch {
	case r.Policy == "" && r.Namespace == "":
		return ""
	case r.Namespace == "":
		return fmt.Sprintf(" (policy %s)", plain(r.Policy))
	case r.Policy == "":
		return fmt.Sprintf(" (namespace %s)", plain(r.Namespace))
	default:
		return fmt.Sprintf(" (policy %s, namespace %s)", plain(r.Policy), plain(r.Namespace))
	}
}

// mark is how a verdict looks.
func (a *app) mark(success bool, code ratify.Code) string {
	switch {
	case code == ratify.WouldBeRefused:
		return a.ui.paint(yellow, "!")
	case success:
		return a.ui.paint(green, "✓")
	case code.Info().Outcome == ratify.OutcomeNote:
		return "-"
	case exitCodeFor(code) == exitUnknown:
		return a.ui.paint(yellow, "?")
	default:
		return a.ui.paint(red, "✗")
	}
}

// verifierLine is what one verifier says of one piece of evidence, in a line. What the evidence is for is said where it is
// not the subject: a platform's manifest.
func (a *app) verifierLine(v *ratify.VerifierReport, subject digest.Digest) string {
	line := a.mark(v.IsSuccess, v.Code) + " " + plain(v.Name)
	if v.Reference != "" {
		line += " " + plain(string(v.Reference))
	}
	if of := digestOf(v); of != "" && of != subject {
		line += " of " + plain(string(of))
	}
	return line + fmt.Sprintf(" %s: %s", v.Code, v.Message)
}

// digestOf is the digest of what a verifier report is about.
func digestOf(v *ratify.VerifierReport) digest.Digest {
	_, d, _ := strings.Cut(v.Subject, "@")
	return digest.Digest(d)
}

func plainList(names []string) string {
	var list []string
	for _, name := range names {
		list = append(list, plain(name))
	}
	return strings.Join(list, ", ")
}
