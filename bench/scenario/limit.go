package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

const (
	// limitTopic is about a registry of which many take too much.
	limitTopic = "a registry that limits"
	// limitPause is how long a controller waits before it makes a pod again: Kubernetes begins with less, and doubles it.
	limitPause = time.Second
	// answerWithin is the deadline of a verification as ratify serve has it, 1.8 s, and 200 ms for the way.
	answerWithin = 2.0
	// requestsOfImage is what a cold image costs.
	requestsOfImage = 4
)

// limited asks a registry that allows so many requests a second, and answers 429 beyond. Nobody can be faster than its limit;
// those whose time runs out must be told in time, and ask again.
func limited(ctx context.Context, b *Bench) ([]report.Row, error) {
	rate, n, pause := 20, 200, limitPause
	if b.Quick {
		rate, n, pause = 100, 60, crowdPause
	}
	c, err := b.ratify(ctx, setup{config: b.trust(b.RSA)})
	if err != nil {
		return nil, err
	}
	b.Registry.SetLimit(float64(rate), rate)
	defer b.Registry.SetLimit(0, 0)
	name := fmt.Sprintf("%d requests a second, %d images in requests of %d", rate, n, batch)
	implied := float64(requestsOfImage*n-rate) / float64(rate) // its first second is free: the bucket is full
	b.Progress(fmt.Sprintf("%s: this takes %.0f s at least", name, implied))
	var rows []report.Row
	err = b.fresh(n, b.RSA, func(images []world.Image) error {
		b.Registry.Reset()
		requests := load.Batches(references(images), batch)
		result, err := load.Run(ctx, c.target, load.Plan{Requests: requests, Concurrency: len(requests), Retry: pause})
		if err != nil {
			return err
		}
		counts := b.Registry.Counts()
		wrong := ""
		if err := result.Err(); err != nil {
			wrong = err.Error()
		}
		refused := float64(len(requests) - len(result.Latencies))
		b.Registry.Reset()
		if _, err := ask(ctx, c.target, load.Plan{Requests: requests}); err != nil {
			return err
		}
		rows = []report.Row{
			{Topic: limitTopic, Name: name + ": all answered after", Unit: report.Seconds, Figure: report.Sample{result.Took.Seconds()},
				Beside: "the limit", Reference: report.Sample{implied}, Target: report.Times(1.2), Wrong: wrong},
			{Topic: limitTopic, Name: "requests that were refused in the end", Figure: report.Sample{refused}, Target: report.Count(0)},
			{Topic: limitTopic, Name: "longest wait for one answer", Unit: report.Seconds, Figure: report.Sample{result.LongestAttempt.Seconds()}, Target: report.Below(answerWithin)},
			{Topic: limitTopic, Name: "answers 429 for each one needed", Figure: report.Sample{float64(counts[world.Limited]) / float64(requestsOfImage*n)}},
			{Topic: limitTopic, Name: "requests upstream when all are asked for again", Figure: report.Sample{float64(b.requested())}, Target: report.Count(0)},
		}
		return nil
	})
	return rows, err
}
