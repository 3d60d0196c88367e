package ratify

import (
	"context"
	"errors"
	"fmt"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// findings are what a subject is and what is attached to it. Of what lies past a bound, limit tells.
type findings struct {
	subject  ocispec.Descriptor
	attached attached
	limit    *Error
	found    []found // for each verifier; nil: the finders among them were not asked
}

// found is what a verifier found elsewhere than among the referrers, or why it could not.
type found struct {
	evidence []ocispec.Descriptor
	err      error
}

// look resolves the subject and searches for its evidence, at the same time where the digest is known beforehand.
func (x *examination) look(ctx context.Context, s Subject, known *ocispec.Descriptor, subjectRepo, evidenceRepo Repository) (f findings, err error) {
	switch {
	case known != nil:
		if err := checkDescribed(*known); err != nil {
			return f, err
		}
		return x.search(ctx, *known, evidenceRepo)
	case s.Digest == "":
		desc, err := resolve(ctx, subjectRepo, s)
		if err != nil {
			return f, err
		}
		return x.search(ctx, desc, evidenceRepo)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	searched := make(chan error, 1)
	go func() {
		var err error
		f, err = x.search(ctx, ocispec.Descriptor{Digest: s.Digest}, evidenceRepo)
		searched <- err
	}()
	desc, err := resolve(ctx, subjectRepo, s)
	if err != nil {
		cancel() // without the subject its evidence is of no use
	}
	searchErr := <-searched
	f.subject = desc
	if err != nil {
		return f, err
	}
	return f, searchErr
}

// resolve reads the subject's manifest.
func resolve(ctx context.Context, repo Repository, s Subject) (ocispec.Descriptor, error) {
	Progress(ctx, "reading the image's manifest")
	desc, err := repo.Resolve(ctx, s.Reference())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := checkDescribed(desc); err != nil {
		return ocispec.Descriptor{}, err
	}
	if s.Digest != "" && desc.Digest != s.Digest {
		return ocispec.Descriptor{}, &Error{Code: RegistryInvalid, Message: "the registry answered another manifest than the digest asked for"}
	}
	return desc, nil
}

// checkDescribed refuses a descriptor that names no content: evidence with an equally empty subject would be for it.
func checkDescribed(desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return &Error{Code: Internal, Err: fmt.Errorf("the subject's descriptor has the digest %s: %w", Quote(desc.Digest.String()), err)}
	}
	return nil
}

// search lists the referrers, and has the finders look beside them. Of subject only the digest need be known. An error is
// of the list alone; without it what was found is of no use.
func (x *examination) search(ctx context.Context, subject ocispec.Descriptor, repo Repository) (f findings, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.subject = subject
	wait := func() []found { return nil }
	// Where each platform counts for itself, what is under a tag for the index does not.
	if x.policy.Platforms != PlatformsAll || subject.MediaType != "" && !isIndex(subject.MediaType) {
		wait = x.askFinders(ctx, subject, repo)
	}
	f.attached, f.limit, err = x.list(ctx, repo, subject)
	if err != nil {
		cancel()
	}
	f.found = wait()
	return f, err
}

// askFinders begins to ask the finders among the verifiers, all at the same time; wait returns what each has found.
func (x *examination) askFinders(ctx context.Context, subject ocispec.Descriptor, repo Repository) (wait func() []found) {
	answers := make([]found, len(x.policy.verifiers))
	var asked sync.WaitGroup
	for i, v := range x.policy.verifiers {
		finder, ok := v.Verifier.(Finder)
		if !ok || x.standings[i].settled {
			continue
		}
		if answers[i].err = x.spend(); answers[i].err == nil {
			asked.Go(func() { answers[i].evidence, answers[i].err = x.askFinder(ctx, finder, subject, repo) })
		}
	}
	return func() []found {
		asked.Wait()
		return answers
	}
}

func (x *examination) askFinder(ctx context.Context, finder Finder, subject ocispec.Descriptor, repo Repository) (evidence []ocispec.Descriptor, err error) {
	defer x.engine.contain(x.report.TraceID, &err)
	ctx, cancel := halfOfWhatIsLeft(ctx)
	defer cancel()
	ctx, done := withHolding(ctx)
	defer done()
	if evidence, err = finder.Find(ctx, subject, repo); err != nil {
		return nil, err
	}
	return evidence, nil
}

// list lists the referrers up to the bound. A bound that was reached is no error here: what was read may be enough.
func (x *examination) list(ctx context.Context, repo Repository, subject ocispec.Descriptor) (a attached, limit *Error, err error) {
	defer x.engine.contain(x.report.TraceID, &err)
	Progress(ctx, "listing the image's referrers")
	referrers, err := repo.Referrers(ctx, subject)
	var e *Error
	switch {
	case errors.As(err, &e) && e.Code == LimitExceeded:
		limit = e
	case err != nil:
		return a, nil, err
	case len(referrers) > MaxReferrers:
		limit = &Error{Code: LimitExceeded, Message: fmt.Sprintf("more than %d artifacts are attached", MaxReferrers)}
	}
	return x.sift(referrers[:min(len(referrers), MaxReferrers)]), limit, nil
}
