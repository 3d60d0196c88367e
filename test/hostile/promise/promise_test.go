package promise

import (
	"strings"
	"testing"
)

func example() Report {
	return Report{
		Results: []Result{
			{Promise: "P2", What: "worlds", Got: "0 wrong of 20,000", Bound: "0 wrong", Held: true},
			{Promise: "P6", What: "slow bodies", Got: "300 MiB", Bound: "256 MiB", Note: "peak"},
		},
		Tables: []Table{{Title: "Attacks", Columns: []string{"attack", "peak"}, Rows: [][]string{{"slow | bodies", "300 MiB"}}, Notes: []string{"rapid reset: no HTTP/2 is offered"}}},
	}
}

func TestReport(t *testing.T) {
	r := example()
	if broken := r.Broken(); len(broken) != 1 || broken[0].Promise != "P6" {
		t.Errorf("broken: %v", broken)
	}
	if left := r.Unmeasured(); len(left) != len(All())-2 || left[0].ID != "P1" {
		t.Errorf("unmeasured: %v", left)
	}
	if err := r.Err(); err == nil || err.Error() != "not as promised:\n  P6: slow bodies: 300 MiB, and not 256 MiB (peak)" {
		t.Errorf("error: %v", err)
	}
	if err := (Report{Results: r.Results[:1]}).Err(); err != nil {
		t.Errorf("what holds: %v", err)
	}
	var sum Report
	sum.Add(r)
	sum.Add(r)
	if len(sum.Results) != 4 || len(sum.Tables) != 2 {
		t.Errorf("the sum has %d results and %d tables", len(sum.Results), len(sum.Tables))
	}
}

func TestPrintAndMarkdown(t *testing.T) {
	for name, write := range map[string]func(Report, *strings.Builder){
		"text":     func(r Report, b *strings.Builder) { r.Print(b) },
		"Markdown": func(r Report, b *strings.Builder) { r.Markdown(b) },
	} {
		var text strings.Builder
		write(example(), &text)
		for _, want := range []string{"0 wrong of 20,000", "BROKEN", "held", "slow bodies (peak)", "Attacks", "rapid reset: no HTTP/2 is offered",
			"2 figures of 2 promises: 1 held, 1 broken; not measured: P1, P3, P4, P5, P7, P8, P9, P10, P15"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s lacks %q:\n%s", name, want, text.String())
			}
		}
	}
}

// TestPromises: a result can only be of a promise that has a name.
func TestPromises(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range All() {
		if seen[p.ID] || p.Text == "" {
			t.Errorf("%q is there twice, or has no text", p.ID)
		}
		seen[p.ID] = true
	}
}
