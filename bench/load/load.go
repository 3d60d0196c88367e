// Package load asks a provider of Gatekeeper's external data and measures how long the answers take. It checks every
// answer, so a provider that is fast because it is wrong is not fast. Begin at Run.
package load

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// defaultPatience is how long an answer is waited for: Kubernetes gives a webhook 10 s where nothing else is said.
	defaultPatience = 10 * time.Second
	// maxSettling is how long after its beginning a run still asks again: the longest queue that is measured has 40 s of work
	// in it.
	maxSettling = 3 * time.Minute
	// maxKinds bounds the sorts of errors that are counted: what says more than that has one cause.
	maxKinds = 20
)

// A Plan says what is asked, and how.
type Plan struct {
	// Requests are taken in turn.
	Requests []Request
	// Total is how many are sent; 0 is each once. With Duration it is as many as fit into that time.
	Total    int
	Duration time.Duration
	// Concurrency is how many wait for an answer at the same time, each on a connection of its own; 0 is 1.
	Concurrency int
	// Rate, if not 0, is how many requests are due in a second (open loop). A request that could not be sent when it was
	// due, because all who ask were waiting, has the time since then in its latency: no wait is left out. What the clock
	// of an idle asker wakes it up late by is not in it, for that is not the server's. With 0 each asker sends its next
	// request when it has its answer (closed loop).
	Rate float64
	// GiveUp is after how long a request that is due is not sent any more, for want of an asker: an API server, too, has
	// room for so many and refuses the others itself. 0 is Patience.
	GiveUp time.Duration
	// NewConnections opens one for each request, with a whole handshake.
	NewConnections bool
	// Patience is how long one answer is waited for; 0 is 10 s.
	Patience time.Duration
	// Retry, if not 0, is after how long an asker asks again whose question was not decided, as a controller does that
	// makes a pod again. The latency is that of the whole.
	Retry time.Duration
	// Introduction, if it has keys, is asked once on each connection that is opened beforehand, whatever the answer: a server
	// may have less room for those on which nothing was asked so far.
	Introduction Request
	// Ready, if not nil, is called when the connections are open, right before the first request: for runs that begin
	// together. Its error ends the run.
	Ready func(context.Context) error
	// Check says whether an answer is right; nil is Admitted.
	Check func(Request, []byte) error
}

// A Result is what was seen.
type Result struct {
	// Latencies are of the right answers, sorted.
	Latencies []time.Duration
	// LongestAttempt is the longest time that one attempt waited for its answer, right or undecided.
	LongestAttempt time.Duration
	// Attempts is how many requests were sent.
	Attempts int
	// Errors counts what was not right, by its text. What was decided on a retry is not among it.
	Errors map[string]int
	// Undecided are the times from sending to a systemError, sorted, by the texts that Errors counts them under: those of
	// attempts that were followed by a retry too.
	Undecided map[string][]time.Duration
	// Took is from the first request to the last answer; connections that are kept were opened before.
	Took time.Duration
	// CPU is what the server used meanwhile; 0 where that is not known.
	CPU time.Duration
}

// Percentile is the latency that p (0 to 1) of the answers did not exceed: the nearest rank.
func (r Result) Percentile(p float64) time.Duration { return Percentile(r.Latencies, p) }

// Rate is right answers in a second.
func (r Result) Rate() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(len(r.Latencies)) / r.Took.Seconds()
}

// Err is nil if every answer was right, else it names what was not, and how often.
func (r Result) Err() error {
	if len(r.Errors) == 0 {
		return nil
	}
	return errors.New(describe(r.Errors))
}

// Run asks as the plan says. Errors are about the plan or the connections that are opened before the first request; what
// happens later is in the Result.
func Run(ctx context.Context, target Target, plan Plan) (Result, error) {
	if len(plan.Requests) == 0 {
		return Result{}, errors.New("a plan without requests")
	}
	r := newRun(plan)
	askers := make([]*asker, r.plan.Concurrency)
	for i := range askers {
		c, err := newConnection(target)
		if err != nil {
			return Result{}, err
		}
		defer c.close()
		askers[i] = &asker{run: r, connection: c, errors: map[string]int{}, undecided: map[string][]time.Duration{}}
	}
	if !plan.NewConnections {
		if err := openAll(ctx, askers, r.plan.Introduction, time.Now().Add(max(r.plan.Patience, defaultPatience))); err != nil {
			return Result{}, err
		}
	}
	if plan.Ready != nil {
		if err := plan.Ready(ctx); err != nil {
			return Result{}, err
		}
	}
	before, err := cpu(target)
	if err != nil {
		return Result{}, err
	}
	r.began = time.Now()
	var running sync.WaitGroup
	for _, a := range askers {
		running.Go(func() { a.work(ctx) })
	}
	running.Wait()
	result := gather(askers, time.Since(r.began))
	after, err := cpu(target)
	result.CPU = after - before
	return result, errors.Join(err, ctx.Err())
}

// A run is what the askers of a plan share.
type run struct {
	plan  Plan
	began time.Time
	next  atomic.Int64
	// good has the last right answer to each request that is sent more than once: the same bytes need no second look.
	good []atomic.Pointer[[]byte]
}

func newRun(plan Plan) *run {
	if plan.Concurrency == 0 {
		plan.Concurrency = 1
	}
	if plan.Patience == 0 {
		plan.Patience = defaultPatience
	}
	if plan.GiveUp == 0 {
		plan.GiveUp = plan.Patience
	}
	if plan.Check == nil {
		plan.Check = Admitted
	}
	if plan.Total == 0 && plan.Duration == 0 {
		plan.Total = len(plan.Requests)
	}
	r := &run{plan: plan}
	if plan.Duration > 0 || plan.Total > len(plan.Requests) {
		r.good = make([]atomic.Pointer[[]byte], len(plan.Requests))
	}
	return r
}

// take gives the number of the next request and when it is due, or says that there is none.
func (r *run) take() (n int, due time.Time, ok bool) {
	n = int(r.next.Add(1) - 1)
	if r.plan.Total > 0 && n >= r.plan.Total {
		return 0, due, false
	}
	due = time.Now()
	if r.plan.Rate > 0 {
		due = r.began.Add(time.Duration(float64(n) / r.plan.Rate * float64(time.Second)))
	}
	if r.plan.Duration > 0 && due.Sub(r.began) >= r.plan.Duration {
		return 0, due, false
	}
	return n, due, true
}

// check looks at an answer.
func (r *run) check(n int, body []byte) error {
	n %= len(r.plan.Requests)
	if r.good != nil {
		if known := r.good[n].Load(); known != nil && bytes.Equal(*known, body) {
			return nil
		}
	}
	err := r.plan.Check(r.plan.Requests[n], body)
	if err == nil && r.good != nil {
		kept := bytes.Clone(body)
		r.good[n].Store(&kept)
	}
	return err
}

// An asker has one connection and asks one question at a time.
type asker struct {
	*run
	connection *connection
	latencies  []time.Duration
	longest    time.Duration
	attempts   int
	errors     map[string]int
	undecided  map[string][]time.Duration
}

// ErrUnsent is about a request for which no asker was free in time.
var ErrUnsent = errors.New("nobody was free to send it in time")

func (a *asker) work(ctx context.Context) {
	for ctx.Err() == nil {
		n, due, ok := a.take()
		if !ok {
			return
		}
		if time.Until(due) > 0 {
			if !sleepUntil(ctx, due) {
				return
			}
			due = time.Now()
		}
		err := ErrUnsent
		if time.Since(due) < a.plan.GiveUp {
			err = a.settle(ctx, n)
		}
		if err != nil {
			a.errors[Kind(err)]++
			continue
		}
		a.latencies = append(a.latencies, time.Since(due))
	}
}

// settle asks until the question is decided, once if the plan has no retries.
func (a *asker) settle(ctx context.Context, n int) error {
	for {
		err := a.attempt(ctx, n)
		var undecided *Undecided
		if a.plan.Retry == 0 || !errors.As(err, &undecided) || time.Since(a.began) > maxSettling {
			return err
		}
		if !sleepUntil(ctx, time.Now().Add(a.plan.Retry)) {
			return ctx.Err()
		}
	}
}

func (a *asker) attempt(ctx context.Context, n int) error {
	began := time.Now()
	a.attempts++
	body, err := a.connection.ask(ctx, a.plan.Requests[n%len(a.plan.Requests)], began.Add(a.plan.Patience))
	if err == nil {
		took := time.Since(began)
		a.longest = max(a.longest, took)
		err = a.check(n, body)
		var undecided *Undecided
		if errors.As(err, &undecided) {
			a.undecided[Kind(err)] = append(a.undecided[Kind(err)], took)
		}
	}
	if a.plan.NewConnections {
		a.connection.close()
	}
	return err
}

// sleepUntil waits, and tells whether ctx has not ended.
func sleepUntil(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func openAll(ctx context.Context, askers []*asker, introduction Request, deadline time.Time) error {
	failures := make(chan error, len(askers))
	limit := make(chan struct{}, 64) // handshakes at the same time: a server's backlog has 128 places at the least
	for _, a := range askers {
		go func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			err := a.connection.open(ctx, deadline)
			if err == nil && len(introduction.Keys) > 0 {
				_, err = a.connection.ask(ctx, introduction, deadline)
			}
			failures <- err
		}()
	}
	var first error
	for range askers {
		if err := <-failures; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func cpu(t Target) (time.Duration, error) {
	if t.CPU == nil {
		return 0, nil
	}
	return t.CPU()
}

func gather(askers []*asker, took time.Duration) Result {
	result := Result{Took: took, Errors: map[string]int{}, Undecided: map[string][]time.Duration{}}
	for _, a := range askers {
		result.Latencies = append(result.Latencies, a.latencies...)
		result.LongestAttempt = max(result.LongestAttempt, a.longest)
		result.Attempts += a.attempts
		for text, n := range a.errors {
			if _, known := result.Errors[text]; !known && len(result.Errors) >= maxKinds {
				text = "other errors"
			}
			result.Errors[text] += n
		}
		for text, times := range a.undecided {
			result.Undecided[text] = append(result.Undecided[text], times...)
		}
	}
	slices.Sort(result.Latencies)
	for _, times := range result.Undecided {
		slices.Sort(times)
	}
	return result
}
