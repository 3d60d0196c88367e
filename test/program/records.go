package program

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
)

// A Record is what is looked at of a line of the log. A report's fields are those of its JSON.
type Record struct {
	Msg       string `json:"msg"`
	Key       string `json:"key"`
	Subject   string `json:"subject"`
	Digest    string `json:"digest"`
	IsSuccess bool   `json:"isSuccess"`
	Code      string `json:"code"`
	Message   string `json:"message"`
	Remedy    string `json:"remedy"`
	TraceID   string `json:"traceID"`
	RequestID string `json:"requestID"`
	Cached    bool   `json:"cached"`
	// Line is the record as it was written.
	Line []byte `json:"-"`
}

// ParseRecord reads a line of the log.
func ParseRecord(line []byte) (Record, error) {
	r := Record{Line: line}
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("read a record of the log: %w", err)
	}
	return r, nil
}

// Lines returns how many lines the provider has written: where to wait from for what comes next.
func (p *Provider) Lines() int { return p.log.len() }

// Wait returns the first record from the given line on that matches, and waits for it until ctx ends or the provider does.
func (p *Provider) Wait(ctx context.Context, from int, match func(Record) bool) (Record, error) {
	return p.log.wait(ctx, from, match)
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
		l.change(func() { l.lines = append(l.lines, bytes.Clone(scanner.Bytes())) })
	}
	// What is left is a line too long to be a record: the writer must not block on it.
	_, _ = io.Copy(io.Discard, r)
	l.change(func() { l.done = true })
}

func (l *records) change(apply func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	apply()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *records) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

func (l *records) wait(ctx context.Context, from int, match func(Record) bool) (Record, error) {
	for {
		l.mu.Lock()
		lines, done, changed := l.lines, l.done, l.changed
		l.mu.Unlock()
		for ; from < len(lines); from++ {
			if r, err := ParseRecord(lines[from]); err == nil && match(r) {
				return r, nil
			}
		}
		if done {
			return Record{}, fmt.Errorf("the provider ended; its last words:\n%s", last(lines))
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Record{}, fmt.Errorf("wait for the provider's log: %w; its last words:\n%s", ctx.Err(), last(lines))
		}
	}
}

// last is the end of a log, for an error.
func last(lines [][]byte) string {
	const enough = 10
	lines = lines[max(0, len(lines)-enough):]
	return strings.TrimSpace(string(bytes.Join(lines, []byte("\n"))))
}
