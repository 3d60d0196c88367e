// Package engine runs ConstraintTemplates the way Gatekeeper's validating webhook does, in process: Gatekeeper's target,
// the constraint framework's client and Rego driver, and real requests to external data providers over TLS 1.3 with a
// client certificate.
//
// It decides nothing itself and knows no template. Begin at New, Apply and Deny.
package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"
	externaldatav1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	templatesv1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/templates/v1"
	constraintclient "github.com/open-policy-agent/frameworks/constraint/pkg/client"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/drivers/rego"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/reviews"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/target"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"
)

// enforcementPoint is the name under which constraints are enforced by Gatekeeper's webhook.
const enforcementPoint = "validation.gatekeeper.sh"

// A Provider is what Gatekeeper reads from a Provider object.
type Provider struct {
	Name string
	// URL is https: Gatekeeper accepts nothing else.
	URL string
	// CAPEM is the only trust root for the URL: one PEM certificate or more.
	CAPEM []byte
	// TimeoutSeconds ends a request; 0 ends it before it begins, as in Gatekeeper.
	TimeoutSeconds int
}

// Options say how Gatekeeper is set up.
type Options struct {
	// CacheTTL is --external-data-provider-response-cache-ttl; 0 turns the cache off. Gatekeeper's default is 3 minutes.
	CacheTTL time.Duration
	// ClientCert and ClientKey name the PEM files of the certificate shown to providers; both empty: none is shown.
	ClientCert, ClientKey string
	// Providers are the Provider objects that exist from the start.
	Providers []Provider
}

// An Engine answers admission requests. The constraint framework registers the function that asks providers once per
// process: of several engines the one made last is asked by all, so a process has one at a time.
type Engine struct {
	client    *constraintclient.Client
	providers *externaldata.ProviderCache
	stop      context.CancelFunc
}

// New makes an engine without templates and constraints. Close ends it.
func New(options Options) (*Engine, error) {
	// Otherwise controller-runtime complains on stderr, half a minute later, that nobody chose a logger.
	ctrllog.SetLogger(logr.Discard())
	ctx, stop := context.WithCancel(context.Background())
	e := &Engine{providers: externaldata.NewCache(), stop: stop}
	client, err := e.newClient(ctx, options)
	if err != nil {
		stop()
		return nil, fmt.Errorf("set up the constraint framework: %w", err)
	}
	e.client = client
	for _, p := range options.Providers {
		if err := e.SetProvider(p); err != nil {
			stop()
			return nil, err
		}
	}
	return e, nil
}

func (e *Engine) newClient(ctx context.Context, options Options) (*constraintclient.Client, error) {
	args := []rego.Arg{
		// As Gatekeeper's own Deployment sets it.
		rego.DisableBuiltins("http.send"),
		rego.Externs("inventory"),
		rego.AddExternalDataProviderCache(e.providers),
	}
	if options.CacheTTL > 0 {
		args = append(args, rego.AddExternalDataProviderResponseCache(externaldata.NewProviderResponseCache(ctx, options.CacheTTL)))
	}
	if options.ClientCert != "" {
		watcher, err := certwatcher.New(options.ClientCert, options.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		args = append(args, rego.EnableExternalDataClientAuth(), rego.AddExternalDataClientCertWatcher(watcher))
	}
	driver, err := rego.New(args...)
	if err != nil {
		return nil, err
	}
	return constraintclient.NewClient(
		constraintclient.Targets(&target.K8sValidationTarget{}),
		constraintclient.Driver(driver),
		constraintclient.EnforcementPoints(enforcementPoint),
	)
}

// Close ends what the engine does in the background.
func (e *Engine) Close() { e.stop() }

// SetProvider adds a Provider object, or replaces the one of that name. As in Gatekeeper, answers that are cached stay.
func (e *Engine) SetProvider(p Provider) error {
	err := e.providers.Upsert(&externaldatav1.Provider{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec:       externaldatav1.ProviderSpec{URL: p.URL, Timeout: p.TimeoutSeconds, CABundle: base64.StdEncoding.EncodeToString(p.CAPEM)},
	})
	if err != nil {
		return fmt.Errorf("add provider %q: %w", p.Name, err)
	}
	return nil
}

// RemoveProvider deletes the Provider object of that name.
func (e *Engine) RemoveProvider(name string) { e.providers.Remove(name) }

// Apply adds or replaces the ConstraintTemplates and constraints in YAML files, in the order given; a template comes
// before its constraints. Errors are those that Gatekeeper gives for such an object.
func (e *Engine) Apply(files ...[]byte) error {
	for _, file := range files {
		objects, err := Decode(file)
		if err != nil {
			return err
		}
		for _, object := range objects {
			if err := e.apply(object); err != nil {
				return fmt.Errorf("apply %s %q: %w", object.GetKind(), object.GetName(), err)
			}
		}
	}
	return nil
}

func (e *Engine) apply(object *unstructured.Unstructured) error {
	switch object.GroupVersionKind().Group {
	case "templates.gatekeeper.sh":
		var template templatesv1.ConstraintTemplate
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &template, true); err != nil {
			return err
		}
		versionless, err := template.ToVersionless()
		if err != nil {
			return err
		}
		_, err = e.client.AddTemplate(context.Background(), versionless)
		return err
	case "constraints.gatekeeper.sh":
		_, err := e.client.AddConstraint(context.Background(), object)
		return err
	default:
		return fmt.Errorf("neither a template nor a constraint: %s", object.GroupVersionKind())
	}
}

// Remove deletes a constraint.
func (e *Engine) Remove(constraint *unstructured.Unstructured) error {
	_, err := e.client.RemoveConstraint(context.Background(), constraint)
	return err
}

// A Request is what the API server asks when an object is written or deleted.
type Request struct {
	// Operation is CREATE, UPDATE or DELETE; empty is CREATE.
	Operation string
	// SubResource is ephemeralcontainers, say; empty for the object itself.
	SubResource string
	// Object is the new object, nil on DELETE. OldObject is nil on CREATE.
	Object, OldObject map[string]any
}

// Deny asks about the creation of an object and returns why it is denied, as Review does.
func (e *Engine) Deny(ctx context.Context, object map[string]any) ([]string, error) {
	return e.Review(ctx, Request{Object: object})
}

// Review returns the lines of the denial that a person would see, "[constraint] reason" each; none means that the object
// is admitted. An error is one that Gatekeeper's webhook answers with status 500.
func (e *Engine) Review(ctx context.Context, r Request) ([]string, error) {
	review, err := newReview(r)
	if err != nil {
		return nil, fmt.Errorf("make the admission request: %w", err)
	}
	responses, err := e.client.Review(ctx, review, reviews.EnforcementPoint(enforcementPoint))
	if err != nil {
		return nil, fmt.Errorf("review the admission request: %w", err)
	}
	var denials []string
	for _, result := range responses.Results() {
		if result.EnforcementAction == "deny" {
			denials = append(denials, fmt.Sprintf("[%s] %s", result.Constraint.GetName(), result.Msg))
		}
	}
	return denials, nil
}

func newReview(r Request) (*target.AugmentedReview, error) {
	request := &admissionv1.AdmissionRequest{UID: "review", Operation: admissionv1.Operation(r.Operation), SubResource: r.SubResource}
	if r.Operation == "" {
		request.Operation = admissionv1.Create
	}
	named := r.Object
	if named == nil {
		named = r.OldObject
	}
	object := unstructured.Unstructured{Object: named}
	gvk := object.GroupVersionKind()
	request.Kind = metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
	// What follows is read leniently: objects of odd shapes must reach the template.
	metadata, _ := named["metadata"].(map[string]any)
	request.Name, _ = metadata["name"].(string)
	request.Namespace, _ = metadata["namespace"].(string)
	if request.Namespace == "" {
		request.Namespace = metav1.NamespaceDefault
	}
	var err error
	if request.Object, err = raw(r.Object); err != nil {
		return nil, err
	}
	if request.OldObject, err = raw(r.OldObject); err != nil {
		return nil, err
	}
	return &target.AugmentedReview{
		AdmissionRequest: request,
		Namespace:        &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: request.Namespace}},
		IsAdmission:      true,
	}, nil
}

func raw(object map[string]any) (runtime.RawExtension, error) {
	if object == nil {
		return runtime.RawExtension{}, nil
	}
	data, err := json.Marshal(object)
	return runtime.RawExtension{Raw: data}, err
}

// Decode reads the objects of a YAML file with one document or more.
func Decode(file []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	for _, document := range strings.Split(string(file), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			return nil, fmt.Errorf("decode YAML: %w", err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// Pod is a Pod in the namespace default with one container for each image.
func Pod(name string, images ...string) map[string]any {
	containers := make([]any, len(images))
	for i, image := range images {
		containers[i] = map[string]any{"name": fmt.Sprintf("c%d", i), "image": image}
	}
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": name, "namespace": metav1.NamespaceDefault},
		"spec":     map[string]any{"containers": containers},
	}
}
