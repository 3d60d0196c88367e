package notation_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	gocose "github.com/veraison/go-cose"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// quick is far above what any envelope within the bounds takes, and far below what the attacks here cost unbounded.
const quick = 2 * time.Second

// reshape changes the fields of a JWS.
func reshape(t testing.TB, envelope []byte, change func(outer, header map[string]any)) []byte {
	t.Helper()
	var outer map[string]any
	if err := json.Unmarshal(envelope, &outer); err != nil {
		t.Fatal(err)
	}
	change(outer, outer["header"].(map[string]any))
	return must[[]byte](t)(json.Marshal(outer))
}

// reprotect changes the protected header of a JWS.
func reprotect(t testing.TB, envelope []byte, change func(protected map[string]any)) []byte {
	t.Helper()
	return reshape(t, envelope, func(outer, _ map[string]any) {
		var protected map[string]any
		if err := json.Unmarshal(must[[]byte](t)(base64.RawURLEncoding.DecodeString(outer["protected"].(string))), &protected); err != nil {
			t.Fatal(err)
		}
		change(protected)
		outer["protected"] = base64.RawURLEncoding.EncodeToString(must[[]byte](t)(json.Marshal(protected)))
	})
}

// hugeKey issues a certificate for an RSA key of many bits; nobody needs to have the private half.
func hugeKey(t testing.TB, bits int) []byte {
	t.Helper()
	modulus := make([]byte, bits/8)
	rand.Read(modulus)
	modulus[0] |= 0x80
	modulus[len(modulus)-1] |= 1
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Huge"}, NotBefore: yesterday, NotAfter: tomorrow}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	return must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, public, key))
}

// A hostileEnvelope is malformed, beyond a bound, or not what its signer made.
type hostileEnvelope struct {
	name      string
	mediaType string
	envelope  []byte
	words     string // what is said of it
}

// hostileEnvelopes are what can be made of two good signatures, and of nothing at all.
func hostileEnvelopes(t testing.TB, signer *notationtest.Signer, jws, cose []byte) []hostileEnvelope {
	t.Helper()
	tsa := newTSA(t, notationtest.TimestampOptions{Authority: newAuthority(t, notationtest.AuthorityOptions{Intermediates: 10})})
	chain := func(mediaType string, certs ...[]byte) []byte {
		envelope := jws
		if mediaType == notationtest.COSE {
			envelope = cose
		}
		return must[[]byte](t)(notationtest.ReplaceChain(envelope, mediaType, certs))
	}
	leaf, root := signer.Chain[0].Raw, signer.Chain[len(signer.Chain)-1].Raw
	long := slices.Repeat([][]byte{root}, 1000)
	huge := hugeKey(t, 65536)
	return []hostileEnvelope{
		{"nothing", notationtest.JWS, nil, "malformed"},
		{"nothing", notationtest.COSE, nil, "malformed"},
		{"null", notationtest.JWS, []byte("null"), "malformed"},
		{"empty object", notationtest.JWS, []byte("{}"), "malformed"},
		{"cut short", notationtest.JWS, jws[:len(jws)/2], "malformed"},
		{"cut short", notationtest.COSE, cose[:len(cose)/2], "malformed"},
		{"trailing data", notationtest.JWS, append(bytes.Clone(jws), "{}"...), "malformed"},
		{"trailing data", notationtest.COSE, append(bytes.Clone(cose), 0xf6), "malformed"},
		{"COSE called JWS", notationtest.JWS, cose, "malformed"},
		{"JWS called COSE", notationtest.COSE, jws, "malformed"},
		{"a million dots", notationtest.JWS, reshape(t, jws, func(outer, _ map[string]any) {
			outer["payload"] = strings.Repeat(".", 1_000_000)
		}), "not base64url"},
		{"dots in the signature", notationtest.JWS, reshape(t, jws, func(outer, _ map[string]any) {
			outer["signature"] = strings.Repeat(".", 1_000_000)
		}), "not base64url"},
		{"nested ten thousand deep", notationtest.JWS, []byte(`{"header":{"x":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}}`), "malformed"},
		{"nested ten thousand deep", notationtest.COSE, append(bytes.Repeat([]byte{0x81}, 10_000), 0xf6), "nested deeper"},
		{"tags ten thousand deep", notationtest.COSE, append(bytes.Repeat([]byte{0xd2}, 10_000), 0xf6), "nested deeper"},
		{"array of 2^60", notationtest.COSE, append([]byte{0xd2, 0x9b}, binary.BigEndian.AppendUint64(nil, 1<<60)...), "cut short"},
		{"string of 2^63", notationtest.COSE, append([]byte{0xd2, 0x84, 0x5b}, binary.BigEndian.AppendUint64(nil, 1<<63)...), "cut short"},
		{"indefinite length", notationtest.COSE, []byte{0xd2, 0x9f, 0x40, 0xa0, 0x40, 0x40, 0xff}, "indefinite"},
		{"no certificates", notationtest.JWS, chain(notationtest.JWS), "no certificates"},
		{"no certificates", notationtest.COSE, chain(notationtest.COSE), "no certificates"},
		{"thousands of certificates", notationtest.JWS, chain(notationtest.JWS, long...), "more than 10"},
		{"thousands of certificates", notationtest.COSE, chain(notationtest.COSE, long...), "more than 10"},
		{"certificate that is none", notationtest.JWS, chain(notationtest.JWS, leaf, []byte("x")), "certificate 2"},
		{"certificate that is none", notationtest.COSE, chain(notationtest.COSE, []byte("x")), "certificate 1"},
		{"RSA-65536 leaf", notationtest.JWS, chain(notationtest.JWS, huge, root), "65536 bits"},
		{"RSA-65536 leaf", notationtest.COSE, chain(notationtest.COSE, huge, root), "65536 bits"},
		{"RSA-65536 issuer", notationtest.JWS, chain(notationtest.JWS, leaf, huge), "certificate 2"},
		{"timestamp beyond the bound", notationtest.JWS, must[[]byte](t)(notationtest.ReplaceTimestamp(jws, notationtest.JWS, make([]byte, 70_000))), "timestamp"},
		{"timestamp with many certificates", notationtest.COSE, must[[]byte](t)(notationtest.ReplaceTimestamp(cose, notationtest.COSE, token(t, tsa, cose, notationtest.COSE))), "timestamp"},
		{"a thousand headers", notationtest.JWS, reprotect(t, jws, func(protected map[string]any) {
			for i := range 1000 {
				protected[strings.Repeat("x", i)] = 1
			}
		}), "protected headers"},
		{"a hundred headers", notationtest.COSE, manyHeaders(t, cose), "headers"},
		{"another scheme", notationtest.JWS, reprotect(t, jws, func(protected map[string]any) {
			protected["io.cncf.notary.signingScheme"] = "notary.x509.mine"
		}), ""},
		{"scheme of another type", notationtest.JWS, reprotect(t, jws, func(protected map[string]any) {
			protected["io.cncf.notary.signingScheme"] = 7
		}), ""},
		{"alg none", notationtest.JWS, unsigned(t, jws), ""},
		{"HS256 by the public key", notationtest.JWS, hmacSigned(t, jws, signer), ""},
		{"certificate as text", notationtest.COSE, coseHeader(t, cose, gocose.HeaderLabelX5Chain, []any{"text"}), "not a byte string"},
		{"one certificate without a list", notationtest.COSE, coseHeader(t, cose, gocose.HeaderLabelX5Chain, leaf), "no certificates"},
	}
}

func TestHostileEnvelopes(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	tsa := newTSA(t, notationtest.TimestampOptions{})
	jws, cose := sign(t, signer, notationtest.SignOptions{}), sign(t, signer, notationtest.SignOptions{MediaType: notationtest.COSE})
	for _, c := range hostileEnvelopes(t, signer, jws, cose) {

		t.Run(c.name+" "+c.mediaType, func(t *testing.T) {
			for _, level := range []string{"strict", "audit"} {
				v := settings{level: level, ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{tsa.Authority.Root()}, timestamps: "afterCertExpiry"}.verifier(t)
				start := time.Now()
				got := verify(t, v, c.envelope, c.mediaType)
				if took := time.Since(start); took > quick {
					t.Errorf("level %s: took %s", level, took)
				}
				expect(t, got, ratify.SignatureInvalid, c.words)
			}
		})
	}
}

func TestEnvelopeBeyondTheBound(t *testing.T) {
	for _, mediaType := range formats {
		if _, err := notation.Describe(make([]byte, ratify.MaxEnvelopeBytes+1), mediaType); ratify.AsError(err).Code != ratify.LimitExceeded {
			t.Errorf("%s: error %v", mediaType, err)
		}
	}
}

func unsigned(t testing.TB, jws []byte) []byte {
	t.Helper()
	none := reprotect(t, jws, func(protected map[string]any) { protected["alg"] = "none" })
	return reshape(t, none, func(outer, _ map[string]any) { outer["signature"] = "" })
}

func hmacSigned(t testing.TB, jws []byte, signer *notationtest.Signer) []byte {
	t.Helper()
	confused := reprotect(t, jws, func(protected map[string]any) { protected["alg"] = "HS256" })
	return reshape(t, confused, func(outer, _ map[string]any) {
		mac := hmac.New(sha256.New, must[[]byte](t)(x509.MarshalPKIXPublicKey(signer.Key.Public())))
		mac.Write([]byte(outer["protected"].(string) + "." + outer["payload"].(string)))
		outer["signature"] = base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	})
}

func coseHeader(t testing.TB, envelope []byte, label, value any) []byte {
	t.Helper()
	var message gocose.Sign1Message
	if err := message.UnmarshalCBOR(envelope); err != nil {
		t.Fatal(err)
	}
	message.Headers.Unprotected[label] = value
	message.Headers.RawUnprotected = nil
	return must[[]byte](t)(message.MarshalCBOR())
}

func manyHeaders(t testing.TB, envelope []byte) []byte {
	t.Helper()
	for i := range 100 {
		envelope = coseHeader(t, envelope, strings.Repeat("x", i+1), true)
	}
	return envelope
}

// TestHostileText has a certificate whose name would colour a terminal and forge a line of a log.
func TestHostileText(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{Name: "Root\x1b[31m\nlevel=info allowed"})
	signer := issue(t, authority, notationtest.LeafOptions{CommonName: "evil\r\n\x1b[2J" + strings.Repeat("x", 10_000)})
	envelope := sign(t, signer, notationtest.SignOptions{})
	v := settings{ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}}.verifier(t)
	got := verify(t, v, envelope, notationtest.JWS)
	expect(t, got, ratify.UntrustedSigner)
	for _, text := range []string{got.Message, got.Remedy} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || len(text) > 8*ratify.MaxTextBytes {
			t.Errorf("text of %d bytes reaches the user as it is: %.100q", len(text), text)
		}
	}
}

// TestManifests changes the manifest that attaches a good signature.
func TestManifests(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	envelope := sign(t, issue(t, authority, notationtest.LeafOptions{}), notationtest.SignOptions{})
	v := settings{ca: []*x509.Certificate{authority.Root()}}.verifier(t)
	for _, c := range []struct {
		name   string
		change func(*ocispec.Manifest)
		code   ratify.Code
		reads  int
	}{
		{"nothing", func(*ocispec.Manifest) {}, ratify.Verified, 2},
		{"older form, type in the config alone", func(m *ocispec.Manifest) { m.ArtifactType = "" }, ratify.Verified, 2},
		{"newer form, empty config", func(m *ocispec.Manifest) { m.Config = ocispec.DescriptorEmptyJSON }, ratify.Verified, 2},
		{"other kind", func(m *ocispec.Manifest) {
			m.ArtifactType, m.Config = "application/spdx+json", ocispec.DescriptorEmptyJSON
		}, ratify.EvidenceInvalid, 1},
		{"no subject", func(m *ocispec.Manifest) { m.Subject = nil }, ratify.SubjectMismatch, 1},
		{"other subject", func(m *ocispec.Manifest) { m.Subject.Digest = digest.FromString("other") }, ratify.SubjectMismatch, 1},
		{"no layer", func(m *ocispec.Manifest) { m.Layers = nil }, ratify.EvidenceInvalid, 1},
		{"two layers", func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, ratify.EvidenceInvalid, 1},
		{"layer of another type", func(m *ocispec.Manifest) { m.Layers[0].MediaType = "text/html\n" }, ratify.EvidenceInvalid, 1},
		{"layer beyond the bound", func(m *ocispec.Manifest) { m.Layers[0].Size = ratify.MaxEnvelopeBytes + 1 }, ratify.LimitExceeded, 1},
		{"layer of negative size", func(m *ocispec.Manifest) { m.Layers[0].Size = -1 }, ratify.EvidenceInvalid, 1},
		{"layer elsewhere", func(m *ocispec.Manifest) {
			m.Layers[0].URLs, m.Layers[0].Data = []string{"http://169.254.169.254/"}, []byte("inline")
		}, ratify.Verified, 2},
		{"layer that is not there", func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.FromString("absent") }, ratify.RegistryInvalid, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			artifact := must[*notationtest.Artifact](t)(notationtest.Attach(image, envelope, notationtest.JWS))
			var manifest ocispec.Manifest
			if err := json.Unmarshal(artifact.Manifest, &manifest); err != nil {
				t.Fatal(err)
			}
			c.change(&manifest)
			artifact.Manifest = must[[]byte](t)(json.Marshal(manifest))
			artifact.ManifestDescriptor.Digest = digest.FromBytes(artifact.Manifest)
			artifact.ManifestDescriptor.Size = int64(len(artifact.Manifest))
			repo := holding(artifact)
			result, err := v.Verify(t.Context(), image, artifact.ManifestDescriptor, repo)
			expect(t, verdict{result, err}, c.code)
			if len(repo.asked) != c.reads {
				t.Errorf("%d reads, want %d", len(repo.asked), c.reads)
			}
			for _, desc := range repo.asked {
				if desc.URLs != nil || desc.Data != nil {
					t.Errorf("asked for %v", desc)
				}
			}
		})
	}
}

func TestUnreadableEvidenceIsAnError(t *testing.T) {
	v := settings{ca: []*x509.Certificate{newAuthority(t, notationtest.AuthorityOptions{}).Root()}}.verifier(t)
	down := errors.New("down")
	repo := &blobs{name: repository, fetch: func(context.Context, ocispec.Descriptor) ([]byte, error) { return nil, down }}
	if _, err := v.Verify(t.Context(), image, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest}, repo); !errors.Is(err, down) {
		t.Errorf("error %v, want the repository's", err)
	}
}

func fuzzEnvelope(f *testing.F, mediaType string) {
	authority := newAuthority(f, notationtest.AuthorityOptions{})
	signer := issue(f, authority, notationtest.LeafOptions{})
	stranger := issue(f, newAuthority(f, notationtest.AuthorityOptions{}), notationtest.LeafOptions{})
	tsa := newTSA(f, notationtest.TimestampOptions{})
	good := must[[]byte](f)(signer.Sign(context.Background(), image, notationtest.SignOptions{MediaType: mediaType, Timestamp: tsa}))
	f.Add(good)
	f.Add(must[[]byte](f)(stranger.Sign(context.Background(), image, notationtest.SignOptions{MediaType: mediaType, Expiry: time.Hour})))
	f.Add(must[[]byte](f)(notationtest.Tamper(good, mediaType)))
	f.Add([]byte(nil))
	other := ocispec.Descriptor{MediaType: image.MediaType, Digest: digest.FromString("other"), Size: image.Size}
	// The processes that fuzz have keys of their own, so that a seed is a stranger's to most; audit goes on nevertheless.
	var verifiers []*notation.Verifier
	for _, level := range []string{"strict", "audit"} {
		verifiers = append(verifiers, settings{level: level, ca: []*x509.Certificate{authority.Root()}, tsa: []*x509.Certificate{tsa.Authority.Root()}}.verifier(f))
	}
	f.Fuzz(func(t *testing.T, envelope []byte) {
		// Whatever is made of a signature for one image, it never proves another.
		artifact := must[*notationtest.Artifact](t)(notationtest.Attach(other, envelope, mediaType))
		for _, v := range verifiers {
			result, err := v.Verify(t.Context(), other, artifact.ManifestDescriptor, holding(artifact))
			if err == nil && result.Passed {
				t.Fatal("a signature for another image is accepted")
			}
			if err != nil && !ratify.AsError(err).Code.Definitive() {
				t.Fatalf("bytes alone make an outage: %v", err)
			}
		}
		if described, err := notation.Describe(envelope, mediaType); err == nil && len(described.Certificates) == 0 {
			t.Fatal("a signature without certificates")
		}
	})
}

func FuzzJWS(f *testing.F)  { fuzzEnvelope(f, notationtest.JWS) }
func FuzzCOSE(f *testing.F) { fuzzEnvelope(f, notationtest.COSE) }
