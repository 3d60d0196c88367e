package lab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// isolate has the command run as root of a user, a network and a mount namespace of its own.
func isolate(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return nil
}

// settle makes the namespaces a cell: its addresses are there, and names are looked up at the lab's resolver.
func settle(dir string) error {
	for i, address := range []string{"127.0.0.1", PublicAddress(1), MetadataAddress, PrivateAddress} {
		if err := addAddress(i, netip.MustParseAddr(address)); err != nil {
			return fmt.Errorf("add the address %s: %w", address, err)
		}
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	server, _, _ := strings.Cut(ResolverAddress, ":")
	for name, text := range map[string]string{
		"resolv.conf": "nameserver " + server + "\n", "hosts": "127.0.0.1 localhost\n", "nsswitch.conf": "hosts: files dns\n",
	} {
		if err := replace(filepath.Join("/etc", name), filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a file with a text in the place of one of the system's, as far as the system has it.
func replace(path, by, text string) error {
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	if err := os.WriteFile(by, []byte(text), 0o644); err != nil {
		return err
	}
	if err := syscall.Mount(by, path, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return nil
}

// addAddress gives the loopback interface another address (netdevice(7)); the first one is its own and raises it.
func addAddress(n int, addr netip.Addr) error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	name := "lo"
	if n > 0 {
		name += ":" + strconv.Itoa(n)
	}
	address := struct {
		name [syscall.IFNAMSIZ]byte
		syscall.RawSockaddrInet4
		_ [8]byte // the rest of the union
	}{RawSockaddrInet4: syscall.RawSockaddrInet4{Family: syscall.AF_INET, Addr: addr.As4()}}
	copy(address.name[:], name)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFADDR, uintptr(unsafe.Pointer(&address))); errno != 0 {
		return errno
	}
	flags := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte // the rest of the union
	}{flags: syscall.IFF_UP}
	copy(flags.name[:], name)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return errno
	}
	return nil
}
