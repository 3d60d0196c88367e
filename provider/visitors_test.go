package provider

import (
	"net"
	"net/http"
	"testing"
)

// members are connections that nobody speaks over.
func members(t *testing.T, n int) []net.Conn {
	t.Helper()
	all := make([]net.Conn, n)
	for i := range all {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
		all[i] = ours
	}
	return all
}

func TestTheLongestStrangerGoes(t *testing.T) {
	c := &visitors{}
	all := members(t, maxStrangers+2)
	for _, conn := range all[:maxStrangers] {
		if surplus := c.note(conn, http.StateNew); len(surplus) > 0 {
			t.Fatal("a connection is surplus within the bound")
		}
	}
	c.note(all[0], http.StateActive) // no stranger any more
	for i, want := range []net.Conn{nil, all[1]} {
		surplus := c.note(all[maxStrangers+i], http.StateNew)
		if want == nil && len(surplus) > 0 || want != nil && (len(surplus) != 1 || surplus[0] != want) {
			t.Errorf("after stranger %d these go: %v, want %v", maxStrangers+i, surplus, want)
		}
	}
}

func TestTheLongestIdleGoes(t *testing.T) {
	c := &visitors{}
	all := members(t, maxConnections+3)
	for _, conn := range all[:maxConnections] {
		c.note(conn, http.StateNew)
		c.note(conn, http.StateActive)
	}
	if surplus := c.note(all[maxConnections], http.StateNew); len(surplus) != 1 || surplus[0] != all[maxConnections] {
		t.Errorf("with all at work %v go, want the one that came", surplus)
	}
	for _, i := range []int{7, 3} {
		if surplus := c.note(all[i], http.StateIdle); len(surplus) > 0 {
			t.Fatal("a connection is surplus within the bound")
		}
	}
	for i, want := range []net.Conn{all[7], all[3]} {
		if surplus := c.note(all[maxConnections+1+i], http.StateNew); len(surplus) != 1 || surplus[0] != want {
			t.Errorf("these go: %v, want the one that was idle for the longest", surplus)
		}
	}
}

func TestWhoHasGoneIsForgotten(t *testing.T) {
	c := &visitors{}
	for i, conn := range members(t, 30) {
		c.note(conn, http.StateNew)
		if i%3 > 0 {
			c.note(conn, http.StateActive)
		}
		if i%3 > 1 {
			c.note(conn, http.StateIdle)
		}
		c.note(conn, http.StateClosed)
		c.note(conn, http.StateClosed)
	}
	if len(c.known)+c.strangers.Len()+c.idle.Len() != 0 {
		t.Errorf("%d are known, %d strangers, %d idle", len(c.known), c.strangers.Len(), c.idle.Len())
	}
}
