package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSample(t *testing.T) {
	for _, tc := range []struct {
		of                 Sample
		median, least, top float64
	}{
		{nil, 0, 0, 0},
		{Sample{3}, 3, 3, 3},
		{Sample{3, 1, 2}, 2, 1, 3},
		{Sample{4, 1, 3, 2}, 2.5, 1, 4},
		{Sample{100, 1, 1, 1, 1, 1, 1}, 1, 1, 100},
	} {
		if m, l, g := tc.of.Median(), tc.of.Min(), tc.of.Max(); m != tc.median || l != tc.least || g != tc.top {
			t.Errorf("%v: median %v, from %v to %v; want %v, %v, %v", tc.of, m, l, g, tc.median, tc.least, tc.top)
		}
	}
}

func TestMedianLeavesTheOrderOfRuns(t *testing.T) {
	s := Sample{3, 1, 2}
	s.Median()
	if s[0] != 3 || s[2] != 2 {
		t.Errorf("the runs were put in another order: %v", s)
	}
}

func TestOutcome(t *testing.T) {
	for _, tc := range []struct {
		name string
		row  Row
		want Outcome
	}{
		{"nothing demanded", Row{Figure: Sample{1}}, Measured},
		{"a ratio that is met", Row{Figure: Sample{11}, Reference: Sample{10}, Target: Times(1.10)}, Met},
		{"met as it is printed", Row{Figure: Sample{11.04}, Reference: Sample{10}, Target: Times(1.10)}, Met},
		{"a ratio that is missed", Row{Figure: Sample{11.1}, Reference: Sample{10}, Target: Times(1.10)}, Missed},
		{"a machine that slows down for both", Row{Figure: Sample{10, 10, 20, 20}, Reference: Sample{10, 10, 10, 20}, Target: Times(1)}, Met},
		{"a ratio to nothing", Row{Figure: Sample{1}, Target: Times(1.10)}, Missed},
		{"the median decides", Row{Figure: Sample{1, 1, 50}, Reference: Sample{1}, Target: Times(1)}, Met},
		{"a rate", Row{Figure: Sample{95}, Reference: Sample{100}, Target: RateOf(0.95)}, Met},
		{"a rate too low", Row{Figure: Sample{94}, Reference: Sample{100}, Target: RateOf(0.95)}, Missed},
		{"a bound", Row{Figure: Sample{30}, Target: Below(30)}, Met},
		{"a bound, by the median", Row{Figure: Sample{29, 29, 90}, Target: Below(30)}, Met},
		{"a bound exceeded", Row{Figure: Sample{31}, Target: Below(30)}, Missed},
		{"nothing measured", Row{Target: Below(30)}, Missed},
		{"a count", Row{Figure: Sample{4, 4}, Target: Count(4)}, Met},
		{"a count that is off once", Row{Figure: Sample{4, 4, 5}, Target: Count(4)}, Wrong},
		{"a count too low", Row{Figure: Sample{3}, Target: Count(4)}, Wrong},
		{"a count that was not made", Row{Target: Count(0)}, Wrong},
		{"a count within its bound", Row{Figure: Sample{0, 1}, Target: CountBelow(1)}, Met},
		{"a count beyond it once", Row{Figure: Sample{1, 1, 2}, Target: CountBelow(1)}, Wrong},
		{"wrong whatever the time", Row{Figure: Sample{1}, Reference: Sample{1}, Target: Times(2), Wrong: "refused"}, Wrong},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.row.Outcome(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestNumber(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 4: "4", 0.1234: "0.123", 1.05: "1.05", 65.14: "65.1", 158.4: "158", 999.6: "1,000", 22800: "22,800", 1234567: "1,234,567", -5321: "-5,321",
	} {
		if got := number(x); got != want {
			t.Errorf("%v: %s, want %s", x, got, want)
		}
	}
}

func example() Report {
	return Report{Machine: "a processor, 2 cores", Commit: "abc", Date: "2026-01-02", Rows: []Row{
		{Topic: "requests", Name: "one image", Figure: Sample{4, 4}, Target: Count(4)},
		{Topic: "cold", Name: "no delay", Unit: Milliseconds, Figure: Sample{3.3, 3.4, 3.5}, Beside: "floor", Reference: Sample{3.2, 3.2, 3.2},
			Target: Times(1.10), Others: []Other{{Name: "a|peer", Figure: Sample{6.8}}, {Name: "another", Wrong: "3 × status 500"}}},
		{Topic: "cold", Name: "20 ms", Unit: Milliseconds, Figure: Sample{99}, Beside: "floor", Reference: Sample{66}, Target: Times(1.10), Note: "one | image"},
	}}
}

func TestPrint(t *testing.T) {
	want := `a processor, 2 cores, commit abc, 2026-01-02.

requests
           ratify            beside it      ratio  must be
one image  4                                       4               met

cold
                    ratify             beside it      ratio  must be
no delay            3.40 ms (3.30–3.50)  floor 3.20 ms  1.06   ≤ 1.10 × floor  met
`
	var text strings.Builder
	example().Print(&text)
	for _, line := range strings.Split(want, "\n") {
		if squeezed := strings.Join(strings.Fields(line), " "); !strings.Contains(squeeze(text.String()), squeezed) {
			t.Errorf("no line %q in\n%s", squeezed, &text)
		}
	}
	lines := strings.Split(text.String(), "\n")
	first, second := -1, -1
	for _, line := range lines {
		if at := runesBefore(line, "≤"); at >= 0 && first < 0 {
			first = at
		} else if at >= 0 {
			second = at
		}
	}
	if first != second {
		t.Errorf("columns stand at %d and %d:\n%s", first, second, &text)
	}
	if !strings.Contains(text.String(), "3 rows: 2 as they must be, 1 missed, 0 wrong, 0 without a target.") {
		t.Errorf("no summary in\n%s", &text)
	}
}

func squeeze(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	return strings.Join(lines, "\n")
}

func runesBefore(line, mark string) int {
	before, _, found := strings.Cut(line, mark)
	if !found {
		return -1
	}
	return len([]rune(before))
}

func TestPrintSaysWhatIsWrong(t *testing.T) {
	r := example()
	r.Rows[0].Wrong = "5 requests in one run"
	r.Quick = true
	var text strings.Builder
	r.Print(&text)
	for _, want := range []string{"WRONG: requests: one image: 5 requests in one run", "1 wrong", "QUICK"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
}

func TestMarkdown(t *testing.T) {
	var text strings.Builder
	example().Markdown(&text)
	want := `a processor, 2 cores, commit abc, 2026-01-02.

### Requests

|  | ratify | beside it | ratio | must be |  |
|---|---|---|---|---|---|
| one image | 4 |  |  | 4 | met |

### Cold

|  | ratify | beside it | ratio | must be |  |
|---|---|---|---|---|---|
| no delay | 3.40 ms (3.30–3.50) | floor 3.20 ms | 1.06 | ≤ 1.10 × floor | met |
|   a\|peer |  | 6.80 ms | 0.50 |  |  |
|   another |  | – |  |  | 3 × status 500 |
| 20 ms (one \| image) | 99 ms | floor 66 ms | 1.50 | ≤ 1.10 × floor | MISSED |
`
	if got := text.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWriteReplacesWhatIsGenerated(t *testing.T) {
	begin := fmt.Sprintf(begin, "make bench")
	path := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(path, []byte("# By hand\n\n"+begin+"stale text\n"+end+"\nalso by hand\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second time leaves the same page
		if err := example().Write(path); err != nil {
			t.Fatal(err)
		}
		page, _ := os.ReadFile(path)
		text := string(page)
		if !strings.HasPrefix(text, "# By hand\n\n"+begin) || !strings.HasSuffix(text, end+"\nalso by hand\n") || strings.Contains(text, "stale text") ||
			strings.Count(text, "### Cold") != 1 {
			t.Errorf("got\n%s", text)
		}
	}
}

func TestWriteWantsItsPlace(t *testing.T) {
	begin := fmt.Sprintf(begin, "make bench")
	path := filepath.Join(t.TempDir(), "page.md")
	for _, page := range []string{"no place\n", begin + "no end\n", end + begin, fmt.Sprintf("<!-- generated by %s -->\n", "make bench") + end} {
		if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := example().Write(path); err == nil {
			t.Errorf("%q was written to", page)
		}
		if after, _ := os.ReadFile(path); string(after) != page {
			t.Errorf("%q became %q", page, after)
		}
	}
}

func TestMachine(t *testing.T) {
	if text := Machine(); !strings.Contains(text, "cores, go") {
		t.Errorf("got %q", text)
	}
	if got := Commit(t.TempDir()); got != "unknown" {
		t.Errorf("a commit of nothing: %q", got)
	}
}
