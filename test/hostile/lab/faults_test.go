package lab_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// client is one that believes in the lab's CA, and gives up soon.
func client(t *testing.T, l *lab.Lab) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(l.CAFile)
	check(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Second}
}

// get reads an answer of at most 1 MiB.
func get(c *http.Client, url string) (status int, contentType string, body []byte, err error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, resp.Header.Get("Content-Type"), body, err
}

// No fault is answered as a correct host answers; but what is sent beyond the declared length nobody reads.
func TestEveryFaultIsOne(t *testing.T) {
	l := newLab(t)
	registry := &lab.Registry{}
	h := newHost(t, l, lab.HostOptions{Name: "registry", Server: registry})
	image, err := registry.PutImage("app")
	check(t, err)
	c, url := client(t, l), h.URL("/v2/app/manifests/v1")
	status, contentType, body, err := get(c, url)
	check(t, err)
	if status != http.StatusOK || !bytes.Equal(body, image.Manifest) {
		t.Fatalf("a correct registry answers %d: %s", status, body)
	}
	for _, fault := range lab.Faults() {
		h.SetScript(lab.On(lab.Resolve, fault.Do))
		gotStatus, gotType, got, err := get(c, url)
		same := err == nil && gotStatus == status && gotType == contentType && bytes.Equal(got, body)
		if same != (fault.Name == "more sent than declared") {
			t.Errorf("%s: %d %s %q (%v)", fault.Name, gotStatus, gotType, got[:min(len(got), 40)], err)
		}
		h.SetScript(lab.On(lab.Blob, fault.Do))
		if gotStatus, _, _, err := get(c, url); err != nil || gotStatus != status {
			t.Errorf("%s at another step: %d %v", fault.Name, gotStatus, err)
		}
	}
}

func TestFirst(t *testing.T) {
	l := newLab(t)
	registry := &lab.Registry{}
	h := newHost(t, l, lab.HostOptions{Name: "registry", Server: registry, Plain: true, Script: lab.First(2, lab.Status(http.StatusTeapot), lab.Correct)})
	_, err := registry.PutImage("app")
	check(t, err)
	var statuses []int
	for range 3 {
		status, _, _, err := get(http.DefaultClient, h.URL("/v2/app/manifests/v1"))
		check(t, err)
		statuses = append(statuses, status)
	}
	if !slices.Equal(statuses, []int{http.StatusTeapot, http.StatusTeapot, http.StatusOK}) {
		t.Errorf("%v", statuses)
	}
}

func TestCertificates(t *testing.T) {
	l := newLab(t)
	h := newHost(t, l, lab.HostOptions{Name: "host", Server: lab.ServerFunc(func(*lab.Exchange) lab.Answer { return lab.Text(http.StatusOK, "") })})
	c := client(t, l)
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var alert tls.AlertError
	for kind, is := range map[lab.Certificate]func(error) bool{
		lab.Good:      func(err error) bool { return err == nil },
		lab.Foreign:   func(err error) bool { return errors.As(err, &authority) },
		lab.WrongName: func(err error) bool { return errors.As(err, &hostname) },
		lab.Expired:   func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired },
		lab.OldTLS: func(err error) bool {
			return errors.As(err, &alert) || err != nil && strings.Contains(err.Error(), "version")
		},
	} {
		h.SetCertificate(kind)
		if _, _, _, err := get(c, h.URL("/")); !is(err) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

func TestGreetings(t *testing.T) {
	l := newLab(t)
	h := newHost(t, l, lab.HostOptions{Name: "host", Server: lab.ServerFunc(func(*lab.Exchange) lab.Answer { return lab.Text(http.StatusOK, "") })})
	c := client(t, l)
	for name, greeting := range map[string]lab.Greeting{"reset": lab.GreetReset, "silence": lab.GreetSilence, "garbage": lab.GreetGarbage} {
		h.SetGreeting(greeting)
		if _, _, _, err := get(c, h.URL("/")); err == nil {
			t.Errorf("%s: an answer", name)
		}
	}
	h.SetGreeting(nil)
	_, _, _, err := get(c, h.URL("/"))
	check(t, err)
	at := h.Addr
	check(t, h.Down())
	if _, _, _, err := get(c, h.URL("/")); err == nil {
		t.Error("a host that is down answers")
	}
	check(t, h.Up())
	if _, _, _, err := get(c, h.URL("/")); err != nil || h.Addr != at {
		t.Errorf("up again, at %s and before at %s: %v", h.Addr, at, err)
	}
}

func TestResolver(t *testing.T) {
	l := newLab(t)
	address := netip.MustParseAddr("192.0.2.1")
	r, err := l.Resolver("127.0.0.1:0", func(q lab.Question) lab.Names {
		switch {
		case q.Name == "there.example" || q.Name == "long.example" && q.TCP:
			return lab.Names{Addresses: []netip.Addr{address}}
		case q.Name == "long.example":
			return lab.Names{Addresses: []netip.Addr{address}, Truncated: true}
		case q.Name == "broken.example":
			return lab.Names{Failure: true}
		case q.Name == "silent.example":
			return lab.Names{Silence: true}
		}
		return lab.Names{}
	})
	check(t, err)
	// Over TCP, too, where the answer is said to be longer than a datagram.
	for _, name := range []string{"there.example", "long.example"} {
		found, err := lookup(t.Context(), r.Addr, name)
		if err != nil || !slices.Equal(found, []string{"192.0.2.1"}) {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
	var dns *net.DNSError
	if _, err := lookup(t.Context(), r.Addr, "gone.example"); !errors.As(err, &dns) || !dns.IsNotFound {
		t.Errorf("gone: %v", err)
	}
	if _, err := lookup(t.Context(), r.Addr, "broken.example"); !errors.As(err, &dns) || dns.IsNotFound {
		t.Errorf("broken: %v", err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := lookup(brief, r.Addr, "silent.example"); !errors.As(err, &dns) || !dns.IsTimeout {
		t.Errorf("silent: %v", err)
	}
}
