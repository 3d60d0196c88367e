package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/spf13/cobra"
)

// maxParallelImages is how many images are verified at the same time: enough to hide the registry's latency, few enough
// that it is not taken for an attack (Docker Hub's anonymous limit is 100 pulls in six hours).
const maxParallelImages = 8

func (a *app) verifyCommand() *cobra.Command {
	var from source
	var output format
	var enforce bool
	command := &cobra.Command{
		Use:   "verify IMAGE...",
		Short: "Verify the signatures and documents of images",
		Long: `Verify tells of each image whether it may run, and why.

Whom to trust says a configuration (--config, or $RATIFY_CONFIG: the same file as
the server's, so that the answer is the cluster's), or, for a question asked once,
one of these; of several, all must pass:

  --notation-cert         Notary Project signatures whose certificate chains to the
                          given one, whoever it names, under the trust policy level
                          strict
  --cosign-key            signatures by the key, in bundles and under cosign's tags
  --certificate-identity  keyless ones, with --certificate-oidc-issuer and
                          --trusted-root; nothing is fetched but from the registry

With --output json or yaml the result is the report that the server would give,
or a list of them for several images.

An image that a policy of mode audit would refuse is admitted, with a warning; with
--enforce it is refused, as it will be once the policy enforces.

Exit codes: 0 verified, exempt, or admitted by a policy that only audits; 1 refused,
2 could not tell, 3 usage (an image that is no reference, too) or configuration; of
several images the highest.`,
		Example: `  # Is it signed with a certificate that this CA issued, or with this self-signed one?
  ratify verify --notation-cert signer.crt registry.example/app:v1

  # Is it signed with this key of cosign's?
  ratify verify --cosign-key cosign.pub registry.example/app:v1

  # Did this workflow sign it?
  ratify verify --trusted-root trusted_root.json \
    --certificate-oidc-issuer https://token.actions.githubusercontent.com \
    --certificate-identity https://github.com/acme/app/.github/workflows/ci.yaml@refs/heads/main \
    registry.example/app:v1

  # Would the cluster admit these? And in this namespace?
  ratify verify --config ratify.yaml registry.example/app:v1 registry.example/db:v2
  ratify verify --config ratify.yaml --namespace team-a registry.example/app:v1

  # A registry on this machine
  ratify verify --plain-http --notation-cert signer.crt localhost:5000/app:v1

  # An image in an OCI layout on disk
  ratify verify --oci-layout ./app --notation-cert signer.crt registry.example/app:v1

  # For a script
  ratify verify -c ratify.yaml -o json registry.example/app:v1 | jq .code`,
		Args: imageArguments(maxImages),
		RunE: func(command *cobra.Command, images []string) error {
			return a.verify(command.Context(), &from, output, enforce, images)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	from.addFlags(command, true)
	from.addNamespaceFlag(command)
	command.Flags().BoolVar(&enforce, "enforce", false, "take policies of mode audit for such as enforce")
	addOutputFlag(command, &output)
	return command
}

// maxImages bounds one command line: what is more is a list that wants a loop, with a result of its own each.
const maxImages = 1000

// imageArguments checks the number of images on a command line.
func imageArguments(most int) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usage("for example: "+command.CommandPath()+" registry.example/app:v1", "%s needs an image", command.CommandPath())
		case len(args) > most:
			return usage("", "%s takes at most %s, got %d", command.CommandPath(), plural(most, "image"), len(args))
		}
		return nil
	}
}

func (a *app) verify(ctx context.Context, from *source, output format, enforce bool, images []string) error {
	trusted := from.trust.given()
	switch {
	case from.configPath() == "" && len(trusted) == 0:
		return usage("give --config FILE, or --notation-cert FILE with the certificate of the signer's CA, or --cosign-key FILE", "nothing says whom to trust")
	case enforce && from.configPath() == "":
		return usage("", "--enforce has no effect without a configuration: %s always enforces", strings.Join(trusted, ", "))
	}
	g, err := a.load(ctx, from, goodSubjects(parseKeys(images, ratify.ParseKey)))
	if err == nil && enforce {
		err = g.enforce()
	}
	if err != nil {
		return err
	}
	keys := parseKeys(images, from.parser(g.engine))
	if err := g.checkTenant(goodSubjects(keys)...); err != nil {
		return err
	}
	line := a.startProgress(fmt.Sprintf("verifying %s", plural(len(images), "image")))
	defer line.close()

	results := verifyAll(line.context(ctx), g.engine, keys, from.timeout)
	code, reports := exitVerified, []*ratify.Report{}
	for i := range results {
		report := <-results[i]
		code = max(code, exitCodeOfReport(report))
		reports = append(reports, report)
		line.print(func() { a.tell(output, report) })
		line.say(fmt.Sprintf("verifying %s, %d done", plural(len(images), "image"), i+1))
	}
	if err := a.printReports(output, line, reports); err != nil {
		return err
	}
	if code != exitVerified {
		return exitCode(code)
	}
	return nil
}

// enforce makes the generation's engine one whose policies all enforce.
func (g *generation) enforce() (err error) {
	g.setup.Policies = slices.Clone(g.setup.Policies)
	for i := range g.setup.Policies {
		g.setup.Policies[i].Mode = ratify.ModeEnforce
	}
	g.engine, err = ratify.NewEngine(g.setup)
	return err
}

// tell says what is to be said of an image as soon as it is known.
func (a *app) tell(output format, r *ratify.Report) {
	if output == formatText {
		a.printReport(a.out, r)
	}
	if r.Code == ratify.WouldBeRefused {
		fmt.Fprintf(a.err, "warning: %s is admitted only because policy %s audits; enforcing, it would end with %s\n", plain(r.Subject), plain(r.Policy), r.WouldBeCode)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// A key is an image as it was typed, and what it means.
type key struct {
	text    string
	subject ratify.Subject
	err     error
}

func parseKeys(images []string, parse func(image string) (ratify.Subject, error)) []key {
	keys := make([]key, len(images))
	for i, image := range images {
		subject, err := parse(image)
		keys[i] = key{image, subject, err}
	}
	return keys
}

func goodSubjects(keys []key) []ratify.Subject {
	var subjects []ratify.Subject
	for _, k := range keys {
		if k.err == nil {
			subjects = append(subjects, k.subject)
		}
	}
	return subjects
}

// verifyAll asks the engine about each key, some at the same time. The answers come one by one, each in its own
// channel, so that the first can be shown while the last is not known.
func verifyAll(ctx context.Context, engine *ratify.Engine, keys []key, timeout time.Duration) []chan *ratify.Report {
	results := make([]chan *ratify.Report, len(keys))
	for i := range results {
		results[i] = make(chan *ratify.Report, 1)
	}
	next := make(chan int)
	for range min(maxParallelImages, len(keys)) {
		go func() {
			for i := range next {
				results[i] <- verifyOne(ctx, engine, keys[i], timeout)
			}
		}()
	}
	go func() {
		defer close(next)
		for i := range keys {
			next <- i
		}
	}()
	return results
}

// verifyOne gives the report on one key, whatever happens.
func verifyOne(ctx context.Context, engine *ratify.Engine, k key, timeout time.Duration) *ratify.Report {
	if k.err != nil {
		report := engine.NewReport(k.subject)
		report.Key, report.Subject = k.text, ratify.Truncate(k.text)
		report.Fail(ratify.AsError(k.err))
		return report
	}
	steps := &lastStep{tell: func(step string) { ratify.Progress(ctx, step) }}
	bounded, cancel := context.WithTimeout(steps.context(ctx), timeout)
	defer cancel()
	report, _ := engine.Verify(bounded, k.subject) // the report says the same as the error
	report.Key = k.text
	if report.Code == ratify.Deadline {
		report.Fail(deadlineError(ctx, timeout, steps.get()))
	}
	return report
}

// deadlineError says in the words of a command line that the time ran out; the engine's are for a webhook.
func deadlineError(ctx context.Context, timeout time.Duration, step string) *ratify.Error {
	e := &ratify.Error{Code: ratify.Deadline, Message: fmt.Sprintf("no decision within %s", timeout),
		Remedy: "try again; if it lasts, look at the registry, or raise --timeout"}
	if ctx.Err() != nil {
		e.Message, e.Remedy = "interrupted before the decision", "ask again"
	}
	if step != "" {
		e.Message += ", while " + step
	}
	return e
}

// A lastStep remembers which step the work is at, and passes it on.
type lastStep struct {
	mu   sync.Mutex
	step string
	tell func(step string)
}

func (l *lastStep) context(ctx context.Context) context.Context {
	return ratify.WithProgress(ctx, func(step string) {
		l.mu.Lock()
		l.step = step
		l.mu.Unlock()
		l.tell(step)
	})
}

func (l *lastStep) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.step
}

func exitCodeOfReport(report *ratify.Report) int {
	if report.IsSuccess {
		return exitVerified
	}
	// Nothing but a success may end with the code of one, whatever the report's code says.
	return max(exitCodeFor(report.Code), exitRefused)
}
