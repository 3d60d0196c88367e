package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// writes keeps what is written at once.
type writes [][]byte

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, bytes.Clone(p))
	return len(p), nil
}

func (w *writes) Sync() error { return nil }

// plainLog is zap's own logger of the same records, each written for itself.
func plainLog(out zapcore.WriteSyncer) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime, config.EncodeDuration = zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(config), out, zap.InfoLevel))
}

// now is when a record was written, which differs.
var now = regexp.MustCompile(`"ts":"[^"]*"`)

// TestRecordsAreWhatTheLibraryWrites: byte for byte, whatever the keys and the words are, and in one write.
func TestRecordsAreWhatTheLibraryWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		answers := make([]answer, 1+r.IntN(4))
		for i := range answers {
			report := randomReport(r)
			report.Timestamp = time.Now().UTC().Truncate(time.Millisecond)
			v, err := newVerdict(report)
			if err != nil {
				t.Fatal(err)
			}
			answers[i] = answer{key: randomText(r), verdict: v, cached: r.IntN(2) == 0}
			switch r.IntN(4) {
			case 0:
				answers[i].key = "reg.example/pass:1"
			case 1:
				answers[i].problem = &ratify.Error{Code: ratify.Internal, Err: errors.New(randomText(r))}
			case 2:
				answers[i].verdict, answers[i].report = nil, report
			}
		}
		var got, want writes
		for _, log := range []*zap.Logger{NewLog(zap.InfoLevel, &got), plainLog(&want)} {
			p := New(Options{Log: log, Metrics: NewMetrics()})
			p.record("verify", "0123", answers, 1234567*time.Nanosecond)
		}
		if len(got) != 1 || len(want) != len(answers) {
			t.Fatalf("%d and %d writes for %d records", len(got), len(want), len(answers))
		}
		all := bytes.Join(want, nil)
		if g, w := now.ReplaceAll(got[0], nil), now.ReplaceAll(all, nil); !bytes.Equal(g, w) {
			t.Fatalf("%.2000s\nwant %.2000s", g, w)
		}
	}
}

// TestRecordsOfALevel: a record below the level is not written, and a logger with fields or a name of its own has them.
func TestRecordsOfALevel(t *testing.T) {
	report := &ratify.Report{Version: ratify.ReportVersion, Code: ratify.Verified, IsSuccess: true}
	good, err := newVerdict(report)
	if err != nil {
		t.Fatal(err)
	}
	bad, err := newVerdict(&ratify.Report{Version: ratify.ReportVersion, Code: ratify.NoReferrers})
	if err != nil {
		t.Fatal(err)
	}
	answers := []answer{{key: "good", verdict: good}, {key: "bad", verdict: bad}, {key: "é", verdict: good}}
	for name, tc := range map[string]struct {
		level zapcore.Level
		log   func(*zap.Logger) *zap.Logger
		keys  []string
		has   string
	}{
		"info":   {zap.InfoLevel, func(l *zap.Logger) *zap.Logger { return l }, []string{"good", "bad", "é"}, `"msg":"verify"`},
		"warn":   {zap.WarnLevel, func(l *zap.Logger) *zap.Logger { return l }, []string{"bad"}, `"level":"warn"`},
		"error":  {zap.ErrorLevel, func(l *zap.Logger) *zap.Logger { return l }, nil, ""},
		"named":  {zap.InfoLevel, func(l *zap.Logger) *zap.Logger { return l.Named("x") }, []string{"good", "bad", "é"}, `"logger":"x"`},
		"fields": {zap.InfoLevel, func(l *zap.Logger) *zap.Logger { return l.With(zap.Int("n", 1)) }, []string{"good", "bad", "é"}, `"n":1`},
	} {
		t.Run(name, func(t *testing.T) {
			var out writes
			p := New(Options{Log: tc.log(NewLog(tc.level, &out)), Metrics: NewMetrics()})
			p.record("verify", "0123", answers, time.Second)
			lines := strings.SplitAfter(string(bytes.Join(out, nil)), "\n")
			if len(lines)-1 != len(tc.keys) {
				t.Fatalf("%q", lines)
			}
			for i, key := range tc.keys {
				var m map[string]any
				if err := json.Unmarshal([]byte(lines[i]), &m); err != nil || m["key"] != shown(key) || !strings.Contains(lines[i], tc.has) {
					t.Errorf("%v: %s", err, lines[i])
				}
			}
		})
	}
}

// TestRecordsAreBounded: of many long records not all are collected before they are written, and each is whole.
func TestRecordsAreBounded(t *testing.T) {
	v, err := newVerdict(&ratify.Report{Version: ratify.ReportVersion, IsSuccess: true, VerifierReports: []ratify.VerifierReport{
		{Extensions: map[string]any{"noise": strings.Repeat("x", maxReportBytes/2)}}}})
	if err != nil {
		t.Fatal(err)
	}
	answers := make([]answer, maxKeys)
	for i := range answers {
		answers[i] = answer{key: "k", verdict: v}
	}
	var out writes
	p := New(Options{Log: NewLog(zap.InfoLevel, &out), Metrics: NewMetrics()})
	p.record("verify", "0123", answers, time.Second)
	records := 0
	for _, text := range out {
		if len(text) > maxRecordsBytes+maxReportBytes || text[len(text)-1] != '\n' {
			t.Errorf("%d bytes at once", len(text))
		}
		records += bytes.Count(text, []byte("\n"))
	}
	if records != maxKeys || len(out) < 2 {
		t.Errorf("%d records in %d writes", records, len(out))
	}
}

// TestReportIsHeldOnce: the log has the same bytes, unless it spells them otherwise.
func TestReportIsHeldOnce(t *testing.T) {
	for message, once := range map[string]bool{"plain": true, "<b>": false} {
		v, err := newVerdict(&ratify.Report{Version: ratify.ReportVersion, Message: message, VerifierReports: []ratify.VerifierReport{{Message: "<i>"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := &v.record[0] == &v.encoded[0]; got != once {
			t.Errorf("%s: held once: %t", message, got)
		}
		if want, _ := json.Marshal([]ratify.VerifierReport{{Message: "<i>"}}); !bytes.Equal(v.verifiers, want) {
			t.Errorf("%s", v.verifiers)
		}
	}
}
