// Package programtest builds and runs the product's command in tests, so that what it does there counts in their
// coverage. Begin at Build and Serve.
package programtest

import (
	"flag"
	"testing"

	"github.com/ratify-provider/ratify/test/program"
)

// BuildFlags are the flags of go build by which the command counts what it does as the running test does; none where that
// counts nothing.
func BuildFlags() []string {
	if testing.CoverMode() == "" {
		return nil
	}
	// Counts of one mode alone can be added up. The packages are those of the main module, where the command is built.
	return []string{"-cover", "-covermode=" + testing.CoverMode(), "-coverpkg=./..."}
}

// Environment is what a command that was built with BuildFlags needs in its environment to write its counts where the
// test's own go. The directory is that of the flag: go test sets GOCOVERDIR to one that it removes.
func Environment() []string {
	dir := flag.Lookup("test.gocoverdir")
	if testing.CoverMode() == "" || dir == nil || dir.Value.String() == "" {
		return nil
	}
	return []string{"GOCOVERDIR=" + dir.Value.String()}
}

// Build builds the command for the running test and returns its path, which ends with the command's name.
func Build(t testing.TB, flags ...string) string {
	t.Helper()
	path, err := program.Build(t.Context(), t.TempDir(), program.BuildOptions{Flags: append(BuildFlags(), flags...)})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Serve starts the provider for the running test, which ends it.
func Serve(t testing.TB, binary string, args ...string) *program.Provider {
	t.Helper()
	p, err := program.Serve(t.Context(), program.ServeOptions{Binary: binary, Args: args, Env: Environment()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}
