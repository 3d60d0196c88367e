package world

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childAttributes keep the terminal's Ctrl-C from the child, which is ended in its turn, and end it if this process is
// killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// cpuTime is the processor time that a process has used, in user and in system mode: by the clock that the kernel keeps of
// each process (clock_getcpuclockid(3)), since /proc/PID/stat counts in steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	// The clock's number is made of the process's, inverted, and of the kind of clock: 2 is what the scheduler accounted.
	const scheduler = 2
	clock := ^int32(pid)<<3 | scheduler //nolint:gosec // a process's number has 22 bits at most
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
