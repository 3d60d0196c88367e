package blobs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

const (
	// sweptShare is which part of the bound is free after a sweep, so that there is one for many files and not for each.
	sweptShare = 8
	// maxFiles bounds the files that are kept, and with them what a sweep takes: 15 MB of memory for the time that it
	// lasts, and most of a second of a processor. Thirty thousand images with one signature each have as many.
	maxFiles = 1 << 17
	// maxNames is how many names a sweep looks at for each file that is kept at most. A directory that somebody fills with more
	// is given up for the time, and has less of them the next time.
	maxNames = 8
	// sweepStep is how many names are read at once.
	sweepStep = 512
	// staleAfter is when a file that is being written is none any more: its process has ended.
	staleAfter = time.Minute
)

// A kept is a file that a sweep has found.
type kept struct {
	name  string
	used  int64 // when it was last marked as in use
	bytes int64
}

// sweep counts the files of the directory and removes the oldest, until they take no more than target. What is there may
// be somebody else's work: files of impossible dates go first, and those beyond maxFiles as they come.
func (d *disk) sweep(target int64) error {
	root := d.root.Load()
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var found []kept
	var total int64
	for seen := 0; err == nil; {
		var names []os.DirEntry
		names, err = dir.ReadDir(sweepStep)
		if seen += len(names); seen > maxNames*d.maxFiles {
			return fmt.Errorf("it has more than %d files", maxNames*d.maxFiles)
		}
		for _, entry := range names {
			k, ok := look(root, entry.Name(), time.Now())
			if !ok || len(found) == d.maxFiles && root.Remove(k.name) == nil {
				continue
			}
			total += k.bytes
			if len(found) < d.maxFiles {
				found = append(found, k)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	few := d.maxFiles
	if len(found) == d.maxFiles {
		few -= d.maxFiles / sweptShare
	}
	files, gone := removeOldest(root, found, total-target, few)
	d.files, d.counted, d.swept = len(found)-files, true, time.Now()
	d.used.Store(total - gone)
	return nil
}

// look tells what there is of a file, if it is one of ours, and removes it if it is good for nothing.
func look(root *os.Root, name string, now time.Time) (k kept, ok bool) {
	temporary := isTemporary(name)
	if !temporary && !isKey(name) {
		return kept{}, false
	}
	info, err := root.Lstat(name)
	if err != nil {
		return kept{}, false
	}
	k = kept{name: name, used: info.ModTime().UnixNano(), bytes: blocks(info.Size())}
	age := now.Sub(info.ModTime())
	if age < -staleAfter {
		k.used = 0 // nobody has used it in a time that has not come
	}
	if useless := !info.Mode().IsRegular() || temporary && (age > staleAfter || age < -staleAfter); useless && root.Remove(name) == nil {
		return kept{}, false
	}
	return k, true
}

// removeOldest removes files until excess bytes are gone and no more than few are left, and returns how many files and bytes
// are gone.
func removeOldest(root *os.Root, found []kept, excess int64, few int) (files int, gone int64) {
	if excess <= 0 && len(found) <= few {
		return 0, 0
	}
	slices.SortFunc(found, func(a, b kept) int { return cmp.Compare(a.used, b.used) })
	for i, k := range found {
		if gone >= excess && len(found)-i <= few {
			break
		}
		if root.Remove(k.name) == nil {
			files++
			gone += k.bytes
		}
	}
	return files, gone
}
