package matrix

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestMatrix(t *testing.T) {
	env := promise.Env{Binary: programtest.Build(t, "-tags=grpcnotrace"), Dir: t.TempDir(), Quick: os.Getenv("MATRIX_FULL") == "", Seed: 1, Progress: func(what string) { t.Log(time.Now().Format(time.TimeOnly), what) }}
	report, err := Part().Run(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range report.Tables {
		t.Log(table.Title)
		for _, row := range table.Rows {
			t.Log(strings.Join(row, " | "))
		}
		t.Log(strings.Join(table.Notes, "\n"))
	}
	for _, r := range report.Results {
		t.Logf("%+v", r)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}
