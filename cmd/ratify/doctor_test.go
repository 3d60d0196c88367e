package main

import (
	"strings"
	"testing"
)

// TestManualNamesEveryCheck: docs/command.md has each check of ratify doctor.
func TestManualNamesEveryCheck(t *testing.T) {
	page := readDoc(t, "command.md")
	for _, name := range doctorChecks() {
		if !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("the manual lacks the check %s", name)
		}
	}
}
