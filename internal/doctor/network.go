package doctor

import (
	"cmp"
	"encoding/json"
	"net"
	"slices"
	"strconv"
)

// A network is what matters of a NetworkPolicy.
type network struct {
	Metadata metadata
	Spec     struct {
		PodSelector *selector
		PolicyTypes []string
		Ingress     []struct {
			From  []peer
			Ports []openPort
		}
	}
}

// A peer is who is let in.
type peer struct {
	NamespaceSelector, PodSelector *selector
	IPBlock                        *struct{}
}

// An openPort is a port, or a range, that is let in to; without a port it is each.
type openPort struct {
	Protocol string
	Port     json.RawMessage // a number, or the name of one of the container's
	EndPort  int
}

// A caller is pods of Gatekeeper that ask, and the labels of their namespace.
type caller struct {
	deployment *deployment
	pod        map[string]string
	namespace  map[string]string
}

// networkPolicy looks whether what may reach the servers is Gatekeeper. Several policies are one: who is let in by any is let in.
func networkPolicy(x *examination) {
	policies, ok := list[network](x, kindNetwork)
	if !ok {
		return
	}
	callers := x.callers()
	for _, s := range x.understood() {
		of := slices.DeleteFunc(slices.Clone(policies), func(n network) bool { return !n.guards(s.deployment) })
		if len(of) == 0 {
			continue
		}
		for _, c := range callers {
			if !slices.ContainsFunc(of, func(n network) bool { return n.admits(c, s) }) {
				x.find(ref(kindNetwork, s.deployment.Metadata.Namespace, of[0].Metadata.Name), "it does not let the pods of "+c.deployment.ref()+" in to "+s.settings.Address+" of "+s.deployment.ref(),
					unreachable, "set gatekeeper.podLabels (and gatekeeper.namespace) in ratify's chart to what Gatekeeper's pods have")
			}
		}
	}
}

// callers are the Deployments of Gatekeeper that ask providers: for admission, and for its audit. One of which a policy could select
// the namespace by labels that were not read is not judged.
func (x *examination) callers() (list []caller) {
	x.gatekeepers(func(*deployment, string, []string) {}) // says so where there is none
	deployments, _ := decoded[deployment](x.Snapshot, kindDeployment)
	namespaces, unread := decoded[namespace](x.Snapshot, kindNamespace)
	i := slices.IndexFunc(namespaces, func(n namespace) bool { return n.Metadata.Name == x.gatekeeperNamespace() })
	if unread != nil || i < 0 {
		x.unseenFor(cmp.Or(unread, &Unread{Reason: "what was given has no " + ref(kindNamespace, "", x.gatekeeperNamespace())}))
		return nil
	}
	for j := range deployments {
		d := &deployments[j]
		if d.Metadata.Namespace == x.gatekeeperNamespace() && slices.ContainsFunc(d.Spec.Template.Spec.Containers, asks) {
			list = append(list, caller{d, d.Spec.Template.Metadata.Labels, labelled(namespaces[i].Metadata.Name, namespaces[i].Metadata.Labels)})
		}
	}
	return list
}

// asks tells whether a container is a Gatekeeper that asks providers.
func asks(c container) bool {
	args := slices.Concat(c.Command, c.Args)
	return slices.Contains(args, "--operation=webhook") || slices.Contains(args, "--operation=audit")
}

// guards tells whether a policy restricts who reaches the pods of a Deployment. One that names no types is for what comes in.
func (n *network) guards(d *deployment) bool {
	return n.Metadata.Namespace == d.Metadata.Namespace && n.Spec.PodSelector.matches(d.Spec.Template.Metadata.Labels) &&
		(len(n.Spec.PolicyTypes) == 0 || slices.Contains(n.Spec.PolicyTypes, "Ingress"))
}

// admits tells whether a policy lets pods of Gatekeeper in to the port of a server. Of a block of addresses that is not known: it is
// taken to have them.
func (n *network) admits(c caller, s *server) bool {
	for _, rule := range n.Spec.Ingress {
		if len(rule.Ports) > 0 && !slices.ContainsFunc(rule.Ports, func(p openPort) bool { return p.opens(s) }) {
			continue
		}
		if len(rule.From) == 0 || slices.ContainsFunc(rule.From, func(p peer) bool { return p.has(c, n.Metadata.Namespace) }) {
			return true
		}
	}
	return false
}

// has tells whether a peer has the pods; one without a namespaceSelector is in the policy's namespace.
func (p *peer) has(c caller, own string) bool {
	if p.IPBlock != nil {
		return true
	}
	if p.NamespaceSelector == nil && c.deployment.Metadata.Namespace != own {
		return false
	}
	return p.NamespaceSelector.matches(c.namespace) && p.PodSelector.matches(c.pod)
}

// opens tells whether a port is where a server listens.
func (p *openPort) opens(s *server) bool {
	if p.Protocol != "" && p.Protocol != "TCP" {
		return false
	}
	_, text, _ := net.SplitHostPort(s.settings.Address)
	listens, err := strconv.Atoi(text)
	if p.Port == nil || err != nil {
		return true
	}
	var first int
	if json.Unmarshal(p.Port, &first) == nil {
		return first <= listens && listens <= max(first, p.EndPort)
	}
	var name string
	_ = json.Unmarshal(p.Port, &name) // what is neither is no port of the container's
	return slices.ContainsFunc(s.container.Ports, func(c struct {
		Name          string
		ContainerPort int
	}) bool {
		return c.Name == name && c.ContainerPort == listens
	})
}
