package notation

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/tspclient-go"
	gocose "github.com/veraison/go-cose"

	"github.com/ratify-provider/ratify"
)

const (
	// maxChain bounds the certificates of an envelope, and of a timestamp token: public hierarchies have three or four.
	maxChain = 10
	// minRSABits is what the Notary Project's signature specification asks of a signing key at least; an issuer's key that
	// is weaker makes the same forgery.
	minRSABits = 2048
	// maxRSABits bounds the cost of a verification, which grows with its square: 8,192 bits take about a millisecond,
	// 65,536 a tenth of a second, for each of thirty checks.
	maxRSABits = 8192
	// maxTimestampBytes bounds a timestamp token: those seen have 3 to 10 KiB, with all their certificates.
	maxTimestampBytes = 64 << 10
	// maxAttributes bounds the signed headers of an envelope: the specification has seven, plugins add one or two.
	maxAttributes = 64
	// maxCOSEDepth bounds the nesting of a COSE envelope: its own structure is four deep, a header's value may have more.
	maxCOSEDepth = 16
)

// schemeHeader is the signed header that says which kind of trust store the chain has to end in.
const schemeHeader = "io.cncf.notary.signingScheme"

// An envelope is what can be seen of a signature before anything of it is verified: enough to bound what its
// verification costs, and to say afterwards why it failed. Nothing in it is evidence.
type envelope struct {
	data      []byte
	mediaType string
	chain     []*x509.Certificate
	scheme    signature.SigningScheme
	token     []byte // RFC 3161, not covered by the signature
	parsed    *tspclient.SignedToken
}

func malformed(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.SignatureInvalid, Message: "the signature is malformed: " + fmt.Sprintf(format, args...)}
}

func tooMuch(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.SignatureInvalid, Message: "the signature is refused unread: " + fmt.Sprintf(format, args...)}
}

func tooLarge(size int64) *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("the signature's envelope has %d bytes, more than %d", size, ratify.MaxEnvelopeBytes)}
}

// openEnvelope bounds an envelope of at most MaxEnvelopeBytes, in time that is linear in its size, and reads its
// certificates. It reads with the types and decoders of the library that verifies afterwards, so that both see the same.
func openEnvelope(data []byte, mediaType string) (*envelope, error) {
	if len(data) > ratify.MaxEnvelopeBytes {
		return nil, tooLarge(int64(len(data)))
	}
	e := &envelope{data: data, mediaType: mediaType}
	var raw [][]byte
	var err error
	switch mediaType {
	case jws.MediaTypeEnvelope:
		raw, err = e.openJWS()
	case cose.MediaTypeEnvelope:
		raw, err = e.openCOSE()
	default:
		return nil, &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the evidence is malformed: its layer's media type is " + ratify.Quote(mediaType)}
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(raw) == 0:
		return nil, malformed("it has no certificates")
	case len(raw) > maxChain:
		return nil, tooMuch("it has %d certificates, more than %d", len(raw), maxChain)
	case len(e.token) > maxTimestampBytes:
		return nil, tooMuch("its timestamp has %d bytes, more than %d", len(e.token), maxTimestampBytes)
	}
	for i, der := range raw {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, malformed("certificate %d: %s", i+1, ratify.Quote(err.Error()))
		}
		e.chain = append(e.chain, cert)
	}
	if err := checkKeys(e.chain); err != nil {
		return nil, err
	}
	return e, e.checkToken()
}

// openJWS reads the flattened JSON serialisation of RFC 7515 section 7.2.2.
func (e *envelope) openJWS() ([][]byte, error) {
	var outer struct {
		Payload   string `json:"payload"`
		Protected string `json:"protected"`
		Signature string `json:"signature"`
		Header    struct {
			Chain     [][]byte `json:"x5c"`
			Timestamp []byte   `json:"io.cncf.notary.timestampSignature"`
		} `json:"header"`
	}
	if err := json.Unmarshal(e.data, &outer); err != nil {
		return nil, malformed("%s", ratify.Quote(err.Error()))
	}
	// The library joins the three with dots and takes them apart again at every dot that it finds (GHSA-mh63-6h87-95cp).
	for _, part := range []string{outer.Protected, outer.Payload, outer.Signature} {
		if strings.ContainsFunc(part, notBase64URL) {
			return nil, malformed("a part is not base64url")
		}
	}
	protected, err := base64.RawURLEncoding.DecodeString(outer.Protected)
	if err != nil {
		return nil, malformed("its protected header is not base64url")
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(protected, &header); err != nil {
		return nil, malformed("its protected header: %s", ratify.Quote(err.Error()))
	}
	if len(header) > maxAttributes {
		return nil, tooMuch("it has %d protected headers, more than %d", len(header), maxAttributes)
	}
	// A wrong type here leaves the scheme empty, which trusts nothing; the library says what is wrong.
	_ = json.Unmarshal(header[schemeHeader], &e.scheme)
	e.token = outer.Header.Timestamp
	return outer.Header.Chain, nil
}

func notBase64URL(r rune) bool {
	return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// openCOSE reads COSE_Sign1 of RFC 9052 section 4.2.
func (e *envelope) openCOSE() ([][]byte, error) {
	if err := checkDepth(e.data, maxCOSEDepth); err != nil {
		return nil, err
	}
	var message gocose.Sign1Message
	if err := message.UnmarshalCBOR(e.data); err != nil {
		return nil, malformed("%s", ratify.Quote(err.Error()))
	}
	if n := len(message.Headers.Protected) + len(message.Headers.Unprotected); n > maxAttributes {
		return nil, tooMuch("it has %d headers, more than %d", n, maxAttributes)
	}
	certs, ok := message.Headers.Unprotected[gocose.HeaderLabelX5Chain].([]any)
	if !ok {
		return nil, malformed("it has no certificates")
	}
	if len(certs) > maxChain {
		return nil, tooMuch("it has %d certificates, more than %d", len(certs), maxChain)
	}
	raw := make([][]byte, len(certs))
	for i, cert := range certs {
		if raw[i], ok = cert.([]byte); !ok {
			return nil, malformed("certificate %d is not a byte string", i+1)
		}
	}
	if scheme, ok := message.Headers.Protected[schemeHeader].(string); ok {
		e.scheme = signature.SigningScheme(scheme)
	}
	e.token, _ = message.Headers.Unprotected["io.cncf.notary.timestampSignature"].([]byte)
	return raw, nil
}

func checkKeys(chain []*x509.Certificate) error {
	for i, cert := range chain {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok {
			if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
				return tooMuch("certificate %d has an RSA key of %d bits, outside %d to %d", i+1, bits, minRSABits, maxRSABits)
			}
		}
	}
	return nil
}

// checkToken bounds the certificates of the timestamp. Whether it is a token at all is left to whoever verifies it: a
// stranger can attach rubbish to a signature that needs no timestamp.
func (e *envelope) checkToken() error {
	if len(e.token) == 0 {
		return nil
	}
	token, err := tspclient.ParseSignedToken(e.token)
	if err != nil {
		return nil
	}
	e.parsed = token
	if n := max(len(token.Certificates), len(token.SignerInfos)); n > maxChain {
		return tooMuch("its timestamp has %d certificates or signatures, more than %d", n, maxChain)
	}
	return checkKeys(token.Certificates)
}

// signedToken parses the token, unless checkToken has.
func (e *envelope) signedToken() (*tspclient.SignedToken, error) {
	if e.parsed != nil {
		return e.parsed, nil
	}
	return tspclient.ParseSignedToken(e.token)
}

// checkDepth walks CBOR (RFC 8949 section 3) without decoding it and refuses what is nested deeper than max, or cut short.
// Indefinite lengths are refused with it: the library does not accept them either.
func checkDepth(data []byte, limit int) error {
	// left holds, for each open array, map or tag, how many items are still to come.
	left := make([]uint64, 0, limit)
	for len(data) > 0 {
		kind, count, rest, ok := cborHead(data)
		if !ok {
			return malformed("its CBOR is cut short, or of indefinite length")
		}
		data = rest
		switch kind {
		case 2, 3: // byte string, text string
			if count > uint64(len(data)) {
				return malformed("its CBOR is cut short, or of indefinite length")
			}
			data, count = data[count:], 0
		case 4, 5: // array, map: each item takes a byte at least, and a map has two for each entry
			if count > uint64(len(data)) {
				return malformed("its CBOR is cut short, or of indefinite length")
			}
			count *= uint64(kind - 3)
		case 6: // tag
			count = 1
		default:
			count = 0
		}
		if count > 0 {
			if len(left) == limit {
				return tooMuch("its CBOR is nested deeper than %d", limit)
			}
			left = append(left, count)
			continue
		}
		for len(left) > 0 {
			if left[len(left)-1]--; left[len(left)-1] > 0 {
				break
			}
			left = left[:len(left)-1]
		}
	}
	if len(left) > 0 {
		return malformed("its CBOR is cut short, or of indefinite length")
	}
	return nil
}

// cborHead reads the major type and the argument of the next item.
func cborHead(data []byte) (kind byte, argument uint64, rest []byte, ok bool) {
	kind, info := data[0]>>5, data[0]&0x1f
	data = data[1:]
	if info < 24 {
		return kind, uint64(info), data, true
	}
	size := 1 << (info - 24)
	if info > 27 || len(data) < size {
		return 0, 0, nil, false
	}
	for _, b := range data[:size] {
		argument = argument<<8 | uint64(b)
	}
	return kind, argument, data[size:], true
}
