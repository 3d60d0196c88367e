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
		{IsSuccess: true, Code: ratify.WouldBeRefused, WouldBeCode: ratify.NoSignature, Message: "m", Remedy: "r", Subject: "s", Policy: "p", Namespace: "ns"},
		{Code: ratify.Verified, Message: "m", Subject: "s", Namespace: "ns"}, // a defect, which must not look like a success
	}
	for _, r := range reports {
		a.printReport(stdout, r)
	}
	const want = "\x1b[32m✓\x1b[0m \x1b[1ms\x1b[0m verified (policy p)\n" +
		"\x1b[32m✓\x1b[0m \x1b[1ms\x1b[0m SKIPPED: nothing is asked for (policy p)\n" +
		"\x1b[31m✗\x1b[0m \x1b[1ms\x1b[0m NO_REFERRERS: m\n  remedy: r\n" +
		"\x1b[33m?\x1b[0m \x1b[1ms\x1b[0m RATE_LIMITED: m\n  remedy: r\n" +
		"  \x1b[32m✓\x1b[0m n VERIFIED: m\n  \x1b[33m?\x1b[0m n RATE_LIMITED: m\n  - n NOT_EXAMINED: m\n  \x1b[31m✗\x1b[0m n NO_SIGNATURE: m\n" +
		"\x1b[33m!\x1b[0m \x1b[1ms\x1b[0m WOULD_BE_REFUSED: m (policy p, namespace ns)\n  would be: NO_SIGNATURE\n  remedy: r\n" +
		"\x1b[31m✗\x1b[0m \x1b[1ms\x1b[0m VERIFIED: m (namespace ns)\n"
	if got := stdout.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestReportOfSeveralVerifiers: who decided, what evidence is for where it is not the image's, and who vouches for it.
func TestReportOfSeveralVerifiers(t *testing.T) {
	a, stdout, _ := testApp(t)
	r := &ratify.Report{
		IsSuccess: true, Code: ratify.Verified, Subject: "mirror.example/app@sha256:1", Digest: "sha256:1", VerifiedAs: "registry.example/app",
		Policy: "p", DecidedBy: []string{"sbom", "\x1b[2J"},
		VerifierReports: []ratify.VerifierReport{
			{IsSuccess: true, Subject: "registry.example/app@sha256:1", Name: "sbom", Reference: "sha256:2", Code: ratify.Verified, Message: "m",
				NestedReports: []ratify.VerifierReport{{IsSuccess: true, Subject: "registry.example/app@sha256:2", Name: "notation", Reference: "sha256:3", Code: ratify.Verified, Message: "m"}}},
			{Subject: "registry.example/app@sha256:4", Name: "cosign", Code: ratify.NoReferrers, Message: "m"},
			{Subject: "registry.example/app:v1", Name: "cosign", Code: ratify.NoReferrers, Message: "m"},
		},
	}
	const want = `✓ mirror.example/app@sha256:1 verified (policy p)
  verified as: registry.example/app
  decided by: sbom, "\x1b[2J"
  ✓ sbom sha256:2 VERIFIED: m
    ✓ notation sha256:3 VERIFIED: m
  ✗ cosign of sha256:4 NO_REFERRERS: m
  ✗ cosign NO_REFERRERS: m
`
	if a.printReport(stdout, r); stdout.String() != want {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
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
	for remedy, flags := range map[string]string{
		"add the signer's public key to keys":                                           "--cosign-key",
		"sign with a trusted identity, or add this one to identities":                   "--certificate-identity",
		"sign with one of these keys, or add identities and a trustedRoot":              "--certificate-identity, --trusted-root",
		"sign again with a log that is in the trusted root, or add the log":             "--trusted-root",
		"sign with a trusted identity, or add this identity to trustedIdentities":       "",
		"add the signer's CA certificate to the trust store ca:certs, or sign it again": "--notation-cert",
	} {
		want := remedy
		if flags != "" {
			want += " (on this command line: " + flags + ")"
		}
		if got := (&app{byFlags: true}).remedy(remedy); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := (&app{byFlags: true}).remedy("ask again"); got != "ask again" {
		t.Errorf("of no setting: %s", got)
	}
}
