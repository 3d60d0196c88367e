package sigstore

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/cache"
)

const (
	// maxParsedBytes bounds the evidence that is in memory in parsed form, by its size as it was read: one document of the
	// largest size, or sixteen bundles. Parsing takes up to four times as much, which is the 64 MiB that a process reads at
	// the same time. Where a certificate's signature is verified, the library encodes, decodes and copies a payload again:
	// twelve times as much goes through memory then, though not all of it is held at any time.
	maxParsedBytes = ratify.MaxDocumentBytes
	// smallBytes is what does not count, and never waits: most bundles have less, and what a process verifies at the same
	// time of them is bounded elsewhere.
	smallBytes = 64 << 10
)

// A Shared is what all verifiers of a process share, whatever configuration they are of: the memory for evidence in parsed
// form, and what was verified before; and, those of one configuration, what is not under cosign's tags. It is safe for
// concurrent use.
type Shared struct {
	parsed        *semaphore.Weighted
	outcomes      *cache.Cache[Signer]
	verifications *flights[Signer]
	absent        *cache.Cache[struct{}]
	absentLife    time.Duration
	lookups       *flights[[]ocispec.Descriptor]
	verified      func() // is told of each signature that is verified, whatever comes of it
}

// NewShared returns a Shared with all of its memory.
func NewShared() *Shared {
	shared := &Shared{
		parsed:        semaphore.NewWeighted(maxParsedBytes),
		outcomes:      cache.New(maxOutcomes, maxOutcomeBytes, Signer.size),
		verifications: newFlights[Signer](),
		verified:      func() {},
	}
	return shared.Configured(maxAbsentLife)
}

// Configured returns the same Shared for the verifiers of one configuration, which keeps refusals for the given time. What
// is not under cosign's tags they find out for themselves, for another configuration may have had other registries and
// other credentials; and they remember it for no longer than that time.
func (s *Shared) Configured(refusals time.Duration) *Shared {
	configured := *s
	configured.absent = cache.New(maxAbsent, maxAbsentBytes, func(struct{}) int64 { return 0 })
	configured.absentLife = min(refusals, maxAbsentLife)
	configured.lookups = newFlights[[]ocispec.Descriptor]()
	return &configured
}

// Counting returns the same Shared for verifiers whose work is counted: verified is called for each signature that they
// verify by cryptography, whether it is good or not, and not for one whose outcome is remembered. It must be safe for
// concurrent use and must not block.
func (s *Shared) Counting(verified func()) *Shared {
	counting := *s
	counting.verified = verified
	return &counting
}

// hold waits until there is memory for evidence of the size, at most ratify.MaxDocumentBytes, in parsed form. Between hold
// and release nothing may be waited for, least of all a registry: one that is stuck would hold up everybody.
func (s *Shared) hold(ctx context.Context, size int64) (release func(), err error) {
	if size <= smallBytes {
		return func() {}, nil
	}
	if err := s.parsed.Acquire(ctx, size); err != nil {
		return nil, err
	}
	return func() { s.parsed.Release(size) }, nil
}
