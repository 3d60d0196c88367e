package library

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A shape is one answer that a provider may give, and what must come of it. Its fields are exported because the whole
// table is kept as JSON too, for the suite that runs on another version of Gatekeeper.
type shape struct {
	Name string `json:"name"`
	// Images are those of the Pod; none stands for the one image app.
	Images []string `json:"images,omitempty"`
	// Status is the answer's; 0 stands for 200.
	Status int `json:"status,omitempty"`
	// Body is the answer's; "@FUTURE@" and "@PAST@" in it, quotes included, stand for an instant in Unix seconds.
	Body string `json:"body"`
	// Denials are the expected lines, without the constraint's name; a line that ends in … is the beginning of one. None
	// means admitted.
	Denials []string `json:"denials,omitempty"`
}

const (
	app     = "registry.example/app:1.0"
	sidecar = "registry.example/sidecar:2.1"

	noReport     = "Could not verify: " + app + ": the provider gave no report."
	malformed    = "Could not verify: " + app + ": the provider's report is malformed."
	unknownKind  = "Could not verify: " + app + ": the provider's report is not of a version that this template knows (1.0), or is for another image."
	outdated     = "Could not verify: " + app + ": the report is no longer valid. Try again when Gatekeeper's cache has forgotten it."
	refused      = "Subject failed verification: " + app + ": verification failed: no referrers found for this artifact. sign this digest (trace 4bf92f35)"
	unreadable   = "Could not verify: failed to unmarshal external data response: …"
	wrongCount   = "Could not verify: the provider answered with %d reports for %d images."
	wrongStatus  = "Could not verify: the provider answered with the status %d."
	absent       = "\x00absent"
	future, past = "@FUTURE@", "@PAST@"
)

type object = map[string]any

// proof is a report that proves the image, with fields changed: name, value, name, value.
func proof(image string, changes ...any) object {
	report := object{"version": "1.0", "key": image, "subject": "registry.example/app@sha256:00", "isSuccess": true, "succeeded": true,
		"code": "VERIFIED", "message": "verification succeeded", "notAfter": future, "traceID": "4bf92f35"}
	return change(report, changes)
}

// refusal is a report that says why the image is refused, with fields changed.
func refusal(image string, changes ...any) object {
	report := object{"version": "1.0", "key": image, "subject": "registry.example/app@sha256:00", "isSuccess": false, "succeeded": false,
		"code": "NO_REFERRERS", "message": "verification failed: no referrers found for this artifact", "remedy": "sign this digest", "traceID": "4bf92f35"}
	return change(report, changes)
}

func change(report object, changes []any) object {
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == absent {
			delete(report, changes[i].(string))
			continue
		}
		report[changes[i].(string)] = changes[i+1]
	}
	return report
}

func item(key, value any) object { return object{"key": key, "value": value} }

// body is a complete ProviderResponse with these items; response with fields of its own.
func body(items ...any) string { return response(object{"items": items}) }

func response(fields object) string {
	if _, ok := fields["idempotent"]; !ok {
		fields["idempotent"] = true
	}
	return encode(object{"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderResponse", "response": fields})
}

func encode(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func lines(lines ...string) []string { return lines }

// shapes has one shape or more for each way in which templates have admitted what nothing proved.
func shapes() []shape {
	var all []shape
	for _, group := range [][]shape{provenShapes(), bodyShapes(), statusShapes(), systemErrorShapes(), keyShapes(), errorShapes(), valueShapes(),
		successShapes(), versionShapes(), instantShapes(), wordShapes(), imageShapes()} {
		all = append(all, group...)
	}
	return all
}

func provenShapes() []shape {
	both := []string{app, sidecar}
	return []shape{
		{Name: "proven", Body: body(item(app, proof(app)))},
		{Name: "proven, two images", Images: both, Body: body(item(app, proof(app)), item(sidecar, proof(sidecar)))},
		{Name: "proven, items in another order", Images: both, Body: body(item(sidecar, proof(sidecar)), item(app, proof(app)))},
		{Name: "proven, one image twice is one key", Images: []string{app, app}, Body: body(item(app, proof(app)))},
		{Name: "proven, fields of a newer report beside", Body: body(item(app, proof(app, "score", 3, "nestedReports", []any{})))},
		{Name: "proven, one of its verifier reports failed", Body: body(item(app, proof(app, "verifierReports", []any{object{"isSuccess": false}})))},
		{Name: "proven, without any words", Body: body(item(app, proof(app, "message", absent, "traceID", absent, "subject", absent)))},
		{Name: "proven, an instant with a fraction", Body: body(item(app, proof(app, "notAfter", 4102444800.5)))},
		{Name: "proven, empty error beside the value", Body: body(object{"key": app, "value": proof(app), "error": ""})},
		{Name: "proven, not idempotent, which matters to mutation alone", Body: response(object{"idempotent": false, "items": []any{item(app, proof(app))}})},
		{Name: "proven, system_error is no field of the protocol", Body: response(object{"system_error": "x", "items": []any{item(app, proof(app))}})},
	}
}

func bodyShapes() []shape {
	return []shape{
		{Name: "empty body", Body: "", Denials: lines(unreadable)},
		{Name: "text", Status: 500, Body: "boom", Denials: lines(unreadable)},
		{Name: "page of a proxy", Body: "<html>sign in</html>", Denials: lines(unreadable)},
		{Name: "array", Body: "[]", Denials: lines(unreadable)},
		{Name: "string", Body: `"ok"`, Denials: lines(unreadable)},
		{Name: "cut short", Body: body(item(app, proof(app)))[:100], Denials: lines(unreadable)},
		{Name: "data behind the answer", Body: body(item(app, proof(app))) + "{}", Denials: lines(unreadable)},
		{Name: "items are an object", Body: response(object{"items": object{app: proof(app)}}), Denials: lines(unreadable)},
		{Name: "items are a string", Body: response(object{"items": "all good"}), Denials: lines(unreadable)},
		{Name: "null", Body: "null", Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "empty object", Body: "{}", Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "response is null", Body: `{"response":null}`, Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "items are null", Body: response(object{"items": nil}), Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "no items", Body: body(), Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "items without the response around them", Body: encode(object{"items": []any{item(app, proof(app))}}), Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "the report alone", Body: encode(proof(app)), Denials: lines(noReport, fmt.Sprintf(wrongCount, 0, 1))},
	}
}

func statusShapes() []shape {
	shapes := []shape{
		{Name: "429 of a mesh", Status: 429, Body: `{"message":"slow"}`, Denials: lines(fmt.Sprintf(wrongStatus, 429), fmt.Sprintf(wrongCount, 0, 1))},
		{Name: "500 with JSON", Status: 500, Body: `{"error":"boom"}`, Denials: lines(fmt.Sprintf(wrongStatus, 500), fmt.Sprintf(wrongCount, 0, 1))},
	}
	for _, status := range []int{201, 203, 400, 404, 500, 503} {
		shapes = append(shapes, shape{Name: fmt.Sprintf("%d with a proof", status), Status: status, Body: body(item(app, proof(app))), Denials: lines(fmt.Sprintf(wrongStatus, status))})
	}
	return shapes
}

func systemErrorShapes() []shape {
	failed := func(text any, items ...any) string { return response(object{"systemError": text, "items": items}) }
	return []shape{
		{Name: "systemError", Body: failed("registry.example did not answer (REGISTRY_UNAVAILABLE)"), Denials: lines("Could not verify: registry.example did not answer (REGISTRY_UNAVAILABLE)")},
		{Name: "systemError beside a proof", Body: failed("half done", item(app, proof(app))), Denials: lines("Could not verify: half done")},
		{Name: "systemError of white space beside a proof", Body: failed(" ", item(app, proof(app))), Denials: lines("Could not verify:  ")},
		{Name: "systemError with control characters", Body: failed("a\x1b[2J\nb"), Denials: lines(`Could not verify: "a\x1b[2J\nb"`)},
		{Name: "systemError is a number", Body: failed(1, item(app, proof(app))), Denials: lines(unreadable)},
		{Name: "systemError is true", Body: failed(true, item(app, proof(app))), Denials: lines(unreadable)},
		{Name: "systemError without end", Body: failed(strings.Repeat("x", 10000)), Denials: lines("Could not verify: " + strings.Repeat("x", 4096))},
	}
}

func keyShapes() []shape {
	both := []string{app, sidecar}
	missing := strings.Replace(noReport, app, sidecar, 1)
	return []shape{
		{Name: "one of two keys is missing", Images: both, Body: body(item(app, proof(app))), Denials: lines(missing, fmt.Sprintf(wrongCount, 1, 2))},
		{Name: "another key in place of the one asked for", Body: body(item(sidecar, proof(sidecar))), Denials: lines(noReport)},
		{Name: "an item nobody asked for beside a proof", Body: body(item(app, proof(app)), item(sidecar, proof(sidecar))), Denials: lines(fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "an answer for the normalised key", Images: []string{"nginx"}, Body: body(item("docker.io/library/nginx:latest", proof("docker.io/library/nginx:latest"))),
			Denials: lines("Could not verify: nginx: the provider gave no report.")},
		{Name: "the key in capitals", Body: body(item(strings.ToUpper(app), proof(app))), Denials: lines(noReport)},
		{Name: "the key with a space behind", Body: body(item(app+" ", proof(app))), Denials: lines(noReport)},
		{Name: "no key", Body: body(object{"value": proof(app)}), Denials: lines(noReport)},
		{Name: "the key is null", Body: body(item(nil, proof(app))), Denials: lines(noReport)},
		{Name: "the key is a number", Body: body(item(1, proof(app))), Denials: lines(unreadable)},
		{Name: "two equal proofs for one key", Body: body(item(app, proof(app)), item(app, proof(app))),
			Denials: lines("Could not verify: "+app+": the provider gave 2 reports.", fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "a proof, then a refusal for the same key", Body: body(item(app, proof(app)), item(app, refusal(app))),
			Denials: lines("Could not verify: "+app+": the provider gave 2 reports.", fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "a refusal, then a proof for the same key", Body: body(item(app, refusal(app)), item(app, proof(app))),
			Denials: lines("Could not verify: "+app+": the provider gave 2 reports.", fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "two items for one of two keys", Images: both, Body: body(item(app, proof(app)), item(app, proof(app))),
			Denials: lines("Could not verify: "+app+": the provider gave 2 reports.", missing)},
		{Name: "two equal items for one of two keys, one for the other", Images: both, Body: body(item(app, proof(app)), item(app, proof(app)), item(sidecar, proof(sidecar))),
			Denials: lines("Could not verify: "+app+": the provider gave 2 reports.", fmt.Sprintf(wrongCount, 3, 2))},
		{Name: "some image is good, another is not", Images: both, Body: body(item(app, refusal(app)), item(sidecar, proof(sidecar))), Denials: lines(refused)},
		{Name: "each image is refused", Images: both, Body: body(item(app, refusal(app)), item(sidecar, refusal(sidecar))), Denials: lines(refused, strings.Replace(refused, app, sidecar, 1))},
		{Name: "the reports are swapped", Images: both, Body: body(item(app, proof(sidecar)), item(sidecar, proof(app))), Denials: lines(unknownKind, strings.Replace(unknownKind, app, sidecar, 1))},
	}
}

func errorShapes() []shape {
	const inError = "Could not verify: " + app + ": no such image"
	return []shape{
		{Name: "item with an error", Body: body(object{"key": app, "error": "no such image"}), Denials: lines(inError)},
		{Name: "item with an error and a proof", Body: body(object{"key": app, "error": "no such image", "value": proof(app)}), Denials: lines(inError)},
		{Name: "an error for one of two images", Images: []string{app, sidecar}, Body: body(object{"key": app, "error": "no such image"}, item(sidecar, proof(sidecar))), Denials: lines(inError)},
		{Name: "an error and a proof for one key", Body: body(item(app, proof(app)), object{"key": app, "error": "no such image"}),
			Denials: lines(inError, fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "a proof, and an error for a key nobody asked for", Body: body(item(app, proof(app)), object{"key": sidecar, "error": "no such image"}),
			Denials: lines(strings.Replace(inError, app, sidecar, 1), fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "a proof, and an error of another text for a key nobody asked for", Body: body(item(app, proof(app)), object{"key": sidecar, "error": "x"}),
			Denials: lines("Could not verify: "+sidecar+": x", fmt.Sprintf(wrongCount, 2, 1))},
		{Name: "an error that is no string", Body: body(object{"key": app, "error": false, "value": proof(app)}), Denials: lines(unreadable)},
		{Name: "an error that says success", Body: body(object{"key": app, "error": "isSuccess: true"}), Denials: lines("Could not verify: " + app + ": isSuccess: true")},
		{Name: "an error with control characters", Body: body(object{"key": app, "error": "a\nb"}), Denials: lines("Could not verify: " + app + `: "a\nb"`)},
	}
}

func valueShapes() []shape {
	shapes := []shape{{Name: "no value", Body: body(object{"key": app}), Denials: lines(unknownKind)}}
	for name, value := range valuesByName() {
		shapes = append(shapes, shape{Name: "the value is " + name, Body: body(item(app, value)), Denials: lines(unknownKind)})
	}
	return shapes
}

func valuesByName() map[string]any {
	return map[string]any{
		"null": nil, "true": true, "a string": "true", "the report as a string": encode(proof(app)), "an empty array": []any{},
		"the report in an array": []any{proof(app)}, "a number": 1, "an empty object": object{}, "the report one level deeper": object{"report": proof(app)},
	}
}

func successShapes() []shape {
	shape1 := func(name string, changes ...any) shape {
		return shape{Name: "isSuccess " + name, Body: body(item(app, proof(app, changes...))), Denials: lines(malformed)}
	}
	return []shape{
		{Name: "refused", Body: body(item(app, refusal(app))), Denials: lines(refused)},
		{Name: "refused, although succeeded says true", Body: body(item(app, refusal(app, "succeeded", true))), Denials: lines(refused)},
		{Name: "refused, with an instant ahead", Body: body(item(app, refusal(app, "notAfter", future))), Denials: lines(refused)},
		shape1("is absent", "isSuccess", absent),
		shape1("is null", "isSuccess", nil),
		shape1("is the string true", "isSuccess", "true"),
		shape1("is the string false", "isSuccess", "false"),
		shape1("is 1", "isSuccess", 1),
		shape1("is 0", "isSuccess", 0),
		shape1("is an array", "isSuccess", []any{true}),
		shape1("is an object", "isSuccess", object{}),
		shape1("became succeeded", "isSuccess", absent, "succeeded", true),
		shape1("became is_success", "isSuccess", absent, "is_success", true),
		shape1("became IsSuccess", "isSuccess", absent, "IsSuccess", true),
		shape1("moved into the verifier reports", "isSuccess", absent, "verifierReports", []any{object{"isSuccess": true}}),
	}
}

func versionShapes() []shape {
	unknown := func(name string, changes ...any) shape {
		return shape{Name: name, Body: body(item(app, proof(app, changes...))), Denials: lines(unknownKind)}
	}
	return []shape{
		unknown("no version", "version", absent),
		unknown("a newer version", "version", "2.0"),
		unknown("a version that begins alike", "version", "1.0.1"),
		unknown("the version is a number", "version", 1.0),
		unknown("the version is null", "version", nil),
		unknown("the report has no key", "key", absent),
		unknown("the report is for another image", "key", sidecar),
		unknown("the report is for the normalised key", "key", app+"@sha256:00"),
		unknown("the report's key is an array", "key", []any{app}),
		{Name: "a refusal of a newer version", Body: body(item(app, refusal(app, "version", "2.0"))), Denials: lines(unknownKind)},
	}
}

func instantShapes() []shape {
	instant := func(name string, value any, denial string) shape {
		return shape{Name: "notAfter " + name, Body: body(item(app, proof(app, "notAfter", value))), Denials: lines(denial)}
	}
	return []shape{
		instant("is absent", absent, malformed),
		instant("is null", nil, malformed),
		instant("is past", past, outdated),
		instant("is 0", 0, outdated),
		instant("is negative", -1, outdated),
		instant("is a string", "4102444800", malformed),
		instant("is a date", "2100-01-01T00:00:00Z", malformed),
		instant("is true", true, malformed),
		instant("is an array", []any{4102444800}, malformed),
		instant("became expiresAt", absent, malformed),
	}
}

func wordShapes() []shape {
	const prefix = "Subject failed verification: " + app + ": "
	words := func(name, denial string, changes ...any) shape {
		return shape{Name: "refused, " + name, Body: body(item(app, refusal(app, changes...))), Denials: lines(prefix + denial)}
	}
	return []shape{
		words("no message", "no reason was given. sign this digest (trace 4bf92f35)", "message", absent),
		words("the message is a number", "no reason was given. sign this digest (trace 4bf92f35)", "message", 7),
		words("the message is null", "no reason was given. sign this digest (trace 4bf92f35)", "message", nil),
		words("the message is empty", "no reason was given. sign this digest (trace 4bf92f35)", "message", ""),
		words("the message has its full stop", "bad. sign this digest (trace 4bf92f35)", "message", "bad."),
		words("the message has formatting verbs", "100%s %d. sign this digest (trace 4bf92f35)", "message", "100%s %d"),
		words("the message has control characters", `"a\x1b[31m\nb". sign this digest (trace 4bf92f35)`, "message", "a\x1b[31m\nb"),
		words("the message has direction marks", `"a\u202eb". sign this digest (trace 4bf92f35)`, "message", "a\u202eb"),
		words("the message has no end", strings.Repeat("x", 1024)+". sign this digest (trace 4bf92f35)", "message", strings.Repeat("x", 5000)),
		words("no remedy", "bad. (trace 4bf92f35)", "message", "bad", "remedy", absent),
		words("the remedy is an array", "bad. (trace 4bf92f35)", "message", "bad", "remedy", []any{"x"}),
		words("no trace", "bad. sign this digest", "message", "bad", "traceID", absent),
		words("the trace is a number", "bad. sign this digest", "message", "bad", "traceID", 12),
		words("no words at all", "no reason was given.", "message", absent, "remedy", absent, "traceID", absent),
	}
}

func imageShapes() []shape {
	image := func(name, image, denial string) shape {
		return shape{Name: "refused, " + name, Images: []string{image}, Body: body(item(image, refusal(image, "message", "bad", "remedy", absent, "traceID", absent))),
			Denials: lines("Subject failed verification: " + denial + ": bad.")}
	}
	long := "registry.example/" + strings.Repeat("a", 1100)
	return []shape{
		image("the image has a line feed", "a\nb", `"a\nb"`),
		image("the image has formatting verbs", "a%s%d", "a%s%d"),
		image("the image has a look-alike letter", "nginх", `"nginх"`),
		image("the image is a space", " ", `" "`),
		image("the image has no end", long, long[:256]),
	}
}
