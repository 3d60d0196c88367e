package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
)

// A paced registry answers each request at its time, and one verifier reads a manifest and an envelope there. It is slow,
// and never wrong.
type paced struct {
	every time.Duration // between two answers
	delay time.Duration // of each

	mu       sync.Mutex
	next     time.Time
	requests int
	under    int // verifications at the same time
	most     int
	verified map[string]int // by image
	result   func(name string) (ratify.Result, error)
}

func (r *paced) Open(_ context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	repo := pacedRepository{r, s.Repository}
	return repo, repo, nil
}

type pacedRepository struct {
	*paced
	name string
}

func (r pacedRepository) Name() string { return r.name }

// turn waits for the next answer that the registry gives.
func (r pacedRepository) turn(ctx context.Context) error {
	r.mu.Lock()
	at := time.Now()
	if at.Before(r.next) {
		at = r.next
	}
	r.next = at.Add(r.every)
	r.requests++
	r.mu.Unlock()
	if r.every == 0 && r.delay == 0 {
		return nil
	}
	select {
	case <-time.After(time.Until(at) + r.delay):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r pacedRepository) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	d := digest.Digest(reference)
	if d.Validate() != nil {
		d = digest.FromString(r.name + ":" + reference)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1}, r.turn(ctx)
}

func (r pacedRepository) Referrers(ctx context.Context, _ ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return []ocispec.Descriptor{{ArtifactType: "test/signature", Digest: digest.FromString("signature")}}, r.turn(ctx)
}

func (r pacedRepository) Fetch(ctx context.Context, _ ocispec.Descriptor) ([]byte, error) {
	return nil, r.turn(ctx)
}

func (*paced) Match(ocispec.Descriptor) bool { return true }

func (r *paced) Verify(ctx context.Context, subject, evidence ocispec.Descriptor, repo ratify.Repository) (ratify.Result, error) {
	r.mu.Lock()
	r.verified[repo.Name()+"@"+subject.Digest.String()]++
	r.under++
	r.most = max(r.most, r.under)
	result := r.result
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.under--
		r.mu.Unlock()
	}()
	for range 2 {
		if _, err := repo.Fetch(ctx, evidence); err != nil {
			return ratify.Result{}, err
		}
	}
	return result(repo.Name())
}

func passes(string) (ratify.Result, error) { return ratify.Result{Passed: true}, nil }

// verifications are how many there were, and whether one image was verified more often than that.
func (r *paced) verifications(t *testing.T, images, each int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.verified) != images {
		t.Errorf("%d images verified, want %d", len(r.verified), images)
	}
	for image, n := range r.verified {
		if n != each {
			t.Errorf("%s was verified %d times, want %d", image, n, each)
		}
	}
}

// counts are the requests, and the verifications of all images together.
func (r *paced) counts() (requests, verifications int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.verified {
		verifications += n
	}
	return r.requests, verifications
}

// provider is one in front of the registry, with the deadline that it has in a cluster.
func (r *paced) provider(t testing.TB, text string) *Provider {
	t.Helper()
	r.verified = map[string]int{}
	if r.result == nil {
		r.result = passes
	}
	engine, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "paced", Scopes: []string{"*"}, Store: r}},
		Verifiers: []ratify.NamedVerifier{{Name: "fake", Type: "fake", Verifier: r}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"fake"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{VerifyTimeout: 1800 * time.Millisecond, MutateTimeout: 900 * time.Millisecond, Log: zap.NewNop(), Metrics: NewMetrics()})
	p.Install(engine, settings(t, text))
	t.Cleanup(func() { p.current.Load().cancel() })
	return p
}

// request is one request, without its bytes.
func request(t *testing.T, p *Provider, keys ...string) []answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), p.options.VerifyTimeout)
	defer cancel()
	began := time.Now()
	answers := p.answer(ctx, p.verify, keys)
	if took := time.Since(began); took > p.options.VerifyTimeout {
		t.Errorf("answered after %v", took)
	}
	return answers
}

// untold are the keys that could not be told. What could must be verified.
func untold(t *testing.T, answers []answer) (keys []string) {
	t.Helper()
	for _, a := range answers {
		switch {
		case a.problem != nil && a.problem.Code == ratify.Deadline:
			keys = append(keys, a.key)
		case a.problem != nil || !a.verdict.report.IsSuccess:
			t.Errorf("%s: %+v", a.key, a)
		}
	}
	return keys
}

// TestLimitedRegistry: of a registry that answers 20 requests a second, 200 images are verified within 1.2 times the 40 s
// that their 800 requests take at least. None is dropped, refused, or verified twice; whoever asks is answered in time, and
// finds what is known when it asks again.
func TestLimitedRegistry(t *testing.T) {
	const images, batch = 200, 50
	for name, key := range map[string]func(int) string{
		"by digest": func(i int) string { return atDigest("app", fmt.Sprint(i)) },
		"by tag":    func(i int) string { return fmt.Sprintf("reg.example/app:%d", i) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &paced{every: time.Second / 20, delay: 20 * time.Millisecond}
				p := r.provider(t, "cache: {tagTTL: 1h}")
				began := time.Now()
				var pods sync.WaitGroup
				for i := range images / batch {
					keys := make([]string, batch)
					for j := range keys {
						keys[j] = key(i*batch + j)
					}
					pods.Go(func() {
						for left := keys; ; {
							if left = untold(t, request(t, p, left...)); len(left) == 0 {
								return
							}
							time.Sleep(time.Second) // as a controller would
						}
					})
				}
				pods.Wait()
				if took := time.Since(began); took > 48*time.Second {
					t.Errorf("all were verified after %v", took)
				}
				if n, _ := r.counts(); n != 4*images {
					t.Errorf("%d requests, want %d", n, 4*images)
				}
				r.verifications(t, images, 1)
			})
		})
	}
}

// TestThousandCallers: one image that nobody asked for before is verified once, for a thousand who ask at the same time.
func TestThousandCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: 50 * time.Millisecond}
		g := r.provider(t, "").current.Load()
		for _, key := range []string{"reg.example/app:1", atDigest("app", "x")} {
			s, err := ratify.ParseKey(key)
			if err != nil {
				t.Fatal(err)
			}
			var callers sync.WaitGroup
			for range 1000 {
				callers.Go(func() {
					if v, _, err := g.verify(t.Context(), s); err != nil || !v.report.IsSuccess {
						t.Error(err)
					}
				})
			}
			callers.Wait()
		}
		if n, _ := r.counts(); n != 8 {
			t.Errorf("%d requests, want 4 for each of two images", n)
		}
		r.verifications(t, 2, 1)
	})
}

// TestRollout: fifty pods of ten images each, thirty in all, arrive at once; each image is verified once, and all are
// answered within 2 s.
func TestRollout(t *testing.T) {
	const pods, perPod, images = 50, 10, 30
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: 50 * time.Millisecond}
		p := r.provider(t, "")
		var all sync.WaitGroup
		for i := range pods {
			keys := make([]string, perPod)
			for j := range keys {
				keys[j] = fmt.Sprintf("reg.example/app:%d", (i*7+j)%images)
			}
			all.Go(func() {
				if left := untold(t, request(t, p, keys...)); len(left) > 0 {
					t.Errorf("not told: %v", left)
				}
			})
		}
		all.Wait()
		if n, _ := r.counts(); n != 4*images {
			t.Errorf("%d requests, want %d", n, 4*images)
		}
		r.verifications(t, images, 1)
	})
}

// TestRenewal: who asks each second waits once, however long it goes on; and what is renewed costs less than a third more
// verifications than there are times to live.
func TestRenewal(t *testing.T) {
	const ttl, lives = 60, 10
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: 300 * time.Millisecond}
		p := r.provider(t, fmt.Sprintf("cache: {ttl: %ds}", ttl))
		key := atDigest("app", "x")
		for second := range ttl * lives {
			if a := request(t, p, key)[0]; a.problem != nil || a.cached != (second > 0) {
				t.Fatalf("second %d: %+v", second, a)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		_, n := r.counts()
		if n <= lives || n > lives*4/3 {
			t.Errorf("%d verifications in %d lives", n, lives)
		}
		if m := testutil.ToFloat64(p.options.Metrics.renewals.WithLabelValues("verified")); int(m) != n-1 {
			t.Errorf("%v renewals counted, %d verifications", m, n)
		}
	})
}

// TestRenewalsAreFew: verdicts of one moment, all of them asked for, are renewed one after another, on a quarter
// of the places, and nobody waits for one.
func TestRenewalsAreFew(t *testing.T) {
	const images = 200
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: 50 * time.Millisecond}
		p := r.provider(t, "cache: {ttl: 200s}\nconcurrency: 16")
		keys := make([]string, images)
		for i := range keys {
			keys[i] = atDigest("app", fmt.Sprint(i))
		}
		for batch := range slices.Chunk(keys, 10) {
			if left := untold(t, request(t, p, batch...)); len(left) > 0 {
				t.Fatalf("not told: %v", left)
			}
		}
		r.mu.Lock()
		r.most = 0
		r.mu.Unlock()
		for range 600 {
			for batch := range slices.Chunk(keys, maxKeys) {
				for _, a := range request(t, p, batch...) {
					if !a.cached {
						t.Fatalf("not known: %+v", a)
					}
				}
			}
			time.Sleep(time.Second)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.most > 4 {
			t.Errorf("%d at the same time", r.most)
		}
	})
}

// TestRenewalMakesRoom: while places are taken by work that somebody waits for there are no renewals, and with one place
// there never are.
func TestRenewalMakesRoom(t *testing.T) {
	s := placesFor(8)
	a, ok := s.trySpare("a")
	b, ok2 := s.trySpare("b")
	if !ok || !ok2 {
		t.Fatal("no place for a first and a second one")
	}
	if _, ok := s.trySpare("c"); ok {
		t.Error("more than a quarter of the places")
	}
	a()
	b()
	for range 2 {
		if _, ok := s.try("asked"); !ok {
			t.Fatal("no place for work that somebody waits for")
		}
	}
	if _, ok := s.trySpare("a"); ok {
		t.Error("a place beside the work that somebody waits for")
	}
	if _, ok := placesFor(1).trySpare("a"); ok {
		t.Error("the only place")
	}
}

// TestMutationRenews: a mutation that finds the verdict renews it, too, for what it asks is what will be verified.
func TestMutationRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: time.Millisecond}
		p := r.provider(t, "cache: {ttl: 100s, tagTTL: 1h}")
		g := p.current.Load()
		request(t, p, "reg.example/app:1")
		time.Sleep(95 * time.Second)
		p.mutate(t.Context(), g, []string{"reg.example/app:1"})
		synctest.Wait()
		time.Sleep(4 * time.Second)
		r.verifications(t, 1, 2)
	})
}

// TestWantedRenewal: a renewal for which there was no place gets one like any other work once somebody waits for it, and so
// does whoever asks.
func TestWantedRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &paced{delay: 100 * time.Millisecond}
		p := r.provider(t, "cache: {ttl: 100s}\nconcurrency: 8")
		g, key := p.current.Load(), atDigest("app", "x")
		for range 2 { // as many as leave nothing to work that nobody waits for
			release, ok := g.slots.try("other.example")
			if !ok {
				t.Fatal("no place")
			}
			defer release()
		}
		request(t, p, key)
		time.Sleep(95 * time.Second)
		request(t, p, key)
		synctest.Wait()
		if len(g.flights) != 1 || g.slots.waiting.Len() != 1 {
			t.Fatalf("%d flights, %d waiting, want the renewal", len(g.flights), g.slots.waiting.Len())
		}
		time.Sleep(6 * time.Second)
		if a := request(t, p, key)[0]; a.problem != nil || a.cached {
			t.Errorf("%+v", a)
		}
		r.verifications(t, 1, 2)
		synctest.Wait()
		if len(g.flights) != 0 || g.slots.waiting.Len() != 0 || g.slots.free != 6 || g.queue.free != maxFlights {
			t.Errorf("%d flights, %d waiting, %d and %d places free", len(g.flights), g.slots.waiting.Len(), g.slots.free, g.queue.free)
		}
	})
}

// TestWhatARenewalFinds: a refusal replaces the verdict at once; what could not be told leaves it until its end, and no
// longer; and what would end as soon is not verified again.
func TestWhatARenewalFinds(t *testing.T) {
	const ttl = 100
	down := func(string) (ratify.Result, error) {
		return ratify.Result{}, &ratify.Error{Code: ratify.RegistryUnavailable}
	}
	refused := func(string) (ratify.Result, error) { return ratify.Result{Code: ratify.UntrustedSigner}, nil }
	for _, c := range []struct {
		name          string
		first, second func(string) (ratify.Result, error)
		code          ratify.Code // of the answer after the renewal
		end           ratify.Code // and after the end of the first verdict
		verifications int         // until before the end
	}{
		{"refused", passes, refused, ratify.UntrustedSigner, ratify.UntrustedSigner, 2},
		{"down", passes, down, ratify.Verified, ratify.RegistryUnavailable, 1 + 3},
		{"its evidence ends", func(string) (ratify.Result, error) {
			return ratify.Result{Passed: true, FreshUntil: time.Now().Add(ttl * time.Second)}, nil
		}, refused, ratify.Verified, ratify.UntrustedSigner, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &paced{delay: time.Millisecond, result: c.first}
				p := r.provider(t, fmt.Sprintf("cache: {ttl: %ds, refusalTTL: 1h}", ttl))
				code := func() ratify.Code {
					a := request(t, p, atDigest("app", "x"))[0]
					if a.problem != nil {
						return a.problem.Code
					}
					return a.verdict.report.Code
				}
				code()
				r.mu.Lock()
				r.result = c.second
				r.mu.Unlock()
				for range ttl - 1 {
					code()
					time.Sleep(time.Second)
				}
				if got := code(); got != c.code {
					t.Errorf("before the end: %s, want %s", got, c.code)
				}
				if _, n := r.counts(); n != c.verifications {
					t.Errorf("%d verifications, want %d", n, c.verifications)
				}
				time.Sleep(time.Second)
				if got := code(); got != c.end {
					t.Errorf("after the end: %s, want %s", got, c.end)
				}
			})
		})
	}
}

// TestFloodOfRefusals: it pushes out refusals, and nothing that is verified.
func TestFloodOfRefusals(t *testing.T) {
	const good = 30
	f := newFace(t, "cache: {maxEntries: 40, ttl: 1h, refusalTTL: 1h}")
	for i := range good {
		f.verify(atDigest("pass", fmt.Sprint(i)))
	}
	for i := range 200 {
		f.verify(atDigest("stranger", fmt.Sprint(i)))
	}
	before := f.verifies.Load()
	for i := range good {
		f.verify(atDigest("pass", fmt.Sprint(i)))
	}
	if n := f.verifies.Load() - before; n != 0 {
		t.Errorf("%d of %d were verified again", n, good)
	}
	if s := f.provider.current.Load().cached(); s.Entries > 40 || s.Evicted != 195 {
		t.Errorf("%+v", s)
	}
}

// BenchmarkHitAmong is a hit among as many known images, each of which is asked for in its turn: from the request's bytes to
// the answer's.
func BenchmarkHitAmong(b *testing.B) {
	for _, images := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprint(images), func(b *testing.B) {
			r := &paced{result: signed}
			p := r.provider(b, "cache: {maxBytes: 512Mi, maxEntries: 200000, ttl: 1h}")
			g, bodies := p.current.Load(), make([]string, images)
			for i := range bodies {
				s, err := ratify.ParseKey(atDigest("app", fmt.Sprint(i)))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := g.look(b.Context(), &flight{subject: s, key: verdictKey(s)}, nil); err != nil {
					b.Fatal(err)
				}
				bodies[i] = requestBody(s.String())
			}
			handler, w := p.Handler(), &discarding{header: http.Header{}}
			runtime.GC() // of what came before
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				request := httptest.NewRequest(http.MethodPost, VerifyPath, strings.NewReader(bodies[i%images]))
				request.Header.Set("Content-Type", "application/json")
				handler.ServeHTTP(w, request)
			}
			if n, _ := r.counts(); n != 4*images {
				b.Errorf("%d requests, want %d: there were misses", n, 4*images)
			}
		})
	}
}
