package provider

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
)

// TestVerdictsAreApart: of namespaces, of repositories and of digests, for each may be decided about in another way.
func TestVerdictsAreApart(t *testing.T) {
	seen := map[string]ratify.Subject{}
	for _, s := range []ratify.Subject{
		{Repository: "a.example/app", Digest: digest.FromString("1")},
		{Repository: "a.example/app", Digest: digest.FromString("2")},
		{Repository: "b.example/app", Digest: digest.FromString("1")},
		{Repository: "a.example/app", Digest: digest.FromString("1"), Namespace: "team-a"},
		{Repository: "a.example/app", Digest: digest.FromString("1"), Namespace: "team-b"},
	} {
		key := verdictKey(s)
		if other, ok := seen[key]; ok {
			t.Errorf("%+v has the verdict of %+v", s, other)
		}
		seen[key] = s
	}
}

// TestLifeOfAVerdict: it ends with the first of what it rests on.
func TestLifeOfAVerdict(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	good := func(notAfter, freshUntil time.Duration) *verdict {
		v := &verdict{report: ratify.Report{IsSuccess: true, NotAfter: now.Add(notAfter).Unix()}}
		if freshUntil > 0 {
			v.report.FreshUntil = now.Add(freshUntil)
		}
		return v
	}
	for _, tc := range []struct {
		name      string
		verdict   *verdict
		ttl, want time.Duration
	}{
		{"nothing ends", good(time.Hour, 0), time.Minute, time.Minute},
		{"everything ends later", good(time.Hour, time.Hour), time.Minute, time.Minute},
		{"the certificate ends first", good(time.Second, time.Minute), time.Hour, time.Second},
		{"the answer about revocation ends first", good(time.Minute, time.Second), time.Hour, time.Second},
		{"the certificate has ended", good(-time.Second, time.Minute), time.Hour, -time.Second},
		{"a refusal rests on nothing that ends", &verdict{report: ratify.Report{NotAfter: now.Unix()}}, time.Minute, time.Minute},
	} {
		if got := tc.verdict.life(now, tc.ttl); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestLastKnownGoodIsOff where the policy does not ask for it: what cannot be told is not admitted by what was.
func TestLastKnownGoodIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "", func(p *ratify.Policy) { p.LastKnownGood = 0 })
		key := atDigest("app", "x")
		if got := codeOf(t, p, key); got != ratify.Verified {
			t.Fatal(got)
		}
		s.set(func() { s.become["signature/a"] = fails(ratify.RegistryUnavailable) })
		time.Sleep(untilAgain)
		if got := codeOf(t, p, key); got != ratify.RegistryUnavailable {
			t.Errorf("%s, want %s", got, ratify.RegistryUnavailable)
		}
	})
}

// TestPlacesOfAProvider: there are as many as the constants and the configuration say.
func TestPlacesOfAProvider(t *testing.T) {
	f := newFace(t, "concurrency: 7")
	g := f.provider.current.Load()
	for name, places := range map[string]struct{ got, want int }{
		"at registries": {g.slots.places, 7}, "for work": {g.queue.places, maxFlights}, "for requests": {f.provider.waiting.places, maxWaiting},
	} {
		if places.got != places.want {
			t.Errorf("%s: %d places, want %d", name, places.got, places.want)
		}
	}
}
