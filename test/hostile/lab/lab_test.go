package lab_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/program/programtest"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newLab makes a lab that must end as it began: no canary touched, no secret seen.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.TempDir())
	check(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func newHost(t *testing.T, l *lab.Lab, options lab.HostOptions) *lab.Host {
	t.Helper()
	h, err := l.Host(options)
	check(t, err)
	return h
}

// start starts the program on a configuration.
func start(t *testing.T, l *lab.Lab, s lab.Settings) *lab.Program {
	t.Helper()
	config, err := l.Configure(s)
	check(t, err)
	p, err := l.Start(t.Context(), lab.ProgramOptions{Binary: programtest.Build(t), Config: config, Env: programtest.Environment()})
	check(t, err)
	return p
}

// verdict asks about one image.
func verdict(t *testing.T, p *lab.Program, key string) lab.Verdict {
	t.Helper()
	reply, err := p.Verify(t.Context(), key)
	check(t, err)
	return reply.Of(key)
}

func TestACorrectRegistry(t *testing.T) {
	for name, change := range map[string]func(*lab.Registry, *lab.HostOptions){
		"as it is":                    func(*lab.Registry, *lab.HostOptions) {},
		"without TLS":                 func(_ *lab.Registry, o *lab.HostOptions) { o.Plain = true },
		"without the referrers API":   func(r *lab.Registry, _ *lab.HostOptions) { r.NoReferrersAPI = true },
		"with one referrer to a page": func(r *lab.Registry, _ *lab.HostOptions) { r.PerPage = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			registry := &lab.Registry{}
			options := lab.HostOptions{Name: "registry", Server: registry}
			change(registry, &options)
			h := newHost(t, l, options)
			p := start(t, l, lab.Settings{Registries: []map[string]any{l.Entry(h, nil)}})
			signed, err := registry.PutSigned(t.Context(), "signed", l.Stranger, l.Signer)
			check(t, err)
			cose, err := registry.PutImage("cose")
			check(t, err)
			_, err = registry.Sign(t.Context(), cose, l.Signer, notationtest.SignOptions{MediaType: notationtest.COSE})
			check(t, err)
			bare, err := registry.PutSigned(t.Context(), "bare", l.Stranger)
			check(t, err)
			for key, want := range map[string]lab.Outcome{
				signed.At(h.Addr): lab.Verified, cose.PinnedAt(h.Addr): lab.Verified, bare.At(h.Addr): lab.Refused,
			} {
				if got := verdict(t, p, key); got.Outcome != want {
					t.Errorf("%s is %s, want %s: %s", key, got, want, got.Message)
				}
			}
		})
	}
}

func TestATokenIsAskedFor(t *testing.T) {
	l := newLab(t)
	password := l.Plant("password", "tokens")
	tokens := l.TokenServer("reader", password.Value, "registry")
	at := newHost(t, l, lab.HostOptions{Name: "tokens", Server: tokens})
	registry := &lab.Registry{Login: &lab.Login{Realm: at.URL("/token"), Service: "registry", Accept: tokens.Accept}}
	h := newHost(t, l, lab.HostOptions{Name: "registry", Server: registry})
	p := start(t, l, lab.Settings{Registries: []map[string]any{l.Entry(h, map[string]any{
		"authHosts": []string{at.Addr}, "credentials": map[string]any{"username": "reader", "password": password.Value},
	})}})
	image, err := registry.PutSigned(t.Context(), "app", l.Signer)
	check(t, err)
	if got := verdict(t, p, image.At(h.Addr)); got.Outcome != lab.Verified {
		t.Errorf("%s: %s", got, got.Message)
	}
	if n := at.Count(lab.Token); n == 0 {
		t.Error("no token was asked for")
	}
	for _, request := range h.Requests() {
		if a := request.Authorization(); a != "" && !tokens.Accept(a, "") {
			t.Errorf("%s %s has the Authorization %q, which is no token", request.Method, request.Target, strings.Fields(a)[0])
		}
	}
}

func TestStatusAnswersOneStepAlone(t *testing.T) {
	l := newLab(t)
	registry := &lab.Registry{}
	h := newHost(t, l, lab.HostOptions{Name: "registry", Server: registry})
	p := start(t, l, lab.Settings{Registries: []map[string]any{l.Entry(h, nil)}})
	for _, step := range []lab.Step{lab.Resolve, lab.Referrers, lab.SignatureManifest, lab.Blob} {
		image, err := registry.PutSigned(t.Context(), "app-"+strings.ReplaceAll(string(step), " ", "-"), l.Signer)
		check(t, err)
		h.SetScript(lab.On(step, lab.Status(http.StatusServiceUnavailable)))
		if got := verdict(t, p, image.At(h.Addr)); got.Outcome != lab.Unknown || got.Code != "REGISTRY_UNAVAILABLE" {
			t.Errorf("503 at %s: %s: %s", step, got, got.Message)
		}
		if h.Count(step) == 0 {
			t.Errorf("nobody was at the step %s", step)
		}
		h.SetScript(nil)
	}
}
