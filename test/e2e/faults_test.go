package e2e

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// couldNot is how the template begins where it was not told a verdict.
const couldNot = "[ratify-constraint] Could not verify: "

// undecided runs a pod that must be refused for the reason, and must not be there afterwards. It returns what kubectl says.
func (c *chain) undecided(t *testing.T, name, image string, reasons ...string) string {
	t.Helper()
	start := time.Now()
	says := refused(t, c.Cluster, "run", name, "--image="+image)
	t.Logf("%s\nafter %.1f s", strings.TrimSpace(says), time.Since(start).Seconds())
	if !strings.HasPrefix(says, forbidden+couldNot) {
		t.Errorf("kubectl says\n%s\nwant it to begin with\n%s", says, forbidden+couldNot)
	}
	for _, reason := range reasons {
		if !strings.Contains(says, reason) {
			t.Errorf("kubectl says\n%s\nwant %q in it", says, reason)
		}
	}
	absent(t, c.Cluster, "pod/"+name)
	return says
}

// admitted runs a pod that must come in.
func (c *chain) admitted(t *testing.T, name, image string) {
	t.Helper()
	if got, want := kubectl(t, c.Cluster, "run", name, "--image="+image), "pod/"+name+" created\n"; got != want {
		t.Errorf("kubectl says %q, want %q", got, want)
	}
}

// running takes up the provider again after a step, whatever became of it.
func (c *chain) running(t *testing.T) {
	t.Helper()
	select {
	case <-c.provider.process.Done():
	default:
		return
	}
	c.provider.start(t, c.Dir)
}

func providerStopped(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	c.provider.stop(t)
	c.undecided(t, "stopped", image.Reference, "connection refused")
	t.Run("pods that are there can still be changed and removed", func(t *testing.T) {
		kubectl(t, c.Cluster, "label", "pod/updated", "provider=stopped")
		kubectl(t, c.Cluster, "patch", "pod/updated", "--type=merge", `--patch={"metadata":{"finalizers":["example.test/hold"]}}`)
		kubectl(t, c.Cluster, "delete", "pod/updated", "--wait=false")
		kubectl(t, c.Cluster, "patch", "pod/updated", "--type=merge", `--patch={"metadata":{"finalizers":null}}`)
		kubectl(t, c.Cluster, "wait", "--for=delete", "pod/updated", "--timeout=60s")
	})
	c.running(t)
	c.admitted(t, "stopped", image.Reference)
}

func providerSlow(t *testing.T, c *chain) {
	image := c.images.fresh(t)
	resume := c.provider.pause(t)
	defer resume()
	c.undecided(t, "slow", image.Reference, "context deadline exceeded")
	resume()
	c.admitted(t, "slow", image.Reference)
}

// rubbish is what something that is no provider may answer to a request for a key.
var rubbish = map[string]struct {
	status int
	body   string // %s is the key
}{
	"nothing":                {200, ``},
	"a web page":             {200, `<html><body>502 Bad Gateway</body></html>`},
	"a truncated answer":     {200, `{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse","response":{"items":[{"key":%q,`},
	"an empty object":        {200, `{}`},
	"null":                   {200, `null`},
	"an array":               {200, `[]`},
	"a mesh's 429":           {429, `{"message":"slow"}`},
	"a 500 with JSON":        {500, `{"error":"boom"}`},
	"no items":               {200, `{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse","response":{"items":[]}}`},
	"an item for another":    {200, `{"response":{"items":[{"key":"other%s","value":{"version":"1.0","isSuccess":true,"notAfter":99999999999}}]}}`},
	"just true":              {200, `{"response":{"items":[{"key":%q,"value":true}]}}`},
	"another's success":      {200, `{"response":{"items":[{"key":%q,"value":{"isSuccess":true,"succeeded":true}}]}}`},
	"success in a string":    {200, `{"response":{"items":[{"key":%q,"value":{"version":"1.0","key":%[1]q,"isSuccess":"true","notAfter":99999999999}}]}}`},
	"a success with 500":     {500, `{"response":{"items":[{"key":%q,"value":{"version":"1.0","key":%[1]q,"isSuccess":true,"notAfter":99999999999}}]}}`},
	"a success that ended":   {200, `{"response":{"items":[{"key":%q,"value":{"version":"1.0","key":%[1]q,"isSuccess":true,"notAfter":1000000000}}]}}`},
	"a success and an error": {200, `{"response":{"systemError":"down","items":[{"key":%q,"value":{"version":"1.0","key":%[1]q,"isSuccess":true,"notAfter":99999999999}}]}}`},
}

// providerRubbish puts something else where the provider was: with its certificate, and with answers that prove nothing.
func providerRubbish(t *testing.T, c *chain) {
	c.provider.stop(t)
	defer c.running(t)
	var n int
	for name, answer := range rubbish {
		t.Run(name, func(t *testing.T) {
			n++
			stop := c.impersonate(t, func(w http.ResponseWriter, r *http.Request) {
				var request struct{ Request struct{ Keys []string } }
				if err := json.NewDecoder(r.Body).Decode(&request); err != nil || len(request.Request.Keys) != 1 {
					t.Errorf("keys %q (%v), want one", request.Request.Keys, err)
					return
				}
				body := answer.body
				if strings.Contains(body, "%") {
					body = fmt.Sprintf(body, request.Request.Keys[0])
				}
				w.WriteHeader(answer.status)
				fmt.Fprint(w, body)
			})
			defer stop()
			c.undecided(t, fmt.Sprintf("rubbish-%d", n), c.images.fresh(t).Reference)
		})
	}
	t.Run("a certificate of another authority", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Listener.Close()
		server.Listener = c.listen(t)
		server.StartTLS()
		defer server.Close()
		c.undecided(t, "rubbish-tls", c.images.fresh(t).Reference, "certificate signed by unknown authority")
	})
}

func (c *chain) listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.provider.port))
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// impersonate serves on the provider's port with the provider's certificate.
func (c *chain) impersonate(t *testing.T, handler http.HandlerFunc) (stop func()) {
	t.Helper()
	folder := filepath.Join(c.provider.root, "etc", "ratify", "tls")
	cert, err := tls.LoadX509KeyPair(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = c.listen(t)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	return server.Close
}

func registryTrouble(t *testing.T, c *chain) {
	t.Run("slow", func(t *testing.T) {
		image := c.images.fresh(t)
		arrived := make(chan struct{}, 100)
		release := make(chan struct{})
		restore := c.images.disturb(func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		defer restore()
		says := c.undecided(t, "slow-registry", image.Reference, image.Reference)
		if strings.Contains(says, "context deadline exceeded") {
			t.Errorf("Gatekeeper gave up before the provider answered: %s", says)
		}
		if len(arrived) == 0 {
			t.Error("the registry was not asked")
		}
		close(release)
		restore()
		c.admitted(t, "slow-registry", image.Reference)
	})
	for name, trouble := range map[string]http.HandlerFunc{
		"broken": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"closed": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"rate-limited": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"confused": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>it works</html>") },
	} {
		t.Run(name, func(t *testing.T) {
			image := c.images.fresh(t)
			restore := c.images.disturb(trouble)
			defer restore()
			says := refused(t, c.Cluster, "run", name, "--image="+image.Reference)
			t.Log(says)
			if !strings.HasPrefix(says, forbidden+"[ratify-constraint] ") || !strings.Contains(says, image.Reference) {
				t.Errorf("kubectl says %s", says)
			}
			absent(t, c.Cluster, "pod/"+name)
			restore()
		})
	}
	t.Run("what was verified before runs on", func(t *testing.T) {
		image := c.images.fresh(t)
		c.admitted(t, "before-outage", image.Reference)
		restore := c.images.disturb(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		defer restore()
		c.admitted(t, "during-outage", image.Pinned())
	})
}
