// Package gotest runs tests of this repository and tells which passed and which failed.
package gotest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// maxLine bounds one event of go test: a line of a test's output.
const maxLine = 16 << 20

// A Result is what the tests did.
type Result struct {
	// Passed and Failed are the tests without subtests, by name, in the order in which they ended.
	Passed, Failed []string
	// Unended began and did not end: the process ended before.
	Unended []string
	// Output is what was printed, by tests and beside them.
	Output string

	ran, passed bool
	notBuilt    bool
}

// Run runs go test with arguments in a directory. An error says why no test ran; tests that fail are in the result.
func Run(ctx context.Context, dir string, args ...string) (Result, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1"}, args...)...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, runErr := command.Output()
	if ctx.Err() != nil {
		return Result{}, ctx.Err()
	}
	r := parse(out)
	r.passed = runErr == nil
	if r.notBuilt || !r.ran {
		return r, fmt.Errorf("go test %s: no test ran: %s", strings.Join(args, " "), complaint(r.Output+stderr.String()))
	}
	return r, nil
}

// OK tells whether all that began has passed.
func (r Result) OK() bool { return r.passed && len(r.Failed) == 0 && len(r.Unended) == 0 }

// parse reads the events of go test -json.
func parse(out []byte) Result {
	var r Result
	var output strings.Builder
	parents := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var event struct{ Action, Test, Output, FailedBuild string }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			continue // a line of a program that writes past the events
		}
		r.notBuilt = r.notBuilt || event.FailedBuild != ""
		output.WriteString(event.Output)
		if event.Test == "" {
			continue
		}
		switch event.Action {
		case "run":
			r.ran = true
			if i := strings.LastIndexByte(event.Test, '/'); i >= 0 {
				parents[event.Test[:i]] = true
			}
			r.Unended = append(r.Unended, event.Test)
		case "pass", "fail", "skip":
			r.end(event.Test, event.Action, parents[event.Test])
		}
	}
	r.Output = output.String()
	return r
}

func (r *Result) end(test, action string, isParent bool) {
	r.Unended = slices.DeleteFunc(r.Unended, func(name string) bool { return name == test })
	switch {
	case action == "pass" && !isParent:
		r.Passed = append(r.Passed, test)
	case action == "fail" && !slices.ContainsFunc(r.Failed, func(name string) bool { return strings.HasPrefix(name, test+"/") }):
		r.Failed = append(r.Failed, test) // a parent fails with its child, after it
	}
}

// complaint is the compiler's first line, or else the last of all.
func complaint(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, ".go:") }); i >= 0 {
		return lines[i]
	}
	return lines[len(lines)-1]
}
