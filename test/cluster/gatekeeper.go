package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
)

type object = map[string]any

var errNoWebhook = errors.New("the webhook has no path")

// startGatekeeper applies Gatekeeper's own resources, runs its one program with all its roles, and directs the API server's webhooks to it.
func (c *Cluster) startGatekeeper(ctx context.Context) error {
	objects, err := GatekeeperObjects(ctx)
	if err != nil {
		return err
	}
	if err := c.options.recommend(objects); err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	var resources, webhooks []object
	for _, o := range objects {
		switch kind, _ := o["kind"].(string); kind {
		case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
			if err := c.redirectWebhooks(o, ports[0]); err != nil {
				return err
			}
			webhooks = append(webhooks, o)
		case "Deployment":
			// It says how Gatekeeper is set, to whoever reads it; where pods come up, nothing runs in them.
			if name, _ := o["metadata"].(object)["name"].(string); name == webhookDeployment {
				resources = append(resources, o)
			}
		case "Service", "PodDisruptionBudget", "ResourceQuota", "Secret":
			// Their part is played by the process below, and by the Secret with a certificate of ours.
		default:
			resources = append(resources, o)
		}
	}
	resources = append(resources, object{
		"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": GatekeeperSecret, "namespace": GatekeeperNamespace},
		"data": object{"ca.crt": c.pki.gatekeeper.cert, "tls.crt": c.pki.webhookTLS.cert, "tls.key": c.pki.webhookTLS.key},
	})
	if err := c.applyObjects(ctx, resources); err != nil {
		return err
	}
	if err := c.runGatekeeper(ctx, ports); err != nil {
		return err
	}
	// Not before Gatekeeper serves: from here on nothing is written without its consent.
	if err := c.applyObjects(ctx, webhooks); err != nil {
		return err
	}
	return Until(ctx, c.webhooksInForce)
}

// webhookDeployment is the one of Gatekeeper's Deployments that answers webhooks.
const webhookDeployment = "gatekeeper-controller-manager"

// Recommend sets in Gatekeeper's own objects what our installation of Gatekeeper sets.
func Recommend(objects []map[string]any) error { return (&Options{}).recommend(objects) }

// recommend sets what is recommended, where the options do not say something else: what cannot be asked is refused, the
// timeouts, mutation only where an image enters (pods on CREATE, their ephemeral containers on UPDATE), so that touching an old
// pod does not rewrite it, and the arguments.
func (o *Options) recommend(objects []object) error {
	for _, object := range objects {
		switch kind, _ := object["kind"].(string); kind {
		case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
			if err := o.recommendWebhooks(object); err != nil {
				return err
			}
		case "Deployment":
			if err := o.recommendArguments(object); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *Options) recommendWebhooks(configuration object) error {
	return eachWebhook(configuration, func(webhook object, path string) {
		webhook["failurePolicy"] = "Fail"
		switch path {
		case "/v1/admit":
			webhook["timeoutSeconds"] = orDefault(o.ValidatingTimeout, defaultValidatingTimeout)
		case "/v1/mutate":
			webhook["timeoutSeconds"] = orDefault(o.MutatingTimeout, defaultMutatingTimeout)
			webhook["rules"] = []object{mutationRule("CREATE", "pods"), mutationRule("UPDATE", "pods/ephemeralcontainers")}
		}
	})
}

// eachWebhook calls with each webhook of a configuration and the path that it asks at.
func eachWebhook(configuration object, each func(webhook object, path string)) error {
	webhooks, _ := configuration["webhooks"].([]any)
	for _, item := range webhooks {
		webhook, _ := item.(object)
		client, _ := webhook["clientConfig"].(object)
		service, _ := client["service"].(object)
		path, ok := service["path"].(string)
		if !ok {
			return fmt.Errorf("read Gatekeeper's manifest: webhook %v: %w", webhook["name"], errNoWebhook)
		}
		each(webhook, path)
	}
	return nil
}

// redirectWebhooks points the webhooks at a port of 127.0.0.1.
func (c *Cluster) redirectWebhooks(configuration object, port int) error {
	return eachWebhook(configuration, func(webhook object, path string) {
		webhook["clientConfig"] = object{"url": "https://" + local(port) + path, "caBundle": c.pki.gatekeeper.cert}
	})
}

// recommendArguments gives the Deployment that answers webhooks the settings that the process has.
func (o *Options) recommendArguments(deployment object) error {
	metadata, _ := deployment["metadata"].(object)
	if metadata["name"] != webhookDeployment {
		return nil
	}
	spec, _ := deployment["spec"].(object)
	template, _ := spec["template"].(object)
	pod, _ := template["spec"].(object)
	containers, _ := pod["containers"].([]any)
	if len(containers) == 0 {
		return errors.New("read Gatekeeper's manifest: its Deployment has no container")
	}
	container, _ := containers[0].(object)
	args, _ := container["args"].([]any)
	for _, setting := range o.arguments() {
		args = append(args, setting)
	}
	container["args"] = args
	return nil
}

// arguments are what our installation sets of Gatekeeper's.
func (o *Options) arguments() []string {
	return []string{
		"--enable-external-data=true",
		"--external-data-provider-response-cache-ttl=" + orDefault(o.ResponseCacheTTL, defaultResponseCacheTTL).String(),
		fmt.Sprintf("--max-serving-threads=%d", servingThreads),
	}
}

// GatekeeperObjects are the resources of Gatekeeper's own manifest.
func GatekeeperObjects(ctx context.Context) ([]map[string]any, error) {
	source, err := toolSource(ctx, "gatekeeper", "github.com/open-policy-agent/gatekeeper/v3")
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(source, "deploy", "gatekeeper.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read Gatekeeper's manifest: %w", err)
	}
	return Objects(data)
}

// Objects decodes the documents of a manifest, YAML or JSON, and leaves out the empty ones.
func Objects(manifest []byte) ([]map[string]any, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	var objects []object
	for {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decode document %d of a manifest: %w", len(objects)+1, err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
}

// applyObjects applies on the server's side, for the definitions are larger than an annotation may be.
func (c *Cluster) applyObjects(ctx context.Context, objects []object) error {
	list, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": objects})
	if err != nil {
		return err
	}
	_, err = c.Apply(ctx, list, "--server-side")
	return err
}

func mutationRule(operation, resource string) object {
	return object{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{operation}, "resources": []string{resource}}
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// runGatekeeper starts Gatekeeper as its own ServiceAccount, so that the rights in force are those of its manifest.
func (c *Cluster) runGatekeeper(ctx context.Context, ports []int) error {
	token, err := c.Kubectl(ctx, "create", "token", "gatekeeper-admin", "--namespace="+GatekeeperNamespace, "--duration=24h")
	if err != nil {
		return err
	}
	config, err := c.kubeconfig("gatekeeper", object{"token": strings.TrimSpace(token)})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"ca.crt": c.pki.gatekeeper.cert, "tls.crt": c.pki.webhookTLS.cert, "tls.key": c.pki.webhookTLS.key} {
		if _, err := c.write(filepath.Join("gatekeeper-certs", name), data); err != nil {
			return err
		}
	}
	audit := filepath.Join(c.Dir, "gatekeeper-audit")
	if err := os.MkdirAll(audit, 0o755); err != nil {
		return err
	}
	args := append([]string{"--kubeconfig=" + config, "--debug-use-fake-pod",
		"--host=127.0.0.1", fmt.Sprintf("--port=%d", ports[0]), "--health-addr=" + local(ports[1]), fmt.Sprintf("--prometheus-port=%d", ports[2]),
		"--disable-cert-rotation", "--cert-dir=" + filepath.Join(c.Dir, "gatekeeper-certs"),
		// No audit: it would ask the provider at moments that no test has chosen.
		"--audit-interval=0", "--api-cache-dir=" + audit,
		"--exempt-namespace=" + GatekeeperNamespace, "--disable-opa-builtin={http.send}",
		"--shutdown-delay=0", "--log-denies", "--log-mutations"}, c.options.arguments()...)
	gatekeeper, err := c.spawn("gatekeeper", []string{"POD_NAMESPACE=" + GatekeeperNamespace, "NAMESPACE=" + GatekeeperNamespace, "CONTAINER_NAME=manager"}, args...)
	if err != nil {
		return err
	}
	return gatekeeper.WaitReady(ctx, status200(http.DefaultClient, "http://"+local(ports[1])+"/readyz"))
}

// servingThreads bounds the reviews at the same time. A review holds its place while it waits for a provider, so the default, one per core,
// would let two slow images hold up every other.
const servingThreads = 64

// webhooksInForce asks for something that Gatekeeper refuses without any constraint: a namespace that exempts itself.
func (c *Cluster) webhooksInForce(ctx context.Context) error {
	_, err := c.Apply(ctx, []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"probe","labels":{"admission.gatekeeper.sh/ignore":"true"}}}`), "--dry-run=server")
	var refused *CommandError
	if errors.As(err, &refused) && strings.Contains(refused.Stderr, "check-ignore-label.gatekeeper.sh") {
		return nil
	}
	if err == nil {
		err = errors.New("a namespace that exempts itself was accepted")
	}
	return fmt.Errorf("the API server does not ask Gatekeeper yet: %w", err)
}
