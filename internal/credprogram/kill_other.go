//go:build !unix

package credprogram

import "os/exec"

// killTogether has no process groups here; the program itself is killed.
func killTogether(*exec.Cmd) {}

func killRest(*exec.Cmd) {}
