// Package containment leads the program astray: registries, token servers, proxies and certificates that want it to go where
// it may not go, and to say to others what was entrusted to it. After each script every canary and every secret is looked
// at (P3, P4). Begin at Part; the scripts are in targets.go, registry.go, credentials.go and references.go.
package containment

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

// Part is the part.
func Part() promise.Part {
	return promise.Part{
		Name:  "containment",
		About: "registries, token servers, proxies and certificates that lead astray: no secret elsewhere, no connection to where none may go",
		Run:   Run,
	}
}

// cellCommand is the command that runs this package in a cell.
const cellCommand = "./hostile/containment/cell"

// Run measures in a cell, or, where the system gives none, on the loopback interface: without names and public addresses, and
// without the kernel's count. What is not measured then is said.
func Run(ctx context.Context, env promise.Env) (promise.Report, error) {
	report, err := lab.RunCell(ctx, env, cellCommand)
	if !errors.Is(err, lab.ErrNoCell) {
		return report, err
	}
	return run(ctx, env, false, err)
}

// InCell measures in the cell in which this process is.
func InCell(ctx context.Context, env promise.Env) (promise.Report, error) {
	return run(ctx, env, true, nil)
}

func run(ctx context.Context, env promise.Env, cell bool, why error) (report promise.Report, err error) {
	l, err := lab.New(filepath.Join(env.Dir, "lab"))
	if err != nil {
		return report, err
	}
	// What was found is in the report; that the lab says so once more is no other news.
	defer func() { _ = l.Close() }()
	w, err := newWorld(ctx, l, cell, env.Quick)
	if err != nil {
		return report, err
	}
	if err := w.start(ctx, env.Binary); err != nil {
		return report, err
	}
	for i, a := range w.arenas {
		if env.Progress != nil && i%50 == 0 {
			env.Progress(fmt.Sprintf("script %d of %d", i+1, len(w.arenas)))
		}
		if err := w.try(ctx, a); err != nil {
			return report, fmt.Errorf("%s: %s: %w", a.kind, a.name, err)
		}
	}
	if err := w.commands(ctx, env.Binary); err != nil {
		return report, err
	}
	// Each reads its page of metrics before it ends.
	if err := errors.Join(w.program.Stop(), w.tenancy.Stop()); err != nil {
		return report, err
	}
	return w.report(why)
}

// askTimeout is above the program's own deadline.
const askTimeout = 10 * time.Second

// try has a program meet one script, and looks at every canary and every secret after it.
func (w *world) try(ctx context.Context, a *arena) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	asked := w.program
	if a.namespace != "" {
		asked = w.tenancy
	}
	reply, err := asked.Verify(ctx, a.key)
	if err != nil {
		return err
	}
	a.got = reply.Of(a.key)
	if a.namespace == "" {
		if _, err := asked.Mutate(ctx, a.key); err != nil {
			return err
		}
	}
	a.leaks = w.watch.Leaks()
	noticed := w.lab.Noticed()
	a.touched, w.noticed = noticed-w.noticed, noticed
	return nil
}

// commands has the commands that people run meet some of the scripts, for they print more than the provider answers.
func (w *world) commands(ctx context.Context, binary string) error {
	for i, a := range w.arenas {
		if a.namespace != "" || i%commandStride != 0 {
			continue
		}
		for _, args := range [][]string{{"verify", "--config", w.config, a.key}, {"login-check", "--config", w.config, a.key}} {
			output, code, err := w.lab.Command(ctx, binary, args...)
			if err != nil {
				return fmt.Errorf("ratify %s: %w: %s", args[0], err, output)
			}
			w.commandsRun++
			if args[0] == "verify" && code == 0 && !a.may && !a.must {
				w.admitted = append(w.admitted, a.kind+": "+a.name+", by ratify verify")
			}
		}
	}
	return nil
}
