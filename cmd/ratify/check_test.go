package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

func TestCertificateWarning(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		from, until time.Duration
		want        string
	}{
		"far from its end":    {-day, expiryNotice, ""},
		"near its end":        {-day, expiryNotice - 1, "f: certificate CN=x expires in 29 days, on 2026-02-09"},
		"on its last day but": {-day, day, "f: certificate CN=x expires in 1 day, on 2026-01-11"},
		"on its last day":     {-day, day - 1, "f: certificate CN=x expires in less than a day, on 2026-01-11"},
		"at its end":          {-day, 0, "f: certificate CN=x expired on 2026-01-10"},
		"past its end":        {-2 * day, -day, "f: certificate CN=x expired on 2026-01-09"},
		"before its time":     {day, 100 * day, "f: certificate CN=x is not valid before 2026-01-11"},
	} {
		cert := &certificate{File: "f", Subject: "CN=x", NotBefore: now.Add(c.from), NotAfter: now.Add(c.until)}
		if got := cert.warning(now); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	authority, signer := makeSigner(t)
	root := authority.Root()
	key := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	bad := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for name, c := range map[string]struct {
		data string
		want int
	}{
		"PEM":             {string(notationtest.PEM(root)), 1},
		"a bundle":        {"text\n" + string(notationtest.PEM(signer.Chain...)) + key + bad, 2},
		"DER":             {string(root.Raw), 1},
		"a configuration": {wholeConfig, 0},
		"nothing":         {"", 0},
	} {
		if got := parseCertificates([]byte(c.data)); len(got) != c.want {
			t.Errorf("%s: %d certificates, want %d", name, len(got), c.want)
		}
	}
}

// A skipper is a verifier that asks for nothing, so that the engine decides at once.
type skipper struct{}

func (skipper) Match(ocispec.Descriptor) bool { return false }

func (skipper) Verify(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
	return ratify.Result{}, errUnexpected
}

func (skipper) Skip(ratify.Subject) bool { return true }

// TestScopesAreInTheOrderOfTheEngine compares the printed order with what the engine does: the first scope of the list
// that holds a repository has to be the one by which the engine chooses.
func TestScopesAreInTheOrderOfTheEngine(t *testing.T) {
	scopes := []string{"*", "ghcr.io/*", "ghcr.io/acme/*", "ghcr.io/acme/app", "ghcr.io/acme/app/*", "*.io/*", "*.example.com/*", "*.eu.example.com/*", "r.eu.example.com/*"}
	setup := ratify.Setup{Verifiers: []ratify.NamedVerifier{{Name: "v", Type: "fake", Verifier: skipper{}}}}
	for _, scope := range scopes {
		setup.Policies = append(setup.Policies, ratify.Policy{Name: scope, Scopes: []string{scope}, Verifiers: []string{"v"}})
	}
	setup.Tenancy = &ratify.Tenancy{}
	for _, namespace := range []string{"*", "team-*", "team-a*", "team-a", "zone", "z*"} {
		setup.Policies = append(setup.Policies, ratify.Policy{Name: "of " + namespace, Namespaces: []string{namespace}, Scopes: []string{"ghcr.io/*"}, Verifiers: []string{"v"}},
			ratify.Policy{Name: "app of " + namespace, Namespaces: []string{namespace}, Scopes: []string{"ghcr.io/acme/app"}, Verifiers: []string{"v"}})
	}
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		t.Fatal(err)
	}
	listed := scopesOf(setup.Policies)
	for _, repository := range []string{
		"ghcr.io/acme/app", "ghcr.io/acme/app/part", "ghcr.io/acme/other", "ghcr.io/other", "quay.io/app", "docker.io/library/nginx",
		"r.example.com/app", "r.eu.example.com/app", "s.eu.example.com/app", "localhost/app",
	} {
		for _, namespace := range []string{"", "team-a", "team-ab", "team-b", "zone", "zoo", "other"} {
			report, err := engine.Verify(t.Context(), ratify.Subject{Namespace: namespace, Repository: repository, Tag: "v1"})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range listed {
				if holds(l.Scope, repository) && (l.Namespace == "" || ratify.MatchNamespace(l.Namespace, namespace)) {
					if l.Policy != report.Policy {
						t.Errorf("%s in %q: the list says %s, the engine %s", repository, namespace, l.Policy, report.Policy)
					}
					break
				}
			}
		}
	}
}

// holds reads a scope as the manual describes it.
func holds(scope, repository string) bool {
	host, _, _ := strings.Cut(repository, "/")
	switch {
	case scope == "*":
		return true
	case strings.HasPrefix(scope, "*."):
		return strings.HasSuffix(host, strings.TrimSuffix(scope[1:], "/*"))
	case strings.HasSuffix(scope, "/*"):
		return strings.HasPrefix(repository, strings.TrimSuffix(scope, "*"))
	default:
		return scope == repository
	}
}

func TestExemptionWarning(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		left time.Duration
		want []string
	}{
		"far from its end": {exemptionNotice, nil},
		"near its end":     {exemptionNotice - 1, []string{"exemptions[0]: it ends in 13 days, at 2026-01-24T11:59:59Z"}},
		"its last day":     {day - 1, []string{"exemptions[0]: it ends in less than a day, at 2026-01-11T11:59:59Z"}},
		"at its end":       {0, []string{"exemptions[0]: it ended at 2026-01-10T12:00:00Z"}},
	} {
		setup := ratify.Setup{Now: func() time.Time { return now }, Exemptions: []ratify.Exemption{
			{Scopes: []string{"registry.example/*"}, Reason: "r", Expires: ratify.Instant{Time: now.Add(c.left)}}}}
		g := &generation{file: &config.File{Exemptions: setup.Exemptions}, setup: setup, engine: must(ratify.NewEngine(setup)), files: &files.Set{}}
		r := newCheckResult("f", g, nil, now)
		if want := append([]string{"policies: there is none, so every image is refused"}, c.want...); !slices.Equal(r.Warnings, want) {
			t.Errorf("%s: %q, want %q", name, r.Warnings, want)
		}
	}
}

func TestTableLeavesOutWhatSaysNothing(t *testing.T) {
	tbl := table{columns: []column{{"NAME", ""}, {"MODE", "enforce"}, {"KIND", "-"}}}
	var out strings.Builder
	if tbl.print(&out); out.String() != "" {
		t.Errorf("without rows: %q", out.String())
	}
	tbl.add("a", "", "")
	tbl.add("b", "enforce", "x")
	if tbl.print(&out); out.String() != "\nNAME\tKIND\na\t-\nb\tx\n" {
		t.Errorf("%q", out.String())
	}
}

func TestCheckReadsStandardInputWithinBounds(t *testing.T) {
	for name, c := range map[string]struct {
		in   io.Reader
		want string
	}{
		"endless":    {endless{}, fmt.Sprintf("larger than %d bytes", files.MaxBytes)},
		"unreadable": {failing{}, "unexpected call"},
	} {
		var stdout, stderr lockedBuffer
		code := run(context.Background(), []string{"check", "-"}, c.in, &stdout, &stderr)
		if want := "error: standard input: read the configuration: standard input: " + c.want + "\n"; code != exitUsage || stderr.String() != want {
			t.Errorf("%s: exit code %d, %s, want %s", name, code, stderr.String(), want)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	return len(p), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errUnexpected }
