package library

import (
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/expand"
	"github.com/ratify-provider/ratify/test/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const privateFile = libraryDir + "tenants/samples/constraint-private.yaml"

// tenancyBlock is what may differ between the Rego of the templates.
var tenancyBlock = regexp.MustCompile(`(?s)# tenancy: begin\n.*?# tenancy: end\n`)

// The templates are one template: a fault that is mended in one of them cannot stay in the other.
func TestTemplatesDifferInTheKeyAlone(t *testing.T) {
	rego := func(file string) string {
		object := decodeOne(t, read(t, file)).Object
		targets, _, err := unstructured.NestedSlice(object, "spec", "targets")
		if err != nil || len(targets) != 1 {
			t.Fatalf("%s: %d targets, error %v", file, len(targets), err)
		}
		text := targets[0].(map[string]any)["rego"].(string)
		if n := len(tenancyBlock.FindAllString(text, -1)); n != 1 {
			t.Fatalf("%s: %d parts about tenancy", file, n)
		}
		return tenancyBlock.ReplaceAllString(text, "")
	}
	if rego(templateFile) != rego(tenantsFile) {
		t.Error("the Rego of the templates differs outside the part about tenancy")
	}
	rest := func(file string) map[string]any {
		object := decodeOne(t, read(t, file)).Object
		unstructured.RemoveNestedField(object, "metadata", "annotations")
		unstructured.RemoveNestedField(object, "spec", "targets")
		return object
	}
	if !reflect.DeepEqual(rest(templateFile), rest(tenantsFile)) {
		t.Error("the templates differ in more than their Rego and their annotations: one must be able to take the other's place")
	}
}

// A tenantCase is one admission request to the tenants' template, with the keys as the provider sees them.
type tenantCase struct {
	name    string
	request engine.Request
	// answer is what the provider makes of the keys; nil proves each.
	answer  func(keys []string) []any
	denials []string
	asked   []string // nil: it is not asked
}

func podIn(namespace string, images ...string) map[string]any {
	o := engine.Pod("pod", images...)
	o["metadata"].(map[string]any)["namespace"] = namespace
	return o
}

func tenantCases() []tenantCase {
	created := func(name, namespace string, denials, asked []string) tenantCase {
		return tenantCase{name: name, request: engine.Request{Object: podIn(namespace, app)}, denials: denials, asked: asked}
	}
	long := strings.Repeat("a", 63)
	cases := []tenantCase{
		created("a namespace", "team-a", nil, lines("[team-a]"+app)),
		created("another namespace", "team-b", nil, lines("[team-b]"+app)),
		created("a digit", "0", nil, lines("[0]"+app)),
		created("the longest name", long, nil, lines("["+long+"]"+app)),
		{name: "several images", request: engine.Request{Object: podIn("team-a", app, sidecar)}, asked: lines("[team-a]"+app, "[team-a]"+sidecar)},
		{name: "an image that looks like a key", request: engine.Request{Object: podIn("team-a", "[team-b]"+app)}, asked: lines("[team-a][team-b]" + app)},
		{name: "a namespace only in the request", request: engine.Request{Object: tenantless(app)}, asked: lines("[default]" + app)},
		{name: "an IPv6 registry", request: engine.Request{Object: podIn("team-a", "[::1]:5000/app")}, asked: lines("[team-a][::1]:5000/app")},
		{name: "an UPDATE that brings an image", request: engine.Request{Operation: "UPDATE", OldObject: podIn("team-a", app), Object: podIn("team-a", app, sidecar)}, asked: lines("[team-a]"+app, "[team-a]"+sidecar)},
		{name: "an UPDATE that brings none", request: engine.Request{Operation: "UPDATE", OldObject: podIn("team-a", app), Object: podIn("team-a", app)}},
		{name: "an answer for another tenant", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines(noReport),
			answer: func([]string) []any { return []any{item("[team-b]"+app, proof("[team-b]"+app))} }},
		{name: "an answer for no tenant", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines(noReport),
			answer: func([]string) []any { return []any{item(app, proof(app))} }},
		{name: "another tenant's report under the key", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines(unknownKind),
			answer: func(keys []string) []any { return []any{item(keys[0], proof("[team-b]"+app))} }},
		{name: "the report of no tenant under the key", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines(unknownKind),
			answer: func(keys []string) []any { return []any{item(keys[0], proof(app))} }},
		{name: "a refusal shows the image", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines(refused),
			answer: func(keys []string) []any { return []any{item(keys[0], refusal(keys[0]))} }},
		{name: "an error shows the image", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines("Could not verify: " + app + ": no such image"),
			answer: func(keys []string) []any { return []any{object{"key": keys[0], "error": "no such image"}} }},
		{name: "an error for another tenant shows all of its key", request: engine.Request{Object: podIn("team-a", app)}, asked: lines("[team-a]" + app), denials: lines("Could not verify: [team-b]" + app + ": no such image"),
			answer: func(keys []string) []any {
				return []any{item(keys[0], proof(keys[0])), object{"key": "[team-b]" + app, "error": "no such image"}}
			}},
	}
	// None of these can be the name of a namespace; a template must not rely on the API server for it.
	for name, namespace := range map[string]string{
		"another tenant's prefix behind it": "team-b][team-a", "a bracket at its end": "team-a]", "a bracket at its beginning": "[team-a", "a capital": "Team-a", "a dot": "team.a",
		"a dash at its end": "team-", "a dash at its beginning": "-team", "a space": " ", "a line feed": "team-a\n", "a look-alike letter": "tеam-a", "64 letters": long + "a", "a pattern": "*",
	} {
		cases = append(cases, created("a namespace with "+name, namespace, lines(noTenant), nil))
	}
	for _, w := range workloads() {
		spec := fmt.Sprintf(`{"metadata":{"namespace":"team-b"},"spec":{"containers":[{"name":"a","image":%q}]}}`, app)
		o := kind(w.apiVersion, w.kind, fmt.Sprintf(w.format, spec))
		o["metadata"].(map[string]any)["namespace"] = "team-a"
		cases = append(cases, tenantCase{name: w.kind + " whose pod template names another namespace", request: engine.Request{Object: o}, asked: lines("[team-a]" + app)})
	}
	slices.SortFunc(cases, func(a, b tenantCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

// run returns what came of a case, and whether it was expected.
func (c tenantCase) run(t *testing.T, e *engine.Engine, p *fakeProvider) (denials, asked []string, held bool) {
	t.Helper()
	p.proves()
	if c.answer != nil {
		p.answers(func(keys []string) (int, string) { return http.StatusOK, withInstants(body(c.answer(keys)...)) })
	}
	denials = review(t, e, c.request)
	asked = slices.Concat(p.asked()...)
	return denials, asked, sameDenials(denials, c.denials) && slices.Equal(asked, c.asked)
}

// newTenantEngine is Gatekeeper with the tenants' template; the provider sees and answers keys as they are.
func newTenantEngine(t *testing.T, p *fakeProvider) *engine.Engine {
	t.Helper()
	e := newEngineOf(t, templates()[1], p, 0, workloadsFile)
	p.prefix = ""
	return e
}

func TestTenants(t *testing.T) {
	p := newFakeProvider(t)
	e := newTenantEngine(t, p)
	for _, c := range tenantCases() {
		t.Run(c.name, func(t *testing.T) {
			if denials, asked, held := c.run(t, e, p); !held {
				t.Errorf("got %q after asking %q, want %q after asking %q", denials, asked, c.denials, c.asked)
			}
		})
	}
}

func TestTenantFaultsAreFound(t *testing.T) {
	const (
		prefix  = `concat("", ["[", input.review.namespace, "]"])`
		checked = "          regex.match(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`, input.review.namespace)\n"
	)
	p := newFakeProvider(t)
	e := newTenantEngine(t, p)
	for _, f := range []fault{
		{name: "no tenant at all", edits: []string{prefix, `""`}, words: true},
		{name: "one tenant for all", edits: []string{prefix, `"[default]"`}, words: true},
		{name: "the object's own word for its namespace", edits: []string{prefix, `concat("", ["[", input.review.object.metadata.namespace, "]"])`}},
		{name: "a namespace of any form", edits: []string{checked, "          true\n"}},
		{name: "a namespace that begins well", edits: []string{checked, strings.Replace(checked, "$", "", 1)}},
		{name: "a namespace that ends well", edits: []string{checked, strings.Replace(checked, "^", "", 1)}},
		{name: "a namespace of any length", edits: []string{checked, strings.Replace(checked, "{0,61}", "*", 1)}},
		{name: "an answer for any tenant", edits: []string{"pair[0] == key_of(image)]", "endswith(pair[0], image)]", "          report.key == key_of(image)\n", "          endswith(report.key, image)\n"}},
		{name: "a report for any tenant", edits: []string{"          report.key == key_of(image)\n", "          endswith(report.key, image)\n"}},
		{name: "a report for no tenant", edits: []string{"          report.key == key_of(image)\n", "          report.key == image\n"}},
		{name: "errors show the key", edits: []string{"trim_prefix(failed[0], key_prefix)", "failed[0]"}, words: true},
		{name: "errors hide the tenant", edits: []string{"trim_prefix(failed[0], key_prefix)", "regex.replace(failed[0], `^\\[[^\\]]*\\]`, \"\")"}, words: true},
	} {
		t.Run(f.name, func(t *testing.T) {
			if err := e.Apply(f.in(t, templates()[1]), read(t, workloadsFile)); err != nil {
				t.Fatal(err)
			}
			for _, c := range tenantCases() {
				denials, _, held := c.run(t, e, p)
				if f.words && !held || (len(denials) == 0) != (len(c.denials) == 0) {
					t.Logf("found by: %s", c.name)
					return
				}
			}
			t.Error("no case shows this fault")
		})
	}
}

// A workload is judged by the Pod that would come of it, in the workload's namespace.
func TestTenantsOfExpansions(t *testing.T) {
	expander, err := expand.NewExpander(decode(t, expansionFile))
	if err != nil {
		t.Fatal(err)
	}
	p := newFakeProvider(t)
	a := newAuditor(t, p)
	a.apply(t, read(t, tenantsFile), read(t, constraintFile))
	for _, w := range workloads() {
		t.Run(w.kind, func(t *testing.T) {
			spec := fmt.Sprintf(`{"metadata":{"namespace":"team-b"},"spec":{"containers":[{"name":"a","image":%q}]}}`, app)
			generator := kind(w.apiVersion, w.kind, fmt.Sprintf(w.format, spec))
			generator["metadata"].(map[string]any)["namespace"] = "team-a"
			made, err := expander.Expand(&unstructured.Unstructured{Object: generator})
			if err != nil || len(made) != 1 {
				t.Fatalf("%d Pods were made of it, error %v", len(made), err)
			}
			p.proves()
			if found := a.audit(t, made[0].Obj.Object); len(found) > 0 {
				t.Errorf("denied: %q", found)
			}
			if asked, want := slices.Concat(p.asked()...), lines("[team-a]"+app); !slices.Equal(asked, want) {
				t.Errorf("asked for %q, want %q", asked, want)
			}
		})
	}
}

// For namespaces that mutations leave out there is a constraint of their own, beside the one for all.
func TestPrivateNamespaces(t *testing.T) {
	p := newFakeProvider(t)
	e := newTenantEngine(t, p)
	if err := e.Apply(read(t, constraintFile), read(t, privateFile)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, namespace, image string
		denials                []string
	}{
		{"a tag", "team-a", app, nil},
		{"a tag in a private namespace", "team-private", app, lines("[ratify-constraint-private] " + fmt.Sprintf(noDigest, app))},
		{"a digest in a private namespace", "team-private", digested, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.proves()
			denials, err := e.Deny(t.Context(), podIn(c.namespace, c.image))
			if err != nil || !sameDenials(denials, c.denials) {
				t.Errorf("got %q, %v, want %q", denials, err, c.denials)
			}
			for _, key := range slices.Concat(p.asked()...) {
				if want := "[" + c.namespace + "]" + c.image; key != want {
					t.Errorf("asked for %q, want %q", key, want)
				}
			}
		})
	}
}
