package provider

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/ratify-provider/ratify"
)

// benchFace is a provider that writes its records, to nowhere.
func benchFace(b *testing.B) (*Provider, *generation) {
	b.Helper()
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(io.Discard), zap.InfoLevel)
	p := New(Options{VerifyTimeout: time.Minute, MutateTimeout: time.Minute, Log: zap.New(core), Metrics: NewMetrics()})
	p.Install(newWorld().engine(b), settings(b, ""))
	return p, p.current.Load()
}

// BenchmarkHit is a request for a known image, from its bytes to the answer's, the log record included.
func BenchmarkHit(b *testing.B) {
	p, _ := benchFace(b)
	handler, body := p.Handler(), requestBody(atDigest("pass", "x"))
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, VerifyPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
}

// BenchmarkMiss is one pass of flight and engine, with a store and a verifier that cost nothing.
func BenchmarkMiss(b *testing.B) {
	_, g := benchFace(b)
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
	_, g := benchFace(b)
	s, _ := ratify.ParseKey(atDigest("pass", "x"))
	report, err := g.engine.Verify(context.Background(), s)
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
