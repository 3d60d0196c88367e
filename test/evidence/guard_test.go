package evidence

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// isolatedVariable tells a run of this test that the network namespace that it is in is its own.
const isolatedVariable = "RATIFY_EVIDENCE_ISOLATED"

// exitNotIsolated is how a run ends that was given a namespace and could not make use of it.
const exitNotIsolated = 3

func isolated() bool { return os.Getenv(isolatedVariable) != "" }

// TestWithoutNetwork runs TestTable once more, in a network namespace of its own that holds the loopback interface and
// nothing else: no connection leads out of it, and the kernel counts each one that is tried.
func TestWithoutNetwork(t *testing.T) {
	if isolated() {
		t.Fatal("this is the run within the namespace, which is for TestTable")
	}
	program, err := os.Executable()
	check(t, err)
	command := exec.CommandContext(t.Context(), program, append([]string{"-test.run=^TestTable$", "-test.v"}, coverageFlags()...)...)
	command.Env = append(os.Environ(), isolatedVariable+"=1", "RATIFY_BINARY="+binaryPath)
	err = isolate(command)
	var output []byte
	if err == nil {
		output, err = command.CombinedOutput()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("in a namespace without a network:\n%s", output)
	case errors.As(err, &exit) && exit.ExitCode() != exitNotIsolated:
		t.Errorf("in a namespace without a network: %v\n%s", err, output)
	default:
		// TestTable has counted what went to the traps on the loopback interface; what went elsewhere nobody has.
		t.Logf("NOT COUNTED: this system gives no network namespace (%v %s): only the traps of TestTable watch connections here", err, output)
	}
	if err == nil && !strings.Contains(string(output), nothingElse) {
		t.Errorf("it does not say that it counted")
	}
}

// nothingElse is what a run says that was counted by the kernel.
const nothingElse = "0 other connections, 0 datagrams, 0 packets without a route"

// A guard tells of connections that nobody has a reason to make: to traps, listeners on the loopback interface at the
// ports where the services of Sigstore, responders, resolvers and scanners would be asked; and, in a namespace of its own,
// any at all, by the kernel's count.
type guard struct {
	traps    []*trap
	counters map[string]int64 // at the beginning
}

// trapPorts are those that only root may listen on, which a run in a namespace is.
var trapPorts = []string{"80", "443", "53"}

func newGuard(t *testing.T) *guard {
	t.Helper()
	g := &guard{}
	addresses := []string{"127.0.0.1:0"}
	if isolated() {
		hosts := []string{"127.0.0.1", "127.0.0.2", "127.0.0.53"}
		if hasIPv6() {
			hosts = append(hosts, "::1")
		}
		for _, host := range hosts {
			for _, port := range trapPorts {
				addresses = append(addresses, net.JoinHostPort(host, port))
			}
		}
	}
	for _, address := range addresses {
		g.traps = append(g.traps, newTrap(t, address))
	}
	if isolated() {
		g.tryOut(t)
	}
	return g
}

// url leads to a trap.
func (g *guard) url() string { return "http://" + g.traps[0].address + "/trap" }

// begin takes what was counted so far out of the count.
func (g *guard) begin(t *testing.T) {
	t.Helper()
	for _, trap := range g.traps {
		trap.forget()
	}
	g.counters = readCounters(t)
}

// end fails the test if there were more connections than ours.
func (g *guard) end(t *testing.T, ours int64) {
	t.Helper()
	counted := readCounters(t)
	for _, trap := range g.traps {
		for _, met := range trap.caught(t) {
			t.Errorf("%s was asked: %s", trap.address, met)
		}
	}
	if !isolated() {
		return
	}
	others := counted[opened] - g.counters[opened] - ours
	datagrams, lost := int64(0), int64(0)
	for _, name := range sent {
		datagrams += counted[name] - g.counters[name]
	}
	for _, name := range unrouted {
		lost += counted[name] - g.counters[name]
	}
	summary := fmt.Sprintf("%d other connections, %d datagrams, %d packets without a route", others, datagrams, lost)
	if summary != nothingElse {
		t.Errorf("beside the %d connections to the registries and the provider there are %s", ours, summary)
		return
	}
	t.Logf("%d connections to the registries and the provider; %s", ours, summary)
}

// tryOut makes one connection of each kind and sees that the guard counts it: one that counts nothing proves nothing.
func (g *guard) tryOut(t *testing.T) {
	t.Helper()
	dialer := &net.Dialer{Timeout: time.Minute}
	tries := []struct{ name, network, address, counter string }{
		{"to a trap", "tcp", g.traps[0].address, opened},
		{"to another port of the loopback interface", "tcp", "127.0.0.1:9", opened},
		{"out, by IPv4", "tcp4", "192.0.2.1:443", unrouted[0]},
		{"by datagram", "udp4", "192.0.2.1:53", unrouted[0]},
		{"out, by IPv6", "tcp6", "[2001:db8::1]:443", unrouted[1]},
	}
	if !hasIPv6() {
		tries = tries[:len(tries)-1]
	}
	for _, try := range tries {
		before := readCounters(t)[try.counter]
		if conn, err := dialer.DialContext(t.Context(), try.network, try.address); err == nil {
			check(t, conn.Close())
		}
		if after := readCounters(t)[try.counter]; after != before+1 {
			t.Fatalf("a connection %s: %s was %d and is %d", try.name, try.counter, before, after)
		}
	}
	before := readCounters(t)[sent[0]]
	if addresses, err := net.DefaultResolver.LookupHost(t.Context(), "rekor.acme.example"); err == nil {
		t.Fatalf("somebody knows rekor.acme.example: %s", addresses)
	}
	if after := readCounters(t)[sent[0]]; after <= before {
		t.Fatal("a lookup sent no datagram")
	}
	var met []string
	for _, trap := range g.traps {
		met = append(met, trap.caught(t)...)
	}
	if !slices.ContainsFunc(met, func(what string) bool { return strings.HasPrefix(what, "a connection") }) ||
		!slices.ContainsFunc(met, func(what string) bool { return strings.Contains(what, "rekor") }) {
		t.Fatalf("the traps have met %q, no connection or no lookup", met)
	}
}

// A trap listens and remembers who came.
type trap struct {
	address string
	mu      sync.Mutex
	met     []string
	changed chan struct{} // holds one notice of a change
}

// newTrap listens on an address; on the port of name servers for datagrams, too.
func newTrap(t *testing.T, address string) *trap {
	t.Helper()
	var listening net.ListenConfig
	listener, err := listening.Listen(t.Context(), "tcp", address)
	check(t, err)
	trap := &trap{address: listener.Addr().String(), changed: make(chan struct{}, 1)}
	var serving sync.WaitGroup
	serving.Go(func() { trap.accept(listener) })
	closers := []func() error{listener.Close}
	if strings.HasSuffix(address, ":53") {
		packets, err := listening.ListenPacket(context.WithoutCancel(t.Context()), "udp", address)
		check(t, err)
		serving.Go(func() { trap.deny(packets) })
		closers = append(closers, packets.Close)
	}
	t.Cleanup(func() {
		for _, end := range closers {
			check(t, end())
		}
		serving.Wait()
	})
	return trap
}

func (trap *trap) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // closed
		}
		trap.note("a connection from " + conn.RemoteAddr().String())
		_ = conn.Close() // whoever came gets nothing
	}
}

// deny tells whoever asks for a name that there is no such name.
func (trap *trap) deny(packets net.PacketConn) {
	const headerBytes, response, noSuchName = 12, 1 << 15, 3 // RFC 1035 §4.1.1
	buffer := make([]byte, 512)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		trap.note(fmt.Sprintf("a lookup of %q", buffer[min(n, headerBytes):n]))
		if n >= headerBytes {
			flags := binary.BigEndian.Uint16(buffer[2:])
			binary.BigEndian.PutUint16(buffer[2:], flags|response|noSuchName)
			_, _ = packets.WriteTo(buffer[:n], from) // who does not hear it asks again
		}
	}
}

func (trap *trap) note(what string) {
	trap.mu.Lock()
	trap.met = append(trap.met, what)
	trap.mu.Unlock()
	select {
	case trap.changed <- struct{}{}:
	default:
	}
}

func (trap *trap) forget() {
	trap.mu.Lock()
	defer trap.mu.Unlock()
	trap.met = nil
}

// caught returns who came. A connection of our own, which comes last and is not counted, shows that all before it were.
func (trap *trap) caught(t *testing.T) []string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", trap.address)
	check(t, err)
	ours := "a connection from " + conn.LocalAddr().String()
	for {
		trap.mu.Lock()
		met := slices.Clone(trap.met)
		trap.mu.Unlock()
		if at := slices.Index(met, ours); at >= 0 {
			check(t, conn.Close())
			return slices.Delete(met, at, at+1)
		}
		select {
		case <-trap.changed:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// The kernel's counters, by their names in /proc/net/snmp and snmp6: connections that were begun, datagrams that were
// sent, packets that had nowhere to go.
const opened = "Tcp.ActiveOpens"

var (
	sent     = []string{"Udp.OutDatagrams", "Udp6OutDatagrams"}
	unrouted = []string{"Ip.OutNoRoutes", "Ip6OutNoRoutes"}
)

// readCounters reads the counters of the namespace; outside of one of our own they say nothing and none are read.
func readCounters(t *testing.T) map[string]int64 {
	t.Helper()
	if !isolated() {
		return nil
	}
	counters := map[string]int64{}
	old, err := os.ReadFile("/proc/self/net/snmp")
	check(t, err)
	lines := strings.Split(strings.TrimSpace(string(old)), "\n")
	for i := 0; i+1 < len(lines); i += 2 { // a line of names, and one of values
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for j := 1; j < len(names); j++ {
			var value int64
			_, err := fmt.Sscan(values[j], &value)
			check(t, err)
			counters[strings.TrimSuffix(names[0], ":")+"."+names[j]] = value
		}
	}
	if !hasIPv6() {
		return counters
	}
	six, err := os.ReadFile("/proc/self/net/snmp6")
	check(t, err)
	for line := range strings.Lines(string(six)) {
		var name string
		var value int64
		_, err := fmt.Sscan(line, &name, &value)
		check(t, err)
		counters[name] = value
	}
	return counters
}

// hasIPv6 tells whether the kernel knows IPv6; where it does not, nothing can be sent by it.
func hasIPv6() bool {
	_, err := os.Stat("/proc/self/net/if_inet6")
	return err == nil
}
