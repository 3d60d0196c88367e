//go:build unix

package credprogram

import (
	"os/exec"
	"syscall"
)

// killTogether puts a program into a process group of its own, all of which is killed when its time is over: a shell
// script's children would live on otherwise.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// killRest kills what a program that has ended left behind.
func killRest(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
	}
}
