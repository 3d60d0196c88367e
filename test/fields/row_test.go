package fields

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// A row changes one field and says what comes of it. Texts may hold the world's values, as in ${HOST}.
type row struct {
	// at is the place of the field in the document, as in policies[0].mode.
	at string
	// from is the configuration before, in YAML. Without stores it has the fixture's registry.
	from string
	// to is the field's value after; empty takes the field away.
	to string
	// along are other fields that change with it, by their place, and why they have to.
	along map[string]string
	why   string
	// tenant is a file of the tenant team-a, team the same as the document that is changed: then from is the whole of it.
	tenant   string
	inTenant bool
	// args are flags of ratify serve.
	args []string

	// ask is the key that is asked about; see what is looked at, the verdict's code where it is nil.
	ask string
	see func(t *testing.T, r *run) string
	// was and is are what is seen before and after.
	was, is string
	// effect says what is seen, where it is not the verdict.
	effect string
}

// field names the field by its document and its path without positions.
func (r row) field(t *testing.T, document any) string {
	t.Helper()
	name, path := fileDocument, r.at
	if r.inTenant {
		name = tenantDocument
	}
	if module, rest, inModule := strings.Cut(path, ".settings."); inModule {
		of, err := get(document, steps(module+".type"))
		if err != nil {
			t.Fatal(err)
		}
		name, path = fmt.Sprint(of), rest
	}
	return name + ": " + regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "[]")
}

// defaultStores are those of a configuration that names none.
const defaultStores = `
stores: [{name: registries, type: oras, scopes: ["*"], settings: {registries: [{host: "${HOST}", plainHTTP: true, allowPrivate: true}]}}]
`

// decode reads a document as a tree.
func decode(t *testing.T, text string) any {
	t.Helper()
	var document any
	if err := yaml.UnmarshalStrict([]byte(text), &document); err != nil {
		t.Fatalf("%s\n%s", err, text)
	}
	return document
}

// before is the document that the row changes, with its values left open.
func (r row) before(t *testing.T) any {
	t.Helper()
	if !r.inTenant && !strings.Contains(r.from, "stores:") {
		r.from = defaultStores + r.from
	}
	return decode(t, r.from)
}

// after is that document with the one field changed, and what must change along.
func (r row) after(t *testing.T) any {
	t.Helper()
	document := r.before(t)
	changes := map[string]string{r.at: r.to}
	maps.Copy(changes, r.along)
	for _, at := range slices.Sorted(maps.Keys(changes)) {
		var err error
		if document, err = set(document, steps(at), changes[at]); err != nil {
			t.Fatalf("%s: %s", at, err)
		}
	}
	return document
}

// steps are the names and positions of a path.
func steps(path string) []any {
	var all []any
	for _, step := range regexp.MustCompile(`[^.\[\]]+`).FindAllString(path, -1) {
		if n, err := strconv.Atoi(step); err == nil {
			all = append(all, n)
			continue
		}
		all = append(all, step)
	}
	return all
}

var errNoSuchPlace = errors.New("the document has no such place")

func get(document any, path []any) (any, error) {
	for _, step := range path {
		switch at := document.(type) {
		case map[string]any:
			name, _ := step.(string)
			document = at[name]
		case []any:
			n, ok := step.(int)
			if !ok || n >= len(at) {
				return nil, errNoSuchPlace
			}
			document = at[n]
		default:
			return nil, errNoSuchPlace
		}
	}
	return document, nil
}

// set puts the value, which is YAML, at the place; empty takes away what is there.
func set(document any, path []any, value string) (any, error) {
	name, isName := path[len(path)-1].(string)
	parent, err := get(document, path[:len(path)-1])
	if err != nil || !isName {
		return nil, errNoSuchPlace
	}
	fields, ok := parent.(map[string]any)
	switch {
	case !ok && parent == nil && len(path) > 1:
		// The field's own place is absent, too.
		if document, err = set(document, path[:len(path)-1], "{}"); err != nil {
			return nil, err
		}
		return set(document, path, value)
	case !ok:
		return nil, errNoSuchPlace
	case value == "":
		delete(fields, name)
		return document, nil
	}
	var decoded any
	if err := yaml.Unmarshal([]byte(value), &decoded); err != nil {
		return nil, err
	}
	fields[name] = decoded
	return document, nil
}

// encode writes a document with the values filled in: JSON is YAML, too.
func encode(t *testing.T, document any, value func(name string) string) []byte {
	t.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(os.Expand(string(data), value))
}
