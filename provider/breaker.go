package provider

import "github.com/prometheus/client_golang/prometheus"

// WatchBreakers registers what is told of servers that are not asked because they answer nothing, and returns whom to tell:
// registry is the configured host pattern, never a host from outside, open how many of its servers are so now, and tripped
// whether one has just become so.
func (m *Metrics) WatchBreakers() func(registry string, open int, tripped bool) {
	opened := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ratify_registry_breaker_open",
		Help: "Servers of registries that are not asked because they have answered nothing, by configured host pattern."}, []string{"registry"})
	trips := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_registry_breaker_trips_total",
		Help: "How often a server of a registry came to be so, by configured host pattern."}, []string{"registry"})
	m.Registry.MustRegister(opened, trips)
	return func(registry string, open int, tripped bool) {
		opened.WithLabelValues(registry).Set(float64(open))
		if tripped {
			trips.WithLabelValues(registry).Inc()
		}
	}
}
