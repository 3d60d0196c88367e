package provider

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

const (
	// maxConnections is a hundred times what Gatekeeper keeps, ten for each of its pods, so that it is nobody's own; each takes
	// 40 KiB with its goroutine and the state of TLS, all of them 40 MiB.
	maxConnections = 1024
	// maxStrangers bounds connections of which nothing is known yet: any pod can open them, without a certificate. A handshake
	// takes some milliseconds, so that Gatekeeper's is over before so many others have begun.
	maxStrangers = 256
)

// Visitors are the connections to a server, within bounds. Where there are too many, the one goes that is missed least: the
// stranger who has been there the longest, or whoever has asked nothing for the longest. The zero value is ready.
type visitors struct {
	mu        sync.Mutex
	known     map[net.Conn]*list.Element // in one of the lists, nil: a request is under way
	strangers list.List                  // of net.Conn, without a request so far, the longest first
	idle      list.List                  // of net.Conn, the longest first
}

// change is an http.Server's ConnState.
func (v *visitors) change(conn net.Conn, state http.ConnState) {
	for _, surplus := range v.note(conn, state) {
		hangUp(surplus)
	}
}

// note takes note of a connection's state, and returns those that must go.
func (v *visitors) note(conn net.Conn, state http.ConnState) (surplus []net.Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = map[net.Conn]*list.Element{}
	}
	if e := v.known[conn]; e != nil {
		v.strangers.Remove(e) // does nothing where it is in the other list
		v.idle.Remove(e)
	}
	switch state {
	case http.StateNew:
		v.known[conn] = v.strangers.PushBack(conn)
	case http.StateIdle:
		v.known[conn] = v.idle.PushBack(conn)
	case http.StateActive:
		v.known[conn] = nil
	default:
		delete(v.known, conn)
		return nil
	}
	if v.strangers.Len() > maxStrangers {
		surplus = append(surplus, v.drop(&v.strangers))
	}
	if len(v.known) <= maxConnections {
		return surplus
	}
	for _, from := range []*list.List{&v.idle, &v.strangers} {
		if from.Len() > 0 {
			return append(surplus, v.drop(from))
		}
	}
	return surplus
}

// drop forgets the longest of a list, whose end is the server's to see.
func (v *visitors) drop(from *list.List) net.Conn {
	conn, _ := from.Remove(from.Front()).(net.Conn)
	delete(v.known, conn)
	return conn
}

// hangUp closes a connection without a word: over TLS a proper end waits for a peer that may not read.
func hangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}
