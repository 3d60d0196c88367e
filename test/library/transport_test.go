package library

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/engine"
)

// Whatever goes wrong on the way to the provider is a denial that says what.
func TestWayToTheProvider(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, p *fakeProvider, provider *engine.Provider)
		reason string // in the denial
	}{
		{"nothing is wrong", func(*testing.T, *fakeProvider, *engine.Provider) {}, ""},
		{"provider is down", func(_ *testing.T, p *fakeProvider, _ *engine.Provider) { p.server.Close() }, "connection refused"},
		{"provider has another CA", func(t *testing.T, _ *fakeProvider, provider *engine.Provider) {
			provider.CAPEM = newAuthority(t, "other-ca").PEM()
		}, "certificate signed by unknown authority"},
		{"provider has another name", func(_ *testing.T, _ *fakeProvider, provider *engine.Provider) {
			provider.URL = strings.Replace(provider.URL, "127.0.0.1", "localhost", 1)
		}, "certificate is valid for"},
		{"Gatekeeper's certificate is of another CA", func(t *testing.T, p *fakeProvider, _ *engine.Provider) {
			p.clientCert, p.clientKey = issue(t, newAuthority(t, "other-ca"), engine.ClientName)
		}, "remote error: tls: "},
		{"Gatekeeper's certificate has another name", func(t *testing.T, p *fakeProvider, _ *engine.Provider) {
			p.clientCert, p.clientKey = issue(t, p.clients, "somebody.default.svc")
		}, "remote error: tls: "},
		{"Gatekeeper shows no certificate", func(_ *testing.T, p *fakeProvider, _ *engine.Provider) {
			p.clientCert, p.clientKey = "", ""
		}, "remote error: tls: certificate required"},
		{"provider speaks TLS 1.2", func(t *testing.T, p *fakeProvider, provider *engine.Provider) {
			old := httptest.NewUnstartedServer(p)
			old.Config.ErrorLog = p.server.Config.ErrorLog
			old.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, Certificates: p.server.TLS.Certificates}
			old.StartTLS()
			t.Cleanup(old.Close)
			provider.URL = old.URL
		}, "remote error: tls: protocol version not supported"},
		{"provider without a timeout", func(_ *testing.T, _ *fakeProvider, provider *engine.Provider) {
			provider.TimeoutSeconds = 0
		}, "context deadline exceeded"},
		{"provider hangs", func(t *testing.T, p *fakeProvider, provider *engine.Provider) {
			done := make(chan struct{})
			t.Cleanup(func() { close(done) })
			p.answers(func([]string) (int, string) { <-done; return http.StatusOK, "" })
			provider.TimeoutSeconds = 1
		}, "deadline exceeded"},
		{"provider cuts the answer short", func(_ *testing.T, p *fakeProvider, _ *engine.Provider) {
			p.answers(func([]string) (int, string) { panic(http.ErrAbortHandler) })
		}, "EOF"},
		{"provider sends elsewhere", func(_ *testing.T, p *fakeProvider, provider *engine.Provider) {
			provider.URL = p.server.URL + "/redirect"
		}, "stopped after 10 redirects"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newFakeProvider(t)
			p.proves()
			provider := p.provider()
			c.spoil(t, p, &provider)
			e := newEngine(t, p, 0, constraintFile)
			if err := e.SetProvider(provider); err != nil {
				t.Fatal(err)
			}
			denials := create(t, e, engine.Pod("pod", app))
			if c.reason == "" {
				if len(denials) != 0 {
					t.Errorf("denied: %q", denials)
				}
				return
			}
			if len(denials) != 1 || !strings.HasPrefix(denials[0], "Could not verify: ") || !strings.Contains(denials[0], c.reason) {
				t.Errorf("got %q, want a denial with %q", denials, c.reason)
			}
		})
	}
}

func TestProviderIsGone(t *testing.T) {
	p := newFakeProvider(t)
	p.proves()
	e := newEngine(t, p, 0, constraintFile)
	e.RemoveProvider("ratify-provider")
	want := lines("Could not verify: key is not found in provider cache")
	if denials := create(t, e, engine.Pod("pod", app)); !sameDenials(denials, want) {
		t.Errorf("got %q, want %q", denials, want)
	}
}
