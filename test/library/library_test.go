// Package library holds the suites of the library directory: the shipped ConstraintTemplate, constraints, mutations and
// expansions on Gatekeeper's own engine, with a provider that answers whatever a test tells it.
package library

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
)

const (
	libraryDir     = "../../library/"
	templateFile   = libraryDir + "default/template.yaml"
	tenantsFile    = libraryDir + "tenants/template.yaml"
	constraintFile = libraryDir + "default/samples/constraint.yaml"
	digestFile     = libraryDir + "default/samples/constraint-digest.yaml"
	workloadsFile  = libraryDir + "default/samples/constraint-workloads.yaml"

	prefix = "[ratify-constraint] "
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A template is one of those that are shipped.
type template struct {
	name, file string
	// prefix is what it puts before an image of the namespace default.
	prefix string
}

func templates() []template {
	return []template{{name: "default", file: templateFile}, {name: "tenants", file: tenantsFile, prefix: "[default]"}}
}

// forEachTemplate runs a suite on both: what the provider answers is the same, but for the prefix of its keys, and so is
// what a person sees.
func forEachTemplate(t *testing.T, suite func(t *testing.T, tpl template)) {
	for _, tpl := range templates() {
		t.Run(tpl.name, func(t *testing.T) { suite(t, tpl) })
	}
}

// newEngine is Gatekeeper with the default template and one constraint, asking the fake provider.
func newEngine(t *testing.T, p *fakeProvider, cacheTTL time.Duration, constraint string) *engine.Engine {
	t.Helper()
	return newEngineOf(t, templates()[0], p, cacheTTL, constraint)
}

// newEngineOf is newEngine for one of the templates; the provider answers under its keys.
func newEngineOf(t *testing.T, tpl template, p *fakeProvider, cacheTTL time.Duration, constraint string) *engine.Engine {
	t.Helper()
	p.prefix = tpl.prefix
	e, err := engine.New(engine.Options{CacheTTL: cacheTTL, ClientCert: p.clientCert, ClientKey: p.clientKey, Providers: []engine.Provider{p.provider()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := e.Apply(read(t, tpl.file), read(t, constraint)); err != nil {
		t.Fatal(err)
	}
	return e
}

// review returns the lines of the denial without the constraint's name.
func review(t *testing.T, e *engine.Engine, request engine.Request) []string {
	t.Helper()
	denials, err := e.Review(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range denials {
		if !strings.HasPrefix(line, prefix) {
			t.Fatalf("denial %q is not the constraint's", line)
		}
		denials[i] = strings.TrimPrefix(line, prefix)
	}
	return denials
}

func create(t *testing.T, e *engine.Engine, object map[string]any) []string {
	t.Helper()
	return review(t, e, engine.Request{Object: object})
}

// sameDenials compares without order; a wanted line that ends in … is the beginning of one.
func sameDenials(got, want []string) bool {
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	return slices.EqualFunc(got, want, func(got, want string) bool {
		beginning, isBeginning := strings.CutSuffix(want, "…")
		return got == want || isBeginning && strings.HasPrefix(got, beginning)
	})
}

func runShape(t *testing.T, e *engine.Engine, p *fakeProvider, s shape) (denials []string, held bool) {
	t.Helper()
	status := s.status
	if status == 0 {
		status = http.StatusOK
	}
	images := s.images
	if len(images) == 0 {
		images = []string{app}
	}
	p.says(status, s.body)
	denials = create(t, e, engine.Pod("pod", images...))
	return denials, sameDenials(denials, s.denials)
}

func TestShapesOfAnswer(t *testing.T) { forEachTemplate(t, testShapesOfAnswer) }

func testShapesOfAnswer(t *testing.T, tpl template) {
	p := newFakeProvider(t)
	e := newEngineOf(t, tpl, p, 0, constraintFile)
	admitted, denied := 0, 0
	names := map[string]bool{}
	for _, s := range shapes() {
		if names[s.name] {
			t.Errorf("two shapes are named %q", s.name)
		}
		names[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			denials, held := runShape(t, e, p, s)
			if !held {
				t.Errorf("got %q, want %q", denials, s.denials)
			}
			if asked := p.asked(); len(asked) != 1 {
				t.Errorf("the provider was asked %d times, want once", len(asked))
			}
		})
		if len(s.denials) == 0 {
			admitted++
		} else {
			denied++
		}
	}
	if total := admitted + denied; total < 60 {
		t.Errorf("only %d shapes", total)
	}
	t.Logf("%d shapes of answer: %d to be admitted, %d to be denied", admitted+denied, admitted, denied)
}
