// Package report says what was measured: figures with their spread and their ratio to what was measured beside them in
// the same run, whether they are what they must be, and what was wrong. It measures nothing. Begin at Report and Row.
package report

import (
	"math"
	"slices"
)

// A Report is the rows of one run, and where and when it ran.
type Report struct {
	Machine string `json:"machine"`
	Commit  string `json:"commit"`
	Date    string `json:"date"`
	// Quick says that it was a run with small sizes and few repetitions, for whether answers are right and not for times.
	Quick bool  `json:"quick"`
	Rows  []Row `json:"rows"`
}

// A Row is one thing that was measured.
type Row struct {
	// Topic is the heading that the row stands under, Name what it is.
	Topic string `json:"topic"`
	Name  string `json:"name"`
	Unit  Unit   `json:"unit"`
	// Figure is ours, a value for each run.
	Figure Sample `json:"figure"`
	// Beside is the name of what the figure is compared with, and Reference what was measured of it between our runs.
	Beside    string `json:"beside,omitempty"`
	Reference Sample `json:"reference,omitempty"`
	// Others were measured between our runs too; no target is about them.
	Others []Other `json:"others,omitempty"`
	Target Target  `json:"target"`
	// Wrong says what must not be, whatever the machine: a wrong verdict, a request too many.
	Wrong string `json:"wrong,omitempty"`
	// Note is what a reader must know to read the figure.
	Note string `json:"note,omitempty"`
}

// Other is a peer's figure.
type Other struct {
	Name   string `json:"name"`
	Figure Sample `json:"figure"`
	Wrong  string `json:"wrong,omitempty"`
}

// A Target is what a figure must be. The zero value demands nothing.
type Target struct {
	// Kind is what is compared with Bound.
	Kind  Kind    `json:"kind,omitempty"`
	Bound float64 `json:"bound,omitempty"`
	// Hard makes a miss an error: the figure is a count, which no machine and no load excuses.
	Hard bool `json:"hard,omitempty"`
}

// Kind is one sort of target.
type Kind string

// The sorts of targets: ratios are of medians.
const (
	RatioAtMost  Kind = "ratio at most"
	RatioAtLeast Kind = "ratio at least"
	AtMost       Kind = "at most"
	Exactly      Kind = "exactly"
)

// Times the reference, at most: for what takes time or memory.
func Times(bound float64) Target { return Target{Kind: RatioAtMost, Bound: bound} }

// RateOf the reference, at least: for rates.
func RateOf(bound float64) Target { return Target{Kind: RatioAtLeast, Bound: bound} }

// Below is a bound on the figure's median.
func Below(bound float64) Target { return Target{Kind: AtMost, Bound: bound} }

// Count is what a count must be in every run, or it is wrong.
func Count(n float64) Target { return Target{Kind: Exactly, Bound: n, Hard: true} }

// CountBelow is what a count must not exceed in any run, or it is wrong.
func CountBelow(n float64) Target { return Target{Kind: AtMost, Bound: n, Hard: true} }

// Outcome is what became of a row.
type Outcome string

// The outcomes. Measured is a row without a target.
const (
	Measured Outcome = ""
	Met      Outcome = "met"
	Missed   Outcome = "MISSED"
	Wrong    Outcome = "WRONG"
)

// Ratio is the median of what each run gives: our value over the reference's that was measured beside it. A machine that is half as
// fast for some seconds is so for both, and for the medians of each it need not be. 0 without a reference.
func (r Row) Ratio() float64 {
	n := min(len(r.Figure), len(r.Reference))
	ratios := make(Sample, 0, n)
	for i := range n {
		if r.Reference[i] == 0 {
			return 0
		}
		ratios = append(ratios, r.Figure[i]/r.Reference[i])
	}
	if n == 0 {
		return 0
	}
	return ratios.Median()
}

// Outcome compares the row with its target.
func (r Row) Outcome() Outcome {
	if r.Wrong != "" {
		return Wrong
	}
	var met bool
	switch r.Target.Kind {
	case RatioAtMost:
		met = r.Ratio() > 0 && round(r.Ratio()) <= r.Target.Bound
	case RatioAtLeast:
		met = round(r.Ratio()) >= r.Target.Bound
	case AtMost:
		met = len(r.Figure) > 0 && r.of() <= r.Target.Bound
	case Exactly:
		met = len(r.Figure) > 0 && r.Figure.Min() == r.Target.Bound && r.Figure.Max() == r.Target.Bound
	default:
		return Measured
	}
	switch {
	case met:
		return Met
	case r.Target.Hard:
		return Wrong
	default:
		return Missed
	}
}

// of is the value that a bound is about: of counts the worst one.
func (r Row) of() float64 {
	if r.Target.Hard {
		return r.Figure.Max()
	}
	return r.Figure.Median()
}

// round gives a ratio as it is printed, so that what reads 1.10 is not above 1.10.
func round(ratio float64) float64 { return math.Round(ratio*100) / 100 }

// Count tells how many rows have the outcome.
func (r Report) Count(o Outcome) int {
	n := 0
	for _, row := range r.Rows {
		if row.Outcome() == o {
			n++
		}
	}
	return n
}

// A Sample is a figure's values, one for each run.
type Sample []float64

// Median is the middle value, or the mean of the two in the middle; 0 without any.
func (s Sample) Median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Min is the least value; 0 without any.
func (s Sample) Min() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Min(s)
}

// Max is the greatest value; 0 without any.
func (s Sample) Max() float64 {
	if len(s) == 0 {
		return 0
	}
	return slices.Max(s)
}
