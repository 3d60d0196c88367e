package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := StartProcess(t.TempDir(), "shell", []string{"WORD=hello"}, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	return p
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	p := shell(t, `sleep 600 & echo $! >child.tmp; mv child.tmp child; wait`)
	child := filepath.Join(filepath.Dir(p.LogFile), "child")
	var pid []byte
	err := p.WaitReady(t.Context(), func(context.Context) (err error) {
		pid, err = os.ReadFile(child)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(0); err == nil {
		t.Error("a killed program is said to have ended with 0")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = Until(ctx, func(context.Context) error {
		if stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat")); err == nil && !strings.Contains(string(stat), ") Z ") {
			return errors.New("the child lives")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestStopIsPoliteFirst(t *testing.T) {
	p := shell(t, `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.02; done`)
	err := p.WaitReady(t.Context(), func(context.Context) error {
		if !strings.Contains(p.Tail(1), "ready") {
			return errors.New("silent")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		t.Errorf("ended with %v, want 0", err)
	}
	if got := p.Tail(1); got != "bye" {
		t.Errorf("last line %q, want bye", got)
	}
	p.Signal(syscall.SIGTERM) // must do nothing, the number may be another's by now
}

func TestWaitReadyFailsWhenTheProgramEnds(t *testing.T) {
	p := shell(t, `echo "no such $WORD" >&2; exit 3`)
	err := p.WaitReady(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such hello") {
		t.Errorf("error %v, want the exit code and the output", err)
	}
}

func TestStartProcessNamesWhatIsMissing(t *testing.T) {
	_, err := StartProcess(t.TempDir(), "absent", nil, "/nonexistent/program")
	if err == nil || !strings.Contains(err.Error(), "start absent") {
		t.Errorf("error %v", err)
	}
}
