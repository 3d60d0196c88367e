package scenario

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/bench/report"
)

func quiet(runs int) *Bench { return &Bench{Runs: runs, Progress: func(string) {}} }

func TestContestRotates(t *testing.T) {
	c := &contest{contenders: []*contender{{name: "a"}, {name: "b"}, {name: "c"}}}
	var order []string
	err := c.run(t.Context(), quiet(3), "", func(_ context.Context, c *contender) ([]float64, error) {
		order = append(order, c.name)
		return []float64{float64(len(order)), 0}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, ""); got != "abcbcacab" {
		t.Errorf("measured in the order %s", got)
	}
	if got := c.contenders[0].sample(0); !slices.Equal(got, report.Sample{1, 6, 8}) {
		t.Errorf("a's values are %v", got)
	}
}

func TestContestLeavesOutWhoIsWrong(t *testing.T) {
	c := &contest{contenders: []*contender{{name: "ratify"}, {name: "floor"}, {name: "peer"}}, reference: true}
	asked := map[string]int{}
	err := c.run(t.Context(), quiet(4), "", func(_ context.Context, c *contender) ([]float64, error) {
		asked[c.name]++
		if c.name == "peer" && asked["peer"] == 2 {
			return nil, errors.New("status 500")
		}
		return []float64{7}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if asked["ratify"] != 4 || asked["floor"] != 4 || asked["peer"] != 2 {
		t.Errorf("asked %v", asked)
	}
	row := c.row(0, report.Row{Name: "x", Target: report.Times(1)})
	if row.Outcome() != report.Met || row.Beside != "floor" || len(row.Figure) != 4 || len(row.Reference) != 4 {
		t.Errorf("got %+v", row)
	}
	if len(row.Others) != 1 || row.Others[0].Name != "peer" || row.Others[0].Wrong != "peer: status 500" {
		t.Errorf("others are %+v", row.Others)
	}
}

func TestContestRowIsWrongWhereItsMeasureIs(t *testing.T) {
	for _, tc := range []struct {
		who  string
		want report.Outcome
	}{{"ratify", report.Wrong}, {"floor", report.Wrong}, {"peer", report.Met}} {
		c := &contest{contenders: []*contender{{name: "ratify"}, {name: "floor"}, {name: "peer"}}, reference: true}
		err := c.run(t.Context(), quiet(2), "", func(_ context.Context, c *contender) ([]float64, error) {
			if c.name == tc.who {
				return nil, errors.New("an image is refused")
			}
			return []float64{1}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.row(0, report.Row{Target: report.Times(1)}).Outcome(); got != tc.want {
			t.Errorf("%s is wrong: the row is %q, want %q", tc.who, got, tc.want)
		}
	}
}

func TestContestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &contest{contenders: []*contender{{name: "a"}}}
	n := 0
	err := c.run(ctx, quiet(5), "", func(context.Context, *contender) ([]float64, error) {
		n++
		cancel()
		return nil, errors.New("cut off")
	})
	if !errors.Is(err, context.Canceled) || n != 1 || c.contenders[0].wrong != nil {
		t.Errorf("%v after %d measures, %v", err, n, c.contenders[0].wrong)
	}
}

func TestAgainForgetsSamples(t *testing.T) {
	c := &contest{contenders: []*contender{{name: "a", samples: []report.Sample{{1}}, wrong: errors.New("no")}}, reference: true}
	next := c.again()
	if !next.reference || next.contenders[0].samples != nil || next.contenders[0].wrong != nil || next.contenders[0].name != "a" {
		t.Errorf("got %+v", next.contenders[0])
	}
}

func TestWhatPreventsAScenarioIsWrong(t *testing.T) {
	rows, err := quiet(1).Run(t.Context(), Scenario{Name: "x", About: "y", run: func(context.Context, *Bench) ([]report.Row, error) {
		return []report.Row{{Topic: "x", Name: "measured before"}}, errors.New("the process ended")
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Outcome() != report.Measured || rows[1].Outcome() != report.Wrong || rows[1].Wrong != "the process ended" {
		t.Errorf("got %+v", rows)
	}
}

func TestRunsAndSizes(t *testing.T) {
	for _, tc := range []struct {
		b          Bench
		runs, size int
	}{
		{Bench{}, fullRuns, 100},
		{Bench{Quick: true}, quickRuns, 5},
		{Bench{Quick: true, Runs: 4}, 4, 5},
	} {
		if runs, size := tc.b.runs(), tc.b.size(100, 5); runs != tc.runs || size != tc.size {
			t.Errorf("%d runs of %d, want %d of %d", runs, size, tc.runs, tc.size)
		}
	}
}

// With a cache of which an eighth is for refusals, there must be room for as many verified images as are asked for.
func TestRoomFor(t *testing.T) {
	for _, images := range []int{1, 2, 3, 100, 10_000, 100_000} {
		if room := roomFor(images); room-room/8 < images {
			t.Errorf("%d entries have room for %d images, want %d", room, room-room/8, images)
		}
	}
}
