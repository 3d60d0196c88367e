package template

import (
	"context"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/gotest"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

func TestQuick(t *testing.T) {
	report, err := Part().Run(context.Background(), promise.Env{Quick: true, Progress: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	report.Print(t.Output())
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

// TestJudge: a suite that did not run whole, or that failed, holds nothing.
func TestJudge(t *testing.T) {
	for name, r := range map[string]gotest.Result{
		"nothing ran":   {},
		"one failed":    {Failed: []string{shapesTest + "/default/no_items"}, Output: "20000 random answers"},
		"the end of it": {Unended: []string{randomTest}, Output: "20000 random answers"},
	} {
		if broken := judge(r, false).Broken(); len(broken) != 3 {
			t.Errorf("%s: only %v is broken", name, broken)
		}
	}
}
