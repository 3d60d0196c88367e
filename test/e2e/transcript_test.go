package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// A chain is everything that takes part: the cluster, the registry, the provider.
type chain struct {
	*cluster.Cluster
	images   *images
	provider *provider
}

// The webhooks' timeouts, in seconds, of which the chart derives all others. Validation has what the chart recommends. Mutation has more than
// its 2 s, which a machine that runs all of this on two cores does not always keep.
const (
	validatingTimeout = 5
	mutatingTimeout   = 5
)

// TestTranscript goes, in order, through what a user is promised to see. Each step is a test of its own, so that one which
// fails does not hide the others; those at the beginning are what the others stand on.
func TestTranscript(t *testing.T) {
	c := &chain{images: startImages(t, fixture.Options{}), provider: newProvider(t)}
	c.Cluster = startCluster(t, cluster.Options{Workloads: true, ValidatingTimeout: validatingTimeout, MutatingTimeout: mutatingTimeout})
	for _, step := range []struct {
		name string
		run  func(*testing.T, *chain)
	}{
		{"the chart's objects are accepted", chartAccepted},
		{"helm install", helmInstall},
		{"the provider serves with the chart's configuration", providerServes},
		{"the library is applied", libraryApplied},
		{"a signed image is admitted", signedAdmitted},
		{"images that do not verify are denied", unverifiedDenied},
		{"the log says why", logSaysWhy},
		{"wherever a pod has an image", everyImageOfPod},
		{"a workload's pods are denied", workloadPodsDenied},
		{"workloads are denied", workloadsDenied},
		{"an update that adds an image", updatesDenied},
		{"bad references", badReferences},
		{"references without a digest", digestsRequired},
		{"provider stopped", providerStopped},
		{"provider slow", providerSlow},
		{"provider answers rubbish", providerRubbish},
		{"registry slow, broken or away", registryTrouble},
		{"timeouts and failure policies", timeouts},
		{"mutation pins tags", mutationPins},
		{"ratify doctor", doctorNames},
		{"the TLS pair is replaced", pairReplaced},
		{"helm upgrade and uninstall", helmUpgrade},
		{"nothing but signed images came in", nothingElse},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, c) })
	}
}

// release is what a first user would type, with what is different here: a registry without TLS on a private address, and a
// provider that runs outside the cluster, and the time that mutation has.
func (c *chain) release(verb ...string) []string {
	return append(verb, "ratify", "./charts/ratify", "--namespace", cluster.GatekeeperNamespace, "--set-file", "notaryCert="+c.images.SignerFile,
		"--set", "registries[0].host="+c.images.Host, "--set", "registries[0].plainHTTP=true", "--set", "registries[0].allowPrivate=true",
		"--set", "provider.url="+c.provider.url(), "--set", fmt.Sprintf("gatekeeper.mutatingWebhookTimeoutSeconds=%d", mutatingTimeout))
}

func (c *chain) helm(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	out, err := c.Helm(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func helmInstall(t *testing.T, c *chain) {
	out := c.helm(t, append(c.release("install"), "--atomic", "--timeout", "2m")...)
	if !strings.Contains(out, "STATUS: deployed") {
		t.Errorf("helm says %q", out)
	}
	got := kubectl(t, c.Cluster, "get", "deployment/ratify", "--namespace="+cluster.GatekeeperNamespace,
		"--output=jsonpath={.spec.replicas} {.status.readyReplicas}")
	if got != "2 2" {
		t.Errorf("replicas wanted and ready: %q, want two of each", got)
	}
	waitActive(t, c.Cluster, "provider/ratify-provider", "active")
	waitActive(t, c.Cluster, "provider/ratify-mutation-provider", "active")
}

func providerServes(t *testing.T, c *chain) {
	binary, err := program.Build(t.Context(), c.Dir, program.BuildOptions{Flags: []string{"-trimpath"}})
	if err != nil {
		t.Fatal(err)
	}
	c.provider.binary = binary
	c.provider.take(t, c.Cluster, "ratify")
	c.provider.start(t, c.Dir)
}

func libraryApplied(t *testing.T, c *chain) {
	kubectl(t, c.Cluster, "apply", "-f", "library/default/template.yaml")
	kubectl(t, c.Cluster, "wait", "--for=create", "crd/ratifyverification.constraints.gatekeeper.sh", "--timeout=60s")
	kubectl(t, c.Cluster, "wait", "--for=condition=Established", "crd/ratifyverification.constraints.gatekeeper.sh", "--timeout=60s")
	c.constrain(t, "constraint.yaml")
	t.Run("every sample is accepted", func(t *testing.T) {
		kubectl(t, c.Cluster, "apply", "--recursive", "-f", "library/default/samples", "-f", "library/expansion", "-f", "library/mutation", "--dry-run=server")
	})
}

// constrain applies a sample constraint and waits until Gatekeeper enforces it as it is now.
func (c *chain) constrain(t *testing.T, sample string) {
	t.Helper()
	kubectl(t, c.Cluster, "apply", "-f", "library/default/samples/"+sample)
	const constraint = "ratifyverification/ratify-constraint"
	waitActive(t, c.Cluster, constraint, "enforced")
	waitObserved(t, c.Cluster, constraint)
}

func signedAdmitted(t *testing.T, c *chain) {
	if got := kubectl(t, c.Cluster, "run", "ratify-signed", "--image="+c.images.ref(fixture.Signed)); got != "pod/ratify-signed created\n" {
		t.Errorf("kubectl says %q", got)
	}
	kubectl(t, c.Cluster, "wait", "--for=condition=Ready", "pod/ratify-signed", "--timeout=60s")
}

// A refusal is what a user is told about an image: the code is in the log, the message and the remedy are in both places.
type refusal struct {
	code            ratify.Code
	message, remedy string
}

// refusals are the words for the fixture's images. A message may go on after the words here: with a name, with dates.
func refusals() map[string]refusal {
	return map[string]refusal{
		fixture.Unsigned: {ratify.NoReferrers, "no referrers found for this artifact", "sign this digest"},
		fixture.Expired:  {ratify.CertificateExpired, `the certificate "CN=wabbit-networks.io,O=Example,ST=WA,C=US" is not valid now: it is valid from `, "sign again with a valid certificate"},
		fixture.Stranger: {ratify.UntrustedSigner, "signature is not produced by a trusted signer", "add the signer's CA certificate to trust store"},
		fixture.Tampered: {ratify.SignatureInvalid, "the signature does not match its certificate and payload", "sign the image again"},
	}
}

// denial is what kubectl says when the template refuses one image: one line, in which a person finds the image, the reason, what to do, and the
// trace that leads to the log.
func denial(image string, r refusal) *regexp.Regexp {
	return regexp.MustCompile(`^` + regexp.QuoteMeta(forbidden+"[ratify-constraint] Subject failed verification: "+image+": verification failed: "+r.message) +
		`[^\n]*\. ` + regexp.QuoteMeta(r.remedy) + `[^\n]* \(trace [0-9a-f]{32}\)\n$`)
}

func unverifiedDenied(t *testing.T, c *chain) {
	for _, tt := range []struct{ pod, kind string }{
		{"demo", fixture.Unsigned}, {"sample", fixture.Expired}, {"foreign", fixture.Stranger}, {"changed", fixture.Tampered},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			image := c.images.ref(tt.kind)
			says := refused(t, c.Cluster, "run", tt.pod, "--image="+image)
			t.Log(says)
			if want := denial(image, refusals()[tt.kind]); !want.MatchString(says) {
				t.Errorf("kubectl says\n%s\nwant\n%s", says, want)
			}
			absent(t, c.Cluster, "pod/"+tt.pod)
		})
	}
	t.Run("an image that does not exist", func(t *testing.T) {
		image := c.images.Host + "/absent:v1"
		says := refused(t, c.Cluster, "run", "nothing", "--image="+image)
		want := denial(image, refusal{ratify.SubjectNotFound, "registry " + c.images.Host + ` has no "absent:v1"`, "check the reference"})
		if !want.MatchString(says) {
			t.Errorf("kubectl says\n%s\nwant\n%s", says, want)
		}
		absent(t, c.Cluster, "pod/nothing")
	})
}

func logSaysWhy(t *testing.T, c *chain) {
	t.Run(fixture.Unsigned, func(t *testing.T) {
		r := c.provider.recordOf(t, c.images.ref(fixture.Unsigned))
		if *r.IsSuccess || r.Subject != c.images.pinned(fixture.Unsigned) || r.Message != "verification failed: no referrers found for this artifact" {
			t.Errorf("record %+v", r)
		}
	})
	t.Run(fixture.Signed, func(t *testing.T) {
		r := c.provider.recordOf(t, c.images.ref(fixture.Signed))
		if !*r.IsSuccess || r.Subject != c.images.pinned(fixture.Signed) || len(r.VerifierReports) != 1 || !r.VerifierReports[0].IsSuccess {
			t.Errorf("record %+v", r)
		}
	})
	for kind, want := range refusals() {
		if kind == fixture.Unsigned {
			continue // it has nothing that a verifier could report on
		}
		t.Run(kind, func(t *testing.T) {
			r := c.provider.recordOf(t, c.images.ref(kind))
			if *r.IsSuccess || r.Subject != c.images.pinned(kind) || len(r.VerifierReports) != 1 {
				t.Fatalf("record %+v", r)
			}
			v := r.VerifierReports[0]
			if v.IsSuccess || v.Name != "notation" || v.Code != string(want.code) || !strings.Contains(v.Message, want.message) {
				t.Errorf("verifier report %+v", v)
			}
		})
	}
	t.Run("the trace leads from the denial to the record", func(t *testing.T) {
		says := refused(t, c.Cluster, "run", "demo", "--image="+c.images.ref(fixture.Unsigned))
		if trace := c.provider.recordOf(t, c.images.ref(fixture.Unsigned)).TraceID; trace == "" || !strings.Contains(says, "(trace "+trace+")") {
			t.Errorf("the record's trace is %q, kubectl says %s", trace, says)
		}
	})
}

// object is a Kubernetes object as JSON.
type object = map[string]any

func manifest(t *testing.T, o object) string {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func pod(name string, spec object) object {
	return object{"apiVersion": "v1", "kind": "Pod", "metadata": object{"name": name, "labels": object{"app": name}}, "spec": spec}
}

func containers(images ...string) []object {
	var list []object
	for i, image := range images {
		list = append(list, object{"name": fmt.Sprintf("c%d", i), "image": image})
	}
	return list
}

// refusedApply applies an object that must be refused because of an image, and must not be there afterwards.
func (c *chain) refusedApply(t *testing.T, o object, image string) {
	t.Helper()
	says := refused(t, c.Cluster, "apply", "-f", c.file(t, o))
	if !strings.Contains(says, `admission webhook "validation.gatekeeper.sh" denied the request: [ratify-constraint] `) ||
		!strings.Contains(says, "Subject failed verification: "+image+": verification failed: ") {
		t.Errorf("kubectl says %s", says)
	}
	absent(t, c.Cluster, strings.ToLower(o["kind"].(string))+"/"+o["metadata"].(object)["name"].(string))
}

func everyImageOfPod(t *testing.T, c *chain) {
	good, bad := c.images.ref(fixture.Signed), c.images.ref(fixture.Unsigned)
	for name, spec := range map[string]func(image string) object{
		"container":        func(image string) object { return object{"containers": containers(image)} },
		"second-container": func(image string) object { return object{"containers": containers(good, image)} },
		"init-container": func(image string) object {
			return object{"containers": containers(good), "initContainers": []object{{"name": "init", "image": image}}}
		},
		"image-volume": func(image string) object {
			return object{"containers": containers(good), "volumes": []object{{"name": "files", "image": object{"reference": image}}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.refusedApply(t, pod("bad-"+name, spec(bad)), bad)
			apply(t, c.Cluster, manifest(t, pod("good-"+name, spec(good))))
		})
	}
	t.Run("ephemeral-container", func(t *testing.T) {
		says := refused(t, c.Cluster, "debug", "pod/ratify-signed", "--image="+bad, "--container=look", "--attach=false")
		if !strings.Contains(says, "Subject failed verification: "+bad) {
			t.Errorf("kubectl says %s", says)
		}
		if got := kubectl(t, c.Cluster, "get", "pod/ratify-signed", "--output=jsonpath={.spec.ephemeralContainers}"); got != "" {
			t.Errorf("the pod has the ephemeral containers %s", got)
		}
		kubectl(t, c.Cluster, "debug", "pod/ratify-signed", "--image="+good, "--container=look", "--attach=false")
	})
}

// workloadPodsDenied shows what happens where only pods are matched: the workload is stored, and says why it has no pods.
func workloadPodsDenied(t *testing.T, c *chain) {
	kubectl(t, c.Cluster, "create", "deployment", "only-pods-denied", "--image="+c.images.ref(fixture.Unsigned))
	kubectl(t, c.Cluster, "wait", "--for=condition=ReplicaFailure", "deployment/only-pods-denied", "--timeout=60s")
	why := kubectl(t, c.Cluster, "get", "deployment/only-pods-denied", `--output=jsonpath={.status.conditions[?(@.type=="ReplicaFailure")].message}`)
	if !strings.Contains(why, "Subject failed verification: "+c.images.ref(fixture.Unsigned)+": verification failed: no referrers found") {
		t.Errorf("the condition says %q", why)
	}
	if got := kubectl(t, c.Cluster, "get", "pods", "--selector=app=only-pods-denied", "--output=name"); got != "" {
		t.Errorf("pods %q", got)
	}
	kubectl(t, c.Cluster, "delete", "deployment/only-pods-denied")
}

// workload is an object of a kind whose pods have one image.
func workload(kind, name, image string) object {
	template := object{"metadata": object{"labels": object{"app": name}}, "spec": object{"containers": containers(image)}}
	selector := object{"matchLabels": object{"app": name}}
	o := object{"kind": kind, "metadata": object{"name": name}}
	switch kind {
	case "Deployment", "ReplicaSet", "DaemonSet":
		o["apiVersion"], o["spec"] = "apps/v1", object{"selector": selector, "template": template}
	case "StatefulSet":
		o["apiVersion"], o["spec"] = "apps/v1", object{"selector": selector, "template": template, "serviceName": name}
	case "Job":
		template["spec"].(object)["restartPolicy"] = "Never"
		o["apiVersion"], o["spec"] = "batch/v1", object{"template": template}
	case "CronJob":
		template["spec"].(object)["restartPolicy"] = "Never"
		o["apiVersion"], o["spec"] = "batch/v1", object{"schedule": "0 0 1 1 *", "jobTemplate": object{"spec": object{"template": template}}}
	case "ReplicationController":
		o["apiVersion"], o["spec"] = "v1", object{"selector": object{"app": name}, "template": template}
	case "PodTemplate":
		o["apiVersion"], o["template"] = "v1", template
	}
	return o
}

func workloadsDenied(t *testing.T, c *chain) {
	good, bad := c.images.ref(fixture.Signed), c.images.ref(fixture.Unsigned)
	says := kubectl(t, c.Cluster, "apply", "-f", "library/expansion")
	for _, line := range strings.Split(strings.TrimSpace(says), "\n") {
		name, _, _ := strings.Cut(line, " ")
		waitCreated(t, c.Cluster, name)
	}
	for _, kind := range []string{"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "ReplicationController", "PodTemplate"} {
		t.Run(kind, func(t *testing.T) {
			name := strings.ToLower(kind)
			c.refusedApply(t, workload(kind, "bad-"+name, bad), bad)
			apply(t, c.Cluster, manifest(t, workload(kind, "good-"+name, good)))
		})
	}
	t.Run("a good one comes up", func(t *testing.T) {
		kubectl(t, c.Cluster, "rollout", "status", "deployment/good-deployment", "--timeout=60s")
	})
}

// waitCreated waits until Gatekeeper has taken up an object whose status does not say more than that it was seen.
func waitCreated(t *testing.T, c *cluster.Cluster, resource string) {
	t.Helper()
	kubectl(t, c, "wait", "--for=jsonpath={.status.byPod[0].id}", resource, "--timeout=60s")
}

func updatesDenied(t *testing.T, c *chain) {
	good, bad := c.images.ref(fixture.Signed), c.images.ref(fixture.Unsigned)
	kubectl(t, c.Cluster, "run", "updated", "--image="+good)
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"another image in a pod", []string{"set", "image", "pod/updated", "updated=" + bad}},
		{"another image in a deployment", []string{"set", "image", "deployment/good-deployment", "c0=" + bad}},
		{"one more container in a deployment", []string{"patch", "deployment/good-deployment", "--type=json",
			`--patch=[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"more","image":"` + bad + `"}}]`}},
		{"another image in a cron job", []string{"set", "image", "cronjob/good-cronjob", "c0=" + bad}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			says := refused(t, c.Cluster, tt.args...)
			if !strings.Contains(says, "Subject failed verification: "+bad+": verification failed: no referrers found") {
				t.Errorf("kubectl says %s", says)
			}
		})
	}
	t.Run("nothing of it was stored", func(t *testing.T) {
		got := kubectl(t, c.Cluster, "get", "pods,deployments,cronjobs", "--output=json")
		if strings.Contains(got, bad) {
			t.Errorf("%s is in a stored object", bad)
		}
	})
	t.Run("an update that changes no image", func(t *testing.T) {
		kubectl(t, c.Cluster, "label", "pod/updated", "step=updates")
		kubectl(t, c.Cluster, "annotate", "deployment/good-deployment", "step=updates")
	})
}

func badReferences(t *testing.T, c *chain) {
	for name, image := range map[string]string{
		"capital":    c.images.Host + "/Signed:v1",
		"empty-host": "/signed:v1",
		"not-ascii":  c.images.Host + "/sıgned:v1",
		"odd-digest": c.images.Host + "/signed@sha256:0123",
		"two-tags":   c.images.Host + "/signed:v1:v2",
		"namespaced": "[other]" + c.images.ref(fixture.Signed),
		"odd-host":   "127.1:5000/signed:v1",
	} {
		t.Run(name, func(t *testing.T) {
			says := refused(t, c.Cluster, "create", "-f", c.file(t, pod("bad-"+name, object{"containers": containers(image)})))
			t.Log(says)
			if !strings.HasPrefix(says, `Error from server (Forbidden): error when creating "`) || !strings.Contains(says, "Subject failed verification: ") ||
				!strings.Contains(says, `verification failed: the image reference "`) || !strings.Contains(says, `" is malformed: `) {
				t.Errorf("kubectl says %s", says)
			}
			absent(t, c.Cluster, "pod/bad-"+name)
		})
	}
	t.Run("too-many-images", func(t *testing.T) {
		var many []string
		for i := range 65 {
			many = append(many, fmt.Sprintf("%s/signed:v%d", c.images.Host, i))
		}
		says := refused(t, c.Cluster, "create", "-f", c.file(t, pod("bad-many", object{"containers": containers(many...)})))
		if !strings.Contains(says, "65 images") {
			t.Errorf("kubectl says %s", says)
		}
		absent(t, c.Cluster, "pod/bad-many")
	})
}

// digestsRequired applies the sample for clusters that want digests and have no mutation.
func digestsRequired(t *testing.T, c *chain) {
	defer c.constrain(t, "constraint.yaml")
	c.constrain(t, "constraint-digest.yaml")
	image := c.images.fresh(t)
	says := refused(t, c.Cluster, "run", "no-digest", "--image="+image.Reference)
	if want := forbidden + "[ratify-constraint] Subject failed verification: " + image.Reference + ": the reference has no digest."; !strings.HasPrefix(says, want) {
		t.Errorf("kubectl says\n%s\nwant it to begin with\n%s", says, want)
	}
	absent(t, c.Cluster, "pod/no-digest")
	c.admitted(t, "a-digest", image.Pinned())
}

// file writes an object for kubectl create.
func (c *chain) file(t *testing.T, o object) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(path, []byte(manifest(t, o)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nothingElse looks at all pods that were ever stored and still are: each image of each must be the signed one.
func nothingElse(t *testing.T, c *chain) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct {
				Containers, InitContainers, EphemeralContainers []struct{ Image string }
				Volumes                                         []struct{ Image *struct{ Reference string } }
			}
		}
	}
	decode(t, kubectl(t, c.Cluster, "get", "pods", "--namespace=default", "--output=json"), &list)
	if len(list.Items) == 0 {
		t.Error("there are no pods at all")
	}
	for _, p := range list.Items {
		var images []string
		for _, group := range [][]struct{ Image string }{p.Spec.Containers, p.Spec.InitContainers, p.Spec.EphemeralContainers} {
			for _, container := range group {
				images = append(images, container.Image)
			}
		}
		for _, v := range p.Spec.Volumes {
			if v.Image != nil {
				images = append(images, v.Image.Reference)
			}
		}
		for _, image := range images {
			if !c.images.good[image] {
				t.Errorf("pod %s has the image %s", p.Metadata.Name, image)
			}
		}
	}
}
