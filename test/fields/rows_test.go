package fields

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
)

func allRows() []row {
	return slices.Concat(
		moduleRows(), policyRows(), inTenants(moduleRowsOfVerifiers(), policyRows()), clusterRows(), tenancyRows(), cacheRows(),
		registryRows(), credentialRows(), tenantCredentialRows(), layoutRows(),
		notationRows(), trustRows("cosign", ""), trustRows("attestation", "predicateType: "+provenanceType),
		trustRows("sbom", ""), trustRows("vulnerability", "disallowedSeverities: [critical]"),
		attestationRows(), sbomRows(), vulnerabilityRows(),
	)
}

// document is a configuration of verifiers and policies, and whatever else it has.
func document(verifiers, policies string, rest ...string) string {
	return fmt.Sprintf("verifiers: [%s]\npolicies: [%s]\n%s\n", verifiers, policies, strings.Join(rest, "\n"))
}

// notationOf is a verifier of the Notary Project's signatures that trusts one root.
func notationOf(name, root string) string {
	return fmt.Sprintf(`{name: %s, type: notation, settings: {trustStores: [{type: ca, name: certs, files: ["${FILES}/%s"]}], trustPolicy: {version: "1.0", trustPolicies: [
  {name: default, registryScopes: ["*"], signatureVerification: {level: strict}, trustStores: ["ca:certs"], trustedIdentities: ["*"]}]}}}`, name, root)
}

var (
	signers   = notationOf("notation", "signer/root.crt")
	strangers = notationOf("strangers", "stranger/root.crt")
	// both are used by a policy for nothing that is asked about, so that the other policy may leave one out.
	both      = signers + ", " + strangers
	elsewhere = `, {name: elsewhere, scopes: ["unused.example/*"], verifiers: [notation, strangers]}`
	// byNotation is the smallest configuration.
	byNotation = document(signers, everything("verifiers: [notation]"))
)

// everything is a policy for all repositories.
func everything(rest string) string { return `{name: default, scopes: ["*"], ` + rest + `}` }

// verified is the code of what may run.
const verified = string(ratify.Verified)

// moduleRows are about what stores and verifiers have in common.
func moduleRows() []row {
	return append(moduleRowsOfVerifiers(),
		row{at: "stores[0].name", from: defaultStores + byNotation, to: "others", see: inCheck("stores[0].name"), was: "registries", is: "others", effect: "what ratify check shows"},
		row{at: "stores[0].scopes", from: defaultStores + byNotation, to: `["other.example/*"]`, ask: "${signed}", was: verified, is: "NO_STORE"},
		row{at: "stores[0].type", from: `stores: [{name: store, type: oras, scopes: ["*"]}]` + "\n" + byNotation, to: "ocilayout",
			along: map[string]string{"stores[0].settings": `{path: "${LAYOUT_signed}"}`}, why: "a layout has to be named, and nothing that names one is a setting of registries",
			ask: "${signed}", was: "REGISTRY_NOT_ALLOWED", is: verified},
	)
}

func moduleRowsOfVerifiers() []row {
	sboms := `{name: sbom, type: sbom, settings: {keys: [{name: ci, file: "${FILES}/key.pub"}], licenses: {disallowed: [AGPL-3.0-only]}}}`
	scans := `{name: scan, type: vulnerability, settings: {keys: [{name: ci, file: "${FILES}/key.pub"}], disallowedSeverities: [medium]}}`
	plain := `{name: sbom, type: sbom, signedBy: [notation, strangers]}`
	documents := `{name: documents, type: sbom, settings: {keys: [{name: ci, file: "${FILES}/key.pub"}], maxAge: 24h}}`
	evidence := func(to, was, is string) row {
		return row{at: "verifiers[0].evidence", from: document(sboms, everything("verifiers: [sbom]")), to: to, ask: "${sbom-two}", was: was, is: is}
	}
	return []row{
		{at: "verifiers[0].name", from: byNotation, to: "signatures", along: map[string]string{"policies[0].verifiers": "[signatures]"}, why: "a policy names it",
			ask: "${signed}", see: inReport("verifierReports[0].name"), was: "notation", is: "signatures", effect: "the report"},
		{at: "verifiers[0].type", from: document(documents, everything("verifiers: [documents]")), to: "vulnerability", ask: "${sbom-key}", was: verified, is: "PREDICATE_MISMATCH"},
		{at: "verifiers[0].evidence", from: byNotation, to: "all", ask: "${half-read}", was: verified, is: "REGISTRY_INVALID"},
		evidence("any", "LICENSE_DISALLOWED", verified),
		{at: "verifiers[0].evidence", from: document(scans, everything("verifiers: [scan]")), to: "any", ask: "${scan-two}", was: "VULNERABILITY_FOUND", is: verified},
		{at: "verifiers[0].evidence", from: strings.Replace(document(scans, everything("verifiers: [scan]")), "{name: scan,", "{name: scan, evidence: any,", 1), to: "all", ask: "${scan-two}", was: verified, is: "VULNERABILITY_FOUND"},
		{at: "verifiers[0].evidence", from: strings.Replace(document(scans, everything("verifiers: [scan]")), "{name: scan,", "{name: scan, evidence: any,", 1), to: "newest", ask: "${scan-two}", was: verified, is: "VULNERABILITY_FOUND"},
		{at: "verifiers[0].signedBy", from: document(plain+", "+both, everything("verifiers: [sbom]")+elsewhere), to: "[strangers]", ask: "${sbom-plain}", was: verified, is: "EVIDENCE_UNPROVEN"},
	}
}

// policyRows are about policies, of the cluster and of tenants alike.
func policyRows() []row {
	policy := func(rest string) string { return document(both, everything(rest)+elsewhere) }
	return []row{
		{at: "policies[0].name", from: byNotation, to: "other", ask: "${signed}", see: inReport("policy"), was: "default", is: "other", effect: "the report"},
		{at: "policies[0].scopes", from: byNotation, to: `["other.example/*"]`, ask: "${signed}", was: verified, is: "NO_POLICY"},
		{at: "policies[0].verifiers", from: policy("verifiers: [notation]"), to: "[strangers]", ask: "${signed}", was: verified, is: "UNTRUSTED_SIGNER"},
		{at: "policies[0].require", from: policy("verifiers: [notation, strangers]"), to: "any", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].require", from: policy("verifiers: [notation, strangers], require: all"), to: "1", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].require.all", from: policy("require: {all: [notation, strangers]}"), to: "[notation]", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].require.any", from: policy("require: {any: [strangers]}"), to: "[strangers, notation]", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].require.atLeast", from: policy("require: {atLeast: 2, of: [strangers, notation]}"), to: "1", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].require.of", from: policy("require: {atLeast: 1, of: [strangers]}"), to: "[strangers, notation]", ask: "${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "policies[0].rule", from: byNotation, to: `image.host == "other.example"`, ask: "${signed}", was: verified, is: "RULE_NOT_MET"},
		{at: "policies[0].platforms", from: byNotation, to: "all", ask: "${index}", was: verified, is: "NO_REFERRERS"},
		{at: "policies[0].platforms", from: byNotation, to: "any", ask: "${platforms}", was: "NO_REFERRERS", is: verified},
	}
}

// inTenants are rows whose document is the file of a tenant.
func inTenants(lists ...[]row) []row {
	var all []row
	for _, r := range slices.Concat(lists...) {
		r.inTenant = true
		if r.effect != "" {
			r.was, r.is = "team-a/"+r.was, "team-a/"+r.is // names of policies and verifiers
		}
		all = append(all, r)
	}
	return all
}

// clusterRows are about what only the cluster's configuration has.
func clusterRows() []row {
	exempting := func(rest string) string {
		return document(signers, everything("verifiers: [notation]"), "exemptions: [{reason: soon, expires: 2099-12-31, "+rest+"}]")
	}
	mirrored := document(signers, `{name: default, scopes: ["${HOST}/origin"], verifiers: [notation]}`,
		`mirrors: [{pulledFrom: "${HOST}/mirror", verifyAs: "${HOST}/origin", evidence: origin}]`)
	inScope := `scopes: ["${HOST}/unsigned"]`
	return []row{
		{at: "policies[0].mode", from: byNotation, to: "audit", ask: "${unsigned}", was: "NO_REFERRERS", is: "WOULD_BE_REFUSED"},
		{at: "policies[0].lastKnownGood", from: byNotation + "cache: {ttl: 1ns}", to: "1h", ask: "${" + awayImage + "@}", see: whileAway, args: []string{"--verify-timeout=3s"}, was: "DEADLINE", is: "LAST_KNOWN_GOOD"},
		{at: "exemptions[0].scopes", from: exempting(inScope), to: `["${HOST}/other"]`, ask: "${unsigned}", was: "EXEMPT", is: "NO_REFERRERS"},
		{at: "exemptions[0].digests", from: exempting(`digests: ["${unsigned#}"]`), to: `["${signed#}"]`, ask: "${unsigned}", was: "EXEMPT", is: "NO_REFERRERS"},
		{at: "exemptions[0].namespaces", from: exempting(inScope+", namespaces: [team-a]") + "tenancy: {enabled: true}\n", to: "[team-b]", ask: "[team-a]${unsigned}", was: "EXEMPT", is: "NO_REFERRERS"},
		{at: "exemptions[0].reason", from: exempting(inScope), to: "later", ask: "${unsigned}", see: inReport("message"), effect: "the report",
			was: "exempt from verification until 2100-01-01T00:00:00Z: soon", is: "exempt from verification until 2100-01-01T00:00:00Z: later"},
		{at: "exemptions[0].expires", from: exempting(inScope), to: "2020-12-31", ask: "${unsigned}", was: "EXEMPT", is: "NO_REFERRERS"},
		{at: "mirrors[0].pulledFrom", from: mirrored, to: "${HOST}/other", ask: "${mirror}", was: verified, is: "NO_POLICY"},
		{at: "mirrors[0].verifyAs", from: mirrored, to: "${HOST}/other", ask: "${mirror}", was: verified, is: "NO_POLICY"},
		{at: "mirrors[0].evidence", from: mirrored, to: "mirror", ask: "${mirror}", was: verified, is: "NO_REFERRERS"},
		{at: "policies[0].namespaces", from: document(both, `{name: team, namespaces: [team-a], scopes: ["*"], verifiers: [strangers]}, `+everything("verifiers: [notation]"), "tenancy: {enabled: true}"),
			to: "[team-b]", ask: "[team-a]${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "mutation.reference", from: byNotation, to: "digest", ask: "${signed}", see: mutated, was: "tag and digest", is: "digest", effect: "the pinned reference"},
		{at: "concurrency", from: byNotation, to: "1", ask: "${signed}", see: besideHeld, args: []string{"--verify-timeout=3s"}, was: verified, is: "DEADLINE"},
	}
}

// tenancyRows are about who the tenants are.
func tenancyRows() []row {
	tenant := document(notationOf("own", "stranger/root.crt"), everything("verifiers: [own]"))
	configured := document(signers, everything("verifiers: [notation]"), `tenancy: {enabled: true, directory: "${TENANTS}", delegate: [{namespaces: [team-a], scopes: ["*"]}]}`)
	enabled := document(signers, everything("verifiers: [notation]"), "tenancy: {enabled: true}")
	return []row{
		{at: "tenancy.enabled", from: enabled, to: "false", ask: "[team-a]${signed}", was: verified, is: "BAD_REFERENCE"},
		{at: "tenancy.withoutPolicy", from: enabled, to: "refuse", ask: "[team-a]${signed}", was: verified, is: "NO_POLICY"},
		{at: "tenancy.directory", from: configured, tenant: tenant, to: "${NONE}", ask: "[team-a]${signed}", was: "UNTRUSTED_SIGNER", is: verified},
		{at: "tenancy.delegate[0].namespaces", from: configured, tenant: tenant, to: "[team-b]", ask: "[team-a]${signed}", was: "UNTRUSTED_SIGNER", is: "TENANT_INVALID"},
		{at: "tenancy.delegate[0].scopes", from: configured, tenant: tenant, to: `["other.example/*"]`, ask: "[team-a]${signed}", was: "UNTRUSTED_SIGNER", is: "TENANT_INVALID"},
	}
}

// cacheRows are about what is remembered.
func cacheRows() []row {
	const effect = "what is remembered"
	return []row{
		{at: "cache.ttl", from: byNotation, to: "1ns", ask: "${signed@}", see: askedTwice, was: "remembered", is: "verified again", effect: effect},
		{at: "cache.refusalTTL", from: byNotation + "cache: {refusalTTL: 1h}", to: "1ns", ask: "${unsigned@}", see: askedTwice, was: "remembered", is: "verified again", effect: effect},
		{at: "cache.tagTTL", from: byNotation + "cache: {tagTTL: 1h}", to: "1ns", see: afterMove, was: "the image before", is: "the image now", effect: "what a tag means after it was moved"},
		{at: "cache.maxEntries", from: byNotation, to: "1", ask: "${signed@}", see: askedBetween, was: "remembered", is: "verified again", effect: effect},
		{at: "cache.maxBytes", from: byNotation, to: "1", ask: "${signed@}", see: askedTwice, was: "remembered", is: "verified again", effect: effect},
		// A verdict without an end in sight is one for 24 hours.
		{at: "gatekeeperCacheTTL", from: byNotation, to: "48h", ask: "${signed@}", see: askedTwice, was: "remembered", is: "verified again", effect: effect},
	}
}
