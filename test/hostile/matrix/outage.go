package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
	"github.com/ratify-provider/ratify/test/hostile/promise"
)

const (
	// outageImages are asked about by outageCallers, of whom each asks about one after the other, and again outagePause after
	// he was told that it could not be told: as fast as a controller begins to try again.
	outageImages  = 12
	outageCallers = 12
	outagePause   = time.Second
	// outageTime is how long a registry is away; quickOutage in the quick slice.
	outageTime  = 12 * time.Second
	quickOutage = 4 * time.Second
	// wasteBound is P9's: requests that went out for each that was needed.
	wasteBound = 1.1
	// looseWaste is for the quick slice: what it costs to notice an outage, five failures and five retries, is spread over a
	// few seconds there.
	looseWaste = 2
	// recovery is how long a registry that is back may stay unused: the longest pause between two probes, a quarter more for
	// its jitter, or the longest that a registry which limits is left alone; and the caller's own pause.
	recovery = 16*time.Second + outagePause
)

// An outage is a registry that is away, whoever asks.
type outage struct {
	name  string
	begin func(*lab.Host) error
	want  []outcome
}

func outages() []outage {
	answers := func(script lab.Script) func(*lab.Host) error {
		return func(h *lab.Host) error { h.SetScript(script); return nil }
	}
	greets := func(greeting lab.Greeting) func(*lab.Host) error {
		return func(h *lab.Host) error { h.SetGreeting(greeting); return nil }
	}
	away := either(unavailable(), late())
	return []outage{
		{"refused", (*lab.Host).Refuse, away},
		{"black hole", greets(lab.GreetSilence), away},
		{"503", answers(lab.Status(http.StatusServiceUnavailable)), away},
		{"429", answers(lab.Status(http.StatusTooManyRequests)), either(limited(), late())},
		{"reset", greets(lab.GreetReset), away},
	}
}

// An outcry is what is asked of one registry while it is away.
type outcry struct {
	outage
	host *lab.Host
	keys []string

	mu      sync.Mutex
	asked   int
	needed  int
	windows map[string]time.Time // of each image, when its last one ends
	longest time.Duration
	wrong   []error
	sent    int
	back    time.Duration
}

// ask asks once, and counts whether that needs a request. Whoever asks within one deadline of another can share his attempt,
// for longer than that nobody waits for it: so one request is needed for each image and each window of a deadline in which
// somebody asks about it. It takes none less however many ask.
func (o *outcry) ask(ctx context.Context, p *lab.Program, key string) {
	o.mu.Lock()
	o.asked++
	if now := time.Now(); !now.Before(o.windows[key]) {
		o.windows[key] = now.Add(budget)
		o.needed++
	}
	o.mu.Unlock()
	got, err := askOnce(ctx, p, key)
	if err == nil {
		err = (&cell{want: o.want, got: got}).judge()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.longest = max(o.longest, got.took)
	if err != nil {
		o.wrong = append(o.wrong, err)
	}
}

// tryOutages has several registries be away at the same time, each in its way, and asks about their images.
func (w *world) tryOutages(ctx context.Context) (promise.Report, error) {
	var all []*outcry
	var entries []map[string]any
	for _, o := range outages() {
		h, err := w.lab.Host(lab.HostOptions{Name: "outage: " + o.name, Address: w.address(), Server: w.registry})
		if err != nil {
			return promise.Report{}, err
		}
		cry := &outcry{outage: o, host: h, windows: map[string]time.Time{}}
		for i := range outageImages {
			cry.keys = append(cry.keys, fmt.Sprintf("%s/%s:v%d", h.Addr, repository, i+2))
		}
		all = append(all, cry)
		entries = append(entries, w.lab.Entry(h, nil))
	}
	p, err := w.serve(ctx, lab.Settings{Registries: entries})
	if err != nil {
		return promise.Report{}, err
	}
	var runs []func(context.Context) error
	for _, o := range all {
		runs = append(runs, func(ctx context.Context) error { return w.tryOutage(ctx, p, o) })
	}
	err = errors.Join(inParallel(ctx, len(runs), runs), p.Stop())
	return w.outageReport(all), err
}

// tryOutage has one registry be away, and come back.
func (w *world) tryOutage(ctx context.Context, p *lab.Program, o *outcry) error {
	if err := o.begin(o.host); err != nil {
		return err
	}
	lasts := outageTime
	if w.env.Quick {
		lasts = quickOutage
	}
	until := time.Now().Add(lasts)
	var callers sync.WaitGroup
	for caller := range outageCallers {
		callers.Go(func() {
			// They begin one after the other: what is measured is not how many connections can be made at once.
			pause(ctx, time.Duration(caller)*outagePause/outageCallers)
			for i := caller; time.Now().Before(until) && ctx.Err() == nil; i++ {
				o.ask(ctx, p, o.keys[i%len(o.keys)])
				pause(ctx, outagePause)
			}
		})
	}
	callers.Wait()
	sent, err := requestsTo(ctx, p, o.host)
	o.sent = max(sent, o.host.Count(lab.Any), len(o.host.Connections()))
	return errors.Join(err, w.comeBack(ctx, p, o))
}

// pause is the caller's own.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// comeBack ends the outage, and asks until an image is verified.
func (w *world) comeBack(ctx context.Context, p *lab.Program, o *outcry) error {
	o.host.SetScript(nil)
	o.host.SetGreeting(nil)
	if err := o.host.Up(); err != nil {
		return err
	}
	began := time.Now()
	for ; ctx.Err() == nil && time.Since(began) < 2*recovery; pause(ctx, outagePause/10) {
		got, err := askOnce(ctx, p, w.image.At(o.host.Addr))
		if err == nil && got.class == verified {
			break
		}
		if err != nil || got.class != unknown {
			o.wrong = append(o.wrong, errors.Join(err, fmt.Errorf("once it is back: %s: %s", got.outcome, got.text)))
		}
	}
	o.back = time.Since(began)
	return ctx.Err()
}

// requestsTo is how many requests the program says it sent to a registry: of those that were refused only it knows.
func requestsTo(ctx context.Context, p *lab.Program, h *lab.Host) (total int, err error) {
	page, err := p.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	line := regexp.MustCompile(`(?m)^ratify_registry_requests_total\{[^}]*"` + regexp.QuoteMeta(h.Addr) + `"[^}]*\} (\d+)$`)
	for _, match := range line.FindAllStringSubmatch(page, -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			return 0, err
		}
		total += n
	}
	if total == 0 {
		return 0, fmt.Errorf("no requests to %s are counted", h.Addr)
	}
	return total, nil
}

// outageReport holds P9, and P1's time and outcomes in an outage.
func (w *world) outageReport(all []*outcry) promise.Report {
	t := promise.Table{
		Title:   fmt.Sprintf("full outages: %d images, each asked about by several of %d callers, again %s after each answer", outageImages, outageCallers, outagePause),
		Columns: []string{"outage", "asked", "requests needed", "requests sent", "sent for each needed", "longest answer", "verified again after"},
		Notes:   []string{"needed: one request for each image and each " + budget.String() + " in which anybody asks about it, for whoever asks then can share one attempt"},
	}
	var report promise.Report
	bound := wasteBound
	if w.env.Quick {
		bound = looseWaste
	}
	for _, o := range all {
		ratio := float64(o.sent) / float64(max(1, o.needed))
		t.Rows = append(t.Rows, []string{
			o.name, fmt.Sprint(o.asked), fmt.Sprint(o.needed), fmt.Sprint(o.sent), fmt.Sprintf("%.2f", ratio),
			o.longest.Round(time.Millisecond).String(), o.back.Round(10 * time.Millisecond).String(),
		})
		report.Results = append(report.Results,
			promise.Result{Promise: "P9", What: "requests sent for each needed, registry away: " + o.name, Got: fmt.Sprintf("%.2f", ratio), Bound: fmt.Sprintf("at most %.1f", bound), Held: ratio <= bound && o.needed > 0},
			promise.Result{Promise: "P1", What: "wrong answers while a registry is away, and when it is back: " + o.name, Got: fmt.Sprint(len(o.wrong)), Bound: "0", Held: len(o.wrong) == 0, Note: firstOf(o.wrong)},
			promise.Result{Promise: "P1", What: "time until a registry that is back is used: " + o.name, Got: o.back.Round(10 * time.Millisecond).String(), Bound: "at most " + recovery.String(), Held: o.back <= recovery},
		)
	}
	report.Tables = []promise.Table{t}
	return report
}

func firstOf(errs []error) string {
	if len(errs) == 0 {
		return ""
	}
	return "the first: " + errs[0].Error()
}
