package doctor

import (
	"fmt"
	"slices"

	"github.com/ratify-provider/ratify"
)

// A gatekeeperConfig is Gatekeeper's Config, whose exclusions are before every constraint and mutation.
type gatekeeperConfig struct {
	Metadata metadata
	Spec     struct {
		Match []struct{ ExcludedNamespaces, Processes []string }
	}
}

// What Gatekeeper calls what a namespace can be excluded from, of which audit and sync admit nothing.
const (
	processWebhook  = "webhook"
	processMutation = "mutation-webhook"
)

// An exclusion is a namespace, or a pattern of some, that a Config leaves out.
type exclusion struct{ place, namespace string }

// exclusions are what Gatekeeper's Config leaves out of a process. Of one by another name Gatekeeper takes no notice.
func (x *examination) exclusions(process string) (list []exclusion) {
	configs, _ := decoded[gatekeeperConfig](x.Snapshot, kindConfig)
	for _, c := range configs {
		if c.Metadata.Name != "config" {
			continue
		}
		for i, m := range c.Spec.Match {
			if !slices.Contains(m.Processes, "*") && !slices.Contains(m.Processes, process) {
				continue
			}
			for _, name := range m.ExcludedNamespaces {
				list = append(list, exclusion{fmt.Sprintf("%s: spec.match[%d]", ref(kindConfig, c.Metadata.Namespace, c.Metadata.Name), i), name})
			}
		}
	}
	return list
}

// excludedByConfig are the namespaces that Gatekeeper's Config leaves out of a process.
func (x *examination) excludedByConfig(process string) (names []string) {
	for _, e := range x.exclusions(process) {
		names = append(names, e.namespace)
	}
	return names
}

// configCoverage judges the Config as a constraint's excludedNamespaces, and tells whether it leaves any namespace to the
// constraints.
func (x *examination) configCoverage() bool {
	if unread := x.unread[kindConfig]; unread != nil && unread.Wanted {
		x.unseenFor(unread)
	}
	excluded := x.exclusions(processWebhook)
	for _, e := range excluded {
		if everything(e.namespace) {
			x.find(e.place, "it excludes every namespace ("+ratify.Truncate(e.namespace)+") from "+processWebhook,
				"Gatekeeper admits every pod before it looks at a constraint", "take it away, and exclude what must be by excludedNamespaces of the constraint")
			return false
		}
	}
	if rest := x.beside(x.excludedByConfig(processWebhook)); len(rest) > 0 {
		x.note("Gatekeeper's Config excludes the namespaces " + ratify.Truncate(commas(rest)))
	}
	return true
}

// unpinned finds the namespaces in which the Config keeps mutation from adding digests, and a tag is enough for the constraints.
func (x *examination) unpinned(constraints []constraint, why string) {
	for _, e := range x.exclusions(processMutation) {
		for _, left := range x.leftOut([]string{e.namespace}, constraints) {
			x.find(e.place, "it excludes the namespace "+ratify.Truncate(left)+" from "+processMutation+", which the constraint does not", why,
				"take it away, or exclude the same namespaces in both, or require digests there: library/tenants/samples/constraint-private.yaml")
		}
	}
}
