package library

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
)

// TestRandomAnswers takes complete proofs, spoils them in up to four places, and compares the template with the oracle.
// RATIFY_SEED repeats a run.
func TestRandomAnswers(t *testing.T) { forEachTemplate(t, testRandomAnswers) }

func testRandomAnswers(t *testing.T, tpl template) {
	// The templates differ in their keys alone, which a tenth is enough for.
	count := randomAnswers
	if tpl.prefix != "" {
		count /= 10
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("RATIFY_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("RATIFY_SEED: %v", err)
		}
		seed = given
	}
	t.Logf("RATIFY_SEED=%d", seed)
	p := newFakeProvider(t)
	e := newEngineOf(t, tpl, p, 0, constraintFile)
	p.prefix = "" // keys are spoilt too
	random := spoiler{rand.New(rand.NewPCG(seed, 0))}
	admitted := 0
	for i := range count {
		images := []string{app, sidecar, "nginx"}[:1+random.IntN(3)]
		keys := make([]string, len(images))
		for k, image := range images {
			keys[k] = tpl.prefix + image
		}
		status, body := random.answer(keys)
		p.answers(func([]string) (int, string) { return status, body })
		denials := create(t, e, engine.Pod("pod", images...))
		want := oracle(keys, status, body, time.Now().Unix())
		if got := len(denials) == 0; got != want {
			t.Fatalf("answer %d: admitted %t, the oracle says %t: images %q, status %d, body %s, denials %q", i, got, want, images, status, body, denials)
		}
		for _, line := range denials {
			if !strings.HasPrefix(line, "Could not verify: ") && !strings.HasPrefix(line, "Subject failed verification: ") || strings.ContainsAny(line, "\n\x1b") {
				t.Fatalf("answer %d: denial %q", i, line)
			}
		}
		if want {
			admitted++
		}
	}
	// Both verdicts must be frequent, or agreement means little.
	if admitted < count/20 || admitted > count*19/20 {
		t.Errorf("only one verdict was tried: %d of %d admitted", admitted, count)
	}
	t.Logf("%d random answers, %d of them proofs", count, admitted)
}

// oracle says from the bytes alone whether they prove every image: the contract, written without regard to Rego.
func oracle(images []string, status int, body string, now int64) bool {
	var answer struct {
		Response struct {
			Items []struct {
				Key, Error string
				Value      any
			}
			SystemError string
			Idempotent  bool
		}
		APIVersion, Kind string
	}
	if status != http.StatusOK || json.Unmarshal([]byte(body), &answer) != nil || answer.Response.SystemError != "" || len(answer.Response.Items) != len(images) {
		return false
	}
	open := map[string]bool{}
	for _, image := range images {
		open[image] = true
	}
	for _, item := range answer.Response.Items {
		report, isObject := item.Value.(map[string]any)
		if !isObject || !open[item.Key] || item.Error != "" {
			return false
		}
		notAfter, isNumber := report["notAfter"].(float64)
		if report["version"] != "1.0" || report["key"] != item.Key || report["isSuccess"] != true || !isNumber || notAfter <= float64(now) {
			return false
		}
		delete(open, item.Key)
	}
	return len(open) == 0
}

// A spoiler makes random answers.
type spoiler struct{ *rand.Rand }

func (r spoiler) answer(images []string) (status int, text string) {
	items := make([]any, len(images))
	for i, image := range images {
		items[i] = item(image, proof(image, "verifierReports", []any{object{"isSuccess": true, "name": "notation"}}))
	}
	var tree any
	if err := json.Unmarshal([]byte(withInstants(body(items...))), &tree); err != nil {
		panic(err)
	}
	for range r.IntN(5) {
		tree = r.spoil(tree)
	}
	text = encode(tree)
	if r.IntN(50) == 0 {
		text = text[:r.IntN(len(text))]
	}
	status = http.StatusOK
	if r.IntN(25) == 0 {
		status = []int{201, 202, 400, 401, 403, 404, 429, 500, 502, 503}[r.IntN(10)]
	}
	return status, text
}

// spoil changes one place in the tree: it goes down a random path and replaces, removes, doubles, renames or moves what
// it finds there.
func (r spoiler) spoil(node any) any {
	switch node := node.(type) {
	case map[string]any:
		return r.spoilObject(node)
	case []any:
		return r.spoilArray(node)
	default:
		return r.replacement(node)
	}
}

func (r spoiler) spoilObject(node map[string]any) any {
	// Map order is random in its own way; the seed alone must decide.
	keys := slices.Sorted(maps.Keys(node))
	if len(keys) == 0 || r.IntN(8) == 0 {
		return r.replacement(node)
	}
	key := keys[r.IntN(len(keys))]
	switch r.IntN(10) {
	case 0:
		delete(node, key)
	case 1:
		node[[]string{"Key", "error", "isSuccess", "is_success", "notAfter", "system_error", "systemError", "version", "value"}[r.IntN(9)]] = node[key]
	case 2:
		other := keys[r.IntN(len(keys))]
		node[key], node[other] = node[other], node[key]
	default:
		node[key] = r.spoil(node[key])
	}
	return node
}

func (r spoiler) spoilArray(node []any) any {
	if len(node) == 0 || r.IntN(8) == 0 {
		return r.replacement(node)
	}
	i, j := r.IntN(len(node)), r.IntN(len(node))
	switch r.IntN(8) {
	case 0:
		return append(node, node[i])
	case 1:
		return append(node[:i:i], node[i+1:]...)
	case 2:
		node[i], node[j] = node[j], node[i]
	case 3:
		node[i] = node[j]
	default:
		node[i] = r.spoil(node[i])
	}
	return node
}

func (r spoiler) replacement(node any) any {
	now := float64(time.Now().Unix())
	values := []any{nil, true, false, "", "true", "1.0", "2.0", app, sidecar, "a\nb\x1b[2J%s", 0.0, 1.0, -1.0, 1e300, now + 3600, now - 3600,
		[]any{}, object{}, []any{node}, object{"value": node}, node, node, node}
	// A copy, so that later changes of one place stay in that place, and no tree holds itself.
	var value any
	if err := json.Unmarshal([]byte(encode(values[r.IntN(len(values))])), &value); err != nil {
		panic(err)
	}
	return value
}
