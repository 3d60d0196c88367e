package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/internal/doctor"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// TestManualNamesEveryCheck: docs/command.md has each check of ratify doctor.
func TestManualNamesEveryCheck(t *testing.T) {
	page := readDoc(t, "command.md")
	for _, name := range doctorChecks() {
		if !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("the manual lacks the check %s", name)
		}
	}
}

// runDoctor runs the command, with standard input.
func runDoctor(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"doctor"}, args...), strings.NewReader(stdin), &out, &errs)
	return out.String(), errs.String(), code
}

// lateProvider has a Provider that Gatekeeper gives up on, and a webhook that admits then.
const lateProvider = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: gatekeeper}
webhooks:
- name: validation.gatekeeper.sh
  failurePolicy: Ignore
  timeoutSeconds: 5
  rules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*", "pods/*"]}]
---
apiVersion: externaldata.gatekeeper.sh/v1beta1
kind: Provider
metadata: {name: ratify-provider}
spec: {url: "https://ratify.example/ratify/gatekeeper/v1/verify", timeout: 5}
`

const lateText = `✗ webhook-failure-policy: ValidatingWebhookConfiguration/gatekeeper: webhook validation.gatekeeper.sh has failurePolicy Ignore
    why:  while Gatekeeper is away, or late because a provider is, every image is admitted
    hint: set validatingWebhookFailurePolicy to Fail in Gatekeeper's chart
✗ webhook-timeout: ValidatingWebhookConfiguration/gatekeeper: webhook validation.gatekeeper.sh has the timeout 5s, and Provider/ratify-provider has 5s
    why:  the API server gives up before Gatekeeper does, and by failurePolicy Ignore admits the image
    hint: set validatingWebhookTimeoutSeconds in Gatekeeper's chart to more than the Provider's timeout, and gatekeeper.validatingWebhookTimeoutSeconds in ratify's chart to the same
`

func TestDoctorText(t *testing.T) {
	stdout, stderr, code := runDoctor(t, lateProvider, "--file=-")
	if !strings.HasPrefix(stdout, lateText) || stderr != "" || code != exitRefused {
		t.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
	}
	if !strings.Contains(stdout, "? not looked at: registries: files do not tell what the pods may read\n✗ 2 findings, 3 checks passed, ") {
		t.Errorf("printed\n%s", stdout)
	}
	if !strings.HasSuffix(stdout, " of them are told with --verbose)\n") {
		t.Errorf("what is counted and not listed is not told:\n%s", stdout)
	}
	if strings.Contains(stdout, "✓") {
		t.Errorf("what is good is shown, unasked:\n%s", stdout)
	}
	stdout, _, _ = runDoctor(t, lateProvider, "--file=-", "--verbose")
	if !strings.Contains(stdout, "✓ webhook-coverage: ") || !strings.Contains(stdout, "? not looked at: gatekeeper-version") {
		t.Errorf("printed\n%s", stdout)
	}
}

func TestDoctorSkips(t *testing.T) {
	stdout, _, code := runDoctor(t, lateProvider, "--file=-", "--skip=webhook-failure-policy,webhook-timeout", "--skip=registries")
	if code != exitVerified || !strings.Contains(stdout, "✓ 0 findings") || !strings.Contains(stdout, "left out: webhook-failure-policy, webhook-timeout, registries\n") {
		t.Errorf("exit code %d, printed\n%s", code, stdout)
	}
}

func TestDoctorJSON(t *testing.T) {
	stdout, _, code := runDoctor(t, lateProvider, "--file=-", "--output=json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitRefused {
		t.Fatalf("exit code %d: %v", code, err)
	}
	if len(report.Findings) != 2 || report.Findings[0].Level != doctor.LevelError || len(report.NotLookedAt) == 0 {
		t.Errorf("%+v", report)
	}
}

func TestDoctorUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"file and context":  {[]string{"--file=-", "--context=a"}, "--file and --context exclude each other"},
		"file, registries":  {[]string{"--file=-", "--registries"}, "--file and --registries exclude each other"},
		"an unknown check":  {[]string{"--skip=webhook-timeouts"}, "did you mean webhook-timeout?"},
		"no check at all":   {[]string{"--skip=xyz"}, "there is no check \"xyz\""},
		"no such file":      {[]string{"--file=/does/not/exist"}, "no such file"},
		"not an object":     {[]string{"--file=-"}, "there is no object of an installation in it"},
		"no kubectl":        {[]string{"--kubectl=/does/not/exist"}, "is not a program on the PATH"},
		"an argument":       {[]string{"all"}, "takes no arguments"},
		"a bad timeout":     {[]string{"--timeout=0s"}, "expected a positive duration"},
		"an unknown format": {[]string{"--output=xml"}, "unknown output format"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := runDoctor(t, "", tc.args...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// fakeKubectl writes a kubectl that does what a script says.
func fakeKubectl(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDoctorOfAClusterThatIsAway(t *testing.T) {
	kubectl := fakeKubectl(t, "echo 'Unable to connect to the server: dial tcp: \033[31mrefused' >&2; exit 1\n")
	stdout, stderr, code := runDoctor(t, "", "--kubectl="+kubectl)
	if code != exitUnknown || stdout != "" || !strings.Contains(stderr, "Unable to connect to the server") || strings.Contains(stderr, "\033") {
		t.Errorf("exit code %d, printed\n%s%q", code, stdout, stderr)
	}
	stdout, stderr, code = runDoctor(t, "", "--kubectl="+fakeKubectl(t, "exec sleep 60\n"), "--timeout=100ms")
	if code != exitUnknown || stdout != "" || !strings.Contains(stderr, "raise --timeout") {
		t.Errorf("exit code %d, printed\n%s%s", code, stdout, stderr)
	}
}

func TestParseServe(t *testing.T) {
	got, err := parseServe([]string{"--config=/c", "--cert-dir", "/t", "--client-ca=/a", "--verify-timeout=1s"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Config != "/c" || got.CertDir != "/t" || got.ClientCA != "/a" || got.VerifyTimeout != time.Second || got.MutateTimeout != 900*time.Millisecond ||
		got.NoClientAuth || !slices.Equal(got.ClientNames, []string{"gatekeeper-webhook-service.gatekeeper-system.svc"}) {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{{"--unknown"}, {"more"}, {"--verify-timeout=soon"}} {
		if _, err := parseServe(args); err == nil {
			t.Errorf("%q was understood", args)
		}
	}
}

// TestShippedTemplates: both are of one version, and only one is for tenants.
func TestShippedTemplates(t *testing.T) {
	options, err := doctorKnowledge()
	if err != nil {
		t.Fatal(err)
	}
	if len(options.Templates) != 2 || options.Templates[0].Tenancy || !options.Templates[1].Tenancy || options.Templates[0].Version != options.Templates[1].Version {
		t.Errorf("%+v", options.Templates)
	}
}

// podConfig trusts a key in a file of the pod's.
const podConfig = `
stores: [{name: s, type: oras, scopes: ["*"], settings: {registries: [{host: registry.example}, {host: "*.other.example"}]}}]
verifiers: [{name: cosign, type: cosign, settings: {keys: [{name: k, file: %q}]}}]
policies: [{name: default, scopes: ["*"], verifiers: [cosign]}]
gatekeeperCacheTTL: 20s
`

func lacksNothing(string) bool { return false }

// TestConfigJudgeOfAMissingFile: what is mounted and lacks a file that is named is an error; words of the system are not shown.
func TestConfigJudgeOfAMissingFile(t *testing.T) {
	const path = "/etc/ratify/config/config.yaml"
	for _, file := range []string{"/etc/ratify/config/key.pub", "/etc/ratify/secret/key.pub"} {
		for _, lacking := range []bool{true, false} {
			judge := must(newConfigJudge())
			c := judge.check(path, map[string][]byte{path: fmt.Appendf(nil, podConfig, file)}, func(at string) bool { return lacking && at == file })
			judge.close()
			told, other, words := c.Unread, c.Errors, "it was not at hand"
			if lacking {
				told, other, words = c.Errors, c.Unread, "what the pod mounts there does not have it"
			}
			if want := []string{`verifiers[0] "cosign": keys[0] "k": file: ` + file + ": " + words}; !slices.Equal(told, want) || len(other) > 0 {
				t.Errorf("%+v, want %q", c, want)
			}
		}
	}
}

func TestConfigJudge(t *testing.T) {
	const path = "/etc/ratify/config/config.yaml"
	here := filepath.Join(t.TempDir(), "key.pub")
	key := must(cosigntest.NewKey(cosigntest.P256)).PublicPEM()
	if err := os.WriteFile(here, key, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		file           string
		pod            map[string][]byte
		errors, unread int
	}{
		"a file of a ConfigMap":            {"/etc/ratify/config/key.pub", map[string][]byte{"/etc/ratify/config/key.pub": key}, 0, 0},
		"a file elsewhere":                 {"/etc/ratify/more/key.pub", map[string][]byte{"/etc/ratify/more/key.pub": key}, 0, 0},
		"a file that is none":              {"/etc/ratify/config/key.pub", map[string][]byte{"/etc/ratify/config/key.pub": []byte("no key")}, 1, 0},
		"a file that only the pod has":     {"/etc/ratify/secret/key.pub", nil, 0, 1},
		"a file that this machine has":     {here, nil, 0, 1},
		"a mount that leads out of itself": {"../../key.pub", map[string][]byte{"../../key.pub": key}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			judge, err := newConfigJudge()
			if err != nil {
				t.Fatal(err)
			}
			defer judge.close()
			pod := map[string][]byte{path: fmt.Appendf(nil, podConfig, tc.file)}
			for name, content := range tc.pod {
				pod[name] = content
			}
			c := judge.check(path, pod, lacksNothing)
			if len(c.Errors) != tc.errors || len(c.Unread) != tc.unread || !c.Decoded || c.GatekeeperCacheTTL != 20*time.Second {
				t.Errorf("%+v", c)
			}
			for _, line := range slices.Concat(c.Errors, c.Unread) {
				if strings.Contains(line, judge.root) || !strings.Contains(line, `keys[0] "k"`) {
					t.Errorf("the place is not the configuration's: %s", line)
				}
			}
			if want := []string{"registry.example"}; !slices.Equal(judge.registries, want) {
				t.Errorf("registries %q, want %q", judge.registries, want)
			}
		})
	}
}

// TestConfigJudgeOfWhatIsNotProven: what admits everything is a finding, what is for some images is not.
func TestConfigJudgeOfWhatIsNotProven(t *testing.T) {
	const path, keyFile = "/etc/ratify/config/config.yaml", "/etc/ratify/config/key.pub"
	key := must(cosigntest.NewKey(cosigntest.P256)).PublicPEM()
	for name, tc := range map[string]struct{ from, to, warning, note string }{
		"nothing":                    {},
		"audit on everything":        {"verifiers: [cosign]}", "verifiers: [cosign], mode: audit}", `policies[0] "default": mode: audit on the scope *`, ""},
		"audit on some":              {`scopes: ["*"], verifiers: [cosign]}`, "scopes: [registry.example/a/*], verifiers: [cosign], mode: audit}", "", ""},
		"everything is exempt":       {"gatekeeperCacheTTL", "exemptions: [{scopes: [\"*\"], reason: all, expires: 2999-01-01}]\ngatekeeperCacheTTL", "exemptions[0]: the scope *", ""},
		"something is exempt":        {"gatekeeperCacheTTL", "exemptions: [{scopes: [a.example/*], reason: some, expires: 2999-01-01}]\ngatekeeperCacheTTL", "", ""},
		"a verdict outlives its end": {"verifiers: [cosign]}", "verifiers: [cosign], lastKnownGood: 2h}", "", `policies[0] "default": lastKnownGood: 2h0m0s`},
	} {
		t.Run(name, func(t *testing.T) {
			judge := must(newConfigJudge())
			defer judge.close()
			text := strings.Replace(fmt.Sprintf(podConfig, keyFile), tc.from, tc.to, 1)
			c := judge.check(path, map[string][]byte{path: []byte(text), keyFile: key}, lacksNothing)
			told := func(list []string, want string) bool {
				return len(list) == 0 && want == "" || len(list) == 1 && want != "" && strings.HasPrefix(list[0], want)
			}
			if !told(c.Warnings, tc.warning) || !told(c.Notes, tc.note) || len(c.Errors)+len(c.Unread) > 0 {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestConfigJudgeLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	if _, _, code := runDoctor(t, lateProvider, "--file=-"); code != exitRefused {
		t.Errorf("exit code %d", code)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func TestAskRegistries(t *testing.T) {
	snapshot, err := doctor.FromFiles("", []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: ratify, namespace: images}
spec: {template: {spec: {containers: [{name: r, args: [serve, --cert-dir=/tls, --config=/c.yaml]}]}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	const pods = `case "$*" in *"get pods"*) printf 'team-a  good.example/app:v1 other.example/x:v1\nteam-b refused.example/i:v1 good.example/more:v1\nold ///\n'; exit 0;; esac
for image in "$@"; do :; done
`
	const answer = `case "$image" in
good*) echo '{"image":"good","accepted":true,"reads":[{"what":"manifest","allowed":true}]}';;
refused*) echo '{"image":"x","reads":[{"what":"manifest","allowed":false,"code":"REGISTRY_AUTH","message":"refused","remedy":"log in"}]}'; exit 1;;
*) echo 'error: exec is forbidden' >&2; exit 1;;
esac
`
	ask := func(t *testing.T, script string, registries ...string) *doctor.Report {
		report := &doctor.Report{}
		askRegistries(t.Context(), doctor.Kubectl{Path: fakeKubectl(t, script)}, snapshot, &configJudge{registries: registries}, report)
		return report
	}
	t.Run("accepted", func(t *testing.T) {
		r := ask(t, pods+answer, "good.example")
		if len(r.Findings) > 0 || len(r.NotLookedAt) > 0 || len(r.Passed) != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("refused", func(t *testing.T) {
		r := ask(t, pods+answer, "good.example", "refused.example")
		if len(r.Findings) != 1 || r.Findings[0].Object != "refused.example/i:v1" || !strings.Contains(r.Findings[0].Message, "REGISTRY_AUTH") || len(r.Passed) > 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("not told", func(t *testing.T) {
		r := ask(t, pods+answer, "good.example", "unused.example", "other.example")
		if len(r.Findings) > 0 || len(r.NotLookedAt) != 2 || !r.Blind() || len(r.Passed) > 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("none configured", func(t *testing.T) {
		if r := ask(t, pods+answer); len(r.Findings) != 1 || len(r.NotLookedAt) != 1 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("no right to list pods", func(t *testing.T) {
		if r := ask(t, "echo 'Error from server (Forbidden): pods is forbidden' >&2; exit 1\n", "good.example"); !r.Blind() || len(r.Passed) > 0 {
			t.Errorf("%+v", r)
		}
	})
}
