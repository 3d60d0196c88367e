package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program"
)

// ErrNoCell says that this system gives no cell: no namespaces, or none that can be made use of.
var ErrNoCell = errors.New("this system gives no namespace to work in")

// The addresses that a cell has beside those of the loopback interface. No packet leaves it.
const (
	// PublicNetwork holds the addresses that a program takes for public ones.
	PublicNetwork = "11.0.0.0/8"
	// MetadataAddress is where clouds hand out credentials.
	MetadataAddress = "169.254.169.254"
	// PrivateAddress is one of RFC 1918.
	PrivateAddress = "10.0.0.1"
	// ResolverAddress is where the lab's Resolver must listen to be asked.
	ResolverAddress = "127.0.0.53:53"
)

// PublicAddress is the nth public address of a cell, n from 1 to 254.
func PublicAddress(n int) string {
	return netip.AddrFrom4([4]byte{11, 0, 0, byte(n)}).String()
}

// exitNoCell is how a program ends that was given namespaces and could not make use of them.
const exitNoCell = 3

// RunCell builds a command of this module, which is a call of CellMain, and runs it in a cell: as root of a user, a network and
// a mount namespace of its own, which has addresses of every kind and leads nowhere, and where names are asked of
// ResolverAddress. It returns the report of the command, or ErrNoCell. pkg is relative to this module's directory.
func RunCell(ctx context.Context, env promise.Env, pkg string) (promise.Report, error) {
	binary, err := buildCell(ctx, env.Dir, pkg)
	if err != nil {
		return promise.Report{}, err
	}
	question, err := json.Marshal(cellEnv{Binary: env.Binary, Dir: env.Dir, Quick: env.Quick, Seed: env.Seed, Worlds: env.Worlds})
	if err != nil {
		return promise.Report{}, err
	}
	command := exec.CommandContext(ctx, binary, string(question))
	command.Stderr = progressWriter(env.Progress)
	if err := isolate(command); err != nil {
		return promise.Report{}, fmt.Errorf("%w: %w", ErrNoCell, err)
	}
	// The system ends the child with the thread that started it, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	output, err := command.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == exitNoCell:
		return promise.Report{}, fmt.Errorf("%w: %s", ErrNoCell, output)
	case errors.As(err, &exit):
		return promise.Report{}, fmt.Errorf("the command in the cell: %w: %s", err, output)
	case err != nil:
		return promise.Report{}, fmt.Errorf("%w: %w", ErrNoCell, err)
	}
	var report promise.Report
	if err := json.Unmarshal(output, &report); err != nil {
		return promise.Report{}, fmt.Errorf("read the report of the cell: %w", err)
	}
	return report, nil
}

// cellEnv is what of a promise.Env goes into a cell.
type cellEnv struct {
	Binary, Dir string
	Quick       bool
	Seed        uint64
	Worlds      int
}

func buildCell(ctx context.Context, dir, pkg string) (string, error) {
	root, err := program.Root()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(dir, "cell"))
	if err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	command.Dir = filepath.Join(root, "test")
	if words, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, words)
	}
	return path, nil
}

// CellMain is the whole of a command that RunCell runs: it settles in the cell, runs, and writes the report.
func CellMain(run func(context.Context, promise.Env) (promise.Report, error)) {
	os.Exit(cellMain(run, os.Args, os.Stdout, os.Stderr))
}

func cellMain(run func(context.Context, promise.Env) (promise.Report, error), args []string, out, progress io.Writer) int {
	var given cellEnv
	if len(args) != 2 || json.Unmarshal([]byte(args[1]), &given) != nil {
		fmt.Fprintln(progress, "this command is run by another one, with what to do as its argument")
		return 2
	}
	if err := settle(given.Dir); err != nil {
		fmt.Fprint(out, err)
		return exitNoCell
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	report, err := run(ctx, promise.Env{
		Binary: given.Binary, Dir: given.Dir, Quick: given.Quick, Seed: given.Seed, Worlds: given.Worlds,
		Progress: func(what string) { fmt.Fprintln(progress, what) },
	})
	if err == nil {
		err = json.NewEncoder(out).Encode(report)
	}
	if err != nil {
		fmt.Fprint(out, err)
		return 1
	}
	return 0
}

// progressWriter hands lines on, as far as somebody wants them.
func progressWriter(tell func(string)) io.Writer {
	if tell == nil {
		return io.Discard
	}
	reader, writer := io.Pipe()
	go func() {
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			tell(lines.Text())
		}
		_, _ = io.Copy(io.Discard, reader) // a line that is too long: the writer must not block on it
	}()
	return writer
}

// Counters are what the kernel counts in a cell. Elsewhere they are those of everybody on the machine.
type Counters struct {
	// Connections is how many were begun, whether or not somebody listened.
	Connections int64
	// NoRoute is how many packets had nowhere to go: they were meant for an address that the cell has not.
	NoRoute int64
}

// ReadCounters reads the kernel's counters, of IPv4; a cell has no IPv6 but ::1.
func ReadCounters() (Counters, error) {
	data, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		return Counters{}, err
	}
	counted := map[string]int64{}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i := 0; i+1 < len(lines); i += 2 { // a line of names, and one of values
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < min(len(names), len(values)); j++ {
			value, err := strconv.ParseInt(values[j], 10, 64)
			if err != nil {
				return Counters{}, fmt.Errorf("read %s of the kernel: %w", names[j], err)
			}
			counted[names[0]+names[j]] = value
		}
	}
	return Counters{Connections: counted["Tcp:ActiveOpens"], NoRoute: counted["Ip:OutNoRoutes"]}, nil
}
