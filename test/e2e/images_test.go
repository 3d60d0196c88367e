package e2e

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/ratify-provider/ratify/test/fixture"
)

// images is the fixture's registry, which can be made to fail.
type images struct {
	*fixture.Fixture
	trouble atomic.Pointer[http.HandlerFunc]
	pushed  int
	// good holds every reference that may be in the cluster: by tag, by digest, by both.
	good map[string]bool
}

func startImages(t *testing.T, options fixture.Options) *images {
	t.Helper()
	im := &images{good: map[string]bool{}}
	options.Wrap = func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if trouble := im.trouble.Load(); trouble != nil {
				(*trouble)(w, r)
				return
			}
			registry.ServeHTTP(w, r)
		})
	}
	f, err := fixture.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	im.Fixture = f
	for _, name := range []string{fixture.Signed, fixture.SignedCOSE, fixture.Multi, fixture.Index} {
		im.allow(f.Images[name])
	}
	return im
}

// ref is what a pod would say for one of the fixture's images.
func (im *images) ref(name string) string { return im.Images[name].Reference }

// pinned is an image's canonical reference, by digest.
func (im *images) pinned(name string) string { return im.Images[name].Pinned() }

// fresh pushes one more signed image, of which no cache knows anything.
func (im *images) fresh(t *testing.T) fixture.Image {
	t.Helper()
	return im.push(t, fixture.Signature{By: im.Signer})
}

// push pushes an image with signatures under a new name.
func (im *images) push(t *testing.T, signatures ...fixture.Signature) fixture.Image {
	t.Helper()
	im.pushed++
	image, err := im.Push(t.Context(), fmt.Sprintf("fresh-%d", im.pushed), signatures...)
	if err != nil {
		t.Fatal(err)
	}
	if len(signatures) > 0 {
		im.allow(image)
	}
	return image
}

func (im *images) allow(image fixture.Image) {
	im.good[image.Reference], im.good[image.Pinned()], im.good[image.Reference+"@"+image.Digest.String()] = true, true, true
}

// disturb lets another handler answer in place of the registry until the returned function is called.
func (im *images) disturb(handler http.HandlerFunc) (restore func()) {
	im.trouble.Store(&handler)
	return func() { im.trouble.Store(nil) }
}
