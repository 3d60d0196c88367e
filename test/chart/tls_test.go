package chart

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const serviceName = "ratify.gatekeeper-system.svc"

// A rendered is what one rendering makes of TLS.
type rendered struct {
	secret Object
	bundle []byte // of the Providers
}

func (r rendered) data(key string) []byte {
	data, _ := base64.StdEncoding.DecodeString(r.secret.Text("data", key))
	return data
}

func (r rendered) step() string { return r.secret.Text("metadata", "annotations", "ratify/step") }

func (r rendered) bundled() int { return bytes.Count(r.bundle, []byte("BEGIN CERTIFICATE")) }

func tlsOf(t *testing.T, objects Objects) rendered {
	t.Helper()
	r := rendered{secret: objects.Find("Secret", "ratify-tls")}
	for _, o := range objects {
		if o.Kind() != "Provider" {
			continue
		}
		bundle, err := base64.StdEncoding.DecodeString(o.Text("spec", "caBundle"))
		if err != nil {
			t.Fatal(err)
		}
		if r.bundle != nil && !bytes.Equal(bundle, r.bundle) {
			t.Error("the two Providers trust different CAs")
		}
		r.bundle = bundle
	}
	return r
}

// verify tells whether a pair convinces a client that trusts a bundle, in the way Gatekeeper looks at it.
func verify(pair rendered, bundle []byte, host string) error {
	loaded, err := tls.X509KeyPair(pair.data("tls.crt"), pair.data("tls.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("no certificate in the bundle %q", bundle)
	}
	_, err = loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// checkNoGap is the promise of an upgrade: whatever pods serve, before and after, convinces Gatekeeper, before and after.
func checkNoGap(t *testing.T, before, after rendered) {
	t.Helper()
	for served, pair := range map[string]rendered{"old": before, "new": after} {
		for trusted, bundle := range map[string][]byte{"old": before.bundle, "new": after.bundle} {
			if err := verify(pair, bundle, serviceName); err != nil {
				t.Errorf("step %s: the %s pair against the %s bundle: %v", after.step(), served, trusted, err)
			}
		}
	}
}

func TestPairOfTheChart(t *testing.T) {
	values := map[string]any{"notaryCert": testPair(t).CA}
	r := tlsOf(t, render(t, values))
	if err := verify(r, r.bundle, serviceName); err != nil {
		t.Error(err)
	}
	block, _ := pem.Decode(r.data("tls.crt"))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("the key is %v", leaf.PublicKeyAlgorithm)
	}
	if want := []string{serviceName, serviceName + ".cluster.local", "ratify.gatekeeper-system"}; !slices.Equal(leaf.DNSNames, want) {
		t.Errorf("names %q, want %q", leaf.DNSNames, want)
	}
	if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days != 3650 {
		t.Errorf("valid for %v days", days)
	}
	if r.bundled() != 1 || r.step() != "new" {
		t.Errorf("step %q, %d CAs", r.step(), r.bundled())
	}
	for key := range r.secret.Get("data").(map[string]any) {
		if !slices.Contains([]string{"tls.crt", "tls.key", "ca.crt"}, key) {
			t.Errorf("the Secret holds %s", key)
		}
	}

	put(values, []string{"provider", "tls", "days"}, 30)
	put(values, []string{"provider", "url"}, "https://127.0.0.1:6443")
	r = tlsOf(t, render(t, values))
	if err := verify(r, r.bundle, "127.0.0.1"); err != nil {
		t.Error(err)
	}
	block, _ = pem.Decode(r.data("tls.crt"))
	if leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	if days := leaf.NotAfter.Sub(leaf.NotBefore).Hours() / 24; days != 30 {
		t.Errorf("valid for %v days, want 30", days)
	}
}

// TestMadePairSaysSo: helm template prints no notes, so a pair that the next rendering will not know is told of in the objects, and
// only such a one.
func TestMadePairSaysSo(t *testing.T) {
	says := func(values map[string]any, args ...string) int {
		t.Helper()
		text, err := template(t, values, args...)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for _, doc := range strings.Split(text, "\n---") {
			if strings.Contains(doc, "ade at this rendering") && strings.Contains(doc, "\n  # ") == strings.Contains(doc, "kind: Provider") {
				told++
			}
		}
		if told > 0 && !strings.Contains(text, "# provider.tls.requireValues=true") {
			t.Errorf("it does not say what to set:\n%s", text)
		}
		return told
	}
	if got := says(ownPair(t, "")); got != 3 {
		t.Errorf("%d objects of a made pair say so, want the Secret and both Providers", got)
	}
	if got := says(base(testPair(t))); got != 0 {
		t.Errorf("%d objects of a given pair say that it was made", got)
	}
	s := newStubCluster(t)
	s.upgrade(t, ownPair(t, "a"))
	if got := says(ownPair(t, ""), s.args()...); got != 0 {
		t.Errorf("%d objects of a pair that was found say that it was made", got)
	}
}

func TestPairOfTheValues(t *testing.T) {
	p := testPair(t)
	values := base(p)
	put(values, []string{"provider", "tls", "extraCA"}, testPair(t).CA)
	first, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	second, err := template(t, values)
	if err != nil {
		t.Fatal(err)
	}
	if first != second {
		t.Error("two renderings of the same values differ: a GitOps tool would never come to rest")
	}
	r := tlsOf(t, render(t, values))
	if string(r.data("tls.crt")) != p.Cert || string(r.data("tls.key")) != p.Key {
		t.Error("the Secret does not hold the pair")
	}
	if r.bundled() != 2 {
		t.Errorf("%d CAs in the bundle, want the pair's and the extra one", r.bundled())
	}
	if err := verify(r, r.bundle, serviceName); err != nil {
		t.Error(err)
	}
}

// A stubCluster answers helm's lookup of the TLS Secret, and nothing else, as an API server does.
type stubCluster struct {
	kubeconfig string
	secret     atomic.Pointer[Object]
}

func newStubCluster(t *testing.T) *stubCluster {
	s := &stubCluster{}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(value); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /api/v1", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1",
			"resources": []any{map[string]any{"name": "secrets", "kind": "Secret", "namespaced": true, "verbs": []string{"get"}}}})
	})
	mux.HandleFunc("GET /api/v1/namespaces/gatekeeper-system/secrets/ratify-tls", func(w http.ResponseWriter, _ *http.Request) {
		if secret := s.secret.Load(); secret != nil {
			answer(w, http.StatusOK, *secret)
			return
		}
		answer(w, http.StatusNotFound, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("helm asked for %s %s", r.Method, r.URL.Path)
		http.NotFound(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: stub\nclusters: [{name: stub, cluster: {server: %q}}]\ncontexts: [{name: stub, context: {cluster: stub, user: stub}}]\nusers: [{name: stub, user: {}}]\n", server.URL)
	if err := os.WriteFile(s.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stubCluster) args() []string {
	return []string{"--kubeconfig", s.kubeconfig, "--dry-run=server", "--is-upgrade"}
}

// upgrade renders as helm upgrade does, and keeps the Secret.
func (s *stubCluster) upgrade(t *testing.T, values map[string]any) rendered {
	t.Helper()
	r := tlsOf(t, render(t, values, s.args()...))
	s.secret.Store(&r.secret)
	return r
}

// age makes the last change of the pair older.
func (s *stubCluster) age(t *testing.T, by time.Duration) {
	t.Helper()
	annotations := s.secret.Load().Get("metadata", "annotations").(map[string]any)
	at, err := strconv.ParseInt(annotations["ratify/changed-at"].(string), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	annotations["ratify/changed-at"] = strconv.FormatInt(at-int64(by.Seconds()), 10)
}

func ownPair(t *testing.T, rotation string) map[string]any {
	values := map[string]any{"notaryCert": testPair(t).CA}
	put(values, []string{"provider", "tls", "rotation"}, rotation)
	return values
}

// A walk is a sequence of upgrades; each names the step that it must take and how many CAs the bundle then has.
type walk []struct {
	name    string
	after   time.Duration
	values  map[string]any
	step    string
	bundled int
	fresh   bool // the served pair is another than before
}

func (w walk) run(t *testing.T, s *stubCluster, before rendered) {
	t.Helper()
	for _, next := range w {
		if next.after > 0 {
			s.age(t, next.after)
		}
		after := s.upgrade(t, next.values)
		if after.step() != next.step || after.bundled() != next.bundled {
			t.Errorf("%s: step %q with %d CAs, want %q with %d", next.name, after.step(), after.bundled(), next.step, next.bundled)
		}
		if fresh := !bytes.Equal(before.data("tls.crt"), after.data("tls.crt")); fresh != next.fresh {
			t.Errorf("%s: another pair is served: %v, want %v", next.name, fresh, next.fresh)
		}
		checkNoGap(t, before, after)
		before = after
	}
}

func TestRotationHasNoGap(t *testing.T) {
	s := newStubCluster(t)
	first := tlsOf(t, render(t, ownPair(t, ""), "--kubeconfig", s.kubeconfig, "--dry-run=server"))
	s.secret.Store(&first.secret)
	if got := refuse(t, ownPair(t, "a"), s.args()...); !strings.Contains(got, "Try again later") {
		t.Errorf("a rotation right after the first installation: %q", got)
	}
	settled := 3 * time.Minute
	walk{
		{"another upgrade", 0, ownPair(t, ""), "keep", 1, false},
		{"a rotation is asked for", settled, ownPair(t, "a"), "prepare", 2, false},
		{"too early", 0, ownPair(t, "a"), "wait", 2, false},
		{"the value is not needed for it to go on", settled, ownPair(t, ""), "promote", 2, true},
		{"right after", 0, ownPair(t, "a"), "keep", 2, false},
		{"the old CA goes", settled, ownPair(t, "a"), "clean", 1, false},
		{"the same text is no new rotation", settled, ownPair(t, "a"), "keep", 1, false},
		{"another text is", 0, ownPair(t, "b"), "prepare", 2, false},
		{"and is served", settled, ownPair(t, "b"), "promote", 2, true},
	}.run(t, s, first)
	if got := refuse(t, ownPair(t, "c"), s.args()...); !strings.Contains(got, "Try again later") {
		t.Errorf("a rotation right after the one before: %q", got)
	}
}

func TestGivenPairHasNoGap(t *testing.T) {
	one, two := testPair(t), testPair(t)
	s := newStubCluster(t)
	own := s.upgrade(t, ownPair(t, "a"))
	settled := 3 * time.Minute
	walk{
		{"from the chart's own pair to a given one", settled, base(one), "prepare", 2, false},
		{"too early", 0, base(one), "wait", 2, false},
		{"served", settled, base(one), "promote", 2, true},
		{"kept", 0, base(one), "keep", 2, false},
		{"the old CA goes", settled, base(one), "clean", 1, false},
		{"another given pair", 0, base(two), "prepare", 2, false},
		{"taken back before it was served", 0, base(one), "keep", 1, false},
		{"given again", settled, base(two), "prepare", 2, false},
		{"served", settled, base(two), "promote", 2, true},
		{"back to the chart", settled, ownPair(t, ""), "clean", 1, false},
	}.run(t, s, own)
}

// TestSameCAReplacesAtOnce: a new leaf of the CA that is trusted already needs no preparation.
func TestSameCAReplacesAtOnce(t *testing.T) {
	p := testPair(t)
	s := newStubCluster(t)
	s.upgrade(t, base(p))
	other := p
	other.Cert += p.CA // the same leaf with its chain: other bytes under the same CA
	if r := s.upgrade(t, base(other)); r.step() != "keep" || string(r.data("tls.crt")) != other.Cert {
		t.Errorf("step %q", r.step())
	}
}

func TestLostSecret(t *testing.T) {
	s := newStubCluster(t)
	got := refuse(t, ownPair(t, ""), s.args()...)
	for _, want := range []string{"was not found", "provider.tls.rotation=", "openssl x509", "GitOps"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if r := s.upgrade(t, ownPair(t, "again")); r.step() != "new" {
		t.Errorf("step %q, want a new pair", r.step())
	}
	half := (*s.secret.Load())
	delete(half.Get("data").(map[string]any), "ca.crt")
	if got := refuse(t, ownPair(t, ""), s.args()...); !strings.Contains(got, "was not found") {
		t.Errorf("a Secret without its CA: %q", got)
	}
}

func TestMovedURL(t *testing.T) {
	s := newStubCluster(t)
	old := s.upgrade(t, ownPair(t, "a"))
	moved := ownPair(t, "a")
	put(moved, []string{"provider", "url"}, "https://ratify.example")
	if got := refuse(t, moved, s.args()...); !strings.Contains(got, `not for "ratify.example"`) {
		t.Errorf("refused with %q", got)
	}
	put(moved, []string{"provider", "tls", "rotation"}, "b")
	r := s.upgrade(t, moved)
	if r.step() != "move" {
		t.Errorf("step %q", r.step())
	}
	if err := verify(r, r.bundle, "ratify.example"); err != nil {
		t.Error(err)
	}
	if err := verify(old, r.bundle, serviceName); err != nil {
		t.Errorf("the old pair is no longer trusted: %v", err)
	}
}

// TestHandshake goes through TLS itself: Gatekeeper's side accepts the pair in TLS 1.3 by the bundle alone.
func TestHandshake(t *testing.T) {
	r := tlsOf(t, render(t, ownPair(t, "")))
	pair, err := tls.X509KeyPair(r.data("tls.crt"), r.data("tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.bundle)
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{RootCAs: roots, ServerName: serviceName, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
