package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"github.com/ratify-provider/ratify/test/program/programtest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// What is changed while the provider runs holds for the next review; what is bad changes nothing.
func TestReload(t *testing.T) {
	w := newWorld(t, options{})
	signed := w.Images[fixture.Signed]
	pod := engine.Pod("pod", signed.Reference)
	w.admits(t, pod)
	denied := func(code ratify.Code) {
		t.Helper()
		from := w.provider.Lines()
		denials := w.review(t, pod)
		r := w.await(t, from, func(r program.Record) bool { return r.Msg == "verify" && r.Code == string(code) })
		if len(denials) != 1 || !strings.HasSuffix(denials[0], "(trace "+r.TraceID+")") || !strings.Contains(denials[0], r.Message) {
			t.Errorf("got %q, the log says %s", denials, r.Line)
		}
	}
	changed := func(change func(), message string) {
		t.Helper()
		from := w.provider.Lines()
		change()
		w.await(t, from, func(r program.Record) bool { return r.Msg == message })
	}
	const reloaded, failed = "reloaded", "reload failed, the last good one stays in force"

	changed(func() { w.configure(t, settings{trust: []string{w.StrangerFile}}) }, reloaded)
	denied(ratify.UntrustedSigner)
	changed(func() { w.write(t, "stores: [") }, failed)
	denied(ratify.UntrustedSigner)
	changed(func() { w.configure(t, settings{}) }, reloaded)
	w.admits(t, pod)
	changed(func() { w.write(t, "nonsense: true") }, failed)
	w.admits(t, pod)
	changed(func() { w.configure(t, settings{scopes: w.Images[fixture.Multi].Repository}) }, reloaded)
	denied(ratify.NoPolicy)
	w.admits(t, engine.Pod("pod", w.Images[fixture.Multi].Reference))
	changed(func() { w.configure(t, settings{}) }, reloaded)
	w.admits(t, pod)
	// The trust store's own file, as a Secret's key that is replaced.
	changed(func() {
		if err := os.WriteFile(w.SignerFile, w.StrangerPEM, 0o600); err != nil {
			t.Fatal(err)
		}
	}, reloaded)
	denied(ratify.UntrustedSigner)
}

// An allow that Gatekeeper keeps for a minute ends with the certificate that it rests on.
func TestCachedAllowEnds(t *testing.T) {
	const life = 5 * time.Second
	authority, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: "Brief Root"})
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "brief.crt")
	if err := os.WriteFile(root, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, options{cacheTTL: time.Minute, config: settings{trust: []string{root}}})
	ends := time.Now().Add(life).Truncate(time.Second)
	signer, err := authority.Issue(notationtest.LeafOptions{CommonName: "brief.example", NotAfter: ends})
	if err != nil {
		t.Fatal(err)
	}
	image, err := w.Push(t.Context(), "brief", fixture.Signature{By: signer})
	if err != nil {
		t.Fatal(err)
	}
	pod := engine.Pod("pod", image.Reference)
	w.asks(t, 1, func() { w.admits(t, pod) })
	w.asks(t, 0, func() { w.admits(t, pod) })
	if now := time.Now(); now.After(ends) {
		t.Fatalf("the certificate ended %s before it was to be used", now.Sub(ends))
	}
	<-time.After(time.Until(ends))
	w.asks(t, 0, func() {
		w.denies(t, pod, "Could not verify: "+image.Reference+": the report is no longer valid. Try again when Gatekeeper's cache has forgotten it.")
	})
	// Gatekeeper without a cache hears why.
	w.engine.Close()
	w.engine = w.newEngine(t, options{})
	from := w.provider.Lines()
	denials := w.review(t, pod)
	if r := w.record(t, from, "verify", image.Reference); len(denials) != 1 || r.Code != string(ratify.CertificateExpired) || !strings.Contains(denials[0], r.Message) {
		t.Errorf("got %q, the log says %s", denials, r.Line)
	}
}

// Only Gatekeeper may ask: whoever shows another certificate, or none, is told nothing, and nothing is admitted.
func TestClientCertificates(t *testing.T) {
	ours, others := newAuthority(t, "gatekeeper-ca"), newAuthority(t, "other-ca")
	caFile := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(caFile, ours.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	shown := issue(t, ours, engine.ClientName)
	w := newWorld(t, options{clientCA: caFile, shown: &shown})
	pod := engine.Pod("pod", w.Images[fixture.Signed].Reference)
	w.admits(t, pod)
	for name, shown := range map[string][2]string{
		"none":         {},
		"another CA":   issue(t, others, engine.ClientName),
		"another name": issue(t, ours, "somebody.default.svc"),
	} {
		t.Run(name, func(t *testing.T) {
			w.elsewhere(t, options{shown: &shown})
			w.asks(t, 0, func() {
				denials := w.review(t, pod)
				if len(denials) != 1 || !strings.HasPrefix(denials[0], "Could not verify: failed to send external data request") || !strings.Contains(denials[0], "tls: ") {
					t.Errorf("got %q", denials)
				}
			})
		})
	}
	w.elsewhere(t, options{shown: &shown})
	w.admits(t, pod)
}

// elsewhere starts the provider again at another address, and Gatekeeper anew: of one address, Gatekeeper keeps its
// connections, with the certificate that it has shown, for the whole process.
func (w *world) elsewhere(t *testing.T, o options) {
	t.Helper()
	if err := w.provider.Stop(); err != nil {
		t.Fatal(err)
	}
	w.engine.Close()
	w.provider = programtest.Serve(t, binary, w.args...)
	w.engine = w.newEngine(t, o)
}

func newAuthority(t *testing.T, name string) *engine.Authority {
	t.Helper()
	authority, err := engine.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// issue returns the files of a certificate and its key.
func issue(t *testing.T, authority *engine.Authority, name string) (pair [2]string) {
	t.Helper()
	var err error
	if pair[0], pair[1], err = authority.Issue(t.TempDir(), name); err != nil {
		t.Fatal(err)
	}
	return pair
}

// An unsigned image under a tag that was signed is refused as soon as the provider looks at the tag again.
func TestMovedTag(t *testing.T) {
	w := newWorld(t, options{})
	first := w.push(t, "moving")
	pod := engine.Pod("pod", first.Reference)
	w.admits(t, pod)
	second, err := w.Push(t.Context(), "moving")
	if err != nil {
		t.Fatal(err)
	}
	from := w.provider.Lines()
	until(t, tagTTL+time.Second, func() bool { return len(w.review(t, pod)) == 1 })
	r := w.await(t, from, func(r program.Record) bool { return r.Key == first.Reference && !r.IsSuccess })
	if r.Digest != second.Digest.String() || r.Code != string(ratify.NoReferrers) {
		t.Errorf("the log says %s", r.Line)
	}
	w.admits(t, engine.Pod("pod", first.Pinned()))
	w.denies(t, engine.Pod("pod", second.Pinned()), fmt.Sprintf("Subject failed verification: %s: %s. %s (trace %s)", second.Pinned(), r.Message, r.Remedy, r.TraceID))
}
