package scenario

import (
	"path/filepath"
	"testing"

	"github.com/ratify-provider/ratify/bench/report"
	"github.com/ratify-provider/ratify/bench/world"
)

// TestCounts runs, with the real program, the scenarios whose rows are counts: they must be right on any machine.
func TestCounts(t *testing.T) {
	dir := t.TempDir()
	b := &Bench{Dir: dir, Quick: true, Progress: func(what string) { t.Log(what) }}
	var errs [5]error
	b.Binary, errs[0] = world.BuildRatify(t.Context(), "", dir)
	b.PKI, errs[1] = world.NewPKI(filepath.Join(dir, "tls"))
	b.Registry, errs[2] = world.NewRegistry(world.RegistryOptions{})
	b.RSA, errs[3] = world.NewSigner(world.NotationRSA)
	b.P256, errs[4] = world.NewSigner(world.NotationP256)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() { _ = b.Registry.Close() }()
	counted := 0
	for _, s := range All() {
		if s.Name != "requests" && s.Name != "again" && s.Name != "crowd" {
			continue
		}
		rows, err := b.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			if row.Outcome() == report.Wrong {
				t.Errorf("%s: %s: %v, must be %v; %s", row.Topic, row.Name, row.Figure, row.Target.Bound, row.Wrong)
			}
			if row.Target.Hard {
				counted++
			}
		}
	}
	if counted < 20 {
		t.Errorf("%d counts were made, expected 20 at least", counted)
	}
}
