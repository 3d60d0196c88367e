package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/ratify-provider/ratify/test/chart"
	"github.com/ratify-provider/ratify/test/cluster"
)

// A diagnosis is what ratify doctor says, and with which exit code.
type diagnosis struct {
	Findings    []struct{ Check, Object, Message, Why, Remedy string }
	NotLookedAt []struct {
		Check, Reason, Remedy string
		Wanted                bool
	}
	Passed []struct{ Check string }
	code   int
}

// found are the checks that found something, each once.
func (d *diagnosis) found() (checks []string) {
	for _, f := range d.Findings {
		checks = append(checks, f.Check)
	}
	slices.Sort(checks)
	return slices.Compact(checks)
}

// doctor runs ratify doctor with a kubectl, as the administrator.
func (c *chain) doctor(t *testing.T, kubectl string, args ...string) *diagnosis {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.provider.binary, append([]string{"doctor", "--output=json", "--kubectl=" + kubectl, "--kubeconfig=" + c.Kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), c.Env()...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || stderr.Len() > 0 {
		t.Fatalf("ratify doctor: %v: %s", err, stderr.String())
	}
	d := &diagnosis{code: cmd.ProcessState.ExitCode()}
	decode(t, stdout.String(), d)
	return d
}

// A gap is one thing that is wrong with an installation: how it is made, what mends it, and the check that finds it.
type gap struct {
	name, check string
	make        func(t *testing.T, c *chain) (mend func())
}

// doctorNames looks at the installation as it is, then breaks one thing after another: the doctor must name each, and nothing else.
func doctorNames(t *testing.T, c *chain) {
	c.provider.mustRun(t)
	kubectl := c.Program("kubectl")
	c.settled(t, gatekeeperPods)
	defer c.exemptSystem(t)()
	d := c.doctor(t, kubectl)
	if len(d.Findings) > 0 || d.code != 0 || len(d.NotLookedAt) != 1 || d.NotLookedAt[0].Check != "registries" {
		t.Fatalf("the installation is not clean: %+v, not looked at: %+v, exit code %d", d.Findings, d.NotLookedAt, d.code)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "what was broken\twhat ratify doctor found\tin its words\n(nothing)\t(nothing), %d checks passed\t\n", len(d.Passed))
	for _, g := range gaps() {
		t.Run(g.name, func(t *testing.T) {
			mend := g.make(t, c)
			defer mend()
			d := c.doctor(t, kubectl)
			words := ""
			if len(d.Findings) > 0 {
				words = d.Findings[0].Message
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", g.name, strings.Join(d.found(), ", "), strings.Join(strings.Fields(words), " "))
			if !slices.Equal(d.found(), []string{g.check}) || d.code != 1 {
				t.Errorf("found %+v, not looked at %+v, exit code %d; want %s alone, and 1", d.Findings, d.NotLookedAt, d.code, g.check)
			}
			for _, f := range d.Findings {
				if f.Why == "" || f.Remedy == "" {
					t.Errorf("%s says neither why nor what to do: %+v", f.Check, f)
				}
			}
		})
	}
	t.Run("who may not read", func(t *testing.T) { c.readsLittle(t, kubectl) })
	t.Run("a pod asks the registry", func(t *testing.T) { c.asksRegistry(t, kubectl) })
	if d := c.doctor(t, kubectl); len(d.Findings) > 0 || d.code != 0 {
		t.Errorf("mended, the installation is not clean: %+v, exit code %d", d.Findings, d.code)
	}
	_ = w.Flush()
	t.Logf("what ratify doctor finds:\n%s", table.String())
}

// exemptSystem exempts kube-system at Gatekeeper's webhooks, which the manual wants of a cluster whose own parts run there; the
// other tests want to be asked about it.
func (c *chain) exemptSystem(t *testing.T) (mend func()) {
	t.Helper()
	var mends []func()
	for _, webhook := range []string{validatingWebhook, mutatingWebhook} {
		mends = append(mends, c.remember(t, webhook))
		c.patch(t, webhook, "json", `[{"op":"add","path":"/webhooks/0/namespaceSelector/matchExpressions/-","value":`+
			`{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["kube-system"]}}]`)
	}
	return func() {
		for _, mend := range mends {
			mend()
		}
	}
}

// inGatekeepers is the flag for the namespace of Gatekeeper and the provider.
const inGatekeepers = "--namespace=" + cluster.GatekeeperNamespace

// patched is a gap that a patch makes, and the object as it was mends.
func patched(name, check, resource, patchType, patch string) gap {
	return gap{name, check, func(t *testing.T, c *chain) func() {
		mend := c.remember(t, resource)
		c.patch(t, resource, patchType, patch)
		return mend
	}}
}

func (c *chain) patch(t *testing.T, resource, patchType, patch string) {
	t.Helper()
	kubectl(t, c.Cluster, "patch", inGatekeepers, resource, "--type="+patchType, "--patch="+patch)
	c.settled(t, resource)
}

// remember returns what makes an object again what it is now, whether it was changed or deleted.
func (c *chain) remember(t *testing.T, resource string) (mend func()) {
	t.Helper()
	var o object
	decode(t, kubectl(t, c.Cluster, "get", inGatekeepers, resource, "--output=json"), &o)
	for _, field := range []string{"resourceVersion", "uid", "generation", "creationTimestamp", "managedFields"} {
		delete(o["metadata"].(object), field)
	}
	file := filepath.Join(t.TempDir(), "object.json")
	replace(t, file, []byte(manifest(t, o)))
	return func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
		defer cancel()
		// Gatekeeper writes into what it takes up, too: a replacement may come between.
		err := cluster.Until(ctx, func(ctx context.Context) error {
			_, err := c.Kubectl(ctx, "replace", "-f", file)
			if err != nil && strings.Contains(err.Error(), "NotFound") {
				_, err = c.Kubectl(ctx, "create", "-f", file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.settled(t, resource)
	}
}

// settled waits until those who look after an object have taken it up as it is now.
func (c *chain) settled(t *testing.T, resource string) {
	t.Helper()
	switch kind, name, _ := strings.Cut(resource, "/"); kind {
	case "deployment":
		kubectl(t, c.Cluster, "rollout", "status", inGatekeepers, resource, "--timeout=60s")
	case "provider", "constrainttemplate", "ratifyverification":
		waitObserved(t, c.Cluster, kind+"/"+name)
	}
}

func deleted(name, check, resource string) gap {
	return gap{name, check, func(t *testing.T, c *chain) func() {
		mend := c.remember(t, resource)
		kubectl(t, c.Cluster, "delete", inGatekeepers, resource, "--wait=true")
		return mend
	}}
}

const (
	validatingWebhook = "validatingwebhookconfiguration/gatekeeper-validating-webhook-configuration"
	mutatingWebhook   = "mutatingwebhookconfiguration/gatekeeper-mutating-webhook-configuration"
	gatekeeperPods    = "deployment/gatekeeper-controller-manager"
	ratifyPods        = "deployment/ratify"
	theTemplate       = "constrainttemplate/ratifyverification"
	theConstraint     = "ratifyverification/ratify-constraint"
	theProvider       = "provider/ratify-provider"
	theOtherProvider  = "provider/ratify-mutation-provider"
)

func gaps() []gap {
	return slices.Concat(gatekeeperGaps(), constraintGaps(), providerGaps(), serverGaps())
}

func gatekeeperGaps() []gap {
	return []gap{
		patched("the webhook's failure policy is Ignore", "webhook-failure-policy", validatingWebhook, "json",
			`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`),
		patched("the webhook waits no longer than the Provider", "webhook-timeout", validatingWebhook, "json",
			`[{"op":"replace","path":"/webhooks/0/timeoutSeconds","value":4}]`),
		patched("the webhook is not asked about ephemeral containers", "webhook-coverage", validatingWebhook, "json",
			`[{"op":"replace","path":"/webhooks/0/rules/0/resources","value":["*"]}]`),
		{"Gatekeeper is not exempt from itself", "exempt-namespaces", func(t *testing.T, c *chain) func() {
			mend := c.remember(t, validatingWebhook)
			c.patch(t, validatingWebhook, "json", `[{"op":"replace","path":"/webhooks/0/namespaceSelector","value":{"matchExpressions":[{"key":"admission.gatekeeper.sh/ignore","operator":"DoesNotExist"}]}}]`)
			namespace := "namespace/" + cluster.GatekeeperNamespace
			label := kubectl(t, c.Cluster, "get", namespace, `--output=jsonpath={.metadata.labels.admission\.gatekeeper\.sh/ignore}`)
			kubectl(t, c.Cluster, "label", namespace, "admission.gatekeeper.sh/ignore-")
			return func() {
				kubectl(t, c.Cluster, "label", namespace, "admission.gatekeeper.sh/ignore="+label)
				mend()
			}
		}},
		patched("kube-system is exempt in the constraint alone", "exempt-namespaces", validatingWebhook, "json",
			`[{"op":"remove","path":"/webhooks/0/namespaceSelector/matchExpressions/2"}]`),
		patched("Gatekeeper is scaled away", "gatekeeper-ready", gatekeeperPods, "merge", `{"spec":{"replicas":0}}`),
		{"Gatekeeper's Config excludes everything", "constraint-coverage", func(t *testing.T, c *chain) func() {
			apply(t, c.Cluster, manifest(t, object{"apiVersion": "config.gatekeeper.sh/v1alpha1", "kind": "Config",
				"metadata": object{"name": "config", "namespace": cluster.GatekeeperNamespace},
				"spec":     object{"match": []object{{"excludedNamespaces": []string{"*"}, "processes": []string{"*"}}}}}))
			return func() {
				kubectl(t, c.Cluster, "delete", inGatekeepers, "configs.config.gatekeeper.sh/config", "--wait=true")
			}
		}},
		patched("the mutating webhook's failure policy is Ignore", "mutation-failure-policy", mutatingWebhook, "json",
			`[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]`),
		patched("Gatekeeper keeps answers for three minutes", "gatekeeper-cache", gatekeeperPods, "json",
			`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--external-data-provider-response-cache-ttl=3m"}]`),
		patched("Gatekeeper is too old", "gatekeeper-version", gatekeeperPods, "json",
			`[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"openpolicyagent/gatekeeper:v3.16.3"}]`),
	}
}

func constraintGaps() []gap {
	return []gap{
		patched("the template is of another version", "template-version", theTemplate, "merge", `{"metadata":{"annotations":{"metadata.gatekeeper.sh/version":"0.9.0"}}}`),
		{"somebody has changed the template", "template-version", func(t *testing.T, c *chain) func() {
			mend := c.remember(t, theTemplate)
			var template struct {
				Spec struct{ Targets []struct{ Rego string } }
			}
			decode(t, kubectl(t, c.Cluster, "get", theTemplate, "--output=json"), &template)
			rego := template.Spec.Targets[0].Rego + "\nall_proven {\n  input.review.object.metadata.labels.trusted\n}\n"
			c.patch(t, theTemplate, "json", manifestOf(t, []object{{"op": "replace", "path": "/spec/targets/0/rego", "value": rego}}))
			return mend
		}},
		{"the template is the one for tenants", "template-tenancy", func(t *testing.T, c *chain) func() {
			mend := c.remember(t, theTemplate)
			kubectl(t, c.Cluster, "apply", "-f", "library/tenants/template.yaml")
			c.settled(t, theTemplate)
			return mend
		}},
		patched("the constraint only reports", "constraint-enforcement", theConstraint, "merge", `{"spec":{"enforcementAction":"dryrun"}}`),
		patched("the constraint is for one namespace", "constraint-coverage", theConstraint, "merge", `{"spec":{"match":{"namespaces":["default"]}}}`),
		deleted("there is no constraint", "constraint-present", theConstraint),
		deleted("nothing pins the images of init containers", "digests", "assign/ratify-mutate-init-containers"),
	}
}

func providerGaps() []gap {
	return []gap{
		deleted("there is no Provider", "provider-present", theProvider),
		patched("the Provider's timeout is shorter than ratify's deadline", "provider-timeout", theProvider, "merge", `{"spec":{"timeout":3}}`),
		{"the Provider's URL has another path", "provider-url", func(t *testing.T, c *chain) func() {
			mend := c.remember(t, theProvider)
			c.patch(t, theProvider, "merge", manifest(t, object{"spec": object{"url": c.provider.url() + "/verify"}}))
			return mend
		}},
		otherPair("the Provider trusts another CA", "server-certificate-trust", false, func(c *chain) []string { return nil }),
		otherPair("the server's certificate is for another host", "server-certificate-name", true, func(c *chain) []string {
			return []string{"--set", "provider.url=https://other.example"}
		}),
		otherPair("the server's certificate ends in ten days", "server-certificate-expiry", true, func(c *chain) []string {
			return []string{"--set", "provider.tls.days=10"}
		}),
	}
}

// otherPair puts what another rendering of the chart has into the Providers' caBundle, and, if served, into the server's pair.
func otherPair(name, check string, served bool, values func(*chain) []string) gap {
	return gap{name, check, func(t *testing.T, c *chain) func() {
		// A release of another name does not find the pair that there is.
		args := c.release("template")
		args[1] = "another"
		objects, err := chart.Decode(c.helm(t, append(args, values(c)...)...))
		if err != nil {
			t.Fatal(err)
		}
		var mends []func()
		change := func(resource, patch string) {
			mends = append(mends, c.remember(t, resource))
			c.patch(t, resource, "merge", patch)
		}
		bundle := objects.Find("Provider", "ratify-provider").Text("spec", "caBundle")
		for _, resource := range []string{theProvider, theOtherProvider} {
			change(resource, manifest(t, object{"spec": object{"caBundle": bundle}}))
		}
		if served {
			secret := objects.Find("Secret", "another-ratify-tls")
			change("secret/ratify-tls", manifest(t, object{"data": object{"tls.crt": secret.Text("data", "tls.crt"), "tls.key": secret.Text("data", "tls.key")}}))
		}
		return func() {
			for _, mend := range slices.Backward(mends) {
				mend()
			}
		}
	}}
}

func serverGaps() []gap {
	return []gap{
		patched("client certificates are not checked", "client-authentication", ratifyPods, "json",
			`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--insecure-no-client-auth"}]`),
		{"another CA is trusted than Gatekeeper's", "client-ca", func(t *testing.T, c *chain) func() {
			pair, err := chart.NewPair("gatekeeper.example")
			if err != nil {
				t.Fatal(err)
			}
			apply(t, c.Cluster, manifest(t, object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "other-ca", "namespace": cluster.GatekeeperNamespace},
				"data": object{"ca.crt": pair.CA}}))
			mend := c.remember(t, ratifyPods)
			c.patch(t, ratifyPods, "strategic", `{"spec":{"template":{"spec":{"volumes":[{"name":"gatekeeper","secret":null,"configMap":{"name":"other-ca"}}]}}}}`)
			return mend
		}},
		{"the configuration has a slip", "configuration", func(t *testing.T, c *chain) func() {
			mend := c.remember(t, "configmap/ratify-config")
			var o struct{ Data map[string]string }
			decode(t, kubectl(t, c.Cluster, "get", inGatekeepers, "configmap/ratify-config", "--output=json"), &o)
			c.patch(t, "configmap/ratify-config", "merge", manifest(t, object{"data": object{"config.yaml": o.Data["config.yaml"] + "\npolicys: []\n"}}))
			return mend
		}},
		patched("the NetworkPolicy is for other labels than Gatekeeper's", "network-policy", "networkpolicy/ratify", "json",
			`[{"op":"replace","path":"/spec/ingress/0/from/0/podSelector","value":{"matchLabels":{"app":"other"}}}]`),
		patched("there is one pod", "replicas", ratifyPods, "merge", `{"spec":{"replicas":1}}`),
		deleted("a drain may end all pods", "disruption-budget", "poddisruptionbudget/ratify"),
	}
}

func manifestOf(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// script writes a kubectl that does something else first.
func (c *chain) script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubectl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// readsLittle asks as somebody who may look at namespaces, and at nothing that an installation consists of.
func (c *chain) readsLittle(t *testing.T, kubectl string) {
	as := c.script(t, fmt.Sprintf("exec %s --as=somebody --as-group=system:authenticated \"$@\"\n", kubectl))
	d := c.doctor(t, as)
	if len(d.Findings) > 0 || len(d.Passed) > 0 || d.code != 2 {
		t.Errorf("found %+v, passed %+v, exit code %d; want nothing, and 2", d.Findings, d.Passed, d.code)
	}
	for _, u := range d.NotLookedAt {
		if u.Check == "webhook-failure-policy" && (!u.Wanted || !strings.Contains(u.Reason, `cannot list resource "validatingwebhookconfigurations"`) || !strings.Contains(u.Remedy, "kubectl auth can-i list validatingwebhookconfigurations")) {
			t.Errorf("the missing right is not named: %+v", u)
		}
	}
	t.Logf("%d checks not looked at", len(d.NotLookedAt))
}

// asksRegistry lets kubectl exec run the provider's own program on this machine, where a kubelet would run it in the pod.
func (c *chain) asksRegistry(t *testing.T, kubectl string) {
	config := ""
	for _, arg := range c.provider.args {
		if path, ok := strings.CutPrefix(arg, "--config="); ok {
			config = path
		}
	}
	in := c.script(t, fmt.Sprintf(`case "$*" in
*" exec "*) for image in "$@"; do :; done; exec %s login-check --config=%s --output=json "$image";;
*) exec %s "$@";;
esac
`, c.provider.binary, config, kubectl))
	if d := c.doctor(t, in, "--registries"); len(d.Findings) > 0 || len(d.NotLookedAt) > 0 || d.code != 0 {
		t.Errorf("found %+v, not looked at %+v, exit code %d; want nothing, and 0", d.Findings, d.NotLookedAt, d.code)
	}
	restore := c.images.disturb(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	defer restore()
	if d := c.doctor(t, in, "--registries"); !slices.Equal(d.found(), []string{"registries"}) || d.code != 1 {
		t.Errorf("found %+v, exit code %d; want that the registry refuses, and 1", d.Findings, d.code)
	}
}
