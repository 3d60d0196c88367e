package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/ratify-provider/ratify/provider"
	"go.uber.org/zap"
)

const (
	// settleTime lets a change come to its end: a Secret's files are swapped together, an editor writes twice.
	settleTime = 250 * time.Millisecond
	// lookTime is how often files are compared although nothing was notified: network file systems do not tell.
	lookTime = 10 * time.Second
)

// A reloader replaces the configuration and the certificates when their files change.
type reloader struct {
	process  *process
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
	settle := time.NewTimer(0)
	if !settle.Stop() {
		<-settle.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settle.Reset(settleTime)
			continue
		case err := <-errs:
			r.log.Warn("watching files", zap.Error(err))
		case <-settle.C:
		case <-look.C:
		}
		if r.reload() {
			events, errs = r.watch(watcher)
		}
	}
}

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

// reload looks whether anything changed, and replaces what did and is good.
func (r *reloader) reload() (changed bool) {
	if r.tls.Changed() {
		changed = true
		err := r.tls.Load()
		r.report("tls", err)
	}
	if r.current.files.Changed() {
		changed = true
		g, err := r.process.build(r.path)
		if err == nil {
			r.provider.Install(g.engine, g.file)
		}
		r.current = g
		r.report("configuration", err)
	}
	return changed
}

func (r *reloader) report(what string, err error) {
	r.metrics.Reload(what, err)
	if err != nil {
		r.log.Error("reload failed, the last good one stays in force", zap.String("what", what), zap.Error(err))
		return
	}
	r.log.Info("reloaded", zap.String("what", what))
}
