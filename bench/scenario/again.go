package scenario

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// batch is how many images a pod has.
const batch = 10

// again asks for the same images under another configuration, and of another process that has the same directory of
// contents. What is attached to an image may have changed meanwhile, so that is asked; nothing else is.
func again(ctx context.Context, b *Bench) ([]report.Row, error) {
	keyA, errA := world.NewSigner(world.CosignBundle)
	keyB, errB := world.NewSigner(world.CosignBundle)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	var rows []report.Row
	err := b.fresh(b.size(100, 20), b.RSA, func(images []world.Image) (err error) {
		config := b.trust(b.RSA, keyA)
		policy, trust := config, b.trust(b.RSA, keyB)
		policy.Policies, trust.Policies = 2, 2
		more, err := reloads(ctx, b, images, config, []change{{"a reload of a policy", policy}, {"a reload of another verifier's trust", trust}})
		if err != nil {
			return err
		}
		rows = append(rows, more...)
		more, err = restarts(ctx, b, images, config)
		rows = append(rows, more...)
		return err
	})
	return rows, err
}

// A change is of the configuration.
type change struct {
	name   string
	config world.Config
}

const againTopic = "the same digests again"

// reloads counts requests and verifications after each change.
func reloads(ctx context.Context, b *Bench, images []world.Image, config world.Config, changes []change) ([]report.Row, error) {
	c, err := b.ratify(ctx, setup{config: config})
	if err != nil {
		return nil, err
	}
	first, err := b.visit(ctx, c, images)
	if err != nil {
		return nil, err
	}
	rows := []report.Row{{Topic: againTopic, Name: plural(len(images), "image") + ", the first time: signatures verified",
		Figure: report.Sample{first.verified}, Target: report.Count(float64(len(images)))}}
	for _, change := range changes {
		b.Progress("the same images after " + change.name)
		if err := c.server.Reload(ctx, change.config); err != nil {
			return rows, err
		}
		seen, err := b.visit(ctx, c, images)
		if err != nil {
			return rows, err
		}
		rows = append(rows,
			report.Row{Topic: againTopic, Name: "after " + change.name + ": requests an image", Figure: report.Sample{seen.requests}, Target: report.Count(1)},
			report.Row{Topic: againTopic, Name: "after " + change.name + ": signatures verified again", Figure: report.Sample{seen.verified}, Target: report.Count(0)})
	}
	return rows, nil
}

// restarts counts the requests of a new process that finds the contents of the one before.
func restarts(ctx context.Context, b *Bench, images []world.Image, config world.Config) ([]report.Row, error) {
	b.Progress("the same images after a restart")
	dir, err := os.MkdirTemp(b.Dir, "content-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left is in the directory of the whole run
	c, err := b.ratify(ctx, setup{config: config, args: []string{"--content-dir=" + dir}})
	if err != nil {
		return nil, err
	}
	if _, err := b.visit(ctx, c, images); err != nil {
		return nil, err
	}
	if err := settled(ctx, dir, contentsOfImage*len(images)); err != nil {
		return nil, err
	}
	if err := c.restart(ctx, b); err != nil {
		return nil, err
	}
	seen, err := b.visit(ctx, c, images)
	row := report.Row{Topic: againTopic, Name: "after a restart, with the contents on disk: requests an image", Figure: report.Sample{seen.requests}, Target: report.Count(1)}
	return []report.Row{row}, err
}

const (
	// contentsOfImage are its manifest, the signature's, and the signature.
	contentsOfImage = 3
	// settleTime bounds the wait for files that are written behind the answers.
	settleTime = 10 * time.Second
	lookTime   = 20 * time.Millisecond
)

// settled waits until so many files are in the directory.
func settled(ctx context.Context, dir string, want int) error {
	for deadline := time.Now().Add(settleTime); ; {
		n := 0
		err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) { // renamed meanwhile
				return nil
			}
			if err == nil && entry.Type().IsRegular() {
				n++
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case n >= want:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s has %d files after %v, expected %d", dir, n, settleTime, want)
		}
		select {
		case <-time.After(lookTime):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// visited is what some images cost.
type visited struct {
	requests float64 // an image
	verified float64 // signatures, in all
}

// visit asks for images in batches, and counts.
func (b *Bench) visit(ctx context.Context, c *contender, images []world.Image) (visited, error) {
	before, err := verified(ctx, c)
	if err != nil {
		return visited{}, err
	}
	b.Registry.Reset()
	if _, err := ask(ctx, c.target, load.Plan{Requests: load.Batches(references(images), batch), Concurrency: 4}); err != nil {
		return visited{}, err
	}
	after, err := verified(ctx, c)
	return visited{requests: float64(b.requested()) / float64(len(images)), verified: after - before}, err
}
