package oras

import (
	"bytes"
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/internal/content"
	"github.com/ratify-provider/ratify/internal/inflight"
	"github.com/ratify-provider/ratify/internal/listhash"
)

// What was read under a digest is kept in the pool, and asked for no more: it cannot change. What could change is asked for
// each time, under the credential of that time: which digest a tag is on, and what is attached to an image. So it is still
// the registry that decides who may see an image: without its list of referrers, which is never kept, nothing is verified.

// keyOf is what content is kept under. It holds who has read it: tenants have credentials of their own, and what one may
// read is not for another. It holds no credential, which are replaced, and a fingerprint of this is a file's name.
func (a *access) keyOf(kind string, d digest.Digest) blobs.Key {
	return blobs.Key([]byte(listhash.Sum(a.target.namespace, a.entry.origin(a.target.host), a.target.path, kind, d.String())))
}

// known resolves a digest whose manifest was read before. A manifest that does not say itself of which type it is must be
// asked for: what the registry says of it is under no digest.
func (a *access) known(ctx context.Context, reference string) (desc ocispec.Descriptor, ok bool) {
	wanted := digest.Digest(reference)
	if wanted.Validate() != nil {
		return ocispec.Descriptor{}, false
	}
	data, ok := a.deps.Pool.content.Look(ctx, a.keyOf(kindManifests, wanted), wanted, ratify.MaxManifestBytes)
	if !ok {
		return ocispec.Descriptor{}, false
	}
	desc, err := ratify.DescribeManifest(data, wanted.Algorithm(), "")
	return desc, err == nil
}

// fetchKnown returns what was read before under the digest of a descriptor, which has been checked. The rest of the descriptor
// is compared with it as if it had just been read.
func (a *access) fetchKnown(ctx context.Context, desc ocispec.Descriptor) (data []byte, ok bool, err error) {
	key := a.keyOf(kindOf(desc), desc.Digest)
	kept, ok := a.deps.Pool.content.Look(ctx, key, desc.Digest, content.Bound(desc))
	if !ok {
		return nil, false, nil
	}
	// Counted before it is copied: hundreds may want large content at the same time.
	pool, owner, size := a.deps.Pool, inflight.Owner(a.target.host), decoded(int64(len(kept)))
	if err := pool.take(ctx, owner, size); err != nil {
		return nil, true, err
	}
	ratify.Hold(ctx, func() { pool.bodies.Give(owner, size) })
	data = bytes.Clone(kept)
	if err := content.Check(desc, data, int64(len(data))); err != nil {
		return nil, true, err
	}
	return data, true, nil
}

// keep keeps what was read and has the digest.
func (a *access) keep(kind string, d digest.Digest, data []byte) {
	a.deps.Pool.content.Put(a.keyOf(kind, d), data)
}
