package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

// maxAnswerBytes bounds an answer: 64 items of 64 KiB, more than any provider of this protocol writes.
const maxAnswerBytes = 4 << 20

// A Target is a provider that is asked.
type Target struct {
	// URL is the operation's, with https.
	URL string
	// TLS has the client's certificate and the CA of the server's.
	TLS *tls.Config
	// CPU tells how much processor time the server has used, user and system. It is nil where that is not known.
	CPU func() (time.Duration, error)
}

// A connection asks one question after another. It is not net/http's client, which would take more of the processors
// than the server that is measured: two goroutines and forty allocations for each answer.
type connection struct {
	address string
	head    string // of each request, up to its length
	tls     *tls.Config

	conn *tls.Conn
	used bool // whether something was asked on it
	read *bufio.Reader
	out  []byte
	in   []byte
}

func newConnection(t Target) (*connection, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, fmt.Errorf("the provider's URL: %w", err)
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("the provider's URL %q is not https", t.URL)
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLS != nil {
		config = t.TLS.Clone()
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	return &connection{
		address: address, tls: config,
		head: "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Type: application/json\r\nContent-Length: ",
	}, nil
}

// open connects, unless that is done.
func (c *connection) open(ctx context.Context, deadline time.Time) error {
	if c.conn != nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	dialer := &tls.Dialer{Config: c.tls}
	conn, err := dialer.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.conn, c.used = conn.(*tls.Conn), false
	if c.read == nil {
		c.read = bufio.NewReaderSize(c.conn, 16<<10)
	}
	c.read.Reset(c.conn)
	return nil
}

func (c *connection) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// ask sends the request and returns the body of the answer, which is good until the next call. After an error the
// connection is closed. One that was opened beforehand, and closed by the server because nothing was asked for so long, is
// opened anew, as any client does.
func (c *connection) ask(ctx context.Context, r Request, deadline time.Time) ([]byte, error) {
	early := c.conn != nil && !c.used
	body, err := c.exchange(ctx, r, deadline)
	if early && err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return c.exchange(ctx, r, deadline)
	}
	return body, err
}

func (c *connection) exchange(ctx context.Context, r Request, deadline time.Time) (body []byte, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.open(ctx, deadline); err != nil {
		return nil, err
	}
	c.used = true
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	c.out = append(c.out[:0], c.head...)
	c.out = strconv.AppendInt(c.out, int64(len(r.body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, r.body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return c.answer()
}

func (c *connection) answer() ([]byte, error) {
	response, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ContentLength >= 0 && response.ContentLength <= maxAnswerBytes {
		if int64(cap(c.in)) < response.ContentLength {
			c.in = make([]byte, response.ContentLength)
		}
		c.in = c.in[:response.ContentLength]
		_, err = io.ReadFull(response.Body, c.in)
	} else {
		c.in, err = io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("receive: %w", err)
	case len(c.in) > maxAnswerBytes:
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswerBytes)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the answer has status %d", response.StatusCode)
	}
	if response.Close {
		c.close()
	}
	return c.in, nil
}
