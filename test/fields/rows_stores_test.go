package fields

import "fmt"

// ofRegistry is a configuration of one registry's entry.
func ofRegistry(entry string, rest ...string) string {
	return fmt.Sprintf(`stores: [{name: registries, type: oras, scopes: ["*"], settings: {registries: [{%s}]}}]`+"\n", entry) +
		document(signers, everything("verifiers: [notation]"), rest...)
}

// registryRows are about how registries are reached.
func registryRows() []row {
	const field, image = "stores[0].settings.registries[0].", "/signed:v1"
	open := `host: "${HOST}", plainHTTP: true, allowPrivate: true`
	byTLS := `host: "%s", allowPrivate: true, caFile: "${FILES}/tls.crt"`
	proxied := `host: "*", plainHTTP: true, allowPrivate: true, proxy: "http://${PROXY}"`
	return []row{
		{at: field + "host", from: ofRegistry(open), to: "other.example", ask: "${signed}", was: verified, is: "REGISTRY_NOT_ALLOWED"},
		{at: field + "plainHTTP", from: ofRegistry(open), to: "", ask: "${signed}", was: verified, is: "REGISTRY_UNAVAILABLE"},
		{at: field + "allowPrivate", from: ofRegistry(open), to: "", ask: "${signed}", was: verified, is: "REGISTRY_NOT_ALLOWED"},
		{at: field + "authHosts", from: ofRegistry(`host: "${OPEN}", plainHTTP: true, allowPrivate: true, authHosts: ["${TOKENS}"]`), to: "", ask: "${OPEN}" + image, was: verified, is: "REGISTRY_NOT_ALLOWED"},
		{at: field + "redirectHosts", from: ofRegistry(fmt.Sprintf(byTLS, "${REDIRECTING}") + `, redirectHosts: ["${BLOBS}"]`), to: "", ask: "${REDIRECTING}" + image, was: verified, is: "REGISTRY_NOT_ALLOWED"},
		{at: field + "caFile", from: ofRegistry(fmt.Sprintf(byTLS, "${TLS}")), to: "${FILES}/signer/root.crt", ask: "${TLS}" + image, was: verified, is: "REGISTRY_UNAVAILABLE"},
		{at: field + "proxy", from: ofRegistry(proxied), to: "http://${CLOSED}", ask: "${SELF}" + image, was: verified, is: "REGISTRY_UNAVAILABLE"},
		{at: field + "noProxy", from: ofRegistry(proxied + ", noProxy: [other.example]"), to: `["${SELF}"]`, ask: "${SELF}" + image, was: verified, is: "REGISTRY_UNAVAILABLE"},
	}
}

// credentialRows are about the cluster's credentials.
func credentialRows() []row {
	const field = "stores[0].settings.registries[0].credentials[0]."
	type change struct{ at, source, to string }
	rows := func(host string, changes []change) (all []row) {
		for _, c := range changes {
			all = append(all, row{
				at:  field + c.at,
				ask: host + "/signed:v1", to: c.to, was: verified, is: "REGISTRY_AUTH",
				from: ofRegistry(fmt.Sprintf(`host: "%s", plainHTTP: true, allowPrivate: true, authHosts: ["${TOKENS}"], credentials: [{%s}]`, host, c.source)),
			})
		}
		return all
	}
	byHelper := `helper: {name: "${PROGRAMS}/full/` + helperName + `", env: [{name: ` + usernameVariable + `, value: ` + username + `}], passEnvironment: [` + passwordVariable + `]}`
	byPlugin := `provider: {config: "${FILES}/plugins.yaml", binDir: "${PROGRAMS}/full", passEnvironment: [` + passwordVariable + `]}`
	byPassword := `username: ` + username + `, password: ` + password
	return append(rows("${BASIC}", []change{
		{"repositories", byPassword + `, repositories: [signed]`, "[other]"},
		{"dockerConfig", `dockerConfig: "${FILES}/docker.json"`, "${FILES}/docker-other.json"},
		{"username", byPassword, "somebody"},
		{"password", byPassword, "wrong"},
		{"passwordFile", `username: ` + username + `, passwordFile: "${FILES}/password"`, "${FILES}/password-other"},
		{"helper.name", byHelper, "${PROGRAMS}/empty/" + helperName},
		{"helper.env[0].name", byHelper, "SOMETHING"},
		{"helper.env[0].value", byHelper, "somebody"},
		{"helper.passEnvironment", byHelper, ""},
		{"provider.config", byPlugin, "${FILES}/plugins-other.yaml"},
		{"provider.binDir", byPlugin, "${PROGRAMS}/empty"},
		{"provider.passEnvironment", byPlugin, ""},
		{"pullSecretDirectory", `pullSecretDirectory: "${FILES}/pull"`, "${FILES}/pull-other"},
	}), rows("${KNOWN}", []change{
		{"identityToken", "identityToken: " + identity, "wrong"},
		{"identityTokenFile", `identityTokenFile: "${FILES}/identity"`, "${FILES}/identity-other"},
	})...)
}

// tenantCredentialRows are about the credentials of tenants.
func tenantCredentialRows() []row {
	const field = "stores[0].settings.registries[0].credentials[0]."
	source := func(text string) string {
		return ofRegistry(`host: "${BASIC}", plainHTTP: true, allowPrivate: true, credentials: [{`+text+`}]`, "tenancy: {enabled: true}")
	}
	pullSecrets := source(`pullSecrets: {apiServer: "${API}", tokenFile: "${FILES}/api-token", caFile: "${FILES}/tls.crt"}`)
	const ask = "[team-a]${BASIC}/signed:v1"
	return []row{
		{at: field + "namespaces", from: source(`username: ` + username + `, password: ` + password + `, namespaces: [team-a]`), to: "[team-b]", ask: ask, was: verified, is: "REGISTRY_AUTH"},
		{at: field + "pullSecrets.serviceAccount", from: pullSecrets, to: "other", ask: ask, was: verified, is: "REGISTRY_AUTH"},
		{at: field + "pullSecrets.apiServer", from: pullSecrets, to: "${API_OTHER}", ask: ask, was: verified, is: "REGISTRY_AUTH"},
		{at: field + "pullSecrets.tokenFile", from: pullSecrets, to: "${FILES}/api-token-other", ask: ask, was: verified, is: "REGISTRY_AUTH"},
		{at: field + "pullSecrets.caFile", from: pullSecrets, to: "${FILES}/signer/root.crt", ask: ask, was: verified, is: "REGISTRY_AUTH"},
	}
}

func layoutRows() []row {
	layout := `stores: [{name: layout, type: ocilayout, scopes: ["*"], settings: {path: "${LAYOUT_signed}"}}]` + "\n"
	return []row{
		{at: "stores[0].settings.path", from: layout + byNotation, to: "${LAYOUT_unsigned}", ask: "${signed}", was: verified, is: "NO_REFERRERS"},
	}
}
