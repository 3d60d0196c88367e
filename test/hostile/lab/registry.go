package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A Registry is what a correct registry knows, by the distribution specification 1.1: it answers reads, and what it holds is
// pushed in process. Its fields are set before a host serves it; its methods are safe for concurrent use.
type Registry struct {
	// Login, if set, says who may read.
	Login *Login
	// NoReferrersAPI answers the referrers API with 404; the tag that takes its place is kept instead.
	NoReferrersAPI bool
	// PerPage is how many referrers a page has; 0 puts all on one.
	PerPage int

	mu    sync.Mutex
	repos map[string]*repo
}

// A Login asks for a credential.
type Login struct {
	// Realm is the URL of the token server; empty asks for a user name and a password.
	Realm string
	// Service is what the challenge says of it.
	Service string
	// Accept tells whether the Authorization of a request for a repository is good.
	Accept func(authorization, repository string) bool
}

type repo struct {
	manifests map[digest.Digest]manifest
	blobs     map[digest.Digest][]byte
	tags      map[string]digest.Digest
	referrers map[digest.Digest][]ocispec.Descriptor
}

type manifest struct {
	mediaType string
	data      []byte
	evidence  bool // it has a subject, or is under cosign's tag
}

// An Image is one that a Registry holds. Names have no host: a registry may have several.
type Image struct {
	Repository, Tag string
	Descriptor      ocispec.Descriptor
	Manifest        []byte
}

// At is the image by its tag, at a host.
func (i Image) At(host string) string { return host + "/" + i.Repository + ":" + i.Tag }

// PinnedAt is the image by its digest, at a host.
func (i Image) PinnedAt(host string) string {
	return host + "/" + i.Repository + "@" + i.Descriptor.Digest.String()
}

func (r *Registry) repo(name string) *repo {
	if r.repos == nil {
		r.repos = map[string]*repo{}
	}
	if r.repos[name] == nil {
		r.repos[name] = &repo{map[digest.Digest]manifest{}, map[digest.Digest][]byte{}, map[string]digest.Digest{}, map[digest.Digest][]ocispec.Descriptor{}}
	}
	return r.repos[name]
}

// PutBlob adds a blob.
func (r *Registry) PutBlob(repository string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repo(repository).blobs[digest.FromBytes(data)] = data
}

// PutManifest adds a manifest under a digest, and a tag where one is given. Where it has a subject, it is among that one's
// referrers from now on, as the descriptor says it: its artifact type and annotations are what a registry would take from it.
func (r *Registry) PutManifest(repository string, desc ocispec.Descriptor, data []byte, tag string) {
	var about struct {
		Subject *ocispec.Descriptor `json:"subject"`
	}
	_ = json.Unmarshal(data, &about) // what cannot be read has no subject
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repo(repository)
	repo.manifests[desc.Digest] = manifest{desc.MediaType, data, about.Subject != nil || isCosignTag(tag)}
	if tag != "" {
		repo.tags[tag] = desc.Digest
	}
	if about.Subject != nil {
		repo.refer(about.Subject.Digest, desc)
	}
}

// Refer adds a descriptor to the referrers of a subject, whether or not there is such a manifest.
func (r *Registry) Refer(repository string, subject digest.Digest, desc ocispec.Descriptor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repo(repository).refer(subject, desc)
}

func (r *repo) refer(subject digest.Digest, desc ocispec.Descriptor) {
	if !slices.ContainsFunc(r.referrers[subject], func(d ocispec.Descriptor) bool { return d.Digest == desc.Digest }) {
		r.referrers[subject] = append(r.referrers[subject], desc)
	}
}

// PutImage adds a small image that no other call has added, REPOSITORY:v1.
func (r *Registry) PutImage(repository string) (Image, error) {
	r.mu.Lock()
	n := len(r.repo(repository).manifests)
	r.mu.Unlock()
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{"Labels":{"n":"%d"}}}`, n)
	layer := fmt.Appendf(nil, "layer %d of %s", n, repository)
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: describe(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{describe(ocispec.MediaTypeImageLayer, layer)},
	}
	data, err := json.Marshal(m)
	if err != nil {
		return Image{}, err
	}
	image := Image{Repository: repository, Tag: "v1", Descriptor: describe(m.MediaType, data), Manifest: data}
	r.PutBlob(repository, config)
	r.PutBlob(repository, layer)
	r.PutManifest(repository, image.Descriptor, data, image.Tag)
	return image, nil
}

// PutSigned is PutImage, and Sign by each of the signers.
func (r *Registry) PutSigned(ctx context.Context, repository string, by ...*notationtest.Signer) (Image, error) {
	image, err := r.PutImage(repository)
	for _, signer := range by {
		if err == nil {
			_, err = r.Sign(ctx, image, signer, notationtest.SignOptions{})
		}
	}
	return image, err
}

// Sign attaches a signature of the Notary Project to an image.
func (r *Registry) Sign(ctx context.Context, image Image, by *notationtest.Signer, options notationtest.SignOptions) (*notationtest.Artifact, error) {
	if options.MediaType == "" {
		options.MediaType = notationtest.JWS
	}
	envelope, err := by.Sign(ctx, image.Descriptor, options)
	if err != nil {
		return nil, err
	}
	artifact, err := notationtest.Attach(image.Descriptor, envelope, options.MediaType)
	if err != nil {
		return nil, err
	}
	r.PutNotation(image.Repository, artifact)
	return artifact, nil
}

// PutNotation adds a signature of the Notary Project.
func (r *Registry) PutNotation(repository string, a *notationtest.Artifact) {
	r.PutBlob(repository, a.Config)
	r.PutBlob(repository, a.Envelope)
	r.PutManifest(repository, a.ManifestDescriptor, a.Manifest, "")
}

// PutCosign adds what cosign attaches: a referrer, or what is under one of its tags.
func (r *Registry) PutCosign(repository string, a *cosigntest.Artifact) {
	for _, data := range a.Blobs {
		r.PutBlob(repository, data)
	}
	r.PutManifest(repository, a.Descriptor, a.Manifest, a.Tag)
}

func isCosignTag(tag string) bool {
	return strings.HasPrefix(tag, "sha256-") && (strings.HasSuffix(tag, ".sig") || strings.HasSuffix(tag, ".att"))
}

// A place is what the path of a request asks for.
type place struct{ repository, kind, reference string }

// placeOf reads /v2/NAME/KIND/REFERENCE, where NAME may have slashes.
func placeOf(path string) place {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	if !strings.HasPrefix(path, "/v2/") || len(parts) < 3 {
		return place{}
	}
	at := len(parts) - 2
	return place{strings.Join(parts[:at], "/"), parts[at], parts[at+1]}
}

// Step tells what a request is for.
func (r *Registry) Step(req *http.Request) Step {
	if req.URL.Path == "/v2/" || req.URL.Path == "/v2" {
		return Ping
	}
	at := placeOf(req.URL.Path)
	switch {
	case at.kind == "referrers":
		return Referrers
	case at.kind == "blobs":
		return Blob
	case at.kind != "manifests":
		return Other
	case isCosignTag(at.reference):
		return CosignTag
	case strings.HasPrefix(at.reference, "sha256-"):
		return ReferrersTag
	case !strings.Contains(at.reference, ":"):
		return Resolve
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.repo(at.repository).manifests[digest.Digest(at.reference)].evidence {
		return SignatureManifest
	}
	return Manifest
}

// Answer answers a read.
func (r *Registry) Answer(x *Exchange) Answer {
	at := placeOf(x.Path)
	if r.Login != nil && !r.Login.Accept(x.Authorization(), at.repository) {
		return r.Login.challenge(at.repository)
	}
	if x.Step == Ping {
		return Text(http.StatusOK, "{}")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	repo := r.repo(at.repository)
	switch at.kind {
	case "manifests":
		return r.manifest(repo, at.reference)
	case "blobs":
		if data, ok := repo.blobs[digest.Digest(at.reference)]; ok {
			return Answer{http.StatusOK, http.Header{"Content-Type": {"application/octet-stream"}, "Docker-Content-Digest": {at.reference}}, data}
		}
	case "referrers":
		if !r.NoReferrersAPI {
			return r.list(x, repo.referrers[digest.Digest(at.reference)])
		}
	}
	return notFound()
}

func notFound() Answer {
	return Answer{http.StatusNotFound, http.Header{"Content-Type": {"application/json"}}, []byte(`{"errors":[{"code":"NOT_FOUND","message":"not found"}]}`)}
}

// challenge is the answer to who shows no good credential.
func (l *Login) challenge(repository string) Answer {
	value := `Basic realm="registry"`
	if l.Realm != "" {
		value = Bearer(l.Realm, l.Service, "repository:"+repository+":pull")
	}
	return Text(http.StatusUnauthorized, "unauthorized").With("Www-Authenticate", value)
}

// Bearer is a challenge for a token.
func Bearer(realm, service, scope string) string {
	return fmt.Sprintf(`Bearer realm=%q,service=%q,scope=%q`, realm, service, scope)
}

func (r *Registry) manifest(repo *repo, reference string) Answer {
	at := digest.Digest(reference)
	if tagged, ok := repo.tags[reference]; ok {
		at = tagged
	}
	if m, ok := repo.manifests[at]; ok {
		return Answer{http.StatusOK, http.Header{"Content-Type": {m.mediaType}, "Docker-Content-Digest": {at.String()}}, m.data}
	}
	if subject, ok := strings.CutPrefix(reference, "sha256-"); ok && r.NoReferrersAPI {
		if all := repo.referrers[digest.NewDigestFromEncoded(digest.SHA256, subject)]; len(all) > 0 {
			return Index(all)
		}
	}
	return notFound()
}

// list answers one page.
func (r *Registry) list(x *Exchange, all []ocispec.Descriptor) Answer {
	target, err := url.Parse(x.Target)
	if err != nil {
		return notFound()
	}
	from, _ := strconv.Atoi(target.Query().Get("from")) // none is the first page
	all = all[min(max(from, 0), len(all)):]
	if r.PerPage == 0 || len(all) <= r.PerPage {
		return Index(all)
	}
	return Index(all[:r.PerPage]).With("Link", fmt.Sprintf(`<%s?from=%d>; rel="next"`, x.Path, from+r.PerPage))
}

// Index is an answer that holds an OCI index.
func Index(manifests []ocispec.Descriptor) Answer {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests}
	if manifests == nil {
		index.Manifests = []ocispec.Descriptor{}
	}
	data, err := json.Marshal(index)
	if err != nil {
		return Text(http.StatusInternalServerError, err.Error())
	}
	return Answer{http.StatusOK, http.Header{"Content-Type": {ocispec.MediaTypeImageIndex}}, data}
}

func describe(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}
