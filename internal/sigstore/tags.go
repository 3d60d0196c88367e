package sigstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/ratify-provider/ratify"
)

// Media types of the layers under cosign's tags. The descriptors that are found have them as artifact types, too.
const (
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeEnvelope      = "application/vnd.dsse.envelope.v1+json"
)

// Annotations of such layers (cosign, SIGNATURE_SPEC).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// layerAnnotations are all of them: nothing else of a layer's annotations is looked at.
var layerAnnotations = [...]string{annotationSignature, annotationCertificate, annotationBundle, annotationTimestamp}

// maxTagLayers is how many signatures, or attestations, are looked at under one tag: as many as cosign itself does.
const maxTagLayers = 100

// maxTagValues bounds the values in the manifest under a tag: each layer may have a hundred, most of them annotations that
// whoever signs has added.
const maxTagValues = 100 * maxTagLayers

// maxTagBytes is the longest tag that a registry takes (distribution specification, pulling manifests).
const maxTagBytes = 128

// FindSignatures returns the signatures under cosign's tag for the subject, one descriptor a layer. Nothing there, and
// tags that are not configured, are an empty list. The tag, and what it points at, prove nothing: who signed what is in
// the layers. A collection that is malformed is one descriptor, of itself, and its examination says what is wrong.
func (v *Verifier) FindSignatures(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return v.findLayers(ctx, subject, repo, ".sig", mediaTypeSimpleSigning)
}

// FindAttestations returns the attestations under cosign's tag for the subject, as FindSignatures does.
func (v *Verifier) FindAttestations(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository) ([]ocispec.Descriptor, error) {
	return v.findLayers(ctx, subject, repo, ".att", mediaTypeEnvelope)
}

func (v *Verifier) findLayers(ctx context.Context, subject ocispec.Descriptor, repo ratify.Repository, suffix, mediaType string) ([]ocispec.Descriptor, error) {
	tag := subject.Digest.Algorithm().String() + "-" + subject.Digest.Encoded() + suffix
	if !v.tags || len(tag) > maxTagBytes {
		return nil, nil
	}
	look := func() ([]ocispec.Descriptor, bool, error) { return readTag(ctx, repo, tag, mediaType) }
	if p, ok := repo.(placed); ok {
		return v.shared.find(ctx, p.Place()+"\n"+tag, look)
	}
	layers, _, err := look()
	return layers, err
}

// readTag returns the layers under a tag of cosign's, and whether it is there.
func readTag(ctx context.Context, repo ratify.Repository, tag, mediaType string) (layers []ocispec.Descriptor, there bool, err error) {
	collection, err := repo.Resolve(ctx, tag)
	if err != nil {
		return nil, false, ofTag(err)
	}
	layers, err = readCollection(ctx, repo, collection, mediaType)
	if problem := (*ratify.Error)(nil); errors.As(err, &problem) && problem.Code.Definitive() {
		return []ocispec.Descriptor{{MediaType: collection.MediaType, Digest: collection.Digest, Size: collection.Size, ArtifactType: mediaType}}, true, nil
	}
	return layers, true, err
}

// ofTag is nil where there is no such tag. What is wrong with the manifest under it is told of the evidence: a store tells it
// of whatever it resolves as if that were the image.
func ofTag(err error) error {
	var problem *ratify.Error
	if !errors.As(err, &problem) {
		return err
	}
	switch problem.Code {
	case ratify.SubjectNotFound:
		return nil
	case ratify.SubjectInvalid:
		return malformed("under cosign's tag, %s", problem.UserMessage())
	case ratify.LimitExceeded:
		return tooLarge("the manifest under cosign's tag is larger than is read")
	}
	return err
}

// readCollection reads the manifest under a tag and returns its layers.
func readCollection(ctx context.Context, repo ratify.Repository, collection ocispec.Descriptor, mediaType string) ([]ocispec.Descriptor, error) {
	if collection.MediaType != ocispec.MediaTypeImageManifest && collection.MediaType != ratify.MediaTypeDockerManifest {
		return nil, malformed("cosign's tag points at a %s, not at an image manifest", ratify.Quote(collection.MediaType))
	}
	data, err := repo.Fetch(ctx, collection)
	if err != nil {
		return nil, err
	}
	if err := checkShape(data, maxTagValues, anyString); err != nil {
		return nil, tooLarge("the manifest under cosign's tag holds more than %d values, or is nested deeper than %d", maxTagValues, maxNesting)
	}
	var manifest struct {
		Layers layerList `json:"layers"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, malformed("the manifest under cosign's tag: %s", reason(err))
	}
	if len(manifest.Layers) > maxTagLayers {
		return nil, tooLarge("there are more than %d layers under cosign's tag", maxTagLayers)
	}
	layers := make([]ocispec.Descriptor, 0, len(manifest.Layers))
	for i, layer := range manifest.Layers {
		switch {
		case layer.MediaType != mediaType:
			continue // not what is looked for
		case layer.Size < 0 || layer.Digest.Validate() != nil:
			return nil, malformed("the descriptor of layer %d under cosign's tag is malformed", i)
		}
		found := ocispec.Descriptor{MediaType: layer.MediaType, ArtifactType: mediaType, Digest: layer.Digest, Size: layer.Size, Annotations: map[string]string{}}
		for _, name := range layerAnnotations {
			if value := layer.Annotations[name]; value != "" {
				found.Annotations[name] = value
			}
		}
		layers = append(layers, found)
	}
	return layers, nil
}

// layerList is a list of layers of which no more than the bound, and one, are decoded.
type layerList []ocispec.Descriptor

// UnmarshalJSON decodes as many as tell that there are too many.
func (l *layerList) UnmarshalJSON(data []byte) error {
	list, _, err := ratify.DecodeDescriptors(data, maxTagLayers+1)
	*l = list
	return err
}

// checkLayer tells what is wrong with a collection that stands for its layers.
func checkLayer(ctx context.Context, layer ocispec.Descriptor, repo ratify.Repository) error {
	if layer.MediaType == layer.ArtifactType {
		return nil
	}
	if _, err := readCollection(ctx, repo, layer, layer.ArtifactType); err != nil {
		return err
	}
	return malformed("a %s is neither a referrer nor a layer under cosign's tag", ratify.Quote(layer.MediaType))
}

// parseLayer puts a layer into the form of a bundle of version 0.1, which is what its annotations were made for: a
// certificate, and a promise of the transparency log.
func parseLayer(layer ocispec.Descriptor, data []byte) (_ *evidence, err error) {
	defer contain(&err)
	s := &evidence{bundle: &protobundle.Bundle{MediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1"}}
	if s.bundle.VerificationMaterial, err = layerMaterial(layer.Annotations); err != nil {
		return nil, err
	}
	if layer.MediaType == mediaTypeSimpleSigning {
		s.payload = data
		err = s.setSignature(layer.Annotations[annotationSignature])
	} else {
		err = s.setEnvelope(data)
	}
	if err != nil {
		return nil, err
	}
	if err := checkBundle(s.bundle); err != nil {
		return nil, err
	}
	return s, nil
}

// setSignature takes the signature over the payload out of its annotation.
func (s *evidence) setSignature(encoded string) error {
	sig, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(sig) == 0 {
		return malformed("its annotation %s is no signature in base64", annotationSignature)
	}
	sum := sha256.Sum256(s.payload)
	s.bundle.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
		Signature:     sig,
	}}
	return nil
}

// setEnvelope reads a DSSE envelope (https://github.com/secure-systems-lab/dsse, envelope v1).
func (s *evidence) setEnvelope(data []byte) error {
	var envelope struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := checkShape(data, maxValues, anyString); err != nil {
		return err
	}
	if err := json.Unmarshal(data, &envelope); err != nil {
		return malformed("it is no DSSE envelope: %s", reason(err))
	}
	if n := len(envelope.Signatures); n != 1 {
		return malformed("its envelope has %d signatures instead of 1", n)
	}
	s.bundle.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
		PayloadType: envelope.PayloadType,
		Payload:     envelope.Payload,
		Signatures:  []*protodsse.Signature{{Keyid: envelope.Signatures[0].KeyID, Sig: envelope.Signatures[0].Sig}},
	}}
	return nil
}

// layerMaterial puts what cosign wrote beside a signature into a bundle's form.
func layerMaterial(annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	material := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}
	size := 0
	for _, value := range annotations {
		size += len(value)
	}
	if size > ratify.MaxEnvelopeBytes {
		return nil, malformed("its annotations have %d bytes, at most %d are read", size, ratify.MaxEnvelopeBytes)
	}
	if encoded := annotations[annotationCertificate]; encoded != "" {
		block, _ := pem.Decode([]byte(encoded))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, malformed("its annotation %s is no certificate in PEM", annotationCertificate)
		}
		material.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: block.Bytes}}
	}
	if encoded := annotations[annotationBundle]; encoded != "" {
		entry, err := layerEntry([]byte(encoded))
		if err != nil {
			return nil, err
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if encoded := annotations[annotationTimestamp]; encoded != "" {
		var stamp struct {
			SignedRFC3161Timestamp []byte
		}
		if err := json.Unmarshal([]byte(encoded), &stamp); err != nil || len(stamp.SignedRFC3161Timestamp) == 0 {
			return nil, malformed("its annotation %s is no timestamp", annotationTimestamp)
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	return material, nil
}

// layerEntry reads the transparency log's promise, as cosign wrote it.
func layerEntry(encoded []byte) (*protorekor.TransparencyLogEntry, error) {
	var promise struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal(encoded, &promise); err != nil {
		return nil, malformed("its annotation %s: %s", annotationBundle, reason(err))
	}
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := json.Unmarshal(promise.Payload.Body, &kind); err != nil {
		return nil, malformed("the log entry in its annotation %s: %s", annotationBundle, reason(err))
	}
	logID, err := hex.DecodeString(promise.Payload.LogID)
	if err != nil {
		return nil, malformed("the log in its annotation %s: %s", annotationBundle, reason(err))
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          promise.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: logID},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    promise.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: promise.SignedEntryTimestamp},
		CanonicalizedBody: promise.Payload.Body,
	}, nil
}

// typeSimpleSigning is what cosign writes into its payloads.
const typeSimpleSigning = "cosign container image signature"

// checkPayload tells whether the payload, which is proven, is about the subject. It is always compared: a signature may be
// copied to any tag, and so may a layer. The name in it, docker-reference, is not: it is how the image was called when it
// was signed, cosign does not compare it either, and images are copied to other registries with their signatures.
func checkPayload(payload []byte, subject ocispec.Descriptor) error {
	var p struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return malformed("what is signed is no JSON: %s", reason(err))
	}
	switch {
	case p.Critical.Type != typeSimpleSigning:
		return malformed("what is signed is of the type %s, not a %s", ratify.Quote(p.Critical.Type), typeSimpleSigning)
	case p.Critical.Image.Digest != subject.Digest:
		return &ratify.Error{
			Code: ratify.SubjectMismatch,
			Message: fmt.Sprintf("the signature is for another artifact, %s, and not for %s",
				ratify.Quote(p.Critical.Image.Digest.String()), ratify.Quote(subject.Digest.String())),
		}
	}
	return nil
}
