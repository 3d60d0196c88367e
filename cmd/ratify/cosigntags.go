package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
)

// cosignSuffixes are what cosign's tags end in, in the order in which they are shown: signatures, attestations, and bills
// of materials as cosign attach had them.
var cosignSuffixes = [...]string{".sig", ".att", ".sbom"}

const (
	// maxTagBytes is the longest tag that a registry takes (distribution specification, pulling manifests).
	maxTagBytes = 128
	// maxTagLayers is how many layers of one tag are shown: as many signatures as cosign itself looks at.
	maxTagLayers = 100
)

// A taggedArtifact is what is under one of cosign's tags for an image: beside its referrers, not among them.
type taggedArtifact struct {
	Tag       string        `json:"tag"`
	Reference string        `json:"reference"`
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	// Layers are the signatures, attestations or documents.
	Layers []taggedLayer `json:"layers"`
}

type taggedLayer struct {
	MediaType     string        `json:"mediaType"`
	Digest        digest.Digest `json:"digest"`
	PredicateType string        `json:"predicateType,omitempty"`
}

// findTagged reads what is under cosign's tags for an image. A tag that is not there is none. Beside an error is what was
// read before.
func findTagged(ctx context.Context, repo ratify.Repository, repository string, image ocispec.Descriptor) (found []*taggedArtifact, err error) {
	found = []*taggedArtifact{}
	for _, suffix := range cosignSuffixes {
		tag := image.Digest.Algorithm().String() + "-" + image.Digest.Encoded() + suffix
		if len(tag) > maxTagBytes {
			return found, nil
		}
		ratify.Progress(ctx, "looking for cosign's tag "+suffix)
		desc, err := repo.Resolve(ctx, tag)
		var problem *ratify.Error
		if errors.As(err, &problem) && problem.Code == ratify.SubjectNotFound {
			continue
		}
		if err != nil {
			return found, ratify.AsError(err)
		}
		layers, err := taggedLayers(ctx, repo, desc)
		if err != nil {
			return found, err
		}
		found = append(found, &taggedArtifact{Tag: tag, Reference: repository + ":" + tag, MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Layers: layers})
	}
	return found, nil
}

// taggedLayers reads what a manifest under a tag holds. One that is malformed is shown without.
func taggedLayers(ctx context.Context, repo ratify.Repository, desc ocispec.Descriptor) ([]taggedLayer, error) {
	data, err := repo.Fetch(ctx, ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size})
	if err != nil {
		return nil, ratify.AsError(err)
	}
	var manifest struct {
		Layers fewLayers `json:"layers"`
	}
	if json.Unmarshal(data, &manifest) != nil {
		return []taggedLayer{}, nil
	}
	layers := make([]taggedLayer, 0, len(manifest.Layers))
	for _, l := range manifest.Layers {
		layers = append(layers, taggedLayer{l.MediaType, l.Digest, l.Annotations["predicateType"]})
	}
	return layers, nil
}

// fewLayers are the first layers of a manifest.
type fewLayers []ocispec.Descriptor

// UnmarshalJSON decodes as many as are shown.
func (l *fewLayers) UnmarshalJSON(data []byte) error {
	list, _, err := ratify.DecodeDescriptors(data, maxTagLayers)
	*l = list
	return err
}

// growTagged hangs what is under cosign's tags below a node.
func growTagged(parent *node, tagged []*taggedArtifact) {
	for _, t := range tagged {
		tag := parent.add("%s", plain(t.Tag))
		for _, l := range t.Layers {
			tag.add("%s %s", plain(l.Digest.String()), plain(l.MediaType)).addField("predicate type", l.PredicateType)
		}
		tag.orEmpty()
	}
}
