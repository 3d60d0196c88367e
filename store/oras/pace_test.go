package oras

import (
	"context"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

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
	transport := store.entries[0].client.direct
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
		within         float64 // times the time that the limit implies
	}{
		{"20 a second, 48 images at once", 20, 20, "1", 200, 48, 2 * time.Millisecond, 1.1},
		{"20 a second, 200 images at once", 20, 20, "1", 200, 200, 2 * time.Millisecond, 1.1},
		{"20 a second, one at a time", 20, 1, "1", 200, 48, 2 * time.Millisecond, 1.2},
		{"20 a second in bursts of 5, slow", 20, 5, "1", 200, 48, 50 * time.Millisecond, 1.2},
		{"20 a second, without Retry-After", 20, 20, "", 200, 48, 2 * time.Millisecond, 1.2},
		{"20 a second, Retry-After 0", 20, 20, "0", 200, 48, 2 * time.Millisecond, 1.2},
		{"2 a second", 2, 4, "1", 25, 25, 2 * time.Millisecond, 1.2},
		{"100 a second", 100, 100, "1", 1000, 200, 2 * time.Millisecond, 1.2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newFixture()
				implied := time.Duration(float64(4*tc.images) / tc.rate * float64(time.Second))
				l := &limiter{rate: tc.rate, burst: tc.burst, header: tc.header, early: implied / 4}
				f := &fakeRegistry{content: c.content(), before: l.limit(tc.delay)}
				store := inMemory(t, f)
				began := time.Now()
				var work errgroup.Group
				work.SetLimit(tc.atOnce)
				for i := range tc.images {
					work.Go(func() error {
						ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
						return verifyImage(ctx, store, c, f.host+"/image"+strconv.Itoa(i))
					})
				}
				if err := work.Wait(); err != nil {
					t.Error(err)
				}
				took := time.Since(began)
				ratio := float64(took) / float64(implied)
				late := float64(l.deniedLate) / float64(l.accepted)
				t.Logf("took %v, %.2f of %v; %d accepted, %d refused, %d of them late", took, ratio, implied, l.accepted, l.denied, l.deniedLate)
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
