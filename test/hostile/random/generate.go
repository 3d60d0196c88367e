package random

import (
	"math/rand/v2"
	"slices"
	"time"
)

// A generator draws a world. The same seed draws the same world; its id only gives its hosts and paths their names.
type generator struct {
	r     *rand.Rand
	w     *world
	repos []string
	// The hosts: a registry, one with a port, and a mirror of the first.
	first, second, mirrored string
}

// generate draws the world of a seed.
func generate(seed uint64, id string) *world {
	g := &generator{
		r: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), //nolint:gosec // it must be repeatable, and hides nothing
		w: &world{seed: seed, id: id, lists: map[place][]entry{}, tagged: map[place][]piece{}, withoutAPI: map[string]bool{}},
	}
	g.first, g.second, g.mirrored = id+".acme.example", id+".corp.example:5000", id+".mirror.example"
	for _, host := range []string{g.first, g.second, g.mirrored, dockerHub} {
		g.w.withoutAPI[host] = g.chance(0.3)
	}
	all := []string{g.first + "/team/app", g.first + "/team/db", g.first + "/tools", g.second + "/app", dockerHub + "/library/" + id, dockerHub + "/" + id + "/app"}
	g.repos = g.some(all, 1+g.r.IntN(2))
	g.configs()
	g.images()
	g.phases()
	return g.w
}

func (g *generator) chance(p float64) bool { return g.r.Float64() < p }

func pick[T any](g *generator, list []T) T { return list[g.r.IntN(len(list))] }

// some draws n of a list, in its order.
func (g *generator) some(list []string, n int) []string {
	at := g.r.Perm(len(list))[:min(n, len(list))]
	slices.Sort(at)
	drawn := make([]string, len(at))
	for i, j := range at {
		drawn[i] = list[j]
	}
	return drawn
}

func (g *generator) configs() {
	if g.chance(0.25) {
		g.repos = append(g.repos, g.mirrored+"/team/app")
	}
	for range 1 + g.r.IntN(2) {
		g.w.configs = append(g.w.configs, g.configuration())
	}
}

func (g *generator) configuration() configuration {
	c := configuration{cached: g.chance(0.6), tenancy: g.chance(0.25)}
	c.refuse = c.tenancy && g.chance(0.4)
	if slices.Contains(g.repos, g.mirrored+"/team/app") {
		from := pick(g, []string{"/*", "/team/*", "/team/app"})
		c.mirrors = []mirror{{from: g.mirrored + from, as: g.first + from, origin: g.chance(0.5)}}
	}
	c.verifiers = g.verifiers()
	names := map[string]bool{}
	taken := map[string]bool{}
	for i := range 1 + g.r.IntN(4) {
		p, ok := g.policy(i, &c, taken)
		if !ok {
			continue
		}
		c.policies = append(c.policies, p)
		for _, name := range namesOf(p.require) {
			names[name] = true
			for _, v := range c.verifiers {
				if v.name == name {
					for _, prover := range v.signedBy {
						names[prover] = true
					}
				}
			}
		}
	}
	// A verifier that no policy uses is refused.
	c.verifiers = slices.DeleteFunc(c.verifiers, func(v verifier) bool { return !names[v.name] })
	if g.chance(0.2) {
		c.exemptions = append(c.exemptions, g.exemption(&c))
	}
	return c
}

// verifiedNames are the names that policies see.
func (g *generator) verifiedNames() []string {
	names := slices.Clone(g.repos)
	if slices.Contains(g.repos, g.mirrored+"/team/app") {
		names = append(names, g.first+"/team/app")
	}
	return names
}

func (g *generator) verifiers() []verifier {
	var list []verifier
	if g.chance(0.7) {
		list = append(list, g.notaryVerifier("notation"))
	}
	if g.chance(0.15) {
		list = append(list, g.notaryVerifier("notation-b"))
	}
	if g.chance(0.5) || len(list) == 0 {
		list = append(list, verifier{name: "cosign", kind: byCosign, trusted: g.keys(), tags: g.chance(0.4), pieces: pick(g, []string{"", "", "", "all"})})
	}
	if g.chance(0.08) {
		list = append(list, verifier{name: "keyless", kind: byIdentity, trusted: []maker{builder}, tags: g.chance(0.3)})
	}
	var provers []string
	for _, v := range list {
		provers = append(provers, v.name)
	}
	modes := []string{"", "", "any", "all", "newest"}
	if g.chance(0.35) {
		v := verifier{name: "bills", kind: ofBills, pieces: pick(g, modes)}
		if g.chance(0.5) {
			v.signedBy = g.some(provers, 1+g.r.IntN(2))
		} else {
			v.trusted = g.keys()
		}
		list = append(list, v)
	}
	if g.chance(0.25) {
		list = append(list, verifier{name: "scans", kind: ofScans, trusted: g.keys(), pieces: pick(g, modes)})
	}
	if g.chance(0.15) {
		list = append(list, verifier{name: "reviews", kind: ofReviews, trusted: g.keys(), pieces: pick(g, modes)})
	}
	return list
}

func (g *generator) keys() []maker {
	return pick(g, [][]maker{{firstKey}, {secondKey}, {firstKey, secondKey}})
}

func (g *generator) notaryVerifier(name string) verifier {
	v := verifier{name: name, kind: byNotary, level: strict, pieces: pick(g, []string{"", "", "", "all"})}
	v.trusted = pick(g, [][]maker{{acme}, {acme, beta}, {beta}, {acme, sound}, {sound, beta}, {acme, beta, sound}, {acme, ailing}})
	if g.chance(0.2) {
		v.only = v.trusted[0]
	}
	if g.chance(0.08) {
		v.level = audit
	}
	if g.chance(0.15) {
		v.special, v.specials = pick(g, []level{skip, audit, strict}), []string{pick(g, g.verifiedNames())}
		if v.special != skip && g.chance(0.3) {
			v.level = ""
		}
	}
	return v
}

// namespaces of requests, and the patterns that policies have for them.
var (
	namespaces = []string{"team-a", "team-b", "ops"}
	patterns   = []string{"team-a", "team-*", "*", "ops", "t*"}
)

// policy draws one; without a scope that is left there is none.
func (g *generator) policy(i int, c *configuration, taken map[string]bool) (policy, bool) {
	p := policy{name: []string{"one", "two", "three", "four"}[i], platforms: pick(g, []string{"", "", "index", "all", "any"}), audit: g.chance(0.08)}
	if c.tenancy && g.chance(0.5) {
		p.namespaces = []string{pick(g, patterns)}
	}
	candidates := append(g.verifiedNames(), "*", "*.acme.example/*", "*.example/*", g.first+"/*", g.first+"/team/*", dockerHub+"/*", dockerHub+"/library/*", g.second+"/*")
	if i == 0 && g.chance(0.75) {
		candidates = []string{"*"}
	}
	for _, s := range g.some(candidates, 1+g.r.IntN(2)) {
		at := s
		if len(p.namespaces) > 0 {
			at = p.namespaces[0] + " " + s
		}
		if !taken[at] {
			taken[at] = true
			p.scopes = append(p.scopes, s)
		}
	}
	if len(p.scopes) == 0 {
		return p, false
	}
	p.require = g.require(c)
	if g.chance(0.15) {
		p.rule = condition{form: pick(g, []string{always, always, atLeastTwo, passedBy, inRepository})}
		switch p.rule.form {
		case passedBy:
			p.rule.text = pick(g, namesOf(p.require))
		case inRepository:
			p.rule.text = pick(g, g.verifiedNames())
		}
	}
	return p, true
}

func (g *generator) require(c *configuration) tree {
	var names []string
	for _, v := range c.verifiers {
		names = append(names, v.name)
	}
	names = g.some(names, 1+g.r.IntN(3))
	t := tree{flat: true, need: g.r.IntN(len(names) + 1)}
	for _, name := range names {
		t.of = append(t.of, tree{verifier: name})
	}
	if len(names) < 2 || !g.chance(0.3) {
		return t
	}
	// One below another: the last two stand for one.
	last := t.of[len(t.of)-2:]
	inner := tree{need: g.r.IntN(3), of: slices.Clone(last)}
	outer := tree{of: append(slices.Clone(t.of[:len(t.of)-2]), inner)}
	if g.chance(0.3) {
		outer.of = append(outer.of, t.of[0]) // one verifier may stand in two places
	}
	outer.need = g.r.IntN(len(outer.of) + 1)
	return outer
}

func (g *generator) exemption(c *configuration) exemption {
	x := exemption{lasts: pick(g, []time.Duration{2 * time.Hour, 40 * time.Hour, -time.Hour})}
	if g.chance(0.6) {
		x.scopes = []string{pick(g, append(g.verifiedNames(), g.first+"/team/*", g.second+"/*"))}
	}
	if len(x.scopes) == 0 || g.chance(0.3) {
		x.subjects = []string{g.subject()}
	}
	if c.tenancy && g.chance(0.4) {
		x.namespaces = []string{pick(g, patterns)}
	}
	return x
}

func (g *generator) subject() string {
	if g.chance(0.25) {
		return index(g.r.IntN(indexes))
	}
	return single(g.r.IntN(singles))
}

// images puts images into the repositories, and evidence to them where any configuration looks for it.
func (g *generator) images() {
	for _, repo := range g.repos {
		for range 1 + g.r.IntN(2) {
			i := image{repo: repo, subject: g.subject(), tag: pick(g, []string{"latest", "v1", "v1", ""})}
			if i.tag != "" && slices.ContainsFunc(g.w.images, func(o image) bool { return o.repo == repo && o.tag == i.tag }) {
				i.tag = ""
			}
			g.w.images = append(g.w.images, i)
			g.attach(repo, i.subject)
			if hostOf(repo) == g.mirrored {
				origin := g.first + "/team/app"
				if g.chance(0.5) {
					g.w.images = append(g.w.images, image{repo: origin, subject: i.subject})
				}
				g.attach(origin, i.subject)
			}
		}
	}
}

// attach puts evidence to a subject, and to its platforms.
func (g *generator) attach(repo, subject string) {
	for _, s := range append([]string{subject}, platformsOf(subject)...) {
		at := place{repo, s}
		if g.w.lists[at] != nil || g.chance(0.1) {
			continue // nothing at all, or another image has put it there
		}
		g.evidence(at)
	}
}

func (g *generator) evidence(at place) {
	list := []entry{}
	c := &g.w.configs[0]
	if g.chance(0.3) {
		c = &g.w.configs[len(g.w.configs)-1]
	}
	complete := g.chance(0.65)
	for i := range c.verifiers {
		if complete || g.chance(0.4) {
			list = append(list, g.good(c, &c.verifiers[i], at)...)
		}
	}
	for range g.noises() {
		list = append(list, g.noise(at))
	}
	if g.chance(0.5) {
		g.r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	if len(list) > 0 && g.chance(0.1) {
		again := pick(g, list)
		if g.chance(0.5) {
			again.lie = pick(g, lies)
		}
		list = slices.Insert(list, g.r.IntN(len(list)+1), again)
	}
	if g.chance(0.008) {
		list = g.bury(at, list)
	}
	g.w.lists[at] = list
}

var lies = []lie{wrongSize, hugeSize, noSize, wrongMedia, nowhere}

// noises is how many pieces nobody asked for are attached: mostly few, sometimes more than are looked at.
func (g *generator) noises() int {
	if g.chance(0.03) {
		return 18 + g.r.IntN(12)
	}
	return max(0, g.r.IntN(6)-2)
}

// bury puts more junk before what is good than is listed, or behind it.
func (g *generator) bury(at place, list []entry) []entry {
	var all []entry
	for i := range mostReferrers + 20 {
		all = append(all, entry{piece: piece{kind: junk, by: stranger, on: at.subject, about: at.subject, copy: 1000 + i}, typed: typeJunk})
	}
	if g.chance(0.5) {
		return slices.Concat(list, all)
	}
	return slices.Concat(all, list)
}

// listed is a piece as an honest registry lists it, or now and then as another one does.
func (g *generator) listed(at place, p piece) entry {
	e := entry{piece: p, typed: p.artifactType()}
	silent := 0.03
	if g.w.withoutAPI[hostOf(at.repo)] {
		silent = 0.1 // lists under the fallback tag often do not repeat the type
	}
	switch {
	case g.chance(silent):
		e.typed = ""
	case g.chance(0.015):
		e.typed = pick(g, []string{typeNotary, typeBundle, typeBill, typeJunk})
	case g.chance(0.02):
		e.lie = pick(g, lies)
	}
	return e
}

// good is what a verifier asks for.
func (g *generator) good(c *configuration, v *verifier, at place) []entry {
	p := piece{on: at.subject, about: at.subject}
	switch v.kind {
	case byNotary:
		p.kind, p.by, p.cose = notary, pick(g, v.trusted), g.chance(0.4)
		if v.only != "" {
			p.by = v.only
		}
		p.flaw = pick(g, []flaw{"", "", "", "", "", "", "", "", brief, brief, expired, tampered, lyingSize})
		if fallen := map[maker]maker{acme: lapsed, sound: revoked}[p.by]; fallen != "" && g.chance(0.08) {
			p.by = fallen
		}
	case byCosign, byIdentity:
		p.kind, p.by = pick(g, []kind{statement, statement, message}), pick(g, v.trusted)
		if v.tags && g.chance(0.6) {
			p.kind = simple
			g.w.tagged[at] = append(g.w.tagged[at], p)
			return nil
		}
	default:
		p.age = pick(g, []int{1, 1, 2, 2, 3, 3, 4, 4, 5, 30})
		p.kind = map[verifierKind]kind{ofBills: bill, ofScans: scan, ofReviews: review}[v.kind]
		if len(v.signedBy) > 0 {
			return g.proven(c, v, at, p)
		}
		p.by, p.dirty = pick(g, v.trusted), g.chance(0.12)
		if g.chance(0.3) {
			// What else the same one said, before or after.
			other := p
			other.age, other.dirty = pick(g, []int{1, 2, 3, 4, 5, 30}), g.chance(0.5)
			return []entry{g.listed(at, p), g.listed(at, other)}
		}
	}
	return []entry{g.listed(at, p)}
}

// proven is a document with somebody's signature.
func (g *generator) proven(c *configuration, v *verifier, at place, p piece) []entry {
	p.kind, p.by, p.copy = plainBill, stranger, g.r.IntN(3)
	document := place{at.repo, p.id()}
	if g.w.lists[document] == nil {
		g.w.lists[document] = []entry{}
		name := pick(g, v.signedBy)
		for i := range c.verifiers {
			if c.verifiers[i].name == name && g.chance(0.85) {
				g.w.lists[document] = append(g.w.lists[document], g.good(c, &c.verifiers[i], document)...)
			}
		}
		if g.chance(0.2) {
			g.w.lists[document] = append(g.w.lists[document], g.listed(document, g.signature(document)))
		}
	}
	return []entry{g.listed(at, p)}
}

// noise is any piece.
func (g *generator) noise(at place) entry {
	var p piece
	switch g.r.IntN(10) {
	case 0:
		p = piece{kind: junk, by: stranger, on: at.subject, about: at.subject, copy: g.r.IntN(4)}
	case 1, 2:
		p = piece{kind: pick(g, []kind{bill, bill, scan, scan, review}), by: g.key(), on: at.subject, about: at.subject, age: 1 + g.r.IntN(5), dirty: g.chance(0.5)}
		if g.chance(0.15) {
			p.age = 30
		}
	case 3:
		p = piece{kind: plainBill, by: stranger, on: at.subject, about: at.subject, age: 1 + g.r.IntN(5), dirty: g.chance(0.5), copy: g.r.IntN(3)}
		p.flaw = pick(g, []flaw{"", "", "", garbage, twoLayers, layerSize})
		if document := (place{at.repo, p.id()}); g.w.lists[document] == nil && g.chance(0.6) {
			g.w.lists[document] = []entry{g.listed(document, g.signature(document))}
		}
		return g.listed(at, p)
	default:
		p = g.signature(at)
		if p.kind == simple {
			g.w.tagged[at] = append(g.w.tagged[at], p)
			p.kind = statement
		}
	}
	g.spoil(at, &p)
	return g.listed(at, p)
}

func (g *generator) key() maker {
	if g.chance(0.04) {
		return pick(g, []maker{builder, visitor, impostor})
	}
	return pick(g, []maker{firstKey, secondKey, strangerKey})
}

// signature is one by anybody, of anything.
func (g *generator) signature(at place) piece {
	p := piece{kind: notary, on: at.subject, about: at.subject, cose: g.chance(0.4)}
	p.by = pick(g, []maker{acme, acme, beta, sound, stranger, stranger, lapsed, revoked})
	if g.chance(0.03) {
		p.by = ailing
	}
	if g.chance(0.4) {
		p = piece{kind: pick(g, []kind{statement, message, simple}), by: g.key(), on: at.subject, about: at.subject}
		if isDocument := len(at.subject) > 20; isDocument {
			p.kind = statement
		}
	}
	return p
}

// spoil gives a piece a flaw, or takes it from another image.
func (g *generator) spoil(at place, p *piece) {
	flaws := []flaw{tampered, tampered, oddLayer, twoLayers, noSubject, layerSize, garbage}
	if p.kind == notary {
		flaws = append(flaws, expired, expired, brief, lyingSize, lyingMedia)
	}
	if p.kind != junk && g.chance(0.35) {
		p.flaw = pick(g, flaws)
	}
	if isImage := platformsOf(at.subject) != nil || len(at.subject) < 20; isImage && g.chance(0.15) {
		p.about = g.subject()
	}
	if g.chance(0.1) {
		p.on = g.subject()
	}
}
