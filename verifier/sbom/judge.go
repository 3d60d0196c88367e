package sbom

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/document"
)

const (
	// maxNamed is how many offenders a message names; the number of the others follows.
	maxNamed = 3
	// maxNameBytes bounds what a message shows of a package's name or licence, so that three fit a denial.
	maxNameBytes = 80
	// maxLicenses bounds the licences that the facts list: a report has at most some 100 KiB, and an image a few dozen.
	maxLicenses = 64
)

// A judgement is a result, and the images that the document says it describes.
type judgement struct {
	ratify.Result
	images []digest.Digest
}

// judge judges a document whose maker is known.
func (v *Verifier) judge(doc *document.Document) judgement {
	t := trial{rules: &v.rules, verdicts: map[string]licenseVerdict{}, licenses: map[string]bool{}}
	b, err := read(doc.Kind.Name, doc.Data, t.visit)
	made := b.created
	if proven := doc.Made; made.IsZero() || !proven.IsZero() && proven.Before(made) {
		made = proven // no document is newer than its signature
	}
	result := ratify.Result{Made: made, Extensions: t.facts(b, doc.Signer)}
	var problem *ratify.Error
	if errors.As(err, &problem) {
		result.Code, result.Message = problem.Code, problem.UserMessage()
		return judgement{Result: result}
	}
	result.Code, result.Message = v.judgeAge(b.created, made)
	if result.Code == "" {
		result.Code, result.Message, result.Remedy = t.sentence()
	}
	if result.Code != "" {
		return judgement{Result: result}
	}
	result.Passed = true
	result.Message = fmt.Sprintf("the bill of materials (%s, packages: %d) lists nothing that is not allowed", b.format, b.packages)
	if v.rules.maxAge > 0 {
		result.NotAfter = made.Add(v.rules.maxAge)
	}
	return judgement{Result: result, images: b.images}
}

// judgeAge judges the time that the document gives itself, and when it was made at the latest. One that gives none may be
// of any age: that it was signed lately does not make it new.
func (v *Verifier) judgeAge(created, made time.Time) (ratify.Code, string) {
	now, limit := v.now(), v.rules.maxAge
	ahead, age := created.Sub(now), now.Sub(made)
	switch {
	case created.IsZero() && limit > 0:
		return ratify.EvidenceTooOld, fmt.Sprintf("the bill of materials does not say when it was made, and at most %s are allowed", span(limit))
	case created.IsZero():
		return "", ""
	case ahead > document.MaxSkew:
		return ratify.EvidenceInvalid, fmt.Sprintf("the bill of materials was made %s from now, at %s", span(ahead), created.UTC().Format(time.RFC3339))
	case limit > 0 && age > limit:
		return ratify.EvidenceTooOld, fmt.Sprintf("the bill of materials was made %s ago, at most %s are allowed: %s too old", span(age), span(limit), span(age-limit))
	}
	return "", ""
}

// span writes a duration in the two units that matter.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour), " 0 h")
	case d >= time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute), " 0 min")
	case d >= time.Minute:
		return strings.TrimSuffix(fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second), " 0 s")
	}
	return fmt.Sprintf("%d s", (d+time.Second-1)/time.Second)
}

// A trial judges the components of one document as they go by.
type trial struct {
	rules      *rules
	verdicts   map[string]licenseVerdict // by expression
	licenses   map[string]bool           // those that were seen, at most maxLicenses
	overflow   bool                      // there were more
	banned     offences
	unlicensed offences
	unknown    bool // the first licence that is not accepted is unknown
}

// offences are the components that break a rule.
type offences struct {
	first []string // what is wrong with the first maxNamed
	count int
}

// another counts one, and tells whether it is to be named.
func (o *offences) another() bool {
	o.count++
	return o.count <= maxNamed
}

func (o *offences) String() string {
	text := strings.Join(o.first, ", ")
	if more := o.count - len(o.first); more > 0 {
		text += fmt.Sprintf("; %d more", more)
	}
	return text
}

func (t *trial) visit(c *component) {
	if why := t.rules.packages.disallow(c); why != "" && t.banned.another() {
		t.banned.first = append(t.banned.first, c.String()+" "+why)
	}
	for _, license := range c.licenses {
		t.note(license)
	}
	if !t.rules.licenses.any() {
		return
	}
	if len(c.licenses) == 0 {
		t.license(c, noAssertion)
	}
	for _, license := range c.licenses {
		if !t.license(c, license) {
			return
		}
	}
}

// license judges one licence of a component.
func (t *trial) license(c *component, text string) bool {
	verdict := t.judge(text)
	if verdict.ok || verdict.absent && !c.needsLicense {
		return true
	}
	if t.unlicensed.another() {
		t.unknown = t.unknown || t.unlicensed.count == 1 && verdict.why == isUnknown
		t.unlicensed.first = append(t.unlicensed.first, c.String()+" has the licence "+verdict.String())
	}
	return false
}

// judge judges a licence expression, most of which an image has many times.
func (t *trial) judge(text string) licenseVerdict {
	if verdict, ok := t.verdicts[text]; ok {
		return verdict
	}
	verdict := t.rules.licenses.judge(text)
	if len(t.verdicts) < maxRemembered {
		t.verdicts[text] = verdict
	}
	return verdict
}

// note remembers a licence for the facts.
func (t *trial) note(license string) {
	license = ratify.Truncate(license)
	if len(t.licenses) == maxLicenses && !t.licenses[license] {
		t.overflow = true
		return
	}
	t.licenses[license] = true
}

// sentence tells what breaks the rules, and what to do where the code does not say it; nothing has no code.
func (t *trial) sentence() (code ratify.Code, message, remedy string) {
	if t.unknown {
		remedy = "have the bill of materials say which licence it is, or set licenses: unknown to allow"
	}
	switch banned, unlicensed := t.banned.count > 0, t.unlicensed.count > 0; {
	case banned && unlicensed:
		return ratify.PackageDisallowed, t.banned.String() + "; and " + t.unlicensed.String(), ""
	case banned:
		return ratify.PackageDisallowed, t.banned.String(), ""
	case unlicensed:
		return ratify.LicenseDisallowed, t.unlicensed.String(), remedy
	}
	return "", "", ""
}

// facts are what the report shows and what a policy's rule sees. format, packages and what follows them are there only if
// the whole document was read; created only if it says so; licensesComplete is false where there are more licences than
// are listed.
func (t *trial) facts(b bom, signer map[string]any) map[string]any {
	facts := map[string]any{}
	if signer != nil {
		facts["signer"] = signer
	}
	if !b.created.IsZero() {
		facts["created"] = b.created.UTC().Format(time.RFC3339)
	}
	if b.format == "" {
		return facts
	}
	facts["format"], facts["packages"], facts["tools"] = b.format, int64(b.packages), append([]string{}, b.tools...)
	facts["licenses"], facts["licensesComplete"] = slices.Sorted(maps.Keys(t.licenses)), !t.overflow
	return facts
}

// String names a component for a message.
func (c *component) String() string { return brief(strings.TrimSpace(c.name + " " + c.version)) }

// String says what a package's licence is, and what of it is in the way.
func (v licenseVerdict) String() string {
	if v.text == v.bad {
		return fmt.Sprintf("%s, which %s", brief(v.text), v.why)
	}
	return fmt.Sprintf("%s, of which %s %s", brief(v.text), brief(v.bad), v.why)
}

// brief is ratify.Quote, for messages that name several.
func brief(text string) string {
	if len(text) > maxNameBytes {
		text = strings.ToValidUTF8(text[:maxNameBytes], "") + "..."
	}
	return ratify.Quote(text)
}
