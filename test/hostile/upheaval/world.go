package upheaval

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

const (
	// shutdownDelay is how long an instance goes on answering after its readiness has gone, --shutdown-delay: twenty times
	// what it takes the Service here to see that.
	shutdownDelay = time.Second
	// slowTime is how long the registry takes for the list of what is attached to some images: a verification of theirs is
	// under way for longer than the grace.
	slowTime = 1200 * time.Millisecond
	// takeTime bounds the wait for a configuration to be taken: changes settle for 2 s at most.
	takeTime = 15 * time.Second
)

// A world is two instances behind a Service, a registry, and the files that everything is read from.
type world struct {
	env      promise.Env
	lab      *lab.Lab
	host     *lab.Host
	next     *fixture.PKI // what the certificates rotate to
	service  *service
	client   *gatekeeper
	truth    *truth
	config   *volume
	settings settings
	signers  map[trust][]byte // the roots of those that are trusted at some time
	roots    *x509.CertPool   // of the server CAs, both: a caBundle with both is how a rotation has no gap
	password string           // its file, apart from the configuration
	images   images

	// What is seen beside the answers: connections with a client certificate that is good no more, and how many of them were
	// given verdicts; and how long after the registry's return verdicts came again.
	outsiders, letIn int
	returned         time.Duration

	loginMu sync.Mutex
	login   map[string]bool // the credentials that the registry takes, as they are sent
}

// settings are what the configuration says now.
type settings struct {
	trust trust
	// bundle has the trust store name one file whose content is who is trusted; otherwise it names a file for each of them.
	bundle bool
	// revision changes the file without changing what it means.
	revision int
	// bad is a configuration that cannot be taken.
	bad bool
}

func newWorld(ctx context.Context, env promise.Env) (w *world, err error) {
	w = &world{env: env, settings: settings{trust: first}, truth: newTruth(first, choose(env, delivery, looseDelivery)), service: newService(), login: map[string]bool{}}
	if w.lab, err = lab.New(filepath.Join(env.Dir, "lab")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if w.next, err = fixture.NewPKI(filepath.Join(w.lab.Dir, "next-pki")); err != nil {
		return nil, err
	}
	if err := w.fill(ctx); err != nil {
		return nil, err
	}
	w.config = &volume{dir: filepath.Join(w.lab.Dir, "config")}
	w.password = filepath.Join(w.lab.Dir, "credentials", "password")
	if err := os.MkdirAll(filepath.Dir(w.password), 0o755); err != nil {
		return nil, err
	}
	if err := w.setPassword(w.newPassword()); err != nil {
		return nil, err
	}
	if err := w.writeConfig(); err != nil {
		return nil, err
	}
	w.roots = x509.NewCertPool()
	w.roots.AppendCertsFromPEM(w.lab.PKI.ServerCAPEM)
	w.roots.AppendCertsFromPEM(w.next.ServerCAPEM)
	w.client = newGatekeeper(w.service.dial, w.roots)
	if err := w.client.show(w.lab.PKI); err != nil {
		return nil, err
	}
	for range 2 {
		if err := w.startInstance(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) close() error {
	w.service.close()
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	return w.lab.Close()
}

// startInstance starts one more instance and waits until the Service sends it connections.
func (w *world) startInstance(ctx context.Context) error {
	p, err := w.lab.Start(ctx, lab.ProgramOptions{Binary: w.env.Binary, Config: w.config.path(configName), Args: []string{
		"--verify-timeout=4800ms", "--log-level=info", "--shutdown-delay=" + shutdownDelay.String(),
	}})
	if err != nil {
		return err
	}
	w.truth.accept(p.Address)
	_, err = w.service.add(ctx, p)
	return err
}

// configName is the configuration's file in its volume.
const configName = "ratify.json"

// writeConfig swaps the volume for one that holds what the settings say.
func (w *world) writeConfig() error {
	var files []string
	for _, one := range []trust{first, second} {
		if w.settings.trust&one != 0 {
			files = append(files, w.config.path(rootName(one)))
		}
	}
	if w.settings.bundle {
		files = []string{w.config.path("bundle.pem")}
	}
	data, err := w.lab.Configuration(lab.Settings{
		Registries: []map[string]any{w.lab.Entry(w.host, map[string]any{"credentials": map[string]any{"username": userName, "passwordFile": w.password}})},
		TrustFiles: files,
		Top:        map[string]any{"cache": map[string]any{"maxEntries": 10_000 + w.settings.revision}},
	})
	if err != nil {
		return err
	}
	if w.settings.bad {
		data = bytes.Replace(data, []byte(`"verifiers"`), []byte(`"verifers"`), 1)
	}
	return w.config.write(map[string][]byte{
		configName: data, rootName(first): w.signers[first], rootName(second): w.signers[second], "bundle.pem": w.bundle(w.settings.trust),
	})
}

func rootName(t trust) string { return fmt.Sprintf("root-%d.pem", t) }

// bundle is the roots of all who are trusted.
func (w *world) bundle(t trust) []byte {
	var all []byte
	for _, one := range []trust{first, second} {
		if t&one != 0 {
			all = append(all, w.signers[one]...)
		}
	}
	return all
}

// change changes the settings and their files, and waits until each instance says that it has taken them.
func (w *world) change(ctx context.Context, change func(*settings)) error {
	before := w.settings.trust
	change(&w.settings)
	if w.settings.trust != before {
		w.truth.write(w.settings.trust)
	}
	return w.taken(ctx, "configuration", true, w.writeConfig)
}

// taken does something to the files and waits until each instance says that it has taken it, or that it has not.
func (w *world) taken(ctx context.Context, what string, good bool, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	instances := w.service.all()
	from := make([]int, len(instances))
	for i, one := range instances {
		from[i] = one.Lines()
	}
	if err := do(); err != nil {
		return err
	}
	var waiting sync.WaitGroup
	errs := make([]error, len(instances))
	for i, one := range instances {
		waiting.Go(func() {
			_, errs[i] = one.Wait(ctx, from[i], func(r program.Record) bool { return saysReload(r, what, good) })
			if errs[i] == nil && good && what == "configuration" {
				w.truth.accept(one.Address)
			}
		})
	}
	waiting.Wait()
	return errors.Join(errs...)
}

// saysReload tells whether a record says that something was taken, or that it was not.
func saysReload(r program.Record, what string, good bool) bool {
	if good && r.Msg != "reloaded" || !good && !strings.HasPrefix(r.Msg, "reload failed") {
		return false
	}
	var about struct {
		What string `json:"what"`
	}
	return json.Unmarshal(r.Line, &about) == nil && about.What == what
}

// userName is the program's at the registry.
const userName = "ratify"

// newPassword makes a password that the registry takes from now on.
func (w *world) newPassword() string {
	secret := w.lab.Plant(fmt.Sprintf("password %d", len(w.login)+1), w.host.Name)
	w.loginMu.Lock()
	defer w.loginMu.Unlock()
	w.login[basic(secret.Value)] = true
	return secret.Value
}

// setPassword writes the password's file.
func (w *world) setPassword(password string) error { return replace(w.password, []byte(password)) }

// takeOnly has the registry take no other password.
func (w *world) takeOnly(password string) {
	w.loginMu.Lock()
	defer w.loginMu.Unlock()
	clear(w.login)
	w.login[basic(password)] = true
}

func (w *world) accepts(authorization, _ string) bool {
	w.loginMu.Lock()
	defer w.loginMu.Unlock()
	return w.login[authorization]
}

// newSigner makes a signer whose signatures are cheap, and its root.
func newSigner(name string) (*notationtest.Signer, []byte, error) {
	ca, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: name + " root", Key: notationtest.P256})
	if err != nil {
		return nil, nil, err
	}
	signer, err := ca.Issue(notationtest.LeafOptions{CommonName: name, Key: notationtest.P256})
	return signer, ca.PEM(), err
}
