package notation_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// TestNewRefuses changes one thing of a good configuration at a time.
func TestNewRefuses(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{Intermediates: 1})
	leaf := issue(t, authority, notationtest.LeafOptions{})
	wrong := must[*notationtest.Signer](t)(notationtest.NewSelfSigned(notationtest.LeafOptions{Usage: notationtest.ServerAuth}))
	intermediate := authority.Chain[0]
	first := func(cfg *notation.Config) *trustpolicy.TrustPolicy { return &cfg.TrustPolicy.TrustPolicies[0] }
	file := func(data []byte) func(*notation.Config) {
		path := writeFile(t, data)
		return func(cfg *notation.Config) { cfg.TrustStores[0].Files = []string{path} }
	}
	for _, c := range []struct {
		name   string
		change func(*notation.Config)
		words  []string
	}{
		{"nothing", func(cfg *notation.Config) { *cfg = notation.Config{} }, []string{`trustPolicy: version: expected "1.0", got ""`, "trustPolicy: trustPolicies: there is no statement"}},
		{"no statements", func(cfg *notation.Config) { cfg.TrustPolicy.TrustPolicies = nil }, []string{"trustPolicy: trustPolicies: there is no statement", `no trust policy statement uses ca:certs`}},
		{"version", func(cfg *notation.Config) { cfg.TrustPolicy.Version = "2.0" }, []string{`trustPolicy: version: expected "1.0", got "2.0"`}},
		{"version and more", func(cfg *notation.Config) { cfg.TrustPolicy.Version = "2.0"; first(cfg).Name = "" }, []string{`expected "1.0", got "2.0"`, `trustPolicies[0] "": name: it has none`}},
		{"store type", func(cfg *notation.Config) { cfg.TrustStores[0].Type = "CA" }, []string{`trustStores[0] "certs": unknown type "CA" (did you mean "ca"?)`}},
		{"store type far off", func(cfg *notation.Config) { cfg.TrustStores[0].Type = "certificates" }, []string{`there is ca, signingAuthority, tsa`}},
		{"store name", func(cfg *notation.Config) { cfg.TrustStores[0].Name = "my certs" }, []string{"letters, digits"}},
		{"store twice", func(cfg *notation.Config) { cfg.TrustStores = append(cfg.TrustStores, cfg.TrustStores[0]) }, []string{`trustStores[1] "certs": ca:certs is configured twice`}},
		{"store without files", func(cfg *notation.Config) { cfg.TrustStores[0].Files = nil }, []string{`trustStores[0] "certs": no files and no directories`}},
		{"file without a path", func(cfg *notation.Config) { cfg.TrustStores[0].Files = []string{""} }, []string{`files[0]: empty path`}},
		{"missing file", func(cfg *notation.Config) { cfg.TrustStores[0].Files = []string{"/missing/file.pem"} }, []string{"/missing/file.pem", "no such file"}},
		{"missing directory", func(cfg *notation.Config) {
			cfg.TrustStores[0].Files, cfg.TrustStores[0].Directories = nil, []string{"/missing"}
		}, []string{"directories[0]", "/missing"}},
		{"empty directory", func(cfg *notation.Config) { cfg.TrustStores[0].Directories = []string{t.TempDir()} }, []string{"directories[0]: no files in"}},
		{"empty file", file([]byte(" \n")), []string{"the file is empty"}},
		{"rubbish", file([]byte("rubbish")), []string{"neither PEM nor DER"}},
		{"key in the file", file(append(authority.PEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})...)), []string{`PEM block 2 is a "PRIVATE KEY"`}},
		{"damaged certificate", file(append(authority.PEM(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})...)), []string{"certificate 2"}},
		{"damaged PEM", file(append(authority.PEM(), bytes.Replace(authority.PEM(), []byte("-----END"), []byte("-----ENDE"), 1)...)), []string{"certificate 2: the PEM is damaged"}},
		{"leaf", file(notationtest.PEM(leaf.Chain[0])), []string{"certificate 1", "neither a CA certificate nor self-signed"}},
		{"second is a leaf", file(notationtest.PEM(authority.Root(), leaf.Chain[0])), []string{"certificate 2"}},
		{"self-signed for something else", file(notationtest.PEM(wrong.Chain[0])), []string{"it cannot sign code"}},
		{"authority that may not sign", file(weakAuthority(t, 2048, x509.KeyUsageCRLSign)), []string{"key usage does not let it sign certificates"}},
		{"weak key", file(weakAuthority(t, 1024, x509.KeyUsageCertSign)), []string{"its RSA key has 1024 bits, outside 2048 to 8192"}},
		{"tsa that is no root", func(cfg *notation.Config) {
			cfg.TrustStores = append(cfg.TrustStores, notation.TrustStore{Type: "tsa", Name: "time", Files: []string{writeFile(t, notationtest.PEM(intermediate))}})
			first(cfg).TrustStores = append(first(cfg).TrustStores, "tsa:time")
		}, []string{`trustStores[1] "time"`, "only self-signed CA certificates"}},
		{"unknown store", func(cfg *notation.Config) { first(cfg).TrustStores = []string{"ca:cert"} }, []string{`trustPolicies[0] "default": trustStores[0]: "ca:cert" is not configured (did you mean "ca:certs"?)`, `no trust policy statement uses ca:certs`}},
		{"tsa without ca", func(cfg *notation.Config) {
			cfg.TrustStores[0].Type = "tsa"
			cfg.TrustStores[0].Files = []string{writeFile(t, authority.PEM())}
			first(cfg).TrustStores = []string{"tsa:certs"}
		}, []string{"a tsa trust store has no effect without one of type ca"}},
		{"verifyTimestamp without tsa", func(cfg *notation.Config) { first(cfg).SignatureVerification.VerifyTimestamp = "always" }, []string{"verifyTimestamp has no effect"}},
		{"level", func(cfg *notation.Config) { first(cfg).SignatureVerification.VerificationLevel = "strickt" }, []string{`trustPolicy: trustPolicies[0] "default": signatureVerification: level: expected strict, permissive, audit or skip, got "strickt" (did you mean "strict"?)`}},
		{"no level", func(cfg *notation.Config) { first(cfg).SignatureVerification.VerificationLevel = "" }, []string{`level: expected strict, permissive, audit or skip, got ""`}},
		{"skip with stores", func(cfg *notation.Config) { first(cfg).SignatureVerification.VerificationLevel = "skip" }, []string{"set to skip", "requireRevocationInfo: has no effect"}},
		{"override of integrity", func(cfg *notation.Config) {
			first(cfg).SignatureVerification.Override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{"integrity": "log"}
		}, []string{"can not be overridden"}},
		{"revocation skipped and required", func(cfg *notation.Config) {
			first(cfg).SignatureVerification.Override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{"revocation": "skip"}
		}, []string{"requireRevocationInfo: has no effect", "allowPrivateRevocation: has no effect"}},
		{"identity of an unknown kind", func(cfg *notation.Config) { first(cfg).TrustedIdentities = []string{"x509.Subject: C=US,ST=WA,O=E"} }, []string{`trustedIdentities[0]: unknown prefix "x509.Subject" (did you mean "x509.subject"?), write it like "x509.subject: C=US, ST=WA, O=Example, CN=Release"`}},
		{"identity too short", func(cfg *notation.Config) { first(cfg).TrustedIdentities = []string{"x509.subject: CN=Release"} }, []string{`trustedIdentities[0]: distinguished name (DN) " CN=Release" has no mandatory RDN attribute for "C"`, `at a minimum, write it like "x509.subject: C=US, ST=WA, O=Example, CN=Release"`}},
		{"overlapping identities", func(cfg *notation.Config) {
			first(cfg).TrustedIdentities = []string{"x509.subject: C=US,ST=WA,O=E", "x509.subject: CN=R,C=US,ST=WA,O=E"}
		}, []string{"overlap"}},
		{"scope with a wildcard", func(cfg *notation.Config) { first(cfg).RegistryScopes = []string{"registry.example/*"} }, []string{"wild card"}},
		{"scope in another spelling", func(cfg *notation.Config) { first(cfg).RegistryScopes = []string{"Registry.example:443/app"} }, []string{`"Registry.example:443/app" matches nothing, write "registry.example/app"`}},
		{"scope of Docker Hub", func(cfg *notation.Config) { first(cfg).RegistryScopes = []string{"docker.io/nginx"} }, []string{`write "docker.io/library/nginx"`}},
		{"two statements of one name", func(cfg *notation.Config) {
			cfg.TrustPolicy.TrustPolicies = append(cfg.TrustPolicy.TrustPolicies, *first(cfg))
		}, []string{"same name"}},
		{"two statements of one scope", func(cfg *notation.Config) {
			second := *first(cfg)
			second.Name = "second"
			cfg.TrustPolicy.TrustPolicies = append(cfg.TrustPolicy.TrustPolicies, second)
		}, []string{"multiple trust policy statements"}},
		{"all at once", func(cfg *notation.Config) {
			cfg.TrustStores[0].Files = []string{"/missing/file.pem"}
			first(cfg).TrustStores = []string{"ca:other"}
			first(cfg).SignatureVerification.VerificationLevel = "loud"
		}, []string{"/missing/file.pem", `"ca:other" is not configured`, `"loud"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := settings{ca: []*x509.Certificate{authority.Root()}, require: true}.config(t)
			if _, err := notation.New(cfg, notation.Deps{}); err != nil {
				t.Fatalf("before the change: %v", err)
			}
			c.change(&cfg)
			v, err := notation.New(cfg, notation.Deps{})
			if err == nil {
				t.Fatal("accepted")
			}
			if v != nil {
				t.Error("a verifier beside an error")
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("error does not say %q:\n%v", word, err)
				}
			}
		})
	}
}

// TestFaultsAreToldOnce has the whole error: a line for each fault, and what can stand in its place.
func TestFaultsAreToldOnce(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	const place, form = `trustPolicy: trustPolicies[0] "default": `, `write it like "x509.subject: C=US, ST=WA, O=Example, CN=Release"`
	type override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction
	for name, c := range map[string]struct {
		change func(*trustpolicy.TrustPolicy)
		want   []string
	}{
		"level far off": {func(p *trustpolicy.TrustPolicy) { p.SignatureVerification.VerificationLevel = "loud" },
			[]string{place + `signatureVerification: level: expected strict, permissive, audit or skip, got "loud"`}},
		"level that may be skip": {func(p *trustpolicy.TrustPolicy) {
			p.SignatureVerification.VerificationLevel, p.TrustedIdentities = "skp", nil
		}, []string{place + `signatureVerification: level: expected strict, permissive, audit or skip, got "skp" (did you mean "skip"?)`,
			place + "is either missing trust stores or trusted identities, both must be specified"}},
		"overrides": {func(p *trustpolicy.TrustPolicy) {
			p.SignatureVerification.Override = override{"revocatoin": "log", "expiry": "warn"}
		}, []string{place + `signatureVerification: override: expiry: expected enforce, log or skip, got "warn"`,
			place + `signatureVerification: override: expected integrity, authenticity, authenticTimestamp, expiry or revocation, got "revocatoin" (did you mean "revocation"?)`}},
		"override of what has to be": {func(p *trustpolicy.TrustPolicy) { p.SignatureVerification.Override = override{"integrity": "log"} },
			[]string{place + `signatureVerification: "integrity" verification can not be overridden in custom signature verification`}},
		"identities": {func(p *trustpolicy.TrustPolicy) {
			p.TrustedIdentities = []string{"CN=Release", "x509.subjct: C=US", "x509.subject: ", "", "x509.subject: C=US, O=E", "x509.subject: C=US, ST=WA, O=E"}
		}, []string{place + `trustedIdentities[0]: "CN=Release" has no prefix, ` + form,
			place + `trustedIdentities[1]: unknown prefix "x509.subjct" (did you mean "x509.subject"?), ` + form,
			place + `trustedIdentities[2]: "x509.subject: " names nobody, ` + form,
			place + `trustedIdentities[3]: "" has no prefix, ` + form,
			place + `trustedIdentities[4]: distinguished name (DN) " C=US, O=E" has no mandatory RDN attribute for "ST", it must contain 'C', 'ST' or 'S', and 'O' RDN attributes at a minimum, ` + form}},
		"scopes": {func(p *trustpolicy.TrustPolicy) {
			p.RegistryScopes = []string{"docker.io/nginx", "docker.io/library/nginx", "nginx"}
		}, []string{place + `registryScopes[0]: "docker.io/nginx" matches nothing, write "docker.io/library/nginx"`,
			place + `registryScopes[2]: registry scope "nginx" is not valid, make sure it is a fully qualified repository without the scheme, protocol or tag. For example domain.com/my/repository or a local scope like local/myOCILayout`}},
		"no scopes": {func(p *trustpolicy.TrustPolicy) { p.RegistryScopes = nil },
			[]string{place + "has zero registry scopes, it must specify registry scopes with at least one value"}},
		"store without a type": {func(p *trustpolicy.TrustPolicy) { p.TrustStores = append(p.TrustStores, "certs") },
			[]string{place + `trustStores[1]: "certs" is not configured (there is ca:certs)`}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings{ca: []*x509.Certificate{authority.Root()}}.config(t)
			c.change(&cfg.TrustPolicy.TrustPolicies[0])
			_, err := notation.New(cfg, notation.Deps{})
			if err == nil || err.Error() != strings.Join(c.want, "\n") {
				t.Errorf("%v\nwant\n%s", err, strings.Join(c.want, "\n"))
			}
		})
	}
	t.Run("between statements", func(t *testing.T) {
		cfg := settings{ca: []*x509.Certificate{authority.Root()}}.config(t)
		second := cfg.TrustPolicy.TrustPolicies[0]
		second.SignatureVerification.VerificationLevel, second.RegistryScopes = "none", []string{"registry.example/other"}
		cfg.TrustPolicy.TrustPolicies = append(cfg.TrustPolicy.TrustPolicies, second)
		_, err := notation.New(cfg, notation.Deps{})
		want := `trustPolicy: trustPolicies[1] "default": signatureVerification: level: expected strict, permissive, audit or skip, got "none"
trustPolicy: trustPolicies: multiple trust policy statements use the same name "default", statement names must be unique`
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant\n%s", err, want)
		}
	})
}

// weakAuthority makes a CA certificate that no signature can be verified with.
func weakAuthority(t *testing.T, bits int, usage x509.KeyUsage) []byte {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0") // the standard library does not make such keys by itself any more
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits))
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Weak"}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: usage,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))})
}

func TestTrustStoreFormats(t *testing.T) {
	first, second := newAuthority(t, notationtest.AuthorityOptions{Name: "First"}), newAuthority(t, notationtest.AuthorityOptions{Name: "Second"})
	envelope := sign(t, issue(t, second, notationtest.LeafOptions{}), notationtest.SignOptions{})
	commented := append([]byte("the second root\n"), second.PEM()...)
	// A mounted Secret: names that are links to files in a directory that is a link itself.
	secret := t.TempDir()
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(secret, "..2026_11_23", "root.crt"), second.PEM())
	for link, target := range map[string]string{"..data": "..2026_11_23", "root.crt": filepath.Join("..data", "root.crt")} {
		if err := os.Symlink(target, filepath.Join(secret, link)); err != nil {
			t.Fatal(err)
		}
	}
	linked := filepath.Join(t.TempDir(), "link.pem")
	if err := os.Symlink(writeFile(t, second.PEM()), linked); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		store notation.TrustStore
	}{
		{"PEM", notation.TrustStore{Files: []string{writeFile(t, second.PEM())}}},
		{"PEM with a comment", notation.TrustStore{Files: []string{writeFile(t, commented)}}},
		{"bundle", notation.TrustStore{Files: []string{writeFile(t, append(first.PEM(), second.PEM()...))}}},
		{"DER", notation.TrustStore{Files: []string{writeFile(t, second.Root().Raw)}}},
		{"two DER", notation.TrustStore{Files: []string{writeFile(t, append(bytes.Clone(first.Root().Raw), second.Root().Raw...))}}},
		{"two files", notation.TrustStore{Files: []string{writeFile(t, first.PEM()), writeFile(t, second.PEM())}}},
		{"link", notation.TrustStore{Files: []string{linked}}},
		{"mounted secret", notation.TrustStore{Directories: []string{secret}}},
		{"file and directory", notation.TrustStore{Files: []string{writeFile(t, first.PEM())}, Directories: []string{secret}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := settings{ca: []*x509.Certificate{first.Root()}}.config(t)
			c.store.Type, c.store.Name = "ca", "certs"
			cfg.TrustStores = []notation.TrustStore{c.store}
			set := &files.Set{}
			v := must[*notation.Verifier](t)(notation.New(cfg, notation.Deps{Files: set}))
			expect(t, verify(t, v, envelope, notationtest.JWS), ratify.Verified)
			if len(set.Paths()) == 0 || set.Changed() {
				t.Errorf("read %q, changed %t", set.Paths(), set.Changed())
			}
		})
	}
	t.Run("rotated secret", func(t *testing.T) {
		cfg := settings{ca: []*x509.Certificate{first.Root()}}.config(t)
		cfg.TrustStores = []notation.TrustStore{{Type: "ca", Name: "certs", Directories: []string{secret}}}
		set := &files.Set{}
		must[*notation.Verifier](t)(notation.New(cfg, notation.Deps{Files: set}))
		write(filepath.Join(secret, "..2026_11_24", "root.crt"), first.PEM())
		next := filepath.Join(secret, "..data_tmp")
		if err := os.Symlink("..2026_11_24", next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(secret, "..data")); err != nil {
			t.Fatal(err)
		}
		if !set.Changed() {
			t.Error("the swap of the secret is not seen")
		}
		v := must[*notation.Verifier](t)(notation.New(cfg, notation.Deps{}))
		expect(t, verify(t, v, envelope, notationtest.JWS), ratify.UntrustedSigner)
	})
}

func TestSelfSignedSigner(t *testing.T) {
	signer := must[*notationtest.Signer](t)(notationtest.NewSelfSigned(notationtest.LeafOptions{}))
	v := settings{ca: signer.Chain, require: true}.verifier(t)
	expect(t, verify(t, v, sign(t, signer, notationtest.SignOptions{}), notationtest.JWS), ratify.Verified)
}

// TestStatementsByRepository has a root per statement, so that the verdict tells which statement was taken.
func TestStatementsByRepository(t *testing.T) {
	one, two := newAuthority(t, notationtest.AuthorityOptions{Name: "One"}), newAuthority(t, notationtest.AuthorityOptions{Name: "Two"})
	document := `{
		"trustStores": [{"type": "ca", "name": "one", "files": ["` + writeFile(t, one.PEM()) + `"]}, {"type": "ca", "name": "two", "files": ["` + writeFile(t, two.PEM()) + `"]}],
		"trustPolicy": {"version": "1.0", "trustPolicies": [
			{"name": "first", "registryScopes": ["registry.example/acme/app", "registry.example/acme/web"], "signatureVerification": {"level": "strict"}, "trustStores": ["ca:one"], "trustedIdentities": ["*"]},
			{"name": "second", "registryScopes": ["registry.example/acme"], "signatureVerification": {"level": "permissive"}, "trustStores": ["ca:two"], "trustedIdentities": ["*"]},
			{"name": "third", "registryScopes": ["registry.example/open"], "signatureVerification": {"level": "skip"}}]}}`
	var cfg notation.Config
	if err := json.Unmarshal([]byte(document), &cfg); err != nil {
		t.Fatal(err)
	}
	narrow := must[*notation.Verifier](t)(notation.New(cfg, notation.Deps{}))
	wide := cfg
	wide.TrustPolicy.TrustPolicies = append([]trustpolicy.TrustPolicy{}, cfg.TrustPolicy.TrustPolicies...)
	wide.TrustPolicy.TrustPolicies[1].RegistryScopes = []string{"*"}
	catchAll := must[*notation.Verifier](t)(notation.New(wide, notation.Deps{}))
	byOne := sign(t, issue(t, one, notationtest.LeafOptions{}), notationtest.SignOptions{})
	byTwo := sign(t, issue(t, two, notationtest.LeafOptions{}), notationtest.SignOptions{})
	for _, c := range []struct {
		repository string
		verifier   *notation.Verifier
		envelope   []byte
		code       ratify.Code
		statement  string
	}{
		{"registry.example/acme/app", narrow, byOne, ratify.Verified, "first"},
		{"registry.example/acme/web", narrow, byOne, ratify.Verified, "first"},
		{"registry.example/acme/app", narrow, byTwo, ratify.UntrustedSigner, "first"},
		{"registry.example/acme", narrow, byTwo, ratify.Verified, "second"},
		{"registry.example/acme/other", narrow, byTwo, ratify.NoTrustPolicy, ""},
		{"registry.example/acme/app", catchAll, byOne, ratify.Verified, "first"},
		{"registry.example/acme/app", catchAll, byTwo, ratify.UntrustedSigner, "first"},
		{"registry.example/acme/other", catchAll, byTwo, ratify.Verified, "second"},
	} {
		artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, c.envelope, notationtest.JWS))
		repo := holding(artifact)
		repo.name = c.repository
		result, err := c.verifier.Verify(t.Context(), image, artifact.ManifestDescriptor, repo)
		if got := (verdict{result, err}); got.code() != c.code {
			t.Errorf("%s: %s, want %s", c.repository, got.code(), c.code)
		}
		if statement, _ := result.Extensions["statement"].(string); statement != c.statement {
			t.Errorf("%s: statement %q, want %q", c.repository, statement, c.statement)
		}
	}
	if !narrow.Skip(ratify.Subject{Repository: "registry.example/open"}) || narrow.Skip(ratify.Subject{Repository: "registry.example/acme"}) {
		t.Error("skip is not by repository")
	}
	result, ok := narrow.Absent(ratify.Subject{Repository: "registry.example/none"})
	if !ok || result.Passed || result.Code != ratify.NoTrustPolicy {
		t.Errorf("absence without a statement: %v %v", result, ok)
	}
}

func TestExtensions(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	metadata := map[string]string{"build": "42", "long": strings.Repeat("x", 1000)}
	for i := range 100 {
		metadata["zz"+string(rune('a'+i%26))+string(rune('a'+i/26))] = "v"
	}
	for _, mediaType := range formats {
		got := verify(t, settings{ca: []*x509.Certificate{authority.Root()}}.verifier(t),
			sign(t, signer, notationtest.SignOptions{MediaType: mediaType, Expiry: time.Hour, UserMetadata: metadata}), mediaType)
		expect(t, got, ratify.Verified)
		for key, want := range map[string]any{
			"signer": "CN=Example Signer,O=Example,ST=WA,C=US", "issuer": "CN=Example Root,O=Example,ST=WA,C=US",
			"statement": "default", "level": "strict", "signingScheme": "notary.x509", "envelope": mediaType,
		} {
			if got.Extensions[key] != want {
				t.Errorf("%s: %v, want %v", key, got.Extensions[key], want)
			}
		}
		for _, key := range []string{"signingTime", "expiry"} {
			if _, err := time.Parse(time.RFC3339, got.Extensions[key].(string)); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
		told := got.Extensions["userMetadata"].(map[string]string)
		if len(told) != 16 || told["build"] != "42" || len(told["long"]) > ratify.MaxTextBytes {
			t.Errorf("user metadata: %d entries, build %q, long of %d bytes", len(told), told["build"], len(told["long"]))
		}
		if _, err := json.Marshal(got.Extensions); err != nil {
			t.Errorf("extensions cannot be encoded: %v", err)
		}
	}
}
