package ratify

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// An Exemption admits images without verification until an instant. It is written down with its reason, and it ends.
type Exemption struct {
	// Scopes are the repositories that it is for, as in policies; none: all repositories that have one of Digests.
	Scopes []string `json:"scopes,omitempty"`
	// Digests are the images that it is for; none: all of Scopes.
	Digests []digest.Digest `json:"digests,omitempty"`
	// Namespaces are the tenants that it is for, as in policies; none: all, and the cluster.
	Namespaces []string `json:"namespaces,omitempty"`
	// Reason is shown in reports.
	Reason string `json:"reason"`
	// Expires is when it ends.
	Expires Instant `json:"expires"`
}

// Instant is written as RFC 3339 has it, 2026-12-31T12:00:00Z, or as a date, with whose end, in UTC, it comes.
type Instant struct{ time.Time }

// maxYear is the last that RFC 3339 can write; there is no year before 1.
const maxYear = 9999

// UnmarshalJSON takes an instant or a date; null is absence.
func (i *Instant) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		at, err := time.Parse(time.RFC3339, text)
		if day, dayErr := time.Parse(time.DateOnly, text); dayErr == nil {
			at, err = day.AddDate(0, 0, 1), nil
		}
		if at = at.UTC(); err == nil && at.Year() >= 1 && at.Year() <= maxYear {
			i.Time = at
			return nil
		}
	}
	return fmt.Errorf("expected a date such as 2026-12-31, or an instant such as 2026-12-31T12:00:00Z, got %s", Truncate(string(data)))
}

// exemption is one whose scopes have been parsed.
type exemption struct {
	Exemption
	scopes []scope
}

func newExemptions(list []Exemption, tenancy bool) (exemptions []exemption, errs []error) {
	for i, x := range list {
		place := fmt.Sprintf("exemptions[%d]", i)
		fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(place+": "+format, args...)) }
		e := exemption{Exemption: x}
		for _, text := range x.Scopes {
			s, err := parseScope(text)
			if err != nil {
				fail("scopes: %w", err)
			}
			e.scopes = append(e.scopes, s)
		}
		for _, d := range x.Digests {
			if err := d.Validate(); err != nil {
				fail("digests: %s: %w", Quote(d.String()), err)
			}
		}
		if len(x.Namespaces) > 0 && !tenancy {
			fail("namespaces: they have no effect without tenancy")
		}
		for _, pattern := range x.Namespaces {
			if err := CheckNamespacePattern(pattern); err != nil {
				fail("namespaces: %w", err)
			}
		}
		if len(x.Scopes) == 0 && len(x.Digests) == 0 {
			fail("it names no scopes and no digests")
		}
		if x.Reason == "" {
			fail("reason: it has none")
		}
		if x.Expires.IsZero() {
			fail("expires: it has none; an exemption must end")
		}
		exemptions = append(exemptions, e)
	}
	return exemptions, errs
}

// holds tells whether the exemption is for a subject that goes by one of the names. Without a digest, one that needs it
// is not.
func (x exemption) holds(names []Subject, now time.Time) bool {
	return x.Expires.After(now) && slices.ContainsFunc(names, func(s Subject) bool {
		inScope := len(x.scopes) == 0 || slices.ContainsFunc(x.scopes, func(sc scope) bool { return sc.holds(s.Repository) })
		inDigests := len(x.Digests) == 0 || slices.Contains(x.Digests, s.Digest)
		inNamespaces := len(x.Namespaces) == 0 || slices.ContainsFunc(x.Namespaces, func(p string) bool { return MatchNamespace(p, s.Namespace) })
		return inScope && inDigests && inNamespaces
	})
}

// exempt writes into the report that the subject is exempt, if it is. A subject that a mirror has goes by two names.
func (e *Engine) exempt(report *Report, names ...Subject) bool {
	now := e.now()
	var end time.Time
	reason := ""
	for _, x := range e.exemptions {
		if x.holds(names, now) && x.Expires.After(end) {
			end, reason = x.Expires.Time, x.Reason
		}
	}
	if reason == "" {
		return false
	}
	// Beyond the default it is looked at again all the same.
	report.Pass(Exempt, earlier(end, now.Add(defaultValidity)))
	report.Message = fmt.Sprintf("%s until %s: %s", Exempt.Info().Message, end.UTC().Format(time.RFC3339), Truncate(reason))
	return true
}

// ExpiredExemptions are the places of those that have ended, which is no error, for a configuration that was good must
// still be when the process starts again.
func (e *Engine) ExpiredExemptions() (places []string) {
	for i, x := range e.exemptions {
		if !x.Expires.After(e.now()) {
			places = append(places, fmt.Sprintf("exemptions[%d]: it ended at %s", i, x.Expires.UTC().Format(time.RFC3339)))
		}
	}
	return places
}
