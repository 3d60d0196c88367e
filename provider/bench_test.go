package provider

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ratify-provider/ratify"
)

// benchFace is a provider that writes its records as the program does.
func benchFace(b *testing.B, records zapcore.WriteSyncer) *face {
	b.Helper()
	f := &face{world: newWorld(), t: b}
	f.provider = New(Options{VerifyTimeout: time.Minute, MutateTimeout: time.Minute, Log: NewLog(zap.InfoLevel, records), Metrics: NewMetrics()})
	f.provider.Install(f.engine(b), settings(b, "cache: {ttl: 1h}"))
	return f
}

// recordFile is where records go: a file, for a write to nowhere costs nothing.
func recordFile(b *testing.B) *os.File {
	b.Helper()
	file, err := os.OpenFile(filepath.Join(b.TempDir(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = file.Close() })
	return file
}

// A warmCase is a request whose keys are all known, and the size of each of their reports.
type warmCase struct{ keys, reportBytes int }

var warmCases = []warmCase{{1, 1 << 10}, {1, 15 << 10}, {10, 1 << 10}, {10, 15 << 10}}

func (c warmCase) String() string {
	return fmt.Sprintf("keys=%d/report=%dKiB", c.keys, c.reportBytes>>10)
}

// warm makes the provider know the keys, and returns the request for them.
func (c warmCase) warm(b *testing.B, f *face) string {
	b.Helper()
	f.set(func() {
		f.result = ratify.Result{Passed: true, Extensions: map[string]any{"signer": strings.Repeat("CN=a signer,", c.reportBytes/12-60)}}
	})
	keys := make([]string, c.keys)
	for i := range keys {
		keys[i] = atDigest("pass", strconv.Itoa(i))
	}
	if answer := f.direct(keys...); strings.Contains(answer, `"isSuccess":false`) || len(answer) < c.keys*c.reportBytes*8/10 {
		b.Fatalf("%d bytes: %.300s", len(answer), answer)
	}
	return requestBody(keys...)
}

// direct asks without a connection.
func (f *face) direct(keys ...string) string {
	w := httptest.NewRecorder()
	f.provider.Handler().ServeHTTP(w, jsonRequest(requestBody(keys...)))
	return w.Body.String()
}

func jsonRequest(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, VerifyPath, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// BenchmarkHit is a request for known images without its connection: from the body's bytes to the answer's, the log
// records included.
func BenchmarkHit(b *testing.B) {
	for _, c := range warmCases {
		b.Run(c.String(), func(b *testing.B) {
			f := benchFace(b, zapcore.AddSync(io.Discard))
			body := strings.NewReader(c.warm(b, f))
			handler, w := f.provider.Handler(), &discarding{header: http.Header{}}
			r := jsonRequest("")
			r.Body = io.NopCloser(body)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = body.Seek(0, io.SeekStart)
				handler.ServeHTTP(w, r)
			}
		})
	}
}

// echo answers what it is told to, and writes records as long as it is told to, each as zap writes what is encoded already:
// what no provider with a log can be much faster than.
func echo(records zapcore.WriteSyncer, recordBytes int, answer []byte, keys int) http.Handler {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime, config.NewReflectedEncoder = zapcore.RFC3339NanoTimeEncoder, newRawEncoder
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.Lock(records), zap.InfoLevel))
	const head = len(`{"level":"info","ts":"2026-11-23T15:47:56.704182299Z","msg":"verify","r":""}` + "\n")
	filler := rawText(`"` + strings.Repeat("x", recordBytes-head) + `"`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range keys {
			log.Info("verify", zap.Reflect("r", filler))
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	})
}

type rawText []byte

type rawEncoder struct{ io.Writer }

func newRawEncoder(w io.Writer) zapcore.ReflectedEncoder { return rawEncoder{w} }

func (e rawEncoder) Encode(value any) error {
	_, err := e.Write(value.(rawText))
	return err
}

// BenchmarkWarm is the same over TLS as Gatekeeper speaks it, beside an echo: its operation is a request and its answer,
// the caller's part included.
func BenchmarkWarm(b *testing.B) {
	for _, kept := range []bool{true, false} {
		for _, c := range warmCases {
			w := newWarm(b, c)
			b.Run(fmt.Sprintf("kept=%t/%s/echo", kept, c), func(b *testing.B) { w.bench(b, w.echo, kept) })
			b.Run(fmt.Sprintf("kept=%t/%s/ratify", kept, c), func(b *testing.B) { w.bench(b, w.ratify, kept) })
		}
	}
}

// warm is a server that knows the answer, its rival, and a caller's part of both.
type warm struct {
	i            *installation
	server       *Server
	echo, ratify http.Handler
	request      []byte // with its header
}

func newWarm(b *testing.B, c warmCase) *warm {
	b.Helper()
	records := recordFile(b)
	f := benchFace(b, records)
	body := c.warm(b, f)
	i := install(b)
	certificates, err := NewTLS(i.options, f.provider.options.Metrics)
	if err != nil {
		b.Fatal(err)
	}
	server := &Server{Provider: f.provider, TLS: certificates, Log: zap.NewNop()}
	written := fileSize(b, records)
	answer := httptest.NewRecorder()
	f.provider.Handler().ServeHTTP(answer, jsonRequest(body))
	recordBytes := int(fileSize(b, records)-written) / c.keys
	return &warm{
		i: i, server: server, ratify: server.gatekeeper(new(atomic.Bool), nil).Handler,
		echo:    echo(recordFile(b), recordBytes, answer.Body.Bytes(), c.keys),
		request: fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: ratify\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", VerifyPath, len(body), body),
	}
}

func fileSize(b *testing.B, file *os.File) int64 {
	b.Helper()
	info, err := file.Stat()
	if err != nil {
		b.Fatal(err)
	}
	return info.Size()
}

func (w *warm) bench(b *testing.B, handler http.Handler, kept bool) {
	server := w.server.gatekeeper(new(atomic.Bool), nil)
	server.Handler = handler
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	defer server.Close()
	config := w.i.client(b, w.i.clientCA, gatekeeper).Transport.(*http.Transport).TLSClientConfig
	config.ServerName = "127.0.0.1"
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		var c *caller
		for pb.Next() {
			if c == nil {
				c = dial(b, listener.Addr().String(), config)
			}
			c.ask(b, w.request)
			if !kept {
				_ = c.conn.Close()
				c = nil
			}
		}
	})
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A caller speaks as little HTTP as it can, so that its part is small.
type caller struct {
	conn   *tls.Conn
	reader *bufio.Reader
}

func dial(b *testing.B, address string, config *tls.Config) *caller {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		b.Error(err)
		runtime.Goexit()
	}
	return &caller{conn, bufio.NewReaderSize(conn, 64<<10)}
}

// ask sends the request and reads the answer to its end.
func (c *caller) ask(b *testing.B, request []byte) {
	_, err := c.conn.Write(request)
	length := -1
	for line := []byte(nil); err == nil && len(line) != len("\r\n"); {
		line, err = c.reader.ReadSlice('\n')
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	if err == nil {
		_, err = c.reader.Discard(length)
	}
	if err != nil || length < 500 {
		b.Errorf("%v, %d bytes", err, length)
		runtime.Goexit()
	}
}

// BenchmarkMiss is one pass of flight and engine, with a store and a verifier that cost nothing.
func BenchmarkMiss(b *testing.B) {
	f := benchFace(b, zapcore.AddSync(io.Discard))
	g := f.provider.current.Load()
	s, err := ratify.ParseKey(atDigest("pass", "x"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		g.verdicts.Set(verdictKey(s), &verdict{}, 0) // forgets it
		if _, _, err := g.verify(context.Background(), s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReportJSON(b *testing.B) {
	f := benchFace(b, zapcore.AddSync(io.Discard))
	s, _ := ratify.ParseKey(atDigest("pass", "x"))
	report, err := f.engine(b).Verify(context.Background(), s)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := newVerdict(report); err != nil {
			b.Fatal(err)
		}
	}
}
