// Package cache keeps values for a while, within bounds in entries and in bytes. What was asked for since the cache last
// looked at it stays before what was not: a flood of entries that nobody asks for again pushes out itself.
//
// Begin at New.
package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// entryOverhead is what an entry costs beside its key's text and its value: 96 bytes for itself, its slot of 25 bytes in
	// a map that is between 7/16 and 7/8 full, and what the allocator adds to the text. Measured with 100,000 entries.
	entryOverhead = 96 + 48 + 16
	// maxLooked is how many entries one that comes passes by because they were asked for, or clears away because they have
	// ended, beyond the room that it needs: where that is all of a hundred thousand, the first one that comes holds up the
	// others for 0.1 ms instead of 4 or 10 ms.
	maxLooked = 1000
	// aheadShare of an entry's time is what it may be renewed in before it ends; the moment within the first half of that
	// is chosen at random, so that what was put there at once is not renewed at once.
	aheadShare = 4
	// maxTold is how often somebody is told to renew an entry, each time half of what is left later: who was told may have
	// had no room for it.
	maxTold = 3
)

// A Cache maps keys to values that do not change any more. It is safe for concurrent use and starts no goroutine.
type Cache[V any] struct {
	maxEntries int
	maxBytes   int64
	sizeOf     func(V) int64
	began      time.Time

	mu      sync.RWMutex // guards what follows; of an entry, what is not atomic
	byKey   map[string]*entry[V]
	ring    entry[V] // of all entries: its next is the one that is to go first
	bytes   int64
	lasting int // entries that are kept beyond their end
	evicted uint64
}

// An entry ends by the clock that nobody can set back, and by the wall's, as the certificates do that a value rests on.
type entry[V any] struct {
	next, previous *entry[V]
	key            string
	value          V
	size           int64
	ends           moment
	lasts          time.Duration // it is kept so long beyond its end; 0: it is not
	asked          atomic.Bool   // since it was put in the ring, or last passed by
	told           atomic.Uint32 // how often somebody was told to renew it
	renew          atomic.Int64  // when somebody is to be told, since the cache began
}

// A moment is one on both clocks.
type moment struct {
	steady time.Duration // since the cache began
	wall   int64         // in Unix nanoseconds
}

func (c *Cache[V]) after(now time.Time, d time.Duration) moment {
	return moment{steady: now.Sub(c.began) + d, wall: now.Add(d).UnixNano()}
}

// left is what is left until the moment, by the clock that reaches it first.
func (c *Cache[V]) left(m moment, now time.Time) time.Duration {
	return min(m.steady-now.Sub(c.began), time.Duration(m.wall-now.UnixNano()))
}

// New returns a cache of at most maxEntries entries and maxBytes bytes, where sizeOf gives the bytes that a value holds.
func New[V any](maxEntries int, maxBytes int64, sizeOf func(V) int64) *Cache[V] {
	c := &Cache[V]{maxEntries: maxEntries, maxBytes: maxBytes, sizeOf: sizeOf, began: time.Now(), byKey: map[string]*entry[V]{}}
	c.ring.next, c.ring.previous = &c.ring, &c.ring
	return c
}

// Get returns the value of the key, if there is one and its time has not ended.
func (c *Cache[V]) Get(key string) (value V, ok bool) {
	e, ok := c.find(key, time.Now())
	if !ok {
		return value, false
	}
	return e.value, true
}

// GetAhead is Get, and tells one of its callers when the entry ought to be renewed, for it is asked for and its end is
// near: in the last quarter of its time, at most three times.
func (c *Cache[V]) GetAhead(key string) (value V, renew, ok bool) {
	now := time.Now()
	e, ok := c.find(key, now)
	if !ok {
		return value, false, false
	}
	return e.value, e.toRenew(now.Sub(c.began)), true
}

// Last returns the value of a key that was set with SetLasting, also when its time has ended, until it is gone; end is when
// that will be.
func (c *Cache[V]) Last(key string) (value V, end time.Time, ok bool) {
	now := time.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.byKey[key]
	if !ok || e.lasts == 0 || c.gone(e, now) {
		return value, end, false
	}
	e.ask()
	return e.value, now.Add(c.left(e.ends, now) + e.lasts), true
}

func (c *Cache[V]) find(key string, now time.Time) (*entry[V], bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.byKey[key]
	if !ok || c.left(e.ends, now) <= 0 {
		return nil, false
	}
	e.ask()
	return e, true
}

// ask notes that the entry was asked for.
func (e *entry[V]) ask() {
	// Written once and then only read: callers on several processors do not take the line from one another.
	if !e.asked.Load() {
		e.asked.Store(true)
	}
}

// toRenew tells one caller that the time has come.
func (e *entry[V]) toRenew(now time.Duration) bool {
	at := e.renew.Load()
	if int64(now) < at || e.told.Load() >= maxTold || !e.renew.CompareAndSwap(at, int64(now+(e.ends.steady-now)/2)) {
		return false
	}
	e.told.Add(1)
	return true
}

// gone tells whether the entry is of no use any more.
func (c *Cache[V]) gone(e *entry[V], now time.Time) bool { return c.left(e.ends, now)+e.lasts <= 0 }

// Set keeps the value for ttl. What has no time left, or is larger than the whole cache, is not kept; a value that the key
// had is gone all the same.
func (c *Cache[V]) Set(key string, value V, ttl time.Duration) { c.set(key, value, ttl, 0) }

// SetLasting is Set, and keeps the value for Last until lasting has passed, where that is later. Within the cache's bounds
// it is like any other: what nobody asks for goes first.
func (c *Cache[V]) SetLasting(key string, value V, ttl, lasting time.Duration) {
	c.set(key, value, ttl, max(lasting-ttl, 1)) // 0 is for what does not last
}

func (c *Cache[V]) set(key string, value V, ttl, lasts time.Duration) {
	size := c.sizeOf(value) + int64(len(key)) + entryOverhead
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
	if ttl <= 0 || size > c.maxBytes || c.maxEntries < 1 {
		return
	}
	c.makeRoom(size, now)
	e := &entry[V]{key: key, value: value, size: size, ends: c.after(now, ttl), lasts: lasts}
	ahead := ttl / aheadShare
	e.renew.Store(int64(e.ends.steady - ahead + rand.N(ahead/2+1))) //nolint:gosec // spreads renewals, hides nothing
	c.byKey[key] = e
	c.append(e)
	c.bytes += size
	if lasts > 0 {
		c.lasting++
	}
}

// Delete forgets the value of the key.
func (c *Cache[V]) Delete(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		c.remove(e)
	}
}

// makeRoom removes entries from the oldest on: some of those that have ended, and as many others as the bounds ask for. One
// that was asked for becomes the newest instead, once.
func (c *Cache[V]) makeRoom(size int64, now time.Time) {
	for looked := 0; len(c.byKey) > 0; looked++ {
		e := c.ring.next
		ended := c.gone(e, now)
		room := len(c.byKey) < c.maxEntries && c.bytes+size <= c.maxBytes
		switch {
		case room && (!ended || looked >= maxLooked):
			return
		case !ended && looked < maxLooked && e.asked.Load():
			e.asked.Store(false)
			c.unlink(e)
			c.append(e)
		default:
			if !ended {
				c.evicted++
			}
			c.remove(e)
		}
	}
}

func (c *Cache[V]) remove(e *entry[V]) {
	c.unlink(e)
	delete(c.byKey, e.key)
	c.bytes -= e.size
	if e.lasts > 0 {
		c.lasting--
	}
}

func (c *Cache[V]) unlink(e *entry[V]) {
	e.previous.next, e.next.previous = e.next, e.previous
}

// append makes the entry the last one to go.
func (c *Cache[V]) append(e *entry[V]) {
	last := c.ring.previous
	e.previous, e.next = last, &c.ring
	last.next, c.ring.previous = e, e
}

// Stats are the entries and bytes held, how many of the entries SetLasting made, and how many had to go before their time.
type Stats struct {
	Entries int
	Lasting int
	Bytes   int64
	Evicted uint64
}

// Stats tells how full the cache is.
func (c *Cache[V]) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Stats{Entries: len(c.byKey), Lasting: c.lasting, Bytes: c.bytes, Evicted: c.evicted}
}
