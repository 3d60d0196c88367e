package resources

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// evidence is how many pieces of it are attached: as many as are examined.
const evidence = ratify.MaxEvidence

// newScript is an image with nothing attached.
func newScript() *script {
	config := content{ocispec.MediaTypeImageConfig, []byte("{}")}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.descriptor(), Layers: []ocispec.Descriptor{}}
	return &script{image: content{m.MediaType, encode(m)}, held: map[digest.Digest]content{}}
}

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // what is made here has a JSON form
	}
	return data
}

// attach attaches an artifact of one layer to a subject.
func (s *script) attach(subject content, artifactType string, layer content, annotations map[string]string) content {
	of, config := subject.descriptor(), content{ocispec.MediaTypeEmptyJSON, []byte("{}")}
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: config.descriptor(), Layers: []ocispec.Descriptor{layer.descriptor()}, Subject: &of, Annotations: annotations,
	}
	made := content{m.MediaType, encode(m)}
	s.held[made.digest()], s.held[layer.digest()] = made, layer
	if subject.digest() == s.image.digest() {
		d := made.descriptor()
		d.ArtifactType = artifactType
		s.referrers = append(s.referrers, d)
	}
	return made
}

// signed attaches as many signatures as are examined, each with an envelope.
func signed(mediaType string, envelopes ...[]byte) *script {
	s := newScript()
	for i := range evidence {
		envelope := envelopes[i%len(envelopes)]
		s.attach(s.image, notationtest.ArtifactType, content{mediaType, envelope}, map[string]string{"n": strconv.Itoa(i)})
	}
	return s
}

// annotations are so many, with short names and a text each.
func annotations(count int, text string) map[string]string {
	all := make(map[string]string, count)
	for i := range count {
		all[strconv.FormatInt(int64(i), 36)] = text
	}
	return all
}

func (r *registry) makeScripts(ctx context.Context, f *fixture.Fixture) (map[string]*script, error) {
	envelope, err := f.Signer.Sign(ctx, newScript().image.descriptor(), notationtest.SignOptions{})
	if err != nil {
		return nil, err
	}
	scripts := map[string]*script{
		"padded":      padded(),
		"plain":       newScript(),
		"pages":       pages(),
		"million":     million(),
		"annotated":   annotated(),
		"manifests":   manifests(envelope),
		"bigmanifest": bigManifest(),
		"payload":     signed(notationtest.JWS, hugePayload()),
		"dots":        signed(notationtest.JWS, bytes.Repeat([]byte("."), ratify.MaxEnvelopeBytes)),
		"deep":        signed(notationtest.COSE, append(bytes.Repeat([]byte{0x81}, 10_000), 0), []byte(strings.Repeat("\x81", ratify.MaxEnvelopeBytes-1)+"\x00")),
		"tokens":      tokens(r.host),
		"errors":      errorBodies(),
	}
	if scripts["chains"], err = chains(envelope, f); err != nil {
		return nil, err
	}
	if scripts["documents/dripping"], err = documents(ctx, f, drip); err != nil {
		return nil, err
	}
	if scripts["documents/endless"], err = documents(ctx, f, func(w http.ResponseWriter, _ *http.Request, c content) {
		w.Header().Set("Content-Type", c.mediaType)
		pour(w, 100<<20)
	}); err != nil {
		return nil, err
	}
	if scripts["documents/large"], err = documents(ctx, f, func(w http.ResponseWriter, _ *http.Request, c content) { send(w, c) }); err != nil {
		return nil, err
	}
	scripts["revocation"], err = r.revocation(ctx)
	return scripts, err
}

// padded is what fills a content cache: large blobs that are read and refused.
func padded() *script {
	s := newScript()
	for i := range 4 {
		text := fmt.Appendf(nil, "%d%s", i, strings.Repeat(" ", 512<<10))
		s.attach(s.image, notationtest.ArtifactType, content{notationtest.JWS, text}, nil)
	}
	return s
}

// pages is a list of referrers that always has a next page.
func pages() *script {
	s := newScript()
	s.instead = func(w http.ResponseWriter, r *http.Request, kind, _ string) bool {
		if kind != "referrers" {
			return false
		}
		n, _ := strconv.Atoi(r.URL.Query().Get("n")) // the first page has none
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d>; rel="next"`, r.URL.Path, n+1))
		sendIndex(w, strangers(45, n))
		return true
	}
	return s
}

// strangers are descriptors of signatures that nobody has, with as many annotations as are kept.
func strangers(count, from int) []ocispec.Descriptor {
	list := make([]ocispec.Descriptor, count)
	for i := range list {
		list[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: notationtest.ArtifactType,
			Digest: digest.FromString(fmt.Sprint(from, i)), Size: 1000 + int64(i), Annotations: map[string]string{}}
		for k := range 8 {
			list[i].Annotations[fmt.Sprintf("example.annotation/%d", k)] = fmt.Sprintf("a text of some length: %d %d", from, i)
		}
	}
	return list
}

func million() *script {
	s := newScript()
	list := []byte(`{"manifests":[{}` + strings.Repeat(",{}", ratify.MaxManifestBytes/3-20) + `]}`)
	s.instead = func(w http.ResponseWriter, _ *http.Request, kind, _ string) bool {
		if kind == "referrers" {
			send(w, content{ocispec.MediaTypeImageIndex, list})
		}
		return kind == "referrers"
	}
	return s
}

// annotated lists as many signatures as are listed, each with annotations; none of them ever comes, so that the list is held as
// long as the work lasts.
func annotated() *script {
	s := newScript()
	s.referrers = strangers(ratify.MaxReferrers, 0)
	wanted := s.image.digest().String()
	s.instead = func(_ http.ResponseWriter, r *http.Request, kind, reference string) bool {
		if kind != "manifests" || reference == wanted {
			return false
		}
		<-r.Context().Done()
		return true
	}
	return s
}

// manifests has as many signatures as are examined, whose manifests are nothing but annotations, and whose envelopes never
// come.
func manifests(envelope []byte) *script {
	s := newScript()
	many := annotations(4000, strings.Repeat("t", 50)) // of each as many as are decoded, and all together as long as is read
	for i := range evidence {
		many["n"] = strconv.Itoa(i)
		s.attach(s.image, notationtest.ArtifactType, content{notationtest.JWS, envelope}, many)
	}
	s.instead = func(_ http.ResponseWriter, r *http.Request, kind, _ string) bool {
		if kind == "blobs" {
			<-r.Context().Done()
		}
		return kind == "blobs"
	}
	return s
}

// bigManifest is an image whose own manifest is 4 MiB of annotations.
func bigManifest() *script {
	s := newScript()
	var m map[string]any
	if err := json.Unmarshal(s.image.data, &m); err != nil {
		panic(err) // it was encoded just now
	}
	m["annotations"] = annotations(380_000, "")
	s.image.data = encode(m)
	return s
}

// hugePayload is a JWS envelope of the largest size, all of it payload.
func hugePayload() []byte {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"targetArtifact":{"annotations":{` + strings.Repeat(`"a":"b",`, 90_000) + `"z":""}}}`))
	protected := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","cty":"application/vnd.cncf.notary.payload.v1+json","crit":["io.cncf.notary.signingScheme"],"io.cncf.notary.signingScheme":"notary.x509","io.cncf.notary.signingTime":"2024-01-01T00:00:00Z"}`))
	return []byte(`{"payload":"` + claims + `","protected":"` + protected + `","header":{"x5c":["AAAA"]},"signature":"AAAA"}`)
}

// tokens asks for a token, whose server answers with more than anybody reads.
func tokens(host string) *script {
	s := newScript()
	answer := []byte(`{"token":"` + strings.Repeat("t", 1<<20) + `"}`)
	s.instead = func(w http.ResponseWriter, r *http.Request, kind, _ string) bool {
		if kind == "token" {
			send(w, content{"application/json", answer})
			return true
		}
		w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/v2/tokens/0/token/x",service=%q`, host, r.URL.Path))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return s
}

// errorBodies answers 500 to everything, with a mebibyte of words.
func errorBodies() *script {
	s := newScript()
	words := bytes.Repeat([]byte("\x1b[31mno\r\n"), 1<<20/9)
	s.instead = func(w http.ResponseWriter, _ *http.Request, _, _ string) bool {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(words)
		return true
	}
	return s
}

// chains are envelopes with as many certificates as fit into one, with ten thousand, and with a key of 65,536 bits.
func chains(envelope []byte, f *fixture.Fixture) (*script, error) {
	full, long := [][]byte{}, [][]byte{}
	cert := f.Stranger.Chain[0].Raw
	for size := 0; size < ratify.MaxEnvelopeBytes*7/10; size += len(cert) {
		full = append(full, cert)
	}
	for range 10_000 {
		long = append(long, []byte("no certificate"))
	}
	wide, err := wideCertificate(f)
	if err != nil {
		return nil, err
	}
	var envelopes [][]byte
	for _, chain := range [][][]byte{full, long, {wide, f.Stranger.Chain[1].Raw}} {
		made, err := notationtest.ReplaceChain(envelope, notationtest.JWS, chain)
		if err != nil {
			return nil, err
		}
		envelopes = append(envelopes, made)
	}
	return signed(notationtest.JWS, envelopes...), nil
}

func wideCertificate(f *fixture.Fixture) ([]byte, error) {
	n := new(big.Int).Lsh(big.NewInt(1), 65_535)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "wide"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	key := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65_537}
	return x509.CreateCertificate(rand.Reader, template, f.Stranger.Chain[0], key, f.Stranger.Key)
}

// documents has a bill of materials of the largest size, whose signature is good: what is read of it is answered as serve does.
func documents(ctx context.Context, f *fixture.Fixture, serve func(http.ResponseWriter, *http.Request, content)) (*script, error) {
	s := newScript()
	bom, err := largeBOM(s.image.digest())
	if err != nil {
		return nil, err
	}
	layer := content{sbomtest.TypeSPDX, bom}
	document := s.attach(s.image, sbomtest.TypeSPDX, layer, nil)
	envelope, err := f.Signer.Sign(ctx, document.descriptor(), notationtest.SignOptions{})
	if err != nil {
		return nil, err
	}
	signature := s.attach(document, notationtest.ArtifactType, content{notationtest.JWS, envelope}, nil)
	list := signature.descriptor()
	list.ArtifactType = notationtest.ArtifactType
	s.instead = func(w http.ResponseWriter, r *http.Request, kind, reference string) bool {
		switch {
		case kind == "referrers" && reference == document.digest().String():
			sendIndex(w, []ocispec.Descriptor{list})
		case reference == layer.digest().String():
			serve(w, r, layer)
		default:
			return false
		}
		return true
	}
	return s, nil
}

// largeBOM is a bill of materials of nearly 16 MiB.
func largeBOM(image digest.Digest) ([]byte, error) {
	packages := make([]sbomtest.Package, 12_000)
	for i := range packages {
		name := fmt.Sprintf("package-%d", i)
		packages[i] = sbomtest.Package{Name: name, Version: "1.0." + strconv.Itoa(i), PURL: "pkg:apk/alpine/" + name + "@1.0", License: "MIT"}
	}
	document := sbomtest.SPDX(sbomtest.About{Name: "registry.example/app", Digest: image, Created: time.Now()}, packages...)
	data, err := document.JSON()
	if err != nil {
		return nil, err
	}
	if room := ratify.MaxDocumentBytes - 1024 - len(data); room > 0 {
		document["comment"] = strings.Repeat("c", room)
	}
	return document.JSON()
}

// revocation has signatures by trusted chains, whose authorities answer about revocation without end.
func (r *registry) revocation(ctx context.Context) (*script, error) {
	s := newScript()
	for i := range evidence {
		base := fmt.Sprintf("http://%s/v2/crl/%d/x", r.host, i)
		authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: fmt.Sprintf("Authority %d", i), CRLURL: base, OCSPURL: base + "/ocsp"})
		if err != nil {
			return nil, err
		}
		r.authorities = append(r.authorities, authority)
		signer, err := authority.Issue(notationtest.LeafOptions{CommonName: "revocation.example"})
		if err != nil {
			return nil, err
		}
		envelope, err := signer.Sign(ctx, s.image.descriptor(), notationtest.SignOptions{})
		if err != nil {
			return nil, err
		}
		s.attach(s.image, notationtest.ArtifactType, content{notationtest.JWS, envelope}, nil)
	}
	return s, nil
}
