//go:build unix

package files

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithin(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "tenants")
	write(t, filepath.Join(base, "outside.key"), "secret")
	write(t, filepath.Join(base, "tenants-more", "key"), "secret")
	write(t, filepath.Join(dir, "a.key"), "a")
	write(t, filepath.Join(dir, "below", "b.key"), "b")
	for name, target := range map[string]string{
		"to-a":       "a.key",
		"to-a-whole": filepath.Join(dir, "a.key"),
		"to-outside": "../outside.key",
		"whole":      filepath.Join(base, "outside.key"),
		"up":         "..",
		"root":       "/",
		"loop":       "loop",
		"twice":      "to-outside",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	linked := filepath.Join(base, "linked")
	must(t, os.Symlink(dir, linked))
	for _, root := range []string{dir, linked, dir + "/"} {
		s := (&Set{}).Within(root)
		for path, want := range map[string]string{
			filepath.Join(dir, "a.key"):                            "a",
			filepath.Join(linked, "a.key"):                         "a",
			filepath.Join(dir, "below", "b.key"):                   "b",
			filepath.Join(dir, "to-a"):                             "a",
			filepath.Join(dir, "to-a-whole"):                       "a",
			dir + "/below/../a.key":                                "a",
			filepath.Join(base, "tenants-more/../linked", "a.key"): "a",
		} {
			read1(t, s, path, want)
		}
		for _, path := range []string{
			filepath.Join(base, "outside.key"), dir + "/../outside.key", filepath.Join(dir, "to-outside"), filepath.Join(dir, "whole"), filepath.Join(dir, "up", "outside.key"),
			filepath.Join(dir, "root", base, "outside.key"), filepath.Join(dir, "twice"), filepath.Join(dir, "loop"), filepath.Join(base, "tenants-more", "key"),
			filepath.Join(dir, "absent"), dir, base, "/", "/etc/passwd", "a.key", "",
		} {
			if data, err := s.Read(path); err == nil || data != nil {
				t.Errorf("below %s: %q is read: %q", root, path, data)
			}
		}
		if names, err := s.List(dir); err != nil || !slices.Contains(names, filepath.Join(dir, "a.key")) {
			t.Errorf("listed %q (%v)", names, err)
		}
		for _, path := range []string{base, filepath.Join(dir, "up"), filepath.Join(dir, "root"), filepath.Join(dir, "absent")} {
			if names, err := s.List(path); err == nil || names != nil {
				t.Errorf("below %s: %q is listed: %q", root, path, names)
			}
		}
	}
}

// TestWithinSaysWhatItRefuses, and where it would be allowed.
func TestWithinSaysWhatItRefuses(t *testing.T) {
	dir := t.TempDir()
	_, err := (&Set{}).Within(dir).Read("/etc/hostname")
	if err == nil || !strings.Contains(err.Error(), "/etc/hostname") || !strings.Contains(err.Error(), "not below "+dir) {
		t.Error(err)
	}
}

// TestWithinIsRemembered by the set that it is of: a file that comes, changes, or stops leading outside is a change, and
// what stays as it was is none.
func TestWithinIsRemembered(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "tenants")
	outside := write(t, filepath.Join(base, "outside"), "secret")
	good := write(t, filepath.Join(dir, "good"), "1")
	link, absent := filepath.Join(dir, "link"), filepath.Join(dir, "below", "absent")
	must(t, os.Symlink(outside, link))
	newSet := func() *Set {
		s := &Set{}
		within := s.Within(dir)
		for _, path := range []string{good, link, absent} {
			if _, err := within.Read(path); (err == nil) != (path == good) {
				t.Fatal(path, err)
			}
		}
		return s
	}
	s := newSet()
	if s.Changed() {
		t.Error("nothing changed")
	}
	if paths := s.Paths(); len(paths) != 3 || !slices.Contains(paths, good) {
		t.Errorf("paths %q", paths)
	}
	write(t, outside, "another secret")
	if s.Changed() {
		t.Error("what it does not read changed")
	}
	for name, change := range map[string]func(){
		"content":         func() { write(t, good, "2") },
		"it came":         func() { write(t, absent, "3") },
		"it leads inside": func() { must(t, os.Remove(link)); must(t, os.Symlink("good", link)) },
	} {
		before := newSet()
		if change(); !before.Changed() {
			t.Errorf("%s: no change", name)
		}
		must(t, os.RemoveAll(absent))
		must(t, os.Remove(link))
		must(t, os.Symlink(outside, link))
	}
}

// TestOneFileReadFromTwoPlaces is remembered for each: what is outside of one may be read by the other.
func TestOneFileReadFromTwoPlaces(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "key"), "1")
	s := &Set{}
	read1(t, s, path, "1")
	if _, err := s.Within(t.TempDir()).Read(path); err == nil {
		t.Error("read from outside")
	}
	if s.Changed() || len(s.Paths()) != 1 {
		t.Errorf("changed %t, paths %q", s.Changed(), s.Paths())
	}
}
