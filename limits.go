package ratify

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// Bounds on what one verification may read or do. Each is there because somebody else chooses the input.
const (
	// MaxKeyBytes bounds a reference: a registry name has at most 253+6 bytes, a repository 255, a tag 128, a digest
	// 135 (sha512); 1,024 is above their sum.
	MaxKeyBytes = 1024
	// MaxManifestBytes is what the distribution specification asks registries to accept at least, and what they
	// accept at most in practice.
	MaxManifestBytes = 4 << 20
	// MaxEnvelopeBytes bounds a signature envelope or bundle: those seen are 2 to 100 KiB.
	MaxEnvelopeBytes = 1 << 20
	// MaxDocumentBytes bounds any other blob: an SBOM of a large image has about 10 MiB.
	MaxDocumentBytes = 16 << 20
	// MaxReferrers is what is listed for one subject; a CI that signs daily for a year attaches 365.
	MaxReferrers = 500
	// MaxEvidence is how many pieces of evidence are examined for one subject, whatever their number.
	MaxEvidence = 20
	// maxExaminations is how many pieces are examined, and lists of them read, for one subject in all: those of its platforms,
	// and the signatures of documents that must be proven, included. 32 platforms with three documents of two signatures
	// each take 128 lists and 288 pieces.
	maxExaminations = 500
	// maxParallelEvidence is how many pieces are examined at the same time for one subject: one slow one must not
	// hold up the good ones, and a subject must not take all of the process.
	maxParallelEvidence = 4
	// MaxTextBytes bounds text from outside in a message or a record: the longest distinguished names fit.
	MaxTextBytes = 256
	// defaultValidity is the life of a verdict with no end in sight.
	defaultValidity = 24 * time.Hour
)

// Truncate cuts text from outside to MaxTextBytes, at a rune's boundary.
func Truncate(s string) string {
	if len(s) <= MaxTextBytes {
		return s
	}
	cut := MaxTextBytes - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// Quote makes text from outside fit for a message: truncated, in double quotes, control characters and what is not
// printable escaped.
func Quote(s string) string { return strconv.QuoteToASCII(Truncate(s)) }
