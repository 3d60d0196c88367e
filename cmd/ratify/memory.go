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

// limitMemory gives the garbage collector the bound that the process's control groups set: Go asks them how many processors
// it may use, but not how much memory. GOMEMLIMIT and GOGC in the environment win.
func limitMemory(log *zap.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if limit, ok := memoryLimit(os.DirFS("/")); ok {
		bound := limit / 100 * memoryPercent
		debug.SetMemoryLimit(bound)
		log.Info("memory is bounded", zap.Int64("limit", limit), zap.Int64("collectorLimit", bound))
	}
}

// lookEvery is how often it is looked whether the process is at rest and holds garbage. Go itself collects once in two minutes
// then, and until that keeps the memory that a rush of work took.
const lookEvery = 5 * time.Second

// restingGarbage is what a process at rest may hold of garbage: a collection takes some milliseconds of a processor, which a
// few scrapes of the metrics are not worth.
const restingGarbage = 2 << 20

// giveBack collects garbage and returns free memory to the system whenever the process is at rest, until ctx ends.
func giveBack(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for last := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		collections, garbage := heap()
		if collections == last && garbage > restingGarbage {
			debug.FreeOSMemory()
			collections++
		}
		last = collections
	}
}

// heap tells how often there was a collection, and how many bytes have been allocated since the last one.
func heap() (collections, garbage uint64) {
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	held, live := samples[1].Value.Uint64(), samples[2].Value.Uint64()
	return samples[0].Value.Uint64(), held - min(held, live)
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
