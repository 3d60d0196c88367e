package world

import (
	"math"
	"time"
)

// A bucket is a token bucket: it holds at most burst tokens, begins full, and gains perSecond of them.
type bucket struct {
	perSecond, burst, held float64
	at                     time.Time // when held was counted
}

func newBucket(perSecond float64, burst int, now time.Time) *bucket {
	return &bucket{perSecond: perSecond, burst: float64(max(burst, 1)), held: float64(max(burst, 1)), at: now}
}

// take takes a token, or tells after how many whole seconds there is one: 1 at least, for Retry-After 0 would be now.
func (b *bucket) take(now time.Time) (after int, limited bool) {
	b.held = min(b.burst, b.held+b.perSecond*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.held < 1 {
		return max(1, int(math.Ceil((1-b.held)/b.perSecond))), true
	}
	b.held--
	return 0, false
}
