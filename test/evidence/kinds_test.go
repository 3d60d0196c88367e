package evidence

import (
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// The storage forms, as columns of the table.
const (
	referrersAPI = "referrers API"
	fallbackTag  = "fallback tag"
	cosignTag    = "cosign tag"
	layout       = "OCI layout"
)

var storages = []string{referrersAPI, fallbackTag, cosignTag, layout}

// A kind is one kind of evidence: a row of the table.
type kind struct {
	name string
	// verifier is the configuration's that the policy asks for.
	verifier string
	// ways are the storage forms that there are for the kind; without is why there are no others, by a letter of the legend.
	ways    ways
	without rune
	// scanned attaches an attested scan to every image, which finds what a VEX document clears.
	scanned bool
	// pieces is which of several decide; empty is any.
	pieces ratify.Pieces
	// cases is what is to come of each case; underTag what differs where the kind is kept under cosign's tag, too.
	cases, underTag map[string]outcome
}

// outcome is what is to come of a case in a storage form.
func (k kind) outcome(storage, name string) outcome {
	_, apart := k.underTag[name]
	switch {
	case k.ways[storage] == nil:
		return outcome{reason: k.without}
	case name == listed && k.ways[referrersAPI] == nil:
		return outcome{reason: 'g'}
	case name == listed && storage != fallbackTag && storage != layout:
		return outcome{reason: 'l'}
	case storage == cosignTag && apart:
		return k.underTag[name]
	}
	return k.cases[name]
}

// An outcome is the code of a case, or why there is none, by a letter of the legend.
type outcome struct {
	code   ratify.Code
	reason rune
}

// legend explains what is not in the table.
var legend = map[rune]string{
	'a': "a signature says nothing that a policy could disallow",
	'b': "a key's signature has no end and no age",
	'c': "one good signature is enough where any decides: a bad one beside it is in the case before",
	'd': "a VEX document has no greatest age: which of several counts is told by the cases of several",
	'g': "there is no list: what is under the tag of an image and made for another is the case of what is copied",
	'l': "the registry makes the list itself, by the subject that a manifest names; under cosign's tag there is none",
	'o': "it names no image but the one that it is bound to, which is the case of what is copied",
	'n': "a signature of the Notary Project, and a document that is an artifact, is a referrer: cosign's tags hold neither",
	'p': "a bundle is a referrer; under cosign's tag it is in the row of that tag",
	't': "it is under cosign's tag, whichever way the registry lists referrers",
}

// The cases, in the order in which a cell counts them.
const (
	good      = "good"
	absent    = "absent"
	unrelated = "another kind instead"
	byOther   = "by a stranger"
	copied    = "copied from another image"
	listed    = "listed for another image"
	misfit    = "proven, but says to be about another image"
	tampered  = "tampered with"
	ended     = "expired or too old"
	dirty     = "disallowed by what it says"
	oversized = "oversized"
	oneGood   = "several, the good one decides"
	oneBad    = "several, the bad one decides"
)

var caseNames = []string{good, absent, unrelated, byOther, copied, listed, misfit, tampered, ended, dirty, oversized, oneGood, oneBad}

// attach lists the pieces that are attached in a case.
func (k kind) attach(name string) []piece {
	switch name {
	case good, listed:
		return []piece{{}}
	case unrelated:
		return []piece{{unrelated: true}}
	case byOther:
		return []piece{{by: stranger}}
	case copied:
		return []piece{{copied: true}}
	case misfit:
		return []piece{{misfit: true}}
	case tampered:
		return []piece{{tampered: true}}
	case ended:
		return []piece{{expired: true, old: maxAge + time.Hour}}
	case dirty:
		return []piece{{dirty: true}}
	case oversized:
		return []piece{{oversized: true}}
	case oneGood, oneBad:
		return k.several(name == oneGood)
	}
	return nil
}

// several are pieces of which strangers', and older ones where the newest decides, say the contrary of the one that decides.
func (k kind) several(passes bool) []piece {
	list := []piece{{by: stranger, dirty: passes}, {by: foreign, dirty: passes}, {tampered: true}}
	switch {
	case k.pieces == ratify.PiecesNewest:
		return append(list, piece{old: 2 * time.Hour, dirty: passes}, piece{dirty: !passes})
	case !passes:
		return append(list, piece{}, piece{dirty: true})
	}
	return append(list, piece{})
}

// signatureCases is what is to come of the cases of a signature.
func signatureCases(byStranger, forOther, changed, after ratify.Code) map[string]outcome {
	cases := map[string]outcome{
		good: {code: ratify.Verified}, absent: {code: ratify.NoReferrers}, unrelated: {code: ratify.NoSignature},
		byOther: {code: byStranger}, copied: {code: forOther}, listed: {code: forOther}, tampered: {code: changed}, ended: {code: after},
		misfit: {reason: 'o'}, dirty: {reason: 'a'}, oversized: {code: ratify.LimitExceeded}, oneGood: {code: ratify.Verified}, oneBad: {reason: 'c'},
	}
	if after == "" {
		cases[ended] = outcome{reason: 'b'}
	}
	return cases
}

// attestedCases are those of an attestation by a key, plainCases those of a document that is signed as an artifact.
func attestedCases(disallowed ratify.Code) map[string]outcome {
	return map[string]outcome{
		good: {code: ratify.Verified}, absent: {code: ratify.NoReferrers}, unrelated: {code: ratify.PredicateMismatch},
		byOther: {code: ratify.UntrustedSigner}, copied: {code: ratify.SubjectMismatch}, listed: {code: ratify.SubjectMismatch}, misfit: {code: ratify.SubjectMismatch}, tampered: {code: ratify.SignatureInvalid},
		ended: {code: ratify.EvidenceTooOld}, dirty: {code: disallowed}, oversized: {code: ratify.LimitExceeded},
		oneGood: {code: ratify.Verified}, oneBad: {code: disallowed},
	}
}

func plainCases(disallowed ratify.Code) map[string]outcome {
	cases := attestedCases(disallowed)
	cases[unrelated] = outcome{code: ratify.NoSignature}
	for _, name := range []string{byOther, copied, tampered} {
		cases[name] = outcome{code: ratify.EvidenceUnproven}
	}
	return cases
}

// with returns the cases with another code for some.
func with(cases map[string]outcome, code ratify.Code, names ...string) map[string]outcome {
	for _, name := range names {
		cases[name] = outcome{code: code}
	}
	return cases
}

// without returns the cases without some, for the reason.
func without(cases map[string]outcome, reason rune, names ...string) map[string]outcome {
	for _, name := range names {
		cases[name] = outcome{reason: reason}
	}
	return cases
}

// ways say how a piece is made for each storage form that there is for a kind.
type ways map[string]func(*testing.T, *forge, image, piece) attachment

// asReferrer is what is kept as a referrer alone, underTag under cosign's tag alone; an attestation is kept either way.
func asReferrer(attach func(*testing.T, *forge, image, piece) attachment) ways {
	return ways{referrersAPI: attach, fallbackTag: attach, layout: attach}
}

func underTag(attach func(*testing.T, *forge, image, piece) attachment) ways {
	return ways{cosignTag: attach, layout: attach}
}

func eitherWay(d document) ways {
	w := asReferrer(attested(d, false))
	w[cosignTag] = attested(d, true)
	return w
}

func kinds() []kind {
	byNotary := signatureCases(ratify.UntrustedSigner, ratify.SubjectMismatch, ratify.SignatureInvalid, ratify.SignatureExpired)
	byKey := signatureCases(ratify.UntrustedSigner, ratify.SubjectMismatch, ratify.SignatureInvalid, "")
	// Under a tag nothing says whose key it was: what was changed is not told from what a stranger signed.
	changed := map[string]outcome{tampered: {code: ratify.UntrustedSigner}}
	byKeyUnderTag := signatureCases(ratify.UntrustedSigner, ratify.SubjectMismatch, ratify.UntrustedSigner, "")
	// Of a signature that was changed, or made when its certificate had ended, the transparency log knows nothing.
	byIdentity := signatureCases(ratify.IdentityMismatch, ratify.SubjectMismatch, ratify.TransparencyInvalid, ratify.TransparencyInvalid)
	provenances := without(without(attestedCases(ratify.ProvenanceMismatch), 'o', misfit), 'c', oneBad)
	provenancesUnderTag := with(without(without(attestedCases(ratify.ProvenanceMismatch), 'o', misfit), 'c', oneBad), ratify.UntrustedSigner, tampered)
	statements := without(with(plainCases(ratify.ProvenanceMismatch), ratify.PredicateMismatch, unrelated), 'c', oneBad)
	scans := without(plainCases(ratify.VulnerabilityFound), 'o', misfit)
	// Whatever is wrong with a VEX document, what it would have cleared is still there.
	vex := with(attestedCases(""), ratify.VulnerabilityFound, absent, unrelated, byOther, copied, listed, misfit, tampered, dirty, oversized, oneBad)
	vex = without(vex, 'd', ended)
	return []kind{
		{name: "Notary Project signature, JWS", verifier: "notation", ways: asReferrer(notary(notationtest.JWS)), without: 'n', cases: byNotary},
		{name: "Notary Project signature, COSE", verifier: "notation", ways: asReferrer(notary(notationtest.COSE)), without: 'n', cases: byNotary},
		{name: "cosign key, bundle over the manifest", verifier: "cosign", ways: asReferrer(cosignSignature(form{message: true})), without: 'p', cases: byKey},
		{name: "cosign key, bundle with sign/v1", verifier: "cosign", ways: asReferrer(cosignSignature(form{})), without: 'p', cases: byKey},
		{name: "cosign key, .sig", verifier: "cosign", ways: underTag(cosignSignature(form{tag: true})), without: 't', cases: byKeyUnderTag},
		{name: "keyless, bundle", verifier: "keyless", ways: asReferrer(cosignSignature(form{keyless: true})), without: 'p', cases: byIdentity},
		{name: "keyless, .sig", verifier: "keyless", ways: underTag(cosignSignature(form{keyless: true, tag: true})), without: 't', cases: byIdentity},
		{name: "provenance attested, bundle", verifier: "provenance", ways: asReferrer(attested(provenance, false)), without: 'p', pieces: ratify.PiecesAny, cases: provenances},
		{name: "provenance attested, .att", verifier: "provenance", ways: underTag(attested(provenance, true)), without: 't', pieces: ratify.PiecesAny, cases: provenancesUnderTag},
		{name: "provenance artifact, signed by Notation", verifier: "provenance-artifact", ways: asReferrer(plain(statement, byNotation)), without: 'n', pieces: ratify.PiecesAny, cases: statements},
		{name: "SPDX attested", verifier: "sbom", ways: eitherWay(spdx), pieces: ratify.PiecesAll, cases: attestedCases(ratify.LicenseDisallowed), underTag: changed},
		{name: "SPDX artifact, signed by Notation", verifier: "sbom-by-notation", ways: asReferrer(plain(spdx, byNotation)), without: 'n', pieces: ratify.PiecesAll, cases: plainCases(ratify.LicenseDisallowed)},
		{name: "CycloneDX attested", verifier: "sbom", ways: eitherWay(cycloneDX), pieces: ratify.PiecesAll, cases: attestedCases(ratify.LicenseDisallowed), underTag: changed},
		{name: "CycloneDX artifact, signed by cosign", verifier: "sbom-by-cosign", ways: asReferrer(plain(cycloneDX, byCosign)), without: 'n', pieces: ratify.PiecesAll, cases: plainCases(ratify.LicenseDisallowed)},
		{name: "SARIF of trivy, signed by Notation", verifier: "scan-artifact", ways: asReferrer(plain(trivy, byNotation)), without: 'n', pieces: ratify.PiecesNewest, cases: scans},
		{name: "SARIF of grype, signed by Notation", verifier: "scan-artifact", ways: asReferrer(plain(grype, byNotation)), without: 'n', pieces: ratify.PiecesNewest, cases: scans},
		{name: "vulnerabilities attested", verifier: "scan", ways: eitherWay(scan), pieces: ratify.PiecesNewest, cases: without(attestedCases(ratify.VulnerabilityFound), 'o', misfit), underTag: changed},
		{name: "OpenVEX attested, beside a scan", verifier: "scan-with-vex", ways: eitherWay(openVEX), scanned: true, pieces: ratify.PiecesNewest, cases: vex},
	}
}
