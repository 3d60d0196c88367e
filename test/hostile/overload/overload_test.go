package overload

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ratify-provider/ratify/bench/load"
	"github.com/ratify-provider/ratify/test/hostile/promise"
	"github.com/ratify-provider/ratify/test/program/programtest"
)

func TestOverload(t *testing.T) {
	report, err := Part().Run(t.Context(), promise.Env{
		Binary: programtest.Build(t, "-tags=grpcnotrace"), Dir: t.TempDir(), Quick: true, Progress: func(what string) { t.Log(what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range report.Tables {
		t.Log(table.Title)
		for _, row := range append([][]string{table.Columns}, table.Rows...) {
			t.Logf("%q", row)
		}
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

func results(n int, took time.Duration) load.Result {
	return load.Result{Latencies: slices.Repeat([]time.Duration{took}, n), Errors: map[string]int{}, Undecided: map[string][]time.Duration{}}
}

// broken are the words of the results that were not held.
func broken(results []promise.Result) string {
	var words []string
	for _, r := range (promise.Report{Results: results}).Broken() {
		words = append(words, r.What)
	}
	return strings.Join(words, "; ")
}

func TestJudgeBulkhead(t *testing.T) {
	good := half{known: results(90, time.Millisecond), cold: results(10, 60*time.Millisecond)}
	slow := half{known: good.known, cold: results(10, 121*time.Millisecond)}
	shed := half{known: good.known, cold: results(9, 60*time.Millisecond), stuck: results(0, 0)}
	shed.cold.Errors["systemError OVERLOADED"], shed.cold.Undecided["systemError OVERLOADED"] = 1, []time.Duration{1}
	stuck := half{known: good.known, cold: good.cold, stuck: results(0, 0)}
	stuck.stuck.Errors["systemError DEADLINE"], stuck.stuck.Undecided["systemError DEADLINE"] = 1, []time.Duration{1}
	admitted := half{known: good.known, cold: good.cold, stuck: results(0, 0)}
	admitted.stuck.Errors[errAdmitted.Error()] = 1
	s := &stage{}
	for name, test := range map[string]struct {
		beside half
		want   string
	}{
		"as good as alone":            {good, ""},
		"twice as slow, and some":     {slow, "p99 of the healthy half, against the same rate alone: x"},
		"one is shed":                 {shed, "healthy images answered right: x"},
		"what is stuck is not told":   {stuck, ""},
		"what is stuck, yet admitted": {admitted, "healthy images answered right: x"},
	} {
		if got := broken(s.judgeBulkhead(jam{name: "x"}, good, test.beside)); got != test.want {
			t.Errorf("%s: %q is broken, want %q", name, got, test.want)
		}
	}
	if s.env.Quick = true; broken(s.judgeBulkhead(jam{name: "x"}, good, slow)) != "" || broken(s.judgeBulkhead(jam{name: "x"}, good, admitted)) == "" {
		t.Error("a quick run judges whether answers are right, and times loosely")
	}
}

func TestJudgeOverload(t *testing.T) {
	s := &stage{}
	good := overloaded{limit: limit{name: "x"}, peak: 100, goodput: 90, asked: results(90, time.Second), inTime: 90}
	good.asked.Errors["systemError OVERLOADED"] = 100
	good.asked.Undecided["systemError OVERLOADED"] = slices.Repeat([]time.Duration{50 * time.Millisecond}, 100)
	for name, test := range map[string]struct {
		change func(*overloaded)
		want   string
	}{
		"as promised": {func(*overloaded) {}, ""},
		"too few":     {func(o *overloaded) { o.goodput = 89.9 }, "right answers in time, of the peak: x"},
		"told late": {func(o *overloaded) {
			o.asked.Undecided["systemError DEADLINE"] = []time.Duration{time.Second, time.Second}
		}, "what is shed is told (p99): x"},
		"a refusal too few": {func(o *overloaded) { o.wrong = 1 }, "wrong answers: x"},
	} {
		o := good
		o.asked.Undecided = map[string][]time.Duration{"systemError OVERLOADED": good.asked.Undecided["systemError OVERLOADED"]}
		test.change(&o)
		if got := broken(s.judgeOverload(o)); got != test.want {
			t.Errorf("%s: %q is broken, want %q", name, got, test.want)
		}
	}
	good.asked.Errors["receive: timeout"], good.asked.Errors[load.ErrUnsent.Error()], good.asked.Latencies = 3, 5, append(good.asked.Latencies, time.Hour)
	if good.lost() != 4 || good.unsent() != 5 {
		t.Errorf("%d are lost and %d not sent, want 3 without an answer and 1 too late, and 5", good.lost(), good.unsent())
	}
}

func TestRefusesNothing(t *testing.T) {
	request := load.NewRequest("a")
	for body, want := range map[string]string{
		`{"response":{"systemError":"a: DEADLINE: x"}}`:                           "systemError: a: DEADLINE: x",
		`{"response":{"items":[{"key":"a","value":{"isSuccess":true}}]}}`:         "is admitted",
		`{"response":{"items":[{"key":"a","value":{"isSuccess":false}}]}}`:        load.ErrRefused.Error(),
		`{"response":{"items":[{"key":"a","value":{"isSuccess":true}},{}]}}`:      "2 items",
		`{"response":{"items":[],"systemError":"too much is asked: OVERLOADED"}}`: "OVERLOADED",
	} {
		err := refusesNothing(request, []byte(body))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

// A stuck registry is only stuck if it takes what it is sent and says nothing.
func TestStuckRegistries(t *testing.T) {
	s, err := newStuck(3)
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]bool{}
	for _, reference := range s.references(6, true) {
		host, _, _ := strings.Cut(reference, "/")
		hosts[host] = true
	}
	if len(hosts) != 3 || len(s.entries()) != 3 {
		t.Errorf("images of %d registries, want 3", len(hosts))
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.hosts[2])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v2/ HTTP/1.1\r\n\r\n")); err != nil {
		t.Error(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("it says something: %v", err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}
