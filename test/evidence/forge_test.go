package evidence

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// Whom the configuration trusts of those that the private Sigstore knows, and one whom it does not.
const (
	identity         = "https://ci.acme.example/build"
	strangerIdentity = "https://ci.stranger.example/build"
	issuer           = "https://login.acme.example"
)

// A forge holds the keys of those who are trusted, and of a stranger, and makes evidence with them.
type forge struct {
	signer, stranger  *notationtest.Signer
	signerPEM         []byte
	key, strangerKey  *cosigntest.Key
	sigstore, foreign *cosigntest.Sigstore
	// trap is a URL that evidence carries wherever it can, and that nobody may follow.
	trap string
}

func newForge(t *testing.T, trap string) *forge {
	t.Helper()
	f := &forge{trap: trap}
	trusted, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Acme Root", NotBefore: time.Now().Add(-90 * day)})
	check(t, err)
	f.signer, err = trusted.Issue(notationtest.LeafOptions{CommonName: "acme.example", NotBefore: time.Now().Add(-30 * day)})
	check(t, err)
	f.signerPEM = trusted.PEM()
	// The stranger's certificates ask whoever meets them to come by for their revocation status.
	nobody, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Stranger Root", OCSPURL: trap, CRLURL: trap})
	check(t, err)
	f.stranger, err = nobody.Issue(notationtest.LeafOptions{CommonName: "stranger.example"})
	check(t, err)
	f.key, err = cosigntest.NewKey(cosigntest.P256)
	check(t, err)
	f.strangerKey, err = cosigntest.NewKey(cosigntest.P256)
	check(t, err)
	f.sigstore, err = cosigntest.NewSigstore("acme")
	check(t, err)
	f.foreign, err = cosigntest.NewSigstore("foreign")
	check(t, err)
	return f
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const day = 24 * time.Hour

// An image is what evidence is about.
type image struct {
	name       string
	manifest   []byte
	descriptor ocispec.Descriptor
}

// Who makes a piece of evidence.
type maker int

const (
	trusted  maker = iota
	stranger       // another key, another root, another identity of the same Sigstore
	foreign        // the same identity of another Sigstore; a stranger where there is none
)

// A piece says what is wrong with one piece of evidence; the zero value is good in all respects.
type piece struct {
	by maker
	// copied takes what was made for another image, and attaches it to this one.
	copied bool
	// misfit is bound to this image and signed, and its text says that it is about another.
	misfit bool
	// tampered changes what was signed: a signature's bits, and of a document its text, so that it says nothing bad any more.
	tampered bool
	// expired is a signature that has ended, or was made when its certificate had; old is how old a document is.
	expired bool
	old     time.Duration
	// dirty is a document that says what the configuration disallows.
	dirty bool
	// oversized is good in all respects, but beyond the bound.
	oversized bool
	// unrelated is of another kind: another predicate type where there are predicates, another artifact type else.
	unrelated bool
}

// An attachment is one piece as it is stored: referrers in the order in which they are pushed, or a layer for cosign's tag.
type attachment struct {
	referrers []*cosigntest.Artifact
	layer     *cosigntest.Layer
}

// made is when a document was made that is not too old.
func (p piece) made() time.Time {
	if p.old > 0 {
		return time.Now().Add(-p.old)
	}
	return time.Now().Add(-time.Minute)
}

// about is the image that a piece was made for.
func (p piece) about(i image) image {
	if p.copied {
		return i.other()
	}
	return i
}

// other is another image of the same repository.
func (i image) other() image {
	manifest := bytes.Replace(i.manifest, []byte(i.name), []byte(i.name+"-other"), 1)
	return image{name: i.name, manifest: manifest, descriptor: describe(ocispec.MediaTypeImageManifest, manifest)}
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// The sizes that are just beyond the bounds.
const (
	oversizedEnvelope = ratify.MaxEnvelopeBytes + 1
	oversizedDocument = ratify.MaxDocumentBytes + 1
)

// pad makes JSON as long as that without changing what it says.
func pad(data []byte, size int) []byte {
	if len(data) >= size {
		return data
	}
	return append(data, bytes.Repeat([]byte(" "), size-len(data))...)
}

// notary makes Notary Project signatures in an envelope of the media type.
func notary(mediaType string) func(*testing.T, *forge, image, piece) attachment {
	return func(t *testing.T, f *forge, i image, p piece) attachment {
		return attachment{referrers: []*cosigntest.Artifact{f.notarize(t, p.about(i).descriptor, i.descriptor, mediaType, p)}}
	}
}

// notarize signs one artifact and attaches that to another.
func (f *forge) notarize(t *testing.T, signed, attachTo ocispec.Descriptor, mediaType string, p piece) *cosigntest.Artifact {
	t.Helper()
	signer, options := f.signer, notationtest.SignOptions{MediaType: mediaType}
	if p.by != trusted {
		signer = f.stranger
	}
	if p.expired {
		options.SigningTime, options.Expiry = time.Now().Add(-2*time.Hour), time.Hour
	}
	if p.oversized {
		options.UserMetadata = map[string]string{"padding": string(bytes.Repeat([]byte("x"), oversizedEnvelope))}
	}
	target := ocispec.Descriptor{MediaType: signed.MediaType, Digest: signed.Digest, Size: signed.Size}
	envelope, err := signer.Sign(t.Context(), target, options)
	check(t, err)
	if p.tampered {
		envelope, err = notationtest.Tamper(envelope, mediaType)
		check(t, err)
	}
	a, err := notationtest.Attach(attachTo, envelope, mediaType)
	check(t, err)
	return &cosigntest.Artifact{Manifest: a.Manifest, Descriptor: a.ManifestDescriptor, Blobs: map[digest.Digest][]byte{
		a.ConfigDescriptor.Digest: a.Config, a.EnvelopeDescriptor.Digest: a.Envelope,
	}}
}

// A form is what cosign signs, and where it keeps that.
type form struct {
	// message signs the image's manifest itself, and not a statement about it; under a tag, it is simple signing either way.
	message bool
	tag     bool
	keyless bool
}

// cosignSignature makes signatures as cosign does.
func cosignSignature(as form) func(*testing.T, *forge, image, piece) attachment {
	return func(t *testing.T, f *forge, i image, p piece) attachment {
		about := p.about(i).descriptor
		signed := f.signStatement(t, as, p, cosigntest.SignStatement(about.Digest))
		if as.message || as.tag {
			message := cosigntest.Payload("registry.example/"+i.name, about.Digest)
			if as.message {
				message = p.about(i).manifest
			}
			signed = f.signMessage(t, as, p, message)
		}
		if p.tampered {
			signed.Signature[len(signed.Signature)-1] ^= 1
		}
		return store(as.tag, i, signed, p, oversizedEnvelope)
	}
}

func (f *forge) signMessage(t *testing.T, as form, p piece, message []byte) *cosigntest.Signed {
	t.Helper()
	var signed *cosigntest.Signed
	var err error
	if as.keyless {
		signed, err = f.instance(p).SignMessage(message, f.options(p))
	} else {
		signed, err = f.cosignKey(p).SignMessage(message)
	}
	check(t, err)
	return signed
}

func (f *forge) signStatement(t *testing.T, as form, p piece, statement []byte) *cosigntest.Signed {
	t.Helper()
	var signed *cosigntest.Signed
	var err error
	if as.keyless {
		signed, err = f.instance(p).Sign(statement, f.options(p))
	} else {
		signed, err = f.cosignKey(p).Sign(statement)
	}
	check(t, err)
	return signed
}

func (f *forge) cosignKey(p piece) *cosigntest.Key {
	if p.by != trusted {
		return f.strangerKey
	}
	return f.key
}

func (f *forge) instance(p piece) *cosigntest.Sigstore {
	if p.by == foreign {
		return f.foreign
	}
	return f.sigstore
}

// options are the keyless signer's. An expired one used a certificate two hours after it was issued for ten minutes.
func (f *forge) options(p piece) cosigntest.Options {
	o := cosigntest.Options{Identity: identity, Issuer: issuer}
	if p.by == stranger {
		o.Identity = strangerIdentity
	}
	if p.expired {
		o.IssuedAt = time.Now().Add(-2 * time.Hour)
	}
	return o
}

// store puts something signed where it belongs: into a bundle, or into a layer.
func store(tag bool, i image, signed *cosigntest.Signed, p piece, oversized int) attachment {
	if tag {
		layer := signed.Layer()
		if p.oversized {
			annotations := layer.Descriptor.Annotations
			layer.Data = pad(layer.Data, oversized)
			layer.Descriptor = describe(layer.Descriptor.MediaType, layer.Data)
			layer.Descriptor.Annotations = annotations
		}
		return attachment{layer: &layer}
	}
	bundle := signed.Bundle()
	if p.oversized {
		bundle = pad(bundle, oversized)
	}
	return attachment{referrers: []*cosigntest.Artifact{cosigntest.AttachBundle(i.descriptor, bundle)}}
}

// A document is one kind of document: what it says about an image, as tools write it.
type document struct {
	predicateType string
	artifactType  string
	write         func(t *testing.T, about image, p piece) json.RawMessage
}

// text is what the document says in a piece that was made for the image.
func (d document) text(t *testing.T, about image, p piece) json.RawMessage {
	t.Helper()
	if p.misfit {
		about = about.other()
	}
	return d.write(t, about, p)
}

// attested makes attestations of the document by a key; tag keeps them under cosign's tag.
func attested(d document, tag bool) func(*testing.T, *forge, image, piece) attachment {
	return func(t *testing.T, f *forge, i image, p piece) attachment {
		about, predicateType := p.about(i), d.predicateType
		if p.unrelated {
			predicateType = unrelatedPredicate
		}
		state := func(p piece) []byte {
			return cosigntest.Statement(about.descriptor.Digest, predicateType, d.text(t, about, p))
		}
		said := p
		said.dirty = p.dirty || p.tampered
		signed := f.signStatement(t, form{}, p, state(said))
		if p.tampered {
			signed.Message = state(p)
		}
		return store(tag, i, signed, p, oversizedDocument)
	}
}

// plain attaches the document as it is, signed as an artifact of its own.
func plain(d document, prove func(t *testing.T, f *forge, signed, attachTo ocispec.Descriptor, p piece) *cosigntest.Artifact) func(*testing.T, *forge, image, piece) attachment {
	return func(t *testing.T, f *forge, i image, p piece) attachment {
		about := p.about(i)
		data := d.text(t, about, p)
		if p.oversized {
			data = pad(data, oversizedDocument)
		}
		shown := f.artifact(t, d.artifactType, i.descriptor, data, p)
		signed := shown
		switch {
		case p.tampered:
			said := p
			said.dirty = true
			signed = f.artifact(t, d.artifactType, i.descriptor, d.text(t, about, said), p)
		case p.copied:
			signed = f.artifact(t, d.artifactType, about.descriptor, data, p)
		}
		return attachment{referrers: []*cosigntest.Artifact{shown, prove(t, f, signed.Descriptor, shown.Descriptor, piece{by: p.by})}}
	}
}

// byNotation and byCosign prove a document.
func byNotation(t *testing.T, f *forge, signed, attachTo ocispec.Descriptor, p piece) *cosigntest.Artifact {
	t.Helper()
	return f.notarize(t, signed, attachTo, notationtest.JWS, p)
}

func byCosign(t *testing.T, f *forge, signed, attachTo ocispec.Descriptor, p piece) *cosigntest.Artifact {
	t.Helper()
	return cosigntest.AttachBundle(attachTo, f.signStatement(t, form{}, p, cosigntest.SignStatement(signed.Digest)).Bundle())
}

// artifact makes a referrer of one layer, as oras attach does. Its layer has a URL, which is not for following.
func (f *forge) artifact(t *testing.T, artifactType string, subject ocispec.Descriptor, data []byte, p piece) *cosigntest.Artifact {
	t.Helper()
	layer := describe(artifactType, data)
	layer.URLs = []string{f.trap}
	target := ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	config := ocispec.DescriptorEmptyJSON
	if artifactType == unrelatedType {
		config.MediaType = artifactType // also for registries that take it for the artifact's type
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
		Config: config, Layers: []ocispec.Descriptor{layer}, Subject: &target,
		Annotations: map[string]string{ocispec.AnnotationCreated: p.made().UTC().Format(time.RFC3339)},
	})
	check(t, err)
	a := &cosigntest.Artifact{Manifest: manifest, Descriptor: describe(ocispec.MediaTypeImageManifest, manifest), Blobs: map[digest.Digest][]byte{
		config.Digest: []byte("{}"), layer.Digest: data,
	}}
	a.Descriptor.ArtifactType = artifactType
	return a
}
