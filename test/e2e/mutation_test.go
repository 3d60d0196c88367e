package e2e

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/fixture"
)

// stored is what matters of a pod in the API server.
type stored struct {
	Metadata struct {
		Labels map[string]string
		UID    string
	}
	Spec map[string]any
}

func (c *chain) stored(t *testing.T, name string) stored {
	t.Helper()
	var p stored
	decode(t, kubectl(t, c.Cluster, "get", "pod/"+name, "--output=json"), &p)
	return p
}

func mutationPins(t *testing.T, c *chain) {
	older := c.images.fresh(t)
	c.admitted(t, "older", older.Reference)
	kubectl(t, c.Cluster, "wait", "--for=condition=Ready", "pod/older", "--timeout=60s")
	says := kubectl(t, c.Cluster, "apply", "-f", "library/mutation")
	for _, line := range strings.Split(strings.TrimSpace(says), "\n") {
		name, _, _ := strings.Cut(line, " ")
		waitActive(t, c.Cluster, name, "enforced")
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *chain)
	}{
		{"a pod by tag is stored with the digest that was verified", pinnedByTag},
		{"every image of a pod", pinnedEverywhere},
		{"a digest stays as it is", digestStays},
		{"labelling an older pod changes nothing else", olderPodStays},
		{"an unsigned image is still denied", pinnedAndDenied},
		{"an image that does not exist", pinnedNowhere},
		{"a moved tag", tagMoved},
		{"provider slow", mutationSlow},
		{"provider stopped", mutationStopped},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, c) })
	}
}

func pinnedByTag(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	want := image.Reference + "@" + image.Digest.String()
	c.admitted(t, "by-tag", image.Reference)
	if got := kubectl(t, c.Cluster, "get", "pod/by-tag", "--output=jsonpath={.spec.containers[*].image}"); got != want {
		t.Errorf("stored image %q, want %q", got, want)
	}
	if r := c.provider.recordOf(t, want); !*r.IsSuccess || r.Subject != image.Pinned() || r.Digest != image.Digest.String() {
		t.Errorf("what was verified: %+v", r)
	}
}

func pinnedEverywhere(t *testing.T, c *chain) {
	first, second, third := c.images.fresh(t), c.images.fresh(t), c.images.fresh(t)
	apply(t, c.Cluster, manifest(t, pod("everywhere", object{
		"containers":     containers(first.Reference, second.Reference),
		"initContainers": []object{{"name": "init", "image": second.Reference}},
		"volumes":        []object{{"name": "files", "image": object{"reference": third.Reference}}, {"name": "empty", "emptyDir": object{}}},
	})))
	got := kubectl(t, c.Cluster, "get", "pod/everywhere",
		"--output=jsonpath={.spec.containers[*].image} {.spec.initContainers[*].image} {.spec.volumes[*].image.reference}")
	var want []string
	for _, image := range []fixture.Image{first, second, second, third} {
		want = append(want, image.Reference+"@"+image.Digest.String())
	}
	if got != strings.Join(want, " ") {
		t.Errorf("stored images\n%s\nwant\n%s", got, strings.Join(want, " "))
	}
	extra := c.images.fresh(t)
	kubectl(t, c.Cluster, "debug", "pod/everywhere", "--image="+extra.Reference, "--container=look", "--attach=false")
	got = kubectl(t, c.Cluster, "get", "pod/everywhere", "--output=jsonpath={.spec.ephemeralContainers[*].image}")
	if want := extra.Reference + "@" + extra.Digest.String(); got != want {
		t.Errorf("stored ephemeral image %q, want %q", got, want)
	}
}

func digestStays(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	c.admitted(t, "by-digest", image.Pinned())
	if got := kubectl(t, c.Cluster, "get", "pod/by-digest", "--output=jsonpath={.spec.containers[*].image}"); got != image.Pinned() {
		t.Errorf("stored image %q, want %q", got, image.Pinned())
	}
}

func olderPodStays(t *testing.T, c *chain) {
	before := c.stored(t, "older")
	kubectl(t, c.Cluster, "label", "pod/older", "step=mutation")
	after := c.stored(t, "older")
	if after.Metadata.Labels["step"] != "mutation" || after.Metadata.UID != before.Metadata.UID {
		t.Errorf("the label was not set: %+v", after.Metadata)
	}
	if !reflect.DeepEqual(before.Spec, after.Spec) {
		was, _ := json.Marshal(before.Spec)
		is, _ := json.Marshal(after.Spec)
		t.Errorf("the pod was\n%s\nand is\n%s", was, is)
	}
}

func pinnedAndDenied(t *testing.T, c *chain) {
	image := c.images.push(t)
	says := refused(t, c.Cluster, "run", "pinned-unsigned", "--image="+image.Reference)
	want := "[ratify-constraint] Subject failed verification: " + image.Reference + "@" + image.Digest.String() + ": verification failed: no referrers found"
	if !strings.HasPrefix(says, forbidden+want) {
		t.Errorf("kubectl says %s, want %q in it", says, want)
	}
	absent(t, c.Cluster, "pod/pinned-unsigned")
}

// mutationRefused is how kubectl begins what Gatekeeper's mutation refuses: with the status 500, which kubectl does not name.
const mutationRefused = `Error from server: admission webhook "mutation.gatekeeper.sh" denied the request: `

func pinnedNowhere(t *testing.T, c *chain) {
	says := refused(t, c.Cluster, "run", "nowhere", "--image="+c.images.Host+"/nowhere:v1")
	t.Log(says)
	if !strings.HasPrefix(says, mutationRefused) || !strings.Contains(says, "registry "+c.images.Host+` has no "nowhere:v1"`) {
		t.Errorf("kubectl says %s", says)
	}
	absent(t, c.Cluster, "pod/nowhere")
}

// tagMoved moves a tag from a signed image to an unsigned one: what is stored stays what was verified.
func tagMoved(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	c.admitted(t, "before-move", image.Reference)
	name := strings.TrimPrefix(image.Repository, c.images.Host+"/")
	moved, err := c.images.Push(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Digest == image.Digest {
		t.Fatal("the tag has not moved")
	}
	if got, want := kubectl(t, c.Cluster, "get", "pod/before-move", "--output=jsonpath={.spec.containers[*].image}"), image.Reference+"@"+image.Digest.String(); got != want {
		t.Errorf("stored image %q, want %q", got, want)
	}
	says := refused(t, c.Cluster, "run", "moved-digest", "--image="+moved.Pinned())
	if !strings.Contains(says, "Subject failed verification: "+moved.Pinned()) {
		t.Errorf("kubectl says %s", says)
	}
	absent(t, c.Cluster, "pod/moved-digest")
}

func mutationSlow(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	resume := c.provider.pause(t)
	defer resume()
	says := refused(t, c.Cluster, "run", "unpinned", "--image="+image.Reference)
	t.Log(says)
	if !strings.HasPrefix(says, mutationRefused) || !strings.Contains(says, "context deadline exceeded") {
		t.Errorf("kubectl says %s", says)
	}
	absent(t, c.Cluster, "pod/unpinned")
}

func mutationStopped(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	c.provider.stop(t)
	defer c.running(t)
	says := refused(t, c.Cluster, "run", "unpinned", "--image="+image.Reference)
	t.Log(says)
	if !strings.HasPrefix(says, mutationRefused) || !strings.Contains(says, "connection refused") {
		t.Errorf("kubectl says %s", says)
	}
	absent(t, c.Cluster, "pod/unpinned")
}
