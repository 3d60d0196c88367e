package docs

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// The names that the pages use stand for registries on the loopback address. What is behind them is one registry: that of
// the fixture, as it is (registry.example), as a mirror that has its images but nothing that is attached to them, and behind
// a password. A name is replaced wherever it stands, in files and in commands; in what a command prints it is put back.
// Registries that are spoken to over plain HTTP have plainHTTP and allowPrivate added to their entries in a store, or an
// entry with them, and commands without a configuration get --plain-http; nothing else of a page is changed.
var hosts = []struct {
	name   string // in the pages
	access access
}{
	{"registry.example", open},
	{"mirror.example", copied},
	{"harbor.internal:8443", locked},
	{"123456789012.dkr.ecr.eu-central-1.amazonaws.com", locked},
	{"acme.azurecr.io", locked},
	{"europe-docker.pkg.dev", locked},
}

type access string

const (
	open   access = "open"   // plain HTTP, for anybody
	copied access = "copied" // the same, without referrers
	locked access = "locked" // HTTPS or HTTP, with a password
)

// patterns are those that hold one of the names.
var patterns = map[string]string{
	"*.dkr.ecr.eu-central-1.amazonaws.com": "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
	"*.dkr.ecr.*.amazonaws.com":            "123456789012.dkr.ecr.eu-central-1.amazonaws.com",
	"*.azurecr.io":                         "acme.azurecr.io",
	"*.pkg.dev":                            "europe-docker.pkg.dev",
}

// overTLS is the registry with a certificate of a CA of its own.
const overTLS = "harbor.internal:8443"

// Who may read the locked registries.
const (
	user     = "puller"
	password = "planted-secret"
)

// Who signs the images of the pages, beside the fixture's own keys and identities.
const (
	issuer   = "https://token.actions.githubusercontent.com"
	workflow = "https://github.com/acme/api/.github/workflows/release.yml@refs/tags/v1.0.0"
	foreign  = "https://github.com/mallory/api/.github/workflows/release.yml@refs/heads/main"
)

// A world is what the pages' commands and files meet.
type world struct {
	*fixture.Fixture
	at       map[string]string // the address of each name
	registry http.Handler
	ca       []byte // of the registry over TLS
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{at: map[string]string{}}
	f, err := fixture.Start(t.Context(), fixture.Options{Dir: t.TempDir(), Evidence: true, Wrap: func(registry http.Handler) http.Handler {
		w.registry = registry
		return registry
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Fixture = f
	if err := w.push(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		w.at[h.name] = w.listen(t, h.name, h.access)
	}
	for pattern, name := range patterns {
		w.at[pattern] = w.at[name]
	}
	return w
}

// listen returns the address at which the registry is to be had.
func (w *world) listen(t *testing.T, name string, a access) string {
	t.Helper()
	handler := w.registry
	switch a {
	case open:
		return w.Host
	case copied:
		handler = withoutReferrers(handler)
	case locked:
		handler = withPassword(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	if name == overTLS {
		server.StartTLS()
		w.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func withPassword(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			rw.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(rw, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// withoutReferrers is a mirror that copied images alone.
func withoutReferrers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, "/manifests/sha256-") {
			http.NotFound(rw, r)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// files are what a page's reader has in his folder, by the names of the pages.
func (w *world) files(t *testing.T, dir string) {
	t.Helper()
	copies := map[string][]byte{
		"signer.crt":         w.SignerPEM,
		"cosign.pub":         w.Trust.Key.PublicPEM(),
		"tenants/team-a.pub": w.Trust.OtherKey.PublicPEM(),
		"registry-ca.crt":    w.ca,
		"password.txt":       []byte(password + "\n"),
		"config.json":        fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, w.at[overTLS], user, password),
		"trusted_root.json":  read(t, w.Trust.RootFile),
	}
	if err := os.Mkdir(filepath.Join(dir, "tenants"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range copies {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range standIns() {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// standIns are the programs of vendors that pages name. The test's own program stands in for them, see TestMain: it speaks
// their protocols and knows the one password, so that what is tested is our side of them.
func standIns() []string {
	return []string{"docker-credential-ecr-login", "ecr-credential-provider", "acr-credential-provider", "auth-provider-gcp"}
}

// standIn is the program under one of these names.
func standIn(name string) error {
	asked, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "docker-credential-") {
		_, err = fmt.Printf(`{"ServerURL":%q,"Username":%q,"Secret":%q}`, asked, user, password)
		return err
	}
	_, image, ok := strings.Cut(string(asked), `"image":"`)
	if !ok {
		return fmt.Errorf("no image in %s", asked)
	}
	host, _, _ := strings.Cut(image, "/")
	_, err = fmt.Printf(`{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Registry","auth":{%q:{"username":%q,"password":%q}}}`, host, user, password)
	return err
}

// push pushes the images of the pages, all with the tag v1.
func (w *world) push(ctx context.Context) error {
	key, team := w.Trust.Key, w.Trust.OtherKey
	hour, month := time.Now().Add(-time.Hour), time.Now().Add(-30*24*time.Hour)
	for name, attach := range map[string][]attachment{
		// cosign.md
		"acme/web":      {bundle(key)},
		"acme/legacy":   {tag(key)},
		"acme/unsigned": nil,
		"acme/fork":     {bundle(team)},
		"acme/api":      {w.keyless(workflow)},
		"acme/hijacked": {w.keyless(foreign)},
		"acme/logged":   {w.logged},
		// provenance.md
		"acme/app":     {provenance(key, "https://github.com/acme/app")},
		"acme/strange": {provenance(key, "https://github.com/mallory/app")},
		// sbom.md
		"acme/shop":   {spdx(key, sbomtest.Package{Name: "hello", Version: "1.0.0", License: "MIT"})},
		"acme/forum":  {spdx(key, sbomtest.Package{Name: "forum-engine", Version: "3.1.0", License: "AGPL-3.0-only"})},
		"acme/logger": {spdx(key, sbomtest.Package{Name: "log4j-core", Version: "2.14.1", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", License: "Apache-2.0"})},
		// vulnerabilities.md
		"acme/scanned":    {scan(key, hour)},
		"acme/stale":      {scan(key, month)},
		"acme/vulnerable": {scan(key, hour, log4shell)},
		"acme/crowded":    slices.Repeat([]attachment{scan(key, hour)}, ratify.MaxEvidence+1),
		"acme/cleared":    {scan(key, hour, log4shell), vex(key, log4shell)},
		// tenants.md
		"team-a/app": {bundle(team)},
		"team-b/app": {bundle(key)},
	} {
		image, err := w.Push(ctx, name)
		if err != nil {
			return err
		}
		for _, make := range attach {
			artifact, err := make(image.Descriptor)
			if err != nil {
				return err
			}
			if err := w.Attach(ctx, name, artifact); err != nil {
				return err
			}
		}
	}
	for name, signed := range map[string]int{"acme/multi": 2, "acme/half": 1} {
		if _, err := w.PushPlatforms(ctx, name, signed, fixture.Signature{By: w.Signer}); err != nil {
			return err
		}
	}
	bom, err := sbomtest.CycloneDX(sbomtest.About{Name: "acme/attached", Created: time.Now()}, sbomtest.Package{Name: "hello", Version: "1.0.0", License: "MIT"}).JSON()
	if err != nil {
		return err
	}
	if err := w.pushDocument(ctx, "acme/attached", sbomtest.TypeCycloneDX, as(bom)); err != nil {
		return err
	}
	statement := func(image ocispec.Descriptor) []byte {
		return cosigntest.Statement(image.Digest, "https://slsa.dev/provenance/v1", fixture.Provenance("https://github.com/acme/app"))
	}
	if err := w.pushDocument(ctx, "acme/stated", "application/vnd.in-toto+json", statement); err != nil {
		return err
	}
	return w.pushDocument(ctx, "acme/sarif", "application/sarif+json", as([]byte(sarif)))
}

// sarif is a report of trivy, which has no time of its own.
const sarif = `{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"Trivy","version":"0.62.0","rules":[]}},"results":[]}]}`

// as is a document that does not name its image.
func as(data []byte) func(ocispec.Descriptor) []byte {
	return func(ocispec.Descriptor) []byte { return data }
}

// pushDocument pushes an image to which a document about it is attached as it is, and signed by Notation.
func (w *world) pushDocument(ctx context.Context, name, artifactType string, about func(ocispec.Descriptor) []byte) error {
	image, err := w.Push(ctx, name, fixture.Signature{By: w.Signer})
	if err != nil {
		return err
	}
	artifact := plain(image.Descriptor, artifactType, about(image.Descriptor))
	if err := w.Attach(ctx, name, artifact); err != nil {
		return err
	}
	return w.Sign(ctx, name, artifact.Descriptor, fixture.Signature{By: w.Signer})
}

// plain is a document as oras attach attaches it.
func plain(subject ocispec.Descriptor, artifactType string, data []byte) *cosigntest.Artifact {
	empty := ocispec.DescriptorEmptyJSON
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"artifactType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},`+
		`"layers":[{"mediaType":%q,"digest":%q,"size":%d}],"subject":{"mediaType":%q,"digest":%q,"size":%d},"annotations":{%q:%q}}`,
		ocispec.MediaTypeImageManifest, artifactType, empty.MediaType, empty.Digest, empty.Size,
		artifactType, digest.FromBytes(data), len(data), subject.MediaType, subject.Digest, subject.Size, ocispec.AnnotationCreated, time.Now().UTC().Format(time.RFC3339))
	return &cosigntest.Artifact{
		Manifest:   manifest,
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))},
		Blobs:      map[digest.Digest][]byte{empty.Digest: empty.Data, digest.FromBytes(data): data},
	}
}

// An attachment makes what is attached to an image.
type attachment func(ocispec.Descriptor) (*cosigntest.Artifact, error)

func bundle(key *cosigntest.Key) attachment {
	return func(image ocispec.Descriptor) (*cosigntest.Artifact, error) {
		return signed(image, key, cosigntest.SignStatement(image.Digest))
	}
}

func signed(image ocispec.Descriptor, key *cosigntest.Key, statement []byte) (*cosigntest.Artifact, error) {
	s, err := key.Sign(statement)
	if err != nil {
		return nil, err
	}
	return cosigntest.AttachBundle(image, s.Bundle()), nil
}

// logged is a bundle by the key, which a transparency log and a timestamp authority have seen.
func (w *world) logged(image ocispec.Descriptor) (*cosigntest.Artifact, error) {
	key, sigstore := w.Trust.Key, w.Trust.Sigstore
	s, err := key.Sign(cosigntest.SignStatement(image.Digest))
	if err != nil {
		return nil, err
	}
	if err := sigstore.Log(s, key.PublicPEM(), time.Now()); err != nil {
		return nil, err
	}
	if err := sigstore.Stamp(s, time.Now()); err != nil {
		return nil, err
	}
	return cosigntest.AttachBundle(image, s.Bundle()), nil
}

func tag(key *cosigntest.Key) attachment {
	return func(image ocispec.Descriptor) (*cosigntest.Artifact, error) {
		s, err := key.SignMessage(cosigntest.Payload("registry.example/acme/legacy", image.Digest))
		if err != nil {
			return nil, err
		}
		return cosigntest.Collect(image.Digest, s.Layer()), nil
	}
}

func (w *world) keyless(identity string) attachment {
	return func(image ocispec.Descriptor) (*cosigntest.Artifact, error) {
		s, err := w.Trust.Sigstore.Sign(cosigntest.SignStatement(image.Digest), cosigntest.Options{Identity: identity, Issuer: issuer})
		if err != nil {
			return nil, err
		}
		return cosigntest.AttachBundle(image, s.Bundle()), nil
	}
}

func provenance(key *cosigntest.Key, source string) attachment {
	return attest(key, "https://slsa.dev/provenance/v1", func(ocispec.Descriptor) any { return fixture.Provenance(source) })
}

func attest(key *cosigntest.Key, predicateType string, predicate func(ocispec.Descriptor) any) attachment {
	return func(image ocispec.Descriptor) (*cosigntest.Artifact, error) {
		return signed(image, key, cosigntest.Statement(image.Digest, predicateType, predicate(image)))
	}
}

func spdx(key *cosigntest.Key, packages ...sbomtest.Package) attachment {
	return attest(key, sbomtest.PredicateSPDX, func(image ocispec.Descriptor) any {
		return sbomtest.SPDX(sbomtest.About{Name: "acme", Digest: image.Digest, Created: time.Now()}, packages...)
	})
}

const log4shell = "CVE-2021-44228"

// scan is a report of trivy that cosign attests, with these vulnerabilities of the severity critical.
func scan(key *cosigntest.Key, at time.Time, critical ...string) attachment {
	report := fixture.Scan(at)
	found := []any{}
	for _, id := range critical {
		found = append(found, map[string]any{
			"VulnerabilityID": id, "PkgName": "org.apache.logging.log4j:log4j-core", "InstalledVersion": "2.14.1", "Severity": "CRITICAL",
			"PkgIdentifier": map[string]any{"PURL": "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"},
		})
	}
	if len(found) > 0 {
		result := report["scanner"].(map[string]any)["result"].(map[string]any)
		result["Results"] = []any{map[string]any{"Target": "app.jar", "Class": "lang-pkgs", "Type": "jar", "Vulnerabilities": found}}
	}
	return attest(key, "https://cosign.sigstore.dev/attestation/vuln/v1", func(ocispec.Descriptor) any { return report })
}

// vex says that the image is not affected.
func vex(key *cosigntest.Key, vulnerability string) attachment {
	return attest(key, "https://openvex.dev/ns", func(image ocispec.Descriptor) any {
		return map[string]any{
			"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://acme.example/vex/1", "author": "acme", "version": 1,
			"timestamp": time.Now().UTC().Format(time.RFC3339),
			"statements": []any{map[string]any{
				"vulnerability": map[string]any{"name": vulnerability},
				"products":      []any{map[string]any{"@id": "pkg:oci/cleared@" + strings.ReplaceAll(image.Digest.String(), ":", "%3A")}},
				"status":        "not_affected", "justification": "vulnerable_code_not_in_execute_path",
			}},
		}
	})
}
