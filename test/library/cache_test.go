package library

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
)

// A step is one review after the provider has been told what to answer.
type step struct {
	body    string // empty: the provider may not be asked
	images  []string
	denials []string
	asked   []string // nil: everything came from the cache
}

// Gatekeeper's response cache keeps every item that it has seen, whatever came along with it.
func TestResponseCache(t *testing.T) { forEachTemplate(t, testResponseCache) }

func testResponseCache(t *testing.T, tpl template) {
	both := []string{app, sidecar}
	sidecarRefused := "Subject failed verification: " + sidecar + ": verification failed: no referrers found for this artifact. sign this digest (trace 4bf92f35)"
	inError := "Could not verify: " + app + ": no such image"
	for name, steps := range map[string][]step{
		"a proof is kept, and its status is then 0": {
			{body: body(item(app, proof(app))), images: []string{app}, asked: []string{app}},
			{images: []string{app}},
		},
		"a refusal is kept": {
			{body: body(item(app, refusal(app))), images: []string{app}, denials: lines(refused), asked: []string{app}},
			{images: []string{app}, denials: lines(refused)},
		},
		"an item's error is kept": {
			{body: body(object{"key": app, "error": "no such image"}), images: []string{app}, denials: lines(inError), asked: []string{app}},
			{images: []string{app}, denials: lines(inError)},
		},
		"a malformed report is kept": {
			{body: body(item(app, proof(app, "isSuccess", "true"))), images: []string{app}, denials: lines(malformed), asked: []string{app}},
			{images: []string{app}, denials: lines(malformed)},
		},
		"an outdated report is kept": {
			{body: body(item(app, proof(app, "notAfter", past))), images: []string{app}, denials: lines(outdated), asked: []string{app}},
			{images: []string{app}, denials: lines(outdated)},
		},
		"a systemError is not kept": {
			{body: response(object{"systemError": "away"}), images: []string{app}, denials: lines("Could not verify: away"), asked: []string{app}},
			{body: body(item(app, proof(app))), images: []string{app}, asked: []string{app}},
		},
		"a refusal beside a systemError is kept": {
			{body: response(object{"systemError": "away", "items": []any{item(app, refusal(app))}}), images: []string{app}, denials: lines("Could not verify: away"), asked: []string{app}},
			{images: []string{app}, denials: lines(refused)},
		},
		// No template can see it; providers must send no items with a systemError. What is kept is a proof all the same.
		"a proof beside a systemError is kept": {
			{body: response(object{"systemError": "away", "items": []any{item(app, proof(app))}}), images: []string{app}, denials: lines("Could not verify: away"), asked: []string{app}},
			{images: []string{app}},
		},
		"a report without a value beside a systemError is kept": {
			{body: response(object{"systemError": "away", "items": []any{object{"key": app}}}), images: []string{app}, denials: lines("Could not verify: away"), asked: []string{app}},
			{images: []string{app}, denials: lines(unknownKind)},
		},
		"a refusal that nobody asked for is kept": {
			{body: body(item(app, proof(app)), item(sidecar, refusal(sidecar))), images: []string{app}, denials: lines("Could not verify: the provider gave 2 reports where 1 were asked for."), asked: []string{app}},
			{images: []string{sidecar}, denials: lines(sidecarRefused)},
		},
		"what is kept is not asked again": {
			{body: body(item(app, proof(app))), images: []string{app}, asked: []string{app}},
			{body: body(item(sidecar, proof(sidecar))), images: both, asked: []string{sidecar}},
			{images: both},
		},
		"a proof that is kept does not prove another image": {
			{body: body(item(app, proof(app))), images: []string{app}, asked: []string{app}},
			{body: body(item(sidecar, refusal(sidecar))), images: both, denials: lines(sidecarRefused), asked: []string{sidecar}},
			{images: both, denials: lines(sidecarRefused)},
		},
		"a failed status beside what is kept": {
			{body: body(item(app, proof(app))), images: []string{app}, asked: []string{app}},
			{body: `{}`, images: both, denials: lines("Could not verify: " + sidecar + ": the provider gave no report."), asked: []string{sidecar}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakeProvider(t)
			e := newEngineOf(t, tpl, p, time.Hour, constraintFile)
			for i, s := range steps {
				p.says(http.StatusOK, s.body)
				denials := create(t, e, engine.Pod("pod", s.images...))
				if !sameDenials(denials, s.denials) {
					t.Errorf("step %d: got %q, want %q", i+1, denials, s.denials)
				}
				var asked []string
				for _, keys := range p.asked() {
					asked = append(asked, keys...)
				}
				if !slices.Equal(asked, s.asked) {
					t.Errorf("step %d: asked for %q, want %q", i+1, asked, s.asked)
				}
			}
		})
	}
}

// A proof in the cache ends at its notAfter, not when the cache forgets it.
func TestCachedProofEnds(t *testing.T) {
	p := newFakeProvider(t)
	e := newEngine(t, p, time.Hour, constraintFile)
	var end atomic.Int64
	p.answers(func([]string) (int, string) {
		end.Store(time.Now().Unix() + 2)
		return http.StatusOK, body(item(app, proof(app, "notAfter", end.Load())))
	})
	pod := engine.Pod("pod", app)
	if denials := create(t, e, pod); len(denials) != 0 {
		t.Fatalf("the proof is good for a second yet: %q", denials)
	}
	<-time.After(time.Until(time.Unix(end.Load(), 0)))
	if denials := create(t, e, pod); !sameDenials(denials, lines(outdated)) {
		t.Errorf("got %q, want %q", denials, outdated)
	}
	if asked := p.asked(); len(asked) != 1 {
		t.Errorf("the provider was asked %d times: the second answer was not the cache's", len(asked))
	}
}
