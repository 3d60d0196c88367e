package resources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// healthyEvery is between two healthy images. Each is asked about up to healthyTries times: a controller that is refused
	// a pod because the time ran out makes it again.
	healthyEvery = 100 * time.Millisecond
	healthyTries = 3
	// settleTime is how long a process without work may take until it has collected its garbage.
	settleTime = 30 * time.Second
	pollEvery  = 250 * time.Millisecond
)

// suffer makes the attack on a provider that has come to rest.
func (t *target) suffer(ctx context.Context, a attack, lasting time.Duration) (outcome, error) {
	o := outcome{attack: a, recovered: -1}
	var err error
	if o.before, err = t.settle(ctx, t.filled); err != nil {
		return o, err
	}
	if err := t.forgetPeak(); err != nil {
		return o, err
	}
	stop := t.watch(ctx)
	attacked, end := context.WithTimeout(ctx, lasting)
	defer end()
	var attacking sync.WaitGroup
	attacking.Go(func() { o.size, o.note = a.run(attacked, t) })
	t.askHealthy(attacked, &o)
	attacking.Wait()
	o.peak, err = stop()
	return o, err
}

// askHealthy asks about one healthy image after the other while the attack lasts.
func (t *target) askHealthy(ctx context.Context, o *outcome) {
	client := t.world.client()
	defer client.CloseIdleConnections()
	var took []time.Duration
	var missed string // why, the last time
	tick := time.NewTicker(healthyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			slices.Sort(took)
			o.missed = missed
			if o.answered = len(took); len(took) > 0 {
				o.median = took[len(took)/2]
			}
			return
		case <-tick.C:
		}
		began := time.Now()
		o.healthy++
		var admitted bool
		var err error
		image := t.world.healthy()
		for try := 0; !admitted && try < healthyTries; try++ {
			// What is asked just before the end is waited for: it was asked during the attack.
			admitted, err = t.ask(context.WithoutCancel(ctx), client, image)
		}
		if admitted {
			took = append(took, time.Since(began))
		} else {
			missed = fmt.Sprintf("a healthy image was not admitted: %v", err)
		}
	}
}

// settle waits until the process has collected what was garbage at an instant.
func (t *target) settle(ctx context.Context, since time.Time) (usage, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		u, err := t.look(ctx)
		if err != nil {
			return u, err
		}
		if u.collected.After(since) {
			return u, nil
		}
		if err := pause(ctx); err != nil {
			return u, fmt.Errorf("the process has not collected its garbage within %s: %w", settleTime, err)
		}
	}
}

// recover waits until the process holds no more than it did, and ends it.
func (t *target) recover(ctx context.Context, o *outcome) error {
	ended := time.Now()
	limit := ended.Add(workTime)
	for time.Since(ended) < recovery {
		u, err := t.look(ctx)
		if err != nil {
			return errors.Join(err, t.provider.Stop())
		}
		o.after = u
		if u.working > 0 && time.Now().Before(limit) {
			ended = time.Now()
		}
		if u.collected.After(ended) && u.within(o.before) {
			o.recovered = time.Since(ended)
			break
		}
		if err := pause(ctx); err != nil {
			return errors.Join(err, t.provider.Stop())
		}
	}
	t.client.CloseIdleConnections()
	return t.provider.Stop()
}

// within tells whether there is no more than leftOver times what there was, beside what caches hold within their bounds.
func (u usage) within(before usage) bool {
	return float64(u.heap) <= leftOver*float64(before.heap)+float64(max(0, u.kept-before.kept)) &&
		float64(u.goroutines) <= leftOver*float64(before.goroutines)+slack &&
		float64(u.files) <= leftOver*float64(before.files)+slack
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
