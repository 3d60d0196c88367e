package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ratify-provider/ratify/test/program"
)

// minMutants is how many there are at least, and minOfClass of each class: one flaw is a coincidence.
const (
	minMutants = 180
	minOfClass = 2
)

// TestMutantsApply: code that changes takes its mutants along, or the list would shrink in silence.
func TestMutantsApply(t *testing.T) {
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	faults, classes := map[string]bool{}, map[Class]int{}
	for _, m := range All() {
		if faults[m.Fault] {
			t.Errorf("two mutants are named %q", m.Fault)
		}
		faults[m.Fault] = true
		classes[m.Class]++
		whole, err := os.ReadFile(filepath.Join(root, m.File))
		if err == nil {
			err = m.check(whole)
		}
		if err != nil {
			t.Errorf("%s: %v", m.Fault, err)
		}
	}
	for _, class := range Classes() {
		if classes[class] < minOfClass {
			t.Errorf("%d mutants are of the class %q, at least %d", classes[class], class, minOfClass)
		}
		delete(classes, class)
	}
	if len(classes) > 0 || len(faults) < minMutants {
		t.Errorf("%d mutants, at least %d; of no known class: %v", len(faults), minMutants, classes)
	}
}
