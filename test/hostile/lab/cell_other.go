//go:build !linux

package lab

import (
	"errors"
	"os/exec"
)

var errNoNamespaces = errors.New("network namespaces are Linux's")

func isolate(*exec.Cmd) error { return errNoNamespaces }

func settle(string) error { return errNoNamespaces }
