package provider

import (
	"bytes"
	"encoding/json"
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
	report    ratify.Report // without its verifier reports
	encoded   []byte        // the report's JSON with an empty key
	verifiers json.RawMessage
}

// keyPrefix is how every encoded report begins; an empty key follows.
var keyPrefix = []byte(`{"version":"` + ratify.ReportVersion + `","key":`)

// newVerdict encodes a report. Errors are *ratify.Error with the code INTERNAL.
func newVerdict(report *ratify.Report) (*verdict, error) {
	encoded, err := fit(report, maxReportBytes, func(r *ratify.Report) any { return r })
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: %w", err)}
	}
	if !bytes.HasPrefix(encoded, append(bytes.Clone(keyPrefix), `""`...)) {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: it does not begin with %s", keyPrefix)}
	}
	verifiers, err := fit(report, maxVerifiersBytes, func(r *ratify.Report) any { return r.VerifierReports })
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the verifier reports: %w", err)}
	}
	v := &verdict{report: *report, encoded: encoded, verifiers: verifiers}
	v.report.VerifierReports = nil
	return v, nil
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

// value is the item's value for one key: the report with the key, byte for byte, spliced in.
func (v *verdict) value(key string) json.RawMessage {
	quoted, _ := json.Marshal(key) // a string always has a JSON form
	value := make([]byte, 0, len(v.encoded)+len(quoted))
	value = append(value, keyPrefix...)
	value = append(value, quoted...)
	return append(value, v.encoded[len(keyPrefix)+len(`""`):]...)
}

// size is what the verdict holds in memory, for the cache's bound.
func (v *verdict) size() int64 {
	const fixed = 512 // the report's own strings and the structure
	return int64(len(v.encoded)+len(v.verifiers)) + fixed
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
