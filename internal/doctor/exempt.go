package doctor

import "slices"

// A namespace is what matters of a Namespace.
type namespace struct{ Metadata metadata }

// systemNamespace is where the network, the names and the nodes of a cluster are kept up, without which no pod starts.
const systemNamespace = "kube-system"

// exemptNamespaces looks for a way in for what everything else waits for. What Gatekeeper needs to start, itself among it, must be
// exempt at the webhook: with failurePolicy Fail that is asked before any constraint is looked at. For ratify the constraint is
// enough, since Gatekeeper starts without it.
func exemptNamespaces(x *examination) {
	labels, unread := x.namespaceLabels()
	gatekeepers := x.gatekeeperNamespace()
	hooks := x.failing()
	for _, name := range sorted([]string{gatekeepers, systemNamespace}) {
		for _, w := range hooks {
			x.atWebhook(w, name, labels, unread)
		}
	}
	if x.namespace != gatekeepers && x.namespace != systemNamespace {
		x.ownNamespace(labels[x.namespace])
	}
}

// namespaceLabels are the labels of the namespaces that were read; of those about which Gatekeeper is not asked a note tells.
func (x *examination) namespaceLabels() (labels map[string]map[string]string, unread *Unread) {
	namespaces, unread := decoded[namespace](x.Snapshot, kindNamespace)
	labels = map[string]map[string]string{}
	for _, n := range namespaces {
		labels[n.Metadata.Name] = n.Metadata.Labels
		if _, ignored := n.Metadata.Labels[ignoreLabel]; ignored && len(x.beside([]string{n.Metadata.Name})) > 0 {
			x.note("Gatekeeper is not asked about the namespace " + n.Metadata.Name + ", by its label " + ignoreLabel)
		}
	}
	return labels, unread
}

// failing are the webhooks without whose answer nothing is admitted.
func (x *examination) failing() (hooks []*webhook) {
	if w := x.hook(kindValidating, validation); w != nil && w.FailurePolicy != policyIgnore {
		hooks = append(hooks, w)
	}
	configurations, unread := decoded[webhookConfiguration](x.Snapshot, kindMutating)
	if unread != nil && unread.Wanted {
		x.unseenFor(unread)
	}
	if w := findHook(configurations, kindMutating, mutation); w != nil && w.FailurePolicy != policyIgnore {
		hooks = append(hooks, w)
	}
	if len(hooks) == 0 {
		x.moot("no webhook was read that keeps a pod waiting")
	}
	return hooks
}

// labelled are the labels of a namespace with the one that the API server gives each.
func labelled(name string, labels map[string]string) map[string]string {
	own := map[string]string{nameLabel: name}
	for key, value := range labels {
		own[key] = value
	}
	return own
}

// atWebhook finds a namespace of which a webhook is asked about the pods, although the webhook cannot answer before they run.
func (x *examination) atWebhook(w *webhook, name string, labels map[string]map[string]string, unread *Unread) {
	known, there := labels[name]
	message, why := "about the pods of "+name, "once Gatekeeper is away, they cannot start, and Gatekeeper may need them to; that the constraint excludes the namespace does not help, for the webhook is asked first"
	if name == x.gatekeeperNamespace() {
		message, why = message+", Gatekeeper's own", "once Gatekeeper is away, it cannot start again: who would let it in is what is away"
	}
	switch {
	case !w.NamespaceSelector.matches(labelled(name, known)):
	case unread != nil:
		x.unseenFor(unread)
	case !there && !x.complete:
		x.moot("what was given has no " + ref(kindNamespace, "", name))
	default:
		x.find(w.ref, "webhook "+w.Name+" is asked "+message, why,
			"start Gatekeeper with --exempt-namespace="+name+" (controllerManager.exemptNamespaces in its chart), which allows the label, and kubectl label namespace "+name+" "+ignoreLabel+"=yes")
	}
}

// ownNamespace finds that ratify, in a namespace of its own, verifies itself.
func (x *examination) ownNamespace(labels map[string]string) {
	constraints := x.constraints()
	w := x.hook(kindValidating, validation)
	if w == nil || len(constraints) == 0 {
		return
	}
	if x.misspelt() {
		x.moot("a constraint has fields that nobody knows")
		return
	}
	inside := covers(x.excludedByConfig(processWebhook), x.namespace) || !slices.ContainsFunc(constraints, func(c constraint) bool {
		return c.denies() && c.wide() && !covers(c.Spec.Match.ExcludedNamespaces, x.namespace)
	})
	if !inside && w.NamespaceSelector.matches(labelled(x.namespace, labels)) {
		x.find(ref(kindNamespace, "", x.namespace), "its pods are verified", "once ratify is away, what it needs to start waits for its answer",
			"add "+x.namespace+" to the excludedNamespaces of the constraint, or kubectl label namespace "+x.namespace+" "+ignoreLabel+"=yes")
	}
}
