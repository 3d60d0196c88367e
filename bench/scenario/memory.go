package scenario

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

const (
	// mib is 2^20 bytes: what limits of memory are given in.
	mib = 1 << 20
	// processLimit is the memory limit that the chart gives the pod, and goLimit the four fifths of it that it lets Go have.
	processLimit = 512 * mib
	goLimit      = processLimit / 5 * 4
	// cacheBytes has room for all images of the scenario, at 2 KiB each, and for the eighth that is for refusals.
	cacheBytes = 256 * mib
	// heapTolerance is how much more than what is accounted may be alive after a collection.
	heapTolerance = 1.15
	// fewImages are those beside which a hit's time is measured first.
	fewImages = 1000
)

// memory fills the cache with very many images, and looks what that takes. Beside it runs another process that knows few, for
// the time of a hit.
func memory(ctx context.Context, b *Bench) ([]report.Row, error) {
	n := b.size(100_000, 3_000)
	topic := memoryTopic(n)
	many, err := b.rememberer(ctx, fmt.Sprintf("with %d images", n), n)
	if err != nil {
		return nil, err
	}
	few, err := b.rememberer(ctx, fmt.Sprintf("with %d", fewImages), fewImages)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(few.remember(ctx, b, fewImages), many.remember(ctx, b, fewImages)); err != nil {
		return nil, err
	}
	heapBefore, accountedBefore, err := many.settledHeap(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := many.remember(ctx, b, n-fewImages); err != nil {
		return nil, err
	}
	heap, accounted, err := many.settledHeap(ctx, b)
	if err != nil {
		return nil, err
	}
	metrics, err := many.server.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	peak, err := many.server.PeakRSS()
	if err != nil {
		return nil, err
	}
	hit, err := b.hits(ctx, many, few)
	return []report.Row{
		{Topic: topic, Name: "verdicts kept", Note: fmt.Sprintf("maxEntries %d, maxBytes %d, GOMEMLIMIT %d", roomFor(n), int64(cacheBytes), int64(goLimit)), Figure: report.Sample{metrics["ratify_cache_entries"]}, Target: report.Count(float64(n))},
		{Topic: topic, Name: "their bytes, as accounted", Note: "without the content by digest", Unit: report.Megabytes, Figure: report.Sample{metrics["ratify_cache_bytes"] / 1e6}, Target: report.Below(cacheBytes / 1e6)},
		{Topic: topic, Name: fmt.Sprintf("live heap after a collection, beyond that with %d", fewImages), Unit: report.Megabytes, Figure: report.Sample{(heap - heapBefore) / 1e6},
			Beside: "accounted", Reference: report.Sample{(accounted - accountedBefore) / 1e6}, Target: report.Times(heapTolerance)},
		{Topic: topic, Name: "resident memory at its highest", Unit: report.Megabytes, Figure: report.Sample{megabytes(peak)}, Target: report.Below(processLimit / 1e6)},
		hit,
	}, err
}

func memoryTopic(images int) string { return fmt.Sprintf("%d images in the cache", images) }

// A rememberer is a ratify that has verified some images, and keeps them.
type rememberer struct {
	*contender
	keys []string
}

func (b *Bench) rememberer(ctx context.Context, name string, n int) (*rememberer, error) {
	config := b.trust(b.P256)
	config.Cache = map[string]any{"maxEntries": roomFor(n), "maxBytes": cacheBytes, "ttl": "1h"}
	c, err := b.ratify(ctx, setup{config: config, env: []string{fmt.Sprintf("GOMEMLIMIT=%d", goLimit)}})
	if err != nil {
		return nil, err
	}
	c.name = name
	return &rememberer{contender: c}, nil
}

// remember has ratify verify n more images.
func (r *rememberer) remember(ctx context.Context, b *Bench, n int) error {
	for n > 0 {
		part := min(n, fillPart)
		b.Progress(fmt.Sprintf("fill the cache: %d images, %d to go", len(r.keys), n))
		n -= part
		err := b.fresh(part, b.P256, func(images []world.Image) error {
			r.keys = append(r.keys, references(images)...)
			return fillWith(ctx, r.contender, images)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hits compares the time of an answer about one image that is known: some of all.
func (b *Bench) hits(ctx context.Context, many, few *rememberer) (report.Row, error) {
	plans := map[string]load.Plan{}
	for _, r := range []*rememberer{many, few} {
		var some []string
		for i := 0; i < len(r.keys); i += len(r.keys) / fewImages {
			some = append(some, r.keys[i])
		}
		plans[r.name] = load.Plan{Requests: load.Batches(some, 1), Total: 2 * fewImages}
	}
	c := &contest{contenders: []*contender{many.contender, few.contender}, reference: true}
	row := report.Row{Topic: memoryTopic(len(many.keys)), Name: "time of a hit", Unit: report.Milliseconds, Target: report.Times(flat)}
	err := c.run(ctx, b, row.Name, func(ctx context.Context, c *contender) ([]float64, error) {
		result, err := ask(ctx, c.target, plans[c.name])
		return []float64{milliseconds(result.Percentile(0.5))}, err
	})
	return c.row(0, row), err
}

const (
	// collectingTime is as long as hits are asked for to make garbage, so that a collection comes, or several.
	collectingTime  = 6 * time.Second
	collectingQuick = time.Second
	// heapLookTime is short against the time between two collections.
	heapLookTime = 25 * time.Millisecond
)

// settledHeap gives what is alive on the heap, which is the least that is seen in a while of small garbage, and what ratify
// says that its caches hold.
func (r *rememberer) settledHeap(ctx context.Context, b *Bench) (heap, accounted float64, err error) {
	b.Progress("wait for collections")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	plan := load.Plan{Requests: load.Batches(r.keys[:fillBatch], fillBatch), Duration: collectingTime, Concurrency: 2}
	if b.Quick {
		plan.Duration = collectingQuick
	}
	asked := make(chan error, 1)
	go func() {
		_, err := ask(ctx, r.target, plan)
		asked <- err
	}()
	heap = math.Inf(1)
	look := time.NewTicker(heapLookTime)
	defer look.Stop()
	for {
		select {
		case err := <-asked:
			return heap, accounted, err
		case <-look.C:
			metrics, err := r.server.Metrics(ctx)
			if err != nil {
				return 0, 0, err
			}
			heap, accounted = min(heap, metrics["go_memstats_heap_alloc_bytes"]), accountedBytes(metrics)
		}
	}
}

// accountedBytes is what all caches say that they hold in memory.
func accountedBytes(metrics map[string]float64) float64 {
	sum := 0.0
	for series, value := range metrics {
		if strings.HasPrefix(series, "ratify_") && strings.Contains(series, "cache_bytes") && !strings.Contains(series, "disk") {
			sum += value
		}
	}
	return sum
}
