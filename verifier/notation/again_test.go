package notation_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	gocose "github.com/veraison/go-cose"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A comparison verifies the same envelopes under the same settings with nothing remembered, with their chain remembered,
// and with themselves remembered, if they passed.
type comparison struct {
	whole, again *notation.Verifier
	work         []notation.Work // of again, in order
}

// compare makes a comparison that remembers what the envelopes are of.
func compare(t testing.TB, s settings, remembered ...signed) *comparison {
	t.Helper()
	c := &comparison{}
	s.forgetful = true
	c.whole = s.verifier(t)
	s.forgetful, s.observe = false, func(w notation.Work) { c.work = append(c.work, w) }
	c.again = s.verifier(t)
	for _, r := range remembered {
		c.verify(t, r.envelope, r.mediaType)
	}
	c.work = nil
	return c
}

type signed struct {
	mediaType string
	envelope  []byte
}

// verify expects the same verdict each time, and that nothing which is refused was taken for known.
func (c *comparison) verify(t testing.TB, envelope []byte, mediaType string) verdict {
	t.Helper()
	want := verifyOnce(t, c.whole, envelope, mediaType)
	before := len(c.work)
	want.expectSame(t, verify(t, c.again, envelope, mediaType))
	if clean := want.err == nil && want.Passed && want.Code == ""; !clean && slices.ContainsFunc(c.work[before:], func(w notation.Work) bool { return w != notation.VerifiedAll }) {
		t.Fatalf("%s was taken for known: %v", want.code(), c.work[before:])
	}
	return want
}

// worked expects how much was done for the two times that verify looked.
func (c *comparison) worked(t testing.TB, want ...notation.Work) {
	t.Helper()
	if !slices.Equal(c.work, want) {
		t.Errorf("work %v, want %v", c.work, want)
	}
	c.work = nil
}

func twoFormats(t testing.TB, signer *notationtest.Signer, options notationtest.SignOptions) []signed {
	t.Helper()
	list := make([]signed, len(formats))
	for i, mediaType := range formats {
		options.MediaType = mediaType
		list[i] = signed{mediaType, sign(t, signer, options)}
	}
	return list
}

// TestKnownSigner verifies a second signature of a signer, and then the same one again.
func TestKnownSigner(t *testing.T) {
	for _, key := range []notationtest.KeyType{notationtest.P256, notationtest.P384, notationtest.RSA2048, notationtest.RSA3072} {
		for _, intermediates := range []int{0, 1} {
			t.Run(fmt.Sprint(key, intermediates), func(t *testing.T) {
				authority := newAuthority(t, notationtest.AuthorityOptions{Intermediates: intermediates})
				signer := issue(t, authority, notationtest.LeafOptions{Key: key})
				c := compare(t, settings{ca: []*x509.Certificate{authority.Root()}}, twoFormats(t, signer, notationtest.SignOptions{})...)
				for _, s := range twoFormats(t, signer, notationtest.SignOptions{Expiry: time.Hour, UserMetadata: map[string]string{"built": "here"}}) {
					expect(t, c.verify(t, s.envelope, s.mediaType), ratify.Verified)
					c.worked(t, notation.VerifiedSignature, notation.VerifiedNothing)
				}
			})
		}
	}
}

// TestMutatedEnvelopes changes each byte of an envelope whose chain is known, and which is known itself.
func TestMutatedEnvelopes(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	s := settings{ca: []*x509.Certificate{authority.Root()}}
	for _, known := range twoFormats(t, signer, notationtest.SignOptions{Expiry: time.Hour}) {
		t.Run(known.mediaType, func(t *testing.T) {
			t.Parallel()
			c := compare(t, s, known)
			for i := range known.envelope {
				mutated := bytes.Clone(known.envelope)
				mutated[i] ^= 1 << (i % 7)
				c.verify(t, mutated, known.mediaType)
			}
			// Most changes are seen before any cryptography; what is left of them went this far.
			if !slices.Contains(c.work, notation.VerifiedAll) {
				t.Error("nothing was verified")
			}
		})
	}
}

// A handmade is a signature whose headers were chosen by hand, and which its key has made nevertheless.
type handmade struct {
	name    string
	headers func(headers map[string]any)
	raw     func(protected string) string // changes what the headers are written as; JWS alone
	payload string
	code    ratify.Code
	known   bool // for what it is: of a chain that is remembered
	onlyJWS bool // says the library of a header that it overlooks in COSE
}

const schemeName, timeName, expiryName, authenticName = "io.cncf.notary.signingScheme", "io.cncf.notary.signingTime", "io.cncf.notary.expiry", "io.cncf.notary.authenticSigningTime"

// handmades are what a trusted signer's key may have signed.
func handmades() []handmade {
	set := func(pairs ...any) func(map[string]any) {
		return func(headers map[string]any) {
			for i := 0; i < len(pairs); i += 2 {
				headers[pairs[i].(string)] = pairs[i+1]
			}
		}
	}
	without := func(name string) func(map[string]any) {
		return func(headers map[string]any) { delete(headers, name) }
	}
	past, future := time.Now().Add(-time.Hour).Truncate(time.Second), time.Now().Add(time.Hour).Truncate(time.Second)
	crit := func(names ...any) []any { return append([]any{schemeName}, names...) }
	const bad, good = ratify.SignatureInvalid, ratify.Verified
	return []handmade{
		{name: "plain", code: good, known: true},
		{name: "expiry", headers: set(expiryName, future, "crit", crit(expiryName)), code: good, known: true},
		{name: "expiry that is not critical", headers: set(expiryName, future), code: bad},
		{name: "expiry before the signing time", headers: set(expiryName, past.Add(-time.Hour), "crit", crit(expiryName), timeName, past), code: bad},
		{name: "expiry at the signing time", headers: set(expiryName, future, "crit", crit(expiryName), timeName, future), code: bad},
		{name: "expired", headers: set(expiryName, past, "crit", crit(expiryName), timeName, past.Add(-time.Hour)), code: ratify.SignatureExpired},
		{name: "expiry as text", headers: set(expiryName, "tomorrow", "crit", crit(expiryName)), code: bad},
		{name: "no signing time", headers: without(timeName), code: bad},
		{name: "signing time as text", headers: set(timeName, "now"), code: bad},
		{name: "signing time to come", headers: set(timeName, future), code: good, known: true},
		{name: "trusted signing time beside the other", headers: set(authenticName, past), code: bad, onlyJWS: true},
		{name: "no crit", headers: without("crit"), code: bad},
		{name: "empty crit", headers: set("crit", []any{}), code: bad},
		{name: "crit without the scheme", headers: set("crit", []any{timeName}), code: bad},
		{name: "crit of what is not there", headers: set("crit", crit("absent")), code: bad},
		{name: "critical signing time", headers: set("crit", crit(timeName)), code: bad, onlyJWS: true},
		{name: "critical attribute", headers: set("org.example.must", "x", "crit", crit("org.example.must")), code: ratify.PluginRequired},
		{name: "attribute", headers: set("org.example.may", "x"), code: good, known: true},
		{name: "plugin", headers: set("io.cncf.notary.verificationPlugin", "run", "crit", crit("io.cncf.notary.verificationPlugin")), code: ratify.PluginRequired},
		{name: "plugin that is not critical", headers: set("io.cncf.notary.verificationPlugin", "run"), code: ratify.PluginRequired},
		{name: "plugin that is a number", headers: set("io.cncf.notary.verificationPlugin", 7, "crit", crit("io.cncf.notary.verificationPlugin")), code: ratify.PluginRequired},
		{name: "version of a plugin", headers: set("io.cncf.notary.verificationPluginMinVersion", "x"), code: good, known: true},
		{name: "no scheme", headers: without(schemeName), code: bad},
		{name: "unknown scheme", headers: set(schemeName, "notary.x509.mine"), code: bad},
		{name: "empty scheme", headers: set(schemeName, ""), code: bad},
		{name: "scheme of another store", headers: func(headers map[string]any) {
			delete(headers, timeName)
			maps.Copy(headers, map[string]any{schemeName: "notary.x509.signingAuthority", authenticName: past, "crit": crit(authenticName)})
		}, code: ratify.UntrustedSigner},
		{name: "no content type", headers: without("cty"), code: bad},
		{name: "another content type", headers: set("cty", "text/plain"), code: bad},
		{name: "content type in capitals", headers: set("cty", "Application/vnd.cncf.notary.payload.v1+json"), code: bad},
		{name: "stronger hash", headers: set("alg", "PS512"), code: bad},
		{name: "weaker padding", headers: set("alg", "RS256"), code: bad},
		{name: "algorithm of another key", headers: set("alg", "ES256"), code: bad},
		{name: "no algorithm", headers: without("alg"), code: bad},
		{name: "no payload", payload: " ", code: bad},
		{name: "payload null", payload: "null", code: ratify.SubjectMismatch},
		{name: "payload of another shape", payload: `{"targetArtifact":7}`, code: bad},
		{name: "payload with more behind it", payload: target(image.Digest.String()) + "{}", code: bad},
		{name: "payload of another image", payload: target("sha256:" + strings.Repeat("0", 64)), code: ratify.SubjectMismatch},
		{name: "scheme twice, the good one last", raw: func(protected string) string { return `{"` + schemeName + `":"x",` + protected[1:] }, code: good, known: true},
		{name: "scheme twice, the good one first", raw: func(protected string) string { return protected[:len(protected)-1] + `,"` + schemeName + `":"x"}` }, code: bad},
		{name: "algorithm twice", raw: func(protected string) string { return protected[:len(protected)-1] + `,"alg":"none"}` }, code: bad},
		{name: "scheme in capitals besides", raw: func(protected string) string {
			return protected[:len(protected)-1] + `,"` + strings.ToUpper(schemeName) + `":"notary.x509.signingAuthority"}`
		}, code: bad},
		{name: "expiry in capitals alone", raw: func(protected string) string {
			return protected[:len(protected)-1] + `,"` + strings.ToUpper(expiryName) + `":"2020-01-01T00:00:00Z"}`
		}, code: bad},
		{name: "headers that end early", raw: func(protected string) string { return protected + "{}" }, code: bad},
		{name: "headers with spaces", raw: func(protected string) string { return " " + protected + " " }, code: good, known: true},
	}
}

func target(digest string) string {
	return fmt.Sprintf(`{"targetArtifact":{"mediaType":%q,"digest":%q,"size":%d}}`, image.MediaType, digest, image.Size)
}

// TestHandmadeSignatures has a trusted key sign what its owner's tool never would.
func TestHandmadeSignatures(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{Key: notationtest.RSA2048})
	makers := map[string]func(testing.TB, *notationtest.Signer, handmade) []byte{notationtest.JWS: handmadeJWS, notationtest.COSE: handmadeCOSE}
	comparisons := map[string]*comparison{}
	for _, level := range []string{"strict", "audit"} {
		s := settings{level: level, ca: []*x509.Certificate{authority.Root()}}
		comparisons[level] = compare(t, s, twoFormats(t, signer, notationtest.SignOptions{})...)
	}
	for _, h := range handmades() {
		for _, mediaType := range formats {
			if mediaType == notationtest.COSE && h.raw != nil {
				continue
			}
			if mediaType == notationtest.COSE && h.onlyJWS {
				h.code, h.known = ratify.Verified, true
			}
			t.Run(h.name+" "+mediaType, func(t *testing.T) {
				envelope := makers[mediaType](t, signer, h)
				expect(t, comparisons["strict"].verify(t, envelope, mediaType), h.code)
				if h.known {
					comparisons["strict"].worked(t, notation.VerifiedSignature, notation.VerifiedNothing)
				}
				comparisons["strict"].work = nil
				comparisons["audit"].verify(t, envelope, mediaType)
			})
		}
	}
}

// handmadeJWS signs the headers as they are, by the algorithm that they name if the key can.
func handmadeJWS(t testing.TB, signer *notationtest.Signer, h handmade) []byte {
	t.Helper()
	headers := map[string]any{"alg": "PS256", "cty": "application/vnd.cncf.notary.payload.v1+json", "crit": []any{schemeName},
		schemeName: "notary.x509", timeName: time.Now().Truncate(time.Second)}
	if h.headers != nil {
		h.headers(headers)
	}
	protected := string(must[[]byte](t)(json.Marshal(headers)))
	if h.raw != nil {
		protected = h.raw(protected)
	}
	encode := base64.RawURLEncoding.EncodeToString
	first, second := encode([]byte(protected)), encode([]byte(strings.TrimSpace(h.content())))
	signature := encode(signAs(t, signer.Key, headers["alg"], []byte(first+"."+second)))
	chain := make([][]byte, len(signer.Chain))
	for i, cert := range signer.Chain {
		chain[i] = cert.Raw
	}
	return must[[]byte](t)(json.Marshal(map[string]any{"protected": first, "payload": second, "signature": signature, "header": map[string]any{"x5c": chain}}))
}

// signAs signs by an algorithm of RSA, or by PS256 if it is none.
func signAs(t testing.TB, key crypto.Signer, algorithm any, message []byte) []byte {
	t.Helper()
	hash := crypto.SHA256
	if algorithm == "PS512" {
		hash = crypto.SHA512
	}
	sum := hash.New()
	sum.Write(message)
	var options crypto.SignerOpts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	if algorithm == "RS256" {
		options = hash
	}
	return must[[]byte](t)(key.Sign(rand.Reader, sum.Sum(nil), options))
}

func (h handmade) content() string {
	if h.payload == "" {
		return target(image.Digest.String())
	}
	return h.payload
}

// handmadeCOSE does for COSE what handmadeJWS does, with its names of headers and algorithms.
func handmadeCOSE(t testing.TB, signer *notationtest.Signer, h handmade) []byte {
	t.Helper()
	headers := map[string]any{"alg": "PS256", "cty": "application/vnd.cncf.notary.payload.v1+json", "crit": []any{schemeName},
		schemeName: "notary.x509", timeName: time.Now().Truncate(time.Second)}
	if h.headers != nil {
		h.headers(headers)
	}
	labels := map[string]any{"alg": gocose.HeaderLabelAlgorithm, "cty": gocose.HeaderLabelContentType, "crit": gocose.HeaderLabelCritical}
	algorithms := map[string]gocose.Algorithm{"PS256": gocose.AlgorithmPS256, "PS512": gocose.AlgorithmPS512, "RS256": -257, "ES256": gocose.AlgorithmES256}
	protected := map[any]any{}
	for name, value := range headers {
		label, ok := labels[name]
		if !ok {
			label = name
		}
		if name == "alg" {
			value = int64(algorithms[fmt.Sprint(value)])
		}
		protected[label] = value
	}
	chain := make([]any, len(signer.Chain))
	for i, cert := range signer.Chain {
		chain[i] = cert.Raw
	}
	encodedHeaders, payload := encodeCBOR(protected), []byte(strings.TrimSpace(h.content()))
	signature := signAs(t, signer.Key, headers["alg"], encodeCBOR([]any{"Signature1", encodedHeaders, []byte{}, payload}))
	body := encodeCBOR([]any{encodedHeaders, map[any]any{gocose.HeaderLabelX5Chain: chain}, payload, signature})
	return append([]byte{0xd2}, body...) // the tag of COSE_Sign1
}

// encodeCBOR knows what the headers here are made of. A map's entries are in no order.
func encodeCBOR(value any) []byte {
	head := func(kind byte, argument uint64) []byte {
		switch {
		case argument < 24:
			return []byte{kind<<5 | byte(argument)}
		case argument < 1<<8:
			return []byte{kind<<5 | 24, byte(argument)}
		case argument < 1<<16:
			return binary.BigEndian.AppendUint16([]byte{kind<<5 | 25}, uint16(argument))
		}
		return binary.BigEndian.AppendUint32([]byte{kind<<5 | 26}, uint32(argument))
	}
	switch v := value.(type) {
	case int:
		return encodeCBOR(int64(v))
	case int64:
		if v < 0 {
			return head(1, uint64(-1-v))
		}
		return head(0, uint64(v))
	case []byte:
		return append(head(2, uint64(len(v))), v...)
	case string:
		return append(head(3, uint64(len(v))), v...)
	case time.Time:
		return append([]byte{0xc1}, encodeCBOR(v.Unix())...) // the tag of an instant
	case []any:
		data := head(4, uint64(len(v)))
		for _, item := range v {
			data = append(data, encodeCBOR(item)...)
		}
		return data
	case map[any]any:
		data := head(5, uint64(len(v)))
		for key, item := range v {
			data = append(append(data, encodeCBOR(key)...), encodeCBOR(item)...)
		}
		return data
	}
	panic(fmt.Sprintf("no CBOR for %T", value))
}

// TestChangedChains puts other certificates beside signatures of a signer whose chain is known.
func TestChangedChains(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{Intermediates: 1})
	signer, colleague := issue(t, authority, notationtest.LeafOptions{}), issue(t, authority, notationtest.LeafOptions{CommonName: "Colleague"})
	stranger := issue(t, newAuthority(t, notationtest.AuthorityOptions{}), notationtest.LeafOptions{})
	own := must[*notationtest.Signer](t)(notationtest.NewSelfSigned(notationtest.LeafOptions{}))
	leaf, intermediate, root := signer.Chain[0].Raw, signer.Chain[1].Raw, signer.Chain[2].Raw
	c := compare(t, settings{ca: []*x509.Certificate{authority.Root()}},
		append(twoFormats(t, signer, notationtest.SignOptions{}), twoFormats(t, colleague, notationtest.SignOptions{})...)...)
	for _, s := range twoFormats(t, signer, notationtest.SignOptions{}) {
		for _, change := range []struct {
			name  string
			chain [][]byte
			code  ratify.Code
		}{
			{"none", [][]byte{leaf, intermediate, root}, ratify.Verified},
			{"turned round", [][]byte{root, intermediate, leaf}, ratify.SignatureInvalid},
			{"no intermediate", [][]byte{leaf, root}, ratify.CertificateInvalid},
			{"no root", [][]byte{leaf, intermediate}, ratify.CertificateInvalid},
			{"leaf alone", [][]byte{leaf}, ratify.CertificateInvalid},
			{"leaf twice", [][]byte{leaf, leaf, intermediate, root}, ratify.CertificateInvalid},
			{"root twice", [][]byte{leaf, intermediate, root, root}, ratify.CertificateInvalid},
			{"a stranger's root besides", [][]byte{leaf, intermediate, root, stranger.Chain[1].Raw}, ratify.CertificateInvalid},
			{"a colleague's", [][]byte{colleague.Chain[0].Raw, intermediate, root}, ratify.SignatureInvalid},
			{"a stranger's", [][]byte{stranger.Chain[0].Raw, stranger.Chain[1].Raw}, ratify.SignatureInvalid},
			{"a stranger's leaf", [][]byte{own.Chain[0].Raw, intermediate, root}, ratify.SignatureInvalid},
		} {
			t.Run(change.name+" "+s.mediaType, func(t *testing.T) {
				envelope := must[[]byte](t)(notationtest.ReplaceChain(s.envelope, s.mediaType, change.chain))
				expect(t, c.verify(t, envelope, s.mediaType), change.code)
			})
		}
	}
}

// TestHostileEnvelopesOfAKnownSigner compares what is refused elsewhere with nothing remembered.
func TestHostileEnvelopesOfAKnownSigner(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	known := twoFormats(t, signer, notationtest.SignOptions{})
	for _, level := range []string{"strict", "audit"} {
		c := compare(t, settings{level: level, ca: []*x509.Certificate{authority.Root()}}, known...)
		for _, h := range hostileEnvelopes(t, signer, known[0].envelope, known[1].envelope) {
			t.Run(level+" "+h.name+" "+h.mediaType, func(t *testing.T) { c.verify(t, h.envelope, h.mediaType) })
		}
	}
}

// TestKnownUnderEachLevel compares what is only logged, which is never remembered.
func TestKnownUnderEachLevel(t *testing.T) {
	authority := newAuthority(t, notationtest.AuthorityOptions{})
	signer := issue(t, authority, notationtest.LeafOptions{})
	good := signed{notationtest.JWS, sign(t, signer, notationtest.SignOptions{})}
	other := signed{notationtest.JWS, sign(t, issue(t, authority, notationtest.LeafOptions{CommonName: "Other"}), notationtest.SignOptions{})}
	expired := signed{notationtest.JWS, sign(t, signer, notationtest.SignOptions{SigningTime: lastMonth, Expiry: time.Hour})}
	foreign := signed{notationtest.JWS, sign(t, issue(t, newAuthority(t, notationtest.AuthorityOptions{}), notationtest.LeafOptions{}), notationtest.SignOptions{})}
	for _, level := range []string{"strict", "permissive", "audit"} {
		for _, override := range []map[trustpolicy.ValidationType]trustpolicy.ValidationAction{nil, {"revocation": "skip"}} {
			t.Run(fmt.Sprint(level, override), func(t *testing.T) {
				c := compare(t, settings{level: level, override: override, ca: []*x509.Certificate{authority.Root()},
					identities: []string{"x509.subject: CN=Example Signer,O=Example,ST=WA,C=US"}}, good)
				expect(t, c.verify(t, sign(t, signer, notationtest.SignOptions{}), notationtest.JWS), ratify.Verified)
				c.worked(t, notation.VerifiedSignature, notation.VerifiedNothing)
				for _, s := range []signed{expired, foreign, other} {
					c.verify(t, s.envelope, s.mediaType)
					c.worked(t, notation.VerifiedAll, notation.VerifiedAll)
				}
			})
		}
	}
}

// FuzzKnownEnvelope changes an envelope that is remembered, as its chain is, in as many places as the data has triples: two
// bytes say where, one how.
func FuzzKnownEnvelope(f *testing.F) {
	authority := newAuthority(f, notationtest.AuthorityOptions{})
	signer := issue(f, authority, notationtest.LeafOptions{})
	known := twoFormats(f, signer, notationtest.SignOptions{Expiry: time.Hour})
	var comparisons []*comparison
	for _, level := range []string{"strict", "audit"} {
		comparisons = append(comparisons, compare(f, settings{level: level, ca: []*x509.Certificate{authority.Root()}}, known...))
	}
	f.Add([]byte(nil))
	f.Add([]byte{0, 40, 1})
	f.Add([]byte{1, 0, 32, 1, 1, 32, 2, 7, 4})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range known {
			changed := bytes.Clone(s.envelope)
			for change := range slices.Chunk(data, 3) {
				if len(change) == 3 {
					changed[(int(change[0])<<8|int(change[1]))%len(changed)] ^= change[2]
				}
			}
			for _, c := range comparisons {
				c.verify(t, changed, s.mediaType)
				c.work = nil
			}
		}
	})
}
