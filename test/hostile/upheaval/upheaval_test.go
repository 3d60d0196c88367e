package upheaval

import (
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestUpheaval(t *testing.T) {
	report, err := Part().Run(t.Context(), promise.Env{
		Binary: programtest.Build(t, "-tags=grpcnotrace"), Dir: t.TempDir(), Quick: true, Progress: func(what string) { t.Log(what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range report.Tables {
		t.Log(table.Title)
		for _, row := range append([][]string{table.Columns}, table.Rows...) {
			t.Logf("%q", row)
		}
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}
