// Package notationtest makes what a Notary Project signature consists of, with freshly generated keys: certificate
// chains, signatures in both envelopes, timestamps, revocation answers, and the manifests that attach them to an image.
// It is for tests, the demonstration and the benchmark; nothing in it is fit for keys that somebody relies on.
// Begin at NewAuthority, Authority.Issue and Signer.Sign.
package notationtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// A KeyType is the algorithm and size of a key. The zero value is P256.
type KeyType string

// The key types that the Notary Project's specification allows, less the slowest.
const (
	P256    KeyType = "P-256"
	P384    KeyType = "P-384"
	RSA2048 KeyType = "RSA-2048"
	RSA3072 KeyType = "RSA-3072"
)

// A Usage is what a leaf certificate says it is for. The zero value is CodeSigning.
type Usage string

// CodeSigning and Timestamping are right for a signer and a timestamp authority; the others are wrong for both.
const (
	CodeSigning  Usage = "codeSigning"
	Timestamping Usage = "timeStamping"
	ServerAuth   Usage = "serverAuth"
	CertSign     Usage = "certSign"
)

// day is the unit of the default lives: leaves a year, authorities ten.
const day = 24 * time.Hour

// AuthorityOptions describe a certificate authority. The zero value is a P-256 root valid from an hour ago for ten years.
type AuthorityOptions struct {
	// Name is the common name of the root; intermediates have a number added to it.
	Name string
	Key  KeyType
	// Intermediates is how many certificates lie between the root and a leaf.
	Intermediates int
	// NotBefore and NotAfter bound the root, the others every intermediate.
	NotBefore, NotAfter                         time.Time
	IntermediateNotBefore, IntermediateNotAfter time.Time
	// OCSPURL and CRLURL are base URLs of a Responder, written into everything that the authority issues;
	// empty leaves the extension out.
	OCSPURL, CRLURL string
}

// An Authority issues certificates.
type Authority struct {
	// Chain begins with the certificate that issues leaves and ends with the root.
	Chain   []*x509.Certificate
	keys    []crypto.Signer
	options AuthorityOptions

	mu     sync.Mutex
	issued []*x509.Certificate
}

// NewAuthority makes a root and its intermediates.
func NewAuthority(options AuthorityOptions) (*Authority, error) {
	if options.Name == "" {
		options.Name = "Example Root"
	}
	a := &Authority{options: options}
	for i := range options.Intermediates + 1 {
		template := &x509.Certificate{
			Subject:               subject(options.Name),
			BasicConstraintsValid: true,
			IsCA:                  true,
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		setValidity(template, options.NotBefore, options.NotAfter, 3650*day)
		if i > 0 {
			template.Subject = subject(fmt.Sprintf("%s Intermediate %d", options.Name, i))
			setValidity(template, options.IntermediateNotBefore, options.IntermediateNotAfter, 3650*day)
		}
		key, err := newKey(options.Key)
		if err != nil {
			return nil, err
		}
		cert, err := a.issue(template, key)
		if err != nil {
			return nil, err
		}
		a.Chain = append([]*x509.Certificate{cert}, a.Chain...)
		a.keys = append([]crypto.Signer{key}, a.keys...)
	}
	return a, nil
}

// Root returns the root certificate.
func (a *Authority) Root() *x509.Certificate { return a.Chain[len(a.Chain)-1] }

// PEM returns the root certificate as a trust store file holds it.
func (a *Authority) PEM() []byte { return PEM(a.Root()) }

// PEM encodes certificates as a trust store file holds them.
func PEM(certs ...*x509.Certificate) []byte {
	var data []byte
	for _, cert := range certs {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return data
}

// LeafOptions describe a leaf certificate. The zero value is a P-256 certificate that may sign code from an hour ago for a year.
type LeafOptions struct {
	// Subject is the whole name; if it is empty, CN=CommonName,O=Example,ST=WA,C=US.
	Subject    pkix.Name
	CommonName string
	Key        KeyType
	NotBefore  time.Time
	NotAfter   time.Time
	Usage      Usage
}

// Issue makes a leaf certificate with a new key.
func (a *Authority) Issue(options LeafOptions) (*Signer, error) {
	key, err := newKey(options.Key)
	if err != nil {
		return nil, err
	}
	template := leafTemplate(options)
	cert, err := a.issue(template, key)
	if err != nil {
		return nil, err
	}
	return newSigner(key, append([]*x509.Certificate{cert}, a.Chain...))
}

// NewSelfSigned makes a signer whose only certificate is signed by its own key.
func NewSelfSigned(options LeafOptions) (*Signer, error) {
	key, err := newKey(options.Key)
	if err != nil {
		return nil, err
	}
	cert, err := (&Authority{}).issue(leafTemplate(options), key)
	if err != nil {
		return nil, err
	}
	return newSigner(key, []*x509.Certificate{cert})
}

func leafTemplate(options LeafOptions) *x509.Certificate {
	template := &x509.Certificate{Subject: options.Subject, KeyUsage: x509.KeyUsageDigitalSignature}
	if template.Subject.String() == "" {
		if options.CommonName == "" {
			options.CommonName = "Example Signer"
		}
		template.Subject = subject(options.CommonName)
	}
	setValidity(template, options.NotBefore, options.NotAfter, 365*day)
	switch options.Usage {
	case Timestamping:
		// RFC 3161 section 2.3 wants the extension critical, which the template's own field does not do.
		template.ExtraExtensions = []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: timestampingUsage}}
	case ServerAuth:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	case CertSign:
		template.KeyUsage = x509.KeyUsageCertSign
	default:
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	return template
}

// issue signs the template with the authority's lowest key, or with the key itself where there is none yet.
func (a *Authority) issue(template *x509.Certificate, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	parent, parentKey := template, key
	if len(a.Chain) > 0 {
		parent, parentKey = a.Chain[0], a.keys[0]
		// One list per issuer: a list says nothing of certificates that another authority issued.
		if a.options.OCSPURL != "" {
			template.OCSPServer = []string{a.options.OCSPURL}
		}
		if a.options.CRLURL != "" {
			template.CRLDistributionPoints = []string{crlURL(a.options.CRLURL, parent)}
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("issue certificate %q: %w", template.Subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued = append(a.issued, cert)
	return cert, nil
}

func crlURL(base string, issuer *x509.Certificate) string {
	return strings.TrimSuffix(base, "/") + "/" + issuer.SerialNumber.Text(16) + ".crl"
}

func subject(commonName string) pkix.Name {
	return pkix.Name{CommonName: commonName, Organization: []string{"Example"}, Province: []string{"WA"}, Country: []string{"US"}}
}

func setValidity(template *x509.Certificate, notBefore, notAfter time.Time, life time.Duration) {
	if notBefore.IsZero() {
		notBefore = time.Now().Add(-time.Hour)
	}
	if notAfter.IsZero() {
		notAfter = notBefore.Add(life)
	}
	template.NotBefore, template.NotAfter = notBefore, notAfter
}

func newKey(keyType KeyType) (crypto.Signer, error) {
	switch keyType {
	case "", P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("make key: unknown type %q", keyType)
}

var (
	oidExtKeyUsage = asn1.ObjectIdentifier{2, 5, 29, 37}
	// timestampingUsage is the DER of the sequence that holds id-kp-timeStamping, 1.3.6.1.5.5.7.3.8, alone.
	timestampingUsage = []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}
)
