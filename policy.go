package ratify

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Policy says which verifiers must pass for which repositories.
type Policy struct {
	// Name is how reports call it.
	Name string `json:"name"`
	// Scopes are the repositories that it is for: host/repo, host/path/*, host/*, *.domain/* or *. Of all policies the
	// one with the most specific scope applies; two of one scope are an error.
	Scopes []string `json:"scopes"`
	// Verifiers are the names of those that are asked.
	Verifiers []string `json:"verifiers"`
	// Require says how many of them must pass: all (the default), any, or a number.
	Require Require `json:"require"`
}

// Require is how many verifiers of a policy must pass: 0 is all of them.
type Require int

// RequireAll and RequireAny are written all and any.
const (
	RequireAll Require = 0
	RequireAny Require = 1
)

// UnmarshalJSON takes all, any, or a positive number; null is absence.
func (r *Require) UnmarshalJSON(data []byte) error {
	switch string(data) {
	case "null":
		return nil
	case `"all"`:
		*r = RequireAll
		return nil
	case `"any"`:
		*r = RequireAny
		return nil
	}
	var n int
	if err := json.Unmarshal(data, &n); err != nil || n < 1 {
		return fmt.Errorf("expected all, any or a positive number, got %s", Truncate(string(data)))
	}
	*r = Require(n)
	return nil
}

// MarshalJSON writes it as it is read.
func (r Require) MarshalJSON() ([]byte, error) {
	if r == RequireAll {
		return []byte(`"all"`), nil
	}
	return json.Marshal(int(r))
}

// verdict is what is known of one verifier, or of a whole policy: a truth value with a third state. The zero value
// proves nothing.
type verdict int

const (
	unknown verdict = iota
	refused
	passed
)

// tally counts the verdicts of a policy's verifiers.
type tally struct{ passed, refused, unknown int }

func (t *tally) add(v verdict) {
	switch v {
	case passed:
		t.passed++
	case refused:
		t.refused++
	default:
		t.unknown++
	}
}

// decide says whether the policy holds. What could not be read matters only where it could change the decision.
func (r Require) decide(t tally) verdict {
	need := int(r)
	if r == RequireAll {
		need = t.passed + t.refused + t.unknown
	}
	switch {
	case need > 0 && t.passed >= need:
		return passed
	case t.passed+t.unknown < need || need <= 0:
		return refused
	default:
		return unknown
	}
}

// validity is until when a decision holds that rests on verifiers which hold until the given instants, of which the
// requirement needs some: with all, the earliest; with any, the latest; with N, the N-th latest. Zero has no end.
func (r Require) validity(ends []time.Time) time.Time {
	if len(ends) == 0 {
		return time.Time{}
	}
	slices.SortFunc(ends, laterFirst)
	need := int(r)
	if r == RequireAll || need > len(ends) {
		need = len(ends)
	}
	return ends[need-1]
}

// laterFirst orders instants from the latest to the earliest; zero, which has no end, is the latest.
func laterFirst(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	default:
		return b.Compare(a)
	}
}

// earlier returns the earlier of two ends; zero has no end.
func earlier(a, b time.Time) time.Time {
	if laterFirst(a, b) <= 0 {
		return b
	}
	return a
}
