package notation

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	nx509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go/verifier/truststore"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/files"
)

// A TrustStore is a named set of certificates, read from files and directories. Directories may be mounted Secrets or
// ConfigMaps: symbolic links are followed, names that begin with a dot are left out.
type TrustStore struct {
	// Type is ca, signingAuthority or tsa.
	Type truststore.Type `json:"type"`
	// Name is what trust policy statements refer to, as in ca:name: letters, digits, dot, dash and underscore.
	Name string `json:"name"`
	// Files hold one certificate or more each, PEM or DER.
	Files []string `json:"files,omitempty"`
	// Directories hold such files and nothing else.
	Directories []string `json:"directories,omitempty"`
}

func (s TrustStore) key() string { return string(s.Type) + ":" + s.Name }

// anchors are the certificates of the trust stores, by type:name. They implement notation-go's X509TrustStore, whose own
// implementation reads from one fixed directory at every verification and refuses symbolic links.
type anchors map[string][]*x509.Certificate

// GetCertificates returns the certificates of one store.
func (a anchors) GetCertificates(_ context.Context, storeType truststore.Type, name string) ([]*x509.Certificate, error) {
	certs, ok := a[string(storeType)+":"+name]
	if !ok {
		return nil, truststore.TrustStoreError{Msg: fmt.Sprintf("trust store %s:%s is not configured", storeType, name)}
	}
	return certs, nil
}

// load reads the certificates of one store. Each error names the file, and the certificate's position in it.
func (s TrustStore) load(set *files.Set) (certs []*x509.Certificate, problems []error) {
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	paths := make([]string, 0, len(s.Files))
	for i, path := range s.Files {
		if path == "" {
			fail("files[%d]: empty path", i)
			continue
		}
		paths = append(paths, path)
	}
	for i, dir := range s.Directories {
		listed, err := set.List(dir)
		switch {
		case err != nil:
			fail("directories[%d]: %w", i, err)
		case len(listed) == 0:
			fail("directories[%d]: no files in %s", i, ratify.Quote(dir))
		}
		paths = append(paths, listed...)
	}
	if len(s.Files) == 0 && len(s.Directories) == 0 {
		fail("no files and no directories: a trust store needs certificates")
	}
	for _, path := range paths {
		data, err := set.Read(path)
		if err != nil {
			fail("%w", err)
			continue
		}
		read, err := parseCertificates(data)
		if err != nil {
			fail("%s: %w", path, err)
			continue
		}
		for i, cert := range read {
			if err := s.check(cert); err != nil {
				fail("%s: certificate %d, %s: %w", path, i+1, ratify.Quote(cert.Subject.String()), err)
			}
		}
		certs = append(certs, read...)
	}
	return certs, problems
}

// parseCertificates reads a PEM bundle, or certificates in DER one after the other. What is neither is an error, a
// private key beside the certificates included: it has no business in a trust store.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, fmt.Errorf("the file is empty")
	}
	block, rest := pem.Decode(data)
	if block == nil {
		certs, err := x509.ParseCertificates(data)
		if err != nil {
			return nil, fmt.Errorf("neither PEM nor DER certificates: %w", err)
		}
		return certs, nil
	}
	var certs []*x509.Certificate
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is a %s, not a certificate", len(certs)+1, ratify.Quote(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("certificate %d: the PEM is damaged", len(certs)+1)
	}
	return certs, nil
}

// check refuses a certificate that no signature could ever be verified with: a mistake that would otherwise show as an
// untrusted signer, days later.
func (s TrustStore) check(cert *x509.Certificate) error {
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
		if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fmt.Errorf("its RSA key has %d bits, outside %d to %d", bits, minRSABits, maxRSABits)
		}
	}
	if err := truststore.ValidateCertificates([]*x509.Certificate{cert}); err != nil {
		return fmt.Errorf("it is neither a CA certificate nor self-signed: the store needs the certificate of its issuer, %s", ratify.Quote(cert.Issuer.String()))
	}
	if s.Type == truststore.TypeTSA {
		if err := cert.CheckSignatureFrom(cert); err != nil || !bytes.Equal(cert.RawSubject, cert.RawIssuer) {
			return fmt.Errorf("it is not a root: a tsa store holds only self-signed CA certificates")
		}
		return nil
	}
	if !cert.IsCA {
		if err := nx509.ValidateCodeSigningCertChain([]*x509.Certificate{cert}, nil); err != nil {
			return fmt.Errorf("it cannot sign code: %w", err)
		}
		return nil
	}
	if cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("its key usage does not let it sign certificates")
	}
	return nil
}

// validName is notation-go's rule for the name of a store.
func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsFunc(name, func(r rune) bool {
		return notBase64URL(r) && r != '.'
	})
}
