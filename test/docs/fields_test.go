package docs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ratify-provider/ratify/test/program"
)

func readDoc(t *testing.T, name string) []byte {
	t.Helper()
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(root, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
