package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
)

const (
	// progressDelay is how long a command works in silence: most are done by then.
	progressDelay = time.Second
	// progressInterval is how often the line is drawn again, so that its seconds go on.
	progressInterval = 500 * time.Millisecond
	// eraseLine moves to the first column and clears to the end (ECMA-48 EL).
	eraseLine = "\r\x1b[K"
)

// A progress is one line on a terminal that says what a command is doing, once it takes longer than a moment.
type progress struct {
	w       io.Writer // nil where there is no terminal
	started time.Time
	stop    chan struct{}
	stopped sync.WaitGroup

	mu    sync.Mutex
	what  string
	step  string
	shown bool
}

// startProgress begins to watch; what says what the command does. Close ends it.
func (a *app) startProgress(what string) *progress {
	p := &progress{what: what, started: time.Now(), stop: make(chan struct{})}
	if !a.ui.progress {
		return p
	}
	p.w = a.err
	p.stopped.Go(p.draw)
	return p
}

// context returns a context under which the engine tells which step it is at.
func (p *progress) context(ctx context.Context) context.Context {
	return ratify.WithProgress(ctx, func(step string) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.step = step
	})
}

// say changes what the command does.
func (p *progress) say(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
}

// print runs a function that writes, without the line in its way.
func (p *progress) print(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	write()
}

// close removes the line.
func (p *progress) close() {
	close(p.stop)
	p.stopped.Wait()
	p.print(func() {})
}

func (p *progress) draw() {
	timer := time.NewTimer(progressDelay)
	defer timer.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-timer.C:
			timer.Reset(progressInterval)
		}
		p.mu.Lock()
		line := p.what
		if p.step != "" {
			line += ": " + p.step
		}
		fmt.Fprintf(p.w, "%s%s (%s)", eraseLine, line, time.Since(p.started).Truncate(time.Second))
		p.shown = true
		p.mu.Unlock()
	}
}

func (p *progress) erase() {
	if p.shown {
		fmt.Fprint(p.w, eraseLine)
		p.shown = false
	}
}
