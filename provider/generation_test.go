package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/ratify-provider/ratify"
)

// patience is how long a test waits for what must happen, on a machine that has other things to do.
const patience = 20 * time.Second

// eventually waits until it is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// answering runs a request that is under way for longer than the test's other ones.
func (f *face) answering(keys ...string) <-chan *externaldata.ProviderResponse {
	answered := make(chan *externaldata.ProviderResponse, 1)
	go func() {
		answered <- compose(f.provider.answer(f.t.Context(), f.provider.verify, keys), "id")
	}()
	return answered
}

// TestConfigurationsInARow: what counts is how long ago a request's own configuration ended, not how long the newest
// has been in force: under a row of reloads that is never a second.
func TestConfigurationsInARow(t *testing.T) {
	f := newFace(t, "")
	answered := f.answering(atDigest("slow", "x"))
	eventually(t, "the verification begins", func() bool { return f.verifies.Load() == 1 })
	old := f.provider.current.Load()
	f.provider.Install(f.engine(t), settings(t, ""))
	f.provider.Install(f.engine(t), settings(t, ""))
	ended := time.Now().Add(-staleAfter)
	old.retired.Store(&ended)
	f.set(func() { f.result = ratify.Result{Code: ratify.UntrustedSigner} })
	close(f.gate)
	response := <-answered
	if f.verifies.Load() != 2 {
		t.Errorf("%d verifications, want another by the newest configuration: %+v", f.verifies.Load(), response.Response)
	}
}

// TestOldWorkEnds: a second after another configuration came into force, work under the one before ends, so that who
// waits for it is answered by the new one in time, and many configurations in a row do not keep their work.
func TestOldWorkEnds(t *testing.T) {
	f := newFace(t, "")
	answered := f.answering(atDigest("slow", "x"))
	eventually(t, "the verification begins", func() bool { return f.verifies.Load() == 1 })
	f.provider.Install(f.engine(t), settings(t, ""))
	eventually(t, "it is run again", func() bool { return f.verifies.Load() == 2 })
	if n := testutil.ToFloat64(f.provider.options.Metrics.flights); n != 1 {
		t.Errorf("%v verifications under way, want the new one alone", n)
	}
	close(f.gate)
	if response := <-answered; len(response.Response.Items) != 1 {
		t.Errorf("%+v", response.Response)
	}
}

// TestStuckRegistryLeavesRoom: images in a registry that does not answer take all that they can get, and others are
// verified all the same. Names below one domain are no other registries.
func TestStuckRegistryLeavesRoom(t *testing.T) {
	f := newFace(t, "concurrency: 4")
	for batch := range 2 * maxFlights / maxKeys {
		keys := make([]string, maxKeys)
		for i := range keys {
			keys[i] = fmt.Sprintf("r%d.stuck.example/hang:%d", i, batch)
		}
		f.answering(keys...)
	}
	g := f.provider.current.Load()
	eventually(t, "the stuck registry has all that it can get", func() bool {
		g.slots.mu.Lock()
		defer g.slots.mu.Unlock()
		ours := g.slots.by["stuck.example"]
		return ours != nil && ours.held >= shareFactor*g.slots.free && ours.waits > 0
	})
	for i := range 8 {
		key := fmt.Sprintf("reg.example/pass:%d", i)
		// Where the machine is busy an asker may find himself without time, and asks again.
		eventually(t, key+" is answered", func() bool {
			_, response := f.post(VerifyPath, requestBody(key))
			return response.Response.SystemError == ""
		})
		f.verify(key)
	}
}

// TestTagsAreSmall: what is kept of a tag is bounded, however long its manifest's words are.
func TestTagsAreSmall(t *testing.T) {
	f := newFace(t, "")
	f.verify("reg.example/long-type:1")
	g := f.provider.current.Load()
	s, _ := ratify.ParseKey("reg.example/long-type:1")
	desc, ok := g.tags.Get(tagKey(s))
	if held, _ := json.Marshal(desc); !ok || int64(len(held)) > g.tags.Stats().Bytes {
		t.Errorf("%t, %d bytes kept, %d counted", ok, len(held), g.tags.Stats().Bytes)
	}
}

// TestStepOfATag: the step that is told is that of the work at hand, also where it is the second of two.
func TestStepOfATag(t *testing.T) {
	f := newFace(t, "")
	if text := f.systemError(VerifyPath, "reg.example/slow:1"); !strings.Contains(text, "while reading a signature") {
		t.Errorf("%q", text)
	}
	close(f.gate)
}

// TestPanicInAFlight: it is counted and logged like any other.
func TestPanicInAFlight(t *testing.T) {
	f := newFace(t, "")
	if text := f.systemError(VerifyPath, "reg.example/cannot-be-encoded:1"); !strings.Contains(text, "INTERNAL") {
		t.Errorf("%q", text)
	}
	if n := testutil.ToFloat64(f.provider.options.Metrics.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
	if f.logs.FilterMessage("panic in a verification").Len() != 1 {
		t.Errorf("not logged: %v", f.logs.All())
	}
}

// TestCachedIsTold: also of a verdict that a tag led to.
func TestCachedIsTold(t *testing.T) {
	f := newFace(t, "cache: {tagTTL: 1ns}")
	f.verify("reg.example/pass:1")
	f.verify("reg.example/pass:1")
	records := f.logs.FilterMessage("verify").All()
	if len(records) != 2 || records[0].ContextMap()["cached"] != false || records[1].ContextMap()["cached"] != true {
		t.Errorf("%v", records)
	}
}

// TestVerdictOfJustNow: who looked before there was a verdict, and has a flight after the one that left it has ended, does
// not verify again.
func TestVerdictOfJustNow(t *testing.T) {
	f := newFace(t, "")
	key := atDigest("pass", "x")
	f.verify(key)
	s, err := ratify.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.provider.current.Load().decide(t.Context(), &flight{subject: s, key: verdictKey(s)}, nil)
	if err != nil || !v.report.IsSuccess || f.verifies.Load() != 1 {
		t.Errorf("%+v, %v, %d verifications", v, err, f.verifies.Load())
	}
}
