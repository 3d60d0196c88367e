//go:build unix

package files

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read1(t *testing.T, s *Set, path, want string) {
	t.Helper()
	if data, err := s.Read(path); err != nil || string(data) != want {
		t.Fatalf("read %q, want %q (%v)", data, want, err)
	}
}

// volume is a directory as the kubelet makes it: names link to ..data, which links to the generation that holds.
type volume struct {
	dir        string
	generation int
}

func newVolume(t *testing.T, content map[string]string) *volume {
	t.Helper()
	v := &volume{dir: t.TempDir()}
	v.swap(t, content)
	for name := range content {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)))
	}
	return v
}

// swap writes a new generation and renames the link to it into place.
func (v *volume) swap(t *testing.T, content map[string]string) {
	t.Helper()
	v.generation++
	name := fmt.Sprintf("..2026_%d", v.generation)
	for file, text := range content {
		write(t, filepath.Join(v.dir, name, file), text)
	}
	link := filepath.Join(v.dir, "..data")
	old, _ := os.Readlink(link)
	must(t, os.Symlink(name, link+"_tmp"))
	must(t, os.Rename(link+"_tmp", link))
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(v.dir, old)))
	}
}

func TestSymlinkSwap(t *testing.T) {
	content := func(n int) map[string]string {
		return map[string]string{"tls.crt": fmt.Sprint("certificate ", n), "tls.key": "key"}
	}
	v := newVolume(t, content(0))
	for n := range 100 {
		var s Set
		read1(t, &s, filepath.Join(v.dir, "tls.crt"), fmt.Sprint("certificate ", n))
		read1(t, &s, filepath.Join(v.dir, "tls.key"), "key")
		names, err := s.List(v.dir)
		if want := []string{filepath.Join(v.dir, "tls.crt"), filepath.Join(v.dir, "tls.key")}; err != nil || !slices.Equal(names, want) {
			t.Fatalf("listed %q, want %q (%v)", names, want, err)
		}
		if s.Changed() {
			t.Fatalf("swap %d: changed before it", n)
		}
		v.swap(t, content(n)) // the same content in a new generation
		if s.Changed() {
			t.Fatalf("swap %d: the same content is taken for a change", n)
		}
		v.swap(t, content(n+1))
		if !s.Changed() {
			t.Fatalf("swap %d: not seen", n)
		}
	}
}

func TestChanged(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, dir string)
		want   bool
	}{
		{"nothing", func(*testing.T, string) {}, false},
		{"written with the same content", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a"), "content") }, false},
		{"written with other content of the same length", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a"), "CONTENT") }, true},
		{"emptied", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "a"), "") }, true},
		{"replaced by a rename", func(t *testing.T, dir string) {
			must(t, os.Rename(write(t, filepath.Join(dir, ".a"), "other"), filepath.Join(dir, "a")))
		}, true},
		{"removed", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "a"))) }, true},
		{"removed and back", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			write(t, filepath.Join(dir, "a"), "content")
		}, false},
		{"a directory in its place", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			must(t, os.Mkdir(filepath.Join(dir, "a"), 0o755))
		}, true},
		{"a link in its place, to the same content", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, ".b")))
			must(t, os.Symlink(".b", filepath.Join(dir, "a")))
		}, false},
		{"a link to nothing in its place", func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			must(t, os.Symlink("nothing", filepath.Join(dir, "a")))
		}, true},
		{"grown beyond the bound", func(t *testing.T, dir string) { must(t, os.Truncate(filepath.Join(dir, "a"), MaxBytes+1)) }, true},
		{"the missing file appears", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "missing"), "") }, true},
		{"the missing file is a directory", func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "missing"), 0o755)) }, false},
		{"the directory grows", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d", "two"), "") }, true},
		{"the directory grows by a hidden file", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d", ".two"), "") }, false},
		{"the directory grows by a directory", func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "d", "two"), 0o755)) }, false},
		{"the directory shrinks", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "d", "one"))) }, true},
		{"a file of the directory has another name", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "d", "one"), filepath.Join(dir, "d", "two")))
		}, true},
		{"a file that was only listed is written", func(t *testing.T, dir string) { write(t, filepath.Join(dir, "d", "one"), "x") }, false},
		{"the directory is gone", func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Join(dir, "d"))) }, true},
		{"the directory becomes a file", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, filepath.Join(dir, "d"), "")
		}, true},
		{"the missing directory appears, empty", func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "nodir"), 0o755)) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a"), "content")
			write(t, filepath.Join(dir, "d", "one"), "")
			var s Set
			read1(t, &s, filepath.Join(dir, "a"), "content")
			if _, err := s.Read(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if _, err := s.List(filepath.Join(dir, "d")); err != nil {
				t.Fatal(err)
			}
			if _, err := s.List(filepath.Join(dir, "nodir")); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if s.Changed() {
				t.Fatal("changed before the change")
			}
			tc.change(t, dir)
			if got := s.Changed(); got != tc.want {
				t.Errorf("changed %t, want %t", got, tc.want)
			}
		})
	}
}

// TestReadTwice: what was built from two states of one file is built from neither, and must be built again.
func TestReadTwice(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a"), "one")
	var s Set
	read1(t, &s, path, "one")
	read1(t, &s, path, "one")
	if s.Changed() {
		t.Error("the same content twice is taken for a change")
	}
	write(t, path, "two")
	read1(t, &s, path, "two")
	if !s.Changed() {
		t.Error("one state, then another: not changed")
	}
	write(t, path, "one")
	if !s.Changed() {
		t.Error("the first state is back, and what was read second is forgotten")
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o644))
	large := write(t, filepath.Join(dir, "large"), "")
	must(t, os.Truncate(large, MaxBytes+1))
	loop := filepath.Join(dir, "loop")
	must(t, os.Symlink("loop", loop))
	for name, tc := range map[string]struct{ path, want string }{
		"missing":           {filepath.Join(dir, "missing"), "no such file"},
		"empty name":        {"", "no such file"},
		"NUL in its name":   {dir + "/a\x00b", "invalid argument"},
		"directory":         {dir, "not a regular file"},
		"pipe":              {fifo, "not a regular file"}, // opening it must not wait for a writer
		"device":            {"/dev/zero", "not a regular file"},
		"larger":            {large, "larger than 8388608 bytes"},
		"link to itself":    {loop, "too many levels"},
		"below a file":      {filepath.Join(large, "x"), "not a directory"},
		"link to directory": {func() string { l := filepath.Join(dir, "l"); must(t, os.Symlink(dir, l)); return l }(), "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			var s Set
			data, err := s.Read(tc.path)
			if err == nil || data != nil || !strings.Contains(err.Error(), tc.want) || tc.path != "" && !strings.Contains(err.Error(), tc.path) {
				t.Errorf("%d bytes, error %v, want %q and the path", len(data), err, tc.want)
			}
			if s.Changed() {
				t.Error("a failure that lasts is taken for a change")
			}
		})
	}
}

// TestUnreadable needs a file that its owner may not read; to root, which may read all, it becomes readable at once.
func TestUnreadable(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "a"), "secret")
	must(t, os.Chmod(path, 0))
	var s Set
	data, err := s.Read(path)
	if os.Geteuid() == 0 {
		if err != nil || string(data) != "secret" {
			t.Errorf("root reads %q: %v", data, err)
		}
		return
	}
	if !errors.Is(err, fs.ErrPermission) || data != nil {
		t.Errorf("%q: %v", data, err)
	}
	must(t, os.Chmod(path, 0o600))
	if !s.Changed() {
		t.Error("it can be read now, and that is no change")
	}
}

func TestReadAtTheBound(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "a"), "")
	must(t, os.Truncate(path, MaxBytes))
	var s Set
	if data, err := s.Read(path); err != nil || !bytes.Equal(data, make([]byte, MaxBytes)) {
		t.Errorf("%d bytes: %v", len(data), err)
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "c.crt", ".hidden", "..data/x", "sub/y"} {
		write(t, filepath.Join(dir, name), name)
	}
	must(t, os.Symlink("a", filepath.Join(dir, "link")))
	must(t, os.Symlink("nothing", filepath.Join(dir, "dangling")))
	must(t, os.Symlink("sub", filepath.Join(dir, "linked-directory")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	for _, spelling := range []string{dir, dir + "/"} {
		var s Set
		got, err := s.List(spelling)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, path := range got {
			names = append(names, filepath.Base(path))
		}
		if want := []string{"a", "b", "c.crt", "link"}; !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", spelling, names, want)
		}
		if s.Changed() {
			t.Error("changed")
		}
		write(t, filepath.Join(dir, "nothing"), "") // the dangling link leads somewhere now
		if !s.Changed() {
			t.Error("the link's end appeared unseen")
		}
		must(t, os.Remove(filepath.Join(dir, "nothing")))
	}
	var s Set
	if _, err := s.List(filepath.Join(dir, "a")); err == nil {
		t.Error("a file is listed")
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a"), "")
	var s Set
	if len(s.Paths()) != 0 || s.Changed() {
		t.Error("the zero value has read something")
	}
	for range 2 {
		read1(t, &s, path, "")
		if _, err := s.List(dir); err != nil {
			t.Fatal(err)
		}
	}
	got := s.Paths()
	slices.Sort(got)
	if want := []string{dir + string(filepath.Separator), path}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSetIsSafeForConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	var s Set
	var all sync.WaitGroup
	var paths []string
	for i := range 8 {
		paths = append(paths, write(t, filepath.Join(dir, fmt.Sprint(i)), ""))
	}
	for _, path := range paths {
		all.Go(func() {
			for range 20 {
				_, _ = s.Read(path)
				_, _ = s.List(dir)
				_ = s.Changed()
				_ = s.Paths()
			}
		})
	}
	all.Wait()
	if s.Changed() {
		t.Error("changed")
	}
}
