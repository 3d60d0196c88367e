package programtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/program"
)

func TestBuild(t *testing.T) {
	path := Build(t, "-ldflags=-X main.version=v0.0.0-built")
	if filepath.Base(path) != program.Name {
		t.Errorf("it is %s", path)
	}
	command := exec.CommandContext(t.Context(), path, "version")
	command.Env = append(command.Environ(), Environment()...)
	out, err := command.Output()
	if err != nil || !strings.Contains(string(out), "v0.0.0-built") {
		t.Errorf("it prints %q, %v", out, err)
	}
}

// With coverage, what the command does is added to what the test counts; without it there is nothing to add.
func TestCoverage(t *testing.T) {
	if testing.CoverMode() == "" {
		if got := append(BuildFlags(), Environment()...); len(got) != 0 {
			t.Errorf("got %q", got)
		}
		return
	}
	if flags := strings.Join(BuildFlags(), " "); !strings.Contains(flags, "-covermode="+testing.CoverMode()) {
		t.Errorf("the flags are %q", flags)
	}
}
