//go:build !linux

package world

import (
	"errors"
	"syscall"
	"time"
)

// childAttributes are for Linux, where alone anything is measured.
func childAttributes() *syscall.SysProcAttr { return nil }

func cpuTime(int) (time.Duration, error) {
	return 0, errors.New("processor time is read on Linux alone")
}
