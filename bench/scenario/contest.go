package scenario

import (
	"context"
	"fmt"
	"slices"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// A contender is one of those that are measured in turn.
type contender struct {
	name   string
	target load.Target
	start  func(context.Context) (*world.Server, error) // nil for a peer, which somebody else runs
	server *world.Server

	samples []report.Sample // by measure
	wrong   error           // what was not right; it is asked no more
}

// restart starts the contender's process, and ends the one before.
func (c *contender) restart(ctx context.Context, b *Bench) error {
	if c.server != nil {
		if err := c.server.Stop(); err != nil {
			return err
		}
	}
	server, err := c.start(ctx)
	if err != nil {
		return err
	}
	b.servers = append(b.servers, server)
	c.server, c.target = server, load.Target{URL: server.URL(), TLS: server.Client(), CPU: server.CPU}
	return nil
}

// A contest is a measurement of several contenders: ratify first, what it is compared with second if there is such, then
// peers.
type contest struct {
	contenders []*contender
	reference  bool // whether the second one is what the first one is compared with
}

// beside puts a contender in the second place: it is what ratify is compared with.
func (c *contest) beside(reference *contender, err error) error {
	if err != nil {
		return err
	}
	c.contenders, c.reference = slices.Insert(c.contenders, 1, reference), true
	return nil
}

// again is a contest of the same contenders without samples.
func (c *contest) again() *contest {
	next := &contest{reference: c.reference}
	for _, old := range c.contenders {
		next.contenders = append(next.contenders, &contender{name: old.name, target: old.target, start: old.start, server: old.server})
	}
	return next
}

// run measures each contender so many times, one after the other and each time in another order, so that what changes on
// the machine meanwhile meets all of them. A measure gives the same number of values each time. Only the end of ctx is an
// error: what is not right is the contender's.
func (c *contest) run(ctx context.Context, b *Bench, name string, measure func(context.Context, *contender) ([]float64, error)) error {
	for i := range b.runs() {
		for j := range c.contenders {
			contender := c.contenders[(i+j)%len(c.contenders)]
			if contender.wrong != nil {
				continue
			}
			b.Progress(fmt.Sprintf("%s: run %d of %d, %s", name, i+1, b.runs(), contender.name))
			values, err := measure(ctx, contender)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				contender.wrong = err
				continue
			}
			contender.add(values)
		}
	}
	return nil
}

func (c *contender) add(values []float64) {
	if c.samples == nil {
		c.samples = make([]report.Sample, len(values))
	}
	for i, value := range values {
		c.samples[i] = append(c.samples[i], value)
	}
}

func (c *contender) sample(measure int) report.Sample {
	if measure >= len(c.samples) {
		return nil
	}
	return c.samples[measure]
}

func (c *contender) mistake() string {
	if c.wrong == nil {
		return ""
	}
	return c.name + ": " + c.wrong.Error()
}

// row makes a row of one measure; the rest of it is as it was given.
func (c *contest) row(measure int, row report.Row) report.Row {
	ours := c.contenders[0]
	row.Figure, row.Wrong = ours.sample(measure), ours.mistake()
	others := c.contenders[1:]
	if c.reference {
		row.Beside, row.Reference = others[0].name, others[0].sample(measure)
		if row.Wrong == "" {
			row.Wrong = others[0].mistake()
		}
		others = others[1:]
	}
	for _, other := range others {
		row.Others = append(row.Others, report.Other{Name: other.name, Figure: other.sample(measure), Wrong: other.mistake()})
	}
	return row
}
