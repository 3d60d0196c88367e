package chart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/config"
	"github.com/ratify-provider/ratify/test/program/programtest"
	"github.com/ratify-provider/ratify/verifier/cosign"
)

// with returns the values that every rendering starts from, and others, by path.
func with(p Pair, others map[string]any) map[string]any {
	values := base(p)
	for path, value := range others {
		put(values, strings.Split(path, "."), value)
	}
	return values
}

// TestCosignUsersCommand: one file is enough, and no certificate.
func TestCosignUsersCommand(t *testing.T) {
	p := testPair(t)
	key := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(key, []byte(p.Signer), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := testChart(t).Render(t.Context(), "--set-file", "cosign.keys[0].key="+key, "--set-file", `files.build\.pub=`+key)
	if err != nil {
		t.Fatal(err)
	}
	file := checkConfig(t, objects)
	if len(file.Verifiers) != 1 || file.Verifiers[0].Type != "cosign" {
		t.Fatalf("verifiers %v", file.Verifiers)
	}
	var cfg cosign.Config
	if err := file.Verifiers[0].Settings.Decode(&cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Keys) != 1 || cfg.Keys[0].Name != "key-0" || !cfg.CosignTags {
		t.Errorf("settings %+v", cfg)
	}
	for _, name := range []string{"cosign-0.pub", "build.pub"} {
		if got := objects.ConfigFiles()[name]; strings.TrimSpace(got) != strings.TrimSpace(p.Signer) {
			t.Errorf("file %s holds %q", name, got)
		}
	}
}

// TestOnlyPolicy: without policies, all images must pass the one verifier that there is.
func TestOnlyPolicy(t *testing.T) {
	p := testPair(t)
	tests := []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"a certificate", nil, "notation"},
		{"a key", map[string]any{"notaryCert": "", "cosign.keys": cosignKeys(p)}, "cosign"},
		{"identities", map[string]any{"notaryCert": "", "cosign.identities": identities(), "cosign.trustedRoot": p.Root}, "cosign"},
		{"one of verifiers", map[string]any{"notaryCert": "", "verifiers": verifiers("24h")[:1], "files": map[string]any{"build.pub": p.Signer}}, "provenance"},
		{"one of config", map[string]any{"config": map[string]any{"verifiers": wholeConfig()["verifiers"]}}, "mine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := checkConfig(t, render(t, with(p, tt.values)))
			if len(file.Policies) != 1 || !slices.Equal(file.Policies[0].Verifiers, []string{tt.want}) || !slices.Equal(file.Policies[0].Scopes, []string{"*"}) {
				t.Errorf("policies %+v, want one of %s for all", file.Policies, tt.want)
			}
		})
	}
}

// TestFiles: they are in the volume of the configuration, so that the kubelet swaps both at once.
func TestFiles(t *testing.T) {
	objects := render(t, with(testPair(t), map[string]any{"files": map[string]any{"root.json": "{}"}}))
	mounts, _ := container(objects).Get("volumeMounts").([]any)
	if !slices.ContainsFunc(mounts, func(m any) bool {
		mount := Object(m.(map[string]any))
		return mount.Text("mountPath") == "/etc/ratify/files" && mount.Text("name") == "config" && mount.Get("readOnly") == true
	}) {
		t.Errorf("mounts %v", mounts)
	}
}

func TestTrustRefusals(t *testing.T) {
	p := testPair(t)
	scan := verifiers("24h")[2:]
	policy := func(fields map[string]any) []any {
		fields["name"], fields["scopes"] = "p", []any{"*"}
		return []any{fields}
	}
	tests := []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"nobody trusted", map[string]any{"notaryCert": ""}, "--set-file 'cosign.keys[0].key=./cosign.pub'"},
		{"timestamps beside a key", map[string]any{"notaryCert": "", "notation.tsaCert": p.CA, "cosign.keys": cosignKeys(p)}, "no signer is trusted yet"},
		{"two verifiers and no policy", map[string]any{"cosign.keys": cosignKeys(p)}, "policies: there is more than one verifier (notation, cosign)"},
		{"a verifier that no policy asks", map[string]any{"cosign.keys": cosignKeys(p), "policies": policy(map[string]any{"verifiers": []any{"notation"}})},
			`policies: no policy asks the verifier "cosign"`},
		{"a name in a tree that is not there", map[string]any{"policies": policy(map[string]any{"require": map[string]any{"all": []any{"notation", map[string]any{"any": []any{"cosign"}}}}})},
			`policies[0] "p": there is no verifier "cosign"; there is notation`},
		{"signed by nobody", map[string]any{"verifiers": []any{map[string]any{"name": "scan", "type": "vulnerability", "signedBy": []any{"cosign"}}}, "policies": policy(map[string]any{"verifiers": []any{"notation", "scan"}})},
			`verifiers: "scan": signedBy: there is no verifier "cosign"; there is notation, scan`},
		{"a name that is taken", map[string]any{"verifiers": []any{map[string]any{"name": "notation", "type": "sbom"}}}, `verifiers[0]: there is another verifier named "notation"`},
		{"a tree and a list", map[string]any{"verifiers": scan, "policies": policy(map[string]any{"verifiers": []any{"notation"}, "require": map[string]any{"all": []any{"scan"}}})},
			`policies[0] "p": verifiers has no effect beside a tree`},
		{"a policy of nothing", map[string]any{"policies": append(policy(map[string]any{"verifiers": []any{"notation"}}), map[string]any{"name": "q", "scopes": []any{"a.example/*"}})},
			`policies[1] "q": says nothing of what must verify`},
		{"a tree of nothing", map[string]any{"policies": policy(map[string]any{"require": map[string]any{"any": []any{}}})}, "/policies/0/require"},
		{"an unknown mode", map[string]any{"policies": policy(map[string]any{"verifiers": []any{"notation"}, "mode": "warn"})}, "/policies/0/mode"},
		{"a private key for a public one", map[string]any{"cosign.keys": []any{map[string]any{"key": "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"}}}, "cosign.keys[0].key: holds a private key"},
		{"a certificate for a key", map[string]any{"cosign.keys": []any{map[string]any{"key": p.CA}}}, "cosign.keys[0].key: is not a public key in PEM"},
		{"identities without a root", map[string]any{"cosign.identities": identities()}, "--set-file cosign.trustedRoot=./trusted_root.json"},
		{"thresholds without a root", map[string]any{"cosign.keys": cosignKeys(p), "cosign.thresholds": map[string]any{"timestamps": 1}}, "cosign.trustedRoot: identities and thresholds need it"},
		{"thresholds for nobody", map[string]any{"cosign.thresholds": map[string]any{"timestamps": 0}}, "cosign.thresholds: has no effect"},
		{"a root for nobody", map[string]any{"cosign.keys": cosignKeys(p), "cosign.trustedRoot": p.Root}, "cosign.trustedRoot: has no effect"},
		{"a root that is none", map[string]any{"cosign.identities": identities(), "cosign.trustedRoot": p.CA}, "cosign.trustedRoot: is not a trusted_root.json"},
		{"half a pattern", map[string]any{"cosign.identities": []any{map[string]any{"issuer": "https://login.example", "subjectPattern": "^release@"}}}, "would match a part of a name"},
		{"an identity of anybody", map[string]any{"cosign.identities": []any{map[string]any{"issuer": "https://login.example"}}}, "/cosign/identities/0"},
		{"keys beside config", map[string]any{"cosign.keys": cosignKeys(p), "config": map[string]any{"verifiers": wholeConfig()["verifiers"]}}, "config.verifiers: replaces what cosign.keys says"},
		{"policies beside config", map[string]any{"policies": policy(map[string]any{"verifiers": []any{"notation"}}), "config": map[string]any{"policies": wholeConfig()["policies"]}},
			"config.policies: replaces what policies says"},
		{"a file of the chart's", map[string]any{"files": map[string]any{"config.yaml": "x"}}, "files.config.yaml: the chart makes a file of that name"},
		{"a file elsewhere", map[string]any{"files": map[string]any{"..data": "x"}}, "/files"},
		{"a private key for everybody to read", map[string]any{"files": map[string]any{"a.key": p.Key}}, "configKind: files.a.key holds a private key"},
		{"credentials for everybody to read", map[string]any{"files": map[string]any{"a.json": `{"auths":{}}`}}, "configKind: files.a.json"},
		{"a helper's token for everybody to read", map[string]any{"registries": []any{map[string]any{"host": "a.example", "credentials": []any{map[string]any{
			"helper": map[string]any{"name": "x", "env": []any{map[string]any{"name": "API_TOKEN", "value": "hush"}}}}}}}}, "configKind: the configuration contains a password"},
		{"an exemption for ever", map[string]any{"exemptions": []any{map[string]any{"scopes": []any{"*"}, "reason": "x"}}}, "expires"},
		{"an exemption of nothing", map[string]any{"exemptions": []any{map[string]any{"reason": "x", "expires": "2040-12-31"}}}, "/exemptions/0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refuse(t, with(p, tt.values)); !strings.Contains(got, tt.want) {
				t.Errorf("refused with %q, want %q in it", got, tt.want)
			}
		})
	}
}

// tenants are the values of a cluster with two of them, whose Roles may exist or not.
func tenants(p Pair) map[string]any {
	return with(p, map[string]any{"tenancy": map[string]any{"enabled": true, "pullSecrets": map[string]any{"namespaces": []any{
		map[string]any{"name": "team-a", "secrets": []any{"registry", "mirror"}}, map[string]any{"name": "team-b", "secrets": []any{"registry"}}}}}})
}

// TestPullSecrets: in each namespace what is named can be got, by the provider, and nothing more anywhere.
func TestPullSecrets(t *testing.T) {
	objects := render(t, tenants(testPair(t)))
	want := map[string]string{
		"team-a": `[{"apiGroups":[""],"resourceNames":["default"],"resources":["serviceaccounts"],"verbs":["get"]},{"apiGroups":[""],"resourceNames":["registry","mirror"],"resources":["secrets"],"verbs":["get"]}]`,
		"team-b": `[{"apiGroups":[""],"resourceNames":["default"],"resources":["serviceaccounts"],"verbs":["get"]},{"apiGroups":[""],"resourceNames":["registry"],"resources":["secrets"],"verbs":["get"]}]`,
	}
	bound := 0
	for _, o := range objects {
		switch o.Kind() {
		case "Role":
			rules, err := json.Marshal(o.Get("rules"))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(rules); got != want[o.Namespace()] {
				t.Errorf("in %s: %s, want %s", o.Namespace(), got, want[o.Namespace()])
			}
			delete(want, o.Namespace())
		case "RoleBinding":
			bound++
			subjects, err := json.Marshal(o.Get("subjects"))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(subjects); got != `[{"kind":"ServiceAccount","name":"ratify","namespace":"gatekeeper-system"}]` || o.Text("roleRef", "kind") != "Role" || o.Text("roleRef", "name") != o.Name() {
				t.Errorf("bound to %s: %v", got, o.Get("roleRef"))
			}
		}
	}
	if len(want) > 0 || bound != 2 {
		t.Errorf("no Role in %v, %d bindings", want, bound)
	}
	file := checkConfig(t, objects)
	settings, err := json.Marshal(file.Stores[0].Settings)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"registries":[{"credentials":{"namespaces":["team-a","team-b"],"pullSecrets":{}},"host":"*"}]}`; string(settings) != want {
		t.Errorf("settings %s, want %s", settings, want)
	}
	if got := portsOut(objects.Find("NetworkPolicy", "ratify")); !slices.Contains(got, any(6443.0)) {
		t.Errorf("out to %v, without the API server", got)
	}
}

// TestRights: a pod has a token only where it needs one, and no rendering has rights in all of the cluster.
func TestRights(t *testing.T) {
	p := testPair(t)
	sets, err := EveryValue(defaults(t), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range append(sets, base(p), tenants(p), with(p, map[string]any{"tenancy.enabled": true})) {
		objects := render(t, values)
		roles := 0
		for _, o := range objects {
			if strings.HasPrefix(o.Kind(), "ClusterRole") {
				t.Errorf("%s %s", o.Kind(), o.Name())
			}
			if o.Kind() == "Role" {
				roles++
			}
			if o.Kind() == "Deployment" && o.Get("spec", "template", "spec", "automountServiceAccountToken") != (Object(values).Get("tenancy", "pullSecrets", "namespaces") != nil) {
				t.Errorf("a token is mounted: %v", o.Get("spec", "template", "spec", "automountServiceAccountToken"))
			}
		}
		list, _ := Object(values).Get("tenancy", "pullSecrets", "namespaces").([]any)
		if roles != len(list) {
			t.Errorf("%d Roles for %d namespaces", roles, len(list))
		}
	}
}

// TestTenantCredentials: who reads which registry with what.
func TestTenantCredentials(t *testing.T) {
	const shared = "/etc/ratify/docker/config.json"
	p := testPair(t)
	registries := []any{map[string]any{"host": "a.example", "credentials": map[string]any{"username": "u", "passwordFile": "/etc/ratify/docker/config.json"}}, map[string]any{"host": "b.example"}}
	tests := []struct {
		name    string
		tenancy map[string]any
		want    map[string]string // of a host
	}{
		{"none", map[string]any{"enabled": true}, map[string]string{"a.example": `{"passwordFile":"` + shared + `","username":"u"}`,
			"b.example": `{"dockerConfig":"` + shared + `"}`, "*": `{"dockerConfig":"` + shared + `"}`}},
		{"shared with some", map[string]any{"enabled": true, "registryCredentialsFor": []any{"team-*"}},
			map[string]string{"a.example": `{"passwordFile":"` + shared + `","username":"u"}`, "*": `[{"dockerConfig":"` + shared + `"},{"dockerConfig":"` + shared + `","namespaces":["team-*"]}]`}},
		{"shared with all", map[string]any{"enabled": true, "registryCredentialsFor": []any{"*"}}, map[string]string{"*": `{"dockerConfig":"` + shared + `","namespaces":["*"]}`}},
		{"their own first", map[string]any{"enabled": true, "pullSecrets": map[string]any{"namespaces": []any{map[string]any{"name": "team-a", "secrets": []any{"x"}}}}},
			map[string]string{"a.example": `[{"namespaces":["team-a"],"pullSecrets":{}},{"passwordFile":"` + shared + `","username":"u"}]`,
				"*": `[{"namespaces":["team-a"],"pullSecrets":{}},{"dockerConfig":"` + shared + `"}]`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file, err := config.Parse([]byte(render(t, with(p, map[string]any{"tenancy": tt.tenancy, "registries": registries, "registryCredentialsSecret": "pull"})).ConfigFiles()["config.yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(file.Stores[0].Settings)
			if err != nil {
				t.Fatal(err)
			}
			var settings struct {
				Registries []struct {
					Host        string
					Credentials json.RawMessage
				}
			}
			if err := json.Unmarshal(data, &settings); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, r := range settings.Registries {
				got[r.Host] = string(r.Credentials)
			}
			for host, want := range tt.want {
				if got[host] != want {
					t.Errorf("%s: %s, want %s", host, got[host], want)
				}
			}
		})
	}
}

// TestTenancyOfConfig: the ConfigMap is mounted for the configuration to name, too.
func TestTenancyOfConfig(t *testing.T) {
	objects := render(t, with(testPair(t), map[string]any{"tenancy.tenantsConfigMap": "x", "config": map[string]any{"tenancy": map[string]any{"enabled": true,
		"directory": "/etc/ratify/tenants", "delegate": []any{map[string]any{"namespaces": []any{"team-a"}, "scopes": []any{"*"}}}}}}))
	if file := checkConfig(t, objects); !file.Tenancy.Enabled || len(file.Tenancy.Delegate) != 1 {
		t.Errorf("tenancy %+v", file.Tenancy)
	}
	checkMounted(t, objects, objects.ConfigFiles()["config.yaml"])
}

// TestTenantFile: the file of a tenant in the ConfigMap is read where the chart mounts it, with the key beside it.
func TestTenantFile(t *testing.T) {
	binary := programtest.Build(t)
	p := testPair(t)
	for scope, good := range map[string]bool{"registry.example/*": true, "other.example/*": false} {
		t.Run(scope, func(t *testing.T) {
			values := with(p, map[string]any{"notaryCert": "", "cosign.keys": cosignKeys(p), "tenancy": map[string]any{"enabled": true, "tenantsConfigMap": "tenants",
				"delegate": []any{map[string]any{"namespaces": []any{"team-*"}, "scopes": []any{scope}}}}})
			objects := render(t, values)
			if got := volume(objects, "tenants").Text("configMap", "name"); got != "tenants" {
				t.Errorf("the volume is of ConfigMap %q", got)
			}
			says, err := try(t, binary, "check", filepath.Join(unpack(t, objects), "config", "config.yaml"))
			if (err == nil) != good || !strings.Contains(says, "team-a.yaml") || strings.Contains(says, "team-a.yaml: policies[0]") == good {
				t.Errorf("ratify check says\n%s (%v)", says, err)
			}
		})
	}
}

func TestTenancyRefusals(t *testing.T) {
	p := testPair(t)
	delegate := []any{map[string]any{"namespaces": []any{"team-*"}, "scopes": []any{"*"}}}
	pull := func(more ...map[string]any) map[string]any {
		list := []any{}
		for _, entry := range more {
			list = append(list, entry)
		}
		return map[string]any{"enabled": true, "pullSecrets": map[string]any{"namespaces": list}}
	}
	a := map[string]any{"name": "team-a", "secrets": []any{"registry"}}
	tests := []struct {
		name   string
		values map[string]any
		want   string
	}{
		{"tenants without tenancy", map[string]any{"tenancy.tenantsConfigMap": "x", "tenancy.delegate": delegate}, "has no effect without tenancy.enabled"},
		{"pull secrets without tenancy", map[string]any{"tenancy.pullSecrets.namespaces": []any{a}}, "tenancy.pullSecrets.namespaces: has no effect without tenancy.enabled"},
		{"a policy of a namespace without tenancy", map[string]any{"policies": []any{map[string]any{"name": "p", "namespaces": []any{"team-a"}, "scopes": []any{"*"}, "verifiers": []any{"notation"}}}},
			`policies[0] "p": namespaces has no effect without tenancy.enabled`},
		{"nothing to delegate", map[string]any{"tenancy.enabled": true, "tenancy.tenantsConfigMap": "x"}, "tenancy.tenantsConfigMap: its files can have no policy"},
		{"nobody to delegate to", map[string]any{"tenancy.enabled": true, "tenancy.delegate": delegate}, "tenancy.delegate: has no effect without tenancy.tenantsConfigMap"},
		{"no credentials to share", map[string]any{"tenancy.enabled": true, "tenancy.registryCredentialsFor": []any{"*"}}, "tenancy.registryCredentialsFor: has no effect without registryCredentialsSecret"},
		{"tenancy twice", map[string]any{"tenancy.enabled": true, "config": map[string]any{"tenancy": map[string]any{"enabled": true}}}, "config.tenancy: replaces what tenancy.enabled says"},
		{"delegated twice", map[string]any{"tenancy.tenantsConfigMap": "x", "tenancy.delegate": delegate, "config": map[string]any{"tenancy": map[string]any{"enabled": true}}},
			"config.tenancy: replaces what tenancy.delegate says"},
		{"no Secrets named means all", map[string]any{"tenancy": pull(map[string]any{"name": "team-a", "secrets": []any{}})}, "/tenancy/pullSecrets/namespaces/0/secrets"},
		{"all namespaces", map[string]any{"tenancy": pull(map[string]any{"name": "*", "secrets": []any{"registry"}})}, "/tenancy/pullSecrets/namespaces/0/name"},
		{"a namespace twice", map[string]any{"tenancy": pull(a, a)}, "tenancy.pullSecrets.namespaces[1]: team-a is there twice"},
		{"rights for every pod", map[string]any{"tenancy": pull(a), "serviceAccount.create": false}, "serviceAccount: tenancy.pullSecrets would give its rights to every pod"},
		{"no pod to have rights", map[string]any{"tenancy": pull(a), "replicas": 0, "provider.url": "https://ratify.example"}, "tenancy.pullSecrets: a provider outside the cluster"},
		{"a source without a token", map[string]any{"tenancy.enabled": true, "registries": []any{map[string]any{"host": "a.example", "credentials": map[string]any{"pullSecrets": map[string]any{}}}}},
			"registries[0].credentials: pullSecrets needs a token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := refuse(t, with(p, tt.values)); !strings.Contains(got, tt.want) {
				t.Errorf("refused with %q, want %q in it", got, tt.want)
			}
		})
	}
}
