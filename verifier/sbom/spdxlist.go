package sbom

import (
	_ "embed" // for the list
	"slices"
	"strconv"
	"strings"
)

// identifierList holds the identifiers of the SPDX License List, version 3.29, deprecated ones included, one a line. Those
// that end in + are left out: that is an operator, which the grammar has of its own.
//
//go:embed licenses.txt
var identifierList string

// A licenseList knows identifiers, in lower case, for they are compared without regard to case (SPDX 2.3, annex D.2).
type licenseList struct {
	// known are all identifiers, as keys that simple makes of them.
	known map[string]bool
	// families are the versions of licences that differ in their version alone, in ascending order.
	families map[string][]string
	// names are the identifiers as they are written.
	names []string
}

func newLicenseList() *licenseList {
	l := &licenseList{known: map[string]bool{}, families: map[string][]string{}}
	for name := range strings.FieldsSeq(identifierList) {
		l.names = append(l.names, name)
		key := simple(name).id
		if l.known[key] {
			continue
		}
		l.known[key] = true
		if family, _, ok := splitVersion(key); ok {
			l.families[family] = append(l.families[family], key)
		}
	}
	for _, versions := range l.families {
		slices.SortFunc(versions, func(a, b string) int {
			_, x, _ := splitVersion(a)
			_, y, _ := splitVersion(b)
			return slices.Compare(x, y)
		})
	}
	return l
}

// later returns the versions of the same licence that are later than the one given.
func (l *licenseList) later(id string) []string {
	family, _, ok := splitVersion(id)
	if !ok {
		return nil
	}
	versions := l.families[family]
	if i := slices.Index(versions, id); i >= 0 {
		return versions[i+1:]
	}
	return nil
}

// splitVersion tells family and version of an identifier: gpl and 2.0, but also gfdl-invariants and 1.2. Licences that
// have a number and more words after it are no family: BSD-3-Clause is no later BSD-2-Clause.
func splitVersion(id string) (family string, version []int, ok bool) {
	words := strings.Split(id, "-")
	at := len(words) - 1
	if words[0] == "gfdl" {
		at = min(1, at)
	}
	if at == 0 {
		return "", nil, false
	}
	for part := range strings.SplitSeq(words[at], ".") {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return "", nil, false
		}
		version = append(version, int(n))
	}
	return strings.Join(slices.Delete(words, at, at+1), "-"), version, true
}
