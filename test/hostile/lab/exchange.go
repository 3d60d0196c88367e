package lab

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// A Step is what a request is for.
type Step string

// The steps of one verification, by their requests. A script may also be On Any.
const (
	Any Step = "any"
	// Ping is GET /v2/.
	Ping Step = "ping"
	// Resolve reads a manifest by a tag that is neither of the next two.
	Resolve Step = "resolve"
	// ReferrersTag and CosignTag read what is under the tag that takes the place of the referrers API, and under those of
	// cosign.
	ReferrersTag Step = "referrers tag"
	CosignTag    Step = "cosign tag"
	// Manifest reads a manifest by its digest; SignatureManifest one that has a subject or is under a cosign tag.
	Manifest          Step = "manifest"
	SignatureManifest Step = "signature manifest"
	// Referrers is the referrers API.
	Referrers Step = "referrers"
	Blob      Step = "blob"
	Token     Step = "token"
	// OCSP, CRL and Timestamp are the responder's and the authority's.
	OCSP      Step = "ocsp"
	CRL       Step = "crl"
	Timestamp Step = "timestamp"
	// Other is anything else.
	Other Step = "other"
)

// maxRequestBytes bounds what is kept of a request's body: no request of the program has more than an OCSP question.
const maxRequestBytes = 64 << 10

// A Request is one that came to a host.
type Request struct {
	// Host is the name of the host that it came to, Authority what the request calls it.
	Host, Authority string
	// N counts the host's requests and StepN those of the step, each from 1.
	Step     Step
	N, StepN int
	Method   string
	// Path is decoded; Target is as it was sent, with the query.
	Path, Target string
	Header       http.Header
	Body         []byte
	At           time.Time
}

// Authorization is the request's credential, "" if it has none.
func (r Request) Authorization() string { return r.Header.Get("Authorization") }

func newRequest(h *Host, r *http.Request) Request {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxRequestBytes)) // what came is what is recorded
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := Request{
		Host: h.Name, Authority: r.Host, Method: r.Method, Path: r.URL.Path, Target: r.RequestURI,
		Header: r.Header.Clone(), Body: body, At: time.Now(),
	}
	request.Step = stepOf(h.options.Server, r)
	return request
}

// stepOf tells what a request is for. Which manifests are evidence only a Registry knows.
func stepOf(server Server, r *http.Request) Step {
	if s, ok := server.(interface{ Step(*http.Request) Step }); ok {
		return s.Step(r)
	}
	return Other
}

// An Exchange is a request and its answer, which a script gives by one of the methods. Each ends the exchange.
type Exchange struct {
	Request
	host *Host
	w    http.ResponseWriter
	r    *http.Request
}

// An Answer is a status, headers and a body. The length is the body's unless the headers say otherwise: see SendAs.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// With is the answer with a header set.
func (a Answer) With(name, value string) Answer {
	header := http.Header{}
	maps.Copy(header, a.Header)
	header.Set(name, value)
	a.Header = header
	return a
}

// WithBody is the answer with another body.
func (a Answer) WithBody(body []byte) Answer {
	a.Body = body
	return a
}

// Text is an answer of text/plain.
func Text(status int, body string) Answer {
	return Answer{Status: status, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte(body)}
}

// Handler makes a Server of an http.Handler, whose requests are all of one step.
func Handler(step Step, handler http.Handler) Server { return handled{step, handler} }

type handled struct {
	step    Step
	handler http.Handler
}

func (h handled) Step(*http.Request) Step { return h.step }

func (h handled) Answer(x *Exchange) Answer {
	recorder := httptest.NewRecorder()
	h.handler.ServeHTTP(recorder, x.r)
	return Answer{Status: recorder.Code, Header: recorder.Header(), Body: recorder.Body.Bytes()}
}

// Context ends when the client has gone or the host is closed.
func (x *Exchange) Context() context.Context { return x.r.Context() }

// At is the host that was asked.
func (x *Exchange) At() *Host { return x.host }

// Correct is what a correct host answers to the request.
func (x *Exchange) Correct() Answer {
	if x.host.options.Server == nil {
		return Text(http.StatusNotFound, "not found")
	}
	return x.host.options.Server.Answer(x)
}

// Send answers.
func (x *Exchange) Send(a Answer) {
	x.head(a)
	_, _ = x.w.Write(a.Body) // a client that has gone needs none
}

func (x *Exchange) head(a Answer) {
	for name, values := range a.Header {
		x.w.Header()[name] = values
	}
	if x.w.Header().Get("Content-Length") == "" && a.Status != http.StatusNoContent {
		x.w.Header().Set("Content-Length", fmt.Sprint(len(a.Body)))
	}
	x.w.WriteHeader(a.Status)
}

// Chunked answers with a body of which no length is declared, in one chunk or more.
func (x *Exchange) Chunked(a Answer, chunks ...[]byte) {
	for name, values := range a.Header {
		x.w.Header()[name] = values
	}
	x.w.WriteHeader(a.Status)
	for _, chunk := range append([][]byte{a.Body}, chunks...) {
		if _, err := x.w.Write(chunk); err != nil {
			return
		}
		x.flush()
	}
}

// Endless answers with a body that goes on as long as the client reads: the answer's own, and then the filler again and again.
func (x *Exchange) Endless(a Answer, filler []byte) {
	x.Chunked(a)
	for x.Context().Err() == nil {
		if _, err := x.w.Write(filler); err != nil {
			return
		}
	}
}

// Drip sends the head, and the body one byte each interval.
func (x *Exchange) Drip(a Answer, interval time.Duration) {
	x.head(a)
	x.flush()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for i := range a.Body {
		select {
		case <-ticker.C:
		case <-x.Context().Done():
			return
		}
		if _, err := x.w.Write(a.Body[i : i+1]); err != nil {
			return
		}
		x.flush()
	}
}

// Hang answers nothing until the client goes away.
func (x *Exchange) Hang() { <-x.Context().Done() }

// HangAfterHead sends the head and no byte of the body until the client goes away.
func (x *Exchange) HangAfterHead(a Answer) {
	x.head(a)
	x.flush()
	x.Hang()
}

// HangMidBody sends the head and half of the body, and nothing more until the client goes away.
func (x *Exchange) HangMidBody(a Answer) {
	x.head(a)
	_, _ = x.w.Write(a.Body[:len(a.Body)/2])
	x.flush()
	x.Hang()
}

// Late waits, and then answers.
func (x *Exchange) Late(a Answer, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		x.Send(a)
	case <-x.Context().Done():
	}
}

// Reset ends the connection with RST, without an answer.
func (x *Exchange) Reset() {
	if conn, _ := x.hijack(); conn != nil {
		x.host.forget(conn.tcp)
		reset(conn.tcp)
	}
}

// ResetMidBody sends the head and half of the body, and ends the connection with RST.
func (x *Exchange) ResetMidBody(a Answer) {
	x.half(a)
	x.Reset()
}

// EndMidBody sends the head and half of the body, and ends the connection with FIN.
func (x *Exchange) EndMidBody(a Answer) {
	x.half(a)
	x.End()
}

// half sends as much as the body's half, which must be with the client before the connection ends: it goes out at once.
func (x *Exchange) half(a Answer) {
	x.head(a)
	_, _ = x.w.Write(a.Body[:len(a.Body)/2])
	x.flush()
}

// End ends the connection with FIN, without an answer.
func (x *Exchange) End() {
	if conn, _ := x.hijack(); conn != nil {
		_ = conn.Close()
	}
}

// Raw sends bytes in place of an answer, and ends the connection.
func (x *Exchange) Raw(data []byte) {
	conn, _ := x.hijack()
	if conn == nil {
		return
	}
	_, _ = conn.Write(data)
	_ = conn.Close()
}

// RawAndHang sends bytes in place of an answer, and keeps the connection until the client goes away.
func (x *Exchange) RawAndHang(data []byte) {
	conn, buffered := x.hijack()
	if conn == nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write(data)
	stop := context.AfterFunc(x.host.ctx, func() { _ = conn.Close() })
	defer stop()
	_, _ = io.Copy(io.Discard, buffered)
}

// Declared is the head of an answer, of HTTP/1.1, that declares a length and may send another; for Raw and RawAndHang.
func (a Answer) Declared(length string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", a.Status, http.StatusText(a.Status))
	for name, values := range a.Header {
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %s\r\n\r\n", length)
	return append([]byte(b.String()), a.Body...)
}

func (x *Exchange) flush() { _ = http.NewResponseController(x.w).Flush() }

// hijack takes the connection from the server; nil if it has ended.
func (x *Exchange) hijack() (*wire, *bufio.ReadWriter) {
	conn, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil
	}
	_ = conn.SetDeadline(time.Time{})
	return conn.(*wire), buffered
}

var _ net.Conn = (*wire)(nil)
