package lab

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Canary listens where nobody may connect to, and remembers who did. Its methods are safe for concurrent use.
type Canary struct {
	// Name is how a touch calls it; Addr is where it listens, host:port.
	Name, Addr string

	lab      *Lab
	listener net.Listener
	serving  sync.WaitGroup
	ctx      context.Context
	end      context.CancelFunc

	mu      sync.Mutex
	came    []string
	seen    []byte
	changed chan struct{} // closed and replaced with every connection
}

// canaryWait is how long a canary reads from who has come, to see what it was that they wanted to say.
const canaryWait = 2 * time.Second

// Canary starts a canary at an address, host:port, where port 0 is a free one.
func (l *Lab) Canary(name, address string) (*Canary, error) {
	c := &Canary{Name: name, lab: l, changed: make(chan struct{})}
	c.ctx, c.end = context.WithCancel(context.Background())
	var listening net.ListenConfig
	listener, err := listening.Listen(c.ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("canary %s: %w", name, err)
	}
	c.listener, c.Addr = listener, listener.Addr().String()
	c.serving.Go(c.accept)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.canaries = append(l.canaries, c)
	return c, nil
}

func (c *Canary) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return // closed
		}
		c.mu.Lock()
		c.came = append(c.came, conn.RemoteAddr().String())
		close(c.changed)
		c.changed = make(chan struct{})
		c.mu.Unlock()
		c.serving.Go(func() { c.listen(conn) })
	}
}

// listen keeps what is said, for the search of secrets.
func (c *Canary) listen(conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(c.ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(canaryWait))
	buffer := make([]byte, 4<<10)
	for {
		n, err := conn.Read(buffer)
		c.mu.Lock()
		c.seen = append(c.seen, buffer[:min(n, maxSeenBytes-len(c.seen))]...)
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Touches are who came, by their addresses. A connection of the canary's own, which is not counted and comes last, shows that
// all that came before it are known.
func (c *Canary) Touches(ctx context.Context) ([]string, error) {
	conn, err := c.lab.dial(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("canary %s is dead: %w", c.Name, err)
	}
	defer conn.Close()
	ours := conn.LocalAddr().String()
	for {
		c.mu.Lock()
		at, changed := slices.Index(c.came, ours), c.changed
		if at >= 0 {
			c.came = slices.Delete(c.came, at, at+1)
			came := slices.Clone(c.came)
			c.mu.Unlock()
			return came, nil
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("canary %s does not hear: %w", c.Name, ctx.Err())
		}
	}
}

func (c *Canary) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

func (c *Canary) close() error {
	c.end()
	err := c.listener.Close()
	c.serving.Wait()
	return err
}

// A Touch is a connection to where nobody may connect.
type Touch struct{ Canary, From string }

func (t Touch) String() string { return t.Canary + " from " + t.From }

// canaryTimeout bounds the question to one canary, which is a connection within the machine.
const canaryTimeout = 10 * time.Second

// Touched are the connections to canaries and to forbidden hosts so far. A canary that cannot be asked is one: it watches
// nothing.
func (l *Lab) Touched() []Touch {
	l.mu.Lock()
	canaries, hosts := slices.Clone(l.canaries), slices.Clone(l.hosts)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), canaryTimeout)
	defer cancel()
	var touched []Touch
	for _, c := range canaries {
		came, err := c.Touches(ctx)
		if err != nil {
			touched = append(touched, Touch{c.Name, "nobody that is known: " + err.Error()})
		}
		for _, from := range came {
			touched = append(touched, Touch{c.Name + " (" + c.Addr + ")", from})
		}
	}
	for _, h := range hosts {
		if !h.options.Forbidden {
			continue
		}
		for _, from := range h.Connections() {
			touched = append(touched, Touch{h.Name + " (" + h.Addr + ")", from})
		}
	}
	return touched
}

// Noticed is how many connections came to canaries and forbidden hosts so far, as far as they have noticed: it is quick, and
// Touched is exact.
func (l *Lab) Noticed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, c := range l.canaries {
		c.mu.Lock()
		n += len(c.came)
		c.mu.Unlock()
	}
	for _, h := range l.hosts {
		if h.options.Forbidden {
			n += len(h.Connections())
		}
	}
	return n
}

// Canaries are how many places are watched: canaries and forbidden hosts.
func (l *Lab) Canaries() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.canaries)
	for _, h := range l.hosts {
		if h.options.Forbidden {
			n++
		}
	}
	return n
}

// list is for an error.
func list[T fmt.Stringer](of []T) string {
	texts := make([]string, len(of))
	for i, one := range of {
		texts[i] = one.String()
	}
	return strings.Join(texts, "; ")
}
