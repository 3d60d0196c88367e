package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childVariable makes the test's own program a provider that does not do what it should.
const childVariable = "RATIFY_PROGRAM_TEST_CHILD"

func TestMain(m *testing.M) {
	asked := make(chan os.Signal, 1)
	switch os.Getenv(childVariable) {
	case "fails":
		fmt.Println("error: the port is taken")
		os.Exit(3)
	case "silent":
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Println(`{"msg":"here"}`)
		<-asked
	case "serves":
		signal.Notify(asked, syscall.SIGTERM)
		fmt.Printf("{\"msg\":\"listening\",\"address\":\"127.0.0.1:1\",\"healthAddress\":\"127.0.0.1:2\"}\n{\"msg\":\"arguments\",\"message\":%q}\n", strings.Join(os.Args[1:], " "))
		<-asked
		os.Exit(4)
	default:
		os.Exit(m.Run())
	}
}

// child is the test's own program as a provider.
func child(t *testing.T, what string) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(childVariable, what)
	return path
}

// What the provider said is what the reader has to see.
func TestServeThatDoesNot(t *testing.T) {
	for name, test := range map[string]struct {
		binary, child string
		wait          time.Duration
		want          string
	}{
		"is not there": {filepath.Join(t.TempDir(), "missing"), "", time.Minute, "no such file"},
		"fails":        {"", "fails", time.Minute, "error: the port is taken"},
		"says nothing": {"", "silent", 300 * time.Millisecond, "context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			if test.binary == "" {
				test.binary = child(t, test.child)
			}
			ctx, cancel := context.WithTimeout(t.Context(), test.wait)
			defer cancel()
			p, err := Serve(ctx, ServeOptions{Binary: test.binary})
			if err == nil || !strings.Contains(err.Error(), test.want) || p != nil {
				t.Errorf("got %v, %v; want an error with %q", p, err, test.want)
			}
		})
	}
}

func TestServe(t *testing.T) {
	logFile := filepath.Join(t.TempDir(), "log")
	p, err := Serve(t.Context(), ServeOptions{Binary: child(t, "serves"), Args: []string{"--config=x"}, LogFile: logFile})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	arguments, err := p.Wait(ctx, 0, func(r Record) bool { return r.Msg == "arguments" })
	if err != nil || !strings.HasPrefix(arguments.Message, "serve ") || !strings.HasSuffix(arguments.Message, " --config=x") {
		t.Errorf("it was given %q, %v", arguments.Message, err)
	}
	if p.URL(VerifyPath) != "https://127.0.0.1:1"+VerifyPath || p.HealthAddress != "127.0.0.1:2" {
		t.Errorf("it is at %s and %s", p.Address, p.HealthAddress)
	}
	for range 2 {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}
	var ended *exec.ExitError
	if !errors.As(p.Failure(), &ended) || ended.ExitCode() != 4 {
		t.Errorf("it ended with %v", p.Failure())
	}
	if log, err := os.ReadFile(logFile); err != nil || !bytes.Contains(log, arguments.Line) {
		t.Errorf("the log file holds %q, %v", log, err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestKill(t *testing.T) {
	p, err := Serve(t.Context(), ServeOptions{Binary: child(t, "serves")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Ended():
	default:
		t.Error("it is still there")
	}
	if err := p.Failure(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("it ended with %v", err)
	}
}

func TestBuild(t *testing.T) {
	t.Run("a finished command", func(t *testing.T) {
		finished := child(t, "fails")
		t.Setenv(binaryVariable, finished)
		dir := t.TempDir()
		path, err := Build(t.Context(), dir, BuildOptions{})
		if err != nil || path != filepath.Join(dir, Name) {
			t.Fatalf("got %q, %v", path, err)
		}
		if out, _ := exec.CommandContext(t.Context(), path).Output(); string(out) != "error: the port is taken\n" {
			t.Errorf("it prints %q", out)
		}
	})
	t.Run("a finished command that is not there", func(t *testing.T) {
		t.Setenv(binaryVariable, filepath.Join(t.TempDir(), "missing"))
		if path, err := Build(t.Context(), t.TempDir(), BuildOptions{}); err == nil || !strings.Contains(err.Error(), binaryVariable) {
			t.Errorf("got %q, %v", path, err)
		}
	})
	t.Setenv(binaryVariable, "")
	t.Run("what the toolchain says", func(t *testing.T) {
		if path, err := Build(t.Context(), t.TempDir(), BuildOptions{Flags: []string{"-nonsense"}}); err == nil || !strings.Contains(err.Error(), "flag provided but not defined: -nonsense") {
			t.Errorf("got %q, %v", path, err)
		}
		var output bytes.Buffer
		if path, err := Build(t.Context(), t.TempDir(), BuildOptions{Flags: []string{"-nonsense"}, Output: &output}); err == nil || !strings.Contains(output.String(), "-nonsense") {
			t.Errorf("got %q, %v and %q", path, err, output.String())
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if path, err := Build(ctx, t.TempDir(), BuildOptions{}); err == nil || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("got %q, %v", path, err)
		}
	})
	t.Run("outside the repository", func(t *testing.T) {
		t.Chdir(t.TempDir())
		if path, err := Build(t.Context(), t.TempDir(), BuildOptions{}); err == nil || !strings.Contains(err.Error(), "run this inside the repository") {
			t.Errorf("got %q, %v", path, err)
		}
	})
}

func TestRecords(t *testing.T) {
	l := newRecords()
	reader, writer := io.Pipe()
	go l.read(reader)
	every := func(Record) bool { return true }
	fmt.Fprintf(writer, "not a record\n{\"msg\":\"one\"}\n")
	r, err := l.wait(t.Context(), 0, every)
	if err != nil || string(r.Line) != `{"msg":"one"}` || r.Msg != "one" {
		t.Fatalf("got %v, %v", r, err)
	}
	from := l.len()
	go fmt.Fprintf(writer, "{\"msg\":\"two\"}\n")
	if r, err = l.wait(t.Context(), from, every); err != nil || r.Msg != "two" {
		t.Fatalf("got %v, %v", r, err)
	}
	// A line beyond the bound ends what is read, not what is written.
	if _, err := writer.Write(bytes.Repeat([]byte("x"), 2*maxRecordBytes)); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if _, err := l.wait(t.Context(), l.len(), every); err == nil || !strings.Contains(err.Error(), `{"msg":"two"}`) {
		t.Errorf("after the end: %v", err)
	}
}
