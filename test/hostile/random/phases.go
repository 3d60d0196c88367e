package random

import (
	"slices"
)

// phases draws what happens: states of the registry, reloads, and requests.
func (g *generator) phases() {
	n := pick(g, []int{1, 1, 2, 2, 3})
	for i := range n {
		p := phase{config: g.r.IntN(len(g.w.configs)), moved: map[tagName]string{}, faults: map[object]fault{}, hosts: map[string]fault{}, repos: map[string]fault{}}
		if i > 0 {
			before := &g.w.phases[i-1]
			if g.chance(0.4) {
				p.config = before.config
			}
			p.reload = p.config != before.config || g.chance(0.3)
			for name, subject := range before.moved {
				p.moved[name] = subject
			}
			g.move(&p)
		} else {
			p.reload = true
		}
		if g.chance(0.45) {
			g.fail(&p, i == n-1)
		}
		g.w.phases = append(g.w.phases, p)
	}
	for i := range g.w.phases {
		g.requests(&g.w.phases[i])
	}
}

// move puts a tag on another image.
func (g *generator) move(p *phase) {
	if !g.chance(0.5) {
		return
	}
	i := pick(g, g.w.images)
	if i.tag == "" {
		return
	}
	to := g.subject()
	p.moved[tagName{i.repo, i.tag}] = to
	if !g.w.holds(i.repo, to) {
		g.w.images = append(g.w.images, image{repo: i.repo, subject: to})
		g.attach(i.repo, to)
	}
}

// fail lets requests to the registry fail. What a client remembers of a refusal, of a limit or of a host in an outage outlasts
// a phase, so that these are for the last one.
func (g *generator) fail(p *phase, last bool) {
	kinds := append([]fault{}, unreadable...)
	if g.chance(0.05) {
		kinds = passing
	}
	switch g.r.IntN(10) {
	case 0:
		kinds = []fault{"403"}
		if last {
			kinds = append(kinds, "500", "truncated", "429")
		}
		p.hosts[hostOf(pick(g, g.repos))] = pick(g, kinds)
		delete(p.hosts, dockerHub) // it is all worlds'
	case 1:
		if last {
			kinds = append(kinds, "401", "401")
		}
		p.repos[pick(g, g.repos)] = pick(g, kinds)
	default:
		objects := g.objects()
		for range 1 + g.r.IntN(3) {
			o := pick(g, objects)
			of := kinds
			switch o.kind {
			case byTag:
				of = append(slices.Clone(kinds), notFound, notManifest)
			case byDigest, listOf, pieceOf, contentOf:
				of = append(slices.Clone(kinds), notFound)
			}
			p.faults[o] = pick(g, of)
		}
	}
}

// objects are all that can be asked for.
func (g *generator) objects() []object {
	var list []object
	for _, i := range g.w.images {
		if i.tag != "" {
			list = append(list, object{i.repo, byTag, i.tag})
		}
		for _, s := range append([]string{i.subject}, platformsOf(i.subject)...) {
			list = append(list, object{i.repo, byDigest, s}, object{i.repo, cosignTag, s})
		}
	}
	for _, at := range sortedPlaces(g.w.lists) {
		list = append(list, object{at.repo, listOf, at.subject})
		for _, e := range g.w.lists[at][:min(len(g.w.lists[at]), 30)] {
			list = append(list, object{at.repo, pieceOf, e.piece.id()}, object{at.repo, contentOf, e.piece.id()})
		}
	}
	for _, at := range sortedPlaces(g.w.tagged) {
		for _, p := range g.w.tagged[at] {
			list = append(list, object{at.repo, contentOf, p.id()})
		}
	}
	return list
}

func (g *generator) requests(p *phase) {
	c := &g.w.configs[p.config]
	for range 1 + g.r.IntN(3) {
		var r request
		n := 1
		if g.chance(0.4) {
			n = 2 + g.r.IntN(3)
		}
		for range n {
			r.keys = append(r.keys, g.reference(c))
		}
		if g.chance(0.15) {
			r.keys = append(r.keys, pick(g, r.keys))
		}
		p.requests = append(p.requests, r)
		if g.chance(0.25) {
			p.requests = append(p.requests, r)
		}
	}
}

// What no runtime understands.
var malformed = []string{
	"", " ", "UPPER/Case", "host.example/", "host.example/app:", "host.example/../app", "host.example//app", "host.example/app@sha256:abc",
	"https://host.example/app", "user@host.example/app", "host.example:0/app", "host.example:99999/app", "hóst.example/app", "host.example/app\n", "0x7f.1/app",
	"127.1/app", "docker.io:443/library/nginx", "[team-a", "[]host.example/app", "[Team]host.example/app", ":5000/app", "host.example/app:tag:tag",
}

// reference draws a key: mostly of an image that is there.
func (g *generator) reference(c *configuration) key {
	if g.chance(0.02) {
		return key{bad: pick(g, malformed) + g.padding()}
	}
	i := pick(g, g.w.images)
	k := key{repo: i.repo, subject: i.subject}
	if i.tag != "" && g.chance(0.7) {
		k.tag, k.subject = i.tag, ""
		if g.chance(0.15) {
			k.subject, k.spelling = i.subject, both
		}
	}
	switch g.r.IntN(70) {
	case 0:
		k.tag, k.subject = "absent", ""
	case 1:
		k.tag, k.subject = "", g.subject()
	}
	g.spelled(&k)
	if c.tenancy != g.chance(0.02) {
		k.namespace = pick(g, namespaces)
	}
	return k
}

// padding makes some malformed references too long as well.
func (g *generator) padding() string {
	if !g.chance(0.05) {
		return ""
	}
	long := make([]byte, 1100)
	for i := range long {
		long[i] = 'a'
	}
	return "/" + string(long)
}

// spelled chooses another spelling of the same name.
func (g *generator) spelled(k *key) {
	if k.spelling != plain || !g.chance(0.3) {
		return
	}
	spellings := []spelling{upperHost}
	switch hostOf(k.repo) {
	case dockerHub:
		spellings = []spelling{shortName, indexHost}
	case g.first, g.mirrored:
		spellings = append(spellings, withPort)
	}
	if k.tag == "latest" && k.subject == "" {
		spellings = append(spellings, noTag)
	}
	k.spelling = pick(g, spellings)
}
