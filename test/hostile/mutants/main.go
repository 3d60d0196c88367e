package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ratify-provider/ratify/test/program"
)

func main() {
	if err := command(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}

// run tries the mutants that args choose, and fails unless each is caught.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(progress)
	choose := flags.String("run", "", "try the mutants alone whose fault, file or package matches this regular expression")
	list := flags.Bool("list", false, "list the mutants, and try none")
	workers := flags.Int("workers", max(1, runtime.NumCPU()), "how many are tried at the same time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	pattern, err := regexp.Compile(*choose)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	chosen := slices.DeleteFunc(All(), func(m Mutant) bool {
		return !pattern.MatchString(m.Fault) && !pattern.MatchString(m.File) && !pattern.MatchString(m.Package)
	})
	if len(chosen) == 0 {
		return fmt.Errorf("-run %q chooses no mutant", *choose)
	}
	if *list {
		return printList(out, chosen)
	}
	root, err := program.Root()
	if err != nil {
		return err
	}
	began := time.Now()
	outcomes, err := tryAll(ctx, root, chosen, min(*workers, len(chosen)), progress)
	if err != nil {
		return err
	}
	return conclude(out, outcomes, time.Since(began))
}

// An Outcome is what became of a mutant.
type Outcome struct {
	Mutant
	// Caught are the tests that failed; none: it lives.
	Caught []string
	// Problem is why it could not be tried.
	Problem error
	Took    time.Duration
}

// tryAll tries each mutant in a copy of the tree, after it has seen that the same tests pass without any.
func tryAll(ctx context.Context, root string, chosen []Mutant, workers int, progress io.Writer) ([]Outcome, error) {
	trees := make(chan *tree, workers)
	for range workers {
		t, err := copyTree(ctx, root)
		if err != nil {
			return nil, err
		}
		defer t.remove()
		trees <- t
	}
	var (
		outcomes = make([]Outcome, len(chosen))
		sound    = healthy{chosen: chosen}
		mu       sync.Mutex
		done     int
		running  sync.WaitGroup
	)
	for i, m := range chosen {
		t := <-trees
		running.Go(func() {
			began := time.Now()
			outcome := Outcome{Mutant: m}
			if outcome.Problem = sound.check(ctx, t, m); outcome.Problem == nil {
				outcome.Caught, outcome.Problem = t.try(ctx, m)
			}
			outcome.Took = time.Since(began)
			trees <- t
			mu.Lock()
			defer mu.Unlock()
			outcomes[i] = outcome
			done++
			fmt.Fprintf(progress, "%3d/%d %s: %s\n", done, len(chosen), m.Fault, outcome.verdict())
		})
	}
	running.Wait()
	return outcomes, ctx.Err()
}

func (o Outcome) verdict() string {
	switch {
	case o.Problem != nil:
		return "NOT TRIED: " + o.Problem.Error()
	case len(o.Caught) == 0:
		return "LIVES"
	case len(o.Caught) > 1:
		return fmt.Sprintf("%s and %d more", o.Caught[0], len(o.Caught)-1)
	default:
		return o.Caught[0]
	}
}

// conclude prints the list by class, and fails unless all were caught.
func conclude(out io.Writer, outcomes []Outcome, took time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	caught := 0
	for _, class := range Classes() {
		first := true
		for _, o := range outcomes {
			if o.Class != class {
				continue
			}
			if first {
				fmt.Fprintf(w, "\n%s\n", class)
				first = false
			}
			if o.Problem == nil && len(o.Caught) > 0 {
				caught++
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", o.Fault, o.Package, o.verdict())
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d mutants, %d caught, in %s\n", len(outcomes), caught, took.Round(time.Second))
	if caught < len(outcomes) {
		return fmt.Errorf("%d of %d mutants were not caught", len(outcomes)-caught, len(outcomes))
	}
	return nil
}

func printList(out io.Writer, chosen []Mutant) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, m := range chosen {
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.Fault, m.File, m.Package)
	}
	return w.Flush()
}
