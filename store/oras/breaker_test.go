package oras

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

// changes keeps what a breaker tells.
type changes struct {
	mu  sync.Mutex
	all []BreakerChange
}

func (c *changes) add(change BreakerChange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, change)
}

func (c *changes) told() []BreakerChange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]BreakerChange(nil), c.all...)
}

// outage is a way in which a server can be away: for its connections, or for its requests.
type outage struct {
	name   string
	dial   func(ctx context.Context) error
	before func(http.ResponseWriter, *http.Request) bool
	words  string
}

func outages() []outage {
	return []outage{
		{name: "refused", words: "refused the connection", dial: func(context.Context) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}},
		{name: "black hole", words: "did not answer in time", dial: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(3 * time.Second): // dialTimeout of netguard
				return &net.OpError{Op: "dial", Net: "tcp", Err: context.DeadlineExceeded}
			}
		}},
		{name: "name gone", words: "name cannot be resolved", dial: func(context.Context) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "registry.example", IsNotFound: true}}
		}},
		{name: "500", words: "answered 500", before: answer(500, "", nil)},
		{name: "503", words: "answered 503", before: answer(503, "", nil)},
		{name: "reset", words: "cut its answer short", before: reset},
		{name: "silence", words: "did not answer in time", before: func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }},
	}
}

// world is a registry in memory that can be away, in the bubble's time.
type world struct {
	fake  *fakeRegistry
	store *Store
	c     fixture
	away  atomic.Bool
	dials atomic.Int64
	told  *changes
}

// sent is how often the registry was asked for something, or a connection to it tried that did not come about.
func (w *world) sent() int { return len(w.fake.seen()) + int(w.dials.Load()) }

func (w *world) signs() (n int) {
	for _, line := range w.fake.seen() {
		if line == "GET "+versionPath {
			n++
		}
	}
	return n
}

// inOutage runs a test in a world whose registry is away as o says while away is set.
func inOutage(t *testing.T, o outage, test func(t *testing.T, w *world)) {
	t.Helper()
	w := &world{told: &changes{}}
	before := func(rw http.ResponseWriter, r *http.Request) bool {
		return o.before != nil && w.away.Load() && o.before(rw, r)
	}
	bubble(t, before, func(t *testing.T, f *fakeRegistry, store *Store, c fixture) {
		w.fake, w.store, w.c = f, store, c
		store.deps.Breaker = w.told.add
		transport := store.entries[0].client.direct.many
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if o.dial != nil && w.away.Load() {
				w.dials.Add(1)
				return nil, o.dial(ctx)
			}
			return dial(ctx, network, address)
		}
		if o.dial != nil {
			transport.DisableKeepAlives = true // or the connection of before would go on to serve
		}
		test(t, w)
		store.deps.Pool.breakers.forgetAll()
		synctest.Wait()
	})
}

// forgetAll ends all breakers, whose timers would outlive a bubble.
func (all *breakers) forgetAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	for key, b := range all.byKey {
		all.remove(key, b)
	}
}

func (w *world) ask(t *testing.T, name string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	err = resolveTag(ctx, open(t, w.store, w.fake.host+"/"+name), w.c)
	return time.Since(began), err
}

// A server that is away is asked a few times a minute, everybody else is answered at once and told why, and it is used
// again a few seconds after it is back.
func TestServerThatIsAway(t *testing.T) {
	for _, o := range outages() {
		t.Run(o.name, func(t *testing.T) {
			inOutage(t, o, func(t *testing.T, w *world) {
				w.away.Store(true)
				for range 100 {
					if changes := w.told.told(); len(changes) > 0 {
						break
					}
					if _, err := w.ask(t, "app"); err == nil {
						t.Fatal("a registry that is away answered")
					}
					time.Sleep(200 * time.Millisecond)
				}
				changes := w.told.told()
				if len(changes) != 1 || !changes[0].Open || changes[0].OpenInClass != 1 || changes[0].HostClass != w.fake.host || !strings.Contains(changes[0].Cause, o.words) {
					t.Fatalf("told %+v, want one that is open because it %s", changes, o.words)
				}

				before, began, asked := w.sent(), time.Now(), 0
				for ; time.Since(began) < 10*time.Minute; asked++ {
					took, err := w.ask(t, "image"+fmt.Sprint(asked))
					checkFailure(t, err, ratify.RegistryUnavailable)
					if errors.Is(err, errBreakerOpen) && took > probeWait {
						t.Fatalf("it took %v to say that the registry is away", took)
					}
					if errors.Is(err, errBreakerOpen) && (!strings.Contains(err.Error(), "its breaker is open") || !strings.Contains(err.Error(), o.words) || !strings.Contains(err.Error(), "since 2000-")) {
						t.Fatalf("error %q does not say what is the matter", err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				if n, most := w.sent()-before, int(time.Since(began)/(maxProbePause*3/4))+10; n > most || n < most/4 {
					t.Errorf("%d requests for %d images in ten minutes, want some, and at most %d", n, asked, most)
				}

				w.away.Store(false)
				back := time.Now()
				for {
					if _, err := w.ask(t, "app"); err == nil {
						break
					}
					if time.Since(back) > 2*maxProbePause*5/4+signTimeout {
						t.Fatal("a registry that is back is not used again")
					}
					time.Sleep(100 * time.Millisecond)
				}
				changes = w.told.told()
				if last := changes[len(changes)-1]; len(changes) != 2 || last.Open || last.OpenInClass != 0 {
					t.Errorf("told %+v, want an end", changes[1:])
				}
			})
		})
	}
}

// A repository's owner can make every request for it fail. The registry is asked for others all the same, also where nobody
// has asked for another since.
func TestBadRepositoryOpensNoBreaker(t *testing.T) {
	for _, o := range outages() {
		if o.before == nil {
			continue // who owns a repository has no say in connections
		}
		t.Run(o.name, func(t *testing.T) {
			bad := func(rw http.ResponseWriter, r *http.Request) bool {
				return r.Header.Get("Accept") != "" && o.before(rw, r) // the sign of life alone has none
			}
			inOutage(t, outage{before: bad}, func(t *testing.T, w *world) {
				w.away.Store(true)
				const calls = 60
				began := time.Now()
				for range calls {
					var many errgroup.Group
					for i := range 8 {
						many.Go(func() error {
							_, err := w.ask(t, "bad"+fmt.Sprint(i))
							checkFailure(t, err, ratify.RegistryUnavailable)
							if errors.Is(err, errBreakerOpen) {
								t.Error("requests are refused although the registry lives")
							}
							return nil
						})
					}
					_ = many.Wait()
					time.Sleep(100 * time.Millisecond)
				}
				w.away.Store(false)
				if _, err := w.ask(t, "good"); err != nil || len(w.told.told()) > 0 {
					t.Errorf("the registry's other repository: %v; told %v", err, w.told.told())
				}
				// After pauses of 1, 2, 4, ... seconds, at most a minute.
				if n, most := w.signs(), 7+int(time.Since(began)/forgetOpenAfter); n < 1 || n > most {
					t.Errorf("the registry was asked for %d signs of life, want at most %d", n, most)
				}
			})
		})
	}
}

// What is an answer, if not the one wished for, makes nobody suspect.
func TestAnswersOpenNoBreaker(t *testing.T) {
	slow := func(http.ResponseWriter, *http.Request) bool { time.Sleep(headerTimeout - time.Second); return false }
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"401": answer(401, "", nil), "403": answer(403, "", nil), "404": answer(404, "", nil), "429": answer(429, "", nil),
		"503 with a time": answer(503, "", nil, "Retry-After", "3600"), "slow": slow,
	} {
		t.Run(name, func(t *testing.T) {
			inOutage(t, outage{before: before}, func(t *testing.T, w *world) {
				w.away.Store(true)
				for i := range 3 * tripAfter {
					if _, err := w.ask(t, "app"+fmt.Sprint(i)); errors.Is(err, errBreakerOpen) {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
				}
				if n := w.signs(); n > 0 || len(w.told.told()) > 0 {
					t.Errorf("asked for %d signs of life, told %v", n, w.told.told())
				}
			})
		})
	}
}

// A registry without an answer at versionPath is used again, too.
func TestServerThatGivesNoSign(t *testing.T) {
	silent := func(rw http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path == versionPath && answer(500, "", nil)(rw, r)
	}
	var all atomic.Bool
	inOutage(t, outage{before: func(rw http.ResponseWriter, r *http.Request) bool {
		return all.Load() && answer(500, "", nil)(rw, r) || silent(rw, r)
	}}, func(t *testing.T, w *world) {
		w.away.Store(true)
		all.Store(true)
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(100 * time.Millisecond) {
			_, _ = w.ask(t, "app")
		}
		if len(w.told.told()) != 1 {
			t.Fatalf("told %v, want that it is away", w.told.told())
		}
		all.Store(false)
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			if _, err := w.ask(t, "app"); err == nil {
				return
			}
			if time.Since(began) > 2*maxProbePause*5/4 {
				t.Fatal("it is not used again")
			}
		}
	})
}

// The requests of one image are sent at the same time, and the first of them is the probe for the others.
func TestRequestsWaitForTheProbe(t *testing.T) {
	inOutage(t, outages()[0], func(t *testing.T, w *world) {
		w.away.Store(true)
		for len(w.told.told()) == 0 {
			_, _ = w.ask(t, "app")
			time.Sleep(200 * time.Millisecond)
		}
		w.away.Store(false)
		time.Sleep(2 * minProbePause)
		if err := verifyImage(t.Context(), w.store, w.c, w.fake.host+"/app"); err != nil {
			t.Error(err)
		}
	})
}

// The caller's end, and what this process lacks or refuses, are nothing that a server has done.
func TestOutcomeOfARequest(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		err  error
		want outcome
	}{
		"refused":                {t.Context(), syscall.ECONNREFUSED, gotFailure},
		"the caller's end":       {ended, context.Canceled, gotNothing},
		"the end, whatever else": {ended, syscall.ECONNREFUSED, gotNothing},
		"no file descriptors":    {t.Context(), &net.OpError{Op: "dial", Err: syscall.EMFILE}, gotNothing},
		"no ports":               {t.Context(), &net.OpError{Op: "dial", Err: syscall.EADDRNOTAVAIL}, gotNothing},
		"an address refused":     {t.Context(), forbiddenAddress(t), gotNothing},
	} {
		t.Run(name, func(t *testing.T) {
			if o, _, _ := outcomeOf(tc.ctx, nil, tc.err); o != tc.want {
				t.Errorf("outcome %d, want %d", o, tc.want)
			}
		})
	}
}

func forbiddenAddress(t *testing.T) error {
	t.Helper()
	c, err := newClient(clientSettings{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.direct.many.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	return err
}

// A probe that panics is over as well.
func TestProbeThatPanics(t *testing.T) {
	inOutage(t, outages()[0], func(t *testing.T, w *world) {
		w.away.Store(true)
		for len(w.told.told()) == 0 {
			_, _ = w.ask(t, "app")
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(2 * minProbePause)
		c := w.store.entries[0].client
		choose := c.proxyFor
		c.proxyFor = nil
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it does not panic")
				}
			}()
			_, _ = w.ask(t, "app")
		}()
		c.proxyFor = choose
		w.away.Store(false)
		time.Sleep(3 * minProbePause)
		if _, err := w.ask(t, "app"); err != nil {
			t.Error(err)
		}
	})
}

// A server that this process and it do not agree with about certificates is away for good, and the words stay.
func TestServerWithAForeignCertificate(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	repo := openFake(t, f, func(r *Registry) { r.CAFile = "" })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(minOutage / 10) {
		err := resolveTag(t.Context(), repo, c)
		checkFailure(t, err, ratify.RegistryUnavailable)
		var e *ratify.Error
		if errors.As(err, &e); !strings.Contains(e.Message, "no trusted authority") || !strings.Contains(e.Remedy, "caFile") {
			t.Fatalf("error %+v does not say what is the matter", e)
		}
		if errors.Is(err, errBreakerOpen) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it is asked for ever")
		}
	}
}

// A breaker is one server's as it is reached by some settings, whoever asks: a tenant has no network of its own, and a host
// that a registry redirects to is not the registry.
func TestWhoseABreakerIs(t *testing.T) {
	pool := NewPool()
	at := func(cred auth.Credential, r Registry, address string) string {
		store := newStore(t, Deps{Pool: pool}, r)
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return newSession(store.entries[0], "registry.example", "app", cred, store.deps).gate(u).key
	}
	plain := Registry{Host: "registry.example"}
	own := at(auth.EmptyCredential, plain, "https://registry.example/v2/app/manifests/1")
	for name, tc := range map[string]struct {
		key  string
		same bool
	}{
		"another credential":  {at(auth.Credential{Username: "u", Password: "p"}, plain, "https://registry.example/v2/other/blobs/x"), true},
		"the port spelled":    {at(auth.EmptyCredential, plain, "https://registry.example:443/v2/"), true},
		"another port":        {at(auth.EmptyCredential, plain, "https://registry.example:444/v2/"), false},
		"a token server":      {at(auth.EmptyCredential, plain, "https://auth.example/token"), false},
		"over another proxy":  {at(auth.EmptyCredential, Registry{Host: "registry.example", Proxy: "http://proxy.example"}, "https://registry.example/v2/"), false},
		"private ones, too":   {at(auth.EmptyCredential, Registry{Host: "registry.example", AllowPrivate: true}, "https://registry.example/v2/"), false},
		"a host of redirects": {at(auth.EmptyCredential, plain, "https://cdn.example/x"), false},
	} {
		if (tc.key == own) != tc.same {
			t.Errorf("%s: the same breaker: %t, want %t", name, tc.key == own, tc.same)
		}
	}
}

// Nobody asks for a server any more: nothing says for ever that it is away.
func TestBreakerIsForgotten(t *testing.T) {
	inOutage(t, outages()[0], func(t *testing.T, w *world) {
		w.away.Store(true)
		for len(w.told.told()) == 0 {
			_, _ = w.ask(t, "app")
			time.Sleep(200 * time.Millisecond)
		}
		time.Sleep(forgetOpenAfter + 2*minProbePause)
		if changes := w.told.told(); len(changes) != 2 || changes[1].Open || changes[1].OpenInClass != 0 {
			t.Errorf("told %+v", changes)
		}
	})
}

// The hosts of references are anybody's choice.
func TestBreakersAreBounded(t *testing.T) {
	var told changes
	store := newStore(t, Deps{Breaker: told.add})
	s := newSession(store.entryFor("registry.example"), "registry.example", "app", auth.EmptyCredential, store.deps)
	all := store.deps.Pool.breakers
	for i := range maxBreakers + 100 {
		g := gate{session: s, url: &url.URL{Scheme: "https", Host: "registry.example"}, key: fmt.Sprint(i)}
		g.leave(nil, gotFailure, "answered 500", "")
	}
	if n := len(all.byKey); n != maxBreakers {
		t.Errorf("%d breakers, want %d", n, maxBreakers)
	}
	if all.has("0") || !all.has(fmt.Sprint(maxBreakers+99)) {
		t.Error("another one than the oldest went")
	}
}
