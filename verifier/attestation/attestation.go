// Package attestation verifies that somebody who is trusted attests something about an image: that an in-toto statement of
// the required predicate type is about it, and, where it is SLSA provenance, that the image was built as the rules say.
//
// Who is trusted, and reading the statement, is internal/document's. What a predicate of another type says is not judged
// here: it is shown to the policy's rule. Begin at New and Verifier.Verify.
package attestation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/document"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
)

// Config is what an operator writes.
type Config struct {
	document.Source
	// PredicateType is the predicate type that is required, exactly, such as https://slsa.dev/provenance/v1; PredicateTypes
	// are several, of which one is enough. One of both.
	PredicateType  string   `json:"predicateType,omitempty"`
	PredicateTypes []string `json:"predicateTypes,omitempty"`
	// Provenance says how the image must have been built. All predicate types must be SLSA provenance then.
	Provenance *Provenance `json:"provenance,omitempty"`
	// MaxAge refuses what was made longer ago. When that was is told by the provenance itself (finishedOn of v1,
	// buildFinishedOn of v0.2), which its signer answers for, and by a signature of an identity, whose certificate is good
	// for minutes; of both, the earlier counts. A timestamp beside a signature by a key says nothing about it: who has the
	// signature can have it stamped again any day. What has no time is refused. Unset: any age.
	MaxAge config.Duration `json:"maxAge,omitempty"`
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

// A Verifier verifies attestations. It is immutable and safe for concurrent use. It implements ratify.DocumentVerifier and
// ratify.Finder.
type Verifier struct {
	reader *document.Reader
	rules  *rules // nil: none
	maxAge time.Duration
	dated  bool // something tells when an attestation was made, so that maxAge can be set
	now    func() time.Time
}

var (
	_ ratify.DocumentVerifier = (*Verifier)(nil)
	_ ratify.Finder           = (*Verifier)(nil)
	_ ratify.PredicateSeeker  = (*Verifier)(nil)
	_ ratify.Advisor          = (*Verifier)(nil)
)

// New builds a verifier. All that is wrong with the configuration is in the error, one line each, with its place.
func New(cfg Config, deps Deps) (*Verifier, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	v := &Verifier{maxAge: time.Duration(cfg.MaxAge), now: deps.Now}
	types, problems := cfg.types()
	problems = append(problems, cfg.check(types)...)
	v.dated = len(cfg.Identities) > 0 || !slices.ContainsFunc(types, isOther)
	if cfg.Provenance != nil {
		var wrong []error
		v.rules, wrong = newRules(*cfg.Provenance)
		problems = append(problems, wrong...)
	}
	reader, err := document.NewReader(cfg.Source, deps.Files, deps.Shared, document.Kind{Name: "attestation", PredicateTypes: types})
	if err := errors.Join(append(problems, err)...); err != nil {
		return nil, err
	}
	v.reader = reader
	return v, nil
}

// maxTypes bounds the predicate types of one verifier: nobody has as many, and messages name them.
const maxTypes = 20

// types returns the predicate types that are required.
func (cfg Config) types() (types []string, problems []error) {
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	switch {
	case cfg.PredicateType == "" && len(cfg.PredicateTypes) == 0:
		fail("predicateType: it is required: the type URI of the predicate, such as %s", slsaV1)
	case cfg.PredicateType != "" && len(cfg.PredicateTypes) > 0:
		fail("predicateType and predicateTypes: it has both, give one")
	case cfg.PredicateType != "":
		if err := checkType(cfg.PredicateType); err != nil {
			fail("predicateType: %w", err)
		}
		return []string{cfg.PredicateType}, problems
	case len(cfg.PredicateTypes) > maxTypes:
		fail("predicateTypes: there are %d, at most %d", len(cfg.PredicateTypes), maxTypes)
	}
	for i, t := range cfg.PredicateTypes {
		err := checkType(t)
		if err == nil && slices.Contains(types, t) {
			err = fmt.Errorf("%s is there twice", ratify.Quote(t))
		}
		if err != nil {
			fail("predicateTypes[%d]: %w", i, err)
		}
		types = append(types, t)
	}
	return types, problems
}

// shortNames are what cosign attest --type takes instead of a predicate type.
var shortNames = map[string]string{
	"slsaprovenance": slsaV02, "slsaprovenance02": slsaV02, "slsaprovenance1": slsaV1,
	"link": "https://in-toto.io/Link/v1", "spdx": "https://spdx.dev/Document", "spdxjson": "https://spdx.dev/Document",
	"cyclonedx": "https://cyclonedx.org/bom", "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
	"openvex": "https://openvex.dev/ns", "custom": "https://cosign.sigstore.dev/attestation/v1",
}

// checkType refuses what no statement has: a predicate type is a URI (in-toto attestation framework, TypeURI).
func checkType(predicateType string) error {
	if full, ok := shortNames[predicateType]; ok {
		return fmt.Errorf("%s is a short name of cosign's, write %s", ratify.Quote(predicateType), full)
	}
	parsed, err := url.Parse(predicateType)
	if err != nil || parsed.Scheme == "" || strings.ContainsAny(predicateType, " \t\r\n") {
		return fmt.Errorf("%s is no URI, such as %s", ratify.Quote(predicateType), slsaV1)
	}
	return nil
}

// check tells what of the settings contradicts another.
func (cfg Config) check(types []string) (problems []error) {
	other := slices.IndexFunc(types, isOther)
	if cfg.Provenance != nil && other >= 0 {
		problems = append(problems, fmt.Errorf("provenance: %s is not SLSA provenance, %s or %s", ratify.Quote(types[other]), slsaV1, slsaV02))
	}
	switch {
	case cfg.MaxAge < 0:
		problems = append(problems, fmt.Errorf("maxAge: %s is less than no time", time.Duration(cfg.MaxAge)))
	case cfg.MaxAge > 0 && other >= 0 && len(cfg.Identities) == 0:
		problems = append(problems, fmt.Errorf("maxAge: nothing tells when an attestation of %s was made, only SLSA provenance and signatures of identities do", ratify.Quote(types[other])))
	}
	return problems
}

func isOther(predicateType string) bool { return !isProvenance(predicateType) }

// Warnings tells what of the settings an operator may not have meant.
func (v *Verifier) Warnings() []string {
	if !v.dated {
		return nil // there is nothing to be done about it
	}
	return v.reader.Warnings(v.maxAge)
}

// Match tells whether the descriptor may be of an attestation.
func (v *Verifier) Match(evidence ocispec.Descriptor) bool { return v.reader.Match(evidence) }

// Find returns the attestations under cosign's tag, if the settings ask for them.
func (v *Verifier) Find(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return v.reader.Find(ctx, subject, repo)
}

// Missing says what to do where there is none.
func (v *Verifier) Missing() string { return v.reader.Missing("the required predicate") }

// PredicateTypes are those of the attestations that are taken.
func (v *Verifier) PredicateTypes() []string { return v.reader.PredicateTypes() }

// Documents says that one good attestation is enough: each is somebody's signature under what they know about this very
// digest, and a further one, of a rebuild or of another tool, takes nothing of that back.
func (v *Verifier) Documents() (pieces ratify.Pieces, proves bool) {
	return ratify.PiecesAny, v.reader.Proves()
}

// Verify reads one attestation and judges what it says.
func (v *Verifier) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	doc, refusal, err := v.reader.Read(ctx, subject, evidence, repo)
	switch {
	case err != nil:
		return ratify.Result{}, err
	case refusal != nil:
		return *refusal, nil
	}
	return v.judge(doc), nil
}

// judge judges a document whose maker is proven: what is wrong with it is a refusal that counts.
func (v *Verifier) judge(doc *document.Document) ratify.Result {
	result := ratify.Result{Made: doc.Made, Extensions: maps.Clone(doc.Signer)}
	if result.Extensions == nil {
		result.Extensions = map[string]any{}
	}
	result.Extensions["predicateType"] = ratify.Truncate(doc.Type)
	if predicate, ok := showPredicate(doc.Data); ok {
		result.Claims = map[string]any{"predicate": predicate}
	}
	if !isProvenance(doc.Type) {
		return v.judgeAge(result)
	}
	b, problem := readBuild(doc.Type, doc.Data)
	if problem != nil {
		result.Code, result.Message = problem.Code, problem.Message
		return result
	}
	b.describe(result.Extensions)
	if result.Made.IsZero() || !b.finished.IsZero() && b.finished.Before(result.Made) {
		result.Made = b.finished
	}
	if v.rules == nil {
		return v.judgeAge(result)
	}
	if wrong := v.rules.check(b); len(wrong) > 0 {
		result.Code = ratify.ProvenanceMismatch
		result.Message = "the provenance is not the required one: " + strings.Join(wrong, "; ")
		return result
	}
	return v.judgeAge(result)
}

func (b *build) describe(facts map[string]any) {
	for name, value := range map[string]string{"builder": b.builder, "buildType": b.buildType} {
		if value != "" {
			facts[name] = ratify.Truncate(value)
		}
	}
	if len(b.sources) > 0 {
		sources := make([]string, len(b.sources))
		for i, source := range b.sources {
			sources[i] = ratify.Truncate(source)
		}
		facts["sources"] = sources
	}
	if !b.finished.IsZero() {
		facts["finishedOn"] = b.finished.UTC().Format(time.RFC3339)
	}
}

func (v *Verifier) judgeAge(result ratify.Result) ratify.Result {
	age := v.now().Sub(result.Made)
	switch {
	case result.Made.IsZero() && v.maxAge > 0:
		result.Code = ratify.EvidenceTooOld
		result.Message = fmt.Sprintf("nothing tells when the attestation was made, allowed is an age of %s", v.maxAge)
	case result.Made.IsZero():
		result.Passed = true
	case age < -document.MaxSkew:
		// It would stay the newest until then.
		result.Code = ratify.EvidenceInvalid
		result.Message = fmt.Sprintf("the attestation says that it was made in the future, at %s", result.Made.UTC().Format(time.RFC3339))
	case v.maxAge == 0:
		result.Passed = true
	case age >= v.maxAge:
		result.Code = ratify.EvidenceTooOld
		result.Message = fmt.Sprintf("the attestation is %s old, of %s, allowed is an age of %s", age.Round(time.Second), result.Made.UTC().Format(time.RFC3339), v.maxAge)
	default:
		result.Passed, result.NotAfter = true, result.Made.Add(v.maxAge)
	}
	return result
}
