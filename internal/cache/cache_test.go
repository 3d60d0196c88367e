package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func byLength(s string) int64 { return int64(len(s)) }

func TestEntriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(10, 1<<20, byLength)
		c.Set("a", "1", time.Second)
		if v, ok := c.Get("a"); !ok || v != "1" {
			t.Fatalf("got %q, %t", v, ok)
		}
		time.Sleep(time.Second + time.Nanosecond)
		if _, ok := c.Get("a"); ok {
			t.Error("the entry outlived its time")
		}
		c.Set("b", "2", 0)
		if _, ok := c.Get("b"); ok {
			t.Error("an entry without time was kept")
		}
	})
}

// TestClockSetBack: an entry does not live on because the wall's clock was set back.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(10, 1<<20, byLength)
		c.Set("a", "1", time.Second)
		item, _ := c.store.Get("a")
		c.store.Set("a", item, time.Hour) // what go-cache would make of a clock that is an hour back
		if _, ok := c.Get("a"); !ok {
			t.Fatal("it has gone before its time")
		}
		time.Sleep(time.Second)
		if _, ok := c.Get("a"); ok {
			t.Error("it outlived its time")
		}
	})
}

// TestMemory: what is counted is what is held.
func TestMemory(t *testing.T) {
	const bound = 16 << 20
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	c := New(1<<20, bound, func(b []byte) int64 { return int64(len(b)) })
	for i := range 100_000 {
		c.Set(fmt.Sprintf("registry.example/repository@sha256:%064d", i), make([]byte, i%1024), time.Minute)
	}
	held := heap() - before
	if s := c.Stats(); s.Bytes > bound || held > bound*5/4 || s.Evicted == 0 {
		t.Errorf("%d bytes held, %+v", held, s)
	}
	runtime.KeepAlive(c)
}

func TestReplacing(t *testing.T) {
	c := New(10, 1<<20, byLength)
	c.Set("a", "old", time.Minute)
	c.Set("a", "newer", time.Minute)
	if v, _ := c.Get("a"); v != "newer" {
		t.Errorf("got %q", v)
	}
	if got, want := c.Stats(), (Stats{Entries: 1, Bytes: 5 + 2 + entryOverhead}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
	c.Set("a", "gone", -1)
	if _, ok := c.Get("a"); ok || c.Stats().Entries != 0 {
		t.Error("an entry whose successor has no time stayed")
	}
}

func TestTooLarge(t *testing.T) {
	c := New(10, 1000, byLength)
	c.Set("small", "x", time.Minute)
	c.Set("large", string(make([]byte, 1000)), time.Minute)
	if _, ok := c.Get("large"); ok {
		t.Error("a value larger than the cache was kept")
	}
	if _, ok := c.Get("small"); !ok {
		t.Error("a value larger than the cache pushed out another")
	}
}

// TestBounds compares the cache with a plain model under random use: what it has, it has right; and it never holds
// more than its bounds.
func TestBounds(t *testing.T) {
	const maxEntries, maxBytes = 50, 40 * entryOverhead
	r := rand.New(rand.NewPCG(1, 2))
	c, model := New(maxEntries, maxBytes, byLength), map[string]string{}
	for i := range 20_000 {
		key := fmt.Sprint(r.IntN(200))
		if r.IntN(3) == 0 {
			if v, ok := c.Get(key); ok && v != model[key] {
				t.Fatalf("step %d: %s is %q, want %q", i, key, v, model[key])
			}
			continue
		}
		model[key] = fmt.Sprint(i) + string(make([]byte, r.IntN(300)))
		c.Set(key, model[key], time.Minute)
		if v, ok := c.Get(key); !ok || v != model[key] {
			t.Fatalf("step %d: %s was not kept", i, key)
		}
		if s := c.Stats(); s.Entries > maxEntries || s.Bytes > maxBytes || s.Bytes < int64(s.Entries)*entryOverhead {
			t.Fatalf("step %d: out of bounds: %+v", i, s)
		}
		if c.store.ItemCount() != c.Stats().Entries || len(c.byKey) != c.Stats().Entries {
			t.Fatalf("step %d: the counts disagree", i)
		}
	}
	if c.Stats().Evicted == 0 {
		t.Error("nothing had to go: the test does not test")
	}
}
