package chart

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/ratify-provider/ratify/test/program/programtest"
)

var update = flag.Bool("update", false, "write the values table of the chart's README")

// A described value is one with a comment in values.yaml.
type described struct {
	path []string
	text string
}

// descriptions reads the comments that begin with "--", each of the value in the line below.
func descriptions(t *testing.T, text string) []described {
	t.Helper()
	var found []described
	var path []string
	comment := ""
	for number, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		if c, ok := strings.CutPrefix(trimmed, "# -- "); ok {
			comment = c
			continue
		}
		key, _, ok := strings.Cut(trimmed, ":")
		if !ok || strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, "-") {
			continue
		}
		depth := (len(line) - len(trimmed)) / 2
		if depth > len(path) {
			t.Fatalf("values.yaml:%d: indented by something else than two spaces", number+1)
		}
		path = append(path[:depth:depth], key)
		if comment != "" {
			found = append(found, described{path, comment})
			comment = ""
		}
	}
	return found
}

func TestReadme(t *testing.T) {
	dir := testChart(t).Dir
	text, err := os.ReadFile(filepath.Join(dir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	values := defaults(t)
	known := map[string]bool{}
	table := "| value | default | |\n|---|---|---|\n"
	for _, d := range descriptions(t, string(text)) {
		name := strings.Join(d.path, ".")
		known[name] = true
		encoded, err := json.Marshal(Object(values).Get(d.path...))
		if err != nil {
			t.Fatal(err)
		}
		table += fmt.Sprintf("| `%s` | `%s` | %s |\n", name, encoded, strings.ReplaceAll(d.text, "|", "\\|"))
	}
	for _, path := range Leaves(values) {
		covered := false
		for i := range path {
			covered = covered || known[strings.Join(path[:i+1], ".")]
		}
		if !covered {
			t.Errorf("%s has no description in values.yaml", strings.Join(path, "."))
		}
	}
	const begin, end = "<!-- values -->\n", "<!-- /values -->"
	file := filepath.Join(dir, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(readme), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the table")
	}
	want := before + begin + table + end + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(readme) {
		t.Error("README.md's table is not that of values.yaml: run go test ./chart -run TestReadme -update in test/")
	}
}

// readmeValues returns the values that the README shows, with what every rendering here needs.
func readmeValues(t *testing.T, p Pair) map[string]map[string]any {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(testChart(t).Dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]any{}
	for i, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		first, _, _ := strings.Cut(text, ":")
		values := base(p)
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			t.Fatal(err)
		}
		setFiles(values, p)
		all[fmt.Sprintf("%d %s", i+1, first)] = values
	}
	if len(all) == 0 {
		t.Fatal("README.md shows no values")
	}
	return all
}

// setFiles puts into the values what the README sets beside them, by --set-file.
func setFiles(values map[string]any, p Pair) {
	if Object(values).Get("cosign", "identities") != nil {
		put(values, []string{"cosign", "trustedRoot"}, p.Root)
	}
	if values["verifiers"] != nil {
		put(values, []string{"files", "build.pub"}, p.Signer)
	}
}

// TestReadmeExamples gives the values of the README to the chart, and the configuration that comes of them to the program.
func TestReadmeExamples(t *testing.T) {
	binary := programtest.Build(t)
	for name, values := range readmeValues(t, testPair(t)) {
		t.Run(name, func(t *testing.T) {
			objects := render(t, values)
			checkConfig(t, objects)
			checkMounted(t, objects, objects.ConfigFiles()["config.yaml"])
			run(t, binary, "check", filepath.Join(unpack(t, objects), "config", "config.yaml"))
		})
	}
}
