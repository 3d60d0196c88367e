package upheaval

import (
	"testing"
	"time"
)

// What is right depends on when it was asked and answered, and on what the instance had said by then.
func TestTruth(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	truth := &truth{delivery: delivery, states: []state{
		{trust: first, written: at(0), accepted: map[string]time.Time{}},
		{trust: second, written: at(10), accepted: map[string]time.Time{"a": at(11)}},
	}}
	for name, test := range map[string]struct {
		instance       string
		sent, received float64
		signers        trust
		admitted       bool
		want           judgement
	}{
		"before any change":                         {"a", 1, 2, first, true, right},
		"refused before it was trusted":             {"a", 1, 2, second, false, right},
		"admitted before it was trusted":            {"a", 1, 2, second, true, wrong},
		"the new one, as soon as its file is there": {"a", 10.1, 10.2, second, true, right},
		"the old one until it is accepted":          {"a", 10.9, 11.1, first, true, right},
		"the old one under way within the grace":    {"a", 10.9, 12.2, first, true, right},
		"the old one later than the grace":          {"a", 10.9, 12.3, first, true, oldLater},
		"the old one, asked after it was accepted":  {"a", 11.1, 11.2, first, true, oldAccepted},
		"an old refusal is no better":               {"a", 11.1, 11.2, second, false, oldAccepted},
		"an instance that has not accepted it":      {"b", 11.1, 13, first, true, right},
		"never right":                               {"a", 11.1, 11.2, 0, true, wrong},
		"what both trust":                           {"a", 11.1, 11.2, first | second, true, right},
	} {
		if got := truth.judge(test.instance, at(test.sent), at(test.received), test.signers, test.admitted); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	end := truth.mayNotTell()
	if now := time.Now(); truth.untoldIsRight(at(-2), at(-1)) || !truth.untoldIsRight(now, now.Add(time.Second)) {
		t.Error("could not tell is right while that is open, and not before")
	}
	end()
	if later := time.Now().Add(time.Second); truth.untoldIsRight(later, later.Add(time.Second)) {
		t.Error("could not tell is right after that is over")
	}
}

func TestDecode(t *testing.T) {
	questions := []question{{"a", first}, {"b", second}}
	for body, good := range map[string]bool{
		`{"response":{"items":[{"key":"a","value":{"isSuccess":true}},{"key":"b","value":{"isSuccess":false}}]}}`: true,
		`{"response":{"items":[{"key":"a","value":{"isSuccess":true}}]}}`:                                         false,
		`{"response":{"items":[{"key":"a"},{"key":"b"},{"key":"b"}]}}`:                                            false,
		`{"response":{"items":[{"key":"a","error":"x"},{"key":"b"}]}}`:                                            false,
		`nothing`: false,
	} {
		admitted, untold, err := decode(questions, []byte(body))
		if (err == nil) != good || untold != "" || good && (!admitted[0] || admitted[1]) {
			t.Errorf("%s: %v, %q, %v", body, admitted, untold, err)
		}
	}
	if _, untold, err := decode(questions, []byte(`{"response":{"systemError":"a: DEADLINE: x"}}`)); err != nil || reason(untold) != "systemError DEADLINE" {
		t.Errorf("%q, %v", untold, err)
	}
}
