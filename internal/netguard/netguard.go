// Package netguard decides which network addresses may be dialled for names that somebody else chose: a registry in an
// image reference, a token server in a challenge, a responder in a certificate.
//
// The decision is made where it cannot be raced: on the address that the socket is about to be connected to, after name
// resolution, once for each address tried. A name that resolves to a public address when it is looked at and to a
// private one when it is dialled gains nothing. Begin at DialContext.
package netguard

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// dialTimeout bounds name resolution and connecting together: three times the one second after which TCP sends a lost
// SYN again. A caller's deadline that comes first wins.
const dialTimeout = 3 * time.Second

// keepAlive finds out that the other end is gone before a connection has been idle for as long as a pool keeps it.
const keepAlive = 30 * time.Second

// A ForbiddenError says that a dial was refused before a packet was sent.
type ForbiddenError struct {
	// Address is the address that was about to be dialled.
	Address string
	// Class is what kind of address it is, in words for a message.
	Class string
	// Private tells whether allowPrivate would have allowed it.
	Private bool
}

// Error names the address and its class.
func (e *ForbiddenError) Error() string {
	return fmt.Sprintf("dial %s: %s addresses are not allowed", e.Address, e.Class)
}

// DialContext returns a dial function for TCP that refuses, with a *ForbiddenError, addresses that are not globally
// reachable: loopback, private (RFC 1918, unique local, shared address space), documentation, benchmarking, reserved,
// and every other entry of the IANA special-purpose registries (RFC 6890) that is not global. allowPrivate allows
// loopback and private addresses, but never link-local ones, the metadata services of clouds, multicast, broadcast or
// the unspecified address. Addresses that carry an IPv4 address (mapped, NAT64, 6to4) are judged by what they carry.
// Resolving and connecting take at most 3 s together.
func DialContext(allowPrivate bool) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		Timeout:   dialTimeout,
		KeepAlive: keepAlive,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			return check(network, address, allowPrivate)
		},
	}
	return dialer.DialContext
}

func check(network, address string, allowPrivate bool) error {
	// A path of a Unix socket would not be an address at all, and a datagram is nothing that HTTP is spoken over.
	if !strings.HasPrefix(network, "tcp") {
		return &ForbiddenError{Address: address, Class: network}
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &ForbiddenError{Address: address, Class: "unreadable"}
	}
	return Check(at.Addr(), allowPrivate)
}

// Check judges one address as DialContext does, for an address that somebody else will dial (a proxy). The error is a
// *ForbiddenError.
func Check(addr netip.Addr, allowPrivate bool) error {
	class, verdict := classify(addr)
	if verdict == public || verdict == private && allowPrivate {
		return nil
	}
	return &ForbiddenError{Address: addr.String(), Class: class, Private: verdict == private}
}

// CheckHost judges the host of a URL that somebody else will resolve, a proxy: a literal address as Check does, and a name
// by what every resolver makes of it without asking. Other names are the resolver's own matter. The error is a
// *ForbiddenError.
func CheckHost(host string, allowPrivate bool) error {
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return Check(addr, allowPrivate)
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	switch {
	case strings.Contains(host, ":"), isNumber(last):
		// 127.1, 0x7f.0.0.1, 017700000001: inet_aton(3) reads them as addresses, and no domain ends in a number.
		return &ForbiddenError{Address: host, Class: "unreadable"}
	case last == "localhost" && !allowPrivate: // RFC 6761 section 6.3
		return &ForbiddenError{Address: host, Class: "loopback", Private: true}
	case host == "metadata.google.internal":
		return &ForbiddenError{Address: host, Class: "cloud metadata"}
	}
	return nil
}

// isNumber tells a label that is a number as inet_aton(3) reads it, or would be but for its size.
func isNumber(label string) bool {
	digits, hex := strings.CutPrefix(label, "0x")
	for _, r := range digits {
		if (r < '0' || r > '9') && (!hex || r < 'a' || r > 'f') {
			return false
		}
	}
	return label != ""
}

type verdict int

const (
	public  verdict = iota
	private         // allowed by allowPrivate
	never
)

type block struct {
	prefix  netip.Prefix
	class   string
	verdict verdict
}

// blocks returns the ranges that are not public, the most specific first where they overlap. The source is the IANA
// IPv4 and IPv6 special-purpose address registries; metadata services are added, for they hand out credentials to
// whoever can send a request, and an operator who allows private addresses does not mean them.
func blocks() []block {
	table := func(class string, v verdict, prefixes ...string) []block {
		list := make([]block, len(prefixes))
		for i, p := range prefixes {
			list[i] = block{netip.MustParsePrefix(p), class, v}
		}
		return list
	}
	var all []block
	for _, list := range [][]block{
		table("cloud metadata", never,
			"100.100.100.200/32", // Alibaba Cloud
			"168.63.129.16/32",   // Azure, a public address that only its virtual machines reach
			"192.0.0.192/32",     // Oracle Cloud
			"fd00:ec2::254/128",  // AWS
			"fd20:ce::254/128",   // Google Cloud
		),
		table("link-local", never, "169.254.0.0/16", "fe80::/10"),
		table("unspecified", never, "0.0.0.0/8", "::/128"),
		table("multicast", never, "224.0.0.0/4", "ff00::/8"),
		table("broadcast", never, "255.255.255.255/32"),
		table("loopback", private, "127.0.0.0/8", "::1/128"),
		table("private", private, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10", "64:ff9b:1::/48"),
		table("documentation", private, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
		table("benchmarking", private, "198.18.0.0/15", "2001:2::/48"),
		table("reserved", private, "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4"),
		// Teredo (2001::/32) is within 2001::/23; a tunnel carries its packets to an address that is not looked at here.
		table("reserved", never, "2001::/23"),
	} {
		all = append(all, list...)
	}
	return all
}

// classify names the class of an address and says whether it may be dialled.
func classify(addr netip.Addr) (class string, v verdict) {
	addr = addr.WithZone("").Unmap()
	inner, carries := embedded(addr)
	if carries {
		// What a translator or a tunnel will connect to in the end decides, whichever way leads there.
		class, v = classify(inner)
	}
	for _, b := range blocks() {
		if b.prefix.Contains(addr) && b.verdict >= v {
			return b.class, b.verdict
		}
	}
	if carries {
		return class, v
	}
	// Of IPv6 only 2000::/3 is handed out (RFC 4291 §2.4); the rest is unassigned, or an obsolete form such as ::/96.
	if addr.Is6() && !netip.MustParsePrefix("2000::/3").Contains(addr) {
		return "reserved", never
	}
	return "", public
}

// embedded returns the IPv4 address that an IPv6 address carries: NAT64 (RFC 6052, and RFC 8215 with the common
// 96 bit layout), 6to4 (RFC 3056).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(addr), netip.MustParsePrefix("64:ff9b:1::/48").Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case netip.MustParsePrefix("2002::/16").Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}
