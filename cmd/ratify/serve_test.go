package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/ratify-provider/ratify/provider"
	"github.com/ratify-provider/ratify/verifier/notation/notationtest"
)

// patience is how long a test waits for what must happen: a hundred times what it takes.
const patience = 30 * time.Second

// A site is all that a provider needs on disk: a layout with an image signed by one of two signers, the certificates of
// both, a configuration that trusts the first, TLS files.
type site struct {
	dir            string
	signer, other  *notationtest.Authority
	clientPair     tls.Certificate
	image          string
	authority      *x509.Certificate
	authorityKey   *ecdsa.PrivateKey
	stderr         *logBuffer
	address        string
	health         string
	cancel         context.CancelFunc
	ended          chan int
	stopped        bool
	stoppedWith    int
	clientRootPool *x509.CertPool
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), stderr: &logBuffer{}}
	s.signer, s.other = newSigner(t, "signer"), newSigner(t, "other")
	s.image = "registry.example/app@" + writeLayout(t, s.path("layout"), s.signer).String()
	s.write(t, "signer.crt", s.signer.PEM())
	s.write(t, "config.yaml", []byte(s.config("")))
	s.newAuthority(t)
	s.writePair(t, "tls", leafTemplate("ratify", x509.ExtKeyUsageServerAuth))
	s.writePair(t, "client", leafTemplate(clientName, x509.ExtKeyUsageClientAuth))
	s.write(t, "ca.crt", pemOf("CERTIFICATE", s.authority.Raw))
	var err error
	if s.clientPair, err = tls.LoadX509KeyPair(s.path("client.crt"), s.path("client.key")); err != nil {
		t.Fatal(err)
	}
	return s
}

const clientName = "gatekeeper-webhook-service.gatekeeper-system.svc"

func newSigner(t *testing.T, name string) *notationtest.Authority {
	t.Helper()
	a, err := notationtest.NewAuthority(notationtest.AuthorityOptions{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *site) config(more string) string {
	return fmt.Sprintf(`
stores: [{name: disk, type: ocilayout, scopes: ["*"], settings: {path: %q}}]
verifiers:
- name: notation
  type: notation
  settings:
    trustStores: [{type: ca, name: certs, files: [%q]}]
    trustPolicy:
      version: "1.0"
      trustPolicies: [{name: default, registryScopes: ["*"], signatureVerification: {level: strict}, trustStores: ["ca:certs"], trustedIdentities: ["*"]}]
policies: [{name: default, scopes: ["*"], verifiers: [notation]}]
%s`, s.path("layout"), s.path("signer.crt"), more)
}

// writeLayout writes an OCI image layout with one signed image in it.
func writeLayout(t *testing.T, dir string, by *notationtest.Authority) digest.Digest {
	t.Helper()
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(data []byte, mediaType string) ocispec.Descriptor {
		d := digest.FromBytes(data)
		if err := os.WriteFile(filepath.Join(blobs, d.Encoded()), data, 0o600); err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	image := put(encode(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: put([]byte("{}"), ocispec.MediaTypeImageConfig), Layers: []ocispec.Descriptor{},
	}), ocispec.MediaTypeImageManifest)
	signer, err := by.Issue(notationtest.LeafOptions{CommonName: "release"})
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := signer.Sign(t.Context(), image, notationtest.SignOptions{MediaType: notationtest.JWS})
	if err != nil {
		t.Fatal(err)
	}
	a, err := notationtest.Attach(image, envelope, notationtest.JWS)
	if err != nil {
		t.Fatal(err)
	}
	put(a.Config, a.ConfigDescriptor.MediaType)
	put(a.Envelope, a.EnvelopeDescriptor.MediaType)
	signature := put(a.Manifest, a.ManifestDescriptor.MediaType)
	index := encode(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{image, signature}})
	for name, data := range map[string][]byte{"index.json": index, "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return image.Digest
}

func (s *site) newAuthority(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := leafTemplate("authority", x509.ExtKeyUsageAny)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.authorityKey = key
	if s.authority, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	s.clientRootPool = x509.NewCertPool()
	s.clientRootPool.AddCert(s.authority)
}

func leafTemplate(name string, usage x509.ExtKeyUsage) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (s *site) writePair(t *testing.T, name string, template *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.authority, key.Public(), s.authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, name+".crt", pemOf("CERTIFICATE", der))
	s.write(t, name+".key", pemOf("PRIVATE KEY", keyDER))
}

func (s *site) args(more ...string) []string {
	return append([]string{"serve", "--config", s.path("config.yaml"), "--cert-dir", s.dir, "--client-ca", s.path("ca.crt"),
		"--client-name", clientName, "--address", "127.0.0.1:0", "--health-address", "127.0.0.1:0", "--shutdown-delay", "0s"}, more...)
}

// serve starts the command and waits until it listens.
func (s *site) serve(t *testing.T, more ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.ended = cancel, make(chan int, 1)
	go func() { s.ended <- run(ctx, s.args(more...), strings.NewReader(""), io.Discard, s.stderr) }()
	t.Cleanup(func() { s.stop() })
	record := s.stderr.wait(t, "listening")
	s.address, s.health = record["address"].(string), record["healthAddress"].(string)
}

func (s *site) stop() int {
	if !s.stopped {
		s.cancel()
		s.stoppedWith, s.stopped = <-s.ended, true
	}
	return s.stoppedWith
}

// verify asks the running provider on a new connection, and returns whether the image is proven and the code.
func (s *site) verify(t *testing.T) (bool, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: s.clientRootPool, Certificates: []tls.Certificate{s.clientPair}}}}
	body, err := json.Marshal(externaldata.NewProviderRequest([]string{s.image}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := client.Post("https://"+s.address+provider.VerifyPath, "application/json", bytes.NewReader(body))
	if err != nil {
		return false, err.Error()
	}
	defer r.Body.Close()
	var response struct {
		Response struct {
			SystemError string
			Items       []struct {
				Value struct {
					IsSuccess bool
					Code      string
				}
			}
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&response); err != nil {
		t.Fatal(err)
	}
	if response.Response.SystemError != "" {
		return false, response.Response.SystemError
	}
	value := response.Response.Items[0].Value
	return value.IsSuccess, value.Code
}

// logBuffer is a log that can be waited on.
type logBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// count tells how many records have this message and all these words in them.
func (b *logBuffer) count(message string, words ...string) (n int, last map[string]any) {
	for line := range strings.Lines(b.String()) {
		var record map[string]any
		if json.Unmarshal([]byte(line), &record) != nil || record["msg"] != message {
			continue
		}
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n, last = n+1, record
		}
	}
	return n, last
}

func (b *logBuffer) wait(t *testing.T, message string, words ...string) map[string]any {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if n, record := b.count(message, words...); n > 0 {
			return record
		}
	}
	t.Fatalf("the log never says %q %q:\n%s", message, words, b)
	return nil
}

func TestServe(t *testing.T) {
	s := newSite(t)
	s.serve(t)
	if ok, code := s.verify(t); !ok || code != "VERIFIED" {
		t.Fatalf("%t %s", ok, code)
	}
	if record := s.stderr.wait(t, "verify", s.image); record["isSuccess"] != true || record["verifierReports"] == nil {
		t.Errorf("%v", record)
	}
	r, err := http.Get("http://" + s.health + "/readyz")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("readyz: %v, %v", r, err)
	}
	if code := s.stop(); code != exitVerified {
		t.Errorf("ended with %d:\n%s", code, s.stderr)
	}
}

// TestServeReloads: trust, policy and certificates change under a running server; what is wrong changes nothing.
func TestServeReloads(t *testing.T) {
	s := newSite(t)
	s.serve(t)
	expect := func(wantOK bool, wantCode string) {
		t.Helper()
		if ok, code := s.verify(t); ok != wantOK || code != wantCode {
			t.Fatalf("got %t %s, want %t %s\n%s", ok, code, wantOK, wantCode, s.stderr)
		}
	}
	reloads := 0
	reloaded := func(what string) {
		t.Helper()
		reloads++
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if n, _ := s.stderr.count("reloaded"); n >= reloads {
				return
			}
		}
		t.Fatalf("%s was not reloaded:\n%s", what, s.stderr)
	}
	expect(true, "VERIFIED")

	s.write(t, "signer.crt", s.other.PEM())
	reloaded("the trust store")
	expect(false, "UNTRUSTED_SIGNER")

	s.write(t, "signer.crt", s.signer.PEM())
	reloaded("the trust store")
	expect(true, "VERIFIED")

	s.write(t, "config.yaml", []byte(s.config("polices: []")))
	record := s.stderr.wait(t, "reload failed, the last good one stays in force", "configuration")
	if !strings.Contains(fmt.Sprint(record["error"]), `did you mean`) {
		t.Errorf("%v", record)
	}
	expect(true, "VERIFIED")

	s.write(t, "config.yaml", []byte(strings.Replace(s.config(""), `scopes: ["*"], verifiers`, `scopes: ["other.example/*"], verifiers`, 1)))
	reloaded("the configuration")
	expect(false, "NO_POLICY")

	s.write(t, "config.yaml", []byte(s.config("")))
	reloaded("the configuration")
	s.newAuthority(t)
	s.writePair(t, "tls", leafTemplate("ratify", x509.ExtKeyUsageServerAuth))
	reloaded("the TLS pair")
	expect(true, "VERIFIED") // the new pair, by Gatekeeper's old certificate
}

// TestServeFollowsSymlinks: a mounted Secret is swapped by one symbolic link.
func TestServeFollowsSymlinks(t *testing.T) {
	s := newSite(t)
	for generation, a := range map[string]*notationtest.Authority{"..1": s.signer, "..2": s.other} {
		if err := os.MkdirAll(s.path("certs/"+generation), 0o700); err != nil {
			t.Fatal(err)
		}
		s.write(t, "certs/"+generation+"/ca.crt", a.PEM())
	}
	swap := func(to string) {
		t.Helper()
		if err := os.Symlink(to, s.path("certs/..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.path("certs/..tmp"), s.path("certs/..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("..1")
	if err := os.Symlink("..data/ca.crt", s.path("certs/ca.crt")); err != nil {
		t.Fatal(err)
	}
	s.write(t, "config.yaml", []byte(strings.Replace(s.config(""), fmt.Sprintf("files: [%q]", s.path("signer.crt")), fmt.Sprintf("directories: [%q]", s.path("certs")), 1)))
	s.serve(t)
	for i := range 10 {
		want := i%2 == 0
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			ok, code := s.verify(t)
			if ok == want {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("swap %d: %t %s\n%s", i, ok, code, s.stderr)
			}
		}
		swap([]string{"..2", "..1"}[i%2])
	}
}

func TestServeDoesNotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		change func(s *site)
		more   []string
		want   string
	}{
		"no configuration file": {func(s *site) { os.Remove(s.path("config.yaml")) }, nil, "no such file"},
		"empty configuration":   {func(s *site) { s.write(t, "config.yaml", nil) }, nil, "the configuration is empty"},
		"bad configuration":     {func(s *site) { s.write(t, "config.yaml", []byte(s.config("verifyers: []"))) }, nil, `unknown field "verifyers" (did you mean "verifiers"?)`},
		"truncated":             {func(s *site) { s.write(t, "config.yaml", []byte("stores: [{name: ")) }, nil, "not valid YAML"},
		"two policies, one scope": {func(s *site) {
			s.write(t, "config.yaml", []byte(strings.Replace(s.config(""), "policies: [", `policies: [{name: twin, scopes: ["*"], verifiers: [notation]}, `, 1)))
		}, nil, `already the scope of policies[0] "twin"`},
		"missing trust store": {func(s *site) { os.Remove(s.path("signer.crt")) }, nil, "signer.crt"},
		"empty trust store":   {func(s *site) { s.write(t, "signer.crt", nil) }, nil, "signer.crt"},
		"unreadable certificate": {func(s *site) {
			s.write(t, "signer.crt", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
		}, nil, "signer.crt"},
		"expired pair": {func(s *site) {
			template := leafTemplate("ratify", x509.ExtKeyUsageServerAuth)
			template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			s.writePair(t, "tls", template)
		}, nil, "has expired on"},
		"port in use":         {func(*site) {}, []string{"--address", taken.Addr().String()}, "address already in use"},
		"health port in use":  {func(*site) {}, []string{"--health-address", taken.Addr().String()}, "address already in use"},
		"no client CA":        {func(*site) {}, []string{"--client-ca", ""}, "--client-ca is missing"},
		"no cert dir":         {func(*site) {}, []string{"--cert-dir", ""}, "--cert-dir is missing"},
		"no config":           {func(*site) {}, []string{"--config", ""}, "--config is missing"},
		"timeout of zero":     {func(*site) {}, []string{"--verify-timeout", "0s"}, "timeouts must be positive"},
		"unknown log level":   {func(*site) {}, []string{"--log-level", "loud"}, "--log-level loud is unknown"},
		"an argument":         {func(*site) {}, []string{"x"}, "takes no arguments"},
		"an unknown flag":     {func(*site) {}, []string{"--addresss", "x"}, "did you mean --address?"},
		"garbage client CA":   {func(s *site) { s.write(t, "ca.crt", []byte("x")) }, nil, "no PEM block"},
		"pair of another key": {func(s *site) { s.write(t, "tls.key", must(os.ReadFile(s.path("client.key")))) }, nil, "private key does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c.change(s)
			if code := run(t.Context(), s.args(c.more...), strings.NewReader(""), io.Discard, s.stderr); code != exitUsage {
				t.Errorf("exit code %d", code)
			}
			if !strings.Contains(s.stderr.String(), c.want) {
				t.Errorf("it says %q, want %q", s.stderr, c.want)
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestServeTellsOfALaxPolicy: what does not enforce says so where its operator looks.
func TestServeTellsOfALaxPolicy(t *testing.T) {
	s := newSite(t)
	lax := strings.Replace(s.config(""), "level: strict", "level: audit", 1)
	s.write(t, "config.yaml", []byte(lax))
	s.serve(t)
	s.stderr.wait(t, "the configuration is lax", "unsigned images are admitted")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"check", s.path("config.yaml")}, strings.NewReader(""), &stdout, &stderr); code != exitVerified ||
		!strings.Contains(stdout.String()+stderr.String(), `verifiers[0] "notation": trust policy statement "default" (level audit): unsigned images are admitted`) {
		t.Errorf("check: %d\n%s%s", code, &stdout, &stderr)
	}
}

func TestServeWithoutClientAuth(t *testing.T) {
	s := newSite(t)
	s.serve(t, "--client-ca", "", "--insecure-no-client-auth")
	s.clientPair = tls.Certificate{}
	if ok, code := s.verify(t); !ok {
		t.Errorf("%s", code)
	}
	s.stderr.wait(t, "client certificates are not checked: anybody who reaches the port can ask")
}
