package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// A Fault is one way of answering a request wrongly.
type Fault struct {
	Name string
	// Do answers.
	Do Script
}

// On is the script that answers one step by a fault and everything else correctly.
func On(step Step, do Script) Script {
	return func(x *Exchange) {
		if step == Any || x.Step == step {
			do(x)
			return
		}
		Correct(x)
	}
}

// First is the script that answers the first n requests of each step by one script, and those that follow by another.
func First(n int, do, then Script) Script {
	return func(x *Exchange) {
		if x.StepN <= n {
			do(x)
			return
		}
		then(x)
	}
}

// Status answers with a status, and with headers: names and values in turn.
func Status(status int, headers ...string) Script {
	return func(x *Exchange) {
		a := Text(status, http.StatusText(status))
		for i := 0; i+1 < len(headers); i += 2 {
			a = a.With(headers[i], headers[i+1])
		}
		x.Send(a)
	}
}

// Change sends the correct answer, changed.
func Change(change func(Answer) Answer) Script {
	return func(x *Exchange) { x.Send(change(x.Correct())) }
}

// RedirectTo answers 307 to an address.
func RedirectTo(location string) Script {
	return Status(http.StatusTemporaryRedirect, "Location", location)
}

// Challenge answers 401 with a challenge.
func Challenge(value string) Script {
	return Status(http.StatusUnauthorized, "Www-Authenticate", value)
}

// oneByte is the interval of one byte a second.
const oneByte = time.Second

// Faults are the ways in which a server of any kind can fail in the answer to a request: each fits every step. What a
// connection or a certificate does wrong is Greetings and Certificate.
func Faults() []Fault {
	return append(append(brokenConnections(), wrongStatuses()...), wrongBodies()...)
}

func brokenConnections() []Fault {
	return []Fault{
		{"reset before the answer", (*Exchange).Reset},
		{"end before the answer", (*Exchange).End},
		{"silence", (*Exchange).Hang},
		{"head, then silence", func(x *Exchange) { x.HangAfterHead(x.Correct()) }},
		{"silence in mid body", func(x *Exchange) { x.HangMidBody(x.Correct()) }},
		{"reset in mid body", func(x *Exchange) { x.ResetMidBody(x.Correct()) }},
		{"end in mid body", func(x *Exchange) { x.EndMidBody(x.Correct()) }},
		{"one byte a second", func(x *Exchange) { x.Drip(x.Correct(), oneByte) }},
		{"garbage", func(x *Exchange) { x.Raw([]byte("\x00\x16\x03garbage\r\n\r\n\x1b[31m")) }},
		{"chunks without end", func(x *Exchange) {
			x.RawAndHang([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"))
		}},
		{"head of a mebibyte", func(x *Exchange) { x.Send(x.Correct().With("X-Padding", strings.Repeat("x", 1<<20))) }},
	}
}

func wrongStatuses() []Fault {
	empty := func(status int) Script {
		return func(x *Exchange) { x.Send(Answer{Status: status}) }
	}
	return []Fault{
		{"400", Status(http.StatusBadRequest)},
		{"401 without a challenge", Status(http.StatusUnauthorized)},
		{"403", Status(http.StatusForbidden)},
		{"404", Status(http.StatusNotFound)},
		{"429", Status(http.StatusTooManyRequests)},
		{"429, Retry-After 3600", Status(http.StatusTooManyRequests, "Retry-After", "3600")},
		{"500", Status(http.StatusInternalServerError)},
		{"503", Status(http.StatusServiceUnavailable)},
		{"503, Retry-After 3600", Status(http.StatusServiceUnavailable, "Retry-After", "3600")},
		{"204", empty(http.StatusNoContent)},
		{"206", func(x *Exchange) {
			a := x.Correct()
			a.Status, a.Body = http.StatusPartialContent, a.Body[:len(a.Body)/2]
			x.Send(a.With("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(a.Body)-1, 2*len(a.Body))))
		}},
		{"error body with escape codes", func(x *Exchange) {
			x.Send(Text(http.StatusBadGateway, "\x1b[31mred\x1b[0m\r\nSet-Cookie: a=b\r\n\x00\u202e"))
		}},
		{"error body of a mebibyte", func(x *Exchange) {
			x.Send(Text(http.StatusInternalServerError, strings.Repeat("error ", 1<<20/6)))
		}},
	}
}

func wrongBodies() []Fault {
	return []Fault{
		{"empty", Change(func(a Answer) Answer { return a.WithBody(nil) })},
		{"truncated", Change(func(a Answer) Answer { return a.WithBody(a.Body[:len(a.Body)/2]) })},
		{"a page for people", Change(func(Answer) Answer {
			return Text(http.StatusOK, "<!doctype html><title>Log in</title>").With("Content-Type", "text/html; charset=utf-8")
		})},
		{"mislabelled", Change(func(a Answer) Answer { return a.With("Content-Type", "application/pdf") })},
		{"one bit changed", Change(func(a Answer) Answer {
			body := bytes.Clone(a.Body)
			if len(body) > 0 {
				body[len(body)/2] ^= 1
			}
			return a.WithBody(body)
		})},
		{"gzip", Change(func(a Answer) Answer { return a.WithBody(Gzip(a.Body)).With("Content-Encoding", "gzip") })},
		{"1 GiB of gzip", Change(func(a Answer) Answer { return a.WithBody(bomb()).With("Content-Encoding", "gzip") })},
		{"less sent than declared", func(x *Exchange) { x.Raw(x.Correct().Declared(fmt.Sprint(len(x.Correct().Body) + 10))) }},
		{"1 GiB declared", func(x *Exchange) { x.RawAndHang(x.Correct().Declared("1073741824")) }},
		{"length of -1", func(x *Exchange) { x.Raw(x.Correct().Declared("-1")) }},
		{"more sent than declared", func(x *Exchange) {
			a := x.Correct()
			x.Raw(append(a.Declared(fmt.Sprint(len(a.Body))), bytes.Repeat([]byte("x"), 1<<16)...))
		}},
		{"endless", func(x *Exchange) { x.Endless(x.Correct(), bytes.Repeat([]byte(" "), 32<<10)) }},
	}
}

// Gzip compresses.
func Gzip(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// bomb is 1 GiB of zeros in pieces of 1 MiB, each a member of its own (RFC 1952 section 2.2): small, and quick to make.
func bomb() []byte { return bytes.Repeat(Gzip(make([]byte, 1<<20)), 1<<10) }

// GreetSilence takes a connection and says nothing, not even TLS, until the host is closed or the client gone.
func GreetSilence(ctx context.Context, _ int, conn *net.TCPConn) bool {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buffer := make([]byte, 4<<10)
	for {
		if _, err := conn.Read(buffer); err != nil {
			return true
		}
	}
}

// GreetReset resets each connection.
func GreetReset(_ context.Context, _ int, conn *net.TCPConn) bool {
	reset(conn)
	return true
}

// GreetGarbage answers with bytes that are not TLS, nor HTTP.
func GreetGarbage(_ context.Context, _ int, conn *net.TCPConn) bool {
	_, _ = conn.Write([]byte("\x00\xffgarbage\r\n"))
	return true
}
