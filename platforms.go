package ratify

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxPlatforms bounds the manifests of one index: the largest official images have some twenty.
const maxPlatforms = 32

// examinePlatforms decides about an index whose policy looks into it.
func (x *examination) examinePlatforms(ctx context.Context, f findings, subjectRepo, evidenceRepo Repository) error {
	var first error
	if x.policy.Platforms == PlatformsAny {
		x.examine(ctx, f, evidenceRepo)
		if first = x.decide(ctx); first == nil {
			return nil
		}
	}
	platforms, err := x.platforms(ctx, f.subject, subjectRepo)
	if err == nil {
		err = x.examineEach(ctx, platforms, evidenceRepo)
	}
	switch {
	case err == nil, first == nil:
		return err
	case !AsError(first).Code.Definitive(): // the index might have been enough
		return first
	case !AsError(err).Code.Definitive():
		return err
	}
	index, child := AsError(first), AsError(err)
	return &Error{Code: index.Code, Message: index.UserMessage() + ", nor does every platform have it: " + child.UserMessage(), Remedy: index.Remedy}
}

// platforms reads which manifests the index lists.
func (x *examination) platforms(ctx context.Context, index ocispec.Descriptor, repo Repository) ([]ocispec.Descriptor, error) {
	Progress(ctx, "reading the image's index")
	data, err := repo.Fetch(ctx, ocispec.Descriptor{MediaType: index.MediaType, Digest: index.Digest, Size: index.Size})
	if err != nil {
		return nil, err
	}
	var m struct {
		Manifests boundedPlatforms `json:"manifests"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, invalidIndex("%s", Truncate(err.Error()))
	}
	var list []ocispec.Descriptor
	for _, d := range m.Manifests {
		// Build tools list their attestations beside the images, for a platform that no runtime has or chooses.
		if p := d.Platform; p != nil && p.OS == "unknown" && p.Architecture == "unknown" {
			continue
		}
		if !IsManifest(d.MediaType) || isIndex(d.MediaType) || d.Digest.Validate() != nil || d.Size < 0 {
			return nil, invalidIndex("what it lists for %s is no image manifest", platformName(d))
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return nil, invalidIndex("it lists no image")
	}
	return list, nil
}

func invalidIndex(format string, args ...any) *Error {
	return &Error{Code: SubjectInvalid, Message: "the image's index is not fit for verification by platform: " + fmt.Sprintf(format, args...)}
}

// boundedPlatforms is a list that is not decoded past its bound.
type boundedPlatforms []ocispec.Descriptor

// UnmarshalJSON decodes as many as there may be, and as many attestations beside them.
func (l *boundedPlatforms) UnmarshalJSON(data []byte) error {
	list, more, err := DecodeDescriptors(data, 2*maxPlatforms)
	if more {
		return fmt.Errorf("it lists more than %d manifests", 2*maxPlatforms)
	}
	*l = list
	return err
}

// examineEach examines the manifest of every platform under the policy; all must pass.
func (x *examination) examineEach(ctx context.Context, platforms []ocispec.Descriptor, repo Repository) error {
	if len(platforms) > maxPlatforms {
		return &Error{Code: LimitExceeded, Message: fmt.Sprintf("the image's index lists %d platforms, of which at most %d are examined", len(platforms), maxPlatforms)}
	}
	reports, errs := make([]*Report, len(platforms)), make([]error, len(platforms))
	slots := make(chan struct{}, maxParallelEvidence)
	var wait sync.WaitGroup
	for i, platform := range platforms {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			reports[i] = &Report{TraceID: x.report.TraceID}
			errs[i] = x.examinePlatform(ctx, platform, repo, reports[i])
		})
	}
	wait.Wait()
	return x.combine(platforms, reports, errs)
}

func (x *examination) examinePlatform(ctx context.Context, platform ocispec.Descriptor, repo Repository, report *Report) (err error) {
	defer x.engine.contain(x.report.TraceID, &err)
	if err := x.spend(); err != nil {
		return err
	}
	subject := ocispec.Descriptor{MediaType: platform.MediaType, Digest: platform.Digest, Size: platform.Size}
	child := newExamination(x.engine, x.policy, x.subject.At(platform.Digest), report).within(x)
	found, err := child.search(ctx, subject, repo)
	if err != nil {
		return err
	}
	child.examine(ctx, found, repo)
	return child.decide(ctx)
}

// combine makes one decision of those about the platforms: a refusal of one is one, whatever could not be told of others.
func (x *examination) combine(platforms []ocispec.Descriptor, reports []*Report, errs []error) error {
	code, end, fresh := Skipped, time.Time{}, time.Time{}
	var refusal, open error
	x.report.DecidedBy = nil
	for i, r := range reports {
		x.report.VerifierReports = append(x.report.VerifierReports, r.VerifierReports...)
		if errs[i] == nil {
			end, fresh = earlier(end, time.Unix(r.NotAfter, 0)), earlier(fresh, r.FreshUntil)
			if r.Code == Audited || code == Skipped {
				code = r.Code
			}
			x.report.DecidedBy = r.DecidedBy
			continue
		}
		problem := *AsError(errs[i])
		problem.Message = fmt.Sprintf("platform %s (%s): %s", platformName(platforms[i]), platforms[i].Digest, problem.UserMessage())
		if problem.Code.Definitive() && refusal == nil {
			refusal = &problem
			x.report.DecidedBy = r.DecidedBy
		}
		if !problem.Code.Definitive() && open == nil {
			open = &problem
		}
	}
	switch {
	case refusal != nil:
		return refusal
	case open != nil:
		return open
	}
	x.report.FreshUntil = fresh
	x.report.Pass(code, end)
	return nil
}

func platformName(d ocispec.Descriptor) string {
	if d.Platform == nil {
		return "unnamed"
	}
	name := Truncate(d.Platform.OS) + "/" + Truncate(d.Platform.Architecture)
	if d.Platform.Variant != "" {
		name += "/" + Truncate(d.Platform.Variant)
	}
	return Quote(name)[1 : len(Quote(name))-1]
}
