package cosigntest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// A Sigstore is a certificate authority, a transparency log, a certificate transparency log and a timestamp authority,
// all in memory. It signs for whoever asks.
type Sigstore struct {
	name         string
	log          *ca.VirtualSigstore // of which the transparency log is used
	issuer       *authority
	stamper      *authority
	certificates *ecdsa.PrivateKey // the certificate transparency log's
	began        time.Time
	entries      int64
}

// lifetime is how long everything but a signer's certificate is valid, from a day ago on.
const lifetime = 10 * 365 * 24 * time.Hour

// NewSigstore makes one. The name tells several apart, and is a label of a host name.
func NewSigstore(name string) (*Sigstore, error) {
	s := &Sigstore{name: name, began: time.Now().Add(-24 * time.Hour)}
	var err error
	if s.log, err = ca.NewVirtualSigstore(); err != nil {
		return nil, err
	}
	if s.issuer, err = newAuthority(name+" certificates", s.began); err != nil {
		return nil, err
	}
	if s.stamper, err = newAuthority(name+" timestamps", s.began); err != nil {
		return nil, err
	}
	s.certificates, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return s, err
}

// An authority is a root and an intermediate that issues.
type authority struct {
	root, intermediate *x509.Certificate
	key                *ecdsa.PrivateKey
}

func newAuthority(name string, began time.Time) (*authority, error) {
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}},
			NotBefore: began, NotAfter: began.Add(lifetime),
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
		}
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	top := template(name)
	a := &authority{}
	if a.root, err = issue(top, top, rootKey.Public(), rootKey); err != nil {
		return nil, err
	}
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	a.intermediate, err = issue(template(name+" intermediate"), a.root, a.key.Public(), rootKey)
	return a, err
}

func issue(template, parent *x509.Certificate, public crypto.PublicKey, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// TrustedRoot is the trusted_root.json file of the instances together.
func TrustedRoot(instances ...*Sigstore) ([]byte, error) {
	var issuers []root.CertificateAuthority
	var stampers []root.TimestampingAuthority
	logs, certificates := map[string]*root.TransparencyLog{}, map[string]*root.TransparencyLog{}
	for _, s := range instances {
		end := s.began.Add(lifetime)
		issuers = append(issuers, &root.FulcioCertificateAuthority{
			Root: s.issuer.root, Intermediates: []*x509.Certificate{s.issuer.intermediate},
			ValidityPeriodStart: s.began, ValidityPeriodEnd: end, URI: "https://fulcio." + s.name + ".example",
		})
		stampers = append(stampers, &root.SigstoreTimestampingAuthority{
			Root: s.stamper.root, Intermediates: []*x509.Certificate{s.stamper.intermediate},
			ValidityPeriodStart: s.began, ValidityPeriodEnd: end, URI: "https://tsa." + s.name + ".example",
		})
		for _, of := range []struct {
			logs map[string]*root.TransparencyLog
			key  crypto.PublicKey
			host string
		}{{logs, s.logKey(), "rekor"}, {certificates, s.certificates.Public(), "ctlog"}} {
			id := logID(of.key)
			of.logs[hex.EncodeToString(id)] = &root.TransparencyLog{
				BaseURL: "https://" + of.host + "." + s.name + ".example", ID: id, PublicKey: of.key,
				ValidityPeriodStart: s.began, ValidityPeriodEnd: end, HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
			}
		}
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, issuers, certificates, stampers, logs)
	if err != nil {
		return nil, err
	}
	return trusted.MarshalJSON()
}

// logKey is the transparency log's public key.
func (s *Sigstore) logKey() crypto.PublicKey {
	for _, log := range s.log.RekorLogs() {
		return log.PublicKey
	}
	return nil
}

// logID is the SHA-256 of a log's public key (RFC 6962 §3.2).
func logID(key crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // it was made here
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

// Options describe a signature without a key of one's own. Identity and Issuer are needed.
type Options struct {
	Identity string // an e-mail address or a URL
	Issuer   string
	// At is when it is signed; zero is now. IssuedAt is when the certificate is issued, for ten minutes; zero is At.
	At, IssuedAt time.Time
	// NoEntry leaves out the transparency log, NoSCT the certificate transparency log.
	NoEntry, NoSCT bool
	// Stamp has the timestamp authority stamp it.
	Stamp bool
	// SourceRepository is a claim of the certificate about the build that signed.
	SourceRepository string
}

// SignMessage signs the message itself.
func (s *Sigstore) SignMessage(message []byte, o Options) (*Signed, error) {
	return s.sign(&Signed{Message: message}, message, o)
}

// Sign signs an in-toto statement in an envelope.
func (s *Sigstore) Sign(statement []byte, o Options) (*Signed, error) {
	return s.sign(&Signed{Message: statement, PayloadType: StatementType}, pae(StatementType, statement), o)
}

func (s *Sigstore) sign(signed *Signed, covered []byte, o Options) (*Signed, error) {
	if o.At.IsZero() {
		o.At = time.Now()
	}
	if o.IssuedAt.IsZero() {
		o.IssuedAt = o.At
	}
	key, err := NewKey(P256)
	if err != nil {
		return nil, err
	}
	if signed.Certificate, err = s.certify(key, o); err != nil {
		return nil, err
	}
	if signed.Signature, err = key.sign(covered); err != nil {
		return nil, err
	}
	if !o.NoEntry {
		if err := s.Log(signed, signed.CertificatePEM(), o.At); err != nil {
			return nil, err
		}
	}
	if o.Stamp {
		return signed, s.Stamp(signed, o.At)
	}
	return signed, nil
}

// Object identifiers of certificates that Fulcio issues (https://github.com/sigstore/fulcio, oid-info), and of the list of
// certificate timestamps in them (RFC 6962 §3.3).
var (
	oidIssuer           = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
	oidSourceRepository = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 12}
	oidTimestampList    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimeStamping     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	oidStampPolicy      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
)

// certify issues a certificate of ten minutes.
func (s *Sigstore) certify(key *Key, o Options) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: o.IssuedAt, NotAfter: o.IssuedAt.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if strings.Contains(o.Identity, "://") {
		address, err := url.Parse(o.Identity)
		if err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{address}
	} else {
		template.EmailAddresses = []string{o.Identity}
	}
	for _, claim := range []struct {
		oid   asn1.ObjectIdentifier
		value string
	}{{oidIssuer, o.Issuer}, {oidSourceRepository, o.SourceRepository}} {
		if claim.value == "" {
			continue
		}
		der, err := asn1.MarshalWithParams(claim.value, "utf8")
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: claim.oid, Value: der})
	}
	cert, err := issue(template, s.issuer.intermediate, key.private.Public(), s.issuer.key)
	if err != nil || o.NoSCT {
		return rawOf(cert), err
	}
	list, err := s.certificateTimestamp(cert)
	if err != nil {
		return nil, err
	}
	// The same certificate again, with what the log says of it at the end: what the log has signed is the rest.
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidTimestampList, Value: list})
	cert, err = issue(template, s.issuer.intermediate, key.private.Public(), s.issuer.key)
	return rawOf(cert), err
}

func rawOf(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	return cert.Raw
}

// certificateTimestamp is the extension with the log's signed certificate timestamp (RFC 6962 §3.2 and §3.3).
func (s *Sigstore) certificateTimestamp(cert *x509.Certificate) ([]byte, error) {
	at := binary.BigEndian.AppendUint64(nil, uint64(cert.NotBefore.UnixMilli()))
	issuerHash := sha256.Sum256(s.issuer.intermediate.RawSubjectPublicKeyInfo)
	input := append([]byte{0, 0}, at...) // v1, certificate_timestamp
	input = append(input, 0, 1)          // precert_entry
	input = append(input, issuerHash[:]...)
	tbs := cert.RawTBSCertificate
	input = append(input, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	input = append(input, tbs...)
	input = append(input, 0, 0) // no extensions
	sum := sha256.Sum256(input)
	sig, err := s.certificates.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	sct := append([]byte{0}, logID(s.certificates.Public())...)
	sct = append(sct, at...)
	sct = append(sct, 0, 0, 4, 3) // no extensions; SHA-256, ECDSA
	sct = append(binary.BigEndian.AppendUint16(sct, uint16(len(sig))), sig...)
	list := append(binary.BigEndian.AppendUint16(nil, uint16(len(sct))), sct...)
	return asn1.Marshal(append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...))
}

// An Entry is what a transparency log says of a signature.
type Entry struct {
	Kind, Version  string
	Body           []byte
	IntegratedTime int64
	Index          int64
	LogID          []byte
	Promise        []byte // the signed entry timestamp
	Proof          map[string]any
}

// Log puts the signature into the transparency log, and what the log says to the signature. verifier is the PEM of the
// certificate, or of the key (Key.PublicPEM).
func (s *Sigstore) Log(signed *Signed, verifier []byte, at time.Time) error {
	entry := Entry{Kind: "hashedrekord", Version: "0.0.1", IntegratedTime: at.Unix(), Index: s.entries, LogID: logID(s.logKey())}
	s.entries++
	sum := sha256.Sum256(signed.Message)
	hash := map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
	spec := map[string]any{
		"data":      map[string]any{"hash": hash},
		"signature": map[string]any{"content": signed.Signature, "publicKey": map[string]any{"content": verifier}},
	}
	if signed.PayloadType != "" {
		entry.Kind = "dsse"
		spec = map[string]any{
			"envelopeHash": hash, "payloadHash": hash,
			"signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(signed.Signature), "verifier": verifier}},
		}
	}
	entry.Body = mustMarshal(map[string]any{"apiVersion": entry.Version, "kind": entry.Kind, "spec": spec})
	var err error
	entry.Promise, err = s.log.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(entry.Body), IntegratedTime: entry.IntegratedTime, LogIndex: entry.Index, LogID: hex.EncodeToString(entry.LogID),
	})
	if err != nil {
		return err
	}
	proof, err := s.log.GetInclusionProof(entry.Body)
	if err != nil {
		return err
	}
	rootHash, err := hex.DecodeString(*proof.RootHash)
	if err != nil {
		return err
	}
	entry.Proof = map[string]any{
		"logIndex": *proof.LogIndex, "treeSize": *proof.TreeSize, "rootHash": rootHash, "hashes": []any{},
		"checkpoint": map[string]any{"envelope": *proof.Checkpoint},
	}
	signed.Entries = append(signed.Entries, entry)
	return nil
}

// bundle is the entry as a bundle has it.
func (e Entry) bundle() map[string]any {
	return map[string]any{
		"logIndex": e.Index, "logId": map[string]any{"keyId": e.LogID}, "kindVersion": map[string]any{"kind": e.Kind, "version": e.Version},
		"integratedTime": e.IntegratedTime, "inclusionPromise": map[string]any{"signedEntryTimestamp": e.Promise},
		"inclusionProof": e.Proof, "canonicalizedBody": e.Body,
	}
}

// annotation is the entry as cosign keeps it beside a layer.
func (e Entry) annotation() []byte {
	return mustMarshal(map[string]any{"SignedEntryTimestamp": e.Promise, "Payload": map[string]any{
		"body": e.Body, "integratedTime": e.IntegratedTime, "logIndex": e.Index, "logID": hex.EncodeToString(e.LogID),
	}})
}

// Stamp has the timestamp authority stamp the signature (RFC 3161).
func (s *Sigstore) Stamp(signed *Signed, at time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimeStamping})
	if err != nil {
		return err
	}
	leaf, err := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: s.name + " timestamps leaf"},
		NotBefore: s.began, NotAfter: s.began.Add(lifetime), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}},
	}, s.stamper.intermediate, key.Public(), s.stamper.key)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(signed.Signature)
	stamp := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: sum[:], Time: at, Policy: oidStampPolicy, AddTSACertificate: true}
	token, err := stamp.CreateResponseWithOpts(leaf, key, crypto.SHA256)
	if err != nil {
		return err
	}
	signed.Timestamps = append(signed.Timestamps, token)
	return nil
}
