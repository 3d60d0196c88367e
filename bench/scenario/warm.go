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
	for _, concurrency := range []int{1, 16, 64} {
		name := fmt.Sprintf("%s, %d at the same time", plural(len(keys), "key"), concurrency)
		more, err := b.warmRate(ctx, c.again(), name, 0.95, keys, load.Plan{Concurrency: concurrency})
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	if len(keys) == 1 {
		more, err := b.warmRate(ctx, c.again(), "1 key, a new TLS connection each time", 0.97, keys, load.Plan{Concurrency: 16, NewConnections: true})
		rows = append(rows, more...)
		return rows, err
	}
	return rows, nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// warmRate measures the rate and the latency that 99 of 100 answers keep.
func (b *Bench) warmRate(ctx context.Context, c *contest, name string, least float64, keys []string, plan load.Plan) ([]report.Row, error) {
	plan.Requests = []load.Request{load.NewRequest(keys...)}
	plan.Duration = time.Second
	if b.Quick {
		plan.Duration = 150 * time.Millisecond
	}
	err := c.run(ctx, b, "warm, "+name, func(ctx context.Context, c *contender) ([]float64, error) {
		if _, err := ask(ctx, c.target, load.Plan{Requests: plan.Requests}); err != nil { // so that it is known again
			return nil, err
		}
		result, err := ask(ctx, c.target, plan)
		n := float64(max(1, len(result.Latencies)))
		return []float64{result.Rate(), milliseconds(result.Percentile(0.5)), milliseconds(result.Percentile(0.99)), milliseconds(result.CPU) / n}, err
	})
	rows := []report.Row{
		c.row(0, report.Row{Topic: "warm", Name: name + ": requests", Unit: report.PerSecond, Target: b.target(report.RateOf(least))}),
		c.row(1, report.Row{Topic: "warm", Name: name + ": p50", Unit: report.Milliseconds}),
		c.row(2, report.Row{Topic: "warm", Name: name + ": p99", Unit: report.Milliseconds}),
		c.row(3, report.Row{Topic: "warm", Name: name + ": processor time a request", Unit: report.Milliseconds}),
	}
	if !plan.NewConnections {
		rows[2].Target = b.target(report.Times(1.3))
	}
	return rows, err
}
