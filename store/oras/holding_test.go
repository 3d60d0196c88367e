package oras

import (
	"context"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/inflight"
)

// reader is a verifier that looks at what is in flight while it has what it asked for.
type reader struct {
	wanted ocispec.Descriptor
	looked func()
}

func (reader) Match(ocispec.Descriptor) bool { return true }

func (v reader) Verify(ctx context.Context, _, _ ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	if _, err := repo.Fetch(ctx, v.wanted); err != nil {
		return ratify.Result{}, err
	}
	v.looked()
	return ratify.Result{Passed: true}, nil
}

// TestWhatIsReadCountsUntilItsReaderIsDone: with all that is decoded of it, whether it was just read or is kept, and not
// longer.
func TestWhatIsReadCountsUntilItsReaderIsDone(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	pool := NewPool()
	store := newStore(t, Deps{Pool: pool}, f.entry(t))
	blob := c.layer.Desc
	for _, from := range []string{"the registry", "what is kept"} {
		owner := inflight.Owner(f.host)
		room := int64(maxInFlightBytes/4*3) - decoded(blob.Size)
		looked := false
		v := reader{blob, func() {
			looked = true
			if pool.bodies.Try(owner, room+1) {
				t.Errorf("from %s: what the verifier has counts for less than %d", from, decoded(blob.Size))
				pool.bodies.Give(owner, room+1)
			}
		}}
		engine, err := ratify.NewEngine(ratify.Setup{
			Stores:    []ratify.NamedStore{{Name: "store", Scopes: []string{"*"}, Store: store}},
			Verifiers: []ratify.NamedVerifier{{Name: "reader", Type: "reader", Verifier: v}},
			Policies:  []ratify.Policy{{Name: "all", Scopes: []string{"*"}, Verifiers: []string{"reader"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		report, err := engine.Verify(t.Context(), ratify.Subject{Repository: f.repository(), Digest: c.image.Desc.Digest})
		if err != nil || !report.IsSuccess || !looked {
			t.Fatalf("from %s: %v, %+v", from, err, report)
		}
		if !pool.bodies.Try(owner, maxInFlightBytes/4*3) {
			t.Errorf("from %s: it counts although the verifier is done", from)
		}
		pool.bodies.Give(owner, maxInFlightBytes/4*3)
	}
}
