package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/gotest"
)

// tryTime bounds one run of a package's tests: the slowest that is chosen from takes half of it on two busy cores. A fault
// that makes a test wait for ever is caught by the test that waits.
const tryTime = 2 * time.Minute

// A tree is a copy of the repository's files, in which faults can be made.
type tree struct{ root string }

// copyTree copies what git knows of, as it is on disk.
func copyTree(ctx context.Context, root string) (*tree, error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of %s: %w", root, err)
	}
	dir, err := os.MkdirTemp("", "ratify-mutants-")
	if err != nil {
		return nil, err
	}
	t := &tree{root: dir}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if err := copyFile(filepath.Join(root, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.remove()
			return nil, err
		}
	}
	return t, nil
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm()|0o200)
}

func (t *tree) remove() { _ = os.RemoveAll(t.root) } // a temporary directory of this run

// try makes the fault, runs the tests that must see it, and takes it out again. It returns which failed.
func (t *tree) try(ctx context.Context, m Mutant) (caught []string, err error) {
	undo, err := m.apply(t.root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	return t.test(ctx, m.Package, m.Run)
}

// test runs tests and returns the names of those that failed. What does not build is an error.
func (t *tree) test(ctx context.Context, pkg, run string) (failed []string, err error) {
	dir := t.root
	if inTest, ok := strings.CutPrefix(pkg, "test/"); ok {
		dir, pkg = filepath.Join(t.root, "test"), "./"+inTest
	}
	args := []string{"-trimpath", "-vet=off", "-failfast", "-timeout", tryTime.String()}
	if run != "" {
		args = append(args, "-run", run)
	}
	result, err := gotest.Run(ctx, dir, append(args, pkg)...)
	switch {
	case err != nil || result.OK():
		return nil, err
	case len(result.Failed) == 0: // the whole program ended
		return []string{"the end of the tests' process, in " + strings.Join(result.Unended, ", ")}, nil
	}
	return result.Failed, nil
}

// healthy remembers of which packages the tests pass without any fault: one that fails anyway would catch everything.
type healthy struct {
	chosen []Mutant
	mu     sync.Mutex
	known  map[string]error // by package
}

// check runs all tests of a mutant's package that any of the chosen ones runs, without a fault and once.
func (h *healthy) check(ctx context.Context, t *tree, m Mutant) error {
	h.mu.Lock()
	err, ok := h.known[m.Package]
	h.mu.Unlock()
	if ok {
		return err
	}
	failed, err := t.test(ctx, m.Package, h.all(m.Package))
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%s fails without any fault: %s", m.Package, strings.Join(failed, ", "))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known == nil {
		h.known = map[string]error{}
	}
	h.known[m.Package] = err
	return err
}

// all chooses the tests of a package that any mutant runs.
func (h *healthy) all(pkg string) string {
	var runs []string
	for _, m := range h.chosen {
		switch {
		case m.Package != pkg:
		case m.Run == "":
			return ""
		default:
			runs = append(runs, m.Run)
		}
	}
	slices.Sort(runs)
	return strings.Join(slices.Compact(runs), "|")
}
