package notation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	nx509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/netguard"
)

// unknownLife is how long a result may be kept whose revocation could not be told and need not be: long enough to spare
// a responder that is down, short enough that a revocation shows soon after it is back.
const unknownLife = time.Minute

// A judgement turns what the library found in one signature into a result. The library tells its reasons in words; they
// are decided here from what failed and from the envelope itself.
type judgement struct {
	st      *statement
	env     *envelope
	call    *call
	outcome *notation.VerificationOutcome
	subject ocispec.Descriptor
	stamp   *stamp           // the timestamp, once it is verified
	name    string           // the signer's, once it is spelled
	logged  []map[string]any // checks that failed, and are not enforced
}

// A finding is a check that failed.
type finding struct {
	code            ratify.Code
	message, remedy string
}

func (j *judgement) judge(ctx context.Context, failure error) (ratify.Result, error) {
	content := j.outcome.EnvelopeContent
	if content == nil {
		return j.refuse(j.integrity(failure)), nil
	}
	if f, ok := needsPlugin(content.SignerInfo.SignedAttributes.ExtendedAttributes); ok {
		return j.refuse(f), nil
	}
	done := map[trustpolicy.ValidationType]bool{}
	for _, check := range j.outcome.VerificationResults {
		done[check.Type] = true
		if check.Error == nil {
			continue
		}
		f := j.explain(check, content)
		if check.Action != trustpolicy.ActionLog {
			if !f.code.Definitive() {
				return ratify.Result{}, &ratify.Error{Code: f.code, Message: f.message, Remedy: f.remedy, Err: check.Error}
			}
			return j.refuse(f), nil
		}
		j.logged = append(j.logged, map[string]any{"check": string(check.Type), "code": string(f.code), "reason": f.message})
	}
	if f, ok := j.target(content); !ok {
		return j.refuse(f), nil
	}
	// Nothing passes on the absence of complaints: each check must have been made.
	for kind, action := range j.st.enforced {
		if !done[kind] && action != trustpolicy.ActionSkip {
			failure = errors.Join(failure, fmt.Errorf("%s was not checked", kind))
		}
	}
	if failure != nil || j.outcome.Error != nil {
		return j.refuse(finding{code: ratify.SignatureInvalid, message: "the signature does not verify: " + ratify.Quote(errors.Join(failure, j.outcome.Error).Error())}), nil
	}
	return j.pass(ctx, content), nil
}

func (j *judgement) refuse(f finding) ratify.Result {
	return ratify.Result{Code: f.code, Message: f.message, Remedy: f.remedy, FreshUntil: j.call.freshUntil(), Extensions: j.facts()}
}

func (j *judgement) pass(ctx context.Context, content *signature.EnvelopeContent) ratify.Result {
	stamped, stampErr := j.timestamp(ctx, content)
	result := ratify.Result{Passed: true, NotAfter: j.end(content, stampErr == nil), Extensions: j.facts()}
	if stampErr == nil {
		result.Extensions["timestamp"] = timeText(stamped.at)
	}
	result.FreshUntil = j.call.freshUntil()
	if _, wrong := worst(slices.Concat(j.call.signing, j.call.tsa)); wrong && j.call.anchored {
		result.FreshUntil = earliest(result.FreshUntil, time.Now().Add(unknownLife))
	}
	result.Message = "signed by " + ratify.Quote(j.signer())
	if len(j.logged) > 0 {
		result.Code = ratify.Audited
		kinds := make([]string, len(j.logged))
		for i, l := range j.logged {
			kinds[i] = l["check"].(string)
		}
		result.Message += fmt.Sprintf("; failed, but only logged at level %s: %s", j.st.level, strings.Join(kinds, ", "))
	}
	return result
}

// signer is the name of the leaf, of whatever length and made of whatever.
func (j *judgement) signer() string {
	if j.name == "" {
		j.name = j.env.chain[0].Subject.String()
	}
	return j.name
}

// end is the earliest instant at which this statement would not pass the signature any more; zero if there is none.
func (j *judgement) end(content *signature.EnvelopeContent, stamped bool) time.Time {
	var end time.Time
	signed := content.SignerInfo.SignedAttributes
	if j.st.enforces(trustpolicy.TypeExpiry) {
		end = signed.Expiry
	}
	// Under notary.x509.signingAuthority the signing time is trusted, and certificates need to be valid at that time only.
	if signed.SigningScheme == signature.SigningSchemeX509 && j.st.enforces(trustpolicy.TypeAuthenticTimestamp) && !stamped {
		for _, cert := range content.SignerInfo.CertificateChain {
			end = earliest(end, cert.NotAfter)
		}
	}
	return end
}

// integrity explains why an envelope is not what a signer made.
func (j *judgement) integrity(failure error) finding {
	var broken *signature.SignatureIntegrityError
	if errors.As(failure, &broken) {
		return finding{code: ratify.SignatureInvalid, message: "the signature does not match its certificate and payload"}
	}
	if err := nx509.ValidateCodeSigningCertChain(j.env.chain, nil); err != nil {
		return finding{code: ratify.CertificateInvalid, message: "a certificate of the signature is not fit for signing: " + ratify.Quote(err.Error())}
	}
	return finding{code: ratify.SignatureInvalid, message: "the signature is malformed: " + ratify.Quote(failure.Error())}
}

// needsPlugin finds signed attributes that have to be understood and are not. The library overlooks them where no plugin
// is named (specification, signature specification, extended attributes: a critical one must be processed).
func needsPlugin(attributes []signature.Attribute) (finding, bool) {
	for _, attribute := range attributes {
		key := fmt.Sprint(attribute.Key)
		if key == verifier.HeaderVerificationPlugin {
			return finding{code: ratify.PluginRequired, message: "the signature asks for the verification plugin " + ratify.Quote(fmt.Sprint(attribute.Value)) + ", and plugins are off"}, true
		}
		if attribute.Critical {
			return finding{code: ratify.PluginRequired, message: "the signature has a critical attribute " + ratify.Quote(key) + " that only a plugin understands, and plugins are off"}, true
		}
	}
	return finding{}, false
}

// explain says what a failed check means.
func (j *judgement) explain(check *notation.ValidationResult, content *signature.EnvelopeContent) finding {
	switch check.Type {
	case trustpolicy.TypeAuthenticity:
		return j.authenticity()
	case trustpolicy.TypeExpiry:
		return finding{code: ratify.SignatureExpired, message: "the signature has expired on " + timeText(content.SignerInfo.SignedAttributes.Expiry)}
	case trustpolicy.TypeAuthenticTimestamp:
		return j.authenticTimestamp(check.Error, content)
	case trustpolicy.TypeRevocation:
		return revocationFinding(j.call.signing, "a certificate of the signature", check.Error)
	}
	return finding{code: ratify.SignatureInvalid, message: "the signature is not valid: " + ratify.Quote(check.Error.Error())}
}

// anchor returns the certificate of the statement's trust stores that the chain holds, or nil.
func (st *statement) anchor(scheme signature.SigningScheme, chain []*x509.Certificate) *x509.Certificate {
	for _, name := range st.storesOf(storeType(scheme)) {
		for _, trusted := range st.stores[name] {
			if slices.ContainsFunc(chain, trusted.Equal) {
				return trusted
			}
		}
	}
	return nil
}

// storesOf returns the names of the statement's trust stores of one type.
func (st *statement) storesOf(kind truststore.Type) []string {
	var found []string
	for _, name := range st.policy.TrustStores {
		if before, _, _ := strings.Cut(name, ":"); kind != "" && before == string(kind) {
			found = append(found, name)
		}
	}
	return found
}

func (j *judgement) authenticity() finding {
	leaf := j.env.chain[0]
	if j.call.anchored {
		return finding{
			code: ratify.IdentityMismatch,
			message: fmt.Sprintf("the signer's identity %s is not among the trusted identities %s",
				ratify.Quote(leaf.Subject.String()), ratify.Quote(strings.Join(j.st.policy.TrustedIdentities, " "))),
			remedy: fmt.Sprintf("sign with a trusted identity, or add %s to trustedIdentities of the trust policy statement %s",
				ratify.Quote(identityPrefix+": "+leaf.Subject.String()), ratify.Quote(j.st.name)),
		}
	}
	signer := fmt.Sprintf(" (signed by %s, issued by %s)", ratify.Quote(leaf.Subject.String()), ratify.Quote(leaf.Issuer.String()))
	f := finding{code: ratify.UntrustedSigner, message: ratify.UntrustedSigner.Info().Message + signer}
	kind := storeType(j.env.scheme)
	stores := j.st.storesOf(kind)
	if len(stores) == 0 {
		f.remedy = fmt.Sprintf("the signature's scheme is %s: give the trust policy statement %s a trust store of type %s with the signer's CA certificate, or sign the image with a trusted key",
			ratify.Quote(string(j.env.scheme)), ratify.Quote(j.st.name), kind)
		return f
	}
	f.remedy = fmt.Sprintf("add the signer's CA certificate to trust store %s, or sign the image with a trusted key", strings.Join(stores, " or "))
	return f
}

// authenticTimestamp explains why it is not proven that the signature was made while its certificates were valid.
func (j *judgement) authenticTimestamp(failure error, content *signature.EnvelopeContent) finding {
	info := content.SignerInfo
	if info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority {
		f, ok := outside(info.CertificateChain, info.SignedAttributes.SigningTime, "when it was signed")
		if ok {
			return f
		}
	}
	now := time.Now()
	expired, isOutside := outside(info.CertificateChain, now, "now")
	if !j.st.wantsTimestamp(info.CertificateChain, now) {
		if isOutside {
			return expired
		}
		return finding{code: ratify.CertificateExpired, message: ratify.Quote(failure.Error())}
	}
	if len(info.UnsignedAttributes.TimestampSignature) == 0 {
		if isOutside {
			expired.message += ", and the signature has no timestamp"
			return expired
		}
		return finding{code: ratify.TimestampInvalid, message: "the signature has no timestamp, and the trust policy asks for one"}
	}
	if _, wrong := worst(j.call.tsa); wrong {
		f := revocationFinding(j.call.tsa, "a certificate of the timestamp", failure)
		if f.code == ratify.CertificateRevoked {
			f.code = ratify.TimestampInvalid
		}
		return f
	}
	return finding{code: ratify.TimestampInvalid, message: "the signature's timestamp does not verify: " + ratify.Quote(failure.Error())}
}

// wantsTimestamp tells whether the timestamp decides (specification, trust store and trust policy, authentic timestamp):
// where there is a tsa trust store, always, or once a certificate has expired.
func (st *statement) wantsTimestamp(chain []*x509.Certificate, now time.Time) bool {
	if !st.hasTSA || st.policy.SignatureVerification.VerifyTimestamp != trustpolicy.OptionAfterCertExpiry {
		return st.hasTSA
	}
	return slices.ContainsFunc(chain, func(cert *x509.Certificate) bool { return now.After(cert.NotAfter) })
}

// outside finds the first certificate that is not valid at an instant.
func outside(chain []*x509.Certificate, at time.Time, when string) (finding, bool) {
	for _, cert := range chain {
		if at.Before(cert.NotBefore) || at.After(cert.NotAfter) {
			return finding{code: ratify.CertificateExpired, message: fmt.Sprintf("the certificate %s is not valid %s: it is valid from %s to %s",
				ratify.Quote(cert.Subject.String()), when, timeText(cert.NotBefore), timeText(cert.NotAfter))}, true
		}
	}
	return finding{}, false
}

// revocationFinding says which certificate is revoked, or cannot be told about.
func revocationFinding(standings []standing, whose string, failure error) finding {
	s, ok := worst(standings)
	if !ok {
		return finding{code: ratify.RevocationUnavailable, message: "the revocation status could not be found out: " + ratify.Quote(failure.Error())}
	}
	name := ratify.Quote(s.subject)
	switch s.code {
	case ratify.CertificateRevoked:
		return finding{code: s.code, message: fmt.Sprintf("%s is revoked: %s", whose, name)}
	case ratify.RevocationInfoAbsent:
		return finding{code: s.code, message: fmt.Sprintf("%s names no revocation source: %s", whose, name)}
	}
	f := finding{code: ratify.RevocationUnavailable, message: fmt.Sprintf("whether %s is revoked could not be found out: %s", whose, name)}
	if s.err != nil {
		f.message += ": " + ratify.Quote(s.err.Error())
	}
	var forbidden *netguard.ForbiddenError
	if errors.As(s.err, &forbidden) && forbidden.Private {
		f.remedy = "set allowPrivateRevocation in the verifier's settings, if a responder at a private address is meant"
	}
	return f
}

// target compares what was signed with what was asked about: digest, size and media type, each computed from the image's
// own bytes (CVE-2022-36056, GHSA-2r43-6962-xcw5 are of comparisons that were left out).
func (j *judgement) target(content *signature.EnvelopeContent) (finding, bool) {
	p, err := readPayload(content)
	if err != nil {
		return finding{code: ratify.SignatureInvalid, message: "the signature's payload is malformed: " + ratify.Quote(err.Error())}, false
	}
	signed := p.TargetArtifact
	switch {
	case signed.Digest != j.subject.Digest:
		return finding{code: ratify.SubjectMismatch, message: "the signature is for another artifact, " + ratify.Quote(signed.Digest.String())}, false
	case signed.Size != j.subject.Size:
		return finding{code: ratify.SignatureInvalid, message: fmt.Sprintf("the signature is for this digest with %d bytes, the image's manifest has %d", signed.Size, j.subject.Size)}, false
	case signed.MediaType != j.subject.MediaType:
		return finding{code: ratify.SignatureInvalid, message: fmt.Sprintf("the signature is for this digest as %s, the image is %s",
			ratify.Quote(signed.MediaType), ratify.Quote(j.subject.MediaType))}, false
	}
	return finding{}, true
}

// timestamp verifies the timestamp, whether the policy needed it or not: a signature that has one outlives its
// certificates. Revocation of the timestamp's certificates is not asked for here.
func (j *judgement) timestamp(ctx context.Context, content *signature.EnvelopeContent) (*stamp, error) {
	if j.stamp != nil {
		return j.stamp, nil
	}
	info := content.SignerInfo
	if !j.st.hasTSA || len(j.env.token) == 0 || !bytes.Equal(j.env.token, info.UnsignedAttributes.TimestampSignature) || info.SignedAttributes.SigningScheme != signature.SigningSchemeX509 {
		return nil, errors.New("no timestamp that counts")
	}
	token, err := j.env.signedToken()
	if err != nil {
		return nil, err
	}
	tst, err := token.Info()
	if err != nil {
		return nil, err
	}
	stamped, err := tst.Validate(info.Signature)
	if err != nil {
		return nil, err
	}
	// The library asks about the revocation of a timestamp's chain once it has verified all the rest of it.
	if chain := j.call.stampChain(); chain != nil {
		j.stamp = &stamp{stamped.Value, chain}
		return j.stamp, nil
	}
	chain, err := token.Verify(ctx, x509.VerifyOptions{CurrentTime: stamped.Value, Roots: j.st.tsaRoots})
	if err != nil {
		return nil, err
	}
	if !j.st.outcomes.knowStampChain(chain) {
		if err := nx509.ValidateTimestampingCertChain(chain); err != nil {
			return nil, err
		}
	}
	for _, cert := range info.CertificateChain {
		if !stamped.BoundedAfter(cert.NotBefore) || !stamped.BoundedBefore(cert.NotAfter) {
			return nil, errors.New("the timestamp is outside the validity of the certificates")
		}
	}
	j.stamp = &stamp{stamped.Value, chain}
	return j.stamp, nil
}

// maxMetadata bounds the user metadata that a report repeats; its entries are bounded like any text from outside.
const maxMetadata = 16

// facts are what the report tells about the signature. Of a refused one they are claims.
func (j *judgement) facts() map[string]any {
	facts := map[string]any{
		"signer":    ratify.Truncate(j.signer()),
		"issuer":    ratify.Truncate(j.env.chain[0].Issuer.String()),
		"statement": ratify.Truncate(j.st.name),
		"level":     j.st.level,
		"envelope":  j.env.mediaType,
	}
	if len(j.st.policy.SignatureVerification.Override) > 0 {
		facts["override"] = maps.Clone(j.st.policy.SignatureVerification.Override)
	}
	if j.logged != nil {
		facts["loggedOnly"] = j.logged
	}
	content := j.outcome.EnvelopeContent
	if content == nil {
		return facts
	}
	signed := content.SignerInfo.SignedAttributes
	facts["signingScheme"] = string(signed.SigningScheme)
	facts["signingTime"] = timeText(signed.SigningTime)
	if !signed.Expiry.IsZero() {
		facts["expiry"] = timeText(signed.Expiry)
	}
	if p, err := readPayload(content); err == nil && len(p.TargetArtifact.Annotations) > 0 {
		facts["userMetadata"] = boundMetadata(p.TargetArtifact.Annotations)
	}
	return facts
}

func boundMetadata(annotations map[string]string) map[string]string {
	keys := slices.Sorted(maps.Keys(annotations))
	bounded := make(map[string]string, min(len(keys), maxMetadata))
	for _, key := range keys[:min(len(keys), maxMetadata)] {
		bounded[ratify.Truncate(key)] = ratify.Truncate(annotations[key])
	}
	return bounded
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
