package main

import (
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/spf13/cobra"
)

// trustFlags are what the flags of a command say about whom to trust, for a question asked once. Each kind becomes a
// verifier, and all that are given must pass.
type trustFlags struct {
	certs, keys                                      []string
	identity, identityPattern, issuer, issuerPattern string
	root                                             string
}

// add defines the flags. Those for Sigstore have the names that cosign's have, but for the key's: its --key may be a URL.
func (t *trustFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVar(&t.certs, "notation-cert", nil, "trust Notary Project signatures that chain to a certificate in `file` (PEM or DER); may be repeated")
	flags.StringArrayVar(&t.keys, "cosign-key", nil, "trust cosign's signatures by the public key in `file` (PEM); may be repeated")
	flags.StringVar(&t.identity, "certificate-identity", "", "trust keyless signatures of this `identity`: an e-mail address, the URL of a workflow")
	flags.StringVar(&t.identityPattern, "certificate-identity-regexp", "", "the same for every identity that matches the `pattern`, which is anchored: ^…$")
	flags.StringVar(&t.issuer, "certificate-oidc-issuer", "", "the `URL` of who vouches for the identity")
	flags.StringVar(&t.issuerPattern, "certificate-oidc-issuer-regexp", "", "the same for every issuer that matches the `pattern`, which is anchored")
	flags.StringVar(&t.root, "trusted-root", "", "trusted_root.json `file` of the Sigstore instance that issued the identity's certificate")
	mustComplete(command.MarkFlagFilename("notation-cert", "pem", "crt", "cer", "der"))
	mustComplete(command.MarkFlagFilename("cosign-key", "pub", "pem"))
	mustComplete(command.MarkFlagFilename("trusted-root", "json"))
	for _, name := range []string{"certificate-identity", "certificate-identity-regexp", "certificate-oidc-issuer", "certificate-oidc-issuer-regexp"} {
		mustComplete(command.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
}

// given lists the flags that were given.
func (t *trustFlags) given() []string {
	return givenOf([]given{
		{"--notation-cert", t.certs != nil}, {"--cosign-key", t.keys != nil},
		{"--certificate-identity", t.identity != ""}, {"--certificate-identity-regexp", t.identityPattern != ""},
		{"--certificate-oidc-issuer", t.issuer != ""}, {"--certificate-oidc-issuer-regexp", t.issuerPattern != ""},
		{"--trusted-root", t.root != ""},
	})
}

// check refuses flags that would have no effect, and those that lack another.
func (t *trustFlags) check() error {
	identity, issuer := t.identity+t.identityPattern != "", t.issuer+t.issuerPattern != ""
	switch {
	case t.identity != "" && t.identityPattern != "":
		return usage("give one of them", "--certificate-identity and --certificate-identity-regexp exclude each other")
	case t.issuer != "" && t.issuerPattern != "":
		return usage("give one of them", "--certificate-oidc-issuer and --certificate-oidc-issuer-regexp exclude each other")
	case matchesEverybody(t.identityPattern):
		return usage(`name who is trusted, for example '^https://github\.com/acme/app/.*$'`, "--certificate-identity-regexp: %s matches everybody", plain(t.identityPattern))
	case identity && !issuer:
		return usage("name who vouches for the identity, for example https://token.actions.githubusercontent.com",
			"%s needs --certificate-oidc-issuer", strings.Join(t.given(), ", "))
	case issuer && !identity:
		return usage("an issuer vouches for everybody; name whom you trust", "%s needs --certificate-identity", strings.Join(t.given(), ", "))
	case identity && t.root == "":
		return usage("name the trusted_root.json of the Sigstore instance; nothing is fetched by itself", "--certificate-identity needs --trusted-root")
	case t.root != "" && !identity:
		return usage("", "--trusted-root has no effect without --certificate-identity")
	}
	return nil
}

// matchesEverybody tells of the usual patterns for everything, for which anchoring would be the wrong advice.
func matchesEverybody(pattern string) bool {
	core := strings.Trim(pattern, "^()$")
	return pattern != "" && (core == "" || core == ".*" || core == ".+")
}

// enter adds to a configuration the verifiers that the flags stand for, and a policy that asks all of them about every
// repository.
func (t *trustFlags) enter(file *config.File) {
	var names []string
	add := func(name, kind string, settings map[string]any) {
		names = append(names, name)
		file.Verifiers = append(file.Verifiers, config.Verifier{Module: config.Module{Name: name, Type: kind, Settings: config.NewSettings(commandLine, settings)}})
	}
	if t.certs != nil {
		add("notation", "notation", notationSettings(t.certs))
	}
	if t.keys != nil {
		keys := []map[string]any{}
		for _, file := range t.keys {
			keys = append(keys, map[string]any{"name": file, "file": file})
		}
		add("cosign", "cosign", map[string]any{"keys": keys, "cosignTags": true})
	}
	if t.root != "" {
		who := map[string]any{}
		for name, value := range map[string]string{"subject": t.identity, "subjectPattern": t.identityPattern, "issuer": t.issuer, "issuerPattern": t.issuerPattern} {
			if value != "" {
				who[name] = value
			}
		}
		add("keyless", "cosign", map[string]any{"identities": []any{who}, "trustedRoot": t.root, "cosignTags": true})
	}
	if names != nil {
		file.Policies = []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: names}}
	}
}

// notationSettings trust any identity that chains to one of the certificates, strictly, for every repository.
func notationSettings(certs []string) map[string]any {
	return map[string]any{
		"trustStores": []any{map[string]any{"type": "ca", "name": "certs", "files": certs}},
		"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
			"name": "default", "registryScopes": []string{"*"}, "signatureVerification": map[string]any{"level": "strict"},
			"trustStores": []string{"ca:certs"}, "trustedIdentities": []string{"*"},
		}}},
	}
}
