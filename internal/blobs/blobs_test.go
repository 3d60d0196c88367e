package blobs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

const anySize = 1 << 30

func keyOf(i int) (k Key) {
	binary.BigEndian.PutUint64(k[:], uint64(i))
	return k
}

// contentOf is different for each i, and of the size.
func contentOf(i, size int) []byte {
	data := make([]byte, size)
	copy(data, fmt.Sprintf("%d:", i))
	return data
}

func get(t *testing.T, c *Cache, i int, want []byte) bool {
	t.Helper()
	data, ok := c.Get(t.Context(), keyOf(i), digest.FromBytes(want), anySize)
	if ok && !bytes.Equal(data, want) {
		t.Fatalf("key %d: other content than was kept", i)
	}
	return ok
}

func TestMemory(t *testing.T) {
	c := New(Options{Memory: 1 << 20})
	a := contentOf(1, 100)
	if get(t, c, 1, a) {
		t.Error("there was something in an empty cache")
	}
	c.Put(keyOf(1), a)
	if !get(t, c, 1, a) || get(t, c, 2, a) {
		t.Error("what was kept is not there, or under another key")
	}
	c.Put(keyOf(3), nil)
	if !get(t, c, 3, nil) {
		t.Error("empty content was not kept")
	}
	if s := c.Stats(); s.MemoryHits != 2 || s.Misses != 2 || s.DiskHits != 0 || s.MemoryBytes < 100+2*entryOverhead || s.DiskBytes != 0 {
		t.Errorf("%+v", s)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := c.Get(ended, keyOf(1), digest.FromBytes(a), anySize); ok {
		t.Error("it answers who has gone")
	}
	if _, ok := c.Get(t.Context(), keyOf(1), digest.FromBytes(a), 99); ok {
		t.Error("it gives more than the limit")
	}
	New(Options{}).Put(keyOf(1), a) // without any memory
}

// Neither what was given nor what is got is what is held.
func TestNobodyChangesWhatIsHeld(t *testing.T) {
	for name, o := range map[string]Options{"memory": {Memory: 1 << 20}, "disk": {Memory: 1 << 20, Dir: t.TempDir(), Disk: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			c := New(o)
			want := contentOf(1, 100)
			given := bytes.Clone(want)
			c.Put(keyOf(1), given)
			clear(given)
			if c.disk != nil { // from disk at first, and from memory then
				c.Close()
				c = New(o)
				defer c.Close()
			}
			for range 3 {
				data, ok := c.Get(t.Context(), keyOf(1), digest.FromBytes(want), anySize)
				if !ok || !bytes.Equal(data, want) {
					t.Fatal("it was changed")
				}
				clear(data)
			}
		})
	}
}

// Who only looks at what is held in memory gets no copy.
func TestLookTakesNoMemory(t *testing.T) {
	c, want := New(Options{Memory: 32 << 20}), contentOf(1, 1<<20)
	d := digest.FromBytes(want)
	c.Put(keyOf(1), want)
	if data, ok := c.Look(t.Context(), keyOf(1), d, anySize); !ok || !bytes.Equal(data, want) {
		t.Fatal("it is not there")
	}
	if n := testing.AllocsPerRun(10, func() { c.Look(t.Context(), keyOf(1), d, anySize) }); n > 0 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	const size = 1000
	one := (&entry{data: append([]byte{}, contentOf(0, size)...)}).cost()
	c := New(Options{Memory: 10 * one})
	for i := range 10 {
		c.Put(keyOf(i), contentOf(i, size))
	}
	for _, i := range []int{0, 3} {
		if !get(t, c, i, contentOf(i, size)) {
			t.Fatalf("%d has gone", i)
		}
	}
	for i := range 4 {
		c.Put(keyOf(100+i), contentOf(100+i, size))
	}
	for i, want := range map[int]bool{0: true, 1: false, 2: false, 3: true, 4: false, 9: true, 103: true} {
		if got := get(t, c, i, contentOf(i, size)); got != want {
			t.Errorf("%d is held: %t, want %t", i, got, want)
		}
	}
}

// One entry takes a part of the memory at most, and pushes nothing out if it would take more.
func TestLargeContentPushesNothingOut(t *testing.T) {
	c := New(Options{Memory: 1 << 20})
	c.Put(keyOf(1), contentOf(1, 10))
	for i, size := range []int{1 << 20, 1<<20/maxShare + 1, 1 << 20 / maxShare} {
		c.Put(keyOf(10+i), contentOf(i, size))
	}
	c.Put(keyOf(2), contentOf(2, 1<<20/maxShare-entryOverhead))
	if !get(t, c, 1, contentOf(1, 10)) || !get(t, c, 2, contentOf(2, 1<<20/maxShare-entryOverhead)) || c.Stats().MemoryBytes > 1<<20 {
		t.Errorf("%+v", c.Stats())
	}
	for i := range 3 {
		if get(t, c, 10+i, nil) {
			t.Errorf("content that is too large is held")
		}
	}
}

// The cache agrees with a plain model under random use: what it has, it has right, and never more than its bound.
func TestBounds(t *testing.T) {
	const bound = 100 << 10
	r := rand.New(rand.NewPCG(1, 2))
	c := New(Options{Memory: bound})
	var order []int // the model: the last one asked for in front
	sizes := map[int]int64{}
	var bytes int64
	for step := range 20_000 {
		i := r.IntN(300)
		if r.IntN(2) == 0 {
			if got, want := get(t, c, i, contentOf(i, i*7)), sizes[i] != 0; got != want {
				t.Fatalf("step %d: %d is held: %t, want %t", step, i, got, want)
			} else if got {
				order = front(order, i)
			}
			continue
		}
		c.Put(keyOf(i), contentOf(i, i*7))
		if sizes[i] == 0 {
			size := (&entry{data: append([]byte{}, contentOf(i, i*7)...)}).cost()
			for bytes+size > bound {
				last := order[len(order)-1]
				order = order[:len(order)-1]
				bytes -= sizes[last]
				delete(sizes, last)
			}
			sizes[i] = size
			bytes += size
			order = front(order, i)
		}
		if got := c.Stats().MemoryBytes; got != bytes || got > bound {
			t.Fatalf("step %d: %d bytes, want %d", step, got, bytes)
		}
	}
	if len(sizes) == 300 {
		t.Error("nothing had to go: the test does not test")
	}
}

// front moves i to the front.
func front(order []int, i int) []int {
	moved := []int{i}
	for _, other := range order {
		if other != i {
			moved = append(moved, other)
		}
	}
	return moved
}

// What is counted is what is held.
func TestMemoryIsCounted(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, tc := range []struct{ size, entries int }{{0, 100_000}, {700, 100_000}, {700, 60_000}, {3000, 10_000}, {100_000, 300}} {
		before := heap()
		c := New(Options{Memory: 1 << 30})
		for i := range tc.entries {
			c.Put(keyOf(i), make([]byte, tc.size))
		}
		held, counted := heap()-before, c.Stats().MemoryBytes
		t.Logf("%+v: %d bytes held, %d counted, %d an entry beside its bytes", tc, held, counted, held/int64(tc.entries)-int64(tc.size))
		if held > counted*105/100 || held < counted*85/100 && tc.size > 0 {
			t.Errorf("%+v: %d bytes held, %d counted", tc, held, counted)
		}
		runtime.KeepAlive(c)
	}
}

// Many at once, with a directory that somebody else spoils: nothing but the right content comes back.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	c := New(Options{Memory: 8 << 10, Dir: dir, Disk: 1 << 20})
	end := time.Now().Add(300 * time.Millisecond)
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 0))
			for time.Now().Before(end) {
				i := r.IntN(100)
				if r.IntN(3) == 0 {
					c.Put(keyOf(i), contentOf(i, i*20))
				} else {
					get(t, c, i, contentOf(i, i*20))
				}
			}
		})
	}
	group.Go(func() {
		for i := 0; time.Now().Before(end); i++ {
			path := filepath.Join(dir, keyOf(i%100).name())
			os.WriteFile(path, []byte("spoilt"), 0o600)
			os.Rename(path, filepath.Join(dir, keyOf((i+1)%100).name()))
		}
	})
	group.Wait()
	c.Close()
	if s := c.Stats(); s.MemoryHits == 0 || s.DiskHits == 0 || s.MemoryBytes > 8<<10 || s.DiskBytes > 1<<20 {
		t.Errorf("%+v", s)
	}
}

func BenchmarkMemoryHit(b *testing.B) {
	c := New(Options{Memory: DefaultMemory})
	data := contentOf(1, 2000)
	c.Put(keyOf(1), data)
	want := digest.FromBytes(data)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get(b.Context(), keyOf(1), want, anySize); !ok {
			b.Fatal("a miss")
		}
	}
}

func BenchmarkDiskHit(b *testing.B) {
	c := byHand(b, b.TempDir(), DefaultDisk)
	data := contentOf(1, 2000)
	c.disk.store(job{keyOf(1), data})
	want := digest.FromBytes(data)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get(b.Context(), keyOf(1), want, anySize); !ok {
			b.Fatal("a miss")
		}
	}
}

func BenchmarkDiskMiss(b *testing.B) {
	c := byHand(b, b.TempDir(), DefaultDisk)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Get(b.Context(), keyOf(1), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", anySize); ok {
			b.Fatal("a hit")
		}
	}
}

func BenchmarkStore(b *testing.B) {
	c := byHand(b, b.TempDir(), DefaultDisk)
	data := contentOf(1, 2000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := c.disk.store(job{keyOf(i), data}); err != nil {
			b.Fatal(err)
		}
	}
}
