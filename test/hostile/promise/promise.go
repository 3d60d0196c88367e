// Package promise says what ratify promises of a hostile world, and holds what was measured of each promise: figures beside
// their bounds, and tables that show where they come from. It measures nothing. Begin at Part and Report.
package promise

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Promise is one sentence that users may rely on, by the name that docs/promises.md has for it.
type Promise struct{ ID, Text string }

// All are the promises, in their order.
func All() []Promise {
	return []Promise{
		{"P1", "every kind of fault, at every step, gives the right refusal within the budget plus 100 ms"},
		{"P2", "no wrong verdict in random hostile worlds, against an independent oracle"},
		{"P3", "no byte of a secret at a host outside its list, or in logs, metrics, errors, answers"},
		{"P4", "no connection to an address that must not be reached"},
		{"P5", "nothing dropped and nothing wrong under load through restarts, rotations and reloads"},
		{"P6", "memory at most 256 MiB under each attack with 64 attackers, and back to 1.2 times the baseline within 60 s"},
		{"P7", "with half the traffic on a stuck registry, the p99 of the healthy half is at most twice its baseline"},
		{"P8", "at three times saturation, goodput is at least 90 % of the peak, and what is shed is answered within 50 ms"},
		{"P9", "in a full outage, at most 1.1 requests to the registry for each one needed"},
		{"P10", "no verdict of an old policy for a request that arrives after a new one was accepted, and none a second later"},
		{"P15", "the template admits nothing that the oracle denies, in 60 shapes of answer and 20,000 random ones"},
	}
}

// A Part measures one promise or several.
type Part struct {
	// Name is what the command calls it; About is what it does, in a line.
	Name, About string
	// Run measures. What is not as promised is in the report; an error is what kept it from being measured.
	Run func(ctx context.Context, env Env) (Report, error)
}

// Env is what a part is given.
type Env struct {
	// Binary is ratify as it is released.
	Binary string
	// Dir is a directory of the part's own, which its caller removes.
	Dir string
	// Quick asks for a slice that takes some seconds: whether all is held together, not how long it holds.
	Quick bool
	// Seed is where random choices begin: the same seed makes the same choices.
	Seed uint64
	// Worlds is how many random worlds are asked of, where the part has such; 0 is the part's own choice.
	Worlds int
	// Progress is told what is done now, for whoever waits.
	Progress func(what string)
}

// A Report is what a part has measured.
type Report struct {
	Results []Result
	Tables  []Table
}

// A Result is one figure of one promise.
type Result struct {
	// Promise is an ID of All.
	Promise string
	// What was measured, Got what it was, and Bound what it must be, each with its unit.
	What, Got, Bound string
	// Held tells whether it is what it must be.
	Held bool
	// Note is what one must know to read it: where it was not held, why; a seed that shows it again.
	Note string
}

// A Table is what a result rests on.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]string
	// Notes stand below the table: why a cell is empty.
	Notes []string
}

// Add takes in the results and tables of another part.
func (r *Report) Add(other Report) {
	r.Results = append(r.Results, other.Results...)
	r.Tables = append(r.Tables, other.Tables...)
}

// Broken are the results that were not held.
func (r Report) Broken() []Result {
	return slices.DeleteFunc(slices.Clone(r.Results), func(result Result) bool { return result.Held })
}

// Unmeasured are the promises without any result.
func (r Report) Unmeasured() []Promise {
	return slices.DeleteFunc(All(), func(p Promise) bool {
		return slices.ContainsFunc(r.Results, func(result Result) bool { return result.Promise == p.ID })
	})
}

// Err names what was not held; nil if all was.
func (r Report) Err() error {
	var broken []string
	for _, b := range r.Broken() {
		broken = append(broken, fmt.Sprintf("%s: %s: %s, and not %s%s", b.Promise, b.What, b.Got, b.Bound, note(b.Note)))
	}
	if len(broken) == 0 {
		return nil
	}
	return fmt.Errorf("not as promised:\n  %s", strings.Join(broken, "\n  "))
}

func note(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
