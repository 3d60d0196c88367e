package sigstore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/ratify-provider/ratify"
)

// Bounds on what a bundle holds, before anything of it is looked at closely. Real ones have one of each.
const (
	// maxEntries is above the number of transparency logs, or of timestamp authorities, that anybody signs with.
	maxEntries = 10
	// maxChain is the bound on certificates in a chain.
	maxChain = 10
)

// parseBundle reads a Sigstore bundle (https://github.com/sigstore/protobuf-specs, bundle v0.1 to v0.3).
func parseBundle(data []byte) (b *protobundle.Bundle, err error) {
	defer contain(&err)
	text, payload, err := splitBundle(data)
	if err != nil {
		return nil, err
	}
	b = &protobundle.Bundle{}
	if err := protojson.Unmarshal(text, b); err != nil {
		return nil, malformed("it is no Sigstore bundle: %s", reason(err))
	}
	switch envelope := b.GetDsseEnvelope(); {
	case payload == nil:
	case envelope == nil:
		return nil, malformed("it has a payload and no envelope")
	default:
		envelope.Payload = payload
	}
	if err := checkBundle(b); err != nil {
		return nil, err
	}
	return b, nil
}

// checkBundle bounds a bundle and has the library look at its shape.
func checkBundle(b *protobundle.Bundle) error {
	material := b.GetVerificationMaterial()
	for _, list := range []struct {
		name      string
		count, at int
	}{
		{"transparency log entries", len(material.GetTlogEntries()), maxEntries},
		{"timestamps", len(material.GetTimestampVerificationData().GetRfc3161Timestamps()), maxEntries},
		{"certificates", len(material.GetX509CertificateChain().GetCertificates()), maxChain},
	} {
		if list.count > list.at {
			return malformed("it has %d %s, at most %d are read", list.count, list.name, list.at)
		}
	}
	for _, entry := range material.GetTlogEntries() {
		if err := checkShape(entry.GetCanonicalizedBody(), maxValues, anyString); err != nil {
			return err
		}
	}
	if envelope := b.GetDsseEnvelope(); envelope != nil && len(envelope.GetSignatures()) != 1 {
		return malformed("its envelope has %d signatures instead of 1", len(envelope.GetSignatures()))
	}
	if message := b.GetMessageSignature(); message != nil && message.GetMessageDigest() == nil {
		return malformed("its signature names no digest of what is signed")
	}
	if _, err := bundle.NewBundle(b); err != nil {
		return malformed("%s", reason(err))
	}
	return nil
}

// contain makes a refusal of a panic in a library that read what a stranger wrote: his bundle must not make of the others
// a case for "could not tell".
func contain(err *error) {
	if value := recover(); value != nil {
		refusal := malformed("no parser accepts it")
		refusal.Err = fmt.Errorf("panic: %v", value)
		*err = refusal
	}
}

// signatureOf is the only signature in the bundle.
func signatureOf(b *protobundle.Bundle) []byte {
	if envelope := b.GetDsseEnvelope(); envelope != nil {
		return envelope.GetSignatures()[0].GetSig()
	}
	return b.GetMessageSignature().GetSignature()
}

// preAuthenticationEncoding is what a signature in an envelope covers (DSSE protocol v1, PAE).
func preAuthenticationEncoding(payloadType string, payload []byte) []byte {
	encoded := fmt.Appendf(make([]byte, 0, len(payload)+len(payloadType)+32), "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append(encoded, payload...)
}

// verifyMessage verifies a signature over the message itself.
func (v *Verifier) verifyMessage(ctx context.Context, b *protobundle.Bundle, message []byte) (Signer, error) {
	claimed := b.GetMessageSignature().GetMessageDigest()
	var hash crypto.Hash
	switch claimed.GetAlgorithm() {
	case protocommon.HashAlgorithm_SHA2_256:
		hash = crypto.SHA256
	case protocommon.HashAlgorithm_SHA2_384:
		hash = crypto.SHA384
	case protocommon.HashAlgorithm_SHA2_512:
		hash = crypto.SHA512
	default:
		return Signer{}, malformed("its digest is by %s, not by SHA-256, SHA-384 or SHA-512", ratify.Quote(claimed.GetAlgorithm().String()))
	}
	m := newMessage(message)
	if sum := m.sum(hash); !bytes.Equal(sum, claimed.GetDigest()) {
		return Signer{}, &ratify.Error{Code: ratify.SubjectMismatch, Message: fmt.Sprintf("the signature is for another artifact, of the digest %.64x and not %x", claimed.GetDigest(), sum)}
	}
	return v.verify(ctx, b, m, verify.WithArtifact(bytes.NewReader(message)))
}

// verify tells whose signature the bundle holds. covered is what the signature itself covers, artifact the same for the
// library.
func (v *Verifier) verify(ctx context.Context, b *protobundle.Bundle, covered *message, artifact verify.ArtifactPolicyOption) (signer Signer, err error) {
	defer contain(&err)
	v.shared.verified()
	sig := signatureOf(b)
	for _, key := range v.keys {
		if err := ctx.Err(); err != nil {
			return Signer{}, err // a hundred keys of Ed25519 hash a large payload a hundred times
		}
		if key.verifies(covered, sig) {
			return v.verifyKey(b, key)
		}
	}
	if err := ctx.Err(); err != nil {
		return Signer{}, err
	}
	entity, err := bundle.NewBundle(b)
	if err != nil {
		return Signer{}, malformed("%s", reason(err))
	}
	content, err := entity.VerificationContent()
	if err != nil {
		return Signer{}, malformed("%s", reason(err))
	}
	leaf := content.Certificate()
	switch {
	case leaf == nil:
		return Signer{}, v.unknownKey(b.GetVerificationMaterial().GetPublicKey().GetHint())
	case v.keyless == nil:
		return Signer{}, &ratify.Error{
			Code:    ratify.UntrustedSigner,
			Message: fmt.Sprintf("the signature is by %s, and of none of the keys %s", describe(leaf), v.keyNames()),
			Remedy:  "sign with one of these keys, or add identities and a trustedRoot",
		}
	}
	return v.verifyIdentity(entity, leaf, artifact)
}

// unknownKey refuses a signature that none of the keys has made. Without a hint it cannot be told whether another key made
// it or somebody changed it.
func (v *Verifier) unknownKey(hint string) *ratify.Error {
	if len(v.keys) == 0 {
		return &ratify.Error{
			Code:    ratify.UntrustedSigner,
			Message: "the signature is by a key, and only identities are trusted: " + v.identityNames(),
			Remedy:  "sign with a trusted identity, or add the key to keys",
		}
	}
	by := ""
	if hint != "" {
		by = ", it names the key with the hint " + ratify.Quote(hint)
	}
	for _, key := range v.keys {
		if key.hint == hint {
			return &ratify.Error{Code: ratify.SignatureInvalid, Message: fmt.Sprintf("the signature names the key %s, and is not its signature for what it covers", ratify.Quote(key.name))}
		}
	}
	return &ratify.Error{
		Code:    ratify.UntrustedSigner,
		Message: "the signature is of none of the keys " + v.keyNames() + by,
		Remedy:  "sign with one of these keys, or add the signer's public key to keys",
	}
}

// verifyKey asks of a signature by a key what the thresholds that are set ask.
func (v *Verifier) verifyKey(b *protobundle.Bundle, key *publicKey) (Signer, error) {
	signer := Signer{Key: key.name}
	logs, stamps := asked(v.asked.TransparencyLogs), asked(v.asked.Timestamps)
	if logs == 0 && stamps == 0 {
		return signer, nil
	}
	b.VerificationMaterial.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: key.hint}}
	entity, err := bundle.NewBundle(b)
	if err != nil {
		return Signer{}, malformed("%s", reason(err))
	}
	material := root.TrustedMaterialCollection{v.material, root.NewTrustedPublicKeyMaterial(key.constrained)}
	if logs > 0 {
		times, err := verify.VerifyTlogEntry(entity, material, logs, true)
		if err != nil {
			return Signer{}, v.notLogged(signer, logs, err)
		}
		for _, t := range times {
			signer.seen(t.Time)
		}
	}
	if stamps > 0 {
		times, err := verify.VerifySignedTimestampWithThreshold(entity, material, stamps)
		if err != nil {
			return Signer{}, v.notStamped(signer, stamps, err)
		}
		for _, t := range times {
			signer.seen(t.Time)
		}
	}
	return signer, nil
}

func asked(threshold *int) int {
	if threshold == nil {
		return 0
	}
	return *threshold
}

// constrained is the key as the library takes it, whatever name it asks for: which key it is has been found out.
func (k *publicKey) constrained(string) (root.TimeConstrainedVerifier, error) {
	verifier, err := signature.LoadVerifier(k.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return root.NewExpiringKey(verifier, time.Time{}, time.Time{}), nil
}

// seen keeps the earliest time.
func (s *Signer) seen(t time.Time) {
	if !t.IsZero() && (s.Time.IsZero() || t.Before(s.Time)) {
		s.Time = t
	}
}

// verifyIdentity verifies a signature by a certificate.
func (v *Verifier) verifyIdentity(entity *bundle.Bundle, leaf *x509.Certificate, artifact verify.ArtifactPolicyOption) (Signer, error) {
	result, err := v.keyless.Verify(entity, verify.NewPolicy(artifact, v.policies...))
	if err != nil {
		return Signer{}, v.diagnose(entity, leaf, err)
	}
	signer := newSigner(*result.Signature.Certificate)
	for _, t := range result.VerifiedTimestamps {
		signer.seen(t.Timestamp)
	}
	return signer, nil
}

func newSigner(c certificate.Summary) Signer {
	return Signer{Identity: c.SubjectAlternativeName, Issuer: c.Issuer, Claims: map[string]string{
		"sourceRepository":       c.SourceRepositoryURI,
		"sourceRepositoryDigest": c.SourceRepositoryDigest,
		"sourceRepositoryRef":    c.SourceRepositoryRef,
		"buildSigner":            c.BuildSignerURI,
		"buildConfig":            c.BuildConfigURI,
		"buildTrigger":           c.BuildTrigger,
		"runInvocation":          c.RunInvocationURI,
	}}
}

// describe says whose certificate it claims to be.
func describe(leaf *x509.Certificate) string {
	summary, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return "a certificate that names nobody"
	}
	return newSigner(summary).String()
}

// diagnose finds out at which step the library refused, for its error is one text. It takes the steps again with the
// library's own functions, but asks first whether the certificate is anybody's who is trusted: of a stranger's signature
// the user wants to know just that.
func (v *Verifier) diagnose(entity *bundle.Bundle, leaf *x509.Certificate, refused error) error {
	var mismatch *verify.ErrNoMatchingCertificateIdentity
	if errors.As(refused, &mismatch) {
		return &ratify.Error{
			Code:    ratify.IdentityMismatch,
			Message: fmt.Sprintf("the signature is by %s, who is none of %s", describe(leaf), v.identityNames()),
			Remedy:  "sign with a trusted identity, or add this one to identities",
			Err:     refused,
		}
	}
	signer := Signer{}
	if summary, err := certificate.SummarizeCertificate(leaf); err == nil {
		signer = newSigner(summary)
	}
	within := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	if _, err := verify.VerifyLeafCertificate(within, leaf, v.material); err != nil {
		return v.foreignCertificate(signer, err)
	}
	logged, err := v.keyless.VerifyTransparencyLogInclusion(entity)
	if err != nil {
		return v.notLogged(signer, v.need.transparencyLogs, err)
	}
	times, err := v.keyless.VerifyObserverTimestamps(entity, logged)
	if err != nil {
		return v.notStamped(signer, max(v.need.timestamps, 1), err)
	}
	var chains [][]*x509.Certificate
	for _, t := range times {
		if chains, err = verify.VerifyLeafCertificate(t.Timestamp, leaf, v.material); err != nil {
			return v.badCertificate(signer, leaf, t.Timestamp, err)
		}
	}
	if n := v.need.certificateLogs; n > 0 {
		if err := verify.VerifySignedCertificateTimestamp(chains, n, v.material); err != nil {
			return &ratify.Error{
				Code:    ratify.TransparencyInvalid,
				Message: fmt.Sprintf("the certificate of %s is not proven to be in %d of the trusted certificate logs: %s", signer, n, reason(err)),
				Err:     refused,
			}
		}
	}
	return &ratify.Error{
		Code:    ratify.SignatureInvalid,
		Message: fmt.Sprintf("the signature of %s is not valid: %s", signer, reason(refused)),
		Err:     refused,
	}
}

func (v *Verifier) notLogged(signer Signer, wanted int, err error) *ratify.Error {
	return &ratify.Error{
		Code:    ratify.TransparencyInvalid,
		Message: fmt.Sprintf("the signature of %s is not proven to be in %d of the trusted transparency logs: %s", signer, wanted, reason(err)),
		Err:     err,
	}
}

func (v *Verifier) notStamped(signer Signer, wanted int, err error) *ratify.Error {
	return &ratify.Error{
		Code:    ratify.TimestampInvalid,
		Message: fmt.Sprintf("the time of the signature of %s is not proven by %d of the trusted authorities: %s", signer, wanted, reason(err)),
		Err:     err,
	}
}

// badCertificate refuses a certificate that was used outside its life, or that of its authority.
func (v *Verifier) badCertificate(signer Signer, leaf *x509.Certificate, at time.Time, err error) *ratify.Error {
	return &ratify.Error{
		Code: ratify.CertificateExpired,
		Message: fmt.Sprintf("the certificate of %s, valid from %s until %s, was not valid when the signature was made, at %s", signer,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339)),
		Remedy: "sign again",
		Err:    err,
	}
}

// foreignCertificate refuses a certificate that anybody may have made.
func (v *Verifier) foreignCertificate(claimed Signer, err error) *ratify.Error {
	var names []string
	for _, authority := range v.material.FulcioCertificateAuthorities() {
		if fulcio, ok := authority.(*root.FulcioCertificateAuthority); ok {
			names = append(names, ratify.Quote(fulcio.URI))
		}
	}
	return &ratify.Error{
		Code:    ratify.UntrustedSigner,
		Message: fmt.Sprintf("the certificate says %s, and was issued by none of the trusted certificate authorities: %s", claimed, listed(names)),
		Remedy:  "sign with a certificate of one of these, or add its authority to the trusted root",
		Err:     err,
	}
}

// reason is an error's text, for a message. Parsers put line breaks into theirs, and protojson spaces of changing kinds.
func reason(err error) string {
	text := err.Error()
	text = text[:min(len(text), 2*ratify.MaxTextBytes)] // the rest is not shown, and its words would cost memory
	return ratify.Quote(strings.Join(strings.Fields(text), " "))
}
