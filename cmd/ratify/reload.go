package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/ratify-provider/ratify/provider"
	"go.uber.org/zap"
)

const (
	// settleTime lets a change come to its end: a Secret's files are swapped together, an editor writes twice.
	settleTime = 250 * time.Millisecond
	// settleAtMost is how long changes may follow one another before files are read all the same: in a directory where
	// something is always written the end never comes.
	settleAtMost = 2 * time.Second
	// lookTime is how often files are compared although nothing was notified: network file systems do not tell.
	lookTime = 10 * time.Second
)

// A reloader replaces the configuration and the certificates when their files change.
type reloader struct {
	build    func(path string) (*generation, error) // see process.build
	path     string
	current  *generation // what was built last, good or not: its files are watched
	provider *provider.Provider
	tls      *provider.TLS
	metrics  *provider.Metrics
	log      *zap.Logger
}

// run watches until ctx ends. Where the system cannot notify, it looks from time to time.
func (r *reloader) run(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn("files are looked at from time to time: changes cannot be notified", zap.Error(err))
		watcher = nil
	} else {
		defer watcher.Close()
	}
	events, errs := r.watch(watcher)
	look := time.NewTicker(lookTime)
	defer look.Stop()
	settle := newSettling()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settle.changed()
		case err := <-errs:
			r.log.Warn("watching files", zap.Error(err))
			settle.changed()
		case <-look.C:
			if r.current.files.Changed() || r.tls.Changed() {
				settle.changed()
			}
		case <-settle.C:
			settle.ended()
			changed, torn := r.reload()
			if changed {
				events, errs = r.watch(watcher)
			}
			if torn {
				settle.changed()
			}
		}
	}
}

// A settling is the time in which changes come to their end.
type settling struct {
	*time.Timer
	since time.Time // of the first change; zero: there is none
}

func newSettling() *settling {
	s := &settling{Timer: time.NewTimer(settleTime)}
	s.Stop()
	return s
}

func (s *settling) changed() {
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	s.Reset(min(settleTime, s.since.Add(settleAtMost).Sub(now)))
}

func (s *settling) ended() { s.since = time.Time{} }

// watch asks to be told of changes in the directories of all files: a mounted Secret changes by a symbolic link beside
// them. Directories that are watched already stay so. Without a watcher the channels are nil, and never tell.
func (r *reloader) watch(watcher *fsnotify.Watcher) (events <-chan fsnotify.Event, errs <-chan error) {
	if watcher == nil {
		return nil, nil
	}
	for _, path := range append(r.current.files.Paths(), r.tls.Paths()...) {
		if err := watcher.Add(filepath.Dir(path)); err != nil {
			r.log.Warn("watch a directory", zap.String("directory", filepath.Dir(path)), zap.Error(err))
		}
	}
	return watcher.Events, watcher.Errors
}

// reload looks whether anything changed, and replaces what did and is good. What changed again while it was read is torn:
// it may be half of one state and half of another, so it is not taken, and has to be read again.
func (r *reloader) reload() (changed, torn bool) {
	if r.tls.Changed() {
		changed = true
		r.report("tls", r.tls.Load())
		torn = r.tls.Changed()
	}
	if !r.current.files.Changed() {
		return changed, torn
	}
	g, err := r.buildContained()
	if g != nil && g.files.Changed() {
		r.log.Info("files changed while they were read, and are read again")
		return changed, true
	}
	if err == nil {
		r.provider.Install(g.engine, g.file)
		r.metrics.TrustEnds(g.trustEnds())
		logWarnings(r.log, g)
	}
	if g != nil {
		r.current = g
	}
	r.report("configuration", err)
	return true, torn
}

// buildContained takes a panic for an error: what parses certificates was written by others, and the last good
// configuration must go on serving. The generation is then nil.
func (r *reloader) buildContained() (g *generation, err error) {
	defer func() {
		if value := recover(); value != nil {
			r.metrics.Panic()
			r.log.Error("panic in a reload", zap.Any("panic", value), zap.ByteString("stack", debug.Stack()))
			g, err = nil, fmt.Errorf("panic: %v", value)
		}
	}()
	return r.build(r.path)
}

func (r *reloader) report(what string, err error) {
	r.metrics.Reload(what, err)
	if err != nil {
		r.log.Error("reload failed, the last good one stays in force", zap.String("what", what), zap.Error(err))
		return
	}
	r.log.Info("reloaded", zap.String("what", what))
}
