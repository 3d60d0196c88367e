// Package matrix stages each kind of fault at each step of a verification, one request to the released program a cell, and
// compares the answer with a table of expectations of its own. It also measures how many requests a full outage costs.
// Begin at Part; the faults and what is expected of them are in faults.go.
package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
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

// A cell is one fault at one step.
type cell struct {
	fault fault
	step  lab.Step
	want  []outcome
	empty string // why there is none
	hosts []*lab.Host
	key   string

	got      answer
	requests int
	again    bool // it was late at first
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

func run(ctx context.Context, env promise.Env) (report promise.Report, err error) {
	w, err := newWorld(ctx, env)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, w.lab.Close()) }()
	var registries, responders, configurations, contents []*cell
	var outages, names promise.Report
	env.Progress("registries and responders that fail")
	err = inParallel(ctx, 2, []func(context.Context) error{
		func(ctx context.Context) (err error) { registries, err = w.askRegistries(ctx); return err },
		func(ctx context.Context) (err error) { responders, err = w.askResponders(ctx); return err },
	})
	if err != nil {
		return report, err
	}
	env.Progress("configurations and caches that are not as they should be, registries that are away")
	err = inParallel(ctx, 4, []func(context.Context) error{
		func(ctx context.Context) (err error) { names, err = w.inCell(ctx); return err },
		func(ctx context.Context) (err error) { outages, err = w.tryOutages(ctx); return err },
		func(ctx context.Context) (err error) { contents, err = w.tryContent(ctx); return err },
		func(ctx context.Context) (err error) { configurations, err = w.tryConfigurations(ctx); return err },
	})
	if err != nil {
		return report, err
	}
	report.Tables = append(report.Tables,
		table("faults of registries and their token servers", append(registrySteps(), lab.Token), registries),
		table("faults where revocation is asked for", revocationSteps(), responders),
		table("files of the configuration that are not as they should be", []lab.Step{atReload, atStart}, configurations),
		table("what is kept", []lab.Step{onDisk, inMemory}, contents),
	)
	report.Results = w.results("faults at steps", slices.Concat(registries, responders, configurations, contents))
	report.Add(names)
	report.Add(outages)
	return report, nil
}

// cells are those of all faults at some steps, row by row. The quick slice has each third of a row, another third in each.
func (w *world) cells(steps []lab.Step) (cells []*cell) {
	for row, f := range faults() {
		for column, at := range steps {
			c := &cell{fault: f, step: at, want: f.want.forStep(at), empty: f.want.empty[at]}
			if c.empty == "" && w.env.Quick && (row+column)%quickShare != 0 {
				c.empty = notInSlice
			}
			cells = append(cells, c)
		}
	}
	return cells
}

// quickShare is which part of the cells the quick slice has: all faults and all steps are among them.
const quickShare = 3

const notInSlice = "not in the quick slice"

// ask asks about the cells, some at the same time.
func ask(ctx context.Context, p *lab.Program, cells []*cell, parallel int) {
	var runs []func(context.Context) error
	for _, c := range cells {
		if c.empty == "" {
			runs = append(runs, func(ctx context.Context) error { c.ask(ctx, p); return nil })
		}
	}
	_ = inParallel(ctx, parallel, runs) // none of them fails: what is wrong is in the cell
	for _, c := range cells {
		if c.empty == "" {
			c.settle(ctx, p)
		}
	}
}

// ask asks and counts the requests until the answer.
func (c *cell) ask(ctx context.Context, p *lab.Program) {
	c.got, c.problem = askOnce(ctx, p, c.key)
	for _, h := range c.hosts {
		c.requests += max(h.Count(lab.Any), len(h.Connections()))
	}
	if !c.slow() {
		c.end()
	}
}

// secondTries is how often: three pauses of the machine in a row at the same cell are none.
const secondTries = 3

// settle asks again, one cell after the other, where the answer was late, or was that there was no time although there is
// enough: the machine may have been busy, and a program that is slow by itself is slow again. Then it judges.
func (c *cell) settle(ctx context.Context, p *lab.Program) {
	for tries := 0; tries < secondTries && c.slow(); tries++ {
		c.again = true
		got, err := askOnce(ctx, p, c.key)
		if c.expects(c.got.outcome) {
			// What is answered now is what has become of the work since: only the time counts.
			c.got.took = got.took
		} else {
			c.got = got
		}
		c.problem = errors.Join(c.problem, err)
	}
	c.end()
	c.problem = errors.Join(c.problem, c.judge())
}

// slow tells whether the machine may be the reason of what was answered.
func (c *cell) slow() bool {
	return c.got.took > budget+reserve || c.got.code == "DEADLINE" && !c.expects(c.got.outcome)
}

func (c *cell) expects(o outcome) bool { return slices.Contains(c.want, o) }

// end ends the servers: what goes on after the answer is nobody's any more.
func (c *cell) end() {
	for _, h := range c.hosts {
		c.problem = errors.Join(c.problem, h.Down())
	}
}

// judge compares the outcome with what it must be.
func (c *cell) judge() error {
	if c.expects(c.got.outcome) {
		return nil
	}
	return fmt.Errorf("%s, and not %s: %s", c.got.outcome, alternatives(c.want), c.got.text)
}

// inParallel runs all, so many at the same time, and returns their errors.
func inParallel(ctx context.Context, parallel int, runs []func(context.Context) error) error {
	places := make(chan struct{}, parallel)
	errs := make([]error, len(runs))
	var wait sync.WaitGroup
	for i, run := range runs {
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			errs[i] = run(ctx)
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func alternatives(want []outcome) string {
	texts := make([]string, len(want))
	for i, o := range want {
		texts[i] = o.String()
	}
	return strings.Join(texts, " or ")
}
