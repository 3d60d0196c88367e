package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

// childVariable makes the test's own program the demonstration.
const childVariable = "RATIFY_DEMO_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// limit is how long one demonstration may take, a cold build of the command on a busy machine included.
const limit = 8 * time.Minute

// start starts the demonstration as a process of its own, with a directory of its own for temporary files.
func start(t *testing.T, environment ...string) (command *exec.Cmd, stdout io.Reader, stderr *bytes.Buffer, tmp string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tmp = t.TempDir()
	command = exec.CommandContext(ctx, program)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	environment = append(environment, childVariable+"=1", "TMPDIR="+tmp, "KEEP="+keepOf(environment))
	command.Env = slices.Concat(os.Environ(), environment, coverage())
	stderr = &bytes.Buffer{}
	command.Stderr = stderr
	pipe, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return command, pipe, stderr, tmp
}

// coverage lets what the provider does here count where this test's own coverage is counted: the demonstration builds it
// with the flags of the environment.
func coverage() []string {
	return append(programtest.Environment(), "GOFLAGS="+strings.Join(append(programtest.BuildFlags(), os.Getenv("GOFLAGS")), " "))
}

// keepOf keeps a KEEP of the shell that runs the tests out of them.
func keepOf(environment []string) string {
	if slices.Contains(environment, "KEEP=1") {
		return "1"
	}
	return ""
}

// leavesNothing checks that the demonstration has removed its files and ended its provider.
func leavesNothing(t *testing.T, tmp, output string) {
	t.Helper()
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range left {
		t.Errorf("%s is left", entry.Name())
	}
	for _, host := range slices.Compact(regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(output, -1)) {
		if conn, err := net.Dial("tcp", host); err == nil {
			conn.Close()
			t.Errorf("somebody still listens on %s", host)
		}
	}
}

// want is what the output says of one image, beside its reference.
type want struct {
	pod, image string
	code       ratify.Code
	words      []string
}

func wants() []want {
	return []want{
		{"ratify-signed", fixture.Signed, ratify.Verified, nil},
		{"demo", fixture.Unsigned, ratify.NoReferrers, []string{"verification failed: no referrers found for this artifact"}},
		{"sample", fixture.Expired, ratify.CertificateExpired, []string{"certificate", "timestamp"}},
		{"stranger", fixture.Stranger, ratify.UntrustedSigner, []string{"signature is not produced by a trusted signer", "ca:certs"}},
		{"tampered", fixture.Tampered, ratify.SignatureInvalid, []string{"sign the image again"}},
		{"cosign-key", fixture.CosignKey, ratify.Verified, nil},
		{"cosign-stranger", fixture.CosignStranger, ratify.UntrustedSigner, []string{"ci"}},
		{"keyless", fixture.Keyless, ratify.Verified, nil},
		{"sbom-denied", fixture.BadSBOM, ratify.LicenseDisallowed, []string{"AGPL-3.0-only", "hello"}},
		{"scan-old", fixture.OldScan, ratify.EvidenceTooOld, []string{"24 h"}},
		{"half-signed", fixture.HalfSigned, ratify.NoReferrers, []string{"platform linux/arm64"}},
	}
}

func TestDemo(t *testing.T) {
	command, stdout, stderr, tmp := start(t)
	data, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	output := string(data)
	if err := command.Wait(); err != nil {
		t.Fatalf("the demonstration: %v\n%s\n%s", err, output, stderr)
	}
	for _, w := range wants() {
		t.Run(w.image, func(t *testing.T) { checkTranscript(t, output, w) })
	}
	if !strings.HasSuffix(output, "\nall 11 verdicts are as they must be\n") {
		t.Errorf("it does not end with a line for all verdicts:\n%s", output)
	}
	leavesNothing(t, tmp, output)
}

// checkTranscript checks the part of the output that is about one image.
func checkTranscript(t *testing.T, output string, w want) {
	command := regexp.MustCompile(`(?m)^\$ kubectl run ` + w.pod + ` --image=(127\.0\.0\.1:\d+/` + w.image + `:v1)\n(.*)\n`)
	found := command.FindStringSubmatchIndex(output)
	if found == nil {
		t.Fatalf("no kubectl run of %s in:\n%s", w.image, output)
	}
	reference, answer := output[found[2]:found[3]], output[found[4]:found[5]]
	log, ok := strings.CutPrefix(output[found[1]:], "The provider's log:\n")
	if !ok {
		t.Fatalf("the log does not follow:\n%s", output[found[1]:])
	}
	var report ratify.Report
	if err := json.NewDecoder(strings.NewReader(log)).Decode(&report); err != nil {
		t.Fatal(err)
	}
	if report.Key != reference || report.Code != w.code || report.IsSuccess != (w.code == ratify.Verified) || report.TraceID == "" {
		t.Errorf("the report is %+v", report)
	}
	if report.Digest.Validate() != nil || !strings.HasSuffix(report.Subject, "/"+w.image+"@"+report.Digest.String()) {
		t.Errorf("the report is about %s", report.Subject)
	}
	if says := func(r ratify.VerifierReport) bool { return r.Code == w.code }; !slices.ContainsFunc(report.VerifierReports, says) {
		t.Errorf("no verifier report says %s: %+v", w.code, report.VerifierReports)
	}
	expected := "pod/" + w.pod + " created"
	if w.code != ratify.Verified {
		expected = `Error from server (Forbidden): admission webhook "validation.gatekeeper.sh" denied the request: ` +
			fmt.Sprintf("[ratify-constraint] Subject failed verification: %s: %s. %s (trace %s)", reference, report.Message, report.Remedy, report.TraceID)
	}
	if answer != expected {
		t.Errorf("kubectl would print\n%s\nwant\n%s", answer, expected)
	}
	for _, words := range w.words {
		if !strings.Contains(answer, words) {
			t.Errorf("%q is not in: %s", words, answer)
		}
	}
}

// TestKeep runs every line that the demonstration offers, as a reader would who pastes it.
func TestKeep(t *testing.T) {
	command, stdout, stderr, tmp := start(t, "KEEP=1")
	var output strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		fmt.Fprintln(&output, lines.Text())
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	_, offered, ok := strings.Cut(output.String(), "Lines to try, in another terminal:\n")
	if !ok {
		t.Fatalf("no lines are offered:\n%s\n%s", output.String(), stderr)
	}
	commands := regexp.MustCompile(`(?m)^# (.*)\n(.*)$`).FindAllStringSubmatch(offered, -1)
	expected := tryResults()
	if len(commands) != len(expected) {
		t.Errorf("%d lines are offered, %d are expected:\n%s", len(commands), len(expected), offered)
	}
	for i, c := range commands {
		t.Run(c[1], func(t *testing.T) {
			got, err := exec.CommandContext(t.Context(), "sh", "-c", c[2]).CombinedOutput()
			code := exitCode(err)
			if code < 0 {
				t.Fatalf("%s: %v", c[2], err)
			}
			e := expected[min(i, len(expected)-1)]
			if code != e.code {
				t.Errorf("%s\nends with %d, want %d:\n%s", c[2], code, e.code, got)
			}
			for _, words := range e.words {
				if !strings.Contains(string(got), words) {
					t.Errorf("%s\ndoes not print %q:\n%s", c[2], words, got)
				}
			}
		})
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		fmt.Fprintln(&output, lines.Text())
	}
	if err := command.Wait(); err != nil {
		t.Errorf("after Ctrl-C: %v\n%s", err, stderr)
	}
	leavesNothing(t, tmp, output.String())
}

// exitCode is that of a process, -1 where there was none.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	return -1
}

// result is what a line to try does.
type result struct {
	code  int
	words []string
}

// tryResults are those of the lines, in their order.
func tryResults() []result {
	return []result{
		{0, []string{`"kind":"ProviderResponse"`, `"isSuccess":true`, `"code":"NO_REFERRERS"`}},
		{0, []string{`"idempotent":true`, "/signed:v1@sha256:"}},
		{1, []string{"/signed@sha256:", "verified", "NO_REFERRERS"}},
		{0, []string{"/signed@sha256:", "verified"}},
		{0, []string{"/multi@sha256:", "CN=wabbit-networks.io", "CN=stranger.example"}},
		{0, []string{"/multi@sha256:", "application/vnd.cncf.notary.signature"}},
		{0, []string{"\nratify_"}},
		{0, []string{`"isSuccess"`}},
	}
}

func TestNewVerdict(t *testing.T) {
	image := fixture.Image{Reference: "127.0.0.1:5000/app:v1", Digest: digest.FromString("app")}
	denied := demoCase{image: "app", code: ratify.NoReferrers}
	admitted := demoCase{image: "app", code: ratify.Verified}
	report := func(success bool, code ratify.Code, d digest.Digest) string {
		return fmt.Sprintf(`{"isSuccess":%t,"code":%q,"digest":%q,"message":"m"}`, success, code, d)
	}
	reason := "[ratify-constraint] Subject failed verification: 127.0.0.1:5000/app:v1: m. Do it (trace 1)"
	for name, test := range map[string]struct {
		c       demoCase
		denials []string
		line    string
		wrong   []string
	}{
		"admitted":              {admitted, nil, report(true, ratify.Verified, image.Digest), nil},
		"denied":                {denied, []string{reason}, report(false, ratify.NoReferrers, image.Digest), nil},
		"admitted in spite":     {denied, nil, report(false, ratify.NoReferrers, image.Digest), []string{"the pod is created"}},
		"denied in spite":       {admitted, []string{reason}, report(true, ratify.Verified, image.Digest), []string{"the pod is denied"}},
		"report of success":     {denied, []string{reason}, report(true, ratify.NoReferrers, image.Digest), []string{"isSuccess true"}},
		"another code":          {denied, []string{reason}, report(false, ratify.Internal, image.Digest), []string{`code "INTERNAL"`}},
		"another image":         {denied, []string{reason}, report(false, ratify.NoReferrers, digest.FromString("other")), []string{"about the digest"}},
		"no digest":             {admitted, nil, report(true, ratify.Verified, ""), []string{`about the digest ""`}},
		"could not verify":      {denied, []string{"[ratify-constraint] Could not verify: m"}, report(false, ratify.NoReferrers, image.Digest), []string{"does not say"}},
		"two denials":           {denied, []string{reason, reason}, report(false, ratify.NoReferrers, image.Digest), []string{"does not say"}},
		"everything goes wrong": {admitted, []string{"x"}, `{}`, []string{"denied", "isSuccess", "code", "digest", "does not say"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := program.ParseRecord([]byte(test.line))
			if err != nil {
				t.Fatal(err)
			}
			v := newVerdict(test.c, image, test.denials, got)
			if len(v.problems) != len(test.wrong) {
				t.Fatalf("problems %q, want %d", v.problems, len(test.wrong))
			}
			for i, words := range test.wrong {
				if !strings.Contains(v.problems[i], words) {
					t.Errorf("problem %q does not say %q", v.problems[i], words)
				}
			}
			var out bytes.Buffer
			wrong := summarize(&out, []verdict{v, {demoCase: admitted}})
			if (wrong == 1) != (len(test.wrong) > 0) {
				t.Errorf("%d are wrong:\n%s", wrong, out.String())
			}
			if says := strings.Contains(out.String(), "WRONG, expected") && strings.Contains(out.String(), "1 of 2 verdicts are wrong"); says != (wrong == 1) {
				t.Errorf("%d are wrong, and it prints:\n%s", wrong, out.String())
			}
		})
	}
}

func TestOutsideTheRepository(t *testing.T) {
	t.Chdir(t.TempDir())
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), false, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "run this inside the repository") {
		t.Errorf("ends with %d and says %q", code, stderr.String())
	}
}

// TestReaderIsGone stops reading, as head does.
func TestReaderIsGone(t *testing.T) {
	command, stdout, stderr, tmp := start(t, "KEEP=1")
	first := make([]byte, 1)
	if _, err := io.ReadFull(stdout, first); err != nil {
		t.Fatal(err)
	}
	stdout.(io.Closer).Close()
	if err := command.Wait(); exitCode(err) != 1 {
		t.Errorf("it ends with %v, want exit code 1\n%s", err, stderr)
	}
	leavesNothing(t, tmp, "")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var stdout, stderr bytes.Buffer
	if code := run(ctx, false, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "context canceled") {
		t.Errorf("ends with %d and says %q", code, stderr.String())
	}
	leavesNothing(t, tmp, "")
}

func TestShell(t *testing.T) {
	words := []string{"printf", `%s\n`, "plain-1.2/3:4@5", "two words", "it's", "", `{"a":["b"]}`, "$HOME", "a\\b"}
	got, err := exec.CommandContext(t.Context(), "sh", "-c", shell(words...)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(words[2:], "\n") + "\n"; string(got) != want {
		t.Errorf("the shell reads\n%s\nwant\n%s", got, want)
	}
}
