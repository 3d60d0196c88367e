package overload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/world"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	// overloadFactor times the peak is what is asked.
	overloadFactor = 3
	// leastGoodput of the peak must be left; looseGoodput is what a run beside other tests is judged by.
	leastGoodput, looseGoodput = 0.90, 0.25
	// shedTime is within which is said that there will be no answer; looseShedTime likewise.
	shedTime, looseShedTime = 50 * time.Millisecond, 2 * time.Second
	// shedPercentile of what is shed must be told in that time: the rest is for the clock of the machine that measures.
	shedPercentile = 0.99
)

// A limit is what there is too little of.
type limit struct {
	name string
	// delay is how long the registry takes for each answer, places how many images are verified at the same time; 0 is
	// the default.
	delay  time.Duration
	places int
	// askers are as many as wait for an answer at the same time while the peak is looked for.
	askers int
	// known asks for images that are known, so many in a request.
	known int
}

// limits are those that are reached. What a processor can do beside other tests is not known: the quick run leaves that out.
func (s *stage) limits() []limit {
	places := limit{name: "cold images: 16 places, a slow registry", delay: 50 * time.Millisecond, places: 16, askers: 32}
	processor := limit{name: "cold images: the processor", askers: 32}
	known := limit{name: "known images, 64 in a request: the processor", known: 64, askers: 16}
	return choose(s, []limit{places, processor, known}, []limit{places})
}

// Overloaded is what was seen of one limit.
type overloaded struct {
	limit
	peak, goodput float64 // right answers a second
	rate          float64 // requests a second
	asked         load.Result
	inTime        int // right answers that came in time
	wrong         int // answers that were not the protocol's, or refused an image
}

// saturations measures P8.
func (s *stage) saturations(ctx context.Context) (promise.Report, error) {
	apart, err := splitProcessors()
	if err != nil {
		return promise.Report{}, err
	}
	defer apart.restore()
	table := promise.Table{
		Title:   fmt.Sprintf("Overload: %d times what can be done", overloadFactor),
		Columns: []string{"what there is too little of", "peak", "asked", "right in time", "of the peak", "shed", "told after (p50)", "(p99)", "(longest)", "not sent", "late or lost"},
		Notes: []string{
			"The peak is the right answers a second in a closed loop, the median of five runs. Then requests are sent in an open loop, whether or not those before are answered.",
			fmt.Sprintf("Right in time: within %s of when it was due. Shed: a systemError; its time counts from when the request was sent.", s.patience()),
			fmt.Sprintf("At most %d wait for an answer at the same time: so many requests one API server has under way. What is due beyond that it refuses itself: not sent.", mostWaiting),
			apart.note(),
		},
	}
	report := promise.Report{}
	for _, l := range s.limits() {
		s.env.Progress("overload: " + l.name)
		o, err := s.overload(ctx, apart, l)
		if err != nil {
			return report, fmt.Errorf("%s: %w", l.name, err)
		}
		table.Rows = append(table.Rows, o.row())
		report.Results = append(report.Results, s.judgeOverload(o)...)
	}
	report.Tables = append(report.Tables, table)
	return report, nil
}

// overload finds the peak and asks for more.
func (s *stage) overload(ctx context.Context, apart *processors, l limit) (o overloaded, err error) {
	s.registry.SetDelay(l.delay)
	defer s.registry.SetDelay(0)
	var server *world.Server
	err = apart.startOther(func() (err error) {
		server, err = s.start(ctx, world.Config{Edit: func(file map[string]any) {
			if l.places > 0 {
				file["concurrency"] = l.places
			}
		}})
		return err
	})
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	q := questions{stage: s, apart: apart, limit: l, target: load.Target{URL: server.URL(), TLS: server.Client()}}
	defer q.forget()
	if err := q.prepare(ctx); err != nil {
		return o, err
	}
	o.limit = l
	if o.peak, err = q.peak(ctx); err != nil {
		return o, err
	}
	o.rate = overloadFactor * o.peak
	return o, q.flood(ctx, &o)
}

// flood asks for more than can be done.
func (q *questions) flood(ctx context.Context, o *overloaded) error {
	requests, err := q.next(int(o.rate * choose(q.stage, 6*time.Second, 1500*time.Millisecond).Seconds()))
	if err != nil {
		return err
	}
	var wrong atomic.Int64
	o.asked, err = load.Run(ctx, q.target, load.Plan{
		Requests: requests, Rate: o.rate, Concurrency: mostWaiting, Patience: q.patience(), GiveUp: giveUp, Introduction: introduction(),
		Check: func(r load.Request, body []byte) error {
			err := load.Admitted(r, body)
			if undecided := (*load.Undecided)(nil); err != nil && !errors.As(err, &undecided) {
				wrong.Add(1)
			}
			return err
		},
	})
	o.inTime, _ = slices.BinarySearch(o.asked.Latencies, q.patience()+1)
	o.goodput, o.wrong = float64(o.inTime)/o.asked.Took.Seconds(), int(wrong.Load())
	return err
}

const (
	// mostWaiting is --max-requests-inflight and --max-mutating-requests-inflight of one API server, as shipped: 400 and
	// 200. It is more than the program has places for requests, so that it is the one who says no.
	mostWaiting = 600
	// giveUp is how long a request may wait for one of those places: a tenth of a second blurs no figure of seconds.
	giveUp = 100 * time.Millisecond
)

// Questions are requests of one kind, made as they are needed.
type questions struct {
	*stage
	apart  *processors
	limit  limit
	target load.Target
	known  []string
	made   []world.Image
}

// prepare has the known images known.
func (q *questions) prepare(ctx context.Context) error {
	if q.limit.known == 0 {
		return nil
	}
	images, err := q.registry.Images(q.limit.known, q.signer)
	if err != nil {
		return err
	}
	q.made, q.known = append(q.made, images...), references(images)
	result, err := load.Run(ctx, q.target, load.Plan{Requests: load.Batches(q.known, 1), Concurrency: 8})
	return errors.Join(err, result.Err())
}

// next makes n requests.
func (q *questions) next(n int) ([]load.Request, error) {
	if q.limit.known > 0 {
		one := load.NewRequest(q.known...)
		return slices.Repeat([]load.Request{one}, n), nil
	}
	var images []world.Image
	err := q.apart.whole(func() (err error) {
		images, err = q.registry.Images(n, q.signer)
		return err
	})
	q.made = append(q.made, images...)
	return load.Batches(references(images), 1), err
}

func (q *questions) forget() { q.stage.forget(q.made) }

// peak is how many right answers a second there are when as many ask as can be answered at the same time: the median of
// several short runs, for what is compared with it is not the best of several either.
func (q *questions) peak(ctx context.Context) (float64, error) {
	duration := choose(q.stage, time.Second, 400*time.Millisecond)
	var rates []float64
	size := 200 // of the first run, which tells how many the others need
	for range choose(q.stage, 6, 4) {
		requests, err := q.next(size)
		if err != nil {
			return 0, err
		}
		result, err := load.Run(ctx, q.target, load.Plan{Requests: requests, Concurrency: q.limit.askers, Patience: q.patience()})
		if err := errors.Join(err, result.Err()); err != nil {
			return 0, fmt.Errorf("look for the peak: %w", err)
		}
		rates, size = append(rates, result.Rate()), max(50, int(result.Rate()*duration.Seconds()))
	}
	rates = rates[1:] // in the first run connections and files are met for the first time
	slices.Sort(rates)
	return rates[len(rates)/2], nil
}

// undecided are the times to all answers that told nothing, sorted.
func undecided(r load.Result) []time.Duration {
	var all []time.Duration
	for _, times := range r.Undecided {
		all = append(all, times...)
	}
	slices.Sort(all)
	return all
}

// lost is how many requests had neither a right answer in time nor a systemError.
func (o overloaded) lost() int {
	asked := len(o.asked.Latencies)
	for _, n := range o.asked.Errors {
		asked += n
	}
	return asked - o.inTime - len(undecided(o.asked)) - o.unsent()
}

// unsent is how many requests found nobody to send them.
func (o overloaded) unsent() int { return o.asked.Errors[load.ErrUnsent.Error()] }

func (o overloaded) row() []string {
	shed := undecided(o.asked)
	return []string{
		o.name, fmt.Sprintf("%.0f/s", o.peak), fmt.Sprintf("%.0f/s", o.rate), fmt.Sprintf("%.0f/s", o.goodput), percent(o.goodput / o.peak),
		fmt.Sprint(len(shed)), milliseconds(load.Percentile(shed, 0.5)), milliseconds(load.Percentile(shed, 0.99)), milliseconds(load.Percentile(shed, 1)),
		fmt.Sprint(o.unsent()), fmt.Sprint(o.lost()),
	}
}

func percent(ratio float64) string { return fmt.Sprintf("%.0f %%", 100*ratio) }

func (s *stage) judgeOverload(o overloaded) []promise.Result {
	least, most := choose(s, leastGoodput, looseGoodput), choose(s, shedTime, looseShedTime)
	shed := load.Percentile(undecided(o.asked), shedPercentile)
	return []promise.Result{
		{
			Promise: "P8", What: "right answers in time, of the peak: " + o.name, Got: percent(o.goodput / o.peak),
			Bound: "≥ " + percent(least), Held: o.goodput >= least*o.peak, Note: s.quickNote(),
		},
		{
			Promise: "P8", What: "what is shed is told (p99): " + o.name, Got: milliseconds(shed),
			Bound: "≤ " + milliseconds(most), Held: shed <= most, Note: s.quickNote(),
		},
		{
			Promise: "P8", What: "wrong answers: " + o.name, Got: fmt.Sprint(o.wrong), Bound: "0", Held: o.wrong == 0,
			Note: tally(o.asked.Errors),
		},
	}
}
