package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
)

// An Index is what ReadIndex found.
type Index struct {
	// MediaType is the index's own, empty where it has none, or where reading stopped before it.
	MediaType string
	// Manifests are the descriptors in the order of the index: media type, artifact type, digest, size and annotations.
	// Embedded data and URLs are left out: nothing may be taken from there unread.
	Manifests []ocispec.Descriptor
	// More tells that the list has more than was asked for; what follows was not read.
	More bool
}

// entry has the fields of a descriptor that are kept.
type entry struct {
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType"`
	Digest       digest.Digest `json:"digest"`
	Size         int64         `json:"size"`
	Annotations  annotations   `json:"annotations"`
}

const (
	// maxAnnotations bounds those that are kept of one descriptor, of MaxTextBytes each, for a list is held as long as its
	// image is examined, and hundreds are at the same time. Annotations in lists are for finding a tag in a layout, for
	// showing, and for sparing a request: signatures and attestations have two or three.
	maxAnnotations = 8
	// meanAnnotations bounds the text of all that are kept of one list, for each descriptor that it may have: signatures
	// have less. Eight times that of each, and of hundreds of lists, is more than a process has.
	meanAnnotations = 256
	// maxDigestBytes is more than any digest has: sha512 and its colon, and 128 digits. A longer one is malformed, and stays so.
	maxDigestBytes = 136
)

// annotations are decoded one after the other, and only the first by name are kept: four mebibytes of them take forty times
// that as a map.
type annotations map[string]string

// UnmarshalJSON decodes an object of texts, or null.
func (a *annotations) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	switch open, err := dec.Token(); {
	case err != nil:
		return err
	case open == nil:
		return nil
	case open != json.Delim('{'):
		return errors.New("annotations are no object")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value string
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if name, ok := key.(string); ok {
			a.add(name, value)
		}
	}
	return nil
}

// add keeps an annotation that is short, and drops the last by name where there are too many.
func (a *annotations) add(name, value string) {
	delete(*a, name) // of two the last one counts, as everywhere
	if len(name)+len(value) > ratify.MaxTextBytes {
		return
	}
	if *a == nil {
		*a = make(annotations, 1)
	}
	(*a)[name] = value
	if len(*a) > maxAnnotations {
		delete(*a, slices.Max(slices.Collect(maps.Keys(*a))))
	}
}

func (a annotations) bytes() (n int) {
	for name, value := range a {
		n += len(name) + len(value)
	}
	return n
}

// kept is the descriptor without what is longer than it can be. A type that was cut is nobody's.
func (e entry) kept() ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ratify.Truncate(e.MediaType), ArtifactType: ratify.Truncate(e.ArtifactType),
		// A copy: what is cut off of a text of mebibytes would be held with the rest.
		Digest: digest.Digest(strings.Clone(string(e.Digest[:min(len(e.Digest), maxDigestBytes)]))), Size: e.Size, Annotations: e.Annotations,
	}
}

// ReadIndex decodes an index as a stream, keeps at most limit descriptors and stops there. Decoding an index whole is not
// safe where a stranger wrote it: four mebibytes of `{},{},…` are 1.4 million descriptors, 160 MiB as Go values, and
// 800 MiB are allocated on the way there. What was read before an error is returned with it. Errors
// of r are returned as they are (errors.Is); io.ErrUnexpectedEOF says that the text ends early.
func ReadIndex(r io.Reader, limit int) (Index, error) {
	var index Index
	dec := json.NewDecoder(fullReader{r})
	if err := expect(dec, '{'); err != nil {
		return index, err
	}
	listed := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return index, early(err)
		}
		switch key {
		case "manifests":
			if listed {
				// Two lists are two readings of one index (CVE-2021-41190 is this class).
				return index, errors.New("decode index: two lists of manifests")
			}
			listed = true
			if err := index.readManifests(dec, limit); err != nil || index.More {
				return index, err
			}
		case "mediaType":
			err = dec.Decode(&index.MediaType)
		case "layers", "config", "fsLayers":
			return index, fmt.Errorf("decode index: it has %s", key)
		default:
			err = dec.Decode(&json.RawMessage{})
		}
		if err != nil {
			return index, early(err)
		}
	}
	if err := expect(dec, '}'); err != nil {
		return index, err
	}
	switch _, err := dec.Token(); err {
	case io.EOF:
		return index, nil
	case nil:
		return index, errors.New("decode index: text after its end")
	default:
		return index, err
	}
}

// fullReader fills what it is given as long as there is more. json.Decoder looks at white space from its beginning again
// after each read, so that a sender of single blanks would make it take time by the square of their number.
type fullReader struct{ io.Reader }

func (r fullReader) Read(p []byte) (int, error) {
	n, err := io.ReadFull(r.Reader, p)
	if n > 0 && err == io.ErrUnexpectedEOF {
		err = nil // the end comes with the next read
	}
	return n, err
}

func (index *Index) readManifests(dec *json.Decoder, limit int) error {
	open, err := dec.Token()
	switch {
	case err != nil:
		return early(err)
	case open == nil: // null is an empty list
		return nil
	case open != json.Delim('['):
		return errors.New("decode index: manifests is no list")
	}
	for left := limit * meanAnnotations; dec.More(); {
		if len(index.Manifests) >= limit {
			index.More = true
			return nil
		}
		var e entry
		if err := dec.Decode(&e); err != nil {
			return early(err)
		}
		if left -= e.Annotations.bytes(); left < 0 {
			e.Annotations = nil
		}
		index.Manifests = append(index.Manifests, e.kept())
	}
	return expect(dec, ']')
}

func expect(dec *json.Decoder, want json.Delim) error {
	got, err := dec.Token()
	if err != nil {
		return early(err)
	}
	if got != want {
		return fmt.Errorf("decode index: no %v where one is expected", want)
	}
	return nil
}

// early gives one name to a text that ends before the index does.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
