package blobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify/internal/inflight"
)

const (
	// maxReads bounds the files that are read at the same time. A read that hangs holds a thread of the system.
	maxReads = 8
	// readWait is how long a read is waited for: as a registry at the other end of the world. A read from a disk that works
	// takes a thousandth of it, and the rest is for a process that has no time: nobody gains if it asks the registry instead.
	readWait = 250 * time.Millisecond
	// maxQueued and maxQueuedBytes bound what waits to be written: the evidence of a burst of sixty images, or a document
	// of the largest size.
	maxQueued      = 256
	maxQueuedBytes = 16 << 20
	// restTime is how long nothing is written after a failure. A directory that is full or read-only stays so for a while.
	restTime = time.Minute
	// touchAfter is how old a file may be in use before it is marked as new: often enough to outlive what nobody asks for
	// any more, and seldom enough to cost nothing.
	touchAfter = time.Hour
	// openWait is how long the start of the process waits for the directory to be opened; after that it goes on without.
	openWait = 100 * time.Millisecond
	// closeWait is how long its end waits for the queue to be written: what fits there takes a tenth of it.
	closeWait = time.Second
)

// disk is the level on disk: a file for each key, with nothing but the content in it, for its digest is all that is needed to
// trust it. Others may be able to write to the directory. They can take away what is there, and that is all: a file is read
// only if it is a regular one of a size that may be, and used only if it has the digest.
//
// Files are read by those who ask, and written by one goroutine, which also keeps the bound. What there is, is known from
// the directory alone, so that no index can be wrong about it.
type disk struct {
	dir            string
	bound, largest int64
	inFlight       *inflight.Budget
	warn           func(error)

	root    atomic.Pointer[os.Root] // nil while the directory cannot be opened
	reads   chan struct{}           // a place for each read
	hanging atomic.Int32            // reads that nobody waits for any more
	used    atomic.Int64            // bytes on disk, as counted by the last sweep and since
	dropped atomic.Uint64
	spoilt  atomic.Bool // a file was not what it must be, and was removed; so used is no longer what is there

	jobs        chan job
	queued      atomic.Int64  // bytes in jobs
	opened      chan struct{} // closed after the first attempt to open the directory
	quit, ended chan struct{}

	// The writer's own.
	counted   bool      // whether used and files are what is there
	files     int       // as used
	swept     time.Time // when it was counted last
	restUntil time.Time // before which nothing is written

	// What tests put in the way, make smaller, or hurry up.
	maxFiles   int
	readWait   time.Duration
	beforeOpen func(name string) // between looking at a file and opening it
	write      func(root *os.Root, name string, data []byte) error
}

// A job is content to be written; data does not change.
type job struct {
	key  Key
	data []byte
}

func newDisk(o Options) *disk {
	return &disk{
		dir: o.Dir, bound: o.Disk, largest: o.Disk / maxShare, inFlight: o.InFlight, warn: o.Warn,
		reads: make(chan struct{}, maxReads), jobs: make(chan job, maxQueued),
		opened: make(chan struct{}), quit: make(chan struct{}), ended: make(chan struct{}),
		maxFiles: maxFiles, readWait: readWait, beforeOpen: func(string) {}, write: write,
	}
}

// begin starts the writer, and waits for the directory to be opened, but not for what is found there.
func (d *disk) begin() {
	go d.run()
	select {
	case <-d.opened:
	case <-time.After(openWait):
	}
}

// wants tells whether content of that size is kept at all.
func (d *disk) wants(size int) bool { return blocks(int64(size)) <= d.largest }

// read returns the content of the key, or nil. A disk that hangs costs those who ask at that time readWait, and nobody after
// them until it goes on.
func (d *disk) read(ctx context.Context, key Key, want digest.Digest, limit int64) []byte {
	if d.hanging.Load() > 0 || !want.Algorithm().Available() {
		return nil
	}
	enough := time.NewTimer(d.readWait)
	defer enough.Stop()
	select {
	case d.reads <- struct{}{}:
	case <-enough.C:
		return nil
	case <-ctx.Done():
		return nil
	}
	done := make(chan []byte, 1)
	go func() {
		defer func() { <-d.reads }()
		done <- d.load(key.name(), want, limit)
	}()
	select {
	case data := <-done:
		return data
	case <-ctx.Done():
	case <-enough.C:
	}
	d.hanging.Add(1)
	go func() {
		<-done
		d.hanging.Add(-1)
	}()
	return nil
}

// errPassedOver says that a file was not looked at, and may be good.
var errPassedOver = errors.New("too much is being read at the same time")

// load reads and checks a file. One that is not what it should be is removed: it would never be.
func (d *disk) load(name string, want digest.Digest, limit int64) []byte {
	root := d.root.Load()
	if root == nil {
		return nil
	}
	data, err := d.loadFrom(root, name, want, limit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errPassedOver) {
		_ = root.Remove(name) // where this fails, too, it is a miss each time
		d.spoilt.Store(true)
	}
	return data
}

// fromDisk is who holds what is being read from the disk: that is soon done, whosever it is.
const fromDisk = "the disk"

func (d *disk) loadFrom(root *os.Root, name string, want digest.Digest, limit int64) ([]byte, error) {
	seen, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	size := seen.Size()
	if !seen.Mode().IsRegular() || size > limit {
		return nil, errors.New("it is no regular file, or too large for what it should be")
	}
	if d.inFlight != nil {
		if !d.inFlight.Try(fromDisk, size) {
			return nil, errPassedOver
		}
		defer d.inFlight.Give(fromDisk, size)
	}
	d.beforeOpen(name)
	// Without waiting: in the meantime it may have become a pipe that nobody writes to.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// A link that has taken its place leads to another file than the one that was seen.
	if opened, err := f.Stat(); err != nil || !os.SameFile(seen, opened) {
		return nil, errors.New("it was replaced while it was read")
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	if want.Algorithm().FromBytes(data) != want {
		return nil, errors.New("it does not have the digest")
	}
	if now := time.Now(); now.Sub(seen.ModTime()) >= touchAfter {
		_ = root.Chtimes(name, now, now) // or it goes earlier
	}
	return data, nil
}

// offer gives content to the writer, or drops it: nobody waits.
func (d *disk) offer(key Key, data []byte) {
	size := int64(len(data))
	if d.queued.Add(size) <= maxQueuedBytes {
		select {
		case d.jobs <- job{key, data}:
			return
		default:
		}
	}
	d.queued.Add(-size)
	d.dropped.Add(1)
}

func (d *disk) close() {
	close(d.quit)
	select {
	case <-d.ended:
	case <-time.After(closeWait):
	}
}

// run is the writer.
func (d *disk) run() {
	defer close(d.ended)
	err := d.open()
	close(d.opened)
	if err == nil {
		err = d.sweep(d.bound)
	}
	if err != nil {
		d.rest(err)
	}
	for {
		select {
		case j := <-d.jobs:
			d.keep(j)
		case <-d.quit:
			for len(d.jobs) > 0 {
				d.keep(<-d.jobs)
			}
			d.forget()
			return
		}
	}
}

// keep writes one job, unless the directory is given a rest.
func (d *disk) keep(j job) {
	defer d.queued.Add(-int64(len(j.data)))
	if time.Now().Before(d.restUntil) {
		d.dropped.Add(1)
		return
	}
	if err := d.store(j); err != nil {
		d.dropped.Add(1)
		d.rest(err)
	}
}

// rest leaves the directory alone for a while. What is there can still be read, unless it was deleted; then it is made anew
// after that.
func (d *disk) rest(err error) {
	if errors.Is(err, fs.ErrNotExist) {
		d.forget()
	}
	d.counted = false
	d.restUntil = time.Now().Add(restTime)
	d.warn(fmt.Errorf("content is not kept on disk in %s: %w", d.dir, err))
}

func (d *disk) open() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(d.dir)
	if err != nil {
		return err
	}
	d.root.Store(root)
	return nil
}

func (d *disk) forget() {
	if root := d.root.Swap(nil); root != nil {
		root.Close()
	}
}

// store writes one file, in one step for whoever reads it.
func (d *disk) store(j job) error {
	if d.root.Load() == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	root, name, now := d.root.Load(), j.key.name(), time.Now()
	if seen, err := root.Lstat(name); err == nil && seen.Mode().IsRegular() && seen.Size() == int64(len(j.data)) {
		return root.Chtimes(name, now, now)
	}
	size := blocks(int64(len(j.data)))
	if err := d.makeRoom(size); err != nil {
		return err
	}
	temporary := temporaryPrefix + rand.Text()
	if err := d.write(root, temporary, j.data); err != nil {
		_ = root.Remove(temporary)
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		_ = root.Remove(temporary)
		return err
	}
	d.used.Add(size)
	d.files++
	return nil
}

// makeRoom sees that there is room for one more file of the size. It removes more than it must, to have a while without it.
func (d *disk) makeRoom(size int64) error {
	if time.Since(d.swept) >= restTime && d.spoilt.Swap(false) {
		d.warn(fmt.Errorf("files in %s were not what was written, and were removed", d.dir))
		d.counted = false
	}
	if !d.counted {
		if err := d.sweep(d.bound); err != nil {
			return err
		}
	}
	full := func() bool { return d.files >= d.maxFiles || d.used.Load()+size > d.bound }
	if !full() {
		return nil
	}
	if err := d.sweep(d.bound - d.bound/sweptShare - size); err != nil {
		return err
	}
	if full() {
		return errors.New("there is no room, and none can be made")
	}
	return nil
}

// write makes a new file. It is not synchronised: after a crash it may be torn, and then has another digest.
func write(root *os.Root, name string, data []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// temporaryPrefix begins the names of files that are being written.
const temporaryPrefix = "new-"

// isTemporary and isKey tell whether a name is like those that are made here. Whatever else is in the directory is somebody
// else's.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, temporaryPrefix) && len(name) == len(temporaryPrefix)+len(rand.Text())
}

func isKey(name string) bool {
	key, err := hex.DecodeString(name)
	return err == nil && len(key) == len(Key{}) && name == strings.ToLower(name)
}

// blocks is what a file of the size takes on disk.
func blocks(size int64) int64 {
	const block = 4096 // the usual one; an empty file has its place in a directory, too
	return max((size+block-1)/block, 1) * block
}
