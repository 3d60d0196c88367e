package scenario

import (
	"context"
	"runtime"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
	"golang.org/x/sync/errgroup"
)

// processor measures what an image costs: the first one of a signer, and one by a signer that was seen before.
func processor(ctx context.Context, b *Bench) ([]report.Row, error) {
	first, err := firstBySigner(ctx, b)
	if err != nil {
		return nil, err
	}
	known, err := knownSigner(ctx, b)
	return append(first, known...), err
}

// firstBySigner starts the processes anew for each run, for they may remember a signer.
func firstBySigner(ctx context.Context, b *Bench) ([]report.Row, error) {
	b.Progress("make keys of RSA")
	signers := make([]*world.Signer, b.size(32, 4))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range signers {
		group.Go(func() (err error) {
			signers[i], err = world.NewSigner(world.NotationRSA)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	c, err := b.contest(ctx, setup{config: b.trust(append(signers, b.RSA)...), floor: true})
	if err != nil {
		return nil, err
	}
	row := report.Row{Topic: cpuTopic, Name: "RSA-2048, the first image of its signer", Unit: report.Milliseconds, Target: b.target(report.Times(1.15))}
	err = c.run(ctx, b, row.Name, func(ctx context.Context, c *contender) (values []float64, err error) {
		if err := c.restart(ctx, b); err != nil {
			return nil, err
		}
		if err := b.warmUp(ctx, c); err != nil {
			return nil, err
		}
		var images []world.Image
		for _, signer := range signers {
			one, err := b.Registry.Images(1, signer)
			if err != nil {
				return nil, err
			}
			images = append(images, one...)
		}
		defer b.Registry.Forget(images)
		return cpuPerImage(ctx, c, images)
	})
	return []report.Row{c.row(0, row)}, err
}

const cpuTopic = "processor time of a cold image"

// knownSigner measures images by a signer that the processes have seen.
func knownSigner(ctx context.Context, b *Bench) ([]report.Row, error) {
	c, err := b.contest(ctx, setup{config: b.trust(b.RSA), floor: true})
	if err != nil {
		return nil, err
	}
	row := report.Row{Topic: cpuTopic, Name: "RSA-2048, by a signer seen before", Unit: report.Milliseconds, Target: b.target(report.Times(0.80))}
	n := b.size(300, 20)
	err = c.run(ctx, b, row.Name, func(ctx context.Context, c *contender) (values []float64, err error) {
		if err := b.warmUp(ctx, c); err != nil {
			return nil, err
		}
		err = b.fresh(n, b.RSA, func(images []world.Image) error {
			values, err = cpuPerImage(ctx, c, images)
			return err
		})
		return values, err
	})
	return []report.Row{c.row(0, row)}, err
}

// warmUp has a process open its connections, and do once what it does but once.
func (b *Bench) warmUp(ctx context.Context, c *contender) error {
	return b.fresh(cpuAskers, b.RSA, func(images []world.Image) error {
		_, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), 1), Concurrency: cpuAskers, Retry: lateRetry})
		return err
	})
}

// cpuAskers keep the process from idling between requests: falling asleep and waking up costs more than some answers.
const cpuAskers = 4

// cpuPerImage asks for each image by itself; the value is in milliseconds.
func cpuPerImage(ctx context.Context, c *contender, images []world.Image) ([]float64, error) {
	result, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), 1), Concurrency: cpuAskers, Retry: lateRetry})
	return []float64{milliseconds(result.CPU) / float64(len(images))}, err
}
