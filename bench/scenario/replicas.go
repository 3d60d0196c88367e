package scenario

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
	"golang.org/x/sync/errgroup"
)

const (
	// replicaCount is a pod for each of three zones.
	replicaCount = 3
	// replicaRate is how many requests a second are due at all replicas together: what two processors verify with half of
	// their time left, so that the latency is not that of a queue.
	replicaRate = 150
	// replicaAskers is how many wait for one replica at most: twice what is under way at that rate and a delay of 50 ms.
	replicaAskers = 16
	// replicaImages are so many that with three replicas a p99 is not the worst one, and that a run takes two seconds.
	replicaImages = 60
	replicaTopic  = "several replicas"
)

// replicas asks processes in turn, as a Service does with its pods. They share nothing, so that each image is read and verified
// by each of them once.
func replicas(ctx context.Context, b *Bench) ([]report.Row, error) {
	group := make([]*contender, replicaCount)
	for i := range group {
		var err error
		if group[i], err = b.ratify(ctx, setup{config: b.trust(b.RSA)}); err != nil {
			return nil, err
		}
	}
	var rows []report.Row
	for _, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond} {
		more, err := b.inTurn(ctx, group, delay)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// inTurn asks for fresh images until each replica has seen each, and then for all of them once more.
func (b *Bench) inTurn(ctx context.Context, group []*contender, delay time.Duration) ([]report.Row, error) {
	defer b.slow(delay)()
	n := b.size(replicaImages, 20)
	name := fmt.Sprintf("%d replicas asked in turn for %d images, registry delay %v", len(group), n, delay)
	all := &contest{contenders: []*contender{{name: "ratify"}}}
	err := all.run(ctx, b, name, func(ctx context.Context, _ *contender) (values []float64, err error) {
		err = b.fresh(n, b.RSA, func(images []world.Image) error {
			before, err := verifiedByAll(ctx, group)
			if err != nil {
				return err
			}
			b.Registry.Reset()
			cold, err := rounds(ctx, group, references(images), 0, len(group))
			if err != nil {
				return err
			}
			requests := b.requested()
			warm, err := rounds(ctx, group, references(images), len(group), 1)
			if err != nil {
				return err
			}
			after, err := verifiedByAll(ctx, group)
			values = []float64{
				float64(requests) / float64(n), float64(b.requested() - requests), (after - before) / float64(n),
				milliseconds(cold.Percentile(0.5)), milliseconds(cold.Percentile(0.99)), milliseconds(warm.Percentile(0.99)),
			}
			return err
		})
		return values, err
	})
	where := fmt.Sprintf("%d in turn, registry delay %v: ", len(group), delay)
	return []report.Row{
		all.row(0, report.Row{Topic: replicaTopic, Name: where + "requests upstream an image", Target: report.Count(float64(requestsOfImage * len(group)))}),
		all.row(1, report.Row{Topic: replicaTopic, Name: where + "requests upstream when all are asked for again", Target: report.Count(0)}),
		all.row(2, report.Row{Topic: replicaTopic, Name: where + "signatures verified an image", Target: report.Count(float64(len(group)))}),
		all.row(3, report.Row{Topic: replicaTopic, Name: where + "an image that is new to its replica, p50", Unit: report.Milliseconds}),
		all.row(4, report.Row{Topic: replicaTopic, Name: where + "an image that is new to its replica, p99", Unit: report.Milliseconds}),
		all.row(5, report.Row{Topic: replicaTopic, Name: where + "an image that it knows, p99", Unit: report.Milliseconds}),
	}, err
}

// rounds asks for each key once a round. Whichever replica gets a key in one round, the next one gets it in the round after.
func rounds(ctx context.Context, group []*contender, keys []string, first, count int) (load.Result, error) {
	order := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same order in every run
	var all load.Result
	for round := first; round < first+count; round++ {
		parts := make([][]string, len(group))
		for i, key := range keys {
			turn := (i + round) % len(group)
			parts[turn] = append(parts[turn], key)
		}
		for _, part := range parts {
			order.Shuffle(len(part), func(i, j int) { part[i], part[j] = part[j], part[i] })
		}
		result, err := askEach(ctx, group, parts)
		all.Latencies = append(all.Latencies, result.Latencies...)
		all.CPU += result.CPU
		if err != nil {
			return all, err
		}
	}
	slices.Sort(all.Latencies)
	return all, nil
}

// askEach asks each replica for its keys, all replicas at the same time, and gathers what load.Result says of answers and of
// processors. What is not right is an error.
func askEach(ctx context.Context, group []*contender, parts [][]string) (all load.Result, err error) {
	results := make([]load.Result, len(group))
	var running errgroup.Group
	for i, replica := range group {
		running.Go(func() (err error) {
			results[i], err = ask(ctx, replica.target, load.Plan{
				Requests: load.Batches(parts[i], 1), Rate: float64(replicaRate) / float64(len(group)), Concurrency: replicaAskers, Retry: lateRetry,
			})
			return err
		})
	}
	err = running.Wait()
	for _, result := range results {
		all.Latencies = append(all.Latencies, result.Latencies...)
		all.CPU += result.CPU
	}
	slices.Sort(all.Latencies)
	return all, err
}

func verifiedByAll(ctx context.Context, group []*contender) (sum float64, err error) {
	for _, replica := range group {
		n, oneErr := verified(ctx, replica)
		sum, err = sum+n, errors.Join(err, oneErr)
	}
	return sum, err
}
