package ratify

import (
	"fmt"
	"strings"
)

// A Mirror says under which name images are verified that are pulled from elsewhere than where they were signed. Policies,
// trust policies and exemptions see that name.
type Mirror struct {
	// PulledFrom is a scope, as a pod's image has it: host/repo, host/path/* or host/*.
	PulledFrom string `json:"pulledFrom"`
	// VerifyAs is what stands for it: a repository, or a prefix with /* where PulledFrom has one; what is below stays.
	VerifyAs string `json:"verifyAs"`
	// Evidence is where signatures and documents are read: in the mirror, which must then have copied them, or at the
	// origin. The image itself is always read where it is pulled from. Default: mirror.
	Evidence EvidenceAt `json:"evidence,omitempty"`
}

// EvidenceAt is where a mirrored image's evidence is.
type EvidenceAt string

// The places; empty is EvidenceAtMirror.
const (
	EvidenceAtMirror EvidenceAt = "mirror"
	EvidenceAtOrigin EvidenceAt = "origin"
)

func (e *Engine) addMirror(place string, m Mirror) (errs []error) {
	from, err := parseScope(m.PulledFrom)
	if err != nil {
		errs = append(errs, fmt.Errorf("%s: pulledFrom: %w", place, err))
	}
	as, asErr := parseScope(m.VerifyAs)
	if asErr != nil {
		errs = append(errs, fmt.Errorf("%s: verifyAs: %w", place, asErr))
	}
	if m.Evidence != "" && m.Evidence != EvidenceAtMirror && m.Evidence != EvidenceAtOrigin {
		errs = append(errs, fmt.Errorf("%s: evidence: expected %s or %s, got %s", place, EvidenceAtMirror, EvidenceAtOrigin, Quote(string(m.Evidence))))
	}
	if len(errs) > 0 {
		return errs
	}
	if from.kind != as.kind || from.kind != scopeExact && from.kind != scopeBelow {
		return []error{fmt.Errorf("%s: pulledFrom and verifyAs must both be repositories, or both end in /* below a host or path", place)}
	}
	return e.mirrors.add(place, []string{m.PulledFrom}, m)
}

// verifiedAs is the name under which the subject is verified, and the mirror's rule, or nil.
func (e *Engine) verifiedAs(s Subject) (Subject, *Mirror, error) {
	m, ok := e.mirrors.find(s.Repository)
	if !ok {
		return s, nil, nil
	}
	name := m.VerifyAs
	if prefix, below := strings.CutSuffix(m.PulledFrom, "*"); below {
		name = strings.TrimSuffix(m.VerifyAs, "*") + strings.TrimPrefix(s.Repository, prefix)
	}
	// docker.io/nginx, say, is the name of nothing: its repository is docker.io/library/nginx.
	parsed, err := ParseKey(name)
	if err != nil || parsed.Repository != name {
		return s, nil, &Error{Code: BadReference, Message: "by its mirror's rule the image would be verified as " + Quote(name) + ", which is no canonical name of a repository"}
	}
	s.Repository = name
	return s, &m, nil
}
