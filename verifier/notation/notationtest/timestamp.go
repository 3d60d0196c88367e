package notationtest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"io"
	"math/big"
	"net/http"
	"time"

	"github.com/notaryproject/tspclient-go"
	"github.com/notaryproject/tspclient-go/pki"
)

// TimestampOptions describe a timestamp authority. The zero value is right now's time, by an authority that lives ten years.
type TimestampOptions struct {
	// Authority issues the responder's certificate; nil makes one.
	Authority *Authority
	// Leaf describes the responder's certificate; its usage is Timestamping unless it says otherwise.
	Leaf LeafOptions
	// Now is the time that is stamped; nil is the real one.
	Now func() time.Time
}

// A TimestampAuthority answers RFC 3161 requests, in process and over HTTP.
type TimestampAuthority struct {
	Authority *Authority
	signer    *Signer
	now       func() time.Time
}

// NewTimestampAuthority makes a timestamp authority with a key of its own.
func NewTimestampAuthority(options TimestampOptions) (*TimestampAuthority, error) {
	if options.Authority == nil {
		var err error
		past := time.Now().Add(-3650 * day)
		if options.Authority, err = NewAuthority(AuthorityOptions{Name: "Example Time Root", NotBefore: past, NotAfter: past.Add(7300 * day)}); err != nil {
			return nil, err
		}
	}
	if options.Leaf.CommonName == "" {
		options.Leaf.CommonName = "Example Time"
	}
	if options.Leaf.Usage == "" {
		options.Leaf.Usage = Timestamping
	}
	if options.Leaf.NotBefore.IsZero() {
		options.Leaf.NotBefore, options.Leaf.NotAfter = options.Authority.Root().NotBefore, options.Authority.Root().NotAfter
	}
	// One algorithm is enough for a responder: ECDSA with SHA-256.
	options.Leaf.Key = P256
	if options.Now == nil {
		options.Now = time.Now
	}
	signer, err := options.Authority.Issue(options.Leaf)
	if err != nil {
		return nil, err
	}
	return &TimestampAuthority{Authority: options.Authority, signer: signer, now: options.Now}, nil
}

func (a *TimestampAuthority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Authority.Root())
	return pool
}

// maxQueryBytes bounds a request: a hash, a policy and a nonce take about 100 bytes.
const maxQueryBytes = 4 << 10

// ServeHTTP answers as RFC 3161 section 3.4 describes.
func (a *TimestampAuthority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQueryBytes))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var request tspclient.Request
	if err := request.UnmarshalBinary(body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, err := a.Timestamp(r.Context(), &request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	data, err := response.MarshalBinary()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", tspclient.MediaTypeTimestampReply)
	_, _ = w.Write(data)
}

// Timestamp answers one request; it implements tspclient.Timestamper.
func (a *TimestampAuthority) Timestamp(_ context.Context, request *tspclient.Request) (*tspclient.Response, error) {
	token, err := a.token(request)
	if err != nil {
		return nil, err
	}
	return &tspclient.Response{Status: pki.StatusInfo{Status: pki.StatusGranted}, TimestampToken: asn1.RawValue{FullBytes: token}}, nil
}

// Token stamps a message: for a signature that it does not belong to.
func (a *TimestampAuthority) Token(message []byte) ([]byte, error) {
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: message, HashAlgorithm: crypto.SHA256})
	if err != nil {
		return nil, err
	}
	return a.token(request)
}

// The structures of RFC 5652 section 5 and RFC 5035 section 3, as far as a timestamp needs them.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Encapsulated     encapsulated
		Certificates     asn1.RawValue
		SignerInfos      []signerInfo `asn1:"set"`
	}
	encapsulated struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"explicit,tag:0"`
	}
	signerInfo struct {
		Version            int
		Signer             issuerAndSerial
		DigestAlgorithm    pkix.AlgorithmIdentifier
		Attributes         []attribute `asn1:"set,tag:0"`
		SignatureAlgorithm pkix.AlgorithmIdentifier
		Signature          []byte
	}
	issuerAndSerial struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	attribute struct {
		Type   asn1.ObjectIdentifier
		Values []any `asn1:"set"`
	}
	signingCertificate struct {
		Certificates []certificateID
	}
	certificateID struct{ Hash []byte }
)

var (
	oidSHA256          = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSAWithSHA256 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidSignedData      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo         = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	// oidPolicy is the baseline policy of RFC 3628 section 5.2, whose accuracy is a second.
	oidPolicy = asn1.ObjectIdentifier{0, 4, 0, 2023, 1, 1}
)

func (a *TimestampAuthority) token(request *tspclient.Request) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	info, err := asn1.Marshal(tspclient.TSTInfo{
		Version:        1,
		Policy:         oidPolicy,
		MessageImprint: request.MessageImprint,
		SerialNumber:   serial,
		GenTime:        a.now().UTC().Truncate(time.Second),
		Nonce:          request.Nonce,
	})
	if err != nil {
		return nil, err
	}
	digest, leaf := sha256.Sum256(info), a.signer.Chain[0]
	certHash := sha256.Sum256(leaf.Raw)
	attributes := []attribute{
		{oidContentType, []any{oidTSTInfo}},
		{oidMessageDigest, []any{digest[:]}},
		{oidSigningCert, []any{signingCertificate{[]certificateID{{certHash[:]}}}}},
	}
	signed, err := asn1.MarshalWithParams(attributes, "set")
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(signed)
	sig, err := a.signer.Key.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var certs []byte
	if request.CertReq {
		for _, cert := range a.signer.Chain {
			certs = append(certs, cert.Raw...)
		}
	}
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	return asn1.Marshal(contentInfo{oidSignedData, signedData{
		Version:          3,
		DigestAlgorithms: []pkix.AlgorithmIdentifier{sha},
		Encapsulated:     encapsulated{oidTSTInfo, info},
		Certificates:     asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: certs},
		SignerInfos: []signerInfo{{
			Version:            1,
			Signer:             issuerAndSerial{asn1.RawValue{FullBytes: leaf.RawIssuer}, leaf.SerialNumber},
			DigestAlgorithm:    sha,
			Attributes:         attributes,
			SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSAWithSHA256},
			Signature:          sig,
		}},
	}})
}
