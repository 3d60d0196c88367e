package scenario

import (
	"context"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// sequenceDelay is long against what passes between a request and the one that follows from its answer, so that requests
// which were sent beside one another overlap.
const sequenceDelay = 20 * time.Millisecond

// tokenLife is longer than the scenario.
const tokenLife = 5 * time.Minute

// requests counts what one image costs the registry, and how many of these requests had to wait for one another.
func requests(ctx context.Context, b *Bench) ([]report.Row, error) {
	defer b.slow(sequenceDelay)()
	var rows []report.Row
	for _, part := range []func(context.Context, *Bench) ([]report.Row, error){plainRequests, tokenRequests, cosignRequests} {
		more, err := part(ctx, b)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// A tally is of the requests for each of some images.
type tally struct {
	total, sequence report.Sample
}

func (t tally) rows(name string, total, sequence float64) []report.Row {
	return []report.Row{
		{Topic: "requests upstream", Name: name, Figure: t.total, Target: report.Count(total)},
		{Topic: "requests upstream", Name: name + ": one after another", Figure: t.sequence, Target: report.Count(sequence)},
	}
}

// tally asks for images one by one, by their keys.
func (b *Bench) tally(ctx context.Context, c *contender, images []world.Image, key func(world.Image) string) (t tally, err error) {
	for _, image := range images {
		trace := b.Registry.Trace()
		_, err := ask(ctx, c.target, load.Plan{Requests: []load.Request{load.NewRequest(key(image))}})
		made := trace.Stop()
		if err != nil {
			return t, err
		}
		t.total = append(t.total, float64(len(made)))
		t.sequence = append(t.sequence, float64(len(world.Sequence(made))))
	}
	return t, nil
}

func byDigest(image world.Image) string { return image.Reference }
func byTag(image world.Image) string    { return image.Tagged }

func plainRequests(ctx context.Context, b *Bench) ([]report.Row, error) {
	b.Progress("requests by digest and by tag")
	c, err := b.ratify(ctx, setup{config: b.trust(b.RSA)})
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	err = b.fresh(2*b.runs(), b.RSA, func(images []world.Image) error {
		digests, err := b.tally(ctx, c, images[:b.runs()], byDigest)
		if err != nil {
			return err
		}
		rows = append(rows, digests.rows("by digest", 4, 3)...)
		tags, err := b.tally(ctx, c, images[b.runs():], byTag)
		rows = append(rows, tags.rows("by tag", 4, 4)...)
		return err
	})
	return rows, err
}

// tokenRequests are with bearer tokens. What is asked first of a registry is not counted: from then on it is known how the
// registry wants to be asked.
func tokenRequests(ctx context.Context, b *Bench) ([]report.Row, error) {
	b.Progress("requests with tokens")
	b.Registry.SetTokens(tokenLife)
	defer b.Registry.SetTokens(0)
	c, err := b.ratify(ctx, setup{config: b.trust(b.RSA)})
	if err != nil {
		return nil, err
	}
	var first, second tally
	err = b.fresh(1+b.runs(), b.RSA, func(images []world.Image) error {
		if _, err := b.tally(ctx, c, images[:1], byDigest); err != nil {
			return err
		}
		first, err = b.tally(ctx, c, images[1:], byDigest)
		return err
	})
	if err != nil {
		return nil, err
	}
	b.Registry.SetRepositories(1)
	defer b.Registry.SetRepositories(0)
	err = b.fresh(1+b.runs(), b.RSA, func(images []world.Image) error {
		if _, err := b.tally(ctx, c, images[:1], byDigest); err != nil {
			return err
		}
		second, err = b.tally(ctx, c, images[1:], byDigest)
		return err
	})
	return append(first.rows("with tokens, the first image of a repository", 5, 4), second.rows("with tokens, the next ones", 4, 3)...), err
}

// cosignRequests are with cosign's tags looked for, in images that have such a signature and in images that have not.
func cosignRequests(ctx context.Context, b *Bench) ([]report.Row, error) {
	b.Progress("requests with cosign's tags")
	tagged, err := world.NewSigner(world.CosignSig)
	if err != nil {
		return nil, err
	}
	config := b.trust(b.RSA, tagged)
	config.CosignTags = true
	config.Cache = map[string]any{"ttl": shortVerdict.String()}
	c, err := b.ratify(ctx, setup{config: config})
	if err != nil {
		return nil, err
	}
	var rows []report.Row
	err = b.fresh(b.runs(), tagged, func(images []world.Image) error {
		t, err := b.tally(ctx, c, images, byDigest)
		rows = append(rows, t.rows("cosignTags, signed under a tag", 4, 2)...)
		return err
	})
	if err != nil {
		return rows, err
	}
	err = b.fresh(b.runs(), b.RSA, func(images []world.Image) error {
		more, err := b.absentTags(ctx, c, config, images)
		rows = append(rows, more...)
		return err
	})
	return rows, err
}

// shortVerdict ends before the memory of what is not under a tag does, which is the refusals' 10 s.
const shortVerdict = time.Second

// absentTags asks three times for images that have nothing under cosign's tag: at first, when the verdicts have ended, and
// under another configuration, which takes nobody's word for what is absent.
func (b *Bench) absentTags(ctx context.Context, c *contender, config world.Config, images []world.Image) ([]report.Row, error) {
	first, err := b.tally(ctx, c, images, byDigest)
	rows := first.rows("cosignTags, signed by Notation", 5, 3)
	if err != nil {
		return rows, err
	}
	select {
	case <-time.After(shortVerdict):
	case <-ctx.Done():
		return rows, ctx.Err()
	}
	ended, err := b.tally(ctx, c, images, byDigest)
	rows = append(rows, ended.rows("the same when the verdict has ended: no .sig is looked for", 1, 1)...)
	if err != nil {
		return rows, err
	}
	config.Policies = 2
	if err := c.server.Reload(ctx, config); err != nil {
		return rows, err
	}
	reloaded, err := b.tally(ctx, c, images, byDigest)
	return append(rows, reloaded.rows("the same after a reload: .sig is looked for beside the referrers", 2, 1)...), err
}
