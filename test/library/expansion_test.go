package library

import (
	"fmt"
	"testing"

	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/expand"
	"github.com/ratify-provider/ratify/test/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const expansionFile = libraryDir + "expansion/workloads.yaml"

// With the expansions applied, the sample constraint, which matches Pods alone, judges each workload by its Pod.
func TestExpansions(t *testing.T) { forEachTemplate(t, testExpansions) }

func testExpansions(t *testing.T, tpl template) {
	expander, err := expand.NewExpander(decode(t, expansionFile))
	if err != nil {
		t.Fatal(err)
	}
	p := newFakeProvider(t)
	e := newEngineOf(t, tpl, p, 0, constraintFile)
	const spec = `{"spec":{"containers":[{"name":"a","image":%q}],"initContainers":[{"name":"i","image":%q}]}}`
	for _, w := range workloads() {
		for name, c := range map[string]struct {
			init    string
			denials []string
		}{"signed": {app, nil}, "unsigned init container": {unsigned, lines(unsignedDenial)}} {
			t.Run(w.kind+" "+name, func(t *testing.T) {
				p.judges()
				generator := kind(w.apiVersion, w.kind, fmt.Sprintf(w.format, fmt.Sprintf(spec, app, c.init)))
				resultants, err := expander.Expand(&unstructured.Unstructured{Object: generator})
				if err != nil {
					t.Fatal(err)
				}
				if len(resultants) != 1 {
					t.Fatalf("%d Pods were made of it, want one", len(resultants))
				}
				made := resultants[0].Obj
				if made.GetKind() != "Pod" || made.GetAPIVersion() != "v1" || made.GetNamespace() != "default" {
					t.Errorf("what was made of it is a %s %s in namespace %q", made.GetAPIVersion(), made.GetKind(), made.GetNamespace())
				}
				denials := review(t, e, engine.Request{Object: made.Object})
				if !sameDenials(denials, c.denials) {
					t.Errorf("got %q, want %q", denials, c.denials)
				}
			})
		}
	}
	t.Run("Pod", func(t *testing.T) {
		resultants, err := expander.Expand(&unstructured.Unstructured{Object: engine.Pod("pod", app)})
		if err != nil || len(resultants) != 0 {
			t.Errorf("%d objects were made of a Pod, error %v", len(resultants), err)
		}
	})
}
