// Package files reads files by name and remembers what it read, so that whoever built something from them can ask
// later whether it would come out the same. Content is compared, not times: the symlink swap of a mounted Secret, a
// file replaced in place and a file that came back all look like what they are.
package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/ratify-provider/ratify/internal/content"
)

// MaxBytes bounds one file: a bundle of all public roots has 250 KiB, a large configuration 100 KiB.
const MaxBytes = 8 << 20

// A Set reads files and remembers them. The zero value is ready; it is safe for concurrent use.
type Set struct {
	mu   sync.Mutex
	seen map[source]fingerprint
	torn bool // something was read twice, and differently

	parent *Set   // remembers instead of this one; see Within
	root   string // where alone this one reads; empty: anywhere
}

// A source is what was read: a file, or a directory, whose path ends in a separator, and the directory that alone it may be
// in.
type source struct{ path, root string }

// Within returns a set that reads below a directory and nowhere else, whichever way a path or a symbolic link takes. What
// it reads s remembers.
func (s *Set) Within(dir string) *Set { return &Set{parent: s, root: dir} }

type fingerprint [sha256.Size]byte

// Read returns the content of a regular file of at most MaxBytes, through symbolic links.
func (s *Set) Read(path string) ([]byte, error) {
	from := source{path, s.root}
	data, err := from.read()
	s.remember(from, sum(data, err))
	return data, err
}

// List returns the paths of the regular files in a directory, sorted, through symbolic links, without those whose name
// begins with a dot (a mounted Secret keeps its generations there).
func (s *Set) List(dir string) ([]string, error) {
	from := source{dir + string(filepath.Separator), s.root}
	names, err := from.list(dir)
	s.remember(from, sum([]byte(strings.Join(names, "\x00")), err))
	return names, err
}

// Paths returns what was read, in no order.
func (s *Set) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := map[string]bool{}
	for from := range s.seen {
		paths[from.path] = true
	}
	return slices.Collect(maps.Keys(paths))
}

// Changed tells whether any file or directory that was read would now be read differently, or was read twice and
// differently: what was built from both states is built from neither.
func (s *Set) Changed() bool {
	s.mu.Lock()
	torn := s.torn
	seen := maps.Clone(s.seen)
	s.mu.Unlock()
	if torn {
		return true
	}
	for from, f := range seen {
		if dir, ok := strings.CutSuffix(from.path, string(filepath.Separator)); ok {
			names, err := from.list(dir)
			if sum([]byte(strings.Join(names, "\x00")), err) != f {
				return true
			}
			continue
		}
		if data, err := from.read(); sum(data, err) != f {
			return true
		}
	}
	return false
}

func (s *Set) remember(from source, f fingerprint) {
	if s.parent != nil {
		s.parent.remember(from, f)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[source]fingerprint{}
	}
	if before, ok := s.seen[from]; ok && before != f {
		s.torn = true
	}
	s.seen[from] = f
}

// sum tells a failure from any content, and one failure not from another: what matters is that it can be read again.
func sum(data []byte, err error) fingerprint {
	if err != nil {
		return fingerprint{}
	}
	return sha256.Sum256(data)
}

// within returns the real directory and the path below it that a path leads to. A source that may be anywhere has none.
func (s source) within(path string) (root, below string, err error) {
	if root, err = filepath.EvalSymlinks(s.root); err != nil {
		return "", "", err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", "", err
	}
	if below, err = filepath.Rel(root, target); err != nil || !filepath.IsLocal(below) {
		return "", "", &os.PathError{Op: "read", Path: path, Err: errors.New("it is not below " + s.root)}
	}
	return root, below, nil
}

func (s source) open() (*os.File, error) {
	// Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
	const flags = os.O_RDONLY | syscall.O_NONBLOCK
	if s.root == "" {
		return os.OpenFile(s.path, flags, 0)
	}
	dir, below, err := s.within(s.path)
	if err != nil {
		return nil, err
	}
	// Whoever puts a symbolic link into its way meanwhile leads it nowhere.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenFile(below, flags, 0)
}

func (s source) read() ([]byte, error) {
	path := s.path
	f, err := s.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	data, err := content.Read(f, MaxBytes)
	if errors.Is(err, content.ErrTooLarge) {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, MaxBytes)
	}
	return data, err
}

func (s source) list(dir string) ([]string, error) {
	if s.root != "" {
		if _, _, err := s.within(dir); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	return paths, nil
}
