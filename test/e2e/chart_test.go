package e2e

import (
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/cluster"
)

// chartAccepted lets the API server check what the chart renders, without storing it.
func chartAccepted(t *testing.T, c *chain) {
	for name, args := range map[string][]string{
		"defaults": {"template", "ratify", "./charts/ratify", "--namespace", cluster.GatekeeperNamespace, "--set-file", "notaryCert=" + c.images.SignerFile},
		"here":     c.release("template"),
	} {
		t.Run(name, func(t *testing.T) {
			rendered := c.helm(t, args...)
			says := apply(t, c.Cluster, rendered, "--dry-run=server", "--namespace="+cluster.GatekeeperNamespace)
			for _, want := range []string{"deployment.apps/ratify created (server dry run)", "provider.externaldata.gatekeeper.sh/ratify-provider created (server dry run)"} {
				if !strings.Contains(says, want) {
					t.Errorf("kubectl says %q, want %q in it", says, want)
				}
			}
		})
	}
}

// helmUpgrade shows that an upgrade keeps the TLS pair, and that nothing is left of the release in the end.
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
