package ratify

import (
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// attached is what is left of a list of referrers once it is read: what will be examined, and words for the rest. The list
// itself has half a mebibyte where a stranger likes, and hundreds of images are examined at the same time.
type attached struct {
	count   int       // of all on the list
	kinds   string    // of all, in words; empty where each verifier has evidence
	matched []matched // for each verifier
}

// matched is what a verifier matches, each piece once: as many as are examined at most.
type matched struct {
	evidence []ocispec.Descriptor
	beyond   int   // how many there are beside
	err      error // of a verifier that broke down over it
}

// sift goes through a list of referrers. The list is the store's own.
func (x *examination) sift(list []ocispec.Descriptor) attached {
	a := attached{count: len(list), matched: make([]matched, len(x.policy.verifiers))}
	for i, v := range x.policy.verifiers {
		if !x.standings[i].settled {
			a.matched[i] = x.match(v, list)
		}
	}
	if slices.ContainsFunc(a.matched, func(m matched) bool { return len(m.evidence) == 0 }) || x.mayBeOfOtherKinds(list) {
		a.kinds = kinds(list)
	}
	return a
}

// mayBeOfOtherKinds tells whether a manifest must be read to know its kind: then a verifier may be left without evidence after
// all.
func (x *examination) mayBeOfOtherKinds(list []ocispec.Descriptor) bool {
	return slices.ContainsFunc(list, func(e ocispec.Descriptor) bool { return kindOf(e) == "" })
}

// match returns what a verifier matches of some lists.
func (x *examination) match(v boundVerifier, lists ...[]ocispec.Descriptor) (m matched) {
	defer x.engine.contain(x.report.TraceID, &m.err)
	// What a descriptor says beside the digest may be a lie, which must not hide the one that is true.
	type claim struct {
		digest                  digest.Digest
		size                    int64
		mediaType, artifactType string
	}
	seen := map[claim][]map[string]string{}
	for _, list := range lists {
		for _, e := range list {
			e.ArtifactType = kindOf(e)
			c := claim{e.Digest, e.Size, e.MediaType, e.ArtifactType}
			// What a finder found may say in annotations what it is: one payload, signed by several.
			same := func(annotations map[string]string) bool { return maps.Equal(annotations, e.Annotations) }
			if slices.ContainsFunc(seen[c], same) || !v.Verifier.Match(e) {
				continue
			}
			seen[c] = append(seen[c], e.Annotations)
			if len(m.evidence) == x.engine.maxEvidence() {
				m.beyond++
				continue
			}
			m.evidence = append(m.evidence, e)
		}
	}
	return m
}

// kindOf is the artifact type of a referrer. Some registries take the config's media type for it even where the manifest has
// one; of what the config is empty, that says nothing.
func kindOf(e ocispec.Descriptor) string {
	if e.ArtifactType == ocispec.MediaTypeEmptyJSON {
		return ""
	}
	return e.ArtifactType
}

// kinds names what is attached instead of what was looked for.
func kinds(referrers []ocispec.Descriptor) string {
	var names []string
	for _, r := range referrers {
		name := "an artifact without a type"
		if kind := kindOf(r); kind != "" {
			name = Quote(kind)
		}
		names = append(names, name)
	}
	return enumerate(names)
}
