package random

import (
	"bytes"
	"context"
	"go/parser"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// slips are the rules that the oracle can be told to get wrong, one for each that decides about an image.
var slips = []slip{
	"audit", "scope", "exemption", "platforms", "rule", "20 pieces", "subject", "signedBy", "signer", "tampered", "expiry", "certificate",
	"revoked", "about", "payload", "dirty", "age", "newest", "all",
}

// TestOracleStandsAlone holds that the oracle shares no code with what it judges: it imports the standard library alone, and so does
// what worlds are described in.
func TestOracleStandsAlone(t *testing.T) {
	for _, name := range []string{"oracle.go", "world.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if path, err := strconv.Unquote(i.Path.Value); err != nil || strings.Contains(path, ".") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}

// TestEverySlipShows holds that the worlds ask about every rule: an oracle that gets it wrong says something else of some
// images. As the program agrees with the oracle about all of them, it would not with that one.
func TestEverySlipShows(t *testing.T) {
	const worlds, least = 800, 3
	differ := map[slip]int{}
	for seed := range uint64(worlds) {
		w := generate(seed, "w1w")
		for i := range w.phases {
			p := &w.phases[i]
			for _, r := range p.requests {
				for _, k := range r.keys {
					right := (&oracle{w: w, p: p, c: &w.configs[p.config]}).answer(k, "")
					for _, s := range slips {
						wrongly := &oracle{w: w, p: p, c: &w.configs[p.config], slips: map[slip]bool{s: true}}
						if v := wrongly.answer(k, ""); v.class != right.class {
							differ[s]++
						}
					}
				}
			}
		}
	}
	t.Log(differ)
	for _, s := range slips {
		if differ[s] < least {
			t.Errorf("of %d worlds, the rule %q decides about %d images", worlds, s, differ[s])
		}
	}
}

// TestWrongAnswersShow holds that answers are compared: each of these is one that the program must not give.
func TestWrongAnswersShow(t *testing.T) {
	first := func(pattern, by string) func([]byte) []byte {
		expression := regexp.MustCompile(pattern)
		return func(body []byte) []byte { return expression.ReplaceAll(body, []byte(by)) }
	}
	for name, corrupt := range map[string]func([]byte) []byte{
		"a refusal that admits": func(body []byte) []byte {
			body = bytes.ReplaceAll(body, []byte(`"isSuccess":false,"succeeded":false`), []byte(`"isSuccess":true,"succeeded":true,"notAfter":4000000000`))
			return body
		},
		"an admission that refuses":  first(`"isSuccess":true,"succeeded":true(.*?),"notAfter":\d+`, `"isSuccess":false,"succeeded":false$1`),
		"a verdict without an end":   first(`"notAfter":\d+`, `"notAfter":4000000000`),
		"another image":              first(`"digest":"sha256:...`, `"digest":"sha256:000`),
		"another key":                first(`"items":\[\{"key":"`, `"items":[{"key":"x`),
		"no items":                   first(`"items":\[.*\]`, `"items":[]`),
		"items with a system error":  first(`"items":`, `"systemError":"slow","items":`),
		"an error for an answer":     first(`"items":\[.*\]`, `"systemError":"slow"`),
		"an answer of another kind":  first(`"kind":"ProviderResponse"`, `"kind":"Status"`),
		"half an answer":             func(body []byte) []byte { return body[:len(body)/2] },
		"an answer beyond all bound": func(body []byte) []byte { return append(body, bytes.Repeat([]byte(" "), mostAnswer)...) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := newLaboratory(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			l.corrupt = corrupt
			if !finds(t, l) {
				t.Error("nothing is found to be wrong")
			}
		})
	}
}

// TestAWrongRuleShows holds that worlds, program and oracle come together: with an oracle that trusts everybody, or that
// takes what was tampered with, answers are found to be wrong.
func TestAWrongRuleShows(t *testing.T) {
	for _, s := range []slip{"signer", "tampered"} {
		t.Run(string(s), func(t *testing.T) {
			l, err := newLaboratory(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			l.slips = map[slip]bool{s: true}
			if !finds(t, l) {
				t.Error("nothing is found to be wrong")
			}
		})
	}
}

// finds tells whether an answer in one of some worlds is found to be wrong.
func finds(t *testing.T, l *laboratory) bool {
	t.Helper()
	a := newInProcess(l.shared)
	for seed := range uint64(200) {
		switch err := l.ask(context.Background(), a, seed, nil); {
		case isWrong(err):
			return true
		case err != nil:
			t.Fatal(err)
		}
	}
	return false
}
