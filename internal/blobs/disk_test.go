package blobs

import (
	"bytes"
	_ "crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify/internal/inflight"
)

// soon is what nothing takes here unless it waits for something that does not come.
const soon = 5 * time.Second

// onDisk is a cache without memory.
func onDisk(t *testing.T, dir string, bound int64) *Cache {
	t.Helper()
	c := New(Options{Dir: dir, Disk: bound})
	t.Cleanup(c.Close)
	return c
}

// byHand is a cache on disk whose writer is the test.
func byHand(t testing.TB, dir string, bound int64) *Cache {
	t.Helper()
	d := newDisk(Options{Dir: dir, Disk: bound, Warn: func(error) {}})
	d.readWait = soon // a machine that is busy with other tests is no disk that hangs
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.forget)
	return &Cache{memory: newMemory(0), disk: d}
}

// filled keeps contents of a size for keys 1 to n in dir, the lowest the oldest.
func filled(t *testing.T, dir string, n, size int) {
	t.Helper()
	c := byHand(t, dir, anySize)
	for i := 1; i <= n; i++ {
		if err := c.disk.store(job{keyOf(i), contentOf(i, size)}); err != nil {
			t.Fatal(err)
		}
		age(t, dir, i, time.Duration(n-i)*time.Second+time.Minute)
	}
}

func age(t *testing.T, dir string, i int, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	if err := os.Chtimes(pathOf(dir, i), at, at); err != nil {
		t.Fatal(err)
	}
}

func pathOf(dir string, i int) string { return filepath.Join(dir, keyOf(i).name()) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestContentOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "it")
	c := New(Options{Memory: 1 << 20, Dir: dir, Disk: 1 << 20})
	for i, size := range []int{0, 1, 4096, 100_000} {
		c.Put(keyOf(i), contentOf(i, size))
	}
	c.Close()
	info, err := os.Stat(pathOf(dir, 1))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v; want a file that nobody else reads", info, err)
	}
	c = New(Options{Memory: 1 << 20, Dir: dir, Disk: 1 << 20})
	defer c.Close()
	for range 2 {
		for i, size := range []int{0, 1, 4096, 100_000} {
			if !get(t, c, i, contentOf(i, size)) {
				t.Errorf("%d has gone", i)
			}
		}
	}
	waitFor(t, func() bool { return c.Stats().DiskBytes == (3+25)*4096 })
	if s := c.Stats(); s.DiskHits != 4 || s.MemoryHits != 4 || s.Dropped != 0 {
		t.Errorf("%+v; want each once from disk, once from memory", s)
	}
}

// Whatever has taken the place of a file is a miss, and does not stay; nothing outside is read or removed for it.
func TestSpoiltFiles(t *testing.T) {
	good := contentOf(1, 5000)
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, path, outside string)
		stays bool
	}{
		{name: "truncated", spoil: func(t *testing.T, path, _ string) { must(t, os.Truncate(path, 4999)) }},
		{name: "emptied", spoil: func(t *testing.T, path, _ string) { must(t, os.Truncate(path, 0)) }},
		{name: "longer", spoil: func(t *testing.T, path, _ string) { must(t, os.Truncate(path, 5001)) }},
		{name: "changed", spoil: func(t *testing.T, path, _ string) { must(t, os.WriteFile(path, contentOf(2, 5000), 0o600)) }},
		{name: "beyond the limit", spoil: func(t *testing.T, path, _ string) { must(t, os.Truncate(path, 1<<40)) }},
		{name: "link to the same content elsewhere", spoil: func(t *testing.T, path, outside string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(outside, path))
		}},
		{name: "link to the same content in the directory", spoil: func(t *testing.T, path, _ string) {
			must(t, os.Rename(path, filepath.Join(filepath.Dir(path), "other")))
			must(t, os.Symlink("other", path))
		}},
		{name: "link to itself", spoil: func(t *testing.T, path, _ string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(filepath.Base(path), path))
		}},
		{name: "link to an endless device", spoil: func(t *testing.T, path, _ string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("/dev/zero", path))
		}},
		{name: "pipe", spoil: func(t *testing.T, path, _ string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o600))
		}},
		{name: "directory", spoil: func(t *testing.T, path, _ string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		}},
		{name: "directory with something in it", stays: true, spoil: func(t *testing.T, path, _ string) {
			must(t, os.Remove(path))
			must(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
			must(t, os.WriteFile(outside, good, 0o600))
			filled(t, dir, 1, len(good))
			c := byHand(t, dir, 1<<20)
			tc.spoil(t, pathOf(dir, 1), outside)
			started := time.Now()
			if _, ok := c.Get(t.Context(), keyOf(1), digest.FromBytes(good), 1<<20); ok {
				t.Error("it was taken")
			}
			if took := time.Since(started); took > soon {
				t.Errorf("it took %v", took)
			}
			if exists(pathOf(dir, 1)) != tc.stays {
				t.Errorf("the file is there: %t", !tc.stays)
			}
			if data, err := os.ReadFile(outside); err != nil || !bytes.Equal(data, good) {
				t.Errorf("something outside was touched: %v", err)
			}
			if err := c.disk.store(job{keyOf(1), good}); (err != nil) != tc.stays {
				t.Errorf("to keep it again: %v", err)
			}
			if got := get(t, c, 1, good); got == tc.stays {
				t.Errorf("kept again: %t", got)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Between the look at a file and its opening, another container may put something else in its place.
func TestFileSwappedWhileRead(t *testing.T) {
	good := contentOf(1, 5000)
	for _, tc := range []struct {
		name string
		swap func(path, outside string) error
	}{
		{"link to the same content elsewhere", func(path, outside string) error { return os.Symlink(outside, path) }},
		{"link to the same content in the directory", func(path, _ string) error {
			return errors.Join(os.WriteFile(path+"x", good, 0o600), os.Symlink(filepath.Base(path)+"x", path))
		}},
		{"another file of the same content", func(path, _ string) error { return os.WriteFile(path, good, 0o600) }},
		{"huge file", func(path, _ string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
		}},
		{"pipe", func(path, _ string) error { return syscall.Mkfifo(path, 0o600) }},
		{"directory", func(path, _ string) error { return os.Mkdir(path, 0o700) }},
		{"nothing", func(string, string) error { return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
			must(t, os.WriteFile(outside, good, 0o600))
			filled(t, dir, 1, len(good))
			c := byHand(t, dir, 1<<20)
			keep, err := os.Open(pathOf(dir, 1)) // so that its number is not given to another
			must(t, err)
			defer keep.Close()
			c.disk.beforeOpen = func(name string) {
				path := filepath.Join(dir, name)
				must(t, os.Remove(path))
				must(t, tc.swap(path, outside))
			}
			if get(t, c, 1, good) {
				t.Error("it was taken")
			}
			if exists(pathOf(dir, 1)) || !exists(outside) {
				t.Error("it stays, or something outside was removed")
			}
		})
	}
	t.Run("the file itself is written over", func(t *testing.T) {
		dir := t.TempDir()
		c := byHand(t, dir, 1<<20)
		for i, change := range []func(path string) error{
			func(path string) error { return os.Truncate(path, 10) },
			func(path string) error { return os.WriteFile(path, contentOf(2, 5000), 0o600) },
		} {
			must(t, c.disk.store(job{keyOf(1), good}))
			c.disk.beforeOpen = func(name string) { must(t, change(filepath.Join(dir, name))) }
			if get(t, c, 1, good) || exists(pathOf(dir, 1)) {
				t.Errorf("change %d: it was taken, or stays", i)
			}
			c.disk.beforeOpen = func(string) {}
		}
	})
}

// No change of a file goes unnoticed, wherever it is.
func TestNoChangeIsTaken(t *testing.T) {
	dir := t.TempDir()
	good := contentOf(1, 300)
	c := byHand(t, dir, 1<<20)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= byte(1 << r.IntN(8))
		must(t, os.WriteFile(pathOf(dir, 1), bad, 0o600))
		if get(t, c, 1, good) {
			t.Fatalf("byte %d was changed, and it was taken", i)
		}
		must(t, os.WriteFile(pathOf(dir, 1), good[:i], 0o600))
		if get(t, c, 1, good) {
			t.Fatalf("it was cut at %d, and taken", i)
		}
	}
	must(t, os.WriteFile(pathOf(dir, 1), good, 0o600))
	if !get(t, c, 1, good) {
		t.Error("the right content is a miss: the test does not test")
	}
}

func FuzzFile(f *testing.F) {
	good := contentOf(1, 300)
	f.Add(good)
	f.Add([]byte{})
	dir := f.TempDir()
	c := New(Options{Dir: dir, Disk: 1 << 20})
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, file []byte) {
		must(t, os.WriteFile(pathOf(dir, 1), file, 0o600))
		for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			data, ok := c.Get(t.Context(), keyOf(1), algorithm.FromBytes(good), 1000)
			if ok != bytes.Equal(file, good) || ok && !bytes.Equal(data, good) {
				t.Fatalf("%d bytes, %t", len(data), ok)
			}
		}
	})
}

// The bound holds from the start, over what was there before: the oldest goes first, and what is not ours stays.
func TestBoundOverRestarts(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 100, 5000) // two blocks each
	age(t, dir, 90, 2*time.Hour)
	if !get(t, byHand(t, dir, anySize), 90, contentOf(90, 5000)) { // it is in use, and so no longer old
		t.Fatal("90 has gone")
	}
	age(t, dir, 95, -time.Hour) // in a time that has not come
	foreign := []string{"notes.txt", strings.Repeat("A", 64), strings.Repeat("a", 63), "new-x", ".hidden"}
	for _, name := range foreign {
		must(t, os.WriteFile(filepath.Join(dir, name), make([]byte, 1<<20), 0o600))
	}
	left := temporaryPrefix + strings.Repeat("A", 26)
	must(t, os.WriteFile(filepath.Join(dir, left), nil, 0o600))
	long := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, left), long, long))
	writing := temporaryPrefix + strings.Repeat("B", 26) // another process is at it
	must(t, os.WriteFile(filepath.Join(dir, writing), nil, 0o600))
	must(t, os.Symlink("/etc/passwd", pathOf(dir, 101)))

	c := onDisk(t, dir, 20*8192+4096)
	waitFor(t, func() bool { return c.Stats().DiskBytes > 0 })
	if got := c.Stats().DiskBytes; got != 20*8192+4096 {
		t.Errorf("%d bytes", got)
	}
	for i := 1; i <= 100; i++ {
		if got, want := exists(pathOf(dir, i)), i >= 80 && i != 95; got != want {
			t.Errorf("%d is there: %t", i, got)
		}
	}
	if exists(filepath.Join(dir, left)) || !exists(filepath.Join(dir, writing)) || exists(pathOf(dir, 101)) {
		t.Error("what was left behind stays, what is being written has gone, or a link stays")
	}
	for _, name := range foreign {
		if !exists(filepath.Join(dir, name)) {
			t.Errorf("%s was removed", name)
		}
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}

// Under writing without end the directory never takes more than its bound, and keeps what is in use.
func TestBoundWhileWriting(t *testing.T) {
	const bound = 100 * 4096
	dir := t.TempDir()
	filled(t, dir, 1, 100)
	c := byHand(t, dir, bound)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 1000 {
		age(t, dir, 1, 2*touchAfter)
		if !get(t, c, 1, contentOf(1, 100)) {
			t.Fatalf("step %d: what is in use has gone", i)
		}
		must(t, c.disk.store(job{keyOf(2 + i), contentOf(2+i, r.IntN(20_000))}))
		if i%50 == 0 {
			if size := sizeOf(t, dir); size > bound || c.Stats().DiskBytes != size {
				t.Fatalf("step %d: %d bytes, %d counted", i, size, c.Stats().DiskBytes)
			}
		}
	}
}

// What was removed because it was spoilt is counted no more, and told of; once in a while, for somebody may spoil all the time.
func TestSpoiltFilesAreNotCounted(t *testing.T) {
	dir, warned := t.TempDir(), 0
	c := byHand(t, dir, anySize)
	c.disk.warn = func(error) { warned++ }
	for i := range 20 {
		must(t, c.disk.store(job{keyOf(i), contentOf(i, 100)}))
	}
	for round, want := range []int{1, 1, 2} {
		if round != 1 {
			c.disk.swept = time.Now().Add(-restTime)
		}
		for i := range 10 {
			must(t, os.WriteFile(pathOf(dir, i), []byte("spoilt"), 0o600))
			if get(t, c, i, contentOf(i, 100)) {
				t.Fatalf("round %d: %d is good", round, i)
			}
			must(t, c.disk.store(job{keyOf(i), contentOf(i, 100)}))
		}
		if counted, is := c.Stats().DiskBytes, sizeOf(t, dir); warned != want || round != 1 && counted > is+10*4096 {
			t.Errorf("round %d: told of %d times, want %d; %d bytes counted, of %d", round, warned, want, counted, is)
		}
	}
	c.disk.swept = time.Now().Add(-restTime)
	must(t, c.disk.store(job{keyOf(30), contentOf(30, 100)}))
	if counted, is := c.Stats().DiskBytes, sizeOf(t, dir); counted != is {
		t.Errorf("%d bytes counted, of %d", counted, is)
	}
}

func sizeOf(t *testing.T, dir string) (total int64) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	for _, file := range files {
		info, err := file.Info()
		must(t, err)
		total += blocks(info.Size())
	}
	return total
}

// What is found in memory all the time is not the first to go on disk.
func TestUseInMemoryCountsOnDisk(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 1, 100)
	c := New(Options{Memory: 1 << 20, Dir: dir, Disk: 1 << 20})
	get(t, c, 1, contentOf(1, 100))
	age(t, dir, 1, 2*touchAfter)
	c.memory.byKey[keyOf(1)].Value.(*entry).offered -= int64(touchAfter / time.Second)
	for range 2 {
		get(t, c, 1, contentOf(1, 100))
	}
	c.Close()
	info, err := os.Stat(pathOf(dir, 1))
	if err != nil || time.Since(info.ModTime()) > touchAfter || c.Stats().MemoryHits != 2 {
		t.Errorf("%v, %v, %+v", info, err, c.Stats())
	}
}

// A directory that fails makes misses, never a wait; it is told once, and tried again after a rest.
func TestFailingDirectory(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fail   func(t *testing.T, dir string, d *disk)
		mend   func(t *testing.T, dir string, d *disk)
		reads  bool // what is there can still be read
		warned string
	}{
		{"full", func(_ *testing.T, _ string, d *disk) {
			d.write = func(root *os.Root, name string, data []byte) error {
				return errors.Join(write(root, name, data[:1]), syscall.ENOSPC)
			}
		}, func(_ *testing.T, _ string, d *disk) { d.write = write }, true, "no space left"},
		{"read-only", func(_ *testing.T, _ string, d *disk) {
			d.write = func(*os.Root, string, []byte) error { return syscall.EROFS }
		}, func(_ *testing.T, _ string, d *disk) { d.write = write }, true, "read-only"},
		{"deleted", func(t *testing.T, dir string, _ *disk) { must(t, os.RemoveAll(dir)) },
			func(*testing.T, string, *disk) {}, false, "no such file"},
		{"replaced by a file", func(t *testing.T, dir string, _ *disk) {
			must(t, os.RemoveAll(dir))
			must(t, os.WriteFile(dir, nil, 0o600))
		}, func(t *testing.T, dir string, _ *disk) { must(t, os.Remove(dir)) }, false, "no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "content")
			filled(t, dir, 1, 100)
			var warnings []string
			c := byHand(t, dir, 1<<20)
			d := c.disk
			d.warn = func(err error) { warnings = append(warnings, err.Error()) }
			must(t, d.sweep(d.bound))
			tc.fail(t, dir, d)
			for i := range 3 {
				d.queued.Add(100)
				d.keep(job{keyOf(10 + i), contentOf(10+i, 100)})
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], tc.warned) || !strings.Contains(warnings[0], dir) {
				t.Errorf("warnings %q", warnings)
			}
			if got := get(t, c, 1, contentOf(1, 100)); got != tc.reads {
				t.Errorf("what was there is found: %t, want %t", got, tc.reads)
			}
			if s := c.Stats(); s.Dropped != 3 || d.queued.Load() != 0 {
				t.Errorf("%+v, %d bytes in the queue", s, d.queued.Load())
			}
			tc.mend(t, dir, d)
			d.restUntil = time.Time{}
			d.queued.Add(100)
			d.keep(job{keyOf(20), contentOf(20, 100)})
			if !get(t, c, 20, contentOf(20, 100)) || len(warnings) != 1 {
				t.Errorf("it did not recover: %q", warnings)
			}
			if names, err := filepath.Glob(filepath.Join(dir, temporaryPrefix+"*")); err != nil || len(names) > 0 {
				t.Errorf("left behind: %v, %v", names, err)
			}
		})
	}
}

// Where nothing can be removed, nothing is written: the bound holds.
func TestNoRoomCanBeMade(t *testing.T) {
	for name, bound := range map[string]int64{"by bytes": 3 * 4096, "by files": anySize} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 3 {
				must(t, os.MkdirAll(filepath.Join(pathOf(dir, i), "x"), 0o700))
			}
			c := byHand(t, dir, bound)
			c.disk.maxFiles = 3
			if err := c.disk.store(job{keyOf(9), nil}); err == nil || !strings.Contains(err.Error(), "no room") {
				t.Errorf("error %v", err)
			}
			c.disk.maxFiles = 4
			if err := c.disk.store(job{keyOf(9), nil}); (err == nil) != (name == "by files") {
				t.Errorf("with room for another file: error %v", err)
			}
		})
	}
}

// A directory that cannot be used at all does not keep the process from starting.
func TestDirectoryThatIsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	warned := make(chan error, 2)
	c := New(Options{Memory: 1 << 20, Dir: file, Disk: 1 << 20, Warn: func(err error) { warned <- err }})
	c.Put(keyOf(1), contentOf(1, 10))
	if !get(t, c, 1, contentOf(1, 10)) || get(t, c, 2, nil) {
		t.Error("the memory does not work")
	}
	c.Close()
	if err := <-warned; !strings.Contains(err.Error(), "not a directory") || len(warned) > 0 {
		t.Errorf("%v, and %d more", err, len(warned))
	}
}

// A disk that hangs costs those who ask at that time a bounded wait, and nobody after them, until it goes on.
func TestDiskThatHangs(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 1, 100)
	c := onDisk(t, dir, 1<<20)
	c.disk.readWait = 20 * time.Millisecond
	goOn := make(chan struct{})
	var hung atomic.Int32
	c.disk.beforeOpen = func(string) {
		hung.Add(1)
		<-goOn
	}
	if get(t, c, 1, contentOf(1, 100)) {
		t.Error("it was read")
	}
	for range 3 * maxReads {
		if get(t, c, 1, contentOf(1, 100)) {
			t.Error("it was read")
		}
	}
	if n := hung.Load(); n != 1 {
		t.Errorf("%d reads began, want 1", n)
	}
	close(goOn)
	waitFor(t, func() bool { return get(t, c, 1, contentOf(1, 100)) })
	waitFor(t, func() bool { return len(c.disk.reads) == 0 && c.disk.hanging.Load() == 0 })
}

// Who writes faster than the disk is not held up, and the queue is bounded.
func TestQueueIsBounded(t *testing.T) {
	for name, size := range map[string]int{"by count": 10, "by bytes": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			kept := min(maxQueued, maxQueuedBytes/size-1) // beside the one that is being written
			goOn, begun := make(chan struct{}), make(chan struct{}, 2*maxQueued)
			d := newDisk(Options{Dir: t.TempDir(), Disk: anySize, Warn: func(error) {}})
			c := &Cache{memory: newMemory(0), disk: d}
			d.write = func(root *os.Root, name string, data []byte) error {
				begun <- struct{}{}
				<-goOn
				return write(root, name, data)
			}
			d.begin()
			c.Put(keyOf(0), contentOf(0, size))
			<-begun
			for i := range 2 * kept {
				c.Put(keyOf(1+i), contentOf(1+i, size))
			}
			if got := int(c.Stats().Dropped); got != kept {
				t.Errorf("%d dropped, want %d", got, kept)
			}
			close(goOn)
			c.Close()
			<-d.ended // a slow disk may take longer than Close waits
			if names, err := os.ReadDir(d.dir); err != nil || len(names) != kept+1 || d.queued.Load() != 0 {
				t.Errorf("%d files, %v, %d bytes in the queue; want %d files", len(names), err, d.queued.Load(), kept+1)
			}
		})
	}
}

// A disk that hangs does not keep the process from ending.
func TestCloseDoesNotHang(t *testing.T) {
	d := newDisk(Options{Dir: t.TempDir(), Disk: 1 << 20, Warn: func(error) {}})
	goOn := make(chan struct{})
	d.write = func(*os.Root, string, []byte) error {
		<-goOn
		return nil
	}
	d.begin()
	c := &Cache{memory: newMemory(0), disk: d}
	c.Put(keyOf(1), nil)
	started := time.Now()
	c.Close()
	if took := time.Since(started); took > closeWait+soon || took < closeWait {
		t.Errorf("it took %v", took)
	}
	close(goOn)
	<-d.ended
}

// What is being read counts with what else is, and is passed over, not removed, where there is no room for it.
func TestReadingIsBounded(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 1, 1000)
	inFlight := inflight.New(2000)
	c := New(Options{Dir: dir, Disk: 1 << 20, InFlight: inFlight})
	defer c.Close()
	if !inFlight.Try("another", 1001) || get(t, c, 1, contentOf(1, 1000)) {
		t.Error("it was read although there was no room")
	}
	inFlight.Give("another", 400)
	if !get(t, c, 1, contentOf(1, 1000)) || !inFlight.Try("a third", 1000) {
		t.Error("it was not read, or not given back")
	}
}

func TestNamesOfFiles(t *testing.T) {
	for name, want := range map[string][2]bool{
		keyOf(1).name():                    {true, false},
		strings.ToUpper(keyOf(171).name()): {false, false},
		keyOf(1).name() + "00":             {false, false},
		"new-" + strings.Repeat("Q", 26):   {false, true},
		"new-":                             {false, false},
		"":                                 {false, false},
		"lost+found":                       {false, false},
	} {
		if got := [2]bool{isKey(name), isTemporary(name)}; got != want {
			t.Errorf("%q is a key, is temporary: %v, want %v", name, got, want)
		}
	}
}

// The number of files is bounded, too, and what a sweep does about files that somebody else has planted.
func TestFilesAreCounted(t *testing.T) {
	dir := t.TempDir()
	c := byHand(t, dir, anySize)
	c.disk.maxFiles = 80
	left := func() int { return int(sizeOf(t, dir) / 4096) }
	for i := range 70 {
		must(t, c.disk.store(job{keyOf(i), contentOf(i, 10)}))
	}
	must(t, c.disk.sweep(anySize))
	if n := left(); n != 70 {
		t.Errorf("%d files left, want all 70", n)
	}
	for i := range 100 {
		must(t, c.disk.store(job{keyOf(100 + i), contentOf(i, 10)}))
		if n := left(); n > 80 || n != c.disk.files {
			t.Fatalf("%d files after %d more, %d counted; want 80 at most", n, i+1, c.disk.files)
		}
	}
	must(t, c.disk.sweep(70*4096))
	plant := func(n int) {
		for i := range n {
			must(t, os.WriteFile(pathOf(dir, 1000+i), nil, 0o600))
		}
	}
	plant(500)
	must(t, c.disk.sweep(anySize))
	if n := left(); n != 70 || c.Stats().DiskBytes != 70*4096 {
		t.Errorf("%d files left, want 70: an eighth less than the bound; %+v", n, c.Stats())
	}
	plant(maxNames*80 + 1)
	if err := c.disk.sweep(anySize); err == nil || !strings.Contains(err.Error(), "more than 640 files") {
		t.Errorf("error %v", err)
	}
	must(t, c.disk.sweep(anySize))
	if n := left(); n != 70 {
		t.Errorf("%d files left after the second sweep, want 70", n)
	}
}

func TestRemoveOldest(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 10, 10)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	var found []kept
	for i := 1; i <= 10; i++ {
		k, ok := look(root, keyOf(i).name(), time.Now())
		if !ok {
			t.Fatalf("%d is not seen", i)
		}
		found = append(found, k)
	}
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] })
	if files, gone := removeOldest(root, found, 3*4096-1, 10); files != 3 || gone != 3*4096 {
		t.Errorf("%d files, %d bytes gone", files, gone)
	}
	if files, gone := removeOldest(root, found[3:], 0, 5); files != 2 || gone != 2*4096 {
		t.Errorf("%d files, %d bytes gone", files, gone)
	}
	if files, gone := removeOldest(root, found[5:], 0, 5); files != 0 || gone != 0 {
		t.Errorf("%d files, %d bytes gone although there was room", files, gone)
	}
	var left []string
	files, err := fs.ReadDir(root.FS(), ".")
	must(t, err)
	for _, file := range files {
		left = append(left, file.Name())
	}
	var want []string
	for i := 6; i <= 10; i++ {
		want = append(want, keyOf(i).name())
	}
	if !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, fmt.Sprint(want))
	}
}
