package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/spf13/cobra"
)

// maxInspected is how many signatures are shown, as notation has it by default.
const maxInspected = 100

// maxParallelSignatures is how many signatures are read at the same time.
const maxParallelSignatures = 4

// An inspection is all that can be said about the signatures of an image.
type inspection struct {
	Reference  string                `json:"reference"`
	MediaType  string                `json:"mediaType"`
	Digest     digest.Digest         `json:"digest"`
	Signatures []*inspectedSignature `json:"signatures"`
}

// An inspectedSignature is one signature: what is written in it, or why that could not be read; and the verdict, where
// somebody said whom to trust.
type inspectedSignature struct {
	Digest  digest.Digest          `json:"digest"`
	Verdict *ratify.VerifierReport `json:"verdict,omitempty"`
	Error   *inspectionError       `json:"error,omitempty"`
	*notation.Signature
}

type inspectionError struct {
	Code    ratify.Code `json:"code"`
	Message string      `json:"message"`
}

func (a *app) inspectCommand() *cobra.Command {
	var from source
	var output format
	command := &cobra.Command{
		Use:   "inspect IMAGE",
		Short: "Show the signatures of an image",
		Long: `Inspect shows all Notary Project signatures of an image: who signed, when, with
which certificates, and what. A broken signature is shown with its error, and the
others all the same.

Nothing of it is verified, unless --config ($RATIFY_CONFIG) or --notation-cert
says whom to trust: then each signature has its verdict beside it. Every one is
examined, even where one is enough to verify the image. The verdicts do not change
the exit code; ask ratify verify for that.

Exit codes: 0 shown, 1 there is no such image or a signature is broken, 2 the
registry could not tell, 3 usage or configuration.`,
		Example: `  ratify inspect registry.example/app:v1
  ratify inspect --plain-http localhost:5000/app:v1
  ratify inspect --notation-cert signer.crt registry.example/app:v1
  ratify inspect -o json registry.example/app:v1 | jq -r '.signatures[].certificates[0].issuedTo'`,
		Args: imageArguments(1, 1),
		RunE: func(command *cobra.Command, images []string) error {
			return a.inspect(command.Context(), &from, output, images[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	from.addFlags(command, true)
	addOutputFlag(command, &output)
	return command
}

func (a *app) inspect(ctx context.Context, from *source, output format, image string) error {
	subject, g, err := a.loadFor(ctx, from, image)
	if err != nil {
		return err
	}
	result, incomplete, err := a.inspectAll(ctx, g, subject, from.timeout)
	if err != nil {
		return err
	}
	if output == formatText {
		a.printInspection(result)
	} else if err := output.print(a.out, result); err != nil {
		return err
	}
	return a.concludeInspection(result, incomplete)
}

// concludeInspection warns of what is broken, and gives the exit code as an error.
func (a *app) concludeInspection(result *inspection, incomplete *ratify.Error) error {
	if incomplete != nil {
		return incomplete
	}
	code := exitVerified
	for _, s := range result.Signatures {
		if s.Error != nil {
			what := "is broken"
			if exitCodeFor(s.Error.Code) == exitUnknown {
				what = "could not be read"
			}
			fmt.Fprintf(a.err, "warning: signature %s %s: %s\n", plain(string(s.Digest)), what, s.Error.Message)
			code = max(code, exitCodeFor(s.Error.Code), exitRefused)
		}
	}
	if code != exitVerified {
		return exitCode(code)
	}
	return nil
}

// inspectAll reads all signatures, some at the same time. What lies past a bound comes as incomplete.
func (a *app) inspectAll(ctx context.Context, g *generation, subject ratify.Subject, timeout time.Duration) (result *inspection, incomplete *ratify.Error, err error) {
	line := a.startProgress("inspecting " + plain(subject.String()))
	defer line.close()
	bounded, cancel := context.WithTimeout(line.context(ctx), timeout)
	defer cancel()
	desc, repo, err := g.engine.Open(bounded, subject)
	if err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	ratify.Progress(bounded, "listing the image's referrers")
	referrers, err := repo.Referrers(bounded, desc)
	var problem *ratify.Error
	if errors.As(err, &problem) && problem.Code == ratify.LimitExceeded {
		incomplete, err = problem, nil
	}
	if err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	result = &inspection{
		Reference: subject.At(desc.Digest).String(), MediaType: desc.MediaType, Digest: desc.Digest,
	}
	var signatures []ocispec.Descriptor
	for _, r := range referrers {
		if !couldBeSignature(r) {
			continue
		}
		if len(signatures) == maxInspected {
			incomplete = &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("more than %d signatures; the rest is not shown", maxInspected)}
			break
		}
		signatures = append(signatures, r)
	}
	i := inspector{g: g, subject: subject, desc: desc, repo: repo}
	result.Signatures = i.inspectEach(bounded, signatures)
	return result, incomplete, nil
}

// An inspector looks at the signatures of one image.
type inspector struct {
	g       *generation
	subject ratify.Subject
	desc    ocispec.Descriptor
	repo    ratify.Repository
}

func (i *inspector) inspectEach(ctx context.Context, signatures []ocispec.Descriptor) []*inspectedSignature {
	results := make([]*inspectedSignature, len(signatures))
	slots := make(chan struct{}, maxParallelSignatures)
	var workers sync.WaitGroup
	for at, s := range signatures {
		slots <- struct{}{}
		workers.Go(func() {
			defer func() { <-slots }()
			results[at] = i.inspectOne(ctx, s)
		})
	}
	workers.Wait()
	return slices.DeleteFunc(results, func(s *inspectedSignature) bool { return s == nil })
}

// inspectOne returns nil for what turns out to be no signature.
func (i *inspector) inspectOne(ctx context.Context, evidence ocispec.Descriptor) *inspectedSignature {
	result := &inspectedSignature{Digest: evidence.Digest}
	ratify.Progress(ctx, "reading signature "+plain(string(evidence.Digest)))
	signature, err := readSignature(ctx, i.repo, i.desc, evidence)
	if errors.Is(err, ratify.ErrOtherKind) {
		return nil
	}
	if err != nil {
		problem := ratify.AsError(err)
		result.Error = &inspectionError{problem.Code, problem.UserMessage()}
	}
	result.Signature = signature
	if len(i.g.setup.Verifiers) > 0 {
		result.Verdict = i.judge(ctx, evidence)
	}
	return result
}

// judge asks the engine what it makes of this signature: of the whole configuration with an image that has this one
// piece of evidence and no other, so that what is said here is what verify says.
func (i *inspector) judge(ctx context.Context, evidence ocispec.Descriptor) *ratify.VerifierReport {
	setup := i.g.setup
	only := &onlyStore{Repository: i.repo, name: i.subject.Repository, desc: i.desc, evidence: evidence}
	setup.Stores = []ratify.NamedStore{{Name: "only", Scopes: []string{"*"}, Store: only}}
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		return &ratify.VerifierReport{Code: ratify.Internal, Message: err.Error()}
	}
	report, _ := engine.Verify(ctx, i.subject.At(i.desc.Digest)) // the report says the same as the error
	for _, v := range report.VerifierReports {
		if v.Reference == evidence.Digest {
			return &v
		}
	}
	// It came to no verifier: nothing is asked for here, no policy or no trust policy applies.
	return &ratify.VerifierReport{Subject: report.Subject, IsSuccess: report.IsSuccess, Reference: evidence.Digest,
		Code: report.Code, Message: report.Message, Remedy: report.Remedy}
}

// An onlyStore is an image with one piece of evidence.
type onlyStore struct {
	ratify.Repository
	name           string
	desc, evidence ocispec.Descriptor
}

// Name is the subject's, wherever the evidence is.
func (o *onlyStore) Name() string { return o.name }

func (o *onlyStore) Open(context.Context, ratify.Subject) (subject, evidence ratify.Repository, err error) {
	return o, o, nil
}

func (o *onlyStore) Resolve(context.Context, string) (ocispec.Descriptor, error) { return o.desc, nil }

func (o *onlyStore) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return []ocispec.Descriptor{o.evidence}, nil
}

func (a *app) printInspection(r *inspection) {
	if len(r.Signatures) == 0 {
		fmt.Fprintf(a.out, "%s has no associated signatures\n", plain(r.Reference))
		return
	}
	fmt.Fprintln(a.out, "Inspecting all signatures for signed artifact")
	root := &node{text: a.ui.paint(bold, plain(r.Reference))}
	kind := root.add(notation.ArtifactType)
	for _, s := range r.Signatures {
		a.growSignature(kind.add("%s", plain(s.Digest.String())), s)
	}
	root.print(a.out)
}

// growSignature hangs what is known of a signature below its digest.
func (a *app) growSignature(n *node, s *inspectedSignature) {
	if v := s.Verdict; v != nil {
		mark := a.ui.paint(red, "✗")
		switch {
		case v.IsSuccess:
			mark = a.ui.paint(green, "✓")
		case exitCodeFor(v.Code) == exitUnknown:
			mark = a.ui.paint(yellow, "?")
		}
		verdict := n.add("verdict: %s %s: %s", mark, v.Code, v.Message)
		if !v.IsSuccess && v.Remedy != "" {
			verdict.add("remedy: %s", a.remedy(v.Remedy))
		}
	}
	if s.Error != nil {
		n.add("%s %s: %s", a.ui.paint(red, "error:"), s.Error.Code, s.Error.Message)
	}
	if s.Signature != nil {
		growSignature(n, s.Signature)
	}
}
