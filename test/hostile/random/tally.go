package random

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// A tally counts what was asked and what became of it. It is safe for concurrent use.
type tally struct {
	mu        sync.Mutex
	worlds    int
	verdicts  int
	over      int            // verdicts of the released program, over TLS
	open      int            // where more than one answer was right
	outcomes  [3]int         // by class
	reasons   map[string]int // for what was allowed
	again     int            // worlds that were asked about again, because the machine stood still
	current   map[*run]map[string]bool
	byFeature map[string][3]int
}

func newTally() *tally {
	return &tally{reasons: map[string]int{}, current: map[*run]map[string]bool{}, byFeature: map[string][3]int{}}
}

// feature notes that a rule of the oracle had a part in what is asked next.
func (t *tally) feature(r *run, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current[r] == nil {
		t.current[r] = map[string]bool{}
	}
	t.current[r][name] = true
}

// verdict counts an answer that is right.
func (t *tally) verdict(r *run, e expectation, v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.verdicts++
	t.outcomes[v.class]++
	if v.class == allowed {
		t.reasons[v.why]++
	}
	if !e.must(v.class) {
		t.open++
	}
	if _, ok := r.answerer.(*released); ok {
		t.over++
	}
	for name := range t.current[r] {
		counts := t.byFeature[name]
		counts[v.class]++
		t.byFeature[name] = counts
	}
	delete(t.current, r)
}

// late counts a world that is asked about again.
func (t *tally) late() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.again++
}

func (t *tally) world() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.worlds++
}

// tables show what was asked: that it was not all refusals, and that every rule had its part.
func (t *tally) tables() []promise.Table {
	t.mu.Lock()
	defer t.mu.Unlock()
	outcomes := promise.Table{Title: "random worlds: what was answered", Columns: []string{"answer", "verdicts", "share"}}
	row := func(name string, n int) {
		outcomes.Rows = append(outcomes.Rows, []string{name, strconv.Itoa(n), share(n, t.verdicts)})
	}
	for _, c := range []class{allowed, refused, couldNotTell} {
		row(c.String(), t.outcomes[c])
		if c == allowed {
			for _, why := range slices.Sorted(maps.Keys(t.reasons)) {
				row("… "+why, t.reasons[why])
			}
		}
	}
	row("more than one answer was right", t.open)
	row("by the released program, over TLS", t.over)
	outcomes.Notes = []string{
		fmt.Sprintf("worlds that were asked about again, because a connection or its time was lost from outside: %d", t.again),
		"more than one answer is right where it is not known what the program has kept of a registry that was readable a moment before"}
	features := promise.Table{Title: "random worlds: what had a part in the answers", Columns: []string{"rule or fault", "verdicts", "allowed", "refused", "could not tell"}}
	for _, name := range slices.SortedFunc(maps.Keys(t.byFeature), cmp.Compare) {
		c := t.byFeature[name]
		features.Rows = append(features.Rows, []string{name, strconv.Itoa(c[0] + c[1] + c[2]), strconv.Itoa(c[allowed]), strconv.Itoa(c[refused]), strconv.Itoa(c[couldNotTell])})
	}
	return []promise.Table{outcomes, features}
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of))
}

// firstLine is enough of a text for a table.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
