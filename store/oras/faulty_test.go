package oras

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ratify-provider/ratify"
)

func TestFaultyRegistry(t *testing.T) {
	type handler = func(http.ResponseWriter, *http.Request) bool
	manifest := newFixture().image.Data
	for _, tc := range []struct {
		name     string
		do       func(context.Context, ratify.Repository, fixture) error
		before   handler
		want     ratify.Code
		requests int
	}{
		{name: "429, come back in an hour", do: resolveTag, before: answer(429, "", nil, "Retry-After", "3600"), want: ratify.RateLimited, requests: 1},
		{name: "429, come back at a date", do: resolveTag, before: answer(429, "", nil, "Retry-After", "Fri, 31 Dec 2100 23:59:59 GMT"), want: ratify.RateLimited, requests: 1},
		{name: "429, come back soon, rubbish", do: resolveTag, before: answer(429, "", nil, "Retry-After", "soon"), want: ratify.RateLimited, requests: 1},
		{name: "429, come back at once", do: resolveTag, before: answer(429, "", nil, "Retry-After", "0"), want: ratify.RateLimited, requests: 2},
		{name: "429", do: listReferrers, before: answer(429, "", nil), want: ratify.RateLimited, requests: 2},
		{name: "500", do: resolveTag, before: answer(500, "", nil), want: ratify.RegistryUnavailable, requests: 1},
		{name: "502", do: fetchBlob, before: answer(502, "", nil), want: ratify.RegistryUnavailable, requests: 2},
		{name: "503", do: listReferrers, before: answer(503, "", nil), want: ratify.RegistryUnavailable, requests: 2},
		{name: "504", do: fetchManifest, before: answer(504, "", nil), want: ratify.RegistryUnavailable, requests: 2},
		{name: "503 once", do: resolveTag, before: once(answer(503, "", nil)), want: "", requests: 2},
		{name: "reset before the answer, once", do: resolveTag, before: once(reset), want: "", requests: 2},
		{name: "reset before the answer", do: resolveTag, before: reset, want: ratify.RegistryUnavailable, requests: 4},
		{name: "reset in mid body", do: fetchBlob, before: resetAfter("", "ten"), want: ratify.RegistryUnavailable, requests: 1},
		{name: "reset in mid manifest", do: resolveTag, before: resetAfter(ocispec.MediaTypeImageManifest, string(manifest[:20])), want: ratify.RegistryUnavailable, requests: 1},
		{name: "reset in mid list", do: listReferrers, before: resetAfter(index, `{"manifests":[`), want: ratify.RegistryUnavailable, requests: 1},
		{name: "truncated list", do: listReferrers, before: answer(200, index, []byte(`{"manifests":[`)), want: ratify.RegistryUnavailable, requests: 1},
		{name: "truncated manifest", do: resolveTag, before: answer(200, ocispec.MediaTypeImageManifest, manifest[:20]), want: ratify.RegistryInvalid, requests: 1},
		{name: "mislabelled manifest", do: resolveDigest, before: answer(200, "text/plain", manifest), want: "", requests: 1},
		{name: "mislabelled manifest without a media type", do: resolveTag, before: answer(200, "text/plain", []byte(`{"config":{},"layers":[]}`)), want: ratify.SubjectInvalid, requests: 1},
		{name: "empty manifest", do: resolveTag, before: answer(200, ocispec.MediaTypeImageManifest, nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "empty list", do: listReferrers, before: answer(200, index, nil), want: ratify.RegistryUnavailable, requests: 1},
		{name: "empty blob", do: fetchBlob, before: answer(200, "", nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "HTML for a manifest", do: resolveTag, before: answer(200, "text/html", []byte("<html>")), want: ratify.RegistryInvalid, requests: 1},
		{name: "HTML for a list that is called an index", do: listReferrers, before: answer(200, index, []byte("<html>")), want: ratify.RegistryInvalid, requests: 1},
		{name: "HTML for a list", do: listReferrers, before: answer(200, "text/html", []byte("<html>")), want: ratify.RegistryInvalid, requests: 1},
		{name: "a list without a media type", do: listReferrers, before: answer(200, "application/json", []byte(`{"manifests":[]}`)), want: ratify.RegistryInvalid, requests: 1},
		{name: "404 for the second page", do: listReferrers, want: ratify.RegistryInvalid, requests: 2,
			before: func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Link", `<?page=2>; rel="next"`)
				return r.URL.RawQuery != "" && answer(404, "", nil)(w, r)
			}},
		{name: "204 for a manifest", do: resolveTag, before: answer(204, "", nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "206 for a blob", do: fetchBlob, before: answer(206, "", []byte("ten")), want: ratify.RegistryInvalid, requests: 1},
		{name: "206 for a list", do: listReferrers, before: answer(206, index, []byte(`{}`)), want: ratify.RegistryInvalid, requests: 1},
		{name: "304", do: resolveTag, before: answer(304, "", nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "302 that leads nowhere", do: resolveTag, before: answer(302, "", nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "404 for a blob that is referred to", do: fetchBlob, before: answer(404, "", nil), want: ratify.RegistryInvalid, requests: 1},
		{name: "404 for a manifest", do: resolveTag, before: answer(404, "", []byte(`{"errors":[{"code":"NAME_UNKNOWN"}]}`)), want: ratify.SubjectNotFound, requests: 1},
		{name: "404 for every list is no list", do: listReferrers, before: answer(404, "", []byte(`{"errors":[{"code":"NAME_UNKNOWN"}]}`)), want: "", requests: 2},
		{name: "500 for a list is not an empty one", do: listReferrers, before: answer(500, "", nil), want: ratify.RegistryUnavailable, requests: 1},
		{name: "403 for a list is not an empty one", do: listReferrers, before: answer(403, "", nil), want: ratify.RegistryAuth, requests: 1},
		{name: "403 for the fallback tag is not an empty list", do: listReferrers, want: ratify.RegistryAuth, requests: 2,
			before: func(w http.ResponseWriter, r *http.Request) bool {
				return strings.Contains(r.URL.Path, "/manifests/") && answer(403, "", nil)(w, r)
			}},
		{name: "image under the fallback tag", do: listReferrers, before: underTag(ocispec.MediaTypeImageManifest, manifest), want: "", requests: 2},
		{name: "Docker's list of platforms under the fallback tag", do: listReferrers, want: "", requests: 2,
			before: underTag(ratify.MediaTypeDockerManifestList, []byte(`{"mediaType":"`+ratify.MediaTypeDockerManifestList+`","manifests":[]}`))},
		{name: "HTML under the fallback tag", do: listReferrers, before: underTag("text/html", []byte("<html>")), want: ratify.RegistryInvalid, requests: 2},
		{name: "HTML that is called an image, under the fallback tag", do: listReferrers, before: underTag(ocispec.MediaTypeImageManifest, []byte("<html>")), want: ratify.RegistryInvalid, requests: 2},
		{name: "JSON of no known kind under the fallback tag", do: listReferrers, before: underTag("application/json", []byte(`{"status":"maintenance"}`)), want: ratify.RegistryInvalid, requests: 2},
		{name: "index that is called an image, under the fallback tag", do: listReferrers, want: ratify.RegistryInvalid, requests: 2,
			before: underTag(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+index+`","manifests":[]}`))},
		{name: "image of more than 4 MiB under the fallback tag", do: listReferrers, want: ratify.RegistryInvalid, requests: 2,
			before: underTag(ocispec.MediaTypeImageManifest, make([]byte, ratify.MaxManifestBytes+1))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f := newFake(t, c.content())
			f.before, f.tagOnly = tc.before, strings.Contains(tc.name, "fallback")
			err := tc.do(t.Context(), openFake(t, f, nil), c)
			checkFailure(t, err, tc.want)
			if seen := f.seen(); len(seen) > tc.requests {
				t.Errorf("%d requests, want at most %d: %q", len(seen), tc.requests, seen)
			}
		})
	}
}

// underTag answers for the fallback tag.
func underTag(contentType string, body []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/manifests/sha256-") && answer(200, contentType, body)(w, r)
	}
}

// One bad answer must not make a signed image an unsigned one for longer than that answer.
func TestReferrersAfterBadAnswers(t *testing.T) {
	html, missing, down := answer(200, "text/html", []byte("<html>")), answer(404, "", nil), answer(503, "", nil)
	emptyList := underTag(index, []byte(`{"manifests":[]}`))
	type call struct {
		before func(http.ResponseWriter, *http.Request) bool
		want   ratify.Code
		found  int
		asks   string // A is the API, T the fallback tag
	}
	for _, tc := range []struct {
		name             string
		tagOnly, nothing bool
		calls            []call
	}{
		{name: "API, first 404 then good", calls: []call{{once(missing), "", 0, "AT"}, {nil, "", 1, "TA"}, {nil, "", 1, "A"}}},
		{name: "API, first HTML then good", calls: []call{{once(html), ratify.RegistryInvalid, 0, "A"}, {nil, "", 1, "A"}}},
		{name: "API, first 404, then down", calls: []call{{once(missing), "", 0, "AT"}, {underReferrers(down), ratify.RegistryUnavailable, 0, "TAA"}, {nil, "", 1, "TA"}}},
		{name: "API, first 404, then HTML", calls: []call{{once(missing), "", 0, "AT"}, {underReferrers(html), ratify.RegistryInvalid, 0, "TA"}, {nil, "", 1, "TA"}}},
		{name: "API, first 404 and an empty list under the tag", calls: []call{{both(once(missing), emptyList), "", 0, "AT"}, {emptyList, "", 1, "TA"}}},
		{name: "fallback tag, always", tagOnly: true, calls: []call{{nil, "", 1, "AT"}, {nil, "", 1, "T"}, {nil, "", 1, "T"}}},
		{name: "fallback tag, first HTML then good", tagOnly: true, calls: []call{{once(html), ratify.RegistryInvalid, 0, "A"}, {nil, "", 1, "AT"}, {nil, "", 1, "T"}}},
		{name: "fallback tag, HTML for the tag then good", tagOnly: true, calls: []call{{underTag("text/html", nil), ratify.RegistryInvalid, 0, "AT"}, {nil, "", 1, "AT"}, {underTag("text/html", nil), ratify.RegistryInvalid, 0, "T"}, {nil, "", 1, "AT"}}},
		{name: "API, first 404 and rubbish under the tag", calls: []call{{both(once(missing), underTag("text/html", nil)), ratify.RegistryInvalid, 0, "AT"}, {underTag("text/html", nil), "", 1, "A"}}},
		{name: "fallback tag, 404 for the tag then good", tagOnly: true, calls: []call{{missing, "", 0, "AT"}, {nil, "", 1, "T"}}},
		{name: "neither, always", tagOnly: true, nothing: true, calls: []call{{nil, "", 0, "AT"}, {nil, "", 0, "TA"}, {nil, "", 0, "TA"}}},
		{name: "neither, first HTML then good", tagOnly: true, nothing: true, calls: []call{{once(html), ratify.RegistryInvalid, 0, "A"}, {nil, "", 0, "AT"}, {nil, "", 0, "TA"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			held := c.content()
			if tc.nothing {
				held.Manifests = held.Manifests[:1]
			}
			f := newFake(t, held)
			f.tagOnly = tc.tagOnly
			repo := openFake(t, f, nil)
			for i, call := range tc.calls {
				f.before = call.before
				before := len(f.seen())
				got, err := repo.Referrers(t.Context(), c.image.Desc)
				checkFailure(t, err, call.want)
				asked := ""
				for _, line := range f.seen()[before:] {
					if strings.Contains(line, "/referrers/") {
						asked += "A"
					} else {
						asked += "T"
					}
				}
				if len(got) != call.found || asked != call.asks {
					t.Errorf("call %d found %d by %s, want %d by %s", i+1, len(got), asked, call.found, call.asks)
				}
			}
		})
	}
}

// underReferrers lets a fault befall the referrers API alone.
func underReferrers(fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/referrers/") && fault(w, r)
	}
}

func both(first, second func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool { return first(w, r) || second(w, r) }
}

func once(fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	done := false
	return func(w http.ResponseWriter, r *http.Request) bool {
		if done {
			return false
		}
		done = true
		return fault(w, r)
	}
}

// reset ends the connection without an answer.
func reset(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }

// resetAfter ends the connection in mid body.
func resetAfter(contentType, text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.Write([]byte(text))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// A registry that is slow in any way ends with the caller's deadline as the context's error, and with the store's own
// bound as an unavailable registry.
func TestSlowRegistry(t *testing.T) {
	head := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", index)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	}
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"no answer":                   func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
		"headers, then silence":       func(w http.ResponseWriter, r *http.Request) bool { head(w); <-r.Context().Done(); return true },
		"a byte, then a byte, a byte": func(w http.ResponseWriter, r *http.Request) bool { head(w); return drip(w, r) },
	} {
		for op, do := range map[string]func(context.Context, ratify.Repository, fixture) error{
			"resolve": resolveTag, "referrers": listReferrers,
		} {
			t.Run(name+", "+op, func(t *testing.T) {
				c := newFixture()
				f := newFake(t, c.content())
				f.before = before
				pool := NewPool()
				repo := open(t, newStore(t, Deps{Pool: pool}, f.entry(t)), f.repository())

				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				err := do(ctx, repo, c)
				var e *ratify.Error
				if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) {
					t.Errorf("error %v under an ended context, want the context's", err)
				}

				pool.requestTimeout = 100 * time.Millisecond
				checkFailure(t, do(t.Context(), repo, c), ratify.RegistryUnavailable)
			})
		}
	}
}

func drip(w http.ResponseWriter, r *http.Request) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return true
		case <-tick.C:
			w.Write([]byte(" "))
			w.(http.Flusher).Flush()
		}
	}
}

func TestNobodyListens(t *testing.T) {
	host := freePort(t)
	store := newStore(t, Deps{}, Registry{Host: host, AllowPrivate: true})
	err := resolveTag(t.Context(), open(t, store, host+"/app"), newFixture())
	checkFailure(t, err, ratify.RegistryUnavailable)
	if !strings.Contains(err.Error(), "refused the connection") {
		t.Errorf("error %q does not say that the connection was refused", err)
	}
}

func TestPrivateAddressIsRefusedUnlessAllowed(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	err := resolveTag(t.Context(), openFake(t, f, func(r *Registry) { r.AllowPrivate = false }), c)
	checkFailure(t, err, ratify.RegistryNotAllowed)
	var e *ratify.Error
	if errors.As(err, &e) && !strings.Contains(e.Remedy, "allowPrivate") {
		t.Errorf("remedy %q does not name the field", e.Remedy)
	}
	// Without an entry too.
	err = resolveTag(t.Context(), open(t, newStore(t, Deps{}), f.repository()), c)
	checkFailure(t, err, ratify.RegistryNotAllowed)
	if n := len(f.seen()); n != 0 {
		t.Errorf("%d requests, want none", n)
	}
}

// The metadata service is out of reach whatever is allowed.
func TestMetadataAddressIsRefusedEvenIfPrivateOnesAreAllowed(t *testing.T) {
	store := newStore(t, Deps{}, Registry{Host: "*", AllowPrivate: true, PlainHTTP: true})
	for _, host := range []string{"169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]", "0.0.0.0:5000"} {
		err := resolveTag(t.Context(), open(t, store, host+"/app"), newFixture())
		checkFailure(t, err, ratify.RegistryNotAllowed)
		var e *ratify.Error
		if errors.As(err, &e) && strings.Contains(e.Remedy, "allowPrivate") {
			t.Errorf("remedy %q would not help", e.Remedy)
		}
	}
}

func TestTLS(t *testing.T) {
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name       string
		ip         string
		end        time.Time
		maxVersion uint16
		foreign    bool // the CA is not configured
		words      string
		want       ratify.Code
	}{
		{name: "good", ip: "127.0.0.1", end: future},
		{name: "expired certificate", ip: "127.0.0.1", end: past, words: "expired", want: ratify.RegistryUnavailable},
		{name: "foreign certificate", ip: "127.0.0.1", end: future, foreign: true, words: "no trusted authority", want: ratify.RegistryUnavailable},
		{name: "certificate for another name", ip: "127.0.0.2", end: future, words: "another name", want: ratify.RegistryUnavailable},
		{name: "TLS 1.1", ip: "127.0.0.1", end: future, maxVersion: tls.VersionTLS11, want: ratify.RegistryUnavailable},
		{name: "TLS 1.2", ip: "127.0.0.1", end: future, maxVersion: tls.VersionTLS12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newFixture()
			f := &fakeRegistry{content: c.content()}
			f.server = httptest.NewUnstartedServer(f)
			pair, ca := certificate(t, tc.ip, tc.end)
			f.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS10, MaxVersion: tc.maxVersion}
			f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
			f.server.StartTLS()
			defer f.server.Close()
			f.host = f.server.Listener.Addr().String()
			entry := Registry{Host: f.host, AllowPrivate: true, CAFile: ca}
			if tc.foreign {
				entry.CAFile = ""
			}
			err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c)
			checkFailure(t, err, tc.want)
			if tc.words != "" && !strings.Contains(err.Error(), tc.words) {
				t.Errorf("error %q does not say %q", err, tc.words)
			}
		})
	}
}

// certificate makes a self-signed pair for an address and a file that trusts it.
func certificate(t *testing.T, ip string, end time.Time) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "registry"}, NotBefore: end.Add(-2 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.ParseIP(ip)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

func TestPlainHTTP(t *testing.T) {
	c := newFixture()
	f := &fakeRegistry{content: c.content()}
	f.server = httptest.NewServer(f)
	defer f.server.Close()
	f.host = f.server.Listener.Addr().String()
	entry := Registry{Host: f.host, AllowPrivate: true}
	err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c)
	checkFailure(t, err, ratify.RegistryUnavailable)
	var e *ratify.Error
	if errors.As(err, &e) && !strings.Contains(e.Remedy, "plainHTTP") {
		t.Errorf("remedy %q does not name the field", e.Remedy)
	}
	entry.PlainHTTP = true
	if err := resolveTag(t.Context(), open(t, newStore(t, Deps{}, entry), f.repository()), c); err != nil {
		t.Error(err)
	}
}

// Failures that cannot be staged on one machine, by the errors that the standard library has for them.
func TestWordsForFailuresOfTheNetwork(t *testing.T) {
	s := open(t, newStore(t, Deps{}), "registry.example/app").(*access).as(auth.EmptyCredential).session
	for _, tc := range []struct {
		err   error
		words string
	}{
		{&net.DNSError{Err: "no such host", Name: "registry.example", IsNotFound: true}, "cannot be resolved"},
		{&net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "cut its answer short"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "did not answer in time"},
		{tls.AlertError(70), "do not agree on TLS"},
		{x509.CertificateInvalidError{Reason: x509.NotAuthorizedToSign}, "is not valid"},
		{&bodyError{err: errors.New("stream error\x1b")}, "could not be read from"},
	} {
		err := s.failure(t.Context(), tc.err)
		checkFailure(t, err, ratify.RegistryUnavailable)
		if !strings.Contains(err.Error(), tc.words) || !strings.Contains(err.Error(), "registry.example") {
			t.Errorf("%v becomes %q, want %q", tc.err, err, tc.words)
		}
	}
}

// An outage of ten minutes is over when it is over: nothing is remembered of it.
func TestRegistryThatComesBack(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	down := true
	f.before = func(w http.ResponseWriter, r *http.Request) bool { return down && answer(503, "", nil)(w, r) }
	repo := openFake(t, f, nil)
	for range 3 {
		checkFailure(t, listReferrers(t.Context(), repo, c), ratify.RegistryUnavailable)
	}
	down = false
	if err := listReferrers(t.Context(), repo, c); err != nil {
		t.Error(err)
	}
}

// In a full outage the retries end, so that the registry gets a tenth more than what is needed and not twice as much.
func TestRetriesEndInAnOutage(t *testing.T) {
	c := newFixture()
	f := newFake(t, c.content())
	f.before = answer(503, "", nil)
	repo := openFake(t, f, nil)
	const calls = 60
	for range calls {
		checkFailure(t, resolveTag(t.Context(), repo, c), ratify.RegistryUnavailable)
	}
	if n, most := len(f.seen()), calls+calls/10+retryReserve; n > most {
		t.Errorf("%d requests for %d calls, want at most %d", n, calls, most)
	}
}
