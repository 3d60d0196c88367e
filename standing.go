package ratify

import (
	"iter"
	"time"
)

// A standing is what is known of one verifier of a policy: the outcome of each piece of its evidence so far.
type standing struct {
	mode     Pieces
	left     int      // pieces not examined, yet or at all
	pieces   int      // pieces to examine
	others   []string // what pieces turned out to be instead
	settled  bool     // nothing is asked for
	problem  *Error   // why something could not be read
	limit    *Error   // a bound that kept evidence from being read
	outcomes []outcome
}

// An outcome is what is known of one piece of evidence, or of its absence.
type outcome struct {
	report VerifierReport
	// proven: somebody who is trusted made it. Where it is not, it only says why there is nothing better.
	proven           bool
	made, end, fresh time.Time
	claims           map[string]any // beside the report's extensions
}

func (o *outcome) passed() bool { return o.report.IsSuccess }

// refuses tells whether the outcome is a refusal that counts.
func (o *outcome) refuses() bool { return o.proven && !o.passed() }

// examined tells whether the outcome says anything.
func (o *outcome) examined() bool { return o.report.Code != NotExamined }

// ofSeveral tells whether one good piece is not enough.
func (s *standing) ofSeveral() bool { return s.mode == PiecesAll || s.mode == PiecesNewest }

func (s *standing) verdict() verdict {
	good, bad, undated := false, false, false
	for o := range s.decisive() {
		good = good || o.passed()
		bad = bad || o.refuses()
		undated = undated || o.refuses() && o.made.IsZero()
	}
	open := s.left > 0 || s.problem != nil
	switch s.mode {
	case PiecesAll:
		switch {
		case bad:
			return refused
		case open:
			return unknown
		case good && s.limit == nil: // what lies past a bound could be a refusal
			return passed
		}
	case PiecesNewest:
		switch {
		case undated:
			return refused // whatever else there is
		case open: // what is not known may be newer
			return unknown
		case good && !bad && s.limit == nil:
			return passed
		}
	default:
		switch {
		case good:
			return passed
		case open:
			return unknown
		}
	}
	// Where a bound was reached, what was read does not prove the image, and asking again would read no more.
	return refused
}

// refuses tells whether a proven piece refuses where all decide, or the newest: then that is the reason, and not what lies
// past a bound.
func (s *standing) refuses() bool {
	for o := range s.decisive() {
		if s.ofSeveral() && o.refuses() {
			return true
		}
	}
	return false
}

// decisive are the outcomes that decide. Where none is proven, they are all that there is, to say why.
func (s *standing) decisive() iter.Seq[*outcome] {
	return func(yield func(*outcome) bool) {
		proven, newest := s.proven()
		for i := range s.outcomes {
			if o := &s.outcomes[i]; s.decides(o, proven, newest) && !yield(o) {
				return
			}
		}
	}
}

// decides tells whether the outcome decides, where any is proven, the newest of them at the given instant.
func (s *standing) decides(o *outcome, proven bool, newest time.Time) bool {
	switch {
	case !o.examined(), proven && !o.proven:
		return false
	case proven && s.mode == PiecesNewest:
		// One without a date may be newer than any.
		return o.made.IsZero() || !o.made.Before(newest)
	}
	return true
}

// proven tells whether it matters what is proven, because there is such a thing, and when the newest of it was made.
func (s *standing) proven() (proven bool, newest time.Time) {
	for i := range s.outcomes {
		if o := &s.outcomes[i]; s.ofSeveral() && o.proven && o.examined() {
			proven = true
			if o.made.After(newest) {
				newest = o.made
			}
		}
	}
	return proven, newest
}

// validity is until when a verifier that passed does so, and how long that may be kept: where one piece is enough, by the
// one that lasts longest; else by the one that ends first.
func (s *standing) validity() (end, fresh time.Time) {
	first := true
	for o := range s.decisive() {
		if !o.passed() {
			continue
		}
		switch {
		case first:
			end, fresh, first = o.end, o.fresh, false
		case s.ofSeveral():
			end, fresh = earlier(end, o.end), earlier(fresh, o.fresh)
		case laterFirst(o.end, end) < 0:
			end, fresh = o.end, o.fresh
		}
	}
	return end, fresh
}

// code is how a verifier passed: by its best evidence.
func (s *standing) code() Code {
	code := Audited
	for o := range s.decisive() {
		if o.passed() && o.report.Code != Audited {
			code = o.report.Code
		}
	}
	return code
}
