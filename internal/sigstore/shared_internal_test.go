package sigstore

import (
	"context"
	"errors"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// TestShared: all verifiers of a process wait for the memory that one of them has taken, with what is large, and as long as
// whoever asks does.
func TestShared(t *testing.T) {
	shared := NewShared()
	for name, look := range map[string]func(v *Verifier, ctx context.Context, b blob) error{
		"a signature": func(v *Verifier, ctx context.Context, b blob) error {
			_, err := v.signed(ctx, b, []byte("junk"), ocispec.Descriptor{}, nil)
			return err
		},
		"an attestation": func(v *Verifier, ctx context.Context, b blob) error {
			_, _, err := v.attested(ctx, b, []byte("junk"), ocispec.Descriptor{}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := &Verifier{shared: shared}
			sized := func(size int64) blob { return blob{Descriptor: ocispec.Descriptor{Size: size}} }
			release, err := shared.hold(t.Context(), ratify.MaxDocumentBytes)
			if err != nil {
				t.Fatal(err)
			}
			soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := look(v, soon, sized(smallBytes+1)); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a large one does not wait: %v", err)
			}
			var refused *ratify.Error
			if err := look(v, t.Context(), sized(smallBytes)); !errors.As(err, &refused) {
				t.Errorf("a small one: %v", err)
			}
			release()
			for range 2 {
				if err := look(v, t.Context(), sized(ratify.MaxDocumentBytes)); !errors.As(err, &refused) {
					t.Errorf("after it: %v", err)
				}
			}
		})
	}
}
