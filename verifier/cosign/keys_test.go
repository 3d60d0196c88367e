package cosign_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// storages are the ways in which a signature of an image is kept: what is signed, and where it is put.
var storages = []struct {
	name    string
	message func(d digest.Digest) []byte // nil: a statement is signed
	store   func(s *cosigntest.Signed) *cosigntest.Artifact
}{
	{
		name:    "tag",
		message: func(d digest.Digest) []byte { return cosigntest.Payload("registry.example/app", d) },
		store:   func(s *cosigntest.Signed) *cosigntest.Artifact { return cosigntest.Collect(image.Digest, s.Layer()) },
	},
	{
		name: "bundle with a statement",
		store: func(s *cosigntest.Signed) *cosigntest.Artifact {
			return cosigntest.AttachBundle(image, s.Bundle())
		},
	},
	{
		name: "bundle with a signature",
		message: func(d digest.Digest) []byte {
			if d == image.Digest {
				return manifest
			}
			return []byte("another image")
		},
		store: func(s *cosigntest.Signed) *cosigntest.Artifact {
			return cosigntest.AttachBundle(image, s.Bundle())
		},
	},
}

// signWith signs an image in one of the ways.
func signWith(t testing.TB, key *cosigntest.Key, message func(digest.Digest) []byte, d digest.Digest) *cosigntest.Signed {
	t.Helper()
	if message == nil {
		return must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(d)))
	}
	return must[*cosigntest.Signed](t)(key.SignMessage(message(d)))
}

func signAs(t testing.TB, s *cosigntest.Sigstore, message func(digest.Digest) []byte, d digest.Digest, o cosigntest.Options) *cosigntest.Signed {
	t.Helper()
	if o.Identity == "" {
		o.Identity = workflow
	}
	if o.Issuer == "" {
		o.Issuer = issuer
	}
	if message == nil {
		return must[*cosigntest.Signed](t)(s.Sign(cosigntest.SignStatement(d), o))
	}
	return must[*cosigntest.Signed](t)(s.SignMessage(message(d), o))
}

func TestKeys(t *testing.T) {
	for _, kind := range []struct {
		name string
		kind cosigntest.KeyType
		with cosigntest.Scheme
	}{
		{"P-256", cosigntest.P256, ""},
		{"P-384", cosigntest.P384, ""},
		{"P-384 with SHA-384", cosigntest.P384, cosigntest.CurveDigest},
		{"P-521", cosigntest.P521, ""},
		{"P-521 with SHA-512", cosigntest.P521, cosigntest.CurveDigest},
		{"RSA", cosigntest.RSA2048, ""},
		{"RSA-PSS", cosigntest.RSA2048, cosigntest.PSS},
		{"Ed25519", cosigntest.Ed25519, ""},
		{"Ed25519ph", cosigntest.Ed25519, cosigntest.Prehash},
	} {
		for _, s := range storages {
			t.Run(kind.name+"/"+s.name, func(t *testing.T) {
				key := newKey(t, kind.kind).With(kind.with)
				v := newVerifier(t, trusting(t, newKey(t, kind.kind), key))
				good := signWith(t, key, s.message, image.Digest)
				result, err := examine(t, v, s.store(good))
				expect(t, result, err, ratify.Verified, `key "k1"`)

				tampered := *good
				tampered.Signature = append([]byte{}, good.Signature...)
				tampered.Signature[len(tampered.Signature)-1] ^= 1
				result, err = examine(t, v, s.store(&tampered))
				want := ratify.SignatureInvalid
				if s.name == "tag" {
					want = ratify.UntrustedSigner // nothing says whose it would be
				}
				expect(t, result, err, want)
			})
		}
	}
}

func TestRefusedByKey(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, trusting(t, key))
	for _, s := range storages {
		t.Run(s.name+"/stranger", func(t *testing.T) {
			result, err := examine(t, v, s.store(signWith(t, newKey(t, cosigntest.P256), s.message, image.Digest)))
			expect(t, result, err, ratify.UntrustedSigner, `"k0"`)
		})
		t.Run(s.name+"/another image", func(t *testing.T) {
			result, err := examine(t, v, s.store(signWith(t, key, s.message, other.Digest)))
			expect(t, result, err, ratify.SubjectMismatch)
		})
	}
}

func TestIdentities(t *testing.T) {
	instance, stranger := newSigstore(t, "ours"), newSigstore(t, "theirs")
	v := newVerifier(t, trustingIdentity(t, instance))
	for _, s := range storages {
		t.Run(s.name, func(t *testing.T) {
			result, err := examine(t, v, s.store(signAs(t, instance, s.message, image.Digest, cosigntest.Options{})))
			expect(t, result, err, ratify.Verified, workflow, issuer)
		})
		t.Run(s.name+"/another image", func(t *testing.T) {
			result, err := examine(t, v, s.store(signAs(t, instance, s.message, other.Digest, cosigntest.Options{})))
			expect(t, result, err, ratify.SubjectMismatch)
		})
		t.Run(s.name+"/another instance", func(t *testing.T) {
			result, err := examine(t, v, s.store(signAs(t, stranger, s.message, image.Digest, cosigntest.Options{})))
			expect(t, result, err, ratify.UntrustedSigner, "fulcio.ours.example")
		})
		t.Run(s.name+"/another identity", func(t *testing.T) {
			result, err := examine(t, v, s.store(signAs(t, instance, s.message, image.Digest, cosigntest.Options{Identity: "https://ci.example/evil"})))
			expect(t, result, err, ratify.IdentityMismatch, `"https://ci.example/evil"`, workflow)
		})
	}
}
