package e2e

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/verifier/cosign/cosigntest"
)

// The namespaces of the tenants: the first two trust a signer each, the third has no policies, those of the fourth are for
// more than is its own; the fifth has a pull secret for the private registry, and the sixth has one that the registry refuses.
const (
	teamA, teamB, teamPlain, teamWide, teamPrivate, teamOther = "team-a", "team-b", "team-plain", "team-wide", "team-p", "team-q"
)

// tenantFile is one tenant's, who trusts one key for some repositories.
const tenantFile = `
verifiers:
- {name: own, type: cosign, settings: {keys: [{name: %[1]s, file: /etc/ratify/tenants/%[1]s.pub}]}}
policies:
- {name: own, scopes: [%[2]q], verifiers: [own]}
`

func tenantsInstalled(t *testing.T, tr *trust) {
	namespaces := []string{teamA, teamB, teamPlain, teamWide, teamPrivate, teamOther}
	var list []object
	for _, namespace := range namespaces {
		list = append(list, object{"apiVersion": "v1", "kind": "Namespace", "metadata": object{"name": namespace}})
	}
	apply(t, tr.Cluster, manifest(t, object{"apiVersion": "v1", "kind": "List", "items": list}))
	tr.teamKeys = map[string][]byte{teamA: tr.signForTeam(t, teamA), teamB: tr.signForTeam(t, teamB)}
	tr.tenantFiles(t, tr.images.Host+"/*")
	for _, namespace := range namespaces {
		kubectl(t, tr.Cluster, "wait", "--for=create", "serviceaccount/default", "--namespace="+namespace, "--timeout=60s")
	}
	tr.pullSecret(t, teamPrivate, tr.private.user, tr.private.password)
	tr.pullSecret(t, teamOther, teamOther, "a guess")
	tr.install(t, object{
		"enabled": true, "tenantsConfigMap": "tenants",
		"delegate": []object{{"namespaces": []string{"team-*"}, "scopes": []string{tr.delegated()}}},
		"pullSecrets": object{"namespaces": []object{
			{"name": teamPrivate, "secrets": []string{"registry"}}, {"name": teamOther, "secrets": []string{"registry"}},
		}},
	})
	tr.provider.stop(t)
	tr.provider.start(t, tr.Dir)
	tr.template(t, "library/tenants/template.yaml")
	tr.constrain(t, "constraint-workloads.yaml")
}

// delegated is the scope that tenants may have policies for.
func (tr *trust) delegated() string { return tr.images.Host + "/teams/*" }

// ofTeam is the image that a tenant's own key has signed.
func (tr *trust) ofTeam(namespace string) string {
	return tr.images.Host + "/teams/" + namespace + ":" + fixture.Tag
}

// signForTeam pushes that image, signed, and returns the public key.
func (tr *trust) signForTeam(t *testing.T, namespace string) []byte {
	t.Helper()
	key, err := cosigntest.NewKey(cosigntest.P256)
	if err != nil {
		t.Fatal(err)
	}
	name := "teams/" + namespace
	image := tr.push(t, name)
	signed, err := key.Sign(cosigntest.SignStatement(image.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.images.Attach(t.Context(), name, cosigntest.AttachBundle(image.Descriptor, signed.Bundle())); err != nil {
		t.Fatal(err)
	}
	return key.PublicPEM()
}

// tenantFiles writes what the tenants say; scope is what one of them, who trusts the key of the first, has its policy for.
func (tr *trust) tenantFiles(t *testing.T, scope string) {
	t.Helper()
	apply(t, tr.Cluster, manifest(t, object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": "tenants", "namespace": cluster.GatekeeperNamespace},
		"data": object{
			teamA + ".yaml": fmt.Sprintf(tenantFile, teamA, tr.delegated()), teamA + ".pub": string(tr.teamKeys[teamA]),
			teamB + ".yaml": fmt.Sprintf(tenantFile, teamB, tr.delegated()), teamB + ".pub": string(tr.teamKeys[teamB]),
			teamWide + ".yaml": fmt.Sprintf(tenantFile, teamA, scope),
		},
	}))
}

func tenantsJudged(t *testing.T, tr *trust) {
	for _, tt := range []struct{ namespace, other string }{{teamA, teamB}, {teamB, teamA}} {
		t.Run("of "+tt.namespace+" and not of "+tt.other, func(t *testing.T) {
			image := tr.ofTeam(tt.namespace)
			tr.admitted(t, tt.namespace, "own", image)
			if r := tr.lastRecord(t, image); r.Key != "["+tt.namespace+"]"+image || r.Policy != tt.namespace+"/own" {
				t.Errorf("the record has the key %q and the policy %q, want those of %s", r.Key, r.Policy, tt.namespace)
			}
			if r := tr.denied(t, tt.other, "of-another", image, noKey(tt.other)); r.Policy != tt.other+"/own" {
				t.Errorf("the record has the policy %q, want %s/own", r.Policy, tt.other)
			}
			t.Run("deployments", func(t *testing.T) { tr.deploymentsJudged(t, tt.namespace, tt.other) })
		})
	}
	t.Run("by the cluster's policy where there is no other", func(t *testing.T) {
		// The registry says of a bundle only that it is attached.
		reason := refusal{ratify.NoSignature, "no evidence of the required kind is attached", "sign this digest with a tool that the policy's verifiers accept"}
		for _, namespace := range []string{teamPlain, "default"} {
			if r := tr.denied(t, namespace, "of-a-team", tr.ofTeam(teamA), reason); r.Policy != "default" {
				t.Errorf("the record has the policy %q, want the cluster's", r.Policy)
			}
		}
		for _, namespace := range []string{teamPlain, teamA, "default"} {
			tr.admitted(t, namespace, "of-the-cluster", tr.images.ref(fixture.SignedCOSE))
		}
		tr.denied(t, teamA, "foreign", tr.images.ref(fixture.Stranger), refusals()[fixture.Stranger])
	})
}

// deploymentsJudged deploys a tenant's image in its own namespace, where it comes up, and in another's, where it is denied.
func (tr *trust) deploymentsJudged(t *testing.T, namespace, other string) {
	image := tr.ofTeam(namespace)
	kubectl(t, tr.Cluster, "create", "deployment", "own", "--image="+image, "--namespace="+namespace)
	kubectl(t, tr.Cluster, "rollout", "status", "deployment/own", "--namespace="+namespace, "--timeout=60s")
	tr.deploymentDenied(t, other, workload("Deployment", "of-another", image), image)
}

// deploymentDenied applies a Deployment that must be denied because of its image, and not be there afterwards.
func (tr *trust) deploymentDenied(t *testing.T, namespace string, deployment object, image string) {
	t.Helper()
	says := refused(t, tr.Cluster, "apply", "-f", tr.file(t, deployment), "--namespace="+namespace)
	if want := "[ratify-constraint] Subject failed verification: " + image + ": verification failed: "; !strings.Contains(says, want) {
		t.Errorf("kubectl says\n%s\nwant %q in it", says, want)
	}
	tr.missing(t, namespace, "deployment/"+deployment["metadata"].(object)["name"].(string))
}

// tenantsApart has one tenant ask in ways that name another, whose image it may not run.
func tenantsApart(t *testing.T, tr *trust) {
	image := tr.ofTeam(teamA)
	t.Run("by the namespace in a pod template", func(t *testing.T) {
		deployment := workload("Deployment", "in-the-template", image)
		deployment["spec"].(object)["template"].(object)["metadata"].(object)["namespace"] = teamA
		tr.deploymentDenied(t, teamB, deployment, image)
	})
	t.Run("by the image", func(t *testing.T) {
		forged := "[" + teamA + "]" + image
		says := refused(t, tr.Cluster, "create", "-f", tr.file(t, pod("in-the-image", object{"containers": containers(forged)})), "--namespace="+teamB)
		for _, want := range []string{"Subject failed verification: " + forged + ": verification failed: ", `" is malformed: `} {
			if !strings.Contains(says, want) {
				t.Errorf("kubectl says\n%s\nwant %q in it", says, want)
			}
		}
		tr.missing(t, teamB, "pod/in-the-image")
	})
}

func tenantReachesTooFar(t *testing.T, tr *trust) {
	reason := refusal{ratify.TenantInvalid, `the policies of the namespace "` + teamWide + `" could not be loaded: see the log, or run ratify check`, "correct the namespace's file"}
	for pod, image := range map[string]string{"of-a-team": tr.ofTeam(teamA), "of-the-cluster": tr.images.ref(fixture.SignedCOSE)} {
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
	t.Run("the others go on", func(t *testing.T) { tr.admitted(t, teamA, "beside", tr.ofTeam(teamA)) })
	t.Run("corrected, it is taken up without a restart", func(t *testing.T) {
		tr.tenantFiles(t, tr.delegated())
		tr.provider.take(t, tr.Cluster, "ratify")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := tr.provider.process.WaitReady(ctx, func(ctx context.Context) error {
			_, err := tr.Kubectl(ctx, "run", "corrected", "--image="+tr.ofTeam(teamA), "--namespace="+teamWide, "--dry-run=server")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		tr.denied(t, teamWide, "of-a-team", tr.ofTeam(teamB), noKey(teamA))
		tr.admitted(t, teamWide, "of-the-cluster", tr.images.ref(fixture.SignedCOSE))
	})
}

// pullSecret gives a namespace what its pods pull with, and a Secret that is nobody else's business.
func (tr *trust) pullSecret(t *testing.T, namespace, user, password string) {
	t.Helper()
	in := "--namespace=" + namespace
	kubectl(t, tr.Cluster, "create", "secret", "docker-registry", "registry", in, "--docker-server="+tr.private.host,
		"--docker-username="+user, "--docker-password="+password)
	kubectl(t, tr.Cluster, "create", "secret", "generic", "other", in, "--from-literal=a=b")
	kubectl(t, tr.Cluster, "patch", "serviceaccount/default", in, `--patch={"imagePullSecrets":[{"name":"registry"}]}`)
}

func pullSecretsUsed(t *testing.T, tr *trust) {
	signed := tr.private.copy(t, tr.images.Images[fixture.Signed], "app", true)
	unsigned := tr.private.copy(t, tr.images.Images[fixture.Unsigned], "unsigned", true)
	t.Run("verified in its namespace", func(t *testing.T) {
		tr.admitted(t, teamPrivate, "private", signed)
		tr.denied(t, teamPrivate, "private-unsigned", unsigned, refusals()[fixture.Unsigned])
	})
	for namespace, why := range map[string]string{teamOther: "tried pull secret registry of namespace " + teamOther, teamPlain: "none is configured", "default": "none is configured"} {
		t.Run("not readable in "+namespace, func(t *testing.T) {
			says := refused(t, tr.Cluster, "run", "private", "--image="+signed, "--namespace="+namespace)
			t.Log(says)
			if !strings.HasPrefix(says, forbidden+couldNot) || !strings.Contains(says, string(ratify.RegistryAuth)) || !strings.Contains(says, why) {
				t.Errorf("kubectl says\n%s\nwant it to begin with %q and to have %s and %q in it", says, forbidden+couldNot, ratify.RegistryAuth, why)
			}
			for _, password := range []string{tr.private.password, "a guess"} {
				if strings.Contains(says, password) {
					t.Errorf("kubectl shows the password %q", password)
				}
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
		{"get", "secrets/registry", teamOther, true},
		{"get", "secrets/registry", teamPlain, false},
		{"get", "serviceaccounts/default", teamPlain, false},
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
