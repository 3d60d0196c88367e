package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
)

// exits runs a program that must end with the given exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARGS...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		got, err = failed.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// expand replaces the variables in files.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: expand FILE...")
	}
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o644))
	}
}

// layout copies an image of the registry and all that is attached to it into an OCI layout, under its tag.
func (w *world) layout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: layout DIR NAME")
	}
	target, err := oci.New(ts.MkAbs(args[0]))
	ts.Check(err)
	const tag = "v1"
	_, err = oras.ExtendedCopy(context.Background(), w.repository(w.plain.Host+"/"+args[1]), tag, target, tag, oras.DefaultExtendedCopyOptions)
	ts.Check(err)
}

// longest bounds the wait for a program that runs on the same machine.
const longest = time.Minute

// await waits until somebody has asked $WAITING_HOST.
func (w *world) await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: await")
	}
	select {
	case <-w.asked:
	case <-time.After(longest):
		ts.Fatalf("nobody asked within %s", longest)
	}
}
