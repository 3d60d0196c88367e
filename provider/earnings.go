package provider

import (
	"math"
	"sync"
	"time"
)

const (
	// earningHalf is after which time a verified image counts half: some of the times that a verdict lives, by default.
	earningHalf = 30 * time.Minute
	// minEarning is below which nothing counts any more: an image that was verified three hours ago.
	minEarning = 1. / 64
	// maxEarners bounds the registries that are remembered. A cluster has some, and nobody who is not trusted can add one.
	maxEarners = 256
)

// Earnings are what registries are of use for: images that were verified lately. An answer alone earns nothing, for anybody
// may own a registry that answers quickly; what is verified only those can sign whom a policy trusts.
type earnings struct {
	mu    sync.Mutex
	began time.Time
	by    map[string]float64 // each image counts 2^(when/earningHalf), so that nothing has to be made less
	total float64
}

func newEarnings() *earnings { return &earnings{began: time.Now(), by: map[string]float64{}} }

// unit is what an image counts that is verified now.
func (e *earnings) unit() float64 {
	return math.Exp2(float64(time.Since(e.began)) / float64(earningHalf))
}

// add counts an image that was verified.
func (e *earnings) add(who string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	unit := e.unit()
	if unit > 1e100 { // after a week: begin anew, with what still counts
		for name := range e.by {
			e.by[name] /= unit
		}
		e.began, e.total, unit = time.Now(), e.total/unit, 1
	}
	if _, known := e.by[who]; !known && len(e.by) >= maxEarners {
		e.forget(unit)
	}
	e.by[who] += unit
	e.total += unit
}

// forget makes room: for what counts no more, or for who has earned least.
func (e *earnings) forget(unit float64) {
	least := ""
	for name, sum := range e.by {
		if least == "" || sum < e.by[least] {
			least = name
		}
		if sum < minEarning*unit {
			e.drop(name)
		}
	}
	if len(e.by) >= maxEarners {
		e.drop(least)
	}
}

func (e *earnings) drop(name string) {
	e.total -= e.by[name]
	delete(e.by, name)
}

// any tells whether anybody has earned something lately.
func (e *earnings) any() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total >= minEarning*e.unit()
}

// part is which part of all that was earned lately somebody has earned: 0 to 1.
func (e *earnings) part(who string) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	sum := e.by[who]
	if sum < minEarning*e.unit() {
		return 0
	}
	return sum / e.total
}
