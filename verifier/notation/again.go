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

// again verifies an envelope that passed before under the same settings, or whose chain did. What the library did then and
// nothing can change is not repeated: for a chain its signatures, its shape, that it is anchored and its leaf trusted; for
// an envelope its own signature besides. All else is checked here as the library does, by the clock of now and by what is
// known of revocation now.
//
// It has one answer, a pass without a complaint. False is said of everything else, whatever the reason: the library then
// verifies the whole and says what is wrong.
func (st *statement) again(ctx context.Context, subject ocispec.Descriptor, env *envelope, c *call) (ratify.Result, Work, bool) {
	now := time.Now()
	if st.outcomes == nil || !c.anchored {
		return ratify.Result{}, VerifiedAll, false
	}
	work, read := VerifiedNothing, signature.Envelope.Content
	passed, ok := st.outcomes.passes.Get(st.print.passKey(subject, env))
	if !ok || !passed.covers(now) {
		work, read, passed = VerifiedSignature, signature.Envelope.Verify, pass{}
		if _, ok := st.outcomes.chains.Get(st.print.chainKey(env.scheme, env.chain)); !ok {
			return ratify.Result{}, VerifiedAll, false
		}
	}
	content, ok := env.read(read)
	if !ok || !fit(content, env) {
		return ratify.Result{}, VerifiedAll, false
	}
	ctx = withCall(ctx, c)
	j := &judgement{st: st, env: env, call: c, subject: subject, stamp: passed.stamp}
	if !j.lasts(ctx, content, now) {
		return ratify.Result{}, VerifiedAll, false
	}
	j.outcome = &notation.VerificationOutcome{EnvelopeContent: content}
	for _, kind := range []trustpolicy.ValidationType{trustpolicy.TypeIntegrity, trustpolicy.TypeAuthenticity,
		trustpolicy.TypeExpiry, trustpolicy.TypeAuthenticTimestamp, trustpolicy.TypeRevocation} {
		j.outcome.VerificationResults = append(j.outcome.VerificationResults, &notation.ValidationResult{Type: kind, Action: st.enforced[kind]})
	}
	result, err := j.judge(ctx, nil)
	if err != nil || !result.Passed || result.Code != "" {
		return ratify.Result{}, VerifiedAll, false
	}
	if work == VerifiedSignature {
		j.remember(content, now)
	}
	return result, work, true
}

// read parses the envelope with the library's parser and reads it with one of the library's methods, without the checks
// of its chain, which are for the caller to make.
func (e *envelope) read(method func(signature.Envelope) (*signature.EnvelopeContent, error)) (*signature.EnvelopeContent, bool) {
	parsed, err := signature.ParseEnvelope(e.mediaType, e.data)
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

// remember keeps that the envelope passed, and its chain, for as long as no certificate of it ends.
func (j *judgement) remember(content *signature.EnvelopeContent, now time.Time) {
	info := content.SignerInfo
	if j.st.outcomes == nil || !j.call.anchored || len(j.logged) > 0 || !fit(content, j.env) {
		return
	}
	passed := pass{from: now.Round(0), until: info.SignedAttributes.Expiry, stamp: j.stamp}
	for _, cert := range info.CertificateChain {
		passed.until = earliest(passed.until, cert.NotAfter)
	}
	life := min(passed.until.Sub(now), maxOutcomeLife)
	j.st.outcomes.chains.Set(j.st.print.chainKey(j.env.scheme, info.CertificateChain), struct{}{}, life)
	j.st.outcomes.passes.Set(j.st.print.passKey(j.subject, j.env), passed, life)
}
