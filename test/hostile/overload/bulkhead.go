package overload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/world"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	// totalRate is how many requests a second there are: what Gatekeeper sends for three pods at every tenth of a second.
	// Half of them name images of stuck registries.
	totalRate = 300
	// quickRate is that of the quick run, beside which other tests run.
	quickRate = 60
	// coldShare is the part of the healthy images that nobody has asked for before.
	coldShare = 0.25
	// knownImages are as many as a cluster of a few hundred pods runs.
	knownImages = 100
	// nearby is how long the healthy registry takes for each answer: one in the same region.
	nearby = 20 * time.Millisecond
	// bulkheadRatio is the promise; looseRatio is what a run beside other tests is judged by.
	bulkheadRatio, looseRatio = 2.0, 20.0
	// looseAnswers is the part of the healthy images that a run beside other tests must tell; none of them wrongly.
	looseAnswers = 0.8
)

// A jam is one way in which half of the traffic can be stuck.
type jam struct {
	name       string
	registries int
	byTag      bool
	cosignTags bool
}

func (s *stage) jams() []jam {
	byTag := jam{name: "64 registries, by tag, cosign's tags looked for", registries: 64, byTag: true, cosignTags: true}
	return choose(s, []jam{
		{name: "one registry, by digest", registries: 1},
		{name: "64 registries, by digest", registries: 64},
		{name: "one registry, by tag, cosign's tags looked for", registries: 1, byTag: true, cosignTags: true},
	}, []jam{byTag})
}

// bulkheads measures P7.
func (s *stage) bulkheads(ctx context.Context) (promise.Report, error) {
	s.registry.SetDelay(nearby)
	defer s.registry.SetDelay(0)
	rate := choose(s, totalRate, quickRate)
	table := promise.Table{
		Title:   fmt.Sprintf("Bulkhead: %d requests/s, half of them for images of stuck registries", rate),
		Columns: []string{"stuck half", "healthy half", "right", "p50", "p99", "p99 known", "p99 cold", "stuck: answered after (p50)"},
		Notes: []string{
			fmt.Sprintf("The healthy half is asked at the same rate in both rows; a quarter of its images are cold, its registry takes %s for each answer.", nearby),
			"A stuck registry accepts connections and never answers. What is right for its images is: could not tell.",
		},
	}
	report := promise.Report{}
	for _, j := range s.jams() {
		s.env.Progress("bulkhead: " + j.name)
		alone, beside, err := s.jammed(ctx, j, float64(rate)/2)
		if err != nil {
			return report, fmt.Errorf("%s: %w", j.name, err)
		}
		table.Rows = append(table.Rows, alone.row(j.name, "alone"), beside.row("", "beside it"))
		report.Results = append(report.Results, s.judgeBulkhead(j, alone, beside)...)
	}
	report.Tables = append(report.Tables, table)
	return report, nil
}

func (s *stage) judgeBulkhead(j jam, alone, beside half) []promise.Result {
	bound := choose(s, bulkheadRatio, looseRatio)
	ratio := float64(beside.percentile(0.99)) / float64(max(1, alone.percentile(0.99)))
	wrong, lost := alone.wrong(), alone.lost()
	maps.Copy(lost, beside.lost())
	right, asked := alone.right()+beside.right(), alone.asked()+beside.asked()
	answers := promise.Result{
		Promise: "P7", What: "healthy images answered right: " + j.name, Got: fmt.Sprintf("%d of %d", right, asked),
		Bound: choose(s, "all", fmt.Sprintf("≥ %s", percent(looseAnswers))), Note: tally(lost),
		Held: wrong+beside.wrong() == 0 && float64(right) >= choose(s, 1, looseAnswers)*float64(asked) && (s.env.Quick || len(lost) == 0),
	}
	return []promise.Result{answers, {
		Promise: "P7", What: "p99 of the healthy half, against the same rate alone: " + j.name,
		Got:   fmt.Sprintf("%.2f × (%s, alone %s)", ratio, milliseconds(beside.percentile(0.99)), milliseconds(alone.percentile(0.99))),
		Bound: fmt.Sprintf("≤ %g ×", bound), Held: ratio <= bound, Note: s.quickNote(),
	}}
}

// jammed measures the healthy half alone and, with the same process, beside the stuck half.
func (s *stage) jammed(ctx context.Context, j jam, rate float64) (alone, beside half, err error) {
	stuck, err := newStuck(j.registries)
	if err != nil {
		return alone, beside, err
	}
	defer func() { err = errors.Join(err, stuck.close()) }()
	config := world.Config{CosignTags: j.cosignTags, Edit: func(file map[string]any) {
		file["stores"] = []any{map[string]any{"name": "registries", "type": "oras", "scopes": []string{"*"}, "settings": map[string]any{
			"registries": append(stuck.entries(), map[string]any{"host": s.registry.Host(), "plainHTTP": true, "allowPrivate": true}),
		}}}
	}}
	if j.cosignTags {
		config.Signers = append(config.Signers, s.cosign)
	}
	server, err := s.start(ctx, config)
	if err != nil {
		return alone, beside, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	target := load.Target{URL: server.URL(), TLS: server.Client()}
	known, err := s.registry.Images(knownImages, s.signer)
	if err != nil {
		return alone, beside, err
	}
	defer s.forget(known)
	h := healthy{stage: s, target: target, rate: rate, known: references(known)}
	if err := h.prepare(ctx); err != nil {
		return alone, beside, err
	}
	if alone, err = h.ask(ctx, choose(s, 4*time.Second, time.Second)); err != nil {
		return alone, beside, err
	}
	beside, err = h.askBeside(ctx, choose(s, 8*time.Second, 2*time.Second), func(n int) []string { return stuck.references(n, j.byTag) })
	return alone, beside, err
}

// The healthy half of the traffic.
type healthy struct {
	*stage
	target load.Target
	rate   float64
	known  []string
}

// prepare has the known images known.
func (h *healthy) prepare(ctx context.Context) error {
	result, err := load.Run(ctx, h.target, load.Plan{Requests: load.Batches(h.known, 1), Concurrency: 8})
	return errors.Join(err, result.Err())
}

// A half is what was seen of the healthy half of the traffic.
type half struct {
	known, cold load.Result
	stuck       load.Result
}

// ask asks for a time.
func (h *healthy) ask(ctx context.Context, duration time.Duration) (half, error) {
	return h.askBeside(ctx, duration, nil)
}

// askBeside asks for a time, beside requests for the references that stuck makes, at the same rate.
func (h *healthy) askBeside(ctx context.Context, duration time.Duration, stuck func(n int) []string) (seen half, err error) {
	total := int(h.rate * duration.Seconds())
	cold, err := h.registry.Images(int(float64(total)*coldShare), h.signer)
	if err != nil {
		return seen, err
	}
	defer h.forget(cold)
	plans := []struct {
		plan   load.Plan
		result *load.Result
	}{
		{load.Plan{Requests: load.Batches(h.known, 1), Total: total - len(cold), Rate: h.rate * (1 - coldShare), Concurrency: 16}, &seen.known},
		{load.Plan{Requests: load.Batches(references(cold), 1), Rate: h.rate * coldShare, Concurrency: 64}, &seen.cold},
	}
	if stuck != nil {
		plans = append(plans, struct {
			plan   load.Plan
			result *load.Result
		}{load.Plan{
			// As many askers as can be waiting.
			Requests: load.Batches(stuck(total), 1), Rate: h.rate, Concurrency: int(h.rate * h.patience().Seconds()), Check: refusesNothing,
		}, &seen.stuck})
	}
	b := newBarrier(ctx, len(plans))
	defer b.end(nil)
	errs := make([]error, len(plans))
	var running sync.WaitGroup
	for i, p := range plans {
		running.Go(func() {
			p.plan.Patience, p.plan.Introduction, p.plan.Ready = h.patience(), introduction(), b.wait
			if *p.result, errs[i] = load.Run(b.ctx, h.target, p.plan); errs[i] != nil {
				b.end(errs[i])
			}
		})
	}
	running.Wait()
	return seen, errors.Join(errs...)
}

// A barrier has runs begin together: when the connections of all are open, so that handshakes are in no latency.
type barrier struct {
	ctx  context.Context
	end  context.CancelCauseFunc // nobody waits any more
	left atomic.Int32
	open chan struct{}
}

func newBarrier(ctx context.Context, n int) *barrier {
	b := &barrier{open: make(chan struct{})}
	b.ctx, b.end = context.WithCancelCause(ctx)
	b.left.Store(int32(n))
	return b
}

func (b *barrier) wait(ctx context.Context) error {
	if b.left.Add(-1) == 0 {
		close(b.open)
	}
	select {
	case <-b.open:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errAdmitted = errors.New("an image of a registry that never answered is admitted")

// refusesNothing is right for what a stuck registry holds: no more can be said than that it could not be told.
func refusesNothing(r load.Request, body []byte) error {
	err := load.Admitted(r, body)
	var undecided *load.Undecided
	if err == nil {
		return errAdmitted
	}
	if !errors.As(err, &undecided) {
		return err
	}
	return undecided
}

func (h half) latencies() []time.Duration {
	all := slices.Concat(h.known.Latencies, h.cold.Latencies)
	slices.Sort(all)
	return all
}

func (h half) percentile(p float64) time.Duration { return load.Percentile(h.latencies(), p) }

func (h half) right() int { return len(h.known.Latencies) + len(h.cold.Latencies) }

func (h half) asked() int {
	asked := h.right()
	for _, result := range []load.Result{h.known, h.cold} {
		for _, n := range result.Errors {
			asked += n
		}
	}
	return asked
}

// wrong is how many answers were not the protocol's, or refused what is signed, or admitted what nobody could read.
func (h half) wrong() int {
	return h.known.Errors[load.ErrRefused.Error()] + h.cold.Errors[load.ErrRefused.Error()] + h.stuck.Errors[load.ErrRefused.Error()] +
		h.stuck.Errors[errAdmitted.Error()]
}

// lost counts what was not right: of the healthy half anything, of the stuck one whatever is not "could not tell".
func (h half) lost() map[string]int {
	lost := map[string]int{}
	for _, result := range []load.Result{h.known, h.cold} {
		for text, n := range result.Errors {
			lost[text] += n
		}
	}
	for text, n := range h.stuck.Errors {
		if _, told := h.stuck.Undecided[text]; !told {
			lost["of the stuck half: "+text] += n
		}
	}
	return lost
}

func (h half) row(stuck, name string) []string {
	waited := "–"
	if told := undecided(h.stuck); len(told) > 0 {
		waited = milliseconds(load.Percentile(told, 0.5))
	}
	return []string{
		stuck, name, strconv.Itoa(h.right()) + " of " + strconv.Itoa(h.asked()),
		milliseconds(h.percentile(0.5)), milliseconds(h.percentile(0.99)),
		milliseconds(h.known.Percentile(0.99)), milliseconds(h.cold.Percentile(0.99)), waited,
	}
}
