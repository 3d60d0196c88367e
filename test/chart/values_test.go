package chart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/store/oras"
	"github.com/ratify-provider/ratify/verifier/attestation"
	"github.com/ratify-provider/ratify/verifier/cosign"
	"github.com/ratify-provider/ratify/verifier/notation"
	"github.com/ratify-provider/ratify/verifier/sbom"
	"github.com/ratify-provider/ratify/verifier/vulnerability"
)

// TestMain sets what the kubelet sets for every pod: settings for pull secrets are not good without it.
func TestMain(m *testing.M) {
	os.Setenv("KUBERNETES_SERVICE_HOST", "192.0.2.1")
	os.Setenv("KUBERNETES_SERVICE_PORT", "443")
	os.Exit(m.Run())
}

var find = sync.OnceValues(func() (*Chart, error) { return Find(context.Background()) })

func testChart(t *testing.T) *Chart {
	t.Helper()
	c, err := find()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testPair(t *testing.T) Pair {
	t.Helper()
	p, err := NewPair("ratify.gatekeeper-system.svc")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func defaults(t *testing.T) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(testChart(t).Dir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(data, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// template renders values; the text is what helm printed or, where it refused, why.
func template(t *testing.T, values map[string]any, args ...string) (string, error) {
	t.Helper()
	data, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return testChart(t).Template(t.Context(), append(args, "--values", file)...)
}

func render(t *testing.T, values map[string]any, args ...string) Objects {
	t.Helper()
	text, err := template(t, values, args...)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// refuse renders values that must be refused, and returns the reason.
func refuse(t *testing.T, values map[string]any, args ...string) string {
	t.Helper()
	if _, err := template(t, values, args...); err != nil {
		return err.Error()
	}
	t.Fatal("it was rendered")
	return ""
}

func TestLint(t *testing.T) {
	p := testPair(t)
	file := filepath.Join(t.TempDir(), "values.yaml")
	data, err := yaml.Marshal(base(p))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{"defaults": nil, "values": {"--strict", "--values", file}} {
		t.Run(name, func(t *testing.T) {
			if out, err := testChart(t).run(t.Context(), append([]string{"lint", testChart(t).Dir}, args...)...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestFirstUsersCommand(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "signer.crt")
	if err := os.WriteFile(cert, []byte(testPair(t).CA), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := testChart(t).Render(t.Context(), "--set-file", "notaryCert="+cert)
	if err != nil {
		t.Fatal(err)
	}
	for kind, name := range map[string]string{"Deployment": "ratify", "Service": "ratify", "Provider": "ratify-provider",
		"PodDisruptionBudget": "ratify", "NetworkPolicy": "ratify", "ServiceAccount": "ratify", "ConfigMap": "ratify-config", "Secret": "ratify-tls"} {
		if objects.Find(kind, name) == nil {
			t.Errorf("no %s %s", kind, name)
		}
	}
	checkConfig(t, objects)
}

// TestEveryValueHasAnEffect changes each leaf of values.yaml alone: a value that changes nothing is one that lies.
func TestEveryValueHasAnEffect(t *testing.T) {
	// What two renderings cannot show by their difference.
	elsewhere := map[string]string{
		"provider.tls.days":          "TestPairOfTheChart",
		"provider.tls.requireValues": "TestRefusals",
	}
	p := testPair(t)
	values := defaults(t)
	for _, path := range Leaves(values) {
		name := strings.Join(path, ".")
		if elsewhere[name] != "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := changed(values, path, p)
			if err != nil {
				t.Fatal(err)
			}
			before := base(p)
			for other, value := range c.with {
				put(before, strings.Split(other, "."), value)
			}
			first := withoutPairs(t, before)
			put(before, path, c.value)
			second := withoutPairs(t, before)
			if first == second {
				t.Errorf("%v changes nothing", c.value)
			}
		})
	}
}

// withoutPairs renders values; where the chart makes the pair, it is left out, for it differs each time.
func withoutPairs(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	checkClientAuth(t, objects)
	if Object(values).Text("provider", "tls", "crt") != "" {
		return text
	}
	for _, o := range objects {
		if o.Kind() == "Secret" {
			delete(o, "data")
			delete(o.Get("metadata", "annotations").(map[string]any), "ratify/changed-at")
		}
		if spec, ok := o.Get("spec").(map[string]any); ok {
			delete(spec, "caBundle")
		}
	}
	return fmt.Sprint(objects)
}

func TestEveryValueAtOnce(t *testing.T) {
	p := testPair(t)
	sets, err := EveryValue(defaults(t), p)
	if err != nil {
		t.Fatal(err)
	}
	for i, set := range sets {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			objects := render(t, set)
			checkConfig(t, objects)
			checkClientAuth(t, objects)
		})
	}
}

// checkConfig reads the rendered configuration as the provider does: the file, the settings of each module, and the files
// that they name.
func checkConfig(t *testing.T, objects Objects) *config.File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(unpack(t, objects), "config", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := config.Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, m := range file.Stores {
		checkModule(t, text, m.Settings, func(c oras.Config) (*oras.Store, error) { return oras.New(c, oras.Deps{}) })
	}
	for _, m := range file.Verifiers {
		switch m.Type {
		case "notation":
			checkModule(t, text, m.Settings, func(c notation.Config) (*notation.Verifier, error) { return notation.New(c, notation.Deps{}) })
		case "cosign":
			checkModule(t, text, m.Settings, func(c cosign.Config) (*cosign.Verifier, error) { return cosign.New(c, cosign.Deps{}) })
		case "attestation":
			checkModule(t, text, m.Settings, func(c attestation.Config) (*attestation.Verifier, error) {
				return attestation.New(c, attestation.Deps{})
			})
		case "sbom":
			checkModule(t, text, m.Settings, func(c sbom.Config) (*sbom.Verifier, error) { return sbom.New(c, sbom.Deps{}) })
		case "vulnerability":
			checkModule(t, text, m.Settings, func(c vulnerability.Config) (*vulnerability.Verifier, error) {
				return vulnerability.New(c, vulnerability.Deps{})
			})
		default:
			t.Errorf("verifier %q: of type %q, which is not looked at here", m.Name, m.Type)
		}
	}
	return file
}

// checkModule makes a store or a verifier of its settings, with the files that they name.
func checkModule[C, M any](t *testing.T, text []byte, settings config.Settings, construct func(C) (M, error)) {
	t.Helper()
	var cfg C
	if err := settings.Decode(&cfg); err != nil {
		t.Error(err)
	}
	if _, err := construct(cfg); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
