package matrix

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// table shows the cells, a row for each fault.
func table(title string, steps []lab.Step, cells []*cell) promise.Table {
	t := promise.Table{Title: title, Columns: []string{"fault"}}
	for _, s := range steps {
		t.Columns = append(t.Columns, string(s))
	}
	var reasons []string
	for start := 0; start < len(cells); start += len(steps) {
		row := []string{cells[start].fault.name}
		shown := false
		for _, c := range cells[start : start+len(steps)] {
			if c.empty == "" {
				row, shown = append(row, c.text()), true
				continue
			}
			if !slices.Contains(reasons, c.empty) {
				reasons = append(reasons, c.empty)
			}
			row = append(row, fmt.Sprintf("(%d)", slices.Index(reasons, c.empty)+1))
		}
		if shown {
			t.Rows = append(t.Rows, row)
		}
	}
	t.Notes = append(t.Notes, "a cell: the outcome, when it came, and the requests (or connections, if more) that had gone out until then")
	for i, reason := range reasons {
		t.Notes = append(t.Notes, fmt.Sprintf("(%d) no cell: %s", i+1, reason))
	}
	return t
}

// text is a cell: outcome, time, requests.
func (c *cell) text() string {
	var outcome string
	switch c.got.class {
	case verified:
		outcome = string(verified)
	case refused:
		outcome = c.got.code
	default:
		outcome = c.got.String()
	}
	wrong := ""
	if c.problem != nil {
		wrong = "WRONG: "
	}
	return fmt.Sprintf("%s%s, %s, %d", wrong, outcome, c.got.took.Round(time.Millisecond), c.requests)
}

// results are what P1 promises of the cells.
func (w *world) results(about string, cells []*cell) []promise.Result {
	var wrong []string
	asked, again, late := 0, 0, (*cell)(nil)
	for _, c := range cells {
		if c.empty != "" {
			continue
		}
		asked++
		if c.again {
			again++
		}
		if c.problem != nil {
			wrong = append(wrong, fmt.Sprintf("%s at %s: %v", c.fault.name, c.step, c.problem))
		}
		if c.got.class != stopped && (late == nil || c.got.took > late.got.took) {
			late = c
		}
	}
	bound := budget + reserve
	note := fmt.Sprintf("%s at %s; the longest that an image which was known took beside it: %s", late.fault.name, late.step, w.delay.Round(time.Millisecond))
	what := about + ": the longest answer"
	if w.env.Quick {
		// Other tests run at the same time. What is answered without asking anybody tells what that costs.
		bound, what = bound+w.delay, what+", on a machine that does other things too"
	}
	if again > 0 {
		note += fmt.Sprintf("; %d that were late were asked again, one after the other, and the last time counts", again)
	}
	return []promise.Result{
		{
			Promise: "P1", What: fmt.Sprintf("%s that were answered as they must be, of %d", about, asked), Got: fmt.Sprint(asked - len(wrong)),
			Bound: fmt.Sprint(asked), Held: len(wrong) == 0 && asked > 0, Note: strings.Join(wrong, "\n    "),
		},
		{
			Promise: "P1", What: what, Got: late.got.took.Round(time.Millisecond).String(), Bound: "at most " + bound.Round(time.Millisecond).String(),
			Held: late.got.took <= bound, Note: note,
		},
	}
}
