package sbom_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/sbom/sbomtest"
)

// registry is a store of one repository, in which the image has referrers.
type registry struct {
	repository
	referrers []ocispec.Descriptor
}

func (r *registry) Open(context.Context, ratify.Subject) (subject, evidence ratify.Repository, err error) {
	return r, r, nil
}

func (r *registry) Resolve(context.Context, string) (ocispec.Descriptor, error) { return image, nil }

func (r *registry) Referrers(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return r.referrers, nil
}

// TestSeveral has the engine decide about several documents of one image.
func TestSeveral(t *testing.T) {
	s, stranger := newSigner(t), newSigner(t)
	s.cfg.Packages.Disallowed = []sbom.Package{{Name: "log4j-core", Versions: "<2.17.1"}}
	type piece struct {
		by       signer
		packages []pkg
		created  time.Time
	}
	earlier, later := now.Add(-2*time.Hour), now.Add(-time.Hour)
	good, bad := alpine[:2], alpine
	for _, tc := range []struct {
		name     string
		evidence ratify.Pieces
		pieces   []piece
		code     ratify.Code
	}{
		{"none", "", nil, ratify.NoReferrers},
		{"good", "", []piece{{s, good, later}}, ratify.Verified},
		{"bad", "", []piece{{s, bad, later}}, ratify.PackageDisallowed},
		{"good and bad", "", []piece{{s, good, later}, {s, bad, earlier}}, ratify.PackageDisallowed},
		{"bad and good, and one is enough", ratify.PiecesAny, []piece{{s, bad, later}, {s, good, earlier}}, ratify.Verified},
		{"the newest is good", ratify.PiecesNewest, []piece{{s, bad, earlier}, {s, good, later}}, ratify.Verified},
		{"the newest is bad", ratify.PiecesNewest, []piece{{s, bad, later}, {s, good, earlier}}, ratify.PackageDisallowed},
		{"good, and a bad one of a stranger", "", []piece{{stranger, bad, later}, {s, good, earlier}}, ratify.Verified},
		{"a good one of a stranger", "", []piece{{stranger, good, later}}, ratify.UntrustedSigner},
		{"bad, and a good one of a stranger", "", []piece{{stranger, good, later}, {s, bad, earlier}}, ratify.PackageDisallowed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			store := &registry{repository: repository{content: map[digest.Digest][]byte{}}}
			for _, p := range tc.pieces {
				document := spdxDocument(t, p.packages, set("creationInfo.created", p.created.Format(time.RFC3339)))
				desc, repo := p.by.attest(t, image, predicateSPDX, json.RawMessage(document))
				maps.Copy(store.content, repo.content)
				store.referrers = append(store.referrers, desc)
			}
			report := decide(t, store, newVerifier(t, s.cfg), tc.evidence)
			if report.Code != tc.code || report.IsSuccess != (tc.code == ratify.Verified) {
				t.Errorf("%s: %s; want %s", report.Code, report.Message, tc.code)
			}
		})
	}
}

func decide(t *testing.T, store ratify.Store, v ratify.Verifier, pieces ratify.Pieces) *ratify.Report {
	t.Helper()
	engine, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "registry", Scopes: []string{"*"}, Store: store}},
		Verifiers: []ratify.NamedVerifier{{Name: "sbom", Type: "sbom", Verifier: v, Evidence: pieces}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"sbom"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	subject, err := ratify.ParseKey("registry.example/acme/app@" + image.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	report, err := engine.Verify(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// A verifier that wants a bill of materials of the last thirty days, in which log4j is not one of those with the hole. The
// engine has proven the document before, as signedBy says.
func ExampleVerifier_Verify() {
	verifier, err := sbom.New(sbom.Config{
		Packages: sbom.Packages{Disallowed: []sbom.Package{{Name: "log4j-core", Versions: ">=2.0 <2.17.1"}}},
		MaxAge:   config.Duration(30 * 24 * time.Hour),
	}, sbom.Deps{})
	if err != nil {
		log.Fatal(err)
	}
	document, err := sbomtest.SPDX(sbomtest.About{Name: "registry.example/acme/app", Digest: image.Digest, Created: time.Now()},
		sbomtest.Package{Name: "log4j-core", Version: "2.14.1", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"}).JSON()
	if err != nil {
		log.Fatal(err)
	}
	evidence, repo, err := attached(image, sbomtest.TypeSPDX, document)
	if err != nil {
		log.Fatal(err)
	}
	result, err := verifier.Verify(context.Background(), image, evidence, repo)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Passed, result.Code, result.Message)
	// Output: false PACKAGE_DISALLOWED "log4j-core 2.14.1" is disallowed (>=2.0 <2.17.1)
}
