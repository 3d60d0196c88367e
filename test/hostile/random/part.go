// Package random asks the program about random hostile worlds: registries, evidence, lists that lie, faults, policies and
// requests that a seed draws, thousands of verdicts a second, and compares each answer with an oracle that shares no code with
// the engine. Begin at Part; a world is described in world.go, what must be answered in oracle.go.
package random

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// Worlds are how many are asked of where nobody says, and in a quick run: a second of two processors has some hundreds.
const (
	Worlds      = 20_000
	QuickWorlds = 130
)

// overTLS is of how many worlds one goes to the released program as well: a configuration takes it a third of a second,
// for it waits until files have come to rest.
const overTLS = 200

// Part holds P2.
func Part() promise.Part {
	return promise.Part{Name: "random", About: "random hostile worlds against an independent oracle", Run: measure}
}

func measure(ctx context.Context, env promise.Env) (promise.Report, error) {
	worlds := env.Worlds
	if worlds == 0 {
		worlds = Worlds
		if env.Quick {
			worlds = QuickWorlds
		}
	}
	l, err := newLaboratory(env.Dir)
	if err != nil {
		return promise.Report{}, err
	}
	defer l.close()
	began := time.Now()
	if err := l.runAll(ctx, env, worlds); err != nil {
		return promise.Report{}, err
	}
	return l.report(worlds, time.Since(began), env.Seed), nil
}

// A laboratory is what all worlds of a run have in common.
type laboratory struct {
	pool     *pool
	registry *registry
	shared   *shared
	dir      string
	ids      atomic.Uint64
	count    *tally
	slips    map[slip]bool
	corrupt  func([]byte) []byte

	mu     sync.Mutex
	failed []failure
}

// A failure is a world with a wrong answer.
type failure struct {
	seed uint64
	over bool // by the released program
	err  error
	text string // the smallest world that shows it
}

func newLaboratory(dir string) (*laboratory, error) {
	p, err := newPool(dir)
	if err != nil {
		return nil, err
	}
	return &laboratory{pool: p, registry: newRegistry(p), shared: newShared(), dir: dir, count: newTally()}, nil
}

func (l *laboratory) close() {
	l.shared.pool.Close()
	l.registry.close()
	l.pool.close()
}

// workers is how many worlds are under way: a world waits now and then for a request that is sent again.
func workers() int { return 4 * runtime.GOMAXPROCS(0) }

// enough failures are shown; one is too many.
const enough = 3

// runAll asks about that many worlds, and about a share of them through the released program.
func (l *laboratory) runAll(ctx context.Context, env promise.Env, worlds int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Uint64
	var wait sync.WaitGroup
	for range workers() {
		wait.Go(func() {
			a := newInProcess(l.shared)
			for i := next.Add(1) - 1; i < uint64(worlds) && ctx.Err() == nil && !l.enough(); i = next.Add(1) - 1 {
				if err := l.world(ctx, a, env.Seed+i); err != nil {
					cancel(err)
				}
				if env.Progress != nil && (i+1)%5000 == 0 {
					env.Progress(fmt.Sprintf("%d worlds of %d", i+1, worlds))
				}
			}
		})
	}
	if env.Binary != "" {
		wait.Go(func() {
			if err := l.sample(ctx, env, worlds); err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

func (l *laboratory) enough() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed) >= enough
}

// sample asks the released program about one world of many.
func (l *laboratory) sample(ctx context.Context, env promise.Env, worlds int) (err error) {
	first := generate(env.Seed, l.id())
	configuration, err := l.pool.render(&first.configs[0], l.registry.server.URL)
	if err != nil {
		return err
	}
	r, err := startReleased(ctx, env.Binary, filepath.Join(l.dir, "released"), configuration)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for i := 0; i < worlds && ctx.Err() == nil && !l.enough(); i += overTLS {
		if err := l.world(ctx, r, env.Seed+uint64(i)); err != nil { //nolint:gosec // never below zero
			return err
		}
	}
	return nil
}

// id is a new world's.
func (l *laboratory) id() string { return "w" + strconv.FormatUint(l.ids.Add(1), 10) + "w" }

// world asks about one, and looks for the smallest that shows the same where an answer is wrong.
func (l *laboratory) world(ctx context.Context, a answerer, seed uint64) error {
	err := l.ask(ctx, a, seed, nil)
	for again := 0; late(err) && again < mostLate; again++ {
		l.count.late()
		err = l.ask(ctx, a, seed, nil)
	}
	if !isWrong(err) {
		return err
	}
	cuts := l.shrink(ctx, a, seed, err)
	w := generate(seed, l.id())
	cut(w, cuts)
	if last := l.ask(ctx, a, seed, cuts); last != nil {
		err = last
	}
	_, over := a.(*released)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, failure{seed, over, err, w.String()})
	return nil
}

// mostLate is how often a world is asked about again because the machine, and not the world, was in the way.
const mostLate = 2

// late tells an answer that a connection, or the time for it, was lost. Where a world does that it does so each time, so that one
// that is right when it is asked about again was disturbed from outside; it is counted.
func late(err error) bool {
	return isWrong(err) && strings.Contains(err.Error(), "I3") &&
		(strings.Contains(err.Error(), "did not answer in time") || strings.Contains(err.Error(), "could not be read from"))
}

// ask asks about the world of a seed, less what is cut out of it.
func (l *laboratory) ask(ctx context.Context, a answerer, seed uint64, cuts []int) error {
	w := generate(seed, l.id())
	cut(w, cuts)
	r := &run{w: w, pool: l.pool, registry: l.registry, answerer: a, slips: l.slips, corrupt: l.corrupt, count: l.count}
	err := r.world(ctx)
	if err != nil && !isWrong(err) {
		return fmt.Errorf("world %d: %w", seed, err)
	}
	l.count.world()
	return err
}

// report says what was measured.
func (l *laboratory) report(worlds int, took time.Duration, seed uint64) promise.Report {
	c := l.count
	note := fmt.Sprintf("seed %d; %d verdicts in %s, %.0f a second", seed, c.verdicts, took.Round(time.Second), float64(c.verdicts)/took.Seconds())
	result := promise.Result{
		Promise: "P2", What: fmt.Sprintf("wrong verdicts in %d random worlds", c.worlds), Got: strconv.Itoa(len(l.failed)), Bound: "0",
		Held: len(l.failed) == 0, Note: note,
	}
	tables := c.tables()
	for _, f := range l.failed {
		how := ""
		if f.over {
			how = ", over TLS"
		}
		result.Note += fmt.Sprintf("; -seed %d -worlds 1%s: %s", f.seed, how, firstLine(f.err.Error()))
		tables = append(tables, promise.Table{Title: fmt.Sprintf("the smallest world of seed %d", f.seed), Columns: []string{"world"}, Rows: lines(f.err.Error() + "\n" + f.text)})
	}
	share := float64(c.outcomes[allowed]) / float64(max(1, c.verdicts))
	mixed := promise.Result{
		Promise: "P2", What: "share of these verdicts that admit the image, so that there is something to get wrong",
		Got: fmt.Sprintf("%.0f %%", 100*share), Bound: fmt.Sprintf("at least %.0f %%", 100*leastAllowed), Held: share >= leastAllowed || worlds < QuickWorlds,
	}
	return promise.Report{Results: []promise.Result{result, mixed}, Tables: tables}
}

// leastAllowed is the share of worlds' images that are to be admitted: an oracle, and an engine, that refuse everything agree.
const leastAllowed = 0.25
