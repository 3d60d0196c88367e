package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/internal/files"
)

// setOf is a set that has read the file.
func setOf(t *testing.T, path string) *files.Set {
	t.Helper()
	set := &files.Set{}
	if _, err := set.Read(path); err != nil {
		t.Fatal(err)
	}
	return set
}

func TestKeysOf(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for want, key := range map[string]crypto.PublicKey{"ECDSA P-384": ec.Public(), "RSA 2048": long.Public(), "Ed25519": edwards} {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		path := writeFile(t, "key.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		sum := sha256.Sum256(der)
		got := keysOf(setOf(t, path))
		if len(got) != 1 || got[0] != (publicKey{path, want, hex.EncodeToString(sum[:])}) {
			t.Errorf("%s: %+v", want, got)
		}
	}
	for name, text := range map[string]string{
		"a configuration": wholeConfig,
		"malformed":       "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"private":         "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"nothing":         "",
	} {
		if got := keysOf(setOf(t, writeFile(t, "key.pub", []byte(text)))); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRootsOf(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const kind = `"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"`
	past, future := `{"validFor":{"end":"2026-03-04T05:06:07Z"}}`, `{"validFor":{"end":"2026-03-04T05:06:08Z"}}`
	for name, c := range map[string]struct {
		text  string
		want  string // authorities, logs, certificate logs, timestamp authorities; empty: it is no trusted root
		warns bool
	}{
		"whole":                 {`{` + kind + `,"tlogs":[{},{}],"certificateAuthorities":[{}],"ctlogs":[{},{},{}],"timestampAuthorities":[{},{},{},{}]}`, "1 2 3 4", false},
		"one authority is left": {`{` + kind + `,"certificateAuthorities":[` + past + `,` + future + `]}`, "2 0 0 0", false},
		"none is left":          {`{` + kind + `,"certificateAuthorities":[` + past + `,` + past + `]}`, "2 0 0 0", true},
		"none is there":         {`{` + kind + `}`, "0 0 0 0", false},
		"another kind":          {`{"mediaType":"application/json","tlogs":[{}]}`, "", false},
		"no JSON":               {wholeConfig, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "root.json", []byte(c.text))
			got := rootsOf(setOf(t, path), now)
			if c.want == "" {
				if len(got) != 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if len(got) != 1 || got[0].File != path {
				t.Fatalf("%+v", got)
			}
			r := got[0]
			if counts := fmt.Sprint(r.CertificateAuthorities, r.TransparencyLogs, r.CertificateLogs, r.TimestampAuthorities); counts != c.want {
				t.Errorf("%s, want %s", counts, c.want)
			}
			if warns := r.warning() != ""; warns != c.warns {
				t.Errorf("warning %q", r.warning())
			}
		})
	}
}
