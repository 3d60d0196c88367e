package admission

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	externaldatav1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	mutationsv1 "github.com/open-policy-agent/gatekeeper/v3/apis/mutations/unversioned"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/mutators/assign"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// newMutations is Gatekeeper's mutation system with the shipped Assign objects, asking the real provider.
func (w *world) newMutations(t *testing.T) *mutation.System {
	t.Helper()
	providers := externaldata.NewCache()
	err := providers.Upsert(&externaldatav1.Provider{
		ObjectMeta: metav1.ObjectMeta{Name: "ratify-mutation-provider"},
		Spec: externaldatav1.ProviderSpec{URL: w.provider.URL(program.MutatePath), Timeout: providerTimeout,
			CABundle: base64.StdEncoding.EncodeToString(w.PKI.ServerCAPEM)},
	})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := certwatcher.New(w.PKI.ClientCertFile, w.PKI.ClientKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := engine.Decode(read(t, mutationFile))
	if err != nil {
		t.Fatal(err)
	}
	system := mutation.NewSystem(mutation.SystemOpts{ProviderCache: providers, ClientCertWatcher: watcher})
	for _, object := range objects {
		var a mutationsv1.Assign
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, &a, true); err != nil {
			t.Fatal(err)
		}
		mutator, err := assign.MutatorForAssign(&a)
		if err != nil {
			t.Fatal(err)
		}
		if err := system.Upsert(mutator); err != nil {
			t.Fatal(err)
		}
	}
	return system
}

// mutate changes the object as Gatekeeper's mutating webhook would before it is stored.
func mutate(t *testing.T, system *mutation.System, object map[string]any) error {
	t.Helper()
	_, err := system.Mutate(t.Context(), &types.Mutable{
		Object:    &unstructured.Unstructured{Object: object},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceDefault}},
		Source:    types.SourceTypeOriginal,
	})
	return err
}

// imageOf is the image of the first container; what a mutation that failed leaves there is no reference.
func imageOf(pod map[string]any) string {
	containers := pod["spec"].(map[string]any)["containers"].([]any)
	image, ok := containers[0].(map[string]any)["image"].(string)
	if !ok {
		return "no reference"
	}
	return image
}

// What is verified is what runs: a pinned pod speaks of one digest, wherever its tag goes.
func TestPinnedPod(t *testing.T) {
	w := newWorld(t, options{constraint: digestFile})
	system := w.newMutations(t)
	signed := w.push(t, "pinned")
	w.denies(t, engine.Pod("pod", signed.Reference),
		"Subject failed verification: "+signed.Reference+": the reference has no digest. Name the image by its digest (name@sha256:...), or let the mutations add it.")
	pod := engine.Pod("pod", signed.Reference)
	if err := mutate(t, system, pod); err != nil {
		t.Fatal(err)
	}
	want := signed.Reference + "@" + signed.Digest.String()
	if imageOf(pod) != want {
		t.Fatalf("the pod has the image %s, want %s", imageOf(pod), want)
	}
	unsigned, err := w.Push(t.Context(), "pinned")
	if err != nil {
		t.Fatal(err)
	}
	later := engine.Pod("pod", signed.Reference)
	until(t, tagTTL+time.Second, func() bool {
		later = engine.Pod("pod", signed.Reference)
		return mutate(t, system, later) == nil && imageOf(later) == signed.Reference+"@"+unsigned.Digest.String()
	})
	from := w.provider.Lines()
	w.admits(t, pod)
	if r := w.record(t, from, "verify", want); r.Digest != signed.Digest.String() || !r.IsSuccess {
		t.Errorf("the log says %s", r.Line)
	}
	denials := w.review(t, later)
	w.checkVerdict(t, w.record(t, from, "verify", imageOf(later)), unsigned, ratify.NoReferrers, denials)
	before := imageOf(pod)
	if err := mutate(t, system, pod); err != nil || imageOf(pod) != before {
		t.Errorf("a second mutation makes %s of it, %v", imageOf(pod), err)
	}
}

// A reference that cannot be pinned is refused, never stored as it was.
func TestSpellings(t *testing.T) {
	w := newWorld(t, options{})
	system := w.newMutations(t)
	signed, unsigned := w.Images[fixture.Signed], w.Images[fixture.Unsigned]
	_, port, _ := strings.Cut(w.Host, ":")
	digest := "@" + signed.Digest.String()
	const bad, missing, forbidden = "BAD_REFERENCE", "SUBJECT_NOT_FOUND", "REGISTRY_NOT_ALLOWED"
	for name, s := range map[string]struct{ image, becomes, refusal string }{
		"tag":                           {signed.Reference, signed.Reference + digest, ""},
		"unsigned":                      {unsigned.Reference, unsigned.Reference + "@" + unsigned.Digest.String(), ""},
		"digest":                        {signed.Pinned(), signed.Pinned(), ""},
		"tag and digest":                {signed.Reference + digest, signed.Reference + digest, ""},
		"tag and digest disagree":       {unsigned.Reference + digest, unsigned.Reference + digest, ""},
		"no tag is latest":              {signed.Repository, "", missing},
		"no such tag":                   {signed.Repository + ":other", "", missing},
		"no such repository":            {w.Host + "/other:v1", "", missing},
		"upper-case repository":         {w.Host + "/Signed:v1", "", bad},
		"look-alike letter":             {w.Host + "/s\u0456gned:v1", "", bad},
		"zero width":                    {w.Host + "/sign\u200bed:v1", "", bad},
		"white space":                   {" " + signed.Reference, "", bad},
		"white space behind":            {signed.Reference + " ", "", bad},
		"NUL":                           {signed.Reference + "\x00", "", bad},
		"CR LF":                         {signed.Reference + "\r\n", "", bad},
		"dots":                          {w.Host + "/../signed:v1", "", bad},
		"two slashes":                   {w.Host + "//signed:v1", "", bad},
		"escaped slash":                 {w.Host + "%2fsigned:v1", "", bad},
		"userinfo":                      {"user@" + signed.Reference, "", bad},
		"scheme":                        {"http://" + signed.Reference, "", bad},
		"namespace":                     {"[team]" + signed.Reference, "", bad},
		"empty host":                    {"/signed:v1", "", bad},
		"short address":                 {"127.1:" + port + "/signed:v1", "", bad},
		"address as a number":           {"2130706433:" + port + "/signed:v1", "", bad},
		"address in hexadecimal":        {"0x7f.0.0.1:" + port + "/signed:v1", "", bad},
		"address in octal":              {"0177.0.0.1:" + port + "/signed:v1", "", bad},
		"v4 in v6":                      {"[::ffff:127.0.0.1]:" + port + "/signed:v1", "", bad},
		"another loopback address":      {"127.0.0.2:" + port + "/signed:v1", "", forbidden},
		"v6":                            {"[::1]:" + port + "/signed:v1", "", forbidden},
		"trailing dot":                  {"127.0.0.1.:" + port + "/signed:v1", "", bad},
		"leading zero in the port":      {"127.0.0.1:0" + port + "/signed:v1", "", bad},
		"upper-case docker.io":          {"INDEX.docker.io/library/nginx", "", bad},
		"docker.io with a port":         {"docker.io:443/nginx", "", bad},
		"long tag":                      {signed.Repository + ":" + strings.Repeat("a", 129), "", bad},
		"long name":                     {w.Host + "/" + strings.Repeat("a", 256) + ":v1", "", bad},
		"long key":                      {w.Host + "/" + strings.Repeat("a", 1025), "", bad},
		"digest of an unknown kind":     {signed.Repository + "@md5:" + strings.Repeat("0", 32), "", bad},
		"digest that is short":          {signed.Repository + "@sha256:00", "", bad},
		"upper-case digest":             {signed.Repository + "@sha256:" + strings.Repeat("A", 64), "", bad},
		"digest that is not there":      {signed.Repository + "@sha256:" + strings.Repeat("0", 64), signed.Repository + "@sha256:" + strings.Repeat("0", 64), ""},
		"a host that is no such number": {"999.0.0.1:" + port + "/signed:v1", "", bad},
	} {
		t.Run(name, func(t *testing.T) {
			pod := engine.Pod("pod", s.image)
			err := mutate(t, system, pod)
			if s.refusal == "" {
				if err != nil || imageOf(pod) != s.becomes {
					t.Errorf("it becomes %q, %v; want %q", imageOf(pod), err, s.becomes)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), s.refusal) {
				t.Errorf("it becomes %q, %v; want a refusal with %s", imageOf(pod), err, s.refusal)
			}
			// Validation, where somebody has no mutation, refuses it likewise.
			if denials := w.review(t, engine.Pod("pod", s.image)); len(denials) != 1 {
				t.Errorf("validation says %q", denials)
			}
		})
	}
}

// A registry or a provider that does not answer costs a refusal.
func TestMutationUnderFaults(t *testing.T) {
	w := newWorld(t, options{deadline: time.Second})
	system := w.newMutations(t)
	refused := func(image fixture.Image, words string) {
		t.Helper()
		if err := mutate(t, system, engine.Pod("pod", w.Images[fixture.Signed].Reference, image.Reference)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want an error with %s", err, words)
		}
	}
	down, hanging := w.push(t, "down"), w.push(t, "hanging")
	w.gate.fail("down", status(503))
	refused(down, "REGISTRY_UNAVAILABLE")
	w.gate.mend("down")
	held := w.gate.hold("hanging/manifests/")
	refused(hanging, "DEADLINE")
	held.letGo()
	for _, image := range []fixture.Image{down, hanging} {
		pod := engine.Pod("pod", image.Reference)
		if err := mutate(t, system, pod); err != nil || imageOf(pod) != image.Reference+"@"+image.Digest.String() {
			t.Errorf("it becomes %s, %v", imageOf(pod), err)
		}
	}
	if err := w.provider.Kill(); err != nil {
		t.Fatal(err)
	}
	refused(down, "failed to send external data request")
}
