package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// warm asks for images that were asked for just now, beside a server that answers the same bytes without a thought.
func warm(ctx context.Context, b *Bench) ([]report.Row, error) {
	var rows []report.Row
	err := b.fresh(batch, b.RSA, func(images []world.Image) error {
		for _, keys := range []int{1, batch} {
			more, err := b.warmKeys(ctx, references(images)[:keys])
			rows = append(rows, more...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	return rows, err
}

// warmKeys asks for the same keys in each request.
func (b *Bench) warmKeys(ctx context.Context, keys []string) ([]report.Row, error) {
	c, err := b.contest(ctx, setup{config: b.trust(b.RSA), peers: true})
	if err != nil {
		return nil, err
	}
	if b.Rival == "" {
		recorded, err := c.contenders[0].server.Record(ctx, keys...)
		if err != nil {
			return nil, err
		}
		err = c.beside(b.begin(ctx, "echo", func(ctx context.Context) (*world.Server, error) {
			return world.StartEcho(ctx, recorded, b.options(setup{}))
		}))
		if err != nil {
			return nil, err
		}
	}
	var rows []report.Row
	for _, way := range ways(len(keys)) {
		more, err := b.warmWay(ctx, c.again(), way, keys)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// A way is how the same keys are asked for.
type way struct {
	name string
	plan load.Plan
	// least is the share of the echo's rate that must be reached, most the multiple of its p99 that must not be exceeded; 0
	// demands nothing.
	least, most float64
}

const (
	// warmTime gives some ten thousand answers and several collections of garbage in each run.
	warmTime  = time.Second
	warmQuick = 150 * time.Millisecond
)

// constantRate is a fifth of what ratify can answer on two cores, so that what is measured is an answer's time and no queue.
const constantRate = 2000

func ways(keys int) []way {
	var all []way
	for _, n := range []int{1, 16, 64} {
		all = append(all, way{fmt.Sprintf("%s, %d at the same time", plural(keys, "key"), n), load.Plan{Concurrency: n}, 0.95, 1.3})
	}
	if keys > 1 {
		return all
	}
	return append(all,
		way{"1 key, a new TLS connection each time", load.Plan{Concurrency: 16, NewConnections: true}, 0.97, 0},
		way{fmt.Sprintf("1 key, %d a second (open loop)", constantRate), load.Plan{Concurrency: 64, Rate: constantRate}, 0, 0})
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// warmWay measures the rate, the latency, and what an answer costs.
func (b *Bench) warmWay(ctx context.Context, c *contest, w way, keys []string) ([]report.Row, error) {
	plan := w.plan
	plan.Requests = []load.Request{load.NewRequest(keys...)}
	plan.Duration = warmTime
	if b.Quick {
		plan.Duration = warmQuick
	}
	err := c.run(ctx, b, "warm, "+w.name, func(ctx context.Context, c *contender) ([]float64, error) {
		if _, err := ask(ctx, c.target, load.Plan{Requests: plan.Requests}); err != nil { // so that it is known again
			return nil, err
		}
		result, err := ask(ctx, c.target, plan)
		n := float64(max(1, len(result.Latencies)))
		return []float64{result.Rate(), milliseconds(result.Percentile(0.5)), milliseconds(result.Percentile(0.99)), milliseconds(result.CPU) / n}, err
	})
	var rows []report.Row
	if plan.Rate == 0 {
		rows = append(rows, c.row(0, report.Row{Topic: "warm", Name: w.name + ": requests", Unit: report.PerSecond, Target: b.target(report.RateOf(w.least))}))
	}
	if plan.Concurrency == 1 || plan.Rate > 0 {
		rows = append(rows, c.row(1, report.Row{Topic: "warm", Name: w.name + ": p50", Unit: report.Milliseconds}))
	}
	p99 := report.Row{Topic: "warm", Name: w.name + ": p99", Unit: report.Milliseconds}
	if w.most > 0 {
		p99.Target = b.target(report.Times(w.most))
	}
	return append(rows, c.row(2, p99),
		c.row(3, report.Row{Topic: "warm", Name: w.name + ": processor time a request", Unit: report.Milliseconds})), err
}
