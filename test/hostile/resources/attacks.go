package resources

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/test/program"
)

// An attack is what 64 attackers do at the same time.
type attack struct {
	name string
	// run attacks until ctx ends, and tells how many questions or connections that came to, and what else is to be known.
	run func(ctx context.Context, t *target) (made int, note string)
}

// batch is how many images most attackers ask about at once: together they fill the provider's queue.
const batch = 16

func attacks() []attack {
	images := func(name, script string) attack { return attack{name, asking(batch, imagesOf(script))} }
	// The largest are asked about one at a time: with a batch of them, what is attacked works on for a minute.
	documents := func(name, script string) attack { return attack{name, asking(1, imagesOf(script))} }
	return []attack{
		{"slow request bodies", connecting((*target).dialTLS, slowBody)},
		{"slow request headers", connecting((*target).dialTLS, slowHeader)},
		{"idle connections", idleConnections},
		{"half handshakes", connecting((*target).dial, halfHandshake)},
		{"HTTP/2 floods", connecting((*target).dialTLS, floodHTTP2)},
		images("endless referrer pages", "pages"),
		images("a million descriptors", "million"),
		images("500 annotated referrers", "annotated"),
		images("evidence manifests of annotations", "manifests"),
		images("image manifests of 4 MiB", "bigmanifest"),
		images("JWS payloads of 1 MiB", "payload"),
		images("JWS of a million dots", "dots"),
		images("COSE ten thousand deep", "deep"),
		images("chains of ten thousand, RSA-65536", "chains"),
		documents("blobs of 16 MiB dripping", "documents/dripping"),
		documents("SBOMs of 16 MiB", "documents/large"),
		documents("SBOMs of 100 MiB", "documents/endless"),
		images("token answers of 1 MiB", "tokens"),
		images("error bodies of 1 MiB", "errors"),
		images("CRLs of 64 MiB", "revocation"),
		{"endless keys", asking(batch, func(t *target, n int64) string { return t.world.hostile.key("plain", fmt.Sprint("k", n), "") })},
		{"endless tags", asking(batch, func(t *target, n int64) string { return t.world.hostile.key("plain", "tags", fmt.Sprint("t", n)) })},
		{"endless registries", asking(batch, func(_ *target, n int64) string {
			return fmt.Sprintf("127.%d.%d.%d:1/app:v1", n>>16&0xff, n>>8&0xff, n&0xff) // refused at dial time
		})},
		{"clients that go away", goingAway},
	}
}

func imagesOf(script string) func(*target, int64) string {
	return func(t *target, n int64) string { return t.world.hostile.key(script, fmt.Sprint(n), "") }
}

// crowd lets the attackers attack until ctx ends.
func crowd(attack func(attacker int)) {
	var all sync.WaitGroup
	for i := range attackers {
		all.Go(func() { attack(i) })
	}
	all.Wait()
}

// asking asks about images that nobody has asked about before, some at a time.
func asking(batch int, key func(t *target, n int64) string) func(context.Context, *target) (int, string) {
	return func(ctx context.Context, t *target) (int, string) {
		var keys atomic.Int64
		var wrong atomic.Bool
		crowd(func(int) {
			for ctx.Err() == nil {
				list := make([]string, batch)
				for i := range list {
					list[i] = key(t, keys.Add(1))
				}
				if admitted, _ := t.ask(ctx, t.client, list...); admitted {
					wrong.Store(true)
				}
			}
		})
		if wrong.Load() {
			return int(keys.Load()), "an attacker's image was admitted"
		}
		return int(keys.Load()), ""
	}
}

// goingAway asks and does not wait for the answer.
func goingAway(ctx context.Context, t *target) (int, string) {
	var gone atomic.Int64
	crowd(func(int) {
		for ctx.Err() == nil {
			n := gone.Add(1)
			soon, cancel := context.WithTimeout(ctx, time.Duration(n%20)*time.Millisecond)
			_, _ = t.ask(soon, t.client, t.world.hostile.key("pages", fmt.Sprint("g", n), ""), t.world.hostile.key("plain", fmt.Sprint("g", n), ""))
			cancel()
		}
	})
	return int(gone.Load()), ""
}

// connecting opens connections without end, and does something with each until the provider ends it.
func connecting(dial func(*target, context.Context) (net.Conn, error), do func(context.Context, *target, net.Conn)) func(context.Context, *target) (int, string) {
	return func(ctx context.Context, t *target) (int, string) {
		var made, refused atomic.Int64
		crowd(func(int) {
			for ctx.Err() == nil {
				conn, err := dial(t, ctx)
				if err != nil {
					refused.Add(1)
					continue
				}
				made.Add(1)
				stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
				do(ctx, t, conn)
				stop()
				_ = conn.Close()
			}
		})
		note := ""
		if refused.Load() > 0 {
			note = fmt.Sprintf("%d connections could not be opened", refused.Load())
		}
		return int(made.Load()), note
	}
}

// dripInto writes the beginning at once and then one byte after the other.
func dripInto(ctx context.Context, conn net.Conn, begin []byte, rest byte) {
	if _, err := conn.Write(begin); err != nil {
		return
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := conn.Write([]byte{rest}); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func slowBody(ctx context.Context, _ *target, conn net.Conn) {
	const size = 256 << 10
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", program.VerifyPath, size)
	dripInto(ctx, conn, append([]byte(head), bytes.Repeat([]byte(" "), size-4096)...), ' ')
}

func slowHeader(ctx context.Context, _ *target, conn net.Conn) {
	head := "POST " + program.VerifyPath + " HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 12<<10)
	dripInto(ctx, conn, []byte(head), 'x')
}

// halfHandshake begins TLS as a client does, with a hello that does not end.
func halfHandshake(_ context.Context, _ *target, conn net.Conn) {
	record := []byte{0x16, 3, 1, 0, 0}
	binary.BigEndian.PutUint16(record[3:], 16<<10)
	_, _ = conn.Write(append(record, bytes.Repeat([]byte{1}, 15<<10)...))
	_, _ = conn.Read(make([]byte, 1)) // until the provider has enough of it
}

// idleCount is how many connections are opened that ask for nothing more.
const idleCount = 10_000

// idleConnections opens connections that have asked for something once, and stay.
func idleConnections(ctx context.Context, t *target) (int, string) {
	var mu sync.Mutex
	var open []net.Conn
	left := atomic.Int64{}
	left.Store(idleCount)
	crowd(func(int) {
		for ctx.Err() == nil && left.Add(-1) >= 0 {
			conn, err := t.dialTLS(ctx)
			if err != nil {
				continue
			}
			_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
		}
	})
	<-ctx.Done()
	for _, conn := range open {
		_ = conn.Close()
	}
	return len(open), fmt.Sprintf("%d of %d connections could be opened in the time that there was; the provider keeps 1,024 of them", len(open), idleCount)
}

// floodHTTP2 speaks HTTP/2 although nobody agreed to it, in frames that cost the sender little: settings, pings, resets, headers
// without end.
func floodHTTP2(_ context.Context, _ *target, conn net.Conn) {
	if tlsConn, ok := conn.(*tls.Conn); ok && tlsConn.ConnectionState().NegotiatedProtocol == "h2" {
		panic("the provider has agreed to HTTP/2")
	}
	frame := func(kind, flags byte, stream uint32, payload string) []byte {
		head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(head[5:], stream)
		return append(head, payload...)
	}
	flood := bytes.NewBufferString("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	flood.Write(frame(4, 0, 0, ""))
	for i := range uint32(1000) {
		flood.Write(frame(1, 0, 2*i+1, "\x82\x84\x87")) // HEADERS
		flood.Write(frame(3, 0, 2*i+1, "\x00\x00\x00\x08"))
		flood.Write(frame(9, 0, 2*i+1, strings.Repeat("\x00", 64))) // CONTINUATION
		flood.Write(frame(4, 0, 0, ""))
		flood.Write(frame(6, 0, 0, "12345678"))
	}
	if _, err := conn.Write(flood.Bytes()); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn)
}
