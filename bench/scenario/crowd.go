package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// crowdDelay makes the first verification take long enough that everybody else arrives meanwhile.
const crowdDelay = 50 * time.Millisecond

// crowd asks for few images by many at once.
func crowd(ctx context.Context, b *Bench) ([]report.Row, error) {
	defer b.slow(crowdDelay)()
	rows, err := callers(ctx, b)
	if err != nil {
		return rows, err
	}
	more, err := pods(ctx, b)
	return append(rows, more...), err
}

// callers all ask for one image. Those whom the provider has no place for are told so, and ask again.
func callers(ctx context.Context, b *Bench) ([]report.Row, error) {
	n := b.size(1000, 100)
	name := fmt.Sprintf("%d callers, one image", n)
	return b.rush(ctx, name, 1, func(images []world.Image) load.Plan {
		return load.Plan{Requests: load.Batches(references(images), 1), Total: n, Concurrency: n, Retry: crowdPause}
	})
}

// crowdPause is how long a caller waits who was told that there was no place.
const crowdPause = 100 * time.Millisecond

// podsAtOnce and distinctImages are a rollout: every pod has some of few images.
const (
	podsAtOnce     = 50
	distinctImages = 30
	mostForPods    = 2 // seconds
)

func pods(ctx context.Context, b *Bench) ([]report.Row, error) {
	name := fmt.Sprintf("%d pods of %d out of %d images, registry delay %v", podsAtOnce, batch, distinctImages, crowdDelay)
	order := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same pods in every run
	return b.rush(ctx, name, distinctImages, func(images []world.Image) load.Plan {
		var requests []load.Request
		for pod := range podsAtOnce {
			keys := references(images)
			// The first pods have each image once between them, the others any.
			if pod*batch < len(keys) {
				keys = keys[pod*batch:]
			} else {
				order.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
			}
			requests = append(requests, load.NewRequest(keys[:batch]...))
		}
		return load.Plan{Requests: requests, Concurrency: len(requests), Retry: crowdPause}
	})
}

// rush runs a plan of requests that come at once, for so many images.
func (b *Bench) rush(ctx context.Context, name string, images int, plan func([]world.Image) load.Plan) ([]report.Row, error) {
	c, err := b.ratify(ctx, setup{config: b.trust(b.RSA)})
	if err != nil {
		return nil, err
	}
	only := &contest{contenders: []*contender{c}}
	err = only.run(ctx, b, name, func(ctx context.Context, c *contender) (values []float64, err error) {
		err = b.fresh(images, b.RSA, func(images []world.Image) error {
			before, err := verified(ctx, c)
			if err != nil {
				return err
			}
			b.Registry.Reset()
			result, err := ask(ctx, c.target, plan(images))
			if err != nil {
				return err
			}
			after, err := verified(ctx, c)
			values = []float64{result.Took.Seconds(), float64(b.requested()), after - before, float64(result.Attempts - len(result.Latencies))}
			return err
		})
		return values, err
	})
	most := report.Target{}
	if images == distinctImages {
		most = report.Below(mostForPods)
	}
	return []report.Row{
		only.row(0, report.Row{Topic: "many at once", Name: name + ": all answered after", Unit: report.Seconds, Target: most}),
		only.row(1, report.Row{Topic: "many at once", Name: name + ": requests upstream", Target: report.Count(float64(4 * images))}),
		only.row(2, report.Row{Topic: "many at once", Name: name + ": signatures verified", Target: report.Count(float64(images))}),
		only.row(3, report.Row{Topic: "many at once", Name: name + ": asked again, for want of a place or of time", Note: "512 requests are served at once"}),
	}, err
}
