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

// newEngine is Gatekeeper with the shipped template and one constraint, asking the fake provider.
func newEngine(t *testing.T, p *fakeProvider, cacheTTL time.Duration, constraint string) *engine.Engine {
	t.Helper()
	e, err := engine.New(engine.Options{CacheTTL: cacheTTL, ClientCert: p.clientCert, ClientKey: p.clientKey, Providers: []engine.Provider{p.provider()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := e.Apply(read(t, templateFile), read(t, constraint)); err != nil {
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

func TestShapesOfAnswer(t *testing.T) {
	p := newFakeProvider(t)
	e := newEngine(t, p, 0, constraintFile)
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
