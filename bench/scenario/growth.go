package scenario

import (
	"context"
	"fmt"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// flat is what one image may cost more beside many others: nothing, but for what two measurements of the same differ by.
const flat = 1.10

// growth measures a cold image's cost beside more and more images in the cache, and more and more policies.
func growth(ctx context.Context, b *Bench) ([]report.Row, error) {
	var images, policies []variant
	for _, n := range []int{1, 100, b.size(10_000, 1_000)} {
		config := b.trust(b.P256)
		// So bounded, the cache holds as many at any time, however many are asked for.
		config.Cache = map[string]any{"maxEntries": roomFor(n)}
		images = append(images, variant{name: plural(n, "image"), config: config, fill: n})
	}
	for _, n := range []int{1, 10, 100} {
		config := b.trust(b.P256)
		config.Policies = n
		policies = append(policies, variant{name: policyCount(n), config: config})
	}
	rows, err := b.compare(ctx, "in the cache", images)
	if err != nil {
		return rows, err
	}
	more, err := b.compare(ctx, "in the configuration", policies)
	return append(rows, more...), err
}

func policyCount(n int) string {
	if n == 1 {
		return "1 policy"
	}
	return fmt.Sprintf("%d policies", n)
}

// roomFor is how many entries a cache must have room for that is to keep so many verified images: an eighth of it is for
// refusals alone.
func roomFor(images int) int { return (8*images + 6) / 7 }

// A variant is ratify with more or less around it.
type variant struct {
	name   string
	config world.Config
	fill   int // images that it is asked for beforehand
}

// compare measures variants against the first of them.
func (b *Bench) compare(ctx context.Context, where string, variants []variant) ([]report.Row, error) {
	c := &contest{}
	for _, v := range variants {
		contender, err := b.ratify(ctx, setup{config: v.config})
		if err != nil {
			return nil, err
		}
		contender.name = v.name
		b.Progress("fill " + v.name + " " + where)
		if err := b.fill(ctx, contender, v.fill); err != nil {
			return nil, err
		}
		c.contenders = append(c.contenders, contender)
	}
	n := b.size(500, 30)
	err := c.run(ctx, b, "growth", func(ctx context.Context, c *contender) (values []float64, err error) {
		err = b.fresh(n, b.P256, func(images []world.Image) error {
			result, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), 1), Concurrency: cpuAskers, Retry: lateRetry})
			values = []float64{milliseconds(result.CPU) / float64(n)}
			return err
		})
		return values, err
	})
	var rows []report.Row
	for i, v := range c.contenders {
		row := report.Row{Topic: "growth", Name: fmt.Sprintf("processor time of a cold image, %s %s", v.name, where), Unit: report.Milliseconds, Figure: v.sample(0), Wrong: v.mistake()}
		if i > 0 {
			row.Beside, row.Reference, row.Target = c.contenders[0].name, c.contenders[0].sample(0), report.Times(flat)
		}
		rows = append(rows, row)
	}
	return rows, err
}

const (
	// fillBatch is as many images as one request may name.
	fillBatch = 64
	// fillPart is as many as the registry holds at a time.
	fillPart = 20 * fillBatch
)

// fill has ratify verify so many images.
func (b *Bench) fill(ctx context.Context, c *contender, n int) error {
	for n > 0 {
		part := min(n, fillPart)
		n -= part
		if err := b.fresh(part, b.P256, func(images []world.Image) error { return fillWith(ctx, c, images) }); err != nil {
			return err
		}
	}
	return nil
}

func fillWith(ctx context.Context, c *contender, images []world.Image) error {
	_, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), fillBatch), Concurrency: 2, Retry: crowdPause})
	return err
}
