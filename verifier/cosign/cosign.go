// Package cosign verifies signatures that cosign and the other tools of Sigstore make: under cosign's tags, and in bundles
// that are referrers; by keys, and by certificates that were issued to an identity.
//
// It decides about one signature at a time: whether somebody the operator trusts has signed this very image. How that is
// found out is in internal/sigstore, which the verifiers of attestations share. Which signatures there are, and how many
// must be good, is not decided here. Begin at New and Verifier.Verify.
package cosign

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
)

// Config is what an operator writes: whom to trust.
type Config struct {
	sigstore.Trust
}

// Deps are what a Verifier shares with the rest of the process.
type Deps struct {
	// Files reads keys and the trusted root, and remembers what it read; nil reads them all the same.
	Files *files.Set
	// Shared is what all verifiers of signatures share: memory, and what was verified before; nil is one of its own.
	Shared *sigstore.Shared
}

// A Verifier verifies signatures. It is immutable and safe for concurrent use. It implements ratify.Verifier and
// ratify.Finder.
type Verifier struct {
	signers *sigstore.Verifier
}

var (
	_ ratify.Verifier = (*Verifier)(nil)
	_ ratify.Finder   = (*Verifier)(nil)
	_ ratify.Advisor  = (*Verifier)(nil)
)

// New builds a verifier. All that is wrong with the configuration is in the error, one line each, with its place.
func New(cfg Config, deps Deps) (*Verifier, error) {
	signers, err := sigstore.New(cfg.Trust, deps.Files, deps.Shared)
	if err != nil {
		return nil, err
	}
	return &Verifier{signers: signers}, nil
}

// Warnings tells what of the settings an operator may not have meant: identities that name nobody.
func (v *Verifier) Warnings() []string { return v.signers.Warnings() }

// Missing says what to do where there is no signature: one may be where it is not looked for.
func (v *Verifier) Missing() string {
	remedy := "sign this digest (cosign sign), and copy signatures along with images"
	if !v.signers.Tags() {
		remedy += "; signatures of cosign 1 and 2 are under a tag, which the verifier looks at with cosignTags"
	}
	return remedy
}

// Match tells whether the descriptor is of a bundle, or of a signature under cosign's tag. A bundle may turn out to hold
// an attestation, which is for another verifier.
func (v *Verifier) Match(evidence ocispec.Descriptor) bool { return v.signers.Match(evidence) }

// Find returns the signatures under cosign's tag for the subject, if the configuration asks for them.
func (v *Verifier) Find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return v.signers.FindSignatures(ctx, subject, repo)
}

// Verify reads one signature and tells whether it is one of the subject by somebody who is trusted. Every refusal is
// unproven: anybody may attach a signature that is not.
func (v *Verifier) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	signer, err := v.signers.Signature(ctx, subject, evidence, repo)
	if err != nil {
		return sigstore.Refusal(err)
	}
	return ratify.Result{
		Passed:     true,
		Message:    "signed by " + signer.String(),
		Extensions: signer.Extensions(),
	}, nil
}
