package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// cellCommand is the command that runs Names in a cell.
const cellCommand = "./hostile/matrix/cell"

const namesTitle = "faults of the resolver of names"

// inCell runs the cells about names in a cell of the lab, for only there names are asked of the lab. A system that gives none
// is named in the table.
func (w *world) inCell(ctx context.Context) (promise.Report, error) {
	env := w.env
	env.Dir = filepath.Join(env.Dir, "names")
	if err := os.MkdirAll(env.Dir, 0o755); err != nil {
		return promise.Report{}, err
	}
	report, err := lab.RunCell(ctx, env, cellCommand)
	if errors.Is(err, lab.ErrNoCell) {
		return promise.Report{Tables: []promise.Table{{Title: namesTitle, Notes: []string{"not measured here: " + err.Error()}}}}, nil
	}
	return report, err
}

// A naming is one way in which a resolver answers for a name; right are the addresses that are.
type naming struct {
	name   string
	answer func(right []netip.Addr) lab.Names
	want   wants
}

func namings() []naming {
	at := func(addresses ...string) func([]netip.Addr) lab.Names {
		return func([]netip.Addr) lab.Names {
			var names lab.Names
			for _, a := range addresses {
				names.Addresses = append(names.Addresses, netip.MustParseAddr(a))
			}
			return names
		}
	}
	always := func(n lab.Names) func([]netip.Addr) lab.Names { return func([]netip.Addr) lab.Names { return n } }
	as := func(n lab.Names) func([]netip.Addr) lab.Names {
		return func(right []netip.Addr) lab.Names { n.Addresses = right; return n }
	}
	away := wants{registry: unavailable(), revocation: unrevoked()}
	silence := wants{registry: late(), revocation: late()}
	well := wants{registry: admitted(), revocation: admitted()}
	forbidden := wants{registry: notAllowed(), revocation: unrevoked()}
	return []naming{
		{"none", as(lab.Names{}), well},
		{"no such name", always(lab.Names{}), away},
		{"the resolver fails", always(lab.Names{Failure: true}), away},
		{"the resolver is silent", always(lab.Names{Silence: true}), silence},
		{"an answer after 30 s", as(lab.Names{Delay: 30 * time.Second}), silence},
		{"an answer after 0.5 s", as(lab.Names{Delay: 500 * time.Millisecond}), well},
		{"an answer that asks for TCP", as(lab.Names{Truncated: true}), well},
		{"a loopback address", at("127.0.0.1"), forbidden},
		{"a private address", at(lab.PrivateAddress), forbidden},
		{"the address of the metadata service", at(lab.MetadataAddress), forbidden},
	}
}

// nameSteps are those at which a name of a host of its own is looked up.
func nameSteps() []lab.Step { return []lab.Step{lab.Resolve, lab.Token, lab.OCSP} }

// directory is what names stand for, and who is at which address.
type directory struct {
	*world
	names map[string]lab.Names
	next  int
}

// Names runs the cells about names in the cell in which this process is.
func Names(ctx context.Context, env promise.Env) (report promise.Report, err error) {
	w, err := newWorld(ctx, env)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, w.lab.Close()) }()
	d := &directory{world: w, names: map[string]lab.Names{}}
	var cells []*cell
	var entries []map[string]any
	roots := []string{w.lab.TrustFile}
	for _, n := range namings() {
		for _, at := range nameSteps() {
			c := &cell{fault: fault{name: n.name}, step: at, want: n.want.forStep(at)}
			cells = append(cells, c)
			entry, root, err := d.stage(ctx, c, n)
			if err != nil {
				return report, err
			}
			entries = append(entries, entry)
			if root != "" {
				roots = append(roots, root)
			}
		}
	}
	known, h, err := d.host(&cell{}, namings()[0].answer, lab.HostOptions{Server: w.registry})
	if err != nil {
		return report, err
	}
	entries = append(entries, w.lab.Entry(h, map[string]any{"host": known, "allowPrivate": nil}))
	if _, err := w.lab.Resolver(lab.ResolverAddress, func(q lab.Question) lab.Names { return d.names[q.Name] }); err != nil {
		return report, err
	}
	p, err := w.serve(ctx, lab.Settings{Registries: entries, TrustFiles: roots})
	if err != nil {
		return report, err
	}
	stop, err := w.beside(ctx, p, w.image.PinnedAt(known))
	if err != nil {
		return report, errors.Join(err, p.Stop())
	}
	ask(ctx, p, cells, parallelRevocation)
	err = stop()
	report.Tables = []promise.Table{table(namesTitle, nameSteps(), cells)}
	report.Results = w.results("faults of names", cells)
	return report, errors.Join(err, p.Stop())
}

// stage makes the hosts of a cell. The one whose name is wrong is the registry, its token server, or the responder.
func (d *directory) stage(ctx context.Context, c *cell, n naming) (entry map[string]any, root string, err error) {
	image, server, more := d.image, lab.Server(d.registry), map[string]any{"allowPrivate": nil}
	switch c.step {
	case lab.Token:
		tokens := d.lab.TokenServer("", "")
		name, h, err := d.host(c, n.answer, lab.HostOptions{Server: tokens})
		if err != nil {
			return nil, "", err
		}
		defer func() { tokens.Allow(h.Name, c.hosts[len(c.hosts)-1].Name) }()
		server, more["authHosts"] = locked{d.registry, "https://" + name + "/token", tokens}, []string{name}
	case lab.OCSP:
		responder := notationtest.NewResponder()
		name, _, err := d.host(c, n.answer, lab.HostOptions{Plain: true, Server: lab.Handler(lab.OCSP, responder)})
		if err != nil {
			return nil, "", err
		}
		authority, file, err := d.newRoot(name, "http://"+name, responder)
		if err != nil {
			return nil, "", err
		}
		if image, err = d.signEnding(ctx, end{}, name, authority); err != nil {
			return nil, "", err
		}
		root = file
	}
	answer := n.answer
	if c.step != lab.Resolve {
		answer = namings()[0].answer
	}
	name, h, err := d.host(c, answer, lab.HostOptions{Server: server})
	if err != nil {
		return nil, "", err
	}
	more["host"] = name
	c.key = image.At(name)
	return d.lab.Entry(h, more), root, nil
}

// host makes a host at a public address and the default port, and what its name stands for.
func (d *directory) host(c *cell, answer func([]netip.Addr) lab.Names, options lab.HostOptions) (name string, h *lab.Host, err error) {
	d.next++
	name = fmt.Sprintf("host-%d.example", d.next)
	options.Name, options.Address, options.Port, options.Names = name, lab.PublicAddress(d.next), 443, []string{name}
	if options.Plain {
		options.Port = 80
	}
	if h, err = d.lab.Host(options); err != nil {
		return "", nil, err
	}
	c.hosts = append(c.hosts, h)
	d.names[name] = answer([]netip.Addr{netip.MustParseAddr(options.Address)})
	return name, h, nil
}
