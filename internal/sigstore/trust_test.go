package sigstore_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/internal/files"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

func count(n int) *int { return &n }

func publicPEM(t testing.TB, key any) []byte {
	t.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must[[]byte](t)(x509.MarshalPKIXPublicKey(key))})
}

// withoutAuthorities is a trusted root that issues no certificates.
func withoutAuthorities(t testing.TB) []byte {
	t.Helper()
	data := must[[]byte](t)(cosigntest.TrustedRoot(newSigstore(t, "ours")))
	return edit(t, data, func(root map[string]any) {
		if root["certificateAuthorities"] == nil {
			t.Fatal("the trusted root has no certificate authorities to take out")
		}
		delete(root, "certificateAuthorities")
	})
}

// TestConfiguration tells of each configuration all that is wrong with it, and nothing else.
func TestConfiguration(t *testing.T) {
	key := writeFile(t, newKey(t, cosigntest.P256).PublicPEM())
	trustedRoot := writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot(newSigstore(t, "one"), newSigstore(t, "two"))))
	someone := []sigstore.Identity{{Issuer: "https://issuer.example", Subject: "someone@example.com"}}
	small := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	narrow := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	large := new(big.Int).SetBit(big.NewInt(1), 8199, 1)
	private := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: []byte("x")})
	for _, tc := range []struct {
		name  string
		trust sigstore.Trust
		want  []string // a line each
	}{
		{"nothing", sigstore.Trust{}, []string{"keys, identities: there are none, so nobody is trusted"}},
		{"a key", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}}, nil},
		{"identities", sigstore.Trust{Identities: someone, TrustedRoot: trustedRoot}, nil},
		{"both", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, Identities: someone, TrustedRoot: trustedRoot, CosignTags: true}, nil},
		{"thresholds", sigstore.Trust{Identities: someone, TrustedRoot: trustedRoot, Thresholds: sigstore.Thresholds{TransparencyLogs: count(2), CertificateLogs: count(2), Timestamps: count(2)}}, nil},
		{"thresholds of keys", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, TrustedRoot: trustedRoot, Thresholds: sigstore.Thresholds{TransparencyLogs: count(1)}}, nil},
		{"unnamed, and without a file", sigstore.Trust{Keys: []sigstore.Key{{}}}, []string{`keys[0] "": name: it has none`, `keys[0] "": file: it has none`}},
		{"the same name", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}, {"ci", writeFile(t, newKey(t, cosigntest.P384).PublicPEM())}}}, []string{`keys[1] "ci": name: it is already taken`}},
		{"the same key", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}, {"cd", key}}}, []string{`keys[1] "cd": it is the same key as "ci"`}},
		{"no such file", sigstore.Trust{Keys: []sigstore.Key{{"ci", key + "x"}}}, []string{`keys[0] "ci": file: open `}},
		{"not PEM", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, []byte("key"))}}}, []string{"it is not a public key in PEM"}},
		{"a private key", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, private)}}}, []string{"only the public key belongs here"}},
		{"a certificate", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))}}}, []string{`the PEM block is a "CERTIFICATE", not a PUBLIC KEY`}},
		{"two keys in a file", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, append(newKey(t, cosigntest.P256).PublicPEM(), newKey(t, cosigntest.P256).PublicPEM()...))}}}, []string{"give each key a name and a file of its own"}},
		{"a damaged key", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}))}}}, []string{"the public key is malformed"}},
		{"RSA of 1024 bits", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, publicPEM(t, small.Public()))}}}, []string{"its RSA key has 1024 bits, outside 2048 to 8192"}},
		{"P-224", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, publicPEM(t, narrow.Public()))}}}, []string{"its curve is P-224"}},
		{"RSA of 8200 bits", sigstore.Trust{Keys: []sigstore.Key{{"ci", writeFile(t, publicPEM(t, &rsa.PublicKey{N: large, E: 65537}))}}}, []string{"its RSA key has 8200 bits, outside 2048 to 8192"}},
		{"too many identities", sigstore.Trust{Identities: slices.Repeat(someone, 101), TrustedRoot: trustedRoot}, []string{"identities: there are 101, at most 100"}},
		{"a root without certificate authorities", sigstore.Trust{Identities: someone, TrustedRoot: writeFile(t, withoutAuthorities(t))}, []string{"it has no certificate authority, and identities need one"}},
		{"too many keys", sigstore.Trust{Keys: make([]sigstore.Key, 101)}, []string{"keys: there are 101, at most 100"}},
		{"identities without a root", sigstore.Trust{Identities: someone}, []string{"trustedRoot: identities need one, the path of a trusted_root.json file"}},
		{"an empty identity", sigstore.Trust{Identities: make([]sigstore.Identity, 1), TrustedRoot: trustedRoot}, []string{
			"identities[0]: issuer or issuerPattern: it has neither, and would trust everybody's", "identities[0]: subject or subjectPattern: it has neither",
		}},
		{"two ways at once", sigstore.Trust{Identities: []sigstore.Identity{{"i", "^i$", "s", "^s$"}}, TrustedRoot: trustedRoot}, []string{
			"identities[0]: issuer and issuerPattern: it has both, give one", "identities[0]: subject and subjectPattern: it has both, give one",
		}},
		{"a pattern that is not anchored", sigstore.Trust{Identities: []sigstore.Identity{{Issuer: "i", SubjectPattern: "^a|b$"}}, TrustedRoot: trustedRoot}, []string{
			`identities[0]: subjectPattern: "^a|b$" is not anchored as a whole, write "^(a|b)$"`,
		}},
		{"a root without effect", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, TrustedRoot: trustedRoot}, []string{"trustedRoot: has no effect without identities or thresholds"}},
		{"no such root", sigstore.Trust{Identities: someone, TrustedRoot: key + "x"}, []string{"trustedRoot: open "}},
		{"a damaged root", sigstore.Trust{Identities: someone, TrustedRoot: key}, []string{"trustedRoot: " + key + ": "}},
		{"a root with nobody in it", sigstore.Trust{Identities: someone, TrustedRoot: writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot()))}, []string{
			"thresholds: transparencyLogs: 1 cannot be met, the trusted root has 0 transparency logs",
			"thresholds: certificateLogs: 1 cannot be met, the trusted root has 0 certificate transparency logs",
		}},
		{"thresholds that cannot be met", sigstore.Trust{Identities: someone, TrustedRoot: trustedRoot, Thresholds: sigstore.Thresholds{TransparencyLogs: count(3), CertificateLogs: count(3), Timestamps: count(3)}}, []string{
			"thresholds: transparencyLogs: 3 cannot be met, the trusted root has 2 transparency logs",
			"thresholds: certificateLogs: 3 cannot be met, the trusted root has 2 certificate transparency logs",
			"thresholds: timestamps: 3 cannot be met, the trusted root has 2 timestamp authorities",
		}},
		{"less than none", sigstore.Trust{Identities: someone, TrustedRoot: trustedRoot, Thresholds: sigstore.Thresholds{Timestamps: count(-1)}}, []string{"thresholds: timestamps: -1 is less than none"}},
		{"thresholds of keys without a root", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, Thresholds: sigstore.Thresholds{TransparencyLogs: count(1)}}, []string{"trustedRoot: thresholds need one"}},
		{"certificate logs of keys", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, TrustedRoot: trustedRoot, Thresholds: sigstore.Thresholds{CertificateLogs: count(1)}}, []string{"thresholds: certificateLogs has no effect without identities"}},
		{"thresholds that ask for nothing", sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}, Thresholds: sigstore.Thresholds{TransparencyLogs: count(0)}}, []string{"thresholds: ask for nothing, and have no effect without identities"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := sigstore.New(tc.trust, nil, nil)
			if len(tc.want) == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			for _, line := range tc.want {
				if !strings.Contains(err.Error(), line) {
					t.Errorf("%q does not tell %q", err, line)
				}
			}
			if lines := strings.Count(err.Error(), "\n") + 1; lines != len(tc.want) && tc.name != "too many keys" {
				t.Errorf("%d lines, want %d:\n%v", lines, len(tc.want), err)
			}
		})
	}
}

// TestReloaded: what was read is watched, so that a new key is a new configuration.
func TestReloaded(t *testing.T) {
	key := writeFile(t, newKey(t, cosigntest.P256).PublicPEM())
	var set files.Set
	must[*sigstore.Verifier](t)(sigstore.New(sigstore.Trust{Keys: []sigstore.Key{{"ci", key}}}, &set, nil))
	if set.Changed() {
		t.Error("changed before the change")
	}
	if err := os.WriteFile(key, newKey(t, cosigntest.P256).PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if !set.Changed() {
		t.Error("another key in the file is no change")
	}
}

// TestRootThatProvesNoTime has a root without a timestamp authority, and asks for no log: nothing would prove a time.
func TestRootThatProvesNoTime(t *testing.T) {
	data := must[[]byte](t)(cosigntest.TrustedRoot(newSigstore(t, "one")))
	path := writeFile(t, edit(t, data, func(root map[string]any) {
		if root["timestampAuthorities"] == nil {
			t.Fatal("the trusted root has no timestamp authorities to take out")
		}
		delete(root, "timestampAuthorities")
	}))
	trust := sigstore.Trust{Identities: []sigstore.Identity{{Issuer: "https://issuer.example", Subject: "someone@example.com"}}, TrustedRoot: path}
	if _, err := sigstore.New(trust, nil, nil); err != nil {
		t.Fatalf("without a timestamp authority, and with a log: %v", err)
	}
	trust.Thresholds.TransparencyLogs = count(0)
	if _, err := sigstore.New(trust, nil, nil); err == nil || !strings.Contains(err.Error(), "a certificate of minutes needs a proven time") {
		t.Errorf("nothing proves a time: %v", err)
	}
}

func TestIsZero(t *testing.T) {
	if !(sigstore.Trust{}).IsZero() {
		t.Error("nothing is something")
	}
	for name, trust := range map[string]sigstore.Trust{
		"keys":        {Keys: make([]sigstore.Key, 1)},
		"identities":  {Identities: make([]sigstore.Identity, 1)},
		"trustedRoot": {TrustedRoot: filepath.Join("a", "b")},
		"thresholds":  {Thresholds: sigstore.Thresholds{Timestamps: count(0)}},
		"cosignTags":  {CosignTags: true},
	} {
		if trust.IsZero() {
			t.Errorf("%s is nothing", name)
		}
	}
}
