package ratify

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// ReportVersion is the version of the report's shape; the ConstraintTemplate accepts only versions that it knows.
const ReportVersion = "1.0"

// A Report is the answer for one subject: the value of an item for Gatekeeper, and the record in the log.
// Its shape is a wire contract, held by a golden file.
type Report struct {
	Version string `json:"version"`
	// Key is the reference as it was asked for, byte for byte. The engine leaves it empty.
	Key string `json:"key"`
	// Subject is the canonical repository@digest, or the reference where no digest is known.
	Subject   string        `json:"subject"`
	Digest    digest.Digest `json:"digest,omitempty"`
	IsSuccess bool          `json:"isSuccess"`
	// Succeeded says the same as IsSuccess, to templates written for a newer generation of this protocol.
	Succeeded bool   `json:"succeeded"`
	Code      Code   `json:"code"`
	Policy    string `json:"policy,omitempty"`
	// NotAfter is set on success, in Unix seconds: the earliest instant at which the same evidence under this policy
	// could no longer verify.
	NotAfter        int64            `json:"notAfter,omitempty"`
	Message         string           `json:"message"`
	Remedy          string           `json:"remedy,omitempty"`
	Timestamp       time.Time        `json:"timestamp"`
	TraceID         string           `json:"traceID"`
	VerifierReports []VerifierReport `json:"verifierReports"`

	// FreshUntil bounds how long the report may be cached, beside NotAfter; zero: no bound.
	FreshUntil time.Time `json:"-"`
}

// A VerifierReport is what one verifier says of one piece of evidence.
type VerifierReport struct {
	Subject      string         `json:"subject"`
	IsSuccess    bool           `json:"isSuccess"`
	Name         string         `json:"name"`
	Type         string         `json:"type"`
	ArtifactType string         `json:"artifactType,omitempty"`
	Reference    digest.Digest  `json:"reference,omitempty"`
	Code         Code           `json:"code"`
	Message      string         `json:"message"`
	Remedy       string         `json:"remedy,omitempty"`
	Extensions   map[string]any `json:"extensions,omitempty"`
}

// Fail makes the report say that the subject is not verified, and why.
func (r *Report) Fail(problem *Error) {
	r.IsSuccess, r.Succeeded, r.NotAfter = false, false, 0
	r.Code, r.Message, r.Remedy = problem.Code, "verification failed: "+problem.UserMessage(), problem.UserRemedy()
}
