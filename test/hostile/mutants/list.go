package main

import "slices"

// All are the mutants.
func All() []Mutant {
	return slices.Concat(ofReferences(), ofEvidence(), ofDecisions(), ofProvider(), ofLastKnownGood(), ofCache(), ofMemory(), ofStores(), ofCredentials(), ofBreaker(), ofNotation(), ofSigstore(), ofConfiguration(), ofTemplate(), ofInstallation())
}
