package matrix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// The columns of the cache's table: what is on disk, and what is in memory.
const (
	onDisk   lab.Step = "directory of content"
	inMemory lab.Step = "verdict or tag in memory"
)

// A spoiling is one way in which a directory of content, which others may write to, is not what was left in it.
type spoiling struct {
	name  string
	spoil func(dir string) error
	// running is whether it happens under the program.
	running bool
}

// each changes every file of content.
func each(change func(path string) error) func(string) error {
	return func(dir string) error {
		files, err := contentFiles(dir)
		for _, path := range files {
			err = errors.Join(err, change(path))
		}
		return err
	}
}

func contentFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

func rewrite(change func([]byte) []byte) func(string) error {
	return each(func(path string) error {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(data), 0o600)
	})
}

func putInstead(put func(path string) error) func(string) error {
	return each(func(path string) error { return errors.Join(os.Remove(path), put(path)) })
}

// spoilings are all; the first is none.
func (w *world) spoilings() []spoiling {
	return []spoiling{
		{name: "none", spoil: func(string) error { return nil }},
		{name: "one bit changed in each file", spoil: rewrite(func(data []byte) []byte { data[len(data)/2] ^= 1; return data })},
		{name: "files truncated", spoil: rewrite(half)},
		{name: "files empty", spoil: rewrite(nothing)},
		{name: "files of another image", spoil: exchangeAll},
		{name: "directories in their place", spoil: putInstead(folder)},
		{name: "pipes in their place", spoil: putInstead(pipe)},
		{name: "links to a file outside", spoil: putInstead(func(path string) error { return os.Symlink(w.lab.CAFile, path) })},
		{name: "links to themselves", spoil: putInstead(func(path string) error { return os.Symlink(filepath.Base(path), path) })},
		{name: "holes of a TiB", spoil: each(func(path string) error { return os.Truncate(path, 1<<40) })},
		{name: "a thousand strange names", spoil: strangeNames},
		{name: "a file in place of the directory", spoil: func(dir string) error { return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)) }},
		{name: "a link to nowhere in its place", spoil: func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Symlink("nowhere", dir)) }},
		{name: "spoilt under the program", spoil: rewrite(half), running: true},
		{name: "removed under the program", spoil: os.RemoveAll, running: true},
	}
}

// exchangeAll gives each file the content of the next one: all of it is signed content, and none is in its place.
func exchangeAll(dir string) error {
	files, err := contentFiles(dir)
	if err != nil || len(files) < 2 {
		return errors.Join(err, errors.New("there are no files to exchange"))
	}
	contents := make([][]byte, len(files))
	for i, path := range files {
		if contents[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	for i, path := range files {
		err = errors.Join(err, os.WriteFile(path, contents[(i+1)%len(files)], 0o600))
	}
	return err
}

func strangeNames(dir string) (err error) {
	for i := range 1000 {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d\n\x1b[31m%s", i, strings.Repeat("x", 100))), []byte("x"), 0o600))
	}
	return err
}

// tryContent runs the cells of the cache: of what is on disk, one after the other, for all are about one host; and of what is
// in memory.
func (w *world) tryContent(ctx context.Context) (cells []*cell, err error) {
	h, err := w.lab.Host(lab.HostOptions{Name: "registry of the cache", Address: w.address(), Server: w.registry})
	if err != nil {
		return nil, err
	}
	config, err := w.lab.Configure(lab.Settings{Registries: []map[string]any{w.lab.Entry(h, nil)}})
	if err != nil {
		return nil, err
	}
	left := filepath.Join(w.env.Dir, "content")
	if err := w.leaveContent(ctx, config, h, left); err != nil {
		return nil, err
	}
	for row, s := range w.spoilings() {
		c := &cell{fault: fault{name: s.name}, step: onDisk, want: admitted()}
		beside := &cell{fault: c.fault, step: inMemory, empty: "it is about files"}
		cells = append(cells, c, beside)
		if w.env.Quick && row%quickShare != 0 {
			c.empty = notInSlice
			continue
		}
		dir := fmt.Sprintf("%s-%d", left, row)
		if err := os.CopyFS(dir, os.DirFS(left)); err != nil {
			return nil, err
		}
		if err := w.tryDirectory(ctx, c, s, config, h, dir); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	ended, err := w.tryEnds(ctx)
	return append(cells, ended...), err
}

// leaveContent has a program fill a directory, and end.
func (w *world) leaveContent(ctx context.Context, config string, h *lab.Host, dir string) error {
	p, err := w.start(ctx, config, "--content-dir="+dir)
	if err != nil {
		return err
	}
	return errors.Join(mustVerify(ctx, p, w.image.At(h.Addr)), p.Stop()) // which writes what is still to be written
}

// tryDirectory runs one cell: a program begins with the directory, or has it changed while it serves.
func (w *world) tryDirectory(ctx context.Context, c *cell, s spoiling, config string, h *lab.Host, dir string) error {
	if !s.running {
		if err := s.spoil(dir); err != nil {
			return err
		}
	}
	p, err := w.start(ctx, config, "--content-dir="+dir, "--content-memory=0")
	if err != nil {
		return err
	}
	if s.running {
		if err := s.spoil(dir); err != nil {
			return errors.Join(err, p.Stop())
		}
	}
	before := h.Count(lab.Any)
	c.key = w.image.At(h.Addr)
	c.got, c.problem = askOnce(ctx, p, c.key)
	c.requests = h.Count(lab.Any) - before
	c.settle(ctx, p)
	return p.Stop()
}

// An end is a verdict that must not be given any more, although it is in memory and its TTL lasts.
type end struct {
	name string
	// What ends soon: the signer's certificate, the signature, or what the responder says.
	certificate, signature, status bool
	// change is what happens elsewhere meanwhile.
	change func(*lab.Host, *notationtest.Responder)
	want   []outcome
}

// soon is how long what ends in a cell lives: the image is verified first, several deadlines are left for that. Nobody waits
// for it alone: registries are away meanwhile.
const soon = 8 * time.Second

// ends are all.
func (w *world) ends() []end {
	becomes := func(state notationtest.State) func(*lab.Host, *notationtest.Responder) {
		return func(_ *lab.Host, r *notationtest.Responder) { r.Set(state) }
	}
	answers := func(script lab.Script) func(*lab.Host, *notationtest.Responder) {
		return func(h *lab.Host, _ *notationtest.Responder) { h.SetScript(script) }
	}
	moved := lab.On(lab.Resolve, lab.Change(func(a lab.Answer) lab.Answer { return a.WithBody(w.unsigned.Manifest) }))
	return []end{
		{name: "the certificate has ended", certificate: true, want: is(refused, "CERTIFICATE_EXPIRED")},
		{name: "the signature has ended", signature: true, want: is(refused, "SIGNATURE_EXPIRED")},
		{name: "the revocation answer has ended; revoked", status: true, change: becomes(notationtest.Revoked), want: is(refused, "CERTIFICATE_REVOKED")},
		{name: "the revocation answer has ended; responder down", status: true, change: becomes(notationtest.Down), want: unrevoked()},
		{name: "the tag's time has ended; registry down", change: answers(lab.Status(http.StatusServiceUnavailable)), want: unavailable()},
		{name: "the tag's time has ended; it has moved", change: answers(moved), want: is(refused, "NO_REFERRERS")},
	}
}

// tryEnds runs the cells of what is in memory: each image is verified, then its end is waited for.
func (w *world) tryEnds(ctx context.Context) (cells []*cell, err error) {
	var runs []func(context.Context) error
	for row, e := range w.ends() {
		beside := &cell{fault: fault{name: e.name}, step: onDisk, empty: "it is about time"}
		c := &cell{fault: beside.fault, step: inMemory, want: e.want}
		cells = append(cells, beside, c)
		if w.env.Quick && row%quickShare != 0 {
			c.empty = notInSlice
			continue
		}
		runs = append(runs, func(ctx context.Context) error { return w.tryEnd(ctx, c, e) })
	}
	return cells, inParallel(ctx, len(runs), runs)
}

// tryEnd runs one cell, with a program, a registry and a responder of its own.
func (w *world) tryEnd(ctx context.Context, c *cell, e end) error {
	h, err := w.newHost(c, lab.HostOptions{Server: w.registry})
	if err != nil {
		return err
	}
	responder := notationtest.NewResponder()
	if e.status {
		responder.SetLife(soon)
	}
	responds, err := w.newHost(c, lab.HostOptions{Plain: true, Server: lab.Handler(lab.OCSP, responder)})
	if err != nil {
		return err
	}
	authority, root, err := w.newRoot(h.Port(), responds.URL(""), responder)
	if err != nil {
		return err
	}
	p, err := w.serve(ctx, lab.Settings{
		Registries: []map[string]any{w.lab.Entry(h, nil)}, TrustFiles: []string{root}, Notation: map[string]any{"allowPrivateRevocation": true},
		Top: map[string]any{"cache": map[string]any{"ttl": "60s", "tagTTL": "1s"}, "gatekeeperCacheTTL": "1s"},
	})
	if err != nil {
		return err
	}
	return errors.Join(w.outlive(ctx, p, c, e, authority, h, responds, responder), p.Stop())
}

// outlive has an image verified, waits until something has ended, and asks again.
func (w *world) outlive(ctx context.Context, p *lab.Program, c *cell, e end, authority *notationtest.Authority, h, responds *lab.Host, responder *notationtest.Responder) error {
	image, err := w.signEnding(ctx, e, h.Port(), authority)
	if err != nil {
		return err
	}
	if err := mustVerify(ctx, p, image.At(h.Addr)); err != nil {
		return fmt.Errorf("before that %s: %w", e.name, err)
	}
	if e.change != nil {
		e.change(h, responder)
	}
	// A certificate and a signature that end within a second have ended after it.
	pause(ctx, soon+time.Second)
	before := h.Count(lab.Any) + responds.Count(lab.Any)
	c.key = image.At(h.Addr)
	c.got, c.problem = askOnce(ctx, p, c.key)
	c.requests = h.Count(lab.Any) + responds.Count(lab.Any) - before
	c.settle(ctx, p)
	return nil
}

// newRoot makes an authority whose certificates name the responder, and the file of its root.
func (w *world) newRoot(name, url string, responder *notationtest.Responder) (*notationtest.Authority, string, error) {
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{OCSPURL: url})
	if err != nil {
		return nil, "", err
	}
	responder.Add(authority)
	file, err := w.lab.WriteFile("root-"+name+".crt", authority.PEM())
	return authority, file, err
}

// signEnding makes an image with a signature that ends as the cell says.
func (w *world) signEnding(ctx context.Context, e end, name string, authority *notationtest.Authority) (lab.Image, error) {
	leaf, options := notationtest.LeafOptions{}, notationtest.SignOptions{}
	if e.certificate {
		leaf.NotAfter = time.Now().Add(soon)
	}
	if e.signature {
		options.Expiry = soon
	}
	signer, err := authority.Issue(leaf)
	if err != nil {
		return lab.Image{}, err
	}
	image, err := w.registry.PutImage("ending-" + name)
	if err == nil {
		_, err = w.registry.Sign(ctx, image, signer, options)
	}
	return image, err
}
