// Command ratify tells whether images may run: it verifies the signatures that registries keep beside them, against the
// operator's policy. It is Gatekeeper's external data provider (ratify serve), and the same engine for a laptop and a
// pipeline (ratify verify, inspect, ls, check).
//
// Begin at run; modules.go is the table of what a configuration can name, and the one place that builds an engine.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	// The image is built from nothing and has no system roots; where there are some, they win.
	_ "golang.org/x/crypto/x509roots/fallback"
)

// The exit codes, which scripts rely on. Of several images the highest counts.
const (
	exitVerified = 0
	exitRefused  = 1
	exitUnknown  = 2
	exitUsage    = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in an orderly way; a second one finds the default handler again, and kills.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(a.out)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.out.err
	}
	code := exitCodeOf(err)
	var silent exitCode
	if err != nil && !errors.As(err, &silent) {
		a.printError(command, err)
	}
	return code
}

// exitCode is the error of a command whose output has said all that there is to say.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// exitCodeOf is the code that an error ends the program with: the verdict where it is about an image; otherwise it is
// the command line or the configuration that is wrong.
func exitCodeOf(err error) int {
	var code exitCode
	var problem *ratify.Error
	var output *outputError
	switch {
	case err == nil:
		return exitVerified
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &output):
		return exitUnknown
	case errors.As(err, &problem):
		return exitCodeFor(problem.Code)
	default:
		return exitUsage
	}
}

// exitCodeFor is the exit code of a reason. A reference that is none is the command line's fault, not the image's.
func exitCodeFor(code ratify.Code) int {
	switch {
	case code == ratify.BadReference:
		return exitUsage
	case code.Info().Outcome == ratify.OutcomeVerified:
		return exitVerified
	case code.Definitive():
		return exitRefused
	default:
		return exitUnknown
	}
}

// An app is one run of the program: where it reads and writes, and what its commands share.
type app struct {
	in  io.Reader
	out *writer
	err io.Writer
	ui  ui
	// byFlags tells that flags and no configuration file said where to read and whom to trust.
	byFlags bool
	// helpers are the credential helpers of a docker configuration that were run, and what became of each.
	helpers []oras.SourceUse
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{in: stdin, out: &writer{w: stdout}, err: stderr, ui: detectUI(stdout, stderr)}
}

// process is for one command: it keeps nothing, and tells a defect on standard error.
func (a *app) process() *process {
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return &process{log: zap.New(zapcore.NewCore(encoder, zapcore.AddSync(a.err), zap.ErrorLevel))}
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "ratify",
		Short: "Verify the signatures of container images",
		Long: `ratify tells whether container images may run: it verifies the signatures and
documents that registries keep beside them, against a policy. It is an external
data provider of Gatekeeper, and the same engine on the command line.

Exit codes: 0 verified, 1 refused, 2 could not tell, 3 usage or configuration.`,
		Example: `  # Who has signed this image, with which certificate, and what else is attached?
  ratify inspect registry.example/app:v1

  # Is it signed with a certificate that this CA issued, or with this self-signed one?
  ratify verify --notation-cert signer.crt registry.example/app:v1

  # Is it signed with this key of cosign's?
  ratify verify --cosign-key cosign.pub registry.example/app:v1

  # Would the cluster admit it?
  ratify verify --config ratify.yaml registry.example/app:v1`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(a.serveCommand(), a.verifyCommand(), a.inspectCommand(), a.lsCommand(), a.loginCheckCommand(), a.checkCommand(), a.doctorCommand(), a.versionCommand())
	return root
}

// usageError is wrong use of the command line; hint says how it is meant.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message }

func usage(hint, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), hint: hint}
}

// knownElsewhere are flags that users of notation and cosign know, and what says the same here.
func knownElsewhere(flag string) string {
	switch flag {
	case "insecure-registry", "allow-http-registry":
		return "did you mean --plain-http?"
	case "allow-insecure-registry":
		return "trust the registry's certificate with --ca-file, or speak HTTP with --plain-http"
	case "key":
		return "did you mean --cosign-key?"
	case "cert", "certificate":
		return "did you mean --notation-cert?"
	case "username", "password":
		return "log in with docker login, or name a file with --docker-config"
	default:
		return ""
	}
}

// flagError adds to the message of an unknown flag the one that was probably meant.
func flagError(command *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return usage("", "%s", err)
	}
	if hint := knownElsewhere(unknown.GetSpecifiedName()); hint != "" {
		return usage(hint, "%s", err)
	}
	var known []string
	command.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := config.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return usage("did you mean --"+near+"?", "%s", err)
	}
	return usage("", "%s", err)
}

// printError prints each line of an error, what can be done about it, and where to read on.
func (a *app) printError(command *cobra.Command, err error) {
	// cobra puts its suggestions for a command below the error.
	if message, names, ok := strings.Cut(err.Error(), "\n\nDid you mean this?\n"); ok {
		err = usage("did you mean "+strings.Join(strings.Fields(names), " or ")+"?", "%s", message)
	}
	var problem *ratify.Error
	if errors.As(err, &problem) {
		fmt.Fprintf(a.err, "error: %s: %s\n", problem.Code, problem.UserMessage())
		fmt.Fprintf(a.err, "hint: %s\n", a.remedy(problem.UserRemedy()))
		return
	}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			fmt.Fprintf(a.err, "error: %s\n", line)
		}
	}
	var wrong *usageError
	if !errors.As(err, &wrong) {
		return
	}
	hint := wrong.hint
	if hint == "" {
		hint = fmt.Sprintf("see '%s --help'", command.CommandPath())
	}
	fmt.Fprintf(a.err, "hint: %s\n", hint)
}
