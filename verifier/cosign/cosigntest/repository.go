package cosigntest

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// A Repository is one in memory, for what is tested of a verifier alone. It lists no referrers: the engine does that, and
// no verifier may.
type Repository struct {
	Blobs map[digest.Digest][]byte
	Tags  map[string]ocispec.Descriptor
	// Before, if set, is asked before anything is read, with the reference or the digest; its error is the answer.
	Before func(what string) error
}

// NewRepository returns one that holds the artifacts.
func NewRepository(artifacts ...*Artifact) *Repository {
	r := &Repository{Blobs: map[digest.Digest][]byte{}, Tags: map[string]ocispec.Descriptor{}}
	for _, a := range artifacts {
		r.Push(a)
	}
	return r
}

// Put adds content and returns its descriptor.
func (r *Repository) Put(mediaType string, data []byte) ocispec.Descriptor {
	desc := describe(mediaType, data)
	r.Blobs[desc.Digest] = data
	return desc
}

// Push adds an artifact and returns its descriptor, as a list of referrers has it.
func (r *Repository) Push(a *Artifact) ocispec.Descriptor {
	for sum, blob := range a.Blobs {
		r.Blobs[sum] = blob
	}
	r.Blobs[a.Descriptor.Digest] = a.Manifest
	if a.Tag != "" {
		r.Tags[a.Tag] = ocispec.Descriptor{MediaType: a.Descriptor.MediaType, Digest: a.Descriptor.Digest, Size: a.Descriptor.Size}
	}
	return a.Descriptor
}

// Name is the repository's.
func (r *Repository) Name() string { return "registry.example/app" }

// Resolve finds what a tag points at.
func (r *Repository) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	if r.Before != nil {
		if err := r.Before(reference); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	if desc, ok := r.Tags[reference]; ok {
		return desc, nil
	}
	return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectNotFound}
}

// Referrers panics.
func (r *Repository) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	panic("the engine lists referrers, nobody else")
}

// Fetch reads content of the descriptor's digest and size.
func (r *Repository) Fetch(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if r.Before != nil {
		if err := r.Before(desc.Digest.String()); err != nil {
			return nil, err
		}
	}
	data, ok := r.Blobs[desc.Digest]
	if !ok || int64(len(data)) != desc.Size {
		return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: "no blob of that digest and size: " + desc.Digest.String()}
	}
	return data, nil
}
