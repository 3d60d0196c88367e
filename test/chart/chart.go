// Package chart renders charts/ratify with the helm program, for the tests of the chart here and for those who install
// it into an API server. Begin at Find.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/test/cluster"
	"github.com/ratify-provider/ratify/test/program"
)

// Namespace is where everything is rendered for: Gatekeeper's own.
const Namespace = "gatekeeper-system"

// Release is the name of the release, and so of its objects.
const Release = "ratify"

// A Chart is the chart and the program that renders it.
type Chart struct {
	// Helm is the path of the program.
	Helm string
	// Dir is the chart's folder.
	Dir string
}

// Find returns the chart of this repository, with the helm program that RATIFY_HELM names, or the one in PATH, or the one
// that the test cluster uses: that is built where it was not before, which takes minutes.
func Find(ctx context.Context) (*Chart, error) {
	root, err := program.Root() // and not the place of this file, which a build with -trimpath does not know
	if err != nil {
		return nil, fmt.Errorf("find the chart: %w", err)
	}
	helm, err := findHelm(ctx)
	if err != nil {
		return nil, fmt.Errorf("find helm: %w", err)
	}
	return &Chart{Helm: helm, Dir: filepath.Join(root, "charts", "ratify")}, nil
}

func findHelm(ctx context.Context) (string, error) {
	if path := os.Getenv("RATIFY_HELM"); path != "" {
		return path, nil
	}
	if path, err := exec.LookPath("helm"); err == nil {
		return path, nil
	}
	built, err := cluster.Build(ctx, func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }, "helm")
	if err != nil {
		return "", err
	}
	return built["helm"], nil
}

// Template runs helm template with more arguments, and returns what it printed. An error holds what it printed to stderr.
func (c *Chart) Template(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, append([]string{"template", Release, c.Dir, "--namespace", Namespace}, args...)...)
}

// Render is Template, decoded.
func (c *Chart) Render(ctx context.Context, args ...string) (Objects, error) {
	text, err := c.Template(ctx, args...)
	if err != nil {
		return nil, err
	}
	return Decode(text)
}

func (c *Chart) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Helm, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// An Object is a Kubernetes object as it was rendered.
type Object map[string]any

// Kind returns the object's kind.
func (o Object) Kind() string { return o.Text("kind") }

// Name returns the object's name.
func (o Object) Name() string { return o.Text("metadata", "name") }

// Namespace returns the namespace that the object is in.
func (o Object) Namespace() string { return o.Text("metadata", "namespace") }

// Get returns the value at a path of keys, nil where there is none.
func (o Object) Get(path ...string) any {
	var value any = map[string]any(o)
	for _, key := range path {
		m, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = m[key]
	}
	return value
}

// Text returns the string at a path, empty where there is none.
func (o Object) Text(path ...string) string {
	s, _ := o.Get(path...).(string)
	return s
}

// Objects are the objects of one rendering, in helm's order.
type Objects []Object

// Find returns an object, nil where there is none.
func (os Objects) Find(kind, name string) Object {
	for _, o := range os {
		if o.Kind() == kind && o.Name() == name {
			return o
		}
	}
	return nil
}

// ConfigFiles returns the content of the volume that the provider reads its configuration from, by file name.
func (os Objects) ConfigFiles() map[string]string {
	files := map[string]string{}
	for _, o := range os {
		// fullnameOverride changes what is before it.
		if !strings.HasSuffix(o.Name(), "-config") {
			continue
		}
		for _, field := range []string{"data", "stringData"} {
			data, _ := o.Get(field).(map[string]any)
			for name, content := range data {
				files[name], _ = content.(string)
			}
		}
	}
	return files
}

// Decode reads the documents that helm printed; two objects of one kind, namespace and name are an error.
func Decode(text string) (Objects, error) {
	var objects Objects
	for _, doc := range strings.Split("\n"+text, "\n---") {
		var o Object
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			return nil, fmt.Errorf("decode a rendered document: %w\n%s", err, doc)
		}
		if len(o) == 0 {
			continue
		}
		for _, other := range objects {
			if o.Kind() == other.Kind() && o.Name() == other.Name() && o.Namespace() == other.Namespace() {
				return nil, fmt.Errorf("%s %s is rendered twice", o.Kind(), o.Name())
			}
		}
		objects = append(objects, o)
	}
	return objects, nil
}
