package notation

import (
	"bytes"
	"context"
	"crypto/x509"
	"reflect"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// Work is how much of the cryptography of one verification had to be done.
type Work int

const (
	// VerifiedAll is a signature that was verified with its chain of certificates, or was refused.
	VerifiedAll Work = iota
	// VerifiedSignature is one whose chain has passed before.
	VerifiedSignature
	// VerifiedNothing is one that has passed itself before, for the same image.
	VerifiedNothing
)

// payloadType is the only content type of what a signature covers (specification, signature specification, payload).
const payloadType = "application/vnd.cncf.notary.payload.v1+json"

// What passed before under the same settings is not verified again as far as nothing can change it. All else is checked
// here as the library does, by the clock of now and by what is known of revocation now. There is one answer, a pass without
// a complaint. False is said of everything else, whatever the reason: the library then verifies the whole and says what is
// wrong.

// recall admits an envelope that passed before for the same subject. Only the very bytes are known, which were within the
// bounds of openEnvelope then.
func (st *statement) recall(ctx context.Context, subject ocispec.Descriptor, data []byte, mediaType string) (ratify.Result, bool) {
	if st.outcomes == nil {
		return ratify.Result{}, false
	}
	now := time.Now()
	passed, ok := st.outcomes.passed(passKey(st.print, subject, data, mediaType), now)
	if !ok {
		return ratify.Result{}, false
	}
	content, ok := readContent(data, mediaType, signature.Envelope.Content)
	if !ok {
		return ratify.Result{}, false
	}
	info := content.SignerInfo
	env := &envelope{data: data, mediaType: mediaType, chain: info.CertificateChain,
		scheme: info.SignedAttributes.SigningScheme, token: info.UnsignedAttributes.TimestampSignature}
	j := &judgement{st: st, env: env, subject: subject, stamp: st.outcomes.stampOf(passed)}
	return j.settle(ctx, content, now)
}

// verifyKnown verifies the signature of an envelope whose chain passed before: for the chain its own signatures, its shape,
// that it is anchored and that its leaf is a trusted identity.
func (st *statement) verifyKnown(ctx context.Context, subject ocispec.Descriptor, env *envelope) (ratify.Result, bool) {
	if st.outcomes == nil {
		return ratify.Result{}, false
	}
	if _, ok := st.outcomes.chains.Get(chainKey(st.print, env.scheme, env.chain)); !ok {
		return ratify.Result{}, false
	}
	now := time.Now()
	content, ok := readContent(env.data, env.mediaType, signature.Envelope.Verify)
	if !ok {
		return ratify.Result{}, false
	}
	j := &judgement{st: st, env: env, subject: subject}
	result, ok := j.settle(ctx, content, now)
	if ok {
		j.remember(content, now, VerifiedSignature)
	}
	return result, ok
}

// settle makes the checks that are left, once the signature is known to be good and its chain, too.
func (j *judgement) settle(ctx context.Context, content *signature.EnvelopeContent, now time.Time) (ratify.Result, bool) {
	j.call = &call{anchored: j.st.anchor(j.env.scheme, j.env.chain) != nil}
	ctx = withCall(ctx, j.call)
	if !j.call.anchored || !fit(content, j.env) || !j.lasts(ctx, content, now) {
		return ratify.Result{}, false
	}
	j.outcome = &notation.VerificationOutcome{EnvelopeContent: content}
	for _, kind := range []trustpolicy.ValidationType{trustpolicy.TypeIntegrity, trustpolicy.TypeAuthenticity,
		trustpolicy.TypeExpiry, trustpolicy.TypeAuthenticTimestamp, trustpolicy.TypeRevocation} {
		j.outcome.VerificationResults = append(j.outcome.VerificationResults, &notation.ValidationResult{Type: kind, Action: j.st.enforced[kind]})
	}
	result, err := j.judge(ctx, nil)
	return result, err == nil && result.Passed && result.Code == ""
}

// readContent parses an envelope with the library's parser and reads it with one of the library's methods, without the
// checks of its chain.
func readContent(data []byte, mediaType string, method func(signature.Envelope) (*signature.EnvelopeContent, error)) (*signature.EnvelopeContent, bool) {
	parsed, err := signature.ParseEnvelope(mediaType, data)
	if err != nil {
		return nil, false
	}
	format, ok := formatOf(parsed)
	if !ok {
		return nil, false
	}
	content, err := method(format)
	return content, err == nil && content != nil
}

// formatOf returns the part of the library's envelope that knows the format, JWS or COSE, and verifies the signature. The
// part around it validates what came out, which fit does here, and the chain, at the cost of three quarters of the whole.
// Its type cannot be named outside the library, but its embedded field is exported: where it is not found, by a later
// version say, everything is verified whole.
func formatOf(parsed signature.Envelope) (signature.Envelope, bool) {
	around := reflect.Indirect(reflect.ValueOf(parsed))
	if around.Kind() != reflect.Struct {
		return nil, false
	}
	field := around.FieldByName("Envelope")
	if !field.IsValid() || !field.CanInterface() {
		return nil, false
	}
	format, ok := field.Interface().(signature.Envelope)
	return format, ok
}

// fit makes the checks of an envelope's content that the library makes around formatOf's part, those of the chain left
// out, and that it is the same envelope which was opened before. Attributes that have to be understood are for judge.
func fit(content *signature.EnvelopeContent, env *envelope) bool {
	info := content.SignerInfo
	signed := info.SignedAttributes
	if len(content.Payload.Content) == 0 || len(info.Signature) == 0 || content.Payload.ContentType != payloadType ||
		signed.SigningScheme != env.scheme || signed.SigningTime.IsZero() || !signed.Expiry.IsZero() && !signed.Expiry.After(signed.SigningTime) ||
		!bytes.Equal(info.UnsignedAttributes.TimestampSignature, env.token) ||
		!sameChain(info.CertificateChain, env.chain) {
		return false
	}
	key, err := signature.ExtractKeySpec(info.CertificateChain[0])
	return err == nil && info.SignatureAlgorithm != 0 && key.SignatureAlgorithm() == info.SignatureAlgorithm
}

func sameChain(a, b []*x509.Certificate) bool {
	if len(a) != len(b) || len(a) == 0 {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}

// lasts checks what time and third parties decide: expiry, authentic timestamp, revocation.
func (j *judgement) lasts(ctx context.Context, content *signature.EnvelopeContent, now time.Time) bool {
	chain, signed := content.SignerInfo.CertificateChain, content.SignerInfo.SignedAttributes
	if !signed.Expiry.IsZero() && !now.Before(signed.Expiry) {
		return false
	}
	var trusted time.Time // the signing time, where it is trusted
	switch {
	case signed.SigningScheme == signature.SigningSchemeX509SigningAuthority:
		trusted = signed.SigningTime
		if _, isOutside := outside(chain, trusted, ""); isOutside {
			return false
		}
	case j.st.wantsTimestamp(chain, now):
		stamped, err := j.timestamp(ctx, content)
		if err != nil || !j.stands(ctx, j.st.stamps, stamped.chain, time.Time{}) {
			return false
		}
	default:
		if _, isOutside := outside(chain, now, ""); isOutside {
			return false
		}
	}
	return j.st.enforced[trustpolicy.TypeRevocation] == trustpolicy.ActionSkip || j.stands(ctx, j.st.check, chain, trusted)
}

// stands tells whether all is known of a chain's revocation that has to be, and nothing of it is against the chain.
func (j *judgement) stands(ctx context.Context, v *validator, chain []*x509.Certificate, signed time.Time) bool {
	if _, err := v.ValidateContext(ctx, revocation.ValidateContextOptions{CertChain: chain, AuthenticSigningTime: signed}); err != nil {
		return false
	}
	_, wrong := worst(j.call.of(v))
	return !wrong
}

// remember keeps that the envelope passed, for as long as no certificate of it ends; and that its chain did, if all of it
// was verified now.
func (j *judgement) remember(content *signature.EnvelopeContent, now time.Time, work Work) {
	info := content.SignerInfo
	if j.st.outcomes == nil || len(j.logged) > 0 || !fit(content, j.env) {
		return
	}
	passed := pass{from: now.Round(0), until: info.SignedAttributes.Expiry}
	for _, cert := range info.CertificateChain {
		passed.until = earliest(passed.until, cert.NotAfter)
	}
	life := min(passed.until.Sub(now), maxOutcomeLife)
	if j.stamp != nil {
		j.st.outcomes.keepStamp(&passed, j.stamp)
	}
	j.st.outcomes.passes.Set(passKey(j.st.print, j.subject, j.env.data, j.env.mediaType), passed, life)
	if work == VerifiedAll {
		j.st.outcomes.chains.Set(chainKey(j.st.print, j.env.scheme, info.CertificateChain), struct{}{}, life)
	}
}
