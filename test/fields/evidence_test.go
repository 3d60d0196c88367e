package fields

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// heldImage and awayImage are those that a gate lets wait, each for one row.
const (
	heldImage = "held"
	awayImage = "away"
)

// newWorld starts the registry, pushes the images and writes the files.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{gate: &gate{held: map[string]*hold{}}, values: map[string]string{}, files: filepath.Join(t.TempDir(), "files")}
	var err error
	if w.Fixture, err = fixture.Start(context.Background(), fixture.Options{Dir: t.TempDir(), Evidence: true, Wrap: w.gate.wrap}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	settings, err := w.PKI.ClientTLS()
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: settings}
	t.Cleanup(transport.CloseIdleConnections)
	w.client = &http.Client{Transport: transport}
	w.values["HOST"] = w.Host
	w.writeTrust(t)
	w.pushNotation(t)
	w.pushSigstore(t)
	w.pushDocuments(t)
	w.listenFronts(t)
	w.writeLayouts(t)
	for name, image := range w.Images {
		w.values[name], w.values[name+"@"], w.values[name+"#"] = image.Reference, image.Pinned(), image.Digest.String()
	}
	return w
}

// file writes a file that configurations name.
func (w *world) file(t *testing.T, name string, data []byte) {
	t.Helper()
	path := filepath.Join(w.files, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, data)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeTrust writes whom configurations can trust: each of two kinds, of which one has signed.
func (w *world) writeTrust(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"", "directory/"} {
		w.file(t, dir+"signer/root.crt", w.SignerPEM)
		w.file(t, dir+"stranger/root.crt", w.StrangerPEM)
	}
	w.file(t, "key.pub", w.Trust.Key.PublicPEM())
	w.file(t, "other.pub", w.Trust.OtherKey.PublicPEM())
	w.file(t, "root.json", read(t, w.Trust.RootFile))
	other, err := cosigntest.NewSigstore("other")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cosigntest.TrustedRoot(other)
	if err != nil {
		t.Fatal(err)
	}
	w.file(t, "other.json", root)
}

// image pushes an image with signatures of the Notary Project.
func (w *world) image(t *testing.T, name string, signatures ...fixture.Signature) fixture.Image {
	t.Helper()
	image, err := w.Push(t.Context(), name, signatures...)
	if err != nil {
		t.Fatal(err)
	}
	w.Images[name] = image
	return image
}

// pushNotation pushes what the fixture has not: signatures that only one setting minds.
func (w *world) pushNotation(t *testing.T) {
	t.Helper()
	good := fixture.Signature{By: w.Signer}
	w.image(t, heldImage, good)
	w.image(t, awayImage, good)
	w.image(t, "ended", fixture.Signature{By: w.Signer, Options: notationtest.SignOptions{SigningTime: time.Now().Add(-2 * time.Hour), Expiry: time.Hour}})
	w.pushHalfRead(t)
	// The copy in the mirror is unsigned, its signature is at the origin.
	copied := w.image(t, "mirror")
	if err := w.Sign(t.Context(), "origin", copied.Descriptor, good); err != nil {
		t.Fatal(err)
	}
	responder := notationtest.NewResponder()
	server := httptest.NewServer(responder)
	t.Cleanup(server.Close)
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Revoking Root", OCSPURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	responder.Add(authority)
	w.file(t, "revoking.crt", authority.PEM())
	for _, name := range []string{"revocable", "revoked"} {
		signer, err := authority.Issue(notationtest.LeafOptions{CommonName: name + ".example"})
		if err != nil {
			t.Fatal(err)
		}
		if name == "revoked" {
			responder.Revoke(signer.Chain[0])
		}
		w.image(t, name, fixture.Signature{By: signer})
	}
	tsa, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.file(t, "tsa.crt", tsa.Authority.PEM())
}

// pushHalfRead pushes an image with a good signature and one that cannot be read.
func (w *world) pushHalfRead(t *testing.T) {
	t.Helper()
	image := w.image(t, "half-read", fixture.Signature{By: w.Signer})
	lost, err := notationtest.Attach(image.Descriptor, []byte("lost"), notationtest.JWS)
	if err != nil {
		t.Fatal(err)
	}
	artifact := &cosigntest.Artifact{Manifest: lost.Manifest, Descriptor: lost.ManifestDescriptor, Blobs: map[digest.Digest][]byte{lost.ConfigDescriptor.Digest: lost.Config}}
	if err := w.Attach(t.Context(), "half-read", artifact); err != nil {
		t.Fatal(err)
	}
}

// attach makes a referrer of a signed thing.
func (w *world) attach(t *testing.T, image fixture.Image, name string, signed *cosigntest.Signed, err error) {
	t.Helper()
	if err == nil {
		err = w.Attach(t.Context(), name, cosigntest.AttachBundle(image.Descriptor, signed.Bundle()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A statement is what somebody says about an image.
type statement func(digest.Digest) []byte

// statements are what the verifiers of Sigstore's evidence look for, by their type.
func statements() map[string]statement {
	about := func(predicateType string, predicate any) statement {
		return func(d digest.Digest) []byte { return cosigntest.Statement(d, predicateType, predicate) }
	}
	return map[string]statement{
		"cosign":        cosigntest.SignStatement,
		"attestation":   about(provenanceType, fixture.Provenance("https://github.com/acme/app")),
		"sbom":          about(sbomtest.PredicateSPDX, fixture.SPDX("MIT")),
		"vulnerability": about(scanType, fixture.Scan(time.Now().Add(-time.Hour))),
	}
}

// The predicate types of statements.
const (
	provenanceType = "https://slsa.dev/provenance/v1"
	scanType       = "https://cosign.sigstore.dev/attestation/vuln/v1"
	vexType        = "https://openvex.dev/ns"
)

// pushSigstore pushes, for each verifier of Sigstore's evidence, an image with its evidence in each way that whom to trust
// is written.
func (w *world) pushSigstore(t *testing.T) {
	t.Helper()
	by := func(o cosigntest.Options) cosigntest.Options {
		o.Identity, o.Issuer = fixture.Identity, fixture.Issuer
		return o
	}
	for kind, say := range statements() {
		image := w.image(t, kind+"-key")
		signed, err := w.Trust.Key.Sign(say(image.Digest))
		w.attach(t, image, kind+"-key", signed, err)
		for name, o := range map[string]cosigntest.Options{"id": {}, "unlogged": {NoEntry: true, Stamp: true}, "uncertified": {NoSCT: true}} {
			image := w.image(t, kind+"-"+name)
			signed, err := w.Trust.Sigstore.Sign(say(image.Digest), by(o))
			w.attach(t, image, kind+"-"+name, signed, err)
		}
		image = w.image(t, kind+"-tag")
		if kind == "cosign" {
			signed, err = w.Trust.Key.SignMessage(cosigntest.Payload("registry.example/any", image.Digest))
		} else {
			signed, err = w.Trust.Key.Sign(say(image.Digest))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Attach(t.Context(), kind+"-tag", cosigntest.Collect(image.Digest, signed.Layer())); err != nil {
			t.Fatal(err)
		}
	}
}

// attest attaches a statement by the trusted key.
func (w *world) attest(t *testing.T, image fixture.Image, name, predicateType string, predicate any) {
	t.Helper()
	signed, err := w.Trust.Key.Sign(cosigntest.Statement(image.Digest, predicateType, predicate))
	w.attach(t, image, name, signed, err)
}

// pushDocuments pushes images whose documents only one rule minds, and one whose document is no attestation.
func (w *world) pushDocuments(t *testing.T) {
	t.Helper()
	image := w.image(t, "sbom-unknown")
	w.attest(t, image, "sbom-unknown", sbomtest.PredicateSPDX, fixture.SPDX("NOASSERTION"))
	image = w.image(t, "sbom-two")
	w.attest(t, image, "sbom-two", sbomtest.PredicateSPDX, fixture.SPDX("MIT"))
	w.attest(t, image, "sbom-two", sbomtest.PredicateSPDX, fixture.SPDX("AGPL-3.0-only"))
	image = w.image(t, "sbom-purl")
	w.attest(t, image, "sbom-purl", sbomtest.PredicateSPDX, sbomtest.SPDX(sbomtest.About{Name: "app", Digest: image.Digest, Created: time.Now().Add(-time.Hour)},
		sbomtest.Package{Name: "musl", Version: "1.2.4", PURL: "pkg:apk/alpine/musl@1.2.4", License: "MIT"}))
	image = w.image(t, "scan-two")
	w.attest(t, image, "scan-two", scanType, fixture.Scan(time.Now().Add(-time.Hour)))
	clean := fixture.Scan(time.Now().Add(-2 * time.Hour))
	clean["scanner"].(map[string]any)["result"].(map[string]any)["Results"] = []any{}
	w.attest(t, image, "scan-two", scanType, clean)
	image = w.image(t, "scan-vex")
	w.attest(t, image, "scan-vex", scanType, fixture.Scan(time.Now().Add(-time.Hour)))
	w.attest(t, image, "scan-vex", vexType, vex(nil))
	exempting, err := json.Marshal(vex([]any{map[string]any{"@id": w.Images["vulnerability-key"].Repository}}))
	if err != nil {
		t.Fatal(err)
	}
	w.file(t, "vex.json", exempting)
	w.pushPlain(t)
}

// vex says that what the fixture's scans find does not affect the products; none is the image that it is attached to.
func vex(products []any) map[string]any {
	says := map[string]any{"vulnerability": map[string]any{"name": "CVE-2023-42364"}, "status": "not_affected", "justification": "vulnerable_code_not_present"}
	if products != nil {
		says["products"] = products
	}
	return map[string]any{
		"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://wabbit-networks.example/vex", "author": "Wabbit Networks",
		"timestamp": time.Now().UTC().Format(time.RFC3339), "version": 1, "statements": []any{says},
	}
}

// pushPlain pushes a bill of materials as an artifact that the trusted signer signed.
func (w *world) pushPlain(t *testing.T) {
	t.Helper()
	image := w.image(t, "sbom-plain")
	document, err := json.Marshal(fixture.SPDX("MIT"))
	if err != nil {
		t.Fatal(err)
	}
	describe := func(mediaType string, data []byte) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	}
	empty := []byte("{}")
	subject := image.Descriptor
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: sbomtest.TypeSPDX,
		Config: describe(ocispec.MediaTypeEmptyJSON, empty), Layers: []ocispec.Descriptor{describe(sbomtest.TypeSPDX, document)}, Subject: &subject,
	})
	if err != nil {
		t.Fatal(err)
	}
	artifact := &cosigntest.Artifact{Manifest: manifest, Descriptor: describe(ocispec.MediaTypeImageManifest, manifest), Blobs: map[digest.Digest][]byte{
		digest.FromBytes(empty): empty, digest.FromBytes(document): document,
	}}
	if err := w.Attach(t.Context(), "sbom-plain", artifact); err != nil {
		t.Fatal(err)
	}
	if err := w.Sign(t.Context(), "sbom-plain", artifact.Descriptor, fixture.Signature{By: w.Signer}); err != nil {
		t.Fatal(err)
	}
}

// listenFronts puts before the registry what settings of a registry are about, and writes the credentials.
func (w *world) listenFronts(t *testing.T) {
	t.Helper()
	w.values["PROXY"] = listen(t, w.proxy())
	w.values["CLOSED"] = "127.0.0.1:1" // nobody listens there
	self, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	w.values["SELF"] = strings.ToLower(self) + ":1" // nor there, and it is this machine
	w.values["BASIC"] = listen(t, w.behind(byPassword))
	tokenHost := listen(t, http.HandlerFunc(tokens))
	w.values["TOKENS"] = tokenHost
	w.values["OPEN"] = listen(t, w.behind(byToken("http://"+tokenHost+"/open")))
	w.values["KNOWN"] = listen(t, w.behind(byToken("http://"+tokenHost+"/known")))
	blobs := listenTLS(t, w.behind(everybody))
	w.values["BLOBS"] = blobs.Listener.Addr().String()
	w.values["REDIRECTING"] = listenTLS(t, w.behind(toBlobs(w.values["BLOBS"]))).Listener.Addr().String()
	w.values["TLS"] = listenTLS(t, w.behind(everybody)).Listener.Addr().String()
	w.file(t, "tls.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: blobs.Certificate().Raw}))

	w.values["PROGRAMS"] = programs(t)
	right, wrong := dockerConfig(w.values["BASIC"], password), dockerConfig(w.values["BASIC"], "wrong")
	for name, data := range map[string][]byte{
		"docker.json": right, "docker-other.json": wrong, "pull/one.json": right, "pull-other/one.json": wrong,
		"password": []byte(password), "password-other": []byte("wrong"), "identity": []byte(identity), "identity-other": []byte("wrong"),
		"plugins.yaml": pluginConfig(w.values["BASIC"]), "plugins-other.yaml": pluginConfig("other.example"),
		"api-token": []byte(apiToken), "api-token-other": []byte("wrong"),
	} {
		w.file(t, name, data)
	}
	w.values["API"] = listenTLS(t, apiServer(map[string][]byte{"default": right, "other": wrong})).URL
	w.values["API_OTHER"] = listenTLS(t, apiServer(map[string][]byte{"default": wrong, "other": wrong})).URL
}

// writeLayouts copies a signed and an unsigned image with what is attached into OCI layouts.
func (w *world) writeLayouts(t *testing.T) {
	t.Helper()
	for _, name := range []string{fixture.Signed, fixture.Unsigned} {
		source, err := remote.NewRepository(w.Images[name].Repository)
		if err != nil {
			t.Fatal(err)
		}
		source.PlainHTTP = true
		dir := filepath.Join(t.TempDir(), "layout")
		layout, err := oci.New(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oras.ExtendedCopy(t.Context(), source, fixture.Tag, layout, fixture.Tag, oras.DefaultExtendedCopyOptions); err != nil {
			t.Fatal(err)
		}
		w.values["LAYOUT_"+name] = dir
	}
}
