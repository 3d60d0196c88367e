package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"
)

// TestMemoryLimit: the least limit of the groups that the process is in counts, of both versions of control groups.
func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64 // 0: none
	}{
		{"no Linux", nil, 0},
		{"version 2, in a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "268435456\n"}, 256 << 20},
		{"version 2, no limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 2, a service with a limit around it", map[string]string{
			"proc/self/cgroup":                                     "0::/system.slice/ratify.service\n",
			"sys/fs/cgroup/system.slice/memory.max":                "1000000\n",
			"sys/fs/cgroup/system.slice/ratify.service/memory.max": "2000000\n",
		}, 1_000_000},
		{"version 2, a path of another namespace", map[string]string{"proc/self/cgroup": "0::/../other\n", "sys/fs/cgroup/memory.max": "4096\n"}, 4096},
		{"version 1, mounted as the root", map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/kubepods/pod1\n4:memory:/kubepods/pod1\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "512\n",
			"sys/fs/cgroup/cpu/kubepods/pod1/memory.max": "1\n",
			"sys/fs/cgroup/kubepods/pod1/memory.max":     "2\n",
		}, 512},
		{"version 1, no limit", map[string]string{"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"nothing that is understood", map[string]string{"proc/self/cgroup": "\nx\n0::/\n", "sys/fs/cgroup/memory.max": "-1\n"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range tt.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got, ok := memoryLimit(root); ok != (tt.want > 0) || ok && got != tt.want {
				t.Errorf("got %d, %t; want %d", got, ok, tt.want)
			}
		})
	}
}

// TestCollectorBound: what is garbage takes no more than is usual, what is live has room, and nothing goes beyond the limit.
func TestCollectorBound(t *testing.T) {
	for _, tt := range []struct {
		name       string
		live, most int64
		want       int64
	}{
		{"little is live", 30 << 20, 400 << 20, usualBytes},
		{"all that is usual is live", 150 << 20, 400 << 20, usualBytes},
		{"a larger cache is full", 240 << 20, 400 << 20, 316 << 20},
		{"more is live than there is room for", 380 << 20, 400 << 20, 400 << 20},
		{"a smaller container", 30 << 20, 100 << 20, 100 << 20},
		{"no limit", 1 << 30, math.MaxInt64, 1296 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := collectorBound(tt.live, tt.most); got != tt.want {
				t.Errorf("%d MiB, want %d MiB", got>>20, tt.want>>20)
			}
		})
	}
}

// TestRestGivesBack: a process at rest collects what it does not need any more, long before Go would.
func TestRestGivesBack(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		garbage := make([]byte, 4*restingGarbage)
		runtime.KeepAlive(garbage)
		begin := readHeap().collections
		tended := make(chan struct{})
		go func() {
			defer close(tended)
			tendMemory(ctx, math.MaxInt64)
		}()
		time.Sleep(restTime - tendEvery)
		if got := readHeap().collections; got != begin {
			t.Errorf("%d collections before it is at rest", got-begin)
		}
		time.Sleep(3 * tendEvery)
		if readHeap().collections == begin {
			t.Error("nothing is collected at rest")
		}
		cancel()
		<-tended
	})
}
