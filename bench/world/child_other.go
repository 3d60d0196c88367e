//go:build !linux

package world

import "syscall"

// childAttributes are for Linux, where alone anything is measured.
func childAttributes() *syscall.SysProcAttr { return nil }
