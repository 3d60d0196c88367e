package rule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"

	"github.com/ratify-provider/ratify"
)

const (
	// maxFaults is how many faults of one expression are told; the first ones are what is to be mended first.
	maxFaults = 5
	// snippetRunes is how much of the expression an error shows, enough to find the place without counting.
	snippetRunes = 40
)

// An Error is what is wrong at one place of an expression, at its compilation or evaluation.
type Error struct {
	// Line and Column count from one, Column in characters.
	Line, Column int
	// Snippet is the expression's text from there on, to the end of the line or 40 characters; it may be empty.
	Snippet string
	// Message says what is wrong there; it is printable.
	Message string
}

func (e *Error) Error() string {
	where := fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
	if e.Snippet == "" {
		return where
	}
	// Expressions are full of quotes: in back quotes they need no escapes.
	if strconv.CanBackquote(e.Snippet) {
		return where + ", at `" + e.Snippet + "`"
	}
	return where + ", at " + ratify.Quote(e.Snippet)
}

// A source is an expression's text, and where each part of it begins.
type source struct {
	lines []string
	info  *ast.SourceInfo
}

func newSource(expression string) *source { return &source{lines: strings.Split(expression, "\n")} }

// at makes an error of a place: the library counts lines from one and columns from zero, and knows no place for some errors.
func (s *source) at(place common.Location, message string) *Error {
	line, column := max(place.Line(), 1), max(place.Column(), 0)
	e := &Error{Line: line, Column: column + 1, Message: printable(message)}
	if line <= len(s.lines) {
		if runes := []rune(s.lines[line-1]); column < len(runes) {
			e.Snippet = string(runes[column:min(len(runes), column+snippetRunes)])
		}
	}
	return e
}

// whole is an error of no place, which is said of the beginning.
func (s *source) whole(format string, args ...any) *Error {
	return s.at(common.NewLocation(1, 0), fmt.Sprintf(format, args...))
}

// faults are errors of the compiler, in the order of their places.
func (s *source) faults(found []*common.Error) error {
	found = slices.SortedStableFunc(slices.Values(found), func(a, b *common.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	var told []error
	for _, fault := range found[:min(len(found), maxFaults)] {
		// Rules have no containers, and the list of all tokens is no help: what the library says of them is left out.
		message, _, _ := strings.Cut(fault.Message, " expecting {")
		told = append(told, s.at(fault.Location, strings.ReplaceAll(message, " (in container '')", "")))
	}
	return errors.Join(told...)
}

// printable is a message of the library: it may repeat what an expression or a claim says.
func printable(message string) string {
	if strings.ContainsFunc(message, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ratify.Quote(message)
	}
	return ratify.Truncate(message)
}
