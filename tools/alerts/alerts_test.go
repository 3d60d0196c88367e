// Package alerts tests the chart's rules for Prometheus, with Prometheus's own parser and engine. It is a module of its own,
// for nothing else here needs either.
package alerts

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const (
	rulesFile = "../../charts/ratify/alerts.yaml"
	// The page that lists each metric.
	page = "../../docs/operations.md"
)

func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if len(groups.Groups) != 1 {
		t.Fatalf("%d groups", len(groups.Groups))
	}
	return groups.Groups[0].Rules
}

// TestMetricsAreThere: an alert about a metric that has another name never fires.
func TestMetricsAreThere(t *testing.T) {
	listed, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules(t) {
		names := regexp.MustCompile(`ratify_[a-z_]+`).FindAllString(rule.Expr, -1)
		if len(names) == 0 {
			t.Errorf("%s is about no metric of ours", rule.Alert)
		}
		for _, name := range names {
			if !regexp.MustCompile("`" + name + "[{`]").Match(listed) {
				t.Errorf("%s is about %s, which %s does not list", rule.Alert, name, page)
			}
		}
	}
}

// A situation is what Prometheus has seen for an hour, a value a minute, and the alert that it must raise; quiet, if any, is the
// same without what is wrong.
type situation struct{ alert, wrong, quiet string }

func situations() []situation {
	return []situation{
		{"RatifyAbsent", `other 1x60`, `ratify_configuration_loaded_timestamp_seconds{namespace="n"} 1x60`},
		{"RatifyCouldNotTell",
			`ratify_requests_total{namespace="n",operation="verify",result="system_error"} 0+2x60
			ratify_requests_total{namespace="n",operation="verify",result="ok"} 0+98x60`,
			`ratify_requests_total{namespace="n",operation="verify",result="system_error"} 0+1x60
			ratify_requests_total{namespace="n",operation="verify",result="ok"} 0+199x60`},
		{"RatifyShedsLoad", `ratify_verdicts_total{namespace="n",operation="verify",code="OVERLOADED"} 0+1x60`,
			`ratify_verdicts_total{namespace="n",operation="verify",code="OVERLOADED"} 5x60`},
		{"RatifyRegistryAway", `ratify_registry_breaker_open{namespace="n",registry="r"} 1x60`, `ratify_registry_breaker_open{namespace="n",registry="r"} 0x60`},
		{"RatifyStaleAdmissions", `ratify_stale_admissions_total{namespace="n",policy="p",code="REGISTRY_UNAVAILABLE"} 0+1x60`,
			`ratify_stale_admissions_total{namespace="n",policy="p",code="REGISTRY_UNAVAILABLE"} 7x60`},
		{"RatifyStaleAdmissions", `ratify_stale_admissions_total{namespace="n",policy="p",code="REGISTRY_UNAVAILABLE"} _x55 40x10`, ``},
		{"RatifyWouldBeRefused", `ratify_would_be_refused_total{namespace="n",policy="p",code="NO_REFERRERS"} _x50 3x10`, ``},
		{"RatifyReloadFailed", `ratify_last_reload_successful{namespace="n",what="tls"} 0x60
			ratify_last_reload_successful{namespace="n",what="configuration"} 1x60`, `ratify_last_reload_successful{namespace="n",what="tls"} 1x60`},
		{"RatifyConfigurationOld", `ratify_configuration_loaded_timestamp_seconds{namespace="n"} -7900000x60`,
			`ratify_configuration_loaded_timestamp_seconds{namespace="n"} -7900000x60
			ratify_configuration_loaded_timestamp_seconds{namespace="n",pod="b"} 1x60`},
		{"RatifyCertificateEnds", `ratify_certificate_expiry_timestamp_seconds{namespace="n",certificate="serving"} 2500000x60`,
			`ratify_certificate_expiry_timestamp_seconds{namespace="n",certificate="serving"} 2600000x60`},
		{"RatifyWouldBeRefused", `ratify_would_be_refused_total{namespace="n",policy="p",code="NO_REFERRERS"} 0+1x60`,
			`ratify_would_be_refused_total{namespace="n",policy="p",code="NO_REFERRERS"} 3x60`},
		{"RatifyPanicked", `ratify_panics_total{namespace="n"} 0x30 1x30`, `ratify_panics_total{namespace="n"} 1x60`},
	}
}

// TestAlertsFire in the situation that they are for, and not in one that is nearly the same.
func TestAlertsFire(t *testing.T) {
	all := situations()
	for _, rule := range rules(t) {
		tried := 0
		for _, s := range all {
			if s.alert != rule.Alert {
				continue
			}
			tried++
			for series, want := range map[string]bool{s.wrong: true, s.quiet: false} {
				if got := series != "" && fires(t, rule, series); got != want {
					t.Errorf("%s fires %t, want %t, where Prometheus sees %s", s.alert, got, want, series)
				}
			}
		}
		if tried == 0 {
			t.Errorf("%s has no situation", rule.Alert)
		}
		all = slices.DeleteFunc(all, func(s situation) bool { return s.alert == rule.Alert })
	}
	for _, s := range all {
		t.Errorf("there is no alert %s", s.alert)
	}
}

// fires tells whether the expression holds at the end of the hour, and for as long before as the rule asks.
func fires(t *testing.T, rule rulefmt.Rule, series string) bool {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n\t"+strings.ReplaceAll(series, "\n", "\n\t"))
	t.Cleanup(func() { storage.Close() })
	engine := promqltest.NewTestEngine(t, false, 0, 100_000)
	end := time.Unix(0, 0).Add(time.Hour)
	query, err := engine.NewRangeQuery(t.Context(), storage, nil, rule.Expr, end.Add(-time.Duration(rule.For)), end, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	if result.Err != nil {
		t.Fatal(result.Err)
	}
	matrix, ok := result.Value.(promql.Matrix)
	if !ok {
		t.Fatal(fmt.Errorf("%s gives %T", rule.Alert, result.Value))
	}
	points := int(time.Duration(rule.For)/time.Minute) + 1
	return slices.ContainsFunc(matrix, func(s promql.Series) bool { return len(s.Floats) == points })
}
