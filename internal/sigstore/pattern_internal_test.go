package sigstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
)

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, want string // what is wrong; empty: nothing
	}{
		{`^https://ci\.example/acme/.*$`, ""},
		{`^(a|b)$`, ""},
		{`^(?:a|b)$`, ""},
		{`^a$|^b$`, ""},
		{`(^a$|^b$)`, ""},
		{`(?i)^someone@example\.com$`, ""},
		{`\Ahttps://ci\.example/\z`, ""},
		{`^spiffe://trust\.domain/.+$`, ""},
		{`a`, `write "^(a)$"`},
		{`^a`, `write "^(a)$"`},
		{`a$`, `write "^(a)$"`},
		{`^a\$`, `write "^(a\\$)$"`},
		{`^a|b$`, `write "^(a|b)$"`},
		{`^a|b|c$`, "not anchored"},
		{`(^a)|(b$)`, "not anchored"},
		{`^a$|b`, "not anchored"},
		{`(?m)^a$`, "not anchored"}, // a line's ends are not the text's
		{`(?:^a$)*`, "not anchored"},
		{`^?a$`, "not anchored"},
		{`^a$?`, "not anchored"},
		{``, "it has neither"},
		{`^.*$`, "matches everything"},
		{`^(.*)$`, "matches everything"},
		{`^[\s\S]*$`, "matches everything"},
		{`^.+$`, "matches everything"},
		{`^.{2,}$`, "matches everything"},
		{`^(.|\n)+$`, "matches everything"},
		{`^\S*$`, "matches everything"},
		{`^([^ ]+)$`, "matches everything"},
		{`^.*@.*$|^.*$`, "matches everything"},
		{`^.*(@|://).*$`, "matches everything"},
		{`^https://.*$`, ""}, // see TestWarnings
		{`^(`, "missing closing )"},
		{`^\p{Nowhere}$`, "invalid character class range"},
	} {
		err := errors.Join(Identity{Issuer: "x", SubjectPattern: tc.pattern}.check()...)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: refused: %v", tc.pattern, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.pattern, err, tc.want)
		}
	}
}

// TestPanicIsContained: what a library does with a stranger's bytes stays with them.
func TestPanicIsContained(t *testing.T) {
	parse := func() (err error) {
		defer contain(&err)
		var nobody *publicKey
		_ = nobody.name
		return nil
	}
	var refused *ratify.Error
	if err := parse(); !errors.As(err, &refused) || refused.Code != ratify.EvidenceInvalid || refused.Err == nil {
		t.Errorf("%v", err)
	}
}

func TestListed(t *testing.T) {
	for n, want := range map[int]string{1: "a", 5: "a, a, a, a, a", 7: "a, a, a, a, a and 2 more"} {
		names := strings.Split(strings.Repeat("a", n), "")
		if got := listed(names); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
