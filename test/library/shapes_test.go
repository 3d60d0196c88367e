package library

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A shape is one answer that a provider may give, and what must come of it.
type shape struct {
	name string
	// images are those of the Pod; none stands for the one image app.
	images []string
	// status is the answer's; 0 stands for 200.
	status int
	// body is the answer's; "@FUTURE@" and "@PAST@" in it, quotes included, stand for an instant in Unix seconds.
	body string
	// denials are the expected lines, without the constraint's name; a line that ends in … is the beginning of one. None
	// means admitted.
	denials []string
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
	wrongCount   = "Could not verify: the provider gave %d reports where %d were asked for."
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
		{name: "proven", body: body(item(app, proof(app)))},
		{name: "proven, two images", images: both, body: body(item(app, proof(app)), item(sidecar, proof(sidecar)))},
		{name: "proven, items in another order", images: both, body: body(item(sidecar, proof(sidecar)), item(app, proof(app)))},
		{name: "proven, one image twice is one key", images: []string{app, app}, body: body(item(app, proof(app)))},
		{name: "proven, fields of a newer report beside", body: body(item(app, proof(app, "score", 3, "nestedReports", []any{})))},
		{name: "proven, one of its verifier reports failed", body: body(item(app, proof(app, "verifierReports", []any{object{"isSuccess": false}})))},
		{name: "proven, without any words", body: body(item(app, proof(app, "message", absent, "traceID", absent, "subject", absent)))},
		{name: "proven, an instant with a fraction", body: body(item(app, proof(app, "notAfter", 4102444800.5)))},
		{name: "proven, empty error beside the value", body: body(object{"key": app, "value": proof(app), "error": ""})},
		{name: "proven, not idempotent, which matters to mutation alone", body: response(object{"idempotent": false, "items": []any{item(app, proof(app))}})},
		{name: "proven, system_error is no field of the protocol", body: response(object{"system_error": "x", "items": []any{item(app, proof(app))}})},
	}
}

func bodyShapes() []shape {
	return []shape{
		{name: "empty body", body: "", denials: lines(unreadable)},
		{name: "text", status: 500, body: "boom", denials: lines(unreadable)},
		{name: "page of a proxy", body: "<html>sign in</html>", denials: lines(unreadable)},
		{name: "array", body: "[]", denials: lines(unreadable)},
		{name: "string", body: `"ok"`, denials: lines(unreadable)},
		{name: "cut short", body: body(item(app, proof(app)))[:100], denials: lines(unreadable)},
		{name: "data behind the answer", body: body(item(app, proof(app))) + "{}", denials: lines(unreadable)},
		{name: "items are an object", body: response(object{"items": object{app: proof(app)}}), denials: lines(unreadable)},
		{name: "items are a string", body: response(object{"items": "all good"}), denials: lines(unreadable)},
		{name: "null", body: "null", denials: lines(noReport)},
		{name: "empty object", body: "{}", denials: lines(noReport)},
		{name: "response is null", body: `{"response":null}`, denials: lines(noReport)},
		{name: "items are null", body: response(object{"items": nil}), denials: lines(noReport)},
		{name: "no items", body: body(), denials: lines(noReport)},
		{name: "items without the response around them", body: encode(object{"items": []any{item(app, proof(app))}}), denials: lines(noReport)},
		{name: "the report alone", body: encode(proof(app)), denials: lines(noReport)},
	}
}

func statusShapes() []shape {
	shapes := []shape{
		{name: "429 of a mesh", status: 429, body: `{"message":"slow"}`, denials: lines(fmt.Sprintf(wrongStatus, 429))},
		{name: "500 with JSON", status: 500, body: `{"error":"boom"}`, denials: lines(fmt.Sprintf(wrongStatus, 500))},
	}
	for _, status := range []int{201, 203, 400, 404, 500, 503} {
		shapes = append(shapes, shape{name: fmt.Sprintf("%d with a proof", status), status: status, body: body(item(app, proof(app))), denials: lines(fmt.Sprintf(wrongStatus, status))})
	}
	return shapes
}

func systemErrorShapes() []shape {
	failed := func(text any, items ...any) string { return response(object{"systemError": text, "items": items}) }
	return []shape{
		{name: "systemError", body: failed("registry.example did not answer (REGISTRY_UNAVAILABLE)"), denials: lines("Could not verify: registry.example did not answer (REGISTRY_UNAVAILABLE)")},
		{name: "systemError beside a proof", body: failed("half done", item(app, proof(app))), denials: lines("Could not verify: half done")},
		{name: "systemError of white space beside a proof", body: failed(" ", item(app, proof(app))), denials: lines("Could not verify:  ")},
		{name: "systemError with control characters", body: failed("a\x1b[2J\nb"), denials: lines(`Could not verify: "a\x1b[2J\nb"`)},
		{name: "systemError is a number", body: failed(1, item(app, proof(app))), denials: lines(unreadable)},
		{name: "systemError is true", body: failed(true, item(app, proof(app))), denials: lines(unreadable)},
		{name: "systemError without end", body: failed(strings.Repeat("x", 10000)), denials: lines("Could not verify: " + strings.Repeat("x", 4096))},
	}
}

func keyShapes() []shape {
	both := []string{app, sidecar}
	missing := strings.Replace(noReport, app, sidecar, 1)
	return []shape{
		{name: "one of two keys is missing", images: both, body: body(item(app, proof(app))), denials: lines(missing)},
		{name: "another key in place of the one asked for", body: body(item(sidecar, proof(sidecar))), denials: lines(noReport)},
		{name: "an item nobody asked for beside a proof", body: body(item(app, proof(app)), item(sidecar, proof(sidecar))), denials: lines(fmt.Sprintf(wrongCount, 2, 1))},
		{name: "an answer for the normalised key", images: []string{"nginx"}, body: body(item("docker.io/library/nginx:latest", proof("docker.io/library/nginx:latest"))),
			denials: lines("Could not verify: nginx: the provider gave no report.")},
		{name: "the key in capitals", body: body(item(strings.ToUpper(app), proof(app))), denials: lines(noReport)},
		{name: "the key with a space behind", body: body(item(app+" ", proof(app))), denials: lines(noReport)},
		{name: "no key", body: body(object{"value": proof(app)}), denials: lines(noReport)},
		{name: "the key is null", body: body(item(nil, proof(app))), denials: lines(noReport)},
		{name: "the key is a number", body: body(item(1, proof(app))), denials: lines(unreadable)},
		{name: "two equal proofs for one key", body: body(item(app, proof(app)), item(app, proof(app))),
			denials: lines("Could not verify: " + app + ": the provider gave 2 reports.")},
		{name: "a proof, then a refusal for the same key", body: body(item(app, proof(app)), item(app, refusal(app))),
			denials: lines("Could not verify: " + app + ": the provider gave 2 reports.")},
		{name: "a refusal, then a proof for the same key", body: body(item(app, refusal(app)), item(app, proof(app))),
			denials: lines("Could not verify: " + app + ": the provider gave 2 reports.")},
		{name: "two items for one of two keys", images: both, body: body(item(app, proof(app)), item(app, proof(app))),
			denials: lines("Could not verify: "+app+": the provider gave 2 reports.", missing)},
		{name: "two equal items for one of two keys, one for the other", images: both, body: body(item(app, proof(app)), item(app, proof(app)), item(sidecar, proof(sidecar))),
			denials: lines("Could not verify: " + app + ": the provider gave 2 reports.")},
		{name: "some image is good, another is not", images: both, body: body(item(app, refusal(app)), item(sidecar, proof(sidecar))), denials: lines(refused)},
		{name: "each image is refused", images: both, body: body(item(app, refusal(app)), item(sidecar, refusal(sidecar))), denials: lines(refused, strings.Replace(refused, app, sidecar, 1))},
		{name: "the reports are swapped", images: both, body: body(item(app, proof(sidecar)), item(sidecar, proof(app))), denials: lines(unknownKind, strings.Replace(unknownKind, app, sidecar, 1))},
	}
}

func errorShapes() []shape {
	const inError = "Could not verify: " + app + ": no such image"
	return []shape{
		{name: "item with an error", body: body(object{"key": app, "error": "no such image"}), denials: lines(inError)},
		{name: "item with an error and a proof", body: body(object{"key": app, "error": "no such image", "value": proof(app)}), denials: lines(inError)},
		{name: "an error for one of two images", images: []string{app, sidecar}, body: body(object{"key": app, "error": "no such image"}, item(sidecar, proof(sidecar))), denials: lines(inError)},
		{name: "an error and a proof for one key", body: body(item(app, proof(app)), object{"key": app, "error": "no such image"}),
			denials: lines(inError)},
		{name: "a proof, and an error for a key nobody asked for", body: body(item(app, proof(app)), object{"key": sidecar, "error": "no such image"}),
			denials: lines(strings.Replace(inError, app, sidecar, 1))},
		{name: "a proof, and an error of another text for a key nobody asked for", body: body(item(app, proof(app)), object{"key": sidecar, "error": "x"}),
			denials: lines("Could not verify: " + sidecar + ": x")},
		{name: "an error that is no string", body: body(object{"key": app, "error": false, "value": proof(app)}), denials: lines(unreadable)},
		{name: "an error that says success", body: body(object{"key": app, "error": "isSuccess: true"}), denials: lines("Could not verify: " + app + ": isSuccess: true")},
		{name: "an error with control characters", body: body(object{"key": app, "error": "a\nb"}), denials: lines("Could not verify: " + app + `: "a\nb"`)},
	}
}

func valueShapes() []shape {
	shapes := []shape{{name: "no value", body: body(object{"key": app}), denials: lines(unknownKind)}}
	for name, value := range valuesByName() {
		shapes = append(shapes, shape{name: "the value is " + name, body: body(item(app, value)), denials: lines(unknownKind)})
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
		return shape{name: "isSuccess " + name, body: body(item(app, proof(app, changes...))), denials: lines(malformed)}
	}
	return []shape{
		{name: "refused", body: body(item(app, refusal(app))), denials: lines(refused)},
		{name: "refused, although succeeded says true", body: body(item(app, refusal(app, "succeeded", true))), denials: lines(refused)},
		{name: "refused, with an instant ahead", body: body(item(app, refusal(app, "notAfter", future))), denials: lines(refused)},
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
		return shape{name: name, body: body(item(app, proof(app, changes...))), denials: lines(unknownKind)}
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
		{name: "a refusal of a newer version", body: body(item(app, refusal(app, "version", "2.0"))), denials: lines(unknownKind)},
	}
}

func instantShapes() []shape {
	instant := func(name string, value any, denial string) shape {
		return shape{name: "notAfter " + name, body: body(item(app, proof(app, "notAfter", value))), denials: lines(denial)}
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
		return shape{name: "refused, " + name, body: body(item(app, refusal(app, changes...))), denials: lines(prefix + denial)}
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
		return shape{name: "refused, " + name, images: []string{image}, body: body(item(image, refusal(image, "message", "bad", "remedy", absent, "traceID", absent))),
			denials: lines("Subject failed verification: " + denial + ": bad.")}
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
