package matrix

import (
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestMatrix(t *testing.T) {
	report, err := Part().Run(t.Context(), promise.Env{
		Binary: programtest.Build(t, "-tags=grpcnotrace"), Dir: t.TempDir(), Quick: true, Seed: 1, Progress: func(what string) { t.Log(what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}
