package ratify_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
)

var update = flag.Bool("update", false, "rewrite golden files and the manual page of codes")

// golden compares data with a file, or writes the file under -update.
func golden(t *testing.T, path string, data []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run go test -run %s . -update)", err, t.Name())
	}
	if !bytes.Equal(data, want) {
		t.Errorf("%s is not what the code says (run go test -run %s . -update):\n%s", path, t.Name(), firstDifference(string(want), string(data)))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "(end)", "(end)"
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\nfile: %s\ncode: %s", i+1, a, b)
		}
	}
	return "no difference"
}

// declaredCodes reads the constants out of the source, so that one that the table forgets is found.
func declaredCodes(t *testing.T) map[string]ratify.Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]ratify.Code{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		codes[spec.Names[0].Name] = ratify.Code(value)
		return true
	})
	return codes
}

func TestEachCodeIsInTheTableOnce(t *testing.T) {
	declared := declaredCodes(t)
	if len(declared) < 30 {
		t.Fatalf("found %d constants in codes.go: the test reads it wrongly", len(declared))
	}
	seen := map[ratify.Code]int{}
	for _, info := range ratify.Codes() {
		seen[info.Code]++
	}
	for name, code := range declared {
		if seen[code] != 1 {
			t.Errorf("%s (%s) is in the table %d times", name, code, seen[code])
		}
		upper := strings.ToUpper(string(code))
		if string(code) != upper || strings.Trim(string(code), "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
			t.Errorf("%s: %q is not in capitals and underscores", name, code)
		}
	}
	if len(seen) != len(declared) {
		t.Errorf("the table has %d codes, %d are declared", len(seen), len(declared))
	}
}

func TestEachCodeHasItsWords(t *testing.T) {
	messages := map[string]ratify.Code{}
	for _, info := range ratify.Codes() {
		for what, text := range map[string]string{"message": info.Message, "cause": info.Cause, "remedy": info.Remedy} {
			if text == "" || text != strings.TrimSpace(text) || strings.ContainsAny(text, "\n\t") {
				t.Errorf("%s: %s %q: expected one line of words", info.Code, what, text)
			}
		}
		// Message and remedy are put together to "<message>. <remedy>" in a denial.
		if strings.HasSuffix(info.Message, ".") || strings.HasSuffix(info.Remedy, ".") {
			t.Errorf("%s: message and remedy end without a period", info.Code)
		}
		if first := info.Message[:1]; first != strings.ToLower(first) {
			t.Errorf("%s: message %q begins in lower case, it follows a colon", info.Code, info.Message)
		}
		if !strings.HasSuffix(info.Cause, ".") {
			t.Errorf("%s: cause %q is a sentence", info.Code, info.Cause)
		}
		if other, taken := messages[info.Message]; taken {
			t.Errorf("%s and %s say the same: %q", info.Code, other, info.Message)
		}
		messages[info.Message] = info.Code
	}
}

func TestOutcomeOfCodes(t *testing.T) {
	definitive := map[ratify.Code]bool{}
	for _, info := range ratify.Codes() {
		if info.Code.Info() != info {
			t.Errorf("%s: Info is not the row of the table", info.Code)
		}
		definitive[info.Code] = info.Code.Definitive()
		if got, want := info.Code.Definitive(), info.Outcome == ratify.OutcomeRefused; got != want {
			t.Errorf("%s: definitive %t with the outcome %q", info.Code, got, info.Outcome)
		}
	}
	// Gatekeeper keeps definitive answers and asks again about the others: none may change sides unnoticed.
	transient := []ratify.Code{ratify.RegistryUnavailable, ratify.RegistryInvalid, ratify.RegistryAuth, ratify.RateLimited,
		ratify.Deadline, ratify.RevocationUnavailable, ratify.Overloaded, ratify.Internal}
	notRefusals := append(slices.Clone(transient), ratify.Verified, ratify.Audited, ratify.Skipped, ratify.Pinned,
		ratify.NotExamined, ratify.Exempt, ratify.WouldBeRefused, ratify.LastKnownGood)
	for code, got := range definitive {
		if want := !slices.Contains(notRefusals, code); got != want {
			t.Errorf("%s: definitive %t, want %t", code, got, want)
		}
	}
	for _, unheard := range []ratify.Code{"", "NO_SUCH_CODE", "verified"} {
		if unheard.Definitive() || unheard.Info().Code != ratify.Internal {
			t.Errorf("code %q: expected INTERNAL's words, which decide nothing", unheard)
		}
	}
}

func TestCodesIsACopy(t *testing.T) {
	ratify.Codes()[0].Outcome = ratify.OutcomeRefused
	if ratify.Verified.Info().Outcome != ratify.OutcomeVerified {
		t.Error("a caller changed the table")
	}
}

func TestCodesGolden(t *testing.T) {
	var b bytes.Buffer
	for _, info := range ratify.Codes() {
		fmt.Fprintf(&b, "%s [%s]\n  message: %s\n  cause: %s\n  remedy: %s\n", info.Code, info.Outcome, info.Message, info.Cause, info.Remedy)
	}
	golden(t, "testdata/codes.golden", b.Bytes())
}

func TestCodesManual(t *testing.T) {
	golden(t, "docs/codes.md", codesManual())
}

func codesManual() []byte {
	var b bytes.Buffer
	b.WriteString("# Codes\n\n" +
		"Every report, and every verifier report in it, carries a `code`. Codes are stable: match on them, not on messages.\n" +
		"This page is generated from the table in `codes.go` by `go test -run TestCodesManual . -update`.\n")
	for _, part := range []struct {
		outcome ratify.Outcome
		title   string
		words   string
	}{
		{ratify.OutcomeVerified, "Verified", "The image may run."},
		{ratify.OutcomeRefused, "Refused", "All that the policy needs was read, and it is not good enough. Asking again about the same evidence gives the same\nanswer. To Gatekeeper this is an item that says no; on the command line, exit code 1."},
		{ratify.OutcomeUnknown, "Could not tell", "Something that the policy needs could not be read. The image is not admitted, and a retry may find otherwise. To\nGatekeeper this is a `systemError`; on the command line, exit code 2."},
		{ratify.OutcomeNote, "Notes", "These stand in verifier reports alone and decide nothing."},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", part.title, part.words)
		for _, info := range ratify.Codes() {
			if info.Outcome == part.outcome {
				fmt.Fprintf(&b, "\n### %s\n\n- Message: %s\n- Cause: %s\n- Remedy: %s\n", info.Code, info.Message, info.Cause, info.Remedy)
			}
		}
	}
	return b.Bytes()
}

func TestError(t *testing.T) {
	cause := errors.New("dial tcp: connection refused")
	for _, tc := range []struct {
		name                   string
		err                    *ratify.Error
		message, remedy, whole string
	}{
		{"the code's own words", &ratify.Error{Code: ratify.NoReferrers}, ratify.NoReferrers.Info().Message, ratify.NoReferrers.Info().Remedy, "NO_REFERRERS: no referrers found for this artifact"},
		{"its own words", &ratify.Error{Code: ratify.NoPolicy, Message: "m", Remedy: "r"}, "m", "r", "NO_POLICY: m"},
		{"a cause is for the log alone", &ratify.Error{Code: ratify.RegistryUnavailable, Message: "m", Err: cause}, "m", ratify.RegistryUnavailable.Info().Remedy, "REGISTRY_UNAVAILABLE: m: dial tcp: connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.err.UserMessage(); got != tc.message {
				t.Errorf("message %q, want %q", got, tc.message)
			}
			if got := tc.err.UserRemedy(); got != tc.remedy {
				t.Errorf("remedy %q, want %q", got, tc.remedy)
			}
			if got := tc.err.Error(); got != tc.whole {
				t.Errorf("error %q, want %q", got, tc.whole)
			}
			if !errors.Is(tc.err, tc.err.Err) && tc.err.Err != nil {
				t.Error("the cause is not unwrapped")
			}
		})
	}
}
