package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// A Process is a program that runs in a process group of its own until Stop, its output in a file.
type Process struct {
	Name string
	// LogFile holds what it wrote to stdout and stderr.
	LogFile string

	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; valid when done is closed
}

// StartProcess starts a program with the environment of this process and env beside it. Its output is appended to NAME.log in dir.
// Where the system can do it (Linux), the program dies with this process, so that a test killed by its timeout leaves nothing behind.
func StartProcess(dir, name string, env []string, path string, args ...string) (*Process, error) {
	p := &Process{Name: name, LogFile: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = processAttributes()
	started := make(chan error)
	go func() {
		// "Dies with its parent" means the thread that started it, so that thread must stay for as long as the program runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the whole process group. It does nothing once the program has ended.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		// The group's number cannot be another's while its leader has not been waited for, or a member lives.
		_ = syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// Stop ends the program, politely for as long as grace, and returns how it ended: nil for exit code 0.
// With grace 0 it is killed at once.
func (p *Process) Stop(grace time.Duration) error {
	if grace > 0 {
		p.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	p.Signal(syscall.SIGKILL)
	<-p.done
	return p.err
}

// Tail returns the last lines of the program's output.
func (p *Process) Tail(lines int) string { return tailFile(p.LogFile, lines) }

// WaitReady calls probe until it gives nil. It fails at once when the program ends, and names the last reason and the end of its output.
func (p *Process) WaitReady(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-p.done:
			cancel(errEnded)
		case <-stop:
		}
	}()
	err := Until(ctx, probe)
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), errEnded) {
		err = errEnded
		if p.err != nil {
			err = fmt.Errorf("%w: %w", errEnded, p.err)
		}
	}
	return fmt.Errorf("%s is not ready: %w\n%s", p.Name, err, p.Tail(15))
}

var errEnded = errors.New("it ended")

// probeInterval is how often something that sends no event of its own readiness is asked for it.
const probeInterval = 50 * time.Millisecond

// Until calls probe until it gives nil or the context ends; then it returns the probe's last error.
func Until(ctx context.Context, probe func(context.Context) error) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
