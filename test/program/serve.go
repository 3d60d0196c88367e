package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// The paths of the provider's two operations.
const (
	VerifyPath = "/ratify/gatekeeper/v1/verify"
	MutatePath = "/ratify/gatekeeper/v1/mutate"
)

// startTimeout is how long the provider may take until it serves: a hundred times what it takes.
const startTimeout = 30 * time.Second

// stopTimeout is how long it may take to end after it was asked to: as long as its own bound on the requests under way.
const stopTimeout = 10 * time.Second

// ServeOptions say which provider is started, and how.
type ServeOptions struct {
	// Binary is the command, as Build returns it.
	Binary string
	// Args are the flags of ratify serve. Unless they say otherwise, it listens on free ports of 127.0.0.1 and ends without delay.
	Args []string
	// Env is added to the environment of this process.
	Env []string
	// LogFile, if set, gets a copy of what it writes.
	LogFile string
}

// A Provider is a running child process. Its methods are safe for concurrent use.
type Provider struct {
	// Address and HealthAddress are where it serves, as its log says.
	Address, HealthAddress string

	command *exec.Cmd
	log     *records
	ended   chan struct{} // closed when the process is gone
	failure error         // how it ended, once ended is closed
}

// Serve starts the provider and returns when it serves. ctx bounds the start alone: it runs until Stop or Kill, or until
// this process ends. The error of one that does not serve holds its last words.
func Serve(ctx context.Context, options ServeOptions) (*Provider, error) {
	var log io.WriteCloser = discard{}
	if options.LogFile != "" {
		file, err := os.Create(options.LogFile)
		if err != nil {
			return nil, err
		}
		log = file
	}
	// Of a flag that is said twice the last one counts.
	args := append([]string{"serve", "--address=127.0.0.1:0", "--health-address=127.0.0.1:0", "--shutdown-delay=0s"}, options.Args...)
	p := &Provider{log: newRecords(), ended: make(chan struct{}), command: exec.Command(options.Binary, args...)}
	p.command.Env = slices.Concat(os.Environ(), options.Env)
	if err := p.start(log); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := p.awaitServing(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// discard is a log that nobody keeps.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// start starts the process, whose words go to the records and to the log until it ends.
func (p *Provider) start(log io.WriteCloser) error {
	// A pipe of our own, so that both streams are one and reading ends with the process.
	reader, writer, err := os.Pipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	p.command.Stdout, p.command.Stderr, p.command.SysProcAttr = writer, writer, childAttributes()
	started := make(chan error)
	go func() {
		// The system ends the child with the thread that started it, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		writer.Close()
		started <- err
		p.log.read(io.TeeReader(reader, log))
		reader.Close()
		log.Close()
		if err == nil {
			p.failure = p.command.Wait()
		}
		close(p.ended)
	}()
	return <-started
}

// awaitServing reads from the log where the provider listens: its ports may have been left to the system.
func (p *Provider) awaitServing(ctx context.Context) error {
	record, err := p.Wait(ctx, 0, func(r Record) bool { return r.Msg == "listening" })
	if err != nil {
		return err
	}
	var listening struct {
		Address       string `json:"address"`
		HealthAddress string `json:"healthAddress"`
	}
	if err := json.Unmarshal(record.Line, &listening); err != nil {
		return err
	}
	p.Address, p.HealthAddress = listening.Address, listening.HealthAddress
	return nil
}

// URL is where it serves an operation.
func (p *Provider) URL(path string) string { return "https://" + p.Address + path }

// PID is the process's number, for who looks at what it holds.
func (p *Provider) PID() int { return p.command.Process.Pid }

// Ended is closed when the process is gone.
func (p *Provider) Ended() <-chan struct{} { return p.ended }

// Failure waits for the end and tells how the process ended; nil is well.
func (p *Provider) Failure() error {
	<-p.ended
	return p.failure
}

// Stop asks the process to end, and makes it if it does not. How it ends after that is no error.
func (p *Provider) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("the provider did not end within %s of SIGTERM", stopTimeout), p.Kill())
	}
}

// Kill ends the process as it stands and waits until it is gone: its connections are then closed.
func (p *Provider) Kill() error {
	err := p.Signal(syscall.SIGKILL)
	<-p.ended
	return err
}

// Signal sends a signal; a process that is gone needs none.
func (p *Provider) Signal(signal os.Signal) error {
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
