package sigstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// inPlace is a repository that tells where it is.
type inPlace struct {
	*cosigntest.Repository
	place string
}

func (p inPlace) Place() string { return p.place }

// asking counts what is asked of a repository, and has each request take a second.
func asking(repo *cosigntest.Repository) (asked func() []string) {
	var mu sync.Mutex
	var list []string
	repo.Before = func(what string) error {
		mu.Lock()
		list = append(list, what)
		mu.Unlock()
		time.Sleep(time.Second)
		return nil
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { list = nil }()
		return list
	}
}

// TestAbsentTagsAreRemembered: that an image has nothing under cosign's tag is asked once in the time for which a refusal
// is kept; but for each tenant, place, image and tag.
func TestAbsentTagsAreRemembered(t *testing.T) {
	trust := byKey(t, newKey(t, cosigntest.P256))
	for _, tc := range []struct {
		name   string
		before func()
		place  string
		find   func(v *sigstore.Verifier) func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error)
		image  ocispec.Descriptor
		want   int
	}{
		{"again", nil, "[]registry.example/app", nil, image, 0},
		{"after nine seconds", func() { time.Sleep(9 * time.Second) }, "[]registry.example/app", nil, image, 0},
		{"after ten seconds", func() { time.Sleep(10 * time.Second) }, "[]registry.example/app", nil, image, 1},
		{"of a tenant", nil, "[team]registry.example/app", nil, image, 1},
		{"elsewhere", nil, "[]mirror.example/app", nil, image, 1},
		{"of another image", nil, "[]registry.example/app", nil, ocispec.Descriptor{Digest: digestOf("another image")}, 1},
		{"attestations", nil, "[]registry.example/app", func(v *sigstore.Verifier) func(context.Context, ocispec.Descriptor, ratify.Repository) ([]ocispec.Descriptor, error) {
			return v.FindAttestations
		}, image, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				repo, p := newRepository(), newProcess()
				asked := asking(repo)
				v := p.verifier(t, trust)
				if found, err := v.FindSignatures(t.Context(), image, inPlace{repo, "[]registry.example/app"}); err != nil || len(found) > 0 {
					t.Fatal(found, err)
				}
				if got := asked(); len(got) != 1 || !strings.HasSuffix(got[0], ".sig") {
					t.Errorf("asked %q at first", got)
				}
				if tc.before != nil {
					synctest.Wait()
					tc.before()
				}
				v = p.verifier(t, trust) // of another configuration
				find := v.FindSignatures
				if tc.find != nil {
					find = tc.find(v)
				}
				if found, err := find(t.Context(), tc.image, inPlace{repo, tc.place}); err != nil || len(found) > 0 {
					t.Error(found, err)
				}
				if got := asked(); len(got) != tc.want {
					t.Errorf("asked %q, want %d requests", got, tc.want)
				}
			})
		})
	}
}

// TestWhatIsThereIsAskedForEachTime: neither what a tag points at is remembered, nor that it could not be told, nor anything
// of a repository that does not tell where it is.
func TestWhatIsThereIsAskedForEachTime(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	signature := cosigntest.Collect(image.Digest, must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("registry.example/app", image.Digest))).Layer())
	unavailable := &ratify.Error{Code: ratify.RegistryUnavailable}
	v := newProcess().verifier(t, byKey(t, key))
	repo := newRepository()
	placed := inPlace{repo, "[]registry.example/app"}
	if found, err := v.FindSignatures(t.Context(), image, repo); err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	repo.Before = func(string) error { return unavailable }
	for range 2 {
		if _, err := v.FindSignatures(t.Context(), image, placed); !errors.Is(err, unavailable) {
			t.Errorf("unavailable: %v", err)
		}
	}
	repo.Before = nil
	repo.Push(signature)
	for _, r := range []ratify.Repository{repo, placed} {
		if found, err := v.FindSignatures(t.Context(), image, r); err != nil || len(found) != 1 {
			t.Errorf("signed: %v, %v", found, err)
		}
	}
	delete(repo.Tags, signature.Tag)
	for _, r := range []ratify.Repository{repo, placed} {
		if found, err := v.FindSignatures(t.Context(), image, r); err != nil || len(found) != 0 {
			t.Errorf("signed no more: %v, %v", found, err)
		}
	}
}

// TestManyFindersAskOnce: the verifiers of a policy want the same tag at the same time.
func TestManyFindersAskOnce(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	signature := cosigntest.Collect(image.Digest, must[*cosigntest.Signed](t)(key.SignMessage(cosigntest.Payload("registry.example/app", image.Digest))).Layer())
	trust := byKey(t, key)
	for name, artifacts := range map[string][]*cosigntest.Artifact{"absent": nil, "present": {signature}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				repo, p := newRepository(artifacts...), newProcess()
				asked := asking(repo)
				var all sync.WaitGroup
				for range 5 {
					v := p.verifier(t, trust)
					all.Go(func() {
						found, err := v.FindSignatures(t.Context(), image, inPlace{repo, "[]registry.example/app"})
						if err != nil || len(found) != len(artifacts) {
							t.Errorf("found %v: %v", found, err)
						}
					})
				}
				all.Wait()
				if got := asked(); len(got) != 1+len(artifacts) { // the tag, and the manifest under it
					t.Errorf("asked %q", got)
				}
			})
		})
	}
}

// TestALookupBelongsToNobodyElse: who waits for another's lookup does so for as long as he likes, and asks for himself when
// that comes to nothing.
func TestALookupBelongsToNobodyElse(t *testing.T) {
	trust := byKey(t, newKey(t, cosigntest.P256))
	type looker func(ctx context.Context) ([]ocispec.Descriptor, error)
	setUp := func(t *testing.T) (repo *cosigntest.Repository, look looker) {
		repo, p := newRepository(), newProcess()
		return repo, func(ctx context.Context) ([]ocispec.Descriptor, error) {
			return p.verifier(t, trust).FindSignatures(ctx, image, inPlace{repo, "[]registry.example/app"})
		}
	}
	t.Run("the first gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			repo, look := setUp(t)
			first, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			asked := 0
			repo.Before = func(string) error {
				if asked++; asked == 1 {
					<-first.Done()
					return first.Err()
				}
				return nil
			}
			go func() {
				if _, err := look(first); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the first: %v", err)
				}
			}()
			synctest.Wait()
			if found, err := look(t.Context()); err != nil || len(found) > 0 || asked != 2 {
				t.Errorf("the second: %v, %v, after %d requests", found, err, asked)
			}
		})
	})
	t.Run("the first panics", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			repo, look := setUp(t)
			asked := 0
			repo.Before = func(string) error {
				if asked++; asked == 1 {
					time.Sleep(time.Second)
					panic("in a store")
				}
				return nil
			}
			go func() {
				defer func() {
					if recover() == nil {
						t.Error("the panic was kept from whoever contains it")
					}
				}()
				_, _ = look(t.Context())
			}()
			synctest.Wait()
			if found, err := look(t.Context()); err != nil || len(found) > 0 || asked != 2 {
				t.Errorf("the second: %v, %v, after %d requests", found, err, asked)
			}
		})
	})
	t.Run("the second gives up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			repo, look := setUp(t)
			asked := asking(repo)
			go func() {
				if found, err := look(t.Context()); err != nil || len(found) > 0 {
					t.Errorf("the first: %v, %v", found, err)
				}
			}()
			synctest.Wait()
			second, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := look(second); !errors.Is(err, context.Canceled) {
				t.Errorf("the second: %v", err)
			}
			time.Sleep(2 * time.Second)
			if got := asked(); len(got) != 1 {
				t.Errorf("asked %q", got)
			}
		})
	})
}
