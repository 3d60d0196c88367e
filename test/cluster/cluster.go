// Package cluster runs a real Kubernetes admission chain as plain processes on 127.0.0.1: etcd, kube-apiserver and
// Gatekeeper, and, where workloads must come up, kube-controller-manager, kube-scheduler and kwok with one node on which
// pods become ready without a container being started. The programs are built from their own Go modules (Build), keys and
// certificates are made for each run, and Gatekeeper's resources are read from its module, not copied.
//
// Begin with Start; Kubectl and Helm act as the administrator.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Options says what Start brings up. The zero value is a cluster with Gatekeeper, set as our installation recommends.
type Options struct {
	// Binaries are the programs; nil: Build is called.
	Binaries Binaries
	// Dir is where keys, data and logs go. It must exist, and outlive the cluster.
	Dir string
	// Progress is told what happens; nil: nobody is.
	Progress func(format string, args ...any)
	// Workloads adds what turns a Deployment into pods that are ready.
	Workloads bool
	// ResponseCacheTTL is how long Gatekeeper keeps an answer of a provider; 0: 30 s.
	ResponseCacheTTL time.Duration
	// ValidatingTimeout and MutatingTimeout are the webhooks' timeouts in seconds; 0: 5 and 2.
	ValidatingTimeout, MutatingTimeout int
}

// What our installation of Gatekeeper sets; see the chart's notes.
const (
	defaultResponseCacheTTL  = 30 * time.Second
	defaultValidatingTimeout = 5
	defaultMutatingTimeout   = 2
)

// startTimeout bounds each step of Start: a step takes one to three seconds, and twenty on a machine that is busy.
const startTimeout = 2 * time.Minute

// A Cluster is a running chain. It is safe for concurrent use.
type Cluster struct {
	// Dir holds the logs, NAME.log for each process.
	Dir string
	// Kubeconfig is the administrator's.
	Kubeconfig string
	// Root is the folder in which kubectl and helm run: the root of the repository.
	Root string

	options   Options
	pki       *pki
	server    string // URL of the API server
	processes []*Process
}

// Start brings a cluster up. When it fails, nothing is left running and the error holds the end of the log that matters.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if options.Progress == nil {
		options.Progress = func(string, ...any) {}
	}
	if options.Binaries == nil {
		binaries, err := Build(ctx, options.Progress)
		if err != nil {
			return nil, err
		}
		options.Binaries = binaries
	}
	module, err := moduleDir(ctx, testModule)
	if err != nil {
		return nil, err
	}
	keys, err := newPKI()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: options.Dir, Root: filepath.Dir(module), options: options, pki: keys}
	if err := c.start(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	steps := []struct {
		what string
		run  func(context.Context) error
	}{
		{"API server", c.startAPIServer},
		{"workloads", c.startWorkloads},
		{"Gatekeeper", c.startGatekeeper},
		{"the default account and a node", c.waitWorkloads},
	}
	for _, step := range steps {
		start := time.Now()
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		err := step.run(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("start %s: %w", step.what, err)
		}
		c.options.Progress("%s: up after %.1f s", step.what, time.Since(start).Seconds())
	}
	return nil
}

// Stop ends every process; what they stored is worth nothing afterwards, so none is asked to save it.
func (c *Cluster) Stop() {
	for _, p := range slices.Backward(c.processes) {
		_ = p.Stop(0)
	}
}

// Log returns the last lines of a process's output, by the name of its program.
func (c *Cluster) Log(name string, lines int) string {
	return tailFile(filepath.Join(c.Dir, name+".log"), lines)
}

// GatekeeperCA is the certificate, in PEM, of the authority behind Gatekeeper's client certificate.
func (c *Cluster) GatekeeperCA() []byte { return slices.Clone(c.pki.gatekeeper.cert) }

// Program is the path of one of the programs, such as kubectl.
func (c *Cluster) Program(name string) string { return c.options.Binaries[name] }

// A CommandError is a command that ended with another code than 0.
type CommandError struct {
	Command string
	// Stderr is what the command said about it.
	Stderr string
	Err    error
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.Command, e.Err, strings.TrimSpace(e.Stderr))
}

// Unwrap returns how the command ended.
func (e *CommandError) Unwrap() error { return e.Err }

// Kubectl runs kubectl in the repository's root as the administrator and returns its standard output.
// A failure of the command is a *CommandError.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, nil, "kubectl", args...)
}

// Helm runs helm in the same way.
func (c *Cluster) Helm(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, nil, "helm", args...)
}

// Apply sends objects, YAML or JSON, to the API server by kubectl apply with more arguments.
func (c *Cluster) Apply(ctx context.Context, manifest []byte, args ...string) (string, error) {
	return c.run(ctx, manifest, "kubectl", append([]string{"apply", "-f", "-"}, args...)...)
}

func (c *Cluster) run(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.options.Binaries[name], args...)
	cmd.Dir = c.Root
	cmd.Env = append(os.Environ(), c.Env()...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		return stdout.String(), &CommandError{Command: name + " " + strings.Join(args, " "), Stderr: stderr.String(), Err: err}
	}
	return stdout.String(), nil
}

// Env is the environment for kubectl and helm: this cluster, and nothing of the user's own settings.
func (c *Cluster) Env() []string {
	return []string{
		"KUBECONFIG=" + c.Kubeconfig,
		"HOME=" + c.Dir,
		"HELM_CONFIG_HOME=" + filepath.Join(c.Dir, "helm"),
		"HELM_CACHE_HOME=" + filepath.Join(c.Dir, "helm"),
		"HELM_DATA_HOME=" + filepath.Join(c.Dir, "helm"),
	}
}

// spawn starts one of the cluster's own processes.
func (c *Cluster) spawn(name string, env []string, args ...string) (*Process, error) {
	p, err := StartProcess(c.Dir, name, env, c.options.Binaries[name], args...)
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return p, err
}

// write puts a file into the cluster's folder and returns its path.
func (c *Cluster) write(name string, data []byte) (string, error) {
	path := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, data, 0o600)
}

// writePair writes NAME.crt and NAME.key and returns their paths.
func (c *Cluster) writePair(name string, p pair) (cert, key string, err error) {
	cert, certErr := c.write(name+".crt", p.cert)
	key, keyErr := c.write(name+".key", p.key)
	return cert, key, errors.Join(certErr, keyErr)
}

// kubeconfig writes a configuration for a client of the API server: by certificate, or by token.
func (c *Cluster) kubeconfig(name string, user map[string]any) (string, error) {
	type object = map[string]any
	data, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "it",
		"clusters": []object{{"name": "it", "cluster": object{"server": c.server, "certificate-authority-data": c.pki.cluster.cert}}},
		"users":    []object{{"name": "it", "user": user}},
		"contexts": []object{{"name": "it", "context": object{"cluster": "it", "user": "it"}}},
	})
	if err != nil {
		return "", err
	}
	return c.write(name+".kubeconfig", data)
}

func byCertificate(p pair) map[string]any {
	return map[string]any{"client-certificate-data": p.cert, "client-key-data": p.key}
}

// status200 is a probe: a GET must be answered with 200.
func status200(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, resp.Status)
		}
		return nil
	}
}
