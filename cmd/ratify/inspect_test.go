package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

var (
	testSubject = ratify.Subject{Repository: "registry.example/app", Tag: "v1"}
	testImage   = describeBytes([]byte(`{"schemaVersion":2}`))
)

func describeBytes(data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// sign attaches a signature over target to the image.
func (m *memory) sign(t *testing.T, signer *notationtest.Signer, target ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	envelope, err := signer.Sign(t.Context(), target, notationtest.SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m.attach(t, envelope)
}

func (m *memory) attach(t *testing.T, envelope []byte) ocispec.Descriptor {
	t.Helper()
	artifact, err := notationtest.Attach(m.subject, envelope, notationtest.JWS)
	if err != nil {
		t.Fatal(err)
	}
	m.blobs[string(artifact.ManifestDescriptor.Digest)] = artifact.Manifest
	m.blobs[string(artifact.EnvelopeDescriptor.Digest)] = artifact.Envelope
	m.lists[string(m.subject.Digest)] = append(m.lists[string(m.subject.Digest)], artifact.ManifestDescriptor)
	return artifact.ManifestDescriptor
}

func makeSigner(t *testing.T) (*notationtest.Authority, *notationtest.Signer) {
	t.Helper()
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := authority.Issue(notationtest.LeafOptions{CommonName: "signer.example"})
	if err != nil {
		t.Fatal(err)
	}
	return authority, signer
}

func inspectMemory(t *testing.T, m *memory) (*inspection, *ratify.Error) {
	t.Helper()
	a, _, _ := testApp(t)
	result, incomplete, err := a.inspectAll(t.Context(), m.generation(), testSubject, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return result, incomplete
}

func TestInspectShowsWhatIsWrongWithASignature(t *testing.T) {
	_, signer := makeSigner(t)
	other := describeBytes([]byte("another image"))
	for name, c := range map[string]struct {
		prepare func(m *memory)
		code    ratify.Code
		message string
		shown   bool
	}{
		"good": {func(m *memory) { m.sign(t, signer, testImage) }, "", "", true},
		"of another image": {func(m *memory) { m.sign(t, signer, other) }, ratify.SubjectMismatch,
			"the signature is for another artifact, " + string(other.Digest), true},
		"rubbish": {func(m *memory) { m.attach(t, []byte("{}")) }, ratify.SignatureInvalid, "the signature is malformed: ", false},
		"too large": {func(m *memory) { m.attach(t, make([]byte, ratify.MaxEnvelopeBytes+1)) }, ratify.EvidenceInvalid,
			"the signature has 1048577 bytes, more than 1048576", false},
		"manifest missing": {func(m *memory) { delete(m.blobs, string(m.sign(t, signer, testImage).Digest)) }, ratify.RegistryInvalid,
			"the registry does not have what it listed", false},
		"out of time": {func(m *memory) {
			m.sign(t, signer, testImage)
			m.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, context.DeadlineExceeded }
		}, ratify.Deadline, ratify.Deadline.Info().Message, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			c.prepare(m)
			result, incomplete := inspectMemory(t, m)
			if incomplete != nil || len(result.Signatures) != 1 {
				t.Fatalf("%d signatures, incomplete: %v", len(result.Signatures), incomplete)
			}
			got := result.Signatures[0]
			if got.Error == nil {
				got.Error = &inspectionError{}
			}
			if got.Error.Code != c.code || !strings.HasPrefix(got.Error.Message, c.message) || (got.Signature != nil) != c.shown {
				t.Errorf("%+v, shown: %t", got.Error, got.Signature != nil)
			}
		})
	}
}

func TestInspectExitCodes(t *testing.T) {
	_, signer := makeSigner(t)
	for name, c := range map[string]struct {
		err    error
		stderr string
		want   int
	}{
		"good":    {nil, "", 0},
		"refused": {&ratify.Error{Code: ratify.EvidenceInvalid}, "is broken: the evidence is malformed", 1},
		"outage":  {&ratify.Error{Code: ratify.RateLimited}, "could not be read: the registry limits the rate of requests", 2},
		"a note":  {&ratify.Error{Code: ratify.NotExamined}, "could not be read: ", 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory(testImage)
			m.sign(t, signer, testImage)
			if c.err != nil {
				m.fetch = func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, c.err }
			}
			a, _, stderr := testApp(t)
			result, _ := inspectMemory(t, m)
			if got := exitCodeOf(a.concludeInspection(result, nil)); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
			if got := stderr.String(); !strings.Contains(got, c.stderr) || (c.stderr == "") != (got == "") {
				t.Errorf("it says %q", got)
			}
		})
	}
	a, _, _ := testApp(t)
	if got := exitCodeOf(a.concludeInspection(&inspection{}, &ratify.Error{Code: ratify.LimitExceeded})); got != exitRefused {
		t.Errorf("of an incomplete list: exit code %d", got)
	}
}

func TestInspectReadsWhatMayBeASignature(t *testing.T) {
	_, signer := makeSigner(t)
	m := newMemory(testImage)
	signature := m.sign(t, signer, testImage)
	sbom := describeBytes([]byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json"}`))
	m.blobs[string(sbom.Digest)] = []byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json"}`)
	missing := describeBytes([]byte("listed and not there"))
	known := describeBytes([]byte("of another kind"))
	known.ArtifactType = "application/spdx+json"
	signature.ArtifactType = "" // as an index under a fallback tag may list it
	m.lists[string(testImage.Digest)] = []ocispec.Descriptor{known, sbom, signature, missing}
	result, incomplete := inspectMemory(t, m)
	if incomplete != nil || len(result.Signatures) != 2 || result.Signatures[0].Digest != signature.Digest || result.Signatures[0].Error != nil {
		t.Fatalf("%+v, incomplete: %v", result.Signatures, incomplete)
	}
	if got := result.Signatures[1]; got.Digest != missing.Digest || got.Error == nil {
		t.Errorf("what could not be read is not told: %+v", got)
	}
}

func TestInspectBounds(t *testing.T) {
	m := newMemory(testImage)
	var many []ocispec.Descriptor
	for i := range maxInspected + 1 {
		d := describeBytes([]byte(strings.Repeat("x", i)))
		d.ArtifactType = notation.ArtifactType
		many = append(many, d)
	}
	m.lists[string(testImage.Digest)] = many
	result, incomplete := inspectMemory(t, m)
	if len(result.Signatures) != maxInspected || incomplete == nil || incomplete.Code != ratify.LimitExceeded {
		t.Errorf("%d signatures, incomplete: %v", len(result.Signatures), incomplete)
	}

	m.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return many[:1], &ratify.Error{Code: ratify.LimitExceeded, Message: "more than 10 pages"}
	}
	result, incomplete = inspectMemory(t, m)
	if len(result.Signatures) != 1 || incomplete == nil || incomplete.Message != "more than 10 pages" {
		t.Errorf("%d signatures, incomplete: %v", len(result.Signatures), incomplete)
	}
}

func TestInspectFails(t *testing.T) {
	refused := &ratify.Error{Code: ratify.RegistryAuth, Message: "no access"}
	for name, change := range map[string]func(m *memory){
		"resolve": func(m *memory) {
			m.resolve = func(context.Context, string) (ocispec.Descriptor, error) { return ocispec.Descriptor{}, refused }
		},
		"referrers": func(m *memory) {
			m.referrers = func(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) { return nil, refused }
		},
	} {
		m := newMemory(testImage)
		change(m)
		a, _, _ := testApp(t)
		if _, _, err := a.inspectAll(t.Context(), m.generation(), testSubject, time.Minute); !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, _, _ := testApp(t)
	_, _, err := a.inspectAll(t.Context(), &generation{engine: must(ratify.NewEngine(ratify.Setup{}))}, testSubject, time.Minute)
	if ratify.AsError(err).Code != ratify.NoStore {
		t.Errorf("without a store: %v", err)
	}
}

// TestVerdictsAreThoseOfVerify holds inspect to the engine's words: each signature alone, under the subject's name.
func TestVerdictsAreThoseOfVerify(t *testing.T) {
	authority, signer := makeSigner(t)
	_, stranger := makeSigner(t)
	m := newMemory(testImage)
	good, bad := m.sign(t, signer, testImage), m.sign(t, stranger, testImage)
	want := map[digest.Digest]ratify.Code{good.Digest: ratify.Verified, bad.Digest: ratify.UntrustedSigner}
	for name, c := range map[string]struct {
		level, scope string
		want         map[digest.Digest]ratify.Code
	}{
		"strict":       {"strict", "registry.example/app", want},
		"audit":        {"audit", "*", map[digest.Digest]ratify.Code{good.Digest: ratify.Verified, bad.Digest: ratify.Audited}},
		"skip":         {"skip", "*", map[digest.Digest]ratify.Code{good.Digest: ratify.Skipped, bad.Digest: ratify.Skipped}},
		"no statement": {"strict", "registry.example/other", map[digest.Digest]ratify.Code{good.Digest: ratify.NoTrustPolicy, bad.Digest: ratify.NoTrustPolicy}},
	} {
		t.Run(name, func(t *testing.T) {
			g := trusting(t, m, authority, c.level, c.scope)
			a, stdout, _ := testApp(t)
			result, _, err := a.inspectAll(t.Context(), g, testSubject, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range result.Signatures {
				if s.Verdict == nil || s.Verdict.Code != c.want[s.Digest] {
					t.Errorf("%s: %+v, want %s", s.Digest, s.Verdict, c.want[s.Digest])
				}
			}
			a.printInspection(result)
			if n := strings.Count(stdout.String(), "verdict: "); n != 2 {
				t.Errorf("%d verdicts are printed", n)
			}
		})
	}
}

// TestInspectJudgesEverything: past the bound of verify, and behind what decides.
func TestInspectJudgesEverything(t *testing.T) {
	authority, signer := makeSigner(t)
	m := newMemory(testImage)
	const count = ratify.MaxEvidence + 3
	for range count {
		m.sign(t, signer, testImage)
	}
	g := trusting(t, m, authority, "strict", "*")
	a, stdout, _ := testApp(t)
	result, incomplete, err := a.inspectAll(t.Context(), g, testSubject, time.Minute)
	if err != nil || incomplete != nil {
		t.Fatal(err, incomplete)
	}
	passed := 0
	for _, v := range result.Evidence {
		if v.Code == ratify.Verified {
			passed++
		}
	}
	if passed != count || result.Policy != "default" {
		t.Errorf("%d of %d passed, policy %q", passed, count, result.Policy)
	}
	a.printInspection(result)
	if got := strings.Count(stdout.String(), "✓ sha256:"); got != count {
		t.Errorf("%d verdicts are printed", got)
	}
}

// TestVerdictOfWhatIsNotExamined: a signature that no verifier of the policy is for has no verdict of another's.
func TestVerdictOfWhatIsNotExamined(t *testing.T) {
	signature := digest.FromString("signature")
	other := ratify.VerifierReport{IsSuccess: true, Name: "cosign", Reference: digest.FromString("other"), Code: ratify.Verified}
	for name, c := range map[string]struct {
		r       inspection
		code    ratify.Code
		success bool
	}{
		"of another's": {inspection{Evidence: []ratify.VerifierReport{other}}, ratify.NotExamined, false},
		"skipped":      {inspection{Evidence: []ratify.VerifierReport{other, {IsSuccess: true, Code: ratify.Skipped}}}, ratify.Skipped, true},
		"no policy":    {inspection{Problem: &inspectionError{ratify.NoPolicy, "none"}}, ratify.NoPolicy, false},
		"its own":      {inspection{Evidence: []ratify.VerifierReport{other, {Reference: signature, Code: ratify.UntrustedSigner}}}, ratify.UntrustedSigner, false},
	} {
		if got := c.r.verdictOf(signature); got.Code != c.code || got.IsSuccess != c.success || got.Reference != signature {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestFactsAreBounded(t *testing.T) {
	facts := map[string]any{"a\x1b": "b\x1b", "list": []any{"x", int64(1)}, "map": map[string]any{"k": true}, "long": strings.Repeat("x", 10_000), "none": math.NaN()}
	n := &node{}
	n.addFacts(facts)
	var out strings.Builder
	n.printChildren(&out, "")
	want := "├── \"a\\x1b\": \"b\\x1b\"\n├── list: [\"x\",1]\n├── long: " + ratify.Truncate(strings.Repeat("x", 10_000)) + "\n└── map: {\"k\":true}\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	for i := range 1000 {
		facts[fmt.Sprint(i)] = i
	}
	n = &node{}
	n.addFacts(facts)
	if len(n.children) > maxShownAttributes+1 {
		t.Errorf("%d lines", len(n.children))
	}
}

// trusting is a configuration whose store is m and that trusts the authority.
func trusting(t *testing.T, m *memory, authority *notationtest.Authority, level, scope string) *generation {
	t.Helper()
	statement := map[string]any{"name": "default", "registryScopes": []string{scope}, "signatureVerification": map[string]any{"level": level}}
	settings := map[string]any{"trustPolicy": map[string]any{"version": "1.0", "trustPolicies": []any{statement}}}
	if level != "skip" {
		statement["trustStores"], statement["trustedIdentities"] = []string{"ca:certs"}, []string{"*"}
		settings["trustStores"] = []any{map[string]any{"type": "ca", "name": "certs", "files": []string{writeFile(t, "root.crt", authority.PEM())}}}
	}
	file := &config.File{
		Verifiers: []config.Verifier{{Module: config.Module{Name: "notation", Type: "notation", Settings: config.NewSettings("test", settings)}}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"notation"}}},
	}
	g, err := (&process{}).assemble(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.setup.Stores = m.generation().setup.Stores
	g.engine = must(ratify.NewEngine(g.setup))
	return g
}
