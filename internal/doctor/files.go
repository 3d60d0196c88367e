package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify"
)

// MaxBytes bounds what is read of an installation: its largest part, the Deployments of a namespace with some hundred of
// them, has 1 MiB; Gatekeeper's manifest has 300 KiB.
const MaxBytes = 32 << 20

// maxDepth bounds lists within lists, of which kubectl writes one.
const maxDepth = 3

// A head is what tells what an object is.
type head struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Items            []json.RawMessage
}

// FromFiles reads what a manifest, or what kubectl get -o yaml or json wrote, says of an installation. What is not in
// it was not given: nothing is said about it. An object without a namespace is taken to be in the given one.
func FromFiles(namespace string, manifests ...[]byte) (*Snapshot, error) {
	s := &Snapshot{unread: map[string]*Unread{}, namespace: namespace}
	for _, manifest := range manifests {
		for i, document := range documents(manifest) {
			data, err := yaml.YAMLToJSON([]byte(document))
			if err != nil {
				return nil, fmt.Errorf("decode document %d: %s", i+1, ratify.Quote(err.Error()))
			}
			if err := s.take(data, 0); err != nil {
				return nil, fmt.Errorf("decode document %d: %w", i+1, err)
			}
		}
	}
	if len(s.objects) == 0 {
		return nil, errors.New("there is no object of an installation in it")
	}
	present := map[string]bool{}
	for i := range s.objects {
		present[s.objects[i].kind] = true
	}
	for kind := range groups() {
		if !present[kind] {
			s.unread[kind] = &Unread{Reason: "what was given has no " + kind}
		}
	}
	s.otherwise = func(kind, namespace, name string) *Unread {
		return &Unread{Reason: "what was given has no " + ref(kind, namespace, name)}
	}
	s.settle("")
	return s, nil
}

// documents splits a manifest. A line that begins with three hyphens cannot be within a document: block scalars are
// indented.
func documents(manifest []byte) []string {
	return regexp.MustCompile(`(?m)^---(?:[ \t].*)?\r?$`).Split(string(manifest), -1)
}

// take keeps the objects of a document that are of a kind that is looked at.
func (s *Snapshot) take(data json.RawMessage, depth int) error {
	var h head
	if string(data) == "null" {
		return nil
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return fmt.Errorf("it is no object of Kubernetes: %s", ratify.Quote(err.Error()))
	}
	if strings.HasSuffix(h.Kind, "List") && h.Items != nil {
		if depth == maxDepth {
			return errors.New("lists are nested too deeply")
		}
		for _, item := range h.Items {
			if err := s.take(item, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	group, ok := groups()[h.Kind]
	given, _, found := strings.Cut(h.APIVersion, "/")
	if !found {
		given = ""
	}
	if ok && given == group {
		s.objects = append(s.objects, object{h.Kind, h.Metadata.Namespace, h.Metadata.Name, data, false})
	}
	return nil
}

// namespaced tells which kinds are in a namespace.
func namespaced(kind string) bool {
	switch kind {
	case kindConfig, kindDeployment, kindService, kindBudget, kindNetwork, kindConfigMap, kindSecret:
		return true
	default:
		return false
	}
}

// settle finds the namespace of ratify, unless it is known, and gives it to the objects that have none: a manifest may
// leave it to kubectl's --namespace.
func (s *Snapshot) settle(otherwise string) {
	if s.namespace == "" {
		s.namespace = s.discover(otherwise)
	}
	for i := range s.objects {
		if o := &s.objects[i]; o.namespace == "" && namespaced(o.kind) {
			o.place(s.namespace)
		}
	}
}

// place puts an object into a namespace. What does not decode is told of when it is looked at.
func (o *object) place(namespace string) {
	o.namespace = namespace
	var fields, metadata map[string]json.RawMessage
	if json.Unmarshal(o.data, &fields) != nil || json.Unmarshal(fields["metadata"], &metadata) != nil {
		return
	}
	quoted, err := json.Marshal(namespace)
	if err != nil {
		return
	}
	metadata["namespace"] = quoted
	if fields["metadata"], err = json.Marshal(metadata); err != nil {
		return
	}
	if data, err := json.Marshal(fields); err == nil {
		o.data = data
	}
}
