package main

import "slices"

// All are the mutants.
func All() []Mutant {
	return slices.Concat(ofReferences(), ofEvidence(), ofDecisions(), ofProvider(), ofCache(), ofStores(), ofNotation(), ofSigstore(), ofConfiguration(), ofTemplate())
}
