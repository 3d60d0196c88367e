package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// startTimeout is a hundred times what any of the servers takes.
	startTimeout = 10 * time.Second
	// stopTimeout is longer than ratify waits for its requests under way.
	stopTimeout = 15 * time.Second
	// lookTime is how often the log and the probe are looked at: it is added to what a start is measured to take. They are
	// looked at rather than piped through this process, which would then work for every record of the server.
	lookTime = 200 * time.Microsecond
	// maxLogLine bounds a line that is waited for: a record has some 70 KiB at most.
	maxLogLine = 256 << 10
	// lastWords is how much of a log an error holds.
	lastWords = 2 << 10
)

// A process is a child whose words go into a file.
type process struct {
	dir     string // of its own, with all its files
	command *exec.Cmd
	logPath string
	ended   chan struct{} // closed when it is gone
	failure error         // how it ended, once ended is closed
}

// launch starts the command with a directory of its own.
func launch(dir string, binary string, args, env []string) (*process, error) {
	p := &process{dir: dir, logPath: filepath.Join(dir, "stderr.log"), ended: make(chan struct{})}
	words, err := os.Create(p.logPath)
	if err != nil {
		return nil, err
	}
	defer words.Close()
	p.command = exec.Command(binary, args...) //nolint:gosec,noctx // the caller says what is measured, and ends it by Stop
	p.command.Env = slices.Concat(os.Environ(), env)
	p.command.Stdout, p.command.Stderr, p.command.SysProcAttr = words, words, childAttributes()
	started := make(chan error)
	go func() {
		// The system ends the child with the thread that started it, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.failure = p.command.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	return p, nil
}

// stop asks the process to end, makes it if it does not, and removes its files.
func (p *process) stop() error {
	err := p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		err = errors.Join(err, fmt.Errorf("it did not end within %s of SIGTERM", stopTimeout), p.signal(syscall.SIGKILL))
		<-p.ended
	}
	return errors.Join(err, os.RemoveAll(p.dir))
}

// signal sends a signal; a process that is gone needs none.
func (p *process) signal(signal os.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// logged is how long the log is: where to wait from for what comes next.
func (p *process) logged() (int64, error) {
	info, err := os.Stat(p.logPath)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lines waits for so many lines of the log from an offset on that match, until ctx ends or the process does.
func (p *process) lines(ctx context.Context, from int64, n int, match func(line []byte) bool) ([][]byte, error) {
	file, err := os.Open(p.logPath)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	look := time.NewTicker(lookTime)
	defer look.Stop()
	var found [][]byte
	for rest, gone := []byte(nil), false; ; {
		added, err := io.ReadAll(io.NewSectionReader(file, from, maxLogLine))
		if err != nil {
			return nil, err
		}
		from, rest = from+int64(len(added)), append(rest, added...)
		for line, after, ok := bytes.Cut(rest, []byte("\n")); ok; line, after, ok = bytes.Cut(rest, []byte("\n")) {
			if rest = after; match(line) {
				found = append(found, bytes.Clone(line))
			}
			if len(found) == n {
				return found, nil
			}
		}
		switch {
		case len(rest) > maxLogLine:
			return nil, fmt.Errorf("read the log: a line is longer than %d bytes", maxLogLine)
		case len(added) > 0:
			continue
		case gone:
			return nil, fmt.Errorf("the process ended (%w); %s", p.failure, p.last())
		}
		select {
		case <-look.C:
		case <-p.ended:
			gone = true // what it said last is still read
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the log: %w; %s", ctx.Err(), p.last())
		}
	}
}

// last is the end of the log, for an error.
func (p *process) last() string {
	data, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	return "its last words:\n" + strings.TrimSpace(string(data[max(0, len(data)-lastWords):]))
}

// A listeningRecord is what each of the servers logs when it listens.
type listeningRecord struct {
	Msg           string `json:"msg"`
	Address       string `json:"address"`
	HealthAddress string `json:"healthAddress"`
}

const listeningMessage = "listening"

// awaitListening waits until the log says where it listens.
func (p *process) awaitListening(ctx context.Context) (listeningRecord, error) {
	var record listeningRecord
	_, err := p.lines(ctx, 0, 1, func(line []byte) bool {
		return json.Unmarshal(line, &record) == nil && record.Msg == listeningMessage
	})
	return record, err
}
