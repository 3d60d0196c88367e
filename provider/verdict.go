package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ratify-provider/ratify"
)

// maxReportBytes bounds one encoded report: 20 verifier reports of 3 KiB. With 64 keys a response has 4 MiB at most.
const maxReportBytes = 64 << 10

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
	encoded, err := json.Marshal(report)
	if err == nil && len(encoded) > maxReportBytes {
		encoded, err = json.Marshal(shortened(report))
	}
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: %w", err)}
	}
	if !bytes.HasPrefix(encoded, append(bytes.Clone(keyPrefix), `""`...)) {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the report: it does not begin with %s", keyPrefix)}
	}
	verifiers, err := json.Marshal(report.VerifierReports)
	if err != nil {
		return nil, &ratify.Error{Code: ratify.Internal, Err: fmt.Errorf("encode the verifier reports: %w", err)}
	}
	v := &verdict{report: *report, encoded: encoded, verifiers: verifiers}
	v.report.VerifierReports = nil
	return v, nil
}

// shortened is the report without what is only for reading: the extensions, and of the verifier reports the first ones.
func shortened(report *ratify.Report) *ratify.Report {
	const most = 20
	short := *report
	short.VerifierReports = make([]ratify.VerifierReport, 0, most)
	for _, r := range report.VerifierReports[:min(most, len(report.VerifierReports))] {
		r.Extensions = map[string]any{"shortened": true}
		r.Message, r.Remedy = ratify.Truncate(r.Message), ratify.Truncate(r.Remedy)
		short.VerifierReports = append(short.VerifierReports, r)
	}
	return &short
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
