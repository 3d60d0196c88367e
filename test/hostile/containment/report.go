package containment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// report is what was found.
func (w *world) report(why error) (promise.Report, error) {
	var report promise.Report
	var wrong []string
	requests := 0
	for _, a := range w.arenas {
		if a.host != nil {
			requests += a.host.Count(lab.Any)
		}
		if problem := a.problem(); problem != "" {
			wrong = append(wrong, fmt.Sprintf("%s: %s: %s: %s", a.kind, a.name, a.got, problem))
		}
	}
	wrong = append(wrong, w.admitted...)
	requests += w.cdn.Count(lab.Any) + w.auth.Count(lab.Any)
	search, touched := w.lab.Search(), w.lab.Touched()
	scripts := fmt.Sprintf("%d scripts, each by verify and mutate, and %d commands; %d requests", len(w.arenas), w.commandsRun, requests)
	report.Results = []promise.Result{
		{
			Promise: "P3", What: fmt.Sprintf("secrets seen elsewhere: %s", scripts),
			Got:   fmt.Sprintf("%d of %d secrets, searched in %d places of %s, in %d pairs", len(search.Leaks), search.Secrets, search.Places, size(search.Bytes), search.Pairs),
			Bound: "0", Held: len(search.Leaks) == 0 && search.Secrets > 0 && requests > 0, Note: w.guilty(func(a *arena) string { return join(a.leaks) }, join(search.Leaks)),
		},
		{
			Promise: "P4", What: fmt.Sprintf("connections to %d canaries and forbidden hosts", w.lab.Canaries()),
			Got: fmt.Sprint(len(touched)), Bound: "0", Held: len(touched) == 0, Note: w.guilty(func(a *arena) string {
				if a.touched == 0 {
					return ""
				}
				return fmt.Sprint(a.touched)
			}, join(touched)),
		},
		{
			Promise: "P4", What: "wrong answers to scripts that lead astray",
			Got: fmt.Sprint(len(wrong)), Bound: "0", Held: len(wrong) == 0, Note: strings.Join(wrong, "; "),
		},
	}
	report.Tables = []promise.Table{w.table(why)}
	if !w.cell {
		return report, nil
	}
	counted, err := w.unaccounted()
	report.Results = append(report.Results, counted)
	return report, err
}

// problem is what is wrong with an answer, "" if nothing is. A script that nobody has met proves nothing.
func (a *arena) problem() string {
	switch {
	case a.got.Outcome == lab.None:
		return "that is no answer"
	case a.got.Outcome == lab.Verified && !a.may && !a.must:
		return "it may not be admitted"
	case a.got.Outcome != lab.Verified && a.must:
		return "it must be admitted: " + a.got.Message
	case a.host != nil && !a.unasked && a.host.Count(lab.Any) == 0:
		return "nobody has asked the registry: " + a.got.Message
	}
	return ""
}

// unaccounted compares the connections that the kernel has counted with those that came to somebody whom they were meant for.
func (w *world) unaccounted() (promise.Result, error) {
	now, err := lab.ReadCounters()
	if err != nil {
		return promise.Result{}, err
	}
	all := now.Connections - w.before.Connections
	known := w.lab.Dialled() - w.dialled + w.lab.Accepted() - w.accepted
	lost := now.NoRoute - w.before.NoRoute
	return promise.Result{
		Promise: "P4", What: fmt.Sprintf("of %d connections that the kernel counts, those that nobody was meant to get, and packets to elsewhere", all),
		Got: fmt.Sprintf("%d, %d", all-known, lost), Bound: "0, 0", Held: all == known && lost == 0 && all > 0,
	}, nil
}

// guilty names the scripts after which something was found, or what was found where no script is to blame.
func (w *world) guilty(of func(*arena) string, all string) string {
	var names []string
	for _, a := range w.arenas {
		if found := of(a); found != "" {
			names = append(names, fmt.Sprintf("%s: %s: %s", a.kind, a.name, found))
		}
	}
	if len(names) == 0 {
		return all
	}
	return strings.Join(names, "; ")
}

func join[T fmt.Stringer](of []T) string {
	texts := make([]string, len(of))
	for i, one := range of {
		texts[i] = one.String()
	}
	return strings.Join(texts, ", ")
}

func size(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// A row is scripts that are shown together.
type row struct {
	kind, where        string
	n, requests        int
	answers            map[string]int
	touched, leaks, at int
}

// table shows for each kind of script how many there were and what was answered.
func (w *world) table(why error) promise.Table {
	t := promise.Table{
		Title: "Scripts that lead astray", Columns: []string{"script", "where", "number", "answered", "requests to the registry", "canaries", "secrets"},
	}
	rows, ways := map[string]*row{}, map[string]int{}
	for i, a := range w.arenas {
		kind, where := a.kind, group(a)
		if a.to != "" {
			ways[kind]++
			kind = "leads to"
		}
		r := rows[kind+where]
		if r == nil {
			r = &row{kind: kind, where: where, answers: map[string]int{}, at: i}
			rows[kind+where] = r
		}
		r.add(a)
	}
	for _, r := range slices.SortedFunc(maps.Values(rows), func(a, b *row) int { return a.at - b.at }) {
		t.Rows = append(t.Rows, []string{r.kind, r.where, fmt.Sprint(r.n), counts(r.answers, "× "), fmt.Sprint(r.requests), fmt.Sprint(r.touched), fmt.Sprint(r.leaks)})
	}
	t.Notes = append(t.Notes, "Ways to lead elsewhere: "+counts(ways, "by a ")+".")
	if why != nil {
		t.Notes = append(t.Notes, fmt.Sprintf("Not run: %s. Names that resolve, rebinding, proxies, public, private and link-local addresses, and the kernel's count of connections need one.", why))
	}
	return t
}

func (r *row) add(a *arena) {
	r.n++
	r.answers[a.got.String()]++
	r.touched, r.leaks = r.touched+a.touched, r.leaks+len(a.leaks)
	if a.host != nil {
		r.requests += a.host.Count(lab.Any)
	}
}

// counts lists how many there are of each.
func counts(of map[string]int, word string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		texts = append(texts, fmt.Sprintf("%d %s%s", of[name], word, name))
	}
	return strings.Join(texts, ", ")
}

// group joins the scripts of one kind that differ in the spelling of an address alone.
func group(a *arena) string {
	for _, where := range []string{"loopback", "metadata", "private", "stranger"} {
		if strings.HasPrefix(a.name, where+" ") {
			return where + ", in every spelling"
		}
	}
	if a.kind == "reference" && strings.HasPrefix(a.name, "as ") {
		return "reserved addresses, in every spelling"
	}
	return a.name
}
