package oras

import (
	"context"
	"errors"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// limiter is a registry's token bucket.
type limiter struct {
	rate, burst float64
	header      string // Retry-After; empty: none

	mu               sync.Mutex
	level            float64
	at               time.Time
	accepted, denied int
	deniedLate       int           // after
	early            time.Duration // in which the limit is looked for
	began            time.Time
}

func (l *limiter) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.at.IsZero() {
		l.at, l.began, l.level = now, now, l.burst
	}
	l.level = min(l.burst, l.level+l.rate*now.Sub(l.at).Seconds())
	l.at = now
	if l.level < 1 {
		l.denied++
		if now.Sub(l.began) > l.early {
			l.deniedLate++
		}
		return false
	}
	l.level--
	l.accepted++
	return true
}

// slowly makes what is accepted take longer than a refusal.
func slowly(by time.Duration, limit func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if limit(w, r) {
			return true
		}
		time.Sleep(by)
		return false
	}
}

// limit puts the limiter in front of a registry.
func (l *limiter) limit(delay time.Duration) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		time.Sleep(delay) // of the bubble's clock
		if l.take() {
			return false
		}
		if l.header == "" {
			return answer(429, "", nil)(w, r)
		}
		return answer(429, "", nil, "Retry-After", l.header)(w, r)
	}
}

// pipes is a listener in memory, so that a server and its clients can share the clock of a bubble.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}
func (*pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var anyRepository = regexp.MustCompile(`^/v2/[^/]+/`)

// inMemory serves the registry within a bubble, under any name of a repository, and gives a store that reaches it.
func inMemory(t *testing.T, f *fakeRegistry) *Store {
	t.Helper()
	listener := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = anyRepository.ReplaceAllString(r.URL.Path, "/v2/app/")
		f.ServeHTTP(w, r)
	})}
	go server.Serve(listener)
	f.host = "127.0.0.1:5000"
	store := newStore(t, Deps{}, Registry{Host: f.host, PlainHTTP: true, AllowPrivate: true})
	transport := store.entries[0].client.direct.many
	transport.DialContext = listener.dial
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return store
}

// verifyImage asks for what an image with one signature needs: its manifest beside its referrers, a manifest, a blob.
func verifyImage(ctx context.Context, store *Store, c fixture, name string) error {
	repo, _, err := store.Open(ctx, ratify.Subject{Repository: name})
	if err != nil {
		return err
	}
	var both errgroup.Group
	both.Go(func() error { return resolveDigest(ctx, repo, c) })
	both.Go(func() error { return listReferrers(ctx, repo, c) })
	if err := both.Wait(); err != nil {
		return err
	}
	if err := fetchManifest(ctx, repo, c); err != nil {
		return err
	}
	return fetchBlob(ctx, repo, c)
}

// A registry that limits its clients is used up to its limit, and none of the work fails for it.
func TestLimitedRegistry(t *testing.T) {
	for _, tc := range []struct {
		name           string
		rate, burst    float64
		header         string
		images, atOnce int
		delay          time.Duration
		slower         time.Duration // what is accepted than what is refused
		within         float64       // times the time that the limit implies
	}{
		{"20 a second, 48 images at once", 20, 20, "1", 200, 48, 2 * time.Millisecond, 0, 1.1},
		{"20 a second, 200 images at once", 20, 20, "1", 200, 200, 2 * time.Millisecond, 0, 1.1},
		{"20 a second, one at a time", 20, 1, "1", 200, 48, 2 * time.Millisecond, 0, 1.2},
		{"20 a second in bursts of 5, slow", 20, 5, "1", 200, 48, 50 * time.Millisecond, 0, 1.2},
		{"20 a second, without Retry-After", 20, 20, "", 200, 48, 2 * time.Millisecond, 0, 1.2},
		{"20 a second, without Retry-After, refusals are quicker", 20, 20, "", 200, 200, 2 * time.Millisecond, 100 * time.Millisecond, 1.2},
		{"20 a second, Retry-After 0", 20, 20, "0", 200, 48, 2 * time.Millisecond, 0, 1.2},
		{"2 a second", 2, 4, "1", 25, 25, 2 * time.Millisecond, 0, 1.2},
		{"100 a second", 100, 100, "1", 1000, 200, 2 * time.Millisecond, 0, 1.2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFixture()
				implied := time.Duration(float64(4*tc.images) / tc.rate * float64(time.Second))
				l := &limiter{rate: tc.rate, burst: tc.burst, header: tc.header, early: implied / 4}
				f := &fakeRegistry{content: c.content(), before: slowly(tc.slower, l.limit(tc.delay))}
				store := inMemory(t, f)
				began := time.Now()
				var mu sync.Mutex
				var ends []time.Duration
				var work errgroup.Group
				work.SetLimit(tc.atOnce)
				for i := range tc.images {
					work.Go(func() error {
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						err := verifyImage(ctx, store, c, f.host+"/image"+strconv.Itoa(i))
						mu.Lock()
						defer mu.Unlock()
						ends = append(ends, time.Since(began))
						return err
					})
				}
				if err := work.Wait(); err != nil {
					t.Error(err)
				}
				took := time.Since(began)
				ratio := float64(took) / float64(implied)
				half := ends[len(ends)/2]
				late := float64(l.deniedLate) / float64(l.accepted)
				t.Logf("took %v, %.2f of %v; %d accepted, %d refused, %d of them late; half of the images done after %v", took, ratio, implied, l.accepted, l.denied, l.deniedLate, half)
				if half > took*2/3 {
					t.Errorf("half of the images are done after %v of %v: they wait for one another", half, took)
				}
				if ratio > tc.within {
					t.Errorf("took %.2f times the time that the limit implies, want at most %.2f", ratio, tc.within)
				}
				if late > 0.1 {
					t.Errorf("%.1f %% of the requests are refused in the long run, want at most 10 %%", 100*late)
				}
			})
		})
	}
}

// bubble runs a test with a registry in memory and a clock of its own.
func bubble(t *testing.T, before func(http.ResponseWriter, *http.Request) bool, test func(t *testing.T, f *fakeRegistry, store *Store, c fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newFixture()
		f := &fakeRegistry{content: c.content(), before: before}
		test(t, f, inMemory(t, f), c)
	})
}

// The registry's word is taken where the work lasts until then, and else the answer comes at once.
func TestWaitForALimit(t *testing.T) {
	for _, tc := range []struct {
		name     string
		status   int
		after    string
		times    int           // how often it is refused
		deadline time.Duration // of the work; 0: none
		want     ratify.Code
		took     time.Duration
		requests int
	}{
		{name: "429, a second", status: 429, after: "1", times: 1, deadline: time.Minute, took: time.Second, requests: 2},
		{name: "429, a minute, no deadline", status: 429, after: "60", times: 1, took: time.Minute, requests: 2},
		{name: "429, longer than a minute", status: 429, after: "61", times: 1, want: ratify.RateLimited, requests: 1},
		{name: "429, longer than the work", status: 429, after: "20", times: 1, deadline: 19 * time.Second, want: ratify.RateLimited, requests: 1},
		{name: "429, longer than a request may take", status: 429, after: "45", times: 1, deadline: time.Minute, took: 45 * time.Second, requests: 2},
		{name: "429, a date", status: 429, after: "Sat, 01 Jan 2000 00:00:07 GMT", times: 1, took: 7 * time.Second, requests: 2}, // the bubble's clock begins in 2000
		{name: "503, a second", status: 503, after: "1", times: 1, deadline: time.Minute, took: time.Second, requests: 2},
		{name: "503, an hour", status: 503, after: "3600", times: 1, deadline: time.Minute, want: ratify.RegistryUnavailable, requests: 1},
		{name: "429 for ever, a second", status: 429, after: "1", times: 1 << 20, deadline: time.Minute, want: ratify.RateLimited, took: 33 * time.Second, requests: maxSends},
		{name: "429 for ever, a second, no deadline", status: 429, after: "1", times: 1 << 20, want: ratify.RateLimited, took: 33 * time.Second, requests: maxSends},
		{name: "429 for ever, it does not say", status: 429, times: 1 << 20, deadline: time.Minute, want: ratify.RateLimited, took: minPause, requests: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var count atomic.Int64
			bubble(t, func(w http.ResponseWriter, r *http.Request) bool {
				return count.Add(1) <= int64(tc.times) && answer(tc.status, "", nil, "Retry-After", tc.after)(w, r)
			}, func(t *testing.T, f *fakeRegistry, store *Store, c fixture) {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if tc.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
				}
				defer cancel()
				began := time.Now()
				err := resolveTag(ctx, open(t, store, f.repository()), c)
				checkFailure(t, err, tc.want)
				if took := time.Since(began); took < tc.took || took > tc.took+tc.took/10 {
					t.Errorf("took %v, want %v", took, tc.took)
				}
				if n := len(f.seen()); n != tc.requests {
					t.Errorf("%d requests, want %d", n, tc.requests)
				}
			})
		})
	}
}

// In the time that a registry has set for itself nobody asks it, and whoever cannot wait is told at once.
func TestWhileARegistryIsLeftAlone(t *testing.T) {
	began := time.Time{}
	bubble(t, func(w http.ResponseWriter, r *http.Request) bool {
		return time.Since(began) < 10*time.Second && answer(429, "", nil, "Retry-After", "10")(w, r)
	}, func(t *testing.T, f *fakeRegistry, store *Store, c fixture) {
		began = time.Now()
		var steps []string
		first := make(chan error)
		go func() {
			ctx := ratify.WithProgress(t.Context(), func(step string) { steps = append(steps, step) })
			first <- resolveTag(ctx, open(t, store, f.repository()), c)
		}()
		synctest.Wait()
		if len(steps) == 0 || !strings.Contains(steps[len(steps)-1], "limits requests") {
			t.Errorf("steps %q do not say what is waited for", steps)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		checkFailure(t, resolveTag(ctx, open(t, store, f.repository()), c), ratify.RateLimited)
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %v, want at once", took)
		}
		// One whose caller goes away leaves its place.
		gone, leave := context.WithCancel(t.Context())
		second := make(chan error)
		go func() { second <- resolveTag(gone, open(t, store, f.repository()), c) }()
		synctest.Wait()
		leave()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
		pace := pacerOf(store, f)
		if n := pace.length(); n != 1 {
			t.Errorf("%d wait, want one", n)
		}
		// Another credential is another account.
		other := newSession(store.entryFor(f.host), f.host, "app", auth.Credential{Username: "u", Password: "p"}, store.deps)
		asked := len(f.seen())
		err := other.get(ctx, other.origin+"/v2/app/manifests/v1", "*/*", func(*http.Response) error { return nil })
		if err == nil || len(f.seen()) != asked+1 {
			t.Errorf("error %v, %d requests, want it to be asked", err, len(f.seen())-asked)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		// A minute later nothing is held back.
		time.Sleep(2 * time.Minute)
		if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil || pace.epoch.Load() != 0 {
			t.Errorf("error %v, epoch %d, want that the limit is forgotten", err, pace.epoch.Load())
		}
	})
}

func (p *pacer) length() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.Len()
}

func pacerOf(store *Store, f *fakeRegistry) *pacer {
	return newSession(store.entryFor(f.host), f.host, "app", auth.EmptyCredential, store.deps).pace
}

// Requests are sent in the order of their numbers, then of their arrival, and one that was refused does not lose its place.
func TestOrderOfTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		early := turn{number: 1}
		if err := p.await(t.Context(), &early, func() { t.Error("waits before there is a limit") }); err != nil {
			t.Fatal(err)
		}
		p.refuse(&early, time.Second)
		var mu sync.Mutex
		var order []string
		var work sync.WaitGroup
		queue := func(name string, place *turn) {
			work.Go(func() {
				if err := p.await(t.Context(), place, func() {}); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			})
			synctest.Wait()
		}
		queue("second", &turn{number: 3})
		queue("first", &turn{number: 2})
		queue("early", &early)
		time.Sleep(1050 * time.Millisecond) // early is sent, and no other yet
		p.refuse(&early, time.Second)
		queue("last", &turn{number: 4})
		queue("third", &turn{number: 3})
		queue("early again", &early)
		work.Wait()
		if got := strings.Join(order, ", "); got != "early, early again, first, second, third, last" {
			t.Errorf("order %s", got)
		}
	})
}

// The requests that wait are bounded.
func TestTooManyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		p.refuse(&turn{}, time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		for range maxWaiting {
			go func() { _ = p.await(ctx, &turn{}, func() {}) }()
		}
		synctest.Wait()
		if err := p.await(ctx, &turn{}, func() {}); !errors.Is(err, errTooManyWait) {
			t.Errorf("error %v, want %v", err, errTooManyWait)
		}
		cancel()
		synctest.Wait()
		if n := p.length(); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}

// A registry that refuses everything is asked a few times a minute, however many wait for it.
func TestRegistryThatRefusesAllForALimit(t *testing.T) {
	for name, after := range map[string]string{"with a time": "1", "without": ""} {
		t.Run(name, func(t *testing.T) { refusesAll(t, after) })
	}
}

func refusesAll(t *testing.T, after string) {
	bubble(t, answer(429, "", nil, "Retry-After", after), func(t *testing.T, f *fakeRegistry, store *Store, c fixture) {
		const atOnce = 48
		var work errgroup.Group
		var waited atomic.Int64
		for i := range atOnce {
			work.Go(func() error {
				began := time.Now()
				defer func() {
					if time.Since(began) > 20*time.Second {
						waited.Add(1)
					}
				}()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				checkFailure(t, resolveTag(ctx, open(t, store, f.host+"/image"+strconv.Itoa(i)), c), ratify.RateLimited)
				return nil
			})
		}
		_ = work.Wait()
		if n := len(f.seen()); n > atOnce+10 {
			t.Errorf("%d requests for %d images, want a few more", n, atOnce)
		}
		// A minute has room for four requests with the longest pause between them: who is behind them waits for nothing.
		if n := waited.Load(); n > 8 {
			t.Errorf("%d of %d images waited for their turn, which does not come", n, atOnce)
		}
	})
}

// A token server's limit is its own, and is waited for as well.
func TestTokenServerThatLimits(t *testing.T) {
	var refused atomic.Bool
	s := &shortLived{life: time.Minute}
	bubble(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" && refused.CompareAndSwap(false, true) {
			return answer(429, "", nil, "Retry-After", "40")(w, r)
		}
		return s.handle(w, r)
	}, func(t *testing.T, f *fakeRegistry, store *Store, c fixture) {
		began := time.Now()
		if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 40*time.Second || took > 45*time.Second {
			t.Errorf("took %v, want what the token server said", took)
		}
	})
}

// Programs that know nothing of one another share a limit, and none of their work fails for it.
func TestLimitThatIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const programs, images, rate = 3, 67, 20
		c := newFixture()
		l := &limiter{rate: rate, burst: rate, header: "1", early: 10 * time.Second}
		began := time.Now()
		var all errgroup.Group
		for range programs {
			f := &fakeRegistry{content: c.content(), before: l.limit(2 * time.Millisecond)}
			store := inMemory(t, f)
			for i := range images {
				all.Go(func() error {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					return verifyImage(ctx, store, c, f.host+"/image"+strconv.Itoa(i))
				})
			}
		}
		if err := all.Wait(); err != nil {
			t.Error(err)
		}
		took, implied := time.Since(began), time.Duration(4*programs*images)*time.Second/rate
		t.Logf("took %v, %.2f of %v; %d accepted, %d refused, %d of them late", took, float64(took)/float64(implied), implied, l.accepted, l.denied, l.deniedLate)
		if took > implied*13/10 {
			t.Errorf("took %v where the limit implies %v", took, implied)
		}
		if l.deniedLate*10 > l.accepted {
			t.Errorf("%d of %d requests are refused in the long run, want at most a tenth", l.deniedLate, l.accepted)
		}
	})
}
