package attestation

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
)

// A matcher holds one entry of a list of names: an exact one, or a pattern.
type matcher struct {
	text    string
	pattern *regexp.Regexp // nil: text is compared exactly
}

// newMatcher takes an entry that begins with ^ for a pattern. It refuses an exact name that looks like a pattern, for it would
// never match.
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
	pattern, err := sigstore.CheckPattern(entry)
	return matcher{text: entry, pattern: pattern}, err
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
