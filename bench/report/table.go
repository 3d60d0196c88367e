package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Unit is what a figure's values are in.
type Unit string

// The units.
const (
	Milliseconds Unit = "ms"
	Seconds      Unit = "s"
	PerSecond    Unit = "/s"
	Plain        Unit = ""
	Megabytes    Unit = "MB" // 10^6 bytes
	Bytes        Unit = "B"
)

// heads are the columns of the table.
var heads = []string{"", "ratify", "beside it", "ratio", "must be", ""}

// Print writes the report as a table in text.
func (r Report) Print(w io.Writer) {
	fmt.Fprintln(w, r.origin())
	for _, rows := range r.topics() {
		fmt.Fprintf(w, "\n%s\n", rows[0].Topic)
		PrintTable(w, heads, lines(rows))
	}
	fmt.Fprintf(w, "\n%s\n", r.summary())
	for _, row := range r.Rows {
		if row.Wrong != "" {
			fmt.Fprintf(w, "WRONG: %s: %s: %s\n", row.Topic, row.Name, row.Wrong)
		}
	}
}

// PrintTable writes lines in columns as wide as their widest cell, the heads above them.
func PrintTable(w io.Writer, heads []string, lines [][]string) {
	all := append([][]string{heads}, lines...)
	width := make([]int, len(heads))
	for _, cells := range all {
		for i, cell := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range all {
		var text strings.Builder
		for i, cell := range cells {
			text.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		fmt.Fprintln(w, strings.TrimRight(text.String(), " "))
	}
}

// MarkdownTable writes lines as a table of Markdown.
func MarkdownTable(w io.Writer, heads []string, lines [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat("---|", len(heads)))
	for _, cells := range lines {
		escaped := make([]string, len(cells))
		for i, cell := range cells {
			escaped[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(escaped, " | "))
	}
}

// Markdown writes the report as tables, one for each topic.
func (r Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.origin())
	for _, rows := range r.topics() {
		topic := rows[0].Topic
		fmt.Fprintf(w, "\n### %s\n\n", strings.ToUpper(topic[:1])+topic[1:])
		MarkdownTable(w, heads, lines(rows))
	}
	fmt.Fprintf(w, "\n%s\n", r.summary())
}

// topics are the rows that stand under one heading.
func (r Report) topics() (topics [][]Row) {
	for i, row := range r.Rows {
		if i == 0 || row.Topic != r.Rows[i-1].Topic {
			topics = append(topics, nil)
		}
		topics[len(topics)-1] = append(topics[len(topics)-1], row)
	}
	return topics
}

func (r Report) origin() string {
	text := fmt.Sprintf("%s, commit %s, %s.", r.Machine, r.Commit, r.Date)
	if r.Quick {
		text += " QUICK: small sizes and few runs, good for whether answers and counts are right; the times say little."
	}
	return text
}

func (r Report) summary() string {
	return fmt.Sprintf("%d rows: %d as they must be, %d missed, %d wrong, %d without a target. Figures are medians, with the least and the greatest of the runs.",
		len(r.Rows), r.Count(Met), r.Count(Missed), r.Count(Wrong), r.Count(Measured))
}

func lines(rows []Row) (lines [][]string) {
	for _, row := range rows {
		lines = append(lines, row.lines()...)
	}
	return lines
}

// lines are the cells of a row: its own line, and one for each other that was measured.
func (r Row) lines() [][]string {
	name := r.Name
	if r.Note != "" {
		name += " (" + r.Note + ")"
	}
	first := []string{name, r.Unit.sample(r.Figure), "", "", r.Target.text(r), string(r.Outcome())}
	if len(r.Reference) > 0 {
		first[2], first[3] = r.Beside+" "+r.Unit.sample(r.Reference), ratio(r.Ratio())
	}
	lines := [][]string{first}
	for _, other := range r.Others {
		cells := []string{"  " + other.Name, "", r.Unit.sample(other.Figure), "", "", ""}
		if median := other.Figure.Median(); median != 0 {
			cells[3] = ratio(r.Figure.Median() / median)
		}
		if other.Wrong != "" {
			cells[5] = other.Wrong
		}
		lines = append(lines, cells)
	}
	return lines
}

func (t Target) text(r Row) string {
	switch t.Kind {
	case RatioAtMost:
		return "≤ " + ratio(t.Bound) + " × " + r.Beside
	case RatioAtLeast:
		return "≥ " + ratio(t.Bound) + " × " + r.Beside
	case AtMost:
		return "≤ " + r.Unit.value(t.Bound)
	case Exactly:
		return r.Unit.value(t.Bound)
	}
	return ""
}

func ratio(x float64) string {
	if x == 0 {
		return ""
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// sample is the median, and in brackets the least and the greatest value where they differ from it.
func (u Unit) sample(s Sample) string {
	if len(s) == 0 {
		return "–"
	}
	median, least, greatest := number(s.Median()), number(s.Min()), number(s.Max())
	text := u.with(median)
	if least != median || greatest != median {
		text += fmt.Sprintf(" (%s–%s)", least, greatest)
	}
	return text
}

func (u Unit) value(x float64) string { return u.with(number(x)) }

func (u Unit) with(number string) string {
	switch u {
	case Plain:
		return number
	case PerSecond:
		return number + "/s"
	}
	return number + " " + string(u)
}

// number has three digits that count, and commas between thousands.
func number(x float64) string {
	switch size := math.Abs(x); {
	case x == math.Trunc(x) && size < 1000:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size < 1:
		return strconv.FormatFloat(x, 'f', 3, 64)
	case size < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case size < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	digits := strconv.FormatFloat(math.Abs(x), 'f', 0, 64)
	var groups []string
	for len(digits) > 3 {
		groups = append(groups, digits[len(digits)-3:])
		digits = digits[:len(digits)-3]
	}
	groups = append(groups, digits)
	slices.Reverse(groups)
	text := strings.Join(groups, ",")
	if x < 0 {
		text = "-" + text
	}
	return text
}
