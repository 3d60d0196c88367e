package library

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/engine"
)

const (
	unsigned = "registry.example/unsigned:1.0"
	digested = "registry.example/app@sha256:0000000000000000000000000000000000000000000000000000000000000000"

	unsignedDenial = "Subject failed verification: " + unsigned + ": verification failed: no referrers found for this artifact. sign this digest (trace 4bf92f35)"
	shapeDenial    = "Could not verify: the object has not the shape of a pod: it needs containers, and each container and image volume a reference."
	noDigest       = "Subject failed verification: %s: the reference has no digest. Name the image by its digest (name@sha256:...), or let the mutations add it."
)

// An objectCase is one admission request under one constraint, with a provider that proves every image but those named unsigned.
type objectCase struct {
	name       string
	constraint string // file, or the YAML itself; empty is the sample
	request    engine.Request
	denials    []string
	// asked are the keys that the provider is asked for; nil means that it is not asked at all.
	asked []string
}

// everyKind is a constraint that somebody wrote with too wide a match.
const everyKind = `
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: RatifyVerification
metadata: {name: ratify-constraint}
spec:
  match: {kinds: [{apiGroups: ["*"], kinds: ["*"]}]}
`

// withParameters is the sample constraint with other parameters.
func withParameters(parameters string) string {
	return `
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: RatifyVerification
metadata: {name: ratify-constraint}
spec:
  match: {kinds: [{apiGroups: [""], kinds: ["Pod"]}]}
  parameters: ` + parameters
}

// judges proves every key but those that are named unsigned.
func (p *fakeProvider) judges() {
	p.answers(func(keys []string) (int, string) {
		items := make([]any, len(keys))
		for i, key := range keys {
			items[i] = item(key, proof(key))
			if strings.Contains(key, "unsigned") {
				items[i] = item(key, refusal(key))
			}
		}
		return http.StatusOK, withInstants(body(items...))
	})
}

// parse reads an object written as JSON, so that each case can have any shape.
func parse(text string) map[string]any {
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
	return o
}

// pod is a Pod with the given specification, as JSON.
func pod(spec string) map[string]any {
	return parse(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pod","namespace":"default"},"spec":` + spec + `}`)
}

func kind(apiVersion, kind, rest string) map[string]any {
	return parse(fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":"x","namespace":"default"},%s}`, apiVersion, kind, rest))
}

func objectCases() []objectCase {
	return slices.Concat(podCases(), oddShapeCases(), operationCases(), workloadCases(), digestCases(), parameterCases())
}

func podCases() []objectCase {
	created := func(name, spec string, denials, asked []string) objectCase {
		return objectCase{name: name, request: engine.Request{Object: pod(spec)}, denials: denials, asked: asked}
	}
	const good = `"containers":[{"name":"a","image":"` + app + `"}]`
	noNamespace := pod(`{"containers":[{"image":"` + unsigned + `"}]}`)
	noNamespace["metadata"] = map[string]any{"generateName": "pod-"}
	signedNoNamespace := pod(`{` + good + `}`)
	signedNoNamespace["metadata"] = noNamespace["metadata"]
	deleted := pod(`{"containers":[{"image":"` + unsigned + `"}]}`)
	deleted["metadata"].(map[string]any)["deletionTimestamp"] = "2024-01-01T00:00:00Z"
	both := []string{app, unsigned}
	return []objectCase{
		created("container", `{"containers":[{"name":"a","image":"`+app+`"}]}`, nil, []string{app}),
		created("unsigned container", `{"containers":[{"name":"a","image":"`+unsigned+`"}]}`, lines(unsignedDenial), []string{unsigned}),
		created("unsigned second container", `{"containers":[{"name":"a","image":"`+app+`"},{"name":"b","image":"`+unsigned+`"}]}`, lines(unsignedDenial), both),
		created("unsigned init container", `{`+good+`,"initContainers":[{"name":"i","image":"`+unsigned+`"}]}`, lines(unsignedDenial), both),
		created("unsigned ephemeral container", `{`+good+`,"ephemeralContainers":[{"name":"e","image":"`+unsigned+`"}]}`, lines(unsignedDenial), both),
		created("unsigned image volume", `{`+good+`,"volumes":[{"name":"v","image":{"reference":"`+unsigned+`","pullPolicy":"Always"}}]}`, lines(unsignedDenial), both),
		created("unsigned image volume among others", `{`+good+`,"volumes":[{"name":"t","emptyDir":{}},{"name":"v","image":{"reference":"`+unsigned+`"}}]}`, lines(unsignedDenial), both),
		created("signed in every list", `{`+good+`,"initContainers":[{"name":"i","image":"b"}],"ephemeralContainers":[{"name":"e","image":"c"}],"volumes":[{"name":"v","image":{"reference":"d"}}]}`, nil, []string{"b", "c", "d", app}),
		created("volumes without images", `{`+good+`,"volumes":[{"name":"t","emptyDir":{}},{"name":"s","secret":{"secretName":"x"}}]}`, nil, []string{app}),
		created("lists that are null", `{`+good+`,"initContainers":null,"ephemeralContainers":null,"volumes":null}`, nil, []string{app}),
		created("lists that are empty", `{`+good+`,"initContainers":[],"ephemeralContainers":[],"volumes":[]}`, nil, []string{app}),
		created("volume image that is null", `{`+good+`,"volumes":[{"name":"v","image":null}]}`, nil, []string{app}),
		created("one image everywhere is asked once", `{`+good+`,"initContainers":[{"name":"i","image":"`+app+`"}],"volumes":[{"name":"v","image":{"reference":"`+app+`"}}]}`, nil, []string{app}),
		{name: "namespace only in the request", request: engine.Request{Object: noNamespace}, denials: lines(unsignedDenial), asked: []string{unsigned}},
		{name: "signed, namespace only in the request", request: engine.Request{Object: signedNoNamespace}, asked: []string{app}},
		{name: "kube-system", request: engine.Request{Object: inNamespace("kube-system")}},
		{name: "gatekeeper-system", request: engine.Request{Object: inNamespace("gatekeeper-system")}},
		{name: "deletionTimestamp is no exemption", request: engine.Request{Object: deleted}, denials: lines(unsignedDenial), asked: []string{unsigned}},
		{name: "64 images", request: engine.Request{Object: engine.Pod("pod", numbered(64)...)}, asked: numbered(64)},
		{name: "65 images", request: engine.Request{Object: engine.Pod("pod", numbered(65)...)},
			denials: lines("Could not verify: the object has 65 images, more than the 64 that are verified at once.")},
	}
}

// numbered are n images in the order in which keys are asked.
func numbered(n int) []string {
	images := make([]string, n)
	for i := range images {
		images[i] = fmt.Sprintf("registry.example/app:%03d", i)
	}
	return images
}

// inNamespace is an unsigned Pod.
func inNamespace(namespace string) map[string]any {
	o := engine.Pod("pod", unsigned)
	o["metadata"].(map[string]any)["namespace"] = namespace
	return o
}

// oddShapeCases are objects that an API server would not let through; a template must not rely on it.
func oddShapeCases() []objectCase {
	const good = `"containers":[{"name":"a","image":"` + app + `"}]`
	specs := map[string]string{
		"no containers":                       `{}`,
		"no containers but an init container": `{"initContainers":[{"image":"` + app + `"}]}`,
		"containers are null":                 `{"containers":null}`,
		"containers are empty":                `{"containers":[]}`,
		"containers are an object":            `{"containers":{"a":{"image":"` + app + `"}}}`,
		"containers are an empty object":      `{"containers":{}}`,
		"containers are a string":             `{"containers":"` + app + `"}`,
		"containers are strings":              `{"containers":["` + app + `"]}`,
		"containers are arrays":               `{"containers":[[{"image":"` + app + `"}]]}`,
		"container without image":             `{"containers":[{"name":"a"}]}`,
		"second container without image":      `{"containers":[{"image":"` + app + `"},{"name":"b"}]}`,
		"container is null":                   `{"containers":[{"image":"` + app + `"},null]}`,
		"image is null":                       `{"containers":[{"image":null}]}`,
		"image is empty":                      `{"containers":[{"image":""}]}`,
		"second image is empty":               `{"containers":[{"image":"` + app + `"},{"image":""}]}`,
		"image is a number":                   `{"containers":[{"image":1}]}`,
		"image is an array":                   `{"containers":[{"image":["` + app + `"]}]}`,
		"image is an object":                  `{"containers":[{"image":{"reference":"` + app + `"}}]}`,
		"image is spelled Image":              `{"containers":[{"Image":"` + app + `"}]}`,
		"init container without image":        `{` + good + `,"initContainers":[{"name":"i"}]}`,
		"init containers are an object":       `{` + good + `,"initContainers":{"i":{"image":"` + app + `"}}}`,
		"init containers are false":           `{` + good + `,"initContainers":false}`,
		"ephemeral container without image":   `{` + good + `,"ephemeralContainers":[{"name":"e"}]}`,
		"ephemeral containers are a string":   `{` + good + `,"ephemeralContainers":"x"}`,
		"volumes are an object":               `{` + good + `,"volumes":{"v":{"image":{"reference":"` + app + `"}}}}`,
		"volume is a string":                  `{` + good + `,"volumes":["x"]}`,
		"volume image without reference":      `{` + good + `,"volumes":[{"name":"v","image":{}}]}`,
		"volume reference is empty":           `{` + good + `,"volumes":[{"name":"v","image":{"reference":""}}]}`,
		"volume reference is a number":        `{` + good + `,"volumes":[{"name":"v","image":{"reference":1}}]}`,
		"volume image is a string":            `{` + good + `,"volumes":[{"name":"v","image":"` + app + `"}]}`,
		"spec is null":                        `null`,
		"spec is an array":                    `[]`,
		"spec is a string":                    `"x"`,
	}
	var cases []objectCase
	for name, spec := range specs {
		cases = append(cases, objectCase{name: name, request: engine.Request{Object: pod(spec)}, denials: lines(shapeDenial)})
	}
	cases = append(cases, objectCase{name: "no spec", request: engine.Request{Object: kind("v1", "Pod", `"status":{}`)}, denials: lines(shapeDenial)})
	slices.SortFunc(cases, func(a, b objectCase) int { return strings.Compare(a.name, b.name) })
	return cases
}

func operationCases() []objectCase {
	good, bad := engine.Pod("pod", app), engine.Pod("pod", unsigned)
	goodAndBad := engine.Pod("pod", app, unsigned)
	debugged := pod(`{"containers":[{"image":"` + app + `"}],"ephemeralContainers":[{"name":"e","image":"` + unsigned + `"}]}`)
	labelled := engine.Pod("pod", unsigned)
	labelled["metadata"].(map[string]any)["labels"] = map[string]any{"a": "b"}
	strict := withParameters(`{provider: ratify-provider}`)
	updated := func(name string, before, after map[string]any, denials, asked []string) objectCase {
		return objectCase{name: name, request: engine.Request{Operation: "UPDATE", OldObject: before, Object: after}, denials: denials, asked: asked}
	}
	return []objectCase{
		{name: "DELETE", request: engine.Request{Operation: "DELETE", OldObject: bad}},
		{name: "DELETE of what matches by mistake", constraint: everyKind, request: engine.Request{Operation: "DELETE", OldObject: kind("v1", "ConfigMap", `"data":{}`)}},
		{name: "CONNECT is not exempt", request: engine.Request{Operation: "CONNECT", Object: bad}, denials: lines(unsignedDenial), asked: []string{unsigned}},
		updated("UPDATE of a label", bad, labelled, nil, nil),
		updated("UPDATE that removes an image", goodAndBad, bad, nil, nil),
		updated("UPDATE that adds an image", good, goodAndBad, lines(unsignedDenial), []string{app, unsigned}),
		updated("UPDATE that adds a signed image beside an unsigned one", bad, goodAndBad, lines(unsignedDenial), []string{app, unsigned}),
		updated("UPDATE that replaces the image", good, bad, lines(unsignedDenial), []string{unsigned}),
		updated("UPDATE that replaces the image by a signed one", bad, good, nil, []string{app}),
		updated("UPDATE without an old object", nil, bad, lines(unsignedDenial), []string{unsigned}),
		updated("UPDATE whose old object has no images", pod(`{}`), bad, lines(unsignedDenial), []string{unsigned}),
		updated("UPDATE whose new object has no images", bad, pod(`{"containers":[]}`), lines(shapeDenial), nil),
		updated("UPDATE whose new object has a container without image", bad, pod(`{"containers":[{"image":"`+unsigned+`"},{}]}`), lines(shapeDenial), nil),
		{name: "UPDATE of ephemeral containers", request: engine.Request{Operation: "UPDATE", SubResource: "ephemeralcontainers", OldObject: good, Object: debugged},
			denials: lines(unsignedDenial), asked: []string{app, unsigned}},
		{name: "CREATE with an old object is no update", request: engine.Request{Object: bad, OldObject: bad}, denials: lines(unsignedDenial), asked: []string{unsigned}},
		{name: "UPDATE of a label where updates are not exempt", constraint: strict, request: engine.Request{Operation: "UPDATE", OldObject: bad, Object: labelled},
			denials: lines(unsignedDenial), asked: []string{unsigned}},
	}
}

func workloadCases() []objectCase {
	template := func(image string) string { return `{"spec":{"containers":[{"name":"a","image":"` + image + `"}]}}` }
	var cases []objectCase
	for _, w := range workloads() {
		for _, image := range []string{app, unsigned} {
			c := objectCase{name: w.kind + " of " + image, constraint: workloadsFile, asked: []string{image},
				request: engine.Request{Object: kind(w.apiVersion, w.kind, fmt.Sprintf(w.format, template(image)))}}
			if image == unsigned {
				c.denials = lines(unsignedDenial)
			}
			cases = append(cases, c, objectCase{name: w.kind + " that is scaled, of " + image, constraint: workloadsFile,
				request: engine.Request{Operation: "UPDATE", Object: c.request.Object, OldObject: c.request.Object}})
		}
		cases = append(cases, objectCase{name: w.kind + " with a Pod's path only", constraint: workloadsFile, denials: lines(shapeDenial),
			request: engine.Request{Object: kind(w.apiVersion, w.kind, `"spec":{"containers":[{"name":"a","image":"`+app+`"}]}`)}})
	}
	unknown := func(name, apiVersion, k, rest, shown string) objectCase {
		return objectCase{name: name, constraint: everyKind, request: engine.Request{Object: kind(apiVersion, k, rest)},
			denials: lines("Could not verify: this template knows no images in objects of kind " + shown + "; correct the constraint's match.")}
	}
	podSpec := `"spec":{"containers":[{"name":"a","image":"` + app + `"}]}`
	return append(cases,
		unknown("kind without images", "v1", "ConfigMap", `"data":{}`, "/ConfigMap"),
		unknown("kind of another group named Pod", "example.com/v1", "Pod", podSpec, "example.com/Pod"),
		unknown("kind of another group named Deployment", "example.com/v1", "Deployment", `"spec":{"template":`+template(app)+`}`, "example.com/Deployment"),
		unknown("custom kind with a pod template", "argoproj.io/v1alpha1", "Rollout", `"spec":{"template":`+template(app)+`}`, "argoproj.io/Rollout"),
		unknown("scale of a workload", "autoscaling/v1", "Scale", `"spec":{"replicas":1}`, "autoscaling/Scale"),
		objectCase{name: "workload that the sample does not match", request: engine.Request{Object: kind("apps/v1", "Deployment", `"spec":{"template":`+template(unsigned)+`}`)}},
	)
}

type workload struct{ apiVersion, kind, format string }

// workloads are the kinds that make Pods, with where the pod template is.
func workloads() []workload {
	return []workload{
		{"apps/v1", "Deployment", `"spec":{"replicas":1,"template":%s}`},
		{"apps/v1", "StatefulSet", `"spec":{"template":%s}`},
		{"apps/v1", "DaemonSet", `"spec":{"template":%s}`},
		{"apps/v1", "ReplicaSet", `"spec":{"template":%s}`},
		{"v1", "ReplicationController", `"spec":{"template":%s}`},
		{"batch/v1", "Job", `"spec":{"template":%s}`},
		{"batch/v1", "CronJob", `"spec":{"schedule":"* * * * *","jobTemplate":{"spec":{"template":%s}}}`},
		{"v1", "PodTemplate", `"template":%s`},
	}
}

func digestCases() []objectCase {
	const hex64 = "0000000000000000000000000000000000000000000000000000000000000000"
	refusedImages := map[string]string{
		"a tag": app, "neither tag nor digest": "registry.example/app", "a short digest": "registry.example/app@sha256:0000", "a digest in capitals": "registry.example/app@SHA256:" + hex64,
		"hexadecimal in capitals": "registry.example/app@sha256:A" + hex64[1:], "an unknown algorithm": "registry.example/app@md5:" + hex64, "a digest for a tag": "registry.example/app:sha256-" + hex64,
		"a digest without a name": "@sha256:" + hex64, "text behind the digest": digested + "0", "a line behind the digest": digested + "\n", "two digests": digested + "@sha256:" + hex64,
	}
	var cases []objectCase
	for name, image := range refusedImages {
		shown := image
		if strings.Contains(image, "\n") {
			shown = fmt.Sprintf("%q", image)
		}
		cases = append(cases, objectCase{name: "digest required, " + name, constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", image)}, denials: lines(fmt.Sprintf(noDigest, shown))})
	}
	slices.SortFunc(cases, func(a, b objectCase) int { return strings.Compare(a.name, b.name) })
	tagged := engine.Pod("pod", app)
	return append(cases,
		objectCase{name: "digest required, a digest", constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", digested)}, asked: []string{digested}},
		objectCase{name: "digest required, a tag and a digest", constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", "registry.example:5000/app:1@sha256:"+hex64)},
			asked: []string{"registry.example:5000/app:1@sha256:" + hex64}},
		objectCase{name: "digest required, sha512", constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", "a@sha512:"+hex64+hex64)}, asked: []string{"a@sha512:" + hex64 + hex64}},
		objectCase{name: "digest required, an unsigned digest", constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", "unsigned@sha256:"+hex64)},
			denials: lines(strings.Replace(unsignedDenial, unsigned, "unsigned@sha256:"+hex64, 1)), asked: []string{"unsigned@sha256:" + hex64}},
		objectCase{name: "digest required, one of two images", constraint: digestFile, request: engine.Request{Object: engine.Pod("pod", digested, app)}, denials: lines(fmt.Sprintf(noDigest, app))},
		objectCase{name: "digest required, an image volume", constraint: digestFile,
			request: engine.Request{Object: pod(`{"containers":[{"image":"` + digested + `"}],"volumes":[{"name":"v","image":{"reference":"` + app + `"}}]}`)}, denials: lines(fmt.Sprintf(noDigest, app))},
		objectCase{name: "digest required, an update that changes no image", constraint: digestFile, request: engine.Request{Operation: "UPDATE", Object: tagged, OldObject: tagged}},
	)
}

func parameterCases() []objectCase {
	const unknownProvider = "Could not verify: key is not found in provider cache"
	bad := engine.Request{Object: engine.Pod("pod", unsigned)}
	return []objectCase{
		{name: "no parameters at all", constraint: withParameters("{}"), request: bad, denials: lines(unsignedDenial), asked: []string{unsigned}},
		{name: "a provider that does not exist", constraint: withParameters("{provider: missing}"), request: bad, denials: lines(unknownProvider)},
		{name: "digest not required", constraint: withParameters("{requireDigest: false}"), request: engine.Request{Object: engine.Pod("pod", app)}, asked: []string{app}},
	}
}

// runObjectCase returns what came of the case, and whether it was expected.
func runObjectCase(t *testing.T, e *engine.Engine, p *fakeProvider, c objectCase) (denials []string, asked [][]string, held bool) {
	t.Helper()
	constraint := []byte(c.constraint)
	switch {
	case c.constraint == "":
		constraint = read(t, constraintFile)
	case strings.HasSuffix(c.constraint, ".yaml"):
		constraint = read(t, c.constraint)
	}
	if err := e.Apply(constraint); err != nil {
		t.Fatal(err)
	}
	p.judges()
	denials = review(t, e, c.request)
	asked = p.asked()
	held = sameDenials(denials, c.denials)
	if c.asked == nil {
		return denials, asked, held && len(asked) == 0
	}
	return denials, asked, held && len(asked) == 1 && slices.Equal(asked[0], c.asked)
}

func TestObjects(t *testing.T) { forEachTemplate(t, testObjects) }

func testObjects(t *testing.T, tpl template) {
	p := newFakeProvider(t)
	e := newEngineOf(t, tpl, p, 0, constraintFile)
	cases := objectCases()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			denials, asked, held := runObjectCase(t, e, p, c)
			if !held {
				t.Errorf("got %q after asking %q, want %q after asking %q", denials, asked, c.denials, c.asked)
			}
		})
	}
	t.Logf("%d objects and operations", len(cases))
}

// Gatekeeper takes the constraint as the API server stored it, so what its schema refuses never has no effect in silence.
func TestParametersAreChecked(t *testing.T) {
	p := newFakeProvider(t)
	e := newEngine(t, p, 0, constraintFile)
	for name, parameters := range map[string]string{
		"requireDigest is a string":          `{requireDigest: "true"}`,
		"exemptUnchangedUpdates is a number": `{exemptUnchangedUpdates: 1}`,
		"provider is empty":                  `{provider: ""}`,
		"provider is a list":                 `{provider: [ratify-provider]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := e.Apply([]byte(withParameters(parameters))); err == nil {
				t.Errorf("parameters %s were accepted", parameters)
			}
		})
	}
}
