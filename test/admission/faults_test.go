package admission

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// push pushes an image that nobody has asked about yet, signed by the trusted signer.
func (w *world) push(t *testing.T, name string) fixture.Image {
	t.Helper()
	image, err := w.Push(t.Context(), name, fixture.Signature{By: w.Signer})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// unknown is what a denial says of one image that could not be told.
func unknown(reference string, code ratify.Code, message string, remedy string) string {
	return fmt.Sprintf("%s: %s: %s. %s", reference, code, message, remedy)
}

// refused is what such a denial says of one that was refused.
func (w *world) refused(reference string, code ratify.Code) string {
	message, _ := w.words(code)
	return fmt.Sprintf("%s: %s: %s", reference, code, message)
}

// What could not be told denies, leaves nothing in Gatekeeper's cache, and is admitted when the fault has gone.
func TestFaultyRegistry(t *testing.T) {
	w := newWorld(t, options{cacheTTL: 30 * time.Second, deadline: time.Second})
	host := "registry " + w.Host
	const anonymous = "check that the image exists, and configure credentials for this registry in the store's settings if it is private"
	for _, f := range []struct {
		name    string
		fault   http.HandlerFunc // nil: it hangs
		code    ratify.Code
		message string
		remedy  string
		memory  time.Duration // how long the provider remembers it
	}{
		{"503", status(503), ratify.RegistryUnavailable, host + " answered 503 Service Unavailable", ratify.RegistryUnavailable.Info().Remedy, 0},
		{"429", status(429, "Retry-After", "3600"), ratify.RateLimited, host + " answered 429 Too Many Requests", ratify.RateLimited.Info().Remedy, 0},
		{"401", status(401), ratify.RegistryAuth, host + " answered 401 Unauthorized", anonymous, 6 * time.Second},
		{"hang", nil, ratify.Deadline, ratify.Deadline.Info().Message + ", while ", ratify.Deadline.Info().Remedy, 0},
	} {
		t.Run(f.name, func(t *testing.T) {
			name := "fault-" + f.name
			image := w.push(t, name)
			held := w.gate.hold(name + "/manifests/")
			if f.fault != nil {
				held.letGo()
				w.gate.fail(name, f.fault)
			}
			if f.fault == nil {
				f.message += "reading the image's manifest"
			}
			could := unknown(image.Reference, f.code, f.message, f.remedy)
			unsigned, stranger := w.Images[fixture.Unsigned].Reference, w.Images[fixture.Stranger].Reference
			w.denies(t, engine.Pod("pod", image.Reference), "Could not verify: "+could+" (request ‹request›)")
			// Keys come in the order of the alphabet, the refused ones first whatever the order.
			w.denies(t, engine.Pod("pod", image.Reference, unsigned, stranger), "Could not verify: 1 of 3 images could not be told: "+
				w.refused(stranger, ratify.UntrustedSigner)+"; "+w.refused(unsigned, ratify.NoReferrers)+"; "+could+" (request ‹request›)")
			good := engine.Pod("pod", image.Reference, w.push(t, name+"-beside").Reference)
			w.asks(t, 1, func() {
				w.denies(t, good, "Could not verify: 1 of 2 images could not be told: "+could+" (request ‹request›)")
			})

			w.gate.mend(name)
			held.letGo()
			if f.memory > 0 {
				until(t, f.memory, func() bool { return len(w.review(t, good)) == 0 })
			} else {
				w.asks(t, 1, func() { w.admits(t, good) })
			}
			// What was admitted is in the cache, what was refused beside a fault is asked about again.
			w.asks(t, 0, func() { w.admits(t, good) })
			w.asks(t, 1, func() {
				if denials := w.review(t, engine.Pod("pod", image.Reference, "127.0.0.1:1/"+f.name)); len(denials) != 1 {
					t.Errorf("got %q", denials)
				}
			})
		})
	}
}

// A registry that is slower than the deadline costs a denial in time; the work goes on, and the retry finds its answer.
func TestSlowRegistry(t *testing.T) {
	const short = time.Second
	// A tag that outlives the deadline: the retry then needs nothing of the registry that was not read before.
	w := newWorld(t, options{deadline: short, config: settings{tagTTL: time.Minute}})
	quick, slow := w.push(t, "quick"), w.push(t, "slow")
	w.admits(t, engine.Pod("pod", quick.Reference))

	held := w.gate.hold("slow/referrers/")
	began := time.Now()
	w.denies(t, engine.Pod("pod", slow.Reference), "Could not verify: "+unknown(slow.Reference, ratify.Deadline,
		ratify.Deadline.Info().Message+", while listing the image's referrers", ratify.Deadline.Info().Remedy)+" (request ‹request›)")
	// The way back and Rego are all that may be added to the deadline.
	if took := time.Since(began); took < short || took > short+500*time.Millisecond {
		t.Errorf("the denial came after %s", took)
	}
	from := w.provider.Lines()
	held.letGo()
	w.admits(t, engine.Pod("pod", slow.Reference))
	w.await(t, from, func(r program.Record) bool {
		return r.Key == slow.Reference && r.Code == string(ratify.Verified) && r.Digest == slow.Digest.String()
	})
	if got, want := w.gate.read("slow"), w.gate.read("quick"); got != want {
		t.Errorf("the registry was read %d times, want %d as for an image in time", got, want)
	}
}

// A provider that is away, in whatever way, admits nothing; when it is back, it does.
func TestProviderDies(t *testing.T) {
	w := newWorld(t, options{cacheTTL: 30 * time.Second})
	image := w.push(t, "app")
	held := w.gate.hold("app/manifests/")
	answered := make(chan []string)
	go func() { answered <- w.review(t, engine.Pod("pod", image.Reference)) }()
	<-held.arrived
	if err := w.provider.Kill(); err != nil {
		t.Fatal(err)
	}
	denied := func(when string, denials []string) {
		if len(denials) != 1 || !strings.HasPrefix(denials[0], "Could not verify: ") || !strings.Contains(denials[0], "failed to send external data request") {
			t.Errorf("%s: got %q", when, denials)
		}
	}
	denied("killed while it verified", <-answered)
	denied("away", w.review(t, engine.Pod("pod", image.Reference)))
	held.letGo()
	w.restart(t)
	w.asks(t, 1, func() { w.admits(t, engine.Pod("pod", image.Reference)) })
}
