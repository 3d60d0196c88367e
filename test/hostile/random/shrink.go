package random

import (
	"context"
	"slices"
	"strings"
)

// A cutting is something that can be taken out of a world. They are known by their number, for each time a world is
// generated it is the same one.
type cutting func(w *world)

// cuttings lists all that can be taken out, the largest first.
func cuttings(w *world) (list []cutting) {
	for i := range w.phases {
		for j := range w.phases[i].requests {
			list = append(list, func(w *world) { w.phases[i].requests[j].keys = nil })
		}
	}
	for _, at := range sortedPlaces(w.lists) {
		for j := range w.lists[at] {
			list = append(list, func(w *world) { w.lists[at][j].piece.kind = "" })
		}
	}
	for i := range w.phases {
		list = append(list, func(w *world) { clear(w.phases[i].faults) }, func(w *world) { clear(w.phases[i].hosts); clear(w.phases[i].repos) },
			func(w *world) { clear(w.phases[i].moved) })
	}
	for i := range w.configs {
		for j := range w.configs[i].policies {
			p := func(w *world) *policy { return &w.configs[i].policies[j] }
			list = append(list, func(w *world) { p(w).rule = condition{} }, func(w *world) { p(w).platforms = "" }, func(w *world) { p(w).audit = false })
		}
		list = append(list, func(w *world) { w.configs[i].exemptions = nil })
	}
	for i := range w.phases {
		for j := range w.phases[i].requests {
			for k := range w.phases[i].requests[j].keys {
				list = append(list, func(w *world) {
					if keys := w.phases[i].requests[j].keys; len(keys) > 1 && k < len(keys) {
						w.phases[i].requests[j].keys = slices.Delete(keys, k, k+1)
					}
				})
			}
		}
	}
	return list
}

// cut takes things out of a world.
func cut(w *world, cuts []int) {
	all := cuttings(w)
	for _, i := range cuts {
		all[i](w)
	}
	for at, list := range w.lists {
		w.lists[at] = slices.DeleteFunc(list, func(e entry) bool { return e.piece.kind == "" })
	}
	for i := range w.phases {
		p := &w.phases[i]
		p.requests = slices.DeleteFunc(p.requests, func(r request) bool { return len(r.keys) == 0 })
	}
}

// mostShrinks bounds the search for the smallest world.
const mostShrinks = 400

// shrink finds what can be taken out of a world so that an answer of it is still wrong in the same way.
func (l *laboratory) shrink(ctx context.Context, a answerer, seed uint64, first error) (cuts []int) {
	all := cuttings(generate(seed, l.id()))
	for i := range all[:min(len(all), mostShrinks)] {
		if err := l.ask(ctx, a, seed, append(slices.Clone(cuts), i)); isWrong(err) && alike(err, first) {
			cuts = append(cuts, i)
		}
	}
	return cuts
}

// alike tells whether two answers are wrong in the same way: by the first words, and by what the oracle says.
func alike(a, b error) bool {
	kind := func(err error) (words []string) {
		for _, mark := range []string{"ADMITTED", "is refused", "is allowed", "could not tell", "I1", "I2", "I3", "I4", "I5", "ends at"} {
			if strings.Contains(err.Error(), mark) {
				words = append(words, mark)
			}
		}
		return words
	}
	return slices.Equal(kind(a), kind(b))
}

func lines(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		rows = append(rows, []string{strings.TrimRight(line, "\n")})
	}
	return rows
}
