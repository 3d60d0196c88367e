package random

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// A pool holds the keys, and the bytes of everything that worlds are arranged of: a signature takes a millisecond, and is
// made once. It is safe for concurrent use.
type pool struct {
	dir      string
	began    time.Time
	signers  map[maker]*notationtest.Signer
	keys     map[maker]*cosigntest.Key
	instance *cosigntest.Sigstore
	abroad   *cosigntest.Sigstore
	files    map[maker]string // whom a configuration trusts, by the file that says so
	root     string
	servers  []*httptest.Server

	instances sync.Mutex // a Sigstore counts its entries
	mu        sync.Mutex
	subjects  map[string]*content
	artifacts map[piece]*artifact
}

// content is a manifest.
type content struct {
	descriptor ocispec.Descriptor
	data       []byte
}

// An artifact is a piece as a registry holds it: a referrer, or under cosign's tag a layer.
type artifact struct {
	manifest content
	blob     content
	layer    *cosigntest.Layer
}

// The identities of the private Sigstore.
const (
	issuerURL  = "https://login.acme.example"
	builderURL = "https://ci.acme.example/build"
	visitorURL = "https://ci.visitor.example/build"
)

// newPool makes the keys and writes the files that configurations name into the directory.
func newPool(dir string) (*pool, error) {
	p := &pool{dir: dir, began: time.Now().Truncate(time.Second), signers: map[maker]*notationtest.Signer{}, keys: map[maker]*cosigntest.Key{},
		files: map[maker]string{}, subjects: map[string]*content{}, artifacts: map[piece]*artifact{}}
	for _, make := range []func() error{p.makeSigners, p.makeKeys, p.makeSubjects} {
		if err := make(); err != nil {
			p.close()
			return nil, fmt.Errorf("make the pool of evidence: %w", err)
		}
	}
	return p, nil
}

func (p *pool) close() {
	for _, s := range p.servers {
		s.Close()
	}
}

// respond starts a responder for an authority that is made with its address.
func (p *pool) respond(name string, state notationtest.State) (*notationtest.Authority, *notationtest.Responder, error) {
	responder := notationtest.NewResponder()
	server := httptest.NewServer(http.Handler(responder))
	p.servers = append(p.servers, server)
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: name, OCSPURL: server.URL})
	if err != nil {
		return nil, nil, err
	}
	responder.Add(authority)
	responder.Set(state)
	return authority, responder, nil
}

func (p *pool) makeSigners() error {
	long := p.began.Add(-90 * 24 * time.Hour)
	first, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Acme Root", NotBefore: long, Intermediates: 1, IntermediateNotBefore: long})
	if err != nil {
		return err
	}
	second, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Beta Root"})
	if err != nil {
		return err
	}
	nobody, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Stranger Root"})
	if err != nil {
		return err
	}
	watched, responder, err := p.respond("Sound Root", notationtest.Good)
	if err != nil {
		return err
	}
	silent, _, err := p.respond("Ailing Root", notationtest.Garbage)
	if err != nil {
		return err
	}
	for _, of := range []struct {
		by        maker
		authority *notationtest.Authority
		options   notationtest.LeafOptions
	}{
		{acme, first, notationtest.LeafOptions{CommonName: "acme.example"}},
		{lapsed, first, notationtest.LeafOptions{CommonName: "acme.example", NotBefore: long, NotAfter: p.began.Add(-24 * time.Hour)}},
		{beta, second, notationtest.LeafOptions{CommonName: "beta.example", NotAfter: p.began.Add(betaEnds)}},
		{sound, watched, notationtest.LeafOptions{CommonName: "sound.example"}},
		{revoked, watched, notationtest.LeafOptions{CommonName: "sound.example"}},
		{ailing, silent, notationtest.LeafOptions{CommonName: "ailing.example"}},
		{stranger, nobody, notationtest.LeafOptions{CommonName: "acme.example"}},
	} {
		signer, err := of.authority.Issue(of.options)
		if err != nil {
			return err
		}
		p.signers[of.by] = signer
		if of.by == revoked {
			responder.Revoke(signer.Chain[0])
		}
		if err := p.write(of.by, string(of.by)+".crt", of.authority.PEM()); err != nil {
			return err
		}
	}
	return nil
}

// write writes the file by which a configuration trusts a maker.
func (p *pool) write(m maker, name string, data []byte) error {
	path := filepath.Join(p.dir, strings.NewReplacer(" ", "-", "'", "").Replace(name))
	p.files[m] = path
	return os.WriteFile(path, data, 0o600)
}

func (p *pool) makeKeys() (err error) {
	for _, m := range []maker{firstKey, secondKey, strangerKey} {
		if p.keys[m], err = cosigntest.NewKey(cosigntest.P256); err != nil {
			return err
		}
		if err := p.write(m, string(m)+".pub", p.keys[m].PublicPEM()); err != nil {
			return err
		}
	}
	if p.instance, err = cosigntest.NewSigstore("acme"); err != nil {
		return err
	}
	if p.abroad, err = cosigntest.NewSigstore("abroad"); err != nil {
		return err
	}
	trusted, err := cosigntest.TrustedRoot(p.instance)
	if err != nil {
		return err
	}
	if err := p.write(builder, "trusted_root.json", trusted); err != nil {
		return err
	}
	p.root = p.files[builder]
	return nil
}

// The subjects: images of one platform, of which the last is Docker's, and indexes of them, of which the last is.
const (
	singles = 8
	indexes = 4
)

func single(i int) string { return fmt.Sprintf("image-%d", i) }
func index(i int) string  { return fmt.Sprintf("index-%d", i) }

// platformsOf are the images that an index lists for platforms that a runtime has.
func platformsOf(subject string) []string {
	var i int
	if n, err := fmt.Sscanf(subject, "index-%d", &i); n != 1 || err != nil {
		return nil
	}
	return []string{single(2 * i % singles), single((2*i + 1) % singles)}
}

func (p *pool) makeSubjects() error {
	for i := range singles {
		mediaType := ocispec.MediaTypeImageManifest
		if i == singles-1 {
			mediaType = ratify.MediaTypeDockerManifest
		}
		err := p.addSubject(single(i), mediaType, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType,
			Config: describe(ocispec.MediaTypeImageConfig, []byte("{}")), Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, []byte("layer"))},
			Annotations: map[string]string{ocispec.AnnotationTitle: single(i)},
		})
		if err != nil {
			return err
		}
	}
	for i := range indexes {
		mediaType := ocispec.MediaTypeImageIndex
		if i == indexes-1 {
			mediaType = ratify.MediaTypeDockerManifestList
		}
		list := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaType}
		for at, name := range platformsOf(index(i)) {
			d := p.subjects[name].descriptor
			d.Platform = &ocispec.Platform{OS: "linux", Architecture: []string{"amd64", "arm64"}[at]}
			list.Manifests = append(list.Manifests, d)
		}
		// Build tools list their attestations beside the images.
		beside := describe(ocispec.MediaTypeImageManifest, []byte("attestation"))
		beside.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
		list.Manifests = append(list.Manifests, beside)
		if err := p.addSubject(index(i), mediaType, list); err != nil {
			return err
		}
	}
	return nil
}

func (p *pool) addSubject(name, mediaType string, value any) error {
	data, err := json.Marshal(value)
	p.subjects[name] = &content{describe(mediaType, data), data}
	return err
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// subject is an image's manifest, or a document's that is signed as an artifact.
func (p *pool) subject(name string) (*content, error) {
	p.mu.Lock()
	s, ok := p.subjects[name]
	p.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("there is no subject %q", name)
	}
	return s, nil
}

// id is the piece's name, as subjects have theirs.
func (p piece) id() string { return fmt.Sprintf("%+v", p) }

// artifact makes a piece, or returns the one that was made. A document becomes a subject as well.
func (p *pool) artifact(of piece) (*artifact, error) {
	p.mu.Lock()
	a, ok := p.artifacts[of]
	p.mu.Unlock()
	if ok {
		return a, nil
	}
	a, err := p.make(of)
	if err != nil {
		return nil, fmt.Errorf("make %+v: %w", of, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if first, ok := p.artifacts[of]; ok {
		return first, nil // another world has made it meanwhile
	}
	p.artifacts[of] = a
	if of.kind == plainBill {
		p.subjects[of.id()] = &a.manifest
	}
	return a, nil
}

func (p *pool) make(of piece) (*artifact, error) {
	on, err := p.subject(of.on)
	if err != nil {
		return nil, err
	}
	about, err := p.subject(of.about)
	if err != nil {
		return nil, err
	}
	var data []byte
	mediaType := typeBundle
	switch of.kind {
	case notary:
		mediaType = notationtest.JWS
		if of.cose {
			mediaType = notationtest.COSE
		}
		data, err = p.sign(of, about, mediaType)
	case plainBill:
		mediaType = typeBill
		data, err = p.bill(of, about)
	case junk:
		mediaType, data = typeJunk, []byte(of.id())
	default:
		var signed *cosigntest.Signed
		if signed, err = p.cosign(of, about); err != nil {
			return nil, err
		}
		if of.kind == simple {
			layer := signed.Layer()
			return &artifact{layer: &layer, blob: content{layer.Descriptor, layer.Data}}, nil
		}
		data = signed.Bundle()
	}
	if err != nil {
		return nil, err
	}
	if of.flaw == garbage {
		data = []byte("no evidence: " + of.id())
	}
	return attach(of, on.descriptor, mediaType, data)
}

// attach makes the manifest that attaches bytes to a subject.
func attach(of piece, on ocispec.Descriptor, mediaType string, data []byte) (*artifact, error) {
	layer := describe(mediaType, data)
	config := ocispec.DescriptorEmptyJSON
	config.Data = nil
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: of.artifactType(), Config: config,
		Subject:     &ocispec.Descriptor{MediaType: on.MediaType, Digest: on.Digest, Size: on.Size},
		Annotations: map[string]string{ocispec.AnnotationDescription: of.id()},
	}
	switch of.flaw {
	case oddLayer:
		layer.MediaType = "application/octet-stream"
	case layerSize:
		layer.Size++
	case noSubject:
		m.Subject = nil
	}
	m.Layers = []ocispec.Descriptor{layer}
	if of.flaw == twoLayers {
		m.Layers = append(m.Layers, layer)
	}
	manifest, err := json.Marshal(m)
	return &artifact{manifest: content{describe(m.MediaType, manifest), manifest}, blob: content{describe(mediaType, data), data}}, err
}

// sign makes an envelope of the Notary Project.
func (p *pool) sign(of piece, about *content, mediaType string) ([]byte, error) {
	options := notationtest.SignOptions{MediaType: mediaType}
	signed := ocispec.Descriptor{MediaType: about.descriptor.MediaType, Digest: about.descriptor.Digest, Size: about.descriptor.Size}
	switch of.flaw {
	case expired:
		options.SigningTime, options.Expiry = p.began.Add(-2*time.Hour), time.Hour
	case brief:
		options.SigningTime, options.Expiry = p.began.Add(-time.Minute), time.Minute+briefEnds
	case lyingSize:
		signed.Size++
	case lyingMedia:
		signed.MediaType = ocispec.MediaTypeImageIndex
		if about.descriptor.MediaType == signed.MediaType {
			signed.MediaType = ocispec.MediaTypeImageManifest
		}
	}
	if of.by == lapsed {
		options.SigningTime = p.began.Add(-48 * time.Hour)
	}
	envelope, err := p.signers[of.by].Sign(context.Background(), signed, options)
	if err == nil && of.flaw == tampered {
		envelope, err = notationtest.Tamper(envelope, mediaType)
	}
	return envelope, err
}

// cosign signs as the tools of Sigstore do.
func (p *pool) cosign(of piece, about *content) (*cosigntest.Signed, error) {
	d := about.descriptor.Digest
	var signed *cosigntest.Signed
	var err error
	switch of.kind {
	case message:
		signed, err = p.signMessage(of.by, about.data)
	case simple:
		signed, err = p.signMessage(of.by, cosigntest.Payload(of.id(), d))
	case statement:
		signed, err = p.signStatement(of.by, cosigntest.SignStatement(d))
	case bill:
		var predicate json.RawMessage
		if predicate, err = p.bill(of, about); err == nil {
			signed, err = p.signStatement(of.by, cosigntest.Statement(d, sbomtest.PredicateSPDX, predicate))
		}
	case scan:
		signed, err = p.signStatement(of.by, cosigntest.Statement(d, predicateScan, p.scan(of)))
	default:
		signed, err = p.signStatement(of.by, cosigntest.Statement(d, predicateReview, map[string]any{"reviewed": true}))
	}
	if err == nil && of.flaw == tampered {
		signed.Signature = bytes.Clone(signed.Signature)
		signed.Signature[len(signed.Signature)-1] ^= 1
	}
	return signed, err
}

// Predicate types of attestations.
const (
	predicateScan   = "https://cosign.sigstore.dev/attestation/vuln/v1"
	predicateReview = "https://acme.example/reviewed/v1"
)

// isIdentity tells makers without keys of their own.
func isIdentity(m maker) bool { return m == builder || m == visitor || m == impostor }

func (p *pool) signMessage(by maker, message []byte) (*cosigntest.Signed, error) {
	if !isIdentity(by) {
		return p.keys[by].SignMessage(message)
	}
	p.instances.Lock()
	defer p.instances.Unlock()
	instance, options := p.identity(by)
	return instance.SignMessage(message, options)
}

func (p *pool) signStatement(by maker, statement []byte) (*cosigntest.Signed, error) {
	if !isIdentity(by) {
		return p.keys[by].Sign(statement)
	}
	p.instances.Lock()
	defer p.instances.Unlock()
	instance, options := p.identity(by)
	return instance.Sign(statement, options)
}

// identity is where a maker without a key signs: the impostor has the builder's name at another instance.
func (p *pool) identity(by maker) (*cosigntest.Sigstore, cosigntest.Options) {
	switch by {
	case visitor:
		return p.instance, cosigntest.Options{Identity: visitorURL, Issuer: issuerURL}
	case impostor:
		return p.abroad, cosigntest.Options{Identity: builderURL, Issuer: issuerURL}
	}
	return p.instance, cosigntest.Options{Identity: builderURL, Issuer: issuerURL}
}

// made is when a document of that age was made.
func (p *pool) made(of piece) time.Time { return p.began.Add(-time.Duration(of.age) * time.Hour) }

const disallowedLicense = "AGPL-3.0-only"

// bill is a bill of materials.
func (p *pool) bill(of piece, about *content) ([]byte, error) {
	packages := []sbomtest.Package{{Name: "musl", Version: "1.2.4", PURL: "pkg:apk/alpine/musl@1.2.4", License: "MIT"}}
	if of.dirty {
		packages = append(packages, sbomtest.Package{Name: "ghostscript", Version: "10.2.1", PURL: "pkg:apk/alpine/ghostscript@10.2.1", License: disallowedLicense})
	}
	name := fmt.Sprintf("registry.example/app-%d", of.copy)
	return sbomtest.SPDX(sbomtest.About{Name: name, Digest: about.descriptor.Digest, Created: p.made(of)}, packages...).JSON()
}

// scan is a vulnerability report.
func (p *pool) scan(of piece) map[string]any {
	predicate := fixture.Scan(p.made(of))
	severity := "MEDIUM"
	if of.dirty {
		severity = "HIGH"
	}
	result := predicate["scanner"].(map[string]any)["result"].(map[string]any)
	result["Results"] = []any{map[string]any{"Target": "app", "Class": "os-pkgs", "Type": "alpine", "Vulnerabilities": []any{
		map[string]any{"VulnerabilityID": "CVE-2022-0778", "PkgName": "openssl", "InstalledVersion": "1.1.1k-r0", "Severity": severity},
	}}}
	return predicate
}

// subjectName is the trusted identity of a maker's certificate, as a trust policy spells it.
func (p *pool) subjectName(m maker) string { return identityOf(p.signers[m].Chain[0]) }

func identityOf(cert *x509.Certificate) string {
	return fmt.Sprintf("x509.subject: CN=%s,O=%s,ST=%s,C=%s", cert.Subject.CommonName, cert.Subject.Organization[0], cert.Subject.Province[0], cert.Subject.Country[0])
}
