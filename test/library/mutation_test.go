package library

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	externaldatav1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	mutationsv1 "github.com/open-policy-agent/gatekeeper/v3/apis/mutations/unversioned"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/mutators/assign"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
	"github.com/ratify-provider/ratify/test/engine"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

const mutationFile = libraryDir + "mutation/images.yaml"

// newMutations is Gatekeeper's mutation system with the shipped Assign objects, asking the fake provider.
func newMutations(t *testing.T, p *fakeProvider) *mutation.System {
	t.Helper()
	providers := externaldata.NewCache()
	err := providers.Upsert(&externaldatav1.Provider{
		ObjectMeta: metav1.ObjectMeta{Name: "ratify-mutation-provider"},
		Spec: externaldatav1.ProviderSpec{URL: p.server.URL + "/ratify/gatekeeper/v1/mutate", Timeout: 30,
			CABundle: base64.StdEncoding.EncodeToString(p.ca.PEM())},
	})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := certwatcher.New(p.clientCert, p.clientKey)
	if err != nil {
		t.Fatal(err)
	}
	system := mutation.NewSystem(mutation.SystemOpts{ProviderCache: providers, ClientCertWatcher: watcher})
	for _, object := range decode(t, mutationFile) {
		var a mutationsv1.Assign
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &a, true); err != nil {
			t.Fatal(err)
		}
		mutator, err := assign.MutatorForAssign(&a)
		if err != nil {
			t.Fatalf("%s: %v", object.GetName(), err)
		}
		if err := system.Upsert(mutator); err != nil {
			t.Fatalf("%s: %v", object.GetName(), err)
		}
	}
	return system
}

func decode(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := engine.Decode(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// digests answers each key with the key and a digest behind it, and a digest with itself.
func (p *fakeProvider) digests() {
	p.answers(func(keys []string) (int, string) {
		items := make([]any, len(keys))
		for i, key := range keys {
			items[i] = item(key, withDigest(key))
		}
		return http.StatusOK, body(items...)
	})
}

func withDigest(image string) string {
	if strings.Contains(image, "@") {
		return image
	}
	return image + "@sha256:" + strings.Repeat("0", 64)
}

func mutate(t *testing.T, system *mutation.System, object map[string]any, namespace string) (map[string]any, error) {
	t.Helper()
	// A copy: the system changes the object that it is given.
	var changed map[string]any
	if err := json.Unmarshal([]byte(encode(object)), &changed); err != nil {
		t.Fatal(err)
	}
	changed["metadata"].(map[string]any)["namespace"] = namespace
	err := apply(system, &types.Mutable{
		Object:    &unstructured.Unstructured{Object: changed},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		Source:    types.SourceTypeOriginal,
	})
	return changed, err
}

func TestMutationAddsDigests(t *testing.T) {
	const a, b, c, d = "registry.example/a:1", "registry.example/b:1", "registry.example/c:1", "registry.example/d:1"
	p := newFakeProvider(t)
	system := newMutations(t, p)
	every := `{"containers":[{"name":"a","image":%q},{"name":"b","image":%q}],"initContainers":[{"name":"i","image":%q}],
		"ephemeralContainers":[{"name":"e","image":%q}],"volumes":[{"name":"t","emptyDir":{}},{"name":"v","image":{"reference":%q,"pullPolicy":"Always"}}]}`
	for _, m := range []struct {
		name          string
		namespace     string
		before, after map[string]any
		asked         []string // nil: the provider is not asked
	}{
		{"every list", "default", pod(fmt.Sprintf(every, a, b, c, d, a)), pod(fmt.Sprintf(every, withDigest(a), withDigest(b), withDigest(c), withDigest(d), withDigest(a))), []string{a, b, c, d}},
		{"containers alone, nothing is added to the others", "default", engine.Pod("pod", a), engine.Pod("pod", withDigest(a)), []string{a}},
		{"a digest stays", "default", engine.Pod("pod", digested), engine.Pod("pod", digested), []string{digested}},
		{"volumes without images stay", "default", pod(`{"containers":[{"name":"a","image":"` + a + `"}],"volumes":[{"name":"t","emptyDir":{}},{"name":"s","secret":{"secretName":"x"}}]}`),
			pod(`{"containers":[{"name":"a","image":"` + withDigest(a) + `"}],"volumes":[{"name":"t","emptyDir":{}},{"name":"s","secret":{"secretName":"x"}}]}`), []string{a}},
		{"a container without image gets none", "default", pod(`{"containers":[{"name":"a"}]}`), pod(`{"containers":[{"name":"a"}]}`), nil},
		{"a volume image without reference gets none", "default", pod(`{"containers":[{"name":"a"}],"volumes":[{"name":"v","image":{"pullPolicy":"Always"}}]}`),
			pod(`{"containers":[{"name":"a"}],"volumes":[{"name":"v","image":{"pullPolicy":"Always"}}]}`), nil},
		{"kube-system is left alone", "kube-system", engine.Pod("pod", a), engine.Pod("pod", a), nil},
		{"gatekeeper-system is left alone", "gatekeeper-system", engine.Pod("pod", a), engine.Pod("pod", a), nil},
		{"a Deployment is left alone", "default", kind("apps/v1", "Deployment", `"spec":{"template":{"spec":{"containers":[{"name":"a","image":"x"}]}}}`),
			kind("apps/v1", "Deployment", `"spec":{"template":{"spec":{"containers":[{"name":"a","image":"x"}]}}}`), nil},
	} {
		t.Run(m.name, func(t *testing.T) {
			p.digests()
			got, err := mutate(t, system, m.before, m.namespace)
			if err != nil {
				t.Fatal(err)
			}
			m.after["metadata"].(map[string]any)["namespace"] = m.namespace
			if want := parse(encode(m.after)); !reflect.DeepEqual(parse(encode(got)), want) {
				t.Errorf("got %v, want %v", got, want)
			}
			asked := p.asked()
			if m.asked == nil && len(asked) == 0 {
				return
			}
			if len(asked) != 1 || !slices.Equal(slices.Sorted(slices.Values(asked[0])), m.asked) {
				t.Errorf("asked for %q, want one request for %q", asked, m.asked)
			}
		})
	}
}

// Without a digest the object is refused, never stored with the tag alone.
func TestMutationFailsClosed(t *testing.T) {
	p := newFakeProvider(t)
	system := newMutations(t, p)
	for name, m := range map[string]struct {
		status       int
		body, reason string
	}{
		"no item":                {200, body(), "failed to find external data item"},
		"another key":            {200, body(item(sidecar, withDigest(sidecar))), "failed to find external data item"},
		"item with an error":     {200, body(object{"key": app, "error": "SUBJECT_NOT_FOUND"}), "SUBJECT_NOT_FOUND"},
		"an error and a value":   {200, body(object{"key": app, "error": "SUBJECT_NOT_FOUND", "value": withDigest(app)}), "SUBJECT_NOT_FOUND"},
		"no value":               {200, body(object{"key": app}), "got type <nil>"},
		"the value is null":      {200, body(item(app, nil)), "got type <nil>"},
		"the value is an object": {200, body(item(app, proof(app))), "got type map"},
		"the value is a number":  {200, body(item(app, 1)), "got type float64"},
		"the value is true":      {200, body(item(app, true)), "got type bool"},
		"the value is an array":  {200, body(item(app, []any{withDigest(app)})), "got type []interface"},
		"systemError":            {200, response(object{"systemError": "away"}), "non-empty system error: away"},
		"systemError and value":  {200, response(object{"systemError": "away", "items": []any{item(app, withDigest(app))}}), "non-empty system error: away"},
		"not idempotent":         {200, response(object{"idempotent": false, "items": []any{item(app, withDigest(app))}}), "non-idempotent response"},
		"429 of a mesh":          {429, `{"message":"slow"}`, "non-idempotent response"},
		"text":                   {500, "boom", "failed to unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			p.says(m.status, m.body)
			got, err := mutate(t, system, engine.Pod("pod", app), "default")
			if err == nil || !strings.Contains(err.Error(), m.reason) {
				t.Errorf("got %v and %v, want an error with %q", err, got, m.reason)
			}
		})
	}
	t.Run("provider is down", func(t *testing.T) {
		p.server.Close()
		if got, err := mutate(t, system, engine.Pod("pod", app), "default"); err == nil {
			t.Errorf("got %v, want an error", got)
		}
	})
}

// What the mutations make of a tag is what the constraint that requires digests asks about.
func TestMutationSatisfiesRequiredDigests(t *testing.T) {
	p := newFakeProvider(t)
	system := newMutations(t, p)
	p.digests()
	mutated, err := mutate(t, system, engine.Pod("pod", app), "default")
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, p, 0, digestFile)
	p.proves()
	if denials := create(t, e, mutated); len(denials) != 0 {
		t.Errorf("denied: %q", denials)
	}
	if want := [][]string{{withDigest(app)}}; !reflect.DeepEqual(p.asked(), want) {
		t.Errorf("asked for %q, want %q", p.asked(), want)
	}
}
