package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// A Peer is a provider that a reader has installed, and runs.
type Peer struct {
	Name   string
	Target load.Target
}

// A Bench is what the scenarios share.
type Bench struct {
	Registry *world.Registry
	PKI      *world.PKI
	// RSA is the signer of most images: a leaf of RSA-2048 under a root of RSA-3072. P256 is a cheap one, for very many.
	RSA, P256 *world.Signer
	// Dir is for configurations, logs and caches of the processes.
	Dir string
	// Binary is the ratify that is measured.
	Binary string
	// Rival, if not empty, is the binary of another build, which then stands in the place of the floor and the echo.
	Rival, RivalName string
	Peers            []Peer
	// Quick is for small sizes and few runs; Runs, if not 0, is how many runs there are.
	Quick bool
	Runs  int
	// Progress is told what is under way.
	Progress func(string)

	servers []*world.Server // of the scenario that runs
}

const (
	// fullRuns lets a median leave out the three worst, which a busy machine makes.
	fullRuns = 7
	// quickRuns show that what is right is so more than once.
	quickRuns = 2
)

// Run runs a scenario and ends what it started. What prevents the scenario is a row that is wrong; an error is the end of ctx.
func (b *Bench) Run(ctx context.Context, s Scenario) ([]report.Row, error) {
	rows, err := s.run(ctx, b)
	for _, server := range b.servers {
		err = errors.Join(err, server.Stop())
	}
	b.servers = nil
	if ctx.Err() != nil {
		return rows, ctx.Err()
	}
	if err != nil {
		rows = append(rows, report.Row{Topic: s.Name, Name: s.About, Wrong: err.Error()})
	}
	return rows, nil
}

func (b *Bench) runs() int {
	switch {
	case b.Runs > 0:
		return b.Runs
	case b.Quick:
		return quickRuns
	}
	return fullRuns
}

// size is n, or what is given for a quick run.
func (b *Bench) size(n, quick int) int {
	if b.Quick {
		return quick
	}
	return n
}

// A setup says how ratify is started, and what runs beside it.
type setup struct {
	config world.Config
	args   []string
	env    []string
	// floor and peers are measured beside it. A rival is measured wherever it can be.
	floor, peers bool
}

// trust is a configuration that trusts these signers.
func (b *Bench) trust(signers ...*world.Signer) world.Config {
	return world.Config{Registry: b.Registry, Signers: signers}
}

func (b *Bench) options(s setup) world.Options {
	return world.Options{PKI: b.PKI, Dir: b.Dir, Args: s.args, Env: s.env}
}

// ratify starts the binary that is measured.
func (b *Bench) ratify(ctx context.Context, s setup) (*contender, error) {
	return b.begin(ctx, "ratify", func(ctx context.Context) (*world.Server, error) {
		return world.StartRatify(ctx, b.Binary, s.config, b.options(s))
	})
}

// begin starts a contender.
func (b *Bench) begin(ctx context.Context, name string, start func(context.Context) (*world.Server, error)) (*contender, error) {
	c := &contender{name: name, start: start}
	return c, c.restart(ctx, b)
}

// contest starts ratify and what is measured beside it.
func (b *Bench) contest(ctx context.Context, s setup) (*contest, error) {
	ours, err := b.ratify(ctx, s)
	if err != nil {
		return nil, err
	}
	c := &contest{contenders: []*contender{ours}}
	switch {
	case b.Rival != "":
		err = c.beside(b.begin(ctx, b.RivalName, func(ctx context.Context) (*world.Server, error) {
			return world.StartRatify(ctx, b.Rival, s.config, b.options(s))
		}))
	case s.floor:
		err = c.beside(b.begin(ctx, "floor", func(ctx context.Context) (*world.Server, error) {
			return world.StartFloor(ctx, b.Registry, s.config.Signers, b.options(setup{env: s.env}))
		}))
	}
	if s.peers {
		for _, peer := range b.Peers {
			c.contenders = append(c.contenders, &contender{name: peer.Name, target: peer.Target})
		}
	}
	return c, err
}

// target is what a figure must be, unless two builds are compared: then nothing is demanded of the one that counts.
func (b *Bench) target(t report.Target) report.Target {
	if b.Rival != "" {
		return report.Target{}
	}
	return t
}

// fresh gives images that nobody has asked for, and takes them away after use.
func (b *Bench) fresh(n int, signer *world.Signer, use func([]world.Image) error) error {
	images, err := b.Registry.Images(n, signer)
	if err != nil {
		return fmt.Errorf("make %d images: %w", n, err)
	}
	defer b.Registry.Forget(images)
	return use(images)
}

// slow sets the registry's delay until the function that is returned is called.
func (b *Bench) slow(delay time.Duration) (restore func()) {
	b.Registry.SetDelay(delay)
	return func() { b.Registry.SetDelay(0) }
}

// requested is how many requests the registry has had since its last Reset, those to its token server included.
func (b *Bench) requested() int {
	n := 0
	for _, count := range b.Registry.Counts() {
		n += count
	}
	return n
}

// verified is how many signatures ratify has verified so far, in earnest. The series of a verifier begins with its first.
func verified(ctx context.Context, c *contender) (float64, error) {
	metrics, err := c.server.Metrics(ctx)
	sum := 0.0
	for series, value := range metrics {
		if strings.HasPrefix(series, "ratify_signatures_verified_total") {
			sum += value
		}
	}
	return sum, err
}

// ask asks a provider as the plan says; what is not right is an error.
func ask(ctx context.Context, target load.Target, plan load.Plan) (load.Result, error) {
	result, err := load.Run(ctx, target, plan)
	return result, errors.Join(err, result.Err())
}

// references are the keys of images by digest.
func references(images []world.Image) []string {
	keys := make([]string, len(images))
	for i, image := range images {
		keys[i] = image.Reference
	}
	return keys
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(n int64) float64 { return float64(n) / 1e6 }
