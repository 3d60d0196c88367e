package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/test/chart"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
)

// chartAccepted lets the API server check what the chart renders, without storing it.
func chartAccepted(t *testing.T, c *chain) {
	template := []string{"template", "ratify", "./charts/ratify", "--namespace", cluster.GatekeeperNamespace}
	commands := map[string][]string{
		"defaults": append(template, "--set-file", "notaryCert="+c.images.SignerFile),
		"here":     c.release("template"),
	}
	for i, values := range everyValue(t, c) {
		file := filepath.Join(t.TempDir(), "values.json")
		if err := os.WriteFile(file, []byte(manifest(t, values)), 0o600); err != nil {
			t.Fatal(err)
		}
		commands[fmt.Sprintf("every value, set %d", i+1)] = append(template[:len(template):len(template)], "--values", file)
	}
	for name, command := range commands {
		t.Run(name, func(t *testing.T) {
			objects, err := chart.Decode(c.helm(t, command...))
			if err != nil {
				t.Fatal(err)
			}
			var list []chart.Object
			kinds := map[string]bool{}
			for _, o := range objects {
				// The Prometheus Operator's kinds are not of this API server.
				if !strings.HasPrefix(o.Text("apiVersion"), "monitoring.coreos.com/") {
					list = append(list, o)
					kinds[o.Kind()] = true
				}
			}
			if !kinds["Deployment"] || !kinds["Provider"] {
				t.Errorf("kinds %v, want a Deployment and a Provider among them", kinds)
			}
			data, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": list})
			if err != nil {
				t.Fatal(err)
			}
			says := apply(t, c.Cluster, string(data), "--dry-run=server", "--validate=strict")
			if got := strings.Count(says, "(server dry run)"); got != len(list) {
				t.Errorf("%d objects accepted of %d: %s", got, len(list), says)
			}
		})
	}
}

// everyValue is sets of values that together set each value of the chart to something else than its default.
func everyValue(t *testing.T, c *chain) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Root, "charts", "ratify", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var defaults map[string]any
	if err := yaml.Unmarshal(data, &defaults); err != nil {
		t.Fatal(err)
	}
	pair, err := chart.NewPair("ratify.example")
	if err != nil {
		t.Fatal(err)
	}
	sets, err := chart.EveryValue(defaults, pair)
	if err != nil {
		t.Fatal(err)
	}
	return sets
}

// pairReplaced takes the chart's three steps to a new TLS pair. After each of them, and before and after the pods have what it brought, an image
// that nobody knows must come in.
func pairReplaced(t *testing.T, c *chain) {
	c.provider.mustRun(t)
	old := c.provider.served(t)
	upgrade := func(step string, authorities int) {
		t.Helper()
		// As if the step before were long ago: the chart lets each settle.
		kubectl(t, c.Cluster, "annotate", "--overwrite", "secret/ratify-tls", "--namespace="+cluster.GatekeeperNamespace, "ratify/changed-at=1")
		c.helm(t, append(c.release("upgrade"), "--set", "provider.tls.rotation=once")...)
		for _, name := range []string{"provider/ratify-provider", "provider/ratify-mutation-provider"} {
			waitObserved(t, c.Cluster, name)
			bundle := kubectl(t, c.Cluster, "get", name, "--output=go-template={{.spec.caBundle | base64decode}}")
			if got := strings.Count(bundle, "BEGIN CERTIFICATE"); got != authorities {
				t.Errorf("%s: %s trusts %d authorities, want %d", step, name, got, authorities)
			}
		}
		c.comesIn(t, step)
	}
	upgrade("prepare", 2)
	c.provider.take(t, c.Cluster, "ratify")
	c.comesIn(t, "prepare, in the pods")
	upgrade("promote", 2)
	if got := c.provider.served(t); !got.Equal(old) {
		t.Error("the provider serves another pair before it was given one")
	}
	c.provider.take(t, c.Cluster, "ratify")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := c.provider.process.WaitReady(ctx, func(context.Context) error {
		if c.provider.served(t).Equal(old) {
			return errors.New("the provider serves the old pair")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.comesIn(t, "promote, in the pods")
	upgrade("clean", 1)
}

// comesIn asks for a pod with an image that no cache knows, without storing it.
func (c *chain) comesIn(t *testing.T, when string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	if _, err := c.Kubectl(ctx, "run", "comes-in", "--image="+c.images.fresh(t).Reference, "--dry-run=server"); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// helmUpgrade shows that an upgrade keeps the TLS pair, that another signer is taken up by the process that runs, and that without the release
// nothing comes in.
func helmUpgrade(t *testing.T, c *chain) {
	pair := func() string {
		return kubectl(t, c.Cluster, "get", "secret/ratify-tls", "--namespace="+cluster.GatekeeperNamespace, `--output=jsonpath={.data.tls\.crt}`)
	}
	before := pair()
	c.helm(t, append(c.release("upgrade"), "--atomic", "--timeout", "2m", "--set", "replicas=3", "--set-file", "notaryCert="+c.images.StrangerFile)...)
	if after := pair(); before == "" || after != before {
		t.Errorf("the TLS pair was %q and is %q", before, after)
	}
	got := kubectl(t, c.Cluster, "get", "deployment/ratify", "--namespace="+cluster.GatekeeperNamespace, "--output=jsonpath={.status.readyReplicas}")
	if got != "3" {
		t.Errorf("%s pods are ready, want 3", got)
	}
	t.Run("another signer is trusted without a restart", func(t *testing.T) { anotherSigner(t, c) })
	c.helm(t, "uninstall", "ratify", "--namespace", cluster.GatekeeperNamespace, "--wait")
	t.Run("without the Providers nothing comes in", func(t *testing.T) {
		says := refused(t, c.Cluster, "run", "uninstalled", "--image="+c.images.fresh(t).Reference)
		t.Log(says)
		absent(t, c.Cluster, "pod/uninstalled")
	})
}

func anotherSigner(t *testing.T, c *chain) {
	c.provider.mustRun(t)
	c.provider.take(t, c.Cluster, "ratify")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var n int
	err := c.provider.process.WaitReady(ctx, func(ctx context.Context) error {
		n++ // a new image each time: Gatekeeper remembers what it was told
		image, err := c.images.Push(ctx, fmt.Sprintf("by-stranger-%d", n), fixture.Signature{By: c.images.Stranger})
		if err != nil {
			return err
		}
		_, err = c.Kubectl(ctx, "run", "reloaded", "--image="+image.Reference, "--dry-run=server")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	image := c.images.fresh(t)
	says := refused(t, c.Cluster, "run", "no-longer", "--image="+image.Pinned())
	if want := denial(image.Pinned(), refusals()[fixture.Stranger]); !want.MatchString(says) {
		t.Errorf("kubectl says\n%s\nwant\n%s", says, want)
	}
	absent(t, c.Cluster, "pod/no-longer")
}
