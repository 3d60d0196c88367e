package sbom

import (
	"strings"
	"testing"
)

func rulesOf(t testing.TB, l Licenses) *licenseRules {
	t.Helper()
	r, problems := l.build()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return &r
}

func TestLicenses(t *testing.T) {
	disallow := func(entries ...string) Licenses { return Licenses{Disallowed: entries} }
	allow := func(entries ...string) Licenses { return Licenses{Allowed: entries} }
	reference := "LicenseRef-Example"
	for _, tc := range []struct {
		name  string
		rules Licenses
		text  string
		ok    bool
		bad   string
	}{
		{"another licence", disallow("GPL-3.0-only"), "MIT", true, ""},
		{"the licence", disallow("GPL-3.0-only"), "GPL-3.0-only", false, "GPL-3.0-only"},
		{"in other letters", disallow("gpl-3.0-ONLY"), "Gpl-3.0-Only", false, "Gpl-3.0-Only"},
		{"a deprecated identifier in the document", disallow("GPL-2.0-only"), "GPL-2.0", false, "GPL-2.0"},
		{"a deprecated identifier in the rule", disallow("GPL-2.0"), "GPL-2.0-only", false, "GPL-2.0-only"},
		{"a deprecated + in the document", disallow("GPL-2.0-or-later"), "GPL-2.0+", false, "GPL-2.0+"},
		{"a deprecated + in the rule", disallow("LGPL-2.1+"), "LGPL-3.0-only", false, "LGPL-3.0-only"},
		{"a deprecated exception", disallow("GPL-2.0 WITH Classpath-exception-2.0"), "GPL-2.0-with-classpath-exception", false, "GPL-2.0-with-classpath-exception"},
		{"GPL is not LGPL", disallow("GPL-2.0-or-later"), "LGPL-3.0-only", true, ""},
		{"an earlier version", disallow("GPL-3.0-or-later"), "GPL-2.0-only", true, ""},
		{"a later version", disallow("GPL-2.0-or-later"), "GPL-3.0-only", false, "GPL-3.0-only"},
		{"or later leaves a choice", disallow("GPL-2.0-only"), "GPL-2.0-or-later", true, ""},
		{"or later leaves the earlier version", disallow("GPL-3.0-or-later"), "GPL-2.0-or-later", true, ""},
		{"or later than the last", disallow("GPL-3.0-only"), "GPL-3.0-or-later", false, "GPL-3.0-or-later"},
		{"or later, and all are disallowed", disallow("GPL-2.0-or-later"), "GPL-2.0-or-later", false, "GPL-2.0-or-later"},
		{"+ of another family", disallow("Apache-1.1"), "Apache-1.1+", true, ""},
		{"+ and no version is later", disallow("Apache-2.0"), "Apache-2.0+", false, "Apache-2.0+"},
		{"a number that is no version", disallow("BSD-2-Clause"), "BSD-2-Clause+", false, "BSD-2-Clause+"},
		{"documentation without invariants", disallow("GFDL-1.1-no-invariants-or-later"), "GFDL-1.3-no-invariants-only", false, "GFDL-1.3-no-invariants-only"},
		{"documentation with invariants", disallow("GFDL-1.1-no-invariants-or-later"), "GFDL-1.3-invariants-only", true, ""},

		{"OR with a way out", disallow("GPL-3.0-only"), "GPL-3.0-only OR MIT", true, ""},
		{"OR without", disallow("GPL-3.0-only", "MIT"), "GPL-3.0-only OR MIT", false, "GPL-3.0-only"},
		{"AND", disallow("GPL-3.0-only"), "MIT AND GPL-3.0-only", false, "GPL-3.0-only"},
		{"AND binds tighter than OR", disallow("MIT"), "BSD-3-Clause OR ISC AND MIT", true, ""},
		{"AND binds tighter than OR, before", disallow("MIT"), "MIT AND ISC OR MIT", false, "MIT"},
		{"parentheses", disallow("MIT"), "(BSD-3-Clause OR ISC) AND MIT", false, "MIT"},
		{"parentheses within parentheses", disallow("MIT"), "((MIT OR (ISC)) AND (Zlib))", true, ""},
		{"small operators", disallow("GPL-3.0-only"), "mit or gpl-3.0-only", true, ""},

		{"an exception, disallowed without", disallow("GPL-2.0-only"), "GPL-2.0-only WITH Classpath-exception-2.0", false, "GPL-2.0-only WITH Classpath-exception-2.0"},
		{"an exception, disallowed with it", disallow("GPL-2.0-only WITH Classpath-exception-2.0"), "GPL-2.0-only WITH Classpath-exception-2.0", false, "GPL-2.0-only WITH Classpath-exception-2.0"},
		{"another exception", disallow("GPL-2.0-only WITH Classpath-exception-2.0"), "GPL-2.0-only WITH GCC-exception-2.0", true, ""},
		{"no exception", disallow("GPL-2.0-only WITH Classpath-exception-2.0"), "GPL-2.0-only", true, ""},
		{"an exception that is allowed by name", Licenses{Disallowed: []string{"GPL-2.0-only"}, Allowed: []string{"MIT", "GPL-2.0-only WITH Classpath-exception-2.0"}},
			"GPL-2.0-only WITH Classpath-exception-2.0", true, ""},
		{"an exception to what is allowed", allow("GPL-2.0-only"), "GPL-2.0-only WITH Classpath-exception-2.0", true, ""},
		{"only the exception is allowed", allow("GPL-2.0-only WITH Classpath-exception-2.0"), "GPL-2.0-only", false, "GPL-2.0-only"},

		{"allowed", allow("MIT"), "MIT", true, ""},
		{"not allowed", allow("MIT"), "ISC", false, "ISC"},
		{"allowed and later", allow("GPL-2.0-or-later"), "GPL-3.0-only", true, ""},
		{"later than what is allowed", allow("GPL-2.0-only"), "GPL-3.0-only", false, "GPL-3.0-only"},
		{"or later, of which one is allowed", allow("GPL-3.0-only"), "GPL-2.0-or-later", true, ""},
		{"allowed and disallowed", Licenses{Disallowed: []string{"GPL-3.0-only"}, Allowed: []string{"GPL-2.0-or-later"}}, "GPL-3.0-only", false, "GPL-3.0-only"},

		{"no assertion", disallow("MIT"), "NOASSERTION", false, "NOASSERTION"},
		{"none", disallow("MIT"), "none", false, "none"},
		{"nothing", disallow("MIT"), " ", false, ""},
		{"words", disallow("MIT"), "Apache License, Version 2.0", false, "Apache License, Version 2.0"},
		{"an identifier that there is not", disallow("MIT"), "GPLv3", false, "GPLv3"},
		{"a reference", disallow("MIT"), reference, false, reference},
		{"a reference that is named", allow("licenseref-example"), reference, true, ""},
		{"a reference that is disallowed", Licenses{Disallowed: []string{reference}, Unknown: "allow"}, reference, false, reference},
		{"a reference to another document", allow("DocumentRef-a:LicenseRef-b"), "DocumentRef-a:LicenseRef-b", true, ""},
		{"a choice beside what is unknown", disallow("GPL-3.0-only"), "GPLv3 OR MIT", true, ""},
		{"unknown and allowed", Licenses{Disallowed: []string{"GPL-3.0-only"}, Unknown: "allow"}, "NOASSERTION", true, ""},
		{"unknown and allowed, with a disallowed one", Licenses{Disallowed: []string{"GPL-3.0-only"}, Unknown: "allow"}, reference + " AND GPL-3.0-only", false, "GPL-3.0-only"},
		{"unknown and refused", Licenses{Disallowed: []string{"GPL-3.0-only"}, Unknown: "refuse"}, "NOASSERTION", false, "NOASSERTION"},

		{"no end", disallow("GPL-3.0-only"), "MIT AND", false, "MIT AND"},
		{"no beginning", disallow("GPL-3.0-only"), "OR MIT", false, "OR MIT"},
		{"an open parenthesis", disallow("GPL-3.0-only"), "(MIT", false, "(MIT"},
		{"a closed parenthesis", disallow("GPL-3.0-only"), "MIT)", false, "MIT)"},
		{"two licences", disallow("GPL-3.0-only"), "MIT ISC", false, "MIT ISC"},
		{"no exception after WITH", disallow("GPL-3.0-only"), "MIT WITH", false, "MIT WITH"},
		{"parentheses alone", disallow("GPL-3.0-only"), "()", false, "()"},
		{"a slash", disallow("GPL-3.0-only"), "MIT/GPL-3.0-only", false, "MIT/GPL-3.0-only"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			verdict := rulesOf(t, tc.rules).judge(tc.text)
			if verdict.ok != tc.ok || !tc.ok && verdict.bad != strings.TrimSpace(tc.bad) {
				t.Errorf("%+v", verdict)
			}
			if !verdict.ok && verdict.why == "" {
				t.Error("it does not say why")
			}
		})
	}
}

// TestLicenseBounds: what is not read is refused, whatever is said of unknown licences.
func TestLicenseBounds(t *testing.T) {
	r := rulesOf(t, Licenses{Disallowed: []string{"GPL-3.0-only"}, Unknown: "allow"})
	for _, tc := range []struct {
		name, text string
		ok         bool
		why        string
	}{
		{"as long as may be", strings.Repeat(" ", 10) + "MIT" + strings.Repeat(" OR MIT", (maxExpressionBytes-3)/7), true, ""},
		{"too long", "MIT" + strings.Repeat(" OR MIT", maxExpressionBytes/7+1), false, "is longer than 8192 bytes"},
		{"as deep as may be", strings.Repeat("(", maxExpressionDepth) + "MIT" + strings.Repeat(")", maxExpressionDepth), true, ""},
		{"too deep", strings.Repeat("(", maxExpressionDepth+1) + "MIT" + strings.Repeat(")", maxExpressionDepth+1), false, "is nested deeper than 32"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if verdict := r.judge(tc.text); verdict.ok != tc.ok || verdict.why != tc.why {
				t.Errorf("ok %t: %s", verdict.ok, verdict.why)
			}
		})
	}
}

// TestLicenseList looks at what families are made of, for a wrong one would let a licence be chosen that nobody granted.
func TestLicenseList(t *testing.T) {
	l := newLicenseList()
	for id, want := range map[string]string{
		"gpl-1.0": "gpl-2.0 gpl-3.0", "lgpl-2.0": "lgpl-2.1 lgpl-3.0", "agpl-1.0": "agpl-3.0", "gfdl-1.1": "gfdl-1.2 gfdl-1.3",
		"gfdl-1.2-invariants": "gfdl-1.3-invariants", "apache-1.0": "apache-1.1 apache-2.0", "mpl-1.1": "mpl-2.0", "epl-1.0": "epl-2.0",
		"bsd-2-clause": "", "mit": "", "mit-0": "", "mpl-2.0-no-copyleft-exception": "", "cc-by-3.0-us": "", "0bsd": "",
	} {
		if got := strings.Join(l.later(id), " "); got != want {
			t.Errorf("later than %s: %q, want %q", id, got, want)
		}
		if !l.known[id] {
			t.Errorf("%s is not known", id)
		}
	}
	if len(l.names) < 700 {
		t.Errorf("%d identifiers", len(l.names))
	}
}

func FuzzLicenses(f *testing.F) {
	for _, seed := range []string{"MIT OR (GPL-2.0+ WITH Classpath-exception-2.0 AND ISC)", "NOASSERTION", "((((", "LicenseRef-a AND DocumentRef-b:LicenseRef-c", "GPL-2.0-with-GCC-exception WITH x"} {
		f.Add(seed)
	}
	strict := rulesOf(f, Licenses{Disallowed: []string{"GPL-2.0-or-later", "MIT"}, Allowed: []string{"ISC", "Apache-2.0+"}})
	lax := rulesOf(f, Licenses{Disallowed: []string{"GPL-2.0-or-later", "MIT"}, Allowed: []string{"ISC", "Apache-2.0+"}, Unknown: "allow"})
	f.Fuzz(func(t *testing.T, text string) {
		a, b := strict.judge(text), lax.judge(text)
		if a.ok && !b.ok {
			t.Errorf("%q passes only if unknown licences do not", text)
		}
		if !a.ok && a.why == "" {
			t.Errorf("%q is refused without a reason", text)
		}
		if both := strict.judge("(" + text + ") AND MIT"); len(text) < maxExpressionBytes/2 && both.ok {
			t.Errorf("%q passes although MIT is disallowed", text)
		}
	})
}
