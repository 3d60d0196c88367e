package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
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

// TestRenewing: of those who ask for an entry before its end some are told to renew it, in its last quarter and each at
// another time, so that one of them can before it ends.
func TestRenewing(t *testing.T) {
	const entries, ttl = 200, 400 * time.Second
	synctest.Test(t, func(t *testing.T) {
		c, told, first := New(entries, 1<<20, byLength), map[int]int{}, map[time.Duration]int{}
		for i := range entries {
			c.Set(fmt.Sprint(i), "x", ttl)
		}
		for second := range ttl / time.Second {
			for i := range entries {
				_, renew, ok := c.GetAhead(fmt.Sprint(i))
				if !ok || renew && second < ttl/time.Second*3/4 {
					t.Fatalf("entry %d in second %d: %t, %t", i, second, renew, ok)
				}
				if !renew {
					continue
				}
				if told[i]++; told[i] == 1 {
					first[second]++
				}
			}
			time.Sleep(time.Second)
		}
		for i := range entries {
			if told[i] != maxTold {
				t.Errorf("entry %d: told %d times", i, told[i])
			}
		}
		for second, n := range first {
			if n > entries/10 {
				t.Errorf("%d of them at first in second %d", n, second)
			}
		}
		if _, renew, ok := c.GetAhead("0"); renew || ok {
			t.Error("what has ended is to be renewed")
		}
	})
}

// TestOneRenews: of many who ask at once one is told.
func TestOneRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(1, 1<<20, byLength)
		c.Set("a", "x", time.Minute)
		time.Sleep(59 * time.Second)
		var told atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if _, renew, _ := c.GetAhead("a"); renew {
					told.Add(1)
				}
			})
		}
		all.Wait()
		if n := told.Load(); n != 1 {
			t.Errorf("%d were told", n)
		}
		c.Set("a", "y", time.Minute)
		if _, renew, _ := c.GetAhead("a"); renew {
			t.Error("what was renewed is to be renewed again")
		}
	})
}

// TestClocks: an entry does not live on because the wall's clock was set back, and has ended when that clock says so.
func TestClocks(t *testing.T) {
	c := New(10, 1<<20, byLength)
	for name, change := range map[string]func(*entry[string]){
		"steady": func(e *entry[string]) { e.ends = moment{time.Since(c.began), time.Now().Add(time.Hour).UnixNano()} },
		"wall":   func(e *entry[string]) { e.ends.wall = time.Now().UnixNano() },
	} {
		c.Set(name, "1", time.Minute)
		if _, ok := c.Get(name); !ok {
			t.Fatalf("%s: it has gone before its time", name)
		}
		change(c.byKey[name])
		if _, ok := c.Get(name); ok {
			t.Errorf("%s: it outlived its time", name)
		}
	}
}

// TestMemory: what is counted is what is held, within 15 %, whether the cache is full or not.
func TestMemory(t *testing.T) {
	const bound = 32 << 20
	for _, entries := range []int{10_000, 40_000, 100_000} {
		before := liveBytes()
		c := New(1<<20, bound, func(b []byte) int64 { return int64(cap(b)) })
		for i := range entries {
			// 512 is a size that the allocator knows, so that the cache's own overhead is what is measured.
			c.Set(fmt.Sprintf("registry.example/repository@sha256:%064d", i), make([]byte, 512), time.Minute)
		}
		held, s := liveBytes()-before, c.Stats()
		t.Logf("%d entries: %d bytes held, %d counted", s.Entries, held, s.Bytes)
		if s.Bytes > bound || held > s.Bytes*115/100 || held < s.Bytes*85/100 {
			t.Errorf("%d entries: %d bytes held, %+v", entries, held, s)
		}
		if full := s.Evicted > 0; full != (entries == 100_000) {
			t.Errorf("%d entries: %+v", entries, s)
		}
		runtime.KeepAlive(c)
	}
}

func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFlood: what is asked for stays through a flood of what nobody asks for again.
func TestFlood(t *testing.T) {
	const places = 100
	c := New(places, 1<<20, byLength)
	for i := range places / 2 {
		c.Set(fmt.Sprint("wanted", i), "x", time.Hour)
	}
	for i := range 50 * places {
		c.Set(fmt.Sprint("flood", i), "x", time.Hour)
		if i%(places/4) != 0 {
			continue
		}
		for j := range places / 2 {
			if _, ok := c.Get(fmt.Sprint("wanted", j)); !ok {
				t.Fatalf("entry %d has gone after %d others", j, i)
			}
		}
	}
	if s := c.Stats(); s.Entries != places || s.Evicted != 50*places-places/2 {
		t.Errorf("%+v", s)
	}
}

// TestAllAsked: where everything was asked for, something has to go all the same, after a bounded search.
func TestAllAsked(t *testing.T) {
	const places = 10 * maxLooked
	c := New(places, 1<<30, byLength)
	for i := range places {
		c.Set(fmt.Sprint(i), "x", time.Hour)
	}
	for i := range places {
		c.Get(fmt.Sprint(i))
	}
	c.Set("one more", "x", time.Hour)
	if s := c.Stats(); s.Entries != places || s.Evicted != 1 {
		t.Errorf("%+v", s)
	}
	if _, ok := c.Get(fmt.Sprint(maxLooked)); ok {
		t.Errorf("it was not the entry behind those that were passed by that went")
	}
}

// TestManyEndAtOnce: who comes after them clears away some, and does not hold up the others for all.
func TestManyEndAtOnce(t *testing.T) {
	const places = 3 * maxLooked
	synctest.Test(t, func(t *testing.T) {
		c := New(places+1, 1<<30, byLength)
		for i := range places {
			c.Set(fmt.Sprint(i), "", time.Second)
		}
		time.Sleep(time.Second)
		for left := places - maxLooked; left > 0; left -= maxLooked {
			c.Set("new", "", time.Hour)
			if s := c.Stats(); s.Entries < left || s.Entries > left+1 || s.Evicted != 0 {
				t.Errorf("%+v, want %d that have ended", s, left)
			}
			checkRing(t, c)
		}
		for i := range places {
			c.Set(fmt.Sprint("full ", i), "", time.Hour)
		}
		if s := c.Stats(); s.Entries != places+1 || s.Evicted != 0 {
			t.Errorf("%+v: there was room for all", s)
		}
	})
}

func TestReplacing(t *testing.T) {
	c := New(10, 1<<20, byLength)
	c.Set("a", "old", time.Minute)
	c.Set("a", "newer", time.Minute)
	if v, _ := c.Get("a"); v != "newer" {
		t.Errorf("got %q", v)
	}
	if got, want := c.Stats(), (Stats{Entries: 1, Bytes: 5 + 1 + entryOverhead}); got != want {
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
		if i%100 == 0 {
			checkRing(t, c)
		}
	}
	if c.Stats().Evicted == 0 {
		t.Error("nothing had to go: the test does not test")
	}
}

// checkRing makes sure that the ring and the map hold the same, and that the bytes are counted.
func checkRing(t *testing.T, c *Cache[string]) {
	t.Helper()
	entries, bytes := 0, int64(0)
	for e := c.ring.next; e != &c.ring; e = e.next {
		if c.byKey[e.key] != e || e.next.previous != e {
			t.Fatalf("the ring has %q, which is not in the map or wrongly linked", e.key)
		}
		entries, bytes = entries+1, bytes+e.size
	}
	if s := c.Stats(); entries != s.Entries || bytes != s.Bytes {
		t.Fatalf("%d entries and %d bytes in the ring, %+v", entries, bytes, s)
	}
}

// TestConcurrentUse: callers that read and write at the same time find what they put there, or nothing.
func TestConcurrentUse(t *testing.T) {
	c := New(64, 1<<20, byLength)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2_000 {
				key := fmt.Sprint(i % 100)
				if v, ok := c.Get(key); ok && v != key {
					t.Errorf("%s is %q", key, v)
				}
				c.Set(key, key, time.Minute)
			}
		})
	}
	all.Wait()
	checkRing(t, c)
}

// BenchmarkGet is a hit in caches of several sizes, by one caller and by 64.
func BenchmarkGet(b *testing.B) {
	for _, entries := range []int{1, 1_000, 100_000} {
		c := New(1<<20, 1<<30, byLength)
		keys := make([]string, entries)
		for i := range keys {
			keys[i] = fmt.Sprintf("registry.example/repository@sha256:%064d", i)
			c.Set(keys[i], "x", time.Hour)
		}
		hit := func(b *testing.B, i int) {
			if _, ok := c.Get(keys[i*7919%entries]); !ok {
				b.Error("no hit")
			}
		}
		b.Run(fmt.Sprintf("entries=%d/callers=1", entries), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				hit(b, i)
			}
		})
		b.Run(fmt.Sprintf("entries=%d/callers=64", entries), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					hit(b, i)
				}
			})
		})
	}
}

func BenchmarkSet(b *testing.B) {
	c := New(10_000, 1<<30, byLength)
	keys := make([]string, 20_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("registry.example/repository@sha256:%064d", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Set(keys[i%len(keys)], "x", time.Hour)
	}
}

// TestLasting: what lasts is there for Last alone after its end, takes its place like any other, and is gone in its time.
func TestLasting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(3, 1<<20, byLength)
		c.SetLasting("a", "1", time.Second, time.Minute)
		c.SetLasting("short", "2", time.Second, time.Millisecond)
		c.Set("b", "3", time.Second)
		began := time.Now()
		if _, _, ok := c.Last("b"); ok {
			t.Error("what does not last is there for Last")
		}
		if v, end, ok := c.Last("a"); !ok || v != "1" || !end.Equal(began.Add(time.Minute)) {
			t.Errorf("%q, %v, %t", v, end.Sub(began), ok)
		}
		if _, ok := c.Get("a"); !ok || c.Stats().Lasting != 2 {
			t.Errorf("%t, %+v", ok, c.Stats())
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if _, ok := c.Get("a"); ok {
			t.Error("it is there for Get after its end")
		}
		if v, _, ok := c.Last("a"); !ok || v != "1" {
			t.Error("it is not there for Last before it is gone")
		}
		if _, _, ok := c.Last("short"); ok {
			t.Error("it lasts longer than it may")
		}
		// Those that are gone go first.
		c.Set("c", "4", time.Hour)
		if _, _, ok := c.Last("a"); !ok || c.Stats().Evicted != 0 || c.Stats().Lasting != 1 {
			t.Errorf("%t, %+v", ok, c.Stats())
		}
		time.Sleep(time.Nanosecond)
		if _, _, ok := c.Last("a"); ok {
			t.Error("it outlived its time")
		}
		c.SetLasting("a", "5", time.Second, time.Minute)
		c.Delete("a")
		if _, _, ok := c.Last("a"); ok || c.Stats().Lasting != 0 {
			t.Errorf("what was deleted is there: %t, %+v", ok, c.Stats())
		}
		checkRing(t, c)
	})
}

// TestLastingMakesRoom: what lasts goes like what does not, before what was asked for since.
func TestLastingMakesRoom(t *testing.T) {
	c := New(2, 1<<20, byLength)
	c.SetLasting("old", "x", 1, time.Hour)
	c.SetLasting("wanted", "x", 1, time.Hour)
	c.Last("wanted")
	c.Set("new", "x", time.Hour)
	if _, _, ok := c.Last("old"); ok {
		t.Error("what nobody asked for is there")
	}
	if _, _, ok := c.Last("wanted"); !ok || c.Stats().Evicted != 1 || c.Stats().Lasting != 1 {
		t.Errorf("%t, %+v", ok, c.Stats())
	}
}
