package attestation

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/ratify-provider/ratify"
)

// A matcher holds one entry of a list of names: an exact one, or a pattern.
type matcher struct {
	text    string
	pattern *regexp.Regexp // nil: text is compared exactly
}

// newMatcher takes an entry that begins with ^ for a pattern. It refuses a pattern that may match a part of a name, for
// whoever registers a name that contains an allowed one would be allowed, and an exact name that looks like a pattern, for
// it would never match.
func newMatcher(entry string) (matcher, error) {
	switch {
	case entry == "":
		return matcher{}, fmt.Errorf("it is empty")
	case strings.ContainsAny(entry, " \t\r\n"):
		return matcher{}, fmt.Errorf("%s has white space, which no URI has", ratify.Quote(entry))
	case !strings.HasPrefix(entry, "^"):
		if strings.ContainsAny(entry, `*\^`) || strings.HasSuffix(entry, "$") {
			return matcher{}, fmt.Errorf("%s is taken as it stands and looks like a pattern; write a regular expression that is anchored as a whole, ^(…)$", ratify.Quote(entry))
		}
		return matcher{text: entry}, nil
	}
	parsed, err := syntax.Parse(entry, syntax.Perl)
	if err != nil {
		return matcher{}, fmt.Errorf("%s: %w", ratify.Quote(entry), err)
	}
	if !isAnchored(parsed) {
		return matcher{}, fmt.Errorf("%s is not anchored as a whole, write ^(…)$", ratify.Quote(entry))
	}
	pattern, err := regexp.Compile(entry)
	if err != nil {
		return matcher{}, fmt.Errorf("%s: %w", ratify.Quote(entry), err)
	}
	return matcher{text: entry, pattern: pattern}, nil
}

// isAnchored tells whether the whole expression stands between the beginning and the end of the text: ^(a|b)$ does, ^a|b$
// does not, and neither does (?m)^a$, which is about lines.
func isAnchored(re *syntax.Regexp) bool {
	n := len(re.Sub)
	return re.Op == syntax.OpConcat && n > 1 && re.Sub[0].Op == syntax.OpBeginText && re.Sub[n-1].Op == syntax.OpEndText
}

func (m matcher) matches(name string) bool {
	if m.pattern != nil {
		return m.pattern.MatchString(name)
	}
	return m.text == name
}

func newMatchers(place string, entries []string) (matchers []matcher, problems []error) {
	seen := map[string]bool{}
	for i, entry := range entries {
		m, err := newMatcher(entry)
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%s[%d]: %w", place, i, err))
		case seen[entry]:
			problems = append(problems, fmt.Errorf("%s[%d]: %s is there twice", place, i, ratify.Quote(entry)))
		}
		seen[entry] = true
		matchers = append(matchers, m)
	}
	return matchers, problems
}

// wanted names what is allowed, for a message.
func wanted(matchers []matcher) string {
	const most = 3
	var names []string
	for _, m := range matchers {
		if len(names) == most {
			names = append(names, fmt.Sprintf("%d more", len(matchers)-most))
			break
		}
		name := ratify.Quote(m.text)
		if m.pattern != nil {
			name = "what matches " + name
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
