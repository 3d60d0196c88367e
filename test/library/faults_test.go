package library

import (
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/engine"
)

// A fault is a change of the template that brings back one way to admit what nothing proved, or to hide why.
type fault struct {
	name string
	// edits are what is replaced by what: old, new, old, new. Where the template asks for the same thing twice, a fault
	// takes both away.
	edits []string
	// words marks a fault that costs only the reason: verdicts stay.
	words bool
}

// countsReports is what the template says of the number of reports.
const countsReports = "          count(response.responses) == count(wanted)\n"

func faults() []fault {
	return []fault{
		{name: "everything is admitted", edits: []string{"default all_proven = false", "default all_proven = true"}},
		{name: "a systemError does not matter", edits: []string{`          response.system_error == ""` + "\n          status_accepted\n          response.errors == []", "          status_accepted\n          response.errors == []"}},
		{name: "the status does not matter", edits: []string{"          status_accepted\n          response.errors == []", "          response.errors == []"}},
		{name: "items' errors do not matter", edits: []string{"          response.errors == []\n          count(response.responses)", "          count(response.responses)"}},
		{name: "the number of reports does not matter", edits: []string{"          count(response.responses) == count(wanted)\n          unproven", "          unproven"}},
		{name: "some image is good", edits: []string{"          unproven == set()", "          count(unproven) < count(wanted)"}},
		{name: "only refusals deny", edits: []string{"          values[0].isSuccess == true", "          not values[0].isSuccess == false"}},
		{name: "any value but false is a success", edits: []string{"          values[0].isSuccess == true", "          values[0].isSuccess"}},
		{name: "the string true is a success", edits: []string{"          values[0].isSuccess == true", `          {true, "true"}[values[0].isSuccess]`}},
		{name: "success is read under another name", edits: []string{"          values[0].isSuccess == true", "          values[0].succeeded == true"}},
		{name: "two reports for one key", edits: []string{"          count(values) == 1\n", "          count(values) >= 1\n", countsReports, ""}},
		{name: "equal reports count once", edits: []string{"answers(image) = [pair[1] | pair := response.responses[_]; pair[0] == key_of(image)]", "answers(image) = [v | v := {pair[1] | pair := response.responses[_]; pair[0] == key_of(image)}[_]]", countsReports, ""}},
		{name: "a missing key does not matter", edits: []string{"          count(values) == 1\n          known(image, values[0])", "          known_or_missing(image, values)", countsReports, ""}},
		{name: "any version", edits: []string{"          report.version == \"1.0\"\n", ""}},
		{name: "versions that begin alike", edits: []string{`report.version == "1.0"`, `startswith(report.version, "1.0")`}},
		{name: "a report for any image", edits: []string{"          report.key == key_of(image)\n", ""}},
		{name: "an answer for the normalised key", edits: []string{"pair[0] == key_of(image)]", "endswith(trim_suffix(pair[0], \":latest\"), image)]", "          report.key == key_of(image)\n", ""}},
		{name: "keys in any case", edits: []string{"pair[0] == key_of(image)]", "lower(pair[0]) == lower(key_of(image))]"}},
		{name: "no end of validity", edits: []string{"          ahead(values[0].notAfter)\n", ""}},
		{name: "an end of validity of any type", edits: []string{"          is_number(instant)\n          instant * 1000000000 > time.now_ns()", "          instant > time.now_ns() / 1000000000"}},
		{name: "an end of validity in nanoseconds", edits: []string{"instant * 1000000000 > time.now_ns()", "instant * 1000000000 * 1000000000 > time.now_ns()"}},
		{name: "no init containers", edits: []string{`"containers", "initContainers", "ephemeralContainers", "volumes"`, `"containers", "ephemeralContainers", "volumes"`}},
		{name: "no ephemeral containers", edits: []string{`"containers", "initContainers", "ephemeralContainers", "volumes"`, `"containers", "initContainers", "volumes"`}},
		{name: "no image volumes", edits: []string{`"containers", "initContainers", "ephemeralContainers", "volumes"`, `"containers", "initContainers", "ephemeralContainers"`}},
		{name: "no containers at all", edits: []string{"          count(spec.containers) > 0\n", ""}},
		{name: "lists that are no arrays", edits: []string{"          is_array(spec[list])\n", ""}},
		{name: "lists of a wrong shape", edits: []string{"          badly_shaped == set()\n", ""}},
		{name: "elements of a wrong shape", edits: []string{"          count(bad) == 0\n", ""}},
		{name: "an empty image", edits: []string{"          image := element.image\n          is_string(image)\n          image != \"\"", "          image := element.image\n          is_string(image)"}},
		{name: "an image of another type", edits: []string{"          image := element.image\n          is_string(image)\n", "          image := element.image\n"}, words: true},
		{name: "an empty volume reference", edits: []string{"          image := element.image.reference\n          is_string(image)\n          image != \"\"", "          image := element.image.reference\n          is_string(image)"}},
		{name: "a volume image of another shape", edits: []string{`object.get(element, "image", null) == null`, "not element.image.reference"}},
		{name: "a path for Pods only", edits: []string{"pod_spec(object) = object.spec.template.spec {", "pod_spec(object) = object.spec {"}},
		{name: "a path that is wrong for CronJobs", edits: []string{"object.spec.jobTemplate.spec.template.spec", "object.spec.jobTemplate.spec"}},
		{name: "kinds of any group", edits: []string{"          input.review.kind.group == \"\"\n          input.review.kind.kind == \"Pod\"", "          input.review.kind.kind == \"Pod\""}},
		{name: "kinds that are unknown pass", edits: []string{"        exempt {\n          input.review.operation == \"DELETE\"", "        exempt {\n          not pod_spec_known\n        }\n\n        exempt {\n          input.review.operation == \"DELETE\""}},
		{name: "any number of images", edits: []string{"max_keys = 64", "max_keys = 1000"}},
		{name: "no number of images", edits: []string{"max_keys = 64", "max_keys = 63"}},
		{name: "DELETE is not exempt", edits: []string{`operation == "DELETE"`, `operation == "DELETED"`}},
		{name: "deletionTimestamp is exempt", edits: []string{`input.review.operation == "DELETE"`, "input.review.object.metadata.deletionTimestamp"}},
		{name: "deletionTimestamp is exempt too", edits: []string{"        # Nothing of what is deleted will start.\n", "        exempt {\n          input.review.object.metadata.deletionTimestamp\n        }\n\n"}},
		{name: "every UPDATE is exempt", edits: []string{"          count(images(pod_spec(input.review.object)) - images(pod_spec(input.review.oldObject))) == 0\n", ""}},
		{name: "unchanged means some image was there before", edits: []string{"count(images(pod_spec(input.review.object)) - images(pod_spec(input.review.oldObject))) == 0", "count(images(pod_spec(input.review.object)) & images(pod_spec(input.review.oldObject))) > 0"}},
		{name: "unchanged means that old images are among the new", edits: []string{"count(images(pod_spec(input.review.object)) - images(pod_spec(input.review.oldObject))) == 0", "count(images(pod_spec(input.review.oldObject)) - images(pod_spec(input.review.object))) == 0"}},
		{name: "unchanged counts for CREATE", edits: []string{"          input.review.operation == \"UPDATE\"\n", ""}},
		{name: "unchanged updates are always exempt", edits: []string{"          input.parameters.exemptUnchangedUpdates == true\n", ""}},
		{name: "unchanged updates are never exempt", edits: []string{"input.parameters.exemptUnchangedUpdates == true", "input.parameters.exemptUnchangedUpdates == 1"}},
		{name: "requireDigest has no effect", edits: []string{"          count(undigested) == 0\n        }", "        }"}},
		{name: "requireDigest under another name", edits: []string{`object.get(input.parameters, "requireDigest", false)`, `object.get(input.parameters, "requireDigests", false)`}},
		{name: "a digest anywhere", edits: []string{"^[^@]+@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$", "@sha256:[0-9a-f]{64}"}},
		{name: "another provider", edits: []string{`object.get(input.parameters, "provider", "ratify-provider")`, `object.get(input.parameters, "providers", "ratify-provider")`}, words: true},
		{name: "no default provider", edits: []string{`object.get(input.parameters, "provider", "ratify-provider")`, `input.parameters.provider`, "              default: ratify-provider\n", ""}, words: true},
		{name: "a message that is undefined swallows the denial", edits: []string{"          msg := reasons[_]", "          msg := answers(wanted[_])[0].message"}},
		{name: "a systemError alone denies", edits: []string{"          not all_proven\n          msg := reasons[_]", `          response.system_error != ""` + "\n          msg := response.system_error"}},
		{name: "the message must be a string", edits: []string{"          message := trim_suffix(text(report, \"message\", \"%s\", \"no reason was given\"), \".\")", "          message := trim_suffix(report.message, \".\")"}, words: true},
		{name: "the text of an error decides", edits: []string{"          response.errors == []\n          count(response.responses)", "          not contains(concat(\" \", [e[1] | e := response.errors[_]]), \"no such image\")\n          count(response.responses)"}},
		{name: "text from outside is shown as it is", edits: []string{"          not regex.match(`[\\p{C}\\p{Zl}\\p{Zp}]`, words)", "          true"}, words: true},
		{name: "images are shown as they are", edits: []string{"          regex.match(`^[!-~]*$`, image)", "          true"}, words: true},
		{name: "the system error is not shown", edits: []string{"shortened(response.system_error, 4096)", `"failed"`}, words: true},
		{name: "exempt requests ask the provider", edits: []string{"          not exempt\n", "", "          exempt\n        }\n\n        # Gatekeeper", "          input.review.operation == \"DELETE\"\n        }\n\n        # Gatekeeper"}, words: true},
	}
}

// helpers are the rules that some faults use.
const helpers = `

        known_or_missing(image, values) {
          count(values) == 0
        }

        known_or_missing(image, values) {
          known(image, values[0])
        }
`

// TestFaultsAreFound brings each fault into the template and asks that a shape or an object shows it: by the wrong
// verdict, or, where only words are at stake, by the wrong reason.
func TestFaultsAreFound(t *testing.T) {
	// What showed a fault in one template is tried first in the other.
	shown := map[string]string{}
	forEachTemplate(t, func(t *testing.T, tpl template) { testFaultsAreFound(t, tpl, shown) })
}

func testFaultsAreFound(t *testing.T, tpl template, shown map[string]string) {
	p := newFakeProvider(t)
	e := newEngineOf(t, tpl, p, 0, constraintFile)
	names := map[string]bool{}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			if names[f.name] {
				t.Fatal("two faults have this name")
			}
			names[f.name] = true
			if err := e.Apply(f.in(t, tpl), read(t, constraintFile)); err != nil {
				t.Fatal(err)
			}
			found := findFault(t, e, p, f.words, shown[f.name])
			if found == "" {
				t.Fatal("no shape and no object shows this fault")
			}
			t.Log("found by: " + found)
			shown[f.name] = found
		})
	}
	t.Logf("%d faults", len(names))
}

// in is the template with the fault.
func (f fault) in(t *testing.T, tpl template) []byte {
	t.Helper()
	const words = "\n        # From here on: words."
	text := strings.Replace(string(read(t, tpl.file)), words, helpers+words, 1)
	for i := 0; i < len(f.edits); i += 2 {
		if n := strings.Count(text, f.edits[i]); n != 1 {
			t.Fatalf("the text to change, %q, is in the template %d times", f.edits[i], n)
		}
		text = strings.Replace(text, f.edits[i], f.edits[i+1], 1)
	}
	return []byte(text)
}

// findFault returns the name of the first case that shows the fault, or of the one to begin with.
func findFault(t *testing.T, e *engine.Engine, p *fakeProvider, words bool, begin string) string {
	t.Helper()
	for _, s := range shapes() {
		if begin != "" && s.name != begin {
			continue
		}
		denials, held := runShape(t, e, p, s)
		if words && !held || (len(denials) == 0) != (len(s.denials) == 0) {
			return s.name
		}
	}
	for _, c := range objectCases() {
		if begin != "" && c.name != begin {
			continue
		}
		denials, _, held := runObjectCase(t, e, p, c)
		if words && !held || (len(denials) == 0) != (len(c.denials) == 0) {
			return c.name
		}
	}
	if begin != "" {
		return findFault(t, e, p, words, "")
	}
	return ""
}

// An answer that comes whole from the cache has the status 0; a template that wants 200 denies what was just proven.
func TestCacheFaultIsFound(t *testing.T) {
	f := fault{edits: []string{"response.status_code == 0", "response.status_code == 200"}}
	p := newFakeProvider(t)
	tpl := templates()[0]
	e := newEngineOf(t, tpl, p, time.Hour, constraintFile)
	if err := e.Apply(f.in(t, tpl)); err != nil {
		t.Fatal(err)
	}
	p.proves()
	if denials := create(t, e, engine.Pod("pod", app)); len(denials) != 0 {
		t.Fatalf("the first answer is not the cache's: %q", denials)
	}
	if denials := create(t, e, engine.Pod("pod", app)); len(denials) == 0 {
		t.Error("the fault was not found")
	}
}
