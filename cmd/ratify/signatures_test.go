package main

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/sigstore"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// TestSignaturesAreCountedByType: each is verified once in the process, whatever configurations come, and counted for the
// type of the verifier that did it.
func TestSignaturesAreCountedByType(t *testing.T) {
	const text = `
stores:
- {name: registries, type: oras, scopes: ["*"]}
verifiers:
- {name: a, type: cosign, settings: {keys: [{name: ci, file: %[1]q}]}}
- {name: b, type: attestation, settings: {predicateType: "https://example.com/tested/v1", keys: [{name: ci, file: %[1]q}]}}
- {name: c, type: sbom, settings: {keys: [{name: ci, file: %[1]q}], licenses: {disallowed: [AGPL-3.0-only]}}}
- {name: d, type: vulnerability, settings: {keys: [{name: ci, file: %[1]q}], disallowedSeverities: [critical]}}
policies:
- {name: default, scopes: ["*"], verifiers: [a, b, c, d], mode: %[2]s}
`
	key, repo := must(cosigntest.NewKey(cosigntest.P256)), cosigntest.NewRepository()
	push := func(statement []byte) ocispec.Descriptor {
		return repo.Push(cosigntest.AttachBundle(testImage, must(key.Sign(statement)).Bundle()))
	}
	evidence := []ocispec.Descriptor{push(cosigntest.SignStatement(testImage.Digest))}
	for _, predicateType := range []string{"https://example.com/tested/v1", "https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/vuln/v1"} {
		evidence = append(evidence, push(cosigntest.Statement(testImage.Digest, predicateType, map[string]any{})))
	}
	counts := map[string]int{}
	p := &process{sigstore: sigstore.NewShared(), observeSignature: func(verifier string) { counts[verifier]++ }}
	file := writeFile(t, "ci.pub", key.PublicPEM())
	for _, mode := range []string{"enforce", "audit"} {
		g, err := p.build(writeFile(t, "ratify.yaml", fmt.Appendf(nil, text, file, mode)))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range g.setup.Verifiers {
			result, err := v.Verifier.Verify(t.Context(), testImage, evidence[i], repo)
			if err != nil || result.Unproven {
				t.Errorf("%s: %+v, %v", v.Type, result, err)
			}
		}
		if want := map[string]int{"cosign": 1, "attestation": 1, "sbom": 1, "vulnerability": 1}; !maps.Equal(counts, want) {
			t.Errorf("%s: counted %v, want %v", mode, counts, want)
		}
	}
}

// placed is a repository that tells where it is.
type placed struct{ *cosigntest.Repository }

func (placed) Place() string { return "[]registry.example/app" }

// TestAbsentTagsAreOfOneConfiguration: that an image has no signature under cosign's tag is known for as long as a refusal is
// kept, and to the configuration alone under which it was found out.
func TestAbsentTagsAreOfOneConfiguration(t *testing.T) {
	const text = `
stores:
- {name: registries, type: oras, scopes: ["*"]}
verifiers:
- {name: a, type: cosign, settings: {cosignTags: true, keys: [{name: ci, file: %q}]}}
policies:
- {name: default, scopes: ["*"], verifiers: [a]}
cache: {refusalTTL: 2s}
`
	key := must(cosigntest.NewKey(cosigntest.P256))
	signature := must(key.SignMessage(cosigntest.Payload("registry.example/app", testImage.Digest)))
	path := writeFile(t, "ratify.yaml", fmt.Appendf(nil, text, writeFile(t, "ci.pub", key.PublicPEM())))
	p := &process{sigstore: sigstore.NewShared()}
	for name, later := range map[string]func(g *generation) *generation{
		"after the time of a refusal":  func(g *generation) *generation { time.Sleep(2 * time.Second); return g },
		"under the next configuration": func(*generation) *generation { return must(p.build(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, repo := must(p.build(path)), cosigntest.NewRepository()
				expect := func(count int) {
					t.Helper()
					found, err := g.setup.Verifiers[0].Verifier.(ratify.Finder).Find(t.Context(), testImage, placed{repo})
					if err != nil || len(found) != count {
						t.Errorf("found %v: %v, want %d", found, err, count)
					}
				}
				expect(0)
				repo.Push(cosigntest.Collect(testImage.Digest, signature.Layer()))
				expect(0)
				g = later(g)
				expect(1)
			})
		})
	}
}
