package notationtest_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

var target = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("image"), Size: 5}

func TestSignaturesSatisfyTheLibrary(t *testing.T) {
	tsa, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []notationtest.KeyType{notationtest.P256, notationtest.P384, notationtest.RSA2048, notationtest.RSA3072} {
		authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Key: key, Intermediates: 1})
		if err != nil {
			t.Fatal(err)
		}
		signer, err := authority.Issue(notationtest.LeafOptions{Key: key})
		if err != nil {
			t.Fatal(err)
		}
		for _, mediaType := range []string{notationtest.JWS, notationtest.COSE} {
			for name, options := range map[string]notationtest.SignOptions{
				"plain":     {MediaType: mediaType, Expiry: time.Hour, UserMetadata: map[string]string{"a": "b"}},
				"timestamp": {MediaType: mediaType, Timestamp: tsa},
				"authority": {MediaType: mediaType, SigningAuthority: true, SigningTime: time.Now().Add(-time.Minute)},
			} {
				t.Run(string(key)+" "+mediaType+" "+name, func(t *testing.T) {
					data, err := signer.Sign(t.Context(), target, options)
					if err != nil {
						t.Fatal(err)
					}
					content, err := verify(data, mediaType)
					if err != nil {
						t.Fatal(err)
					}
					if got := len(content.SignerInfo.CertificateChain); got != 3 {
						t.Errorf("chain of %d certificates, want 3", got)
					}
					tampered, err := notationtest.Tamper(data, mediaType)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := verify(tampered, mediaType); err == nil {
						t.Error("the tampered signature verifies")
					}
				})
			}
		}
	}
}

func verify(data []byte, mediaType string) (*signature.EnvelopeContent, error) {
	envelope, err := signature.ParseEnvelope(mediaType, data)
	if err != nil {
		return nil, err
	}
	return envelope.Verify()
}

func TestTimestampAuthorityOverHTTP(t *testing.T) {
	at := time.Now().Add(-48 * time.Hour).Truncate(time.Second)
	tsa, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(tsa)
	defer server.Close()
	client, err := tspclient.NewHTTPTimestamper(server.Client(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	request, err := tspclient.NewRequest(tspclient.RequestOptions{Content: []byte("message"), HashAlgorithm: crypto.SHA384})
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Timestamp(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	token, err := response.SignedToken()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(tsa.Authority.Root())
	if _, err := token.Verify(t.Context(), x509.VerifyOptions{Roots: roots}); err != nil {
		t.Fatal(err)
	}
	info, err := token.Info()
	if err != nil {
		t.Fatal(err)
	}
	if !info.GenTime.Equal(at) {
		t.Errorf("stamped %s, want %s", info.GenTime, at)
	}
}

func TestTimestampAuthorityRefusesRubbish(t *testing.T) {
	tsa, err := notationtest.NewTimestampAuthority(notationtest.TimestampOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(tsa)
	defer server.Close()
	for name, size := range map[string]int{"rubbish": 10, "too large": 1 << 20} {
		response, err := http.Post(server.URL, tspclient.MediaTypeTimestampQuery, bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, response.StatusCode)
		}
	}
}

func TestResponderSatisfiesTheLibrary(t *testing.T) {
	for _, source := range []string{"ocsp", "crl"} {
		for state, want := range map[notationtest.State]result.Result{
			notationtest.Good:    result.ResultOK,
			notationtest.Revoked: result.ResultRevoked,
			notationtest.Stale:   result.ResultUnknown,
			notationtest.Garbage: result.ResultUnknown,
			notationtest.Forged:  result.ResultUnknown,
			notationtest.Down:    result.ResultUnknown,
		} {
			t.Run(source+" "+string(state), func(t *testing.T) {
				responder := notationtest.NewResponder()
				server := httptest.NewServer(responder)
				defer server.Close()
				options := notationtest.AuthorityOptions{Intermediates: 1}
				if source == "ocsp" {
					options.OCSPURL = server.URL + "/ocsp"
				} else {
					options.CRLURL = server.URL + "/crl"
				}
				authority, err := notationtest.NewAuthority(options)
				if err != nil {
					t.Fatal(err)
				}
				responder.Add(authority)
				signer, err := authority.Issue(notationtest.LeafOptions{})
				if err != nil {
					t.Fatal(err)
				}
				responder.Set(state)
				validator, err := revocation.NewWithOptions(revocation.Options{})
				if err != nil {
					t.Fatal(err)
				}
				results, err := validator.ValidateContext(t.Context(), revocation.ValidateContextOptions{CertChain: signer.Chain})
				if err != nil {
					t.Fatal(err)
				}
				for i := range 2 {
					if results[i].Result != want {
						t.Errorf("certificate %d: %s, want %s: %v", i, results[i].Result, want, results[i].ServerResults[0].Error)
					}
				}
				if responder.Requests() == 0 {
					t.Error("no request was counted")
				}
			})
		}
	}
}

func TestResponderRevokesOne(t *testing.T) {
	responder := notationtest.NewResponder()
	server := httptest.NewServer(responder)
	defer server.Close()
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{CRLURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	responder.Add(authority)
	signer, err := authority.Issue(notationtest.LeafOptions{})
	if err != nil {
		t.Fatal(err)
	}
	responder.Revoke(signer.Chain[0])
	response, err := http.Get(signer.Chain[0].CRLDistributionPoints[0])
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(authority.Root()); err != nil {
		t.Error(err)
	}
	if len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("%d entries, want 1", len(list.RevokedCertificateEntries))
	}
}

func TestAttach(t *testing.T) {
	artifact, err := notationtest.Attach(target, []byte("envelope"), notationtest.COSE)
	if err != nil {
		t.Fatal(err)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(artifact.Manifest, &manifest); err != nil {
		t.Fatal(err)
	}
	switch {
	case manifest.Subject == nil || manifest.Subject.Digest != target.Digest:
		t.Errorf("subject %v", manifest.Subject)
	case manifest.ArtifactType != notationtest.ArtifactType || manifest.Config.MediaType != notationtest.ArtifactType:
		t.Errorf("artifact type %q, config %q", manifest.ArtifactType, manifest.Config.MediaType)
	case len(manifest.Layers) != 1 || manifest.Layers[0].Digest != digest.FromString("envelope"):
		t.Errorf("layers %v", manifest.Layers)
	case artifact.ManifestDescriptor.Digest != digest.FromBytes(artifact.Manifest):
		t.Error("the manifest's descriptor is not of its bytes")
	}
}
