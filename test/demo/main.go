// Command demo shows ratify at work on one machine, with no cluster and no account: an embedded registry with freshly
// signed images, the real provider behind mutual TLS 1.3, and the shipped template on Gatekeeper's own engine. For these
// images it prints what kubectl would print, and the report that the provider's log holds.
//
// It ends with 0 if all verdicts are as they must be, and with 1 otherwise. With KEEP=1 in the environment it
// stays, prints command lines to try, and ends with Ctrl-C. Begin at run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the demonstration in an orderly way; a second one finds the default handler, and kills.
	context.AfterFunc(ctx, stop)
	// A reader that is gone (demo | head) must not kill this process, which has a child to end; run takes it as the end.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Getenv("KEEP") == "1", os.Stdout, os.Stderr))
}

// run is the program; it returns the exit code.
func run(ctx context.Context, keep bool, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := &demo{out: &output{stdout, cancel}, err: stderr}
	problems, err := d.show(ctx, keep)
	if closeErr := d.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	}
	if problems > 0 {
		return 1
	}
	return 0
}

// output cancels the demonstration when nobody reads it any more.
type output struct {
	to     io.Writer
	cancel context.CancelCauseFunc
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.to.Write(p)
	if err != nil {
		o.cancel(err)
	}
	return n, err
}

// A demo is one run, with what it has started.
type demo struct {
	out, err io.Writer

	dir      string
	binary   string
	logFile  string
	fixture  *fixture.Fixture
	provider *program.Provider
	engine   *engine.Engine
}

// show runs the whole demonstration and returns how many verdicts were wrong.
func (d *demo) show(ctx context.Context, keep bool) (problems int, err error) {
	root, err := program.Root()
	if err != nil {
		return 0, err
	}
	if d.dir, err = os.MkdirTemp("", "ratify-demo-"); err != nil {
		return 0, err
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"building ratify (a minute or two the first time)", func() error { return d.build(ctx) }},
		{"starting a registry with freshly signed images", func() error { return d.startRegistry(ctx) }},
		{"starting the provider behind mutual TLS 1.3", func() error { return d.startProvider(ctx) }},
		{"loading the template and the constraint into Gatekeeper's engine", func() error { return d.startEngine(root) }},
	}
	for _, step := range steps {
		began := time.Now()
		fmt.Fprintf(d.out, "==> %s\n", step.name)
		if err := step.do(); err != nil {
			return 0, fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(d.out, "    done in %.1f s\n", time.Since(began).Seconds())
	}
	verdicts, err := d.transcript(ctx)
	if err != nil {
		return 0, err
	}
	problems = summarize(d.out, verdicts)
	if keep {
		err = d.keep(ctx)
	}
	// Interrupted is how the demonstration that stays ends; a transcript that nobody read is another matter.
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return problems, err
}

// close ends what was started, the last first, and removes the files.
func (d *demo) close() error {
	var errs []error
	if d.engine != nil {
		d.engine.Close()
	}
	if d.provider != nil {
		errs = append(errs, d.provider.Stop())
	}
	if d.fixture != nil {
		errs = append(errs, d.fixture.Close())
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}

// build builds the command that is to be shown. What the toolchain says, of downloads say, goes to the reader.
func (d *demo) build(ctx context.Context) (err error) {
	d.binary, err = program.Build(ctx, d.dir, program.BuildOptions{Output: d.err})
	return err
}

func (d *demo) startRegistry(ctx context.Context) error {
	dir := filepath.Join(d.dir, "files")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var err error
	d.fixture, err = fixture.Start(ctx, fixture.Options{Dir: dir, Evidence: true})
	return err
}

// The chain of timeouts, as an installation has it: the webhook's 5 s, the Provider's, the provider's own less 200 ms.
const (
	providerTimeout = 4 // seconds, as Gatekeeper counts them
	verifyTimeout   = "3800ms"
	mutateTimeout   = "800ms"
)

func (d *demo) startProvider(ctx context.Context) error {
	pki := d.fixture.PKI
	d.logFile = filepath.Join(d.dir, "provider.log")
	var err error
	d.provider, err = program.Serve(ctx, program.ServeOptions{Binary: d.binary, LogFile: d.logFile, Args: []string{
		"--config", d.fixture.ConfigFile,
		"--cert-dir", pki.CertDir,
		"--client-ca", pki.ClientCAFile,
		"--client-name", fixture.GatekeeperName,
		"--verify-timeout", verifyTimeout,
		"--mutate-timeout", mutateTimeout,
	}})
	return err
}

func (d *demo) startEngine(root string) error {
	template, err := os.ReadFile(filepath.Join(root, "library", "default", "template.yaml"))
	if err != nil {
		return err
	}
	constraint, err := os.ReadFile(filepath.Join(root, "library", "default", "samples", "constraint.yaml"))
	if err != nil {
		return err
	}
	pki := d.fixture.PKI
	d.engine, err = engine.New(engine.Options{
		ClientCert: pki.ClientCertFile,
		ClientKey:  pki.ClientKeyFile,
		Providers: []engine.Provider{{
			Name:           "ratify-provider",
			URL:            d.provider.URL(program.VerifyPath),
			CAPEM:          pki.ServerCAPEM,
			TimeoutSeconds: providerTimeout,
		}},
	})
	if err != nil {
		return err
	}
	return d.engine.Apply(template, constraint)
}
