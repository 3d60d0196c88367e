// Package matrix stages each kind of fault at each step of a verification, one request to the released program a cell, and
// compares the answer with a table of expectations of its own. It also measures how many requests a full outage costs.
// Begin at Part; the faults and what is expected of them are in faults.go.
package matrix

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	// budget is the provider's own deadline for a verification, by its flag.
	budget = 1800 * time.Millisecond
	// reserve is what an answer may come later than that, by P1.
	reserve = 100 * time.Millisecond
	// parallelCells are asked at the same time: most of them wait for a server that does not answer.
	parallelCells = 32
)

const notInSlice = "not in the quick slice"

// A cell is one fault at one step.
type cell struct {
	fault string
	step  step
	want  []outcome
	empty string // why there is none
	hosts []*host
	key   string
	// run asks; nil asks for the key once.
	run func(context.Context) (answer, error)

	got      answer
	requests int64
	problem  error
}

// Part is the matrix of faults and steps.
func Part() promise.Part {
	return promise.Part{
		Name:  "matrix",
		About: "each kind of fault at each step: the answer, its time, the requests; and what a full outage costs",
		Run:   run,
	}
}

func run(ctx context.Context, env promise.Env) (promise.Report, error) {
	w, err := newWorld(ctx, env)
	if err != nil {
		return promise.Report{}, err
	}
	defer w.close()
	var report promise.Report
	env.Progress("registries that fail")
	cells, err := w.askRegistries(ctx)
	if err != nil {
		return report, err
	}
	report.Tables = append(report.Tables, table("Faults of registries and their token servers", append(registrySteps(), token), cells))
	report.Results = append(report.Results, results(cells)...)
	return report, nil
}

// askRegistries runs the cells of registries against one program.
func (w *world) askRegistries(ctx context.Context) ([]*cell, error) {
	cells, entries, err := w.registryCells(ctx)
	defer endHosts(cells)
	if err != nil {
		return nil, err
	}
	config, err := w.write("registries.yaml", w.settings(entries, w.trustedOnly()))
	if err != nil {
		return nil, err
	}
	s, err := w.serve(ctx, config)
	if err != nil {
		return nil, err
	}
	ask(ctx, s.asker, cells, parallelCells)
	return cells, s.end()
}

func endHosts(cells []*cell) {
	for _, c := range cells {
		for _, h := range c.hosts {
			h.end()
		}
	}
}

// ask asks about the cells, some at the same time.
func ask(ctx context.Context, a *asker, cells []*cell, parallel int) {
	places := make(chan struct{}, parallel)
	var wait sync.WaitGroup
	for _, c := range cells {
		if c.empty != "" {
			continue
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			c.ask(ctx, a)
		})
	}
	wait.Wait()
}

// ask asks, counts the requests until the answer, and ends the servers: what goes on after the answer is nobody's any more.
func (c *cell) ask(ctx context.Context, a *asker) {
	if c.run != nil {
		c.got, c.problem = c.run(ctx)
	} else {
		c.got, c.problem = a.ask(ctx, c.key)
	}
	for _, h := range c.hosts {
		c.requests += max(h.requests.Load(), h.connections.Load())
		h.end()
	}
	if c.problem == nil && !slices.ContainsFunc(c.want, func(o outcome) bool { return o == c.got.outcome }) {
		c.problem = fmt.Errorf("%s, and not %s: %s", c.got.outcome, alternatives(c.want), c.got.text)
	}
}

func alternatives(want []outcome) string {
	texts := make([]string, len(want))
	for i, o := range want {
		texts[i] = o.String()
	}
	return strings.Join(texts, " or ")
}
