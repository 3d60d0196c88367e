package lab_test

import (
	"errors"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

func TestACell(t *testing.T) {
	report, err := lab.RunCell(t.Context(), promise.Env{Dir: t.TempDir()}, "./hostile/lab/celltest")
	if errors.Is(err, lab.ErrNoCell) {
		t.Logf("NOT TRIED: %v", err)
		return
	}
	check(t, err)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if len(report.Results) != 10 {
		t.Errorf("%d results", len(report.Results))
	}
}
