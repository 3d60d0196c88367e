// Package cli holds the specification of the ratify command: testdata/*.txtar, one script for each thing that a user
// does, run with the real program against a real registry that holds really signed images.
//
// Beside testscript's own commands the scripts have:
//
//	exits CODE PROGRAM ARGS…   run a program that must end with this exit code
//	expand FILE…               replace $VARIABLES in files
//	layout DIR NAME            copy an image of $HOST, with all that is attached to it, into an OCI layout
//	await                      wait until a program has asked $WAITING_HOST
//
// and the variables that newWorld sets.
package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestScripts(t *testing.T) {
	bin := filepath.Dir(programtest.Build(t, "-ldflags=-X main.version=v0.0.0-test"))
	w := newWorld(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, w.vars...)
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Vars = append(env.Vars, programtest.Environment()...)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "expand": expand, "layout": w.layout, "await": w.await,
		},
	})
}
