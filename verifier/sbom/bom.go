package sbom

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/strictjson"
)

const (
	// maxComponents bounds the packages of a document: an image with several languages in it has some ten thousand.
	maxComponents = 100_000
	// maxNesting bounds components within components; tools nest a file in a package in a package.
	maxNesting = 32
	// maxOfOne bounds what one component may have of licences and of package URLs: of the first, large packages have dozens.
	maxOfOne = 200
	// maxElements bounds any other list; of a package's references and checksums there are dozens.
	maxElements = 200_000
	// maxListed bounds what is kept of tools and of images that a document names: those seen name one or two.
	maxListed = 8
)

// A bom is what a document says about itself. What it lists goes by, component by component.
type bom struct {
	format  string    // SPDX-2.3, CycloneDX-1.5
	created time.Time // zero where it does not say
	tools   []string
	// images are the digests that it gives for the image that it describes, if it does.
	images []digest.Digest
	// packages is the number of its components, without the image itself.
	packages int
}

// A component is one package of a document.
type component struct {
	name, group, version string
	urls                 []packageURL
	// licenses are expressions, identifiers or names, which hold all together. None is that nobody says.
	licenses []string
	// needsLicense tells that it is something that has a licence, so that not to know it is to be told: neither the image
	// itself nor its operating system, nor a file that no package manager knows.
	needsLicense bool
	// isImage tells that it is the image that the document describes.
	isImage bool
}

func (c *component) addURL(text string) error {
	u, ok := parsePackageURL(text)
	if !ok {
		return nil
	}
	if len(c.urls) == maxOfOne {
		return tooMuch("a package has more than %d package URLs", maxOfOne)
	}
	c.urls = append(c.urls, u)
	return nil
}

// digests are the SHA-256 digests that a description of an image gives for it: as its version, and in its package URL.
func (c *component) digests() (found []digest.Digest) {
	add := func(version string) {
		if d := digest.Digest(strings.ToLower(version)); d.Validate() == nil && d.Algorithm() == digest.SHA256 {
			found = append(found, d)
		}
	}
	add(c.version)
	for _, u := range c.urls {
		if kind := u.kind(); kind == "oci" || kind == "docker" {
			add(u.version)
		}
	}
	return found
}

func (b *bom) addImages(found ...digest.Digest) {
	for _, d := range found {
		if len(b.images) < maxListed {
			b.images = append(b.images, d)
		}
	}
}

func (b *bom) addTool(name, version string) {
	if name = strings.TrimSpace(name + " " + version); name != "" && len(b.tools) < maxListed {
		b.tools = append(b.tools, ratify.Truncate(name))
	}
}

// A walk goes through one document.
type walk struct {
	*strictjson.Cursor
	bom   bom
	count int              // of components
	visit func(*component) // it must not keep the component
	// components are those that are being read, each within the one before. They are used again for the next ones: a
	// document may have a hundred thousand of 13 bytes.
	components [maxNesting]component
}

// object reads an object, or null as an empty one.
func (w *walk) object(known []string, visit func(name string) error) error {
	if w.Null() {
		return nil
	}
	return w.Object(known, visit)
}

// list reads a list, or null as an empty one.
func (w *walk) list(visit func() error) error {
	if w.Null() {
		return nil
	}
	return w.List(maxElements, visit)
}

var errNoName = errors.New("it has no name")

// component returns an empty one.
func (w *walk) component(depth int) *component {
	c := &w.components[depth]
	*c = component{urls: c.urls[:0], licenses: c.licenses[:0]}
	return c
}

func (w *walk) add(c *component) error {
	if w.count++; w.count > maxComponents {
		return tooMuch("it lists more than %d packages", maxComponents)
	}
	if !c.isImage {
		w.bom.packages++
	}
	w.visit(c)
	return nil
}

// read goes through a document of the kind, and calls visit for each component. The bom is what was read until an error:
// *ratify.Error with EVIDENCE_INVALID or LIMIT_EXCEEDED.
func read(kind string, data []byte, visit func(*component)) (bom, error) {
	data, err := unwrap(data)
	if err != nil {
		return bom{}, invalid(err)
	}
	w := &walk{Cursor: strictjson.NewCursor(data), visit: visit}
	if kind == spdxKind {
		err = w.spdx()
	} else {
		err = w.cycloneDX()
	}
	return w.bom, invalid(err)
}

// errNotWrapped says that a document is the object itself.
var errNotWrapped = errors.New("it is not wrapped")

// unwrap takes a document out of what cosign puts around it: a JSON string that holds it, or an object with the field Data
// that is the document, or such a string (cosign's generic predicate).
func unwrap(data []byte) ([]byte, error) {
	data, err := unstring(data)
	if err != nil {
		return nil, err
	}
	c := strictjson.NewCursor(data)
	var inner []byte
	err = c.Optional(func() error {
		return c.Object(nil, func(name string) (err error) {
			switch {
			case name == "Data":
				inner, err = c.Raw()
			case name == "Timestamp":
			case inner != nil:
				err = errors.New("it could be read in two ways: it has the field Data and others")
			default:
				err = errNotWrapped
			}
			return err
		})
	})
	switch {
	case errors.Is(err, errNotWrapped), err == nil && inner == nil:
		return data, nil
	case err != nil:
		return nil, err
	}
	return unstring(inner)
}

// unstring returns what a JSON string holds, if data is one.
func unstring(data []byte) ([]byte, error) {
	c := strictjson.NewCursor(data)
	if c.Next() != '"' {
		return data, nil
	}
	text, err := c.Text()
	if err != nil {
		return nil, err
	}
	// What is in a string has not been looked at before.
	inner := []byte(text)
	if strictjson.NewCursor(inner).Next() != '{' {
		return nil, errors.New("it is text and no JSON document; attest it as JSON (cosign attest --type spdxjson or cyclonedx)")
	}
	return inner, strictjson.Check(inner)
}

func tooMuch(format string, args ...any) error {
	return &ratify.Error{Code: ratify.LimitExceeded, Message: "the bill of materials is not read: " + fmt.Sprintf(format, args...)}
}

// invalid gives an error of reading a document its code.
func invalid(err error) error {
	var coded *ratify.Error
	var limit strictjson.LimitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &coded):
		return err
	case errors.As(err, &limit):
		return tooMuch("%s", ratify.Truncate(err.Error()))
	}
	return &ratify.Error{Code: ratify.EvidenceInvalid, Message: "the bill of materials is malformed: " + ratify.Truncate(err.Error())}
}
