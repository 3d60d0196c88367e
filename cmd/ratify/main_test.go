package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"github.com/spf13/cobra"
)

// writeRoot writes the root certificate of a new authority.
func writeRoot(t *testing.T) string {
	t.Helper()
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "root.crt", authority.PEM())
}

func TestExitCodeOfEachCode(t *testing.T) {
	for _, info := range ratify.Codes() {
		want := map[ratify.Outcome]int{ratify.OutcomeVerified: 0, ratify.OutcomeRefused: 1, ratify.OutcomeUnknown: 2, ratify.OutcomeNote: 2}[info.Outcome]
		if info.Code == ratify.BadReference {
			want = 3
		}
		if got := exitCodeFor(info.Code); got != want {
			t.Errorf("%s: exit code %d, want %d", info.Code, got, want)
		}
		report := &ratify.Report{Code: info.Code}
		if got := exitCodeOfReport(report); got == 0 {
			t.Errorf("%s: a report that is no success ends with 0", info.Code)
		}
	}
	if got := exitCodeFor("SOMETHING_NEW"); got != exitUnknown {
		t.Errorf("an unknown code ends with %d", got)
	}
	if got := exitCodeOfReport(&ratify.Report{IsSuccess: true, Code: ratify.Verified}); got != 0 {
		t.Errorf("a success ends with %d", got)
	}
}

func TestExitCodeOfErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"none":           {nil, 0},
		"a verdict":      {exitCode(1), 1},
		"a refusal":      {fmt.Errorf("list: %w", &ratify.Error{Code: ratify.SubjectNotFound}), 1},
		"an outage":      {&ratify.Error{Code: ratify.RegistryUnavailable}, 2},
		"a lost result":  {&outputError{io.ErrClosedPipe}, 2},
		"usage":          {usage("", "wrong"), 3},
		"anything else":  {errors.New("read the configuration"), 3},
		"a verdict told": {fmt.Errorf("told: %w", exitCode(2)), 2},
	} {
		if got := exitCodeOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestLostOutputIsNoSuccess(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}, {"version", "-o", "yaml"}, {"--help"}} {
		var stderr lockedBuffer
		if code := run(t.Context(), args, strings.NewReader(""), brokenPipe{}, &stderr); code != exitUnknown {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUnknown)
		}
		if got := stderr.String(); got != "error: write the output: io: read/write on closed pipe\n" {
			t.Errorf("%q: %s", args, got)
		}
	}
}

func TestInterruptedBeforeItBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root := writeRoot(t)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, args := range [][]string{
		{"verify", "--notation-cert", root, "127.0.0.1:1/app:v1", "127.0.0.1:1/app:v2"},
		{"inspect", "127.0.0.1:1/app:v1"},
		{"ls", "127.0.0.1:1/app:v1"},
	} {
		var stdout, stderr lockedBuffer
		if code := run(ctx, args, strings.NewReader(""), &stdout, &stderr); code != exitUnknown {
			t.Errorf("%q: exit code %d, want %d", args, code, exitUnknown)
		}
		if got := stdout.String() + stderr.String(); !strings.Contains(got, "interrupted before the decision") {
			t.Errorf("%q: %s", args, got)
		}
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	a, _, _ := testApp(t)
	for _, command := range a.rootCommand().Commands() {
		if command.Example == "" || command.Short == "" || strings.HasSuffix(command.Short, ".") {
			t.Errorf("%s: no example, or its short text is none", command.Name())
		}
		for _, line := range strings.Split(command.Long+"\n"+command.Example, "\n") {
			if len(line) > 100 {
				t.Errorf("%s: a line of help is wider than a terminal: %s", command.Name(), line)
			}
		}
		if answersAboutImages(command) && !strings.Contains(command.Long, "Exit codes: 0 ") {
			t.Errorf("%s: its help does not say what it exits with", command.Name())
		}
	}
}

func answersAboutImages(command *cobra.Command) bool {
	return strings.HasSuffix(command.Use, "IMAGE") || strings.HasSuffix(command.Use, "IMAGE...")
}

func TestDetectUI(t *testing.T) {
	// The controlling end of a pseudo-terminal is a terminal itself.
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, c := range map[string]struct {
		out, err      io.Writer
		noColor, term string
		want          ui
	}{
		"a terminal":       {terminal, terminal, "", "xterm", ui{color: true, progress: true}},
		"output to a file": {file, terminal, "", "xterm", ui{progress: true}},
		"errors to a file": {terminal, file, "", "xterm", ui{color: true}},
		"no colour wanted": {terminal, terminal, "1", "xterm", ui{progress: true}},
		"a dumb terminal":  {terminal, terminal, "", "dumb", ui{}},
		"a buffer":         {io.Discard, io.Discard, "", "xterm", ui{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("NO_COLOR", c.noColor)
			t.Setenv("TERM", c.term)
			if got := detectUI(c.out, c.err); got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}
