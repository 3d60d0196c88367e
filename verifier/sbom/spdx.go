package sbom

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
)

const spdxVersion = "SPDX-2.3"

// spdx reads an SPDX document (SPDX 2.3, JSON). Of a package's licences the concluded one counts, which is what whoever
// made the document found out; where that says NOASSERTION or nothing, the declared one, which is what the package says of
// itself. Licences of files and snippets do not count: they are concluded from, or have been.
func (w *walk) spdx() error {
	version := ""
	err := w.object([]string{"spdxVersion", "creationInfo", "packages"}, func(name string) error {
		switch name {
		case "spdxVersion":
			return w.TextInto(&version)
		case "creationInfo":
			return w.spdxCreation()
		}
		return w.list(w.spdxPackage)
	})
	switch {
	case err != nil:
		return err
	case version == "":
		return errors.New("it has no spdxVersion")
	case version != spdxVersion:
		return fmt.Errorf("its version is %s, and %s is read", ratify.Quote(version), spdxVersion)
	}
	w.bom.format = version
	return nil
}

func (w *walk) spdxCreation() error {
	return w.object([]string{"created", "creators"}, func(name string) error {
		if name == "created" {
			return w.TimeInto(&w.bom.created)
		}
		return w.list(func() error {
			creator := ""
			err := w.TextInto(&creator)
			if tool, ok := strings.CutPrefix(creator, "Tool:"); ok {
				w.bom.addTool(tool, "")
			}
			return err
		})
	})
}

func (w *walk) spdxPackage() error {
	c := w.component(0)
	concluded, declared, purpose := "", "", ""
	var sums []digest.Digest
	err := w.object([]string{
		"name", "versionInfo", "licenseConcluded", "licenseDeclared", "primaryPackagePurpose", "externalRefs", "checksums",
	}, func(name string) error {
		switch name {
		case "name":
			return w.TextInto(&c.name)
		case "versionInfo":
			return w.TextInto(&c.version)
		case "licenseConcluded":
			return w.TextInto(&concluded)
		case "licenseDeclared":
			return w.TextInto(&declared)
		case "primaryPackagePurpose":
			return w.TextInto(&purpose)
		case "externalRefs":
			return w.list(func() error { return w.spdxReference(c) })
		}
		return w.list(func() error { return w.spdxChecksum(&sums) })
	})
	switch {
	case err != nil:
		return err
	case c.name == "":
		return errNoName
	case c.version == noAssertion:
		c.version = ""
	}
	if concluded == "" || strings.EqualFold(concluded, noAssertion) {
		concluded = declared
	}
	if concluded != "" && !strings.EqualFold(concluded, noAssertion) {
		c.licenses = append(c.licenses, concluded)
	}
	c.needsLicense = needsLicense(purpose, len(c.urls) > 0)
	if c.isImage = purpose == "CONTAINER"; c.isImage {
		w.bom.addImages(append(c.digests(), sums...)...)
	}
	return w.add(c)
}

func (w *walk) spdxReference(c *component) error {
	kind, locator := "", ""
	err := w.object([]string{"referenceType", "referenceLocator"}, func(name string) error {
		if name == "referenceType" {
			return w.TextInto(&kind)
		}
		return w.TextInto(&locator)
	})
	if err != nil || kind != "purl" {
		return err
	}
	return c.addURL(locator)
}

func (w *walk) spdxChecksum(sums *[]digest.Digest) error {
	algorithm, value := "", ""
	err := w.object([]string{"algorithm", "checksumValue"}, func(name string) error {
		if name == "algorithm" {
			return w.TextInto(&algorithm)
		}
		return w.TextInto(&value)
	})
	if d := sha256Digest(value); err == nil && algorithm == "SHA256" && d != "" && len(*sums) < maxListed {
		*sums = append(*sums, d)
	}
	return err
}

// sha256Digest makes a digest of a checksum in hexadecimal; "" if it is none.
func sha256Digest(value string) digest.Digest {
	d := digest.NewDigestFromEncoded(digest.SHA256, strings.ToLower(value))
	if d.Validate() != nil {
		return ""
	}
	return d
}

// needsLicense tells whether something of this type is software that has a licence. Tools list applications that are the
// name of a file that they read (a lock file, a binary), and those have no package URL.
func needsLicense(kind string, hasURL bool) bool {
	switch strings.ToLower(strings.ReplaceAll(kind, "_", "-")) {
	case "container", "operating-system", "file", "device", "data", "platform", "cryptographic-asset":
		return false
	case "application":
		return hasURL
	}
	return true
}
