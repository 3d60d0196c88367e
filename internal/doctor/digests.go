package doctor

import (
	"slices"

	"github.com/ratify-provider/ratify"
)

// An assign is a mutation.
type assign struct {
	Metadata metadata
	Spec     struct {
		ApplyTo    []struct{ Groups, Kinds []string }
		Match      match
		Location   string
		Parameters struct {
			Assign struct {
				ExternalData *struct{ Provider, FailurePolicy string }
			}
		}
	}
}

func (a *assign) ref() string { return ref(kindAssign, "", a.Metadata.Name) }

// locations are where a Pod has images.
func locations() []string {
	return []string{"spec.containers[name:*].image", "spec.initContainers[name:*].image", "spec.ephemeralContainers[name:*].image", "spec.volumes[name:*].image.reference"}
}

// mutations are those that ask ratify for digests.
func (x *examination) mutations() ([]assign, *Unread) {
	all, unread := decoded[assign](x.Snapshot, kindAssign)
	if unread != nil {
		return nil, unread
	}
	providers, _ := decoded[provider](x.Snapshot, kindProvider)
	return slices.DeleteFunc(all, func(a assign) bool {
		data := a.Spec.Parameters.Assign.ExternalData
		return data == nil || data.Provider != mutateProvider && !slices.ContainsFunc(providers, func(p provider) bool {
			return p.Metadata.Name == data.Provider && p.path() == x.MutatePath
		})
	}), nil
}

// mutates tells whether tags are replaced by digests, and whether that is known.
func (x *examination) mutates() (on bool, unread *Unread) {
	mutations, unread := x.mutations()
	return len(mutations) > 0, unread
}

// digests looks for what makes sure that the image that is pulled is the one that was verified.
func digests(x *examination) {
	constraints := x.constraints()
	if len(constraints) == 0 {
		return
	}
	if x.misspelt() {
		x.moot("a constraint has fields that nobody knows")
		return
	}
	if slices.ContainsFunc(constraints, func(c constraint) bool { return c.denies() && c.wide() && c.requiresDigest() }) {
		return
	}
	const why = "a tag can move between its verification and the pull, and what runs is then not what was verified"
	const remedy = "kubectl apply -f library/mutation/images.yaml, or require digests: library/default/samples/constraint-digest.yaml"
	mutations, unread := x.mutations()
	switch {
	case unread != nil:
		x.unseenFor(unread)
		return
	case len(mutations) == 0:
		x.find("", "neither mutations add digests, nor does a constraint require them", why, remedy)
		return
	}
	for _, location := range locations() {
		if !slices.ContainsFunc(mutations, func(a assign) bool { return a.Spec.Location == location && a.forPods() }) {
			x.find("", "no mutation adds digests at "+location, why, remedy)
		}
	}
	for _, a := range mutations {
		if policy := a.Spec.Parameters.Assign.ExternalData.FailurePolicy; policy != "" && policy != "Fail" {
			x.find(a.ref(), "failurePolicy is "+ratify.Truncate(policy), "where the digest is not found the tag stays: "+why, "set failurePolicy to Fail")
		}
		for _, narrow := range a.Spec.Match.narrowed() {
			x.find(a.ref(), narrow, why, remedy)
		}
		for _, left := range x.leftOut(a.Spec.Match.ExcludedNamespaces, constraints) {
			x.find(a.ref(), "it excludes the namespace "+ratify.Truncate(left)+", which the constraint does not", why,
				"exclude the same namespaces in both, or require digests there: library/tenants/samples/constraint-private.yaml")
		}
	}
	x.unpinned(constraints, why)
}

func (a *assign) forPods() bool {
	return slices.ContainsFunc(a.Spec.ApplyTo, func(to struct{ Groups, Kinds []string }) bool {
		return slices.Contains(to.Groups, "") && slices.Contains(to.Kinds, "Pod")
	})
}

// leftOut are the namespaces without mutation in which a tag is enough for the constraints.
func (x *examination) leftOut(excluded []string, constraints []constraint) (list []string) {
	unasked := x.excludedByConfig(processWebhook)
	for _, name := range excluded {
		if slices.Contains(unasked, name) || covers(unasked, name) {
			continue // nothing is verified there either
		}
		enough := slices.ContainsFunc(constraints, func(c constraint) bool {
			return c.denies() && c.wide() && !slices.Contains(c.Spec.Match.ExcludedNamespaces, name) && !covers(c.Spec.Match.ExcludedNamespaces, name)
		})
		required := slices.ContainsFunc(constraints, func(c constraint) bool {
			return c.denies() && c.requiresDigest() && slices.Contains(c.Spec.Match.Namespaces, name)
		})
		if enough && !required {
			list = append(list, name)
		}
	}
	return list
}
