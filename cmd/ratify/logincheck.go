package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/spf13/cobra"
)

// A loginCheck is what a registry allows for an image, and by which credentials.
type loginCheck struct {
	Image     string `json:"image"`
	Namespace string `json:"namespace,omitempty"`
	// Accepted tells whether everything that was asked for was given.
	Accepted bool         `json:"accepted"`
	Reads    []loginRead  `json:"reads"`
	code     *ratify.Code // of the first read that failed, if any
	// helper is the credential helper of a docker configuration that was run for the registry, if any.
	helper *oras.SourceUse
}

// A loginRead is one thing that a verification reads, and the credential sources that were looked at for it.
type loginRead struct {
	// What is manifest, referrers or blob.
	What    string           `json:"what"`
	Allowed bool             `json:"allowed"`
	Found   string           `json:"found,omitempty"`
	Code    ratify.Code      `json:"code,omitempty"`
	Message string           `json:"message,omitempty"`
	Remedy  string           `json:"remedy,omitempty"`
	Sources []oras.SourceUse `json:"sources"`
}

func (a *app) loginCheckCommand() *cobra.Command {
	var from source
	var output format
	command := &cobra.Command{
		Use:   "login-check IMAGE",
		Short: "Check the credentials that an image is read with",
		Long: `Login-check reads what a verification reads (the image's manifest, the list of
what is attached, a blob) and tells by which credentials: which sources of the
registry's entry were passed over and why, which the registry refused, and which
it accepted. Nothing is verified, and no secret is ever shown.

With --namespace the image is read as for a pod of that namespace, where tenancy
is on. Without --config it is docker's configuration that is checked.

Exit codes: 0 all may be read, 1 the registry refuses access or has no such image,
2 it could not tell, or a source could not be asked, 3 usage or configuration.`,
		Example: `  ratify login-check --config ratify.yaml registry.example/app:v1
  ratify login-check --config ratify.yaml --namespace team-a registry.example/app:v1
  ratify login-check registry.example/app:v1

  # Where the server runs, with its programs and its identity
  kubectl exec -n gatekeeper-system deploy/ratify -- \
    /ratify login-check -c /etc/ratify/config/config.yaml registry.example/app:v1`,
		Args: imageArguments(1),
		RunE: func(command *cobra.Command, images []string) error {
			return a.loginCheck(command.Context(), &from, output, images[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	from.tellsSources = true
	from.addFlags(command, false)
	from.addNamespaceFlag(command)
	addOutputFlag(command, &output)
	return command
}

func (a *app) loginCheck(ctx context.Context, from *source, output format, image string) error {
	if from.ociLayout != "" {
		return usage("leave --oci-layout out", "a layout on disk asks for no credentials")
	}
	subject, g, err := a.loadAsked(ctx, from, image)
	if err != nil {
		return err
	}
	result := a.askForLogin(ctx, from, g.engine, subject)
	if ctx.Err() != nil {
		return deadlineError(ctx, from.timeout, "")
	}
	if output == formatText {
		a.printLogin(result)
	} else if err := output.print(a.out, result); err != nil {
		return err
	}
	if result.code != nil {
		return result.exit()
	}
	return nil
}

// askForLogin is checkLogin with a deadline, and a line that says what it waits for.
func (a *app) askForLogin(ctx context.Context, from *source, engine *ratify.Engine, subject ratify.Subject) *loginCheck {
	line := a.startProgress("asking for " + plain(subject.String()))
	defer line.close()
	bounded, cancel := context.WithTimeout(line.context(ctx), from.timeout)
	defer cancel()
	return checkLogin(bounded, engine, subject, a.helpers)
}

// exit is the exit code of a read that failed. That access was refused is an answer here, as it is in no verdict, unless a
// source could not be asked: it may have what is accepted.
func (c *loginCheck) exit() exitCode {
	unasked := slices.ContainsFunc(c.Reads, func(r loginRead) bool {
		return slices.ContainsFunc(r.Sources, func(use oras.SourceUse) bool { return use.Use == oras.Failed })
	})
	if *c.code == ratify.RegistryAuth && !unasked {
		return exitRefused
	}
	return exitCode(exitCodeFor(*c.code))
}

// checkLogin reads what a verification reads, until something fails without which there is nothing else to read.
func checkLogin(ctx context.Context, engine *ratify.Engine, subject ratify.Subject, helpers []oras.SourceUse) *loginCheck {
	result := &loginCheck{Image: subject.String(), Namespace: subject.Namespace, Accepted: true}
	for i := range helpers {
		if helpers[i].Registry == subject.Host() {
			result.helper = &helpers[i]
		}
	}
	var desc ocispec.Descriptor
	var repo ratify.Repository
	result.read(ctx, "manifest", func(ctx context.Context) (string, error) {
		var err error
		desc, repo, err = engine.Open(ctx, subject)
		return desc.Digest.String(), err
	})
	if !result.Accepted {
		return result
	}
	referrers := []ocispec.Descriptor{}
	result.read(ctx, "referrers", func(ctx context.Context) (string, error) {
		var err error
		referrers, err = repo.Referrers(ctx, desc)
		var problem *ratify.Error
		if errors.As(err, &problem) && problem.Code == ratify.LimitExceeded {
			err = nil // what is past a bound was allowed, too
		}
		return plural(len(referrers), "artifact") + " attached", err
	})
	result.read(ctx, "blob", func(ctx context.Context) (string, error) {
		for _, d := range append(referrers, desc) {
			blob, err := firstBlob(ctx, repo, d)
			if err != nil {
				return "", err
			}
			if blob.Digest != "" {
				_, err := repo.Fetch(ctx, blob)
				return blob.Digest.String(), err
			}
		}
		return "none to read", nil
	})
	return result
}

// read does one read and keeps what it came to.
func (c *loginCheck) read(ctx context.Context, what string, read func(context.Context) (string, error)) {
	r := loginRead{What: what, Sources: []oras.SourceUse{}}
	if c.helper != nil && c.helper.Use != oras.Accepted {
		r.keep(*c.helper)
	}
	label := "" // by which the store knows what the helper answered
	var mu sync.Mutex
	found, err := read(oras.WithTrace(ctx, func(use oras.SourceUse) {
		mu.Lock()
		defer mu.Unlock()
		if c.helper != nil && c.helper.Use == oras.Accepted && use.Place != "" {
			label, use.Source = use.Source, c.helper.Source
		}
		r.keep(use)
	}))
	r.Allowed = err == nil
	if err == nil {
		r.Found = found
	} else {
		problem := ratify.AsError(err)
		r.Code, r.Message, r.Remedy = problem.Code, problem.UserMessage(), problem.UserRemedy()
		if label != "" {
			r.Message = strings.Replace(r.Message, "; tried "+label, "; tried "+c.helper.Source, 1)
		}
		if strings.Contains(r.Remedy, "ratify login-check") {
			r.Remedy = "mend the source that failed, and ask again"
		}
		c.Accepted = false
		if c.code == nil {
			c.code = &problem.Code
		}
	}
	c.Reads = append(c.Reads, r)
}

// keep keeps what became of a source; where a read is several requests, the last one counts.
func (r *loginRead) keep(use oras.SourceUse) {
	for i, known := range r.Sources {
		if known.Registry == use.Registry && known.Place == use.Place && known.Source == use.Source {
			r.Sources[i] = use
			return
		}
	}
	r.Sources = append(r.Sources, use)
}

// firstBlob returns a blob that a manifest names: its last layer, for the first of an image may be large, or its config.
// Where there is none of a size that is read, it is empty.
func firstBlob(ctx context.Context, repo ratify.Repository, desc ocispec.Descriptor) (ocispec.Descriptor, error) {
	if !ratify.IsManifest(desc.MediaType) {
		return ocispec.Descriptor{}, nil
	}
	data, err := repo.Fetch(ctx, desc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	var manifest struct {
		Config    ocispec.Descriptor   `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if json.Unmarshal(data, &manifest) != nil {
		return ocispec.Descriptor{}, nil
	}
	if len(manifest.Manifests) > 0 {
		child := manifest.Manifests[0]
		if child.MediaType == desc.MediaType {
			return ocispec.Descriptor{}, nil // an index of indexes: no image is made so
		}
		return firstBlob(ctx, repo, child)
	}
	candidates := []ocispec.Descriptor{manifest.Config}
	if n := len(manifest.Layers); n > 0 {
		candidates = append(candidates, manifest.Layers[n-1])
	}
	for _, blob := range candidates {
		if blob.Digest != "" && blob.Digest != ocispec.DescriptorEmptyJSON.Digest && blob.Size <= ratify.MaxEnvelopeBytes {
			return blob, nil
		}
	}
	return ocispec.Descriptor{}, nil
}

func (a *app) printLogin(c *loginCheck) {
	fmt.Fprintln(a.out, a.ui.paint(bold, plain(c.Image)))
	if c.Namespace != "" {
		fmt.Fprintf(a.out, "for a pod of namespace %s\n", plain(c.Namespace))
	}
	for i, r := range c.Reads {
		verdict, words := a.ui.paint(green, "allowed"), plain(r.Found)
		if !r.Allowed {
			verdict, words = a.ui.paint(red, "failed"), string(r.Code)+": "+r.Message
		}
		fmt.Fprintf(a.out, "\n%s: %s, %s\n", r.What, verdict, words)
		if !r.Allowed {
			fmt.Fprintf(a.out, "  hint: %s\n", a.remedy(r.Remedy))
		}
		if i > 0 && sameSources(c.Reads[i-1].Sources, r.Sources) {
			fmt.Fprintln(a.out, "  by the same credentials")
			continue
		}
		a.printSources(r.Sources)
	}
}

// sameSources tells whether the same source was accepted in the end.
func sameSources(before, now []oras.SourceUse) bool {
	if len(before) == 0 || len(now) == 0 {
		return false
	}
	last, this := before[len(before)-1], now[len(now)-1]
	return last.Use == oras.Accepted && this.Use == oras.Accepted && last.Registry == this.Registry && last.Place == this.Place && last.Source == this.Source
}

func (a *app) printSources(sources []oras.SourceUse) {
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, s := range sources {
		columns := []string{"  " + plain(s.Registry), s.Place, plain(s.Source), string(s.Use)}
		if s.Why != "" {
			columns[3] += ": " + plain(s.Why)
		}
		fmt.Fprintln(table, strings.Join(columns, "\t"))
	}
	_ = table.Flush() // a.out remembers its failure
}
