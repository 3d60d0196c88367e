// Command hostile holds ratify against a hostile world, and prints what was measured of each promise. It fails unless all that was
// measured is held. Begin at parts, and at package lab.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
	"github.com/ratify-provider/ratify/test/hostile/containment"
	"github.com/ratify-provider/ratify/test/hostile/matrix"
	"github.com/ratify-provider/ratify/test/hostile/overload"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/hostile/random"
	"github.com/ratify-provider/ratify/test/hostile/resources"
	"github.com/ratify-provider/ratify/test/hostile/template"
	"github.com/ratify-provider/ratify/test/hostile/upheaval"
	"github.com/ratify-provider/ratify/test/program"
)

// parts are what is measured, in the order in which it is. Whatever makes the machine busy comes last.
func parts() []promise.Part {
	return []promise.Part{template.Part(), matrix.Part(), containment.Part(), random.Part(), upheaval.Part(), overload.Part(), resources.Part()}
}

func main() {
	if err := command(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

func command(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}

// options are the flags.
type options struct {
	list, quick   bool
	choose, write string
	binary        string
	seed          uint64
	worlds        int
}

func parse(args []string, words io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("hostile", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.BoolVar(&o.list, "list", false, "list the parts, and run none")
	flags.StringVar(&o.choose, "run", "", "run the parts alone whose names match this regular expression")
	flags.BoolVar(&o.quick, "quick", false, "a slice that takes seconds: for whether answers are right, not for how long they hold")
	flags.StringVar(&o.write, "write", "", "page whose generated part is replaced by the results")
	flags.StringVar(&o.binary, "binary", "", "ratify to measure, instead of one that is built from this repository")
	flags.Uint64Var(&o.seed, "seed", 0, "where random choices begin; the same seed makes the same choices (0: any, which is printed)")
	flags.IntVar(&o.worlds, "worlds", 0, "how many random worlds are asked of (20000)")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.worlds < 0 {
		return nil, fmt.Errorf("-worlds %d is less than 0", o.worlds)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano()) //nolint:gosec // any number is a seed
	}
	return o, nil
}

// chosen are the parts that were asked for.
func (o *options) chosen() ([]promise.Part, error) {
	pattern, err := regexp.Compile(o.choose)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	chosen := slices.DeleteFunc(parts(), func(p promise.Part) bool { return !pattern.MatchString(p.Name) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-run %q names no part; -list tells their names", o.choose)
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	if o.list {
		for _, p := range chosen {
			fmt.Fprintf(out, "  %-12s%s\n", p.Name, p.About)
		}
		return nil
	}
	began := time.Now()
	whole, err := measure(ctx, o, chosen, progress)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n%s, %s, seed %d, %s\n", report.Machine(), report.Commit("."), began.Format(time.DateOnly), o.seed, time.Since(began).Round(time.Second))
	whole.Print(out)
	if o.quick {
		fmt.Fprintln(out, "A quick run is for whether answers are right. Its bounds on times, rates and memory are wider than what is promised, and say nothing of it.")
	}
	if o.write != "" {
		if err := report.WriteGenerated(o.write, "make hostile", func(w io.Writer) {
			fmt.Fprintf(w, "%s, commit %s, %s, in %s.\n", report.Machine(), report.Commit("."), began.Format(time.DateOnly), time.Since(began).Round(time.Second))
			whole.Markdown(w)
		}); err != nil {
			return err
		}
	}
	if left := whole.Unmeasured(); o.choose == "" && len(left) > 0 {
		return fmt.Errorf("%d promises were not measured, the first is %s: %s", len(left), left[0].ID, left[0].Text)
	}
	return whole.Err()
}

// measure runs the parts one after another.
func measure(ctx context.Context, o *options, chosen []promise.Part, progress io.Writer) (promise.Report, error) {
	var whole promise.Report
	dir, err := os.MkdirTemp("", "ratify-hostile-")
	if err != nil {
		return whole, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory of this run
	if o.binary == "" {
		fmt.Fprint(progress, "build ratify")
		root, err := program.Root()
		if err != nil {
			return whole, err
		}
		if o.binary, err = world.BuildRatify(ctx, root, dir); err != nil {
			return whole, err
		}
	}
	began := time.Now()
	for i, p := range chosen {
		env := promise.Env{Binary: o.binary, Dir: filepath.Join(dir, p.Name), Quick: o.quick, Seed: o.seed, Worlds: o.worlds}
		env.Progress = func(what string) {
			fmt.Fprintf(progress, "\r\x1b[K[%d/%d] %s · %s · %s", i+1, len(chosen), time.Since(began).Round(time.Second), p.Name, what)
		}
		env.Progress(p.About)
		if err := os.Mkdir(env.Dir, 0o750); err != nil {
			return whole, err
		}
		part, err := p.Run(ctx, env)
		if err != nil {
			return whole, fmt.Errorf("%s: %w", p.Name, err)
		}
		whole.Add(part)
	}
	fmt.Fprintf(progress, "\r\x1b[Kmeasured in %s\n", time.Since(began).Round(time.Second))
	return whole, ctx.Err()
}
