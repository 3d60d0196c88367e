package random

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// This file is the oracle. It shares nothing with the program: it is told what a world is made of, not what is in its
// bytes, and says what must become of an image by the rules that the manual gives. It imports the standard library alone,
// which a test holds.

// A class is what is known of something: three outcomes, never two.
type class int

const (
	couldNotTell class = iota
	refused
	allowed
)

func (c class) String() string { return [...]string{"could not tell", "refused", "allowed"}[c] }

// What an image is allowed for.
const (
	forVerified = "verified"
	forExempt   = "exempt"
	forAudit    = "the policy only audits"
)

// A verdict is what is to be answered about one image.
type verdict struct {
	class class
	why   string // one of the above, where allowed
	// subject is the image that was verified; empty where that is not known, or nothing was read.
	subject string
	// soonest and latest bound until when the image is allowed, after the beginning of the run; noEnd is no end in sight.
	// They differ where several pieces are enough, of which any may have been looked at.
	soonest, latest time.Duration
	// because is the first thing that a reader wants to know.
	because string
}

// noEnd is later than every end.
const noEnd = time.Duration(1 << 62)

// What is read at most, as the manual gives it.
const (
	mostReferrers = 500
	mostPieces    = 20
)

// Ages and ends of the pool's evidence, after the beginning of the run.
const (
	betaEnds      = 6 * time.Hour
	briefEnds     = 3 * time.Hour
	documentLasts = 24 * time.Hour
)

// An oracle answers about one phase of a world. What may have been kept from before counts as readable where keptImages, for the
// manifests of images, or keptEvidence says so.
type oracle struct {
	w                        *world
	p                        *phase
	c                        *configuration
	before                   []*phase // earlier phases, in which something may have been read that is kept by its digest
	keptImages, keptEvidence bool
	// slips are rules that the oracle is to get wrong, so that a test can see that each of them matters.
	slips map[slip]bool
	// used collects which rules decided, for the table.
	used map[string]bool
}

// A slip is one rule, turned off.
type slip string

func (o *oracle) note(feature string) {
	if o.used != nil {
		o.used[feature] = true
	}
}

// fault is what is wrong with an object. What is under a digest may have been read before.
func (o *oracle) fault(at object) fault {
	f := o.p.faultOf(at)
	if f == noFault || at.kind == byTag || at.kind == listOf || at.kind == cosignTag {
		return f
	}
	before := slices.ContainsFunc(o.before, func(p *phase) bool { return p.faultOf(at) == noFault })
	if at.kind == byDigest && o.keptImages || at.kind != byDigest && o.keptEvidence && before {
		return noFault
	}
	return f
}

func (o *oracle) unreadable(at object) bool {
	f := o.fault(at)
	if f != noFault {
		o.note("fault: " + at.kind)
	}
	return f != noFault
}

// answer is the verdict about a key, whose tag, if it has no digest, is on the subject that tagged says; empty: that is to
// be asked of the registry.
func (o *oracle) answer(k key, tagged string) verdict {
	v := o.decision(k, tagged)
	if v.subject == "" && !k.malformed() && v.because != badReference {
		v.subject = k.subject
	}
	return v
}

// badReference is why what cannot be parsed is refused.
const badReference = "bad reference"

func (o *oracle) decision(k key, tagged string) verdict {
	if k.malformed() || (k.namespace != "") != o.c.tenancy {
		o.note("reference: malformed")
		return verdict{class: refused, because: badReference}
	}
	name, mirrored := o.verifiedAs(k.repo)
	if end, ok := o.exempt(k, name, k.subject); ok {
		return exempted(end, k.subject)
	}
	pol, ok := o.policyFor(k.namespace, name)
	if !ok {
		o.note("no policy")
		return verdict{class: refused, because: "no policy"}
	}
	if v, ok := o.skipped(pol, name); ok {
		return v
	}
	v := o.examine(k, pol, name, mirrored, tagged)
	if pol.audit && v.class != allowed && !o.slips["audit"] {
		o.note("audit")
		return verdict{class: allowed, why: forAudit, subject: v.subject, soonest: noEnd, latest: noEnd, because: v.because}
	}
	return v
}

func exempted(end time.Duration, subject string) verdict {
	return verdict{class: allowed, why: forExempt, soonest: end, latest: end, subject: subject, because: "exempt"}
}

// verifiedAs is the name that policies see.
func (o *oracle) verifiedAs(repo string) (name string, by *mirror) {
	best := -1
	for i := range o.c.mirrors {
		if rank := scopeRank(o.c.mirrors[i].from, repo); rank > best {
			best, by = rank, &o.c.mirrors[i]
		}
	}
	if by == nil {
		return repo, nil
	}
	o.note("mirror")
	if prefix, below := strings.CutSuffix(by.from, "*"); below {
		return strings.TrimSuffix(by.as, "*") + strings.TrimPrefix(repo, prefix), by
	}
	return by.as, by
}

// scopeRank is how specific a scope is that holds a repository; -1 where it does not. Exact before paths, paths before
// domains, domains before *, and of one kind the longer.
func scopeRank(scope, repo string) int {
	const domains, paths, exact = 1000, 2000, 4000
	host := hostOf(repo)
	switch {
	case scope == repo:
		return exact
	case scope == "*":
		return 0
	case strings.HasPrefix(scope, "*."):
		domain := strings.TrimSuffix(scope[1:], "/*")
		if strings.HasSuffix(host, domain) && host != domain[1:] {
			return domains + len(domain)
		}
	case strings.HasSuffix(scope, "/*"):
		if prefix := strings.TrimSuffix(scope, "*"); strings.HasPrefix(repo, prefix) {
			return paths + len(prefix)
		}
	}
	return -1
}

// namespaceRank is how specific a pattern is that holds a namespace; -1 where it does not.
func namespaceRank(pattern, namespace string) int {
	prefix, open := strings.CutSuffix(pattern, "*")
	switch {
	case namespace == "":
	case !open && pattern == namespace:
		return 1000
	case open && strings.HasPrefix(namespace, prefix):
		return len(prefix)
	}
	return -1
}

// policyFor finds the policy: of the most specific namespace that has one for the repository, then of the scope.
func (o *oracle) policyFor(namespace, repo string) (*policy, bool) {
	var found *policy
	bestNamespace, bestScope := -1, -1
	for i := range o.c.policies {
		p := &o.c.policies[i]
		ns := -1
		for _, pattern := range p.namespaces {
			ns = max(ns, namespaceRank(pattern, namespace))
		}
		if len(p.namespaces) > 0 && ns < 0 {
			continue
		}
		if len(p.namespaces) == 0 && namespace != "" && o.c.refuse {
			continue
		}
		for _, s := range p.scopes {
			rank := scopeRank(s, repo)
			if o.slips["scope"] && rank >= 0 {
				rank = 4000 - rank
			}
			if rank >= 0 && (ns > bestNamespace || ns == bestNamespace && rank > bestScope) {
				found, bestNamespace, bestScope = p, ns, rank
			}
		}
	}
	if found != nil && bestNamespace >= 0 {
		o.note("tenant's policy")
	}
	return found, found != nil
}

// exempt tells until when an image is exempt, under either of its names.
func (o *oracle) exempt(k key, as, subject string) (end time.Duration, ok bool) {
	for _, x := range o.c.exemptions {
		inScope := len(x.scopes) == 0 || slices.ContainsFunc(x.scopes, func(s string) bool { return scopeRank(s, k.repo) >= 0 || scopeRank(s, as) >= 0 })
		inSubjects := len(x.subjects) == 0 || subject != "" && slices.Contains(x.subjects, subject)
		inNamespaces := len(x.namespaces) == 0 || slices.ContainsFunc(x.namespaces, func(p string) bool { return namespaceRank(p, k.namespace) >= 0 })
		lasts := x.lasts > 0 || o.slips["exemption"]
		if lasts && inScope && inSubjects && inNamespaces {
			end, ok = max(end, x.lasts), true
		}
	}
	if ok {
		o.note("exemption")
	}
	return end, ok
}

func (o *oracle) verifier(name string) *verifier {
	return &o.c.verifiers[slices.IndexFunc(o.c.verifiers, func(v verifier) bool { return v.name == name })]
}

// levelAt is the level of a trust policy for a repository.
func (v *verifier) levelAt(repo string) level {
	if slices.Contains(v.specials, repo) {
		return v.special
	}
	return v.level
}

// skipped decides where enough asks for nothing, so that nothing is read.
func (o *oracle) skipped(p *policy, repo string) (verdict, bool) {
	if p.rule.form != noRule {
		return verdict{}, false
	}
	told := func(name string) opinion {
		if v := o.verifier(name); v.kind == byNotary && v.levelAt(repo) == skip {
			return opinion{class: allowed, soonest: noEnd, latest: noEnd}
		}
		return opinion{}
	}
	d := decide(p.require, told)
	if d.class != allowed {
		return verdict{}, false
	}
	o.note("level skip")
	return verdict{class: allowed, why: forVerified, soonest: noEnd, latest: noEnd, because: "skip"}, true
}

// examine resolves the image and looks at what is attached.
func (o *oracle) examine(k key, p *policy, name string, by *mirror, tagged string) verdict {
	subject, at := k.subject, object{k.repo, byDigest, k.subject}
	there := o.w.serves(place{k.repo, subject})
	if subject == "" {
		at = object{k.repo, byTag, k.tag}
		subject, there = o.w.subjectAt(o.p, tagName{k.repo, k.tag})
	}
	if tagged == "" {
		switch f := o.fault(at); {
		case f == noFault && !there, f == notFound:
			o.note("image not there")
			return verdict{class: refused, because: "image not there"}
		case f == notManifest:
			return verdict{class: refused, because: "no manifest"}
		case f != noFault:
			o.note("fault: " + at.kind)
			return verdict{class: couldNotTell, because: "image unreadable"}
		}
	} else {
		subject = tagged
	}
	if end, ok := o.exempt(k, name, subject); ok {
		return exempted(end, subject)
	}
	evidence := k.repo
	if by != nil && by.origin {
		o.note("evidence at the origin")
		evidence = name
	}
	e := &examination{oracle: o, policy: p, name: name, repo: evidence, own: evidence == k.repo}
	v := e.image(subject)
	v.subject = subject
	return v
}

// An examination is of one image under one policy. own tells that evidence is where the image was read, so that its
// manifest has been read from there.
type examination struct {
	*oracle
	policy     *policy
	name, repo string
	own        bool
}

// image decides about an index by its platforms, where the policy says so.
func (e *examination) image(subject string) verdict {
	if e.unreadableList(e.repo, subject) {
		return verdict{class: couldNotTell, because: "referrers unreadable"}
	}
	whole := e.subject(subject, e.own)
	platforms := platformsOf(subject)
	if len(platforms) == 0 || e.policy.platforms == "" || e.policy.platforms == "index" {
		return whole
	}
	e.note("platforms: " + e.policy.platforms)
	if e.policy.platforms == "any" && whole.class == allowed {
		return whole
	}
	each := verdict{class: allowed, why: forVerified, soonest: noEnd, latest: noEnd}
	for _, platform := range platforms {
		v := e.subject(platform, false)
		if v.class == refused || each.class == allowed && (v.class == couldNotTell || !e.slips["platforms"]) {
			v.soonest, v.latest = min(v.soonest, each.soonest), min(v.latest, each.latest)
			each = v
		}
		if each.class == refused {
			break
		}
	}
	if e.slips["platforms"] && each.class == refused {
		each = verdict{class: allowed, why: forVerified, soonest: noEnd, latest: noEnd}
	}
	if e.policy.platforms == "any" && each.class != allowed && whole.class == couldNotTell {
		return whole
	}
	return each
}

// unreadableList tells whether what is attached cannot be listed. A registry that has no list says that nothing is.
func (o *oracle) unreadableList(repo, subject string) bool {
	at := object{repo, listOf, subject}
	return o.fault(at) != notFound && o.unreadable(at)
}

// listed are the entries that are read; more tells that there are others.
func (o *oracle) listed(repo, subject string) (list []entry, more bool) {
	if o.fault(object{repo, listOf, subject}) == notFound {
		return nil, false
	}
	list = o.w.lists[place{repo, subject}]
	if len(list) > mostReferrers {
		o.note("more than 500 referrers")
		return list[:mostReferrers], true
	}
	return list, false
}

// An opinion is what is known of one verifier, or of a requirement.
type opinion struct {
	class           class
	soonest, latest time.Duration
	// problem and limit tell that something could not be read, or lay past a bound.
	problem, limit bool
	pieces         int // that passed
}

// subject decides about one manifest, whose list can be read.
func (e *examination) subject(subject string, own bool) verdict {
	if e.unreadableList(e.repo, subject) {
		return verdict{class: couldNotTell, because: "referrers unreadable"}
	}
	names := namesOf(e.policy.require)
	opinions := e.consult(names, target{place: place{e.repo, subject}, name: e.name, own: own})
	d := decide(e.policy.require, func(name string) opinion { return opinions[slices.Index(names, name)] })
	v := verdict{class: d.class, soonest: d.soonest, latest: d.latest, because: "policy"}
	if d.class != allowed {
		return v
	}
	v.why = forVerified
	return e.obey(v, names, opinions)
}

// obey asks the rule, which must see all that there is.
func (e *examination) obey(v verdict, names []string, opinions []opinion) verdict {
	if e.policy.rule.form == noRule || e.slips["rule"] {
		return v
	}
	e.note("rule")
	pieces, by := 0, map[string]int{}
	problem, limit := false, false
	for i, name := range names {
		problem, limit = problem || opinions[i].problem, limit || opinions[i].limit
		pieces += opinions[i].pieces
		by[name] = opinions[i].pieces
	}
	holds := map[string]bool{
		always: true, atLeastTwo: pieces >= 2, passedBy: by[e.policy.rule.text] > 0, inRepository: e.policy.rule.text == e.name,
	}[e.policy.rule.form]
	switch {
	case problem:
		return verdict{class: couldNotTell, because: "the rule must see all"}
	case limit, !holds:
		return verdict{class: refused, because: "the rule"}
	}
	return v
}

// namesOf are the verifiers of a requirement, each once, in their order.
func namesOf(t tree) (names []string) {
	if t.verifier != "" {
		return []string{t.verifier}
	}
	for _, child := range t.of {
		for _, name := range namesOf(child) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// decide says whether a requirement is met: so many must be, and what is not known matters where it could change that.
func decide(t tree, told func(name string) opinion) opinion {
	if t.verifier != "" {
		return told(t.verifier)
	}
	need := t.need
	if need == 0 {
		need = len(t.of)
	}
	good, open := []opinion{}, 0
	for _, child := range t.of {
		switch o := decide(child, told); o.class {
		case allowed:
			good = append(good, o)
		case couldNotTell:
			open++
		}
	}
	switch {
	case len(good)+open < need:
		return opinion{class: refused}
	case len(good) < need:
		return opinion{class: couldNotTell}
	}
	d := opinion{class: allowed, soonest: noEnd}
	latest := []time.Duration{}
	for _, o := range good {
		d.soonest = min(d.soonest, o.soonest)
		latest = append(latest, o.latest)
	}
	sort.Slice(latest, func(i, j int) bool { return latest[i] > latest[j] })
	d.latest = latest[need-1]
	return d
}

// A target is what evidence is looked for: an image, or a document that must be proven.
type target struct {
	place
	name    string // of the repository, as policies see it
	own     bool   // its manifest has been read from this very place
	proving bool   // it is a document
	lied    bool   // its size is not what its entry says, so that no signature fits
}

// A matched piece is one entry for one verifier, in the order in which verifiers take turns.
type matched struct {
	verifier, rank int
	entry          entry
}

// consult asks each verifier about what is attached.
func (o *oracle) consult(names []string, t target) []opinion {
	list, more := o.listed(t.repo, t.subject)
	standings := make([]standing, len(names))
	var all []matched
	for i, name := range names {
		v, s := o.verifier(name), &standings[i]
		*s = standing{verifier: v, proving: t.proving, limit: more}
		if v.kind == byNotary {
			s.level = v.levelAt(t.name)
		}
		if s.level == skip {
			continue
		}
		own, problem := o.evidenceFor(v, t, list)
		s.problem = problem
		for rank, e := range own {
			all = append(all, matched{i, rank, e})
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].rank < all[j].rank })
	for n, m := range all {
		s := &standings[m.verifier]
		if n >= mostPieces && !o.slips["20 pieces"] {
			o.note("more than 20 pieces")
			s.limit = true
			continue
		}
		s.take(o.look(s.verifier, s.level, m.entry, t))
	}
	opinions := make([]opinion, len(names))
	for i := range standings {
		opinions[i] = standings[i].opinion(o)
	}
	return opinions
}

// evidenceFor is what a verifier takes for its own of a list, and what is under cosign's tag.
func (o *oracle) evidenceFor(v *verifier, t target, list []entry) (own []entry, problem bool) {
	seen := map[entry]bool{}
	add := func(e entry) {
		if !seen[e] {
			seen[e] = true
			own = append(own, e)
		}
	}
	for _, e := range list {
		if v.takes(e) {
			add(e)
		}
	}
	if !v.tags {
		return own, false
	}
	if o.unreadable(object{t.repo, cosignTag, t.subject}) {
		return own, true
	}
	for _, p := range o.w.tagged[t.place] {
		o.note("cosign's tag")
		add(entry{piece: p, typed: typeSimple})
	}
	return own, false
}

// The artifact types of lists.
const (
	typeNotary = "application/vnd.cncf.notary.signature"
	typeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	typeBill   = "application/spdx+json"
	typeJunk   = "application/vnd.acme.review"
	typeSimple = "application/vnd.dev.cosign.simplesigning.v1+json"
)

// takes tells whether a verifier takes an entry for its own: by its artifact type, or because it has none.
func (v *verifier) takes(e entry) bool {
	if e.lie == wrongMedia {
		return v.kind == byNotary && e.typed == typeNotary
	}
	switch v.kind {
	case byNotary:
		return e.typed == typeNotary || e.typed == ""
	case ofBills:
		return e.typed == typeBill || e.typed == "" || e.typed == typeBundle && len(v.signedBy) == 0
	}
	return e.typed == typeBundle || e.typed == ""
}

// A finding is what one piece says.
type finding int

const (
	passes    finding = iota
	bad               // somebody who is trusted says so
	neutral           // as if it were not there
	otherKind         // something else than it was taken for
	open              // could not be read
)

// A look is what was found in one piece, when it was made and until when it holds.
type look struct {
	finding         finding
	made            int           // the age of a document, in hours; undated is not known
	soonest, latest time.Duration // differ where any of several vouch for it
	lax             bool          // passes although something is wrong
}

const undated = -1

func until(end time.Duration) look {
	return look{finding: passes, made: undated, soonest: end, latest: end}
}

func found(f finding) look { return look{finding: f, made: undated} }

// look examines a piece that a verifier has taken.
func (o *oracle) look(v *verifier, lv level, e entry, t target) look {
	if v.kind == byNotary && lv == "" {
		return found(neutral) // no statement of the trust policy is for this repository
	}
	proof, signed := until(noEnd), len(v.signedBy) > 0
	if signed {
		if proof = o.prove(v, e, t); proof.finding != passes {
			return proof
		}
	}
	if v.kind == ofBills && !signed && e.typed == typeBill {
		return found(neutral) // a document that nobody has signed, for one who takes attestations
	}
	if e.typed != typeSimple {
		if f := o.manifest(v, e, t); f != passes {
			return found(f)
		}
	}
	if o.unreadable(object{t.repo, contentOf, e.piece.id()}) {
		return found(open)
	}
	if e.piece.flaw == layerSize {
		return found(wrongBy(signed))
	}
	l := o.judge(v, lv, e.piece, t)
	if l.finding == passes {
		l.soonest, l.latest = min(l.soonest, proof.soonest), min(l.latest, proof.latest)
	}
	return l
}

// wrongBy is what becomes of what is malformed: a stranger's is neutral, and what is proven counts.
func wrongBy(proven bool) finding {
	if proven {
		return bad
	}
	return neutral
}

// prove asks whether anybody whom the verifier names has signed a document.
func (o *oracle) prove(v *verifier, e entry, t target) look {
	o.note("signedBy")
	document := e.piece.id()
	if e.lie == nowhere {
		document = "nothing"
	}
	if o.unreadableList(t.repo, document) {
		return found(open)
	}
	lied := e.lie == wrongSize || e.lie == hugeSize || e.lie == noSize
	opinions := o.consult(v.signedBy, target{place: place{t.repo, document}, name: t.name, proving: true, lied: lied})
	anyOf := tree{need: 1}
	for _, name := range v.signedBy {
		anyOf.of = append(anyOf.of, tree{verifier: name})
	}
	d := decide(anyOf, func(name string) opinion { return opinions[slices.Index(v.signedBy, name)] })
	switch {
	case d.class == allowed || o.slips["signedBy"]:
		l := until(d.latest)
		l.soonest = d.soonest
		return l
	case d.class == couldNotTell:
		return found(open)
	}
	return found(neutral)
}

// manifest reads the manifest of a piece, and tells whether it is what its entry, and the verifier, take it for.
func (o *oracle) manifest(v *verifier, e entry, t target) finding {
	switch {
	case e.lie == wrongMedia, e.lie == hugeSize, e.lie == noSize:
		return neutral
	case e.lie == nowhere, o.unreadable(object{t.repo, pieceOf, e.piece.id()}):
		return open
	case e.lie == wrongSize:
		return neutral
	}
	p, signed := e.piece, len(v.signedBy) > 0
	wanted := typeBundle
	if v.kind == byNotary {
		wanted = typeNotary
	} else if signed {
		wanted = typeBill
	}
	known := p.artifactType() == wanted
	switch {
	case !known && e.typed == "":
		return otherKind
	case (p.on != t.subject || t.lied) && !o.slips["subject"], p.flaw == noSubject:
		return neutral
	case !known, p.flaw == twoLayers, p.flaw == oddLayer:
		if signed && e.typed == "" {
			return otherKind
		}
		return wrongBy(signed)
	}
	return passes
}

// artifactType is what a piece's own manifest says it is.
func (p piece) artifactType() string {
	switch p.kind {
	case notary:
		return typeNotary
	case plainBill:
		return typeBill
	case junk:
		return typeJunk
	case simple:
		return typeSimple
	}
	return typeBundle
}

// judge tells what a piece says whose bytes have been read.
func (o *oracle) judge(v *verifier, lv level, p piece, t target) look {
	switch v.kind {
	case byNotary:
		return o.judgeNotary(v, lv, p, t.subject)
	case byCosign, byIdentity:
		return o.judgeCosign(v, p, t)
	}
	return o.judgeDocument(v, p, t.subject)
}

// issuers are who issued a maker's certificate.
func issuerOf(m maker) maker {
	switch m {
	case acme, lapsed:
		return acme
	case sound, revoked:
		return sound
	case beta, ailing:
		return m
	}
	return ""
}

func (o *oracle) judgeNotary(v *verifier, lv level, p piece, subject string) look {
	issuer := issuerOf(p.by)
	trusted := slices.Contains(v.trusted, issuer) && (v.only == "" || v.only == issuer) || o.slips["signer"]
	ended := p.flaw == expired && !o.slips["expiry"] || p.by == lapsed && !o.slips["certificate"] || p.by == revoked && !o.slips["revoked"]
	switch {
	case p.flaw == tampered && !o.slips["tampered"], p.flaw == garbage:
		return found(neutral)
	case lv == strict && (!trusted || ended):
		return found(neutral)
	case lv == strict && p.by == ailing:
		o.note("revocation unknown")
		return found(open)
	case p.about != subject && !o.slips["about"], (p.flaw == lyingSize || p.flaw == lyingMedia) && !o.slips["payload"]:
		return found(neutral)
	}
	l := until(noEnd)
	if lv == audit {
		l.lax = !trusted || ended || p.by == ailing
		return l
	}
	if p.by == beta {
		l = until(betaEnds)
	}
	if p.flaw == brief {
		l = until(min(l.latest, briefEnds))
	}
	return l
}

func (o *oracle) judgeCosign(v *verifier, p piece, t target) look {
	switch {
	case p.flaw == garbage:
		return found(neutral)
	case p.kind.attestation():
		return found(otherKind)
	case p.kind == message && !t.own && !o.keptImages && o.unreadable(object{t.repo, byDigest, t.subject}):
		return found(open) // what is signed is the image's manifest itself
	case p.kind == message && !t.own && !o.keptImages && !o.w.serves(t.place):
		return found(open)
	}
	trusted := slices.Contains(v.trusted, p.by) || o.slips["signer"]
	if !trusted || p.flaw == tampered && !o.slips["tampered"] || p.about != t.subject && !o.slips["about"] {
		return found(neutral)
	}
	return until(noEnd)
}

// serves tells whether a repository has a subject, as an image or as a platform of one.
func (w *world) serves(at place) bool {
	return slices.ContainsFunc(w.images, func(i image) bool {
		return i.repo == at.repo && (i.subject == at.subject || slices.Contains(platformsOf(i.subject), at.subject))
	})
}

func (o *oracle) judgeDocument(v *verifier, p piece, subject string) look {
	wanted, signed := map[verifierKind]kind{ofBills: bill, ofScans: scan, ofReviews: review}[v.kind], len(v.signedBy) > 0
	if signed {
		wanted = plainBill
	}
	trusted := signed || (slices.Contains(v.trusted, p.by) || o.slips["signer"]) &&
		(p.flaw != tampered || o.slips["tampered"]) && (p.about == subject || o.slips["about"])
	switch {
	case p.flaw == garbage:
		return found(wrongBy(signed))
	case p.kind == statement, p.kind == message:
		return found(otherKind)
	case !trusted:
		return found(neutral)
	case p.kind != wanted:
		return found(otherKind)
	case v.kind == ofReviews:
		return until(noEnd)
	}
	age := time.Duration(p.age) * time.Hour
	l := until(documentLasts - age)
	l.made = p.age
	if p.dirty && !o.slips["dirty"] || age > documentLasts && !o.slips["age"] {
		l.finding = bad
	}
	return l
}

// A standing is what is known of one verifier so far.
type standing struct {
	verifier       *verifier
	level          level
	proving        bool
	problem, limit bool
	looks          []look
	others, taken  int
}

func (s *standing) take(l look) {
	s.taken++
	switch l.finding {
	case otherKind:
		s.others++
	case open:
		s.problem = true
	default:
		s.looks = append(s.looks, l)
	}
}

// mode is which pieces decide.
func (s *standing) mode() string {
	switch {
	case s.verifier.pieces != "":
		return s.verifier.pieces
	case s.verifier.kind == ofBills:
		return "all"
	case s.verifier.kind == ofScans:
		return "newest"
	}
	return "any"
}

// opinion decides about a verifier. A level that asks for nothing, or only logs that nothing is there, proves no document.
func (s *standing) opinion(o *oracle) opinion {
	d := opinion{class: refused, problem: s.problem, limit: s.limit, soonest: noEnd, latest: noEnd}
	// Where all count, what lies past a bound may be one that must not be there.
	absent := s.level == audit && !s.problem && s.others == s.taken && (s.mode() != "all" || !s.limit)
	if s.level == skip || absent {
		o.note("level " + string(s.level))
		if !s.proving {
			d.class = allowed
		}
		return d
	}
	mode := s.mode()
	good, wrong := s.decisive(mode, o)
	d.pieces = len(good) // a rule sees what passed, be it one of several of which another refuses
	o.note("evidence: " + mode)
	switch {
	case mode == "any" && len(good) > 0:
		d.class = allowed
	case mode == "all" && len(wrong) > 0,
		mode == "newest" && slices.ContainsFunc(wrong, func(l look) bool { return l.made == undated }):
	case s.problem:
		d.class = couldNotTell
	case mode != "any" && len(good) > 0 && len(wrong) == 0 && !s.limit:
		d.class = allowed
	}
	if d.class == allowed {
		d.span(good, mode)
	}
	return d
}

// decisive are the pieces that pass, and those that somebody who is trusted made and that do not: of all, or of those that
// none is newer than. One without a date may be newer than any.
func (s *standing) decisive(mode string, o *oracle) (good, wrong []look) {
	newest := 1 << 30
	for _, l := range s.looks {
		if l.finding != neutral && l.made != undated {
			newest = min(newest, l.made)
		}
	}
	for _, l := range s.looks {
		older := mode == "newest" && l.made != undated && l.made > newest && !o.slips["newest"]
		switch {
		case older, s.proving && l.lax:
		case l.finding == passes:
			good = append(good, l)
		case l.finding == bad && !o.slips["all"]:
			wrong = append(wrong, l)
		}
	}
	return good, wrong
}

// span is until when a verifier passes: by its best piece where one is enough, and any of them may have been looked at;
// by the first that ends where all count.
func (d *opinion) span(good []look, mode string) {
	if mode == "any" {
		d.latest = 0
	}
	for _, l := range good {
		d.soonest = min(d.soonest, l.soonest)
		if mode == "any" {
			d.latest = max(d.latest, l.latest)
		} else {
			d.latest = min(d.latest, l.latest)
		}
	}
}
