package provider

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// dial connects as Gatekeeper, to write what an HTTP client would not.
func (r *running) dial(t testing.TB, i *installation) net.Conn {
	t.Helper()
	client := i.client(t, i.clientCA, gatekeeper)
	conn, err := tls.Dial("tcp", r.address(), client.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *running) address() string {
	return strings.TrimPrefix(strings.TrimSuffix(r.url, VerifyPath), "https://")
}

const requestHead = "POST " + VerifyPath + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

// answerOn reads one answer, which must be a complete ProviderResponse.
func answerOn(t testing.TB, conn net.Conn) (status int, systemError string) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, decodeResponse(t, data).Response.SystemError
}

// TestLongDeadline: a deadline may be longer than what reading a request may take.
func TestLongDeadline(t *testing.T) {
	t.Parallel()
	i := install(t)
	r := run(t, i, patient)
	time.AfterFunc(readTime+time.Second, func() { close(r.gate) })
	conn := r.dial(t, i)
	body := requestBody(atDigest("slow", "x"))
	fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n%s", requestHead, len(body), body)
	if status, text := answerOn(t, conn); status != 200 || text != "" {
		t.Errorf("%d %q", status, text)
	}
}

// TestSlowBody: a body that does not arrive is answered when the operation's time has ended, in the protocol's form.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	i := install(t)
	r := run(t, i)
	conn := r.dial(t, i)
	began := time.Now()
	fmt.Fprintf(conn, "%sContent-Length: 1000\r\n\r\n{", requestHead)
	status, text := answerOn(t, conn)
	if took := time.Since(began); status != 400 || text == "" || took > readTime-time.Second {
		t.Errorf("%d %q after %v", status, text, took)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection stays: %v", err)
	}
}

// TestEndlessBody: of a body without a length no more is read than the bound, and what the network holds.
func TestEndlessBody(t *testing.T) {
	i := install(t)
	r := run(t, i)
	conn := r.dial(t, i)
	fmt.Fprintf(conn, "%sTransfer-Encoding: chunked\r\n\r\n", requestHead)
	const chunk = 64 << 10
	var sent atomic.Int64
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		data := fmt.Sprintf("%x\r\n%s\r\n", chunk, strings.Repeat(" ", chunk))
		for {
			if _, err := io.WriteString(conn, data); err != nil {
				return
			}
			sent.Add(chunk)
		}
	}()
	if status, text := answerOn(t, conn); status != 413 || !strings.Contains(text, "larger than") {
		t.Errorf("%d %q", status, text)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	<-stopped
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d MiB of an endless body were taken", n>>20)
	}
}

// TestSilentConnections: connections on which nothing is said are cut off, and do not keep others from being answered.
func TestSilentConnections(t *testing.T) {
	t.Parallel()
	i := install(t)
	r := run(t, i)
	conns := make([]net.Conn, 300)
	for n := range conns {
		conn, err := net.Dial("tcp", r.address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[n] = conn
	}
	if answer, err := ask(i.client(t, i.clientCA, gatekeeper), r.url); err != nil || !strings.HasPrefix(answer, "200") {
		t.Errorf("%q, %v", answer, err)
	}
	for _, conn := range conns {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a silent connection stays: %v", err)
		}
	}
}

// TestAbortedRequestsLeakNothing: callers that are gone leave no goroutine behind, and the work that they began one for all.
func TestAbortedRequestsLeakNothing(t *testing.T) {
	i := install(t)
	r := run(t, i, patient)
	client := i.client(t, i.clientCA, gatekeeper)
	if _, err := ask(client, r.url); err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()
	before := runtime.NumGoroutine()
	var callers sync.WaitGroup
	for n := range 20 {
		callers.Go(func() {
			for m := range 25 {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				key := fmt.Sprintf("reg.example/slow:%d", (n+m)%10)
				request, _ := http.NewRequestWithContext(ctx, http.MethodPost, r.face.url+VerifyPath, strings.NewReader(requestBody(key)))
				request.Header.Set("Content-Type", "application/json")
				if response, err := http.DefaultClient.Do(request); err == nil {
					response.Body.Close()
				}
				cancel()
			}
		})
	}
	callers.Wait()
	close(r.gate)
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "all work has ended", func() bool { return testutil.ToFloat64(r.provider.options.Metrics.flights) == 0 })
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before+5 })
	// A handler may be at its last lines still: a place held for ever is one that is never given back.
	eventually(t, "all places have been given back", func() bool { return r.provider.waiting.nobody() && len(r.provider.writers) == 0 })
	if n := r.verifies.Load(); n > 11 {
		t.Errorf("%d verifications of ten images", n)
	}
}

// TestEndUnderLoad: from the signal on, callers have the delay to go elsewhere; until then each is answered.
func TestEndUnderLoad(t *testing.T) {
	t.Parallel()
	i := install(t)
	r := run(t, i, patient, func(s *Server) { s.ShutdownDelay = 3 * time.Second })
	var gone atomic.Bool
	var answered atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		client := i.client(t, i.clientCA, gatekeeper)
		client.Timeout = patience
		callers.Go(func() {
			for !gone.Load() {
				if answer, err := ask(client, r.url); err != nil || !strings.HasPrefix(answer, "200") {
					t.Errorf("dropped: %q, %v", answer, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	eventually(t, "the load is on", func() bool { return answered.Load() > 100 })
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	eventually(t, "the probe says so", func() bool {
		response, err := http.Get(r.health + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusServiceUnavailable
	})
	before := answered.Load()
	eventually(t, "requests are still answered", func() bool { return answered.Load() > before+8 })
	late, err := i.client(t, i.clientCA, gatekeeper).Post(r.url, "application/json", strings.NewReader(requestBody()))
	if err != nil {
		t.Fatal(err)
	}
	late.Body.Close()
	if !late.Close {
		t.Error("the connection stays, and would be closed under a request")
	}
	gone.Store(true)
	callers.Wait()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestClientCertificateEnds: a connection that is kept open does not outlive the certificate it was let in by.
func TestClientCertificateEnds(t *testing.T) {
	t.Parallel()
	i := install(t)
	r := run(t, i, patient)
	end := time.Now().Add(4 * time.Second)
	short := gatekeeper
	short.notAfter = end
	client := i.client(t, i.clientCA, short)
	if answer, err := ask(client, r.url); err != nil || !strings.HasPrefix(answer, "200") {
		t.Fatalf("%q, %v", answer, err)
	}
	time.Sleep(time.Until(end) + time.Second)
	request, _ := http.NewRequest(http.MethodPost, r.url, strings.NewReader(requestBody("reg.example/pass:1")))
	request.Header.Set("Content-Type", "application/json")
	kept := false
	request = request.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { kept = c.Reused }}))
	response, err := client.Do(request)
	if err != nil || !kept {
		t.Fatalf("%v, the connection was kept: %t", err, kept)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusForbidden || decodeResponse(t, data).Response.SystemError == "" || !response.Close {
		t.Errorf("%d %s %v", response.StatusCode, data, err)
	}
}

// TestPairsReplacedUnderLoad: certificate and key are replaced one after the other while callers make new connections,
// and none of them fails.
func TestPairsReplacedUnderLoad(t *testing.T) {
	i := install(t)
	r := run(t, i, patient)
	client := i.client(t, i.clientCA, gatekeeper)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	stop := make(chan struct{})
	var answered atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if answer, err := ask(client, r.url); err != nil || !strings.HasPrefix(answer, "200") {
					t.Errorf("%q, %v", answer, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	var failed int
	for n := range 20 {
		crt, key := i.serverCA.leaf(t, leafOptions{cn: fmt.Sprint(n)})
		for _, file := range []struct {
			name string
			data []byte
		}{{"tls.crt", crt}, {"tls.key", key}} {
			write(t, i.dir, map[string][]byte{file.name: file.data})
			if !r.tls.Changed() {
				t.Fatalf("%s of pair %d: no change seen", file.name, n)
			}
			if err := r.tls.Load(); err != nil {
				failed++
			}
			before := answered.Load()
			eventually(t, "callers are answered", func() bool { return t.Failed() || answered.Load() > before })
		}
		if cn := r.tls.current.Load().pair.Leaf.Subject.CommonName; cn != fmt.Sprint(n) {
			t.Errorf("pair %d is not in force: %s", n, cn)
		}
	}
	close(stop)
	callers.Wait()
	if failed != 20 {
		t.Errorf("%d loads failed, want one for each pair", failed)
	}
}

// TestPairOfTheNearFuture: a pair that becomes valid in a moment is taken then, though its files do not change again.
func TestPairOfTheNearFuture(t *testing.T) {
	t.Parallel()
	i := install(t)
	metrics := NewMetrics()
	certificates, err := NewTLS(i.options, metrics)
	if err != nil {
		t.Fatal(err)
	}
	crt, key := i.serverCA.leaf(t, leafOptions{cn: "soon", notBefore: time.Now().Add(3 * time.Second)})
	write(t, i.dir, map[string][]byte{"tls.crt": crt, "tls.key": key})
	if err := certificates.Load(); err == nil || certificates.Changed() {
		t.Fatalf("%v, tried again at once: %t", err, certificates.Changed())
	}
	eventually(t, "it is tried again", certificates.Changed)
	if err := certificates.Load(); err != nil || certificates.Changed() {
		t.Errorf("%v, changed: %t", err, certificates.Changed())
	}
}

// TestExpiryIsOfWhatIsInForce: the metric does not tell of a pair that was not taken.
func TestExpiryIsOfWhatIsInForce(t *testing.T) {
	i := install(t)
	metrics := NewMetrics()
	certificates, err := NewTLS(i.options, metrics)
	if err != nil {
		t.Fatal(err)
	}
	serving := metrics.certificateExpiry.WithLabelValues("serving")
	before := testutil.ToFloat64(serving)
	crt, key := i.serverCA.leaf(t, leafOptions{cn: "new", notAfter: time.Now().Add(10 * time.Hour)})
	write(t, i.dir, map[string][]byte{"tls.crt": crt, "tls.key": key, "ca.crt": nil})
	if err := certificates.Load(); err == nil || testutil.ToFloat64(serving) != before {
		t.Errorf("%v, the metric says %v, before %v", err, testutil.ToFloat64(serving), before)
	}
	if err := os.WriteFile(filepath.Join(i.dir, "ca.crt"), i.clientCA.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := certificates.Load(); err != nil || testutil.ToFloat64(serving) == before {
		t.Errorf("%v, the metric still says %v", err, before)
	}
}

// TestConnectionLog: whoever can connect can neither flood the log nor write long records.
func TestConnectionLog(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	l := &connectionLog{log: zap.New(core)}
	for range 1000 {
		if _, err := io.WriteString(l, strings.Repeat("é", maxConnectionRecordBytes)+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if n := logs.Len(); n < 1 || n > 500 {
		t.Errorf("%d records", n)
	}
	l.since = time.Time{}
	if _, err := io.WriteString(l, "again"); err != nil {
		t.Fatal(err)
	}
	all := logs.All()
	for _, entry := range all {
		if len(entry.Message) > maxConnectionRecordBytes {
			t.Errorf("%d bytes", len(entry.Message))
		}
	}
	if last := all[len(all)-1]; last.Message != "again" || last.ContextMap()["notLoggedBefore"] == int64(0) {
		t.Errorf("%q %v", last.Message, last.ContextMap())
	}
}

// TestAdmissionHolds: what was found of a client certificate holds for these certificates, and within the time of its
// whole chain alone.
func TestAdmissionHolds(t *testing.T) {
	now := time.Now()
	cert := func(from, to time.Duration) *x509.Certificate {
		return &x509.Certificate{NotBefore: now.Add(from), NotAfter: now.Add(to)}
	}
	c, other := &certificates{}, &certificates{}
	for name, tc := range map[string]struct {
		chains [][]*x509.Certificate
		by     *certificates
		want   bool
	}{
		"good":                    {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(-time.Second, time.Hour)}}, c, true},
		"of other certificates":   {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(-time.Second, time.Hour)}}, other, false},
		"no chain":                {nil, c, false},
		"leaf ended":              {[][]*x509.Certificate{{cert(-2*time.Second, -time.Second), cert(-time.Second, time.Hour)}}, c, false},
		"CA ended":                {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(-time.Second, time.Hour), cert(-2*time.Second, -time.Second)}}, c, false},
		"CA of the future":        {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(time.Second, time.Hour)}}, c, false},
		"one chain of two":        {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(-2*time.Second, -time.Second)}, {cert(-time.Second, time.Hour), cert(-time.Second, time.Hour)}}, c, true},
		"one chain of two, first": {[][]*x509.Certificate{{cert(-time.Second, time.Hour), cert(-time.Second, time.Hour)}, {cert(-time.Second, time.Hour), cert(-2*time.Second, -time.Second)}}, c, true},
	} {
		if got := longest(tc.by, tc.chains).holds(c, now); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestCertificateIsVerifiedOnce: not with each request, but again when the client CA has changed, also between a handshake
// and its first request.
func TestCertificateIsVerifiedOnce(t *testing.T) {
	i := install(t)
	certificates, err := NewTLS(i.options, NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := i.clientCA.leaf(t, gatekeeper)
	block, _ := pem.Decode(leaf)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert, i.clientCA.cert}}}
	first, a := certificates.current.Load(), &admission{}
	a.handshake.Store(first)
	for range 2 {
		if !certificates.accepts(first, a, state) || a.last.Load() == nil {
			t.Error("a good certificate is refused, or nothing is known of it afterwards")
		}
	}
	write(t, i.dir, map[string][]byte{"ca.crt": newAuthority(t, "gatekeeper-ca").pem})
	if err := certificates.Load(); err != nil {
		t.Fatal(err)
	}
	second := certificates.current.Load()
	if certificates.accepts(second, a, state) {
		t.Error("what was found by the CA before counts")
	}
	between := &admission{}
	between.handshake.Store(first)
	if certificates.accepts(second, between, state) {
		t.Error("a handshake by the CA before counts")
	}
	if !certificates.accepts(first, nil, state) || certificates.accepts(second, nil, state) {
		t.Error("without a connection it is not verified")
	}
	certificates.options.ClientNames = []string{"somebody else"}
	if certificates.accepts(first, nil, state) {
		t.Error("any name may ask")
	}
}
