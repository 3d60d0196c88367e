package sigstore_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// largest is as large as documents may be, for what is put around it.
const largest = ratify.MaxDocumentBytes - 4096

// fill is the head, then the unit as often as fits into size bytes, then the tail.
func fill(size int, head, unit, tail string) []byte {
	return []byte(head + strings.Repeat(unit, (size-len(head)-len(tail))/len(unit)) + tail)
}

// startOfMaterial starts a bundle, up to the fields of its verification material.
const startOfMaterial = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{`

// startOfStatement starts a statement, up to its subjects.
const startOfStatement = `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","predicate":{},"subject":[`

// unsigned is a bundle of a payload that nobody signed.
func unsigned(payload []byte) []byte {
	return (&cosigntest.Signed{Message: payload, PayloadType: "application/vnd.in-toto+json", Signature: []byte("x"), Hint: "x"}).Bundle()
}

// logged is a bundle with one entry of a transparency log, of the body.
func logged(body []byte) []byte {
	return []byte(startOfMaterial + `"publicKey":{"hint":"x"},"tlogEntries":[{"logIndex":"1","logId":{"keyId":"eA=="},"kindVersion":{"kind":"dsse","version":"0.0.1"},` +
		`"integratedTime":"1","inclusionProof":{"logIndex":"1","rootHash":"eA==","treeSize":"1","checkpoint":{"envelope":"x"}},"canonicalizedBody":"` +
		base64.StdEncoding.EncodeToString(body) + `"}]},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"eA=="},"signature":"eA=="}}`)
}

// enveloped is a DSSE envelope of a payload that nobody signed.
func enveloped(payload []byte) []byte {
	return []byte(`{"payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"eA=="}],"payload":"` + base64.StdEncoding.EncodeToString(payload) + `"}`)
}

// A bomb is what a stranger may attach, who holds no key.
type bomb struct {
	name             string
	size             int
	head, unit, tail string
	within           func([]byte) []byte // what it is put into
	want             string              // in the message
}

const (
	payloadSize = largest / 4 * 3
	bodySize    = 40 << 10
)

var (
	bundleBombs = []bomb{
		{"log entries", largest, startOfMaterial + `"tlogEntries":[{}`, `,{}`, `]}}`, nil, "more than 1024 values"},
		{"log entries, spelt otherwise", largest, `{"verification_material":{"tlog_entries":[{}`, `,{}`, `]}}`, nil, "more than 1024 values"},
		{"log entries of 1 MiB", ratify.MaxEnvelopeBytes, startOfMaterial + `"tlogEntries":[{}`, `,{}`, `]}}`, nil, "more than 1024 values"},
		{"timestamps", largest, startOfMaterial + `"timestampVerificationData":{"rfc3161Timestamps":[{}`, `,{}`, `]}}}`, nil, "more than 1024 values"},
		{"certificates", largest, startOfMaterial + `"x509CertificateChain":{"certificates":[{}`, `,{}`, `]}}}`, nil, "more than 1024 values"},
		{"hashes", largest, startOfMaterial + `"tlogEntries":[{"inclusionProof":{"hashes":[""`, `,""`, `]}}]}}`, nil, "more than 1024 values"},
		{"signatures", largest, `{"dsseEnvelope":{"signatures":[{}`, `,{}`, `]}}`, nil, "more than 1024 values"},
		{"an unknown field", largest, `{"x":[0`, `,0`, `]}`, nil, "more than 1024 values"},
		{"commas", largest, `{`, `,`, `}`, nil, "more than 1024 values"},
		{"lists in lists", largest, `{"x":`, `[`, ``, nil, "deeper than 20"},
		{"objects in objects", largest, ``, `{"x":`, ``, nil, "deeper than 20"},
		{"white space", largest, `{`, ` `, `}`, nil, "beside its payload"},
		{"a long number", largest, `{"x":`, `1`, `}`, nil, "beside its payload"},
		{"a long name", largest, `{"`, `x`, `":0}`, nil, "no payload"},
		{"a long media type", largest, `{"mediaType":"`, `x`, `"}`, nil, "no payload"},
		{"a string with no end", largest, `{"mediaType":"`, `\"`, ``, nil, "no payload"},
		{"a long certificate", largest, startOfMaterial + `"certificate":{"rawBytes":"`, `AAAA`, `"}}}`, nil, "no payload"},
		{"a long log entry", largest, startOfMaterial + `"tlogEntries":[{"canonicalizedBody":"`, `AAAA`, `"}]}}`, nil, "no payload"},
		{"a payload in a list", largest, `{"dsseEnvelope":{"payload":["payload","`, `AAAA`, `"]}}`, nil, "no payload"},
		{"a payload with no end", largest, `{"dsseEnvelope":{"payload":"`, `AAAA`, ``, nil, "no JSON string"},
		{"a payload of words", largest, `{"dsseEnvelope":{"payload":"`, `a `, `"}}`, nil, "illegal base64"},
		{"a payload of lines", largest, `{"dsseEnvelope":{"payload":"`, "AAA\n", `"}}`, nil, "no JSON string"},
		{"a payload of escapes", largest, `{"dsseEnvelope":{"payload":"`, `\u0020`, `"}}`, nil, "illegal base64"},
		{"a payload of bad escapes", largest, `{"dsseEnvelope":{"payload":"`, `\x`, `"}}`, nil, "no JSON string"},
		{"a payload of nobody", largest, `{"payload":"`, `AAAA`, `"}`, nil, "unknown field"},
		{"a payload of a message", largest, `{"x":{"payload":"`, `AAAA`, `"}}`, nil, "unknown field"},
		{"two payloads", largest, `{"dsseEnvelope":{"payload":"` + strings.Repeat("A", 1<<17) + `","payload":"`, `AAAA`, `"}}`, nil, "no payload"},
		{"a log entry's values", bodySize, `{"apiVersion":"0.0.1","kind":"dsse","spec":[0`, `,0`, `]}`, logged, "more than 1024 values"},
		{"a log entry's depth", bodySize, ``, `[`, ``, logged, "deeper than 20"},
		{"subjects", payloadSize, startOfStatement + `{"digest":{"":""}}`, `,{"digest":{"":""}}`, `]}`, unsigned, "more than 1024 elements"},
		{"digests of a subject", payloadSize, startOfStatement + `{"digest":{"":""`, `,"":""`, `}}]}`, unsigned, "more than 32"},
		{"a field of a subject", payloadSize, startOfStatement + `{"x":[0`, `,0`, `]}]}`, unsigned, "no subject by SHA-256"},
		{"words", payloadSize, ``, `a `, ``, unsigned, "no JSON"},
	}
	envelopeBombs = []bomb{
		{"signatures", largest, `{"signatures":[{}`, `,{}`, `]}`, nil, "more than 1024 values"},
		{"an unknown field", largest, `{"x":[0`, `,0`, `]}`, nil, "more than 1024 values"},
		{"numbers for a payload", largest, `{"payload":[0`, `,0`, `]}`, nil, "more than 1024 values"},
		{"lists in lists", largest, `{"x":`, `[`, ``, nil, "deeper than 20"},
		{"a payload of words", largest, `{"payload":"`, `a `, `"}`, nil, "illegal base64"},
		{"subjects", payloadSize, startOfStatement + `{"digest":{"":""}}`, `,{"digest":{"":""}}`, `]}`, enveloped, "more than 1024 elements"},
	}
)

func (b bomb) build() []byte {
	data := fill(b.size, b.head, b.unit, b.tail)
	if b.within != nil {
		data = b.within(data)
	}
	return data
}

// TestBombs: what nobody who is trusted has signed is refused for what it is, which says nothing about any other evidence,
// and costs no more than four times its bytes, and no more time than going through them a few times.
func TestBombs(t *testing.T) {
	v := newVerifier(t, byKey(t, newKey(t, cosigntest.P256)))
	explode := func(t *testing.T, b bomb, a *cosigntest.Artifact, size int) {
		repo := newRepository(a)
		evidence := onlyEvidence(t, v, repo, a)
		checkCost(t, size, func() {
			_, _, err := v.Statement(t.Context(), image, evidence, repo)
			refused(t, err, ratify.EvidenceInvalid, b.want)
		})
		if a.Tag == "" && size <= ratify.MaxEnvelopeBytes {
			_, err := v.Signature(t.Context(), image, evidence, repo)
			refused(t, err, ratify.EvidenceInvalid, b.want)
		}
	}
	for _, b := range bundleBombs {
		t.Run("bundle/"+b.name, func(t *testing.T) {
			data := b.build()
			explode(t, b, cosigntest.AttachBundle(image, data), len(data))
		})
	}
	for _, b := range envelopeBombs {
		t.Run("envelope/"+b.name, func(t *testing.T) {
			layer := (&cosigntest.Signed{PayloadType: "x"}).Layer()
			layer.Data = b.build()
			layer.Descriptor.Digest, layer.Descriptor.Size = digestOf(string(layer.Data)), int64(len(layer.Data))
			explode(t, b, cosigntest.Collect(image.Digest, layer), len(layer.Data))
		})
	}
}

// checkCost runs f, which reads a piece of evidence of so many bytes. All that it allocates is at least what it holds at
// any time. Its time is compared with what the standard library takes to go through as many bytes and keep nothing; of three
// tries one must do, for others use the processor, too.
func checkCost(t *testing.T, size int, f func()) {
	t.Helper()
	text := fill(size, `["`, `x`, `"]`)
	var bytes, most uint64
	var took, longest time.Duration
	for range 3 {
		most, longest = uint64(4*size+1<<20), 50*time.Millisecond
		began := time.Now()
		if !json.Valid(text) {
			t.Fatal("not JSON")
		}
		longest += 15 * time.Since(began)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began = time.Now()
		f()
		took = time.Since(began)
		runtime.ReadMemStats(&after)
		if bytes = after.TotalAlloc - before.TotalAlloc; bytes <= most && took <= longest {
			return
		}
	}
	t.Errorf("%d bytes allocated in %s for a text of %d, at most %d in %s", bytes, took, size, most, longest)
}

// TestCostOfTheLargest: what is signed costs no more.
func TestCostOfTheLargest(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	statement := cosigntest.Statement(image.Digest, provenance, map[string]any{"data": strings.Repeat("x", largest/4*3-4096)})
	bundle := must[*cosigntest.Signed](t)(key.Sign(statement)).Bundle()
	for name, data := range map[string][]byte{
		"as tools write it": bundle,
		"in the other base64": edit(t, bundle, func(b map[string]any) {
			content := b["dsseEnvelope"].(map[string]any)
			content["payload"] = base64.RawURLEncoding.EncodeToString(statement)
		}),
		"with escapes": []byte(strings.Replace(string(bundle), `"payload":"e`, "\"payload\" :\n \"\\u0065", 1)),
	} {
		t.Run(name, func(t *testing.T) {
			a := cosigntest.AttachBundle(image, data)
			repo := newRepository(a)
			checkCost(t, len(data), func() {
				got, signer, err := v.Statement(t.Context(), image, a.Descriptor, repo)
				if err != nil || signer.Key != "ci" || len(got.Predicate) < largest/2 {
					t.Errorf("%v: %v", signer, err)
				}
			})
		})
	}
}

// TestEnded: nothing large is begun for somebody who has gone.
func TestEnded(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	for name, s := range map[string]*cosigntest.Signed{
		"large": must[*cosigntest.Signed](t)(key.Sign(cosigntest.Statement(image.Digest, provenance, strings.Repeat("x", 2<<20)))),
		"small": must[*cosigntest.Signed](t)(key.Sign(cosigntest.Statement(image.Digest, provenance, "x"))),
	} {
		t.Run(name, func(t *testing.T) {
			a := forms["bundle"](s)
			ctx, cancel := context.WithCancel(t.Context())
			repo := newRepository(a)
			repo.Before = func(what string) error {
				if what != a.Descriptor.Digest.String() {
					cancel() // while the bundle is read
				}
				return nil
			}
			if _, _, err := v.Statement(ctx, image, a.Descriptor, repo); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestStuckManifest: a statement that makes its reader ask for the image's manifest, in a registry that does not answer,
// holds up no other.
func TestStuckManifest(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	large := `"predicateType":"p","_type":"https://in-toto.io/Statement/v1","predicate":"` + strings.Repeat("x", 2<<20) + `"`
	stuck := forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(`{"subject":[{"digest":{"sha512":"x"}}],` + large + `}`))))
	good := forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(`{"subject":[{"digest":{"sha256":"` + image.Digest.Encoded() + `"}}],` + large + `}`))))
	repo, asked, release, done := newRepository(stuck), make(chan struct{}), make(chan struct{}), make(chan error)
	repo.Before = func(what string) error {
		if what == image.Digest.String() {
			close(asked)
			<-release
		}
		return nil
	}
	go func() {
		_, _, err := v.Statement(context.WithoutCancel(t.Context()), image, stuck.Descriptor, repo)
		done <- err
	}()
	<-asked
	if _, _, err := statementOf(t, v, good); err != nil {
		t.Error(err)
	}
	close(release)
	refused(t, <-done, ratify.SubjectMismatch)
}

// TestWarnings: of patterns that name nobody on either side the operator is told.
func TestWarnings(t *testing.T) {
	root := writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot(newSigstore(t, "ours"))))
	for _, tc := range []struct {
		issuer, subject string
		told            bool
	}{
		{`^https://.*$`, `^https://.*$`, true},
		{`^https://[^/]+$`, `^.*@.*$`, true},
		{`^https?://.+$`, `^spiffe://.*$`, true},
		{`^https://.*$`, `^https://ci\.example/.*$`, false},
		{`^https://token\.ci\.example$`, `^https://.*$`, false},
		{`^https://token\.ci\.example$`, `^.*@example\.com$`, false},
	} {
		trust := sigstore.Trust{TrustedRoot: root, Identities: []sigstore.Identity{
			{Issuer: issuer, Subject: workflow}, {IssuerPattern: tc.issuer, SubjectPattern: tc.subject},
		}}
		warnings := newVerifier(t, trust).Warnings()
		if !tc.told && len(warnings) > 0 || tc.told && (len(warnings) != 1 || !strings.HasPrefix(warnings[0], "identities[1]: ") || !strings.Contains(warnings[0], fmt.Sprintf("%q", tc.subject))) {
			t.Errorf("%s, %s: %q", tc.issuer, tc.subject, warnings)
		}
	}
}
