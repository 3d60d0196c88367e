// Package notation verifies Notary Project signatures (specification 1.1): who signed an image, whether the operator's
// trust policy trusts them, and whether the signature still stands.
//
// It decides about one signature at a time. The cryptography, the envelopes' formats and the trust policy's rules are
// notation-go's; this package bounds what may reach it, gives it certificates that are read once, answers its questions
// about revocation from a cache, never lets an untrusted signature cause a request or a process, and says of each
// outcome which it is and what to do. What passed once is not verified twice under the same settings (Outcomes). Which
// signatures there are, and how many must be good, is not decided here.
// Begin at New and Verifier.Verify; Describe shows a signature without any trust decision.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// ArtifactType is the artifact type of a Notary Project signature.
const ArtifactType = "application/vnd.cncf.notary.signature"

// A Verifier verifies Notary Project signatures under one trust policy document. It is immutable and safe for concurrent
// use. It implements ratify.Verifier, ratify.Skipper and ratify.AbsenceJudge.
type Verifier struct {
	exact    map[string]*statement
	fallback *statement
	private  bool // responders and lists may be at private addresses
}

var (
	_ ratify.Verifier     = (*Verifier)(nil)
	_ ratify.Skipper      = (*Verifier)(nil)
	_ ratify.AbsenceJudge = (*Verifier)(nil)
)

// statement returns the trust policy statement for a repository: the one that names it, else the one for all, else nil.
func (v *Verifier) statement(repository string) *statement {
	if st, ok := v.exact[repository]; ok {
		return st
	}
	return v.fallback
}

// Match tells whether the descriptor is of a signature. One without an artifact type may be: indexes under a fallback tag
// and OCI layouts often do not repeat what the manifest says, and signatures older than OCI 1.1 say it in their config.
// What it is shows when it is read.
func (v *Verifier) Match(evidence ocispec.Descriptor) bool {
	return evidence.ArtifactType == ArtifactType ||
		evidence.ArtifactType == "" && evidence.MediaType == ocispec.MediaTypeImageManifest
}

// Skip tells whether the statement for the subject has the level skip.
func (v *Verifier) Skip(s ratify.Subject) bool {
	st := v.statement(s.Repository)
	return st != nil && st.skips()
}

// Absent passes a subject without signatures where the statement has the level audit and nothing is overridden to be
// enforced: audit enforces a signature's integrity if there is a signature, and logs everything else.
func (v *Verifier) Absent(s ratify.Subject) (ratify.Result, bool) {
	st := v.statement(s.Repository)
	if st == nil {
		return noStatement(s.Repository), true
	}
	if !st.audits() {
		return ratify.Result{}, false
	}
	return ratify.Result{
		Passed:     true,
		Code:       ratify.Audited,
		Message:    fmt.Sprintf("the image is not signed; the trust policy statement %s only audits", ratify.Quote(st.name)),
		Extensions: map[string]any{"statement": ratify.Truncate(st.name), "level": st.level},
	}, true
}

func noStatement(repository string) ratify.Result {
	return ratify.Result{Code: ratify.NoTrustPolicy, Message: "no trust policy statement applies to " + ratify.Quote(repository)}
}

// Verify reads one signature and verifies it for the subject.
func (v *Verifier) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	st := v.statement(repo.Name())
	switch {
	case st == nil:
		return noStatement(repo.Name()), nil
	case st.skips():
		return ratify.Result{Passed: true, Message: ratify.Skipped.Info().Message}, nil
	}
	ratify.Progress(ctx, "reading a signature")
	data, mediaType, err := readEnvelope(ctx, subject, evidence, repo)
	if err != nil {
		return ratify.Result{}, err
	}
	return st.verify(ctx, subject, data, mediaType)
}

// readEnvelope reads a signature's manifest and its only layer.
func readEnvelope(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) ([]byte, string, error) {
	manifest, err := ratify.ReadEvidence(ctx, repo, subject, evidence, 1, ArtifactType)
	if err != nil {
		return nil, "", err
	}
	layer := manifest.Layers[0]
	switch {
	case layer.MediaType != jws.MediaTypeEnvelope && layer.MediaType != cose.MediaTypeEnvelope:
		return nil, "", &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the evidence is malformed: its layer's media type is " + ratify.Quote(layer.MediaType)}
	case layer.Size > ratify.MaxEnvelopeBytes:
		return nil, "", tooLarge(layer.Size)
	}
	// Only what identifies the blob goes on: a layer's URLs and inline data are not for following.
	data, err := repo.Fetch(ctx, ocispec.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size})
	return data, layer.MediaType, err
}

// A statement is a trust policy statement, ready to verify with.
type statement struct {
	name     string
	level    string // as the policy names it, before overrides
	policy   trustpolicy.TrustPolicy
	enforced map[trustpolicy.ValidationType]trustpolicy.ValidationAction
	stores   anchors
	verifier notation.Verifier
	hasTSA   bool
	tsaRoots *x509.CertPool
	// check and stamps ask whether the certificates of a signature, or of its timestamp, are revoked.
	check, stamps *validator

	print    settingsPrint
	outcomes *Outcomes // nil remembers nothing
	observe  func(Work)
}

// anyReference satisfies the library's choice of a statement, which has been made already: the document that it gets has
// one statement, for all repositories.
const anyReference = "any/repository@sha256:any"

func newStatement(policy trustpolicy.TrustPolicy, stores anchors, cfg Config, deps Deps) (*statement, error) {
	level, err := policy.SignatureVerification.GetVerificationLevel()
	if err != nil {
		return nil, err
	}
	st := &statement{name: policy.Name, level: policy.SignatureVerification.VerificationLevel, policy: policy, enforced: level.Enforcement,
		stores: stores, tsaRoots: x509.NewCertPool(), outcomes: deps.Outcomes, observe: deps.Observe}
	if st.skips() {
		return st, nil
	}
	for _, name := range st.storesOf(truststore.TypeTSA) {
		st.hasTSA = true
		for _, cert := range stores[name] {
			st.tsaRoots.AddCert(cert)
		}
	}
	if st.print, err = printOf(policy, stores, cfg); err != nil {
		return nil, err
	}
	policy.RegistryScopes = []string{"*"}
	document := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{policy}}
	st.check = &validator{revocation: deps.Revocation, requireInfo: cfg.RequireRevocationInfo, allowPrivate: cfg.AllowPrivateRevocation}
	stamps := *st.check
	stamps.timestamping = true
	st.stamps = &stamps
	// No plugin manager: a plugin is a program, and a signature names it.
	st.verifier, err = verifier.NewWithOptions(document, stores, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator:  st.check,
		RevocationTimestampingValidator: st.stamps,
	})
	return st, err
}

// OperatorsAlone tells what of the settings is not for whoever only has a part of the repositories delegated to him:
// statements that admit unsigned images, and leave to make this program ask private addresses.
func (v *Verifier) OperatorsAlone() []string {
	var told []string
	if v.private {
		told = append(told, "allowPrivateRevocation: the certificates that are trusted here would choose which private addresses are asked")
	}
	for _, st := range v.statements() {
		if st.skips() || st.audits() {
			told = append(told, fmt.Sprintf("trustPolicy: statement %s: the level %s admits unsigned images", ratify.Quote(st.name), st.level))
		}
	}
	return told
}

// statements are all of them, each once, by name.
func (v *Verifier) statements() []*statement {
	byName := map[string]*statement{}
	for _, st := range v.exact {
		byName[st.name] = st
	}
	if v.fallback != nil {
		byName[v.fallback.name] = v.fallback
	}
	list := make([]*statement, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		list = append(list, byName[name])
	}
	return list
}

// Warnings tells what of the trust policy an operator may not have meant: statements that do not enforce everything.
func (v *Verifier) Warnings() []string {
	var warnings []string
	for _, st := range v.statements() {
		if warning := st.warning(); warning != "" {
			warnings = append(warnings, fmt.Sprintf("trust policy statement %s (level %s): %s", ratify.Quote(st.name), st.level, warning))
		}
	}
	return warnings
}

// TrustEnds is when the first of the certificates in the trust stores ends, for whoever watches over them; zero: there is none.
func (v *Verifier) TrustEnds() (end time.Time) {
	for _, st := range v.statements() {
		for _, certs := range st.stores {
			for _, cert := range certs {
				if end.IsZero() || cert.NotAfter.Before(end) {
					end = cert.NotAfter
				}
			}
		}
	}
	return end
}

func (st *statement) warning() string {
	if st.skips() {
		return "every image is admitted, signed or not"
	}
	var lax []string
	for _, kind := range trustpolicy.ValidationTypes {
		if !st.enforces(kind) {
			lax = append(lax, string(kind))
		}
	}
	switch {
	case st.audits():
		return "unsigned images are admitted; not enforced: " + strings.Join(lax, ", ")
	case len(lax) > 0:
		return "not enforced: " + strings.Join(lax, ", ")
	}
	return ""
}

func (st *statement) skips() bool { return st.level == trustpolicy.LevelSkip.Name }

func (st *statement) audits() bool {
	if st.level != trustpolicy.LevelAudit.Name {
		return false
	}
	for kind := range st.enforced {
		if kind != trustpolicy.TypeIntegrity && st.enforces(kind) {
			return false
		}
	}
	return true
}

func (st *statement) enforces(kind trustpolicy.ValidationType) bool {
	return st.enforced[kind] == trustpolicy.ActionEnforce
}

// verify verifies an envelope that was read for the subject, and of it what has to be.
func (st *statement) verify(ctx context.Context, subject ocispec.Descriptor, data []byte, mediaType string) (ratify.Result, error) {
	ratify.Progress(ctx, "verifying a signature")
	if result, ok := st.recall(ctx, subject, data, mediaType); ok {
		st.tell(VerifiedNothing)
		return result, nil
	}
	env, err := openEnvelope(data, mediaType)
	if err != nil {
		return ratify.Result{}, err
	}
	if result, ok := st.verifyKnown(ctx, subject, env); ok {
		st.tell(VerifiedSignature)
		return result, nil
	}
	st.tell(VerifiedAll)
	return st.verifyAll(ctx, subject, env)
}

func (st *statement) tell(work Work) {
	if st.observe != nil {
		st.observe(work)
	}
}

// verifyAll has the library verify everything.
func (st *statement) verifyAll(ctx context.Context, subject ocispec.Descriptor, env *envelope) (ratify.Result, error) {
	begun := time.Now()
	c := &call{anchored: st.anchor(env.scheme, env.chain) != nil}
	outcome, err := st.verifier.Verify(withCall(ctx, c), subject, env.data, notation.VerifierVerifyOptions{
		ArtifactReference:  anyReference,
		SignatureMediaType: env.mediaType,
	})
	if ended := ctx.Err(); ended != nil {
		return ratify.Result{}, ended
	}
	if outcome == nil {
		return ratify.Result{}, fmt.Errorf("verify signature under statement %q: %w", st.name, err)
	}
	j := &judgement{st: st, env: env, call: c, outcome: outcome, subject: subject}
	result, err := j.judge(ctx, err)
	if err == nil && result.Passed {
		j.remember(outcome.EnvelopeContent, begun, VerifiedAll)
	}
	return result, err
}

// payload is what a signature covers (specification, signature specification, payload).
type payload struct {
	TargetArtifact ocispec.Descriptor `json:"targetArtifact"`
}

func readPayload(content *signature.EnvelopeContent) (payload, error) {
	var p payload
	err := json.Unmarshal(content.Payload.Content, &p)
	return p, err
}
