package admission

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/gatekeeper/v3/pkg/gator/expand"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/engine"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// codes are what has to come of each image of the fixture.
func codes() map[string]ratify.Code {
	return map[string]ratify.Code{
		fixture.Signed:     ratify.Verified,
		fixture.SignedCOSE: ratify.Verified,
		fixture.Multi:      ratify.Verified,
		fixture.Index:      ratify.Verified,
		fixture.Unsigned:   ratify.NoReferrers,
		fixture.Stranger:   ratify.UntrustedSigner,
		fixture.Expired:    ratify.CertificateExpired,
		fixture.Tampered:   ratify.SignatureInvalid,
	}
}

// places are where a pod can have an image, each as a pod that has it there, beside a good one where it needs a container.
func places() map[string]func(good, image string) map[string]any {
	beside := func(list string, element func(image string) map[string]any) func(good, image string) map[string]any {
		return func(good, image string) map[string]any {
			pod := engine.Pod("pod", good)
			pod["spec"].(map[string]any)[list] = []any{element(image)}
			return pod
		}
	}
	container := func(image string) map[string]any { return map[string]any{"name": "other", "image": image} }
	return map[string]func(good, image string) map[string]any{
		"containers":          func(_, image string) map[string]any { return engine.Pod("pod", image) },
		"second container":    func(good, image string) map[string]any { return engine.Pod("pod", good, image) },
		"initContainers":      beside("initContainers", container),
		"ephemeralContainers": beside("ephemeralContainers", container),
		"image volumes": beside("volumes", func(image string) map[string]any {
			return map[string]any{"name": "other", "image": map[string]any{"reference": image}}
		}),
	}
}

func TestEveryImageEverywhere(t *testing.T) {
	for _, tls := range []bool{true, false} {
		w := newWorld(t, options{tls: tls})
		good := w.Images[fixture.SignedCOSE].Reference
		if len(codes()) != len(w.Images) {
			t.Fatalf("%d images are expected of %d", len(codes()), len(w.Images))
		}
		for name, code := range codes() {
			image := w.Images[name]
			for spelling, reference := range map[string]string{"tag": image.Reference, "digest": image.Pinned(), "tag and digest": image.Reference + "@" + image.Digest.String()} {
				for place, pod := range places() {
					t.Run(fmt.Sprintf("tls=%t/%s/by %s/%s", tls, name, spelling, place), func(t *testing.T) {
						from := w.provider.Lines()
						var denials []string
						w.asks(t, 1, func() { denials = w.review(t, pod(good, reference)) })
						w.checkVerdict(t, w.record(t, from, "verify", reference), image, code, denials)
					})
				}
			}
		}
	}
}

// checkVerdict holds what the person who creates the pod sees and what the log says against what has to come of the image.
func (w *world) checkVerdict(t *testing.T, r program.Record, image fixture.Image, code ratify.Code, denials []string) {
	t.Helper()
	if r.Code != string(code) || r.IsSuccess != (code == ratify.Verified) || r.Digest != image.Digest.String() || r.Subject != image.Pinned() {
		t.Errorf("the log says %s", r.Line)
	}
	if code == ratify.Verified {
		if len(denials) != 0 {
			t.Errorf("denied: %q", denials)
		}
		return
	}
	if want := w.denial(r.Key, code, r.TraceID); len(denials) != 1 || denials[0] != want {
		t.Errorf("got  %q\nwant %q", denials, want)
	}
	if message, remedy := w.words(code); r.Message != message || r.Remedy != remedy {
		t.Errorf("the log has other words than the denial: %s", r.Line)
	}
}

// denial is the whole denial of one image.
func (w *world) denial(reference string, code ratify.Code, trace string) string {
	message, remedy := w.words(code)
	return fmt.Sprintf("Subject failed verification: %s: %s. %s (trace %s)", reference, message, remedy, trace)
}

// words are those of a code, with what the verifier says more exactly of the fixture's images.
func (w *world) words(code ratify.Code) (message, remedy string) {
	message, remedy = code.Info().Message, code.Info().Remedy
	switch code {
	case ratify.UntrustedSigner:
		message += ` (signed by "CN=stranger.example,O=Example,ST=WA,C=US", issued by "CN=Stranger Root,O=Example,ST=WA,C=US")`
		remedy = "add the signer's CA certificate to trust store ca:certs, or sign the image with a trusted key"
	case ratify.CertificateExpired:
		ended := w.Lapsed.Chain[0]
		message = fmt.Sprintf("the certificate %q is not valid now: it is valid from %s to %s", "CN=wabbit-networks.io,O=Example,ST=WA,C=US",
			ended.NotBefore.Format(time.RFC3339), ended.NotAfter.Format(time.RFC3339))
	case ratify.SignatureInvalid:
		message = "the signature does not match its certificate and payload"
	}
	return "verification failed: " + message, remedy
}

// A pod with one bad image among good ones is denied in words about that image alone.
func TestOneBadOfMany(t *testing.T) {
	w := newWorld(t, options{})
	signed, cose, multi, index := w.Images[fixture.Signed], w.Images[fixture.SignedCOSE], w.Images[fixture.Multi], w.Images[fixture.Index]
	bad := w.Images[fixture.Stranger]
	from := w.provider.Lines()
	var denials []string
	w.asks(t, 1, func() {
		denials = w.review(t, engine.Pod("pod", signed.Reference, cose.Pinned(), bad.Reference, multi.Reference, index.Reference))
	})
	record := w.record(t, from, "verify", bad.Reference)
	if want := w.denial(bad.Reference, ratify.UntrustedSigner, record.TraceID); len(denials) != 1 || denials[0] != want {
		t.Errorf("got  %q\nwant %q", denials, want)
	}
	w.asks(t, 1, func() {
		w.admits(t, engine.Pod("pod", signed.Reference, cose.Pinned(), multi.Reference, index.Reference, signed.Reference))
	})
	t.Run("two bad ones", func(t *testing.T) {
		denials := w.review(t, engine.Pod("pod", w.Images[fixture.Unsigned].Reference, signed.Reference, bad.Reference))
		if len(denials) != 2 || !strings.Contains(denials[0], bad.Reference) || !strings.Contains(denials[1], w.Images[fixture.Unsigned].Reference) {
			t.Errorf("got %q, want a line for each", denials)
		}
	})
	t.Run("an image that is not there", func(t *testing.T) {
		missing := w.Host + "/missing:v1"
		w.denies(t, engine.Pod("pod", missing), fmt.Sprintf("Subject failed verification: %s: verification failed: registry %s has no %q. %s (trace ‹trace›)",
			missing, w.Host, "missing:v1", ratify.SubjectNotFound.Info().Remedy))
	})
}

// What makes pods is judged by its pod, through the expansions and by the constraint that matches it itself.
func TestWorkloads(t *testing.T) {
	w := newWorld(t, options{constraint: workloadsFile})
	objects, err := engine.Decode(read(t, expansionFile))
	if err != nil {
		t.Fatal(err)
	}
	expander, err := expand.NewExpander(objects)
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]ratify.Code{fixture.Signed: ratify.Verified, fixture.Tampered: ratify.SignatureInvalid} {
		image := w.Images[name]
		deployment := map[string]any{
			"apiVersion": "apps/v1", "kind": "Deployment",
			"metadata": map[string]any{"name": "app", "namespace": "default"},
			"spec":     map[string]any{"template": map[string]any{"spec": engine.Pod("pod", image.Reference)["spec"]}},
		}
		resultants, err := expander.Expand(&unstructured.Unstructured{Object: deployment})
		if err != nil || len(resultants) != 1 {
			t.Fatalf("%d pods come of it, %v", len(resultants), err)
		}
		for shape, object := range map[string]map[string]any{"Deployment": deployment, "its pod": resultants[0].Obj.Object} {
			t.Run(name+"/"+shape, func(t *testing.T) {
				from := w.provider.Lines()
				denials := w.review(t, object)
				w.checkVerdict(t, w.record(t, from, "verify", image.Reference), image, code, denials)
			})
		}
	}
}
