package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/config"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"
)

// A format is how a command prints its result.
type format string

const (
	formatText format = "text"
	formatJSON format = "json"
	formatYAML format = "yaml"
)

func formats() []string { return []string{string(formatText), string(formatJSON), string(formatYAML)} }

// String, Set and Type make it the value of a flag.
func (f *format) String() string { return string(*f) }

func (f *format) Type() string { return "format" }

func (f *format) Set(s string) error {
	for _, known := range formats() {
		if s == known {
			*f = format(s)
			return nil
		}
	}
	if near := config.Nearest(s, formats()); near != "" {
		return fmt.Errorf("unknown output format %s (did you mean %q?)", ratify.Quote(s), near)
	}
	return fmt.Errorf("unknown output format %s (known: %s)", ratify.Quote(s), strings.Join(formats(), ", "))
}

// addOutputFlag gives a command its -o.
func addOutputFlag(command *cobra.Command, f *format) {
	*f = formatText
	command.Flags().VarP(f, "output", "o", "`format` of the output: text, json or yaml")
	mustComplete(command.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats(), cobra.ShellCompDirectiveNoFileComp)))
}

// mustComplete is for completions of flags that the line before has defined: an error is a defect.
func mustComplete(err error) {
	if err != nil {
		panic(err)
	}
}

// print writes a value as JSON or YAML.
func (f format) print(w io.Writer, value any) error {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if f == formatJSON {
		_, err := w.Write(buf.Bytes())
		return err
	}
	data, err := yaml.JSONToYAML(buf.Bytes())
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	_, err = w.Write(data)
	return err
}

// A writer remembers the first failure to write: a result that nobody could read must not end with success.
type writer struct {
	w   io.Writer
	err error
}

type outputError struct{ err error }

func (e *outputError) Error() string { return "write the output: " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		w.err = &outputError{err}
		return n, w.err
	}
	return n, nil
}

// ui is what the terminal can show.
type ui struct {
	color    bool // on standard output
	progress bool // on standard error
}

func detectUI(stdout, stderr io.Writer) ui {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	return ui{color: isTerminal(stdout) && !plain, progress: isTerminal(stderr) && os.Getenv("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// The colours of verdicts, as SGR parameters.
const (
	green  = "32"
	red    = "31"
	yellow = "33"
	bold   = "1"
)

func (u ui) paint(sgr, text string) string {
	if !u.color {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// plain makes text from outside fit for a terminal: as it is where every character is printable, quoted otherwise.
func plain(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ratify.Quote(s)
		}
	}
	return ratify.Truncate(s)
}

// A node is a line of a tree with what hangs below it.
type node struct {
	text     string
	children []*node
}

func (n *node) add(format string, args ...any) *node {
	child := &node{text: fmt.Sprintf(format, args...)}
	n.children = append(n.children, child)
	return child
}

func (n *node) print(w io.Writer) {
	fmt.Fprintln(w, n.text)
	n.printChildren(w, "")
}

func (n *node) printChildren(w io.Writer, indent string) {
	for i, child := range n.children {
		branch, below := "├── ", "│   "
		if i == len(n.children)-1 {
			branch, below = "└── ", "    "
		}
		fmt.Fprintln(w, indent+branch+child.text)
		child.printChildren(w, indent+below)
	}
}
