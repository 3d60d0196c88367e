// Package sbomtest makes bills of materials as the tools write them, for tests and for the demonstration.
//
//	document := sbomtest.SPDX(sbomtest.About{Name: "registry.example/app", Digest: image.Digest, Created: time.Now()},
//		sbomtest.Package{Name: "musl", Version: "1.2.4", PURL: "pkg:apk/alpine/musl@1.2.4", License: "MIT"})
//	data, err := document.JSON()
//
// They pass the schemas of their formats, which the whole-system tests hold.
package sbomtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// The artifact types under which tools attach the documents, and the predicate types under which cosign attests them.
const (
	TypeSPDX           = "application/spdx+json"
	TypeCycloneDX      = "application/vnd.cyclonedx+json"
	PredicateSPDX      = "https://spdx.dev/Document"
	PredicateCycloneDX = "https://cyclonedx.org/bom"
)

// About is what a document says of the image, and of itself.
type About struct {
	Name    string // of the image, such as registry.example/app
	Digest  digest.Digest
	Created time.Time
}

// A Package is one that the image is made of.
type Package struct {
	Name, Version string
	PURL          string // may be empty
	License       string // an SPDX expression; empty is that nobody says
	Kind          string // CycloneDX's type; empty is library
}

// A Document is a JSON object, to be changed before it is encoded.
type Document map[string]any

// JSON encodes it.
func (d Document) JSON() ([]byte, error) { return json.Marshal(d) }

// purl is the package URL of the image.
func (a About) purl() string {
	name := a.Name[strings.LastIndexByte(a.Name, '/')+1:]
	return "pkg:oci/" + name + "@" + strings.Replace(a.Digest.String(), ":", "%3A", 1) + "?arch=amd64&tag=1.0"
}

type object = map[string]any

// SPDX makes a document as syft does: the image first, then its packages with names for vulnerability databases beside
// their package URLs, and files and relationships after them.
func SPDX(a About, packages ...Package) Document {
	const root = "SPDXRef-DocumentRoot-Image"
	list := []any{object{
		"name": a.Name, "SPDXID": root, "versionInfo": a.Digest.String(),
		"downloadLocation": "NOASSERTION", "filesAnalyzed": false, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
		"primaryPackagePurpose": "CONTAINER",
		"checksums":             []any{object{"algorithm": "SHA256", "checksumValue": a.Digest.Encoded()}},
		"externalRefs":          []any{object{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": a.purl()}},
	}}
	relationships := []any{object{"spdxElementId": "SPDXRef-DOCUMENT", "relatedSpdxElement": root, "relationshipType": "DESCRIBES"}}
	for i, p := range packages {
		id := fmt.Sprintf("SPDXRef-Package-%d", i)
		refs := []any{object{
			"referenceCategory": "SECURITY", "referenceType": "cpe23Type",
			"referenceLocator": "cpe:2.3:a:" + p.Name + ":" + p.Name + ":" + p.Version + ":*:*:*:*:*:*:*",
		}}
		if p.PURL != "" {
			refs = append(refs, object{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": p.PURL})
		}
		entry := object{
			"name": p.Name, "SPDXID": id, "versionInfo": p.Version, "supplier": "NOASSERTION", "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"sourceInfo": "acquired package info from the package manager's database", "licenseConcluded": "NOASSERTION",
			"licenseDeclared": cmp.Or(p.License, "NOASSERTION"), "copyrightText": "NOASSERTION", "externalRefs": refs,
		}
		if p.Kind != "" {
			entry["primaryPackagePurpose"] = strings.ToUpper(strings.ReplaceAll(p.Kind, "-", "_"))
		}
		list = append(list, entry)
		relationships = append(relationships, object{"spdxElementId": root, "relatedSpdxElement": id, "relationshipType": "CONTAINS"})
	}
	return Document{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": a.Name,
		"documentNamespace": "https://sbom.example/image/" + a.Digest.Encoded(),
		"creationInfo": object{
			"licenseListVersion": "3.22", "creators": []any{"Organization: Example", "Tool: syft-0.95.0"}, "created": a.Created.UTC().Format(time.RFC3339),
		},
		"packages": list,
		"files": []any{object{
			"fileName": "/bin/busybox", "SPDXID": "SPDXRef-File-bin-busybox", "fileTypes": []any{"APPLICATION", "BINARY"},
			"checksums":        []any{object{"algorithm": "SHA1", "checksumValue": strings.Repeat("0", 40)}},
			"licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
		}},
		"relationships": relationships,
	}
}

// CycloneDX makes a document of version 1.5 as trivy does. A licence's expression is under its name, where trivy writes
// it.
func CycloneDX(a About, packages ...Package) Document {
	list, refs := []any{}, []any{}
	for i, p := range packages {
		ref := fmt.Sprintf("ref-%d", i)
		entry := object{
			"bom-ref": ref, "type": cmp.Or(p.Kind, "library"), "name": p.Name, "version": p.Version,
			"properties": []any{object{"name": "aquasecurity:trivy:PkgType", "value": "alpine"}},
		}
		if p.PURL != "" {
			entry["purl"] = p.PURL
		}
		if p.License != "" {
			entry["licenses"] = []any{object{"license": object{"name": p.License}}}
		}
		list, refs = append(list, entry), append(refs, ref)
	}
	return Document{
		"$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
		"serialNumber": "urn:uuid:3e671687-395b-41f5-a30f-a58921a69b79",
		"metadata": object{
			"timestamp": a.Created.UTC().Format(time.RFC3339),
			"tools":     object{"components": []any{object{"type": "application", "group": "aquasecurity", "name": "trivy", "version": "0.49.0"}}},
			"component": object{"bom-ref": "root", "type": "container", "name": a.Name, "purl": a.purl()},
		},
		"components": list, "dependencies": []any{object{"ref": "root", "dependsOn": refs}}, "vulnerabilities": []any{},
	}
}
