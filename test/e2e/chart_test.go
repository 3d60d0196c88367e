package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/test/chart"
	"github.com/ratify-provider/ratify/test/cluster"
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

// helmUpgrade shows that an upgrade keeps the TLS pair, and that without the release nothing comes in.
func helmUpgrade(t *testing.T, c *chain) {
	pair := func() string {
		return kubectl(t, c.Cluster, "get", "secret/ratify-tls", "--namespace="+cluster.GatekeeperNamespace, `--output=jsonpath={.data.tls\.crt}`)
	}
	before := pair()
	c.helm(t, append(c.release("upgrade"), "--atomic", "--timeout", "2m", "--set", "replicas=3")...)
	if after := pair(); before == "" || after != before {
		t.Errorf("the TLS pair was %q and is %q", before, after)
	}
	got := kubectl(t, c.Cluster, "get", "deployment/ratify", "--namespace="+cluster.GatekeeperNamespace, "--output=jsonpath={.status.readyReplicas}")
	if got != "3" {
		t.Errorf("%s pods are ready, want 3", got)
	}
	c.helm(t, "uninstall", "ratify", "--namespace", cluster.GatekeeperNamespace, "--wait")
	t.Run("without the Providers nothing comes in", func(t *testing.T) {
		image := c.images.fresh(t)
		says := refused(t, c.Cluster, "run", "uninstalled", "--image="+image.Reference)
		t.Log(says)
		absent(t, c.Cluster, "pod/uninstalled")
	})
}
