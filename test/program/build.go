// Package program builds the product's command and runs its provider as a child process, for whoever shows or tests it
// as it is shipped. It knows neither the fixture nor package testing, so that what uses it stays quick to build; tests
// begin at package programtest, others at Build and Serve.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Name is the command's.
const Name = "ratify"

// module is the module that holds the command.
const module = "github.com/ratify-provider/ratify"

// binaryVariable names a finished command in the environment: a release is tested as it is shipped.
const binaryVariable = "RATIFY_BINARY"

// Root returns the main module's directory: the working directory, or the nearest one above it that is.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		data, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module "+module+"\n") {
			return at, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("look for the repository: %w", err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no directory above %s holds the module %s: run this inside the repository", dir, module)
		}
	}
}

// BuildOptions change how the command is built.
type BuildOptions struct {
	// Flags are further arguments of go build.
	Flags []string
	// Output is where the words of the toolchain go as they come, of downloads say. Nil: the error holds them.
	Output io.Writer
}

// Build builds the command of the module that the working directory is in, or links the finished one that RATIFY_BINARY
// names, into the directory, and returns its path there: DIR/ratify.
func Build(ctx context.Context, dir string, options BuildOptions) (string, error) {
	path, err := filepath.Abs(filepath.Join(dir, Name))
	if err != nil {
		return "", err
	}
	if finished := os.Getenv(binaryVariable); finished != "" {
		if finished, err = filepath.Abs(finished); err != nil {
			return "", err
		}
		if _, err := os.Stat(finished); err != nil {
			return "", fmt.Errorf("take the command that %s names: %w", binaryVariable, err)
		}
		return path, os.Symlink(finished, path)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", path}, options.Flags...), "./cmd/"+Name)...)
	command.Dir = root
	var words bytes.Buffer
	command.Stdout, command.Stderr = &words, &words
	if options.Output != nil {
		command.Stdout, command.Stderr = options.Output, options.Output
	}
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // killed is how it ended, not why
		}
		return "", fmt.Errorf("build the command: %w\n%s", err, bytes.TrimSpace(words.Bytes()))
	}
	return path, nil
}
