//go:build unix && !linux

package program

import "syscall"

// childAttributes keep the terminal's Ctrl-C from the child, which is ended in its turn.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
