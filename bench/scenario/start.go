package scenario

import (
	"context"
	"os"
	"time"

	"github.com/ratify-provider/ratify/bench/report"
)

const (
	mostToStart = 30 // milliseconds
	mostIdle    = 30 // MB
	// idleTime lets a process come to rest after its start.
	idleTime = 300 * time.Millisecond
)

// start starts processes, and leaves them alone.
func start(ctx context.Context, b *Bench) ([]report.Row, error) {
	c, err := b.contest(ctx, setup{config: b.trust(b.RSA)})
	if err != nil {
		return nil, err
	}
	err = c.run(ctx, b, "start", func(ctx context.Context, c *contender) ([]float64, error) {
		if err := c.restart(ctx, b); err != nil {
			return nil, err
		}
		select {
		case <-time.After(idleTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		rss, err := c.server.RSS()
		return []float64{milliseconds(c.server.StartedIn()), megabytes(rss)}, err
	})
	rows := []report.Row{
		c.row(0, report.Row{Topic: "weight", Name: "from exec to ready", Unit: report.Milliseconds, Target: b.target(report.Below(mostToStart))}),
		c.row(1, report.Row{Topic: "weight", Name: "resident memory, idle", Unit: report.Megabytes, Target: b.target(report.Below(mostIdle))}),
	}
	info, statErr := os.Stat(b.Binary)
	if statErr != nil || err != nil {
		return rows, err
	}
	return append(rows, report.Row{Topic: "weight", Name: "binary", Unit: report.Megabytes, Figure: report.Sample{megabytes(info.Size())}}), nil
}
