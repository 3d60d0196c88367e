package main

import (
	"context"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// memoryPercent of what the process may use is the collector's bound, as in the chart. What is left is for what Go does not
// count, or overshoots: the program's pages, socket buffers in the kernel, the time between two collections.
const memoryPercent = 80

// garbagePercent lets the heap grow to three times what is live before it is collected; memory's own bound stands before it.
// An answer that is known takes a tenth less processor time so; an idle process does not grow.
const garbagePercent = 200

// usualBytes is the collector's bound while what is live fits into it: the program itself with 2,000 goroutines (40 MiB), full
// caches of content and revocation answers (64 MiB), a quarter of the verdicts (16 MiB), all bytes in flight (64 MiB), and room
// to work. What is garbage is collected before the process takes more, however much it may take: with the program's file in
// memory that is below 256 MiB, whoever attacks.
const usualBytes = 208 << 20

// workShare and workBytes are what the collector's bound leaves above what is live where that is more: a quarter, and what a
// hundred images make in a second. With less the collector would do nothing else.
const (
	workShare = 4
	workBytes = 16 << 20
)

// limitMemory makes the collector frugal, and returns the most that it may let the process have: what the process's control
// groups let it, less a reserve. Go asks them how many processors it may use, but not how much memory. GOMEMLIMIT and GOGC in
// the environment win.
func limitMemory(log *zap.Logger) (most int64) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	most = debug.SetMemoryLimit(-1)
	if os.Getenv("GOMEMLIMIT") == "" {
		if limit, ok := memoryLimit(os.DirFS("/")); ok {
			most = limit / 100 * memoryPercent
			log.Info("memory is bounded", zap.Int64("limit", limit), zap.Int64("collectorLimit", most))
		}
	}
	debug.SetMemoryLimit(collectorBound(0, most))
	return most
}

// collectorBound is the collector's bound while so many bytes are live: full caches are larger with a larger configuration.
func collectorBound(live, most int64) int64 {
	return min(most, max(usualBytes, live+live/workShare+workBytes))
}

const (
	// tendEvery is how often the collector's bound is looked at: a collector that has too little room takes half of the
	// processor's time, for no longer than that.
	tendEvery = time.Second
	// restTime is after how long without a collection the process is at rest. Go itself collects once in two minutes then, and
	// until that keeps the memory that a rush of work took.
	restTime = 5 * time.Second
	// restingGarbage is what a process at rest may hold of garbage: a collection takes some milliseconds of a processor, which
	// a few scrapes of the metrics are not worth.
	restingGarbage = 2 << 20
	// boundStep is the least change of the collector's bound: each stops the process for some microseconds.
	boundStep = 8 << 20
)

// tendMemory moves the collector's bound with what is live, and gives garbage and free memory back to the system whenever the
// process is at rest, until ctx ends.
func tendMemory(ctx context.Context, most int64) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	bound := collectorBound(0, most)
	collected, collections := time.Now(), uint64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h := readHeap()
		if want := collectorBound(h.live, most); max(want-bound, bound-want) >= boundStep {
			debug.SetMemoryLimit(want)
			bound = want
		}
		if h.collections != collections {
			collected, collections = time.Now(), h.collections
		}
		if time.Since(collected) >= restTime && h.held-h.live > restingGarbage {
			debug.FreeOSMemory()
		}
	}
}

// heap is how often there was a collection, and how many bytes it left and are held now.
type heap struct {
	collections uint64
	live, held  int64
}

func readHeap() heap {
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	return heap{samples[0].Value.Uint64(), int64(samples[1].Value.Uint64()), int64(samples[2].Value.Uint64())} //nolint:gosec // no heap has 2^63 bytes
}

// memoryLimit is the least limit, in bytes, of the control groups that the process is in, and of those around them. In a
// container the own group may be mounted as the root, whatever its path outside; so the root is always looked at.
func memoryLimit(root fs.FS) (limit int64, ok bool) {
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false // no Linux
	}
	limit = math.MaxInt64
	for line := range strings.Lines(string(membership)) {
		// hierarchy:controllers:path, as cgroups(7) has it; version 2 has no controllers.
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		mount, file := "sys/fs/cgroup", "memory.max"
		if fields[1] == "memory" {
			mount, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if fields[1] != "" {
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			limit = min(limit, limitIn(root, path.Join(mount, group, file)))
			if group == "/" {
				break
			}
		}
	}
	return limit, limit < noLimit
}

// noLimit is what version 1 writes for none, rounded down to a power of two; version 2 writes max.
const noLimit = 1 << 62

func limitIn(root fs.FS, name string) int64 {
	data, err := fs.ReadFile(root, name)
	if err != nil {
		return math.MaxInt64
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil || limit <= 0 {
		return math.MaxInt64
	}
	return limit
}
