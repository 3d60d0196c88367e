package main

import (
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
)

func TestPlain(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"a digest":           {"sha256:abc", "sha256:abc"},
		"a name":             {"CN=Ünal & Söhne", "CN=Ünal & Söhne"},
		"an escape sequence": {"\x1b[2J", `"\x1b[2J"`},
		"a line of its own":  {"x\nerror: y", `"x\nerror: y"`},
		"reversed":           {"gpj.\u202eexe", `"gpj.\u202eexe"`},
		"zero width":         {"a\u200bb", `"a\u200bb"`},
		"no text":            {"\xff\xfe", `"\xff\xfe"`},
		"empty":              {"", ""},
	} {
		if got := plain(c.in); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := plain(strings.Repeat("x", 10_000)); len(got) > ratify.MaxTextBytes {
		t.Errorf("%d bytes of a long text", len(got))
	}
}

func TestTree(t *testing.T) {
	root := &node{text: "root"}
	first := root.add("first")
	first.add("a").add("deep")
	first.add("b")
	root.add("100%% %s", "last").add("c")
	var out strings.Builder
	root.print(&out)
	const want = `root
├── first
│   ├── a
│   │   └── deep
│   └── b
└── 100% last
    └── c
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestAttributesAreBounded(t *testing.T) {
	many := map[string]string{}
	for range 1000 {
		many[strings.Repeat("k", len(many)+1)] = "v"
	}
	n := &node{}
	n.addMap(many)
	if len(n.children) != maxShownAttributes+1 || n.children[maxShownAttributes].text != "… and 950 more" {
		t.Errorf("%d lines, the last is %s", len(n.children), n.children[len(n.children)-1].text)
	}
}

func TestColour(t *testing.T) {
	a, stdout, _ := testApp(t)
	a.ui.color = true
	reports := []*ratify.Report{
		{IsSuccess: true, Code: ratify.Verified, Subject: "s", Policy: "p"},
		{IsSuccess: true, Code: ratify.Skipped, Message: "nothing is asked for", Subject: "s", Policy: "p"},
		{Code: ratify.NoReferrers, Message: "m", Remedy: "r", Subject: "s"},
		{Code: ratify.RateLimited, Message: "m", Remedy: "r", Subject: "s", VerifierReports: []ratify.VerifierReport{
			{IsSuccess: true, Code: ratify.Verified, Name: "n", Message: "m"}, {Code: ratify.RateLimited, Name: "n", Message: "m"},
			{Code: ratify.NotExamined, Name: "n", Message: "m"}, {Code: ratify.NoSignature, Name: "n", Message: "m"},
		}},
	}
	for _, r := range reports {
		a.printReport(stdout, r)
	}
	const want = "\x1b[32m✓\x1b[0m \x1b[1ms\x1b[0m verified (policy p)\n" +
		"\x1b[32m✓\x1b[0m \x1b[1ms\x1b[0m SKIPPED: nothing is asked for (policy p)\n" +
		"\x1b[31m✗\x1b[0m \x1b[1ms\x1b[0m NO_REFERRERS: m\n  remedy: r\n" +
		"\x1b[33m?\x1b[0m \x1b[1ms\x1b[0m RATE_LIMITED: m\n  remedy: r\n" +
		"  \x1b[32m✓\x1b[0m n VERIFIED: m\n  \x1b[33m?\x1b[0m n RATE_LIMITED: m\n  - n NOT_EXAMINED: m\n  \x1b[31m✗\x1b[0m n NO_SIGNATURE: m\n"
	if got := stdout.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestRemedyNamesFlags(t *testing.T) {
	const text = "set plainHTTP or authHosts in the store's settings"
	if got := (&app{}).remedy(text); got != text {
		t.Errorf("with a configuration: %s", got)
	}
	if got := (&app{byFlags: true}).remedy(text); got != text+" (on this command line: --plain-http, --auth-host)" {
		t.Errorf("with flags: %s", got)
	}
	if got := (&app{byFlags: true}).remedy("ask again"); got != "ask again" {
		t.Errorf("of no setting: %s", got)
	}
}
