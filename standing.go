package ratify

import (
	"slices"
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

func (o outcome) passed() bool { return o.report.IsSuccess }

// examined tells whether the outcome says anything.
func (o outcome) examined() bool { return o.report.Code != NotExamined }

// ofSeveral tells whether one good piece is not enough.
func (s *standing) ofSeveral() bool { return s.mode == PiecesAll || s.mode == PiecesNewest }

func (s *standing) verdict() verdict {
	decisive := s.decisive()
	good := slices.ContainsFunc(decisive, outcome.passed)
	bad := slices.ContainsFunc(decisive, func(o outcome) bool { return o.proven && !o.passed() })
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
		case slices.ContainsFunc(decisive, func(o outcome) bool { return o.proven && !o.passed() && o.made.IsZero() }):
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
	refusal := func(o outcome) bool { return o.proven && !o.passed() }
	return s.ofSeveral() && slices.ContainsFunc(s.decisive(), refusal)
}

// decisive are the outcomes that decide. Where none is proven, they are all that there is, to say why.
func (s *standing) decisive() []outcome {
	var proven, all []outcome
	var newest time.Time
	for _, o := range s.outcomes {
		if !o.examined() {
			continue
		}
		all = append(all, o)
		if o.proven {
			proven = append(proven, o)
			if o.made.After(newest) {
				newest = o.made
			}
		}
	}
	if !s.ofSeveral() || len(proven) == 0 {
		return all
	}
	if s.mode == PiecesNewest {
		// One without a date may be newer than any.
		proven = slices.DeleteFunc(proven, func(o outcome) bool { return !o.made.IsZero() && o.made.Before(newest) })
	}
	return proven
}

// validity is until when a verifier that passed does so, and how long that may be kept: where one piece is enough, by the
// one that lasts longest; else by the one that ends first.
func (s *standing) validity() (end, fresh time.Time) {
	first := true
	for _, o := range s.decisive() {
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
	for _, o := range s.decisive() {
		if o.passed() && o.report.Code != Audited {
			code = o.report.Code
		}
	}
	return code
}
