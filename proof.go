package ratify

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

type proofKey struct{}

type proveFunc func(ctx context.Context, evidence ocispec.Descriptor) (bool, error)

// Prove tells a verifier with signedBy whether another document of the subject, beside the one that it examines, is
// proven: whether one of the verifiers that signedBy names vouches for it. Without signedBy nothing is proven.
func Prove(ctx context.Context, evidence ocispec.Descriptor) (bool, error) {
	if prove, ok := ctx.Value(proofKey{}).(proveFunc); ok {
		return prove(ctx, evidence)
	}
	return false, nil
}
