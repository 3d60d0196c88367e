// Package blobs keeps what registries hold under a digest: manifests, signatures, documents. In memory, and, where a
// directory is given, on disk, so that a process that starts anew does not ask for everything again.
//
// Who may read what is not decided here: a Key stands for a digest and for everything that tells apart those who may not
// share it, and whoever has the key gets the content. Nor is anything believed here: what comes from disk has the digest
// that was asked for, computed each time, and everything else about it is for the caller to check as if it came from the
// registry. Begin at New, Cache.Get and Cache.Put.
package blobs

import (
	"bytes"
	"context"
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify/internal/inflight"
)

const (
	// DefaultMemory holds the evidence of four thousand images with one signature each, whose manifests and envelope take
	// 8 KiB together. With all other bounds of the process at their end it is what the 80 % of 512 MiB still have room for
	// that the chart lets Go use.
	DefaultMemory = 32 << 20
	// DefaultDisk holds sixteen thousand such images: each file takes a block of 4 KiB at least, and there are four.
	DefaultDisk = 256 << 20
	// maxShare is which part of a level one entry may take at most. An eighth of the memory is about the largest manifest that
	// is read; a document of the largest size is kept on disk alone, and pushes nothing out of memory.
	maxShare = 8
)

// A Key stands for a digest in one repository, as one tenant sees it. It is a hash of them, so that it is fit for the name
// of a file.
type Key [32]byte

// name is the name of the key's file.
func (k Key) name() string { return hex.EncodeToString(k[:]) }

// Options are the bounds of a Cache.
type Options struct {
	// Memory is how many bytes are held in memory, what it takes to find them included; 0 is none.
	Memory int64
	// Dir is a directory for content on disk, made if it is not there; "" is none. Only files are touched there whose names
	// are like those that the cache makes. Several processes may share it.
	Dir string
	// Disk is how many bytes the files in Dir may take, in blocks of 4 KiB; those that were there before are counted.
	Disk int64
	// InFlight bounds the bytes of files that are being read, together with what else counts there; nil is no bound but
	// that of maxReads.
	InFlight *inflight.Budget
	// Warn is told what is wrong with the directory, once a minute at most; nil is nobody.
	Warn func(error)
}

// A Cache holds content. What is wrong with its directory is never an error for those who ask: it is a miss. It is safe for
// concurrent use.
type Cache struct {
	memory *memory
	disk   *disk // nil without a directory

	memoryHits, diskHits, misses atomic.Uint64
}

// New returns a cache, which is empty but for what the directory holds. With a directory it must be closed.
func New(o Options) *Cache {
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	c := &Cache{memory: newMemory(o.Memory)}
	if o.Dir != "" && o.Disk > 0 {
		c.disk = newDisk(o)
		c.disk.begin()
	}
	return c
}

// Get returns the content of the key, which has the digest want, a valid one, and at most limit bytes. The bytes are the
// caller's own: nobody else sees what is done to them.
func (c *Cache) Get(ctx context.Context, key Key, want digest.Digest, limit int64) (data []byte, ok bool) {
	data, held, ok := c.find(ctx, key, want, limit)
	if held {
		data = bytes.Clone(data)
	}
	return data, ok
}

// Look is Get for who changes nothing and is soon done: the bytes may be those that are held. Of hundreds who look at the
// same large content at the same time each would have a copy.
func (c *Cache) Look(ctx context.Context, key Key, want digest.Digest, limit int64) (data []byte, ok bool) {
	data, _, ok = c.find(ctx, key, want, limit)
	return data, ok
}

// find tells, too, whether what it found is held.
func (c *Cache) find(ctx context.Context, key Key, want digest.Digest, limit int64) (data []byte, held, ok bool) {
	if ctx.Err() != nil {
		return nil, false, false
	}
	if data, stale := c.memory.get(key, time.Now()); data != nil && int64(len(data)) <= limit {
		if stale && c.disk != nil {
			c.disk.offer(key, data) // for it to be among the last to go there, too
		}
		c.memoryHits.Add(1)
		return data, true, true
	}
	if c.disk != nil {
		if data = c.disk.read(ctx, key, want, limit); data != nil {
			if held = c.memory.wants(len(data)); held {
				c.memory.put(key, data, time.Now())
			}
			c.diskHits.Add(1)
			return data, held, true
		}
	}
	c.misses.Add(1)
	return nil, false, false
}

// Put keeps the content of the key, whose digest the caller has computed. It keeps a copy, and does not wait for the disk.
func (c *Cache) Put(key Key, data []byte) {
	inMemory, onDisk := c.memory.wants(len(data)), c.disk != nil && c.disk.wants(len(data))
	if !inMemory && !onDisk {
		return
	}
	held := append([]byte{}, data...) // never nil, which is absence
	if inMemory {
		c.memory.put(key, held, time.Now())
	}
	if onDisk {
		c.disk.offer(key, held)
	}
}

// Close writes what waits to be written, for a second at most, and ends what works in the background. Nothing must be asked
// for any more.
func (c *Cache) Close() {
	if c.disk != nil {
		c.disk.close()
	}
}

// Stats are how often content was found, and how much is held.
type Stats struct {
	MemoryHits, DiskHits, Misses uint64
	MemoryBytes, DiskBytes       int64
	// Dropped is how often something was not written to disk: it came too fast, or the directory could not be used.
	Dropped uint64
}

// Stats tells how the cache fares.
func (c *Cache) Stats() Stats {
	s := Stats{MemoryHits: c.memoryHits.Load(), DiskHits: c.diskHits.Load(), Misses: c.misses.Load(), MemoryBytes: c.memory.held()}
	if c.disk != nil {
		s.DiskBytes, s.Dropped = c.disk.used.Load(), c.disk.dropped.Load()
	}
	return s
}
