package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/spf13/cobra"
)

const (
	// maxDepth is how deep evidence of evidence is followed: a signature of an SBOM of an image.
	maxDepth = 2
	// maxListings bounds the requests for one tree: an image's referrers, and theirs for a hundred of them. What
	// attaches more than that is not made for a person's eyes.
	maxListings = 101
)

// A referrer is an artifact with what is attached to it.
type referrer struct {
	Reference    string            `json:"reference"`
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	// Unverified is what a bundle says of itself, where it was read.
	Unverified *claims     `json:"unverified,omitempty"`
	Referrers  []*referrer `json:"referrers,omitzero"` // nil: not listed
	// CosignTags are set of the image itself alone.
	CosignTags []*taggedArtifact `json:"cosignTags,omitempty"`
	mirrored                     // of the image itself alone
}

func newReferrer(repository string, desc ocispec.Descriptor) *referrer {
	return &referrer{
		Reference: repository + "@" + desc.Digest.String(), MediaType: desc.MediaType, ArtifactType: desc.ArtifactType,
		Digest: desc.Digest, Size: desc.Size, Annotations: desc.Annotations, Referrers: []*referrer{},
	}
}

// descriptor is what a verifier would be given.
func (r *referrer) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: r.MediaType, ArtifactType: r.ArtifactType, Digest: r.Digest, Size: r.Size, Annotations: r.Annotations}
}

func (a *app) lsCommand() *cobra.Command {
	var from source
	var output format
	command := &cobra.Command{
		Use:     "ls IMAGE",
		Aliases: []string{"list"},
		Short:   "List what is attached to an image",
		Long: `Ls shows the tree of all artifacts whose subject is the image: signatures, SBOMs,
scans and whatever else, by artifact type, and what is attached to these in turn.
What cosign keeps under tags beside the image (sha256-….sig, .att, .sbom) is shown
by its tag. Nothing of it is verified.

Exit codes: 0 listed, 1 there is no such image or not all could be listed, 2 the
registry could not tell, 3 usage or configuration.`,
		Example: `  ratify ls registry.example/app:v1
  ratify ls --plain-http localhost:5000/app:v1
  ratify ls --oci-layout ./app registry.example/app:v1
  ratify ls -o json registry.example/app:v1 | jq -r '.referrers[].artifactType'`,
		Args: imageArguments(1),
		RunE: func(command *cobra.Command, images []string) error {
			return a.ls(command.Context(), &from, output, images[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	from.addFlags(command, false)
	from.addNamespaceFlag(command)
	addOutputFlag(command, &output)
	return command
}

func (a *app) ls(ctx context.Context, from *source, output format, image string) error {
	subject, g, err := a.loadAsked(ctx, from, image)
	if err != nil {
		return err
	}
	root, incomplete, err := a.listTree(ctx, g, subject, from.timeout)
	if err != nil {
		return err
	}
	if output == formatText {
		a.printTree(root)
	} else if err := output.print(a.out, root); err != nil {
		return err
	}
	if incomplete != nil {
		return incomplete
	}
	return nil
}

// listTree reads the tree. What lies past a bound, and cosign's tags that could not be looked up, come as incomplete,
// beside what was read.
func (a *app) listTree(ctx context.Context, g *generation, subject ratify.Subject, timeout time.Duration) (root *referrer, incomplete *ratify.Error, err error) {
	line := a.startProgress("listing " + plain(subject.String()))
	defer line.close()
	bounded, cancel := context.WithTimeout(line.context(ctx), timeout)
	defer cancel()
	desc, repo, err := g.engine.Open(bounded, subject)
	if err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	root = newReferrer(subject.Repository, desc)
	root.mirrored = mirroredOf(g, subject)
	l := newLister(repo, subject.Repository)
	l.seen[desc.Digest] = true
	if err := l.list(bounded, root, desc, maxDepth); err != nil {
		return nil, nil, timeoutError(ctx, timeout, err)
	}
	if root.CosignTags, err = findTagged(bounded, repo, subject.Repository, desc); err != nil {
		l.incomplete = ratify.AsError(timeoutError(ctx, timeout, err))
	}
	return root, l.incomplete, nil
}

// timeoutError gives the words of a command line to an error that a deadline or an interruption made.
func timeoutError(ctx context.Context, timeout time.Duration, err error) error {
	if ratify.AsError(err).Code == ratify.Deadline {
		return deadlineError(ctx, timeout, "")
	}
	return err
}

// A lister walks the referrers of referrers.
type lister struct {
	repo       ratify.Repository
	repository string
	seen       map[digest.Digest]bool // a registry may list in a circle
	left       int                    // listings that may still be asked for
	reads      int                    // manifests that may still be read
	incomplete *ratify.Error
}

func newLister(repo ratify.Repository, repository string) *lister {
	return &lister{repo: repo, repository: repository, seen: map[digest.Digest]bool{}, left: maxListings, reads: maxListings}
}

func (l *lister) list(ctx context.Context, parent *referrer, desc ocispec.Descriptor, depth int) error {
	if l.left == 0 {
		l.incomplete = &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("more than %d artifacts may have something attached; the rest is not shown", maxListings)}
		return nil
	}
	l.left--
	ratify.Progress(ctx, fmt.Sprintf("reading list %d", maxListings-l.left))
	referrers, err := l.repo.Referrers(ctx, desc)
	var problem *ratify.Error
	if errors.As(err, &problem) && problem.Code == ratify.LimitExceeded {
		l.incomplete, err = problem, nil
	}
	if err != nil {
		return ratify.AsError(err)
	}
	for _, d := range referrers {
		d.ArtifactType = l.artifactType(ctx, d)
		child := newReferrer(l.repository, d)
		parent.Referrers = append(parent.Referrers, child)
		if depth == 1 || l.seen[d.Digest] {
			continue
		}
		l.seen[d.Digest] = true
		if err := l.list(ctx, child, d, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// artifactType is what the manifest says where the listing does not: indexes under a fallback tag and layouts often leave
// it out, and some registries give the type of an empty config for it. What cannot be read has none.
func (l *lister) artifactType(ctx context.Context, d ocispec.Descriptor) string {
	given := d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeEmptyJSON
	if given || l.reads == 0 || !ratify.IsManifest(d.MediaType) {
		return d.ArtifactType
	}
	l.reads--
	data, err := l.repo.Fetch(ctx, d)
	if err != nil {
		return d.ArtifactType
	}
	var manifest ocispec.Manifest
	if json.Unmarshal(data, &manifest) != nil {
		return d.ArtifactType
	}
	if manifest.ArtifactType != "" {
		return manifest.ArtifactType
	}
	return manifest.Config.MediaType
}

func (a *app) printTree(root *referrer) {
	a.printMirrored(root.mirrored)
	if len(root.Referrers)+len(root.CosignTags) == 0 {
		fmt.Fprintf(a.out, "%s has no referrers: nothing is attached to it\n", plain(root.Reference))
		return
	}
	tree := &node{text: a.ui.paint(bold, plain(root.Reference))}
	growTree(tree, root.Referrers)
	growTagged(tree, root.CosignTags)
	tree.print(a.out)
}

// growTree hangs referrers below a node, by artifact type in the order in which the types come.
func growTree(parent *node, referrers []*referrer) {
	byType := map[string]*node{}
	for _, r := range referrers {
		kind := kindOf(r)
		if byType[kind] == nil {
			byType[kind] = parent.add("%s", plain(kind))
		}
		n := byType[kind].add("%s", plain(r.Digest.String()))
		r.Unverified.grow(n)
		growTree(n, r.Referrers)
	}
}

// kindOf is the artifact type, or the media type of what has none.
func kindOf(r *referrer) string {
	if r.ArtifactType != "" {
		return r.ArtifactType
	}
	return r.MediaType
}
