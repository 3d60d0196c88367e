package provider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/ratify-provider/ratify"
)

// installed is a face whose engine is made of a changed setup.
func installed(t testing.TB, text string, change func(*ratify.Setup)) *face {
	t.Helper()
	f := newFace(t, text)
	setup := ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "world", Scopes: []string{"*"}, Store: f.world}},
		Verifiers: []ratify.NamedVerifier{{Name: "fake", Type: "fake", Verifier: worldVerifier{f.world}}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"reg.example/*"}, Verifiers: []string{"fake"}}},
	}
	change(&setup)
	engine, err := ratify.NewEngine(setup)
	if err != nil {
		t.Fatal(err)
	}
	f.provider.Install(engine, settings(t, text))
	return f
}

func audited(t testing.TB, text string) *face {
	t.Helper()
	return installed(t, text, func(s *ratify.Setup) { s.Policies[0].Mode = ratify.ModeAudit })
}

// TestAudit: under a policy that audits nothing that goes wrong keeps an image out, and everything is told and counted.
func TestAudit(t *testing.T) {
	f := audited(t, "cache: {refusalTTL: 1h}")
	for key, why := range map[string]ratify.Code{
		"reg.example/stranger:1":        ratify.UntrustedSigner,
		"reg.example/unsigned:1":        ratify.NoReferrers,
		"reg.example/absent:1":          ratify.SubjectNotFound,
		"reg.example/down:1":            ratify.RegistryUnavailable,
		atDigest("down", "x"):           ratify.RegistryUnavailable,
		"reg.example/verifier-panics:1": ratify.Internal,
		"reg.example/slow:1":            ratify.Deadline,
	} {
		report := f.verify(key)[key]
		if report["isSuccess"] != true || report["code"] != "WOULD_BE_REFUSED" || report["wouldBeCode"] != string(why) ||
			!strings.HasPrefix(fmt.Sprint(report["message"]), "would be refused: verification failed: ") || report["notAfter"] == nil {
			t.Errorf("%s: %v", key, report)
		}
		if got := testutil.ToFloat64(f.provider.options.Metrics.wouldBeRefused.WithLabelValues("default", string(why))); got == 0 {
			t.Errorf("%s: not counted", key)
		}
	}
	for _, entry := range f.logs.FilterMessage("verify").All() {
		if m := entry.ContextMap(); entry.Level.String() != "warn" || m["wouldBeCode"] == nil {
			t.Errorf("logged at %s: %v", entry.Level, m)
		}
	}
	if report := f.verify("reg.example/pass:1")["reg.example/pass:1"]; report["code"] != "VERIFIED" || report["wouldBeCode"] != nil {
		t.Errorf("%v", report)
	}
	// Whose policy it would be is not known of what is no reference, nor of what no policy is for.
	for _, key := range []string{"reg.example/UPPER:1", "other.example/a:1"} {
		if report := f.verify(key)[key]; report["isSuccess"] != false {
			t.Errorf("%s: %v", key, report)
		}
	}
	close(f.gate)
}

// TestAuditIsKeptShortly: a signature may be pushed any moment, and what could not be told may be told the next time.
func TestAuditIsKeptShortly(t *testing.T) {
	f := audited(t, "cache: {ttl: 1h, refusalTTL: 50ms}")
	key := atDigest("stranger", "x")
	f.verify(key)
	f.verify(key)
	if n := f.verifies.Load(); n != 1 {
		t.Errorf("%d verifications at once", n)
	}
	time.Sleep(60 * time.Millisecond)
	f.verify(key)
	if n := f.verifies.Load(); n != 2 {
		t.Errorf("%d verifications later", n)
	}
	down := atDigest("down", "x")
	f.verify(down)
	before := f.resolves.Load()
	f.verify(down)
	if f.resolves.Load() == before {
		t.Error("what could not be told is kept")
	}
}

// TestExemptionEndsInTheCache: the entry ends with the exemption, whatever its TTL.
func TestExemptionEndsInTheCache(t *testing.T) {
	end := time.Now().Add(1500 * time.Millisecond)
	f := installed(t, "gatekeeperCacheTTL: 1ns\ncache: {ttl: 1h}", func(s *ratify.Setup) {
		s.Exemptions = []ratify.Exemption{{Digests: []digest.Digest{digest.FromString("x")}, Reason: "migration", Expires: ratify.Instant{Time: end}}}
	})
	key := atDigest("unsigned", "x")
	for range 2 {
		if report := f.verify(key)[key]; report["code"] != "EXEMPT" || !strings.Contains(fmt.Sprint(report["message"]), "migration") {
			t.Fatalf("%v", report)
		}
	}
	if got := testutil.ToFloat64(f.provider.options.Metrics.verdicts.WithLabelValues("verify", "EXEMPT")); got != 2 {
		t.Errorf("%v exempt images are counted", got)
	}
	time.Sleep(time.Until(end) + 100*time.Millisecond)
	if report := f.verify(key)[key]; report["code"] != "NO_REFERRERS" {
		t.Errorf("after the end: %v", report)
	}
}

func tenants(t testing.TB) *face {
	t.Helper()
	return installed(t, "tenancy: {enabled: true}", func(s *ratify.Setup) {
		s.Tenancy = &ratify.Tenancy{Invalid: map[string]string{"broken": "a line"}}
		s.Policies = append(s.Policies, ratify.Policy{Name: "team-a/strict", Namespaces: []string{"team-a"}, Scopes: []string{"reg.example/*"}, Require: ratify.Require{AtLeast: 1, Of: []ratify.Require{{Verifier: "none"}}}})
		s.Verifiers = append(s.Verifiers, ratify.NamedVerifier{Name: "none", Type: "fake", Verifier: never{}})
	})
}

// never passes nothing.
type never struct{}

func (never) Match(ocispec.Descriptor) bool { return true }

func (never) Verify(context.Context, ocispec.Descriptor, ocispec.Descriptor, ratify.Repository) (ratify.Result, error) {
	return ratify.Result{Code: ratify.UntrustedSigner}, nil
}

// TestTenants: one image has a verdict in each namespace, which no other's answers for.
func TestTenants(t *testing.T) {
	f := tenants(t)
	image := atDigest("pass", "x")
	want := map[string]string{
		"[team-a]" + image: "UNTRUSTED_SIGNER", "[team-b]" + image: "VERIFIED", "[broken]" + image: "TENANT_INVALID",
		image: "BAD_REFERENCE", "[team-a][team-b]" + image: "BAD_REFERENCE", "[Team]" + image: "BAD_REFERENCE", "[]" + image: "BAD_REFERENCE",
	}
	keys := make([]string, 0, len(want))
	for key := range want {
		keys = append(keys, key)
	}
	for range 2 { // the second time from the cache
		for key, report := range f.verify(keys...) {
			if report["code"] != want[key] {
				t.Errorf("%s: %v, want %s", key, report, want[key])
			}
		}
	}
	report := f.verify("[team-b]" + image)["[team-b]"+image]
	if report["namespace"] != "team-b" || strings.Contains(fmt.Sprint(report["subject"]), "[") {
		t.Errorf("%v", report)
	}
}

// TestTenantsAndMutation: a value becomes the image, so that no prefix may be in it.
func TestTenantsAndMutation(t *testing.T) {
	f := tenants(t)
	_, response := f.post(MutatePath, requestBody("reg.example/pass:1", "[team-a]reg.example/pass:1"))
	for _, item := range response.Response.Items {
		prefixed := strings.HasPrefix(item.Key, "[")
		if prefixed && (item.Error == "" || item.Value != nil) || !prefixed && (item.Error != "" || !strings.HasPrefix(fmt.Sprint(item.Value), "reg.example/pass:1@sha256:")) {
			t.Errorf("%+v", item)
		}
	}
	if len(response.Response.Items) != 2 {
		t.Errorf("%+v", response)
	}
}

// TestTenantsAreNotShown: what a person reads is the image; the namespace is in the log.
func TestTenantsAreNotShown(t *testing.T) {
	f := tenants(t)
	if text := f.systemError(VerifyPath, "[team-b]reg.example/down:1", "[team-b]reg.example/unsigned:1"); strings.Contains(text, "team-b") || !strings.Contains(text, "reg.example/down:1: ") || !strings.Contains(text, "reg.example/unsigned:1: ") {
		t.Error(text)
	}
	if got := imageIn("[::1]:5000/app:1"); got != "[::1]:5000/app:1" {
		t.Error(got)
	}
}
