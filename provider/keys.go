package provider

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/ratify-provider/ratify"
)

const (
	// keyPlaces is how many keys a generation remembers: four times the images of a large cluster, for two keys in one place
	// drive each other out.
	keyPlaces = 4096
	// maxRememberedKey bounds one of them. With what it was parsed to it takes four times that: 4 MiB for all.
	maxRememberedKey = ratify.MaxTextBytes
)

// A parsedKey is a key with what it means, which is the same as long as the configuration is.
type parsedKey struct {
	key     string
	subject ratify.Subject
	id      string // the verdict's key, or where there is no digest the tag's
	plain   bool   // see isPlain
}

func newParsedKey(key string, s ratify.Subject) *parsedKey {
	if s.Digest == "" {
		return &parsedKey{key, s, tagKey(s), isPlain(key)}
	}
	s = s.At(s.Digest)
	return &parsedKey{key, s, verdictKey(s), isPlain(key)}
}

// parsedKeys remembers the keys of known images: parsing one takes longer than all else that a hit needs. It never
// waits, and what is not there is parsed again.
type parsedKeys struct {
	seed   maphash.Seed
	places [keyPlaces]atomic.Pointer[parsedKey]
}

func newParsedKeys() *parsedKeys { return &parsedKeys{seed: maphash.MakeSeed()} }

func (p *parsedKeys) get(key string) *parsedKey {
	if k := p.places[maphash.String(p.seed, key)%keyPlaces].Load(); k != nil && k.key == key {
		return k
	}
	return nil
}

// find is get for a key in a buffer. p may be nil.
func (p *parsedKeys) find(key []byte) *parsedKey {
	if p == nil {
		return nil
	}
	if k := p.places[maphash.Bytes(p.seed, key)%keyPlaces].Load(); k != nil && k.key == string(key) {
		return k
	}
	return nil
}

func (p *parsedKeys) put(k *parsedKey) {
	if len(k.key) > maxRememberedKey {
		return
	}
	if place := &p.places[maphash.String(p.seed, k.key)%keyPlaces]; place.Load() != k {
		place.Store(k)
	}
}
