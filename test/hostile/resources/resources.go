// Package resources attacks the released program on what it can run out of: memory, goroutines, descriptors. Each attack is
// made by 64 attackers at the same time, against a process of its own that is started as the chart does, while a stranger's
// well signed images are asked about, each for the first time. Begin at Part; attacks.go has the attacks.
package resources

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	attackers = 64
	// attackTime fills every queue many times over, and lets all attacks fit into three and a half minutes.
	attackTime, quickTime = 4 * time.Second, 2 * time.Second
	// maxRSS is the promise's bound, in bytes, the program's own pages included.
	maxRSS = 256 << 20
	// leftOver is the promise's: what is live afterwards, to what was before.
	leftOver = 1.2
	// recovery is the promise's, too, from when the last work that was begun has ended. That goes on without its askers, for
	// workTime at most, so that who asks again finds its outcome.
	recovery, workTime = 60 * time.Second, 62 * time.Second
	// slack is how many goroutines and descriptors more are no leak: connections to registries that are kept for the next
	// image, and those of the questions that measure.
	slack = 24
)

// Part attacks the program's resources.
func Part() promise.Part {
	return promise.Part{
		Name:  "resources",
		About: "64 attackers at a time on memory, goroutines and descriptors",
		Run:   run,
	}
}

func run(ctx context.Context, env promise.Env) (promise.Report, error) {
	all, lasting := attacks(), attackTime
	if env.Quick {
		all, lasting = quick(all), quickTime
	}
	return launch(ctx, env, all, lasting)
}

// launch makes one attack after the other. While one process recovers, and the one after the next comes to rest, the next is
// attacked: an idle one takes no time of the processors.
func launch(ctx context.Context, env promise.Env, all []attack, lasting time.Duration) (promise.Report, error) {
	w, err := newWorld(ctx, filepath.Join(env.Dir, "world"))
	if err != nil {
		return promise.Report{}, fmt.Errorf("stage the attacks: %w", err)
	}
	defer w.close()
	outcomes := make([]outcome, len(all))
	failures := make([]error, len(all))
	var recovering sync.WaitGroup
	defer recovering.Wait()
	next, err := w.prepare(ctx, env.Binary)
	for i, a := range all {
		t := next
		if err == nil && i+1 < len(all) {
			next, err = w.prepare(ctx, env.Binary)
		}
		if err != nil {
			return promise.Report{}, fmt.Errorf("start what is attacked: %w", err)
		}
		env.Progress(fmt.Sprintf("attack %d of %d: %s", i+1, len(all), a.name))
		if outcomes[i], err = t.suffer(ctx, a, lasting); err != nil {
			return promise.Report{}, fmt.Errorf("%s: %w", a.name, err)
		}
		env.Progress(fmt.Sprintf("%s: peak of %d MiB", a.name, outcomes[i].peak.rss>>20))
		recovering.Go(func() { failures[i] = t.recover(ctx, &outcomes[i]) })
	}
	env.Progress("waiting until all is as it was before")
	recovering.Wait()
	for i, err := range failures {
		if err != nil {
			return promise.Report{}, fmt.Errorf("after %s: %w", all[i].name, err)
		}
	}
	return report(outcomes, lasting), nil
}

// An outcome is what one attack did to the program.
type outcome struct {
	attack            attack
	size              int // how many connections or questions it came to
	before, peak      usage
	after             usage
	recovered         time.Duration // until it was as before; negative: it was not
	healthy, answered int
	median            time.Duration // of healthy answers
	note, missed      string
}

func report(outcomes []outcome, lasting time.Duration) promise.Report {
	table := promise.Table{
		Title:   fmt.Sprintf("P6: %d attackers for %s each", attackers, lasting),
		Columns: []string{"attack", "made", "peak RSS", "peak heap", "goroutines", "descriptors", "healthy answers (median)", "live heap before → after", "as before after"},
		Notes:   notes(),
	}
	var results []promise.Result
	for _, o := range outcomes {
		table.Rows = append(table.Rows, o.row())
		results = append(results, o.results()...)
		for _, note := range []string{o.note, o.missed} {
			if note != "" {
				table.Notes = append(table.Notes, o.attack.name+": "+note)
			}
		}
	}
	return promise.Report{Results: results, Tables: []promise.Table{table}}
}

func notes() []string {
	return []string{
		fmt.Sprintf("Each process is started with GOMEMLIMIT as the chart sets it (%d bytes, %d %% of its memory limit) and not in a control group of its own: socket buffers of the kernel are not in these figures.", memoryLimit, limitPercent),
		"RSS is VmHWM of the attack alone, pages of the program's file included. Heap is what is allocated, garbage included; live heap is what a collection left.",
		"The time until all is as before is from the end of the work that the attack had begun, which goes on for a minute at most; what the caches of verdicts and content have come to hold meanwhile is not counted.",
		"Before an attack each process has filled its content cache, as one that has run for days has.",
		"Healthy answers are of well signed images at another registry, each for the first time, asked about up to three times as a controller does; the time is that of all.",
		"The hostile registry ends connections that were idle for 5 s.",
	}
}

func (o outcome) row() []string {
	mib := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	after := "never"
	if o.recovered >= 0 {
		after = o.recovered.Round(time.Second).String()
	}
	return []string{
		o.attack.name, fmt.Sprint(o.size), mib(o.peak.rss), mib(o.peak.heap), fmt.Sprint(o.peak.goroutines), fmt.Sprint(o.peak.files),
		fmt.Sprintf("%d of %d (%s)", o.answered, o.healthy, o.median.Round(time.Millisecond)),
		fmt.Sprintf("%.1f → %.1f MiB", float64(o.before.heap)/(1<<20), float64(o.after.heap)/(1<<20)), after,
	}
}

// results are the three promises that one attack tries.
func (o outcome) results() []promise.Result {
	result := func(what, got, bound string, held bool) promise.Result {
		return promise.Result{Promise: "P6", What: o.attack.name + ": " + what, Got: got, Bound: bound, Held: held}
	}
	left := "as before after " + o.recovered.Round(time.Second).String()
	if o.recovered < 0 {
		left = o.after.String() + ", before " + o.before.String()
	}
	return []promise.Result{
		result("peak RSS", fmt.Sprintf("%d MiB", o.peak.rss>>20), fmt.Sprintf("at most %d MiB", maxRSS>>20), o.peak.rss <= maxRSS),
		result("live heap, goroutines, descriptors", left, fmt.Sprintf("at most %.1f times what was before, %s after the last work", leftOver, recovery), o.recovered >= 0),
		result("healthy images answered", fmt.Sprintf("%d of %d", o.answered, o.healthy), "at least nine of ten", o.healthy > 0 && o.answered*10 >= o.healthy*9),
	}
}

// quick are four attacks of different kinds, after which no work goes on for long.
func quick(all []attack) []attack {
	names := []string{"slow request bodies", "half handshakes", "token answers of 1 MiB", "error bodies of 1 MiB"}
	return slices.DeleteFunc(all, func(a attack) bool { return !slices.Contains(names, a.name) })
}
