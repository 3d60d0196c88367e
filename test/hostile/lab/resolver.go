package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Names is what a resolver says of a name; the zero value is that there is no such name.
type Names struct {
	// Addresses are its addresses; those of the kind that was not asked for are left out.
	Addresses []netip.Addr
	// Failure answers SERVFAIL, Silence nothing at all.
	Failure, Silence bool
	// Delay comes before the answer.
	Delay time.Duration
	// Truncated tells a client to ask again over TCP.
	Truncated bool
}

// A Question is what a resolver was asked. N counts the questions for the name and the type from 1.
type Question struct {
	Name string // lower case, without the last dot
	Type string // A or AAAA, or another
	N    int
	TCP  bool
}

// A Resolver answers questions for names, over UDP and TCP, as a script decides. Its methods are safe for concurrent use.
type Resolver struct {
	// Addr is where it listens, host:port.
	Addr string

	packets  net.PacketConn
	listener net.Listener
	serving  sync.WaitGroup
	ctx      context.Context
	end      context.CancelFunc

	mu     sync.Mutex
	answer func(Question) Names
	asked  []Question
	seen   []byte // the names as they were spelled
}

// Resolver starts the name resolver of the lab at an address, host:port. A program asks it where its /etc/resolv.conf says
// so, which has no place for a port: see Cell.
func (l *Lab) Resolver(address string, answer func(Question) Names) (*Resolver, error) {
	r := &Resolver{answer: answer}
	r.ctx, r.end = context.WithCancel(context.Background())
	var listening net.ListenConfig
	var err error
	if r.packets, err = listening.ListenPacket(r.ctx, "udp", address); err != nil {
		return nil, err
	}
	r.Addr = r.packets.LocalAddr().String()
	if r.listener, err = listening.Listen(r.ctx, "tcp", r.Addr); err != nil {
		return nil, errors.Join(err, r.packets.Close())
	}
	r.serving.Go(r.servePackets)
	r.serving.Go(r.serveConnections)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resolver = r
	return r, nil
}

// SetNames changes the answers from now on.
func (r *Resolver) SetNames(answer func(Question) Names) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// Asked are the questions that came so far.
func (r *Resolver) Asked() []Question {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// bytes are the names that were asked for, as they were spelled: a name can carry a secret.
func (r *Resolver) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

func (r *Resolver) close() error {
	r.end()
	err := errors.Join(r.packets.Close(), r.listener.Close())
	r.serving.Wait()
	return err
}

func (r *Resolver) servePackets() {
	buffer := make([]byte, 4<<10)
	for {
		n, from, err := r.packets.ReadFrom(buffer)
		if err != nil {
			return // closed
		}
		message := slices.Clone(buffer[:n])
		r.serving.Go(func() {
			if reply := r.reply(message, false); reply != nil {
				_, _ = r.packets.WriteTo(reply, from) // who does not hear it asks again
			}
		})
	}
}

func (r *Resolver) serveConnections() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.serving.Go(func() { r.serveConnection(conn) })
	}
}

// serveConnection answers one question; over TCP a length stands before each message (RFC 1035 section 4.2.2).
func (r *Resolver) serveConnection(conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(r.ctx, func() { _ = conn.Close() })
	defer stop()
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return
	}
	if reply := r.reply(message, true); reply != nil {
		_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
	}
}

// reply is the answer to a message; nil is silence.
func (r *Resolver) reply(message []byte, tcp bool) []byte {
	var parsed dnsmessage.Message
	if parsed.Unpack(message) != nil || len(parsed.Questions) != 1 {
		return nil
	}
	q := parsed.Questions[0]
	names := r.ask(q, tcp)
	if names.Silence {
		return nil
	}
	if names.Delay > 0 {
		timer := time.NewTimer(names.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			return nil
		}
	}
	reply := dnsmessage.Message{Questions: parsed.Questions, Header: dnsmessage.Header{
		ID: parsed.ID, Response: true, RecursionDesired: true, RecursionAvailable: true, Truncated: names.Truncated && !tcp,
	}}
	switch {
	case names.Failure:
		reply.RCode = dnsmessage.RCodeServerFailure
	case len(names.Addresses) == 0:
		reply.RCode = dnsmessage.RCodeNameError
	case !reply.Truncated:
		reply.Answers = resources(q, names.Addresses)
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func (r *Resolver) ask(q dnsmessage.Question, tcp bool) Names {
	question := Question{Name: strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")), Type: strings.TrimPrefix(q.Type.String(), "Type"), N: 1, TCP: tcp}
	r.mu.Lock()
	for _, before := range r.asked {
		if before.Name == question.Name && before.Type == question.Type {
			question.N++
		}
	}
	r.asked = append(r.asked, question)
	r.seen = append(r.seen, q.Name.String()+"\n"...)
	answer := r.answer
	r.mu.Unlock()
	return answer(question)
}

// resources are the records of the addresses that are of the question's type, with no time to live.
func resources(q dnsmessage.Question, addresses []netip.Addr) []dnsmessage.Resource {
	var all []dnsmessage.Resource
	for _, a := range addresses {
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET}
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			all = append(all, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			all = append(all, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return all
}
