package sigstore_test

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

const provenance = "https://slsa.dev/provenance/v1"

// Who signs without a key in these tests.
const (
	workflow = "https://ci.example/acme/app/release.yml@refs/heads/main"
	issuer   = "https://token.ci.example"
)

// byKey trusts the key, and looks under tags.
func byKey(t testing.TB, key *cosigntest.Key) sigstore.Trust {
	t.Helper()
	return sigstore.Trust{CosignTags: true, Keys: []sigstore.Key{{Name: "ci", File: writeFile(t, key.PublicPEM())}}}
}

// byIdentity trusts the workflow, by the instances.
func byIdentity(t testing.TB, instances ...*cosigntest.Sigstore) sigstore.Trust {
	t.Helper()
	return sigstore.Trust{
		CosignTags:  true,
		Identities:  []sigstore.Identity{{Issuer: issuer, Subject: workflow}},
		TrustedRoot: writeFile(t, must[[]byte](t)(cosigntest.TrustedRoot(instances...))),
	}
}

func newVerifier(t testing.TB, trust sigstore.Trust) *sigstore.Verifier {
	t.Helper()
	return must[*sigstore.Verifier](t)(sigstore.New(trust, nil, nil))
}

// onlyEvidence is the piece that the artifact attaches, wherever it is found.
func onlyEvidence(t testing.TB, v *sigstore.Verifier, repo *cosigntest.Repository, a *cosigntest.Artifact) ocispec.Descriptor {
	t.Helper()
	found := []ocispec.Descriptor{a.Descriptor}
	if a.Tag != "" {
		find := v.FindSignatures
		if strings.HasSuffix(a.Tag, ".att") {
			find = v.FindAttestations
		}
		found = must[[]ocispec.Descriptor](t)(find(t.Context(), image, repo))
	}
	if len(found) != 1 || !v.Match(found[0]) {
		t.Fatalf("found %v", found)
	}
	return found[0]
}

func statementOf(t testing.TB, v *sigstore.Verifier, a *cosigntest.Artifact) (*sigstore.Statement, sigstore.Signer, error) {
	t.Helper()
	repo := newRepository(a)
	return v.Statement(t.Context(), image, onlyEvidence(t, v, repo, a), repo)
}

func signatureOf(t testing.TB, v *sigstore.Verifier, a *cosigntest.Artifact) (sigstore.Signer, error) {
	t.Helper()
	repo := newRepository(a)
	return v.Signature(t.Context(), image, onlyEvidence(t, v, repo, a), repo)
}

// refused wants an error of the code, with the words in its message, that makes an unproven refusal.
func refused(t testing.TB, err error, code ratify.Code, words ...string) {
	t.Helper()
	var problem *ratify.Error
	if !errors.As(err, &problem) || problem.Code != code {
		t.Fatalf("%v, want %s", err, code)
	}
	for _, word := range words {
		if !strings.Contains(problem.UserMessage(), word) {
			t.Errorf("message %q, want %q in it", problem.UserMessage(), word)
		}
	}
	result, rest := sigstore.Refusal(err)
	if code.Definitive() != (rest == nil) {
		t.Errorf("refusal of %v: %v", err, rest)
	}
	if rest == nil && (result.Passed || !result.Unproven || result.Code != code || result.Message != problem.UserMessage()) {
		t.Errorf("result %+v", result)
	}
}

// forms are the ways in which an attestation is kept.
var forms = map[string]func(s *cosigntest.Signed) *cosigntest.Artifact{
	"bundle": func(s *cosigntest.Signed) *cosigntest.Artifact { return cosigntest.AttachBundle(image, s.Bundle()) },
	"tag":    func(s *cosigntest.Signed) *cosigntest.Artifact { return cosigntest.Collect(image.Digest, s.Layer()) },
}

func TestStatement(t *testing.T) {
	key, instance := newKey(t, cosigntest.P256), newSigstore(t, "ours")
	predicate := map[string]any{"buildDefinition": map[string]any{"buildType": "https://ci.example/build/v1"}}
	statement := cosigntest.Statement(image.Digest, provenance, predicate)
	options := cosigntest.Options{Identity: workflow, Issuer: issuer, SourceRepository: "https://ci.example/acme/app"}
	for form, store := range forms {
		t.Run(form+"/key", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			got, signer, err := statementOf(t, v, store(must[*cosigntest.Signed](t)(key.Sign(statement))))
			if err != nil {
				t.Fatal(err)
			}
			if got.Type != "https://in-toto.io/Statement/v1" || got.PredicateType != provenance || string(got.Predicate) != string(must[[]byte](t)(json.Marshal(predicate))) {
				t.Errorf("%+v", got)
			}
			if signer.Key != "ci" || !signer.Time.IsZero() || signer.String() != `key "ci"` || fmt.Sprint(signer.Extensions()) != "map[key:ci]" {
				t.Errorf("signer %+v: %s, %v", signer, signer, signer.Extensions())
			}
		})
		t.Run(form+"/identity", func(t *testing.T) {
			v := newVerifier(t, byIdentity(t, instance))
			at := time.Now().Add(-time.Hour).Truncate(time.Second)
			options := options
			options.At = at
			_, signer, err := statementOf(t, v, store(must[*cosigntest.Signed](t)(instance.Sign(statement, options))))
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]any{"identity": workflow, "issuer": issuer, "sourceRepository": options.SourceRepository, "signedBefore": at.UTC().Format(time.RFC3339)}
			if signer.Identity != workflow || signer.Issuer != issuer || !signer.Time.Equal(at) || fmt.Sprint(signer.Extensions()) != fmt.Sprint(want) {
				t.Errorf("signer %+v: %v, want %v", signer, signer.Extensions(), want)
			}
		})
		t.Run(form+"/another image", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			foreign := cosigntest.Statement(digestOf("another image"), provenance, predicate)
			_, _, err := statementOf(t, v, store(must[*cosigntest.Signed](t)(key.Sign(foreign))))
			refused(t, err, ratify.SubjectMismatch, digestOf("another image").String(), image.Digest.String())
		})
		t.Run(form+"/stranger", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			_, _, err := statementOf(t, v, store(must[*cosigntest.Signed](t)(newKey(t, cosigntest.P256).Sign(statement))))
			refused(t, err, ratify.UntrustedSigner, `"ci"`)
		})
		t.Run(form+"/tampered", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			signed := must[*cosigntest.Signed](t)(key.Sign(statement))
			signed.Message = []byte(strings.Replace(string(signed.Message), "build/v1", "build/v2", 1))
			_, _, err := statementOf(t, v, store(signed))
			want := ratify.SignatureInvalid
			if form == "tag" {
				want = ratify.UntrustedSigner
			}
			refused(t, err, want, `"ci"`)
		})
		t.Run(form+"/a signature is no attestation", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			_, _, err := statementOf(t, v, store(must[*cosigntest.Signed](t)(key.Sign(cosigntest.SignStatement(image.Digest)))))
			if !errors.Is(err, ratify.ErrOtherKind) {
				t.Error(err)
			}
		})
		t.Run(form+"/an attestation is no signature", func(t *testing.T) {
			v := newVerifier(t, byKey(t, key))
			_, err := signatureOf(t, v, store(must[*cosigntest.Signed](t)(key.Sign(statement))))
			if !errors.Is(err, ratify.ErrOtherKind) {
				t.Error(err)
			}
		})
	}
	t.Run("a message is no attestation", func(t *testing.T) {
		v := newVerifier(t, byKey(t, key))
		_, _, err := statementOf(t, v, cosigntest.AttachBundle(image, must[*cosigntest.Signed](t)(key.SignMessage(manifest)).Bundle()))
		if !errors.Is(err, ratify.ErrOtherKind) {
			t.Error(err)
		}
	})
}

// TestStatementSubjects tells which statements are about the image.
func TestStatementSubjects(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	right := image.Digest.Encoded()
	wrong := digestOf("another image").Encoded()
	sum := sha512.Sum512(manifest)
	right512 := hex.EncodeToString(sum[:])
	many := strings.Repeat(`{"digest":{"sha256":"`+wrong+`"}},`, 1024) + `{"digest":{"sha256":"` + right + `"}}`
	for _, tc := range []struct {
		name, subjects string
		want           ratify.Code // empty: accepted
	}{
		{"by SHA-256", `{"digest":{"sha256":"` + right + `"}}`, ""},
		{"in capitals", `{"digest":{"sha256":"` + strings.ToUpper(right) + `"}}`, ""},
		{"by SHA-512 alone", `{"digest":{"sha512":"` + right512 + `"}}`, ""},
		{"the second of two", `{"digest":{"sha256":"` + wrong + `"}},{"name":"b","digest":{"sha256":"` + right + `"}}`, ""},
		{"beside a weak one", `{"digest":{"sha1":"abc","sha256":"` + right + `"}}`, ""},
		{"another", `{"digest":{"sha256":"` + wrong + `"}}`, ratify.SubjectMismatch},
		{"another by SHA-512", `{"digest":{"sha512":"` + strings.Repeat("0", 128) + `"}}`, ratify.SubjectMismatch},
		{"the name alone", `{"name":"` + right + `","digest":{"sha256":"` + wrong + `"}}`, ratify.SubjectMismatch},
		{"the right one under another algorithm", `{"digest":{"sha512":"` + right + `"}}`, ratify.SubjectMismatch},
		{"weak alone", `{"digest":{"sha1":"` + right[:40] + `","md5":"` + right[:32] + `"}}`, ratify.EvidenceInvalid},
		{"no digest", `{"name":"app"}`, ratify.EvidenceInvalid},
		{"empty digest", `{"digest":{"sha256":""}}`, ratify.EvidenceInvalid},
		{"none", ``, ratify.EvidenceInvalid},
		{"too many", many, ratify.EvidenceInvalid},
		{"too deep", `{"x":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, ratify.EvidenceInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			statement := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"` + provenance + `","predicate":{},"subject":[` + tc.subjects + `]}`
			_, _, err := statementOf(t, v, forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(statement)))))
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			refused(t, err, tc.want)
		})
	}
}

func TestMalformedStatements(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	subject := `"subject":[{"digest":{"sha256":"` + image.Digest.Encoded() + `"}}]`
	for _, tc := range []struct{ name, statement, want string }{
		{"no JSON", `hello`, "its statement is no JSON"},
		{"a list", `[]`, "expected an object, got a list"},
		{"no type", `{"predicateType":"p",` + subject + `}`, `of the type ""`},
		{"another type", `{"_type":"https://example.com/Statement/v1","predicateType":"p",` + subject + `}`, `of the type "https://example.com/Statement/v1"`},
		{"a subject that is no list", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":{}}`, "subject: expected a list, got an object"},
		{"a digest that is no text", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"digest":{"sha256":1}}]}`, "subject: [0]: digest: sha256: expected a string, got a number"},
		{"two types", `{"_type":"https://in-toto.io/Statement/v1","_type":"https://in-toto.io/Statement/v1","predicateType":"p",` + subject + `}`, "_type: it is there twice"},
		{"two predicate types", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"q","predicateType":"p",` + subject + `}`, "predicateType: it is there twice"},
		{"two predicate types, one escaped", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","predicateTyp\u0065":"q",` + subject + `}`, "predicateType: it is there twice"},
		{"two predicates", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","predicate":{},"predicate":{},` + subject + `}`, "predicate: it is there twice"},
		{"two lists of subjects", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"digest":{"sha256":"` + digestOf("another image").Encoded() + `"}}],` + subject + `}`, "subject: it is there twice"},
		{"two digests of one algorithm", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"digest":{"sha256":"` + digestOf("another image").Encoded() + `","sha256":"` + image.Digest.Encoded() + `"}}]}`, `"sha256" is there twice`},
		{"subjects in other letters", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","Subject":[],` + subject + `}`, `the name "Subject" is a field's in other letters`},
		{"a digest in other letters", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":[{"Digest":{"sha256":"` + image.Digest.Encoded() + `"}}]}`, `the name "Digest" is a field's in other letters`},
		{"no predicate type", `{"_type":"https://in-toto.io/Statement/v1",` + subject + `}`, "names no predicate type"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := statementOf(t, v, forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(tc.statement)))))
			refused(t, err, ratify.EvidenceInvalid, tc.want)
		})
	}
	t.Run("a signature, and an attestation as well", func(t *testing.T) {
		both := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"` + provenance + `","predicateType":"` + sigstore.SignPredicate + `",` + subject + `}`
		_, err := signatureOf(t, v, forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(both)))))
		refused(t, err, ratify.EvidenceInvalid, "predicateType: it is there twice")
	})
	t.Run("another payload type", func(t *testing.T) {
		signed := must[*cosigntest.Signed](t)(key.Sign([]byte(`{}`)))
		signed.PayloadType = "application/json"
		_, _, err := statementOf(t, v, forms["bundle"](signed))
		refused(t, err, ratify.EvidenceInvalid, `its payload type is "application/json"`)
	})
	t.Run("no predicate", func(t *testing.T) {
		statement := `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"p",` + subject + `}`
		got, _, err := statementOf(t, v, forms["bundle"](must[*cosigntest.Signed](t)(key.Sign([]byte(statement)))))
		if err != nil || got.Predicate != nil || got.Type != "https://in-toto.io/Statement/v0.1" {
			t.Errorf("%+v: %v", got, err)
		}
	})
}

// TestLargeDocuments: an attestation may be as large as a document, a signature may not; and only one that is larger than
// a signature is parsed at a time.
func TestLargeDocuments(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	sbom := func(bytes int) *cosigntest.Signed {
		predicate := map[string]any{"data": strings.Repeat("x", bytes)}
		return must[*cosigntest.Signed](t)(key.Sign(cosigntest.Statement(image.Digest, "https://spdx.dev/Document", predicate)))
	}
	for form, store := range forms {
		t.Run(form+"/large", func(t *testing.T) {
			got, _, err := statementOf(t, v, store(sbom(3<<20)))
			if err != nil || len(got.Predicate) < 3<<20 {
				t.Errorf("%v", err)
			}
		})
		t.Run(form+"/too large", func(t *testing.T) {
			_, _, err := statementOf(t, v, store(sbom(13<<20)))
			refused(t, err, ratify.LimitExceeded, "at most 16777216 are read")
		})
		t.Run(form+"/as a signature", func(t *testing.T) {
			_, err := signatureOf(t, v, store(sbom(3<<20)))
			refused(t, err, ratify.LimitExceeded, "at most 1048576 are read")
		})
	}
	t.Run("said to be an attestation", func(t *testing.T) {
		a := cosigntest.AttachAnnotated(image, sbom(3<<20).Bundle(), map[string]string{"dev.sigstore.bundle.predicateType": "https://spdx.dev/Document"})
		if _, err := signatureOf(t, v, a); !errors.Is(err, ratify.ErrOtherKind) {
			t.Error(err)
		}
	})
	t.Run("beside a registry that is stuck", func(t *testing.T) {
		a := forms["bundle"](sbom(3 << 20))
		repo, reading := newRepository(a), make(chan struct{})
		var bundle string
		for sum := range a.Blobs {
			if len(a.Blobs[sum]) > 1<<20 {
				bundle = sum.String()
			}
		}
		release := make(chan struct{})
		repo.Before = func(what string) error {
			if what == bundle {
				close(reading)
				<-release
			}
			return nil
		}
		done := make(chan error)
		go func() {
			_, _, err := v.Statement(context.WithoutCancel(t.Context()), image, a.Descriptor, repo)
			done <- err
		}()
		<-reading
		if _, _, err := statementOf(t, v, a); err != nil {
			t.Errorf("the second: %v", err)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSignatureOfAnUnknownStatement: what a later version of the statement means is not known.
func TestSignatureOfAnUnknownStatement(t *testing.T) {
	key := newKey(t, cosigntest.P256)
	v := newVerifier(t, byKey(t, key))
	for version, want := range map[string]ratify.Code{"v0.1": "", "v1": "", "v2": ratify.EvidenceInvalid, "v1.1": ratify.EvidenceInvalid} {
		statement := strings.Replace(string(cosigntest.SignStatement(image.Digest)), "Statement/v1", "Statement/"+version, 1)
		attached := cosigntest.AttachBundle(image, must[*cosigntest.Signed](t)(key.Sign([]byte(statement))).Bundle())
		_, err := v.Signature(t.Context(), image, attached.Descriptor, newRepository(attached))
		if want == "" && err != nil || want != "" && (err == nil || ratify.AsError(err).Code != want) {
			t.Errorf("%s: %v, want %q", version, err, want)
		}
	}
}
