package chart

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/verifier/notation"
)

// container returns the provider's container, nil where no Deployment is rendered.
func container(objects Objects) Object {
	for _, o := range objects {
		if o.Kind() == "Deployment" {
			containers, _ := o.Get("spec", "template", "spec", "containers").([]any)
			return Object(containers[0].(map[string]any))
		}
	}
	return nil
}

func arguments(objects Objects) []string {
	list, _ := container(objects).Get("args").([]any)
	args := make([]string, len(list))
	for i, a := range list {
		args[i], _ = a.(string)
	}
	return args
}

func volume(objects Objects, name string) Object {
	for _, o := range objects {
		if o.Kind() != "Deployment" {
			continue
		}
		volumes, _ := o.Get("spec", "template", "spec", "volumes").([]any)
		for _, v := range volumes {
			if v := Object(v.(map[string]any)); v.Text("name") == name {
				return v
			}
		}
	}
	return nil
}

// checkClientAuth holds for every rendering: the provider demands Gatekeeper's certificate, and the pod does not start without
// the CA to check it by. Only the certificate of Gatekeeper's Secret is mounted, never its ca.key.
func checkClientAuth(t *testing.T, objects Objects) {
	t.Helper()
	args := arguments(objects)
	if !slices.Contains(args, "--client-ca=/etc/ratify/gatekeeper/ca.crt") {
		t.Errorf("no client CA in %q", args)
	}
	for _, arg := range args {
		if name, ok := strings.CutPrefix(arg, "--client-name="); ok && (name == "" || !strings.HasSuffix(name, ".svc")) {
			t.Errorf("client name %q", name)
		}
		if strings.Contains(arg, "insecure") {
			t.Errorf("argument %q", arg)
		}
	}
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--client-name=") }) {
		t.Errorf("no client name in %q", args)
	}
	v := volume(objects, "gatekeeper")
	source, _ := v.Get("secret").(map[string]any)
	if source == nil {
		source, _ = v.Get("configMap").(map[string]any)
	}
	items, _ := source["items"].([]any)
	if len(items) != 1 || Object(items[0].(map[string]any)).Text("key") != "ca.crt" {
		t.Errorf("the volume of Gatekeeper's CA holds %v", source)
	}
	if source["optional"] != nil {
		t.Error("the volume of Gatekeeper's CA is optional")
	}
}

func TestClientCA(t *testing.T) {
	p := testPair(t)
	tests := []struct {
		name   string
		values map[string]any
		source []string // of the volume
		client string
	}{
		{"by default from Gatekeeper's Secret", nil, []string{"secret", "secretName", "gatekeeper-webhook-server-cert"},
			"gatekeeper-webhook-service.gatekeeper-system.svc"},
		{"from another Secret", map[string]any{"gatekeeper.certSecret": "other", "gatekeeper.serviceName": "gk"},
			[]string{"secret", "secretName", "other"}, "gk.gatekeeper-system.svc"},
		{"from a value", map[string]any{"gatekeeper.clientCA": p.CA, "gatekeeper.namespace": "policy"},
			[]string{"configMap", "name", "ratify-gatekeeper"}, "gatekeeper-webhook-service.policy.svc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := base(p)
			for path, value := range tt.values {
				put(values, strings.Split(path, "."), value)
			}
			objects := render(t, values)
			checkClientAuth(t, objects)
			if got := volume(objects, "gatekeeper").Text(tt.source[:2]...); got != tt.source[2] {
				t.Errorf("the CA is from %q, want %q", got, tt.source[2])
			}
			if want := "--client-name=" + tt.client; !slices.Contains(arguments(objects), want) {
				t.Errorf("no %q in %q", want, arguments(objects))
			}
			if tt.source[0] == "configMap" && strings.TrimSpace(objects.Find("ConfigMap", tt.source[2]).Text("data", "ca.crt")) != strings.TrimSpace(p.CA) {
				t.Error("the ConfigMap does not hold the CA")
			}
		})
	}
}

func TestTimeChain(t *testing.T) {
	tests := []struct {
		name                string
		validating, mutate  int
		enabled             bool
		verifyS, mutateS    float64 // Provider.spec.timeout
		verifyArg, mutatArg string
	}{
		{"as recommended", 5, 2, true, 4, 1, "--verify-timeout=3800ms", "--mutate-timeout=800ms"},
		{"as Gatekeeper ships it without mutation", 3, 1, false, 2, 0, "--verify-timeout=1800ms", ""},
		{"the shortest", 2, 2, true, 1, 1, "--verify-timeout=800ms", "--mutate-timeout=800ms"},
		{"the longest", 30, 30, true, 29, 29, "--verify-timeout=28800ms", "--mutate-timeout=28800ms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := base(testPair(t))
			values["terminationGracePeriodSeconds"] = 60
			values["gatekeeper"] = map[string]any{"validatingWebhookTimeoutSeconds": tt.validating, "mutatingWebhookTimeoutSeconds": tt.mutate}
			values["mutation"] = map[string]any{"enabled": tt.enabled}
			objects := render(t, values)
			if got := objects.Find("Provider", "ratify-provider").Get("spec", "timeout"); got != tt.verifyS {
				t.Errorf("the Provider's timeout is %v, want %v", got, tt.verifyS)
			}
			if !slices.Contains(arguments(objects), tt.verifyArg) {
				t.Errorf("no %q in %q", tt.verifyArg, arguments(objects))
			}
			mutation := objects.Find("Provider", "ratify-mutation-provider")
			if (mutation != nil) != tt.enabled {
				t.Fatalf("the mutation Provider is %v", mutation)
			}
			if !tt.enabled {
				return
			}
			if got := mutation.Get("spec", "timeout"); got != tt.mutateS {
				t.Errorf("the mutation Provider's timeout is %v, want %v", got, tt.mutateS)
			}
			if !slices.Contains(arguments(objects), tt.mutatArg) {
				t.Errorf("no %q in %q", tt.mutatArg, arguments(objects))
			}
		})
	}
}

// TestPodIsConfined holds what the restricted Pod Security Standard asks for, and what goes beyond it.
func TestPodIsConfined(t *testing.T) {
	objects := render(t, base(testPair(t)))
	d := objects.Find("Deployment", "ratify")
	spec := Object(d.Get("spec", "template", "spec").(map[string]any))
	c := container(objects)
	checks := []struct {
		what string
		got  any
		want any
	}{
		{"non-root", spec.Get("securityContext", "runAsNonRoot"), true},
		{"user", spec.Get("securityContext", "runAsUser"), 65532.0},
		{"seccomp", spec.Get("securityContext", "seccompProfile", "type"), "RuntimeDefault"},
		{"token", spec.Get("automountServiceAccountToken"), false},
		{"the account's token", objects.Find("ServiceAccount", "ratify").Get("automountServiceAccountToken"), false},
		{"escalation", c.Get("securityContext", "allowPrivilegeEscalation"), false},
		{"read-only root", c.Get("securityContext", "readOnlyRootFilesystem"), true},
		{"priority", spec.Get("priorityClassName"), "system-cluster-critical"},
		{"replicas", d.Get("spec", "replicas"), 2.0},
		{"unavailable in a rollout", d.Get("spec", "strategy", "rollingUpdate", "maxUnavailable"), 0.0},
		{"memory limit", c.Get("resources", "limits", "memory"), "512Mi"},
		{"readiness", c.Get("readinessProbe", "httpGet", "path"), "/readyz"},
		{"liveness", c.Get("livenessProbe", "httpGet", "path"), "/healthz"},
	}
	for _, check := range checks {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", check.what, check.got, check.want)
		}
	}
	if drop, _ := c.Get("securityContext", "capabilities", "drop").([]any); len(drop) != 1 || drop[0] != "ALL" {
		t.Errorf("capabilities dropped: %v", drop)
	}
	tls := volume(objects, "tls")
	items, _ := tls.Get("secret", "items").([]any)
	var keys []string
	for _, item := range items {
		keys = append(keys, Object(item.(map[string]any)).Text("key"))
	}
	if !slices.Equal(keys, []string{"tls.crt", "tls.key"}) {
		t.Errorf("the pod sees %q of the TLS Secret", keys)
	}
}

func TestGoMemLimit(t *testing.T) {
	tests := []struct {
		limit   any
		percent int
		want    string
	}{
		{"512Mi", 80, "429496729"}, {"1Gi", 50, "536870912"}, {"500M", 80, "400000000"}, {"800000k", 100, "800000000"},
		{"1000000000", 80, "800000000"}, {1000000000, 80, "800000000"}, {nil, 80, ""},
	}
	for _, tt := range tests {
		values := base(testPair(t))
		values["goMemLimitPercent"] = tt.percent
		values["resources"] = map[string]any{"limits": map[string]any{"memory": tt.limit}}
		got := ""
		env, _ := container(render(t, values)).Get("env").([]any)
		for _, e := range env {
			if e := Object(e.(map[string]any)); e.Text("name") == "GOMEMLIMIT" {
				got = e.Text("value")
			}
		}
		if got != tt.want {
			t.Errorf("a limit of %v gives GOMEMLIMIT %q, want %q", tt.limit, got, tt.want)
		}
	}
}

// TestContentDirectory: the provider keeps to less than the volume may take, for a pod that exceeds it is evicted; without bytes
// there is neither.
func TestContentDirectory(t *testing.T) {
	for _, tt := range []struct {
		disk, memory any
		args         []string
		limit        string
	}{
		{"256Mi", "32Mi", []string{"--content-memory=33554432", "--content-dir=/var/cache/ratify", "--content-disk=268435456"}, "335544320"},
		{100000000, 40000000, []string{"--content-memory=40000000", "--content-dir=/var/cache/ratify", "--content-disk=100000000"}, "125000000"},
		{"0", "0", []string{"--content-memory=0"}, ""},
		{0, 0, []string{"--content-memory=0"}, ""},
		{"0Mi", "0Mi", []string{"--content-memory=0"}, ""},
	} {
		values := base(testPair(t))
		values["content"] = map[string]any{"disk": tt.disk, "memory": tt.memory}
		objects := render(t, values)
		var args []string
		for _, arg := range arguments(objects) {
			if strings.HasPrefix(arg, "--content-") {
				args = append(args, arg)
			}
		}
		if !slices.Equal(args, tt.args) {
			t.Errorf("%v: arguments %q, want %q", tt.disk, args, tt.args)
		}
		v := volume(objects, "content")
		if got := v.Text("emptyDir", "sizeLimit"); got != tt.limit || (v == nil) != (tt.limit == "") {
			t.Errorf("%v: the volume's limit is %q, want %q", tt.disk, got, tt.limit)
		}
		mounts, _ := container(objects).Get("volumeMounts").([]any)
		if mounted := slices.ContainsFunc(mounts, func(m any) bool {
			mount := Object(m.(map[string]any))
			return mount.Text("name") == "content" && mount.Text("mountPath") == "/var/cache/ratify" && mount.Get("readOnly") == nil
		}); mounted != (v != nil) {
			t.Errorf("%v: mounted: %t", tt.disk, mounted)
		}
	}
}

// TestConfigChecksum: a configuration that does not load must fail the upgrade, while pairs and credentials rotate in place.
func TestConfigChecksum(t *testing.T) {
	checksum := func(change func(values map[string]any)) string {
		values := base(testPair(t))
		values["notaryCert"] = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n"
		change(values)
		return render(t, values).Find("Deployment", "ratify").Text("spec", "template", "metadata", "annotations", "ratify/config-checksum")
	}
	first := checksum(func(map[string]any) {})
	if again := checksum(func(map[string]any) {}); again != first {
		t.Error("another TLS pair restarts the pods")
	}
	if certs := checksum(func(v map[string]any) {
		v["notaryCert"] = "-----BEGIN CERTIFICATE-----\nB\n-----END CERTIFICATE-----\n"
	}); certs == first {
		t.Error("another trusted certificate does not restart the pods")
	}
	if off := checksum(func(v map[string]any) { v["restartOnConfigChange"] = false }); off != "" {
		t.Error("there is a checksum although restarts are off")
	}
}

func TestOutsideTheCluster(t *testing.T) {
	values := base(testPair(t))
	values["replicas"] = 0
	put(values, []string{"provider", "url"}, "https://192.0.2.7:6443")
	objects := render(t, values)
	for _, o := range objects {
		if !slices.Contains([]string{"Provider", "Secret", "ConfigMap"}, o.Kind()) {
			t.Errorf("%s %s is rendered", o.Kind(), o.Name())
		}
	}
	if got := objects.Find("Provider", "ratify-provider").Text("spec", "url"); got != "https://192.0.2.7:6443/ratify/gatekeeper/v1/verify" {
		t.Errorf("url %q", got)
	}
	if got := objects.Find("Provider", "ratify-mutation-provider").Text("spec", "url"); got != "https://192.0.2.7:6443/ratify/gatekeeper/v1/mutate" {
		t.Errorf("url %q", got)
	}
}

// wholeTrustPolicy is the trust policy document of wholeConfig, which names ca:certs alone.
func wholeTrustPolicy() any {
	verifiers := wholeConfig()["verifiers"].([]any)
	return Object(verifiers[0].(map[string]any)).Get("settings", "trustPolicy")
}

// TestTrustStores: whatever the statements are, the trust stores of the values are there under the names they go by.
func TestTrustStores(t *testing.T) {
	p := testPair(t)
	tests := []struct {
		name   string
		values map[string]any
		want   []string // type:name
	}{
		{"all in the policy of the chart", map[string]any{"notation.tsaCert": p.CA, "notation.trustStores": trustStores(p)},
			[]string{"ca:Partner_1", "ca:certs", "signingAuthority:acme.rsa", "tsa:certs"}},
		{"a policy of one's own", map[string]any{"notation.tsaCert": p.CA, "notation.trustStores": trustStores(p), "notation.trustPolicy": trustPolicy()},
			[]string{"ca:Partner_1", "ca:certs", "signingAuthority:acme.rsa", "tsa:certs"}},
		{"a signing authority alone", map[string]any{"notaryCert": "", "notation.trustStores": trustStores(p)[:1]}, []string{"signingAuthority:acme.rsa"}},
		{"the name of the first one without it", map[string]any{"notaryCert": "", "notation.trustStores": []any{map[string]any{"type": "ca", "name": "certs", "certificates": p.CA}}},
			[]string{"ca:certs"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := base(p)
			for path, value := range tt.values {
				put(values, strings.Split(path, "."), value)
			}
			objects := render(t, values)
			file := checkConfig(t, objects)
			var cfg notation.Config
			if err := file.Verifiers[0].Settings.Decode(&cfg); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, store := range cfg.TrustStores {
				got = append(got, string(store.Type)+":"+store.Name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("trust stores %q, want %q", got, tt.want)
			}
			text := objects.ConfigFiles()["config.yaml"]
			checkMounted(t, objects, text)
			if slices.Contains(got, "ca:Partner_1") {
				if source := volume(objects, "trust-1").Text("secret", "secretName"); source != "partner" {
					t.Errorf("the volume is of Secret %q", source)
				}
				if !strings.Contains(text, "/etc/ratify/trust/ca-Partner_1") {
					t.Errorf("the Secret's directory is not in\n%s", text)
				}
			}
		})
	}
}

// TestGracePeriod: exactly what the end takes is enough, and where no pod runs there is none to end.
func TestGracePeriod(t *testing.T) {
	values := base(testPair(t))
	values["terminationGracePeriodSeconds"] = 14 // 5 of delay, 4 of the Provider, 5 to write
	render(t, values)
	values["terminationGracePeriodSeconds"] = 1
	values["replicas"] = 0
	put(values, []string{"provider", "url"}, "https://ratify.example")
	render(t, values)
}

func TestKubernetesVersion(t *testing.T) {
	tests := []struct {
		version string
		ok      bool
	}{
		{"v1.27.16", false}, {"v1.27.16-gke.1000", false}, {"v1.20.15", false}, {"v1.28.0", true}, {"v1.28.3-gke.100", true}, {"v1.36.3+k3s1", true},
		{"v1.20.0", true}, // what helm says that knows of no cluster and no version
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			_, err := template(t, base(testPair(t)), "--kube-version", tt.version)
			if tt.ok && err != nil {
				t.Error(err)
			}
			if !tt.ok && (err == nil || !strings.Contains(err.Error(), "Kubernetes 1.28 or newer is needed")) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestConfigIsWhatTheValuesSay(t *testing.T) {
	p := testPair(t)
	values := base(p)
	values["registries"] = registries(p)
	values["registryCredentialsSecret"] = "pull"
	values["notation"] = map[string]any{"caSecret": "teams", "tsaCert": p.CA}
	objects := render(t, values)
	file := checkConfig(t, objects)
	if len(file.Stores) != 1 || len(file.Verifiers) != 1 || len(file.Policies) != 1 {
		t.Fatalf("%d stores, %d verifiers, %d policies", len(file.Stores), len(file.Verifiers), len(file.Policies))
	}
	for name, content := range map[string]string{"notary.crt": p.CA, "tsa.crt": p.CA, "registry-1.crt": p.CA} {
		if got := objects.ConfigFiles()[name]; strings.TrimSpace(got) != strings.TrimSpace(content) {
			t.Errorf("file %s holds %q", name, got)
		}
	}
	text := objects.ConfigFiles()["config.yaml"]
	for _, want := range []string{"caFile: /etc/ratify/config/registry-1.crt", "dockerConfig: /etc/ratify/docker/config.json", "/etc/ratify/trust/ca", "- tsa:certs"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Count(text, "dockerConfig:") != 3 {
		t.Errorf("the docker config file serves %d registries, want both and all others", strings.Count(text, "dockerConfig:"))
	}
	checkMounted(t, objects, text)
}

// checkMounted sees that every file which the configuration names is below a mounted volume.
func checkMounted(t *testing.T, objects Objects, config string) {
	t.Helper()
	mounts, _ := container(objects).Get("volumeMounts").([]any)
	for _, word := range strings.Fields(config) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		if !slices.ContainsFunc(mounts, func(m any) bool {
			dir := Object(m.(map[string]any)).Text("mountPath")
			return word == dir || strings.HasPrefix(word, dir+"/")
		}) {
			t.Errorf("%s is not mounted", word)
		}
	}
}

func TestRefusals(t *testing.T) {
	p := testPair(t)
	der := "\x30\x82not pem"
	tests := []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"no signer", map[string]any{"notaryCert": ""}, "--set-file notaryCert=./signer.crt"},
		{"a signer in DER", map[string]any{"notaryCert": der}, "notaryCert: is not a certificate in PEM"},
		{"a private key among the signers", map[string]any{"notaryCert": p.CA + p.Key}, "notaryCert: holds a private key"},
		{"a private key among the CAs", map[string]any{"gatekeeper.clientCA": p.Key}, "gatekeeper.clientCA: holds a private key"},
		{"validation in one second", map[string]any{"gatekeeper.validatingWebhookTimeoutSeconds": 1}, "gatekeeper.validatingWebhookTimeoutSeconds"},
		{"mutation in one second", map[string]any{"gatekeeper.mutatingWebhookTimeoutSeconds": 1}, "mutation.enabled to false"},
		{"more than a webhook can wait", map[string]any{"gatekeeper.validatingWebhookTimeoutSeconds": 31}, "validatingWebhookTimeoutSeconds"},
		{"Gatekeeper elsewhere", map[string]any{"gatekeeper.namespace": "policy"}, "--set-file gatekeeper.clientCA"},
		{"half a pair", map[string]any{"provider.tls.key": ""}, "crt, key and ca belong together"},
		{"values required", map[string]any{"provider.tls.crt": "", "provider.tls.key": "", "provider.tls.ca": "", "provider.tls.requireValues": true},
			"--set-file provider.tls.crt=tls.crt"},
		{"a rotation of a given pair", map[string]any{"provider.tls.rotation": "x"}, "provider.tls.rotation"},
		{"a key that is none", map[string]any{"provider.tls.key": p.Cert}, "provider.tls.key: is not a private key"},
		{"nothing to ask", map[string]any{"replicas": 0}, "provider.url must say where it is"},
		{"plain HTTP", map[string]any{"provider.url": "http://ratify:6001"}, "/provider/url"},
		{"a URL with a path", map[string]any{"provider.url": "https://ratify:6001/x"}, "/provider/url"},
		{"killed while it drains", map[string]any{"terminationGracePeriodSeconds": 13}, "terminationGracePeriodSeconds: must be 14 or more"},
		{"killed while it mutates", map[string]any{"gatekeeper.mutatingWebhookTimeoutSeconds": 30}, "terminationGracePeriodSeconds: must be 39 or more"},
		{"no name of Gatekeeper's Service", map[string]any{"gatekeeper.serviceName": ""}, "/gatekeeper/serviceName"},
		{"Gatekeeper's Service taken away", map[string]any{"gatekeeper.serviceName": nil}, "serviceName"},
		{"everybody's pods", map[string]any{"gatekeeper.podLabels": nil}, "podLabels"},
		{"a registry's URL", map[string]any{"registries": []any{map[string]any{"host": "https://a.example"}}}, "registries[0].host: is no host: leave out scheme"},
		{"a token server's URL", map[string]any{"registries": []any{map[string]any{"host": "a.example", "authHosts": []any{"b.example", "https://c.example"}}}},
			"registries[0].authHosts[1]: is no host"},
		{"a bucket's path", map[string]any{"registries": []any{map[string]any{"host": "a.example", "redirectHosts": []any{"s3.example/b"}}}},
			"registries[0].redirectHosts[0]: is no host"},
		{"a policy's verifier that is not there", map[string]any{"policies": []any{map[string]any{"name": "p", "scopes": []any{"*"}, "verifiers": []any{"notation", "notaton"}}}},
			`policies[0] "p": there is no verifier "notaton"; there is notation`},
		{"a verifier of config that the policies do not know", map[string]any{"config": map[string]any{"verifiers": wholeConfig()["verifiers"]},
			"policies": []any{map[string]any{"name": "default", "scopes": []any{"*"}, "verifiers": []any{"notation"}}}},
			`policies[0] "default": there is no verifier "notation"; there is mine`},
		{"a trust store named and not given", map[string]any{"notation.trustPolicy": trustPolicy(), "notation.trustStores": trustStores(p)},
			`statement "mine" names trust store "tsa:certs", which no value gives; there is ca:Partner_1, ca:certs, signingAuthority:acme.rsa`},
		{"a trust store given and not named", map[string]any{"notation.trustPolicy": wholeTrustPolicy(), "notation.trustStores": trustStores(p)},
			`no statement names trust store "ca:Partner_1", which notation.trustStores[1] gives`},
		{"a value's trust store that is not named", map[string]any{"notation.trustPolicy": wholeTrustPolicy(), "notation.tsaCert": p.CA},
			`no statement names trust store "tsa:certs", which notation.tsaCert gives`},
		{"a trust store given twice", map[string]any{"notation.trustStores": []any{map[string]any{"type": "ca", "name": "certs", "secret": "x"}}},
			"notation.trustStores[0]: is ca:certs, which notaryCert or notation.caSecret gives already"},
		{"timestamps without signers", map[string]any{"notaryCert": "", "notation.trustStores": []any{map[string]any{"type": "tsa", "name": "a", "secret": "x"}}},
			"no signer is trusted yet"},
		{"timestamps for a signing authority", map[string]any{"notaryCert": "", "notation.tsaCert": p.CA, "notation.trustStores": trustStores(p)[:1]},
			"no effect without one of type ca"},
		{"a trust store of nothing", map[string]any{"notation.trustStores": []any{map[string]any{"type": "ca", "name": "a"}}}, "/notation/trustStores/0"},
		{"a trust store of an unknown type", map[string]any{"notation.trustStores": []any{map[string]any{"type": "signingauthority", "name": "a", "secret": "x"}}},
			"/notation/trustStores/0/type"},
		{"a trust store with an unknown field", map[string]any{"notation.trustStores": []any{map[string]any{"type": "ca", "name": "a", "secret": "x", "files": []any{"/x"}}}}, "files"},
		{"a trust store with a private key", map[string]any{"notation.trustStores": []any{map[string]any{"type": "ca", "name": "a", "certificates": p.CA + p.Key}}},
			"notation.trustStores[0].certificates: holds a private key"},
		{"a trust policy without statements", map[string]any{"notation.trustPolicy": map[string]any{"version": "1.0"}}, "trustPolicies"},
		{"bytes on disk of a rare spelling", map[string]any{"content.disk": "1e9"}, "/content/disk"},
		{"a memory limit of a rare spelling", map[string]any{"resources.limits.memory": "1e9"}, "write it as a whole number"},
		{"a password in a ConfigMap", map[string]any{"registries": []any{map[string]any{"host": "a.example", "credentials": map[string]any{"username": "u", "password": "p"}}}},
			"Set configKind to Secret"},
		{"a proxy's password in a ConfigMap", map[string]any{"registries": []any{map[string]any{"host": "a.example", "proxy": "http://u:p@proxy.example:3128"}}},
			"Set configKind to Secret"},
		{"stores said twice", map[string]any{"config": wholeConfig(), "registries": []any{map[string]any{"host": "a.example"}}}, "config.stores: replaces"},
		{"verifiers said twice", map[string]any{"config": wholeConfig(), "notation.trustPolicy": trustPolicy()}, "config.verifiers: replaces"},
		{"two CAs for a registry", map[string]any{"registries": []any{map[string]any{"host": "a.example", "ca": p.CA, "caFile": "/x"}}}, "/registries/0"},
		{"a registry without a host", map[string]any{"registries": []any{map[string]any{"allowPrivate": true}}}, "host"},
		{"level skip for all", map[string]any{"notation.level": "skip"}, "/notation/level"},
		{"an unknown value", map[string]any{"notarycert": "x"}, "notarycert"},
		{"an unknown part of the configuration", map[string]any{"config": map[string]any{"store": []any{}}}, "store"},
		{"a bare number for a time", map[string]any{"cache.ttl": 30}, "/cache/ttl"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			values := base(p)
			for path, value := range tt.values {
				put(values, strings.Split(path, "."), value)
			}
			if got := refuse(t, values); !strings.Contains(got, tt.want) {
				t.Errorf("refused with %q, want %q in it", got, tt.want)
			}
		})
	}
}

// TestSchemaIsStrict adds an unknown field beside each value: a misspelt one must never be silence.
func TestSchemaIsStrict(t *testing.T) {
	p := testPair(t)
	seen := map[string]bool{}
	for _, path := range Leaves(defaults(t)) {
		parent := path[:len(path)-1]
		name := strings.Join(parent, ".")
		// Kubernetes' own shapes and labels are the API server's to check.
		open := []string{"resources", "podSecurityContext", "securityContext", "dnsConfig"}
		if seen[name] || slices.Contains(open, path[0]) && len(path) > 1 || name == "gatekeeper.podLabels" {
			continue
		}
		seen[name] = true
		t.Run("beside "+strings.Join(path, "."), func(t *testing.T) {
			t.Parallel()
			values := base(p)
			put(values, append(slices.Clone(parent), "unheardOf"), "x")
			if got := refuse(t, values); !strings.Contains(got, "unheardOf") {
				t.Errorf("refused with %q", got)
			}
		})
	}
}

// notes returns what a person is told after an installation; helm prints it for an install alone, so it is rendered by a
// copy of the chart in which it is a manifest.
func notes(t *testing.T, values map[string]any, args ...string) string {
	t.Helper()
	c := testChart(t)
	copied := filepath.Join(t.TempDir(), "ratify")
	if err := os.CopyFS(copied, os.DirFS(c.Dir)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(copied, "templates", "NOTES.txt"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped := "{{- define \"notes\" }}" + string(text) + "{{ end -}}\nkind: Notes\nmetadata: {name: notes}\ntext: {{ include \"notes\" . | quote }}\n"
	data, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(copied, "test.yaml")
	for name, content := range map[string]string{filepath.Join(copied, "templates", "notes.yaml"): wrapped, file: string(data)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := (&Chart{Helm: c.Helm, Dir: copied}).Render(t.Context(), append(args, "--values", file)...)
	if err != nil {
		t.Fatal(err)
	}
	return objects.Find("Notes", "notes").Text("text")
}

func TestNotes(t *testing.T) {
	text := notes(t, map[string]any{"notaryCert": testPair(t).CA}, "--set", "replicas=1,gatekeeper.cacheTTL=45s")
	for _, want := range []string{"validatingWebhookFailurePolicy=Fail", "validatingWebhookTimeoutSeconds=5", "mutatingWebhookTimeoutSeconds=2",
		"externaldataProviderResponseCacheTTL=45s", "maxServingThreads=", "mutatingWebhookCustomRules=", "pods/ephemeralcontainers",
		"controllerManager.exemptNamespaces={gatekeeper-system,kube-system}'", "kubectl label namespace kube-system admission.gatekeeper.sh/ignore=yes", "one pod here",
		"provider.tls.requireValues=true", "made now, valid for 3650 days", "kubectl apply -f library/default/template.yaml"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "library/tenants") {
		t.Errorf("tenants without tenancy in\n%s", text)
	}
}

// TestNotesOfTenants: the other template knows no namespace.
func TestNotesOfTenants(t *testing.T) {
	values := base(testPair(t))
	values["tenancy"] = map[string]any{"enabled": true, "pullSecrets": map[string]any{"namespaces": []any{map[string]any{"name": "team-a", "secrets": []any{"registry"}}}}}
	values["registryCredentialsSecret"] = "pull"
	text := notes(t, values)
	for _, want := range []string{"kubectl apply -f library/tenants/template.yaml", "kubectl apply -f library/default/samples/constraint.yaml", "lets port 6443 out",
		"Mutation knows no namespace", "Secret pull is the cluster's own"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "library/default/template.yaml") {
		t.Errorf("the template without namespaces in\n%s", text)
	}
}
