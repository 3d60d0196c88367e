package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// user is "nonroot" of the images without a distribution, and what the chart demands. It has no entry in a passwd file.
	user = "65532:65532"
	// refName is the annotation by which oras, skopeo and crane find an image in a layout.
	refName = "org.opencontainers.image.ref.name"
)

// epoch stands for every time: when an image was built is not a property of what is in it.
var epoch = time.Unix(0, 0).UTC()

// write makes the layout beside its final place and moves it there, so that a failure leaves what was there before.
// It returns the digest of the image index.
func write(o options) (v1.Hash, error) {
	index, err := newIndex(o)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := replaceable(o.out); err != nil {
		return v1.Hash{}, err
	}
	parent := filepath.Dir(filepath.Clean(o.out))
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return v1.Hash{}, err
	}
	part, err := os.MkdirTemp(parent, ".image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(part)
	target, err := layout.Write(part, empty.Index)
	if err != nil {
		return v1.Hash{}, fmt.Errorf("write the layout: %w", err)
	}
	if err := target.AppendIndex(index, layout.WithAnnotations(map[string]string{refName: tag(o.version)})); err != nil {
		return v1.Hash{}, fmt.Errorf("write the layout: %w", err)
	}
	if err := readable(part); err != nil {
		return v1.Hash{}, err
	}
	if err := os.RemoveAll(o.out); err != nil {
		return v1.Hash{}, err
	}
	if err := os.Rename(part, o.out); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// readable gives the layout the modes of files that are meant to be passed on, whatever the umask was.
func readable(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.Chmod(path, 0o755) //nolint:gosec // see above
		}
		return os.Chmod(path, 0o644) //nolint:gosec // see above
	})
}

// replaceable refuses to delete a folder that is not a layout: -o may be a slip of the hand.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return fmt.Errorf("%s holds something else than an image layout; name another folder", dir)
	}
	return nil
}

// tag makes a tag of a version: a plus sign, which semantic versions may have, is not allowed in one.
func tag(version string) string { return strings.ReplaceAll(version, "+", "-") }

func newIndex(o options) (v1.ImageIndex, error) {
	annotations := labels(o)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range o.platforms {
		image, err := newImage(o, p)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", p, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: p.os, Architecture: p.arch}},
		})
	}
	annotated, ok := mutate.Annotations(index, annotations).(v1.ImageIndex)
	if !ok {
		return nil, errors.New("annotate the index: it is no index any more")
	}
	return annotated, nil
}

// labels are the annotations that the OCI image specification defines, without the one for the time.
func labels(o options) map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title":       "ratify",
		"org.opencontainers.image.description": "Verifies the signatures of images for Gatekeeper, as a provider of external data.",
		"org.opencontainers.image.source":      "https://github.com/ratify-provider/ratify",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     o.version,
	}
	if o.revision != "" {
		all["org.opencontainers.image.revision"] = o.revision
	}
	return all
}

func newImage(o options, p platform) (v1.Image, error) {
	program, err := os.ReadFile(filepath.Join(o.binaryDir, p.binary()))
	if err != nil {
		return nil, err
	}
	archive, err := pack(program)
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "ratify tools/image"}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, config(o, p, file.DeepCopy()))
}

// config says how the image runs: as a user without rights, the program as entry point so that arguments are its own.
func config(o options, p platform, file *v1.ConfigFile) *v1.ConfigFile {
	file.OS, file.Architecture, file.Created = p.os, p.arch, v1.Time{Time: epoch}
	file.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/ratify"},
		WorkingDir: "/",
		Labels:     labels(o),
		ExposedPorts: map[string]struct{}{
			"6001/tcp": {}, // Gatekeeper
			"9099/tcp": {}, // health and metrics
		},
	}
	return file
}

// pack makes the only layer: the program, which its user may run and not write.
func pack(program []byte) ([]byte, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "ratify", Mode: 0o555, Size: int64(len(program)), ModTime: epoch, Format: tar.FormatUSTAR}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}
