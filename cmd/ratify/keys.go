package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/internal/files"
)

// A publicKey is one of those that a configuration rests on.
type publicKey struct {
	File        string `json:"file"`
	Type        string `json:"type"`
	Fingerprint string `json:"sha256Fingerprint"` // of its PKIX form
}

// keysOf finds the public keys among the files that a configuration was made from, as certificatesOf finds certificates.
func keysOf(set *files.Set) []publicKey {
	var found []publicKey
	readAgain(set, func(path string, data []byte) {
		block, _ := pem.Decode(data)
		if block == nil || block.Type != "PUBLIC KEY" {
			return
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return
		}
		sum := sha256.Sum256(block.Bytes)
		found = append(found, publicKey{path, keyType(key), hex.EncodeToString(sum[:])})
	})
	return found
}

func keyType(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return fmt.Sprintf("%T", key)
	}
}

// A trustedRoot is a trusted_root.json file that a configuration rests on: how many there are in it of each kind.
type trustedRoot struct {
	File                   string `json:"file"`
	CertificateAuthorities int    `json:"certificateAuthorities"`
	TransparencyLogs       int    `json:"transparencyLogs"`
	CertificateLogs        int    `json:"certificateLogs"`
	TimestampAuthorities   int    `json:"timestampAuthorities"`
	// ended tells that no certificate authority in it may issue any longer.
	ended bool
}

// rootMediaType begins the media type of every version of such files.
const rootMediaType = "application/vnd.dev.sigstore.trustedroot"

// rootsOf finds the trusted roots among the files that a configuration was made from.
func rootsOf(set *files.Set, now time.Time) []trustedRoot {
	var found []trustedRoot
	readAgain(set, func(path string, data []byte) {
		var file struct {
			MediaType   string            `json:"mediaType"`
			Logs        []json.RawMessage `json:"tlogs"`
			CTLogs      []json.RawMessage `json:"ctlogs"`
			Timestamps  []json.RawMessage `json:"timestampAuthorities"`
			Authorities []struct {
				ValidFor struct {
					End time.Time `json:"end"`
				} `json:"validFor"`
			} `json:"certificateAuthorities"`
		}
		if json.Unmarshal(data, &file) != nil || !strings.HasPrefix(file.MediaType, rootMediaType) {
			return
		}
		ended := 0
		for _, authority := range file.Authorities {
			if end := authority.ValidFor.End; !end.IsZero() && !end.After(now) {
				ended++
			}
		}
		found = append(found, trustedRoot{path, len(file.Authorities), len(file.Logs), len(file.CTLogs), len(file.Timestamps),
			ended > 0 && ended == len(file.Authorities)})
	})
	return found
}

func (t *trustedRoot) warning() string {
	if !t.ended {
		return ""
	}
	return t.File + ": the time of every certificate authority in it has ended, so that no new signature by an identity verifies"
}
