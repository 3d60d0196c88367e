package notation_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

const repository = "registry.example/acme/app"

var image = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}

// blobs is a repository whose content is at hand.
type blobs struct {
	name    string
	content map[digest.Digest][]byte
	fetch   func(ctx context.Context, desc ocispec.Descriptor) ([]byte, error)
	mu      sync.Mutex
	asked   []ocispec.Descriptor
}

func (b *blobs) Name() string { return b.name }

func (b *blobs) Resolve(context.Context, string) (ocispec.Descriptor, error) { return image, nil }

func (b *blobs) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}

func (b *blobs) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	b.mu.Lock()
	b.asked = append(b.asked, desc)
	b.mu.Unlock()
	if b.fetch != nil {
		return b.fetch(ctx, desc)
	}
	data, ok := b.content[desc.Digest]
	if !ok {
		return nil, &ratify.Error{Code: ratify.RegistryInvalid, Message: "no such content"}
	}
	return data, nil
}

func holding(artifacts ...*notationtest.Artifact) *blobs {
	b := &blobs{name: repository, content: map[digest.Digest][]byte{}}
	for _, a := range artifacts {
		b.content[a.ManifestDescriptor.Digest] = a.Manifest
		b.content[a.ConfigDescriptor.Digest] = a.Config
		b.content[a.EnvelopeDescriptor.Digest] = a.Envelope
	}
	return b
}

// must fails the test on an error, and is for what the test itself makes.
func must[T any](t testing.TB) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newAuthority(t testing.TB, options notationtest.AuthorityOptions) *notationtest.Authority {
	t.Helper()
	return must[*notationtest.Authority](t)(notationtest.NewAuthority(options))
}

func issue(t testing.TB, a *notationtest.Authority, options notationtest.LeafOptions) *notationtest.Signer {
	t.Helper()
	return must[*notationtest.Signer](t)(a.Issue(options))
}

func sign(t testing.TB, s *notationtest.Signer, options notationtest.SignOptions) []byte {
	t.Helper()
	return must[[]byte](t)(s.Sign(t.Context(), image, options))
}

// settings are what most tests configure: one statement, and the stores that it uses.
type settings struct {
	level      string
	override   map[trustpolicy.ValidationType]trustpolicy.ValidationAction
	timestamps trustpolicy.TimestampOption
	identities []string
	ca         []*x509.Certificate
	authority  []*x509.Certificate
	tsa        []*x509.Certificate
	require    bool
	public     bool
	revocation *notation.Revocation
	outcomes   *notation.Outcomes // nil: some of its own
	forgetful  bool               // remembers nothing
	observe    func(notation.Work)
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s settings) config(t testing.TB) notation.Config {
	t.Helper()
	if s.level == "" {
		s.level = "strict"
	}
	if s.identities == nil && s.level != "skip" {
		s.identities = []string{"*"}
	}
	cfg := notation.Config{RequireRevocationInfo: s.require, AllowPrivateRevocation: !s.public && s.level != "skip"}
	statement := trustpolicy.TrustPolicy{
		Name: "default", RegistryScopes: []string{"*"}, TrustedIdentities: s.identities,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: s.level, Override: s.override, VerifyTimestamp: s.timestamps},
	}
	add := func(kind truststore.Type, certs []*x509.Certificate) {
		if len(certs) == 0 {
			return
		}
		cfg.TrustStores = append(cfg.TrustStores, notation.TrustStore{Type: kind, Name: "certs", Files: []string{writeFile(t, notationtest.PEM(certs...))}})
		statement.TrustStores = append(statement.TrustStores, string(kind)+":certs")
	}
	add(truststore.TypeCA, s.ca)
	add(truststore.TypeSigningAuthority, s.authority)
	add(truststore.TypeTSA, s.tsa)
	if s.override[trustpolicy.TypeRevocation] == trustpolicy.ActionSkip {
		cfg.AllowPrivateRevocation = false
	}
	cfg.TrustPolicy = trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{statement}}
	return cfg
}

func (s settings) verifier(t testing.TB) *notation.Verifier {
	t.Helper()
	if s.revocation == nil {
		s.revocation = notation.NewRevocation(notation.RevocationOptions{Timeout: 2 * time.Second})
		t.Cleanup(s.revocation.Close)
	}
	if s.outcomes == nil && !s.forgetful {
		s.outcomes = notation.NewOutcomes(notation.OutcomesOptions{})
	}
	return must[*notation.Verifier](t)(notation.New(s.config(t), notation.Deps{Revocation: s.revocation, Outcomes: s.outcomes, Observe: s.observe}))
}

// verdict is what the engine would make of the answer.
type verdict struct {
	ratify.Result
	err error
}

func (v verdict) code() ratify.Code {
	switch {
	case v.err != nil:
		return ratify.AsError(v.err).Code
	case v.Passed:
		return ratify.Verified
	}
	return v.Code
}

func (v verdict) text() string {
	if v.err != nil {
		return ratify.AsError(v.err).UserMessage()
	}
	return v.Message
}

func (v verdict) loggedOnly() []string {
	var kinds []string
	logged, _ := v.Extensions["loggedOnly"].([]map[string]any)
	for _, l := range logged {
		kinds = append(kinds, l["check"].(string)+" "+l["code"].(string))
	}
	return kinds
}

// verify attaches the envelope to the image and verifies it; and again, for the outcome must not depend on what was
// remembered of the first time.
func verify(t testing.TB, v *notation.Verifier, envelope []byte, mediaType string) verdict {
	t.Helper()
	first := verifyOnce(t, v, envelope, mediaType)
	first.expectSame(t, verifyOnce(t, v, envelope, mediaType))
	return first
}

func verifyOnce(t testing.TB, v *notation.Verifier, envelope []byte, mediaType string) verdict {
	t.Helper()
	artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, envelope, mediaType))
	result, err := v.Verify(t.Context(), image, artifact.ManifestDescriptor, holding(artifact))
	return verdict{result, err}
}

// expectSame compares all that a verdict tells, and the instants that depend on now by a few seconds.
func (v verdict) expectSame(t testing.TB, other verdict) {
	t.Helper()
	told := func(v verdict) any {
		return []any{v.code(), v.text(), v.Passed, v.Code, v.Remedy, v.NotAfter, v.Extensions}
	}
	if one, two := told(v), told(other); !reflect.DeepEqual(one, two) {
		t.Fatalf("once it is\n%v\nand once\n%v", one, two)
	}
	if v.FreshUntil.IsZero() != other.FreshUntil.IsZero() || v.FreshUntil.Sub(other.FreshUntil).Abs() > 5*time.Second {
		t.Fatalf("once it is fresh until %s and once until %s", v.FreshUntil, other.FreshUntil)
	}
}

func expect(t testing.TB, v verdict, code ratify.Code, words ...string) {
	t.Helper()
	if v.code() != code {
		t.Fatalf("code %s, want %s: %s (%v)", v.code(), code, v.text(), v.err)
	}
	for _, word := range words {
		if !strings.Contains(v.text(), word) {
			t.Errorf("message %q does not contain %q", v.text(), word)
		}
	}
}
