package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The paths of the provider's two operations.
const (
	verifyPath = "/ratify/gatekeeper/v1/verify"
	mutatePath = "/ratify/gatekeeper/v1/mutate"
)

// startTimeout is how long the provider may take until it serves: a hundred times what it takes.
const startTimeout = 30 * time.Second

// stopTimeout is how long it may take to end after it was asked to.
const stopTimeout = 10 * time.Second

// A provider is the running child process.
type provider struct {
	// address and health are where it serves, as its log says.
	address, health string
	logFile         string

	command *exec.Cmd
	log     *records
	ended   chan struct{} // closed when the process is gone
	failure error         // how it ended, once ended is closed
}

// startProvider starts the program, copies what it writes to the log file, and returns when it serves.
func startProvider(ctx context.Context, logFile, program string, args ...string) (*provider, error) {
	file, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	// A pipe of our own, so that both streams are one and reading ends with the process.
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p := &provider{logFile: logFile, log: newRecords(), ended: make(chan struct{}), command: exec.Command(program, args...)}
	p.command.Stdout, p.command.Stderr, p.command.SysProcAttr = writer, writer, childAttributes()
	started := make(chan error)
	go func() {
		// The system ends the child with the thread that started it, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		writer.Close()
		started <- err
		p.log.read(io.TeeReader(reader, file))
		reader.Close()
		file.Close()
		if err == nil {
			p.failure = p.command.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.awaitServing(ctx); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

// awaitServing reads from the log where the provider listens: its ports were left to the system.
func (p *provider) awaitServing(ctx context.Context) error {
	data, err := p.log.wait(ctx, 0, func(r record) bool { return r.Msg == "listening" })
	if err != nil {
		return err
	}
	var listening struct {
		Address       string `json:"address"`
		HealthAddress string `json:"healthAddress"`
	}
	if err := json.Unmarshal(data, &listening); err != nil {
		return err
	}
	p.address, p.health = listening.Address, listening.HealthAddress
	return nil
}

func (p *provider) url(path string) string { return "https://" + p.address + path }

// stop asks the process to end, and makes it if it does not. How it ends after that is no error.
func (p *provider) stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		err := p.command.Process.Kill()
		<-p.ended
		return errors.Join(fmt.Errorf("the provider did not end within %s of SIGTERM", stopTimeout), err)
	}
}

// A record is what is looked at of a line of the log.
type record struct {
	Msg       string `json:"msg"`
	Key       string `json:"key"`
	Digest    string `json:"digest"`
	IsSuccess bool   `json:"isSuccess"`
	Code      string `json:"code"`
	Message   string `json:"message"`
}

// maxRecordBytes bounds a line: a report has 64 KiB at most.
const maxRecordBytes = 1 << 20

// records are the lines that a process has written so far.
type records struct {
	mu      sync.Mutex
	lines   [][]byte
	done    bool
	changed chan struct{} // closed and replaced with every change
}

func newRecords() *records { return &records{changed: make(chan struct{})} }

// read takes lines until there are no more.
func (l *records) read(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxRecordBytes)
	for scanner.Scan() {
		l.add(bytes.Clone(scanner.Bytes()))
	}
	// What is left is a line too long to be a record: the writer must not block on it.
	_, _ = io.Copy(io.Discard, r)
	l.add(nil)
}

// add adds a line; nil is the end.
func (l *records) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line == nil {
		l.done = true
	} else {
		l.lines = append(l.lines, line)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// len returns how many lines there are: where to wait from for what comes next.
func (l *records) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// wait returns the first line from the given one on that is a record that matches, as it was written, and waits for it.
func (l *records) wait(ctx context.Context, from int, match func(record) bool) ([]byte, error) {
	for {
		l.mu.Lock()
		lines, done, changed := l.lines, l.done, l.changed
		l.mu.Unlock()
		for ; from < len(lines); from++ {
			var r record
			if json.Unmarshal(lines[from], &r) == nil && match(r) {
				return lines[from], nil
			}
		}
		if done {
			return nil, fmt.Errorf("the provider ended; its last words:\n%s", last(lines))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the provider's log: %w; its last words:\n%s", ctx.Err(), last(lines))
		}
	}
}

// last is the end of a log, for an error.
func last(lines [][]byte) string {
	const enough = 10
	lines = lines[max(0, len(lines)-enough):]
	return strings.TrimSpace(string(bytes.Join(lines, []byte("\n"))))
}
