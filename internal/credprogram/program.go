// Package credprogram runs the programs that give credentials for registries: docker's credential helpers, and the
// credential provider plugins of the kubelet.
//
// A program runs only where a configuration names it, without a shell, for a bounded time, with an environment of its
// own, and together with its children it is ended when its time is. What it writes is bounded and shown to nobody: an
// error of this package says what kind of thing went wrong, and never what a program said in words of its own. Nothing is
// kept here; begin at Helper.Get and Plugin.Get.
package credprogram

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	// Timeout bounds one run: those of clouds ask a metadata service and a token service, half a second together, and a
	// webhook waits ten seconds at most.
	Timeout = 5 * time.Second
	// MaxOutputBytes bounds what a program writes: a token as long as a header can be, four times, for as many registries.
	MaxOutputBytes = 64 << 10
	// drainTimeout is how long a pipe is read on after the end of a program, for what its children have not closed.
	drainTimeout = 200 * time.Millisecond
)

// A Variable is a variable of a program's environment, as Kubernetes writes it.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// An Error says that a program gave no answer. Of what the program wrote, its text has the known words of the helpers'
// protocol at most.
type Error struct {
	// Program is the name of the program, as it was configured.
	Program string
	Reason  string
}

// Error names the program and the reason.
func (e *Error) Error() string { return e.Program + " " + e.Reason }

// program is what is run, and how.
type program struct {
	name    string // for messages
	path    string
	args    []string
	env     []string
	timeout time.Duration
}

// newProgram looks for an executable file. PATH and HOME are this process's: programs look there for others and for
// their own settings; the rest of the environment is what variables say.
func newProgram(name, path string, args []string, variables []Variable) (program, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return program{}, err
	case !filepath.IsAbs(path):
		return program{}, fmt.Errorf("%s is no absolute path", path)
	case !info.Mode().IsRegular(), info.Mode()&0o111 == 0:
		return program{}, fmt.Errorf("%s is no program that can be run", path)
	}
	p := program{name: name, path: path, args: args, timeout: Timeout}
	for _, kept := range []string{"PATH", "HOME"} {
		if value, ok := os.LookupEnv(kept); ok {
			p.env = append(p.env, kept+"="+value)
		}
	}
	for _, v := range variables {
		p.env = append(p.env, v.Name+"="+v.Value)
	}
	return p, nil
}

func (p program) fail(format string, args ...any) *Error {
	return &Error{Program: p.name, Reason: fmt.Sprintf(format, args...)}
}

// failed is the error of a program that ended with a code other than 0.
func (p program) failed(code int) *Error {
	if code < 0 {
		return p.fail("failed: it was ended by a signal")
	}
	return p.fail("failed with exit code %d", code)
}

// run gives input to the program and returns what it wrote, and with which code it ended, -1 for a signal: helpers say in
// words on their output why it is not 0. An error is an *Error, or the context's.
func (p program) run(ctx context.Context, input []byte) (output []byte, code int, err error) {
	limited, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, p.path, p.args...) //nolint:gosec // the configuration names it, and nobody else
	cmd.Env, cmd.Dir = p.env, string(filepath.Separator)
	cmd.Stdin = bytes.NewReader(input)
	out := &boundedBuffer{full: cancel}
	cmd.Stdout = out // and nothing reads what it says on its standard error
	cmd.WaitDelay = drainTimeout
	killTogether(cmd)
	err = cmd.Run()
	killRest(cmd)
	var exit *exec.ExitError
	switch {
	case out.over:
		return nil, 0, p.fail("wrote more than %d bytes", MaxOutputBytes)
	case ctx.Err() != nil:
		return nil, 0, ctx.Err()
	case limited.Err() != nil:
		return nil, 0, p.fail("did not answer in %s", p.timeout)
	case err == nil:
		return out.data, 0, nil
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, 0, p.fail("left somebody behind who kept its output open")
	case errors.As(err, &exit):
		return out.data, exit.ExitCode(), nil
	default:
		// The path and the operating system's words; a program has not run.
		return nil, 0, p.fail("could not be run: %v", err)
	}
}

// boundedBuffer keeps what fits, and tells when it does not.
type boundedBuffer struct {
	data []byte
	over bool
	full func()
}

// Write keeps the data, or fails, at which the pipe is closed.
func (b *boundedBuffer) Write(data []byte) (int, error) {
	if len(b.data)+len(data) > MaxOutputBytes {
		b.over = true
		b.full()
		return 0, errors.New("too much output")
	}
	b.data = append(b.data, data...)
	return len(data), nil
}
