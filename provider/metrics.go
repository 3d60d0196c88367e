package provider

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/ratify-provider/ratify"
	"github.com/ratify-provider/ratify/internal/blobs"
	"github.com/ratify-provider/ratify/internal/cache"
)

// Metrics are what the process counts. No label ever holds text from outside.
type Metrics struct {
	Registry *prometheus.Registry

	requests          *prometheus.CounterVec
	latency           *prometheus.HistogramVec
	verdicts          *prometheus.CounterVec
	wouldBeRefused    *prometheus.CounterVec
	staleAdmissions   *prometheus.CounterVec
	cacheLookups      *prometheus.CounterVec
	verdictHits       prometheus.Counter // these four are of cacheLookups
	verdictMisses     prometheus.Counter
	tagHits           prometheus.Counter
	tagMisses         prometheus.Counter
	renewals          *prometheus.CounterVec
	unknownFields     prometheus.Counter
	flights           prometheus.Gauge
	registryRequests  *prometheus.CounterVec
	reloads           *prometheus.CounterVec
	configLoaded      prometheus.Gauge
	lastReload        *prometheus.GaugeVec
	certificateExpiry *prometheus.GaugeVec
	panics            prometheus.Counter
	signatures        *prometheus.CounterVec
}

// NewMetrics registers all metrics, those of the Go runtime and the process too, in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_requests_total",
			Help: "Requests by Gatekeeper, by operation and result: ok, system_error, bad_request."}, []string{"operation", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ratify_request_duration_seconds",
			Help:    "Time from a request to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 1.8, 2.5, 4}}, []string{"operation"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_verdicts_total",
			Help: "Images answered for, by operation and code."}, []string{"operation", "code"}),
		wouldBeRefused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_would_be_refused_total",
			Help: "Images admitted although the policy would refuse them, because its mode is audit, by policy and code."}, []string{"policy", "code"}),
		staleAdmissions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_stale_admissions_total",
			Help: "Images admitted as they were last known to be good, because they could not be verified, by policy and the code that says why."}, []string{"policy", "code"}),
		cacheLookups: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_cache_lookups_total",
			Help: "Lookups in the result cache (verdict) and the tag cache (tag), by result: hit, miss."}, []string{"cache", "result"}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_renewals_total",
			Help: "Verdicts that were asked for and verified again before their end, by result: verified, refused, unknown (the old one stays until its end)."}, []string{"result"}),
		unknownFields: prometheus.NewCounter(prometheus.CounterOpts{Name: "ratify_request_unknown_fields_total",
			Help: "Fields of requests that this version does not know: Gatekeeper may be newer."}),
		flights: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ratify_work_in_progress",
			Help: "Verifications and tag lookups under way or waiting, also after their deadline."}),
		registryRequests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_registry_requests_total",
			Help: "Requests to registries, by configured host pattern and HTTP status (0: no answer)."}, []string{"registry", "status"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_reloads_total",
			Help: "Reloads, by what (configuration, tls) and result: success, failure."}, []string{"what", "result"}),
		configLoaded: prometheus.NewGauge(prometheus.GaugeOpts{Name: "ratify_configuration_loaded_timestamp_seconds",
			Help: "When the configuration that is in force was loaded."}),
		lastReload: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ratify_last_reload_successful",
			Help: "Whether what is on disk (configuration, tls) is in force: 1, or 0 if its last reload failed."}, []string{"what"}),
		certificateExpiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ratify_certificate_expiry_timestamp_seconds",
			Help: "When the earliest certificate of its kind ends: serving, client_ca, trust_stores."}, []string{"certificate"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "ratify_panics_total",
			Help: "Panics that were contained: each is a defect."}),
		signatures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ratify_signatures_verified_total",
			Help: "Signatures whose cryptography was verified or refused, by type of verifier; what was remembered is not among them."}, []string{"verifier"}),
	}
	m.verdictHits, m.verdictMisses = m.cacheLookups.WithLabelValues("verdict", "hit"), m.cacheLookups.WithLabelValues("verdict", "miss")
	m.tagHits, m.tagMisses = m.cacheLookups.WithLabelValues("tag", "hit"), m.cacheLookups.WithLabelValues("tag", "miss")
	m.Registry.MustRegister(m.requests, m.latency, m.verdicts, m.wouldBeRefused, m.staleAdmissions, m.cacheLookups, m.renewals, m.unknownFields, m.flights,
		m.registryRequests, m.reloads, m.configLoaded, m.lastReload, m.certificateExpiry, m.panics, m.signatures,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// watchCache tells how full the result cache is; it begins anew with each configuration.
func (m *Metrics) watchCache(stats func() cache.Stats) {
	gauge := func(name, help string, value func(cache.Stats) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(stats()) })
	}
	m.Registry.MustRegister(
		gauge("ratify_cache_entries", "Verdicts kept under the configuration in force.", func(s cache.Stats) float64 { return float64(s.Entries) }),
		gauge("ratify_last_known_good_held", "Verdicts among them by which images stay admitted while their registry or revocation source is away.", func(s cache.Stats) float64 { return float64(s.Lasting) }),
		gauge("ratify_cache_bytes", "Bytes of these verdicts.", func(s cache.Stats) float64 { return float64(s.Bytes) }),
		gauge("ratify_cache_evicted", "Verdicts that had to go before their time, since the configuration came into force.", func(s cache.Stats) float64 { return float64(s.Evicted) }),
	)
}

// renewed counts a verdict that was verified again with nobody waiting.
func (m *Metrics) renewed(v *verdict, err error) {
	result := "verified"
	switch {
	case err != nil || v.life(time.Now(), time.Second) <= 0:
		result = "unknown"
	case !v.report.IsSuccess || v.report.Code == ratify.WouldBeRefused:
		result = "refused"
	}
	m.renewals.WithLabelValues(result).Inc()
}

// WatchContent tells how the content fares that stores keep by its digest.
func (m *Metrics) WatchContent(stats func() blobs.Stats) {
	counter := func(name, help string, labels prometheus.Labels, value func(blobs.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return float64(value(stats())) })
	}
	lookups := func(result string, value func(blobs.Stats) uint64) prometheus.Collector {
		return counter("ratify_content_cache_lookups_total", "Lookups of manifests, signatures and documents by their digest, by result: hit_memory, hit_disk, miss.",
			prometheus.Labels{"result": result}, value)
	}
	held := func(level string, value func(blobs.Stats) int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ratify_content_cache_bytes", Help: "Bytes of them that are kept, by level: memory, disk.",
			ConstLabels: prometheus.Labels{"level": level}}, func() float64 { return float64(value(stats())) })
	}
	m.Registry.MustRegister(
		lookups("hit_memory", func(s blobs.Stats) uint64 { return s.MemoryHits }),
		lookups("hit_disk", func(s blobs.Stats) uint64 { return s.DiskHits }),
		lookups("miss", func(s blobs.Stats) uint64 { return s.Misses }),
		held("memory", func(s blobs.Stats) int64 { return s.MemoryBytes }),
		held("disk", func(s blobs.Stats) int64 { return s.DiskBytes }),
		counter("ratify_content_cache_dropped_total", "How often something was not written to disk: it came too fast, or the directory could not be used.",
			nil, func(s blobs.Stats) uint64 { return s.Dropped }),
	)
}

// RegistryRequest counts a request to a registry; host is the configured pattern, never a host from outside.
func (m *Metrics) RegistryRequest(host string, status int) {
	m.registryRequests.WithLabelValues(host, strconv.Itoa(status)).Inc()
}

// Reload counts a reload of what: configuration or tls.
func (m *Metrics) Reload(what string, err error) {
	result, good := "success", 1.0
	if err != nil {
		result, good = "failure", 0
	}
	m.lastReload.WithLabelValues(what).Set(good)
	m.reloads.WithLabelValues(what, result).Inc()
}

// Panic counts a panic that was contained.
func (m *Metrics) Panic() { m.panics.Inc() }

// SignatureVerified counts a signature whose cryptography was verified by a verifier of this type.
func (m *Metrics) SignatureVerified(verifier string) { m.signatures.WithLabelValues(verifier).Inc() }

// TrustEnds tells when the first certificate in the trust stores of the configuration in force ends; zero: there is none.
func (m *Metrics) TrustEnds(end time.Time) {
	const stores = "trust_stores"
	if end.IsZero() {
		m.certificateExpiry.DeleteLabelValues(stores)
		return
	}
	m.expiry(stores, end)
}

func (m *Metrics) expiry(certificate string, end time.Time) {
	m.certificateExpiry.WithLabelValues(certificate).Set(float64(end.Unix()))
}
