package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"testing"
)

// TestHashedOnce: however many keys are tried, a message is hashed once by each algorithm. What it says is changed after
// the first key was tried, so that whoever hashes it again is told by the signature.
func TestHashedOnce(t *testing.T) {
	text := []byte("a statement")
	newKey := func(curve elliptic.Curve) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sum256, sum384, sum512 := sha256.Sum256(text), sha512.Sum384(text), sha512.Sum512(text)
	for _, tc := range []struct {
		name      string
		stranger  crypto.Signer
		key       crypto.Signer
		sum       []byte
		algorithm crypto.Hash
	}{
		{"P-256", newKey(elliptic.P256()), newKey(elliptic.P256()), sum256[:], crypto.SHA256},
		{"P-384", newKey(elliptic.P384()), newKey(elliptic.P384()), sum384[:], crypto.SHA384},
		{"P-521", newKey(elliptic.P521()), newKey(elliptic.P521()), sum512[:], crypto.SHA512},
		{"RSA", newKey(elliptic.P256()), rsaKey, sum256[:], crypto.SHA256},
	} {
		t.Run(tc.name, func(t *testing.T) {
			signature, err := tc.key.Sign(rand.Reader, tc.sum, tc.algorithm)
			if err != nil {
				t.Fatal(err)
			}
			m := newMessage([]byte(string(text)))
			if (&publicKey{key: tc.stranger.Public()}).verifies(m, signature) {
				t.Error("a stranger's signature is accepted")
			}
			m.text[0]++
			if !(&publicKey{key: tc.key.Public()}).verifies(m, signature) {
				t.Error("the message was hashed again")
			}
		})
	}
}
