package fields

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestEveryField changes each field alone, by its row, and compares what can be seen before and after. An error when the
// file is loaded is no effect.
func TestEveryField(t *testing.T) {
	fields := allFields(t)
	rows := allRows()
	effects := map[string][]string{} // by field
	for _, r := range rows {
		field := r.field(t, r.before(t))
		effects[field] = append(effects[field], r.effect)
		if len(r.along) > 0 && r.why == "" {
			t.Errorf("%s: why does anything change along with it?", field)
		}
	}
	for _, field := range fields {
		_, excepted := exceptions()[field]
		switch {
		case effects[field] == nil && !excepted:
			t.Errorf("%s: nothing holds that it has an effect", field)
		case effects[field] != nil && excepted:
			t.Errorf("%s: it has an effect, and is excepted", field)
		}
	}
	for _, field := range slices.Concat(slices.Collect(maps.Keys(effects)), slices.Collect(maps.Keys(exceptions()))) {
		if !slices.Contains(fields, field) {
			t.Errorf("%s: there is no such field", field)
		}
	}
	if t.Failed() {
		return
	}
	w := newWorld(t)
	t.Run("rows", func(t *testing.T) {
		for _, r := range rows {
			t.Run(r.name(t), func(t *testing.T) {
				t.Parallel()
				r.check(t, w)
			})
		}
	})
	summarize(t, fields, rows, effects)
}

func (r row) name(t *testing.T) string {
	name := r.field(t, r.before(t)) + " to " + r.to
	if r.to == "" {
		name = r.field(t, r.before(t)) + " absent"
	}
	return strings.ReplaceAll(name, "/", "∕") // what is behind a slash would be a test in the test
}

// check runs the program with the configuration before and after.
func (r row) check(t *testing.T, w *world) {
	before, after := w.start(t, r, r.before(t)), w.start(t, r, r.after(t))
	was, is := before.observe(t), after.observe(t)
	if was != r.was || is != r.is || was == is {
		t.Errorf("%s became %s, want %s and %s, which differ; the log says\n%s\n%s", was, is, r.was, r.is, before.last, after.last)
	}
}

// summarize prints how the fields show.
func summarize(t *testing.T, fields []string, rows []row, effects map[string][]string) {
	t.Helper()
	byVerdict, others := 0, map[string][]string{}
	for _, field := range fields {
		if slices.Contains(effects[field], "") {
			byVerdict++
		} else if effects[field] != nil {
			others[effects[field][0]] = append(others[effects[field][0]], field)
		}
	}
	var lines []string
	other := 0
	for _, effect := range slices.Sorted(maps.Keys(others)) {
		other += len(others[effect])
		lines = append(lines, fmt.Sprintf("by %s: %s", effect, strings.Join(others[effect], "; ")))
	}
	alone := map[string]bool{}
	for _, r := range rows {
		if len(r.along) == 0 {
			alone[r.field(t, r.before(t))] = true
		}
	}
	for _, r := range rows {
		if field := r.field(t, r.before(t)); !alone[field] {
			lines = append(lines, fmt.Sprintf("not alone: %s, with %s: %s", field, strings.Join(slices.Sorted(maps.Keys(r.along)), " and "), r.why))
		}
	}
	for _, field := range slices.Sorted(maps.Keys(exceptions())) {
		lines = append(lines, fmt.Sprintf("without effect: %s: %s", field, exceptions()[field]))
	}
	t.Logf("%d fields in %d rows: %d change a verdict, %d something else, %d are excepted\n%s",
		len(fields), len(rows), byVerdict, other, len(exceptions()), strings.Join(lines, "\n"))
}
