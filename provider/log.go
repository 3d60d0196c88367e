package provider

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/ratify-provider/ratify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxCauseBytes bounds an error in the log: some layers of words, and an outside text or two.
const maxCauseBytes = 1 << 10

func panicField(value any) zap.Field {
	return zap.String("panic", cut(fmt.Sprint(value), maxCauseBytes))
}

// record writes one log record for each key, the whole report in it, and counts the verdict.
func (p *Provider) record(operation, requestID string, answers []answer, took time.Duration) {
	for _, a := range answers {
		report, verifiers := a.report, json.RawMessage(nil)
		if a.verdict != nil {
			report, verifiers = &a.verdict.report, a.verdict.verifiers
		}
		if report == nil {
			report = &ratify.Report{Version: ratify.ReportVersion, Subject: shown(a.key), Timestamp: time.Now().UTC(), TraceID: ratify.NewTraceID()}
			report.Fail(a.problem)
		}
		p.options.Metrics.verdicts.WithLabelValues(operation, string(report.Code)).Inc()
		if report.Code == ratify.WouldBeRefused {
			p.options.Metrics.wouldBeRefused.WithLabelValues(report.Policy, string(report.WouldBeCode)).Inc()
		}
		level := zap.InfoLevel
		if !report.IsSuccess || report.Code == ratify.WouldBeRefused {
			level = zap.WarnLevel
		}
		entry := p.options.Log.Check(level, operation)
		if entry == nil {
			continue
		}
		fields := []zap.Field{
			zap.Inline(loggedReport{report, verifiers, shown(a.key)}),
			zap.Bool("cached", a.cached), zap.String("requestID", requestID), zap.Duration("took", took),
		}
		if a.problem != nil && a.problem.Err != nil {
			fields = append(fields, zap.String("cause", cut(a.problem.Err.Error(), maxCauseBytes)))
		}
		entry.Write(fields...)
	}
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
