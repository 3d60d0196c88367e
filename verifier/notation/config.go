package notation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// Config is what an operator writes.
type Config struct {
	TrustStores []TrustStore `json:"trustStores"`
	// TrustPolicy is the Notary Project's own document, version 1.0, unchanged.
	TrustPolicy trustpolicy.Document `json:"trustPolicy"`
	// RequireRevocationInfo refuses, where revocation is enforced, a certificate that names neither an OCSP responder nor
	// a CRL. The specification lets it pass, and so does the default.
	RequireRevocationInfo bool `json:"requireRevocationInfo,omitempty"`
	// AllowPrivateRevocation allows responders and lists at private and loopback addresses.
	AllowPrivateRevocation bool `json:"allowPrivateRevocation,omitempty"`
}

// Deps are what a Verifier shares with the rest of the process.
type Deps struct {
	// Files reads the trust stores, and remembers what it read; nil reads them all the same.
	Files *files.Set
	// Revocation keeps revocation answers; nil makes one for this verifier alone.
	Revocation *Revocation
}

// New builds a verifier. All that is wrong with the configuration is in the error, one line each, with its place.
func New(cfg Config, deps Deps) (*Verifier, error) {
	if deps.Files == nil {
		deps.Files = &files.Set{}
	}
	if deps.Revocation == nil {
		deps.Revocation = NewRevocation(RevocationOptions{})
	}
	stores, problems := cfg.loadStores(deps.Files)
	problems = append(problems, cfg.checkPolicy()...)
	problems = append(problems, cfg.checkReferences()...)
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	v := &Verifier{exact: map[string]*statement{}}
	for _, policy := range cfg.TrustPolicy.TrustPolicies {
		st, err := newStatement(policy, stores, cfg, deps.Revocation)
		if err != nil {
			return nil, fmt.Errorf("trustPolicy: statement %s: %w", ratify.Quote(policy.Name), err)
		}
		for _, scope := range policy.RegistryScopes {
			if scope == "*" {
				v.fallback = st
				continue
			}
			v.exact[scope] = st
		}
	}
	return v, nil
}

func (cfg Config) loadStores(set *files.Set) (anchors, []error) {
	var problems []error
	stores := anchors{}
	for i, store := range cfg.TrustStores {
		place := fmt.Sprintf("trustStores[%d] %q", i, store.Name)
		types := names(truststore.Types)
		if !slices.Contains(types, string(store.Type)) {
			problems = append(problems, fmt.Errorf("%s: unknown type %s%s", place, ratify.Quote(string(store.Type)), suggest(string(store.Type), types)))
		}
		if !validName(store.Name) {
			problems = append(problems, fmt.Errorf("%s: a name has letters, digits, dots, dashes and underscores only", place))
		}
		if _, ok := stores[store.key()]; ok {
			problems = append(problems, fmt.Errorf("%s: %s is configured twice", place, store.key()))
		}
		certs, wrong := store.load(set)
		for _, err := range wrong {
			problems = append(problems, fmt.Errorf("%s: %w", place, err))
		}
		stores[store.key()] = certs
	}
	return stores, problems
}

// checkPolicy validates the document, one statement at a time, for the library stops at the first error.
func (cfg Config) checkPolicy() []error {
	var problems []error
	seen := map[string]bool{}
	add := func(err error) {
		if err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			problems = append(problems, err)
		}
	}
	doc := cfg.TrustPolicy
	for i, policy := range doc.TrustPolicies {
		place := fmt.Sprintf("trustPolicy: trustPolicies[%d] %q", i, policy.Name)
		single := trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{policy}}
		if err := single.Validate(); err != nil {
			add(fmt.Errorf("%s: %w", place, err))
		}
		for j, identity := range policy.TrustedIdentities {
			// The library passes over identities whose prefix it does not know: a statement would trust less than it says.
			if prefix, _, ok := strings.Cut(identity, ":"); ok && prefix != identityPrefix {
				add(fmt.Errorf("%s: trustedIdentities[%d]: unknown prefix %s%s", place, j, ratify.Quote(prefix), suggest(prefix, []string{identityPrefix})))
			}
		}
		for j, scope := range policy.RegistryScopes {
			if scope == "*" {
				continue
			}
			// Repositories are compared in their canonical form; another spelling would never match.
			if s, err := ratify.ParseKey(scope); err == nil && s.Repository != scope {
				add(fmt.Errorf("%s: registryScopes[%d]: %s matches nothing, write %q", place, j, ratify.Quote(scope), s.Repository))
			}
		}
	}
	// What is left are rules between statements, and those about the document as a whole.
	if len(problems) == 0 {
		if err := doc.Validate(); err != nil {
			add(fmt.Errorf("trustPolicy: %w", err))
		}
	} else if doc.Version != "1.0" {
		add(fmt.Errorf("trustPolicy: unsupported version %s, write \"1.0\"", ratify.Quote(doc.Version)))
	}
	return problems
}

// identityPrefix is the only kind of trusted identity that the specification defines.
const identityPrefix = "x509.subject"

// checkReferences compares what statements name with what is configured, both ways, and refuses settings without effect.
func (cfg Config) checkReferences() []error {
	var problems []error
	configured, used := []string{}, map[string]bool{}
	for _, store := range cfg.TrustStores {
		configured = append(configured, store.key())
	}
	looksAtRevocation := false
	for i, policy := range cfg.TrustPolicy.TrustPolicies {
		place := fmt.Sprintf("trustPolicy: trustPolicies[%d] %q", i, policy.Name)
		for j, name := range policy.TrustStores {
			used[name] = true
			if !slices.Contains(configured, name) {
				problems = append(problems, fmt.Errorf("%s: trustStores[%d]: %s is not configured%s", place, j, ratify.Quote(name), suggest(name, configured)))
			}
		}
		problems = append(problems, checkKinds(place, policy)...)
		if level, err := policy.SignatureVerification.GetVerificationLevel(); err == nil {
			looksAtRevocation = looksAtRevocation || level.Enforcement[trustpolicy.TypeRevocation] != trustpolicy.ActionSkip
		}
	}
	for i, store := range cfg.TrustStores {
		if !used[store.key()] {
			problems = append(problems, fmt.Errorf("trustStores[%d] %q: no trust policy statement uses %s", i, store.Name, store.key()))
		}
	}
	for name, set := range map[string]bool{"requireRevocationInfo": cfg.RequireRevocationInfo, "allowPrivateRevocation": cfg.AllowPrivateRevocation} {
		if set && !looksAtRevocation && len(cfg.TrustPolicy.TrustPolicies) > 0 {
			problems = append(problems, fmt.Errorf("%s: has no effect, every statement skips revocation", name))
		}
	}
	return problems
}

// checkKinds refuses a statement whose stores cannot do what it asks for.
func checkKinds(place string, policy trustpolicy.TrustPolicy) []error {
	var problems []error
	has := func(kind truststore.Type) bool {
		return slices.ContainsFunc(policy.TrustStores, func(name string) bool { return strings.HasPrefix(name, string(kind)+":") })
	}
	if has(truststore.TypeTSA) && !has(truststore.TypeCA) {
		problems = append(problems, fmt.Errorf("%s: a tsa trust store has no effect without one of type ca", place))
	}
	if policy.SignatureVerification.VerifyTimestamp != "" && !has(truststore.TypeTSA) {
		problems = append(problems, fmt.Errorf("%s: signatureVerification: verifyTimestamp has no effect without a trust store of type tsa", place))
	}
	return problems
}

// storeType is the kind of trust store that a signature of this scheme has to be anchored in.
func storeType(scheme signature.SigningScheme) truststore.Type {
	switch scheme {
	case signature.SigningSchemeX509:
		return truststore.TypeCA
	case signature.SigningSchemeX509SigningAuthority:
		return truststore.TypeSigningAuthority
	}
	return ""
}

func names[T ~string](values []T) []string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return texts
}

// suggest returns a question with the nearest of the choices, if one is near enough to have been meant.
func suggest(word string, choices []string) string {
	best, distance := "", 1+max(len(word)/3, 1)
	for _, choice := range choices {
		if d := editDistance(strings.ToLower(word), strings.ToLower(choice)); d < distance {
			best, distance = choice, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf(" (did you mean %q?)", best)
	case len(choices) > 0 && len(choices) <= maxListed:
		return " (there is " + strings.Join(choices, ", ") + ")"
	}
	return ""
}

// maxListed is how many choices fit a line.
const maxListed = 5

// editDistance counts the insertions, deletions and replacements between two short words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
