package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
)

// A mirrored image goes by another name than it is pulled by.
type mirrored struct {
	VerifiedAs string `json:"verifiedAs,omitempty"`
	// EvidenceFrom is the repository that the evidence was read from, where it is not the image's.
	EvidenceFrom string `json:"evidenceFrom,omitempty"`
}

// mirroredOf tells under which name a subject is verified, empty where no mirror's rule holds it.
func mirroredOf(g *generation, subject ratify.Subject) (m mirrored) {
	m.VerifiedAs = g.engine.NewReport(subject).VerifiedAs
	if m.VerifiedAs == "" {
		return m
	}
	if at := mirrorOf(subject.Repository, g.setup.Mirrors); at >= 0 && g.setup.Mirrors[at].Evidence == ratify.EvidenceAtOrigin {
		m.EvidenceFrom = m.VerifiedAs
	}
	return m
}

// mirrorOf finds the most specific rule for all of a scope, as the engine does for a repository, or -1.
func mirrorOf(scope string, mirrors []ratify.Mirror) int {
	best := -1
	for i, rule := range mirrors {
		if ratify.ScopeWithin(scope, rule.PulledFrom) && (best < 0 || ratify.ScopeWithin(rule.PulledFrom, mirrors[best].PulledFrom)) {
			best = i
		}
	}
	return best
}

func (a *app) printMirrored(m mirrored) {
	switch {
	case m.EvidenceFrom != "":
		fmt.Fprintf(a.out, "evidence read from %s, verified as %s\n", plain(m.EvidenceFrom), plain(m.VerifiedAs))
	case m.VerifiedAs != "":
		fmt.Fprintf(a.out, "verified as %s\n", plain(m.VerifiedAs))
	}
}

// warnMirrored warns of policies for the name that images are pulled by from a mirror: none is verified under it. An
// exemption holds by either name.
func (g *generation) warnMirrored() (warnings []string) {
	for i, policy := range g.setup.Policies {
		for _, scope := range policy.Scopes {
			at := mirrorOf(scope, g.setup.Mirrors)
			named := slices.ContainsFunc(g.setup.Mirrors, func(m ratify.Mirror) bool {
				return ratify.ScopeWithin(scope, m.VerifyAs) || ratify.ScopeWithin(m.VerifyAs, scope)
			})
			if at < 0 || named {
				continue
			}
			place := placeOf("policies", i, config.Module{Name: policy.Name})
			if i >= len(g.file.Policies) { // a tenant's, which stands in its own file
				place = "policy " + ratify.Quote(policy.Name)
			}
			warnings = append(warnings, fmt.Sprintf("%s: scopes: %s holds nothing: images there are verified as %s, by mirrors[%d]; write the scope for that name",
				place, ratify.Quote(scope), originOf(scope, g.setup.Mirrors[at]), at))
		}
	}
	return warnings
}

// originOf is the scope by the name that a mirror's images are verified under.
func originOf(scope string, m ratify.Mirror) string {
	if prefix, below := strings.CutSuffix(m.PulledFrom, "*"); below {
		return strings.TrimSuffix(m.VerifyAs, "*") + strings.TrimPrefix(scope, prefix)
	}
	return m.VerifyAs
}
