package sigstore

import (
	"context"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A placed repository tells in which place it is, and for whom it is read: what one tenant may read, and what is not there
// for one, is nothing to another.
type placed interface{ Place() string }

const (
	// maxAbsentLife is how long it is remembered at most that there is no such tag: as long as a refusal is kept, which is
	// what comes of it, unless that is configured otherwise. Whoever signs an image meanwhile waits for twice as long at worst,
	// where a refusal comes of what was remembered.
	maxAbsentLife = 10 * time.Second
	// maxAbsent is how many images a busy cluster looks at within that time, with two tags each.
	maxAbsent = 8 << 10
	// maxAbsentBytes holds as many of names of 200 bytes and tags of 75, and what each entry costs beside them.
	maxAbsentBytes = 4 << 20
)

// find returns what look finds under a tag, and remembers that there is no such tag. Several verifiers that want the same
// tag at the same time, as those of a policy do, ask once.
func (s *Shared) find(ctx context.Context, key string, look func() (layers []ocispec.Descriptor, there bool, err error)) ([]ocispec.Descriptor, error) {
	if _, absent := s.absent.Get(key); absent {
		return nil, nil
	}
	return s.lookups.do(ctx, key, func() ([]ocispec.Descriptor, error) {
		layers, there, err := look()
		if err == nil && !there {
			s.absent.Set(key, struct{}{}, s.absentLife)
		}
		return layers, err
	})
}
