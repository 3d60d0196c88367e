// Package overload measures what is left of the answers when others take what they can: while half of the traffic names
// images of registries that never answer (P7), and while three times as much is asked as can be done (P8).
//
// Load is open-loop: a request is sent when it is due, whether or not the ones before it are answered, for a cluster does
// not wait either. Every answer is checked. Begin at Part.
package overload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/world"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	// verifyTime is the deadline of a verification in an installation as it should be: the webhook's 5 s less 200 ms.
	// quickVerifyTime is for the quick run, which waits for what is stuck more often than for anything else.
	verifyTime, quickVerifyTime = 4800 * time.Millisecond, 1800 * time.Millisecond
	// writeTime is from the program's deadline to the webhook's.
	writeTime = 200 * time.Millisecond
)

// Part measures P7 and P8.
func Part() promise.Part {
	return promise.Part{
		Name:  "overload",
		About: "half of the traffic on stuck registries, and three times what can be done",
		Run:   run,
	}
}

func run(ctx context.Context, env promise.Env) (report promise.Report, err error) {
	s, err := newStage(env)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	bulkhead, err := s.bulkheads(ctx)
	if err != nil {
		return report, fmt.Errorf("bulkhead: %w", err)
	}
	report.Add(bulkhead)
	saturation, err := s.saturations(ctx)
	if err != nil {
		return report, fmt.Errorf("overload: %w", err)
	}
	report.Add(saturation)
	return report, nil
}

// A stage is what all measurements share: one healthy registry and whom to trust.
type stage struct {
	env      promise.Env
	pki      *world.PKI
	registry *world.Registry
	signer   *world.Signer // of the Notary Project
	cosign   *world.Signer // who signs nothing here: trusting it has cosign's tags looked for
}

func newStage(env promise.Env) (*stage, error) {
	s := &stage{env: env}
	var err error
	if s.pki, err = world.NewPKI(filepath.Join(env.Dir, "pki")); err != nil {
		return nil, err
	}
	if s.signer, err = world.NewSigner(world.NotationP256); err != nil {
		return nil, err
	}
	if s.cosign, err = world.NewSigner(world.CosignSig); err != nil {
		return nil, err
	}
	s.registry, err = world.NewRegistry(world.RegistryOptions{})
	return s, err
}

func (s *stage) close() error { return s.registry.Close() }

// choose is a size of the whole measurement, or of the quick one.
func choose[T any](s *stage, whole, quick T) T {
	if s.env.Quick {
		return quick
	}
	return whole
}

// verifyTime is the program's deadline, patience the webhook's own: what comes later decides nothing.
func (s *stage) verifyTime() time.Duration { return choose(s, verifyTime, quickVerifyTime) }
func (s *stage) patience() time.Duration   { return s.verifyTime() + writeTime }

// start starts the program under test; edit changes its configuration.
func (s *stage) start(ctx context.Context, config world.Config) (*world.Server, error) {
	config.Registry = s.registry
	config.Signers = append(config.Signers, s.signer)
	return world.StartRatify(ctx, s.env.Binary, config, world.Options{
		PKI: s.pki, Dir: s.env.Dir, Args: []string{"--verify-timeout=" + s.verifyTime().String()},
	})
}

// forget removes images of a measurement that is over.
func (s *stage) forget(images []world.Image) { s.registry.Forget(images) }

func references(images []world.Image) []string {
	references := make([]string, len(images))
	for i, image := range images {
		references[i] = image.Reference
	}
	return references
}

// introduction is asked first on each connection, and refused without any work.
func introduction() load.Request { return load.NewRequest("no image") }

// tally is errors by their text, as few as a reader takes in.
func tally(errs map[string]int) string {
	const most = 5
	var parts []string
	for _, text := range slices.Sorted(maps.Keys(errs)) {
		parts = append(parts, fmt.Sprintf("%d × %s", errs[text], text))
	}
	if len(parts) > most {
		parts = append(parts[:most], fmt.Sprintf("%d more sorts", len(parts)-most))
	}
	return strings.Join(parts, "; ")
}

// quickNote is beside what a quick run measures.
func (s *stage) quickNote() string {
	return choose(s, "", "a quick run has other programs beside it: its times are judged loosely")
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
