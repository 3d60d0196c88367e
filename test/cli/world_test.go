package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
	"oras.land/oras-go/v2/registry/remote"
)

// A world is what all scripts share: they only read from it.
type world struct {
	t     *testing.T
	plain *fixture.Fixture
	vars  []string
	// asked gets a value when somebody asks $WAITING_HOST.
	asked chan struct{}
	alone *notationtest.Signer
}

// The user and the password that $AUTH_HOST wants.
const (
	user     = "reader"
	password = "planted-secret"
)

// newWorld starts a registry over HTTP ($HOST), one over HTTPS ($TLS_HOST, its CA $TLS_CA) and one that wants a password
// ($AUTH_HOST), each with images of its own and a configuration ($CONFIG, $TLS_CONFIG) that trusts their signer.
// $SIGNER_CERT and $STRANGER_CERT are roots of signers. $DIGEST_SIGNED and so on are digests of $HOST's images, and
// $SIGNATURE_OF_SIGNED those of their first signatures. $COSIGN_KEY, $OTHER_KEY, $TRUSTED_ROOT, $IDENTITY and $ISSUER are
// what fixture.Trust has, $IN_A_WEEK and $AN_HOUR_AGO are instants. $DEAD_HOST is a port on which nobody listens, $SICK_HOST answers
// 500, $SILENT_HOST never; nor does $WAITING_HOST, which belongs to the one script that awaits a request to it.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, plain: start(t, fixture.Options{Evidence: true}), asked: make(chan struct{}, 1)}
	secure := start(t, fixture.Options{TLS: true})
	var locked atomic.Bool
	protected := start(t, fixture.Options{Wrap: func(next http.Handler) http.Handler { return lock(&locked, next) }})
	locked.Store(true)

	w.set("HOST", w.plain.Host)
	w.set("CONFIG", w.plain.ConfigFile)
	w.set("SIGNER_CERT", w.plain.SignerFile)
	w.set("STRANGER_CERT", w.plain.StrangerFile)
	w.set("TLS_HOST", secure.Host)
	w.set("TLS_CA", secure.RegistryCAFile)
	w.set("TLS_CONFIG", secure.ConfigFile)
	w.set("TLS_SIGNER_CERT", secure.SignerFile)
	w.set("AUTH_HOST", protected.Host)
	w.set("AUTH_SIGNER_CERT", protected.SignerFile)
	w.set("DEAD_HOST", deadHost(t))
	w.set("SICK_HOST", serve(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }))
	w.set("SILENT_HOST", serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	w.set("WAITING_HOST", serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case w.asked <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	w.describeSigner()
	w.describeTrust()
	w.set("IN_A_WEEK", time.Now().Add(7*24*time.Hour+time.Hour).UTC().Format(time.RFC3339))
	w.set("AN_HOUR_AGO", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	w.writeCertificates()
	w.writeAnyHostConfig()
	for name, image := range w.plain.Images {
		w.setImage(name, image)
	}
	w.pushMore()
	return w
}

func (w *world) set(name, value string) { w.vars = append(w.vars, name+"="+value) }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// setImage sets the digest of an image and, if it is signed, of its first signature.
func (w *world) setImage(name string, image fixture.Image) {
	w.t.Helper()
	name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	w.set("DIGEST_"+name, image.Digest.String())
	err := w.repository(image.Repository).Referrers(context.Background(), image.Descriptor, notationtest.ArtifactType, func(list []ocispec.Descriptor) error {
		if len(list) > 0 {
			w.set("SIGNATURE_OF_"+name, list[0].Digest.String())
		}
		return nil
	})
	w.must(err)
}

func (w *world) repository(name string) *remote.Repository {
	w.t.Helper()
	repo, err := remote.NewRepository(name)
	w.must(err)
	repo.PlainHTTP = true
	w.must(repo.SetReferrersCapability(true))
	return repo
}

// pushMore pushes what only the command's own specification needs:
//
//	attached  a signature, an SBOM that is signed, too, and a referrer whose artifact type would clear a terminal
//	annotated an SBOM and no signature
//	detailed  a COSE signature with everything that a signature can say: metadata, expiry, timestamp
//	alone     signed by a certificate that nobody has issued
//	broken    a good signature, and one whose envelope is rubbish
//	both      signed by Notation's signer and by cosign's key
//	boxed     an SBOM as a plain artifact, which is signed itself; the image is not
//	tagged    a signature, an attestation and an SBOM, all under cosign's tags
func (w *world) pushMore() {
	w.t.Helper()
	ctx := context.Background()
	good := fixture.Signature{By: w.plain.Signer}
	image, err := w.plain.Push(ctx, "attached", good)
	w.must(err)
	w.setImage("attached", image)
	sbom := w.attach(image, "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	w.set("DIGEST_SBOM", sbom.Digest.String())
	w.must(w.plain.Sign(ctx, "attached", sbom, good))
	annotated, err := w.plain.Push(ctx, "annotated")
	w.must(err)
	w.setImage("annotated", annotated)
	w.set("DIGEST_ANNOTATION", w.attach(annotated, "application/spdx+json", []byte(`{}`)).Digest.String())
	w.set("DIGEST_ODD", w.attach(image, "odd/\x1b[2J", []byte("odd")).Digest.String())

	image, err = w.plain.Push(ctx, "alone", fixture.Signature{By: w.alone})
	w.must(err)
	w.setImage("alone", image)

	tsa, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{})
	w.must(err)
	image, err = w.plain.Push(ctx, "detailed", fixture.Signature{By: w.plain.Signer, Options: notationtest.SignOptions{
		MediaType: notationtest.COSE, UserMetadata: map[string]string{"build": "17", "io.example/branch": "main"},
		Expiry: 1000 * time.Hour, Timestamp: tsa,
	}})
	w.must(err)
	w.setImage("detailed", image)

	image, err = w.plain.Push(ctx, "broken", good)
	w.must(err)
	w.setImage("broken", image)
	artifact, err := notationtest.Attach(image.Descriptor, []byte("this is no signature"), notationtest.JWS)
	w.must(err)
	repo := w.repository(image.Repository)
	w.must(repo.Push(ctx, artifact.ConfigDescriptor, bytes.NewReader(artifact.Config)))
	w.must(repo.Push(ctx, artifact.EnvelopeDescriptor, bytes.NewReader(artifact.Envelope)))
	w.must(repo.Push(ctx, artifact.ManifestDescriptor, bytes.NewReader(artifact.Manifest)))
	w.set("RUBBISH", artifact.ManifestDescriptor.Digest.String())
	w.pushEvidence()
}

func (w *world) pushEvidence() {
	w.t.Helper()
	ctx := context.Background()
	good, key := fixture.Signature{By: w.plain.Signer}, w.plain.Trust.Key
	both, err := w.plain.Push(ctx, "both", good)
	w.must(err)
	w.setImage("both", both)
	signed, err := key.Sign(cosigntest.SignStatement(both.Digest))
	w.must(err)
	w.must(w.plain.Attach(ctx, "both", cosigntest.AttachBundle(both.Descriptor, signed.Bundle())))

	boxed, err := w.plain.Push(ctx, "boxed")
	w.must(err)
	w.setImage("boxed", boxed)
	document, err := json.Marshal(fixture.SPDX("MIT"))
	w.must(err)
	sbom := w.attach(boxed, "application/spdx+json", document)
	w.set("DIGEST_BOXED_SBOM", sbom.Digest.String())
	w.must(w.plain.Sign(ctx, "boxed", sbom, good))

	tagged, err := w.plain.Push(ctx, "tagged")
	w.must(err)
	w.setImage("tagged", tagged)
	signed, err = key.SignMessage(cosigntest.Payload("registry.example/any", tagged.Digest))
	w.must(err)
	w.must(w.plain.Attach(ctx, "tagged", cosigntest.Collect(tagged.Digest, signed.Layer())))
	attested, err := key.Sign(cosigntest.Statement(tagged.Digest, "https://spdx.dev/Document", fixture.SPDX("MIT")))
	w.must(err)
	w.must(w.plain.Attach(ctx, "tagged", cosigntest.Collect(tagged.Digest, attested.Layer())))
	tag := tagged.Digest.Algorithm().String() + "-" + tagged.Digest.Encoded()
	w.set("TAG_OF_TAGGED", tag)
	list, err := w.repository(tagged.Repository).Resolve(ctx, tag+".sig")
	w.must(err)
	w.must(w.repository(tagged.Repository).Tag(ctx, list, tag+".sbom"))
}

// describeTrust sets whom the configuration trusts beside the signer.
func (w *world) describeTrust() {
	w.t.Helper()
	trust := w.plain.Trust
	other := filepath.Join(w.plain.Dir, "other.pub")
	w.must(os.WriteFile(other, trust.OtherKey.PublicPEM(), 0o644))
	w.set("COSIGN_KEY", trust.KeyFile)
	w.set("OTHER_KEY", other)
	w.set("TRUSTED_ROOT", trust.RootFile)
	w.set("IDENTITY", fixture.Identity)
	w.set("ISSUER", fixture.Issuer)
}

// attach pushes an artifact whose subject is the image.
func (w *world) attach(image fixture.Image, artifactType string, content []byte) ocispec.Descriptor {
	w.t.Helper()
	ctx := context.Background()
	repo := w.repository(image.Repository)
	layer := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(content), Size: int64(len(content))}
	subject := ocispec.Descriptor{MediaType: image.Descriptor.MediaType, Digest: image.Digest, Size: image.Descriptor.Size}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer}, Subject: &subject,
	})
	w.must(err)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	w.must(repo.Push(ctx, ocispec.DescriptorEmptyJSON, bytes.NewReader(ocispec.DescriptorEmptyJSON.Data)))
	w.must(repo.Push(ctx, layer, bytes.NewReader(content)))
	w.must(repo.Push(ctx, desc, bytes.NewReader(manifest)))
	return desc
}

// writeCertificates writes trust anchors that are worth a word: $ENDS_SOON in ten days, $ENDED an hour ago, $LEAF is a
// signer's certificate that is no CA and was issued by another, $NO_SIGNER is self-signed and may serve TLS, not sign;
// $ALONE_CERT is self-signed and may sign.
func (w *world) writeCertificates() {
	w.t.Helper()
	const day = 24 * time.Hour
	now := time.Now()
	write := func(variable string, data []byte) {
		path := filepath.Join(w.plain.Dir, strings.ToLower(variable)+".crt")
		w.must(os.WriteFile(path, data, 0o644))
		w.set(variable, path)
	}
	soon, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Soon Root", NotAfter: now.Add(10*day + time.Hour)})
	w.must(err)
	write("ENDS_SOON", soon.PEM())
	ended, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Ended Root", NotBefore: now.Add(-2 * time.Hour), NotAfter: now.Add(-time.Hour)})
	w.must(err)
	write("ENDED", ended.PEM())
	leaf, err := soon.Issue(notationtest.LeafOptions{CommonName: "leaf.example"})
	w.must(err)
	write("LEAF", notationtest.PEM(leaf.Chain[0]))
	server, err := notationtest.NewSelfSigned(notationtest.LeafOptions{CommonName: "server.example", Usage: notationtest.ServerAuth})
	w.must(err)
	write("NO_SIGNER", notationtest.PEM(server.Chain...))
	w.alone, err = notationtest.NewSelfSigned(notationtest.LeafOptions{CommonName: "alone.example"})
	w.must(err)
	write("ALONE_CERT", notationtest.PEM(w.alone.Chain...))
}

// describeSigner sets what ratify inspect shows of the signer's certificates.
func (w *world) describeSigner() {
	w.t.Helper()
	chain := w.plain.Signer.Chain
	for name, cert := range map[string]*x509.Certificate{"SIGNER": chain[0], "ROOT": chain[len(chain)-1]} {
		sum := sha256.Sum256(cert.Raw)
		w.set(name+"_FINGERPRINT", hex.EncodeToString(sum[:]))
		w.set(name+"_FROM", cert.NotBefore.UTC().Format(time.ANSIC))
		w.set(name+"_UNTIL", cert.NotAfter.UTC().Format(time.ANSIC))
	}
}

// writeAnyHostConfig writes a configuration like $CONFIG that lets any registry be on this machine: $ANY_HOST_CONFIG.
func (w *world) writeAnyHostConfig() {
	w.t.Helper()
	text, err := os.ReadFile(w.plain.ConfigFile)
	w.must(err)
	text = bytes.Replace(text, []byte(strconv.Quote(w.plain.Host)), []byte(`"*"`), 1)
	path := filepath.Join(w.plain.Dir, "any-host.yaml")
	w.must(os.WriteFile(path, text, 0o644))
	w.set("ANY_HOST_CONFIG", path)
}

func start(t *testing.T, options fixture.Options) *fixture.Fixture {
	t.Helper()
	f, err := fixture.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// lock lets nobody in without the password, as soon as it is locked.
func lock(locked *atomic.Bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, secret, _ := r.BasicAuth()
		if locked.Load() && (name != user || secret != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// deadHost is an address on which somebody listened a moment ago.
func deadHost(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}
