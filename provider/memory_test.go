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

// TestManyKeysInBoundedMemory: what the cache holds of a hundred thousand images is what it may hold, as the heap has it.
func TestManyKeysInBoundedMemory(t *testing.T) {
	const bound = 8 << 20
	f := newFace(t, "cache: {maxBytes: 8Mi, maxEntries: 1000000}")
	g := f.provider.current.Load()
	report, err := g.engine.Verify(t.Context(), ratify.Subject{Repository: "reg.example/pass", Digest: digest.FromString("x")})
	if err != nil {
		t.Fatal(err)
	}
	before := liveBytes()
	for i := range 100_000 {
		s := ratify.Subject{Repository: "reg.example/pass", Digest: digest.Digest(fmt.Sprintf("sha256:%064x", i))}
		report.Subject, report.Digest = s.String(), s.Digest
		v, err := newVerdict(report)
		if err != nil {
			t.Fatal(err)
		}
		g.verdicts.Set(verdictKey(s), v, time.Minute)
	}
	held, stats := liveBytes()-before, g.verdicts.Stats()
	if stats.Bytes > bound || held > bound*5/4 || stats.Evicted == 0 {
		t.Errorf("%d bytes held, %+v", held, stats)
	}
	runtime.KeepAlive(g)
}
