package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/frameworks/constraint/pkg/externaldata"
	"github.com/ratify-provider/ratify"
)

// awkward are texts that have more than one form in JSON, or none.
var awkward = []string{"", " ", "reg.example/pass:1", `"`, `\`, "<a&b>", "\u2028\u2029", "é", "\x7f", "\x00\x1f", "\xff", "a\xc3", "😀", strings.Repeat("a", ratify.MaxTextBytes+1), `","`, `"]}}`, "[ns]reg.example/pass", "REG.example"}

func randomText(r *rand.Rand) string {
	var text strings.Builder
	for range r.IntN(4) {
		text.WriteString(awkward[r.IntN(len(awkward))])
		text.WriteByte(byte(r.IntN(256)))
	}
	return text.String()
}

// TestItemsAreWhatTheLibraryWrites: byte for byte, whatever the keys and the words are.
func TestItemsAreWhatTheLibraryWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		answers := make([]answer, r.IntN(5))
		want := &externaldata.ProviderResponse{APIVersion: apiVersion, Kind: externaldata.ProviderResponseKind, Response: externaldata.Response{Idempotent: true}}
		for i := range answers {
			a := answer{key: randomText(r)}
			item := externaldata.Item{Key: a.key}
			switch r.IntN(3) {
			case 0:
				report := randomReport(r)
				v, err := newVerdict(report)
				if err != nil {
					t.Fatal(err)
				}
				withKey := *report
				withKey.Key = a.key
				a.verdict, item.Value = v, &withKey
			case 1:
				a.pinned = randomText(r)
				if a.pinned != "" {
					item.Value = a.pinned
				}
			case 2:
				a.refusal = randomText(r)
				item.Error = a.refusal
			}
			answers[i] = a
			want.Response.Items = append(want.Response.Items, item)
		}
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		writeItems(&b, answers)
		if !bytes.Equal(b.Bytes(), encoded) {
			t.Fatalf("%.2000s\nwant %.2000s", b.Bytes(), encoded)
		}
	}
}

func randomReport(r *rand.Rand) *ratify.Report {
	report := &ratify.Report{
		Version: ratify.ReportVersion, Namespace: randomText(r), Subject: randomText(r), IsSuccess: r.IntN(2) == 0, Code: ratify.Verified,
		Policy: randomText(r), NotAfter: r.Int64N(10), Message: randomText(r), Remedy: randomText(r), TraceID: randomText(r),
	}
	if r.IntN(4) == 0 {
		report.Policy = "default" // a label
		report.Stale, report.StaleCode, report.VerifiedAt = true, ratify.Deadline, time.Unix(r.Int64N(1e9), 0).UTC()
	}
	for range r.IntN(3) {
		report.DecidedBy = append(report.DecidedBy, randomText(r))
		report.VerifierReports = append(report.VerifierReports, ratify.VerifierReport{
			Subject: randomText(r), Message: randomText(r), Extensions: map[string]any{"a": randomText(r), "b": 1.5, "c": []string{randomText(r)}}})
	}
	return report
}

// TestUsualRequests: what Gatekeeper's client writes is read in the quick way, and to the same keys as in the other.
func TestUsualRequests(t *testing.T) {
	many := make([]string, maxKeys)
	for i := range many {
		many[i] = fmt.Sprintf("reg.example/pass:%d", i)
	}
	for _, keys := range [][]string{{"a"}, {""}, {"", ""}, {"a", "a", "b"}, {",", "[", "]}}"}, many} {
		body := []byte(requestBody(keys...))
		got, ok := (*parsedKeys)(nil).usualRequest(body)
		if !ok || !slices.Equal(got, keys) {
			t.Errorf("%s: %q, %t", body, got, ok)
		}
		same(t, body)
	}
	for _, key := range awkward {
		same(t, []byte(requestBody(key)))
		same(t, []byte(usualHead+key+usualTail))
	}
	for _, body := range []string{usualHead + usualTail + "\n", usualHead + `a","b` + usualTail, usualHead + `a","b","` + usualTail, usualHead + `a,"b` + usualTail,
		usualHead + `a" ,"b` + usualTail, usualHead + `","` + usualTail + usualTail, usualHead, usualTail, usualHead + `"]}`, requestBody(append(many, "x")...)} {
		same(t, []byte(body))
	}
}

// same makes sure that the two readers of requests do not disagree: what the quick one accepts the other one reads alike.
func same(t testing.TB, body []byte) {
	t.Helper()
	keys, ok := (*parsedKeys)(nil).usualRequest(body)
	if !ok {
		return
	}
	if again, _, err := decodeRequest(body); err != nil || !slices.Equal(again, keys) {
		t.Errorf("%q: %q, but %q, %v", body, keys, again, err)
	}
	want, unknown, err := anyRequest(body)
	if err != nil || unknown != 0 || !reflect.DeepEqual(keys, want) {
		t.Errorf("%q: %q, but %q, %d unknown, %v", body, keys, want, unknown, err)
	}
}

func FuzzUsualRequest(f *testing.F) {
	for _, text := range append(awkward, `a","b`, `a", "b`, `a"]}}{"b`) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		same(t, slices.Concat([]byte(usualHead), text, []byte(usualTail)))
		same(t, text)
	})
}

func TestDistinct(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		keys := make([]string, r.IntN(maxKeys+1))
		var want []string
		for i := range keys {
			keys[i] = fmt.Sprint(r.IntN(40))
			if !slices.Contains(want, keys[i]) {
				want = append(want, keys[i])
			}
		}
		if got := distinct(slices.Clone(keys)); !slices.Equal(got, want) {
			t.Fatalf("%q of %q, want %q", got, keys, want)
		}
	}
}

// TestBuffersAreBounded: one that had to be long for once is not kept.
func TestBuffersAreBounded(t *testing.T) {
	var kept buffers
	long := kept.get()
	long.Grow(2 * maxKeptBytes)
	kept.put(long)
	for range 100 {
		b := kept.get()
		if b.Cap() > maxKeptBytes || b.Len() != 0 {
			t.Fatalf("%d bytes kept, %d of them used", b.Cap(), b.Len())
		}
		b.WriteString("x")
		kept.put(b)
	}
}
