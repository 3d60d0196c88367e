package fields

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/store/ocilayout"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/vulnerability"
)

// The documents that hold fields, beside the settings of modules, which go by their type.
const (
	fileDocument   = "file"
	tenantDocument = "tenant"
)

// roots are all that can be written, by the document that it is written in.
func roots() map[string]any {
	return map[string]any{
		fileDocument: config.File{}, tenantDocument: config.Tenant{},
		"oras": oras.Config{}, "ocilayout": ocilayout.Config{}, "notation": notation.Config{}, "cosign": cosign.Config{},
		"attestation": attestation.Config{}, "sbom": sbom.Config{}, "vulnerability": vulnerability.Config{},
	}
}

// written are the types whose text is decoded by a method of their own, and the fields in them that reflection cannot see.
func written() map[reflect.Type][]string {
	return map[reflect.Type][]string{
		reflect.TypeFor[config.Duration](): nil,
		reflect.TypeFor[config.Bytes]():    nil,
		reflect.TypeFor[ratify.Instant]():  nil,
		reflect.TypeFor[ratify.Require]():  {"all", "any", "atLeast", "of"}, // the nodes of its tree
	}
}

// A lister collects the fields of a document.
type lister struct {
	fields   []string
	problems []string
}

// allFields lists every field that holds a value, as document: path. What only holds other fields is these.
func allFields(t *testing.T) []string {
	t.Helper()
	l := &lister{}
	for document, root := range roots() {
		l.structure(document+": ", reflect.TypeOf(root))
	}
	for _, problem := range l.problems {
		t.Error(problem)
	}
	slices.Sort(l.fields)
	return l.fields
}

func (l *lister) structure(prefix string, of reflect.Type) {
	for f := range of.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || tag == "-":
		case f.Anonymous && tag == "":
			l.structure(prefix, f.Type)
		case tag == "":
			l.problems = append(l.problems, fmt.Sprintf("%s%s has no name in the file", prefix, f.Name))
		default:
			l.field(prefix+tag, f.Type)
		}
	}
}

func (l *lister) field(path string, of reflect.Type) {
	inner, known := written()[of]
	switch {
	case of == reflect.TypeFor[config.Settings]():
		return // the roots of the modules are in it
	case known:
		l.fields = append(l.fields, path)
		for _, name := range inner {
			l.fields = append(l.fields, path+"."+name)
		}
		return
	case of == reflect.TypeFor[oras.Sources]():
		// It takes a single one for a list, and is a list for the rest.
	case decodesItself(of):
		l.problems = append(l.problems, fmt.Sprintf("%s is of %s, which decodes itself: the fields in it have to be listed", path, of))
		return
	}
	switch of.Kind() {
	case reflect.Pointer:
		l.field(path, of.Elem())
	case reflect.Struct:
		l.structure(path+".", of)
	case reflect.Slice:
		if of.Elem().Kind() == reflect.Struct {
			l.structure(path+"[].", of.Elem())
			return
		}
		l.fields = append(l.fields, path)
	default:
		l.fields = append(l.fields, path)
	}
}

func decodesItself(of reflect.Type) bool {
	pointer := reflect.PointerTo(of)
	return pointer.Implements(reflect.TypeFor[json.Unmarshaler]()) || pointer.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// exceptions are the fields whose change alone changes nothing, with the reason.
func exceptions() map[string]string {
	return map[string]string{
		"notation: trustPolicy.version":    "there is one version, 1.0; every other is refused when the file is loaded",
		"tenant: policies[].lastKnownGood": "that an image is admitted which cannot be verified now is the operator's to allow; in a tenant's file it is refused",
		"tenant: policies[].mode":          "enforce is all that a tenant may write; audit would admit what the cluster forbids, and is refused",
		"tenant: policies[].namespaces":    "the file's name is the namespace; whatever is written here is refused",
	}
}
