package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// A pair is a certificate and its key, in PEM.
type pair struct{ cert, key []byte }

// An authority signs the certificates of one purpose.
type authority struct {
	pair
	parsed *x509.Certificate
	signer *ecdsa.PrivateKey
}

// validity is longer than any run, and short enough that a forgotten key is soon worth nothing.
const validity = 24 * time.Hour

func newAuthority(subject pkix.Name) (*authority, error) {
	template := &x509.Certificate{
		Subject: subject, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	return certify(template, nil)
}

// leaf signs a certificate for the usages; names that are IP addresses become IP SANs.
func (a *authority) leaf(subject pkix.Name, usages []x509.ExtKeyUsage, names ...string) (pair, error) {
	template := &x509.Certificate{Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usages}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	made, err := certify(template, a)
	if err != nil {
		return pair{}, err
	}
	return made.pair, nil
}

// certify makes a key and a certificate for it, signed by the parent, or by itself without one.
func certify(template *x509.Certificate, parent *authority) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key for %s: %w", template.Subject, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	// An hour back, for clocks that disagree.
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(validity)
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.parsed, parent.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", template.Subject, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", template.Subject, err)
	}
	keyPEM, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return &authority{pair: pair{cert: certPEM(der), key: keyPEM}, parsed: parsed, signer: key}, nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// The PKI of a cluster: one authority for the API server and its clients, one for Gatekeeper's webhook, and one of which nobody has a certificate:
// the components ask for an authority of front proxies, and wait for it.
type pki struct {
	cluster, gatekeeper, frontProxy        *authority
	apiServer, admin, controllerManager    pair
	scheduler, serviceAccounts, webhookTLS pair
}

// Gatekeeper's names are those of its own certificate rotation: a provider checks the certificate that Gatekeeper shows for them.
const (
	GatekeeperNamespace  = "gatekeeper-system"
	GatekeeperClientName = "gatekeeper-webhook-service." + GatekeeperNamespace + ".svc"
	// GatekeeperSecret holds ca.crt, tls.crt and tls.key of Gatekeeper's webhook, which are also its client certificate.
	GatekeeperSecret = "gatekeeper-webhook-server-cert"
)

func newPKI() (*pki, error) {
	var (
		p      = &pki{}
		server = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		client = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		err    error
	)
	if p.cluster, err = newAuthority(pkix.Name{CommonName: "cluster-ca"}); err != nil {
		return nil, err
	}
	if p.gatekeeper, err = newAuthority(pkix.Name{CommonName: "gatekeeper-ca", Organization: []string{"gatekeeper"}}); err != nil {
		return nil, err
	}
	if p.frontProxy, err = newAuthority(pkix.Name{CommonName: "front-proxy-ca"}); err != nil {
		return nil, err
	}
	serviceAccounts, err := newAuthority(pkix.Name{CommonName: "service-accounts"})
	if err != nil {
		return nil, err
	}
	p.serviceAccounts = serviceAccounts.pair
	for _, leaf := range []struct {
		out     *pair
		by      *authority
		subject pkix.Name
		usages  []x509.ExtKeyUsage
		names   []string
	}{
		{&p.apiServer, p.cluster, pkix.Name{CommonName: "kube-apiserver"}, server,
			[]string{"127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}},
		{&p.admin, p.cluster, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}, client, nil},
		{&p.controllerManager, p.cluster, pkix.Name{CommonName: "system:kube-controller-manager"}, client, nil},
		{&p.scheduler, p.cluster, pkix.Name{CommonName: "system:kube-scheduler"}, client, nil},
		{&p.webhookTLS, p.gatekeeper, pkix.Name{CommonName: GatekeeperClientName}, append(server, client...),
			[]string{GatekeeperClientName, "127.0.0.1"}},
	} {
		if *leaf.out, err = leaf.by.leaf(leaf.subject, leaf.usages, leaf.names...); err != nil {
			return nil, err
		}
	}
	return p, nil
}
