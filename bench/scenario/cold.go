package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// cold asks for fresh images each time: one after the other, and in batches as pods have them.
func cold(ctx context.Context, b *Bench) ([]report.Row, error) {
	c, err := b.contest(ctx, setup{config: b.trust(b.RSA), floor: true, peers: true})
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	for _, delay := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond} {
		row, err := b.coldOne(ctx, c, delay)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row)
	}
	for _, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond} {
		for _, batch := range []struct{ images, requests int }{{10, 1}, {64, 1}, {200, 4}} {
			more, err := b.coldBatch(ctx, c, delay, batch.images, batch.requests)
			if err != nil {
				return rows, err
			}
			rows = append(rows, more...)
		}
	}
	return rows, nil
}

// lateRetry is after how long is asked again what came too late for its deadline: on a machine so slow that takes long, but it
// is not wrong.
const lateRetry = 10 * time.Millisecond

// coldOne asks for one image after the other.
func (b *Bench) coldOne(ctx context.Context, c *contest, delay time.Duration) (report.Row, error) {
	defer b.slow(delay)()
	row := report.Row{Topic: "cold", Name: fmt.Sprintf("one image, registry delay %v", delay), Unit: report.Milliseconds,
		Target: b.target(report.Times(1.10))}
	c = c.again()
	n := b.size(8, 4)
	if delay == 0 {
		n = b.size(40, 4) // two milliseconds each: so short a time wants more of them
	}
	err := c.run(ctx, b, row.Name, func(ctx context.Context, c *contender) (values []float64, err error) {
		err = b.fresh(n, b.RSA, func(images []world.Image) error {
			result, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), 1), Retry: lateRetry})
			values = []float64{milliseconds(result.Percentile(0.5))}
			return err
		})
		return values, err
	})
	return c.row(0, row), err
}

// mostFor200 is what 200 images at a delay of 50 ms may take, in milliseconds.
const mostFor200 = 500

// coldBatch asks for distinct images in requests that are sent at once; the figure is the last answer's time.
func (b *Bench) coldBatch(ctx context.Context, c *contest, delay time.Duration, n, requests int) ([]report.Row, error) {
	defer b.slow(delay)()
	name := fmt.Sprintf("%d images in one request, registry delay %v", n, delay)
	if requests > 1 {
		name = fmt.Sprintf("%d images in %d requests at once, registry delay %v", n, requests, delay)
	}
	c = c.again()
	err := c.run(ctx, b, name, func(ctx context.Context, c *contender) (values []float64, err error) {
		err = b.fresh(n, b.RSA, func(images []world.Image) error {
			plan := load.Plan{Requests: load.Batches(references(images), n/requests), Concurrency: requests, Retry: lateRetry}
			result, err := ask(ctx, c.target, plan)
			values = []float64{milliseconds(result.Took)}
			return err
		})
		return values, err
	})
	rows := []report.Row{c.row(0, report.Row{Topic: "cold", Name: name, Unit: report.Milliseconds, Target: b.target(report.Times(1.15))})}
	if n == 200 && delay == 50*time.Millisecond && b.Rival == "" {
		rows = append(rows, report.Row{Topic: "cold", Name: "the same, as a time", Unit: report.Milliseconds,
			Figure: rows[0].Figure, Target: report.Below(mostFor200), Wrong: rows[0].Wrong})
	}
	return rows, err
}
