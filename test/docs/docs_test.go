// Package docs runs what the pages of docs/tasks say: every command, in the order of the page, with the real program
// against real registries; every file, as the command or the chart reads it; every denial, as it comes of the verdict.
//
// In a page, a block of kind yaml is a file whose name is in its first line ("# ratify.yaml"); "# in ratify.yaml" means that its
// top-level fields replace those of the file. A block of kind sh is commands; of kind console, commands after "$ " and what
// they print, where … stands for anything. A block of kind text is what Gatekeeper says of the image that it names.
// What stands for what is in the tables at the beginning of world_test.go, what is not run in notRun. Begin at TestPages.
package docs

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/test/chart"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

var update = flag.Bool("update", false, "write into the pages what their commands print, and what is denied; look at what it wrote: where it changes from run to run there must be …")

func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); slices.Contains(standIns(), name) {
		if err := standIn(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestPages runs the pages.
func TestPages(t *testing.T) {
	w := newWorld(t)
	binary := programtest.Build(t)
	ofChart, err := chart.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left := maps.Clone(notRun)
	for _, p := range readPages(t) {
		r := &reader{world: w, page: p, dir: t.TempDir(), chart: ofChart, left: left}
		r.prepare(t, binary)
		for _, b := range p.blocks {
			t.Run(fmt.Sprintf("%s:%d", p.name, b.line), func(t *testing.T) { r.read(t, b) })
		}
		p.rewrite(t, r.edits)
		if r.unrendered {
			t.Errorf("%s: no helm command takes the last values.yaml", p.name)
		}
	}
	for c := range left {
		t.Errorf("no page has this command, which is listed as not run: %s", c)
	}
}

// A reader does what one page says, in a folder of his own.
type reader struct {
	*world
	page  page
	dir   string
	chart *chart.Chart
	// verify is the last command that verified each image, as it was run.
	verify map[string]string
	// unrendered: values.yaml was written, and no helm command has taken it.
	unrendered bool
	left       map[string]string // of notRun
	edits      []edit
}

func (r *reader) prepare(t *testing.T, binary string) {
	t.Helper()
	r.verify = map[string]string{}
	r.files(t, r.dir)
	for name, target := range map[string]string{"ratify": binary, "helm": r.chart.Helm} {
		if err := os.Symlink(target, filepath.Join(r.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *reader) read(t *testing.T, b block) {
	switch b.kind {
	case "yaml":
		r.write(t, b)
	case "text":
		for i, line := range b.lines {
			r.denied(t, b.line+i, line)
		}
	default:
		for _, c := range b.commands() {
			r.run(t, c)
		}
	}
}

var (
	fileLine = regexp.MustCompile(`^# (in )?([a-z0-9_./-]+\.yaml)\b`)
	// chartLine is how the chart is installed; it is rendered instead.
	chartLine = regexp.MustCompile(`^helm (?:upgrade --install|install|upgrade) (\S+) \./charts/ratify\b`)
	// withoutConfig are commands that ask a registry, and are not told by a configuration how it is reached.
	withoutConfig = regexp.MustCompile(`^ratify (verify|inspect|ls|login-check)\b`)
	verifies      = regexp.MustCompile(`^ratify verify .*?(\S+)$`)
	denial        = regexp.MustCompile(`^\[ratify-constraint\] (?:Subject failed verification|Could not verify): (\S+?): `)
)

// write writes the file that a block is.
func (r *reader) write(t *testing.T, b block) {
	t.Helper()
	said := fileLine.FindStringSubmatch(b.lines[0])
	if said == nil {
		t.Fatalf("the block's first line does not say which file it is: %s", b.lines[0])
	}
	name := filepath.Join(r.dir, said[2])
	fields := map[string]any{}
	if said[1] != "" {
		decode(t, read(t, name), &fields)
	}
	decode(t, []byte(r.in(b.text())), &fields)
	switch said[2] {
	case "ratify.yaml":
		r.reach(fields)
	case "values.yaml":
		r.unrendered = true
		// The chart's hosts are those of the page: it is rendered, and reaches nothing.
		decode(t, []byte(b.text()), &fields)
	}
	data, err := yaml.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if said[2] == "ratify.yaml" {
		if out, code := r.shell(t, "ratify check ratify.yaml"); code != 0 {
			t.Errorf("ratify check ends with %d:\n%s", code, out)
		}
	}
}

func decode(t *testing.T, data []byte, into *map[string]any) {
	t.Helper()
	var fields map[string]any
	if err := yaml.UnmarshalStrict(data, &fields); err != nil {
		t.Fatal(err)
	}
	maps.Copy(*into, fields)
}

// reach makes a configuration reach the registries of the world that speak plain HTTP, see hosts.
func (r *reader) reach(fields map[string]any) {
	stores, _ := fields["stores"].([]any)
	for _, s := range stores {
		store, _ := s.(map[string]any)
		if store["type"] != "oras" {
			continue
		}
		settings, _ := store["settings"].(map[string]any)
		if settings == nil {
			settings = map[string]any{}
			store["settings"] = settings
		}
		registries, _ := settings["registries"].([]any)
		for _, h := range hosts {
			if h.name == overTLS {
				continue
			}
			known := false
			for _, e := range registries {
				if entry := e.(map[string]any); entry["host"] == r.at[h.name] {
					entry["plainHTTP"], entry["allowPrivate"], known = true, true, true
				}
			}
			if !known {
				registries = append(registries, map[string]any{"host": r.at[h.name], "plainHTTP": true, "allowPrivate": true})
			}
		}
		settings["registries"] = registries
	}
}

// run runs a command, or renders the chart, or finds it in the list of those that are not run.
func (r *reader) run(t *testing.T, c command) {
	t.Helper()
	at := fmt.Sprintf("%s:%d", r.page.name, c.line)
	switch program, _, _ := strings.Cut(c.text, " "); {
	case chartLine.MatchString(c.text):
		r.render(t, c)
		return
	case program != "ratify":
		why, ok := notRun[c.text]
		if !ok {
			t.Errorf("%s: only ratify and helm with this chart are run: list the command in notRun, with the reason: %s", at, c.text)
			return
		}
		delete(r.left, c.text)
		t.Logf("%s: not run (%s): %s", at, why, c.text)
		return
	}
	line := r.in(c.text)
	if !strings.Contains(line, "--config") && !strings.HasPrefix(line, "ratify check") {
		line = withoutConfig.ReplaceAllString(line, "$0 --plain-http")
	}
	if image := verifies.FindStringSubmatch(line); image != nil {
		r.verify[image[1]] = line
	}
	out, code := r.shell(t, line)
	out = r.out(out)
	if code != c.exit {
		t.Errorf("%s: %s\nends with %d, the page says %d:\n%s", at, c.text, code, c.exit, out)
	}
	if c.output == nil {
		return
	}
	switch {
	case pattern(c.output).MatchString(out):
	case *update && code == c.exit:
		r.edits = append(r.edits, edit{c.line + 1, len(c.output), keepDots(strings.Split(strings.TrimRight(out, "\n"), "\n"), c.output)})
	default:
		t.Errorf("%s: %s\nprints\n%s\nthe page says\n%s", at, c.text, out, strings.Join(c.output, "\n"))
	}
}

// shell runs a line in the reader's folder, with his programs and nothing of this machine's own configuration.
func (r *reader) shell(t *testing.T, line string) (output string, code int) {
	t.Helper()
	sh := exec.CommandContext(t.Context(), "sh", "-c", line)
	sh.Dir = r.dir
	sh.Env = append([]string{"PATH=" + filepath.Join(r.dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + r.dir,
		// A chart's configuration is for a pod, which is told where the API server is.
		"KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=6443"}, programtest.Environment()...)
	out, err := sh.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatalf("%s: %v", line, err)
	}
	return string(out), sh.ProcessState.ExitCode()
}

// denied checks what the page says that Gatekeeper says, against the verdict on the image under the last command.
func (r *reader) denied(t *testing.T, number int, line string) {
	t.Helper()
	if line == "" {
		return
	}
	image := denial.FindStringSubmatch(line)
	if image == nil {
		t.Fatalf("it is no denial: %s", line)
	}
	command, ok := r.verify[r.in(image[1])]
	if !ok {
		t.Fatalf("no command verified %s", image[1])
	}
	out, code := r.shell(t, command+" -o json")
	var report ratify.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	said := fmt.Sprintf("[ratify-constraint] Subject failed verification: %s: %s. %s (trace %s)", r.in(image[1]), report.Message, report.Remedy, report.TraceID)
	if code != 1 {
		said = fmt.Sprintf("[ratify-constraint] Could not verify: %s: %s: %s. %s (request 1)", r.in(image[1]), report.Code, report.Message, report.Remedy)
	}
	said = anyTrace.ReplaceAllString(r.out(said), "($1 …)")
	switch {
	case !report.IsSuccess && pattern([]string{line}).MatchString(said+"\n"):
	case !report.IsSuccess && *update:
		r.edits = append(r.edits, edit{number, 1, []string{said}})
	default:
		t.Errorf("%s would be told\n%s\nthe page says\n%s", command, said, line)
	}
}

// in puts the addresses of the world in the place of the page's names, out the names back, the most specific first.
func (r *reader) in(text string) string {
	names := slices.SortedFunc(maps.Keys(r.at), func(a, b string) int { return len(b) - len(a) })
	for _, name := range names {
		text = strings.ReplaceAll(text, name, r.at[name])
	}
	return strings.NewReplacer("/etc/ratify/plugins", filepath.Join(r.dir, "bin"), tenants, filepath.Join(r.dir, "tenants")).Replace(text)
}

// tenants is where the chart mounts the files of tenants, and pages have them, too.
const tenants = "/etc/ratify/tenants"

var (
	anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	anyTrace  = regexp.MustCompile(`\((trace|request) [0-9a-f]+\)`)
)

func (r *reader) out(text string) string {
	for _, h := range hosts {
		text = strings.ReplaceAll(text, r.at[h.name], h.name)
	}
	text = strings.ReplaceAll(text, filepath.Join(r.dir, "tenants"), tenants)
	return anyDigest.ReplaceAllString(text, "sha256:…")
}

// render renders the chart as a command would install it, and has the configuration that comes of it checked.
func (r *reader) render(t *testing.T, c command) {
	t.Helper()
	line := chartLine.ReplaceAllString(c.text, "helm template $1 "+r.chart.Dir)
	line = strings.NewReplacer(" --atomic", "", " --reuse-values", "", " --create-namespace", "").Replace(line)
	if strings.Contains(line, "values.yaml") {
		r.unrendered = false
	}
	out, code := r.shell(t, line+" 2>&1")
	if code != 0 {
		t.Fatalf("%s\nends with %d:\n%s", line, code, out)
	}
	objects, err := chart.Decode(out)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{
		"docker/config.json": `{"auths":{"registry.example":{"auth":"dTpw"}}}`, // of registryCredentialsSecret
	}
	for name, text := range objects.ConfigFiles() {
		files["config/"+name], files["files/"+name] = text, text
	}
	for _, name := range standIns() {
		files["plugins/"+name] = "#!/bin/true\n" // what an init container copies
	}
	paths, err := filepath.Glob(filepath.Join(r.dir, "tenants", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		files["tenants/"+filepath.Base(path)] = r.out(string(read(t, path)))
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/etc/ratify", dir)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := r.shell(t, "ratify check "+filepath.Join(dir, "config", "config.yaml")); code != 0 {
		t.Errorf("%s\nmakes a configuration of which ratify check says, ending with %d:\n%s", c.text, code, out)
	}
}

// TestIndex: each page is in the index.
func TestIndex(t *testing.T) {
	pages := readPages(t)
	if len(pages) == 0 {
		t.Fatal("there are no pages")
	}
	index := string(readDoc(t, "tasks/README.md"))
	for _, p := range pages {
		if !strings.Contains(index, "("+p.name+")") {
			t.Errorf("docs/tasks/README.md does not name %s", p.name)
		}
		if len(p.blocks) == 0 {
			t.Errorf("%s: nothing in it is run", p.name)
		}
	}
}
