package main

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"

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
