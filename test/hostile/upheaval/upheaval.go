// Package upheaval asks two instances of the program at a constant rate while everything around them changes: instances
// restart, certificates and trust rotate, configurations come and go, a registry dies and returns. Every answer is compared
// with what was right at that time: none may be missing or wrong (P5), and none may be of a configuration that was replaced
// (P10).
//
// It stands for what Gatekeeper and a Service do, no more: a new connection goes to an instance that is ready, an open one
// stays where it is, and a request that is lost with its connection is lost. Begin at Part; truth.go says what is right.
package upheaval

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// fullRate is how many requests a second there are: three pods in each tenth of a second. quickRate is for a run beside
// other tests.
const fullRate, quickRate = 300, 60

// Part measures P5 and P10.
func Part() promise.Part {
	return promise.Part{
		Name:  "upheaval",
		About: "load at a constant rate through restarts, rotations, reloads and an outage",
		Run:   run,
	}
}

// choose is a size of the whole measurement, or of the quick one.
func choose[T any](env promise.Env, whole, quick T) T {
	if env.Quick {
		return quick
	}
	return whole
}

func run(ctx context.Context, env promise.Env) (report promise.Report, err error) {
	w, err := newWorld(ctx, env)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	t := &traffic{client: w.client, truth: w.truth, next: w.images.question, rate: choose(env, fullRate, quickRate)}
	t.enter("the first requests")
	asking, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { t.run(asking) })
	for _, e := range w.events() {
		env.Progress("upheaval: " + e.name)
		t.enter(e.name)
		if err = e.run(ctx); err != nil {
			err = fmt.Errorf("%s: %w", e.name, err)
			break
		}
	}
	stop()
	running.Wait()
	if err != nil {
		return report, err
	}
	return w.report(t), nil
}

// report is what was seen.
func (w *world) report(t *traffic) promise.Report {
	table := promise.Table{
		Title:   fmt.Sprintf("Upheaval: %d requests/s to two instances", t.rate),
		Columns: []string{"while", "requests", "right", "could not tell, rightly", "dropped", "wrong", "of an old configuration", "p50", "p99", "longest gap"},
		Notes: []string{
			"Requests are sent when they are due. Three quarters name images that are known, a sixth new ones, a twentieth ones whose registry takes " + slowTime.String() + "; a tenth have three keys.",
			"Dropped: no answer, or \"could not tell\" while everything was there to tell. Gap: between two right answers.",
			"A request belongs to what happens when it is sent.",
		},
	}
	var all account
	for _, a := range t.accounts {
		table.Rows = append(table.Rows, a.row())
		all.add(a)
	}
	all.name = "all"
	table.Rows = append(table.Rows, all.row())
	return promise.Report{Tables: []promise.Table{table}, Results: w.results(&all)}
}

// looseShare is the part of the requests that a run beside other tests may drop for want of time.
const looseShare = 0.2

func (w *world) results(all *account) []promise.Result {
	problems := all.tally()
	dropped, bound := all.dropped == 0 && all.asked > 0, "0"
	if w.env.Quick {
		bound = fmt.Sprintf("0, but %.0f %% for want of time: a quick run has other programs beside it", 100*looseShare)
		dropped = all.dropped == all.late && float64(all.late) <= looseShare*float64(all.asked) && all.asked > 0
	}
	of := func(n int) string { return fmt.Sprintf("%d of %d", n, all.asked) }
	return []promise.Result{
		{Promise: "P5", What: "requests dropped", Got: of(all.dropped), Bound: bound, Held: dropped, Note: problems},
		{Promise: "P5", What: "wrong answers", Got: of(all.wrong), Bound: "0", Held: all.wrong == 0},
		{
			Promise: "P5", What: "verdicts for connections whose client CA is gone", Got: fmt.Sprintf("%d of %d", w.letIn, w.outsiders),
			Bound: "0", Held: w.letIn == 0 && w.outsiders > 0,
		},
		{
			Promise: "P5", What: "verdicts come again after a registry has returned", Got: fmt.Sprintf("%.1f s", w.returned.Seconds()),
			Bound: "≤ " + strconv.Itoa(int(returnTime.Seconds())) + " s", Held: w.returned <= choose(w.env, returnTime, 2*returnTime),
		},
		{Promise: "P10", What: "old verdicts for requests sent after a configuration was accepted", Got: of(all.hot), Bound: "0", Held: all.hot == 0},
		{Promise: "P10", What: "old verdicts more than a second after a configuration was accepted", Got: of(all.old), Bound: "0", Held: all.old == 0},
	}
}

// add adds what another account has.
func (a *account) add(other *account) {
	a.asked, a.right, a.untold, a.dropped = a.asked+other.asked, a.right+other.right, a.untold+other.untold, a.dropped+other.dropped
	a.wrong, a.late, a.old, a.hot = a.wrong+other.wrong, a.late+other.late, a.old+other.old, a.hot+other.hot
	a.latencies = append(a.latencies, other.latencies...)
	a.longestGap = max(a.longestGap, other.longestGap)
	if a.problems == nil {
		a.problems = map[string]int{}
	}
	for text, n := range other.problems {
		a.problems[text+" ("+other.name+")"] += n
	}
}

// tally is the problems by their text, as few as a reader takes in.
func (a *account) tally() string {
	text, left := "", 5
	for _, problem := range slices.Sorted(maps.Keys(a.problems)) {
		if left--; left < 0 {
			return text + "…"
		}
		text += fmt.Sprintf("%d × %s; ", a.problems[problem], problem)
	}
	return text
}

func (a *account) row() []string {
	slices.Sort(a.latencies)
	return []string{
		a.name, strconv.Itoa(a.asked), strconv.Itoa(a.right), strconv.Itoa(a.untold), strconv.Itoa(a.dropped), strconv.Itoa(a.wrong), strconv.Itoa(a.old + a.hot),
		milliseconds(load.Percentile(a.latencies, 0.5)), milliseconds(load.Percentile(a.latencies, 0.99)), milliseconds(a.longestGap),
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
