package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/cluster"
)

// TestClusterAsksAProvider shows the harness without the product: what the stub refuses does not come into the cluster, and
// Gatekeeper comes to the stub with the certificate that a provider has to demand.
func TestClusterAsksAProvider(t *testing.T) {
	c := startCluster(t, cluster.Options{})
	stub, clients := startStub(t, c.GatekeeperCA())
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: stub.Certificate().Raw})
	apply(t, c, fmt.Sprintf(stubProvider, stub.URL, base64.StdEncoding.EncodeToString(ca)))
	apply(t, c, stubTemplate)
	kubectl(t, c, "wait", "--for=create", "crd/stub.constraints.gatekeeper.sh", "--timeout=60s")
	kubectl(t, c, "wait", "--for=condition=Established", "crd/stub.constraints.gatekeeper.sh", "--timeout=60s")
	apply(t, c, stubConstraint)
	waitActive(t, c, "provider/stub", "active")
	waitActive(t, c, "stub/stub", "enforced")

	if got := kubectl(t, c, "run", "good", "--image=registry.test/good"); got != "pod/good created\n" {
		t.Errorf("kubectl says %q", got)
	}
	got := refused(t, c, "run", "bad", "--image=registry.test/bad")
	if want := forbidden + "[stub] registry.test/bad is bad"; strings.TrimSpace(got) != want {
		t.Errorf("kubectl says %q, want %q", got, want)
	}
	if len(clients) == 0 {
		t.Error("the stub was not asked")
	}
	for len(clients) > 0 {
		if err := (<-clients).VerifyHostname(cluster.GatekeeperClientName); err != nil {
			t.Error(err)
		}
	}
}

// startStub serves a provider whose answer for each key is whether it may run, and which hands over the certificates of its clients.
func startStub(t *testing.T, clientCA []byte) (*httptest.Server, chan *x509.Certificate) {
	clients := make(chan *x509.Certificate, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clients <- r.TLS.PeerCertificates[0]
		var request struct{ Request struct{ Keys []string } }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		type item struct {
			Key   string `json:"key"`
			Value bool   `json:"value"`
		}
		var items []item
		for _, key := range request.Request.Keys {
			items = append(items, item{key, !strings.Contains(key, "bad")})
		}
		answer := map[string]any{"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderResponse", "response": map[string]any{"items": items}}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(clientCA) {
		t.Fatal("Gatekeeper's CA is no certificate")
	}
	server.TLS = &tls.Config{ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, clients
}

const stubProvider = `
apiVersion: externaldata.gatekeeper.sh/v1beta1
kind: Provider
metadata: {name: stub}
spec: {url: %s, timeout: 3, caBundle: %s}
`

const stubTemplate = `
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: stub}
spec:
  crd: {spec: {names: {kind: Stub}}}
  targets:
  - target: admission.k8s.gatekeeper.sh
    rego: |
      package stub
      violation[{"msg": msg}] {
        answer := external_data({"provider": "stub", "keys": [input.review.object.spec.containers[0].image]})
        answer.responses[_] = [image, false]
        msg := sprintf("%s is bad", [image])
      }
`

const stubConstraint = `
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: Stub
metadata: {name: stub}
spec: {match: {kinds: [{apiGroups: [""], kinds: [Pod]}]}}
`

func TestMain(m *testing.M) {
	// The binaries are made before the test's clock starts: the first time they take longer than any test may.
	for _, names := range [][]string{nil, {"cosign"}} {
		if _, err := cluster.Build(context.Background(), progress, names...); err != nil {
			fmt.Fprintln(os.Stderr, "make the programs of the tests:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
