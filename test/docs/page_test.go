package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/program"
)

// A page is a task's, in its parts.
type page struct {
	path   string
	name   string // cosign.md
	blocks []block
}

// A block is one between fences.
type block struct {
	line  int // of its first line, from one
	kind  string
	lines []string
}

func (b block) text() string { return strings.Join(b.lines, "\n") + "\n" }

var fence = regexp.MustCompile("^```([a-z]*)$")

// readPages reads the pages of all tasks, the index left out.
func readPages(t *testing.T) []page {
	t.Helper()
	root, err := program.Root()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "docs", "tasks", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var pages []page
	for _, path := range paths {
		if filepath.Base(path) == "README.md" {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, parsePage(t, path, string(data)))
	}
	return pages
}

// parsePage finds the blocks. One whose fence says something else than a known kind would never be looked at, so it is an
// error.
func parsePage(t *testing.T, path, text string) page {
	t.Helper()
	name := filepath.Base(path)
	p := page{path: path, name: name}
	var open *block
	for i, line := range strings.Split(text, "\n") {
		switch {
		case !strings.HasPrefix(line, "```"):
			if open != nil {
				open.lines = append(open.lines, line)
			}
		case open != nil:
			p.blocks = append(p.blocks, *open)
			open = nil
		default:
			kind := fence.FindStringSubmatch(line)
			if kind == nil || kind[1] != "sh" && kind[1] != "console" && kind[1] != "yaml" && kind[1] != "text" {
				t.Fatalf("%s:%d: a block of %q; there are sh (commands), console (commands and what they print), yaml (files) and text (denials)", name, i+1, line)
			}
			open = &block{line: i + 2, kind: kind[1]}
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", name, open.line)
	}
	return p
}

// A command is a line for a shell, and what it prints.
type command struct {
	line   int
	text   string
	exit   int      // its exit code
	output []string // nil in a block of kind sh: not looked at
}

// exitComment is how a page says that a command ends with something else than 0.
var exitComment = regexp.MustCompile(`\s+# exit code ([0-9])$`)

// commands are those of a block of kind sh or console.
func (b block) commands() []command {
	var commands []command
	var continued string
	for i, line := range b.lines {
		text, isCommand := line, b.kind == "sh"
		if b.kind == "console" {
			text, isCommand = strings.CutPrefix(line, "$ ")
		}
		switch {
		case continued != "":
			text = continued + strings.TrimSpace(line)
		case !isCommand && len(commands) > 0:
			last := &commands[len(commands)-1]
			last.output = append(last.output, line)
			continue
		case strings.TrimSpace(text) == "" || strings.HasPrefix(text, "#"):
			continue
		}
		if rest, more := strings.CutSuffix(text, "\\"); more {
			continued = rest
			continue
		}
		c := command{line: b.line + i, text: text}
		continued = ""
		if exit := exitComment.FindStringSubmatch(text); exit != nil {
			c.text, c.exit = strings.TrimSuffix(text, exit[0]), int(exit[1][0]-'0')
		}
		if b.kind == "console" {
			c.output = []string{}
		}
		commands = append(commands, c)
	}
	return commands
}

// pattern is what a page shows of an output: … stands for anything within a line, or for any lines where it is alone.
func pattern(lines []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for _, line := range lines {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + "\n")
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}

// An edit puts other lines in the place of some of a page's; line counts from one.
type edit struct {
	line, count int
	lines       []string
}

// rewrite makes the edits, which are in the order of the page.
func (p page) rewrite(t *testing.T, edits []edit) {
	t.Helper()
	if len(edits) == 0 {
		return
	}
	data, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for _, e := range slices.Backward(edits) {
		lines = slices.Replace(lines, e.line-1, e.line-1+e.count, e.lines...)
	}
	if err := os.WriteFile(p.path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}

// keepDots keeps the lines of the page that still fit, for the sake of their ….
func keepDots(lines, before []string) []string {
	for i, line := range lines {
		for _, old := range before {
			if strings.TrimSpace(old) != "…" && pattern([]string{old}).MatchString(line+"\n") {
				lines[i] = old
			}
		}
	}
	return lines
}
