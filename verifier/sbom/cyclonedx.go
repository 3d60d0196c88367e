package sbom

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
)

// cycloneDXVersions are the versions of CycloneDX that are read. They differ in nothing that is read here.
func cycloneDXVersions() []string { return []string{"1.4", "1.5", "1.6"} }

// cycloneDX reads a CycloneDX document (JSON). Several licences of a component are taken to hold all together, for the
// format does not say; of those, from version 1.6 on, that are marked as concluded or declared, the concluded ones count if
// there are any. Licences that were observed as evidence do not count, nor do components in a pedigree, which are what
// a component was made from.
func (w *walk) cycloneDX() error {
	format, version := "", ""
	err := w.object([]string{"bomFormat", "specVersion", "metadata", "components"}, func(name string) error {
		switch name {
		case "bomFormat":
			return w.TextInto(&format)
		case "specVersion":
			return w.TextInto(&version)
		case "metadata":
			return w.cycloneDXMetadata()
		}
		return w.list(func() error { return w.cycloneDXComponent(0, false) })
	})
	versions := cycloneDXVersions()
	switch {
	case err != nil:
		return err
	case format != "CycloneDX":
		return fmt.Errorf("its bomFormat is %s, expected CycloneDX", ratify.Quote(format))
	case !slices.Contains(versions, version):
		return fmt.Errorf("its version is %s, and CycloneDX %s are read", ratify.Quote(version), strings.Join(versions, ", "))
	}
	w.bom.format = format + "-" + version
	return nil
}

func (w *walk) cycloneDXMetadata() error {
	return w.object([]string{"timestamp", "tools", "component"}, func(name string) error {
		switch name {
		case "timestamp":
			return w.TimeInto(&w.bom.created)
		case "tools":
			return w.cycloneDXTools()
		}
		return w.cycloneDXComponent(0, true)
	})
}

// cycloneDXTools reads a list of tools, or, as it is from version 1.5 on, an object with a list of components.
func (w *walk) cycloneDXTools() error {
	if w.Next() == '{' {
		return w.object([]string{"components"}, func(string) error { return w.list(w.cycloneDXTool) })
	}
	return w.list(w.cycloneDXTool)
}

func (w *walk) cycloneDXTool() error {
	name, version := "", ""
	err := w.object([]string{"name", "version"}, func(field string) error {
		if field == "name" {
			return w.TextInto(&name)
		}
		return w.TextInto(&version)
	})
	w.bom.addTool(name, version)
	return err
}

// cycloneDXComponent reads a component, and those in it. described is the one that the document is about.
func (w *walk) cycloneDXComponent(depth int, described bool) error {
	if depth == maxNesting {
		return tooMuch("it has components within components deeper than %d", maxNesting)
	}
	c := w.component(depth)
	kind, url := "", ""
	concluded := 0
	err := w.object([]string{"type", "group", "name", "version", "purl", "licenses", "components"}, func(name string) error {
		switch name {
		case "type":
			return w.TextInto(&kind)
		case "group":
			return w.TextInto(&c.group)
		case "name":
			return w.TextInto(&c.name)
		case "version":
			return w.TextInto(&c.version)
		case "purl":
			return w.TextInto(&url)
		case "licenses":
			return w.list(func() error { return w.cycloneDXLicense(c, &concluded) })
		}
		return w.list(func() error { return w.cycloneDXComponent(depth+1, false) })
	})
	if err == nil {
		err = c.addURL(url)
	}
	switch {
	case err != nil:
		return err
	case c.name == "":
		return errNoName
	}
	if concluded > 0 {
		c.licenses = c.licenses[:concluded]
	}
	c.needsLicense = !described && needsLicense(kind, len(c.urls) > 0)
	if c.isImage = described && kind == "container"; c.isImage {
		w.bom.addImages(c.digests()...)
	}
	return w.add(c)
}

// cycloneDXLicense reads one entry: a licence by identifier or name, or an expression. The concluded ones come first.
func (w *walk) cycloneDXLicense(c *component, concluded *int) error {
	id, name, expression, acknowledgement := "", "", "", ""
	err := w.object([]string{"license", "expression", "acknowledgement"}, func(field string) error {
		switch field {
		case "expression":
			return w.TextInto(&expression)
		case "acknowledgement":
			return w.TextInto(&acknowledgement)
		}
		return w.object([]string{"id", "name", "acknowledgement"}, func(field string) error {
			switch field {
			case "id":
				return w.TextInto(&id)
			case "name":
				return w.TextInto(&name)
			}
			return w.TextInto(&acknowledgement)
		})
	})
	if err != nil {
		return err
	}
	if len(c.licenses) == maxOfOne {
		return tooMuch("a package has more than %d licences", maxOfOne)
	}
	c.licenses = append(c.licenses, cmp.Or(expression, id, name, noAssertion))
	if last := len(c.licenses) - 1; acknowledgement == "concluded" {
		c.licenses[*concluded], c.licenses[last] = c.licenses[last], c.licenses[*concluded]
		*concluded++
	}
	return nil
}
