package sbom

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
)

const (
	// maxExpressionBytes bounds a licence expression: a hundred licences by references of 80 bytes, such as tools make of
	// what Debian's copyright files say, have as much.
	maxExpressionBytes = 8 << 10
	// maxExpressionDepth bounds the parentheses within parentheses; no tool writes more than three.
	maxExpressionDepth = 32
	// maxRemembered bounds the expressions whose verdict is kept while a document is read: an image has some hundreds.
	maxRemembered = 4096
)

// A license is one licence of an expression: an identifier with what may stand beside it.
type license struct {
	id        string // in lower case; GPL-2.0, GPL-2.0-only and GPL-2.0-or-later have the same
	orLater   bool
	exception string // in lower case, what stands after WITH
}

// fusedExceptions are deprecated identifiers that stand for a licence with an exception (SPDX License List).
var fusedExceptions = map[string]license{
	"gpl-2.0-with-autoconf-exception":  {id: "gpl-2.0", exception: "autoconf-exception-2.0"},
	"gpl-2.0-with-bison-exception":     {id: "gpl-2.0", exception: "bison-exception-2.2"},
	"gpl-2.0-with-classpath-exception": {id: "gpl-2.0", exception: "classpath-exception-2.0"},
	"gpl-2.0-with-font-exception":      {id: "gpl-2.0", exception: "font-exception-2.0"},
	"gpl-2.0-with-gcc-exception":       {id: "gpl-2.0", exception: "gcc-exception-2.0"},
	"gpl-3.0-with-autoconf-exception":  {id: "gpl-3.0", exception: "autoconf-exception-3.0"},
	"gpl-3.0-with-gcc-exception":       {id: "gpl-3.0", exception: "gcc-exception-3.1"},
}

// simple reads an identifier, without WITH. The deprecated GPL-2.0 is GPL-2.0-only, and GPL-2.0+ is GPL-2.0-or-later.
func simple(text string) license {
	text = strings.ToLower(text)
	if isReference(text) {
		return license{id: text}
	}
	id, orLater := strings.CutSuffix(text, "+")
	if fused, ok := fusedExceptions[id]; ok {
		fused.orLater = orLater
		return fused
	}
	if base, ok := strings.CutSuffix(id, "-or-later"); ok {
		return license{id: base, orLater: true}
	}
	return license{id: strings.TrimSuffix(id, "-only"), orLater: orLater}
}

// isReference tells whether an identifier in lower case is one that the document itself explains.
func isReference(id string) bool {
	return strings.HasPrefix(id, "licenseref-") || strings.HasPrefix(id, "documentref-")
}

// parseSimple reads what stands in a configuration: an identifier, or an identifier WITH an exception.
func parseSimple(text string) (license, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return license{}, err
	}
	switch {
	case len(tokens) == 1 && isIdentifier(tokens[0]):
		return simple(tokens[0]), nil
	case len(tokens) == 3 && isIdentifier(tokens[0]) && strings.EqualFold(tokens[1], "WITH") && isIdentifier(tokens[2]):
		l := simple(tokens[0])
		if l.exception != "" {
			return license{}, errors.New("it names two exceptions")
		}
		l.exception = strings.ToLower(tokens[2])
		return l, nil
	}
	return license{}, errors.New("expected one identifier, or one WITH an exception; what is joined by AND or OR is listed one by one")
}

// A licenseKey is a licence in one version, with an exception or without.
type licenseKey struct{ id, exception string }

// licenseRules judge licences. The zero value has nothing to say.
type licenseRules struct {
	list                *licenseList
	disallowed, allowed map[licenseKey]bool
	named               map[string]bool // identifiers that a rule names
	allowUnknown        bool
}

func (r *licenseRules) any() bool { return len(r.disallowed)+len(r.allowed) > 0 }

// build makes rules of a configuration, and tells all that is wrong with it.
func (l Licenses) build() (licenseRules, []error) {
	r := licenseRules{list: newLicenseList(), named: map[string]bool{}, allowUnknown: l.Unknown == unknownAllow}
	var problems []error
	r.disallowed, problems = r.compile("licenses: disallowed", l.Disallowed, problems)
	r.allowed, problems = r.compile("licenses: allowed", l.Allowed, problems)
	for i, text := range l.Allowed {
		if entry, err := parseSimple(text); err == nil && r.disallowed[licenseKey{entry.id, entry.exception}] {
			problems = append(problems, fmt.Errorf("licenses: allowed[%d]: %s is disallowed, too", i, ratify.Quote(text)))
		}
	}
	switch {
	case l.Unknown != "" && l.Unknown != unknownAllow && l.Unknown != unknownRefuse:
		problems = append(problems, fmt.Errorf("licenses: unknown: expected %s or %s, got %s", unknownAllow, unknownRefuse, ratify.Quote(l.Unknown)))
	case l.Unknown != "" && len(l.Disallowed)+len(l.Allowed) == 0:
		problems = append(problems, errors.New("licenses: unknown: has no effect without disallowed or allowed"))
	}
	return r, problems
}

// compile puts each entry under all versions that it stands for.
func (r *licenseRules) compile(place string, entries []string, problems []error) (map[licenseKey]bool, []error) {
	keys := map[licenseKey]bool{}
	for i, text := range entries {
		entry, err := parseSimple(text)
		if err == nil && !r.list.known[entry.id] && !isReference(entry.id) {
			err = fmt.Errorf("it is no identifier of the SPDX License List%s", r.suggest(text))
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s[%d]: %s: %w", place, i, ratify.Quote(text), err))
			continue
		}
		r.named[entry.id] = true
		for _, id := range r.versions(entry) {
			keys[licenseKey{id, entry.exception}] = true
		}
	}
	return keys, problems
}

// suggest names the identifier that was probably meant: of a family that is named without its version, the newest that is
// exact (AGPL is AGPL-3.0-only), or what is spelled nearly so.
func (r *licenseRules) suggest(text string) string {
	family := ""
	for _, name := range r.list.names {
		rest, of := strings.CutPrefix(strings.ToLower(name), strings.ToLower(text)+"-")
		version, exact := strings.CutSuffix(rest, "-only")
		if of && exact && strings.Trim(version, "0123456789.") == "" && name > family {
			family = name
		}
	}
	if family != "" {
		return fmt.Sprintf(" (did you mean %q?)", family)
	}
	if near := config.Nearest(text, r.list.names); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	return ""
}

// versions are the identifiers under which somebody who is granted the licence may use it.
func (r *licenseRules) versions(l license) []string {
	ids := []string{l.id}
	if l.orLater {
		ids = append(ids, r.list.later(l.id)...)
	}
	return ids
}

// accepts judges one licence. Who is granted a version or any later one may choose, so that one good version is enough; of
// versions that do not exist yet nothing is assumed. An exception gives more rights and takes none: what is allowed
// without is allowed with it. For a rule that disallows it is the other way round: the licence with an exception is
// disallowed, too, unless allowed names it with this exception.
func (r *licenseRules) accepts(l license) (ok bool, why string) {
	if !r.list.known[l.id] && !r.named[l.id] {
		return r.allowUnknown, isUnknown
	}
	for _, id := range r.versions(l) {
		bare, exact := licenseKey{id: id}, licenseKey{id, l.exception}
		switch {
		case l.exception != "" && r.allowed[exact]:
			return true, ""
		case r.disallowed[bare] || r.disallowed[exact]:
			why = "is disallowed"
		case len(r.allowed) > 0 && !r.allowed[bare] && !r.allowed[exact]:
			why = "is not allowed"
		default:
			return true, ""
		}
	}
	return false, why
}

// A licenseVerdict is what the rules say of an expression: which of its licences stands in the way, and why.
type licenseVerdict struct {
	ok             bool
	absent         bool // nobody says what the licence is
	text, bad, why string
}

// judge judges an expression: whether it leaves a choice of licences that the rules accept.
func (r *licenseRules) judge(text string) licenseVerdict {
	text = strings.TrimSpace(text)
	v := licenseVerdict{text: text, bad: text}
	switch {
	case text == "" || strings.EqualFold(text, noAssertion) || strings.EqualFold(text, noLicense):
		v.ok, v.absent, v.why = r.allowUnknown, true, isUnknown
		return v
	case len(text) > maxExpressionBytes:
		// What is not read might name anything, so that the option for what is not known does not cover it.
		v.why = fmt.Sprintf("is longer than %d bytes", maxExpressionBytes)
		return v
	}
	tokens, err := tokenize(text)
	e := expression{rules: r, tokens: tokens}
	if err == nil {
		v.ok, err = e.either(0)
	}
	switch {
	case errors.Is(err, errTooDeep):
		v.ok, v.why = false, err.Error()
	case err != nil || len(e.tokens) > 0:
		v.ok, v.why = r.allowUnknown, isUnknown
	case !v.ok:
		v.bad, v.why = e.bad, e.why
	}
	return v
}

// isUnknown is what verdicts say of a licence that nobody knows.
const isUnknown = "is unknown"

// What stands in the place of an expression (SPDX 2.3, 7.13 and 7.15).
const (
	noAssertion = "NOASSERTION" // nobody says
	noLicense   = "NONE"        // somebody looked and found none
)

var (
	errTooDeep   = fmt.Errorf("is nested deeper than %d", maxExpressionDepth)
	errMalformed = errors.New("it is no licence expression")
)

// An expression is read and judged in one go (SPDX 2.3, annex D): WITH binds tightest, then AND, then OR.
type expression struct {
	rules    *licenseRules
	tokens   []string
	bad, why string // of the first licence that is not accepted
}

func (e *expression) take(word string) bool {
	if len(e.tokens) == 0 || !strings.EqualFold(e.tokens[0], word) {
		return false
	}
	e.tokens = e.tokens[1:]
	return true
}

func (e *expression) either(depth int) (bool, error) {
	ok, err := e.both(depth)
	for err == nil && e.take("OR") {
		var other bool
		other, err = e.both(depth)
		ok = ok || other
	}
	return ok, err
}

func (e *expression) both(depth int) (bool, error) {
	ok, err := e.one(depth)
	for err == nil && e.take("AND") {
		var other bool
		other, err = e.one(depth)
		ok = ok && other
	}
	return ok, err
}

func (e *expression) one(depth int) (bool, error) {
	if e.take("(") {
		if depth == maxExpressionDepth {
			return false, errTooDeep
		}
		ok, err := e.either(depth + 1)
		if err == nil && !e.take(")") {
			err = errMalformed
		}
		return ok, err
	}
	if len(e.tokens) == 0 || !isIdentifier(e.tokens[0]) {
		return false, errMalformed
	}
	text := e.tokens[0]
	l := simple(text)
	e.tokens = e.tokens[1:]
	if e.take("WITH") {
		if len(e.tokens) == 0 || !isIdentifier(e.tokens[0]) || l.exception != "" {
			return false, errMalformed
		}
		text += " WITH " + e.tokens[0]
		l.exception = strings.ToLower(e.tokens[0])
		e.tokens = e.tokens[1:]
	}
	ok, why := e.rules.accepts(l)
	if !ok && e.bad == "" {
		e.bad, e.why = text, why
	}
	return ok, nil
}

// tokenize splits an expression into parentheses and words.
func tokenize(text string) ([]string, error) {
	var tokens []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := strings.IndexAny(text, " \t\r\n()")
		switch {
		case end < 0:
			end = len(text)
		case end == 0:
			end = 1 // a parenthesis
		}
		token := text[:end]
		if token != "(" && token != ")" && strings.Trim(token, identifierLetters) != "" {
			return nil, errMalformed
		}
		tokens, text = append(tokens, token), text[end:]
	}
	if len(tokens) == 0 {
		return nil, errMalformed
	}
	return tokens, nil
}

// identifierLetters are those of identifiers, with the colon of references to other documents and the + operator.
const identifierLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:+"

// isIdentifier tells words that are no operators.
func isIdentifier(token string) bool {
	switch strings.ToUpper(token) {
	case "AND", "OR", "WITH", "(", ")":
		return false
	}
	return !strings.Contains(strings.TrimSuffix(token, "+"), "+") && strings.TrimLeft(token, "+-.:") == token
}
