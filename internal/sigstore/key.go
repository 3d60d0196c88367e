package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // SHA-384 and SHA-512, for message.sum
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// A Key is a public key with a name.
type Key struct {
	// Name is what reports call the key.
	Name string `json:"name"`
	// File holds the key as PEM (PUBLIC KEY), as cosign public-key writes it: ECDSA on P-256, P-384 or P-521, RSA of 2,048
	// to 8,192 bits, or Ed25519.
	File string `json:"file"`
}

// Bounds on RSA keys: below, they are weak (NIST SP 800-131A); above, a check takes too long.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// publicKey is a key that was read.
type publicKey struct {
	name string
	key  crypto.PublicKey
	hint string // base64 of the SHA-256 of the key's PKIX form, by which a bundle may name it
}

func (v *Verifier) loadKeys(keys []Key, set *files.Set) (problems []error) {
	byName, byHint := map[string]bool{}, map[string]string{}
	for i, k := range keys {
		place := fmt.Sprintf("keys[%d] %q", i, k.Name)
		fail := func(err error) { problems = append(problems, fmt.Errorf("%s: %w", place, err)) }
		switch {
		case k.Name == "":
			fail(errors.New("name: it has none"))
		case byName[k.Name]:
			fail(errors.New("name: it is already taken"))
		}
		byName[k.Name] = true
		if k.File == "" {
			fail(errors.New("file: it has none"))
			continue
		}
		data, err := set.Read(k.File)
		if err != nil {
			fail(fmt.Errorf("file: %w", err))
			continue
		}
		key, err := parseKey(data)
		if err != nil {
			fail(fmt.Errorf("file: %s: %w", k.File, err))
			continue
		}
		key.name = k.Name
		if other, ok := byHint[key.hint]; ok {
			fail(fmt.Errorf("it is the same key as %s", ratify.Quote(other)))
		}
		byHint[key.hint] = k.Name
		v.keys = append(v.keys, key)
	}
	return problems
}

// parseKey reads one public key in PEM, and refuses what could not prove anything.
func parseKey(data []byte) (*publicKey, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("it is not a public key in PEM")
	case strings.Contains(block.Type, "PRIVATE"):
		return nil, fmt.Errorf("it holds a %s; only the public key belongs here", strings.ToLower(ratify.Truncate(block.Type)))
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("the PEM block is a %s, not a PUBLIC KEY", ratify.Quote(block.Type))
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is more in it than one public key; give each key a name and a file of its own")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key is malformed: %w", err)
	}
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return nil, fmt.Errorf("its curve is %s, not P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("its RSA key has %d bits, outside %d to %d", bits, minRSABits, maxRSABits)
		}
	case ed25519.PublicKey:
	default:
		return nil, fmt.Errorf("a %T is none of ECDSA, RSA and Ed25519", key)
	}
	sum := sha256.Sum256(block.Bytes)
	return &publicKey{key: key, hint: base64.StdEncoding.EncodeToString(sum[:])}, nil
}

// verifies tells whether the signature over the message is the key's. cosign signs SHA-256 digests whatever the curve,
// other tools of Sigstore the digest of the curve's size; RSA is PKCS #1 v1.5 or PSS; Ed25519 is over the message or, in
// transparency logs, over its digest (Ed25519ph, RFC 8032).
func (k *publicKey) verifies(m *message, signature []byte) bool {
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, m.sum(crypto.SHA256), signature) {
			return true
		}
		switch key.Curve {
		case elliptic.P384():
			return ecdsa.VerifyASN1(key, m.sum(crypto.SHA384), signature)
		case elliptic.P521():
			return ecdsa.VerifyASN1(key, m.sum(crypto.SHA512), signature)
		}
		return false
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, m.sum(crypto.SHA256), signature) == nil ||
			rsa.VerifyPSS(key, crypto.SHA256, m.sum(crypto.SHA256), signature, nil) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, m.text, signature) ||
			ed25519.VerifyWithOptions(key, m.sum(crypto.SHA512), signature, &ed25519.Options{Hash: crypto.SHA512}) == nil
	}
	return false
}

// A message is what a signature covers. It is hashed once by each algorithm, however many keys are tried.
type message struct {
	text []byte
	sums map[crypto.Hash][]byte
}

func newMessage(text []byte) *message { return &message{text: text, sums: map[crypto.Hash][]byte{}} }

// sum is the digest by SHA-256, SHA-384 or SHA-512.
func (m *message) sum(hash crypto.Hash) []byte {
	if sum, ok := m.sums[hash]; ok {
		return sum
	}
	h := hash.New()
	h.Write(m.text)
	m.sums[hash] = h.Sum(nil)
	return m.sums[hash]
}

// keyNames are the configured keys, for a message.
func (v *Verifier) keyNames() string {
	names := make([]string, 0, len(v.keys))
	for _, k := range v.keys {
		names = append(names, ratify.Quote(k.name))
	}
	return listed(names)
}

// maxListed is how many names fit a message.
const maxListed = 5

func listed(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		return strings.Join(names[:maxListed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
