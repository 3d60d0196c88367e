package ratify

import (
	"errors"
	"slices"
)

// A Code names a reason. Codes are few and stable: users match on them.
type Code string

// The codes. The table below gives each its message, cause and remedy.
const (
	Verified       Code = "VERIFIED"
	Audited        Code = "AUDITED"
	Skipped        Code = "SKIPPED"
	Exempt         Code = "EXEMPT"
	WouldBeRefused Code = "WOULD_BE_REFUSED"
	LastKnownGood  Code = "LAST_KNOWN_GOOD"
	Pinned         Code = "PINNED"
	NotExamined    Code = "NOT_EXAMINED"

	NoReferrers          Code = "NO_REFERRERS"
	NoSignature          Code = "NO_SIGNATURE"
	UntrustedSigner      Code = "UNTRUSTED_SIGNER"
	IdentityMismatch     Code = "IDENTITY_MISMATCH"
	SignatureInvalid     Code = "SIGNATURE_INVALID"
	SignatureExpired     Code = "SIGNATURE_EXPIRED"
	CertificateExpired   Code = "CERTIFICATE_EXPIRED"
	CertificateInvalid   Code = "CERTIFICATE_INVALID"
	CertificateRevoked   Code = "CERTIFICATE_REVOKED"
	RevocationInfoAbsent Code = "REVOCATION_INFO_ABSENT"
	TimestampInvalid     Code = "TIMESTAMP_INVALID"
	PluginRequired       Code = "PLUGIN_REQUIRED"
	SubjectMismatch      Code = "SUBJECT_MISMATCH"
	EvidenceInvalid      Code = "EVIDENCE_INVALID"
	TransparencyInvalid  Code = "TRANSPARENCY_INVALID"
	PredicateMismatch    Code = "PREDICATE_MISMATCH"
	ProvenanceMismatch   Code = "PROVENANCE_MISMATCH"
	EvidenceUnproven     Code = "EVIDENCE_UNPROVEN"
	EvidenceTooOld       Code = "EVIDENCE_TOO_OLD"
	LicenseDisallowed    Code = "LICENSE_DISALLOWED"
	PackageDisallowed    Code = "PACKAGE_DISALLOWED"
	VulnerabilityFound   Code = "VULNERABILITY_FOUND"
	RuleNotMet           Code = "RULE_NOT_MET"
	NoTrustPolicy        Code = "NO_TRUST_POLICY"
	NoPolicy             Code = "NO_POLICY"
	TenantInvalid        Code = "TENANT_INVALID"
	NoStore              Code = "NO_STORE"
	SubjectNotFound      Code = "SUBJECT_NOT_FOUND"
	SubjectInvalid       Code = "SUBJECT_INVALID"
	BadReference         Code = "BAD_REFERENCE"
	RegistryNotAllowed   Code = "REGISTRY_NOT_ALLOWED"
	LimitExceeded        Code = "LIMIT_EXCEEDED"

	RegistryUnavailable   Code = "REGISTRY_UNAVAILABLE"
	RegistryInvalid       Code = "REGISTRY_INVALID"
	RegistryAuth          Code = "REGISTRY_AUTH"
	RateLimited           Code = "RATE_LIMITED"
	Deadline              Code = "DEADLINE"
	RevocationUnavailable Code = "REVOCATION_UNAVAILABLE"
	Overloaded            Code = "OVERLOADED"
	Internal              Code = "INTERNAL"
)

// Outcome is what a code means for the image.
type Outcome string

// The outcomes; OutcomeNote marks codes that decide nothing.
const (
	OutcomeVerified Outcome = "verified"
	OutcomeRefused  Outcome = "refused"
	OutcomeUnknown  Outcome = "could not tell"
	OutcomeNote     Outcome = "note"
)

// CodeInfo is what a user is told about a code.
type CodeInfo struct {
	Code    Code
	Outcome Outcome
	Message string // what, in one line, fit for an admission denial
	Cause   string // why this happens, for the manual
	Remedy  string // what to do, in one line
}

// codeTable is the only place where a code gets its words; a golden file and the manual hold it.
var codeTable = []CodeInfo{
	{Verified, OutcomeVerified, "verification succeeded", "The evidence that the policy asks for is there and good.", "nothing to do"},
	{Audited, OutcomeVerified, "admitted, although something is wrong that the policy only logs", "The trust policy statement that applies does not enforce a check that failed: its level is audit or permissive, or an override says so. The verifier reports say what was found.", "see the verifier reports; what they say would be refused at level strict"},
	{Skipped, OutcomeVerified, "the policy asks for no verification here", "The trust policy statement that applies has the level skip.", "nothing to do"},
	{Exempt, OutcomeVerified, "exempt from verification", "An exemption of the configuration names this image and has not ended; the report says for which reason. Nothing was verified.", "nothing to do until the exemption ends"},
	{WouldBeRefused, OutcomeVerified, "admitted, although the policy would refuse it, because the policy's mode is audit", "The policy that applies has the mode audit: it tells what it would refuse and refuses nothing. wouldBeCode says why.", "see the verifier reports and mend what they say, then set the policy's mode to enforce"},
	{LastKnownGood, OutcomeVerified, "admitted as verified before, it cannot be verified now", "The image was verified a while ago, and its registry or a revocation source does not answer now. The policy's lastKnownGood has not passed since then, and nothing was refused in between. verifiedAt says when that was, staleCode why it could not be told now.", "see the message for what does not answer; the image is not admitted any more when lastKnownGood has passed"},
	{Pinned, OutcomeNote, "the reference was pinned to its digest", "Mutation resolved the tag, or the reference has a digest already. It says nothing about signatures.", "nothing to do"},
	{NotExamined, OutcomeNote, "not examined, the decision did not need it", "The policy was decided by other evidence first.", "run ratify inspect to examine all evidence"},

	{NoReferrers, OutcomeRefused, "no referrers found for this artifact", "Nothing is attached to the image in its registry: it was never signed, or signed under another digest, or the signature was not copied with it.", "sign this digest, and copy signatures along with images (oras cp -r)"},
	{NoSignature, OutcomeRefused, "no evidence of the required kind is attached", "Other artifacts are attached to the image, but none that the verifier examines.", "sign this digest with a tool that the policy's verifiers accept"},
	{UntrustedSigner, OutcomeRefused, "signature is not produced by a trusted signer", "The signing certificate does not chain to a certificate in the trust stores of the trust policy statement; or the signature is by none of the keys, or by a certificate of none of the authorities in the trusted root, that the verifier is given.", "add the signer's CA certificate or key to what the verifier trusts, or sign the image with a trusted key"},
	{IdentityMismatch, OutcomeRefused, "the signer's identity is not among the trusted identities", "The certificate chain is trusted, but its subject matches none of the statement's trustedIdentities, or its subject and issuer none of the verifier's identities.", "sign with a trusted identity, or add this identity to trustedIdentities (Notary Project) or identities (Sigstore)"},
	{SignatureInvalid, OutcomeRefused, "the signature is not valid for this artifact", "The signature or its payload was changed, was made for another artifact, or is malformed.", "sign the image again; if it was signed, find out who changed it"},
	{SignatureExpired, OutcomeRefused, "the signature has expired", "The signer limited the signature's life and that instant has passed.", "sign the image again"},
	{CertificateExpired, OutcomeRefused, "a certificate of the signature is outside its validity", "A certificate of the chain has expired or is not yet valid, and no trusted timestamp proves that the signature was made while it was valid.", "sign again with a valid certificate, and with a timestamp (notation sign --timestamp-url) so that the signature outlives it"},
	{CertificateInvalid, OutcomeRefused, "a certificate of the signature is not fit for signing", "The certificate chain breaks a rule of the Notary Project's certificate requirements (key usage, extended key usage, basic constraints, key size).", "sign with a certificate that may sign code"},
	{CertificateRevoked, OutcomeRefused, "a certificate of the signature is revoked", "The certificate's issuer lists it as revoked.", "sign the image again with a certificate that is not revoked"},
	{RevocationInfoAbsent, OutcomeRefused, "a certificate of the signature names no revocation source", "The verifier is configured with requireRevocationInfo and a certificate has neither OCSP nor CRL.", "sign with a certificate that names an OCSP responder or a CRL, or turn requireRevocationInfo off"},
	{TimestampInvalid, OutcomeRefused, "the signature's timestamp does not verify", "The timestamp is missing where it is needed, for another message, by an authority that is not in the tsa trust stores or the trusted root, or outside the certificate's validity.", "sign again with a timestamp of a trusted authority, or add the authority's root to a tsa trust store or to the trusted root file"},
	{PluginRequired, OutcomeRefused, "the signature asks for a verification plugin, and plugins are off", "The signature names a plugin or a critical attribute that only a plugin understands.", "sign without a plugin that must take part in verification"},
	{SubjectMismatch, OutcomeRefused, "the evidence is for another artifact", "The attached artifact's manifest, or the payload that it holds, names another digest.", "sign this digest; if the registry lists foreign evidence, find out who put it there"},
	{EvidenceInvalid, OutcomeRefused, "the evidence is malformed", "The attached artifact's manifest breaks the format of its kind.", "attach the evidence again with its own tool"},
	{TransparencyInvalid, OutcomeRefused, "the transparency log does not prove the signature", "The signature needs a proof of a transparency log, or of a certificate log, that the trusted root knows, and it is missing, was changed, is for another signature, or by an unknown log.", "sign again with a log that is in the trusted root, or add the log to the trusted root file; if it was signed so, find out who changed the signature"},
	{PredicateMismatch, OutcomeRefused, "no attestation of the required predicate type is attached", "Attestations are attached, but their statements have other predicate types than the one that the verifier asks for.", "attest the image with the required predicate type"},
	{ProvenanceMismatch, OutcomeRefused, "the provenance is not the required one", "A trusted signer attests how the image was built, but its builder, source repository or build type is none of those that the verifier allows.", "build the image with an allowed builder from an allowed source, or allow these"},
	{EvidenceUnproven, OutcomeRefused, "nobody who is trusted vouches for the document", "A document of the required kind is attached, but it is not signed, or not by one of the verifiers that signedBy names.", "sign the document itself (its own digest, as an artifact), with a signer that signedBy accepts"},
	{EvidenceTooOld, OutcomeRefused, "the document is older than allowed", "The document was made longer ago than the verifier's maximum age.", "make and attach a new one"},
	{LicenseDisallowed, OutcomeRefused, "a package has a licence that is not allowed", "The bill of materials lists a package whose licence the verifier disallows, or does not allow.", "replace the package, or change the verifier's licences"},
	{PackageDisallowed, OutcomeRefused, "a package is not allowed", "The bill of materials lists a package, in a version, that the verifier disallows.", "replace or upgrade the package"},
	{VulnerabilityFound, OutcomeRefused, "a vulnerability that is not allowed was found", "The vulnerability report has a finding of a disallowed severity, or a denied CVE, that no proven VEX document clears.", "upgrade what is vulnerable and scan again, or attach a signed OpenVEX document that says why it does not matter"},
	{RuleNotMet, OutcomeRefused, "the policy's rule does not hold for the evidence", "All required evidence is there and good, but the expression of the policy's rule is false for what it says, or could not be evaluated.", "look at the claims in the verifier reports, and at the policy's rule"},
	{NoTrustPolicy, OutcomeRefused, "no trust policy statement applies to this repository", "The trust policy document has neither this repository among its registryScopes nor a statement for *.", "add the repository to the registryScopes of a trust policy statement"},
	{NoPolicy, OutcomeRefused, "no policy applies to this repository", "No policy of the configuration has a scope that holds this repository; what no policy names is refused.", "add a policy whose scopes hold this repository"},
	{TenantInvalid, OutcomeRefused, "the configuration of the namespace is not valid", "The file that this namespace's own policies are in could not be loaded, so that nothing is admitted by it.", "correct the namespace's file; ratify check tells what is wrong with it"},
	{NoStore, OutcomeRefused, "no store serves this repository", "No store of the configuration has a scope that holds this repository.", "add a store whose scopes hold this repository"},
	{SubjectNotFound, OutcomeRefused, "the image does not exist in its registry", "The registry answered that it has no such tag or digest.", "check the reference, and push the image before it is run"},
	{SubjectInvalid, OutcomeRefused, "the image's manifest is malformed", "What the registry holds under this reference is no OCI or Docker manifest or index, or could be read as both.", "push the image again"},
	{BadReference, OutcomeRefused, "the image reference is malformed", "The string cannot be parsed the way the container runtime parses it, or has characters outside ASCII.", "correct the image reference"},
	{RegistryNotAllowed, OutcomeRefused, "the configuration does not allow this address", "The registry, its token server or a redirect leads to an address or a host that the configuration does not allow.", "allow it in the store's settings, if it is meant: allowPrivate, authHosts, redirectHosts, plainHTTP"},
	{LimitExceeded, OutcomeRefused, "more than the bound was found", "The image has more, or larger, attachments than are read for one image, and what was read does not prove it.", "remove attachments that are not needed from the image's referrers"},

	{RegistryUnavailable, OutcomeUnknown, "the registry did not answer as it should", "The registry, or the way to it, fails: name resolution, connection, TLS, a server error, an answer cut short.", "try again; if it lasts, look at the registry and the network policy"},
	{RegistryInvalid, OutcomeUnknown, "the registry's answer is not what was asked for", "The bytes that the registry sent do not match the digest, size or format that was asked for.", "try again; if it lasts, the registry, a proxy or a mirror changes content"},
	{RegistryAuth, OutcomeUnknown, "the registry refused access", "No credentials are configured for this registry, or it does not accept them, or they do not allow reading this repository.", "configure credentials for the registry that may read this repository"},
	{RateLimited, OutcomeUnknown, "the registry limits the rate of requests", "The registry answered 429, and the time that it asked for, or the turn of the request, is later than the end of the work.", "try again later; use credentials with a higher limit, or a mirror"},
	{Deadline, OutcomeUnknown, "the time ran out before the decision", "The registry, or this service, was too slow for the webhook's timeout. The work goes on, so that a retry finds the answer.", "try again; if it lasts, raise the webhook's and the provider's timeouts"},
	{RevocationUnavailable, OutcomeUnknown, "the revocation status could not be found out", "The OCSP responder or the CRL that the certificate names did not answer, or its answer is stale.", "try again; if it lasts, look at the way to the responder, or log revocation instead of enforcing it"},
	{Overloaded, OutcomeUnknown, "too much is asked at the same time", "The bound on work under way is reached.", "try again; add replicas, or raise the limits"},
	{Internal, OutcomeUnknown, "an internal error", "A defect of this program; its log has the details under the same trace.", "report it, with the log record of this trace"},
}

// Codes returns the table of all codes, in the manual's order.
func Codes() []CodeInfo { return slices.Clone(codeTable) }

// Info returns what a user is told about the code; an unknown code is INTERNAL's.
func (c Code) Info() CodeInfo {
	for _, info := range codeTable {
		if info.Code == c {
			return info
		}
	}
	return Internal.Info()
}

// Definitive tells whether the code is a refusal: asking again about the same evidence gives the same answer.
func (c Code) Definitive() bool { return c.Info().Outcome == OutcomeRefused }

// An Error is a reason with its words. Message and Remedy are for the user, Err is for the log and never shown in a
// denial. Empty Message and Remedy stand for the code's own.
type Error struct {
	Code    Code
	Message string
	Remedy  string
	Err     error
}

// Error returns code, message and cause, for logs.
func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.UserMessage()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause; a nil *Error in an error has none.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// UserMessage returns the message, or the code's own.
func (e *Error) UserMessage() string {
	if e.Message != "" {
		return e.Message
	}
	return e.Code.Info().Message
}

// UserRemedy returns the remedy, or the code's own.
func (e *Error) UserRemedy() string {
	if e.Remedy != "" {
		return e.Remedy
	}
	return e.Code.Info().Remedy
}

// reason returns the error if its code says why an image is not verified, and INTERNAL otherwise: a nil pointer in an
// error, and a code such as VERIFIED or one that nobody has heard of, are defects of whoever made them.
func (e *Error) reason() *Error {
	if e == nil {
		return &Error{Code: Internal, Err: errors.New("a nil *Error was returned as an error")}
	}
	info := e.Code.Info()
	if info.Code == e.Code && (info.Outcome == OutcomeRefused || info.Outcome == OutcomeUnknown) {
		return e
	}
	return &Error{Code: Internal, Err: e}
}

// AsError returns err as an *Error: itself if it is one; DEADLINE if a deadline or a cancellation ended the work;
// INTERNAL otherwise, for an error that nobody gave a code is a defect. It is the only place that makes such a choice.
func AsError(err error) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e.reason()
	case isContextError(err):
		return &Error{Code: Deadline, Err: err}
	default:
		return &Error{Code: Internal, Err: err}
	}
}
