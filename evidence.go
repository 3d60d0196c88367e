package ratify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's manifests, which registries hold beside OCI's.
const (
	MediaTypeDockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// IsManifest tells whether the media type is one of an image manifest or an index, which are read from a registry's
// manifests and not from its blobs.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, MediaTypeDockerManifest, MediaTypeDockerManifestList,
		"application/vnd.oci.artifact.manifest.v1+json":
		return true
	}
	return false
}

func isIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == MediaTypeDockerManifestList
}

// DescribeManifest computes the descriptor of a manifest or index from its bytes, and is for stores: algorithm is the
// digest algorithm asked for, or "" for sha256; claimed is the media type that a transport gave, used only where the
// manifest has none of its own. What is no manifest, or could be read as two kinds, is SUBJECT_INVALID.
func DescribeManifest(data []byte, algorithm digest.Algorithm, claimed string) (ocispec.Descriptor, error) {
	var m struct {
		MediaType    string          `json:"mediaType"`
		ArtifactType string          `json:"artifactType"`
		Config       *struct{}       `json:"config"` // only whether it is there: decoded, its annotations take forty times their size
		Layers       json.RawMessage `json:"layers"`
		Manifests    json.RawMessage `json:"manifests"`
		FSLayers     json.RawMessage `json:"fsLayers"`
	}
	invalid := func(format string, args ...any) (ocispec.Descriptor, error) {
		return ocispec.Descriptor{}, &Error{Code: SubjectInvalid, Message: "the manifest is malformed: " + fmt.Sprintf(format, args...)}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return invalid("%s", Truncate(err.Error()))
	}
	if err := checkNames(data); err != nil {
		return invalid("%s", err.Error())
	}
	if m.FSLayers != nil || (m.Layers != nil || m.Config != nil) && m.Manifests != nil {
		return invalid("it could be read as more than one kind")
	}
	mediaType := m.MediaType
	if mediaType == "" {
		mediaType = claimed
	}
	switch {
	case !IsManifest(mediaType):
		return invalid("its media type %s is none of an image or an index", Quote(mediaType))
	case isIndex(mediaType) && (m.Layers != nil || m.Config != nil), !isIndex(mediaType) && m.Manifests != nil:
		return invalid("its media type %s disagrees with what it holds", Quote(mediaType))
	}
	if algorithm == "" {
		algorithm = digest.SHA256
	}
	if !algorithm.Available() {
		return invalid("unknown digest algorithm %s", Quote(algorithm.String()))
	}
	// The descriptor is held as long as its image is examined, and hundreds are at the same time.
	return ocispec.Descriptor{MediaType: mediaType, ArtifactType: Truncate(m.ArtifactType), Digest: algorithm.FromBytes(data), Size: int64(len(data))}, nil
}

// ReadEvidence reads the manifest of a piece of evidence, and is the only place that checks that it belongs to the
// subject: its subject field names the subject's digest and size, its artifact type is one of those given (by the config's
// media type where it has none, as OCI 1.1 says; what it was is in the manifest's ArtifactType), and it has as many layers
// as asked for, each with a sane descriptor. Refusals are *Error with SUBJECT_MISMATCH or EVIDENCE_INVALID; see
// ErrOtherKind.
func ReadEvidence(ctx context.Context, repo Repository, subject, evidence ocispec.Descriptor, layers int, artifactTypes ...string) (*ocispec.Manifest, error) {
	if evidence.MediaType != ocispec.MediaTypeImageManifest {
		return nil, invalidEvidence("its media type is %s", Quote(evidence.MediaType))
	}
	if evidence.Size > maxEvidenceManifestBytes {
		return nil, invalidEvidence("its manifest has %d bytes, at most %d are read", evidence.Size, maxEvidenceManifestBytes)
	}
	ctx, done := withHolding(ctx) // little of the manifest is left when it is read
	defer done()
	data, err := repo.Fetch(ctx, evidence)
	if err != nil {
		return nil, err
	}
	if bytes.Count(data, []byte{'"'}) > maxEvidenceQuotes {
		return nil, invalidEvidence("its manifest has more than %d names and texts", maxEvidenceQuotes/2)
	}
	var m struct {
		ocispec.Manifest
		Layers    boundedLayers   `json:"layers"` // stands before the embedded one
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, invalidEvidence("%s", Truncate(err.Error()))
	}
	if err := checkNames(data); err != nil {
		return nil, invalidEvidence("%s", err.Error())
	}
	foundType := cmp.Or(m.ArtifactType, m.Config.MediaType)
	known := slices.Contains(artifactTypes, foundType)
	switch {
	case !known && evidence.ArtifactType == "":
		return nil, ErrOtherKind
	case m.Manifests != nil:
		return nil, invalidEvidence("its manifest could be read as more than one kind")
	case m.MediaType != "" && m.MediaType != evidence.MediaType:
		return nil, invalidEvidence("its manifest says the media type %s", Quote(m.MediaType))
	case m.Subject == nil:
		return nil, &Error{Code: SubjectMismatch, Message: "the evidence names no subject"}
	case m.Subject.Digest != subject.Digest || m.Subject.Size != subject.Size:
		return nil, &Error{Code: SubjectMismatch, Message: fmt.Sprintf("the evidence is for another artifact, %s, and not for %s", Quote(m.Subject.Digest.String()), subject.Digest)}
	case !known:
		return nil, invalidEvidence("its artifact type is %s, not %s", Quote(foundType), strings.Join(artifactTypes, " or "))
	case len(m.Layers) != layers:
		return nil, invalidEvidence("it has %d layers instead of %d", len(m.Layers), layers)
	}
	for _, layer := range m.Layers {
		if layer.Size < 0 || layer.Digest.Validate() != nil {
			return nil, invalidEvidence("a layer's descriptor is malformed")
		}
	}
	m.Manifest.Layers, m.ArtifactType = m.Layers, foundType
	prune(&m.Manifest)
	return &m.Manifest, nil
}

// prune leaves of a manifest what identifies its parts, and annotations that are no longer than MaxTextBytes. It is held while
// its layer is read, as long as the registry likes, and four of them for each of hundreds of images.
func prune(m *ocispec.Manifest) {
	identity := func(d ocispec.Descriptor) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: Truncate(d.MediaType), ArtifactType: Truncate(d.ArtifactType), Digest: d.Digest, Size: d.Size}
	}
	subject := identity(*m.Subject)
	m.Config, m.Subject = identity(m.Config), &subject
	if m.Config.Digest.Validate() != nil {
		m.Config.Digest = "" // of any length
	}
	for i, layer := range m.Layers {
		m.Layers[i] = identity(layer)
	}
	maps.DeleteFunc(m.Annotations, func(name, value string) bool { return len(name)+len(value) > MaxTextBytes })
	if len(m.Annotations) > maxEvidenceAnnotations {
		m.Annotations = nil
	}
}

// ErrOtherKind says that what looked like a verifier's evidence, because its descriptor has no artifact type, turned out
// to be something else. It is not an error of the evidence: the engine goes on as if the verifier had not matched it. What
// wraps it as "%w: what it is" has that told where nothing else is there.
var ErrOtherKind = errors.New("the artifact is of another kind")

// maxEvidenceManifestBytes bounds the manifest of a piece of evidence: a hundred layers with 2 KiB of annotations each. One
// that is nothing but annotations takes forty times its size when it is decoded.
const maxEvidenceManifestBytes = 256 << 10

// maxEvidenceQuotes bounds the names and texts of such a manifest before it is decoded: 16 for each of a hundred layers, at two
// quotes each, and four times that for what cosign writes as text within its annotations.
const maxEvidenceQuotes = 16 << 10

// maxEvidenceAnnotations bounds the annotations of its own that are kept: signatures and attestations have two or three.
const maxEvidenceAnnotations = 32

// maxLayers bounds the layers of an evidence manifest: a signature has one, cosign's collection of signatures up to a
// hundred.
const maxLayers = 100

// boundedLayers is a list of layers that is not decoded past its bound.
type boundedLayers []ocispec.Descriptor

// UnmarshalJSON decodes as many as there may be.
func (l *boundedLayers) UnmarshalJSON(data []byte) error {
	list, more, err := DecodeDescriptors(data, maxLayers)
	if more {
		return fmt.Errorf("it has more than %d layers", maxLayers)
	}
	*l = list
	return err
}

// DecodeDescriptors decodes the first descriptors of a list in JSON, at most so many, one after the other: decoded, one takes
// a hundred times the bytes that "{}" does. more tells that there are others. Null is an empty list.
func DecodeDescriptors(data []byte, most int) (list []ocispec.Descriptor, more bool, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if opening, err := d.Token(); err != nil || opening != json.Delim('[') {
		return nil, false, err
	}
	for d.More() {
		if len(list) == most {
			return list, true, nil
		}
		var desc ocispec.Descriptor
		if err := d.Decode(&desc); err != nil {
			return list, false, err
		}
		list = append(list, desc)
	}
	return list, false, nil
}

func invalidEvidence(format string, args ...any) *Error {
	return &Error{Code: EvidenceInvalid, Message: "the evidence is malformed: " + fmt.Sprintf(format, args...)}
}
