package upheaval

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// An event is something that happens to an installation while it is asked.
type event struct {
	name string
	run  func(context.Context) error
}

// events are all that happens, in order. Each begins with everything as it should be, and leaves it so.
func (w *world) events() []event {
	return []event{
		{"nothing", w.calm},
		{"instances restart one after the other", w.restart},
		{"the certificate is replaced, then its key", w.rotateServer},
		{"the client CA rotates: both, then the new one", w.rotateClientCA},
		{"the trust store rotates: first, both, second, first", w.rotateTrust},
		{"the configuration's volume is swapped 100 times", w.swap},
		{"a bad configuration comes and goes", w.bad},
		{"the registry's password rotates", w.rotatePassword},
		{"policies alternate between two signers", w.alternate},
		{"the registry dies and returns", w.registryDies},
	}
}

// wait lets traffic go on for a time: of an event it is what follows it that shows what it broke.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// calm is traffic alone.
func (w *world) calm(ctx context.Context) error {
	return wait(ctx, choose(w.env, 4*time.Second, time.Second))
}

// restart ends each instance and starts another, as a rolling update does that has no pod to spare.
func (w *world) restart(ctx context.Context) error {
	for _, one := range w.service.all() {
		if err := one.Stop(); err != nil {
			return err
		}
		w.service.remove(one)
		if err := one.Failure(); err != nil {
			return fmt.Errorf("an instance that was asked to end: %w", err)
		}
		if err := w.startInstance(ctx); err != nil {
			return err
		}
		if err := wait(ctx, choose(w.env, time.Second, 200*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// rotateServer replaces the certificate first, so that for a while the pair does not fit, and then the key.
func (w *world) rotateServer(ctx context.Context) error {
	for _, step := range []struct {
		file string
		good bool
	}{{"tls.crt", false}, {"tls.key", true}} {
		data, err := os.ReadFile(filepath.Join(w.next.CertDir, step.file))
		if err != nil {
			return err
		}
		if err := w.taken(ctx, "tls", step.good, func() error { return replace(filepath.Join(w.lab.PKI.CertDir, step.file), data) }); err != nil {
			return fmt.Errorf("replace %s: %w", step.file, err)
		}
	}
	for _, one := range w.service.all() {
		if err := w.showsNew(ctx, one); err != nil {
			return err
		}
	}
	return wait(ctx, choose(w.env, time.Second, 100*time.Millisecond))
}

// showsNew holds that an instance shows the certificate of the new CA.
func (w *world) showsNew(ctx context.Context, one *instance) error {
	conn, err := w.connect(ctx, one.Address, w.lab.PKI)
	if err != nil {
		return err
	}
	defer conn.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.next.ServerCAPEM)
	if _, err := conn.ConnectionState().PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		return fmt.Errorf("the certificate after its rotation: %w", err)
	}
	return nil
}

// connect opens a connection with the client certificate of one, to an instance of which it trusts all server CAs.
func (w *world) connect(ctx context.Context, address string, client *fixture.PKI) (*tls.Conn, error) {
	config, err := client.ClientTLS()
	if err != nil {
		return nil, err
	}
	config.RootCAs = w.roots
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// admits tells whether the other side of a connection gives verdicts on it.
func (w *world) admits(conn *tls.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(clientTimeout))
	body := load.NewRequest(w.images.known[0].key).Body()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", program.VerifyPath, len(body), body); err != nil {
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	_, untold, err := decode(w.images.known[:1], answer)
	return err == nil && untold == ""
}

// turnover is how long connections are kept while both CAs are good: they end with the answer that comes after that.
const turnover = 2 * time.Second

// oldConnections are how many connections of a client that keeps its old certificate are open when its CA goes.
const oldConnections = 8

// rotateClientCA has both CAs trusted, the client show its new certificate, and the new CA alone trusted. A client that
// still has the old one by then is out, on the connections too that it has open.
func (w *world) rotateClientCA(ctx context.Context) error {
	oldCA, err := os.ReadFile(w.lab.PKI.ClientCAFile)
	if err != nil {
		return err
	}
	newCA, err := os.ReadFile(w.next.ClientCAFile)
	if err != nil {
		return err
	}
	write := func(data []byte) error {
		return w.taken(ctx, "tls", true, func() error { return replace(w.lab.PKI.ClientCAFile, data) })
	}
	if err := write(slices.Concat(newCA, oldCA)); err != nil {
		return err
	}
	old, err := w.openOld(ctx)
	if err != nil {
		return err
	}
	defer closeAll(old)
	if err := w.client.show(w.next); err != nil {
		return err
	}
	// As long as it takes until no connection is left on which the client showed the old one.
	if err := wait(ctx, choose(w.env, 2*turnover, turnover+turnover/2)); err != nil {
		return err
	}
	if err := write(newCA); err != nil {
		return err
	}
	for _, one := range w.service.all() {
		if conn, err := w.connect(ctx, one.Address, w.lab.PKI); err == nil {
			old = append(old, conn) // a handshake ends before the server has seen the certificate
		}
	}
	for _, conn := range old {
		w.outsiders++
		if w.admits(conn) {
			w.letIn++
		}
	}
	return wait(ctx, choose(w.env, time.Second, 100*time.Millisecond))
}

// openOld opens connections with the old client certificate, on each of which is asked.
func (w *world) openOld(ctx context.Context) ([]*tls.Conn, error) {
	var old []*tls.Conn
	for n := range oldConnections {
		instances := w.service.all()
		conn, err := w.connect(ctx, instances[n%len(instances)].Address, w.lab.PKI)
		if err != nil {
			return old, fmt.Errorf("the old client certificate while both are good: %w", err)
		}
		if w.admits(conn) {
			old = append(old, conn)
			continue
		}
		closeAll([]*tls.Conn{conn}) // for want of time, on a machine that does other things
	}
	if len(old) == 0 {
		return nil, errors.New("the old client certificate is refused while both are good")
	}
	return old, nil
}

func closeAll(conns []*tls.Conn) {
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// rotateTrust changes what is in the file that the trust store names.
func (w *world) rotateTrust(ctx context.Context) error {
	if err := w.change(ctx, func(s *settings) { s.bundle = true }); err != nil {
		return err
	}
	for _, next := range []trust{first | second, second, first} {
		if err := w.change(ctx, func(s *settings) { s.trust = next }); err != nil {
			return err
		}
		// Longer than a slow verification, so that none is begun anew more than twice.
		if err := wait(ctx, slowTime); err != nil {
			return err
		}
	}
	return w.change(ctx, func(s *settings) { s.bundle = false })
}

// swaps is how often the volume is swapped, and swapPause the time between two: some of them come in the middle of a read.
const (
	swaps     = 100
	swapPause = 40 * time.Millisecond
)

// stormTime is longer than the changes of a volume settle, 2 s at most, and a configuration takes to be built.
const stormTime = 3 * time.Second

// swap swaps the volume many times. The last one says something else: it must come into force however many came before.
func (w *world) swap(ctx context.Context) error {
	for n := range choose(w.env, swaps, 10) {
		if n > 0 {
			if err := wait(ctx, swapPause); err != nil {
				return err
			}
		}
		w.settings.revision++
		if n == choose(w.env, swaps, 10)-1 {
			w.settings.trust = second
			w.truth.write(second)
		}
		if err := w.writeConfig(); err != nil {
			return err
		}
	}
	// Which state a record of the log is about it does not say: so the last one is held to be in force by then.
	if err := wait(ctx, choose(w.env, stormTime, stormTime/2)); err != nil {
		return err
	}
	for _, one := range w.service.all() {
		w.truth.accept(one.Address)
	}
	if err := wait(ctx, choose(w.env, time.Second, 300*time.Millisecond)); err != nil {
		return err
	}
	return w.change(ctx, func(s *settings) { s.trust = first })
}

// bad has a configuration that cannot be taken, and then a good one.
func (w *world) bad(ctx context.Context) error {
	w.settings.bad = true
	if err := w.taken(ctx, "configuration", false, w.writeConfig); err != nil {
		return err
	}
	if err := wait(ctx, choose(w.env, time.Second, 200*time.Millisecond)); err != nil {
		return err
	}
	return w.change(ctx, func(s *settings) { s.bad, s.revision = false, s.revision+1 })
}

// rotatePassword has the registry take both passwords, the program learn the new one, and the registry take that alone.
func (w *world) rotatePassword(ctx context.Context) error {
	for range choose(w.env, 2, 1) {
		next := w.newPassword()
		if err := w.taken(ctx, "configuration", true, func() error { return w.setPassword(next) }); err != nil {
			return err
		}
		// What was under way has the old one: it is asked again of the new configuration, or done.
		if err := wait(ctx, grace+slowTime); err != nil {
			return err
		}
		w.takeOnly(next)
		if err := wait(ctx, choose(w.env, time.Second, 200*time.Millisecond)); err != nil {
			return err
		}
	}
	return nil
}

// alternate changes who is trusted, again and again, while verifications are under way that take longer than the grace.
func (w *world) alternate(ctx context.Context) error {
	for n := range choose(w.env, 6, 2) {
		next := []trust{second, first}[n%2]
		if err := w.change(ctx, func(s *settings) { s.trust = next }); err != nil {
			return err
		}
		// Longer than an answer may still be of the one before.
		if err := wait(ctx, grace+slowTime); err != nil {
			return err
		}
	}
	return nil
}

// returnTime is within which verdicts come again when a registry has returned: a breaker looks every eight seconds, more or
// less, at one that has been away for some.
const returnTime = 12 * time.Second

// registryDies has the registry refuse connections for a while. Until verdicts come again, "could not tell" is right.
func (w *world) registryDies(ctx context.Context) error {
	end := w.truth.mayNotTell()
	defer end()
	if err := w.host.Down(); err != nil {
		return err
	}
	if err := wait(ctx, choose(w.env, 6*time.Second, 700*time.Millisecond)); err != nil {
		return err
	}
	if err := w.host.Up(); err != nil {
		return err
	}
	returned := time.Now()
	for _, one := range w.service.all() {
		if err := w.awaitVerdict(ctx, one); err != nil {
			return err
		}
	}
	w.returned = time.Since(returned)
	end()
	return wait(ctx, choose(w.env, 2*time.Second, 300*time.Millisecond))
}

// awaitVerdict asks an instance about images that it has not seen until it tells.
func (w *world) awaitVerdict(ctx context.Context, one *instance) error {
	ctx, cancel := context.WithTimeout(ctx, 2*returnTime)
	defer cancel()
	direct := newGatekeeper(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, one.Address)
	}, w.roots)
	defer direct.CloseIdleConnections()
	direct.certificate.Store(w.client.certificate.Load())
	tick := time.NewTicker(probeTime)
	defer tick.Stop()
	for {
		questions := []question{w.images.unseen()}
		_, body, err := direct.ask(ctx, []string{questions[0].key})
		if err == nil {
			if _, untold, err := decode(questions, body); err == nil && untold == "" {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no verdict after the registry has returned: %w", ctx.Err())
		}
	}
}
