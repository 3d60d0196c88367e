package main

import (
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify/internal/doctor"
)

// printDoctor prints findings first, each with what comes of it and what to do; then what was not looked at, and a line that
// counts.
func (a *app) printDoctor(r *doctor.Report, verbose bool) {
	if verbose {
		for _, p := range r.Passed {
			fmt.Fprintf(a.out, "%s %s: %s\n", a.ui.paint(green, "✓"), p.Check, p.Message)
		}
	}
	for _, f := range r.Findings {
		sign, color := "✗", red
		if f.Level == doctor.LevelWarning {
			sign, color = "!", yellow
		}
		place := ""
		if f.Object != "" {
			place = plain(f.Object) + ": "
		}
		fmt.Fprintf(a.out, "%s %s: %s%s\n", a.ui.paint(color, sign), a.ui.paint(bold, f.Check), place, lines(f.Message))
		fmt.Fprintf(a.out, "    why:  %s\n    hint: %s\n", lines(f.Why), lines(f.Remedy))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(a.out, "- %s: %s\n", n.Check, lines(n.Message))
	}
	a.printCounts(r, a.printUnseen(r, verbose))
}

// printUnseen says what was not looked at: by its reason, for one is often that of many checks. It returns the checks of which
// only --verbose tells.
func (a *app) printUnseen(r *doctor.Report, verbose bool) (hidden map[string]bool) {
	hidden = map[string]bool{}
	checks := map[string][]string{}
	var order []doctor.Unseen
	for _, u := range r.NotLookedAt {
		key := u.Reason + "\n" + u.Remedy
		if checks[key] == nil {
			order = append(order, u)
		}
		checks[key] = append(checks[key], u.Check)
	}
	for _, u := range order {
		if !u.Wanted && !verbose && len(r.Findings) > 0 && u.Check != registriesCheck {
			for _, check := range checks[u.Reason+"\n"+u.Remedy] {
				hidden[check] = true
			}
			continue // what is beside the findings may keep it from being looked at
		}
		fmt.Fprintf(a.out, "%s not looked at: %s: %s\n", a.ui.paint(yellow, "?"), strings.Join(checks[u.Reason+"\n"+u.Remedy], ", "), lines(u.Reason))
		if u.Remedy != "" {
			fmt.Fprintf(a.out, "    hint: %s\n", lines(u.Remedy))
		}
	}
	return hidden
}

func (a *app) printCounts(r *doctor.Report, hidden map[string]bool) {
	unseen := map[string]bool{}
	for _, u := range r.NotLookedAt {
		unseen[u.Check] = true
	}
	words := []string{plural(len(r.Findings), "finding"), plural(len(r.Passed), "check") + " passed"}
	if len(unseen) > 0 {
		words = append(words, fmt.Sprintf("%d not looked at", len(unseen)))
	}
	if len(hidden) > 0 {
		words[len(words)-1] += fmt.Sprintf(" (%d of them are told with --verbose)", len(hidden))
	}
	if len(r.Skipped) > 0 {
		words = append(words, "left out: "+strings.Join(r.Skipped, ", "))
	}
	sign := a.ui.paint(green, "✓")
	switch {
	case len(r.Findings) > 0:
		sign = a.ui.paint(red, "✗")
	case r.Blind():
		sign = a.ui.paint(yellow, "?")
	}
	fmt.Fprintf(a.out, "%s %s\n", sign, strings.Join(words, ", "))
}

// lines makes one printable line of text that may hold what others wrote.
func lines(text string) string {
	var printable []string
	for _, field := range strings.Fields(text) {
		printable = append(printable, plain(field))
	}
	return strings.Join(printable, " ")
}
