package sbom_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/internal/document"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

const (
	predicateSPDX      = sbomtest.PredicateSPDX
	predicateCycloneDX = sbomtest.PredicateCycloneDX
)

// A signer is a key, and the settings that believe it.
type signer struct {
	key *cosigntest.Key
	cfg sbom.Config
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(file, key.PublicPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return signer{key, sbom.Config{Source: document.Source{Trust: sigstore.Trust{Keys: []sigstore.Key{{Name: "release", File: file}}}}}}
}

// attest attaches a bundle with a statement about about to the image.
func (s signer) attest(t testing.TB, about ocispec.Descriptor, predicateType string, predicate any) (ocispec.Descriptor, *repository) {
	t.Helper()
	signed, err := s.key.Sign(cosigntest.Statement(about.Digest, predicateType, predicate))
	if err != nil {
		t.Fatal(err)
	}
	artifact := cosigntest.AttachBundle(image, signed.Bundle())
	artifact.Blobs[artifact.Descriptor.Digest] = artifact.Manifest
	return artifact.Descriptor, &repository{content: artifact.Blobs}
}

func TestAttested(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	gpl := s.cfg
	gpl.Licenses.Disallowed = []string{"GPL-2.0-or-later"}
	spdx, cyclonedx := json.RawMessage(spdxDocument(t, alpine)), json.RawMessage(cycloneDXDocument(t, alpine))
	for _, tc := range []struct {
		name      string
		by        signer
		cfg       sbom.Config
		about     ocispec.Descriptor
		predicate string
		value     any
		code      ratify.Code
		unproven  bool
	}{
		{"SPDX", s, s.cfg, image, predicateSPDX, spdx, "", false},
		{"SPDX by version", s, s.cfg, image, predicateSPDX + "/v2.3", spdx, "", false},
		{"SPDX in a string", s, s.cfg, image, predicateSPDX, string(spdx), "", false},
		{"SPDX in cosign's own predicate", s, s.cfg, image, predicateSPDX, object{"Data": spdx, "Timestamp": "2026-03-10T11:30:00Z"}, "", false},
		{"SPDX in a string in cosign's own predicate", s, s.cfg, image, predicateSPDX, object{"Timestamp": "", "Data": string(spdx)}, "", false},
		{"CycloneDX", s, s.cfg, image, predicateCycloneDX, cyclonedx, "", false},
		{"CycloneDX by version", s, s.cfg, image, predicateCycloneDX + "/v1.5", cyclonedx, "", false},
		{"a disallowed licence", s, gpl, image, predicateSPDX, spdx, ratify.LicenseDisallowed, false},
		{"a disallowed licence in a string", s, gpl, image, predicateSPDX, string(spdx), ratify.LicenseDisallowed, false},
		{"SPDX that is no JSON", s, s.cfg, image, predicateSPDX, "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n", ratify.EvidenceInvalid, false},
		{"a string of broken JSON", s, s.cfg, image, predicateSPDX, string(spdx) + "}", ratify.EvidenceInvalid, false},
		{"a string with a name twice", s, s.cfg, image, predicateSPDX, `{"spdxVersion":"SPDX-2.3","spdxVersion":"SPDX-2.3"}`, ratify.EvidenceInvalid, false},
		{"a document that is also a wrapper", s, s.cfg, image, predicateSPDX, json.RawMessage(`{"Data":{},"spdxVersion":"SPDX-2.3"}`), ratify.EvidenceInvalid, false},
		{"nothing", s, s.cfg, image, predicateSPDX, nil, ratify.EvidenceInvalid, false},
		{"by another key", other, s.cfg, image, predicateSPDX, spdx, ratify.UntrustedSigner, true},
		{"about another image", s, s.cfg, ocispec.Descriptor{Digest: "sha256:" + "ab" + image.Digest[len("sha256:ab"):]}, predicateSPDX, spdx, ratify.SubjectMismatch, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			desc, repo := tc.by.attest(t, tc.about, tc.predicate, tc.value)
			result := verifyIn(t, tc.cfg, image, desc, repo)
			if result.Passed != (tc.code == "") || result.Code != tc.code || result.Unproven != tc.unproven {
				t.Fatalf("%+v", result)
			}
			if tc.code == "" && result.Extensions["signer"] == nil {
				t.Errorf("facts %v", result.Extensions)
			}
		})
	}
}

// TestTampered: a package is taken out of a document that was signed.
func TestTampered(t *testing.T) {
	s := newSigner(t)
	signed, err := s.key.Sign(cosigntest.Statement(image.Digest, predicateSPDX, json.RawMessage(spdxDocument(t, alpine))))
	if err != nil {
		t.Fatal(err)
	}
	signed.Message = cosigntest.Statement(image.Digest, predicateSPDX, json.RawMessage(spdxDocument(t, alpine[:1])))
	artifact := cosigntest.AttachBundle(image, signed.Bundle())
	artifact.Blobs[artifact.Descriptor.Digest] = artifact.Manifest
	result := verifyIn(t, s.cfg, image, artifact.Descriptor, &repository{content: artifact.Blobs})
	if result.Passed || !result.Unproven {
		t.Errorf("%+v", result)
	}
}

func TestOtherPredicate(t *testing.T) {
	s := newSigner(t)
	desc, repo := s.attest(t, image, "https://slsa.dev/provenance/v1", object{})
	_, err := newVerifier(t, s.cfg).Verify(t.Context(), image, desc, repo)
	if !errors.Is(err, ratify.ErrOtherKind) || !strings.Contains(err.Error(), "slsa.dev/provenance") {
		t.Errorf("error %v", err)
	}
}

// TestStrangersDocument: one that is attached as it is, where attestations are asked for, decides nothing.
func TestStrangersDocument(t *testing.T) {
	s := newSigner(t)
	desc, repo := attach(t, image, typeSPDX, spdxDocument(t, alpine))
	if result := verifyIn(t, s.cfg, image, desc, repo); result.Passed || !result.Unproven || result.Code != ratify.EvidenceUnproven {
		t.Errorf("%+v", result)
	}
}

// TestProvenTime: where a transparency log proves when an identity signed, no document is newer than that.
func TestProvenTime(t *testing.T) {
	instance, err := cosigntest.NewSigstore("private")
	if err != nil {
		t.Fatal(err)
	}
	root, err := cosigntest.TrustedRoot(instance)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "trusted_root.json")
	if err := os.WriteFile(file, root, 0o600); err != nil {
		t.Fatal(err)
	}
	const issuer, workflow = "https://issuer.example", "https://ci.example/build.yaml"
	cfg := sbom.Config{
		Source: document.Source{Trust: sigstore.Trust{Identities: []sigstore.Identity{{Issuer: issuer, Subject: workflow}}, TrustedRoot: file}},
		MaxAge: config.Duration(12 * time.Hour),
	}
	hours := func(n int) time.Time {
		return time.Now().Add(-time.Duration(n) * time.Hour).UTC().Truncate(time.Second)
	}
	for _, tc := range []struct {
		name            string
		created, signed time.Time
		undated         bool
		code            ratify.Code
		made            time.Time
	}{
		{"made, then signed", hours(2), hours(1), false, "", hours(2)},
		{"made long ago, then signed", hours(13), hours(1), false, ratify.EvidenceTooOld, hours(13)},
		{"made after it was signed", hours(1), hours(13), false, ratify.EvidenceTooOld, hours(13)},
		{"signed, and not dated", hours(1), hours(1), true, ratify.EvidenceTooOld, hours(1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			predicate := sbomtest.CycloneDX(sbomtest.About{Name: "app", Digest: image.Digest, Created: tc.created}, alpine...)
			if tc.undated {
				set("metadata.timestamp", nil)(predicate)
			}
			signed, err := instance.Sign(cosigntest.Statement(image.Digest, predicateCycloneDX, predicate), cosigntest.Options{Identity: workflow, Issuer: issuer, At: tc.signed})
			if err != nil {
				t.Fatal(err)
			}
			artifact := cosigntest.AttachBundle(image, signed.Bundle())
			artifact.Blobs[artifact.Descriptor.Digest] = artifact.Manifest
			v, err := sbom.New(cfg, sbom.Deps{})
			if err != nil {
				t.Fatal(err)
			}
			result, err := v.Verify(t.Context(), image, artifact.Descriptor, &repository{content: artifact.Blobs})
			if err != nil {
				t.Fatal(err)
			}
			expect(t, result, tc.code)
			if !result.Made.Equal(tc.made) || tc.code == "" && !result.NotAfter.Equal(tc.made.Add(12*time.Hour)) {
				t.Errorf("made %s, not after %s; want %s", result.Made, result.NotAfter, tc.made)
			}
		})
	}
}
