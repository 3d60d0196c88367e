package matrix

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const key = "registry.example/app:v1"

// whole is an answer with one item, whose report is changed.
func whole(t *testing.T, change func(map[string]any)) []byte {
	t.Helper()
	report := map[string]any{
		"version": "1.0", "key": key, "subject": key, "digest": "sha256:ab", "isSuccess": true, "succeeded": true, "code": "VERIFIED",
		"message": "m", "remedy": "r", "traceID": "t", "notAfter": time.Now().Add(time.Hour).Unix(),
	}
	change(report)
	data, err := json.Marshal(map[string]any{
		"apiVersion": "externaldata.gatekeeper.sh/v1beta1", "kind": "ProviderResponse",
		"response": map[string]any{"idempotent": true, "items": []any{map[string]any{"key": key, "value": report}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func failed(text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return []byte(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse","response":{"idempotent":true,"systemError":` + string(quoted) + `}}`)
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct {
		name string
		data []byte
		want outcome
	}{
		{"verified", whole(t, func(map[string]any) {}), outcome{verified, "VERIFIED"}},
		{"refused", whole(t, func(r map[string]any) { r["isSuccess"], r["succeeded"], r["code"] = false, false, "NO_REFERRERS" }), outcome{refused, "NO_REFERRERS"}},
		{"could not tell", failed(key + ": DEADLINE: too late. try again (request 1)"), outcome{unknown, "DEADLINE"}},
	} {
		got, err := decode(key, tc.data)
		if err != nil || got.outcome != tc.want {
			t.Errorf("%s: %v, %v, want %v", tc.name, got.outcome, err, tc.want)
		}
	}
}

// What breaks an invariant, or would mislead whoever reads it, is not taken for an answer.
func TestDecodeRefuses(t *testing.T) {
	refusal := func(field string, value any) []byte {
		return whole(t, func(r map[string]any) {
			r["isSuccess"], r["succeeded"], r["code"] = false, false, "NO_REFERRERS"
			r[field] = value
		})
	}
	success := func(field string, value any) []byte { return whole(t, func(r map[string]any) { r[field] = value }) }
	both := strings.Replace(string(whole(t, func(map[string]any) {})), `"idempotent":true`, `"idempotent":true,"systemError":"x"`, 1)
	for _, tc := range []struct {
		name, says string
		data       []byte
	}{
		{"nothing", "I4", nil},
		{"half", "I4", whole(t, func(map[string]any) {})[:60]},
		{"an unknown field", "I4", []byte(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse","response":{},"more":1}`)},
		{"something after the end", "I4", append(failed(key+": DEADLINE: x"), '1')},
		{"another kind", "I4", []byte(strings.Replace(string(failed(key+": DEADLINE: x")), "ProviderResponse", "ProviderRequest", 1))},
		{"a systemError with an item", "I2", []byte(both)},
		{"no item", "I1", []byte(`{"apiVersion":"externaldata.gatekeeper.sh/v1beta1","kind":"ProviderResponse","response":{"idempotent":true}}`)},
		{"another key", "I1", []byte(strings.Replace(string(whole(t, func(map[string]any) {})), `"key":"`+key, `"key":"other`, 1))},
		{"what could not be told, as an item", "I3", refusal("code", "REGISTRY_UNAVAILABLE")},
		{"too long", "I5", failed(strings.Repeat("x", maxAnswerBytes))},
		{"a report of another key", "key", success("key", "other")},
		{"success twice, and differently", "contradicts", success("succeeded", false)},
		{"success as a text", "no report", success("isSuccess", "true")},
		{"success until a time that is past", "past", success("notAfter", 1)},
		{"success without a digest", "digest", success("digest", "")},
		{"an escape code in a message", "in it", refusal("message", "\x1b[31m")},
		{"a line break in a remedy", "in it", refusal("remedy", "a\nb")},
		{"a systemError that names no image", "does not name the image", failed("DEADLINE: too late")},
		{"a systemError without a code", "no code", failed(key + ": too late")},
	} {
		if got, err := decode(key, tc.data); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, %v", tc.name, got.outcome, err)
		}
	}
}

// An expectation that is not met shows, whatever the difference is.
func TestJudge(t *testing.T) {
	c := &cell{want: either(unavailable(), late())}
	for _, tc := range []struct {
		got  outcome
		good bool
	}{
		{outcome{unknown, "REGISTRY_UNAVAILABLE"}, true},
		{outcome{unknown, "DEADLINE"}, true},
		{outcome{unknown, "INTERNAL"}, false},
		{outcome{verified, "VERIFIED"}, false},
		{outcome{refused, "REGISTRY_UNAVAILABLE"}, false},
		{outcome{}, false},
	} {
		c.got.outcome = tc.got
		if err := c.judge(); (err == nil) != tc.good {
			t.Errorf("%v: %v", tc.got, err)
		}
	}
}

// Every fault that the lab knows has an expectation, and every cell that is there has one.
func TestEveryCellHasAnExpectation(t *testing.T) {
	names := map[string]bool{}
	for _, f := range faults() {
		if names[f.name] {
			t.Errorf("two faults are called %q", f.name)
		}
		names[f.name] = true
		for _, at := range append(registrySteps(), "token", "ocsp", "crl", "timestamp") {
			if f.want.empty[at] == "" && len(f.want.forStep(at)) == 0 {
				t.Errorf("%s at %s: neither an expectation nor a reason", f.name, at)
			}
		}
	}
}
