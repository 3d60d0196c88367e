package ratify_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// slow makes a world of which each request takes a second, and returns how many there were.
func slow(w *world) *atomic.Int64 {
	var requests atomic.Int64
	second := func() {
		requests.Add(1)
		time.Sleep(time.Second)
	}
	resolve, referrers := w.repo.resolve, w.repo.referrers
	w.repo.resolve = func(ctx context.Context, reference string) (ocispec.Descriptor, error) {
		second()
		return resolve(ctx, reference)
	}
	w.repo.referrers = func(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		second()
		return referrers(ctx, subject)
	}
	for i, v := range w.verifiers {
		w.verifiers[i].Verifier = fakeFinder{v.Verifier.(*fakeVerifier), func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
			second()
			return pieces("found", 1), nil
		}}
	}
	return &requests
}

// TestFindsBesideTheReferrers: a tag takes two requests in sequence, a digest one, however many verifiers find their
// evidence elsewhere.
func TestFindsBesideTheReferrers(t *testing.T) {
	digested := repositoryName + "@" + subjectDescriptor.Digest.String()
	for _, tc := range []struct {
		name   string
		verify func(t *testing.T, e *ratify.Engine) (*ratify.Report, error)
		want   time.Duration
		asked  int64
	}{
		{"by tag", func(t *testing.T, e *ratify.Engine) (*ratify.Report, error) { return ask(t, e, taggedKey) }, 2 * time.Second, 4},
		{"by digest", func(t *testing.T, e *ratify.Engine) (*ratify.Report, error) { return ask(t, e, digested) }, time.Second, 4},
		{"resolved before", func(t *testing.T, e *ratify.Engine) (*ratify.Report, error) {
			return e.VerifyResolved(t.Context(), mustParse(t, taggedKey), subjectDescriptor)
		}, time.Second, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(nil, &fakeVerifier{kind: "found", verify: look(pass, nil)}, &fakeVerifier{kind: "found", verify: look(pass, nil)})
				requests := slow(w)
				e := w.engine(t)
				began := time.Now()
				r, err := tc.verify(t, e)
				if outcomeOf(r, err) != ratify.OutcomeVerified {
					t.Errorf("%s: %v", r.Message, err)
				}
				if took := time.Since(began); took != tc.want || requests.Load() != tc.asked {
					t.Errorf("%d requests in %s, want %d in %s", requests.Load(), took, tc.asked, tc.want)
				}
			})
		})
	}
}

// TestFindsBesideTheReferrersOfPlatformsAndDocuments: a platform's evidence is looked for at once, and so is a document's.
func TestFindsBesideTheReferrersOfPlatformsAndDocuments(t *testing.T) {
	finder := func() fakeFinder {
		return fakeFinder{&fakeVerifier{kind: "sig", verify: look(pass, nil)}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
			time.Sleep(time.Second)
			return pieces("sig", 1), nil
		}}
	}
	slowLists := func(repo *fakeRepository) *fakeRepository {
		referrers := repo.referrers
		repo.referrers = func(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
			time.Sleep(time.Second)
			return referrers(ctx, subject)
		}
		return repo
	}
	for _, tc := range []struct {
		name   string
		engine func(t *testing.T) *ratify.Engine
		want   time.Duration
	}{
		{"a platform", func(t *testing.T) *ratify.Engine {
			repo, _ := indexed(indexOf(t, manifestFor("amd64")), lists{})
			return byPlatforms(t, slowLists(repo), ratify.PlatformsAll, finder())
		}, 2 * time.Second},
		{"a document", func(t *testing.T) *ratify.Engine {
			return provenBy(t, slowLists(attached(documented(1, 0))), documents(look(pass, nil)), finder())
		}, 2 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := tc.engine(t)
				began := time.Now()
				r, err := ask(t, e, taggedKey)
				if took := time.Since(began); outcomeOf(r, err) != ratify.OutcomeVerified || took != tc.want {
					t.Errorf("%s after %s, want verified after %s: %v", r.Message, took, tc.want, err)
				}
			})
		})
	}
}

// TestFindersAreNotAskedForNothing: not about an index of which only the platforms count, nor by a verifier that asks for
// nothing.
func TestFindersAreNotAskedForNothing(t *testing.T) {
	var mu sync.Mutex
	var asked []ocispec.Descriptor
	finder := fakeFinder{&fakeVerifier{kind: "sig", verify: look(pass, nil)}, func(_ context.Context, subject ocispec.Descriptor, _ ratify.Repository) ([]ocispec.Descriptor, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, subject)
		return pieces("sig", 1), nil
	}}
	amd := manifestFor("amd64")
	repo, index := indexed(indexOf(t, amd), lists{})
	for _, tc := range []struct {
		name      string
		platforms ratify.Platforms
		resolves  ocispec.Descriptor
		want      []ocispec.Descriptor // by digest
	}{
		{"all platforms of an index", ratify.PlatformsAll, index, []ocispec.Descriptor{amd}},
		{"all platforms of a manifest", ratify.PlatformsAll, subjectDescriptor, []ocispec.Descriptor{subjectDescriptor}},
		{"any of an index", ratify.PlatformsAny, index, []ocispec.Descriptor{index}},
		{"the index", ratify.PlatformsIndex, index, []ocispec.Descriptor{index}},
	} {
		for _, key := range []string{taggedKey, repositoryName + "@" + tc.resolves.Digest.String()} {
			t.Run(tc.name+" "+key[len(repositoryName):len(repositoryName)+3], func(t *testing.T) {
				asked = nil
				repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return tc.resolves, nil }
				r, err := ask(t, byPlatforms(t, repo, tc.platforms, finder), key)
				if outcomeOf(r, err) != ratify.OutcomeVerified {
					t.Errorf("%s: %v", r.Message, err)
				}
				same := func(a, b ocispec.Descriptor) bool { return a.Digest == b.Digest }
				if !slices.EqualFunc(asked, tc.want, same) {
					t.Errorf("asked about %v, want %v", asked, tc.want)
				}
			})
		}
	}
}

type skippingFinder struct{ fakeFinder }

func (skippingFinder) Skip(ratify.Subject) bool { return true }

func TestAFinderThatAsksForNothing(t *testing.T) {
	finder := fakeFinder{&fakeVerifier{kind: "a"}, func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
		t.Error("it was asked")
		return nil, nil
	}}
	w := newWorld(pieces("b", 1), skippingFinder{finder}, &fakeVerifier{kind: "b", verify: look(pass, nil)})
	if r, err := w.verify(t); outcomeOf(r, err) != ratify.OutcomeVerified {
		t.Errorf("%s: %v", r.Message, err)
	}
}

// TestFindersEndWithTheSearch: where there is no subject, or no list, nobody waits for what a finder may find.
func TestFindersEndWithTheSearch(t *testing.T) {
	gone := &ratify.Error{Code: ratify.SubjectNotFound}
	for _, tc := range []struct {
		name string
		key  string
		fail func(w *world)
		want ratify.Code
	}{
		{"no subject", repositoryName + "@" + subjectDescriptor.Digest.String(), func(w *world) {
			w.repo.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, gone }
		}, ratify.SubjectNotFound},
		{"no list by digest", repositoryName + "@" + subjectDescriptor.Digest.String(), func(w *world) {
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, unavailable }
		}, ratify.RegistryUnavailable},
		{"no list by tag", taggedKey, func(w *world) {
			w.repo.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, unavailable }
		}, ratify.RegistryUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(nil, &fakeVerifier{kind: "found", verify: look(pass, nil)})
				w.verifiers[0].Verifier = fakeFinder{&fakeVerifier{kind: "found"}, func(ctx context.Context, _ ocispec.Descriptor, _ ratify.Repository) ([]ocispec.Descriptor, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}}
				tc.fail(w)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				r, err := w.engine(t).Verify(ctx, mustParse(t, tc.key))
				checkReport(t, r, err)
				if r.Code != tc.want || time.Since(began) > 0 {
					t.Errorf("%s after %s: %v", r.Code, time.Since(began), err)
				}
			})
		})
	}
}
