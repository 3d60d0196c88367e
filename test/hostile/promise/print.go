package promise

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify/bench/report"
)

var columns = []string{"", "measured", "is", "must be", ""}

// Print writes the tables, and then each promise with its figures.
func (r Report) Print(w io.Writer) {
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		report.PrintTable(w, t.Columns, t.Rows)
		for _, note := range t.Notes {
			fmt.Fprintf(w, "  %s\n", note)
		}
	}
	unmeasured := r.Unmeasured()
	for _, p := range All() {
		if slices.Contains(unmeasured, p) {
			continue
		}
		fmt.Fprintf(w, "\n%-4s %s\n", p.ID, p.Text)
		for _, result := range r.Results {
			if result.Promise == p.ID {
				fmt.Fprintf(w, "     %-6s  %s: %s; must be %s\n", outcome(result.Held), result.What+note(result.Note), result.Got, result.Bound)
			}
		}
	}
	fmt.Fprintf(w, "\n%s\n", r.summary())
}

// Markdown writes the same for a page.
func (r Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", r.summary())
	report.MarkdownTable(w, columns, r.rows())
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n### %s\n\n", t.Title)
		report.MarkdownTable(w, t.Columns, t.Rows)
		for i, note := range t.Notes {
			if i == 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "- %s\n", note)
		}
	}
}

// rows are the promises, each above its results.
func (r Report) rows() (rows [][]string) {
	unmeasured := r.Unmeasured()
	for _, p := range All() {
		if slices.Contains(unmeasured, p) {
			continue
		}
		rows = append(rows, []string{p.ID, p.Text, "", "", ""})
		for _, result := range r.Results {
			if result.Promise == p.ID {
				rows = append(rows, []string{"", result.What + note(result.Note), result.Got, result.Bound, outcome(result.Held)})
			}
		}
	}
	return rows
}

func outcome(held bool) string {
	if held {
		return "held"
	}
	return "BROKEN"
}

func (r Report) summary() string {
	broken, left := len(r.Broken()), []string{}
	for _, p := range r.Unmeasured() {
		left = append(left, p.ID)
	}
	text := fmt.Sprintf("%d figures of %d promises: %d held, %d broken", len(r.Results), len(All())-len(left), len(r.Results)-broken, broken)
	if len(left) > 0 {
		text += "; not measured: " + strings.Join(left, ", ")
	}
	return text
}
