package sigstore

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"

	"github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/ratify-provider/ratify"
)

// An Identity is who may sign with a certificate of minutes: an OpenID Connect issuer, and whom it vouched for.
type Identity struct {
	// Issuer is the issuer's URL, exactly; IssuerPattern is a regular expression for it. One of both.
	Issuer        string `json:"issuer,omitempty"`
	IssuerPattern string `json:"issuerPattern,omitempty"`
	// Subject is the certificate's subject alternative name, exactly: an e-mail address, or the URL of a workflow;
	// SubjectPattern is a regular expression for it. One of both.
	//
	// Patterns are RE2, and must be anchored as a whole: ^(this|that)$ and not ^this|that$, in which that may stand anywhere.
	Subject        string `json:"subject,omitempty"`
	SubjectPattern string `json:"subjectPattern,omitempty"`
}

// identity is an Identity that was checked; its policy is what the library enforces.
type identity struct {
	text string
	open bool // issuer and subject are open ended
}

func (v *Verifier) loadIdentities(identities []Identity) (problems []error) {
	for i, id := range identities {
		place := fmt.Sprintf("identities[%d]", i)
		wrong := id.check()
		for _, err := range wrong {
			problems = append(problems, fmt.Errorf("%s: %w", place, err))
		}
		if len(wrong) > 0 {
			continue
		}
		matcher, err := verify.NewShortCertificateIdentity(id.Issuer, id.IssuerPattern, id.Subject, id.SubjectPattern)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", place, err))
			continue
		}
		v.identities = append(v.identities, &identity{text: id.String(), open: isOpenEnded(id.IssuerPattern) && isOpenEnded(id.SubjectPattern)})
		v.policies = append(v.policies, verify.WithCertificateIdentity(matcher))
	}
	return problems
}

// String says who, for a message.
func (id Identity) String() string {
	one := func(exact, pattern string) string {
		if exact != "" {
			return ratify.Quote(exact)
		}
		return "matching " + ratify.Quote(pattern)
	}
	return one(id.Subject, id.SubjectPattern) + " (issuer " + one(id.Issuer, id.IssuerPattern) + ")"
}

func (id Identity) check() (problems []error) {
	for _, part := range []struct{ name, exact, pattern string }{
		{"issuer", id.Issuer, id.IssuerPattern},
		{"subject", id.Subject, id.SubjectPattern},
	} {
		switch {
		case part.exact == "" && part.pattern == "":
			problems = append(problems, fmt.Errorf("%s or %sPattern: it has neither, and would trust everybody's", part.name, part.name))
		case part.exact != "" && part.pattern != "":
			problems = append(problems, fmt.Errorf("%s and %sPattern: it has both, give one", part.name, part.name))
		case part.pattern != "":
			re, err := CheckPattern(part.pattern)
			if err == nil && matchesAll(re) {
				err = errors.New("it matches everything: name who is trusted")
			}
			if err != nil {
				problems = append(problems, fmt.Errorf("%sPattern: %w", part.name, err))
			}
		}
	}
	return problems
}

// CheckPattern compiles a pattern (RE2), and refuses one that may match a part of a name, for whoever registers a name that
// contains the trusted one would be trusted. Errors begin with the pattern.
func CheckPattern(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ratify.Quote(pattern), err)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ratify.Quote(pattern), err)
	}
	if !isBounded(parsed, syntax.OpBeginText) || !isBounded(parsed, syntax.OpEndText) {
		return nil, fmt.Errorf("%s is not anchored as a whole, write %s", ratify.Quote(pattern), ratify.Quote(anchored(pattern)))
	}
	return re, nil
}

// isBounded tells whether every way through the expression begins with the beginning of the text (syntax.OpBeginText), or
// ends with its end (syntax.OpEndText).
func isBounded(re *syntax.Regexp, by syntax.Op) bool {
	switch re.Op {
	case by:
		return true
	case syntax.OpCapture:
		return isBounded(re.Sub[0], by)
	case syntax.OpConcat:
		at := 0
		if by == syntax.OpEndText {
			at = len(re.Sub) - 1
		}
		return isBounded(re.Sub[at], by)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return !isBounded(sub, by) })
	}
	return false
}

// anchored is the pattern as it was probably meant.
func anchored(pattern string) string {
	inner := pattern
	if len(inner) > 0 && inner[0] == '^' {
		inner = inner[1:]
	}
	if n := len(inner); n > 0 && inner[n-1] == '$' && (n < 2 || inner[n-2] != '\\') {
		inner = inner[:n-1]
	}
	return "^(" + inner + ")$"
}

// matchesAll tries the pattern on names of two kinds, which nobody would list together. Neither is empty, nor short: a
// pattern that asks for no more than some text is as open.
func matchesAll(re *regexp.Regexp) bool {
	return re.MatchString("https://ci.a.example/team/app/.ci/release.yml") && re.MatchString("somebody.of.a.team@mail.b.example")
}

// isOpenEnded tells whether a pattern matches names that have nothing in common but their form: URLs of two hosts,
// addresses of two domains, workloads of two trust domains. The pattern is one that compiles, or empty.
func isOpenEnded(pattern string) bool {
	re, err := regexp.Compile(pattern)
	if err != nil || pattern == "" {
		return false
	}
	for _, pair := range [][2]string{
		{"https://ci.a.example/team/app/.ci/release.yml@refs/heads/main", "https://b.test/x/y"},
		{"https://token.a.example", "https://b.test"},
		{"somebody.of.a.team@mail.a.example", "x@b.test"},
		{"spiffe://a.example/ns/team/sa/app", "spiffe://b.test/x/y"},
	} {
		if re.MatchString(pair[0]) && re.MatchString(pair[1]) {
			return true
		}
	}
	return false
}

// Warnings tells what of the trust an operator may not have meant: identities of which neither the issuer nor the subject
// names anybody. Who else may have a certificate of the trusted root's authorities decides what they admit.
func (v *Verifier) Warnings() (warnings []string) {
	for i, id := range v.identities {
		if id.open {
			warnings = append(warnings, fmt.Sprintf("identities[%d]: %s: both patterns match names of hosts that have nothing to do with one another, so that nearly every certificate is trusted", i, id.text))
		}
	}
	return warnings
}

// identityNames are the configured identities, for a message.
func (v *Verifier) identityNames() string {
	names := make([]string, 0, len(v.identities))
	for _, id := range v.identities {
		names = append(names, id.text)
	}
	return listed(names)
}
