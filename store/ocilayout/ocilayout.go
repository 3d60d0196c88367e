// Package ocilayout reads subjects and their evidence from an OCI image layout: a directory on disk, as the image
// specification has it. Nothing is written, and nothing outside of the directory is read, whatever links it holds.
//
// A layout has one repository, which answers to every name. Its tags are annotations in index.json. What refers to a
// subject is found by reading the manifests that index.json and the indexes in it list, and under the tag that stands
// for the referrers API. Begin at New.
package ocilayout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/content"
)

const (
	// maxEntries bounds the descriptors that are looked at in index.json and the indexes in it: every image of a release
	// with its platforms and signatures, some times over.
	maxEntries = 10_000
	// maxDepth bounds indexes within indexes: index.json, an index of images, an index of platforms, and one to spare.
	maxDepth = 4
	// maxWalkBytes bounds what one search for referrers reads of manifests: maxEntries of the usual 6 KiB.
	maxWalkBytes = 64 << 20
	// maxMarkerBytes bounds the file oci-layout, which holds a version.
	maxMarkerBytes = 4 << 10
)

// Config names the layout.
type Config struct {
	// Path is the directory that holds oci-layout, index.json and blobs.
	Path string `json:"path"`
}

// A Store reads from one layout. It is immutable and safe for concurrent use; the layout may change meanwhile.
type Store struct{ path string }

// New checks that there is a layout of version 1 at the path.
func New(cfg Config) (*Store, error) {
	if cfg.Path == "" {
		return nil, errors.New("path: it is empty; name the directory of an OCI image layout")
	}
	s := &Store{path: cfg.Path}
	data, err := s.read(ocispec.ImageLayoutFile, maxMarkerBytes)
	if err != nil {
		return nil, fmt.Errorf("path: %s is no OCI image layout: %w", cfg.Path, err)
	}
	var marker ocispec.ImageLayout
	if err := json.Unmarshal(data, &marker); err != nil || !strings.HasPrefix(marker.Version, "1.") {
		return nil, fmt.Errorf("path: %s is no OCI image layout of version 1", cfg.Path)
	}
	if _, err := s.index(); err != nil {
		return nil, fmt.Errorf("path: %s: %w", cfg.Path, err)
	}
	return s, nil
}

// Open returns the layout's one repository under the subject's name, twice.
func (s *Store) Open(_ context.Context, subject ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	r := &repository{store: s, name: subject.Repository}
	return r, r, nil
}

// read reads a regular file of at most limit bytes below the directory.
func (s *Store) read(name string, limit int64) ([]byte, error) {
	return s.readBy(name, func(f io.Reader) ([]byte, error) { return content.Read(f, limit) })
}

// readBy has a regular file below the directory read. os.Root refuses every path and link that leads out of it.
func (s *Store) readBy(name string, read func(io.Reader) ([]byte, error)) ([]byte, error) {
	root, err := os.OpenRoot(s.path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// Looked at first: opening a pipe would wait for its writer.
	if info, err := root.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return read(f)
}

func pathOf(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// blob reads what is stored under a digest and computes that it is that.
func (s *Store) blob(d digest.Digest, limit int64) ([]byte, error) {
	data, err := s.read(pathOf(d), limit)
	if err != nil {
		return nil, err
	}
	if d.Algorithm().FromBytes(data) != d {
		return nil, invalid("holds other content under %s", d)
	}
	return data, nil
}

func (s *Store) index() (content.Index, error) {
	data, err := s.read(ocispec.ImageIndexFile, ratify.MaxManifestBytes)
	if err != nil {
		return content.Index{}, err
	}
	return content.ReadIndex(bytes.NewReader(data), maxEntries)
}

func invalid(format string, args ...any) *ratify.Error {
	return &ratify.Error{Code: ratify.RegistryInvalid, Message: "the OCI layout " + fmt.Sprintf(format, args...)}
}

// failure gives an error its code. What cannot be read may be readable the next time.
func (s *Store) failure(what string, err error) error {
	var known *ratify.Error
	if errors.As(err, &known) {
		return known
	}
	return &ratify.Error{Code: ratify.RegistryUnavailable, Message: "the OCI layout could not be read: " + what, Err: err}
}

// repository is a layout under a name.
type repository struct {
	store *Store
	name  string
}

// Name is the name that the layout was opened under.
func (r *repository) Name() string { return r.name }

// Resolve finds a manifest by tag or digest and computes its descriptor.
func (r *repository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if err := ctx.Err(); err != nil {
		return ocispec.Descriptor{}, err
	}
	index, err := r.store.index()
	if err != nil {
		return ocispec.Descriptor{}, r.store.failure(ocispec.ImageIndexFile, err)
	}
	wanted := digest.Digest(reference)
	if !strings.Contains(reference, ":") {
		desc, err := tagged(index, reference)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		wanted = desc.Digest
	}
	if err := wanted.Validate(); err != nil {
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.BadReference, Message: ratify.Quote(reference) + " is neither a tag nor a digest", Err: err}
	}
	data, err := r.store.blob(wanted, ratify.MaxManifestBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ocispec.Descriptor{}, notFound(reference)
	case errors.Is(err, content.ErrTooLarge):
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("the image's manifest is larger than %d bytes", ratify.MaxManifestBytes)}
	case err != nil:
		return ocispec.Descriptor{}, r.store.failure(wanted.String(), err)
	}
	return ratify.DescribeManifest(data, wanted.Algorithm(), r.claimed(ctx, index, wanted))
}

// tagged finds the descriptor of a tag. Two digests under one tag would be two readings of one reference.
func tagged(index content.Index, tag string) (ocispec.Descriptor, error) {
	if tag == "" || strings.ContainsAny(tag, "/\\?#% ") {
		return ocispec.Descriptor{}, &ratify.Error{Code: ratify.BadReference, Message: ratify.Quote(tag) + " is no tag"}
	}
	var found *ocispec.Descriptor
	for i, d := range index.Manifests {
		if d.Annotations[ocispec.AnnotationRefName] != tag {
			continue
		}
		if found != nil && found.Digest != d.Digest {
			return ocispec.Descriptor{}, &ratify.Error{Code: ratify.SubjectInvalid, Message: "the OCI layout has two manifests under the tag " + ratify.Quote(tag)}
		}
		found = &index.Manifests[i]
	}
	if found == nil {
		return ocispec.Descriptor{}, notFound(tag)
	}
	if err := found.Digest.Validate(); err != nil {
		return ocispec.Descriptor{}, invalid("has a malformed digest under the tag %s", ratify.Quote(tag))
	}
	return *found, nil
}

func notFound(reference string) *ratify.Error {
	return &ratify.Error{Code: ratify.SubjectNotFound, Message: "the OCI layout has no " + ratify.Quote(reference), Remedy: "check the reference; a layout's tags are the annotations " + ocispec.AnnotationRefName + " in its index.json"}
}

// claimed is the media type that the layout gives to a digest, for manifests that have none of their own.
func (r *repository) claimed(ctx context.Context, index content.Index, wanted digest.Digest) string {
	mediaType := ""
	// An error means that it was not found, and the manifest has to say it itself.
	_ = r.walk(ctx, index, func(d ocispec.Descriptor, _ func() ([]byte, error)) error {
		if d.Digest == wanted {
			mediaType = d.MediaType
			return errFound
		}
		return nil
	})
	return mediaType
}

// Fetch reads a manifest or blob and checks it against its descriptor.
func (r *repository) Fetch(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := content.CheckDescriptor(desc); err != nil {
		return nil, err
	}
	data, err := r.store.readBy(pathOf(desc.Digest), func(f io.Reader) ([]byte, error) {
		return content.ReadDescribed(f, desc, nil)
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, invalid("does not have %s, which it refers to", desc.Digest)
	case errors.Is(err, content.ErrOtherDigest):
		return nil, invalid("holds other content under %s", desc.Digest)
	case err != nil:
		return nil, r.store.failure(desc.Digest.String(), err)
	}
	return data, nil
}

// head is what tells a referrer from other manifests.
type head struct {
	ArtifactType string `json:"artifactType"`
	Config       struct {
		MediaType string `json:"mediaType"`
	} `json:"config"`
	Subject     *ocispec.Descriptor `json:"subject"`
	Annotations map[string]string   `json:"annotations"`
}

// Referrers finds the manifests of the layout whose subject is the given one, and those listed under its fallback tag.
// Where a bound is reached, what was found is returned together with a LIMIT_EXCEEDED error.
func (r *repository) Referrers(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if err := content.CheckSubject(subject); err != nil {
		return nil, err
	}
	index, err := r.store.index()
	if err != nil {
		return nil, r.store.failure(ocispec.ImageIndexFile, err)
	}
	found := &referrers{seen: map[digest.Digest]bool{}}
	err = r.walk(ctx, index, func(d ocispec.Descriptor, read func() ([]byte, error)) error {
		data, err := read()
		if err != nil || data == nil {
			return err
		}
		var m head
		if json.Unmarshal(data, &m) != nil || m.Subject == nil || m.Subject.Digest != subject.Digest {
			return nil
		}
		artifactType := m.ArtifactType
		if artifactType == "" {
			artifactType = m.Config.MediaType // how artifacts older than OCI 1.1 say it
		}
		return found.add(ocispec.Descriptor{MediaType: d.MediaType, ArtifactType: artifactType, Digest: d.Digest, Size: int64(len(data)), Annotations: m.Annotations})
	})
	if err == nil && index.More {
		err = tooMany()
	}
	if err == nil {
		err = r.addTagged(index, subject, found)
	}
	var e *ratify.Error
	if err == nil || errors.As(err, &e) && e.Code == ratify.LimitExceeded {
		return found.list, err
	}
	return nil, err
}

// referrers gathers what was found, each digest once.
type referrers struct {
	list []ocispec.Descriptor
	seen map[digest.Digest]bool
}

func (f *referrers) add(d ocispec.Descriptor) error {
	if f.seen[d.Digest] {
		return nil
	}
	if len(f.list) == ratify.MaxReferrers {
		return tooMany()
	}
	f.seen[d.Digest] = true
	f.list = append(f.list, d)
	return nil
}

func tooMany() *ratify.Error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: fmt.Sprintf("the OCI layout has more than the %d manifests, or the %d referrers, that are looked at", maxEntries, ratify.MaxReferrers)}
}

// addTagged adds what is listed under the fallback tag, as a registry without referrers API has it. There is no list where
// the tag is not there, or is on the subject or an image; whatever else is there might be one, and is an error.
func (r *repository) addTagged(index content.Index, subject ocispec.Descriptor, found *referrers) error {
	tag := content.ReferrersTag(subject.Digest)
	target, err := tagged(index, tag)
	var e *ratify.Error
	switch {
	case errors.As(err, &e) && e.Code == ratify.SubjectNotFound, target.Digest == subject.Digest:
		return nil
	case err != nil:
		return invalid("has no one list of referrers under the tag %s", tag)
	}
	data, err := r.store.blob(target.Digest, ratify.MaxManifestBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return invalid("does not have %s, which is under the tag %s", target.Digest, tag)
	}
	if err != nil {
		return r.store.failure(target.Digest.String(), err)
	}
	desc, err := ratify.DescribeManifest(data, "", target.MediaType)
	if err == nil && desc.MediaType != ocispec.MediaTypeImageIndex {
		return nil // somebody's image
	}
	list, listErr := content.ReadIndex(bytes.NewReader(data), ratify.MaxReferrers)
	if err != nil || listErr != nil {
		return invalid("has no index, nor an image, under the tag %s", tag)
	}
	for _, d := range list.Manifests {
		if err := found.add(d); err != nil {
			return err
		}
	}
	if list.More {
		return tooMany()
	}
	return nil
}

// errFound ends a walk.
var errFound = errors.New("found")

// walk visits the descriptors of manifests in an index and the indexes in it, each digest once, within the bounds. read
// gives a manifest's bytes, nil where the layout does not hold them: a layout may have some platforms of an image only.
func (r *repository) walk(ctx context.Context, index content.Index, visit func(d ocispec.Descriptor, read func() ([]byte, error)) error) error {
	w := &walker{repository: r, visit: visit, seen: map[digest.Digest]bool{}, left: maxWalkBytes}
	return w.walk(ctx, index, 1)
}

type walker struct {
	*repository
	visit func(ocispec.Descriptor, func() ([]byte, error)) error
	seen  map[digest.Digest]bool
	left  int64 // bytes that may still be read
}

func (w *walker) walk(ctx context.Context, index content.Index, depth int) error {
	for _, d := range index.Manifests {
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.seen[d.Digest] || !ratify.IsManifest(d.MediaType) || d.Digest.Validate() != nil {
			continue
		}
		if len(w.seen) == maxEntries {
			return tooMany()
		}
		w.seen[d.Digest] = true
		if err := w.visit(d, func() ([]byte, error) { return w.read(d) }); err != nil {
			return err
		}
		if d.MediaType == ocispec.MediaTypeImageIndex || d.MediaType == ratify.MediaTypeDockerManifestList {
			if err := w.walkInto(ctx, d, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) walkInto(ctx context.Context, d ocispec.Descriptor, depth int) error {
	data, err := w.read(d)
	if err != nil || data == nil {
		return err
	}
	if depth > maxDepth {
		return tooMany()
	}
	nested, err := content.ReadIndex(bytes.NewReader(data), maxEntries)
	if err != nil {
		return nil // it is no index, whatever it is called, and lists nothing
	}
	if err := w.walk(ctx, nested, depth); err != nil || !nested.More {
		return err
	}
	return tooMany()
}

func (w *walker) read(d ocispec.Descriptor) ([]byte, error) {
	data, err := w.store.blob(d.Digest, min(w.left, ratify.MaxManifestBytes))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, content.ErrTooLarge):
		return nil, tooMany()
	case err != nil:
		return nil, w.store.failure(d.Digest.String(), err)
	}
	w.left -= int64(len(data))
	return data, nil
}
