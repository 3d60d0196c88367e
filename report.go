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
	// Namespace is the tenant, where there is one.
	Namespace string `json:"namespace,omitempty"`
	// Subject is the canonical repository@digest, or the reference where no digest is known.
	Subject string `json:"subject"`
	// VerifiedAs is the repository under whose name the image was verified, where a mirror has it under another.
	VerifiedAs string        `json:"verifiedAs,omitempty"`
	Digest     digest.Digest `json:"digest,omitempty"`
	IsSuccess  bool          `json:"isSuccess"`
	// Succeeded says the same as IsSuccess, to templates written for a newer generation of this protocol.
	Succeeded bool `json:"succeeded"`
	Code      Code `json:"code"`
	// WouldBeCode is why the image would be refused, where Code is WOULD_BE_REFUSED.
	WouldBeCode Code `json:"wouldBeCode,omitempty"`
	// Stale says that the image is admitted by an earlier verification, of VerifiedAt, because it could not be verified now,
	// for the reason StaleCode; Code is LAST_KNOWN_GOOD then.
	Stale      bool      `json:"stale,omitempty"`
	StaleCode  Code      `json:"staleCode,omitempty"`
	VerifiedAt time.Time `json:"verifiedAt,omitzero"`
	Policy     string    `json:"policy,omitempty"`
	// DecidedBy names the verifiers that made the decision what it is.
	DecidedBy []string `json:"decidedBy,omitempty"`
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
	// NestedReports say who vouches for the evidence, where that must be proven itself; their subject is the evidence.
	NestedReports []VerifierReport `json:"nestedReports,omitempty"`
}

// Pass makes the report say that the subject is verified, with a code of that outcome, and until when.
func (r *Report) Pass(code Code, end time.Time) {
	r.IsSuccess, r.Succeeded, r.NotAfter = true, true, end.Unix()
	r.Code, r.Message, r.Remedy = code, code.Info().Message, ""
}

// Fail makes the report say that the subject is not verified, and why.
func (r *Report) Fail(problem *Error) {
	r.IsSuccess, r.Succeeded, r.NotAfter = false, false, 0
	r.Code, r.Message, r.Remedy = problem.Code, "verification failed: "+problem.UserMessage(), problem.UserRemedy()
}

// Stand makes of the report of an earlier verification one that says that the subject is admitted by it until end at the
// latest, although it cannot be verified now. It is not to be kept: the next time it may be told.
func (r *Report) Stand(problem *Error, now, end time.Time) {
	r.Stale, r.StaleCode, r.VerifiedAt = true, problem.Code, r.Timestamp
	r.Code, r.Timestamp, r.TraceID = LastKnownGood, now.UTC().Truncate(time.Millisecond), NewTraceID()
	r.NotAfter, r.FreshUntil = min(r.NotAfter, end.Unix()), now
	r.Message = "admitted as verified at " + r.VerifiedAt.UTC().Format(time.RFC3339) + ", it cannot be verified now: " + problem.UserMessage()
	r.Remedy = problem.UserRemedy()
}

// WouldFail makes the report say that the subject is admitted, although it is not verified and the policy, were its mode
// enforce, would not admit it. What could not be told is not to be kept: it may turn out well.
func (r *Report) WouldFail(problem *Error, now time.Time) {
	r.Pass(WouldBeRefused, now.Add(defaultValidity))
	r.WouldBeCode, r.Remedy = problem.Code, problem.UserRemedy()
	r.Message = "would be refused: verification failed: " + problem.UserMessage()
	if !problem.Code.Definitive() {
		r.FreshUntil = now
	}
}
