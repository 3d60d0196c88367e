package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/internal/files"
)

// A certificate is one of those that a configuration rests on.
type certificate struct {
	File        string    `json:"file"`
	Subject     string    `json:"subject"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
	Fingerprint string    `json:"sha256Fingerprint"`
}

// warning says what is wrong, or soon will be, with the certificate's time.
func (c *certificate) warning(now time.Time) string {
	which := fmt.Sprintf("%s: certificate %s", c.File, plain(c.Subject))
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		return fmt.Sprintf("%s expired on %s", which, c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("%s is not valid before %s", which, c.NotBefore.Format(time.DateOnly))
	case left < expiryNotice:
		return fmt.Sprintf("%s expires in %s, on %s", which, days(left), c.NotAfter.Format(time.DateOnly))
	default:
		return ""
	}
}

func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 0 {
		return plural(n, "day")
	}
	return "less than a day"
}

// certificatesOf finds the certificates among the files that a configuration was made from: trust stores and the CAs
// of registries alike, whoever read them. They have been read and accepted by their modules before, so what is no
// certificate is another kind of file.
func certificatesOf(set *files.Set) []certificate {
	var found []certificate
	readAgain(set, func(path string, data []byte) {
		for _, c := range parseCertificates(data) {
			sum := sha256.Sum256(c.Raw)
			found = append(found, certificate{path, c.Subject.String(), c.NotBefore, c.NotAfter, hex.EncodeToString(sum[:])})
		}
	})
	return found
}

// readAgain reads the files that a configuration was made from, in the order of their names.
func readAgain(set *files.Set, each func(path string, data []byte)) {
	paths := set.Paths()
	slices.Sort(paths)
	var reader files.Set // not set: it must remember what the configuration was made from, not what is there now
	for _, path := range paths {
		if strings.HasSuffix(path, string(os.PathSeparator)) {
			continue
		}
		if data, err := reader.Read(path); err == nil {
			each(path, data)
		}
	}
}

// parseCertificates reads PEM or DER.
func parseCertificates(data []byte) []*x509.Certificate {
	if certs, err := x509.ParseCertificates(data); err == nil {
		return certs
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, c)
		}
	}
	return certs
}
