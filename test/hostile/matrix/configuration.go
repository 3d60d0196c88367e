package matrix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/program"
)

// The two times at which a configuration is read.
const (
	atReload lab.Step = "at a reload"
	atStart  lab.Step = "at the start"
)

// parallelConfigurations are tried at the same time, each with a program of its own, which takes a core for a moment.
const parallelConfigurations = 4

// startBound is how long a program may take to say that it does not start: what it needs to start, many times over.
const startBound = 5 * time.Second

// A volume is a directory of files as a kubelet mounts them: each is a symbolic link through ..data, which is one to the
// directory that holds them now.
type volume struct {
	dir      string
	versions int
	files    map[string][]byte
}

// The files of a volume.
const (
	configFile = "config.json"
	rootFile   = "root.crt"
	caFile     = "registry-ca.crt"
	dockerFile = "docker.json"
	certFile   = "tls.crt"
	keyFile    = "tls.key"
	clientFile = "client-ca.crt"
)

func (v *volume) path(name string) string { return filepath.Join(v.dir, name) }

// now is the file behind the links.
func (v *volume) now(name string) string {
	return filepath.Join(v.dir, fmt.Sprintf("..%d", v.versions), name)
}

// swap writes all files into a new directory, and has ..data lead there at once.
func (v *volume) swap() error {
	v.versions++
	if err := os.MkdirAll(filepath.Dir(v.now("")), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(v.now(configFile)), 0o755); err != nil {
		return err
	}
	for name, data := range v.files {
		if err := os.WriteFile(v.now(name), data, 0o600); err != nil {
			return err
		}
		if _, err := os.Lstat(v.path(name)); errors.Is(err, os.ErrNotExist) {
			if err := os.Symlink(filepath.Join("..data", name), v.path(name)); err != nil {
				return err
			}
		}
	}
	return v.lead(filepath.Base(filepath.Dir(v.now(configFile))))
}

// lead has ..data lead to a directory.
func (v *volume) lead(to string) error {
	temporary := v.path("..data_tmp")
	if err := os.Symlink(to, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, v.path("..data"))
}

// A misconfiguration is one way in which files are not as they should be.
type misconfiguration struct {
	name   string
	change func(*volume) error
	// reload and start are what must be answered about the image that is signed.
	reload, start []outcome
	// what is reported on by the log: the configuration, or tls.
	what string
}

// write changes a file in place, as an editor or a broken copy does.
func write(name string, data func([]byte) []byte) func(*volume) error {
	return func(v *volume) error { return os.WriteFile(v.now(name), data(v.files[name]), 0o600) }
}

// swapped changes a file as a kubelet does.
func swapped(name string, data func([]byte) []byte) func(*volume) error {
	return func(v *volume) error {
		v.files[name] = data(v.files[name])
		return v.swap()
	}
}

// instead puts something else in the place of a file.
func instead(name string, put func(path string) error) func(*volume) error {
	return func(v *volume) error { return errors.Join(os.Remove(v.now(name)), put(v.now(name))) }
}

func half(data []byte) []byte  { return data[:len(data)/2] }
func nothing([]byte) []byte    { return nil }
func gone(string) error        { return nil }
func folder(path string) error { return os.Mkdir(path, 0o755) }
func pipe(path string) error   { return syscall.Mkfifo(path, 0o600) }

func garbage([]byte) []byte { return []byte("\x00\x1b[31m{{{ nothing that anybody reads\n") }

func replaced(old, by string) func([]byte) []byte {
	return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(by), 1) }
}

// tooLong is more than a file may have: 8 MiB.
func tooLong(data []byte) []byte { return append(data, bytes.Repeat([]byte(" "), 9<<20)...) }

// misconfigurations are all; the first is none.
func (w *world) misconfigurations() []misconfiguration {
	kept, stops := admitted(), []outcome{{class: stopped}}
	bad := func(name string, change func(*volume) error) misconfiguration {
		return misconfiguration{name: name, change: change, reload: kept, start: stops, what: "configuration"}
	}
	untrusted := is(refused, "UNTRUSTED_SIGNER")
	stranger := func([]byte) []byte { return w.strangerRoot }
	all := []misconfiguration{
		{name: "none", change: func(v *volume) error { v.files[configFile] = append(v.files[configFile], '\n'); return v.swap() }, reload: kept, start: kept, what: "configuration"},
		bad("file truncated", write(configFile, half)),
		bad("file empty", write(configFile, nothing)),
		bad("file of garbage", write(configFile, garbage)),
		bad("file larger than 8 MiB", write(configFile, tooLong)),
		bad("unknown field", swapped(configFile, replaced("{", `{"verifyEverything": true,`))),
		bad("misspelt field", swapped(configFile, replaced(`"policies"`, `"polices"`))),
		bad("field of the wrong type", swapped(configFile, replaced(`"scopes": [`, `"scopes": {}, "x": [`))),
		bad("file gone", instead(configFile, gone)),
		bad("a directory in its place", instead(configFile, folder)),
		bad("a pipe in its place", instead(configFile, pipe)),
		bad("trust root truncated", write(rootFile, half)),
		bad("trust root of garbage", swapped(rootFile, garbage)),
		bad("trust root empty", write(rootFile, nothing)),
		bad("trust root gone", instead(rootFile, gone)),
		bad("registry's CA of garbage", swapped(caFile, garbage)),
		bad("credentials file gone", instead(dockerFile, gone)),
		bad("credentials file truncated", write(dockerFile, half)),
		bad("..data leads nowhere", func(v *volume) error { return v.lead("..nowhere") }),
		{name: "trust root of a stranger", change: swapped(rootFile, stranger), reload: untrusted, start: untrusted, what: "configuration"},
		{name: "..data swapped again and again", change: w.swapOften, reload: kept, start: kept, what: "configuration"},
		{name: "certificate without its key", change: swapped(certFile, func([]byte) []byte { return w.otherCertificate }), reload: kept, start: stops, what: "tls"},
		{name: "key truncated", change: write(keyFile, half), reload: kept, start: stops, what: "tls"},
		{name: "client CA of garbage", change: swapped(clientFile, garbage), reload: kept, start: stops, what: "tls"},
		{name: "client CA gone", change: instead(clientFile, gone), reload: kept, start: stops, what: "tls"},
	}
	return all
}

// swapOften swaps the volume many times, to the same and back, and leaves it as it was but for its last byte.
func (w *world) swapOften(v *volume) error {
	for range 100 {
		v.files[configFile] = append(bytes.TrimRight(v.files[configFile], "\n"), bytes.Repeat([]byte("\n"), v.versions)...)
		if err := v.swap(); err != nil {
			return err
		}
	}
	return nil
}

// tryConfigurations runs the cells in which a file is not as it should be, each with a program of its own.
func (w *world) tryConfigurations(ctx context.Context) ([]*cell, error) {
	var cells []*cell
	var runs []func(context.Context) error
	for row, m := range w.misconfigurations() {
		for column, at := range []lab.Step{atReload, atStart} {
			c := &cell{fault: fault{name: m.name}, step: at, want: m.reload}
			if at == atStart {
				c.want = m.start
			}
			cells = append(cells, c)
			if w.env.Quick && (row+column)%quickShare != 0 {
				c.empty = notInSlice
				continue
			}
			v, h, err := w.mount(c)
			if err != nil {
				return nil, err
			}
			runs = append(runs, func(ctx context.Context) error { return w.tryConfiguration(ctx, c, m, v, h) })
		}
	}
	return cells, inParallel(ctx, parallelConfigurations, runs)
}

// mount makes the files of a cell, and its registry.
func (w *world) mount(c *cell) (*volume, *lab.Host, error) {
	h, err := w.newHost(c, lab.HostOptions{Server: w.registry})
	if err != nil {
		return nil, nil, err
	}
	v := &volume{dir: filepath.Join(w.env.Dir, fmt.Sprintf("volume-%d", w.hosts.Load())), files: map[string][]byte{}}
	data, err := w.lab.Configuration(lab.Settings{
		TrustFiles: []string{v.path(rootFile)},
		Registries: []map[string]any{w.lab.Entry(h, map[string]any{"caFile": v.path(caFile), "credentials": map[string]any{"dockerConfig": v.path(dockerFile)}})},
	})
	if err != nil {
		return nil, nil, err
	}
	v.files[configFile] = data
	v.files[dockerFile] = fmt.Appendf(nil, `{"auths":{%q:{"username":"reader","password":%q}}}`, h.Addr, w.password)
	for name, from := range map[string]string{
		rootFile: w.lab.TrustFile, caFile: w.lab.CAFile, certFile: filepath.Join(w.lab.PKI.CertDir, certFile),
		keyFile: filepath.Join(w.lab.PKI.CertDir, keyFile), clientFile: w.lab.PKI.ClientCAFile,
	} {
		if v.files[name], err = os.ReadFile(from); err != nil {
			return nil, nil, err
		}
	}
	return v, h, v.swap()
}

// tryConfiguration runs one cell: the change before the start or after it, and two images.
func (w *world) tryConfiguration(ctx context.Context, c *cell, m misconfiguration, v *volume, h *lab.Host) error {
	if c.step == atStart {
		if err := m.change(v); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	began := time.Now()
	p, err := w.start(ctx, v.path(configFile), "--cert-dir="+v.dir, "--client-ca="+v.path(clientFile))
	if err != nil {
		c.got = answer{outcome: outcome{class: stopped}, took: time.Since(began), text: err.Error()}
		c.problem = errors.Join(checkStop(c.got), c.judge())
		return nil
	}
	if c.step == atReload {
		if err := c.reload(ctx, p, m, v); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", m.name, err), p.Stop())
		}
	}
	c.key = w.image.At(h.Addr)
	c.got, c.problem = askOnce(ctx, p, c.key)
	c.requests = h.Count(lab.Any)
	other, err := askOnce(ctx, p, w.unsigned.PinnedAt(h.Addr))
	if other.class == verified {
		err = errors.Join(err, errors.New("an image that nobody signed is admitted"))
	}
	c.problem = errors.Join(c.problem, err)
	c.settle(ctx, p)
	return p.Stop()
}

// reloadBound ends the wait for a program that never says what it makes of a change: it looks every ten seconds where the
// system does not tell, and a busy machine takes a few times as long.
const reloadBound = time.Minute

// reload changes the files under a program that serves, and waits until it has said what it makes of that.
func (c *cell) reload(ctx context.Context, p *lab.Program, m misconfiguration, v *volume) error {
	ctx, cancel := context.WithTimeout(ctx, reloadBound)
	defer cancel()
	from := p.Lines()
	if err := m.change(v); err != nil {
		return err
	}
	good := m.start[0].class != stopped
	_, err := p.Wait(ctx, from, func(r program.Record) bool {
		return strings.Contains(string(r.Line), `"what":"`+m.what+`"`) && (r.Msg == "reloaded") == good && strings.HasPrefix(r.Msg, "reload")
	})
	return err
}

// checkStop holds what a program says that does not start: in time, and which file it is about.
func checkStop(got answer) error {
	switch {
	case got.took > startBound:
		return fmt.Errorf("it took %s to say that it does not start", got.took)
	case !strings.Contains(got.text, "ended"):
		return fmt.Errorf("it did not end: %s", got.text)
	}
	return nil
}
