package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/fixture"
	"github.com/ratify-provider/ratify/test/program"
)

// A trust is a chain whose configuration trusts more than one signer: keys and identities of Sigstore, documents, mirrors,
// tenants.
type trust struct {
	*chain
	cosign          *cosignCommand
	mirror, private *secondRegistry
	// admittedIn holds what was admitted, as NAMESPACE IMAGE: nothing else may be in the cluster at the end.
	admittedIn map[string]bool
	// exemptUntil is when the exemption ends.
	exemptUntil time.Time
	// teamKeys are the public keys of tenants, by namespace, in PEM.
	teamKeys map[string][]byte
}

// cacheTTL is how long Gatekeeper keeps an answer here: short, for the exemption must be seen to end.
const cacheTTL = 2 * time.Second

// TestTrust goes through what a user is promised of trust beyond one certificate, first for the cluster, then by namespace.
func TestTrust(t *testing.T) {
	tr := &trust{chain: &chain{images: startImages(t, fixture.Options{Evidence: true}), provider: newProvider(t)}, admittedIn: map[string]bool{}}
	tr.Cluster = startCluster(t, cluster.Options{Workloads: true, ResponseCacheTTL: cacheTTL, ValidatingTimeout: validatingTimeout, MutatingTimeout: mutatingTimeout})
	tr.cosign, tr.mirror, tr.private = newCosign(t, tr.Dir), startRegistry(t, "", ""), startRegistry(t, "team-p", "only team-p knows")
	if !t.Run("helm install with more than one signer", func(t *testing.T) { trustInstalled(t, tr) }) {
		t.FailNow() // there is nothing to ask
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *trust)
	}{
		{"an exempt image is admitted", exemptAdmitted},
		{"signatures of Sigstore", sigstoreSignatures},
		{"mode audit", auditAdmits},
		{"images of several platforms", platformsJudged},
		{"images of a mirror", mirrorsJudged},
		{"what cosign itself has signed and attested", cosignJudged},
		{"tenants are taken up", tenantsInstalled},
		{"each tenant trusts its own signer", tenantsJudged},
		{"no object can speak for another tenant", tenantsApart},
		{"a tenant's file that reaches too far", tenantReachesTooFar},
		{"a tenant's images by its own pull secrets", pullSecretsUsed},
		{"the provider may read no other secret", rightsAreNarrow},
		{"the exemption has ended", exemptionEnded},
		{"nothing but what was admitted is there", tr.nothingElse},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, tr) })
	}
}

// exemptFor is how long the exemption lasts: longer than a busy machine takes from making it to the first pod. The steps
// between that pod and the exemption's end take about as long.
const exemptFor = 30 * time.Second

func trustInstalled(t *testing.T, tr *trust) {
	binary, err := program.Build(t.Context(), tr.Dir, program.BuildOptions{Flags: []string{"-trimpath"}})
	if err != nil {
		t.Fatal(err)
	}
	tr.provider.binary = binary
	tr.template(t, "library/default/template.yaml")
	tr.constrain(t, "constraint.yaml")
	tr.exemptUntil = time.Now().Add(exemptFor).Truncate(time.Second)
	tr.install(t, nil)
	tr.provider.start(t, tr.Dir)
	waitActive(t, tr.Cluster, "provider/ratify-provider", "active")
}

// template applies a ConstraintTemplate and waits until Gatekeeper judges by it.
func (tr *trust) template(t *testing.T, file string) {
	t.Helper()
	kubectl(t, tr.Cluster, "apply", "-f", file)
	kubectl(t, tr.Cluster, "wait", "--for=create", "crd/ratifyverification.constraints.gatekeeper.sh", "--timeout=60s")
	kubectl(t, tr.Cluster, "wait", "--for=condition=Established", "crd/ratifyverification.constraints.gatekeeper.sh", "--timeout=60s")
	waitObserved(t, tr.Cluster, "constrainttemplate/ratifyverification")
}

// install has the chart render all of the trust, and gives the provider what comes of it. The provider is not started.
func (tr *trust) install(t *testing.T, tenancy object) {
	t.Helper()
	values := tr.values(t)
	if tenancy != nil {
		values["tenancy"] = tenancy
	}
	file := filepath.Join(t.TempDir(), "values.json")
	if err := os.WriteFile(file, []byte(manifest(t, values)), 0o600); err != nil {
		t.Fatal(err)
	}
	tr.helm(t, "upgrade", "--install", "ratify", "./charts/ratify", "--namespace", cluster.GatekeeperNamespace, "--values", file)
	tr.provider.take(t, tr.Cluster, "ratify")
}

// values are the chart's.
func (tr *trust) values(t *testing.T) object {
	t.Helper()
	root, err := os.ReadFile(tr.images.Trust.RootFile)
	if err != nil {
		t.Fatal(err)
	}
	documentKeys := []object{{"name": "cli", "file": "/etc/ratify/files/cli.pub"}}
	plain := func(host string) object { return object{"host": host, "plainHTTP": true, "allowPrivate": true} }
	at := tr.images.Host
	return object{
		"replicas": 1,
		// The provider is restarted here, and nobody takes it out of a Service first.
		"shutdownDelaySeconds": 0,
		"provider":             object{"url": tr.provider.url()},
		"mutation":             object{"enabled": false},
		"gatekeeper":           object{"cacheTTL": cacheTTL.String(), "validatingWebhookTimeoutSeconds": validatingTimeout},
		"notaryCert":           string(tr.images.SignerPEM),
		"cosign": object{
			"keys": []object{
				{"name": "ci", "key": string(tr.images.Trust.Key.PublicPEM())},
				{"name": "cli", "key": tr.cosign.trusted.public},
			},
			"identities":  []object{{"issuer": fixture.Issuer, "subject": fixture.Identity}},
			"trustedRoot": string(root),
		},
		"verifiers": []object{
			{"name": "sbom", "type": "sbom", "settings": object{"keys": documentKeys, "cosignTags": true,
				"licenses": object{"disallowed": []string{"AGPL-3.0-only"}}}},
			{"name": "scan", "type": "vulnerability", "settings": object{"keys": documentKeys, "cosignTags": true,
				"disallowedSeverities": []string{"critical", "high"}, "maxAge": fixture.MaxScanAge.String()}},
		},
		"files":      object{"cli.pub": tr.cosign.trusted.public},
		"registries": []object{plain(at), plain(tr.mirror.host), plain(tr.private.host)},
		"policies": []object{
			// No policy is for the mirror: without a rule, nothing of it is anybody's.
			{"name": "default", "scopes": []string{at + "/*", tr.private.host + "/*"}, "verifiers": []string{"notation"}},
			{"name": "sigstore", "verifiers": []string{"cosign"}, "scopes": []string{at + "/" + fixture.CosignKey, at + "/" + fixture.CosignTag,
				at + "/" + fixture.CosignStranger, at + "/" + fixture.Keyless, at + "/" + fixture.KeylessStranger, at + "/cli/*"}},
			{"name": "documents", "scopes": []string{at + "/cli/documents/*"}, "require": object{"all": []string{"sbom", "scan"}}},
			{"name": "by-platform", "scopes": []string{at + "/" + fixture.Platforms, at + "/" + fixture.HalfSigned, at + "/by-platform/*"},
				"verifiers": []string{"notation"}, "platforms": "all"},
			{"name": "audited", "scopes": []string{at + "/audited/*"}, "verifiers": []string{"notation"}, "mode": "audit"},
		},
		"mirrors": []object{
			{"pulledFrom": tr.mirror.host + "/copied/*", "verifyAs": at + "/*"},
			{"pulledFrom": tr.mirror.host + "/bare/*", "verifyAs": at + "/*", "evidence": "origin"},
		},
		"exemptions": []object{{"scopes": []string{at + "/exempt/*"}, "reason": "is being signed", "expires": tr.exemptUntil.UTC().Format(time.RFC3339)}},
	}
}

// admitted runs a pod in a namespace; it must come in.
func (tr *trust) admitted(t *testing.T, namespace, name, image string) {
	t.Helper()
	if got, want := kubectl(t, tr.Cluster, "run", name, "--image="+image, "--namespace="+namespace), "pod/"+name+" created\n"; got != want {
		t.Errorf("kubectl says %q, want %q", got, want)
	}
	tr.admittedIn[namespace+" "+image] = true
}

// denied runs a pod in a namespace; it must be refused for the reason, in these words, and not be there afterwards. It
// returns the record of the verdict.
func (tr *trust) denied(t *testing.T, namespace, name, image string, reason refusal) record {
	t.Helper()
	says := refused(t, tr.Cluster, "run", name, "--image="+image, "--namespace="+namespace)
	t.Log(says)
	if want := denial(image, reason); !want.MatchString(says) {
		t.Errorf("kubectl says\n%s\nwant\n%s", says, want)
	}
	tr.missing(t, namespace, "pod/"+name)
	r := tr.lastRecord(t, image)
	if *r.IsSuccess || r.Code != string(reason.code) || !strings.Contains(says, "(trace "+r.TraceID+")") {
		t.Errorf("the record has the code %s and the trace %s, want %s, and the trace that kubectl shows", r.Code, r.TraceID, reason.code)
	}
	return r
}

// missing fails the test if the object is in the namespace.
func (tr *trust) missing(t *testing.T, namespace, resource string) {
	t.Helper()
	if says := refused(t, tr.Cluster, "get", resource, "--namespace="+namespace); !strings.Contains(says, "NotFound") {
		t.Errorf("kubectl get %s says %q, want NotFound", resource, says)
	}
}

// lastRecord is the last report for an image, whichever tenant asked.
func (tr *trust) lastRecord(t *testing.T, image string) record {
	t.Helper()
	var found *record
	for _, r := range tr.provider.records(t) {
		if r.Key == image || strings.HasPrefix(r.Key, "[") && strings.HasSuffix(r.Key, "]"+image) {
			found = &r
		}
	}
	if found == nil {
		t.Fatalf("the log has no record of the image %s", image)
	}
	return *found
}

// push pushes an image with signatures of the Notary Project.
func (tr *trust) push(t *testing.T, name string, signatures ...fixture.Signature) fixture.Image {
	t.Helper()
	image, err := tr.images.Push(t.Context(), name, signatures...)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func exemptAdmitted(t *testing.T, tr *trust) {
	image := tr.push(t, "exempt/app").Reference
	tr.admitted(t, "default", "exempt", image)
	r := tr.lastRecord(t, image)
	want := "exempt from verification until " + tr.exemptUntil.UTC().Format(time.RFC3339) + ": is being signed"
	if r.Code != string(ratify.Exempt) || r.Message != want {
		t.Errorf("the record has the code %s and the message %q, want %s and %q", r.Code, r.Message, ratify.Exempt, want)
	}
}

func exemptionEnded(t *testing.T, tr *trust) {
	t.Logf("the exemption lasts for %.1f s more", time.Until(tr.exemptUntil).Seconds())
	select {
	case <-time.After(time.Until(tr.exemptUntil)):
	case <-t.Context().Done():
	}
	image := tr.images.Host + "/exempt/app:" + fixture.Tag
	tr.denied(t, "default", "no-longer-exempt", image, refusals()[fixture.Unsigned])
	t.Run("the pod from before can still be changed", func(t *testing.T) {
		kubectl(t, tr.Cluster, "label", "pod/exempt", "exemption=ended")
	})
}

func sigstoreSignatures(t *testing.T, tr *trust) {
	for pod, kind := range map[string]string{"by-key": fixture.CosignKey, "by-key-under-a-tag": fixture.CosignTag, "keyless": fixture.Keyless} {
		t.Run(kind, func(t *testing.T) {
			tr.admitted(t, "default", pod, tr.images.ref(kind))
			if r := tr.lastRecord(t, tr.images.ref(kind)); r.Policy != "sigstore" || len(r.VerifierReports) == 0 || r.VerifierReports[0].Name != "cosign" {
				t.Errorf("record %+v, want one of the verifier cosign under the policy sigstore", r)
			}
		})
	}
	for _, tt := range []struct {
		pod, kind string
		reason    refusal
	}{
		{"other-key", fixture.CosignStranger, noKey("ci", "cli")},
		{"other-identity", fixture.KeylessStranger, refusal{ratify.IdentityMismatch, `the signature is by identity "https://ci.stranger.example/build"`, "sign with a trusted identity"}},
	} {
		t.Run(tt.kind, func(t *testing.T) { tr.denied(t, "default", tt.pod, tr.images.ref(tt.kind), tt.reason) })
	}
	t.Run("unsigned", func(t *testing.T) {
		tr.denied(t, "default", "not-by-cosign", tr.push(t, "cli/unsigned").Reference, refusals()[fixture.Unsigned])
	})
	t.Run("signed by the other kind of signature", func(t *testing.T) {
		image := tr.push(t, "cli/by-notation", fixture.Signature{By: tr.images.Signer}).Reference
		tr.denied(t, "default", "by-notation", image, refusal{ratify.NoSignature,
			`no evidence of the required kind is attached, only "application/vnd.cncf.notary.signature"`, "sign this digest (cosign sign)"})
	})
}

// noKey is why a signature is refused whose key is none of those with the names.
func noKey(names ...string) refusal {
	return refusal{ratify.UntrustedSigner, `the signature is of none of the keys "` + strings.Join(names, `", "`) + `"`, "sign with one of these keys"}
}

func auditAdmits(t *testing.T, tr *trust) {
	image := tr.push(t, "audited/app").Reference
	const metric = `ratify_would_be_refused_total{code="NO_REFERRERS",policy="audited"}`
	before := tr.provider.metric(t, metric)
	tr.admitted(t, "default", "audited", image)
	r := tr.lastRecord(t, image)
	if !*r.IsSuccess || r.Code != string(ratify.WouldBeRefused) || r.WouldBeCode != string(ratify.NoReferrers) {
		t.Errorf("the record has isSuccess %t, the code %s and wouldBeCode %s, want true, %s and %s", *r.IsSuccess, r.Code, r.WouldBeCode, ratify.WouldBeRefused, ratify.NoReferrers)
	}
	if after := tr.provider.metric(t, metric); after != before+1 {
		t.Errorf("%s was %v and is %v, want one more", metric, before, after)
	}
	t.Run("a signed image is nothing to report", func(t *testing.T) {
		image := tr.push(t, "audited/signed", fixture.Signature{By: tr.images.Signer}).Reference
		tr.admitted(t, "default", "audited-signed", image)
		if r := tr.lastRecord(t, image); r.Code != string(ratify.Verified) {
			t.Errorf("the record has the code %s, want %s", r.Code, ratify.Verified)
		}
	})
}

// metric is the value of one of the provider's, 0 if it is not there yet.
func (p *provider) metric(t *testing.T, name string) float64 {
	t.Helper()
	body := get(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", p.health), "")
	value := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (.+)$`).FindSubmatch(body)
	if value == nil {
		return 0
	}
	n, err := strconv.ParseFloat(string(value[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func get(t *testing.T, url, accept string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, resp.Status, err)
	}
	return body
}

func platformsJudged(t *testing.T, tr *trust) {
	signed := fixture.Signature{By: tr.images.Signer}
	t.Run("every platform is signed", func(t *testing.T) {
		tr.admitted(t, "default", "every-platform", tr.images.ref(fixture.Platforms))
	})
	t.Run("one is not", func(t *testing.T) {
		tr.denied(t, "default", "one-platform", tr.images.ref(fixture.HalfSigned), tr.unsignedPlatform(t, fixture.HalfSigned, "arm64"))
	})
	t.Run("only the index is signed, and platforms are asked for", func(t *testing.T) {
		if _, err := tr.images.PushIndex(t.Context(), "by-platform/index", signed); err != nil {
			t.Fatal(err)
		}
		image := tr.images.Host + "/by-platform/index:" + fixture.Tag
		tr.denied(t, "default", "index-for-platforms", image, tr.unsignedPlatform(t, "by-platform/index", "amd64"))
	})
	t.Run("only the index is signed, and asked for", func(t *testing.T) {
		tr.admitted(t, "default", "index", tr.images.ref(fixture.Index))
	})
}

// unsignedPlatform is why an index is refused: the manifest of the architecture has no signature, and is named.
func (tr *trust) unsignedPlatform(t *testing.T, name, architecture string) refusal {
	t.Helper()
	var index ocispec.Index
	data := get(t, fmt.Sprintf("http://%s/v2/%s/manifests/%s", tr.images.Host, name, fixture.Tag), ocispec.MediaTypeImageIndex)
	if err := json.Unmarshal(data, &index); err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		if m.Platform.Architecture == architecture {
			return refusal{ratify.NoReferrers, fmt.Sprintf("platform linux/%s (%s): no referrers found for this artifact", architecture, m.Digest), "sign this digest"}
		}
	}
	t.Fatalf("the index %s has no manifest for %s", name, architecture)
	return refusal{}
}

// nothingElse looks at all pods of all namespaces but the provider's: each image of each must have been admitted there.
func (tr *trust) nothingElse(t *testing.T, _ *trust) {
	var list struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
			Spec     struct{ Containers []struct{ Image string } }
		}
	}
	decode(t, kubectl(t, tr.Cluster, "get", "pods", "--all-namespaces", "--field-selector=metadata.namespace!="+cluster.GatekeeperNamespace, "--output=json"), &list)
	if len(list.Items) < len(tr.admittedIn) {
		t.Errorf("there are %d pods, want one for each of the %d images that were admitted", len(list.Items), len(tr.admittedIn))
	}
	for _, p := range list.Items {
		for _, container := range p.Spec.Containers {
			if !tr.admittedIn[p.Metadata.Namespace+" "+container.Image] {
				t.Errorf("pod %s/%s has the image %s", p.Metadata.Namespace, p.Metadata.Name, container.Image)
			}
		}
	}
}
