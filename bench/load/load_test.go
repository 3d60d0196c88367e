package load

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve starts a TLS server and says how to ask it.
func serve(t *testing.T, handler http.HandlerFunc, tune ...func(*httptest.Server)) Target {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	for _, f := range tune {
		f(server)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return Target{URL: server.URL + "/verify", TLS: server.Client().Transport.(*http.Transport).TLSClientConfig}
}

// admit answers that every key of the request is admitted.
func admit(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, admission(keysOf(r))) }

func keysOf(r *http.Request) []string {
	var request struct {
		Request struct {
			Keys []string `json:"keys"`
		} `json:"request"`
	}
	_ = json.NewDecoder(r.Body).Decode(&request)
	return request.Request.Keys
}

func admission(keys []string) string {
	var items []string
	for _, key := range keys {
		items = append(items, fmt.Sprintf(`{"key":%q,"value":{"isSuccess":true}}`, key))
	}
	return `{"response":{"items":[` + strings.Join(items, ",") + `]}}`
}

func systemError(text string) string { return fmt.Sprintf(`{"response":{"systemError":%q}}`, text) }

func TestAdmitted(t *testing.T) {
	two := NewRequest("a", "b")
	for _, tc := range []struct{ name, body, want string }{
		{"all admitted", admission([]string{"a", "b"}), ""},
		{"in another order", admission([]string{"b", "a"}), ""},
		{"a newer template's word", `{"response":{"items":[{"key":"a","value":{"succeeded":true}},{"key":"b","value":{"isSuccess":true}}]}}`, ""},
		{"one missing", admission([]string{"a"}), "1 items for 2 keys"},
		{"one twice", admission([]string{"a", "a"}), `an item for "a", which is not open`},
		{"one of another", admission([]string{"a", "c"}), `an item for "c", which is not open`},
		{"one refused", `{"response":{"items":[{"key":"a","value":{"isSuccess":true}},{"key":"b","value":{"isSuccess":false}}]}}`, "an image is refused: b"},
		{"an error beside a value", `{"response":{"items":[{"key":"a","value":{"isSuccess":true}},{"key":"b","value":{"isSuccess":true},"error":"no"}]}}`, "an image is refused: b: no"},
		{"undecided", systemError("a: DEADLINE: too late"), "systemError: a: DEADLINE: too late"},
		{"an empty answer", `{}`, "0 items for 2 keys"},
		{"no JSON", `<html>`, "not the protocol's"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := Admitted(two, []byte(tc.body))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestKindLeavesOutWhatDiffers(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:5000/APP/a@sha256:00: DEADLINE: ran out. (request 0a)": "systemError DEADLINE",
		"3 of 10 images could not be told: a: RATE_LIMITED: …":            "systemError RATE_LIMITED",
		"something else": "systemError",
	} {
		if got := Kind(&Undecided{Text: text}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Errors of connections name two ports, of which one is another each time.
func TestKindLeavesOutAddresses(t *testing.T) {
	dialer := net.Dialer{}
	_, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:1")
	if got := Kind(fmt.Errorf("connect: %w", err)); got != "dial: connect: connection refused" {
		t.Errorf("got %q", got)
	}
}

func TestConnectionsAreIntroduced(t *testing.T) {
	var introduced atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys := keysOf(r)
		if keys[0] == "who" {
			introduced.Add(1)
			_, _ = io.WriteString(w, systemError("nobody"))
			return
		}
		_, _ = io.WriteString(w, admission(keys))
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 4, Concurrency: 3, Introduction: NewRequest("who")})
	if err != nil || result.Err() != nil || introduced.Load() != 3 || result.Attempts != 4 {
		t.Errorf("%v, %v: %d connections were introduced and %d requests counted, want 3 and 4", err, result.Err(), introduced.Load(), result.Attempts)
	}
}

// Runs that are to begin together do so when all have their connections, or not at all.
func TestReadyIsAskedBeforeTheFirstRequest(t *testing.T) {
	var asked atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); admit(w, r) })
	failure := errors.New("not ready")
	_, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Concurrency: 2, Ready: func(context.Context) error { return failure }})
	if !errors.Is(err, failure) || asked.Load() != 0 {
		t.Errorf("%v after %d requests, want %v after none", err, asked.Load(), failure)
	}
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Ready: func(context.Context) error { return nil }})
	if err != nil || len(result.Latencies) != 1 {
		t.Errorf("%v, %d answers", err, len(result.Latencies))
	}
}

func TestBatches(t *testing.T) {
	requests := Batches([]string{"a", "b", "c", "d", "e"}, 2)
	if len(requests) != 3 || len(requests[0].Keys) != 2 || len(requests[2].Keys) != 1 {
		t.Errorf("got %v", requests)
	}
	want := `{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderRequest","request":{"keys":["a","b"]}}`
	if got := string(requests[0].Body()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, tc := range []struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.99, 7},
		{[]time.Duration{1, 2, 3}, 0.5, 2},
		{[]time.Duration{1, 2, 3, 4}, 0.5, 2},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		if got := Percentile(tc.of, tc.p); got != tc.want {
			t.Errorf("percentile %v of %d values: %d, want %d", tc.p, len(tc.of), got, tc.want)
		}
	}
}

func TestClosedLoopSendsEachRequestOnce(t *testing.T) {
	var seen [7]atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		keys := keysOf(r)
		seen[keys[0][0]-'a'].Add(1)
		_, _ = io.WriteString(w, admission(keys))
	})
	result, err := Run(t.Context(), target, Plan{Requests: Batches([]string{"a", "b", "c", "d", "e", "f", "g"}, 1), Concurrency: 3})
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	if len(result.Latencies) != 7 || result.Attempts != 7 {
		t.Errorf("%d answers to %d requests, want 7", len(result.Latencies), result.Attempts)
	}
	for i := range seen {
		if n := seen[i].Load(); n != 1 {
			t.Errorf("request %d was sent %d times", i, n)
		}
	}
	if result.Rate() <= 0 || result.Percentile(0.5) <= 0 || result.Percentile(1) < result.Percentile(0.5) {
		t.Errorf("rate %v, latencies %v", result.Rate(), result.Latencies)
	}
}

func TestRunCountsWhatIsWrong(t *testing.T) {
	var n atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			_, _ = io.WriteString(w, systemError("a: DEADLINE: too late"))
		case 2:
			_, _ = io.WriteString(w, `{"response":{"items":[{"key":"a","value":{"isSuccess":false}}]}}`)
		case 3:
			w.WriteHeader(http.StatusTeapot)
		default:
			admit(w, r)
		}
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 6})
	if err != nil {
		t.Fatal(err)
	}
	want := "1 × an image is refused; 1 × systemError DEADLINE; 1 × the answer has status 418"
	if got := result.Err(); got == nil || got.Error() != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if len(result.Latencies) != 3 {
		t.Errorf("%d right answers, want 3", len(result.Latencies))
	}
}

// An answer that was right once is compared with what comes later, so one that changes must be looked at again.
func TestRunLooksAtAnswersThatChange(t *testing.T) {
	var n atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%10 == 0 {
			_, _ = io.WriteString(w, `{"response":{"items":[{"key":"a","value":{"isSuccess":false}}]}}`)
			return
		}
		admit(w, r)
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 50})
	if err != nil {
		t.Fatal(err)
	}
	if result.Errors[ErrRefused.Error()] != 5 {
		t.Errorf("errors %v, want 5 refusals", result.Errors)
	}
}

// One slow answer holds up all that were due meanwhile: their latency counts from when they were due.
func TestOpenLoopLeavesNoWaitOut(t *testing.T) {
	const stall, rate = 200 * time.Millisecond, 100
	var n atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			<-time.After(stall)
		}
		admit(w, r)
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 30, Rate: rate, Concurrency: 1})
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	// Due at 0, 10, 20 … ms: of those due before the stall's end, the tenth was due at 90 ms and waited 110 ms at least.
	late := 0
	for _, latency := range result.Latencies {
		if latency >= stall/2 {
			late++
		}
	}
	if late < 10 {
		t.Errorf("%d requests waited half of the stall, want 10 at least: %v", late, result.Latencies)
	}
	if least := 29 * time.Second / rate; result.Took < least {
		t.Errorf("30 requests at %d a second took %v, want %v at least", rate, result.Took, least)
	}
}

func TestDurationEndsARun(t *testing.T) {
	target := serve(t, admit)
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a"), NewRequest("b")}, Duration: 50 * time.Millisecond, Concurrency: 2})
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	if len(result.Latencies) < 2 || result.Took < 50*time.Millisecond || result.Took > 5*time.Second {
		t.Errorf("%d answers in %v", len(result.Latencies), result.Took)
	}
}

func TestConnections(t *testing.T) {
	for _, tc := range []struct {
		name string
		plan Plan
		want int32
	}{
		{"kept", Plan{Total: 20, Concurrency: 2}, 2},
		{"new ones", Plan{Total: 20, Concurrency: 2, NewConnections: true}, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var opened, resumed atomic.Int32
			target := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.TLS.DidResume {
					resumed.Add(1)
				}
				admit(w, r)
			}, func(s *httptest.Server) {
				s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
					if state == http.StateNew {
						opened.Add(1)
					}
				}
			})
			tc.plan.Requests = []Request{NewRequest("a")}
			result, err := Run(t.Context(), target, tc.plan)
			if err != nil || result.Err() != nil {
				t.Fatal(err, result.Err())
			}
			if opened.Load() != tc.want || resumed.Load() != 0 {
				t.Errorf("%d connections, %d requests on resumed sessions; want %d and none", opened.Load(), resumed.Load(), tc.want)
			}
		})
	}
}

func TestAServerMayCloseAConnection(t *testing.T) {
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		admit(w, r)
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 3})
	if err != nil || result.Err() != nil || len(result.Latencies) != 3 {
		t.Error(err, result.Err(), result.Latencies)
	}
}

// A server closes a connection on which nothing is asked for too long; those that are opened before the first question may
// have to wait for their turn.
func TestAConnectionThatWasOpenedTooEarlyIsOpenedAnew(t *testing.T) {
	opened := make(chan net.Conn, 3)
	target := serve(t, admit, func(s *httptest.Server) {
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened <- c
			}
		}
	})
	c, err := newConnection(target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	deadline := time.Now().Add(10 * time.Second)
	request := NewRequest("a")
	if err := c.open(t.Context(), deadline); err != nil {
		t.Fatal(err)
	}
	_ = (<-opened).Close()
	body, err := c.ask(t.Context(), request, deadline)
	if err != nil || Admitted(request, body) != nil {
		t.Fatalf("asked on a connection that was closed early: %v", err)
	}
	_ = (<-opened).Close() // now it has been used: a server that closes it drops a question
	if _, err := c.ask(t.Context(), request, deadline); err == nil {
		t.Error("a question that was dropped went unnoticed")
	}
	if n := len(opened); n != 0 {
		t.Errorf("%d more connections were opened", n)
	}
}

func TestRetriesUntilDecided(t *testing.T) {
	var n atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) < 4 {
			_, _ = io.WriteString(w, systemError("a: RATE_LIMITED: later"))
			return
		}
		admit(w, r)
	})
	const pause = 20 * time.Millisecond
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Retry: pause})
	if err != nil || result.Err() != nil {
		t.Fatal(err, result.Err())
	}
	if result.Attempts != 4 || result.Percentile(1) < 3*pause {
		t.Errorf("%d attempts in %v, want 4 in %v at least", result.Attempts, result.Percentile(1), 3*pause)
	}
	if result.LongestAttempt > result.Percentile(1)-3*pause {
		t.Errorf("the longest attempt took %v of %v: it has the pauses in it", result.LongestAttempt, result.Percentile(1))
	}
}

func TestRunGivesUpWaiting(t *testing.T) {
	done := make(chan struct{})
	target := serve(t, func(http.ResponseWriter, *http.Request) { <-done })
	defer close(done)
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Latencies) != 0 || result.Err() == nil || !strings.Contains(result.Err().Error(), "timeout") {
		t.Errorf("got %v", result.Err())
	}
}

func TestRunTellsWhatTheServerUsed(t *testing.T) {
	target := serve(t, admit)
	used := time.Second
	target.CPU = func() (time.Duration, error) { used += time.Second; return used, nil }
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}})
	if err != nil || result.CPU != time.Second {
		t.Errorf("%v of processor time, %v; want 1 s", result.CPU, err)
	}
}

func TestRunRefuses(t *testing.T) {
	one := []Request{NewRequest("a")}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	closed := httptest.NewUnstartedServer(nil)
	address := closed.Listener.Addr().String()
	closed.Close()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		target Target
		plan   Plan
		want   string
	}{
		{"a plan without requests", t.Context(), Target{URL: "https://" + address}, Plan{}, "without requests"},
		{"plain HTTP", t.Context(), Target{URL: "http://" + address}, Plan{Requests: one}, "is not https"},
		{"nobody listens", t.Context(), Target{URL: "https://" + address}, Plan{Requests: one}, "connection refused"},
		{"ended before it began", ended, serve(t, admit), Plan{Requests: one, NewConnections: true}, "context canceled"},
		{"an unknown CA", t.Context(), Target{URL: serve(t, admit).URL, TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, Plan{Requests: one}, "unknown authority"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Run(tc.ctx, tc.target, tc.plan)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func BenchmarkDriver(b *testing.B) {
	server := httptest.NewTLSServer(http.HandlerFunc(admit))
	defer server.Close()
	target := Target{URL: server.URL, TLS: server.Client().Transport.(*http.Transport).TLSClientConfig}
	b.ReportAllocs()
	result, err := Run(b.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: b.N, Concurrency: 4})
	if err != nil || result.Err() != nil {
		b.Fatal(err, result.Err())
	}
}

// Whoever measures what is shed must know how fast that was said, apart from what is answered.
func TestRunTimesWhatIsUndecided(t *testing.T) {
	const pause = 30 * time.Millisecond
	var n atomic.Int32
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 1:
			_, _ = io.WriteString(w, systemError("a: OVERLOADED: later"))
		case 2:
			<-time.After(pause)
			_, _ = io.WriteString(w, systemError("a: DEADLINE: too late"))
		case 3:
			_, _ = io.WriteString(w, systemError("a: OVERLOADED: later"))
		default:
			admit(w, r)
		}
	})
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: 4})
	if err != nil {
		t.Fatal(err)
	}
	shed, late := result.Undecided["systemError OVERLOADED"], result.Undecided["systemError DEADLINE"]
	if len(shed) != 2 || shed[0] > shed[1] || len(late) != 1 || late[0] < pause || len(result.Undecided) != 2 {
		t.Errorf("undecided: %v", result.Undecided)
	}
}

// In an open loop nobody waits for an asker for ever.
func TestOpenLoopDoesNotSendWhatNobodyWaitsFor(t *testing.T) {
	const giveUp, pause, due = 200 * time.Millisecond, 50 * time.Millisecond, 30
	target := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-time.After(pause)
		admit(w, r)
	})
	// One asker can send twenty in a second, and a hundred are due.
	result, err := Run(t.Context(), target, Plan{Requests: []Request{NewRequest("a")}, Total: due, Rate: 100, Concurrency: 1, GiveUp: giveUp})
	if err != nil {
		t.Fatal(err)
	}
	if late := result.Errors[ErrUnsent.Error()]; late < due/2 || late+result.Attempts != due {
		t.Errorf("%d were not sent and %d were, of %d: %v", late, result.Attempts, due, result.Err())
	}
}
