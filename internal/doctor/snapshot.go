package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/ratify-provider/ratify"
)

// The kinds that are looked at.
const (
	kindValidating = "ValidatingWebhookConfiguration"
	kindMutating   = "MutatingWebhookConfiguration"
	kindProvider   = "Provider"
	kindTemplate   = "ConstraintTemplate"
	kindConstraint = "RatifyVerification"
	kindAssign     = "Assign"
	kindConfig     = "Config"
	kindNamespace  = "Namespace"
	kindDeployment = "Deployment"
	kindService    = "Service"
	kindBudget     = "PodDisruptionBudget"
	kindConfigMap  = "ConfigMap"
	kindSecret     = "Secret"
	kindNetwork    = "NetworkPolicy"
)

// groups are the API groups of the kinds. A kind of another group has nothing to do with it, whatever its name.
func groups() map[string]string {
	return map[string]string{
		kindValidating: "admissionregistration.k8s.io", kindMutating: "admissionregistration.k8s.io",
		kindProvider: "externaldata.gatekeeper.sh", kindTemplate: "templates.gatekeeper.sh",
		kindConstraint: "constraints.gatekeeper.sh", kindAssign: "mutations.gatekeeper.sh", kindConfig: "config.gatekeeper.sh",
		kindNamespace: "", kindService: "", kindConfigMap: "", kindSecret: "",
		kindDeployment: "apps", kindBudget: "policy", kindNetwork: "networking.k8s.io",
	}
}

// An object is one of Kubernetes', as JSON.
type object struct {
	kind, namespace, name string
	data                  json.RawMessage
	// part tells of a Secret that it has more keys than were asked for.
	part bool
}

// An Unread says why something was not read.
type Unread struct {
	Reason, Remedy string
	// Wanted is false for what lies outside of what was given.
	Wanted bool
}

// A Snapshot is what was read of an installation at one time.
type Snapshot struct {
	objects []object
	// unread says why what it holds is not there, by kind, or by kind, namespace and name.
	unread map[string]*Unread
	// otherwise says of a named object that is not there why that is.
	otherwise func(kind, namespace, name string) *Unread
	// complete tells that what it does not hold is not there.
	complete bool
	// namespace is ratify's own, where it was said or found.
	namespace string
}

// decoded are the objects of a kind.
func decoded[T any](s *Snapshot, kind string) ([]T, *Unread) {
	if u := s.unread[kind]; u != nil {
		return nil, u
	}
	var list []T
	for _, o := range s.objects {
		if o.kind != kind {
			continue
		}
		var value T
		if err := json.Unmarshal(o.data, &value); err != nil {
			return nil, &Unread{Reason: fmt.Sprintf("%s is malformed: %s", ref(kind, o.namespace, o.name), ratify.Quote(err.Error())), Wanted: true}
		}
		list = append(list, value)
	}
	return list, nil
}

// data are the keys of a ConfigMap or Secret.
func (s *Snapshot) data(kind, namespace, name string) (map[string][]byte, *Unread) {
	if u := s.unread[ref(kind, namespace, name)]; u != nil {
		return nil, u
	}
	i := slices.IndexFunc(s.objects, func(o object) bool { return o.kind == kind && o.namespace == namespace && o.name == name })
	if i < 0 {
		return nil, s.otherwise(kind, namespace, name)
	}
	var secret struct {
		Data       map[string][]byte // base64, as encoding/json takes it
		StringData map[string]string
	}
	var configMap struct {
		Data       map[string]string
		BinaryData map[string][]byte
	}
	into, bytes, texts := any(&secret), &secret.Data, &secret.StringData
	if kind == kindConfigMap {
		into, bytes, texts = &configMap, &configMap.BinaryData, &configMap.Data
	}
	if json.Unmarshal(s.objects[i].data, into) != nil {
		return nil, &Unread{Reason: ref(kind, namespace, name) + " is malformed", Wanted: true}
	}
	content := map[string][]byte{}
	maps.Copy(content, *bytes)
	for key, text := range *texts {
		content[key] = []byte(text)
	}
	return content, nil
}

// wholly tells whether a ConfigMap or Secret was read with all its keys.
func (s *Snapshot) wholly(kind, namespace, name string) bool {
	return slices.ContainsFunc(s.objects, func(o object) bool {
		return o.kind == kind && o.namespace == namespace && o.name == name && !o.part
	})
}
