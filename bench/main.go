// Command bench measures ratify, and what it is compared with in the same run: see README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/scenario"
	"github.com/ratify-provider/ratify/bench/world"
)

func main() {
	if err := command(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command is the program, or one of the servers that it starts: those are itself again, and end by a signal as any does.
func command(args []string) error {
	if len(args) > 0 && args[0] == world.FloorCommand {
		return world.RunFloor(args[1:])
	}
	if len(args) > 0 && args[0] == world.EchoCommand {
		return world.RunEcho(args[1:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}

// run measures what args ask for, and prints it.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	chosen, err := o.scenarios()
	if err != nil {
		return err
	}
	if o.list {
		for _, s := range chosen {
			fmt.Fprintf(out, "  %-10s%s\n", s.Name, s.About)
		}
		return nil
	}
	r, err := measure(ctx, o, chosen, progress)
	if err != nil {
		return err
	}
	return o.deliver(r, out)
}

// options are the flags.
type options struct {
	list, quick, strict       bool
	choose                    string
	runs                      int
	write, json               string
	binary, against, commit   string
	peers                     peers
	peerCA, peerCert, peerKey string
	rivalName, rivalBinary    string
}

func parse(args []string, words io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(words)
	flags.BoolVar(&o.list, "list", false, "list the scenarios")
	flags.StringVar(&o.choose, "run", "", "run the scenarios alone whose names match this regular expression")
	flags.BoolVar(&o.quick, "quick", false, "small sizes and few runs: for whether answers are right, not for times")
	flags.IntVar(&o.runs, "runs", 0, "how many runs a figure is the median of (7, with -quick 2)")
	flags.BoolVar(&o.strict, "strict", false, "fail where a target is missed, too")
	flags.StringVar(&o.write, "write", "", "page whose generated part is replaced by the results")
	flags.StringVar(&o.json, "json", "", "file for the results in JSON, each value of each run")
	flags.StringVar(&o.binary, "binary", "", "ratify to measure, instead of one that is built from this repository")
	flags.StringVar(&o.commit, "commit", "", "what the report calls it")
	flags.StringVar(&o.against, "against", "", "NAME=PATH of another ratify, which is compared with it instead of the floor and the echo")
	flags.Var(&o.peers, "peer", "NAME=URL of a provider that you run yourself, measured where it can be; may be repeated")
	flags.StringVar(&o.peerCA, "peer-ca", "", "CA of the peers' certificates")
	flags.StringVar(&o.peerCert, "peer-cert", "", "client certificate for the peers")
	flags.StringVar(&o.peerKey, "peer-key", "", "its key")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.against != "" {
		var ok bool
		if o.rivalName, o.rivalBinary, ok = strings.Cut(o.against, "="); !ok {
			return nil, fmt.Errorf("-against %q is not NAME=PATH", o.against)
		}
	}
	return o, nil
}

// scenarios are those that were asked for.
func (o *options) scenarios() ([]scenario.Scenario, error) {
	pattern, err := regexp.Compile(o.choose)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	var chosen []scenario.Scenario
	for _, s := range scenario.All() {
		if pattern.MatchString(s.Name) && (o.against == "" || !s.Alone) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		if o.against != "" {
			return nil, fmt.Errorf("-run %q names no scenario that compares two builds: cold, cpu, warm and start do", o.choose)
		}
		return nil, fmt.Errorf("-run %q names no scenario; -list tells their names", o.choose)
	}
	return chosen, nil
}

// measure runs the scenarios.
func measure(ctx context.Context, o *options, chosen []scenario.Scenario, words io.Writer) (report.Report, error) {
	began := time.Now()
	r := report.Report{Machine: report.Machine(), Commit: o.commit, Date: began.Format(time.DateOnly), Quick: o.quick}
	if r.Commit == "" {
		r.Commit = report.Commit(".")
	}
	b, end, err := prepare(ctx, o, words)
	if err != nil {
		return r, err
	}
	defer end()
	for i, s := range chosen {
		b.Progress = func(what string) {
			fmt.Fprintf(words, "\r\x1b[K[%d/%d] %s · %s · %s", i+1, len(chosen), time.Since(began).Round(time.Second), s.Name, what)
		}
		rows, err := b.Run(ctx, s)
		for i := range rows {
			if o.quick && !rows[i].Target.Hard {
				rows[i].Target = report.Target{} // small sizes and few runs say nothing about it
			}
		}
		r.Rows = append(r.Rows, rows...)
		if err != nil {
			return r, err
		}
	}
	fmt.Fprintf(words, "\r\x1b[K%s in %s\n", "measured", time.Since(began).Round(time.Second))
	return r, nil
}

// prepare makes what all scenarios share, and says how to take it away again.
func prepare(ctx context.Context, o *options, words io.Writer) (b *scenario.Bench, end func(), err error) {
	dir, err := os.MkdirTemp("", "ratify-bench-")
	if err != nil {
		return nil, nil, err
	}
	b = &scenario.Bench{Dir: dir, Binary: o.binary, Rival: o.rivalBinary, RivalName: o.rivalName, Quick: o.quick, Runs: o.runs}
	end = func() {
		if b.Registry != nil {
			_ = b.Registry.Close()
		}
		_ = os.RemoveAll(dir) // a temporary directory of this run
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	if b.Binary == "" {
		fmt.Fprint(words, "build ratify")
		if b.Binary, err = world.BuildRatify(ctx, "", dir); err != nil {
			return nil, nil, err
		}
	}
	var errs [5]error
	b.PKI, errs[0] = world.NewPKI(filepath.Join(dir, "tls"))
	b.Registry, errs[1] = world.NewRegistry(world.RegistryOptions{})
	b.RSA, errs[2] = world.NewSigner(world.NotationRSA)
	b.P256, errs[3] = world.NewSigner(world.NotationP256)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, nil, err
	}
	b.Peers, err = o.introduce(ctx, b, words)
	return b, end, err
}

// deliver prints the report, and writes it where it was asked for. What is wrong is an error; so is what was missed, if that
// was asked for.
func (o *options) deliver(r report.Report, out io.Writer) error {
	r.Print(out)
	if o.write != "" {
		if err := r.Write(o.write); err != nil {
			return err
		}
	}
	if o.json != "" {
		data, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(data, '\n'), 0o644); err != nil { //nolint:gosec // results are for everybody
			return err
		}
	}
	switch wrong, missed := r.Count(report.Wrong), r.Count(report.Missed); {
	case wrong > 0:
		return fmt.Errorf("%d rows are wrong", wrong)
	case o.strict && missed > 0:
		return fmt.Errorf("%d targets were missed", missed)
	}
	return nil
}
