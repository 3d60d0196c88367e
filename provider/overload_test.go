package provider

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
)

// TestEarned: places are reserved for registries of which images are verified, by their part in that; the others have the
// rest, however many they are.
func TestEarned(t *testing.T) {
	s := placesFor(64)
	for range 3 {
		s.earned.add("a")
	}
	s.earned.add("b")
	for i := range 64 {
		takeAll(s, fmt.Sprint("stranger", i))
	}
	if s.free != 32 {
		t.Errorf("strangers leave %d of 64", s.free)
	}
	if a, b := len(takeAll(s, "a")), len(takeAll(s, "b")); a != 24 || b != 8 {
		t.Errorf("beside strangers: %d and %d", a, b)
	}
	s = placesFor(64)
	s.earned.add("a")
	taken := takeAll(s, "a")
	if len(taken) != 32+24 {
		t.Errorf("alone: %d", len(taken))
	}
	if other, another := len(takeAll(s, "stranger")), len(takeAll(s, "another")); other != 6 || another != 2 {
		t.Errorf("strangers beside it: %d, %d", other, another)
	}
	for _, release := range taken {
		release()
	}
	if s.reserved != 0 || s.free != 56 {
		t.Errorf("%d reserved are taken, %d free", s.reserved, s.free)
	}
}

// TestEarnings: what was earned counts less with time, and then nothing; few are remembered, those of use.
func TestEarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEarnings()
		if e.any() || e.part("a") != 0 {
			t.Error("something was earned by nothing")
		}
		e.add("a")
		time.Sleep(earningHalf)
		e.add("b")
		if a, b := e.part("a"), e.part("b"); a < .33 || a > .34 || b < .66 || b > .67 {
			t.Errorf("%v and %v", a, b)
		}
		time.Sleep(5*earningHalf + time.Second)
		if a, b := e.part("a"), e.part("b"); a != 0 || b == 0 || !e.any() {
			t.Errorf("later: %v and %v", a, b)
		}
		time.Sleep(2 * earningHalf)
		if e.any() {
			t.Error("what was earned counts for ever")
		}
		time.Sleep(400 * earningHalf) // long enough for the scale to begin anew
		for i := range 2 * maxEarners {
			e.add("a")
			e.add(fmt.Sprint(i))
		}
		if a := e.part("a"); len(e.by) > maxEarners || a < .5 || a > 1 {
			t.Errorf("%d are remembered, one of them with %v", len(e.by), a)
		}
	})
}

// A crowd asks one provider, each at his time, whatever becomes of the others.
type crowd struct {
	t    *testing.T
	p    *Provider
	all  sync.WaitGroup
	mu   sync.Mutex
	took map[ratify.Code][]time.Duration // by the answer's code
}

func newCrowd(t *testing.T, p *Provider) *crowd {
	return &crowd{t: t, p: p, took: map[ratify.Code][]time.Duration{}}
}

// ask asks a second long for so many images, each once, and returns.
func (c *crowd) ask(perSecond int, key func(i int) string) {
	for i := range perSecond {
		c.all.Go(func() {
			ctx, cancel := context.WithTimeout(c.t.Context(), c.p.options.VerifyTimeout)
			defer cancel()
			began := time.Now()
			a := c.p.answer(ctx, c.p.verify, []string{key(i)})[0]
			code := ratify.Verified
			if a.problem != nil {
				code = a.problem.Code
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.took[code] = append(c.took[code], time.Since(began))
		})
		time.Sleep(time.Second / time.Duration(perSecond))
	}
}

// times are those that answers with the code took, in order.
func (c *crowd) times(code ratify.Code) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.took[code])
	return c.took[code]
}

// TestTripleLoad: of three times as much as can be done nine tenths of what can be done is, and who is not to be served is told
// at once. Just below what can be done nobody is turned away.
func TestTripleLoad(t *testing.T) {
	const places, step, seconds = 16, 50 * time.Millisecond, 30
	const peak = int(places * 7 / 8 * time.Second / (3 * step)) // of one registry that is of use, 93 a second
	for _, tc := range []struct {
		name string
		load int
	}{{"below", peak * 9 / 10}, {"triple", 3 * peak}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &paced{delay: step}
				p := r.provider(t, fmt.Sprintf("concurrency: %d", places))
				p.earned.add("reg.example")
				c := newCrowd(t, p)
				for second := range seconds {
					c.ask(tc.load, func(i int) string { return atDigest("app", fmt.Sprint(second, i)) })
				}
				c.all.Wait()
				done, shed, late := c.times(ratify.Verified), c.times(ratify.Overloaded), c.times(ratify.Deadline)
				if want := min(tc.load, peak) * seconds * 9 / 10; len(done) < want {
					t.Errorf("%d of %d were verified, want %d", len(done), tc.load*seconds, want)
				}
				if len(shed) > 0 && (tc.load < peak || shed[len(shed)-1] > 50*time.Millisecond) {
					t.Errorf("%d were turned away, the last after %v", len(shed), shed[len(shed)-1])
				}
				if len(late) > tc.load*seconds/100 {
					t.Errorf("%d were late", len(late))
				}
				t.Logf("of %d: %d verified, %d told at once, %d late", tc.load*seconds, len(done), len(shed), len(late))
			})
		})
	}
}

// TestBulkhead: with half of the traffic on registries that hang, one or many, what is asked of a healthy one takes no longer;
// and so it is where the others have answered before, for an answer alone earns them nothing.
func TestBulkhead(t *testing.T) {
	for _, domains := range []int{1, 64, 1000} {
		t.Run(fmt.Sprint(domains), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &hangs{paced: &paced{delay: 50 * time.Millisecond, verified: map[string]int{}, result: passes}}
				p := r.provider(t)
				before, during := newCrowd(t, p), newCrowd(t, p)
				stuck := newCrowd(t, p)
				for second := range 5 {
					before.ask(150, func(i int) string { return atDigest("app", fmt.Sprint("before", second, i)) })
				}
				for i := range domains {
					if code := codeOf(t, p, fmt.Sprintf("s%d.example/unsigned@%s", i, atDigest("", "x")[len("reg.example/@"):])); code != ratify.UntrustedSigner {
						t.Fatal(code)
					}
				}
				for second := range 10 {
					during.all.Go(func() {
						stuck.ask(150, func(i int) string {
							return fmt.Sprintf("s%d.example/hang%s", i%domains, atDigest("", fmt.Sprint(second, i))[len("reg.example/"):])
						})
					})
					during.ask(150, func(i int) string { return atDigest("app", fmt.Sprint("during", second, i)) })
				}
				during.all.Wait()
				stuck.all.Wait()
				base, now := before.times(ratify.Verified), during.times(ratify.Verified)
				if len(base) != 750 || len(now) != 1500 {
					t.Fatalf("%d and %d were verified: %v", len(base), len(now), during.took)
				}
				if b, n := base[len(base)*99/100], now[len(now)*99/100]; n > 2*b {
					t.Errorf("p99 was %v and became %v", b, n)
				}
			})
		})
	}
}

// Hangs is a paced registry beside those that hang where the repository says so, and have nothing that is good.
type hangs struct{ *paced }

func (r *hangs) Open(ctx context.Context, s ratify.Subject) (ratify.Repository, ratify.Repository, error) {
	subject, evidence, err := r.paced.Open(ctx, s)
	switch s.Repository[len(s.Host())+1:] {
	case "hang":
		stuck := hangingRepository{subject}
		return stuck, stuck, nil
	case "unsigned":
		r.mu.Lock()
		defer r.mu.Unlock()
		r.result = func(name string) (ratify.Result, error) {
			if name[:1] == "s" {
				return ratify.Result{Code: ratify.UntrustedSigner}, nil
			}
			return passes(name)
		}
	}
	return subject, evidence, err
}

type hangingRepository struct{ ratify.Repository }

func (hangingRepository) Resolve(ctx context.Context, _ string) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, hang(ctx)
}

func (r *hangs) provider(t *testing.T) *Provider {
	t.Helper()
	engine, err := ratify.NewEngine(ratify.Setup{
		Stores:    []ratify.NamedStore{{Name: "hangs", Scopes: []string{"*"}, Store: r}},
		Verifiers: []ratify.NamedVerifier{{Name: "fake", Type: "fake", Verifier: r.paced}},
		Policies:  []ratify.Policy{{Name: "default", Scopes: []string{"*"}, Verifiers: []string{"fake"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{VerifyTimeout: 4800 * time.Millisecond, MutateTimeout: 900 * time.Millisecond, Log: zap.NewNop(), Metrics: NewMetrics()})
	p.Install(engine, settings(t, ""))
	t.Cleanup(func() { p.current.Load().cancel() })
	return p
}

// TestBehindStuck: who would have to wait behind what hangs in the same registry is told at once, or admitted by what was
// last known.
func TestBehindStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &staged{}
		p, _ := s.provider(t, "concurrency: 4", nil)
		key := atDigest("app", "x")
		codeOf(t, p, key)
		time.Sleep(untilAgain)
		s.set(func() { s.read = hang })
		c := newCrowd(t, p)
		c.ask(10, func(i int) string { return atDigest("app", fmt.Sprint(i)) })
		time.Sleep(p.options.VerifyTimeout)
		for key, want := range map[string]ratify.Code{key: ratify.LastKnownGood, atDigest("app", "another"): ratify.Overloaded} {
			began := time.Now()
			if got := codeOf(t, p, key); got != want || time.Since(began) != 0 {
				t.Errorf("%s after %v, want %s at once", got, time.Since(began), want)
			}
		}
		c.all.Wait()
	})
}
