package containment

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// A target is an address that no registry may lead to.
type target struct {
	name string
	// cell tells that it can be had in a cell alone: elsewhere its name or its address would be somebody's.
	cell bool
	// url is the beginning of the address, without a path.
	url func(a *arena) string
}

// lookAlikes are names of large registries and their token servers, as the beginning of a stranger's.
func lookAlikes() []string {
	return []string{
		"auth.docker.io", "registry-1.docker.io", "ghcr.io", "quay.io", "gcr.io", "sts.eu-west-1.amazonaws.com",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com", "example.azurecr.io", "login.microsoftonline.com",
	}
}

// strangerNames are the names of the stranger of a cell: look-alikes, and the real names, which mean somebody else there.
func strangerNames() []string {
	names := []string{"registry" + evilDomain, "xn--rgistry-8ya.example", "registry.example", "registry.example.evil.example"}
	for _, name := range lookAlikes() {
		names = append(names, name, name+evilDomain)
	}
	return names
}

// targets are where registries want the program to go.
func (w *world) targets() []target {
	fixed := func(name, url string) target {
		return target{name: name, url: func(*arena) string { return url }}
	}
	all := []target{
		fixed("another host", w.stranger.URL("")),
		fixed("another host, without TLS", w.plain.URL("")),
		fixed("another host, without a scheme", "//"+w.stranger.Addr),
		{name: "another host, with the registry as its user", url: func(a *arena) string { return "https://" + a.host.Name[:8] + ":x@" + w.stranger.Addr }},
		{name: "another host behind a backslash", url: func(a *arena) string { return "https://" + a.at + `\@` + w.stranger.Addr }},
		{name: "another host before a fragment with the registry", url: func(a *arena) string { return "https://" + w.stranger.Addr + "/#@" + a.at }},
		{name: "the registry without TLS", url: func(a *arena) string { return "http://" + a.at }},
		{name: "the registry, with a user in the address", url: func(a *arena) string { return "https://user:word@" + a.at }},
		{name: "another port of the registry's host", url: func(a *arena) string {
			return "https://" + strings.TrimSuffix(a.at, ":"+a.host.Port()) + ":" + port(w.beside.Addr)
		}},
		fixed("a file", "file:///etc/passwd#"),
		fixed("a file of another host", "file://"+w.stranger.Addr),
		fixed("gopher", "gopher://"+w.stranger.Addr),
		fixed("no scheme that is known", "unix:///var/run/docker.sock#"),
		fixed("data", "data:application/json,{}#"),
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "[::1]"} {
		all = append(all, fixed("loopback as "+host, "https://"+host+":"+port(w.canary.Addr)))
	}
	return append(all, w.cellTargets()...)
}

// cellTargets are those of a cell.
func (w *world) cellTargets() []target {
	if !w.cell {
		return nil
	}
	var all []target
	add := func(name, url string) {
		all = append(all, target{name: name, cell: true, url: func(*arena) string { return url }})
	}
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "loopback.example", "localhost.localdomain"} {
		add("loopback as "+host, "https://"+host+":"+port(w.canary.Addr))
	}
	for _, host := range []string{
		"169.254.169.254", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
		"metadata.example", "metadata.google.internal",
	} {
		add("metadata as "+host, "https://"+host)
		add("metadata as "+host+", without TLS", "http://"+host)
	}
	add("private as "+lab.PrivateAddress, "https://"+lab.PrivateAddress)
	add("private as private.example", "https://private.example")
	for _, name := range strangerNames() {
		add("stranger as "+name, "https://"+name)
	}
	return all
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// redirects are the statuses by which a server sends elsewhere; each script takes the next one.
func redirects() []int {
	return []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}
}

// spellings is how many of the ways each target of a cell is led to by: there are many spellings of few addresses, and the ways
// take turns.
const spellings = 4

// astray are the scripts by which a registry leads to each target, in every way that it has.
func (w *world) astray() (all []*arena) {
	for i, t := range w.targets() {
		ways := w.ways(t, i)
		if t.cell {
			ways = slices.Concat(ways, ways)[i*spellings%len(ways):][:spellings]
		}
		all = append(all, ways...)
	}
	return all
}

// ways are those in which a registry can lead to a target. n chooses the statuses.
func (w *world) ways(t target, n int) (all []*arena) {
	for j, step := range []lab.Step{lab.Resolve, lab.Referrers, lab.SignatureManifest, lab.Blob, lab.Token} {
		status := redirects()[(n+j)%len(redirects())]
		all = append(all, &arena{kind: "redirect of the " + string(step), name: t.name, build: func(a *arena) error {
			a.host.SetScript(lab.On(step, func(x *lab.Exchange) {
				lab.Status(status, "Location", t.url(a)+x.Target)(x)
			}))
			return nil
		}})
	}
	for _, step := range []lab.Step{lab.Resolve, lab.Referrers, lab.Blob} {
		all = append(all, &arena{kind: "realm at the " + string(step), name: t.name, build: func(a *arena) error {
			a.host.SetScript(lab.On(step, lab.Challenge(lab.Bearer(t.url(a)+tokenPath, "registry", "repository:app:pull"))))
			return nil
		}})
	}
	all = append(all, w.pages(t), w.chain(t), w.fromCDN(t), w.fromAuth(t))
	for _, a := range all {
		a.to = t.name
	}
	return all
}

// pages leads to a target by the next page of referrers.
func (w *world) pages(t target) *arena {
	return &arena{kind: "next page", name: t.name, build: func(a *arena) error {
		a.host.SetScript(lab.On(lab.Referrers, func(x *lab.Exchange) {
			answer := x.Correct()
			if answer.Status == http.StatusOK {
				answer = answer.With("Link", fmt.Sprintf(`<%s%s?n=2>; rel="next"`, t.url(a), x.Path))
			}
			x.Send(answer)
		}))
		return nil
	}}
}

// chain leads to a target by way of the registry itself, twice.
func (w *world) chain(t target) *arena {
	return &arena{kind: "redirect of a redirect", name: t.name, build: func(a *arena) error {
		a.host.SetScript(func(x *lab.Exchange) {
			switch {
			case x.Step == lab.Blob:
				lab.RedirectTo("/one" + x.Path)(x)
			case strings.HasPrefix(x.Path, "/one"):
				lab.RedirectTo("https://" + a.at + "/two" + x.Path)(x)
			case strings.HasPrefix(x.Path, "/two"):
				lab.RedirectTo(t.url(a) + "/v2/app/blobs/x")(x)
			default:
				lab.Correct(x)
			}
		})
		return nil
	}}
}

// fromCDN leads to a target by way of the host to which redirects may lead.
func (w *world) fromCDN(t target) *arena {
	return &arena{kind: "redirect by the CDN", name: t.name, build: func(a *arena) error {
		path := "/from/" + a.host.Port()
		w.onPath(path, func(x *lab.Exchange) { lab.RedirectTo(t.url(a) + "/blob")(x) })
		a.host.SetScript(lab.On(lab.Blob, lab.RedirectTo("https://"+w.name(w.cdn)+path)))
		return nil
	}}
}

// fromAuth leads to a target by way of the token server that may be asked.
func (w *world) fromAuth(t target) *arena {
	return &arena{kind: "redirect by the token server", name: t.name, login: anonymous, build: func(a *arena) error {
		path := "/token/" + a.host.Port()
		a.password.Allow(w.auth.Name)
		a.registry.Login = &lab.Login{Realm: "https://" + w.name(w.auth) + path, Service: "registry", Accept: a.tokens.Accept}
		a.entry = map[string]any{"credentials": map[string]any{"username": user, "password": a.password.Value}}
		w.onPath(path, func(x *lab.Exchange) { lab.RedirectTo(t.url(a) + tokenPath)(x) })
		return nil
	}}
}
