package sbom

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/document"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
)

// Config is what an operator writes. Without a rule every bill of materials passes that somebody who is trusted vouches
// for: then it only has to be there, and to be readable.
type Config struct {
	// Source says whose attestations are believed. Where it is empty, the verifier needs signedBy.
	document.Source
	Licenses Licenses `json:"licenses,omitzero"`
	Packages Packages `json:"packages,omitzero"`
	// MaxAge is how old a document may be, by the time that it gives itself (creationInfo.created, metadata.timestamp). One
	// that gives none is refused then. Unset: any age.
	MaxAge config.Duration `json:"maxAge,omitempty"`
}

// Licenses are rules about licences. A package passes if its licence expression leaves a choice that they accept. Entries
// are identifiers of the SPDX License List or LicenseRef-, alone or WITH an exception, in any case; an -or-later or + means
// all later versions of the list, too.
type Licenses struct {
	// Disallowed licences are not accepted. One without an exception is disallowed with any exception, unless Allowed names
	// it with that exception.
	Disallowed []string `json:"disallowed,omitempty"`
	// Allowed, where it has entries, are the only licences that are accepted. One without an exception is allowed with any.
	Allowed []string `json:"allowed,omitempty"`
	// Unknown says what to do with a package whose licence nobody knows: NOASSERTION, NONE, nothing at all, text that is no
	// SPDX expression, and identifiers that are neither in the list nor in one of the rules. It is refuse or allow. Unset is
	// refuse: what is not known cannot be told from what is disallowed.
	Unknown string `json:"unknown,omitempty"`
}

// The values of Licenses.Unknown.
const (
	unknownAllow  = "allow"
	unknownRefuse = "refuse"
)

// Packages are rules about packages.
type Packages struct {
	// Disallowed packages must not be listed. At most 1,000.
	Disallowed []Package `json:"disallowed,omitempty"`
}

// A Package is one, or all whose name begins the same, in some versions or in all.
type Package struct {
	// Name is the package's name, with or without its group (log4j-core, @angular/core, org.apache.logging.log4j:log4j-core),
	// without regard to case. A * at the end stands for any end.
	Name string `json:"name,omitempty"`
	// PURL is a package URL without version, qualifiers and subpath: pkg:maven/org.apache.logging.log4j/log4j-core. A * at
	// the end stands for any end.
	PURL string `json:"purl,omitempty"`
	// Versions is a range of semantic versions: ">=2.0 <2.17.1", with "||" between alternatives. Unset is all. A version that
	// cannot be compared with it counts as in it. Of the packages of a distribution (deb, rpm, apk, alpm) the upstream
	// version is compared.
	Versions string `json:"versions,omitempty"`
}

// Deps are what a Verifier shares with the rest of the process.
type Deps struct {
	// Files reads keys and trusted roots, and remembers what it read; nil reads them all the same.
	Files *files.Set
	// Shared is what all verifiers of signatures share: memory, and what was verified before; nil is one of its own.
	Shared *sigstore.Shared
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// New builds a verifier. All that is wrong with the configuration is in the error, one line each, with its place.
func New(cfg Config, deps Deps) (*Verifier, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	reader, err := document.NewReader(cfg.Source, deps.Files, deps.Shared, kinds()...)
	problems := []error{err}
	rules := rules{maxAge: time.Duration(cfg.MaxAge)}
	var wrong []error
	rules.licenses, wrong = cfg.Licenses.build()
	problems = append(problems, wrong...)
	rules.packages, wrong = cfg.Packages.build()
	problems = append(problems, wrong...)
	if cfg.MaxAge < 0 {
		problems = append(problems, fmt.Errorf("maxAge: expected a positive duration, got %s", time.Duration(cfg.MaxAge)))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &Verifier{reader: reader, rules: rules, now: deps.Now}, nil
}

// rules are a configuration, ready to judge with.
type rules struct {
	licenses licenseRules
	packages packageRules
	maxAge   time.Duration // 0 is any
}

// The kinds, as messages name them.
const (
	spdxKind      = "SPDX 2.3 JSON"
	cycloneDXKind = "CycloneDX JSON"
)

// kinds are the documents that the package reads, under the types by which tools attach and attest them.
func kinds() []document.Kind {
	bom := []string{"https://cyclonedx.org/bom", "https://cyclonedx.org/schema"} // the latter is what cosign 1 wrote
	for _, version := range cycloneDXVersions() {
		bom = append(bom, "https://cyclonedx.org/bom/v"+version)
	}
	return []document.Kind{
		{Name: spdxKind, ArtifactTypes: []string{"application/spdx+json", "text/spdx+json"}, PredicateTypes: []string{"https://spdx.dev/Document", "https://spdx.dev/Document/v2.3"}},
		{Name: cycloneDXKind, ArtifactTypes: []string{"application/vnd.cyclonedx+json"}, PredicateTypes: slices.Clip(bom)},
	}
}

// Warnings tells what of the settings an operator may not have meant.
func (v *Verifier) Warnings() []string {
	if v.rules.licenses.any() || v.rules.packages.any() || v.rules.maxAge > 0 {
		return v.reader.Warnings(v.rules.maxAge)
	}
	return []string{"no licences, packages or maxAge: whatever a bill of materials lists, it passes"}
}
