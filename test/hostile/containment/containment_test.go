package containment

import (
	"errors"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestContainment(t *testing.T) {
	env := promise.Env{Binary: programtest.Build(t), Dir: t.TempDir(), Quick: true, Progress: func(what string) { t.Log(what) }}
	report, err := Part().Run(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range report.Results {
		t.Logf("%s: %s: %s (bound %s)", result.Promise, result.What, result.Got, result.Bound)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if len(report.Tables) != 1 || len(report.Tables[0].Rows) < 20 {
		t.Errorf("%d rows", len(report.Tables[0].Rows))
	}
}

// Where the system gives no cell the part runs on the loopback interface, and says what is missing.
func TestWithoutACell(t *testing.T) {
	env := promise.Env{Binary: programtest.Build(t), Dir: t.TempDir(), Quick: true}
	report, err := run(t.Context(), env, false, errors.Join(lab.ErrNoCell))
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if len(report.Tables[0].Notes) != 2 {
		t.Errorf("the table does not say what was not run: %q", report.Tables[0].Notes)
	}
}
