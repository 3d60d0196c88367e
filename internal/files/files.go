// Package files reads files by name and remembers what it read, so that whoever built something from them can ask
// later whether it would come out the same. Content is compared, not times: the symlink swap of a mounted Secret, a
// file replaced in place and a file that came back all look like what they are.
package files

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// MaxBytes bounds one file: a bundle of all public roots has 250 KiB, a large configuration 100 KiB.
const MaxBytes = 8 << 20

// A Set reads files and remembers them. The zero value is ready; it is safe for concurrent use.
type Set struct {
	mu   sync.Mutex
	seen map[string]fingerprint // by path; a directory's path ends in a separator
	torn bool                   // something was read twice, and differently

	parent *Set   // remembers instead of this one; see Within
	root   string // where alone this one reads
}

// Within returns a set that reads below a directory and nowhere else, whichever way a path or a symbolic link takes. What
// it reads s remembers.
func (s *Set) Within(dir string) *Set { return &Set{parent: s, root: dir} }

// outside is the error of a path that is not below the root, before anything of it is read.
func (s *Set) outside(path string) error {
	if s.root == "" {
		return nil
	}
	root, err := filepath.EvalSymlinks(s.root)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if inside, err := filepath.Rel(root, real); err == nil && filepath.IsLocal(inside) {
		return nil
	}
	return &os.PathError{Op: "read", Path: path, Err: errors.New("it is not below " + s.root)}
}

type fingerprint [sha256.Size]byte

// Read returns the content of a regular file of at most MaxBytes, through symbolic links.
func (s *Set) Read(path string) ([]byte, error) {
	if err := s.outside(path); err != nil {
		return nil, err
	}
	data, err := read(path)
	s.remember(path, sum(data, err))
	return data, err
}

// List returns the paths of the regular files in a directory, sorted, through symbolic links, without those whose name
// begins with a dot (a mounted Secret keeps its generations there).
func (s *Set) List(dir string) ([]string, error) {
	if err := s.outside(dir); err != nil {
		return nil, err
	}
	names, err := list(dir)
	s.remember(dir+string(filepath.Separator), sum([]byte(strings.Join(names, "\x00")), err))
	return names, err
}

// Paths returns what was read, in no order.
func (s *Set) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := make([]string, 0, len(s.seen))
	for path := range s.seen {
		paths = append(paths, path)
	}
	return paths
}

// Changed tells whether any file or directory that was read would now be read differently, or was read twice and
// differently: what was built from both states is built from neither.
func (s *Set) Changed() bool {
	s.mu.Lock()
	torn := s.torn
	seen := make(map[string]fingerprint, len(s.seen))
	for path, f := range s.seen {
		seen[path] = f
	}
	s.mu.Unlock()
	if torn {
		return true
	}
	for path, f := range seen {
		if dir, ok := strings.CutSuffix(path, string(filepath.Separator)); ok {
			names, err := list(dir)
			if sum([]byte(strings.Join(names, "\x00")), err) != f {
				return true
			}
			continue
		}
		if data, err := read(path); sum(data, err) != f {
			return true
		}
	}
	return false
}

func (s *Set) remember(path string, f fingerprint) {
	if s.parent != nil {
		s.parent.remember(path, f)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]fingerprint{}
	}
	if before, ok := s.seen[path]; ok && before != f {
		s.torn = true
	}
	s.seen[path] = f
}

// sum tells a failure from any content, and one failure not from another: what matters is that it can be read again.
func sum(data []byte, err error) fingerprint {
	if err != nil {
		return fingerprint{}
	}
	return sha256.Sum256(data)
}

func read(path string) ([]byte, error) {
	// Without O_NONBLOCK, opening a pipe waits for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
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
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, MaxBytes)
	}
	return data, nil
}

func list(dir string) ([]string, error) {
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
