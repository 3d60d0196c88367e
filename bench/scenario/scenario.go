// Package scenario asks the questions: each scenario starts what it measures, asks, and gives the rows of one topic. What
// must be of each row is said beside it. Begin at All and Bench.Run.
package scenario

import (
	"context"

	"github.com/ratify-provider/ratify/bench/report"
)

// A Scenario is one topic of the report.
type Scenario struct {
	// Name is what it is chosen by, About what it measures.
	Name, About string
	// Alone says that it measures ratify by itself, so that two builds cannot be compared by it.
	Alone bool

	run func(ctx context.Context, b *Bench) ([]report.Row, error)
}

// All are the scenarios, in the order of the report.
func All() []Scenario {
	return []Scenario{
		{Name: "requests", About: "what a registry is asked for one image", Alone: true, run: requests},
		{Name: "cold", About: "images that nobody has asked for before", run: cold},
		{Name: "cpu", About: "processor time of a cold image", run: processor},
		{Name: "again", About: "the same images after a reload, and after a restart", Alone: true, run: again},
		{Name: "warm", About: "images that were asked for just now", run: warm},
		{Name: "crowd", About: "many who ask for the same images at once", Alone: true, run: crowd},
		{Name: "limit", About: "a registry that answers 429", Alone: true, run: limited},
		{Name: "replicas", About: "several processes that are asked in turn", Alone: true, run: replicas},
		{Name: "start", About: "from exec to ready, and idle", run: start},
		{Name: "growth", About: "the cost of an image beside what else is there", Alone: true, run: growth},
		{Name: "memory", About: "very many images in the cache", Alone: true, run: memory},
	}
}
