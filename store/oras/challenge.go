package oras

import (
	"net/url"
	"slices"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	// maxScopes and maxScopeBytes bound the scopes of a challenge that are asked of a token server: a read needs one.
	maxScopes     = 8
	maxScopeBytes = 1 << 10
)

// The schemes that are answered (RFC 7617, RFC 6750).
const (
	schemeBasic  = "basic"
	schemeBearer = "bearer"
)

// challenge is one challenge of a WWW-Authenticate header (RFC 9110 §11.6.1).
type challenge struct {
	scheme string // lower case
	params map[string]string
}

// parseChallenges reads all challenges of a header's lines, as far as they follow the grammar.
func parseChallenges(lines []string) []challenge {
	var all []challenge
	for _, line := range lines {
		all = append(all, parseChallengeLine(line)...)
	}
	return all
}

// parseChallengeLine tells a new challenge from a further parameter of the last one by what follows its first word: a
// parameter has an equals sign there.
func parseChallengeLine(line string) []challenge {
	if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
		return nil // nothing that a URL, a service or a scope has
	}
	var list []challenge
	for rest := line; ; {
		rest = strings.TrimLeft(rest, " \t,")
		word, after := cutToken(rest)
		if word == "" {
			return list
		}
		value, isParam := strings.CutPrefix(strings.TrimLeft(after, " \t"), "=")
		if !isParam {
			list = append(list, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			rest = after
			continue
		}
		value, after, ok := parameterValue(strings.TrimLeft(value, " \t"))
		if !ok || len(list) == 0 {
			return list
		}
		params := list[len(list)-1].params
		// The first one counts: a second one would be another reading of the same challenge.
		if key := strings.ToLower(word); params[key] == "" {
			params[key] = value
		}
		rest = after
	}
}

func isTokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func cutToken(s string) (word, rest string) {
	end := strings.IndexFunc(s, func(r rune) bool { return !isTokenRune(r) })
	if end < 0 {
		return s, ""
	}
	return s[:end], s[end:]
}

// parameterValue reads a token or a quoted string (RFC 9110 §5.6.4).
func parameterValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// chooseChallenge gives the one challenge that is answered: Bearer before Basic, since a token can do less than a password.
// Others are not understood.
func chooseChallenge(lines []string) (chosen challenge, ok bool) {
	for _, c := range parseChallenges(lines) {
		switch c.scheme {
		case schemeBearer:
			return c, true
		case schemeBasic:
			chosen, ok = c, true
		}
	}
	return chosen, ok
}

// String writes the challenge in the form that oras-go reads. Scopes beyond reading are left out: a token that can write
// is nothing that a registry needs to be handed for a read.
func (c challenge) String() string {
	if c.scheme == schemeBasic {
		return "Basic"
	}
	text := "Bearer realm=" + quoted(c.params["realm"]) + ",service=" + quoted(c.params["service"])
	if scope := readScopes(c.params["scope"]); scope != "" {
		text += ",scope=" + quoted(scope)
	}
	return text
}

// general is the challenge as it would be for any other repository of the registry: without the scope of reading the one of
// the path. It is empty where the challenge may be about this repository in another way.
func (c challenge) general(path string) string {
	realm, err := url.Parse(c.params["realm"])
	if c.scheme != schemeBearer || err != nil || realm.RawQuery != "" || shareSegment(realm.Path, path) {
		return ""
	}
	var scopes []string
	for scope := range strings.FieldsSeq(readScopes(c.params["scope"])) {
		switch {
		case scope == auth.ScopeRepository(path, auth.ActionPull):
		case strings.HasPrefix(scope, "repository:"):
			return ""
		default:
			scopes = append(scopes, scope)
		}
	}
	params := map[string]string{"realm": c.params["realm"], "service": c.params["service"], "scope": strings.Join(scopes, " ")}
	return challenge{scheme: schemeBearer, params: params}.String()
}

// shareSegment tells whether a segment of one path is one of the other's: some registries have a token server for each of
// their parts, whose name begins a repository's path and is in the realm's.
func shareSegment(realm, repository string) bool {
	of := strings.Split(repository, "/")
	return slices.ContainsFunc(strings.Split(realm, "/"), func(s string) bool { return slices.Contains(of, s) })
}

// quoted writes a quoted string that Go's unquoting, which oras-go uses for it, reads back as it is.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", " ").Replace(s) + `"`
}

// readScopes keeps the scopes of a challenge, type:name:actions, without the actions that write.
func readScopes(text string) string {
	if len(text) > maxScopeBytes {
		return ""
	}
	var kept []string
	for scope := range strings.FieldsSeq(text) {
		i := strings.LastIndexByte(scope, ':')
		if i < 0 {
			kept = append(kept, scope) // not of this form, and the token server knows what it means
			continue
		}
		var actions []string
		for action := range strings.SplitSeq(scope[i+1:], ",") {
			switch action {
			case "push", "delete", "*":
			default:
				actions = append(actions, action)
			}
		}
		if len(actions) > 0 {
			kept = append(kept, scope[:i+1]+strings.Join(actions, ","))
		}
	}
	return strings.Join(kept[:min(len(kept), maxScopes)], " ")
}
