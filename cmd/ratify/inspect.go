package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// An inspection is all that can be said about what is attached to an image.
type inspection struct {
	Reference string        `json:"reference"`
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	mirrored
	Signatures []*inspectedSignature `json:"signatures"` // of the Notary Project
	// Attached is everything else.
	Attached   []*referrer       `json:"attached"`
	CosignTags []*taggedArtifact `json:"cosignTags"`
	// Policy and Evidence are what the configuration, where there is one, makes of it: every piece, by every verifier of the
	// policy that applies.
	Policy   string                  `json:"policy,omitempty"`
	Evidence []ratify.VerifierReport `json:"evidence,omitempty"`
	// Problem is why no verifier has looked at anything, where none has.
	Problem *inspectionError `json:"problem,omitempty"`
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
		Short: "Show the signatures and documents of an image",
		Long: `Inspect shows what is attached to an image: all Notary Project signatures, with who
signed, when, with which certificates, and what; and by kind everything else, such
as Sigstore bundles, SBOMs, scans, and what is under cosign's tags. A broken
signature is shown with its error, and the others all the same.

Of Sigstore bundles it shows what they say of who signed. Nothing of it is
verified, unless --config ($RATIFY_CONFIG), --notation-cert, --cosign-key or
--certificate-identity says whom to trust: then it also shows what each verifier
makes of each piece, the facts that a policy's rule would see, and who vouches for a
document. Every piece is examined, even where one is enough to verify the image. The
verdicts do not change the exit code; ask ratify verify for that.

Exit codes: 0 shown, 1 there is no such image or a signature is broken, 2 the
registry could not tell, 3 usage or configuration.`,
		Example: `  ratify inspect registry.example/app:v1
  ratify inspect --plain-http localhost:5000/app:v1
  ratify inspect --notation-cert signer.crt registry.example/app:v1
  ratify inspect --cosign-key cosign.pub registry.example/app:v1
  ratify inspect --config ratify.yaml --namespace team-a registry.example/app:v1
  ratify inspect -o json registry.example/app:v1 | jq -r '.signatures[].certificates[0].issuedTo'
  ratify inspect -c ratify.yaml -o json registry.example/app:v1 | jq '.evidence[].extensions'`,
		Args: imageArguments(1),
		RunE: func(command *cobra.Command, images []string) error {
			return a.inspect(command.Context(), &from, output, images[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	from.addFlags(command, true)
	from.addNamespaceFlag(command)
	addOutputFlag(command, &output)
	return command
}

func (a *app) inspect(ctx context.Context, from *source, output format, image string) error {
	subject, g, err := a.loadAsked(ctx, from, image)
	if err == nil {
		err = g.checkTenant(subject)
	}
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

// inspectAll reads all signatures, some at the same time, and has the configuration judge everything. What lies past a
// bound, and cosign's tags that could not be looked up, come as incomplete.
func (a *app) inspectAll(ctx context.Context, g *generation, subject ratify.Subject, timeout time.Duration) (result *inspection, incomplete *ratify.Error, err error) {
	line := a.startProgress("inspecting " + plain(subject.String()))
	defer line.close()
	bounded, cancel := context.WithTimeout(line.context(ctx), timeout)
	defer cancel()
	desc, repo, err := g.engine.Open(bounded, subject)
	if err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	subject = subject.At(desc.Digest)
	root := newReferrer(subject.Repository, desc)
	l := newLister(repo, subject.Repository)
	if err := l.list(bounded, root, desc, 1); err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	result = &inspection{Reference: subject.String(), MediaType: desc.MediaType, Digest: desc.Digest, mirrored: mirroredOf(g, subject), Attached: []*referrer{}}
	if result.CosignTags, err = findTagged(bounded, repo, subject.Repository, desc); err != nil {
		l.incomplete = ratify.AsError(timeoutError(ctx, timeout, err))
	}
	i := inspector{subject: desc, repo: repo}
	result.Signatures, result.Attached, incomplete = i.inspectEach(bounded, root.Referrers)
	if l.incomplete != nil {
		incomplete = l.incomplete
	}
	if len(g.setup.Verifiers) > 0 {
		result.judge(bounded, g, subject, desc)
		result.nameKinds(root.Referrers)
	} else {
		i.claim(bounded, result.Attached)
	}
	return result, incomplete, nil
}

// An inspector looks at what is attached to one image.
type inspector struct {
	subject ocispec.Descriptor
	repo    ratify.Repository
}

// inspectEach tells signatures from what else there is, in the order in which it is listed. A signature that lies past the
// bound is the reason for which the inspection is incomplete.
func (i *inspector) inspectEach(ctx context.Context, referrers []*referrer) (signatures []*inspectedSignature, others []*referrer, incomplete *ratify.Error) {
	found := make([]*inspectedSignature, len(referrers))
	slots := make(chan struct{}, maxParallelSignatures)
	var workers sync.WaitGroup
	candidates := 0
	for at, r := range referrers {
		if !couldBeSignature(r) {
			continue
		}
		if candidates++; candidates > maxInspected {
			incomplete = &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("more than %d signatures; the rest is not shown", maxInspected)}
			break
		}
		slots <- struct{}{}
		workers.Go(func() {
			defer func() { <-slots }()
			found[at] = i.inspectOne(ctx, r)
		})
	}
	workers.Wait()
	signatures, others = []*inspectedSignature{}, []*referrer{}
	for at, r := range referrers {
		switch {
		case found[at] != nil:
			signatures = append(signatures, found[at])
		case r.ArtifactType != notation.ArtifactType: // what is, lies past the bound
			r.Referrers = nil
			others = append(others, r)
		}
	}
	return signatures, others, incomplete
}

// inspectOne returns nil for what turns out to be no signature.
func (i *inspector) inspectOne(ctx context.Context, r *referrer) *inspectedSignature {
	result := &inspectedSignature{Digest: r.Digest}
	ratify.Progress(ctx, "reading signature "+plain(string(r.Digest)))
	signature, err := readSignature(ctx, i.repo, i.subject, r.descriptor())
	if errors.Is(err, ratify.ErrOtherKind) {
		return nil
	}
	if err != nil {
		problem := ratify.AsError(err)
		result.Error = &inspectionError{problem.Code, problem.UserMessage()}
	}
	result.Signature = signature
	return result
}

// judge asks the engine what the configuration makes of all that is attached, whatever decides, so that what is said here
// is what verify says. An exemption keeps nothing from being looked at.
func (r *inspection) judge(ctx context.Context, g *generation, subject ratify.Subject, desc ocispec.Descriptor) {
	setup := g.setup
	setup.ExamineAll, setup.Exemptions = true, nil
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		r.Problem = &inspectionError{ratify.Internal, err.Error()}
		return
	}
	report, _ := engine.VerifyResolved(ctx, subject, desc) // the report says the same as the error
	r.Policy, r.Evidence = report.Policy, report.VerifierReports
	if len(r.Evidence) == 0 && (!report.IsSuccess || report.Code == ratify.WouldBeRefused) {
		r.Problem = &inspectionError{report.Code, report.Message}
	}
	for _, s := range r.Signatures {
		s.Verdict = r.verdictOf(s.Digest)
	}
}

// nameKinds gives evidence the artifact type that its manifest has, where the listing has none.
func (r *inspection) nameKinds(referrers []*referrer) {
	types := map[digest.Digest]string{}
	for _, r := range referrers {
		types[r.Digest] = ratify.Truncate(r.ArtifactType)
	}
	for i := range r.Evidence {
		r.Evidence[i].ArtifactType = cmp.Or(r.Evidence[i].ArtifactType, types[r.Evidence[i].Reference])
	}
}

// verdictOf is what the policy's verifiers say of one signature.
func (r *inspection) verdictOf(signature digest.Digest) *ratify.VerifierReport {
	for i := range r.Evidence {
		if r.Evidence[i].Reference == signature {
			return &r.Evidence[i]
		}
	}
	verdict := &ratify.VerifierReport{Subject: r.Reference, Reference: signature, Code: ratify.NotExamined, Message: "no verifier of the policy examines it"}
	if r.Problem != nil {
		verdict.Code, verdict.Message = r.Problem.Code, r.Problem.Message
	}
	for _, v := range r.Evidence {
		if v.Code == ratify.Skipped {
			verdict.IsSuccess, verdict.Name, verdict.Type, verdict.Code, verdict.Message = true, v.Name, v.Type, v.Code, v.Message
		}
	}
	return verdict
}

func (a *app) printInspection(r *inspection) {
	a.printMirrored(r.mirrored)
	if len(r.Signatures)+len(r.Attached)+len(r.CosignTags) == 0 {
		fmt.Fprintf(a.out, "%s has no associated signatures: nothing is attached to it\n", plain(r.Reference))
		a.printEvidence(r)
		return
	}
	fmt.Fprintln(a.out, "Inspecting all that is attached to the artifact")
	root := &node{text: a.ui.paint(bold, plain(r.Reference))}
	if len(r.Signatures) > 0 {
		kind := root.add(notation.ArtifactType)
		for _, s := range r.Signatures {
			a.growSignature(kind.add("%s", plain(s.Digest.String())), s)
		}
	}
	growTree(root, r.Attached)
	growTagged(root, r.CosignTags)
	root.print(a.out)
	a.printEvidence(r)
}

// growSignature hangs what is known of a signature below its digest.
func (a *app) growSignature(n *node, s *inspectedSignature) {
	if v := s.Verdict; v != nil {
		n.add("verdict: %s %s: %s", a.mark(v.IsSuccess, v.Code), v.Code, v.Message)
	}
	if s.Error != nil {
		n.add("%s %s: %s", a.ui.paint(red, "error:"), s.Error.Code, s.Error.Message)
	}
	if s.Signature != nil {
		growSignature(n, s.Signature)
	}
}
