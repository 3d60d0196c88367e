package fields

import (
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify/test/fixture"
)

// notationRows are about the Notary Project's signatures.
func notationRows() []row {
	const settings = "verifiers[0].settings."
	const statement = settings + "trustPolicy.trustPolicies[0]."
	change := func(at, to, image, was, is string) row {
		return row{at: at, from: byNotation, to: to, ask: "${" + image + "}", was: was, is: is}
	}
	with := func(r row, pairs ...string) row {
		r.from = strings.NewReplacer(pairs...).Replace(r.from)
		return r
	}
	directory := []string{`files: ["${FILES}/signer/root.crt"]`, `directories: ["${FILES}/directory/signer"]`}
	// A statement for nothing that is asked about uses both stores, so that the other may leave one out.
	twoStores := []string{
		`trustStores: [{`, `trustStores: [{type: ca, name: strangers, files: ["${FILES}/stranger/root.crt"]}, {`,
		`trustPolicies: [
  {`, `trustPolicies: [{name: elsewhere, registryScopes: [unused.example/app], signatureVerification: {level: strict}, trustStores: ["ca:certs", "ca:strangers"], trustedIdentities: ["*"]}, {`,
	}
	stamped := []string{
		`trustStores: [{`, `trustStores: [{type: tsa, name: clock, files: ["${FILES}/tsa.crt"]}, {`,
		`["ca:certs"]`, `["ca:certs", "tsa:clock"]`, `{level: strict}`, `{level: strict, verifyTimestamp: always}`,
	}
	revoking := []string{`signer/root.crt`, `revoking.crt`, `settings: {`, `settings: {allowPrivateRevocation: true, `}
	return []row{
		{at: settings + "trustStores[0].type", from: byNotation, to: "signingAuthority", along: map[string]string{statement + "trustStores": `["signingAuthority:certs"]`},
			why: "a statement names the store by type and name", ask: "${signed}", was: verified, is: "UNTRUSTED_SIGNER"},
		{at: settings + "trustStores[0].name", from: byNotation, to: "others", along: map[string]string{statement + "trustStores": `["ca:others"]`},
			why: "a statement names the store by type and name", ask: "${stranger}", see: inReport("remedy"), effect: "the remedy",
			was: "add the signer's CA certificate to trust store ca:certs, or sign the image with a trusted key",
			is:  "add the signer's CA certificate to trust store ca:others, or sign the image with a trusted key"},
		change(settings+"trustStores[0].files", `["${FILES}/stranger/root.crt"]`, "signed", verified, "UNTRUSTED_SIGNER"),
		with(change(settings+"trustStores[0].directories", `["${FILES}/directory/stranger"]`, "signed", verified, "UNTRUSTED_SIGNER"), directory...),
		{at: statement + "name", from: byNotation, to: "other", ask: "${signed}", see: inReport("verifierReports[0].extensions.statement"), was: "default", is: "other", effect: "the report"},
		change(statement+"registryScopes", "[other.example/app]", "signed", verified, "NO_TRUST_POLICY"),
		change(statement+"signatureVerification.level", "permissive", "expired", "CERTIFICATE_EXPIRED", "AUDITED"),
		{at: statement + "signatureVerification.level", from: byNotation, to: "skip", ask: "${unsigned}", was: "NO_REFERRERS", is: "SKIPPED",
			along: map[string]string{settings + "trustStores": "", statement + "trustStores": "", statement + "trustedIdentities": ""}, why: "a statement that skips trusts nobody"},
		change(statement+"signatureVerification.level", "audit", "stranger", "UNTRUSTED_SIGNER", "AUDITED"),
		with(change(statement+"signatureVerification.level", "permissive", "stranger", "AUDITED", "UNTRUSTED_SIGNER"), "level: strict", "level: audit"),
		change(statement+"signatureVerification.override", "{authenticTimestamp: log}", "expired", "CERTIFICATE_EXPIRED", "AUDITED"),
		change(statement+"signatureVerification.override", "{expiry: log}", "ended", "SIGNATURE_EXPIRED", "AUDITED"),
		// What is revoked is asked of nobody whom a stranger's certificate names.
		with(change(statement+"signatureVerification.override", "{revocation: skip, authenticity: log}", "stranger", "UNTRUSTED_SIGNER", "AUDITED"), "level: strict", "level: strict, override: {revocation: skip}"),
		with(change(statement+"signatureVerification.override", "{revocation: log}", "revoked", "CERTIFICATE_REVOKED", "AUDITED"), revoking...),
		with(change(statement+"signatureVerification.verifyTimestamp", "afterCertExpiry", "signed", "TIMESTAMP_INVALID", verified), stamped...),
		with(row{at: settings + "trustPolicy.trustPolicies[1].trustStores", from: byNotation, to: `["ca:strangers"]`, ask: "${signed}", was: verified, is: "UNTRUSTED_SIGNER"}, twoStores...),
		change(statement+"trustedIdentities", `["x509.subject: C=US, ST=WA, O=Somebody"]`, "signed", verified, "IDENTITY_MISMATCH"),
		change(settings+"requireRevocationInfo", "true", "signed", verified, "REVOCATION_INFO_ABSENT"),
		with(change(settings+"allowPrivateRevocation", "", "revocable", verified, "REVOCATION_UNAVAILABLE"), revoking...),
	}
}

// trustRows are about whom a verifier of Sigstore's evidence believes; rest are the settings that it needs beside.
func trustRows(kind, rest string) []row {
	if rest != "" {
		rest = ", " + rest
	}
	by := func(trust string) string {
		return document(fmt.Sprintf("{name: it, type: %s, settings: {%s%s}}", kind, trust, rest), everything("verifiers: [it]"))
	}
	key := by(`keys: [{name: ci, file: "${FILES}/key.pub"}]`)
	tags := by(`keys: [{name: ci, file: "${FILES}/key.pub"}], cosignTags: true`)
	identities := fmt.Sprintf(`trustedRoot: "${FILES}/root.json", identities: [{issuer: %q, subject: %q}]`, fixture.Issuer, fixture.Identity)
	exact, either := by(identities), by(identities+`, keys: [{name: ci, file: "${FILES}/key.pub"}]`)
	pattern := by(`trustedRoot: "${FILES}/root.json", identities: [{issuerPattern: '^https://login\.wabbit-networks\.example$', subjectPattern: '^https://ci\.wabbit-networks\.example/.*$'}]`)
	const settings = "verifiers[0].settings."
	image := func(name string) string { return "${" + kind + "-" + name + "}" }
	signer := "verifierReports[0].extensions"
	if kind == "sbom" || kind == "vulnerability" {
		signer += ".signer"
	}
	return []row{
		{at: settings + "keys[0].name", from: key, to: "other", ask: image("key"), see: inReport(signer + ".key"), was: "ci", is: "other", effect: "the report"},
		{at: settings + "keys[0].file", from: key, to: "${FILES}/other.pub", ask: image("key"), was: verified, is: "UNTRUSTED_SIGNER"},
		{at: settings + "identities[0].issuer", from: exact, to: "https://other.example", ask: image("id"), was: verified, is: "IDENTITY_MISMATCH"},
		{at: settings + "identities[0].subject", from: exact, to: "https://other.example", ask: image("id"), was: verified, is: "IDENTITY_MISMATCH"},
		{at: settings + "identities[0].issuerPattern", from: pattern, to: `'^https://other\.example/.*$'`, ask: image("id"), was: verified, is: "IDENTITY_MISMATCH"},
		{at: settings + "identities[0].subjectPattern", from: pattern, to: `'^https://other\.example/.*$'`, ask: image("id"), was: verified, is: "IDENTITY_MISMATCH"},
		{at: settings + "trustedRoot", from: exact, to: "${FILES}/other.json", ask: image("id"), was: verified, is: "UNTRUSTED_SIGNER"},
		{at: settings + "thresholds.transparencyLogs", from: exact, to: "0", ask: image("unlogged"), was: "TRANSPARENCY_INVALID", is: verified},
		{at: settings + "thresholds.certificateLogs", from: exact, to: "0", ask: image("uncertified"), was: "TRANSPARENCY_INVALID", is: verified},
		{at: settings + "thresholds.timestamps", from: exact, to: "1", ask: image("id"), was: verified, is: "TIMESTAMP_INVALID"},
		// Identities have a threshold of one log by default, and keys none; what is set is for both.
		{at: settings + "thresholds.transparencyLogs", from: either, to: "1", ask: image("key"), was: verified, is: "TRANSPARENCY_INVALID"},
		{at: settings + "thresholds.timestamps", from: either, to: "1", ask: image("key"), was: verified, is: "TIMESTAMP_INVALID"},
		{at: settings + "cosignTags", from: tags, to: "", ask: image("tag"), was: verified, is: "NO_REFERRERS"},
	}
}

// byKey is a verifier of documents that the trusted key signed.
func byKey(kind, settings string) string {
	return document(fmt.Sprintf(`{name: it, type: %s, settings: {keys: [{name: ci, file: "${FILES}/key.pub"}], %s}}`, kind, settings), everything("verifiers: [it]"))
}

func attestationRows() []row {
	const settings = "verifiers[0].settings."
	one := func(rest string) string { return byKey("attestation", "predicateType: "+provenanceType+rest) }
	provenance := one(fmt.Sprintf(", provenance: {builders: [%q], sources: [https://github.com/acme/app], buildTypes: [https://actions.github.io/buildtypes/workflow/v1]}", fixture.Builder))
	change := func(at, from, to, is string) row {
		return row{at: settings + at, from: from, to: to, ask: "${attestation-key}", was: verified, is: is}
	}
	return []row{
		change("predicateType", one(""), "https://slsa.dev/provenance/v0.2", "PREDICATE_MISMATCH"),
		change("predicateTypes", byKey("attestation", "predicateTypes: ["+provenanceType+"]"), "[https://slsa.dev/provenance/v0.2]", "PREDICATE_MISMATCH"),
		change("provenance.builders", provenance, "[https://other.example]", "PROVENANCE_MISMATCH"),
		change("provenance.sources", provenance, "[https://other.example/app]", "PROVENANCE_MISMATCH"),
		change("provenance.buildTypes", provenance, "[https://other.example]", "PROVENANCE_MISMATCH"),
		change("maxAge", one(", maxAge: 24h"), "1ns", "EVIDENCE_TOO_OLD"),
	}
}

func sbomRows() []row {
	const settings = "verifiers[0].settings."
	change := func(at, from, to, image, was, is string) row {
		return row{at: settings + at, from: byKey("sbom", from), to: to, ask: "${" + image + "}", was: was, is: is}
	}
	return []row{
		change("licenses.disallowed", "licenses: {disallowed: [AGPL-3.0-only]}", "[MIT]", "sbom-key", verified, "LICENSE_DISALLOWED"),
		change("licenses.allowed", "licenses: {allowed: [MIT]}", "[Apache-2.0]", "sbom-key", verified, "LICENSE_DISALLOWED"),
		change("licenses.unknown", "licenses: {disallowed: [AGPL-3.0-only]}", "allow", "sbom-unknown", "LICENSE_DISALLOWED", verified),
		change("packages.disallowed[0].name", "packages: {disallowed: [{name: other}]}", "hello", "sbom-key", verified, "PACKAGE_DISALLOWED"),
		change("packages.disallowed[0].purl", "packages: {disallowed: [{purl: pkg:apk/alpine/other}]}", "pkg:apk/alpine/musl", "sbom-purl", verified, "PACKAGE_DISALLOWED"),
		change("packages.disallowed[0].versions", `packages: {disallowed: [{name: hello, versions: "<1.0.0"}]}`, `"<=1.0.0"`, "sbom-key", verified, "PACKAGE_DISALLOWED"),
		change("maxAge", "maxAge: 24h", "1ns", "sbom-key", verified, "EVIDENCE_TOO_OLD"),
	}
}

func vulnerabilityRows() []row {
	const settings = "verifiers[0].settings."
	change := func(at, from, to, image, was, is string) row {
		return row{at: settings + at, from: byKey("vulnerability", from), to: to, ask: "${" + image + "}", was: was, is: is}
	}
	const medium = "disallowedSeverities: [medium]"
	return []row{
		change("disallowedSeverities", "disallowedSeverities: [critical]", "[medium]", "vulnerability-key", verified, "VULNERABILITY_FOUND"),
		change("deniedCVEs", "deniedCVEs: [CVE-2021-44228]", "[CVE-2023-42364]", "vulnerability-key", verified, "VULNERABILITY_FOUND"),
		change("maxAge", "maxAge: 24h", "1m", "vulnerability-key", verified, "EVIDENCE_TOO_OLD"),
		change("scanners", "disallowedSeverities: [critical], scanners: [trivy]", "[grype]", "vulnerability-key", verified, "PREDICATE_MISMATCH"),
		change("vex", medium, "true", "scan-vex", "VULNERABILITY_FOUND", verified),
		change("vexFiles", medium, `["${FILES}/vex.json"]`, "vulnerability-key", "VULNERABILITY_FOUND", verified),
	}
}
