package notation

import (
	"errors"
	"fmt"
	"maps"
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
	// Outcomes remembers what passed; nil remembers nothing.
	Outcomes *Outcomes
	// Observe is told of each signature that was looked at, what work it was; nil tells nobody.
	Observe func(Work)
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
	v := &Verifier{exact: map[string]*statement{}, private: cfg.AllowPrivateRevocation}
	for _, policy := range cfg.TrustPolicy.TrustPolicies {
		st, err := newStatement(policy, stores, cfg, deps)
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

// checkPolicy validates the document. The library stops at its first error, so that what can be told of each part is told
// of it alone, and the library sees what is left: rules between the parts of a statement, and between statements.
func (cfg Config) checkPolicy() []error {
	var problems []error
	add := func(place string, errs ...error) {
		for _, err := range errs {
			problems = append(problems, fmt.Errorf("trustPolicy: %s: %w", place, err))
		}
	}
	if cfg.TrustPolicy.Version != policyVersion {
		add("version", fmt.Errorf("expected %q, got %s", policyVersion, ratify.Quote(cfg.TrustPolicy.Version)))
	}
	if len(cfg.TrustPolicy.TrustPolicies) == 0 {
		add("trustPolicies", errors.New("there is no statement, so no signature could be trusted"))
		return problems
	}
	rest := trustpolicy.Document{Version: policyVersion}
	for i, policy := range cfg.TrustPolicy.TrustPolicies {
		place := fmt.Sprintf("trustPolicies[%d] %q", i, policy.Name)
		add(place, repairStatement(&policy, i)...)
		if err := validate(policy); err != nil {
			add(place, err)
		}
		alone := goodStatement()
		alone.Name, alone.RegistryScopes = policy.Name, policy.RegistryScopes
		if validate(alone) == nil {
			rest.TrustPolicies = append(rest.TrustPolicies, alone)
		}
	}
	if len(rest.TrustPolicies) > 0 {
		if err := rest.Validate(); err != nil {
			add("trustPolicies", err)
		}
	}
	return problems
}

// policyVersion is the only version of the document that there is for images.
const policyVersion = "1.0"

// repairStatement tells what is wrong with each part of a statement, and puts something good in its place, about which
// the library has nothing to say.
func repairStatement(policy *trustpolicy.TrustPolicy, i int) (problems []error) {
	if policy.Name == "" {
		problems = append(problems, errors.New("name: it has none"))
		policy.Name = fmt.Sprintf("statement %d", i)
	}
	if errs := checkLevel(policy.SignatureVerification); len(errs) > 0 {
		problems = append(problems, errs...)
		policy.SignatureVerification = trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name}
		if len(policy.TrustStores) == 0 && len(policy.TrustedIdentities) == 0 {
			policy.SignatureVerification.VerificationLevel = trustpolicy.LevelSkip.Name
		}
	}
	if len(policy.TrustStores) > 0 {
		policy.TrustStores = []string{"ca:any"} // checkReferences tells of them
	}
	var errs []error
	policy.TrustedIdentities, errs = goodOf("trustedIdentities", policy.TrustedIdentities, checkIdentity)
	problems = append(problems, errs...)
	policy.RegistryScopes, errs = goodOf("registryScopes", policy.RegistryScopes, checkScope)
	return append(problems, errs...)
}

// goodOf returns the texts that are good, or one that is, if none was among them.
func goodOf(place string, texts []string, check func(string) error) (good []string, problems []error) {
	for i, text := range texts {
		if err := check(text); err != nil {
			problems = append(problems, fmt.Errorf("%s[%d]: %w", place, i, err))
			continue
		}
		good = append(good, text)
	}
	if len(good) == 0 && len(texts) > 0 {
		good = []string{"*"}
	}
	return good, problems
}

// checkLevel says, before the library would in words of its own, what can stand in signatureVerification.
func checkLevel(v trustpolicy.SignatureVerification) (problems []error) {
	fail := func(place, got string, choices []string) {
		last := len(choices) - 1
		problems = append(problems, fmt.Errorf("signatureVerification: %s: expected %s or %s, got %s%s",
			place, strings.Join(choices[:last], ", "), choices[last], ratify.Quote(got), nearest(got, choices)))
	}
	levels := make([]string, len(trustpolicy.VerificationLevels))
	for i, level := range trustpolicy.VerificationLevels {
		levels[i] = level.Name
	}
	if !slices.Contains(levels, v.VerificationLevel) {
		fail("level", v.VerificationLevel, levels)
	}
	for _, kind := range slices.Sorted(maps.Keys(v.Override)) {
		if !slices.Contains(trustpolicy.ValidationTypes, kind) {
			fail("override", string(kind), names(trustpolicy.ValidationTypes))
		}
		if action := v.Override[kind]; !slices.Contains(trustpolicy.ValidationActions, action) {
			fail("override: "+string(kind), string(action), names(trustpolicy.ValidationActions))
		}
	}
	if timestamps := []trustpolicy.TimestampOption{trustpolicy.OptionAlways, trustpolicy.OptionAfterCertExpiry}; v.VerifyTimestamp != "" && !slices.Contains(timestamps, v.VerifyTimestamp) {
		fail("verifyTimestamp", string(v.VerifyTimestamp), names(timestamps))
	}
	if len(problems) == 0 {
		if _, err := v.GetVerificationLevel(); err != nil {
			problems = append(problems, fmt.Errorf("signatureVerification: %w", err))
		}
	}
	return problems
}

// identityPrefix is the only kind of trusted identity that the specification defines, identityForm how one is written.
const (
	identityPrefix = "x509.subject"
	identityForm   = identityPrefix + ": C=US, ST=WA, O=Example, CN=Release"
)

func checkIdentity(identity string) error {
	if identity == "*" {
		return nil
	}
	prefix, name, ok := strings.Cut(identity, ":")
	switch {
	case !ok:
		return fmt.Errorf("%s has no prefix, write it like %q", ratify.Quote(identity), identityForm)
	case prefix != identityPrefix:
		// The library passes over identities whose prefix it does not know: a statement would trust less than it says.
		return fmt.Errorf("unknown prefix %s%s, write it like %q", ratify.Quote(prefix), nearest(prefix, []string{identityPrefix}), identityForm)
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("%s names nobody, write it like %q", ratify.Quote(identity), identityForm)
	}
	alone := goodStatement()
	alone.TrustedIdentities = []string{identity}
	if err := validate(alone); err != nil {
		_, reason, found := strings.Cut(err.Error(), "with invalid identity value: ")
		if !found {
			reason = err.Error()
		}
		return fmt.Errorf("%s, write it like %q", reason, identityForm)
	}
	return nil
}

func checkScope(scope string) error {
	if scope == "*" {
		return nil
	}
	alone := goodStatement()
	alone.RegistryScopes = []string{scope}
	if err := validate(alone); err != nil {
		return err
	}
	// Repositories are compared in their canonical form; another spelling would never match.
	if s, err := ratify.ParseKey(scope); err == nil && s.Repository != scope {
		return fmt.Errorf("%s matches nothing, write %q", ratify.Quote(scope), s.Repository)
	}
	return nil
}

// goodStatement is one that the library has nothing to say about, to look at one part in.
func goodStatement() trustpolicy.TrustPolicy {
	return trustpolicy.TrustPolicy{
		Name: "any", RegistryScopes: []string{"*"}, TrustStores: []string{"ca:any"}, TrustedIdentities: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: trustpolicy.LevelStrict.Name},
	}
}

// validate has the library look at one statement. The place, which the library tells more than once, is the caller's.
func validate(policy trustpolicy.TrustPolicy) error {
	document := trustpolicy.Document{Version: policyVersion, TrustPolicies: []trustpolicy.TrustPolicy{policy}}
	err := document.Validate()
	if err == nil {
		return nil
	}
	message := strings.TrimPrefix(err.Error(), "trust policy: ")
	return errors.New(strings.TrimPrefix(message, fmt.Sprintf("trust policy statement %q ", policy.Name)))
}

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
		level, err := policy.SignatureVerification.GetVerificationLevel()
		looksAtRevocation = looksAtRevocation || err != nil || level.Enforcement[trustpolicy.TypeRevocation] != trustpolicy.ActionSkip
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

// suggest asks about the nearest of the choices, or lists them where none is near enough to have been meant.
func suggest(word string, choices []string) string {
	question := nearest(word, choices)
	if question == "" && len(choices) > 0 && len(choices) <= maxListed {
		return " (there is " + strings.Join(choices, ", ") + ")"
	}
	return question
}

// nearest asks about the choice that was probably meant, if one is near enough.
func nearest(word string, choices []string) string {
	best, distance := "", 1+max(len(word)/3, 1)
	for _, choice := range choices {
		if d := editDistance(strings.ToLower(word), strings.ToLower(choice)); d < distance {
			best, distance = choice, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
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
