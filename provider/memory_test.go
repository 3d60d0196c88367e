package provider

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
)

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func liveBytes() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	return heapBytes()
}

// TestMemoryUnderAttack: 64 callers ask at once for 64 images each, whose reports are as long as they can be; and, once
// they are gone, what they took is free again.
func TestMemoryUnderAttack(t *testing.T) {
	const callers, rounds, peakBound = 64, 3, 256 << 20
	f := newFace(t, "")
	f.provider.options.VerifyTimeout = patience
	keys := make([]string, maxKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("reg.example/wordy:%d@%s", i, digest.FromString(fmt.Sprint(i)))
	}
	f.provider.options.Log = zap.NewNop() // the observer would keep all records
	handler, body := f.provider.Handler(), requestBody(keys...)
	var bytes atomic.Int64
	post := func() {
		request := httptest.NewRequest(http.MethodPost, VerifyPath, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		w := &discarding{header: http.Header{}}
		handler.ServeHTTP(w, request)
		bytes.Add(w.written)
	}
	post()
	baseline := liveBytes()
	ctx, cancel := context.WithCancel(t.Context())
	peak := make(chan int64)
	go func() {
		most := int64(0)
		for ctx.Err() == nil {
			most = max(most, heapBytes())
			time.Sleep(time.Millisecond)
		}
		peak <- most
	}()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range rounds {
				post()
			}
		})
	}
	all.Wait()
	cancel()
	if most := <-peak; most > peakBound {
		t.Errorf("%d MiB at most", most>>20)
	}
	if n := bytes.Load(); n < callers*rounds*maxKeys*maxReportBytes/2 {
		t.Errorf("%d MiB answered: the test does not test", n>>20)
	}
	if after := liveBytes(); after > baseline*6/5+1<<20 {
		t.Errorf("%d bytes live afterwards, %d before", after, baseline)
	}
}

type discarding struct {
	header  http.Header
	written int64
}

func (d *discarding) Header() http.Header { return d.header }
func (d *discarding) WriteHeader(int)     {}
func (d *discarding) Write(p []byte) (int, error) {
	d.written += int64(len(p))
	return len(p), nil
}

// TestManyImagesInBoundedMemory: what is kept of many verified images is what is counted, within 15 %, as the heap has it;
// and no more than it may be. A hundred thousand are what has been measured; under the race detector they take a minute.
func TestManyImagesInBoundedMemory(t *testing.T) {
	for _, c := range []struct {
		name    string
		images  int
		bound   int64
		evicted bool
	}{{"all fit", 15_000, 64 << 20, false}, {"few fit", 10_000, 8 << 20, true}} {
		t.Run(c.name, func(t *testing.T) {
			r := &paced{result: signed}
			g := r.provider(t, fmt.Sprintf("cache: {maxBytes: %d, maxEntries: 1000000}", c.bound)).current.Load()
			before := liveBytes()
			for i := range c.images {
				s := ratify.Subject{Repository: "registry.example/team/service", Digest: digest.Digest(fmt.Sprintf("sha256:%064x", i))}
				if _, err := g.look(t.Context(), &flight{subject: s, key: verdictKey(s)}, nil); err != nil {
					t.Fatal(err)
				}
			}
			r.verified = nil // the registry's own
			held, stats := liveBytes()-before, g.cached()
			t.Logf("%d bytes held for each of %d, %d counted", held/int64(stats.Entries), stats.Entries, stats.Bytes/int64(stats.Entries))
			if held > stats.Bytes*115/100 || held < stats.Bytes*85/100 {
				t.Errorf("%d bytes held, %d counted", held, stats.Bytes)
			}
			if stats.Bytes > c.bound || stats.Evicted > 0 != c.evicted || !c.evicted && stats.Entries != c.images {
				t.Errorf("%+v", stats)
			}
			runtime.KeepAlive(g)
		})
	}
}

// signed is what a verifier says of a signature: who signed it, and with what.
func signed(string) (ratify.Result, error) {
	return ratify.Result{Passed: true, NotAfter: time.Now().Add(24 * time.Hour), Extensions: map[string]any{
		"signer": "CN=release,OU=platform,O=Example Corporation,L=Berlin,C=DE", "issuer": "CN=Example Code Signing CA 3,O=Example Corporation,C=DE",
		"signingTime": "2026-01-02T03:04:05Z", "certificate": "sha256:" + strings.Repeat("ab", 32),
	}}, nil
}
