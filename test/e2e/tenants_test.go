package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// The namespaces of the tenants: the first two trust a signer each, the third has no policies, those of the fourth are for
// more than is its own; the fifth has a pull secret for the private registry, and the sixth has none.
const (
	teamA, teamB, teamPlain, teamWide, teamPrivate, teamOther = "team-a", "team-b", "team-plain", "team-wide", "team-p", "team-q"
	teamsImage                                                = "teams/app"
)

// tenantFile is one tenant's, who trusts one key for some repositories.
const tenantFile = `
verifiers:
- {name: own, type: cosign, settings: {keys: [{name: %[1]s, file: /etc/ratify/tenants/%[1]s.pub}]}}
policies:
- {name: own, scopes: [%[2]q], verifiers: [own]}
`

func tenantsInstalled(t *testing.T, tr *trust) {
	a, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{teamA, teamB, teamPlain, teamWide, teamPrivate, teamOther} {
		kubectl(t, tr.Cluster, "create", "namespace", namespace)
	}
	image := tr.push(t, teamsImage)
	signed, err := a.Sign(cosigntest.SignStatement(image.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.images.Attach(t.Context(), teamsImage, cosigntest.AttachBundle(image.Descriptor, signed.Bundle())); err != nil {
		t.Fatal(err)
	}
	own := tr.images.Host + "/teams/*"
	apply(t, tr.Cluster, manifest(t, object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "tenants", "namespace": cluster.GatekeeperNamespace},
		"data": object{
			teamA + ".yaml": fmt.Sprintf(tenantFile, "a", own), "a.pub": string(a.PublicPEM()),
			teamB + ".yaml": fmt.Sprintf(tenantFile, "b", own), "b.pub": string(b.PublicPEM()),
			teamWide + ".yaml": fmt.Sprintf(tenantFile, "a", tr.images.Host+"/*"),
		},
	}))
	tr.pullSecret(t)
	tr.install(t, object{
		"enabled": true, "tenantsConfigMap": "tenants",
		"delegate":    []object{{"namespaces": []string{"team-*"}, "scopes": []string{own}}},
		"pullSecrets": object{"namespaces": []object{{"name": teamPrivate, "secrets": []string{"registry"}}}},
	})
	tr.provider.stop(t)
	tr.provider.start(t, tr.Dir)
	tr.template(t, "library/tenants/template.yaml")
	tr.constrain(t, "constraint-workloads.yaml")
	for _, namespace := range []string{teamA, teamB, teamPlain, teamWide, teamPrivate, teamOther} {
		kubectl(t, tr.Cluster, "wait", "--for=create", "serviceaccount/default", "--namespace="+namespace, "--timeout=60s")
	}
}

func tenantsJudged(t *testing.T, tr *trust) {
	image := tr.images.Host + "/" + teamsImage + ":" + fixture.Tag
	foreign := refusal{ratify.UntrustedSigner, "", ""}
	t.Run("admitted in one namespace", func(t *testing.T) {
		tr.admitted(t, teamA, "app", image)
		if r := tr.lastRecord(t, image); r.Key != "["+teamA+"]"+image || r.Policy != teamA+"/own" {
			t.Errorf("the record has the key %q and the policy %q, want those of %s", r.Key, r.Policy, teamA)
		}
	})
	t.Run("denied in the other", func(t *testing.T) {
		if r := tr.denied(t, teamB, "app", image, foreign); r.Policy != teamB+"/own" {
			t.Errorf("the record has the policy %q, want %s/own", r.Policy, teamB)
		}
	})
	t.Run("denied by the cluster's policy where there is no other", func(t *testing.T) {
		for _, namespace := range []string{teamPlain, "default"} {
			if r := tr.denied(t, namespace, "app", image, refusal{ratify.NoSignature, "", ""}); r.Policy != "default" {
				t.Errorf("the record has the policy %q, want the cluster's", r.Policy)
			}
		}
	})
	t.Run("admitted by the cluster's policy", func(t *testing.T) {
		for _, namespace := range []string{teamPlain, teamA, "default"} {
			tr.admitted(t, namespace, "of-the-cluster", tr.images.ref(fixture.SignedCOSE))
		}
		tr.denied(t, teamA, "not-of-the-cluster", tr.images.ref(fixture.Stranger), refusals()[fixture.Stranger])
	})
	t.Run("deployments", func(t *testing.T) {
		kubectl(t, tr.Cluster, "create", "deployment", "app", "--image="+image, "--namespace="+teamA)
		kubectl(t, tr.Cluster, "rollout", "status", "deployment/app", "--namespace="+teamA, "--timeout=60s")
		says := refused(t, tr.Cluster, "create", "deployment", "app", "--image="+image, "--namespace="+teamB)
		if want := "Subject failed verification: " + image + ": verification failed: "; !strings.Contains(says, want) {
			t.Errorf("kubectl says\n%s\nwant %q in it", says, want)
		}
		tr.missing(t, teamB, "deployment/app")
	})
}

func tenantReachesTooFar(t *testing.T, tr *trust) {
	reason := refusal{ratify.TenantInvalid, `the policies of the namespace "` + teamWide + `" could not be loaded: see the log, or run ratify check`, "correct the namespace's file"}
	for pod, image := range map[string]string{"own": tr.images.Host + "/" + teamsImage + ":" + fixture.Tag, "of-the-cluster": tr.images.ref(fixture.SignedCOSE)} {
		tr.denied(t, teamWide, pod, image, reason)
	}
	t.Run("the log says what is wrong", func(t *testing.T) {
		log, err := os.ReadFile(tr.provider.logs[len(tr.provider.logs)-1])
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range []string{teamWide + ".yaml: policies[0]", "is not delegated to the namespace"} {
			if !strings.Contains(string(log), words) {
				t.Errorf("the provider's log does not have %q in it", words)
			}
		}
	})
	t.Run("the others go on", func(t *testing.T) {
		tr.admitted(t, teamA, "beside", tr.images.Host+"/"+teamsImage+":"+fixture.Tag)
	})
}

// pullSecret gives one namespace what its pods pull with.
func (tr *trust) pullSecret(t *testing.T) {
	t.Helper()
	namespace := "--namespace=" + teamPrivate
	kubectl(t, tr.Cluster, "create", "secret", "docker-registry", "registry", namespace, "--docker-server="+tr.private.host,
		"--docker-username="+tr.private.user, "--docker-password="+tr.private.password)
	kubectl(t, tr.Cluster, "create", "secret", "generic", "other", namespace, "--from-literal=a=b")
	kubectl(t, tr.Cluster, "wait", "--for=create", "serviceaccount/default", namespace, "--timeout=60s")
	kubectl(t, tr.Cluster, "patch", "serviceaccount/default", namespace, `--patch={"imagePullSecrets":[{"name":"registry"}]}`)
}

func pullSecretsUsed(t *testing.T, tr *trust) {
	signed := tr.private.copy(t, tr.images.Images[fixture.Signed], "app", true)
	unsigned := tr.private.copy(t, tr.images.Images[fixture.Unsigned], "unsigned", true)
	t.Run("verified in its namespace", func(t *testing.T) {
		tr.admitted(t, teamPrivate, "private", signed)
		tr.denied(t, teamPrivate, "private-unsigned", unsigned, refusals()[fixture.Unsigned])
	})
	for _, namespace := range []string{teamOther, "default"} {
		t.Run("not readable in "+namespace, func(t *testing.T) {
			says := refused(t, tr.Cluster, "run", "private", "--image="+signed, "--namespace="+namespace)
			t.Log(says)
			if !strings.HasPrefix(says, forbidden+couldNot) || !strings.Contains(says, string(ratify.RegistryAuth)) || strings.Contains(says, tr.private.password) {
				t.Errorf("kubectl says\n%s\nwant it to begin with %q and to have %s in it", says, forbidden+couldNot, ratify.RegistryAuth)
			}
			tr.missing(t, namespace, "pod/private")
		})
	}
}

func rightsAreNarrow(t *testing.T, tr *trust) {
	for _, tt := range []struct {
		verb, what, namespace string
		want                  bool
	}{
		{"get", "secrets/registry", teamPrivate, true},
		{"get", "serviceaccounts/default", teamPrivate, true},
		{"get", "secrets/other", teamPrivate, false},
		{"list", "secrets", teamPrivate, false},
		{"watch", "secrets", teamPrivate, false},
		{"get", "secrets/registry", teamOther, false},
		{"get", "serviceaccounts/default", teamOther, false},
		{"list", "secrets", "", false},
		{"get", "secrets", cluster.GatekeeperNamespace, false},
	} {
		args := []string{"auth", "can-i", tt.verb, tt.what, "--as=system:serviceaccount:" + cluster.GatekeeperNamespace + ":ratify"}
		if tt.namespace == "" {
			args = append(args, "--all-namespaces")
		} else {
			args = append(args, "--namespace="+tt.namespace)
		}
		out, err := tr.Kubectl(t.Context(), args...) // it ends with 1 where the answer is no
		if answer := strings.TrimSpace(out); (answer == "yes") != tt.want || answer != "yes" && answer != "no" {
			t.Errorf("kubectl %s says %q (%v), want yes: %t", strings.Join(args, " "), answer, err, tt.want)
		}
	}
}
