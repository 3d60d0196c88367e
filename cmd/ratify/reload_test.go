package main

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/provider"
)

// newReloader is what serve makes, without a server.
func newReloader(t *testing.T, s *site) *reloader {
	t.Helper()
	log, err := newLog("debug", s.stderr)
	if err != nil {
		t.Fatal(err)
	}
	metrics := provider.NewMetrics()
	certificates, err := provider.NewTLS(provider.TLSOptions{CertDir: s.dir, ClientCA: s.path("ca.crt"), ClientNames: []string{clientName}}, metrics)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{log: log}
	g, err := p.build(s.path("config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	face := provider.New(provider.Options{VerifyTimeout: time.Second, MutateTimeout: time.Second, Log: log, Metrics: metrics})
	face.Install(g.engine, g.file)
	return &reloader{build: p.build, path: s.path("config.yaml"), current: g, provider: face, tls: certificates, metrics: metrics, log: log}
}

// TestReloadTakesNoHalf: what changes while it is read is not put into force, but read again.
func TestReloadTakesNoHalf(t *testing.T) {
	s := newSite(t)
	r := newReloader(t, s)
	build, builds := r.build, 0
	r.build = func(path string) (*generation, error) {
		g, err := build(path)
		if builds++; builds == 1 {
			s.write(t, "signer.crt", s.other.PEM())
		}
		return g, err
	}
	before := r.current
	s.write(t, "config.yaml", []byte(s.config("concurrency: 3")))
	if _, torn := r.reload(); !torn || r.current != before {
		t.Errorf("torn: %t, taken: %t", torn, r.current != before)
	}
	if changed, torn := r.reload(); !changed || torn || r.current.file.Concurrency != 3 {
		t.Errorf("changed: %t, torn: %t, concurrency %d", changed, torn, r.current.file.Concurrency)
	}
	if changed, torn := r.reload(); changed || torn {
		t.Errorf("once more, changed: %t, torn: %t", changed, torn)
	}
	if n, _ := s.stderr.count("reloaded"); n != 1 {
		t.Errorf("%d reloads:\n%s", n, s.stderr)
	}
}

// TestReloadTellsWhenTrustEnds: the metric is of the trust stores in force.
func TestReloadTellsWhenTrustEnds(t *testing.T) {
	s := newSite(t)
	r := newReloader(t, s)
	s.write(t, "signer.crt", s.other.PEM())
	r.reload()
	families, err := r.metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "ratify_certificate_expiry_timestamp_seconds" && metric.GetLabel()[0].GetValue() == "trust_stores" {
				if got, want := metric.GetGauge().GetValue(), float64(s.other.Root().NotAfter.Unix()); got != want {
					t.Errorf("%v, want %v", got, want)
				}
				return
			}
		}
	}
	t.Error("it is not told")
}

// TestReloadContainsAPanic: the last good configuration goes on serving, and what is mended is taken.
func TestReloadContainsAPanic(t *testing.T) {
	s := newSite(t)
	r := newReloader(t, s)
	build := r.build
	r.build = func(string) (*generation, error) { panic("a parser that panics") }
	s.write(t, "config.yaml", []byte(s.config("concurrency: 3")))
	r.reload()
	if n, _ := s.stderr.count("reload failed, the last good one stays in force", "a parser that panics"); n != 1 || !r.provider.Ready() {
		t.Errorf("%d failures told, ready: %t", n, r.provider.Ready())
	}
	r.build = build
	if r.reload(); r.current.file.Concurrency != 3 {
		t.Errorf("concurrency %d", r.current.file.Concurrency)
	}
}

// TestReloadInANoisyDirectory: where something is always written, a change is seen all the same, and soon.
func TestReloadInANoisyDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := newReloader(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { r.run(ctx) })
	background.Go(func() {
		for ctx.Err() == nil {
			if err := os.WriteFile(s.path("noise"), nil, 0o600); err != nil {
				t.Error(err)
			}
			time.Sleep(settleTime / 10)
		}
	})
	began := time.Now()
	s.write(t, "config.yaml", []byte(s.config("concurrency: 3")))
	s.stderr.wait(t, "reloaded", "configuration")
	if took := time.Since(began); took > lookTime-2*time.Second {
		t.Errorf("after %v", took)
	}
	cancel()
	background.Wait()
}

// TestReloadStormUnderLoad: however often the configuration changes, each answer is that of one of them, none is lost,
// and the last one is in force in the end.
func TestReloadStormUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.serve(t, "--verify-timeout", patience.String())
	admits := s.config("")
	refuses := strings.Replace(admits, `scopes: ["*"], verifiers`, `scopes: ["other.example/*"], verifiers`, 1)
	var stop atomic.Bool
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for !stop.Load() {
				if ok, code := s.verify(t); ok != (code == "VERIFIED") || !ok && code != "NO_POLICY" && code != "UNTRUSTED_SIGNER" {
					t.Errorf("%t %s", ok, code)
					return
				}
			}
		})
	}
	for n := range 60 {
		content := []byte(admits)
		if n%2 == 0 {
			content = []byte(refuses)
		}
		s.write(t, "next.yaml", content)
		if err := os.Rename(s.path("next.yaml"), s.path("config.yaml")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(settleTime / 5 * time.Duration(1+n%8))
	}
	s.write(t, "other.crt", s.other.PEM())
	s.write(t, "next.yaml", []byte(strings.Replace(admits, s.path("signer.crt"), s.path("other.crt"), 1)))
	if err := os.Rename(s.path("next.yaml"), s.path("config.yaml")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if _, code := s.verify(t); code == "UNTRUSTED_SIGNER" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the last configuration is not in force:\n%s", s.stderr)
		}
	}
	stop.Store(true)
	callers.Wait()
	if n, _ := s.stderr.count("reloaded"); n < 3 {
		t.Errorf("%d reloads: the test does not test", n)
	}
}
