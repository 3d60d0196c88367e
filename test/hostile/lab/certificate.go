package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// A Certificate is which certificate a host shows, and under which version of TLS. The zero value is a good one.
type Certificate string

// The certificates.
const (
	// Good is of the lab's CA, for the host's names.
	Good Certificate = ""
	// Expired is Good but ended an hour ago.
	Expired Certificate = "expired"
	// Foreign is for the host's names, of a CA that nobody trusts.
	Foreign Certificate = "foreign"
	// WrongName is of the lab's CA, for another name.
	WrongName Certificate = "wrong name"
	// OldTLS is Good, over TLS 1.1 and nothing newer (RFC 8996 forbids it).
	OldTLS Certificate = "TLS 1.1"
)

// life is longer than any run, and short enough that a forgotten key is soon worth nothing.
const life = 24 * time.Hour

// An authority is a root that signs certificates of servers.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-life), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

// issue makes a server's certificate for names and addresses, which ends at a time.
func (a *authority) issue(hosts []string, notAfter time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "a host of the lab"}, NotBefore: time.Now().Add(-life / 2), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %q: %w", hosts, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// tlsConfigs makes what a host needs to show each certificate.
func tlsConfigs(trusted, foreign *authority, hosts []string) (map[Certificate]*tls.Config, error) {
	configs := map[Certificate]*tls.Config{}
	for _, c := range []struct {
		kind  Certificate
		by    *authority
		hosts []string
		ends  time.Time
	}{
		{Good, trusted, hosts, time.Now().Add(life)},
		{Expired, trusted, hosts, time.Now().Add(-time.Hour)},
		{Foreign, foreign, hosts, time.Now().Add(life)},
		{WrongName, trusted, []string{"somebody-else.example"}, time.Now().Add(life)},
	} {
		cert, err := c.by.issue(c.hosts, c.ends)
		if err != nil {
			return nil, err
		}
		configs[c.kind] = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}}
	}
	old := configs[Good].Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	configs[OldTLS] = old
	return configs, nil
}
