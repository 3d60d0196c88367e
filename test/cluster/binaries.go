package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// testModule is the module that this package belongs to; the tool modules lie in its folder cluster/bin.
const testModule = "github.com/ratify-provider/ratify/test"

// A toolModule is a Go module whose only purpose is to fix the versions of programs: none of them may share the build
// list of another, or the API server would run with libraries that its makers never tested.
type toolModule struct {
	dir     string            // below cluster/bin
	tools   map[string]string // package by the name of its program
	ldflags string
	// apart is for programs that the cluster does not consist of: they are made where they are named, and only there.
	apart bool
}

// kubernetesVersion is stamped into the programs: helm compares it with a chart's kubeVersion. Another version needs, in bin/k8s/go.mod, the replace
// lines of that version's own go.mod: they are not taken over from a dependency.
const kubernetesVersion = "v1.36.3"

func toolModules() []toolModule {
	const stamp = "-X k8s.io/component-base/version."
	return []toolModule{
		{dir: "etcd", tools: map[string]string{"etcd": "go.etcd.io/etcd/server/v3"}},
		{dir: "k8s", ldflags: stamp + "gitVersion=" + kubernetesVersion + " " + stamp + "gitMajor=1 " + stamp + "gitMinor=36" +
			" -X k8s.io/client-go/pkg/version.gitVersion=" + kubernetesVersion,
			tools: map[string]string{
				"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
				"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
				"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
				"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
			}},
		{dir: "gatekeeper", tools: map[string]string{"gatekeeper": "github.com/open-policy-agent/gatekeeper/v3"}},
		{dir: "helm", tools: map[string]string{"helm": "helm.sh/helm/v3/cmd/helm"}},
		{dir: "kwok", tools: map[string]string{"kwok": "sigs.k8s.io/kwok/cmd/kwok"}},
		{dir: "cosign", apart: true, tools: map[string]string{"cosign": "github.com/sigstore/cosign/v3/cmd/cosign"}},
	}
}

// Binaries holds the path of each program by its name.
type Binaries map[string]string

// Build makes the programs of the chain, or finds those made before: they are kept in the user's cache folder, by the
// hash of everything that decides what they are. Several processes may call it at the same time; the later ones wait.
// A first build takes about eight minutes on two cores; progress says what is being built. Without names it makes what a
// cluster consists of; names choose among these and cosign, which takes five minutes more.
func Build(ctx context.Context, progress func(format string, args ...any), names ...string) (Binaries, error) {
	source, err := moduleDir(ctx, testModule)
	if err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache for binaries: %w", err)
	}
	found := Binaries{}
	for _, m := range chosen(names) {
		built, err := m.build(ctx, filepath.Join(source, "cluster", "bin", m.dir), filepath.Join(cache, "ratify", "e2e"), progress)
		if err != nil {
			return nil, err
		}
		for name, path := range built {
			found[name] = path
		}
	}
	return found, nil
}

// chosen are the modules, each with those of its programs that the names ask for; without names, with what a cluster consists of.
func chosen(names []string) []toolModule {
	var modules []toolModule
	for _, m := range toolModules() {
		for name := range m.tools {
			if named := slices.Contains(names, name); !named && (len(names) > 0 || m.apart) {
				delete(m.tools, name)
			}
		}
		if len(m.tools) > 0 {
			modules = append(modules, m)
		}
	}
	return modules
}

// build returns the module's programs, each complete or absent in the cache: a program gets its name there by a rename.
func (m toolModule) build(ctx context.Context, source, cache string, progress func(string, ...any)) (Binaries, error) {
	key, err := m.hash(source)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, key)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the cache for binaries: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	found := Binaries{}
	for name, pkg := range m.tools {
		path := filepath.Join(dir, name)
		found[name] = path
		if _, err := os.Stat(path); err == nil {
			continue
		}
		progress("building %s (%s); a first build takes minutes", name, pkg)
		start := time.Now()
		if err := goBuild(ctx, source, path+".part", pkg, m.ldflags, func() { progress("still building %s after %.0f s", name, time.Since(start).Seconds()) }); err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		if err := os.Rename(path+".part", path); err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
		progress("built %s in %.0f s", name, time.Since(start).Seconds())
	}
	return found, nil
}

// hash names a build: the versions (go.mod, go.sum), the flags and the platform.
func (m toolModule) hash(source string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("read tool module %s: %w", m.dir, err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(data), data)
	}
	fmt.Fprintf(h, "%s\n%s/%s", buildArgs("", "", m.ldflags), runtime.GOOS, runtime.GOARCH)
	return m.dir + "-" + hex.EncodeToString(h.Sum(nil))[:16], nil
}

func buildArgs(out, pkg, ldflags string) []string {
	return []string{"build", "-mod=readonly", "-trimpath", "-ldflags", strings.TrimSpace("-s -w " + ldflags), "-o", out, pkg}
}

// stillBuilding is how often a long build says that it is alive: often enough for a person, rare enough for a CI log.
const stillBuilding = 30 * time.Second

func goBuild(ctx context.Context, source, out, pkg, ldflags string, alive func()) error {
	cmd := exec.CommandContext(ctx, "go", buildArgs(out, pkg, ldflags)...)
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(stillBuilding)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			alive()
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%w\n%s", err, tail(output.Bytes(), 20))
			}
			return nil
		}
	}
}

// lock takes an exclusive lock that ends with the process at the latest.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache for binaries: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// moduleDir is the folder of a module of the build that the working directory belongs to.
func moduleDir(ctx context.Context, module string) (string, error) {
	out, err := goOutput(ctx, "", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// toolSource is the folder with the source of a module that a tool module requires, fetched if it is not there.
func toolSource(ctx context.Context, tool, module string) (string, error) {
	source, err := moduleDir(ctx, testModule)
	if err != nil {
		return "", err
	}
	out, err := goOutput(ctx, filepath.Join(source, "cluster", "bin", tool), "mod", "download", "-json", module)
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil || answer.Dir == "" {
		return "", fmt.Errorf("find module %s: go mod download names no folder", module)
	}
	return answer.Dir, nil
}

func goOutput(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, tail(stderr.Bytes(), 20))
	}
	return out, nil
}

// tail is the last lines of a text.
func tail(text []byte, lines int) string {
	all := bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return string(bytes.Join(all, []byte("\n")))
}

// tailFile is the last lines of a file, of which at most 64 KiB are read.
func tailFile(path string, lines int) string {
	const most = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		if _, err := f.Seek(-most, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return tail(data, lines)
}
