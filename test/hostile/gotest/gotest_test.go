package gotest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func module(t *testing.T, test string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.org/x\n\ngo 1.26\n", "x_test.go": "package x\n\nimport (\"os\"; \"testing\")\n\nvar _ = os.Exit\n" + test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRun(t *testing.T) {
	dir := module(t, `
func TestGood(t *testing.T) { t.Log("some words") }
func TestParts(t *testing.T) {
	t.Run("a", func(t *testing.T) {})
	t.Run("b", func(t *testing.T) { t.Error("no") })
}
func TestZ(t *testing.T) { if os.Getenv("X_END") != "" { os.Exit(3) } }
`)
	r, err := Run(context.Background(), dir, "-v", ".")
	if err != nil || r.OK() || !slices.Equal(r.Passed, []string{"TestGood", "TestParts/a", "TestZ"}) || !slices.Equal(r.Failed, []string{"TestParts/b"}) || !strings.Contains(r.Output, "some words") {
		t.Errorf("%v: %+v", err, r)
	}
	if r, err := Run(context.Background(), dir, "-run", "TestGood", "."); err != nil || !r.OK() {
		t.Errorf("%v: %+v", err, r)
	}
	t.Setenv("X_END", "1")
	if r, err := Run(context.Background(), dir, "-run", "TestZ", "."); err != nil || r.OK() || !slices.Equal(r.Unended, []string{"TestZ"}) {
		t.Errorf("%v: %+v", err, r)
	}
}

func TestNothingRan(t *testing.T) {
	for name, test := range map[string]string{"does not build": "func TestX(t *testing.T) { no }", "has no test": "func helper() {}"} {
		if r, err := Run(context.Background(), module(t, test), "."); err == nil {
			t.Errorf("what %s gives %+v", name, r)
		} else if strings.Contains(name, "build") && !strings.Contains(err.Error(), "undefined: no") {
			t.Errorf("what %s gives %v", name, err)
		}
	}
}
