package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ratify-provider/ratify"
)

const (
	// maxReportBytes bounds one encoded report: ten verifier reports with the names of two certificates each. With 64 keys
	// a response has 1 MiB at most, which is in memory thrice while it is written (maxWriters).
	maxReportBytes = 16 << 10
	// maxVerifiersBytes bounds the verifier reports in the log: 20 reports of 3 KiB.
	maxVerifiersBytes = 64 << 10
)

// A verdict is a report, encoded but for the key, which differs between askers. It does not change any more.
type verdict struct {
	report    ratify.Report   // without its verifier reports
	encoded   []byte          // the report's JSON with an empty key
	record    []byte          // the same for the log; it shares the memory of encoded unless it differs
	verifiers json.RawMessage // a part of record
	pieces    pieces          // where it may be the last known good
	cause     error           // why it is that now, for the log
}

// keyPrefix is how every encoded report begins; an empty key follows.
const keyPrefix = `{"version":"` + ratify.ReportVersion + `","key":`

// newVerdict encodes a report. Errors are *ratify.Error with the code INTERNAL.
func newVerdict(report *ratify.Report) (*verdict, error) {
	encoded, err := fit(report, maxReportBytes, func(r *ratify.Report) any { return r })
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: %w", err)}
	}
	verifiers, err := fit(report, maxVerifiersBytes, func(r *ratify.Report) any { return r.VerifierReports })
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the verifier reports: %w", err)}
	}
	return seal(report, encoded, verifiers)
}

// seal makes a verdict of a report, its JSON, and the verifier reports for the log.
func seal(report *ratify.Report, encoded, verifiers []byte) (v *verdict, err error) {
	v = &verdict{report: *report, encoded: encoded}
	v.report.VerifierReports = nil
	if v.record, err = encodeRecord(&v.report, verifiers); err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report for the log: %w", err)}
	}
	for _, text := range [][]byte{v.encoded, v.record} {
		if !bytes.HasPrefix(text, []byte(keyPrefix+`""`)) {
			return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: it does not begin with %s", keyPrefix)}
		}
	}
	if bytes.Equal(v.record, v.encoded) {
		v.record = v.encoded
	}
	end := len(v.record) - len("}")
	if v.verifiers = v.record[max(0, end-len(verifiers)):end:end]; !bytes.Equal(v.verifiers, verifiers) {
		return nil, &ratify.Error{Code: ratify.Internal, Err: errors.New("encode the report: it does not end with its verifier reports")}
	}
	return v, nil
}

// verifiersField is the last field of a report: in its JSON nothing before it has a name within quotes that are not escaped.
const verifiersField = `,"verifierReports":`

// stand makes the verdict one by which the image is admitted until end at the latest, although it cannot be told now. What
// the verifiers say is what they said then, unless that made the report too long.
func (v *verdict) stand(problem *ratify.Error, end time.Time) (*verdict, error) {
	report := v.report
	report.Stand(problem, time.Now(), end)
	report.Message = cut(report.Message, maxReasonBytes)
	head, err := json.Marshal(&report)
	if err != nil {
		return nil, err
	}
	_, then, _ := bytes.Cut(v.encoded, []byte(verifiersField))
	head, _, _ = bytes.Cut(head, []byte(verifiersField))
	encoded := slices.Concat(head, []byte(verifiersField), then)
	if len(encoded) > maxReportBytes {
		encoded = slices.Concat(head, []byte(verifiersField+"[]}"))
	}
	stands, err := seal(&report, encoded, v.verifiers)
	if err != nil {
		return nil, err
	}
	stands.cause = problem.Err
	return stands, nil
}

// fit encodes a part of the report. What is longer than the bound loses what is only for reading: the extensions, nested
// reports, long messages, and then as many verifier reports as must go.
func fit(report *ratify.Report, bound int, part func(*ratify.Report) any) ([]byte, error) {
	encoded, err := json.Marshal(part(report))
	if err != nil || len(encoded) <= bound {
		return encoded, err
	}
	short := *report
	short.Message, short.Remedy = ratify.Truncate(report.Message), ratify.Truncate(report.Remedy)
	short.VerifierReports = slices.Clone(report.VerifierReports)
	for i := range short.VerifierReports {
		r := &short.VerifierReports[i]
		r.Extensions, r.NestedReports = map[string]any{"shortened": true}, nil
		r.Message, r.Remedy = ratify.Truncate(r.Message), ratify.Truncate(r.Remedy)
	}
	for {
		encoded, err = json.Marshal(part(&short))
		if err != nil || len(encoded) <= bound || len(short.VerifierReports) == 0 {
			return encoded, err
		}
		short.VerifierReports = short.VerifierReports[:len(short.VerifierReports)/2]
	}
}

// afterKey is what follows the key in an encoded report.
func afterKey(encoded []byte) []byte { return encoded[len(keyPrefix)+len(`""`):] }

// size is what the verdict holds in memory, for the cache's bound.
func (v *verdict) size() int64 {
	const fixed = 704 // the report's own strings and the structure, measured with 100,000 verdicts
	size := int64(cap(v.encoded)) + fixed + v.pieces.size()
	if len(v.record) != len(v.encoded) || !bytes.Equal(v.record, v.encoded) {
		size += int64(cap(v.record))
	}
	return size
}

// life is how long the verdict may be kept: its TTL, or what its certificates and revocation answers leave of it.
func (v *verdict) life(now time.Time, ttl time.Duration) time.Duration {
	if !v.report.IsSuccess {
		return ttl
	}
	ttl = min(ttl, time.Unix(v.report.NotAfter, 0).Sub(now))
	if fresh := v.report.FreshUntil; !fresh.IsZero() {
		ttl = min(ttl, fresh.Sub(now))
	}
	return ttl
}
