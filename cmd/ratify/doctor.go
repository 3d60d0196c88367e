package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/doctor"
	"github.com/ratify-provider/ratify/library"
	"github.com/ratify-provider/ratify/provider"
	"github.com/spf13/cobra"
)

// doctorTimeout is for some twenty requests of kubectl to a cluster far away, each of which may log in first.
const doctorTimeout = 2 * time.Minute

// doctorOptions are the flags of ratify doctor.
type doctorOptions struct {
	files                                   []string
	kubectl, kubeconfig, context, namespace string
	skip                                    []string
	registries, verbose                     bool
	timeout                                 time.Duration
	output                                  format
}

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Look for gaps in an installation beside Gatekeeper",
		Long: `Doctor reads an installation and names each gap with its remedy: what would admit
an image that was not proven, what would deny every image, and what will do so
before long. It looks at Gatekeeper's webhooks and arguments, the template, the
constraints and mutations, the Providers, the server's certificate, arguments,
configuration and pods. It changes nothing.

It reads with the kubectl on the PATH, as whom you are logged in there, or from
files with --file: what helm template, kustomize build or kubectl get -o yaml
wrote. Of Secrets it asks for certificates and for the configuration, where that
is one, and for nothing else. What you may not read, and what the files do not
have, is listed as not looked at.

Registries are not asked unless --registries says so. It is then a pod of ratify's
that asks, by kubectl exec and ratify login-check, for one image of each registry of
which a pod runs: with its credentials, from where it is.

Exit codes: 0 nothing was found, 1 something was, 2 nothing was, but not all that is
wanted could be looked at, 3 usage or configuration.`,
		Example: `  ratify doctor
  ratify doctor --context production --registries
  helm template ratify ./charts/ratify -n gatekeeper-system -f values.yaml | ratify doctor -f -
  ratify doctor -f rendered.yaml -f library/default/template.yaml
  ratify doctor -o json | jq -r '.findings[] | .check + ": " + .message'`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			return a.doctor(command.Context(), &o)
		},
	}
	o.addFlags(command)
	return command
}

func (o *doctorOptions) addFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVarP(&o.files, "file", "f", nil, "read the objects in `file` (YAML or JSON) instead of a cluster's; - is standard input; may be repeated")
	flags.StringVar(&o.kubectl, "kubectl", "kubectl", "the `program` to read a cluster with")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` for kubectl's --kubeconfig")
	flags.StringVar(&o.context, "context", "", "`name` for kubectl's --context")
	flags.StringVarP(&o.namespace, "namespace", "n", "", "`namespace` of ratify (default: where the Provider's URL leads, or gatekeeper-system)")
	flags.StringSliceVar(&o.skip, "skip", nil, "leave out the `check` of this name; may be repeated")
	flags.BoolVar(&o.registries, "registries", false, "have a pod ask each registry, too")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "show what is good, too")
	flags.DurationVar(&o.timeout, "timeout", doctorTimeout, "how long it may take")
	addOutputFlag(command, &o.output)
	mustComplete(command.MarkFlagFilename("file", "yaml", "yml", "json"))
	mustComplete(command.MarkFlagFilename("kubeconfig"))
	mustComplete(command.RegisterFlagCompletionFunc("context", cobra.NoFileCompletions))
	mustComplete(command.RegisterFlagCompletionFunc("namespace", cobra.NoFileCompletions))
	mustComplete(command.RegisterFlagCompletionFunc("skip", cobra.FixedCompletions(doctorChecks(), cobra.ShellCompDirectiveNoFileComp)))
}

// registriesCheck is the one check that is not of an object.
const registriesCheck = "registries"

func doctorChecks() []string { return append(doctor.Checks(), registriesCheck) }

// check refuses flags of which one would have no effect.
func (o *doctorOptions) check() error {
	cluster := givenOf([]given{{"--context", o.context != ""}, {"--kubeconfig", o.kubeconfig != ""}, {"--registries", o.registries}})
	if len(o.files) > 0 && len(cluster) > 0 {
		return usage("leave one of both out", "--file and %s exclude each other: files are of no cluster", strings.Join(cluster, ", "))
	}
	if o.timeout <= 0 {
		return usage("", "--timeout: expected a positive duration such as 30s, got %s", o.timeout)
	}
	for _, name := range o.skip {
		if slices.Contains(doctorChecks(), name) {
			continue
		}
		if near := config.Nearest(name, doctorChecks()); near != "" {
			return usage("did you mean "+near+"?", "--skip: there is no check %s", ratify.Quote(name))
		}
		return usage("ratify doctor -v lists them", "--skip: there is no check %s", ratify.Quote(name))
	}
	return nil
}

func (a *app) doctor(ctx context.Context, o *doctorOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	options, err := doctorKnowledge()
	if err != nil {
		return err
	}
	options.Skip = o.skip
	judge, err := newConfigJudge()
	if err != nil {
		return err
	}
	defer judge.close()
	options.Check = judge.check

	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	report, err := a.examine(bounded, o, options, judge)
	var failed *clusterError
	if errors.As(err, &failed) {
		return a.unreadable(bounded, o, failed)
	}
	if err != nil {
		return err
	}
	if o.output != formatText {
		err = o.output.print(a.out, report)
	} else {
		a.printDoctor(report, o.verbose)
	}
	switch {
	case err != nil:
		return err
	case len(report.Findings) > 0:
		return exitCode(exitRefused)
	case report.Blind():
		return exitCode(exitUnknown)
	default:
		return nil
	}
}

// A clusterError is a cluster that could not be read.
type clusterError struct{ err error }

func (e *clusterError) Error() string { return e.err.Error() }

// unreadable tells why there is nothing to say of a cluster.
func (a *app) unreadable(ctx context.Context, o *doctorOptions, failed *clusterError) error {
	hint := "see that kubectl get namespaces works, with the same --kubeconfig and --context"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		hint = fmt.Sprintf("it was not read within %s: raise --timeout", o.timeout)
	}
	fmt.Fprintf(a.err, "error: %s\nhint: %s\n", plain(failed.Error()), hint)
	return exitCode(exitUnknown)
}

// doctorKnowledge is what the examination must know of this program.
func doctorKnowledge() (doctor.Options, error) {
	options := doctor.Options{Now: time.Now(), VerifyPath: provider.VerifyPath, MutatePath: provider.MutatePath, Parse: parseServe}
	for _, manifest := range library.Templates() {
		t, err := doctor.ParseTemplate([]byte(manifest))
		if err != nil {
			return options, err
		}
		options.Templates = append(options.Templates, t)
	}
	return options, nil
}

// parseServe reads arguments as ratify serve does, and looks at nothing that they name.
func parseServe(args []string) (settings doctor.Settings, err error) {
	command := newApp(nil, io.Discard, io.Discard).serveCommand()
	if err := command.ParseFlags(args); err != nil {
		return settings, err
	}
	flags := command.Flags()
	if flags.NArg() > 0 {
		return settings, fmt.Errorf("unexpected argument %s", ratify.Quote(flags.Arg(0)))
	}
	// The flags are there, and of these types: the line before has made them.
	settings.Config, _ = flags.GetString("config")
	settings.Address, _ = flags.GetString("address")
	settings.CertDir, _ = flags.GetString("cert-dir")
	settings.ClientCA, _ = flags.GetString("client-ca")
	settings.ClientNames, _ = flags.GetStringSlice("client-name")
	settings.NoClientAuth, _ = flags.GetBool("insecure-no-client-auth")
	settings.VerifyTimeout, _ = flags.GetDuration("verify-timeout")
	settings.MutateTimeout, _ = flags.GetDuration("mutate-timeout")
	return settings, nil
}

// examine reads the installation and makes the checks.
func (a *app) examine(ctx context.Context, o *doctorOptions, options doctor.Options, judge *configJudge) (*doctor.Report, error) {
	if len(o.files) > 0 {
		manifests, err := a.manifests(o.files)
		if err != nil {
			return nil, err
		}
		snapshot, err := doctor.FromFiles(o.namespace, manifests...)
		if err != nil {
			return nil, usage("give it what helm template or kubectl get -o yaml wrote", "--file: %s", err)
		}
		report := doctor.Examine(snapshot, options)
		o.notAsked(report, "files do not tell what the pods may read")
		return report, nil
	}
	kubectl, err := o.command()
	if err != nil {
		return nil, err
	}
	line := a.startProgress("reading the installation")
	defer line.close()
	snapshot, err := doctor.FromCluster(ctx, kubectl, o.namespace)
	if err != nil {
		return nil, &clusterError{err}
	}
	report := doctor.Examine(snapshot, options)
	if !o.registries {
		o.notAsked(report, "registries are asked with --registries alone, by a pod of ratify's")
		return report, nil
	}
	if !slices.Contains(o.skip, registriesCheck) {
		askRegistries(ctx, kubectl, snapshot, judge, report)
	}
	return report, nil
}

// notAsked says that no registry was asked.
func (o *doctorOptions) notAsked(report *doctor.Report, why string) {
	if slices.Contains(o.skip, registriesCheck) {
		report.Skipped = append(report.Skipped, registriesCheck)
		return
	}
	report.NotLookedAt = append(report.NotLookedAt, doctor.Unseen{Check: registriesCheck, Reason: why})
}

// command is kubectl with the flags that are passed on.
func (o *doctorOptions) command() (doctor.Kubectl, error) {
	path, err := exec.LookPath(o.kubectl)
	if err != nil {
		return doctor.Kubectl{}, usage("install kubectl, name it with --kubectl, or give files with --file", "%s is not a program on the PATH", ratify.Quote(o.kubectl))
	}
	k := doctor.Kubectl{Path: path}
	for _, flag := range []struct{ name, value string }{{"kubeconfig", o.kubeconfig}, {"context", o.context}} {
		if flag.value != "" {
			k.Flags = append(k.Flags, "--"+flag.name+"="+flag.value)
		}
	}
	return k, nil
}

// manifests reads the files of --file.
func (a *app) manifests(paths []string) (list [][]byte, err error) {
	left := int64(doctor.MaxBytes)
	for _, path := range paths {
		data, err := a.readUpTo(path, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(data))
		list = append(list, data)
	}
	return list, nil
}

func (a *app) readUpTo(path string, limit int64) ([]byte, error) {
	from := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usage("", "--file: %s", err)
		}
		defer f.Close()
		from = f
	}
	data, err := content.Read(from, limit)
	if errors.Is(err, content.ErrTooLarge) {
		err = fmt.Errorf("the files have more than %d MiB together", doctor.MaxBytes>>20)
	}
	if err != nil {
		return nil, usage("", "--file %s: %s", path, err)
	}
	return data, nil
}
