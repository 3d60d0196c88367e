package matrix

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// A fault is one way in which a server is not what it should be. One of do, line and state is set, or none: then nothing is
// wrong.
type fault struct {
	name string
	// do answers a request of the step.
	do func(*staged) lab.Script
	// line befalls the connections that are made when the step's turn comes.
	line func(*lab.Host) error
	// state is how a responder answers, where the fault is in what it says and signs.
	state notationtest.State
	// locked has the registry ask for a token.
	locked bool
	want   wants
}

// wants are what must be answered: at the registry's steps and its token server, and where revocation is asked for; at
// some steps something else. A step with a reason in empty has no cell.
type wants struct {
	registry, revocation []outcome
	at                   map[lab.Step][]outcome
	empty                map[lab.Step]string
}

func (w wants) forStep(at lab.Step) []outcome {
	if want, ok := w.at[at]; ok {
		return want
	}
	switch at {
	case lab.OCSP, lab.CRL, lab.Timestamp:
		return w.revocation
	case lab.ReferrersTag: // is a list, too
		return w.forStep(lab.Referrers)
	}
	return w.registry
}

func is(c class, codes ...string) []outcome {
	var outcomes []outcome
	for _, code := range codes {
		outcomes = append(outcomes, outcome{c, code})
	}
	return outcomes
}

// either is more than one right outcome.
func either(outcomes ...[]outcome) (all []outcome) {
	for _, o := range outcomes {
		all = append(all, o...)
	}
	return all
}

// The outcomes that many faults have in common.
func unavailable() []outcome { return is(unknown, "REGISTRY_UNAVAILABLE") }
func invalid() []outcome     { return is(unknown, "REGISTRY_INVALID") }
func limited() []outcome     { return is(unknown, "RATE_LIMITED") }
func noAccess() []outcome    { return is(unknown, "REGISTRY_AUTH") }
func late() []outcome        { return is(unknown, "DEADLINE") }
func unrevoked() []outcome   { return is(unknown, "REVOCATION_UNAVAILABLE") }
func admitted() []outcome    { return is(verified, "VERIFIED") }
func notAllowed() []outcome  { return is(refused, "REGISTRY_NOT_ALLOWED") }
func tooMuch() []outcome     { return is(refused, "LIMIT_EXCEEDED") }
func malformed() []outcome   { return is(refused, "EVIDENCE_INVALID") }

// The reasons for cells that are empty.
const (
	onlyLists      = "it is about lists of referrers"
	onlyManifests  = "it is about manifests"
	onlyRegistries = "it is about what a registry does"
	onlyResponders = "it is about what responders sign"
	noDigest       = "nothing is described by a digest there"
	noTLS          = "OCSP and CRLs are read over plain HTTP alone, for their answers are signed"
)

func registrySteps() []lab.Step {
	return []lab.Step{lab.Resolve, lab.Manifest, lab.Referrers, lab.ReferrersTag, lab.CosignTag, lab.SignatureManifest, lab.Blob}
}

func revocationSteps() []lab.Step { return []lab.Step{lab.OCSP, lab.CRL, lab.Timestamp} }

// emptyAt gives one reason for several steps.
func emptyAt(reason string, steps ...lab.Step) map[lab.Step]string {
	reasons := map[lab.Step]string{}
	for _, s := range steps {
		reasons[s] = reason
	}
	return reasons
}

func plus(sets ...map[lab.Step]string) map[lab.Step]string {
	all := map[lab.Step]string{}
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

// faults are all; the first is none, by which it is seen that everything else is right.
func faults() []fault {
	all := []fault{{name: "none", want: wants{registry: admitted(), revocation: admitted()}}}
	for _, some := range [][]fault{connectionFaults(), answerFaults(), onceFaults(), digestFaults(), listFaults(), leadingFaults(), responderFaults()} {
		all = append(all, some...)
	}
	return all
}

// connectionFaults are about the way to a server, and who is there.
func connectionFaults() []fault {
	cut := wants{registry: unavailable(), revocation: unrevoked()}
	silence := wants{registry: late(), revocation: late()}
	untrusted := wants{registry: unavailable(), empty: emptyAt(noTLS, revocationSteps()...)}
	certificate := func(kind lab.Certificate) func(*lab.Host) error {
		return func(h *lab.Host) error { h.SetCertificate(kind); return nil }
	}
	greeting := func(greet lab.Greeting) func(*lab.Host) error {
		return func(h *lab.Host) error { h.SetGreeting(greet); return nil }
	}
	return []fault{
		{name: "refused", line: (*lab.Host).Refuse, want: cut},
		{name: "black hole", line: greeting(lab.GreetSilence), want: silence},
		{name: "reset at once", line: greeting(lab.GreetReset), want: cut},
		{name: "neither TLS nor HTTP", line: greeting(lab.GreetGarbage), want: cut},
		{name: "expired certificate", line: certificate(lab.Expired), want: untrusted},
		{name: "foreign certificate", line: certificate(lab.Foreign), want: untrusted},
		{name: "wrong-name certificate", line: certificate(lab.WrongName), want: untrusted},
		{name: "TLS 1.1", line: certificate(lab.OldTLS), want: untrusted},
	}
}

// answerFaults are those that the lab has for any server. One that is not expected here has no right outcome, and shows.
func answerFaults() []fault {
	expected := map[string]wants{}
	for _, some := range []map[string]wants{expectedOfConnections(), expectedOfStatuses(), expectedOfBodies()} {
		maps.Copy(expected, some)
	}
	var all []fault
	for _, f := range lab.Faults() {
		all = append(all, fault{name: f.Name, do: func(*staged) lab.Script { return f.Do }, want: expected[f.Name]})
	}
	return all
}

func expectedOfConnections() map[string]wants {
	cut := wants{registry: unavailable(), revocation: unrevoked()}
	silence := wants{registry: late(), revocation: late()}
	return map[string]wants{
		"reset before the answer": cut, "end before the answer": cut, "reset in mid body": cut, "end in mid body": cut, "garbage": cut,
		"head of a mebibyte": cut, "silence": silence, "head, then silence": silence, "silence in mid body": silence,
		"one byte a second": silence,
		"chunks without end": {registry: late(), revocation: late(), at: map[lab.Step][]outcome{
			lab.Referrers: invalid(), lab.ReferrersTag: either(invalid(), late()), // it has no media type
		}},
	}
}

func expectedOfStatuses() map[string]wants {
	broken := wants{registry: unavailable(), revocation: unrevoked()}
	busy := wants{registry: limited(), revocation: unrevoked()}
	forbidden := wants{registry: noAccess(), revocation: unrevoked()}
	strange := wants{registry: invalid(), revocation: unrevoked()}
	return map[string]wants{
		"400": strange, "401 without a challenge": forbidden, "403": forbidden, "429": busy, "429, Retry-After 3600": busy,
		"500": broken, "503": broken, "503, Retry-After 3600": broken, "204": strange, "206": strange,
		"error body with escape codes": broken, "error body of a mebibyte": broken,
		"404": {registry: invalid(), revocation: unrevoked(), at: map[lab.Step][]outcome{
			lab.Resolve: is(refused, "SUBJECT_NOT_FOUND"), lab.Manifest: is(refused, "SUBJECT_NOT_FOUND"),
			// The tag that takes the API's place is looked for then, and is not there, either.
			lab.Referrers: is(refused, "NO_REFERRERS"), lab.CosignTag: is(refused, "NO_REFERRERS"),
		}},
	}
}

func expectedOfBodies() map[string]wants {
	either1 := either(invalid(), unavailable())
	wrong := wants{registry: invalid(), revocation: unrevoked(), at: map[lab.Step][]outcome{lab.Referrers: either1, lab.Token: either1}}
	// What is announced, or goes on, beyond the bound is not read. Of a list, what came within it is good, and enough.
	long := wants{registry: tooMuch(), revocation: either(unrevoked(), late()), at: map[lab.Step][]outcome{
		lab.Referrers: either(admitted(), late()), lab.Token: either(either1, late()),
	}}
	return map[string]wants{
		"empty": wrong, "truncated": wrong, "a page for people": wrong, "gzip": wrong, "1 GiB of gzip": wrong, "1 GiB declared": long, "endless": long,
		"less sent than declared": {registry: unavailable(), revocation: unrevoked(), at: map[lab.Step][]outcome{lab.Token: either(either1, admitted())}}, // the token may be there whole
		"length of -1":            {registry: unavailable(), revocation: unrevoked()},
		// The rest is not read: what was asked for came whole.
		"more sent than declared": {registry: admitted(), revocation: admitted()},
		// What has the digest that was asked for is right, whatever its label; a list has no digest.
		"mislabelled": {registry: admitted(), revocation: admitted(), at: map[lab.Step][]outcome{lab.Referrers: invalid()}},
		"one bit changed": {registry: invalid(), revocation: unrevoked(), at: map[lab.Step][]outcome{
			// A tag may move: what it is on now is not signed, or is no manifest.
			lab.Resolve: either(invalid(), is(refused, "NO_REFERRERS", "SUBJECT_INVALID")),
			// The bit may be in an annotation, which decides nothing.
			lab.Referrers: either(admitted(), invalid(), malformed(), is(refused, "NO_SIGNATURE")),
			lab.Token:     either(noAccess(), invalid(), unavailable(), admitted()),
			// What is under the tag then may be none of cosign's, or refer to what is not there.
			lab.CosignTag: either(admitted(), invalid(), malformed(), is(refused, "NO_REFERRERS", "SUBJECT_MISMATCH", "SIGNATURE_INVALID", "NO_SIGNATURE")),
		}},
	}
}

// onceFaults are over when the same is asked again.
func onceFaults() []fault {
	once := func(do lab.Script) func(*staged) lab.Script {
		return func(*staged) lab.Script { return lab.First(1, do, lab.Correct) }
	}
	back := wants{registry: admitted(), revocation: either(admitted(), unrevoked())}
	return []fault{
		{name: "reset once, then back", do: once((*lab.Exchange).Reset), want: back},
		{name: "503 once, then back", do: once(lab.Status(http.StatusServiceUnavailable)), want: back},
		{name: "token ended in mid work", locked: true, do: expireToken, want: wants{registry: admitted(), empty: emptyAt(onlyRegistries, append(revocationSteps(), lab.Token)...)}},
	}
}

func expireToken(s *staged) lab.Script {
	return lab.First(1, func(x *lab.Exchange) {
		s.tokens.Expire()
		x.Send(x.Correct())
	}, lab.Correct)
}

// digestFaults are other content than what was listed.
func digestFaults() []fault {
	none := emptyAt(noDigest, append(revocationSteps(), lab.Token)...)
	swapped := func(s *staged) lab.Script {
		return lab.Change(func(a lab.Answer) lab.Answer { return a.WithBody(s.other[s.at]) })
	}
	return []fault{
		{name: "other body under the right header", do: swapped, want: wants{registry: invalid(), empty: none, at: map[lab.Step][]outcome{
			// A tag may move; what it is on now is not signed.
			lab.Resolve: is(refused, "NO_REFERRERS"),
			// The list is another image's.
			lab.Referrers: is(refused, "SUBJECT_MISMATCH"),
			// It is another tool's, and so nothing of cosign's is there.
			lab.CosignTag: is(refused, "NO_REFERRERS"),
		}}},
		{name: "layers and manifests in one", do: rewritten(func(m map[string]any) { m["manifests"] = []any{} }), want: wants{
			registry: invalid(), empty: plus(none, emptyAt(onlyManifests, lab.Referrers, lab.ReferrersTag, lab.Blob)),
			at: map[lab.Step][]outcome{lab.Resolve: is(refused, "SUBJECT_INVALID"), lab.CosignTag: is(refused, "EVIDENCE_INVALID")},
		}},
	}
}

// rewritten changes the JSON object that is right, and says that it has the digest that it has.
func rewritten(change func(map[string]any)) func(*staged) lab.Script {
	return func(*staged) lab.Script {
		return lab.Change(func(a lab.Answer) lab.Answer {
			var object map[string]any
			d := json.NewDecoder(bytes.NewReader(a.Body))
			d.UseNumber()
			_ = d.Decode(&object) // the right answer is an object
			change(object)
			data, err := json.Marshal(object)
			if err != nil {
				return lab.Text(http.StatusInternalServerError, err.Error())
			}
			return a.WithBody(data).With("Docker-Content-Digest", digest.FromBytes(data).String())
		})
	}
}

// listFaults are lists of referrers that lie, or never end.
func listFaults() []fault {
	none := emptyAt(onlyLists, append(revocationSteps(), lab.Resolve, lab.Manifest, lab.CosignTag, lab.SignatureManifest, lab.Blob, lab.Token)...)
	list := func(outcomes ...[]outcome) wants {
		return wants{at: map[lab.Step][]outcome{lab.Referrers: either(outcomes...)}, empty: none}
	}
	pages := func(outcomes ...[]outcome) wants {
		want := list(outcomes...)
		want.empty = plus(none, emptyAt("a list under a tag has no pages", lab.ReferrersTag))
		return want
	}
	return []fault{
		// The first page has what decides.
		{name: "a page that follows itself", do: next(func(_ *staged, x *lab.Exchange) string { return x.Target }, true), want: pages(admitted())},
		{name: "pages without end", do: next(func(_ *staged, x *lab.Exchange) string { return fmt.Sprintf("%s?page=%d", x.Path, x.StepN) }, false), want: pages(tooMuch())},
		{name: "next page on another host", do: next(func(s *staged, x *lab.Exchange) string { return "https://" + s.canary + x.Path }, true), want: pages(notAllowed())},
		{name: "next page over http", do: next(func(_ *staged, x *lab.Exchange) string { return "http://" + x.Authority + x.Path + "?page=2" }, true), want: pages(notAllowed())},
		{name: "next page with a user's name", do: next(func(_ *staged, x *lab.Exchange) string { return "https://me@" + x.Authority + x.Path + "?page=2" }, true), want: pages(notAllowed())},
		{name: "next page of another repository", do: next(func(_ *staged, x *lab.Exchange) string {
			return "/v2/other/referrers/" + x.Path[strings.LastIndexByte(x.Path, '/')+1:]
		}, true), want: pages(notAllowed())},
		{name: "a million descriptors", do: millionDescriptors, want: list(tooMuch())},
		{name: "descriptors of size -1", do: resized("-1"), want: list(malformed())},
		{name: "descriptors of size 2^31", do: resized("2147483648"), want: list(malformed(), tooMuch())},
		{name: "descriptors of size 2^62", do: resized("4611686018427387904"), want: list(malformed(), tooMuch())},
		{name: "descriptors of size 2^80", do: resized("1208925819614629174706176"), want: list(malformed(), invalid())},
	}
}

// next adds a link to another page; without the page's own content the list says nothing.
func next(target func(*staged, *lab.Exchange) string, whole bool) func(*staged) lab.Script {
	return func(s *staged) lab.Script {
		return func(x *lab.Exchange) {
			a := x.Correct()
			if !whole {
				a = lab.Index(nil)
			}
			x.Send(a.With("Link", "<"+target(s, x)+`>; rel="next"`))
		}
	}
}

// millionDescriptors are as many as there is room for in a list of 4 MiB: the shortest that is a descriptor at all.
func millionDescriptors(*staged) lab.Script {
	head := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[{}`
	const item, tail, size = ",{}", "]}", 4 << 20
	list := head + strings.Repeat(item, (size-len(head)-len(tail))/len(item)) + tail
	return lab.Change(func(a lab.Answer) lab.Answer { return a.WithBody([]byte(list)) })
}

// resized lists the right referrers with another size.
func resized(size string) func(*staged) lab.Script {
	return rewritten(func(list map[string]any) {
		descriptors, _ := list["manifests"].([]any)
		for _, d := range descriptors {
			if d, ok := d.(map[string]any); ok {
				d["size"] = json.Number(size)
			}
		}
	})
}

// leadingFaults lead to where nobody may go.
func leadingFaults() []fault {
	to := func(address func(*staged, *lab.Exchange) string) func(*staged) lab.Script {
		return func(s *staged) lab.Script {
			return func(x *lab.Exchange) { lab.RedirectTo(address(s, x))(x) }
		}
	}
	realm := func(address func(*staged) string) func(*staged) lab.Script {
		return func(s *staged) lab.Script {
			return lab.Challenge(lab.Bearer(address(s)+"/token", "registry", "repository:app:pull"))
		}
	}
	onlyChallenges := emptyAt(onlyRegistries, append(revocationSteps(), lab.Token)...)
	away := wants{registry: notAllowed(), revocation: unrevoked()}
	return []fault{
		{name: "redirect to another host", do: to(func(s *staged, x *lab.Exchange) string { return "https://" + s.canary + x.Path }), want: away},
		{name: "redirect to http", do: to(func(_ *staged, x *lab.Exchange) string { return "http://" + x.Authority + x.Path }), want: wants{
			registry: notAllowed(), revocation: either(unrevoked()), at: map[lab.Step][]outcome{lab.Token: either(notAllowed(), unavailable())},
		}},
		{name: "redirect to itself", do: to(func(_ *staged, x *lab.Exchange) string { return x.Target }), want: wants{registry: tooMuch(), revocation: unrevoked()}},
		{name: "realm on another host", do: realm(func(s *staged) string { return "https://" + s.canary }), want: wants{registry: notAllowed(), empty: onlyChallenges}},
		{name: "realm over http", do: realm(func(s *staged) string { return "http://" + s.host.Addr }), want: wants{registry: notAllowed(), empty: onlyChallenges}},
	}
}

// responderFaults are answers that nobody may believe, or that say what they say.
func responderFaults() []fault {
	none := emptyAt(onlyResponders, append(registrySteps(), lab.Token)...)
	want := wants{revocation: unrevoked(), empty: none}
	notOfLists := wants{revocation: unrevoked(), empty: plus(none, emptyAt("a list cannot be so", lab.CRL))}
	return []fault{
		{name: "stale", state: notationtest.Stale, want: want},
		{name: "signed by another", state: notationtest.Forged, want: want},
		{name: "40 MiB of zeros", state: notationtest.Huge, want: want},
		{name: "revoked", state: notationtest.Revoked, want: wants{
			revocation: is(refused, "CERTIFICATE_REVOKED"), empty: none,
			at: map[lab.Step][]outcome{lab.Timestamp: is(refused, "TIMESTAMP_INVALID", "CERTIFICATE_REVOKED")},
		}},
		{name: "unknown to the responder", state: notationtest.Unknown, want: notOfLists},
		{name: "signed by a delegate without the right", state: notationtest.Delegated, want: notOfLists},
	}
}
