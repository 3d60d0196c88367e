package scenario

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

const (
	memoryTopic = "very many images in the cache"
	// mib is 2^20 bytes: what limits of memory are given in.
	mib = 1 << 20
	// processLimit is the memory limit that the chart gives the pod, and goLimit the four fifths of it that it lets Go have.
	processLimit = 512 * mib
	goLimit      = processLimit / 5 * 4
	// cacheBytes has room for all images of the scenario, at 2 KiB each and a quarter besides.
	cacheBytes = 256 * mib
	// heapTolerance is how much more than what is accounted may be alive after a collection.
	heapTolerance = 1.15
	// fewImages are those beside which a hit's time is measured first.
	fewImages = 1000
)

// memory fills the cache with very many images, and looks what that takes.
func memory(ctx context.Context, b *Bench) ([]report.Row, error) {
	n := b.size(100_000, 3_000)
	config := b.trust(b.P256)
	config.Cache = map[string]any{"maxEntries": roomFor(n), "maxBytes": cacheBytes, "ttl": "1h"}
	c, err := b.ratify(ctx, setup{config: config, env: []string{fmt.Sprintf("GOMEMLIMIT=%d", goLimit)}})
	if err != nil {
		return nil, err
	}
	var keys []string
	if keys, err = b.remember(ctx, c, keys, fewImages); err != nil {
		return nil, err
	}
	heapBefore, accountedBefore, err := b.settledHeap(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	few, err := b.hits(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	if keys, err = b.remember(ctx, c, keys, n-fewImages); err != nil {
		return nil, err
	}
	many, err := b.hits(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	heap, accounted, err := b.settledHeap(ctx, c, keys)
	if err != nil {
		return nil, err
	}
	metrics, err := c.server.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	peak, err := c.server.PeakRSS()
	name := fmt.Sprintf("%d images", n)
	return []report.Row{
		{Topic: memoryTopic, Name: name + ": verdicts kept", Figure: report.Sample{metrics["ratify_cache_entries"]}, Target: report.Count(float64(n))},
		{Topic: memoryTopic, Name: name + ": bytes of them, as accounted", Unit: report.Megabytes, Figure: report.Sample{metrics["ratify_cache_bytes"] / 1e6}, Target: report.Below(cacheBytes / 1e6)},
		{Topic: memoryTopic, Name: name + ": live heap after a collection, less what was there before", Unit: report.Megabytes, Figure: report.Sample{(heap - heapBefore) / 1e6},
			Beside: "accounted", Reference: report.Sample{(accounted - accountedBefore) / 1e6}, Target: report.Times(heapTolerance)},
		{Topic: memoryTopic, Name: name + ": resident memory at its highest", Unit: report.Megabytes, Figure: report.Sample{megabytes(peak)}, Target: report.Below(processLimit / 1e6)},
		{Topic: memoryTopic, Name: name + ": time of a hit", Unit: report.Milliseconds, Figure: many,
			Beside: fmt.Sprintf("with %d", fewImages), Reference: few, Target: report.Times(flat)},
	}, err
}

// remember has ratify verify n more images, and returns their keys with those before.
func (b *Bench) remember(ctx context.Context, c *contender, keys []string, n int) ([]string, error) {
	for n > 0 {
		part := min(n, fillPart)
		n -= part
		b.Progress(fmt.Sprintf("fill the cache: %d images, %d to go", len(keys), n+part))
		err := b.fresh(part, b.P256, func(images []world.Image) error {
			keys = append(keys, references(images)...)
			return fillWith(ctx, c, images)
		})
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// hits gives the median time of an answer about images that are known, some of all, for each run.
func (b *Bench) hits(ctx context.Context, c *contender, keys []string) (report.Sample, error) {
	stride := max(1, len(keys)/fewImages)
	var some []string
	for i := 0; i < len(keys); i += stride {
		some = append(some, keys[i])
	}
	plan := load.Plan{Requests: load.Batches(some, 1), Total: 2 * fewImages}
	var sample report.Sample
	for range b.runs() {
		result, err := ask(ctx, c.target, plan)
		if err != nil {
			return nil, err
		}
		sample = append(sample, milliseconds(result.Percentile(0.5)))
	}
	return sample, nil
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
func (b *Bench) settledHeap(ctx context.Context, c *contender, keys []string) (heap, accounted float64, err error) {
	b.Progress("wait for collections")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	plan := load.Plan{Requests: load.Batches(keys[:min(len(keys), fillBatch)], fillBatch), Duration: collectingTime, Concurrency: 2}
	if b.Quick {
		plan.Duration = collectingQuick
	}
	asked := make(chan error, 1)
	go func() {
		_, err := ask(ctx, c.target, plan)
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
			metrics, err := c.server.Metrics(ctx)
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
