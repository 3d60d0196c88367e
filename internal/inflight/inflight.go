// Package inflight shares out the memory that may be taken at the same time by what strangers sent: a Budget of bytes, of
// which nobody can have all. Who holds bytes is whoever sends them, for it is he who decides how long they are held. Begin at
// Budget.Take.
package inflight

import (
	"container/list"
	"context"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/publicsuffix"
)

// shareFactor times the bytes that are free is what one may hold. By such a dynamic threshold switches share their buffers:
// one alone has three quarters of all, n that never end leave one part in 3n+1 to the others.
const shareFactor = 3

// A Budget is a number of bytes. It is safe for concurrent use.
type Budget struct {
	mu      sync.Mutex
	free    int64
	held    map[string]int64
	waiting *list.List // of *turn; none of them could take now
}

// A turn is somebody who waits.
type turn struct {
	who   string
	bytes int64
	taken chan struct{}
}

// New returns a budget of so many bytes.
func New(bytes int64) *Budget {
	return &Budget{free: bytes, held: map[string]int64{}, waiting: list.New()}
}

// Try takes bytes for who, if he may have them now.
func (b *Budget) Try(who string, bytes int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(who, bytes)
}

// Take takes bytes for who, and waits for them until ctx ends, whose error it returns then. Whoever waits while he holds others
// must bound his wait: all could wait for one another.
func (b *Budget) Take(ctx context.Context, who string, bytes int64) error {
	b.mu.Lock()
	if b.take(who, bytes) {
		b.mu.Unlock()
		return nil
	}
	t := &turn{who: who, bytes: bytes, taken: make(chan struct{})}
	e := b.waiting.PushBack(t)
	b.mu.Unlock()
	select {
	case <-t.taken:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	b.waiting.Remove(e) // does nothing where the turn has just come
	b.mu.Unlock()
	select {
	case <-t.taken:
		b.Give(who, bytes)
	default:
	}
	return ctx.Err()
}

// take is called under mu.
func (b *Budget) take(who string, bytes int64) bool {
	if bytes == 0 {
		return true // at the end of what is read there is nothing to wait for, nor anything to note
	}
	if b.held[who]+bytes > shareFactor*(b.free-bytes) {
		return false
	}
	b.free -= bytes
	b.held[who] += bytes
	return true
}

// Give gives back bytes that who has taken, to those whose turn has come.
func (b *Budget) Give(who string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += bytes
	if b.held[who] -= bytes; b.held[who] == 0 {
		delete(b.held, who)
	}
	var next *list.Element
	for e := b.waiting.Front(); e != nil && b.free > 0; e = next {
		next = e.Next()
		if t := e.Value.(*turn); b.take(t.who, t.bytes) {
			b.waiting.Remove(e)
			close(t.taken)
		}
	}
}

// Owner tells who decides about a registry's host, host or host:port: its domain, for who owns one has any number of names
// below it, and of ports. Where a registrar registers domains is the public suffix list's to say; what that does not know goes
// by its last two names. An IPv6 address goes by its site, which has 2^80 of them.
func Owner(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return site(address)
	}
	host = strings.TrimSuffix(host, ".")
	suffix := registered(host)
	below := strings.TrimSuffix(strings.TrimSuffix(host, suffix), ".")
	if below == "" {
		return host
	}
	return below[strings.LastIndexByte(below, '.')+1:] + "." + suffix
}

// siteBits is how much of an IPv6 address tells one site from another: a /48 is the most that one is commonly given, for the
// asking (RFC 6177).
const siteBits = 48

// site is the address itself, or of a public IPv6 address the prefix of its site.
func site(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	if address.Is4() || !address.IsGlobalUnicast() || address.IsPrivate() {
		return address.String()
	}
	return netip.PrefixFrom(address, siteBits).Masked().String()
}

// registered is the suffix of a host under which a registrar registers domains, such as com and co.uk. Those under which a
// company hands out names of its own are not meant: they cost nothing.
func registered(host string) string {
	for {
		suffix, official := publicsuffix.PublicSuffix(host)
		_, parent, more := strings.Cut(suffix, ".")
		if official || !more {
			return suffix
		}
		host = parent
	}
}
