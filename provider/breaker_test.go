package provider

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestBreakerMetrics(t *testing.T) {
	m := NewMetrics()
	tell := m.WatchBreakers()
	tell("registry.example", 1, true)
	tell("*.example", 1, true)
	tell("*.example", 2, true)
	tell("registry.example", 0, false)
	want := `
# HELP ratify_registry_breaker_open Servers of registries that are not asked because they have answered nothing, by configured host pattern.
# TYPE ratify_registry_breaker_open gauge
ratify_registry_breaker_open{registry="*.example"} 2
ratify_registry_breaker_open{registry="registry.example"} 0
# HELP ratify_registry_breaker_trips_total How often a server of a registry came to be so, by configured host pattern.
# TYPE ratify_registry_breaker_trips_total counter
ratify_registry_breaker_trips_total{registry="*.example"} 2
ratify_registry_breaker_trips_total{registry="registry.example"} 1
`
	if err := testutil.GatherAndCompare(m.Registry, strings.NewReader(want), "ratify_registry_breaker_open", "ratify_registry_breaker_trips_total"); err != nil {
		t.Error(err)
	}
}
