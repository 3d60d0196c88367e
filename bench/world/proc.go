package world

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory reads one of the sizes of /proc/PID/status, in bytes.
func memory(pid int, name string) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/%d/status: there is no %s: the process has ended", pid, name)
}
