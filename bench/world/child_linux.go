package world

import "syscall"

// childAttributes keep the terminal's Ctrl-C from the child, which is ended in its turn, and end it if this process is
// killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
