// Command mutants puts faults into the program, one at a time, and shows that the tests see each: a test that passes with its
// guard taken away guards nothing. The list is in the files list_*.go; begin there, and at Mutant.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// A Class is a sort of flaw that programs of this kind have had, with the advisories that tell of it.
type Class string

// The classes.
const (
	OtherThingRun    Class = "verify one thing, run another (CVE-2022-47633, CVE-2023-47630, CVE-2023-33959, GHSA-wfqx-gjrf-g28r, GHSA-2r43-6962-xcw5)"
	NotBound         Class = "evidence not bound to the subject (CVE-2022-36056, CVE-2022-23649, CVE-2026-22703, CVE-2026-49834)"
	OtherKind        Class = "right kind of evidence missing, another kind accepted (CVE-2022-35929, CVE-2022-35930)"
	ErrorIsPass      Class = "error, panic or missing field taken for a pass (CVE-2025-46342, CVE-2026-44310, CVE-2026-39395, CVE-2026-35205)"
	NotEnforced      Class = "configuration read but not enforced (CVE-2025-29778)"
	CredentialLeak   Class = "credentials to a host that the registry chose (CVE-2025-27403, CVE-2026-48978, CVE-2026-50151, CVE-2026-33540, CVE-2026-49349)"
	Endless          Class = "endless pages, signatures, payloads, chains (CVE-2023-33957, CVE-2023-33958, CVE-2024-29902, CVE-2024-29903, CVE-2023-42813 to 42816)"
	BadSize          Class = "descriptor size that allocates or panics (GHSA-f36w, CVE-2023-25656)"
	Expired          Class = "expired link in a chain, rollback, revoked key (CVE-2026-24122, CVE-2024-23332, CVE-2024-56138)"
	ContainerMissed  Class = "containers not looked at (CVE-2023-2727, CVE-2023-34091)"
	TwoReadings      Class = "one manifest, two readings (CVE-2021-41190)"
	ProtocolBroken   Class = "an answer that Gatekeeper takes for another"
	CacheOutlives    Class = "a verdict that outlives what it rests on"
	DialedElsewhere  Class = "an address dialled that nobody configured"
	StrangerDecides  Class = "what a stranger attaches decides"
	SecretShown      Class = "a secret or another's text in logs, metrics, messages"
	WorkWithoutBound Class = "work, memory or time without a bound"
)

// Classes are all of them, in the order of the list.
func Classes() []Class {
	return []Class{OtherThingRun, NotBound, OtherKind, ErrorIsPass, NotEnforced, CredentialLeak, Endless, BadSize, Expired, ContainerMissed, TwoReadings,
		ProtocolBroken, CacheOutlives, DialedElsewhere, StrangerDecides, SecretShown, WorkWithoutBound}
}

// A Mutant is one fault.
type Mutant struct {
	// Fault says what is wrong then, in a few words; it is the mutant's name.
	Fault string
	Class Class
	// File is where, relative to the repository's root; Old stands there once, and New takes its place.
	File, Old, New string
	// Package is whose tests must see it, such as ./provider, or test/library for a package of the module test. Run names those
	// tests, as for go test; empty: it may be any of the package, where all are quick and depend on no clock.
	Package, Run string
}

// apply writes the fault into the tree, and says how to take it out again.
func (m Mutant) apply(root string) (undo func() error, err error) {
	name := filepath.Join(root, m.File)
	whole, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := m.check(whole); err != nil {
		return nil, err
	}
	undo = func() error { return os.WriteFile(name, whole, 0o600) }
	return undo, os.WriteFile(name, bytes.Replace(whole, []byte(m.Old), []byte(m.New), 1), 0o600)
}

// check tells whether the fault can be put into the file.
func (m Mutant) check(whole []byte) error {
	switch n := bytes.Count(whole, []byte(m.Old)); {
	case m.Old == "" || m.Old == m.New:
		return errors.New("it changes nothing")
	case n != 1:
		return fmt.Errorf("%s has the text %q %d times, and must have it once: the code has changed, and the mutant must follow", m.File, m.Old, n)
	}
	return nil
}
