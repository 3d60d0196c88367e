package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// clientName is the name that Gatekeeper's certificate has, and that the provider asks for unless told otherwise.
const clientName = "gatekeeper-webhook-service.gatekeeper-system.svc"

// A PKI is the certificates of the way between Gatekeeper and a provider: P-256 all of them.
type PKI struct {
	// CertDir holds the servers' tls.crt and tls.key, for 127.0.0.1.
	CertDir string
	// ServerCAFile is the root of that certificate, ClientCAFile that of the client's.
	ServerCAFile, ClientCAFile string
	client                     *tls.Config
}

// NewPKI makes the certificates in a directory, which it makes too.
func NewPKI(dir string) (*PKI, error) {
	p := &PKI{CertDir: filepath.Join(dir, "provider"), ServerCAFile: filepath.Join(dir, "provider-ca.crt"), ClientCAFile: filepath.Join(dir, "client-ca.crt")}
	if err := os.MkdirAll(p.CertDir, 0o750); err != nil {
		return nil, err
	}
	serverCA, err := newCA("provider-ca")
	if err != nil {
		return nil, err
	}
	server, err := serverCA.issue("ratify.gatekeeper-system", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return nil, err
	}
	clientCA, err := newCA("client-ca")
	if err != nil {
		return nil, err
	}
	client, err := clientCA.issue(clientName, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	if p.client, err = clientConfig(client, serverCA.cert); err != nil {
		return nil, err
	}
	return p, errors.Join(
		os.WriteFile(filepath.Join(p.CertDir, "tls.crt"), server.cert, 0o600),
		os.WriteFile(filepath.Join(p.CertDir, "tls.key"), server.key, 0o600),
		os.WriteFile(p.ServerCAFile, serverCA.cert, 0o600),
		os.WriteFile(p.ClientCAFile, clientCA.cert, 0o600),
	)
}

// Client is Gatekeeper's side of a connection to a server with these certificates: TLS 1.3, its own certificate.
func (p *PKI) Client() *tls.Config { return p.client.Clone() }

func clientConfig(client *certified, rootPEM []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(client.cert, client.key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(rootPEM) {
		return nil, errors.New("read the server's root: there is no certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{pair}}, nil
}

// registryPair is a certificate for a registry on 127.0.0.1, and the root of it in PEM.
func registryPair() (tls.Certificate, []byte, error) {
	ca, err := newCA("registry-ca")
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	server, err := ca.issue("registry", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair, err := tls.X509KeyPair(server.cert, server.key)
	return pair, ca.cert, err
}

// A certified is a certificate and its key: in PEM, and as something to issue others with.
type certified struct {
	cert, key []byte
	parsed    *x509.Certificate
	private   *ecdsa.PrivateKey
}

// lifetime is longer than any run, and short enough that a forgotten key is soon worth nothing.
const lifetime = 24 * time.Hour

func newCA(name string) (*certified, error) {
	return certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
}

// issue makes a certificate for a name, for 127.0.0.1 and for localhost.
func (ca *certified) issue(name string, usage x509.ExtKeyUsage) (*certified, error) {
	return certify(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		DNSNames: []string{name, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca)
}

// certify makes a key and its certificate, signed by the parent, or by the key itself where there is none.
func certify(template *x509.Certificate, parent *certified) (*certified, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(lifetime)
	issuer, issuerKey := template, key
	if parent != nil {
		issuer, issuerKey = parent.parsed, parent.private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, fmt.Errorf("make certificate of %s: %w", template.Subject, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &certified{
		parsed: parsed, private: key,
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}
