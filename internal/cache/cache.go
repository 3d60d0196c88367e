// Package cache keeps values for a while, within bounds. go-cache gives the map and the expiry but has no bound of any
// kind; this package counts entries and bytes in front of it, and drops the oldest entries first.
package cache

import (
	"container/list"
	"sync"
	"time"

	gocache "github.com/patrickmn/go-cache"
)

// entryOverhead is what an entry costs beside its key (twice) and value: go-cache's item and map slot, the queue's
// element, the queued record; measured with 100,000 entries, rounded up.
const entryOverhead = 400

// A Cache maps keys to values that do not change any more. It is safe for concurrent use and starts no goroutine.
type Cache[V any] struct {
	maxEntries int
	maxBytes   int64
	sizeOf     func(V) int64

	store *gocache.Cache

	mu      sync.Mutex // guards what follows, and every change of store
	oldest  *list.List // of queued, in the order of insertion
	byKey   map[string]*list.Element
	bytes   int64
	evicted uint64
}

// kept is what store holds. Its end is by the clock that nobody can set back; store's own is by the wall's, as are the
// certificates that a value rests on.
type kept[V any] struct {
	value V
	ends  time.Time
}

type queued struct {
	key  string
	size int64
	ends time.Time
}

// New returns a cache of at most maxEntries entries and maxBytes bytes, where sizeOf gives the bytes that a value holds.
func New[V any](maxEntries int, maxBytes int64, sizeOf func(V) int64) *Cache[V] {
	return &Cache[V]{
		maxEntries: maxEntries, maxBytes: maxBytes, sizeOf: sizeOf,
		// No janitor: it could be stopped only by a finalizer, and the bounds make room without it.
		store:  gocache.New(gocache.NoExpiration, 0),
		oldest: list.New(), byKey: map[string]*list.Element{},
	}
}

// Get returns the value of the key, if there is one and its time has not ended.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	item, ok := c.store.Get(key)
	if !ok {
		return value, false
	}
	k := item.(kept[V])
	if !time.Now().Before(k.ends) {
		return value, false
	}
	return k.value, true
}

// Set keeps the value for ttl. What has no time left, or is larger than the whole cache, is not kept.
func (c *Cache[V]) Set(key string, value V, ttl time.Duration) {
	size := c.sizeOf(value) + 2*int64(len(key)) + entryOverhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
	if ttl <= 0 || size > c.maxBytes || c.maxEntries < 1 {
		return
	}
	c.makeRoom(size)
	ends := time.Now().Add(ttl)
	c.store.Set(key, kept[V]{value, ends}, ttl)
	c.byKey[key] = c.oldest.PushBack(queued{key, size, ends})
	c.bytes += size
}

// makeRoom removes the oldest entries: those that have ended, and as many others as the bounds ask for.
func (c *Cache[V]) makeRoom(size int64) {
	now := time.Now()
	for e := c.oldest.Front(); e != nil; e = c.oldest.Front() {
		ended := !now.Before(e.Value.(queued).ends)
		if !ended && c.oldest.Len() < c.maxEntries && c.bytes+size <= c.maxBytes {
			return
		}
		if !ended {
			c.evicted++
		}
		c.remove(e)
	}
}

func (c *Cache[V]) remove(e *list.Element) {
	q := c.oldest.Remove(e).(queued)
	delete(c.byKey, q.key)
	c.store.Delete(q.key)
	c.bytes -= q.size
}

// Stats are the entries and bytes held, and how many entries had to go before their time.
type Stats struct {
	Entries int
	Bytes   int64
	Evicted uint64
}

// Stats tells how full the cache is.
func (c *Cache[V]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Entries: c.oldest.Len(), Bytes: c.bytes, Evicted: c.evicted}
}
