package provider

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
)

const gatekeeperName = "gatekeeper-webhook-service.gatekeeper-system.svc"

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

type leafOptions struct {
	cn, dns             string
	usage               x509.ExtKeyUsage
	notBefore, notAfter time.Time
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) leaf(t testing.TB, o leafOptions) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if o.notBefore.IsZero() {
		o.notBefore = time.Now().Add(-time.Minute)
	}
	if o.notAfter.IsZero() {
		o.notAfter = time.Now().Add(time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: o.cn},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{o.usage},
		NotBefore: o.notBefore, NotAfter: o.notAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if o.dns != "" {
		template.DNSNames = []string{o.dns}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func write(t testing.TB, dir string, contents map[string][]byte) {
	t.Helper()
	for name, data := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// installation is a provider's certificates on disk and those of its caller.
type installation struct {
	dir                string
	serverCA, clientCA *authority
	options            TLSOptions
}

func install(t testing.TB) *installation {
	t.Helper()
	i := &installation{dir: t.TempDir(), serverCA: newAuthority(t, "server CA"), clientCA: newAuthority(t, "gatekeeper-ca")}
	crt, key := i.serverCA.leaf(t, leafOptions{cn: "ratify", usage: x509.ExtKeyUsageServerAuth})
	write(t, i.dir, map[string][]byte{"tls.crt": crt, "tls.key": key, "ca.crt": i.clientCA.pem})
	i.options = TLSOptions{CertDir: i.dir, ClientCA: filepath.Join(i.dir, "ca.crt"), ClientNames: []string{gatekeeperName}}
	return i
}

func (i *installation) client(t testing.TB, by *authority, o leafOptions) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(i.serverCA.cert)
	config := &tls.Config{RootCAs: pool}
	if by != nil {
		crt, key := by.leaf(t, o)
		pair, err := tls.X509KeyPair(crt, key)
		if err != nil {
			t.Fatal(err)
		}
		// The server's list of CAs must not decide what is shown: the test wants it refused by the server.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 5 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

var gatekeeper = leafOptions{cn: gatekeeperName, dns: gatekeeperName, usage: x509.ExtKeyUsageClientAuth}

// running is a server under test.
type running struct {
	*face
	tls         *TLS
	url, health string
	stop        func() error
}

func run(t testing.TB, i *installation, adjust ...func(*Server)) *running {
	t.Helper()
	f := newFace(t, "")
	certificates, err := NewTLS(i.options, f.provider.options.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	addresses := make(chan [2]net.Addr, 1)
	s := &Server{
		Provider: f.provider, TLS: certificates, Log: zap.NewNop(), Address: "127.0.0.1:0", HealthAddress: "127.0.0.1:0",
		Listening: func(a, h net.Addr) { addresses <- [2]net.Addr{a, h} },
	}
	for _, change := range adjust {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	a := <-addresses
	var stopped error
	done := false
	stop := func() error {
		if !done {
			cancel()
			stopped, done = <-ended, true
		}
		return stopped
	}
	t.Cleanup(func() { _ = stop() })
	return &running{face: f, tls: certificates, url: "https://" + a[0].String() + VerifyPath, health: "http://" + a[1].String(), stop: stop}
}

// patient has deadlines that no test reaches.
func patient(s *Server) { s.Provider.options.VerifyTimeout = patience }

func ask(client *http.Client, url string) (string, error) {
	r, err := client.Post(url, "application/json", strings.NewReader(requestBody("reg.example/pass:1")))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	return fmt.Sprint(r.StatusCode, " ", string(data)), err
}

func TestClientCertificates(t *testing.T) {
	i := install(t)
	r := run(t, i)
	other := newAuthority(t, "gatekeeper-ca")
	for name, c := range map[string]struct {
		by *authority
		o  leafOptions
		ok bool
	}{
		"Gatekeeper's":       {i.clientCA, gatekeeper, true},
		"name in CN alone":   {i.clientCA, leafOptions{cn: gatekeeperName, usage: x509.ExtKeyUsageClientAuth}, true},
		"none":               {nil, leafOptions{}, false},
		"another CA":         {other, gatekeeper, false},
		"expired":            {i.clientCA, leafOptions{cn: gatekeeperName, usage: x509.ExtKeyUsageClientAuth, notBefore: time.Now().Add(-2 * time.Hour), notAfter: time.Now().Add(-time.Hour)}, false},
		"not yet valid":      {i.clientCA, leafOptions{cn: gatekeeperName, usage: x509.ExtKeyUsageClientAuth, notBefore: time.Now().Add(time.Hour), notAfter: time.Now().Add(2 * time.Hour)}, false},
		"usage of a server":  {i.clientCA, leafOptions{cn: gatekeeperName, usage: x509.ExtKeyUsageServerAuth}, false},
		"another name":       {i.clientCA, leafOptions{cn: "kubelet", dns: "kubelet", usage: x509.ExtKeyUsageClientAuth}, false},
		"name as a part":     {i.clientCA, leafOptions{cn: "x" + gatekeeperName, usage: x509.ExtKeyUsageClientAuth}, false},
		"name as a wildcard": {i.clientCA, leafOptions{cn: "x", dns: "*.gatekeeper-system.svc", usage: x509.ExtKeyUsageClientAuth}, false},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := ask(i.client(t, c.by, c.o), r.url)
			if (err == nil) != c.ok || c.ok && !strings.HasPrefix(answer, "200") {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
	if r.resolves.Load() != 1 {
		t.Errorf("%d manifests read: refused callers caused work", r.resolves.Load())
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	i := install(t)
	r := run(t, i)
	client := i.client(t, i.clientCA, gatekeeper)
	client.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if answer, err := ask(client, r.url); err == nil {
		t.Errorf("TLS 1.2 was accepted: %s", answer)
	}
}

func TestTLSAtStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, i *installation)
		want   string
	}{
		"no client CA":      {func(_ *testing.T, i *installation) { i.options.ClientCA = "" }, "--client-ca is missing"},
		"no client name":    {func(_ *testing.T, i *installation) { i.options.ClientNames = nil }, "--client-name is missing"},
		"both":              {func(_ *testing.T, i *installation) { i.options.InsecureNoClientAuth = true }, "contradict"},
		"no pair":           {func(_ *testing.T, i *installation) { i.options.CertDir = "" }, "--cert-dir is missing"},
		"pair not there":    {func(_ *testing.T, i *installation) { i.options.CertDir = "/nonexistent" }, "no such file"},
		"garbage pair":      {func(t *testing.T, i *installation) { write(t, i.dir, map[string][]byte{"tls.crt": []byte("x")}) }, "tls.crt"},
		"garbage client CA": {func(t *testing.T, i *installation) { write(t, i.dir, map[string][]byte{"ca.crt": []byte("x")}) }, "no PEM block"},
		"empty client CA":   {func(t *testing.T, i *installation) { write(t, i.dir, map[string][]byte{"ca.crt": nil}) }, "no certificate"},
		"half a client CA": {func(t *testing.T, i *installation) {
			write(t, i.dir, map[string][]byte{"ca.crt": append(bytes.Clone(i.clientCA.pem), "-----BEGIN CERT"...)})
		}, "no PEM block"},
		"key of another pair": {func(t *testing.T, i *installation) {
			_, key := i.serverCA.leaf(t, leafOptions{cn: "x"})
			write(t, i.dir, map[string][]byte{"tls.key": key})
		}, "private key does not match"},
		"damaged block in a client CA": {func(t *testing.T, i *installation) {
			damaged := bytes.Replace(i.clientCA.pem, []byte("M"), []byte("*"), 1)
			write(t, i.dir, map[string][]byte{"ca.crt": append(damaged, newAuthority(t, "another").pem...)})
		}, "a block is damaged"},
		"empty client name": {func(_ *testing.T, i *installation) { i.options.ClientNames = []string{gatekeeperName, ""} }, "--client-name is empty"},
		"expired pair": {func(t *testing.T, i *installation) {
			crt, key := i.serverCA.leaf(t, leafOptions{cn: "x", notBefore: time.Now().Add(-2 * time.Hour), notAfter: time.Now().Add(-time.Hour)})
			write(t, i.dir, map[string][]byte{"tls.crt": crt, "tls.key": key})
		}, "has expired on"},
		"pair of the future": {func(t *testing.T, i *installation) {
			crt, key := i.serverCA.leaf(t, leafOptions{cn: "x", notBefore: time.Now().Add(time.Hour)})
			write(t, i.dir, map[string][]byte{"tls.crt": crt, "tls.key": key})
		}, "not valid before"},
	} {
		t.Run(name, func(t *testing.T) {
			i := install(t)
			c.change(t, i)
			if _, err := NewTLS(i.options, NewMetrics()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	i := install(t)
	i.options = TLSOptions{CertDir: i.dir, InsecureNoClientAuth: true}
	r := run(t, i)
	if answer, err := ask(i.client(t, nil, leafOptions{}), r.url); err != nil || !strings.HasPrefix(answer, "200") {
		t.Errorf("without client certificates, as asked for: %q, %v", answer, err)
	}
}

// TestTLSReload: pair and client CA are replaced one file after the other; what does not fit leaves the last good ones.
func TestTLSReload(t *testing.T) {
	i := install(t)
	r := run(t, i)
	client := i.client(t, i.clientCA, gatekeeper)
	mustAsk := func(client *http.Client) {
		t.Helper()
		if answer, err := ask(client, r.url); err != nil || !strings.HasPrefix(answer, "200") {
			t.Fatalf("%q, %v", answer, err)
		}
	}
	mustAsk(client)
	if r.tls.Changed() {
		t.Error("changed, without a change")
	}
	crt, key := i.serverCA.leaf(t, leafOptions{cn: "new", usage: x509.ExtKeyUsageServerAuth})
	write(t, i.dir, map[string][]byte{"tls.crt": crt})
	if !r.tls.Changed() || r.tls.Load() == nil {
		t.Error("a certificate without its key was taken")
	}
	if r.tls.Changed() {
		t.Error("what failed is tried again although nothing changed")
	}
	mustAsk(i.client(t, i.clientCA, gatekeeper))
	write(t, i.dir, map[string][]byte{"tls.key": key})
	if !r.tls.Changed() || r.tls.Load() != nil {
		t.Error("the new pair was not taken")
	}
	fresh := i.client(t, i.clientCA, gatekeeper)
	mustAsk(fresh)
	if answer, err := fresh.Get(strings.TrimSuffix(r.url, VerifyPath)); err != nil || answer.TLS.PeerCertificates[0].Subject.CommonName != "new" {
		t.Errorf("the old certificate is still served: %v", err)
	}

	mustAsk(client) // a connection that is kept open
	newCA := newAuthority(t, "gatekeeper-ca")
	write(t, i.dir, map[string][]byte{"ca.crt": newCA.pem})
	if err := r.tls.Load(); err != nil {
		t.Fatal(err)
	}
	mustAsk(i.client(t, newCA, gatekeeper))
	answer, err := ask(client, r.url)
	if err == nil && !strings.HasPrefix(answer, "403") {
		t.Errorf("a connection outlived the CA that it was let in by: %s", answer)
	}
	if _, err := ask(i.client(t, i.clientCA, gatekeeper), r.url); err == nil {
		t.Error("the old CA is still accepted")
	}
}

func TestProbesAndMetrics(t *testing.T) {
	i := install(t)
	r := run(t, i)
	get := func(path string) (int, string) {
		t.Helper()
		response, err := http.Get(r.health + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		data, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(data)
	}
	if status, _ := get("/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	if status, _ := get("/readyz"); status != 200 {
		t.Errorf("readyz: %d", status)
	}
	current := r.provider.current.Swap(nil)
	if status, _ := get("/readyz"); status != 503 {
		t.Errorf("readyz without a configuration: %d", status)
	}
	r.provider.current.Store(current)
	if _, err := ask(i.client(t, i.clientCA, gatekeeper), r.url); err != nil {
		t.Fatal(err)
	}
	r.provider.options.Metrics.RegistryRequest("other", 200)
	r.provider.options.Metrics.Reload("configuration", nil)
	r.provider.options.Metrics.Reload("tls", fmt.Errorf("x"))
	_, text := get("/metrics")
	for _, want := range []string{
		`ratify_requests_total{operation="verify",result="ok"} 1`,
		`ratify_verdicts_total{code="VERIFIED",operation="verify"} 1`,
		`ratify_cache_lookups_total{cache="verdict",result="miss"} 1`,
		`ratify_registry_requests_total{registry="other",status="200"} 1`,
		`ratify_reloads_total{result="success",what="configuration"} 1`,
		`ratify_reloads_total{result="failure",what="tls"} 1`,
		`ratify_last_reload_successful{what="configuration"} 1`,
		`ratify_last_reload_successful{what="tls"} 0`,
		`ratify_certificate_expiry_timestamp_seconds{certificate="serving"} `,
		`ratify_certificate_expiry_timestamp_seconds{certificate="client_ca"} `,
		`ratify_request_duration_seconds_count{operation="verify"} 1`,
		"ratify_configuration_loaded_timestamp_seconds ", "ratify_work_in_progress 0", "ratify_cache_entries 1", "ratify_cache_bytes ", "ratify_cache_evicted 0", "ratify_panics_total 0", "go_goroutines ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no metric %s", want)
		}
	}
}

// TestEndDropsNothing: requests under way at the end are answered.
func TestEndDropsNothing(t *testing.T) {
	i := install(t)
	r := run(t, i, patient)
	client := i.client(t, i.clientCA, gatekeeper)
	answers := make(chan string, 1)
	go func() {
		response, err := client.Post(r.url, "application/json", strings.NewReader(requestBody(atDigest("slow", "x"))))
		if err != nil {
			answers <- err.Error()
			return
		}
		defer response.Body.Close()
		data, _ := io.ReadAll(response.Body)
		answers <- string(data)
	}()
	for r.verifies.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	ended := make(chan error)
	go func() { ended <- r.stop() }()
	for {
		if _, err := http.Get(r.health + "/healthz"); err != nil {
			break // the listeners are closed: the end has begun
		}
		if _, err := ask(i.client(t, i.clientCA, gatekeeper), r.url); err != nil {
			break
		}
	}
	close(r.gate)
	if answer := <-answers; !strings.Contains(answer, `"isSuccess":true`) {
		t.Errorf("%s", answer)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPortInUse(t *testing.T) {
	i := install(t)
	f := newFace(t, "")
	certificates, err := NewTLS(i.options, f.provider.options.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, addresses := range [][2]string{{taken.Addr().String(), "127.0.0.1:0"}, {"127.0.0.1:0", taken.Addr().String()}} {
		s := &Server{Provider: f.provider, TLS: certificates, Log: zap.NewNop(), Address: addresses[0], HealthAddress: addresses[1]}
		if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%v: %v", addresses, err)
		}
	}
}

// TestSlowClients: who sends headers or a body too slowly is cut off, and does not hold a place.
func TestSlowClients(t *testing.T) {
	i := install(t)
	r := run(t, i)
	client := i.client(t, i.clientCA, gatekeeper)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(strings.TrimSuffix(r.url, VerifyPath), "https://"), client.Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST "+VerifyPath+" HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = io.ReadAll(conn)
	if took := time.Since(began); err != nil || took > headerTime+2*time.Second {
		t.Errorf("cut off after %v: %v", took, err)
	}
}

// TestLoadContainsAPanic: what parses certificates may panic, and the last good ones go on serving.
func TestLoadContainsAPanic(t *testing.T) {
	l := &TLS{metrics: NewMetrics()}
	if _, err := l.loadContained(nil); err == nil || !strings.HasPrefix(err.Error(), "panic: ") || testutil.ToFloat64(l.metrics.panics) != 1 {
		t.Errorf("%v", err)
	}
}
