package random

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// mostAnswer bounds an answer (I5): 64 reports of 16 KiB and as many keys of 1 KiB.
const mostAnswer = 64 * (17 << 10)

// slack is how far two clocks' readings of one instant may be apart: seconds are cut off.
const slack = 2 * time.Second

// capOfValidity is the longest that any image is allowed for.
const capOfValidity = 24 * time.Hour

// A run asks about one world and compares each answer with the oracle.
type run struct {
	w        *world
	pool     *pool
	registry *registry
	answerer answerer
	slips    map[slip]bool // the oracle's, in tests of it
	// corrupt changes answers before they are looked at, in tests of this.
	corrupt func(body []byte) []byte
	count   *tally

	site   *site
	began  time.Time
	before []*phase
	memory memory
}

// A memory is what is known to be kept within one configuration: verdicts by subject, and what tags were on. Where it is not
// known whether something is kept, all that may be is.
type memory struct {
	verdicts map[key][]verdict
	tags     map[key]map[string]bool // "" is that nothing is kept
}

func newMemory() memory { return memory{map[key][]verdict{}, map[key]map[string]bool{}} }

// A wrongError is an answer that the oracle does not accept.
type wrongError struct{ what string }

func (e *wrongError) Error() string { return e.what }

func wrong(format string, args ...any) error { return &wrongError{fmt.Sprintf(format, args...)} }

// world runs all phases. The error is a *wrongError where an answer is wrong, and anything else where there was none.
func (r *run) world(ctx context.Context) (err error) {
	if r.site, err = r.registry.open(r.w); err != nil {
		return err
	}
	defer r.registry.sites.Delete(r.w.id)
	r.began = time.Now()
	for i := range r.w.phases {
		p := &r.w.phases[i]
		r.site.phase.Store(p)
		if p.reload || i == 0 {
			if err := r.install(ctx, p); err != nil {
				return err
			}
		}
		for _, request := range p.requests {
			if err := r.request(ctx, p, request.keys); err != nil {
				return fmt.Errorf("phase %d: %w", i, err)
			}
		}
		r.before = append(r.before, p)
	}
	return nil
}

func (r *run) install(ctx context.Context, p *phase) error {
	configuration, err := r.pool.render(&r.w.configs[p.config], r.registry.server.URL)
	if err != nil {
		return err
	}
	if err := r.answerer.install(ctx, configuration); err != nil {
		return fmt.Errorf("install %s: %w", configuration, err)
	}
	r.memory = newMemory()
	return nil
}

// An expectation is what may be answered about one key.
type expectation struct {
	key     key
	verdict []verdict
}

func (e expectation) may(c class) bool {
	return slices.ContainsFunc(e.verdict, func(v verdict) bool { return v.class == c })
}

func (e expectation) must(c class) bool {
	return !slices.ContainsFunc(e.verdict, func(v verdict) bool { return v.class != c })
}

// request asks about keys together; where that could not be told, about each alone, for what was hidden.
func (r *run) request(ctx context.Context, p *phase, keys []key) error {
	told, err := r.exchange(ctx, p, keys)
	if err != nil || told || len(keys) == 1 {
		return err
	}
	for _, k := range keys {
		if _, err := r.exchange(ctx, p, []key{k}); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends one request and judges the answer; told is that it had items.
func (r *run) exchange(ctx context.Context, p *phase, keys []key) (told bool, err error) {
	var texts []string
	expected := map[string]expectation{}
	for _, k := range keys {
		text, err := r.pool.spell(k)
		if err != nil {
			return false, err
		}
		if _, again := expected[text]; !again {
			expected[text] = r.expect(p, k)
		}
		texts = append(texts, text)
	}
	join(expected)
	body, err := json.Marshal(fields{"apiVersion": protocolVersion, "kind": "ProviderRequest", "request": fields{"keys": texts}})
	if err != nil {
		return false, err
	}
	status, data, err := r.answerer.ask(ctx, body)
	if err != nil {
		return false, err
	}
	if r.corrupt != nil {
		data = r.corrupt(data)
	}
	answer, err := parse(status, data)
	if err != nil {
		return false, err
	}
	if answer.SystemError != "" {
		return false, r.untold(texts, expected, answer)
	}
	return true, r.items(texts, expected, answer)
}

// join lets keys of a request that lead to one image have one answer: whichever of them the work was begun for. A registry
// that has a manifest under a tag, and not under its digest, makes a difference between them.
func join(expected map[string]expectation) {
	byImage := map[key][]verdict{}
	for _, e := range expected {
		for _, v := range e.verdict {
			if v.subject != "" && !slices.Contains(byImage[verdictOf(e.key, v.subject)], v) {
				byImage[verdictOf(e.key, v.subject)] = append(byImage[verdictOf(e.key, v.subject)], v)
			}
		}
	}
	for text, e := range expected {
		for _, v := range slices.Clone(e.verdict) {
			for _, other := range byImage[verdictOf(e.key, v.subject)] {
				if !slices.Contains(e.verdict, other) {
					e.verdict = append(e.verdict, other)
				}
			}
		}
		expected[text] = e
	}
}

const protocolVersion = "externaldata.gatekeeper.sh/v1beta1"

// A response is what Gatekeeper reads.
type response struct {
	Items []struct {
		Key   string          `json:"key"`
		Value json.RawMessage `json:"value"`
		Error string          `json:"error"`
	} `json:"items"`
	SystemError string `json:"systemError"`
	Idempotent  bool   `json:"idempotent"`
}

// A report is what a template reads of an item's value, and some more.
type report struct {
	Version   string `json:"version"`
	Key       string `json:"key"`
	Namespace string `json:"namespace"`
	Subject   string `json:"subject"`
	Digest    string `json:"digest"`
	IsSuccess bool   `json:"isSuccess"`
	Succeeded bool   `json:"succeeded"`
	Code      string `json:"code"`
	NotAfter  int64  `json:"notAfter"`
	Message   string `json:"message"`
}

// parse holds I2, I4 and I5: a complete answer, no item beside a systemError, bounded.
func parse(status int, data []byte) (*response, error) {
	if len(data) > mostAnswer {
		return nil, wrong("I5: an answer of %d bytes", len(data))
	}
	var outer struct {
		APIVersion string    `json:"apiVersion"`
		Kind       string    `json:"kind"`
		Response   *response `json:"response"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&outer); err != nil || d.More() {
		return nil, wrong("I4: the answer is no ProviderResponse: %v: %.200s", err, data)
	}
	if status != 200 || outer.APIVersion != protocolVersion || outer.Kind != "ProviderResponse" || outer.Response == nil {
		return nil, wrong("I4: status %d, %.200s", status, data)
	}
	if outer.Response.SystemError != "" && len(outer.Response.Items) > 0 {
		return nil, wrong("I2: a systemError with %d items", len(outer.Response.Items))
	}
	return outer.Response, nil
}

// untold judges an answer that something could not be told (I3).
func (r *run) untold(texts []string, expected map[string]expectation, answer *response) error {
	possible := false
	for _, e := range expected {
		possible = possible || e.may(couldNotTell)
	}
	if !possible {
		return wrong("I3: could not tell %q, and the oracle knows: %s: %s", texts, describeAll(expected), answer.SystemError)
	}
	for _, e := range expected {
		if len(expected) == 1 {
			r.remember(e, verdict{class: couldNotTell, subject: e.subject()}, true)
			r.tally(e, verdict{class: couldNotTell})
			continue
		}
		r.remember(e, verdict{}, false)
	}
	return nil
}

// subject is the one that all that is expected is about, empty if that differs.
func (e expectation) subject() string {
	subject := e.verdict[0].subject
	for _, v := range e.verdict {
		if v.subject != subject {
			return ""
		}
	}
	return subject
}

func describeAll(expected map[string]expectation) string {
	var words []string
	for _, text := range slices.Sorted(maps.Keys(expected)) {
		words = append(words, fmt.Sprintf("%q: %s", text, expected[text]))
	}
	return strings.Join(words, "; ")
}

// String lists what may be answered.
func (e expectation) String() string {
	var words []string
	for _, v := range e.verdict {
		words = append(words, fmt.Sprintf("%s (%s%s)", v.class, v.why, v.because))
	}
	return strings.Join(words, " or ")
}

// items judges an answer with items (I1), one for each key.
func (r *run) items(texts []string, expected map[string]expectation, answer *response) error {
	seen := map[string]bool{}
	for _, item := range answer.Items {
		e, asked := expected[item.Key]
		switch {
		case !asked:
			return wrong("I1: an item for %q, which was not asked for", item.Key)
		case seen[item.Key]:
			return wrong("I1: two items for %q", item.Key)
		case item.Error != "":
			return wrong("an item with the error %q", item.Error)
		}
		seen[item.Key] = true
		var rep report
		if err := json.Unmarshal(item.Value, &rep); err != nil {
			return wrong("the value of %q is no report: %v", item.Key, err)
		}
		if err := r.item(item.Key, e, rep); err != nil {
			return err
		}
	}
	for _, text := range texts {
		if !seen[text] {
			return wrong("I1: no item for %q", text)
		}
	}
	return nil
}

// item compares one report with what is expected.
func (r *run) item(text string, e expectation, rep report) error {
	if rep.Version != "1.0" || rep.Key != text || rep.IsSuccess != rep.Succeeded || rep.IsSuccess != (rep.NotAfter != 0) || rep.Code == "" || rep.Message == "" {
		return wrong("the report about %q is not whole: %+v", text, rep)
	}
	class := refused
	if rep.IsSuccess {
		class = allowed
	}
	if !e.may(class) {
		grave := ""
		if class == allowed {
			grave = "ADMITTED WITHOUT PROOF: "
		}
		return wrong("%s%q is %s (%s: %s), and the oracle says %s", grave, text, class, rep.Code, rep.Message, e)
	}
	var why error
	for _, v := range e.verdict {
		if v.class != class {
			continue
		}
		if why = r.matches(v, e.key, rep); why == nil {
			r.remember(e, v, true)
			r.tally(e, v)
			return nil
		}
	}
	return wrong("%q is %s (%s: %s) as the oracle says (%s), but %v", text, class, rep.Code, rep.Message, e, why)
}

// matches tells what of a report differs from a verdict of the same class.
func (r *run) matches(v verdict, k key, rep report) error {
	if rep.Namespace != k.namespace && !k.malformed() && v.because != badReference {
		return fmt.Errorf("the namespace is %q, not %q", rep.Namespace, k.namespace)
	}
	if v.subject != "" {
		c, err := r.pool.subject(v.subject)
		if err != nil {
			return err
		}
		if want := c.descriptor.Digest.String(); rep.Digest != want || rep.Subject != k.repo+"@"+want {
			return fmt.Errorf("it is about %q, not about %s@%s", rep.Subject, k.repo, want)
		}
	} else if rep.Digest != "" {
		return fmt.Errorf("it names the digest %s, which nobody can know", rep.Digest)
	}
	if v.class != allowed {
		return nil
	}
	why := forVerified
	switch rep.Code {
	case "EXEMPT":
		why = forExempt
	case "WOULD_BE_REFUSED":
		why = forAudit
	}
	if why != v.why {
		return fmt.Errorf("it is allowed because %s, not because %s", why, v.why)
	}
	earliest := before(r.pool.began.Add(v.soonest), r.began.Add(capOfValidity)).Add(-slack)
	latest := before(r.pool.began.Add(v.latest), time.Now().Add(capOfValidity)).Add(slack)
	if end := time.Unix(rep.NotAfter, 0); end.Before(earliest) || end.After(latest) {
		return fmt.Errorf("it ends at %s, not from %s to %s", end.UTC(), earliest.UTC(), latest.UTC())
	}
	return nil
}

func before(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// expect is what the oracle says about a key, and what may be remembered instead.
func (r *run) expect(p *phase, k key) expectation {
	e := expectation{key: k}
	tags := map[string]bool{"": true}
	if kept, ok := r.memory.tags[tagOf(k)]; ok && k.subject == "" {
		tags = kept
	}
	for _, tagged := range slices.Sorted(maps.Keys(tags)) {
		for kept := range 4 {
			o := &oracle{w: r.w, p: p, c: &r.w.configs[p.config], before: r.before, slips: r.slips, used: map[string]bool{}}
			o.keptImages, o.keptEvidence = kept&1 != 0, kept&2 != 0
			v := o.answer(k, tagged)
			for feature := range o.used {
				r.count.feature(r, feature)
			}
			for _, v := range r.kept(k, v) {
				if !slices.Contains(e.verdict, v) {
					e.verdict = append(e.verdict, v)
				}
			}
		}
	}
	return e
}

// kept are what may be answered where the oracle says a verdict: what was said before, and the verdict itself unless something
// else is known to be kept. What could not be told never is, not even where an audit admits the image.
func (r *run) kept(k key, fresh verdict) (possible []verdict) {
	places := []key{verdictOf(k, fresh.subject)}
	if k.subject == "" && fresh.subject != "" {
		places = []key{tagOf(k), places[0]}
	}
	for _, at := range places {
		known, sure := r.memory.verdicts[at], true
		for _, v := range known {
			if v.class != couldNotTell {
				possible = append(possible, v)
			}
			sure = sure && v.class != couldNotTell && v.why != forAudit
		}
		if len(known) > 0 && sure {
			return possible
		}
	}
	return append(possible, fresh)
}

// tagOf and verdictOf are under which key a process keeps what a tag is on, and a verdict.
func tagOf(k key) key { return key{namespace: k.namespace, repo: k.repo, tag: k.tag} }

func verdictOf(k key, subject string) key {
	if subject == "" {
		return tagOf(k)
	}
	return key{namespace: k.namespace, repo: k.repo, subject: subject}
}

// remember takes in what was answered, or, where that was not seen, what may have been.
func (r *run) remember(e expectation, v verdict, seen bool) {
	config := r.w.configs[r.current().config]
	if !config.cached || e.key.malformed() {
		return
	}
	possible := e.verdict
	if seen {
		possible = []verdict{v}
	}
	tags := map[string]bool{}
	for _, v := range possible {
		if v.class == couldNotTell && v.subject == "" {
			tags[""] = true
			for _, other := range e.verdict {
				tags[other.subject] = true
			}
		}
		tags[v.subject] = true
		at := verdictOf(e.key, v.subject)
		if seen && v.class == couldNotTell {
			delete(r.memory.verdicts, at)
			continue
		}
		if seen || len(possible) == 1 {
			r.memory.verdicts[at] = []verdict{v}
			continue
		}
		if !slices.Contains(r.memory.verdicts[at], v) {
			r.memory.verdicts[at] = append(r.memory.verdicts[at], v)
		}
	}
	if e.key.subject == "" {
		r.memory.tags[tagOf(e.key)] = tags
	}
}

func (r *run) current() *phase { return r.site.phase.Load() }

func (r *run) tally(e expectation, v verdict) { r.count.verdict(r, e, v) }

// isWrong tells an answer that is wrong from one that did not come.
func isWrong(err error) bool {
	var w *wrongError
	return errors.As(err, &w)
}
