package oras

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ratify-provider/ratify"
)

// anyPath lets a fake serve its repository under further names.
func anyPath(next func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if next != nil && next(w, r) {
			return true
		}
		r.URL.Path = anyRepository.ReplaceAllString(r.URL.Path, "/v2/app/")
		return false
	}
}

// readBoth asks for the manifest and the referrers at the same time, as the engine does.
func readBoth(t *testing.T, store *Store, c fixture, name string) error {
	t.Helper()
	repo := open(t, store, name)
	var both errgroup.Group
	both.Go(func() error { return resolveTag(t.Context(), repo, c) })
	both.Go(func() error { return listReferrers(t.Context(), repo, c) })
	return both.Wait()
}

// After the first one, a repository costs a token and nothing else more than one that needs none.
func TestFirstRequestToAFurtherRepository(t *testing.T) {
	for _, tc := range []struct {
		name, scope     string // with the path for PATH
		query           string
		requests, token int // for the manifest and the referrers of a further repository
	}{
		{"scope of the repository", "repository:PATH:pull", "", 2, 1},
		{"no scope", "", "", 2, 1},
		{"a scope of another form", "aws", "", 2, 1},
		{"scopes that write", "repository:PATH:pull,push", "", 2, 1},
		{"scope of another name for the repository", "repository:hosted/PATH:pull", "", 4, 1},
		{"realm with a query", "", "?for=PATH", 4, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f, s, entry := withTokens(t, c, "", anyToken)
			f.before = anyPath(func(w http.ResponseWriter, r *http.Request) bool {
				path := strings.Split(r.URL.Path, "/")[2]
				s := s.server.URL + "/token" + strings.ReplaceAll(tc.query, "PATH", path)
				return r.Header.Get("Authorization") == "" &&
					answer(401, "", nil, "Www-Authenticate", bearer(s, strings.ReplaceAll(tc.scope, "PATH", path)))(w, r)
			})
			store := newStore(t, Deps{}, entry)
			if err := readBoth(t, store, c, f.repository()); err != nil {
				t.Fatal(err)
			}
			requests, tokens := len(f.seen()), len(s.seen())
			if err := readBoth(t, store, c, f.host+"/further"); err != nil {
				t.Fatal(err)
			}
			if n, m := len(f.seen())-requests, len(s.seen())-tokens; n > tc.requests || m != tc.token {
				t.Errorf("%d requests and %d tokens, want %d and %d: %q", n, m, tc.requests, tc.token, f.seen()[requests:])
			}
			last := s.seen()[tokens]
			if !strings.Contains(last.query, "further%3Apull") || strings.Contains(last.query, "push") || strings.Contains(last.query, "app%3A") {
				t.Errorf("the token is asked for with %q", last.query)
			}
		})
	}
}

// Parts of a registry may have token servers of their own, at a realm with the part's name, and forbid what has a token of
// another: what one asks for is not remembered for the others.
func TestRealmOfAPart(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	s.answer = func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"token":%q}`, strings.Split(r.URL.Path, "/")[1])
	}
	f.before = anyPath(func(w http.ResponseWriter, r *http.Request) bool {
		part := strings.Split(r.URL.Path, "/")[2]
		switch r.Header.Get("Authorization") {
		case "Bearer " + part:
			return false
		case "":
			return answer(401, "", nil, "Www-Authenticate", bearer(s.server.URL+"/"+part+"/token", ""))(w, r)
		}
		return answer(403, "", nil)(w, r)
	})
	store := newStore(t, Deps{}, entry)
	for _, part := range []string{"one", "other", "one", "third"} {
		if err := readBoth(t, store, c, f.host+"/"+part); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// lookedDownUpon wants tokens of a token server, and gives a status to whoever has the one named old.
func lookedDownUpon(status int, next *tokenServer) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer old" {
			return answer(status, "", nil)(w, r)
		}
		return next.wantToken("", anyToken)(w, r)
	}
}

// Tokens of a token server that was replaced are kept for repositories that are in use: each of them is asked for anew.
func TestKeptTokensOfAnotherTokenServer(t *testing.T) {
	c := newFixture()
	f, old, entry := withTokens(t, c, "", anyToken)
	next := newTokenServer(t)
	entry.CAFile = caFile(t, f.server, old.server, next.server)
	entry.AuthHosts = append(entry.AuthHosts, next.server.Listener.Addr().String())
	old.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"old"}`) }
	f.before = anyPath(f.before)
	store := newStore(t, Deps{}, entry)
	names := []string{"one", "another", "third"}
	for _, name := range names {
		checkFailure(t, resolveTag(t.Context(), open(t, store, f.host+"/"+name), c), "")
	}
	f.before = anyPath(lookedDownUpon(404, next))
	for _, name := range names {
		checkFailure(t, resolveTag(t.Context(), open(t, store, f.host+"/"+name), c), "")
	}
}

// Whoever asks for what is not there does not make the registry tell its challenge each time.
func TestMissingImagesRaiseNoDoubt(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	store := newStore(t, Deps{}, entry)
	repo := open(t, store, f.repository())
	checkFailure(t, resolveTag(t.Context(), repo, c), "")
	requests, asks := len(f.seen()), len(s.seen())
	const missing = 20
	for i := range missing {
		_, err := repo.Resolve(t.Context(), fmt.Sprint("missing", i))
		checkFailure(t, err, ratify.SubjectNotFound)
	}
	if n, m := len(f.seen())-requests, len(s.seen())-asks; n != missing+1 || m != 0 {
		t.Errorf("%d requests and %d tokens for %d missing images, want one more and none", n, m, missing)
	}
}

// What is remembered of a registry's challenge is given up when it does not hold any more, within the same read.
func TestRememberedChallengeIsOutdated(t *testing.T) {
	for _, tc := range []struct {
		name           string
		change         func(f *fakeRegistry, old, next *tokenServer)
		want           ratify.Code
		requests, asks int // at most: to the registry, and for tokens, for one read of a further repository
		after          int // requests to the registry for one of yet another
	}{
		{name: "another token server, the old one is gone", requests: 2, asks: 2, after: 1, change: func(f *fakeRegistry, old, next *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }
			f.before = anyPath(next.wantToken("", anyToken))
		}},
		{name: "another token server, the old one's tokens are refused", requests: 3, asks: 2, after: 1, change: func(f *fakeRegistry, old, next *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"old"}`) }
			f.before = anyPath(next.wantToken("", func(token string) bool { return token != "old" }))
		}},
		{name: "another token server, the old one's tokens may see nothing", requests: 3, asks: 2, after: 1, change: func(f *fakeRegistry, old, next *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"old"}`) }
			f.before = anyPath(lookedDownUpon(403, next))
		}},
		{name: "another token server, nothing is there for the old one's tokens", requests: 3, asks: 2, after: 1, change: func(f *fakeRegistry, old, next *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"old"}`) }
			f.before = anyPath(lookedDownUpon(404, next))
		}},
		{name: "no tokens any more, and the old ones may see nothing", requests: 2, asks: 1, after: 1, change: func(f *fakeRegistry, _, _ *tokenServer) {
			f.before = anyPath(func(w http.ResponseWriter, r *http.Request) bool {
				return r.Header.Get("Authorization") != "" && answer(404, "", nil)(w, r)
			})
		}},
		{name: "no tokens any more", requests: 1, asks: 1, after: 1, change: func(f *fakeRegistry, old, _ *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
			f.before = anyPath(nil)
		}},
		{name: "a password instead", requests: 2, asks: 1, after: 1, change: func(f *fakeRegistry, old, _ *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
			f.before = anyPath(func(w http.ResponseWriter, r *http.Request) bool {
				return r.Header.Get("Authorization") != basicAuth(plantedUser, plantedSecret) && answer(401, "", nil, "Www-Authenticate", `Basic realm="x"`)(w, r)
			})
		}},
		{name: "a token server that is not allowed", requests: 2, asks: 1, want: ratify.RegistryNotAllowed, change: func(f *fakeRegistry, old, _ *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
			f.before = answer(401, "", nil, "Www-Authenticate", bearer("https://192.0.2.1/token", ""))
		}},
		// What follows is as it would be without what is remembered.
		{name: "a token server that is down", requests: 1, asks: 1, want: ratify.RegistryUnavailable, change: func(_ *fakeRegistry, old, _ *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
		}},
		{name: "a credential that is refused", requests: 1, asks: 1, want: ratify.RegistryAuth, change: func(_ *fakeRegistry, old, _ *tokenServer) {
			old.answer = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }
		}},
		{name: "a repository that is refused", requests: 1, asks: 1, want: ratify.RegistryAuth, change: func(f *fakeRegistry, old, _ *tokenServer) {
			f.before = old.wantToken("", func(string) bool { return false })
		}},
		{name: "a registry that is down", requests: 1, asks: 1, want: ratify.RegistryUnavailable, change: func(f *fakeRegistry, _, _ *tokenServer) {
			f.before = answer(500, "", nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f, old, entry := withTokens(t, c, "", anyToken)
			next := newTokenServer(t)
			entry.CAFile = caFile(t, f.server, old.server, next.server)
			entry.AuthHosts = append(entry.AuthHosts, next.server.Listener.Addr().String())
			entry.Credentials = Sources{{Username: plantedUser, Password: plantedSecret}}
			f.before = anyPath(f.before)
			store := newStore(t, Deps{}, entry)
			if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
				t.Fatal(err)
			}
			tc.change(f, old, next)
			requests, asks := len(f.seen()), len(old.seen())+len(next.seen())
			checkFailure(t, resolveTag(t.Context(), open(t, store, f.host+"/further"), c), tc.want)
			n, m := len(f.seen())-requests, len(old.seen())+len(next.seen())-asks
			if n > tc.requests || m > tc.asks {
				t.Errorf("%d requests, %d for tokens, want at most %d and %d", n, m, tc.requests, tc.asks)
			}
			if tc.want != "" {
				return
			}
			requests = len(f.seen())
			checkFailure(t, resolveTag(t.Context(), open(t, store, f.host+"/another"), c), "")
			if n := len(f.seen()) - requests; n != tc.after {
				t.Errorf("%d requests for another one, want %d", n, tc.after)
			}
		})
	}
}

// A configuration that does not allow a token server any more is not led there by what was remembered under another.
func TestRememberedChallengeIsCheckedAgain(t *testing.T) {
	c := newFixture()
	f, s, entry := withTokens(t, c, "", anyToken)
	pool := NewPool()
	if err := resolveTag(t.Context(), open(t, newStore(t, Deps{Pool: pool}, entry), f.repository()), c); err != nil {
		t.Fatal(err)
	}
	before := len(s.seen())
	entry.AuthHosts = nil
	err := resolveTag(t.Context(), open(t, newStore(t, Deps{Pool: pool}, entry), f.repository()), c)
	checkFailure(t, err, ratify.RegistryNotAllowed)
	if n := len(s.seen()) - before; n != 0 {
		t.Errorf("%d requests to a token server that is not allowed", n)
	}
}

// shortLived is a registry in memory with its own token server, whose tokens really end.
type shortLived struct {
	life   time.Duration
	says   string        // expires_in, as it is written; empty: it does not say
	delay  time.Duration // of the token server
	down   atomic.Bool
	mu     sync.Mutex
	issued []time.Time
	denied int
}

func (s *shortLived) handle(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/token" {
		time.Sleep(s.delay)
		if s.down.Load() {
			return answer(500, "", nil)(w, r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.issued = append(s.issued, time.Now())
		fmt.Fprintf(w, `{"token":"%d"%s}`, len(s.issued)-1, s.says)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int
	_, err := fmt.Sscanf(r.Header.Get("Authorization"), "Bearer %d", &n)
	if err == nil && n < len(s.issued) && time.Since(s.issued[n]) < s.life {
		return false
	}
	s.denied++
	return answer(401, "", nil, "Www-Authenticate", bearer("http://"+r.Host+"/token", ""))(w, r)
}

// A token that is in use is renewed before it ends: nobody waits for the next one, and no request is spent on one that has
// ended. One that is not in use is not renewed.
func TestTokensAreRenewed(t *testing.T) {
	const pause = 5 * time.Second
	for _, tc := range []struct {
		name   string
		life   time.Duration
		says   string
		tokens int // in ten minutes
	}{
		{"five minutes", 5 * time.Minute, `,"expires_in":300`, 3},
		{"not said, which means a minute", time.Minute, ``, 14},
		{"text for a number", time.Minute, `,"expires_in":"300"`, 14},
		{"negative", time.Minute, `,"expires_in":-1`, 14},
		{"longer than it is believed", 1 << 60, `,"expires_in":1e300`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFixture()
				s := &shortLived{life: tc.life, says: tc.says, delay: 2 * time.Second}
				f := &fakeRegistry{content: c.content(), before: s.handle}
				store := inMemory(t, f)
				read := func() time.Duration {
					began := time.Now()
					if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
						t.Fatal(err)
					}
					return time.Since(began)
				}
				read()
				for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(pause) {
					if waited := read(); waited > 0 {
						t.Errorf("a read took %v, %v after the first", waited, time.Since(began))
					}
				}
				if s.denied != 1 || len(s.issued) > tc.tokens {
					t.Errorf("%d requests in vain and %d tokens, want 1 and at most %d", s.denied, len(s.issued), tc.tokens)
				}
				// After a rest there is a new one, and the old one is not tried.
				issued := len(s.issued)
				time.Sleep(2 * time.Hour)
				read()
				synctest.Wait()
				if s.denied != 1 || len(s.issued) != issued+1 {
					t.Errorf("%d requests in vain and %d tokens after a rest, want 1 and one more than %d", s.denied, len(s.issued), issued)
				}
			})
		})
	}
}

// A renewal that fails changes nothing for as long as the token lives.
func TestRenewalThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFixture()
		s := &shortLived{life: time.Minute}
		f := &fakeRegistry{content: c.content(), before: s.handle}
		store := inMemory(t, f)
		read := func() error { return resolveTag(t.Context(), open(t, store, f.repository()), c) }
		if err := read(); err != nil {
			t.Fatal(err)
		}
		s.down.Store(true)
		requests := 0
		for range 50 {
			time.Sleep(time.Second)
			if err := read(); err != nil {
				t.Fatal(err)
			}
			requests++
		}
		synctest.Wait()
		if n := len(f.seen()) - requests; n > 12 {
			t.Errorf("%d requests beside the reads, want a few", n)
		}
		s.down.Store(false)
		for range 100 {
			time.Sleep(time.Second)
			if err := read(); err != nil {
				t.Fatal(err)
			}
		}
		if s.denied > 1 {
			t.Errorf("%d requests in vain, want 1", s.denied)
		}
	})
}

// The wait for a token has a time of its own, and ends with whoever waits.
func TestSlowTokenServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFixture()
		s := &shortLived{life: time.Minute, delay: 20 * time.Second}
		f := &fakeRegistry{content: c.content(), before: func(w http.ResponseWriter, r *http.Request) bool {
			if s.handle(w, r) {
				return true
			}
			time.Sleep(5 * time.Second)
			return false
		}}
		store := inMemory(t, f)
		transport := store.entries[0].client.direct.many
		transport.ResponseHeaderTimeout = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := resolveTag(ctx, open(t, store, f.repository()), c); err == nil || time.Since(began) != time.Second {
			t.Errorf("error %v after %v, want one after a second", err, time.Since(began))
		}
		if err := resolveTag(t.Context(), open(t, store, f.repository()), c); err != nil {
			t.Error(err)
		}
		if len(s.issued) != 1 {
			t.Errorf("%d tokens, want one for both", len(s.issued))
		}
	})
}
