package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/program/programtest"
)

// TestProgramTakesIt gives the program what the chart renders: it knows every flag, and finds nothing wrong in the configuration.
func TestProgramTakesIt(t *testing.T) {
	binary := programtest.Build(t)
	sets, err := EveryValue(defaults(t), testPair(t))
	if err != nil {
		t.Fatal(err)
	}
	for i, set := range append(sets, base(testPair(t))) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			objects := render(t, set)
			// With --help, flags are parsed and nothing is started.
			run(t, binary, append(arguments(objects), "--help")...)
			dir := unpack(t, objects)
			file := filepath.Join(dir, "config", "config.yaml")
			run(t, binary, "check", file)
		})
	}
}

// run runs the program, which must end well, and returns what it printed.
func run(t *testing.T, binary string, args ...string) string {
	t.Helper()
	out, err := try(t, binary, args...)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return out
}

// try is run for what may fail.
func try(t *testing.T, binary string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Env = append(command.Environ(), programtest.Environment()...)
	out, err := command.CombinedOutput()
	return string(out), err
}

// unpack writes the files that the pod sees below a folder, which stands for /etc/ratify in the configuration.
func unpack(t *testing.T, objects Objects) string {
	t.Helper()
	dir := t.TempDir()
	content := map[string]string{
		// What the Secrets of others hold.
		"docker/config.json": `{"auths":{"registry.example":{"auth":"dTpw"}}}`,
		// What an init container copies.
		"plugins/ecr-credential-provider": "#!/bin/true\n",
	}
	mounts, _ := container(objects).Get("volumeMounts").([]any)
	for _, m := range mounts {
		if path, ok := strings.CutPrefix(Object(m.(map[string]any)).Text("mountPath"), "/etc/ratify/trust/"); ok {
			content["trust/"+path+"/team.crt"] = objects.ConfigFiles()["notary.crt"]
		}
		switch Object(m.(map[string]any)).Text("mountPath") {
		case "/etc/ratify/files":
			for name, text := range objects.ConfigFiles() {
				content["files/"+name] = text
			}
		case "/etc/ratify/tenants":
			content["tenants/team-a.yaml"] = tenantFile
			content["tenants/team-a.pub"] = testPair(t).Signer
		}
	}
	for name, text := range objects.ConfigFiles() {
		content["config/"+name] = text
	}
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		// A plugin must be executable.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/etc/ratify", dir)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tenantFile is what the ConfigMap of tenants holds for one that has been handed registry.example/teams, beside a key.
const tenantFile = `verifiers:
- {name: own, type: cosign, settings: {keys: [{name: team, file: /etc/ratify/tenants/team-a.pub}]}}
policies:
- {name: own, scopes: [registry.example/teams/a/*], verifiers: [own]}
`

func portsOut(policy Object) []any {
	egress, _ := policy.Get("spec", "egress").([]any)
	var ports []any
	for _, rule := range egress {
		list, _ := Object(rule.(map[string]any)).Get("ports").([]any)
		for _, p := range list {
			ports = append(ports, Object(p.(map[string]any)).Get("port"))
		}
	}
	return ports
}

func TestNetworkPolicy(t *testing.T) {
	values := base(testPair(t))
	values["registries"] = []any{
		map[string]any{"host": "a.example"},
		map[string]any{"host": "10.0.0.1:5000", "plainHTTP": true, "proxy": "http://proxy.example:3128/"},
		map[string]any{"host": "b.example", "proxy": "https://proxy.example"},
		map[string]any{"host": "c.example", "authHosts": []any{"sts.example:8443"}, "redirectHosts": []any{"blobs.example", "*.s3.example:9000"}},
		map[string]any{"host": "10.0.0.2:5000", "plainHTTP": true, "authHosts": []any{"10.0.0.3:5001"}},
		map[string]any{"host": "d.example", "proxy": "http://user:1234@[fd00::1]:8080/x"},
	}
	values["configKind"] = "Secret" // for the proxy's password
	put(values, []string{"networkPolicy", "egressPorts"}, []any{443})
	policy := render(t, values).Find("NetworkPolicy", "ratify")
	ports := portsOut(policy)
	if want := []any{53.0, 53.0, 443.0, 5000.0, 3128.0, 8443.0, 9000.0, 5001.0, 8080.0}; !slices.Equal(ports, want) {
		t.Errorf("out to %v, want %v", ports, want)
	}
	ingress, _ := policy.Get("spec", "ingress").([]any)
	if len(ingress) != 2 {
		t.Fatalf("%d rules in", len(ingress))
	}
	from, _ := Object(ingress[0].(map[string]any)).Get("from").([]any)
	if len(from) != 1 {
		t.Fatalf("in from %v", from)
	}
	// Both selectors in one peer: two peers would mean either of them.
	peer := Object(from[0].(map[string]any))
	if peer.Text("namespaceSelector", "matchLabels", "kubernetes.io/metadata.name") != Namespace ||
		peer.Text("podSelector", "matchLabels", "gatekeeper.sh/system") != "yes" {
		t.Errorf("in from %v", peer)
	}
}

// TestTokensWithoutTLS: the token server of a registry without TLS, named without a port, may be at 80 or at 443.
func TestTokensWithoutTLS(t *testing.T) {
	values := base(testPair(t))
	values["registries"] = []any{map[string]any{"host": "10.0.0.1:5000", "plainHTTP": true, "authHosts": []any{"sts.example"}}}
	put(values, []string{"networkPolicy", "egressPorts"}, []any{})
	ports := portsOut(render(t, values).Find("NetworkPolicy", "ratify"))
	if want := []any{53.0, 53.0, 5000.0, 443.0, 80.0}; !slices.Equal(ports, want) {
		t.Errorf("out to %v, want %v", ports, want)
	}
}
