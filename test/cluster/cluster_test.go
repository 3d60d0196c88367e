package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
)

func TestGatekeepersCertificateServesBothWays(t *testing.T) {
	p, err := newPKI()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(p.webhookTLS.cert, p.webhookTLS.key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.gatekeeper.cert)
	for _, use := range []struct {
		name  string
		host  string
		usage x509.ExtKeyUsage
	}{
		{"to the API server", "127.0.0.1", x509.ExtKeyUsageServerAuth},
		{"to a provider", GatekeeperClientName, x509.ExtKeyUsageClientAuth},
	} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: use.host, KeyUsages: []x509.ExtKeyUsage{use.usage}}); err != nil {
			t.Errorf("%s: %v", use.name, err)
		}
	}
}

func TestConfigureWebhooks(t *testing.T) {
	objects, err := GatekeeperObjects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := newPKI()
	if err != nil {
		t.Fatal(err)
	}
	if err := Recommend(objects); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{pki: keys}
	var seen []string
	for _, o := range objects {
		if kind, _ := o["kind"].(string); !strings.HasSuffix(kind, "WebhookConfiguration") {
			continue
		}
		if err := c.redirectWebhooks(o, 1234); err != nil {
			t.Fatal(err)
		}
		var parsed struct {
			Webhooks []struct {
				Name           string
				FailurePolicy  string
				TimeoutSeconds int
				ClientConfig   struct {
					URL      string
					CABundle []byte
					Service  any
				}
				Rules []struct{ Resources, Operations []string }
			}
		}
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &parsed); err != nil {
			t.Fatal(err)
		}
		for _, w := range parsed.Webhooks {
			seen = append(seen, w.Name)
			if w.FailurePolicy != "Fail" || w.ClientConfig.Service != nil || !strings.HasPrefix(w.ClientConfig.URL, "https://127.0.0.1:1234/v1/") {
				t.Errorf("%s: %+v", w.Name, w)
			}
			timeout := map[string]int{"validation.gatekeeper.sh": 5, "mutation.gatekeeper.sh": 2, "check-ignore-label.gatekeeper.sh": 3}[w.Name]
			if w.TimeoutSeconds != timeout {
				t.Errorf("%s: timeout %d s, want %d s", w.Name, w.TimeoutSeconds, timeout)
			}
			covers := false
			for _, rule := range w.Rules {
				for _, resource := range rule.Resources {
					covers = covers || resource == "pods/ephemeralcontainers"
				}
			}
			if strings.HasSuffix(w.Name, "ation.gatekeeper.sh") && !covers {
				t.Errorf("%s does not cover ephemeral containers", w.Name)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("webhooks %q, want three", seen)
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(50)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || port < lowestPort || port > highestPort {
			t.Errorf("port %d is a repetition or out of range", port)
		}
		seen[port] = true
	}
}

func TestCommandErrorSaysWhatTheCommandSaid(t *testing.T) {
	c := &Cluster{Root: t.TempDir(), Dir: t.TempDir(), options: Options{Binaries: Binaries{"kubectl": "/bin/sh"}}}
	out, err := c.Kubectl(t.Context(), "-c", "echo out; echo why >&2; exit 1")
	if out != "out\n" || err == nil || !strings.Contains(err.Error(), "exit status 1: why") {
		t.Errorf("output %q, error %v", out, err)
	}
}
