package world

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// An Image is one in the registry.
type Image struct {
	// Reference is HOST/REPOSITORY@DIGEST, Tagged HOST/REPOSITORY:TAG.
	Reference, Tagged string
	Digest            digest.Digest

	repository string
	paths      []string // where its content is
}

// Images makes so many images that nobody has seen before, signed by the signer. The signatures are made by all processors.
// An image takes 4 to 8 KiB of memory until Forget.
func (r *Registry) Images(n int, signer *Signer) ([]Image, error) {
	images := make([]Image, n)
	r.contentMu.Lock()
	first, repositories := r.made, r.repositories
	r.made += n
	r.contentMu.Unlock()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range images {
		group.Go(func() error {
			number := first + i
			repository := fmt.Sprintf("bench/app-%d", number)
			if repositories > 0 {
				repository = fmt.Sprintf("bench/app-%d", number%repositories)
			}
			var err error
			images[i], err = r.makeImage(repository, number, signer)
			return err
		})
	}
	return images, group.Wait()
}

// Forget removes the images from the registry.
func (r *Registry) Forget(images []Image) {
	r.contentMu.Lock()
	defer r.contentMu.Unlock()
	for i := range images {
		for _, path := range images[i].paths {
			if e, ok := r.content[path]; ok {
				if e.users--; e.users == 0 {
					delete(r.content, path)
				}
			}
		}
		images[i].paths = nil
	}
}

func (r *Registry) makeImage(repository string, number int, signer *Signer) (Image, error) {
	data, err := json.Marshal(manifestOf(r.prefix, number))
	if err != nil {
		return Image{}, err
	}
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
	tag := fmt.Sprintf("v%d", number)
	image := Image{
		Reference: r.host + "/" + repository + "@" + subject.Digest.String(), Tagged: r.host + "/" + repository + ":" + tag,
		Digest: subject.Digest, repository: repository,
	}
	pieces, err := signer.attach(subject, r.host+"/"+repository)
	if err != nil {
		return Image{}, fmt.Errorf("sign %s by %s: %w", image.Reference, signer.Kind, err)
	}
	c := collection{base: "/v2/" + repository, image: subject.Digest, content: map[string]*entry{}}
	c.put("/manifests/"+subject.Digest.String(), Manifest, subject.MediaType, subject.Digest, data)
	c.put("/manifests/"+tag, Tag, subject.MediaType, subject.Digest, data)
	if err := c.putPieces(subject, pieces); err != nil {
		return Image{}, err
	}
	r.contentMu.Lock()
	defer r.contentMu.Unlock()
	for path, e := range c.content {
		if there, ok := r.content[path]; ok {
			e = there
		}
		e.users++
		r.content[path] = e
		image.paths = append(image.paths, path)
	}
	return image, nil
}

// manifestOf is an image's manifest as builders write it: a configuration and a few layers, of which none is there.
func manifestOf(prefix string, number int) ocispec.Manifest {
	part := func(name, mediaType string, size int64) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromString(fmt.Sprint(prefix, number, name)), Size: size}
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: part("config", ocispec.MediaTypeImageConfig, 7023),
		Layers: []ocispec.Descriptor{
			part("base", ocispec.MediaTypeImageLayerGzip, 28_230_711),
			part("packages", ocispec.MediaTypeImageLayerGzip, 3_501_222),
			part("program", ocispec.MediaTypeImageLayerGzip, 9_740_105),
		},
	}
	return manifest
}

// A collection is the content of one image.
type collection struct {
	base    string
	image   digest.Digest
	content map[string]*entry
}

func (c *collection) put(path string, kind Kind, mediaType string, sum digest.Digest, body []byte) {
	c.content[c.base+path] = &entry{kind: kind, mediaType: mediaType, digest: sum, body: body, image: c.image}
}

// putPieces adds what is attached, and the list of those that are found by it.
func (c *collection) putPieces(subject ocispec.Descriptor, pieces []piece) error {
	var referrers []ocispec.Descriptor
	for _, p := range pieces {
		c.put("/manifests/"+p.descriptor.Digest.String(), Evidence, p.descriptor.MediaType, p.descriptor.Digest, p.manifest)
		if p.tag == "" {
			referrers = append(referrers, p.descriptor)
		} else {
			c.put("/manifests/"+p.tag, CosignTag, p.descriptor.MediaType, p.descriptor.Digest, p.manifest)
		}
		for _, blob := range p.blobs {
			c.put("/blobs/"+digest.FromBytes(blob).String(), Blob, "application/octet-stream", "", blob)
		}
	}
	if len(referrers) == 0 {
		return nil
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: referrers})
	if err != nil {
		return err
	}
	c.put("/referrers/"+subject.Digest.String(), Referrers, ocispec.MediaTypeImageIndex, "", index)
	return nil
}
