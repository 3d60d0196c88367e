package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// layoutHost is the host under whose name images of layouts are asked for: nothing answers to it.
const layoutHost = "layout.example"

// A world holds all images: each in every storage form that there is for its kind.
type world struct {
	dir   string
	forge *forge
	// hosts are the registries', by storage form; cosign's tags are in the one with the referrers API.
	hosts map[string]string
	// accepted counts the connections that the registries have taken.
	accepted atomic.Int64
	client   *http.Client
	layouts  map[string]*oci.Store // by kind
}

func newWorld(t *testing.T, trap string) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), forge: newForge(t, trap), client: &http.Client{Transport: &http.Transport{}}, layouts: map[string]*oci.Store{}}
	t.Cleanup(w.client.CloseIdleConnections)
	// One directory for the content of both registries: large documents are there once.
	check(t, os.Mkdir(filepath.Join(w.dir, "blobs"), 0o755))
	blobs := registry.NewDiskBlobHandler(filepath.Join(w.dir, "blobs"))
	withAPI := w.serve(t, registry.WithReferrersSupport(true), registry.WithBlobHandler(blobs))
	withoutAPI := w.serve(t, registry.WithReferrersSupport(false), registry.WithBlobHandler(blobs))
	w.hosts = map[string]string{referrersAPI: withAPI, cosignTag: withAPI, fallbackTag: withoutAPI, layout: layoutHost}
	return w
}

// serve starts a registry on a free port of the loopback address.
func (w *world) serve(t *testing.T, options ...registry.Option) (host string) {
	t.Helper()
	var listening net.ListenConfig
	listener, err := listening.Listen(t.Context(), "tcp", "127.0.0.1:0")
	check(t, err)
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{Handler: registry.New(append(options, registry.Logger(quiet))...), ErrorLog: quiet, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			w.accepted.Add(1)
		}
	}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends by Close alone, and says so
	}()
	t.Cleanup(func() {
		check(t, server.Close())
		<-served
	})
	return listener.Addr().String()
}

// slug is a kind's or a case's name, as a repository or a tag has it.
func slug(name string) string {
	out := []byte{}
	for _, c := range bytes.ToLower([]byte(name)) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			out = append(out, c)
		case len(out) > 0 && out[len(out)-1] != '-':
			out = append(out, '-')
		}
	}
	return string(bytes.TrimRight(out, "-"))
}

// repository is where a kind's images are in a storage form, and key the one of a case.
func (w *world) repository(k kind, storage string) string {
	return w.hosts[storage] + "/" + slug(storage) + "/" + slug(k.name)
}

func (w *world) key(k kind, storage, name string) string {
	return w.repository(k, storage) + "/" + slug(name) + ":" + slug(name)
}

// A target is where content is pushed to.
type target interface {
	Exists(ctx context.Context, d ocispec.Descriptor) (bool, error)
	Push(ctx context.Context, d ocispec.Descriptor, r io.Reader) error
	Tag(ctx context.Context, d ocispec.Descriptor, reference string) error
}

// open opens the place of a case in a storage form.
func (w *world) open(t *testing.T, k kind, storage, name string) target {
	t.Helper()
	if storage == layout {
		if w.layouts[k.name] == nil {
			store, err := oci.New(w.layoutPath(k))
			check(t, err)
			store.AutoSaveIndex = false
			w.layouts[k.name] = store
		}
		return w.layouts[k.name]
	}
	repo, err := remote.NewRepository(w.repository(k, storage) + "/" + slug(name))
	check(t, err)
	repo.Client, repo.PlainHTTP = w.client, true
	check(t, repo.SetReferrersCapability(storage != fallbackTag))
	return repo
}

func (w *world) layoutPath(k kind) string { return filepath.Join(w.dir, "layouts", slug(k.name)) }

// newImage makes an image that is like no other, of one layer with a URL that is not for following.
func (w *world) newImage(t *testing.T, k kind, name string) image {
	t.Helper()
	layer := describe(ocispec.MediaTypeImageLayer, imageLayer)
	layer.URLs = []string{w.forge.trap}
	i := image{name: slug(k.name) + "/" + slug(name)}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, imageConfig), Layers: []ocispec.Descriptor{layer},
		Annotations: map[string]string{ocispec.AnnotationTitle: i.name},
	})
	check(t, err)
	i.manifest, i.descriptor = manifest, describe(ocispec.MediaTypeImageManifest, manifest)
	return i
}

// All images have the same content; their manifests differ.
var (
	imageLayer  = []byte("layer")
	imageConfig = []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
)

// populate makes the images of a kind, with what is attached in each case, and pushes them in every storage form.
func (w *world) populate(t *testing.T, k kind) {
	t.Helper()
	for _, name := range caseNames {
		i := w.newImage(t, k, name)
		made := map[bool][]*cosigntest.Artifact{} // by whether it is for cosign's tag
		var pushing sync.WaitGroup
		errs := make([]error, len(storages))
		for at, storage := range storages {
			if k.outcome(storage, name).code == "" {
				continue
			}
			// What is a referrer here is one there: it is made once.
			tagged := storage == cosignTag || k.ways[referrersAPI] == nil
			if made[tagged] == nil {
				made[tagged] = append([]*cosigntest.Artifact{i.artifact(slug(name))}, w.attach(t, k, i, name, k.ways[storage])...)
			}
			artifacts, to := made[tagged], w.open(t, k, storage, name)
			pushing.Go(func() {
				for _, a := range artifacts {
					errs[at] = errors.Join(errs[at], push(t.Context(), to, a))
				}
			})
		}
		pushing.Wait()
		check(t, errors.Join(errs...))
	}
	if store := w.layouts[k.name]; store != nil {
		check(t, store.SaveIndex())
	}
}

// artifact is the image as it is pushed under a tag, or under none.
func (i image) artifact(tag string) *cosigntest.Artifact {
	return &cosigntest.Artifact{Tag: tag, Manifest: i.manifest, Descriptor: i.descriptor, Blobs: map[digest.Digest][]byte{
		digest.FromBytes(imageLayer): imageLayer, digest.FromBytes(imageConfig): imageConfig,
	}}
}

// attach makes what is attached to the image in a case.
func (w *world) attach(t *testing.T, k kind, i image, name string, way func(*testing.T, *forge, image, piece) attachment) []*cosigntest.Artifact {
	t.Helper()
	var artifacts []*cosigntest.Artifact
	var layers []cosigntest.Layer
	add := func(a attachment) {
		artifacts = append(artifacts, a.referrers...)
		if a.layer != nil {
			layers = append(layers, *a.layer)
		}
	}
	if k.scanned {
		layered := way(t, w.forge, i, piece{}).layer != nil
		add(attested(scan, layered)(t, w.forge, i, piece{dirty: true}))
	}
	if name == listed {
		other := i.other()
		foreign := way(t, w.forge, other, piece{}).referrers
		list := listOf(t, i, append(artifacts, foreign[0]))
		return slices.Concat(artifacts, []*cosigntest.Artifact{other.artifact("")}, foreign, []*cosigntest.Artifact{list})
	}
	for _, p := range k.attach(name) {
		if p.unrelated && k.cases[name].code == ratify.NoSignature {
			add(attachment{referrers: []*cosigntest.Artifact{w.forge.artifact(t, unrelatedType, i.descriptor, []byte("reviewed"), p)}})
			continue
		}
		add(way(t, w.forge, i, p))
	}
	if name == misfit {
		artifacts = append(artifacts, i.other().artifact("")) // a bill of materials is of another image if that is there
	}
	if len(layers) > 0 {
		artifacts = append(artifacts, cosigntest.Collect(i.descriptor.Digest, layers...))
	}
	return artifacts
}

// listOf is a list of referrers under the fallback tag of an image, which anybody may write who may push tags.
func listOf(t *testing.T, i image, referrers []*cosigntest.Artifact) *cosigntest.Artifact {
	t.Helper()
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, a := range referrers {
		index.Manifests = append(index.Manifests, a.Descriptor)
	}
	data, err := json.Marshal(index)
	check(t, err)
	return &cosigntest.Artifact{Tag: "sha256-" + i.descriptor.Digest.Encoded(), Manifest: data, Descriptor: describe(index.MediaType, data)}
}

// push pushes an artifact: its blobs, its manifest, its tag.
func push(ctx context.Context, to target, a *cosigntest.Artifact) error {
	for d, data := range a.Blobs {
		if err := pushOne(ctx, to, ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: int64(len(data))}, data); err != nil {
			return err
		}
	}
	if err := pushOne(ctx, to, a.Descriptor, a.Manifest); err != nil || a.Tag == "" {
		return err
	}
	return to.Tag(ctx, a.Descriptor, a.Tag)
}

func pushOne(ctx context.Context, to target, d ocispec.Descriptor, data []byte) error {
	there, err := to.Exists(ctx, d)
	if err == nil && !there {
		err = to.Push(ctx, d, bytes.NewReader(data))
	}
	if err != nil {
		return fmt.Errorf("push %s: %w", d.Digest, err)
	}
	return nil
}

// object is JSON to be.
type object = map[string]any

// configure writes the configuration: a store for the registries and one for each layout, all verifiers, a policy for
// each kind.
func (w *world) configure(t *testing.T, kinds []kind) (path string) {
	t.Helper()
	stores := []object{{"name": "registries", "type": "oras", "scopes": []string{w.hosts[referrersAPI] + "/*", w.hosts[fallbackTag] + "/*"}, "settings": object{
		"registries": []object{
			{"host": w.hosts[referrersAPI], "plainHTTP": true, "allowPrivate": true},
			{"host": w.hosts[fallbackTag], "plainHTTP": true, "allowPrivate": true},
		},
	}}}
	var policies []object
	for _, k := range kinds {
		if w.layouts[k.name] != nil {
			stores = append(stores, object{"name": slug(k.name), "type": "ocilayout", "scopes": []string{w.repository(k, layout) + "/*"}, "settings": object{"path": w.layoutPath(k)}})
		}
		var scopes []string
		for storage := range k.ways {
			scopes = append(scopes, w.repository(k, storage)+"/*")
		}
		policies = append(policies, object{"name": slug(k.name), "scopes": scopes, "verifiers": []string{k.verifier}})
	}
	data, err := json.Marshal(object{"stores": stores, "verifiers": w.verifiers(t), "policies": policies})
	check(t, err)
	path = filepath.Join(w.dir, "ratify.json")
	check(t, os.WriteFile(path, data, 0o600))
	return path
}

// verifiers are those of the configuration.
func (w *world) verifiers(t *testing.T) []object {
	t.Helper()
	file := func(name string, data []byte) string {
		path := filepath.Join(w.dir, name)
		check(t, os.WriteFile(path, data, 0o600))
		return path
	}
	root, err := cosigntest.TrustedRoot(w.forge.sigstore)
	check(t, err)
	keys := object{"keys": []object{{"name": "ci", "file": file("cosign.pub", w.forge.key.PublicPEM())}}, "cosignTags": true}
	type settings = object
	add := func(to settings, more settings) settings {
		all := settings{}
		for _, from := range []settings{to, more} {
			for name, value := range from {
				all[name] = value
			}
		}
		return all
	}
	builders := settings{"predicateType": predicateSLSA, "maxAge": maxAge.String(), "provenance": object{"builders": []string{fixture.Builder}}}
	licenses := settings{"licenses": object{"disallowed": []string{disallowedLicense}}, "maxAge": maxAge.String()}
	severities := settings{"disallowedSeverities": []string{"critical", "high"}, "maxAge": maxAge.String()}
	return []object{
		{"name": "notation", "type": "notation", "settings": settings{
			"trustStores": []object{{"type": "ca", "name": "certs", "files": []string{file("signer.crt", w.forge.signerPEM)}}},
			"trustPolicy": object{"version": "1.0", "trustPolicies": []object{{
				"name": "default", "registryScopes": []string{"*"}, "signatureVerification": object{"level": "strict"},
				"trustStores": []string{"ca:certs"}, "trustedIdentities": []string{"*"},
			}}},
		}},
		{"name": "cosign", "type": "cosign", "settings": keys},
		{"name": "keyless", "type": "cosign", "settings": settings{
			"trustedRoot": file("trusted_root.json", root), "cosignTags": true, "identities": []object{{"issuer": issuer, "subject": identity}},
		}},
		{"name": "provenance", "type": "attestation", "settings": add(keys, builders)},
		{"name": "provenance-artifact", "type": "attestation", "signedBy": []string{"notation"}, "settings": builders},
		{"name": "sbom", "type": "sbom", "settings": add(keys, licenses)},
		{"name": "sbom-by-notation", "type": "sbom", "signedBy": []string{"notation"}, "settings": licenses},
		{"name": "sbom-by-cosign", "type": "sbom", "signedBy": []string{"cosign"}, "settings": licenses},
		{"name": "scan", "type": "vulnerability", "settings": add(keys, severities)},
		{"name": "scan-artifact", "type": "vulnerability", "signedBy": []string{"notation"}, "settings": severities},
		{"name": "scan-with-vex", "type": "vulnerability", "settings": add(add(keys, severities), settings{"vex": true})},
	}
}
