package resources

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// usage is what a process holds.
type usage struct {
	rss, heap         int64 // bytes
	kept              int64 // of the heap, what its caches say that they hold, each within its bound
	working           int   // images that it still works on
	goroutines, files int
	collected         time.Time // when its garbage was, the last time
}

func (u usage) max(v usage) usage {
	return usage{rss: max(u.rss, v.rss), heap: max(u.heap, v.heap), kept: v.kept, working: v.working,
		goroutines: max(u.goroutines, v.goroutines), files: max(u.files, v.files), collected: v.collected}
}

// String is for people.
func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB beside %.1f in caches, %d goroutines, %d descriptors", float64(u.heap-u.kept)/(1<<20), float64(u.kept)/(1<<20), u.goroutines, u.files)
}

// sampleEvery is often enough for heap and goroutines: peaks of RSS are kept by the system.
const sampleEvery = 150 * time.Millisecond

// look reads what the process holds now, from the system and from its own page of metrics.
func (t *target) look(ctx context.Context) (usage, error) {
	u := usage{}
	var err error
	if u.rss, err = t.status("VmRSS"); err != nil {
		return u, err
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", t.provider.PID()))
	if err != nil {
		return u, err
	}
	u.files = len(files)
	return u, t.metrics(ctx, &u)
}

// status reads one of the sizes of /proc/PID/status, in bytes.
func (t *target) status(name string) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", t.provider.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("there is no %s of the process: it has ended", name)
}

// forgetPeak makes VmHWM begin anew (proc(5), clear_refs).
func (t *target) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", t.provider.PID()), []byte("5"), 0)
}

// metrics reads heap and goroutines from the program's own page.
func (t *target) metrics(ctx context.Context, u *usage) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.provider.HealthAddress+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := t.world.plain.Do(req)
	if err != nil {
		return fmt.Errorf("read the program's metrics: %w", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
		case name == "go_memstats_heap_alloc_bytes":
			u.heap = int64(value)
		case name == "go_memstats_last_gc_time_seconds":
			u.collected = time.Unix(0, int64(value*1e9))
		case name == "go_goroutines":
			u.goroutines = int(value)
		case name == "ratify_cache_bytes", name == `ratify_content_cache_bytes{level="memory"}`:
			u.kept += int64(value)
		case name == "ratify_work_in_progress":
			u.working = int(value)
		}
	}
	if u.heap == 0 || u.goroutines == 0 {
		return fmt.Errorf("the program's metrics do not say what it holds")
	}
	return nil
}

// watch looks at the process until stop is called, which returns the most of each.
func (t *target) watch(ctx context.Context) (stop func() (usage, error)) {
	ctx, cancel := context.WithCancel(ctx)
	var most usage
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			if u, err := t.look(ctx); err == nil {
				most = most.max(u)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return func() (usage, error) {
		cancel()
		watching.Wait()
		peak, err := t.status("VmHWM")
		most.rss = max(most.rss, peak)
		return most, err
	}
}
