package program

import (
	"debug/buildinfo"
	"os"
	"testing"
)

// The budgets of the command as it is shipped, stripped: nodes pull its bytes, and people review its modules before they let
// it in. Both are a little above what it takes to verify by keys and by identities, so that nothing large comes in unnoticed.
const (
	maxBinaryBytes   = 30_000_000
	maxLinkedModules = 140
)

func TestBudget(t *testing.T) {
	t.Setenv("CGO_ENABLED", "0")
	t.Setenv("GOOS", "linux")
	path, err := Build(t.Context(), t.TempDir(), BuildOptions{Flags: []string{"-trimpath", "-tags=grpcnotrace", "-ldflags=-s -w"}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	built, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d modules beside its own", info.Size(), len(built.Deps))
	if info.Size() >= maxBinaryBytes {
		t.Errorf("the command has %d bytes, its budget is below %d", info.Size(), maxBinaryBytes)
	}
	if len(built.Deps) >= maxLinkedModules {
		t.Errorf("the command links %d modules, its budget is below %d", len(built.Deps), maxLinkedModules)
	}
}
