package containment

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// Names of a cell. Those of evil belong to the stranger, however much they look like somebody else's.
const (
	registryDomain = ".registry.example"
	evilDomain     = ".evil.example"
	rebindDomain   = ".rebind.example"
)

// A world is the lab with everybody in it.
type world struct {
	lab  *lab.Lab
	cell bool

	// stranger and plain may never be connected to; nothing but a rule stops it, for their certificates are good.
	stranger, plain *lab.Host
	// cdn and auth are allowed by the configuration: redirects may lead to the one, and requests for a token to the other.
	cdn, auth *lab.Host
	// canary listens on 127.0.0.1, where 127.0.0.1:443 is another one in a cell; beside is a canary on the registries' own
	// address.
	canary, beside *lab.Canary
	resolver       *lab.Resolver

	arenas  []*arena
	config  string
	program *lab.Program
	tenancy *lab.Program // the same, with tenancy: keys name a namespace there, and must not elsewhere
	watch   *lab.Watch
	noticed int // how many touches are known

	trustFiles []string // of authorities that are trusted beside the lab's

	commandsRun       int
	admitted          []string // by commands
	before            lab.Counters
	dialled, accepted int64

	mu    sync.Mutex
	paths map[string]lab.Script // of the CDN, by path
}

// login is how a registry wants to be authenticated to.
type login int

const (
	byToken login = iota // the token server is the registry's own
	byPassword
	anonymous
	elsewhere // the token server is the world's auth
)

// An arena is one script with the registry that it plays on.
type arena struct {
	// kind and name are the rows' names.
	kind, name string
	// to is the target that it leads to, in one of the ways; empty of other scripts.
	to    string
	login login
	// may tells that the image may be verified all the same: the script changes nothing that counts.
	may bool
	// must tells that it must be verified: the script is one that an honest registry could play.
	must bool
	// unasked tells that the registry is not to hear of it: somebody else comes before.
	unasked bool
	// build makes the content and the script. An arena without one has no registry: its key is all.
	build func(a *arena) error
	// entry adds to the registry's entry in the configuration.
	entry     map[string]any
	namespace string
	// names are further names of the registry.
	names []string

	w        *world
	host     *lab.Host
	at       string // host:port, as in references
	registry *lab.Registry
	tokens   *lab.TokenServer
	password *lab.Secret
	image    lab.Image
	key      string

	got     lab.Verdict
	leaks   []lab.Leak
	touched int
}

// user is who the registries know.
const user = "reader"

// quickStride and commandStride choose which scripts run in a quick run, and which of all run by the commands, too: a prime,
// so that all kinds come in turn.
const (
	quickStride   = 11
	commandStride = 37
)

func newWorld(ctx context.Context, l *lab.Lab, cell, quick bool) (*world, error) {
	w := &world{lab: l, cell: cell, paths: map[string]lab.Script{}, watch: l.Watch()}
	if err := w.people(); err != nil {
		return nil, err
	}
	if err := w.listeners(); err != nil {
		return nil, err
	}
	all := slices.Concat(w.astray(), w.contents(), w.credentials(), w.references())
	if cell {
		all = append(all, w.rebinding()...)
	}
	for i, a := range all {
		if quick && i%quickStride != 0 {
			continue
		}
		a.w = w
		if err := w.prepare(ctx, a, i); err != nil {
			return nil, fmt.Errorf("prepare %s: %s: %w", a.kind, a.name, err)
		}
		w.arenas = append(w.arenas, a)
	}
	return w, nil
}

// people starts who is neither a registry nor a canary.
func (w *world) people() error {
	strangers, friends := "127.0.0.1", "127.0.0.1"
	port := 0
	if w.cell {
		strangers, friends, port = lab.PublicAddress(2), lab.PublicAddress(3), 443
	}
	for _, h := range []struct {
		into    **lab.Host
		options lab.HostOptions
	}{
		{&w.stranger, lab.HostOptions{Name: "stranger", Address: strangers, Port: port, Names: strangerNames(), Forbidden: true}},
		{&w.plain, lab.HostOptions{Name: "stranger without TLS", Address: strangers, Plain: true, Forbidden: true}},
		{&w.cdn, lab.HostOptions{Name: "cdn", Address: friends, Names: []string{"cdn" + registryDomain}, Script: w.deliver}},
		{&w.auth, lab.HostOptions{Name: "auth", Address: friends, Names: []string{"auth" + registryDomain}, Script: w.deliver}},
	} {
		host, err := w.lab.Host(h.options)
		if err != nil {
			return err
		}
		*h.into = host
	}
	return nil
}

// listeners starts canaries at every kind of address that there is, and in a cell the resolver.
func (w *world) listeners() (err error) {
	if w.canary, err = w.lab.Canary("loopback", "127.0.0.1:0"); err != nil {
		return err
	}
	if w.beside, err = w.lab.Canary("another port of the registries' address", net.JoinHostPort(w.home(), "0")); err != nil {
		return err
	}
	if !w.cell {
		return nil
	}
	for _, address := range []string{"127.0.0.1", lab.MetadataAddress, lab.PrivateAddress} {
		for _, port := range []string{"80", "443"} {
			if _, err := w.lab.Canary("port "+port+" of "+address, net.JoinHostPort(address, port)); err != nil {
				return err
			}
		}
	}
	w.resolver, err = w.lab.Resolver(lab.ResolverAddress, w.resolve)
	return err
}

// home is the address of the registries.
func (w *world) home() string {
	if w.cell {
		return lab.PublicAddress(1)
	}
	return "127.0.0.1"
}

// resolve is what the resolver of the cell knows.
func (w *world) resolve(q lab.Question) lab.Names {
	at := func(addresses ...string) (names lab.Names) {
		for _, address := range addresses {
			names.Addresses = append(names.Addresses, netip.MustParseAddr(address))
		}
		return names
	}
	switch {
	case q.Name == "cdn"+registryDomain, q.Name == "auth"+registryDomain:
		return at(lab.PublicAddress(3))
	case strings.HasSuffix(q.Name, registryDomain):
		return at(lab.PublicAddress(1))
	case strings.HasSuffix(q.Name, rebindDomain):
		return rebind(q, at)
	case q.Name == "loopback.example":
		return at("127.0.0.1", "::1")
	case q.Name == "metadata.example", q.Name == "metadata.google.internal":
		return at(lab.MetadataAddress)
	case q.Name == "private.example":
		return at(lab.PrivateAddress)
	case slices.Contains(strangerNames(), q.Name):
		return at(lab.PublicAddress(2))
	}
	return lab.Names{}
}

// prepare gives an arena its registry, its secrets and its image.
func (w *world) prepare(ctx context.Context, a *arena, n int) (err error) {
	if a.build == nil {
		return nil
	}
	name := fmt.Sprintf("registry %d", n)
	a.password = w.lab.Plant(fmt.Sprintf("password %d", n), name)
	a.tokens = w.lab.TokenServer(user, a.password.Value, name)
	a.registry = &lab.Registry{}
	dns := fmt.Sprintf("s%d%s", n, registryDomain)
	if a.host, err = w.lab.Host(lab.HostOptions{Name: name, Address: w.home(), Names: append([]string{dns}, a.names...), Server: site{a.registry, a.tokens}}); err != nil {
		return err
	}
	a.at = a.host.Addr
	if w.cell {
		a.at = net.JoinHostPort(dns, a.host.Port())
	}
	a.logIn()
	if a.image, err = a.registry.PutSigned(ctx, "app", w.lab.Signer); err != nil {
		return err
	}
	a.key = a.image.At(a.at)
	if err := a.build(a); err != nil {
		return err
	}
	if a.namespace != "" {
		a.key = "[" + a.namespace + "]" + a.key
	}
	return nil
}

func (a *arena) logIn() {
	switch a.login {
	case byToken:
		a.registry.Login = &lab.Login{Realm: "https://" + a.at + "/token", Service: "registry", Accept: a.tokens.Accept}
	case byPassword:
		a.registry.Login = &lab.Login{Accept: lab.AcceptBasic(user, a.password.Value)}
	case elsewhere:
		// A token server knows the passwords of all who come to it.
		a.password.Allow(a.w.auth.Name)
		a.tokens.Allow(a.w.auth.Name)
		path := tokenPath + "/" + a.host.Port()
		a.registry.Login = &lab.Login{Realm: "https://" + a.w.name(a.w.auth) + path, Service: "registry", Accept: a.tokens.Accept}
		a.w.onPath(path, func(x *lab.Exchange) { x.Send(a.tokens.Answer(x)) })
	}
}

// name is what the configuration calls a host that it allows.
func (w *world) name(h *lab.Host) string {
	if w.cell {
		return net.JoinHostPort(h.Name+registryDomain, h.Port())
	}
	return h.Addr
}

// site is a registry and its token server at one host.
type site struct {
	registry *lab.Registry
	tokens   *lab.TokenServer
}

const tokenPath = "/token"

// Step is the registry's, or Token.
func (s site) Step(r *http.Request) lab.Step {
	if r.URL.Path == tokenPath {
		return lab.Token
	}
	return s.registry.Step(r)
}

// Answer is the registry's, or the token server's.
func (s site) Answer(x *lab.Exchange) lab.Answer {
	if x.Step == lab.Token {
		return s.tokens.Answer(x)
	}
	return s.registry.Answer(x)
}

// onPath sets the script of a path of the CDN or the auth host.
func (w *world) onPath(path string, script lab.Script) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths[path] = script
}

// deliver answers for the CDN and the auth host as the script of the path says.
func (w *world) deliver(x *lab.Exchange) {
	w.mu.Lock()
	script := w.paths[x.Path]
	w.mu.Unlock()
	if script == nil {
		script = lab.Correct
	}
	script(x)
}

// start writes the configuration and starts the program.
func (w *world) start(ctx context.Context, binary string) (err error) {
	if w.config, err = w.lab.Configure(w.settings(false)); err != nil {
		return err
	}
	settings := w.settings(true)
	settings.Top = map[string]any{"tenancy": map[string]any{"enabled": true}}
	withTenancy, err := w.lab.Configure(settings)
	if err != nil {
		return err
	}
	if w.cell {
		w.dialled, w.accepted = w.lab.Dialled(), w.lab.Accepted()
		if w.before, err = lab.ReadCounters(); err != nil {
			return err
		}
	}
	if w.program, err = w.lab.Start(ctx, lab.ProgramOptions{Binary: binary, Config: w.config}); err != nil {
		return err
	}
	w.tenancy, err = w.lab.Start(ctx, lab.ProgramOptions{Binary: binary, Config: withTenancy})
	return err
}

// settings has the registries of one of the two programs: pull secrets are of no effect where there are no tenants.
func (w *world) settings(tenants bool) lab.Settings {
	settings := lab.Settings{TrustFiles: append([]string{w.lab.TrustFile}, w.trustFiles...)}
	for _, a := range w.arenas {
		if a.host == nil || (a.namespace != "") != tenants {
			continue
		}
		entry := map[string]any{
			"host": a.at, "redirectHosts": []string{w.name(w.cdn)}, "authHosts": []string{w.name(w.auth)},
		}
		if w.cell {
			entry["allowPrivate"] = nil
		}
		if a.login != anonymous {
			entry["credentials"] = map[string]any{"username": user, "password": a.password.Value}
		}
		for name, value := range a.entry {
			entry[name] = value
		}
		settings.Registries = append(settings.Registries, w.lab.Entry(a.host, entry))
	}
	return settings
}
