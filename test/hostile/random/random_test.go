package random

import (
	"os"
	"strconv"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

// seedVariable names the seed of another run in the environment, worldsVariable how many worlds it has.
const (
	seedVariable   = "RANDOM_SEED"
	worldsVariable = "RANDOM_WORLDS"
)

func number(t *testing.T, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

func TestWorlds(t *testing.T) {
	report, err := Part().Run(t.Context(), promise.Env{
		Binary: binary(t), Dir: t.TempDir(), Quick: true,
		Seed: number(t, seedVariable, 1), Worlds: int(number(t, worldsVariable, 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range report.Tables {
		t.Log(table.Title)
		for _, row := range table.Rows {
			t.Log(row)
		}
	}
	for _, result := range report.Results {
		t.Log(result)
	}
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
}

func binary(t *testing.T) string {
	t.Helper()
	if os.Getenv("RANDOM_IN_PROCESS") != "" {
		return ""
	}
	return programtest.Build(t)
}
