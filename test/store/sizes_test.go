package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/store/storetest"
)

const (
	signatureType = "application/vnd.example.signature"
	documentType  = "application/vnd.example.document"
)

// A reader is a verifier of evidence whose only layer says "good".
type reader struct{ artifactType string }

func (r reader) Match(evidence ocispec.Descriptor) bool {
	return evidence.ArtifactType == r.artifactType
}

func (r reader) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	manifest, err := ratify.ReadEvidence(ctx, repo, subject, evidence, 1, r.artifactType)
	if err != nil {
		return ratify.Result{}, err
	}
	data, err := repo.Fetch(ctx, manifest.Layers[0])
	return ratify.Result{Passed: string(data) == "good"}, err
}

// documents is a reader of documents that somebody else has to prove.
type documents struct{ reader }

func (documents) Documents() (ratify.Pieces, bool) { return ratify.PiecesNewest, false }

// always is a rule that holds.
type always struct{}

func (always) Holds(context.Context, ratify.Claims) (bool, error) { return true, nil }

// lie gives a blob another size. Registries take a manifest that says so.
func lie(b storetest.Blob, size int64) storetest.Blob {
	b.Desc.Size = size
	return b
}

// TestStrangersWrongSize attaches, beside what is signed well, what a stranger may push: manifests that give a blob of the
// repository another size. That must never be a failure to read, which would keep out the other images of the pod too; and
// where the blob is of a size that is read, it must not even count.
func TestStrangersWrongSize(t *testing.T) {
	good, bad := storetest.NewBlob("text/plain", []byte("good")), storetest.NewBlob("text/plain", []byte("a stranger's"))
	big := storetest.NewBlob("application/octet-stream", bytes.Repeat([]byte("x"), ratify.MaxDocumentBytes+1))
	config := storetest.NewBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	for _, lies := range []struct {
		name  string
		layer storetest.Blob
		// wholly is what becomes of an image for which all evidence counts.
		wholly ratify.Code
	}{
		{"smaller", lie(bad, bad.Desc.Size-1), ratify.Verified},
		{"larger", lie(bad, bad.Desc.Size+1), ratify.Verified},
		{"none", lie(bad, 0), ratify.Verified},
		{"smaller, of the right content", lie(good, 3), ratify.Verified},
		{"smaller, of a blob that is larger than is read", lie(big, 10), ratify.LimitExceeded},
	} {
		attach := func(artifactType string, subject storetest.Manifest, layer storetest.Blob) storetest.Manifest {
			return storetest.NewImage(ocispec.MediaTypeImageManifest, artifactType, &subject.Desc, config, layer, nil)
		}
		image := storetest.NewImage(ocispec.MediaTypeImageManifest, "", nil, config, good, nil)
		document, strangers := attach(documentType, image, good), attach(documentType, image, bad)
		blobs := []storetest.Blob{config, good, bad}
		if lies.layer.Desc.Digest == big.Desc.Digest {
			blobs = append(blobs, big)
		}
		host := distribution(t, "")
		push(t, host+"/app", storetest.Content{
			Blobs: blobs,
			Manifests: []storetest.Manifest{
				image, attach(signatureType, image, lies.layer), attach(signatureType, image, good),
				strangers, attach(signatureType, strangers, lies.layer), document, attach(signatureType, document, good),
			},
		}, auth.EmptyCredential)
		store := newStore(t, oras.Registry{Host: host})
		for _, tc := range []struct {
			verifier string
			pieces   ratify.Pieces
			rule     string
			want     ratify.Code
		}{
			{"signatures", "", "", ratify.Verified},
			{"signatures", "", "true", ratify.Verified},
			{"documents", ratify.PiecesAny, "", ratify.Verified},
			{"documents", ratify.PiecesAny, "true", ratify.Verified},
			{"documents", ratify.PiecesAll, "", lies.wholly},
			{"documents", ratify.PiecesNewest, "", lies.wholly},
			{"documents", ratify.PiecesNewest, "true", lies.wholly},
		} {
			t.Run(fmt.Sprintf("%s/%s %s, rule %q", lies.name, tc.pieces, tc.verifier, tc.rule), func(t *testing.T) {
				setup := ratify.Setup{
					Stores:      []ratify.NamedStore{{Name: "s", Scopes: []string{"*"}, Store: store}},
					Verifiers:   []ratify.NamedVerifier{{Name: "signatures", Type: "test", Verifier: reader{signatureType}}},
					Policies:    []ratify.Policy{{Name: "p", Scopes: []string{"*"}, Verifiers: []string{tc.verifier}, Rule: tc.rule}},
					CompileRule: func(string) (ratify.Rule, error) { return always{}, nil },
				}
				if tc.verifier == "documents" {
					setup.Verifiers = append(setup.Verifiers, ratify.NamedVerifier{
						Name: "documents", Type: "test", Verifier: documents{reader{documentType}}, Evidence: tc.pieces, SignedBy: []string{"signatures"},
					})
				}
				engine, err := ratify.NewEngine(setup)
				if err != nil {
					t.Fatal(err)
				}
				subject, err := ratify.ParseKey(host + "/app@" + image.Desc.Digest.String())
				if err != nil {
					t.Fatal(err)
				}
				report, err := engine.Verify(t.Context(), subject)
				if err != nil || report.Code != tc.want {
					t.Errorf("code %s (%s), error %v; want %s", report.Code, report.Message, err, tc.want)
				}
			})
		}
	}
}
