package provider

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxCauseBytes bounds an error in the log: some layers of words, and an outside text or two.
const maxCauseBytes = 1 << 10

func panicField(value any) zap.Field {
	return zap.String("panic", cut(fmt.Sprint(value), maxCauseBytes))
}

// NewLog returns a logger of JSON records from a level on. The records of one request are written to out at once.
func NewLog(level zapcore.LevelEnabler, out zapcore.WriteSyncer) *zap.Logger {
	config := zap.NewProductionEncoderConfig()
	config.EncodeTime, config.EncodeDuration = encodeTime, encodeDuration
	j := &journal{encoder: zapcore.NewJSONEncoder(config), out: zapcore.Lock(out)}
	j.Core = zapcore.NewCore(j.encoder, j.out, level)
	return zap.New(j)
}

// How times and durations are written, in all records.
func encodeTime(t time.Time, e zapcore.PrimitiveArrayEncoder) { zapcore.RFC3339NanoTimeEncoder(t, e) }
func encodeDuration(d time.Duration, e zapcore.PrimitiveArrayEncoder) {
	zapcore.StringDurationEncoder(d, e)
}

// A journal is the core of NewLog's loggers. What is logged in the usual way it writes in the usual way; see records.
type journal struct {
	zapcore.Core
	encoder zapcore.Encoder
	out     zapcore.WriteSyncer
}

// encodeRecord encodes a report with an empty key, as a record has it.
func encodeRecord(report *ratify.Report, verifiers json.RawMessage) ([]byte, error) {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{EncodeTime: encodeTime, SkipLineEnding: true})
	line, err := encoder.EncodeEntry(zapcore.Entry{}, []zap.Field{zap.Inline(loggedReport{report, verifiers, ""})})
	if err != nil {
		return nil, err
	}
	defer line.Free()
	return bytes.Clone(line.Bytes()), nil
}

// record writes one log record for each key, the whole report in it, and counts the verdict.
func (p *Provider) record(operation, requestID string, answers []answer, took time.Duration) {
	r := p.newRecords(operation, requestID, took)
	defer r.end()
	var counter prometheus.Counter // of the code that the last answer had
	var counted ratify.Code
	for i := range answers {
		a := &answers[i]
		report, verifiers := a.report, json.RawMessage(nil)
		if a.verdict != nil {
			report, verifiers = &a.verdict.report, a.verdict.verifiers
		}
		if report == nil {
			report = &ratify.Report{Version: ratify.ReportVersion, Subject: shown(a.key), Timestamp: time.Now().UTC(), TraceID: ratify.NewTraceID()}
			report.Fail(a.problem)
		}
		if counter == nil || counted != report.Code {
			counter, counted = p.options.Metrics.verdicts.WithLabelValues(operation, string(report.Code)), report.Code
		}
		counter.Inc()
		if report.Stale {
			p.options.Metrics.staleAdmissions.WithLabelValues(report.Policy, string(report.StaleCode)).Inc()
		}
		if report.Code == ratify.WouldBeRefused {
			p.options.Metrics.wouldBeRefused.WithLabelValues(report.Policy, string(report.WouldBeCode)).Inc()
		}
		level := zap.InfoLevel
		if !report.IsSuccess || report.Stale || report.Code == ratify.WouldBeRefused {
			level = zap.WarnLevel
		}
		r.add(level, a, report, verifiers)
	}
}

// maxRecordsBytes is from how much on the records of a request are written before the last of them is there: it bounds the
// memory, and is what a pipe holds.
const maxRecordsBytes = 64 << 10

// records are those of one request. In a journal they are collected, and written at once.
type records struct {
	log       *zap.Logger
	operation string
	requestID string
	took      time.Duration

	journal *journal // nil where the log is of another kind
	text    *bytes.Buffer
	buffers *buffers
	// written is when the records are, in their form.
	written []byte
	space   [len(time.RFC3339Nano)]byte
}

func (p *Provider) newRecords(operation, requestID string, took time.Duration) records {
	r := records{log: p.options.Log, operation: operation, requestID: requestID, took: took, buffers: &p.buffers}
	if j, ok := p.options.Log.Core().(*journal); ok {
		r.journal, r.text = j, p.buffers.get()
	}
	return r
}

// end writes what was collected.
func (r *records) end() {
	if r.journal != nil {
		r.flush()
		r.buffers.put(r.text)
	}
}

// flush writes what was collected until now. Where it cannot be written, there is nowhere to tell it either.
func (r *records) flush() {
	if r.text.Len() == 0 {
		return
	}
	_, _ = r.journal.out.Write(r.text.Bytes())
	r.text.Reset()
}

// add writes a record for one key.
func (r *records) add(level zapcore.Level, a *answer, report *ratify.Report, verifiers json.RawMessage) {
	if r.journal != nil && r.log.Name() == "" && a.verdict != nil && a.problem == nil && a.verdict.cause == nil && len(a.key) <= ratify.MaxTextBytes && (a.plain || isPlain(a.key)) {
		r.addKnown(level, a)
		return
	}
	entry := r.log.Check(level, r.operation)
	if entry == nil {
		return
	}
	fields := []zap.Field{
		zap.Inline(loggedReport{report, verifiers, shown(a.key)}),
		zap.Bool("cached", a.cached), zap.String("requestID", r.requestID), zap.Duration("took", r.took),
	}
	if cause := a.cause(); cause != nil {
		fields = append(fields, zap.String("cause", cut(cause.Error(), maxCauseBytes)))
	}
	if r.journal == nil {
		entry.Write(fields...)
		return
	}
	line, err := r.journal.encoder.EncodeEntry(entry.Entry, fields)
	if err != nil {
		entry.Write(fields...) // tells it
		return
	}
	r.text.Write(line.Bytes())
	line.Free()
	r.added()
}

// cause is the technical error behind the answer, where there is one.
func (a *answer) cause() error {
	switch {
	case a.problem != nil:
		return a.problem.Err
	case a.verdict != nil:
		return a.verdict.cause
	}
	return nil
}

// addKnown writes the same record as add does, but what it says of the image is encoded already, and the rest is plain.
func (r *records) addKnown(level zapcore.Level, a *answer) {
	if !r.journal.Enabled(level) {
		return
	}
	if r.written == nil {
		r.written = time.Now().AppendFormat(r.space[:0], time.RFC3339Nano)
	}
	b := r.text
	b.WriteString(`{"level":"`)
	b.WriteString(level.String())
	b.WriteString(`","ts":"`)
	b.Write(r.written)
	b.WriteString(`","msg":"`)
	b.WriteString(r.operation)
	b.WriteString(`",`)
	b.WriteString(keyPrefix[len("{"):])
	writeQuoted(b, a.key, true)
	b.Write(bytes.TrimSuffix(afterKey(a.verdict.record), []byte("}")))
	b.WriteString(`,"cached":`)
	b.Write(strconv.AppendBool(b.AvailableBuffer(), a.cached))
	b.WriteString(`,"requestID":"`)
	b.WriteString(r.requestID)
	b.WriteString(`","took":"`)
	b.WriteString(r.took.String())
	b.WriteString("\"}\n")
	r.added()
}

func (r *records) added() {
	if r.text.Len() >= maxRecordsBytes {
		r.flush()
	}
}

// newRequestID returns 16 random bytes in hexadecimal. They are a name and no secret.
func newRequestID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64()) //nolint:gosec // see above
	binary.BigEndian.PutUint64(b[8:], rand.Uint64()) //nolint:gosec // see above
	return hex.EncodeToString(b[:])
}

// loggedReport writes a report's fields at the top of a record, as readers of these logs look for them.
type loggedReport struct {
	*ratify.Report
	verifiers json.RawMessage
	key       string
}

// MarshalLogObject writes the fields in the order of the report's JSON.
func (r loggedReport) MarshalLogObject(e zapcore.ObjectEncoder) error {
	e.AddString("version", r.Version)
	e.AddString("key", r.key)
	if r.Namespace != "" {
		e.AddString("namespace", r.Namespace)
	}
	e.AddString("subject", r.Subject)
	if r.VerifiedAs != "" {
		e.AddString("verifiedAs", r.VerifiedAs)
	}
	if r.Digest != "" {
		e.AddString("digest", r.Digest.String())
	}
	e.AddBool("isSuccess", r.IsSuccess)
	e.AddBool("succeeded", r.Succeeded)
	e.AddString("code", string(r.Code))
	if r.WouldBeCode != "" {
		e.AddString("wouldBeCode", string(r.WouldBeCode))
	}
	if r.Stale {
		e.AddBool("stale", r.Stale)
	}
	if r.StaleCode != "" {
		e.AddString("staleCode", string(r.StaleCode))
	}
	if !r.VerifiedAt.IsZero() {
		e.AddTime("verifiedAt", r.VerifiedAt)
	}
	if r.Policy != "" {
		e.AddString("policy", r.Policy)
	}
	if len(r.DecidedBy) > 0 {
		zap.Strings("decidedBy", r.DecidedBy).AddTo(e)
	}
	if r.NotAfter != 0 {
		e.AddInt64("notAfter", r.NotAfter)
	}
	e.AddString("message", r.Message)
	if r.Remedy != "" {
		e.AddString("remedy", r.Remedy)
	}
	e.AddTime("timestamp", r.Timestamp)
	e.AddString("traceID", r.TraceID)
	if r.verifiers == nil {
		return nil
	}
	return e.AddReflected("verifierReports", r.verifiers)
}

// Bounds on what is logged of connections: any pod can make one that fails, as often as it likes, and choose some of the
// words (the protocols that it offers, for one).
const (
	maxConnectionRecords     = 10 // a second
	maxConnectionRecordBytes = 1 << 10
)

// A connectionLog writes what the HTTP server says about connections.
type connectionLog struct {
	log *zap.Logger

	mu      sync.Mutex
	since   time.Time
	written int
	dropped int
}

// Write writes one record, if there were not too many just now.
func (l *connectionLog) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.since) >= time.Second {
		l.since, l.written = now, 0
	}
	if l.written++; l.written > maxConnectionRecords {
		l.dropped++
		return len(text), nil
	}
	message := strings.ToValidUTF8(string(text[:min(len(text), maxConnectionRecordBytes)]), "")
	l.log.Warn(strings.TrimSpace(message), zap.Int("notLoggedBefore", l.dropped))
	l.dropped = 0
	return len(text), nil
}
