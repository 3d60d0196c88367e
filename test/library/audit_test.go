package library

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/engine"

	templatesv1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/templates/v1"
	constraintclient "github.com/open-policy-agent/frameworks/constraint/pkg/client"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/drivers/rego"
	"github.com/open-policy-agent/frameworks/constraint/pkg/client/reviews"
	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/mutation/types"
	"github.com/open-policy-agent/gatekeeper/v3/pkg/target"

	externaldatav1 "github.com/open-policy-agent/frameworks/constraint/pkg/apis/externaldata/unversioned"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// auditPoint is the name under which constraints are enforced by Gatekeeper's audit.
const auditPoint = "audit.gatekeeper.sh"

// An auditor judges objects as Gatekeeper's audit does, and its webhook what an ExpansionTemplate makes: there is no
// request, and what the template sees of one comes from the object. The provider is asked by the engine that was made last
// in this process, so an auditor is not used beside an engine.
type auditor struct{ client *constraintclient.Client }

func newAuditor(t *testing.T, p *fakeProvider) *auditor {
	t.Helper()
	providers := externaldata.NewCache()
	given := p.provider()
	err := providers.Upsert(&externaldatav1.Provider{ObjectMeta: metav1.ObjectMeta{Name: given.Name},
		Spec: externaldatav1.ProviderSpec{URL: given.URL, Timeout: given.TimeoutSeconds, CABundle: base64.StdEncoding.EncodeToString(given.CAPEM)}})
	if err != nil {
		t.Fatal(err)
	}
	watcher, err := certwatcher.New(p.clientCert, p.clientKey)
	if err != nil {
		t.Fatal(err)
	}
	driver, err := rego.New(rego.Externs("inventory"), rego.AddExternalDataProviderCache(providers), rego.EnableExternalDataClientAuth(), rego.AddExternalDataClientCertWatcher(watcher))
	if err != nil {
		t.Fatal(err)
	}
	client, err := constraintclient.NewClient(constraintclient.Targets(&target.K8sValidationTarget{}), constraintclient.Driver(driver), constraintclient.EnforcementPoints(auditPoint))
	if err != nil {
		t.Fatal(err)
	}
	return &auditor{client}
}

// apply adds or replaces a template and a constraint.
func (a *auditor) apply(t *testing.T, template, constraint []byte) {
	t.Helper()
	var parsed templatesv1.ConstraintTemplate
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(decodeOne(t, template).Object, &parsed); err != nil {
		t.Fatal(err)
	}
	versionless, err := parsed.ToVersionless()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.AddTemplate(context.Background(), versionless); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client.AddConstraint(context.Background(), decodeOne(t, constraint)); err != nil {
		t.Fatal(err)
	}
}

func decodeOne(t *testing.T, file []byte) *unstructured.Unstructured {
	t.Helper()
	objects, err := engine.Decode(file)
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects, error %v", len(objects), err)
	}
	return objects[0]
}

// audit returns what is wrong with an object that exists.
func (a *auditor) audit(t *testing.T, object map[string]any) []string {
	t.Helper()
	review := target.AugmentedUnstructured{Object: unstructured.Unstructured{Object: object}, Source: types.SourceTypeOriginal}
	responses, err := a.client.Review(context.Background(), review, reviews.EnforcementPoint(auditPoint))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, result := range responses.Results() {
		found = append(found, result.Msg)
	}
	return found
}

func TestAudit(t *testing.T) { forEachTemplate(t, testAudit) }

func testAudit(t *testing.T, tpl template) {
	p := newFakeProvider(t)
	p.prefix = tpl.prefix
	a := newAuditor(t, p)
	a.apply(t, read(t, tpl.file), read(t, constraintFile))
	for _, c := range []struct {
		name         string
		object       map[string]any
		found, asked []string
	}{
		{"signed", engine.Pod("pod", app), nil, []string{app}},
		{"unsigned", engine.Pod("pod", app, unsigned), lines(unsignedDenial), []string{app, unsigned}},
		{"excluded namespace", inNamespace("kube-system"), nil, nil},
		{"no containers", pod(`{}`), lines(shapeDenial), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.judges()
			found := a.audit(t, c.object)
			if asked := slices.Concat(p.asked()...); !sameDenials(found, c.found) || !slices.Equal(asked, c.asked) {
				t.Errorf("got %q after asking %q, want %q after asking %q", found, asked, c.found, c.asked)
			}
		})
	}
}

// tenantless is a Pod of no namespace, which no API server keeps.
func tenantless(image string) map[string]any {
	o := engine.Pod("pod", image)
	delete(o["metadata"].(map[string]any), "namespace")
	return o
}

const noTenant = "Could not verify: the request names no namespace, so that no tenant answers for its images."

// Without a namespace there is no key, and above all not the one of no tenant.
func TestNoNamespace(t *testing.T) {
	p := newFakeProvider(t)
	a := newAuditor(t, p)
	for _, c := range []struct {
		name, file string
		found      []string
		asked      [][]string
	}{
		{"default", templateFile, nil, [][]string{{app}}},
		{"tenants", tenantsFile, lines(noTenant), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.apply(t, read(t, c.file), read(t, constraintFile))
			p.proves()
			found := a.audit(t, tenantless(app))
			if asked := p.asked(); !sameDenials(found, c.found) || !slices.EqualFunc(asked, c.asked, slices.Equal) {
				t.Errorf("got %q after asking %q, want %q after asking %q", found, asked, c.found, c.asked)
			}
		})
	}
}

// Faults that only an object without a namespace shows.
func TestNoNamespaceFaultsAreFound(t *testing.T) {
	p := newFakeProvider(t)
	a := newAuditor(t, p)
	for _, f := range []fault{
		{name: "no namespace is no tenant", edits: []string{"        key_prefix = concat(", "        default key_prefix = \"\"\n\n        key_prefix = concat("}},
		{name: "an empty namespace is a tenant", edits: []string{`["[", input.review.namespace, "]"]`, `["[", object.get(input.review, "namespace", ""), "]"]`,
			"          regex.match(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`, input.review.namespace)\n", "          true\n"}},
		{name: "images without a key are not counted", words: true, edits: []string{"          count(keys) == count(wanted)\n", ""}},
	} {
		t.Run(f.name, func(t *testing.T) {
			a.apply(t, f.in(t, templates()[1]), read(t, constraintFile))
			p.proves()
			found := a.audit(t, tenantless(app))
			if !f.words && len(found) > 0 || f.words && sameDenials(found, lines(noTenant)) {
				t.Errorf("the fault does not show: found %q, asked %q", found, p.asked())
			}
			if strings.Contains(strings.Join(found, ""), "[") {
				t.Errorf("a prefix is shown: %q", found)
			}
		})
	}
}
