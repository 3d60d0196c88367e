package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/cluster"
)

// A provider is the product's own process, run on this machine as the chart would have it run in a pod: the arguments, the
// environment and the mounted files are those of the Deployment in the cluster. What differs is where it listens and the folder in which
// the mounted files lie.
type provider struct {
	binary, root string
	args, env    []string
	port, health int
	process      *cluster.Process
	logs         []string // the log of every process so far
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{root: t.TempDir()}
	for _, port := range []*int{&p.port, &p.health} {
		free, err := cluster.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		*port = free
	}
	return p
}

// url is what the chart is told to be the provider's.
func (p *provider) url() string { return "https://127.0.0.1:" + strconv.Itoa(p.port) }

// A deployment is what of a Deployment matters to its container.
type deployment struct {
	Spec struct {
		Template struct {
			Spec struct {
				ServiceAccountName           string
				AutomountServiceAccountToken *bool
				Containers                   []struct {
					Args         []string
					Env          []struct{ Name, Value string }
					VolumeMounts []struct{ Name, MountPath, SubPath string }
				}
				Volumes []volume
			}
		}
	}
}

type volume struct {
	Name      string
	Secret    *source
	ConfigMap *source
	EmptyDir  map[string]any
	Projected *struct {
		Sources []struct{ Secret, ConfigMap *source }
	}
}

// A source is a Secret or a ConfigMap whose keys become files.
type source struct {
	Name       string
	SecretName string
	Items      []struct{ Key, Path string }
	Optional   bool
}

// take reads the Deployment from the cluster and does what a kubelet would. Called again, it brings the mounted files up to date.
func (p *provider) take(t *testing.T, c *cluster.Cluster, name string) {
	t.Helper()
	var d deployment
	decode(t, kubectl(t, c, "get", "--namespace="+cluster.GatekeeperNamespace, "deployment/"+name, "--output=json"), &d)
	pod := d.Spec.Template.Spec
	container := pod.Containers[0]
	volumes := map[string]volume{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = v
	}
	var paths []string
	for _, mount := range container.VolumeMounts {
		if mount.SubPath != "" {
			t.Fatalf("volume mount %s has a subPath: it would never be brought up to date", mount.MountPath)
		}
		paths = append(paths, mount.MountPath)
	}
	// The longest first, for one path may lie below another.
	sort.Slice(paths, func(i, j int) bool { return len(paths[i]) > len(paths[j]) })
	var pairs []string
	for _, path := range paths {
		pairs = append(pairs, path, filepath.Join(p.root, path))
	}
	if mounted := pod.AutomountServiceAccountToken; mounted == nil || *mounted {
		pairs = append(pairs, p.mountToken(t, c, pod.ServiceAccountName)...)
	}
	moved := strings.NewReplacer(pairs...)
	for _, mount := range container.VolumeMounts {
		for file, data := range contents(t, c, volumes[mount.Name]) {
			replace(t, filepath.Join(p.root, mount.MountPath, file), []byte(moved.Replace(string(data))))
		}
	}
	p.args, p.env = nil, apiServerVariables(t, c)
	for _, arg := range container.Args {
		p.args = append(p.args, moved.Replace(arg))
	}
	p.args = append(p.args, fmt.Sprintf("--address=127.0.0.1:%d", p.port), fmt.Sprintf("--health-address=127.0.0.1:%d", p.health))
	for _, env := range container.Env {
		p.env = append(p.env, env.Name+"="+env.Value)
	}
}

// mountToken gives the provider the identity of its ServiceAccount, as a kubelet would at a path that this machine keeps for
// pods. The configuration relies on that path without naming it; what is returned, old and new words in turn, names another.
func (p *provider) mountToken(t *testing.T, c *cluster.Cluster, account string) []string {
	t.Helper()
	folder := filepath.Join(p.root, "serviceaccount")
	namespace := "--namespace=" + cluster.GatekeeperNamespace
	token := kubectl(t, c, "create", "token", account, namespace)
	replace(t, filepath.Join(folder, "token"), []byte(strings.TrimSpace(token)))
	replace(t, filepath.Join(folder, "ca.crt"), []byte(kubectl(t, c, "get", "configmap/kube-root-ca.crt", namespace, `--output=jsonpath={.data.ca\.crt}`)))
	return []string{"pullSecrets: {}", fmt.Sprintf("pullSecrets: {tokenFile: %q, caFile: %q}", filepath.Join(folder, "token"), filepath.Join(folder, "ca.crt"))}
}

// apiServerVariables are those by which every pod finds the API server.
func apiServerVariables(t *testing.T, c *cluster.Cluster) []string {
	t.Helper()
	server, err := url.Parse(kubectl(t, c, "config", "view", "--output=jsonpath={.clusters[0].cluster.server}"))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + server.Hostname(), "KUBERNETES_SERVICE_PORT=" + server.Port()}
}

// replace writes a file at once, as a kubelet does: a reader sees the old content or the new.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".part", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		t.Fatal(err)
	}
}

// contents are the files of a volume.
func contents(t *testing.T, c *cluster.Cluster, v volume) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	add := func(kind string, s *source) {
		if s == nil {
			return
		}
		name := s.Name + s.SecretName
		var object struct {
			Data       map[string]json.RawMessage
			BinaryData map[string][]byte
		}
		decode(t, kubectl(t, c, "get", "--namespace="+cluster.GatekeeperNamespace, kind+"/"+name, "--output=json"), &object)
		data := object.BinaryData
		if data == nil {
			data = map[string][]byte{}
		}
		for key, raw := range object.Data {
			data[key] = text(t, kind, raw)
		}
		if s.Items == nil {
			for key := range data {
				s.Items = append(s.Items, struct{ Key, Path string }{key, key})
			}
		}
		for _, item := range s.Items {
			if _, ok := data[item.Key]; !ok && !s.Optional {
				t.Fatalf("%s %s has no key %q: the pod would not start", kind, name, item.Key)
			}
			files[item.Path] = data[item.Key]
		}
	}
	add("secret", v.Secret)
	add("configmap", v.ConfigMap)
	if v.Projected != nil {
		for _, s := range v.Projected.Sources {
			add("secret", s.Secret)
			add("configmap", s.ConfigMap)
		}
	}
	if len(files) == 0 && v.EmptyDir == nil {
		t.Fatalf("volume %s: a kind of volume that this test does not know, or an empty one", v.Name)
	}
	return files
}

// text decodes a value: base64 in a Secret, itself in a ConfigMap.
func text(t *testing.T, kind string, raw json.RawMessage) []byte {
	t.Helper()
	if kind == "secret" {
		var data []byte
		decode(t, string(raw), &data)
		return data
	}
	var s string
	decode(t, string(raw), &s)
	return []byte(s)
}

func decode(t *testing.T, data string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), into); err != nil {
		t.Fatalf("decode %T: %v", into, err)
	}
}

// start runs the provider and waits until it is ready to answer.
func (p *provider) start(t *testing.T, dir string) {
	t.Helper()
	process, err := cluster.StartProcess(dir, fmt.Sprintf("ratify-%d", len(p.logs)+1), p.env, p.binary, p.args...)
	if err != nil {
		t.Fatal(err)
	}
	p.process, p.logs = process, append(p.logs, process.LogFile)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = process.WaitReady(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/readyz", p.health), nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", resp.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// served is the certificate that the provider shows now.
func (p *provider) served(t *testing.T) *x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p.port), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// stop ends the provider as a kubelet does; it must end well.
func (p *provider) stop(t *testing.T) {
	t.Helper()
	p.mustRun(t)
	if err := p.process.Stop(30 * time.Second); err != nil {
		t.Errorf("the provider ended with %v\n%s", err, p.process.Tail(10))
	}
}

// mustRun ends a step that is about a provider which did not even start.
func (p *provider) mustRun(t *testing.T) {
	t.Helper()
	if p.process == nil {
		t.Fatal("the provider has never been ready")
	}
}

// pause stops the provider in the middle of whatever it does, without closing a connection, until the returned function is called.
func (p *provider) pause(t *testing.T) (resume func()) {
	t.Helper()
	p.mustRun(t)
	p.process.Signal(syscall.SIGSTOP)
	return func() { p.process.Signal(syscall.SIGCONT) }
}

// A record is what the log holds of one key, as far as users are promised it.
type record struct {
	Key, Subject, VerifiedAs, Digest, Message, Remedy, Code, WouldBeCode, Policy, TraceID string
	IsSuccess                                                                             *bool
	VerifierReports                                                                       []struct {
		Name, Message, Code string
		IsSuccess           bool
	}
}

// records reads the reports in the log, in the order in which they were written.
func (p *provider) records(t *testing.T) []record {
	t.Helper()
	var records []record
	for _, path := range p.logs {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r record
			if json.Unmarshal(lines.Bytes(), &r) == nil && r.IsSuccess != nil {
				records = append(records, r)
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return records
}

// recordOf is the last report for a key.
func (p *provider) recordOf(t *testing.T, key string) record {
	t.Helper()
	var found *record
	for _, r := range p.records(t) {
		if r.Key == key {
			found = &r
		}
	}
	if found == nil {
		t.Fatalf("the log has no record with the key %s", key)
	}
	return *found
}
